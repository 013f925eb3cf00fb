"""Fixtures of the end-to-end tests; each test has a cluster of its own, and its logs are shown when it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.testbed.machines import Network
from tests.testbed.pool import HtcondorPool
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
def make_htcondor(testbed_root: None, request: pytest.FixtureRequest) -> Iterator[PoolMaker]:
    """Make a head node of HTCondor with these additions to its own and its workers' configuration."""
    networks: list[Network] = []
    request.node.pools = []

    def make(head_configuration: str = "", worker_configuration: str = "") -> HtcondorPool:
        network = Network()
        networks.append(network)
        pool = HtcondorPool(network, head_configuration, worker_configuration)
        request.node.pools.append(pool)
        return pool

    try:
        yield make
    finally:
        for network in networks:
            network.stop()
