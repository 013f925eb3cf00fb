"""One OpenStack for all tests that want a real one; each begins with no servers and the usual quota."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.testbed.openstack.cloud import OpenStack
from tests.testbed.rootfs import UnavailableError


@pytest.fixture(scope="session")
def openstack_of_session() -> Iterator[OpenStack]:
    """Start it, or skip and say why."""
    try:
        cloud = OpenStack()
    except UnavailableError as reason:
        pytest.skip(str(reason))
    with cloud:
        yield cloud


@pytest.fixture
def openstack(openstack_of_session: OpenStack, request: pytest.FixtureRequest) -> Iterator[OpenStack]:
    """The cloud, with nothing in it. Its logs are shown when the test fails."""
    cloud = openstack_of_session
    request.node.openstack = cloud
    cloud.ec2.forget()
    yield cloud
    cloud.remove_servers()
    cloud.set_quota()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "call" and report.failed and hasattr(item, "openstack"):
        report.sections.append(("What OpenStack's services said", item.openstack.logs()))
