"""What is launched and reopened: what is seen, what is remembered, what follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.decisions import Kind, Token
from elastiq.memory import Breaker, Intent, Memory, VmRecord
from elastiq.model import Demand, InstanceState, Policy, Pool, Shape, Worker
from elastiq.planning.plan import plan
from tests.unit.planning.table import (
    BY_SHAPE,
    HOLDS_4,
    NOW,
    PLAIN,
    ended,
    jobs,
    joined,
    launched,
    of,
    remember,
    see,
    vm,
    wide,
    worker,
)

TYPES = {"small": Shape(2, 4000), "large": Shape(16, 32000)}
LARGE = replace(BY_SHAPE, pools=(Pool("default", 0, 5, "large"),))


@pytest.mark.parametrize(
    ("waiting", "waited", "booting", "policy", "expected"),
    [
        pytest.param(0, None, 0, PLAIN, 0, id="nobody waits"),
        pytest.param(8, None, 0, PLAIN, 0, id="seen for the first time: only remembered"),
        pytest.param(8, 40.0, 0, PLAIN, 0, id="exactly waiting_jobs_time_s is not more than it"),
        pytest.param(8, 40.1, 0, PLAIN, 2, id="longer than waiting_jobs_time_s"),
        pytest.param(9, 41.0, 0, PLAIN, 3, id="rounded up"),
        pytest.param(8, 41.0, 1, PLAIN, 1, id="what a pending VM will bring is subtracted"),
        pytest.param(8, 41.0, 2, PLAIN, 0, id="pending VMs are enough"),
        pytest.param(100, 41.0, 0, PLAIN, 5, id="never more than max_vms"),
        pytest.param(100, 41.0, 3, PLAIN, 2, id="pending and new together never more than max_vms"),
        pytest.param(9, 41.0, 0, replace(PLAIN, waiting_jobs_threshold=10), 0, id="below the threshold"),
        pytest.param(10, 41.0, 0, replace(PLAIN, waiting_jobs_threshold=10), 3, id="at the threshold"),
        pytest.param(8, 41.0, 0, BY_SHAPE, 2, id="nothing known of a VM: the original's 4 jobs"),
        pytest.param(
            50, 41.0, 0, replace(PLAIN, max_vms=None, pools=(Pool(),)), 13, id="unlimited is what the jobs need"
        ),
    ],
)
def test_scale_up(waiting: int, waited: float | None, booting: int, policy: Policy, expected: int) -> None:
    records = [vm(number) for number in range(booting)]
    memory = remember(records, waiting_since=None if waited is None else NOW - waited)
    demand = (jobs(waiting),) if waiting else ()
    assert launched(plan(see(records, demand=demand), memory, policy)) == expected


@pytest.mark.parametrize("part", ["demand", "workers", "instances"])
def test_nothing_is_launched_in_doubt(part: str) -> None:
    seen = see([], demand=(jobs(8),), faults=("condor_q: exit 1",))
    made = plan(replace(seen, **{part: None}), Memory(waiting_since=NOW - 100), replace(PLAIN, min_vms=2))
    assert not launched(made)
    assert "condor_q: exit 1" in of(made, Kind.HOLD)[0].reason.text


@pytest.mark.parametrize(
    ("demand", "expected"),
    [
        pytest.param((jobs(4, 1),), 1, id="four small ones in one VM"),
        pytest.param((jobs(2, 4),), 2, id="one large one a VM"),
        pytest.param((jobs(3, 2),), 2, id="two of two CPUs in a VM"),
        pytest.param((jobs(1, 3), jobs(1, 1)), 1, id="shapes share a VM"),
        pytest.param((jobs(4, 1, 2000),), 2, id="memory counts as well"),
        pytest.param((jobs(2, 8),), 0, id="fits no VM: not counted"),
        pytest.param((jobs(2, 8), jobs(4, 1)), 1, id="what fits is launched for"),
    ],
)
def test_by_shape(demand: tuple[Demand, ...], expected: int) -> None:
    memory = Memory(waiting_since=NOW - 100, capacities=HOLDS_4)
    assert launched(plan(see([], demand=demand), memory, BY_SHAPE)) == expected


def test_a_job_too_large_is_reported() -> None:
    made = plan(see([], demand=(jobs(2, 8),)), Memory(waiting_since=NOW - 100, capacities=HOLDS_4), BY_SHAPE)
    assert [str(hold.reason) for hold in of(made, Kind.HOLD)] == [
        "2 jobs of 8 CPUs can never run: a VM holds 4 CPUs, 4000 MB memory; not counted as demand"
    ]


def test_the_room_of_a_foreign_worker_is_believed_only_for_a_while() -> None:
    seen = see([], demand=(jobs(4),), workers=(worker(7, instance_id=None),))
    assert not launched(plan(seen, Memory(waiting_since=NOW - 500), PLAIN))
    assert launched(plan(seen, Memory(waiting_since=NOW - 700), PLAIN)) == 1


def test_jobs_that_a_foreign_worker_does_not_take_are_not_left_waiting_for_good() -> None:
    """Found by the simulator: while its room sufficed for all jobs, the time that they waited was never counted."""
    memory, waited = Memory(), 0.0
    while waited <= PLAIN.estimated_vm_deploy_time_s:
        seen = replace(see([], demand=(jobs(4),), workers=(worker(7, instance_id=None),)), now=NOW + waited)
        made = plan(seen, memory, PLAIN)
        assert not launched(made)
        memory, waited = made.memory, waited + 15
    made = plan(replace(seen, now=NOW + waited), memory, PLAIN)
    assert launched(made) == 1


def test_how_long_jobs_wait_is_the_batch_systems_word_where_it_tells() -> None:
    fresh = replace(jobs(4), oldest_wait_seconds=20.0)
    seen = see([], demand=(fresh,), workers=(worker(7, instance_id=None),))
    assert not launched(plan(seen, Memory(waiting_since=NOW - 9999), PLAIN))


@pytest.mark.parametrize(
    ("records", "workers", "min_vms", "expected"),
    [
        pytest.param([], (), 2, 2, id="from nothing"),
        pytest.param([vm(1)], (), 2, 1, id="a pending VM counts"),
        pytest.param([joined(1), joined(2)], (worker(1), worker(2)), 2, 0, id="joined VMs count"),
        pytest.param([vm(1, state=InstanceState.ERROR)], (), 1, 1, id="a VM in error does not"),
        pytest.param(
            [vm(1, terminated_at=NOW - 5, state=InstanceState.STOPPING)], (), 1, 1, id="one that goes does not"
        ),
    ],
)
def test_minimum(records: list[VmRecord], workers: tuple[Worker, ...], min_vms: int, expected: int) -> None:
    assert launched(plan(see(records, workers=workers), remember(records), replace(PLAIN, min_vms=min_vms))) == expected


def test_a_closed_worker_is_reopened_before_anything_is_launched() -> None:
    record = joined(1, closing_at=NOW - 20, closed=True, terminate_tries=1)
    memory = remember([record], waiting_since=NOW - 100)
    made = plan(see([record], demand=(jobs(6),)), memory, PLAIN)
    assert [decision.instance_id for decision in of(made, Kind.REOPEN)] == [record.id]
    assert launched(made) == 1
    assert not ended(made)


def test_no_launch_is_planned_beside_one_that_is_not_answered() -> None:
    asked = Intent("t", "default", 1, NOW - 50, in_hand=True)
    made = plan(see([], demand=(jobs(12),)), Memory(waiting_since=NOW - 100, intents=(asked,)), PLAIN)
    assert not launched(made)
    assert "the cloud has not answered to the last launch yet, and is asked for one at a time" in made.summary
    lost = replace(asked, in_hand=False)
    assert launched(plan(see([], demand=(jobs(12),)), Memory(waiting_since=NOW - 100, intents=(lost,)), PLAIN)) == 2


@pytest.mark.parametrize(("demand", "since"), [((jobs(4),), NOW - 100), ((), None)])
def test_jobs_go_on_waiting_while_a_launch_for_them_may_be_refused(demand: object, since: float | None) -> None:
    asked = Intent("t", "default", 1, NOW - 50, in_hand=True)
    made = plan(see([], demand=demand), Memory(waiting_since=NOW - 100, intents=(asked,)), PLAIN)
    assert made.memory.waiting_since == since
    assert ("workers present, booting or asked for have room for 4 jobs" in made.summary) is (since is not None)
    lost = replace(asked, in_hand=False)
    made = plan(see([], demand=demand), Memory(waiting_since=NOW - 100, intents=(lost,)), PLAIN)
    assert made.memory.waiting_since is None


def test_no_time_is_called_so() -> None:
    at_once = replace(PLAIN, waiting_jobs_time_s=0.0)
    seen = see([], demand=(jobs(4),))
    first = plan(seen, Memory(), at_once)
    assert first.summary.endswith(
        "4 jobs have found no room; VMs are launched if they find none at the next look either"
    )
    second = plan(replace(seen, now=NOW + 1), first.memory, at_once)
    assert [str(one.reason) for one in second.decisions] == ["4 jobs have found no room"]


def test_a_vm_that_may_be_dying_is_never_reopened() -> None:
    record = joined(1, closing_at=NOW - 20, closed=True, doomed=True)
    made = plan(see([record], demand=(jobs(4),)), remember([record], waiting_since=NOW - 100), PLAIN)
    assert not of(made, Kind.REOPEN)
    assert launched(made) == 1


def test_one_request_takes_only_so_many_vms_and_says_so() -> None:
    policy = replace(PLAIN, pools=(Pool("default", 0, None),), max_vms=None)
    made = plan(see([], demand=(jobs(8000),)), Memory(waiting_since=NOW - 100), policy)
    assert launched(made) == 1000
    assert of(made, Kind.LAUNCH)[0].reason.text.endswith("; one request takes no more than 1000")


def test_the_breaker_stops_launches_and_says_why() -> None:
    breaker = Breaker(failed_boots=3, trips=1, paused_until=NOW + 200, reason="VM i-1 did not join")
    memory = Memory(waiting_since=NOW - 100, breakers={"default": breaker})
    made = plan(see([], demand=(jobs(8),)), memory, PLAIN)
    assert not launched(made)
    assert "launches pause for 200 s more: VM i-1 did not join" in of(made, Kind.HOLD)[-1].reason.text


def test_after_a_pause_one_vm_is_tried() -> None:
    memory = Memory(waiting_since=NOW - 100, breakers={"default": Breaker(failed_boots=3, trips=1)})
    assert launched(plan(see([], demand=(jobs(20),)), memory, PLAIN)) == 1


@pytest.mark.parametrize(("failed", "expected"), [(True, 1), (False, 0)])
def test_a_vm_that_is_known_to_have_failed_keeps_no_other_from_being_tried(failed: bool, expected: int) -> None:
    """Its termination may be refused for ever."""
    stuck = vm(1, state=InstanceState.ERROR, launched_at=NOW - 5000, failed_boot=failed, terminate_retry_at=NOW + 60)
    memory = remember([stuck], waiting_since=NOW - 100, breakers={"default": Breaker(failed_boots=3, trips=1)})
    assert launched(plan(see([stuck], demand=(jobs(20),)), memory, PLAIN)) == expected


@pytest.mark.parametrize(
    ("demand", "present", "maximum", "expected"),
    [
        pytest.param([wide(1, 3)], 0, 5, 3, id="all its machines in one launch"),
        pytest.param([wide(1, 3)], 0, 2, 0, id="never, for the maximum is smaller"),
        pytest.param([wide(2, 3, cpus=4)], 0, 5, 3, id="the second would get two of three"),
        pytest.param([wide(2, 3, cpus=2)], 0, 5, 3, id="two that share their machines"),
        pytest.param([wide(1, 3)], 2, 5, 1, id="what is there counts"),
        pytest.param([wide(1, 3)], 3, 5, 0, id="nothing is lacking"),
        pytest.param([wide(1, 3, cpus=4), jobs(5)], 0, 5, 5, id="narrow jobs take what is left"),
        pytest.param([wide(1, 4, cpus=4), jobs(8)], 2, 5, 3, id="narrow jobs get the last one"),
        pytest.param([wide(1000, 2)], 0, 5, 4, id="as many whole jobs as there is room for"),
    ],
)
def test_a_job_of_several_machines_gets_all_of_them_or_none(
    demand: list[Demand], present: int, maximum: int, expected: int
) -> None:
    records = [joined(number) for number in range(present)]
    workers = tuple(worker(number) for number in range(present))
    policy = replace(BY_SHAPE, pools=(Pool("default", 0, maximum),), max_vms=maximum)
    memory = remember(records, waiting_since=NOW - 100, capacities=HOLDS_4)
    made = plan(see(records, demand=tuple(demand), workers=workers), memory, policy)
    assert launched(made) == expected


def test_a_job_of_too_many_machines_is_reported() -> None:
    memory = remember([], waiting_since=NOW - 100, capacities=HOLDS_4)
    made = plan(see([], demand=(wide(1, 6),)), memory, BY_SHAPE)
    assert "1 job of 6 machines at once can never run: max_vms is 5; not counted as demand" in made.summary


def test_a_job_that_would_get_only_some_of_its_machines_is_reported() -> None:
    records = [joined(number) for number in range(3)]
    busy = tuple(worker(number, running=4) for number in range(3))
    memory = remember(records, waiting_since=NOW - 100, capacities=HOLDS_4)
    made = plan(see(records, demand=(wide(1, 3),), workers=busy), memory, BY_SHAPE)
    assert launched(made) == 0
    assert "1 job lacks 3 VMs at once, but max_vms 5 leaves 2, so none is launched for that" in made.summary


@pytest.mark.parametrize(("others", "expected"), [((wide(1, 2, cpus=4),), 1), ((jobs(1),), 0)])
def test_a_job_of_several_machines_that_cannot_start_by_now_leaves_the_room_to_others(
    others: tuple[Demand, ...], expected: int
) -> None:
    """Found by the simulator: it kept an idle VM, and another that lacked no more than that waited for as long."""
    records = [joined(1), joined(2)]
    workers = (worker(1, running=4), worker(2))
    policy = replace(BY_SHAPE, max_vms=3)
    memory = remember(records, waiting_since=NOW - 100, capacities=HOLDS_4)
    made = plan(see(records, demand=(wide(1, 3, cpus=4), *others), workers=workers), memory, policy)
    assert launched(made) == expected
    foreign = replace(worker(9), instance_id=None, name="foreign")
    with_foreign = see(records, demand=(wide(1, 3, cpus=4), *others), workers=(*workers, foreign))
    assert launched(plan(with_foreign, memory, policy)) == 1, "by now it can"


@pytest.mark.long
def test_many_jobs_of_several_machines_are_planned_quickly() -> None:
    records = [joined(number) for number in range(500)]
    workers = tuple(worker(number, cpus=64) for number in range(500))
    memory = remember(records, waiting_since=NOW - 100, capacities={"default": Shape(64, 4000)})
    policy = replace(BY_SHAPE, pools=(Pool("default", 0, None),), max_vms=None)
    made = plan(see(records, demand=(wide(50_000, 2),), workers=workers), memory, policy)
    assert launched(made) == 1000
    assert len(made.verdicts) <= 3 * 1000, "on jobs together, not on each of the 50,000"


def test_a_worker_that_could_not_be_reopened_makes_room_before_it_is_tried_again() -> None:
    dead = joined(1, closing_at=NOW - 5000, reopen_failed=True, lost_since=NOW - 5000)
    made = plan(see([dead], demand=(jobs(1),), workers=()), remember([dead], waiting_since=NOW - 100), BY_SHAPE)
    assert (of(made, Kind.REOPEN), launched(made)) == ([], 1)
    assert [decision.instance_id for decision in of(made, Kind.TERMINATE)] == [dead.id]


def test_a_worker_that_may_have_been_reopened_and_is_out_of_sight_is_given_the_time_to_come_back() -> None:
    """Found by the simulator: it was reopened, the answer was lost, and jobs may have started there since."""
    for lost_since, expected in ((None, 0), (NOW - 100, 0), (NOW - BY_SHAPE.lost_worker_time_s - 1, 1)):
        perhaps = joined(1, closing_at=NOW - 500, reopen_failed=True, lost_since=lost_since)
        made = plan(see([perhaps], demand=(jobs(1),), workers=()), remember([perhaps]), BY_SHAPE)
        assert len(of(made, Kind.TERMINATE)) == expected
    perhaps, in_sight = replace(perhaps, lost_since=None), (worker(1, cpus=2, closed=True),)
    made = plan(see([perhaps], workers=in_sight), remember([perhaps]), BY_SHAPE)
    assert len(of(made, Kind.TERMINATE)) == 1, "the close tells whether a job runs there"


def test_a_closed_worker_of_an_earlier_type_is_reopened_only_for_what_it_holds() -> None:
    closed = joined(1, type="small", closing_at=NOW - 50, closed=True, terminate_retry_at=NOW + 50)
    memory = remember([closed], capacities=TYPES, waiting_since=NOW - 100)
    at_work = (worker(1, cpus=2, closed=True),)
    made = plan(see([closed], demand=(jobs(1, cpus=8),), workers=at_work), memory, LARGE)
    assert (of(made, Kind.REOPEN), launched(made)) == ([], 1)
    made = plan(see([closed], demand=(jobs(1, cpus=2),), workers=at_work), memory, LARGE)
    assert (len(of(made, Kind.REOPEN)), launched(made)) == (1, 0)


def test_what_became_of_the_last_boots_is_said_whatever_was_refused_since() -> None:
    broken = Breaker(failed_boots=3, trips=1, paused_until=NOW - 1, reason="no capacity", boot_reason="no such command")
    memory = remember([vm(1)], waiting_since=NOW - 100, breakers={"default": broken})
    made = plan(see([vm(1)], demand=(jobs(20),)), memory, PLAIN)
    assert launched(made) == 0
    assert any(hold.reason.text.endswith("must join first: no such command") for hold in of(made, Kind.HOLD))


def test_jobs_that_have_their_machines_for_themselves_get_one_vm_each() -> None:
    group = Demand(Shape(1, 1000), 7, takes_whole_vms=True)
    memory = Memory(capacities={"default": Shape(8, 16000)}, waiting_since=NOW - 100)
    assert launched(plan(see([], demand=(group,)), memory, replace(BY_SHAPE, max_vms=10, pools=(Pool(),)))) == 7


def test_a_job_of_many_machines_asks_for_all_of_them_or_none() -> None:
    memory = Memory(capacities={"default": Shape(4)}, waiting_since=NOW - 100)
    policy = replace(BY_SHAPE, max_vms=10, pools=(Pool(),))
    (decision,) = of(plan(see([], demand=(wide(2, 4, cpus=4),)), memory, policy), Kind.LAUNCH)
    assert (decision.count, decision.at_least) == (8, 4)
    (decision,) = of(plan(see([], demand=(wide(1, 4, cpus=4), jobs(2, cpus=4))), memory, policy), Kind.LAUNCH)
    assert (decision.count, decision.at_least) == (6, 1)


def test_no_more_is_asked_for_than_half_of_what_was_refused() -> None:
    memory = Memory(
        capacities={"default": Shape(4)}, waiting_since=NOW - 100, breakers={"default": Breaker(refusals=1, ask=2)}
    )
    policy = replace(BY_SHAPE, max_vms=10, pools=(Pool(),))
    assert launched(plan(see([], demand=(jobs(8, cpus=4),)), memory, policy)) == 2
    asked = replace(memory, intents=(Intent("t", "default", 2, NOW - 5, in_hand=True),))
    assert not launched(plan(see([], demand=(jobs(20, cpus=4),)), asked, policy)), "the answer is still to come"
    # Of these it costs nothing to ask for all.
    assert launched(plan(see([], demand=(wide(1, 5),)), memory, policy)) == 5


def test_a_job_of_more_machines_than_the_cloud_gave_waits_a_day() -> None:
    breaker = Breaker(most=3, most_until=NOW + 100)
    memory = Memory(capacities={"default": Shape(4)}, waiting_since=NOW - 100, breakers={"default": breaker})
    policy = replace(BY_SHAPE, max_vms=10, pools=(Pool(),))
    made = plan(see([], demand=(wide(1, 5),)), memory, policy)
    assert [one.reason.token for one in of(made, Kind.HOLD)] == [Token.CLOUD_LIMIT]
    assert launched(plan(see([], demand=(wide(1, 3),)), memory, policy)) == 3
    assert launched(plan(see([], demand=(wide(1, 5),), now=NOW + 101), memory, policy)) == 5


def test_vms_that_wait_for_others_which_a_job_needs_at_the_same_time_were_not_launched_in_vain() -> None:
    """Found by the simulator: those that had joined first went before the last one came, again and again."""
    there = [joined(number, joined_at=NOW - 700, launched_at=NOW - 900) for number in (1, 2)]
    records = [*there, vm(3, launched_at=NOW - 100)]
    workers = tuple(worker(number, idle_seconds=650.0) for number in (1, 2))
    policy = replace(BY_SHAPE, idle_for_time_s=3600.0)
    memory = remember(records, capacities={"default": Shape(4, 4000)})
    made = plan(see(records, demand=(wide(1, 3),), workers=workers), memory, policy)
    assert of(made, Kind.TERMINATE) == []
