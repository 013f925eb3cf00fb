"""The cloud in lanes: what it is slow at keeps nothing else waiting, and late answers are told."""

from __future__ import annotations

import pytest

from elastiq.clock import Clock
from elastiq.ec2 import Limits
from elastiq.errors import CloudError, CloudFault, PendingError
from elastiq.model import Pool
from elastiq.planning.launching import MOST_VMS_AT_ONCE
from elastiq.process.cloud_lanes import LAUNCH_SECONDS_PER_VM, CloudLane, CloudLanes
from elastiq.process.lanes import GIVE_UP_SECONDS
from tests.unit.fakes import FakeCloud
from tests.unit.process.test_lanes import GIVE_UP, SHORT, Gate, SettableClock, hanging, patient, settle


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


def lanes(clock: Clock) -> CloudLanes:
    return CloudLanes(patient(clock), patient(clock), patient(clock), patient(clock))


@pytest.mark.long
def test_what_the_cloud_is_slow_at_keeps_nothing_else_waiting(clock: SettableClock) -> None:
    cloud, gate = FakeCloud(), Gate()
    for name in ("list_instances", "launch", "terminate", "tag"):
        setattr(cloud, name, lambda *_, **__: gate())
    made = lanes(clock)
    laned = CloudLane(cloud, made)
    for lane in made.all():
        lane._ask_wait_seconds = lane._act_wait_seconds = SHORT
    for call in (
        lambda: laned.list_instances(everything=True),
        lambda: laned.launch(Pool(), 3, "token-1"),
        lambda: laned.terminate(["i-1"]),
        lambda: laned.tag(["i-1"], Pool(), "token-1"),
    ):
        with pytest.raises(PendingError) as pending:
            call()
        assert pending.value.uncertain
        with pytest.raises(PendingError):
            pending.value.answer()
    with pytest.raises(CloudError, match="launching 1 VM was left out: launching 3 VMs has not answered") as busy:
        laned.launch(Pool(), 1, "token-2")
    assert busy.value.fault is CloudFault.BUSY
    assert not busy.value.uncertain
    gate.open.set()
    while gate.calls < 4:
        gate.left.wait(0.001)
    for lane in made.all():
        settle(lane, gate)
        lane.retire()
    assert pending.value.answer() == "answer"


def test_a_late_failure_is_told_as_it_is(clock: SettableClock) -> None:
    cloud, gate = FakeCloud(), Gate(error=CloudError("Invalid key_name provided.", CloudFault.CONFIGURATION))
    cloud.launch = lambda pool, count, token, at_least=1: gate()  # type: ignore[method-assign, assignment, return-value]
    made = lanes(clock)
    made.launching._act_wait_seconds = SHORT
    with pytest.raises(PendingError) as pending:
        CloudLane(cloud, made).launch(Pool(), 3, "token-1")
    settle(made.launching, gate)
    with pytest.raises(CloudError, match="Invalid key_name") as failed:
        pending.value.answer()
    assert failed.value.fault is CloudFault.CONFIGURATION


def test_a_launch_of_many_vms_is_given_up_later(clock: SettableClock, caplog: pytest.LogCaptureFixture) -> None:
    cloud, gate = FakeCloud(), Gate()
    cloud.launch = lambda pool, count, token, at_least=1: gate()  # type: ignore[method-assign, assignment, return-value]
    made = lanes(clock)
    laned = CloudLane(cloud, made)
    with hanging(made.launching, gate, PendingError, "launching 50 VMs has not answered"):
        laned.launch(Pool(), 50, "token-1")
    clock.added += GIVE_UP + 1
    with pytest.raises(CloudError, match="launching 1 VM was left out"):
        laned.launch(Pool(), 1, "token-2")
    assert "no longer waiting" not in caplog.text
    clock.added += 50 * LAUNCH_SECONDS_PER_VM
    cloud.launch = lambda pool, count, token, at_least=1: ()  # type: ignore[method-assign, assignment, return-value]
    assert laned.launch(Pool(), 1, "token-2") == ()
    gate.open.set()


@pytest.mark.parametrize("count", [1, 300, MOST_VMS_AT_ONCE])
def test_no_launch_is_given_up_before_its_own_deadlines(count: int) -> None:
    limits = Limits()
    tries = limits.of_launch(count) + 2 * limits.connect_seconds
    # A look may begin just before the end; another follows the last try, and tags are put on at last.
    assert tries + 3 * limits.deadline_seconds < GIVE_UP_SECONDS + count * LAUNCH_SECONDS_PER_VM


def test_every_method_of_the_port_goes_through(clock: SettableClock) -> None:
    cloud = CloudLane(FakeCloud(), lanes(clock))
    assert cloud.list_instances(everything=True) == ()
    made = cloud.launch(Pool(), 2, "t")
    assert len(made) == 2
    assert cloud.terminate([made[0].id]) == (made[0].id,)
    assert cloud.refused_features == frozenset()
    assert cloud.spot_prices(["m5.large"], 0.0) == {}
