"""Fixtures of the end-to-end tests; each test has a cluster of its own, and its logs are shown when it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.systems import SYSTEMS, BatchMaker
from tests.testbed.batch import BatchTestbed
from tests.testbed.htcondor_pool import LASTING_ADS, HtcondorPool
from tests.testbed.machines import Network
from tests.testbed.rootfs import UnavailableError, rootfs

PoolMaker = Callable[..., HtcondorPool]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "call" and report.failed:
        for pool in getattr(item, "pools", []):
            report.sections.append(("Logs of the testbed's machines", pool.logs()))


@pytest.fixture(scope="session")
def testbed_root() -> None:
    """Build the root file system, or skip and say why."""
    try:
        rootfs()
    except UnavailableError as reason:
        pytest.skip(str(reason))


@pytest.fixture
def make_batch(testbed_root: None, networks: list[Network], request: pytest.FixtureRequest) -> BatchMaker:
    """Make a head node of the batch system that `systems.on` gives to the test, whose workers have so many CPUs."""

    def make(cpus: int) -> BatchTestbed:
        networks.append(Network())
        batch = SYSTEMS[request.param](networks[-1], cpus)
        request.node.pools.append(batch)
        return batch

    return make


@pytest.fixture
def make_htcondor(testbed_root: None, networks: list[Network], request: pytest.FixtureRequest) -> PoolMaker:
    """Make a head node of HTCondor with these additions to its own and its workers' configuration."""

    def make(head_configuration: str = "", worker_configuration: str = "") -> HtcondorPool:
        networks.append(Network())
        pool = HtcondorPool(networks[-1], LASTING_ADS + head_configuration, worker_configuration)
        request.node.pools.append(pool)
        return pool

    return make


@pytest.fixture
def networks(request: pytest.FixtureRequest) -> Iterator[list[Network]]:
    """The networks of a test, which end with it."""
    made: list[Network] = []
    request.node.pools = []
    try:
        yield made
    finally:
        for network in made:
            network.stop()
