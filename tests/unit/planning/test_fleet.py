"""What room a fleet has, and what counts against the quota, by what is launched beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.decisions import Kind
from elastiq.memory import Breaker, Intent, Memory, VmRecord
from elastiq.model import Instance, InstanceState, Pool, Shape
from elastiq.planning.fleet import Fleet
from elastiq.planning.matching import Matches
from elastiq.planning.plan import plan
from tests.unit.planning.table import (
    BY_SHAPE,
    NOW,
    PLAIN,
    jobs,
    joined,
    launched,
    of,
    remember,
    see,
    vm,
    worker,
)

TYPES = {"small": Shape(2, 4000), "large": Shape(16, 32000)}
LARGE = replace(BY_SHAPE, pools=(Pool("default", 0, 5, "large"),))


def test_a_free_worker_of_elastiq_is_as_good_as_a_new_vm() -> None:
    records = [joined(1)]
    seen = see(records, demand=(jobs(4),), workers=(worker(1),))
    assert not launched(plan(seen, remember(records, waiting_since=NOW - 9999), PLAIN))
    busy = see(records, demand=(jobs(4),), workers=(worker(1, running=4),))
    assert launched(plan(busy, remember(records, waiting_since=NOW - 9999), PLAIN)) == 1


def test_a_joined_vm_is_not_counted_as_pending_any_more() -> None:
    records = [joined(number, launched_at=NOW - 60) for number in (1, 2)]
    workers = (worker(1, running=4), worker(2, running=4))
    policy = replace(PLAIN, max_vms=4, pools=(Pool("default", 0, 4),))
    made = plan(see(records, demand=(jobs(10),), workers=workers), remember(records, waiting_since=NOW - 50), policy)
    assert launched(made) == 2


def test_possibly_launched_vms_count_against_the_maximum_and_as_pending() -> None:
    memory = Memory(waiting_since=NOW - 100, intents=(Intent("t", "default", 4, NOW - 10),))
    made = plan(see([], demand=(jobs(100),)), memory, PLAIN)
    assert launched(made) == 1


def test_terminating_vms_count_until_the_cloud_says_that_they_stop() -> None:
    records = [vm(number, terminated_at=NOW - 5, doomed=True) for number in range(5)]
    memory = remember(records, waiting_since=NOW - 100)
    assert not launched(plan(see(records, demand=(jobs(100),)), memory, PLAIN))
    stopping = [replace(record, state=InstanceState.STOPPING) for record in records]
    assert launched(plan(see(stopping, demand=(jobs(100),)), memory, PLAIN)) == 5


def test_several_pools_share_the_cluster_maximum() -> None:
    policy = replace(BY_SHAPE, max_vms=3, pools=(Pool("small", 0, 2), Pool("large", 0, 3)))
    memory = Memory(waiting_since=NOW - 100, capacities={"small": Shape(2), "large": Shape(8)})
    made = plan(see([], demand=(jobs(20, 1), jobs(1, 8))), memory, policy)
    assert launched(made) <= 3
    assert {decision.pool for decision in of(made, Kind.LAUNCH)} == {"small", "large"}


def test_a_lookalike_counts_against_the_maximum_but_is_no_room_for_jobs() -> None:
    """Found by killing the daemon: a job waited for good for a VM that somebody else had launched."""
    lost = Intent("t", "default", 1, NOW - 900, lookalikes=("i-0000000a",))
    alike = Instance("i-0000000a", InstanceState.RUNNING, launched_at=NOW - 890, image_id="ami-1")
    policy = replace(PLAIN, max_vms=2, pools=(Pool("default", 0, 2, image_id="ami-1"),))
    seen = replace(see([], demand=(jobs(100),)), instances=(alike,))
    made = plan(seen, Memory(waiting_since=NOW - 100, intents=(lost,)), policy)
    assert launched(made) == 1


@pytest.mark.parametrize(
    ("record", "intent", "small_jobs_wait"),
    [
        pytest.param(vm(1, type="small"), None, False, id="booting"),
        pytest.param(joined(1, type="small", lost_since=NOW - 5), None, False, id="just out of sight"),
        pytest.param(None, Intent("t", "default", 1, NOW - 60, "small"), False, id="unconfirmed"),
        pytest.param(vm(1, type="large"), None, True, id="of the new type, for both"),
    ],
)
def test_a_vm_of_an_earlier_type_has_room_for_no_more_than_it_holds(
    record: VmRecord | None, intent: Intent | None, small_jobs_wait: bool
) -> None:
    records = [record] if record else []
    memory = remember(records, capacities=TYPES, waiting_since=NOW - 100, intents=(intent,) if intent else ())
    large = plan(see(records, demand=(jobs(1, cpus=8),)), memory, LARGE)
    assert launched(large) == (0 if small_jobs_wait else 1)
    assert launched(plan(see(records, demand=(jobs(2),)), memory, LARGE)) == 0


def test_a_worker_that_stays_open_has_proved_itself() -> None:
    """Found by the simulator: one that was kept idle for the minimum kept all launches waiting for ever."""
    memory = Memory(breakers={"default": Breaker(failed_boots=3, useless_births=3)})
    for seconds, expected in ((500.0, True), (700.0, False)):
        fleet = Fleet(NOW, memory, PLAIN, Matches(), (), NOW)
        assert fleet.is_to_prove_itself(joined(1, joined_at=NOW - seconds)) is expected
