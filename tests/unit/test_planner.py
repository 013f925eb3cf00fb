"""Decisions as tables: what is seen, what is remembered, what follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.decisions import Decision, Kind, Plan
from elastiq.memory import Breaker, Intent, Memory, VmRecord
from elastiq.model import Demand, Instance, InstanceState, Observation, Policy, Pool, Shape, Worker
from elastiq.planning.plan import plan

NOW = 1_000_000.0
PLAIN = Policy(pools=(Pool("default", 0, 5),), max_vms=5, n_jobs_per_vm=4, cluster="test")
BY_SHAPE = replace(PLAIN, n_jobs_per_vm=None)
HOLDS_4 = {"default": Shape(4, 4000)}


def jobs(count: int, cpus: int = 1, memory_mb: int = 0) -> Demand:
    return Demand(Shape(cpus, memory_mb), count)


def vm(number: int, **values: object) -> VmRecord:
    base = VmRecord(f"i-{number:08x}", token=f"t{number}", launched_at=NOW - 100, state=InstanceState.RUNNING)
    return replace(base, **values)


def joined(number: int, **values: object) -> VmRecord:
    return vm(number, **{"joined_at": NOW - 90, "worker_name": f"w{number}", "launched_at": NOW - 10_000, **values})


def worker(number: int, running: int = 0, idle_seconds: float | None = 0.0, cpus: int = 4, **values: object) -> Worker:
    shape = Shape(cpus, 4000)
    free = replace(shape, cpus=cpus - running)
    idle = None if running else idle_seconds
    return replace(Worker(f"w{number}", f"i-{number:08x}", None, shape, free, running, idle), **values)


def see(records: list[VmRecord], *, demand: object = (), workers: object = (), **values: object) -> Observation:
    listed = tuple(
        Instance(record.id, record.state, client_token=record.token, cluster="test", detail=record.detail)
        for record in records
    )
    return replace(Observation(NOW, demand, 0.0, workers, 0.0, listed), **values)  # type: ignore[arg-type]


def remember(records: list[VmRecord], **values: object) -> Memory:
    return replace(Memory(vms={record.id: record for record in records}), **values)


def of(made: Plan, kind: Kind) -> list[Decision]:
    return [decision for decision in made.decisions if decision.kind is kind]


def launched(made: Plan) -> int:
    return sum(decision.count for decision in of(made, Kind.LAUNCH))


def ended(made: Plan) -> list[str]:
    return [decision.instance_id for decision in of(made, Kind.TERMINATE)]


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


def test_the_waiting_time_starts_goes_on_and_is_forgotten() -> None:
    first = plan(see([], demand=(jobs(8),)), Memory(), PLAIN)
    assert first.memory.waiting_since == NOW
    unknown = plan(replace(see([]), demand=None), first.memory, PLAIN)
    assert unknown.memory.waiting_since == NOW, "a failed query leaves it untouched"
    assert plan(see([]), first.memory, PLAIN).memory.waiting_since is None


@pytest.mark.parametrize("part", ["demand", "workers", "instances"])
def test_nothing_is_launched_in_doubt(part: str) -> None:
    seen = see([], demand=(jobs(8),), faults=("condor_q: exit 1",))
    made = plan(replace(seen, **{part: None}), Memory(waiting_since=NOW - 100), replace(PLAIN, min_vms=2))
    assert not launched(made)
    assert "condor_q: exit 1" in of(made, Kind.HOLD)[0].reason.text


@pytest.mark.parametrize("part", ["workers", "instances"])
def test_nothing_is_terminated_in_doubt(part: str) -> None:
    records = [joined(1), vm(2, launched_at=NOW - 5000), joined(3, lost_since=NOW - 90_000)]
    seen = see(records, workers=(worker(1, idle_seconds=99_999),))
    assert len(ended(plan(seen, remember(records), PLAIN))) == 3
    assert not ended(plan(replace(seen, **{part: None}), remember(records), PLAIN))


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


def test_a_free_worker_of_elastiq_is_as_good_as_a_new_vm() -> None:
    records = [joined(1)]
    seen = see(records, demand=(jobs(4),), workers=(worker(1),))
    assert not launched(plan(seen, remember(records, waiting_since=NOW - 9999), PLAIN))
    busy = see(records, demand=(jobs(4),), workers=(worker(1, running=4),))
    assert launched(plan(busy, remember(records, waiting_since=NOW - 9999), PLAIN)) == 1


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


def test_terminating_vms_count_until_the_cloud_says_that_they_stop() -> None:
    records = [vm(number, terminated_at=NOW - 5, doomed=True) for number in range(5)]
    memory = remember(records, waiting_since=NOW - 100)
    assert not launched(plan(see(records, demand=(jobs(100),)), memory, PLAIN))
    stopping = [replace(record, state=InstanceState.STOPPING) for record in records]
    assert launched(plan(see(stopping, demand=(jobs(100),)), memory, PLAIN)) == 5


@pytest.mark.parametrize(
    ("record", "workers", "expected"),
    [
        pytest.param(joined(1), (worker(1, idle_seconds=3601),), True, id="idle for longer than idle_for_time_s"),
        pytest.param(joined(1), (worker(1, idle_seconds=3600),), False, id="idle, not for longer"),
        pytest.param(joined(1), (worker(1, idle_seconds=None),), False, id="idle since unknown"),
        pytest.param(joined(1), (worker(1, running=1),), False, id="busy"),
        pytest.param(joined(1), (worker(1, idle_seconds=7199, closed=True),), False, id="closed by somebody else"),
        pytest.param(joined(1), (worker(1, idle_seconds=7201, closed=True),), True, id="closed and forgotten"),
        pytest.param(joined(1), (worker(1, running=1, closed=True),), False, id="closed, busy"),
        pytest.param(vm(1, launched_at=NOW - 601), (), True, id="never joined"),
        pytest.param(vm(1, launched_at=NOW - 600), (), False, id="may still join"),
        pytest.param(vm(1, state=InstanceState.ERROR), (), True, id="in error"),
        pytest.param(joined(1, lost_since=NOW - 3601), (), True, id="lost for long"),
        pytest.param(joined(1, lost_since=NOW - 3500), (), False, id="lost, may come back"),
        pytest.param(joined(1), (), False, id="lost just now"),
        pytest.param(joined(1, closing_at=NOW - 9), (), True, id="closing before a crash: tried again"),
        pytest.param(joined(1, doomed=True, closing_at=NOW - 99), (), True, id="termination without an answer"),
        pytest.param(joined(1, doomed=True, closing_at=NOW - 99, terminate_retry_at=NOW + 1), (), False, id="back-off"),
        pytest.param(joined(1, terminated_at=NOW - 9, doomed=True), (), False, id="terminated already"),
    ],
)
def test_scale_down(record: VmRecord, workers: tuple[Worker, ...], expected: bool) -> None:
    assert ended(plan(see([record], workers=workers), remember([record]), PLAIN)) == ([record.id] if expected else [])


def test_a_vm_may_have_joined_since_the_workers_were_looked_at() -> None:
    record = vm(1, launched_at=NOW - 700)
    assert not ended(plan(see([record], workers_age_seconds=200.0), remember([record]), PLAIN))
    lost = joined(1, lost_since=NOW - 3700)
    assert not ended(plan(see([lost], workers_age_seconds=200.0), remember([lost]), PLAIN))


def test_a_failed_boot_is_one_also_when_its_termination_is_tried_again() -> None:
    records = [vm(1, closing_at=NOW - 99, doomed=True), joined(2, closing_at=NOW - 99, doomed=True)]
    made = of(plan(see(records), remember(records), PLAIN), Kind.TERMINATE)
    assert [decision.failed_boot for decision in made] == [True, False]


def test_the_longest_idle_goes_first_and_the_minimum_stays() -> None:
    records = [joined(number) for number in (1, 2, 3)]
    workers = tuple(worker(number, idle_seconds=seconds) for number, seconds in ((1, 4000), (2, 6000), (3, 5000)))
    made = plan(see(records, workers=workers), remember(records), replace(PLAIN, min_vms=1))
    assert ended(made) == [records[1].id, records[2].id]
    assert [str(hold.reason) for hold in of(made, Kind.HOLD)] == ["1 idle VM kept: min_vms is 1"]


def test_a_booting_vm_keeps_no_idle_worker_from_being_the_minimum() -> None:
    records = [joined(1), vm(2)]
    made = plan(see(records, workers=(worker(1, idle_seconds=9999),)), remember(records), replace(PLAIN, min_vms=1))
    assert not ended(made)


def test_a_closed_worker_is_reopened_before_anything_is_launched() -> None:
    record = joined(1, closing_at=NOW - 20, closed=True, terminate_tries=1)
    memory = remember([record], waiting_since=NOW - 100)
    made = plan(see([record], demand=(jobs(6),)), memory, PLAIN)
    assert [decision.instance_id for decision in of(made, Kind.REOPEN)] == [record.id]
    assert launched(made) == 1
    assert not ended(made)


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


def test_several_pools_share_the_cluster_maximum() -> None:
    policy = replace(BY_SHAPE, max_vms=3, pools=(Pool("small", 0, 2), Pool("large", 0, 3)))
    memory = Memory(waiting_since=NOW - 100, capacities={"small": Shape(2, 0), "large": Shape(8, 0)})
    made = plan(see([], demand=(jobs(20, 1), jobs(1, 8))), memory, policy)
    assert launched(made) <= 3
    assert {decision.pool for decision in of(made, Kind.LAUNCH)} == {"small", "large"}


def test_the_summary_is_one_sentence() -> None:
    records = [joined(1)]
    seen = see(records, demand=(jobs(8),), workers=(worker(1, running=4),))
    made = plan(seen, remember(records, waiting_since=NOW - 50), PLAIN)
    assert made.summary == "jobs 8 waiting; workers 1 busy, 0 idle; VMs 0 pending, 1 running of 0..5: launch 2"


def wide(count: int, machines: int, cpus: int = 1) -> Demand:
    return Demand(Shape(cpus), count, vms_per_job=machines)


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


def test_many_jobs_of_several_machines_are_planned_quickly() -> None:
    records = [joined(number) for number in range(500)]
    workers = tuple(worker(number, cpus=64) for number in range(500))
    memory = remember(records, waiting_since=NOW - 100, capacities={"default": Shape(64, 4000)})
    policy = replace(BY_SHAPE, pools=(Pool("default", 0, None),), max_vms=None)
    made = plan(see(records, demand=(wide(50_000, 2),), workers=workers), memory, policy)
    assert launched(made) == 1000


def test_a_worker_that_somebody_else_closed_is_left_alone_and_reported() -> None:
    records = [joined(1), joined(2, closing_at=NOW - 500, closed=True)]
    workers = tuple(worker(n, idle_seconds=90_000.0, closed=True, closed_by_other=True) for n in (1, 2))
    memory = remember(records, waiting_since=NOW - 100)
    made = plan(see(records, demand=(jobs(1),), workers=workers), memory, PLAIN)
    assert ended(made) == []
    assert of(made, Kind.REOPEN) == []
    assert "VM i-00000001, i-00000002 is left alone: somebody else closed its worker" in made.summary
    assert launched(made) == 1


def test_a_vm_whose_termination_may_have_gone_through_is_ended_whoever_closed_it_since() -> None:
    record = joined(1, closing_at=NOW - 500, closed=True, doomed=True)
    workers = (worker(1, closed=True, closed_by_other=True),)
    assert ended(plan(see([record], workers=workers), remember([record]), PLAIN)) == [record.id]


def test_a_lookalike_counts_against_the_maximum_but_is_no_room_for_jobs() -> None:
    """Found by killing the daemon: a job waited for good for a VM that somebody else had launched."""
    lost = Intent("t", "default", 1, NOW - 900, lookalikes=("i-0000000a",))
    alike = Instance("i-0000000a", InstanceState.RUNNING, launched_at=NOW - 890, image_id="ami-1")
    policy = replace(PLAIN, image_id="ami-1", max_vms=2, pools=(Pool("default", 0, 2),))
    seen = replace(see([], demand=(jobs(100),)), instances=(alike,))
    made = plan(seen, Memory(waiting_since=NOW - 100, intents=(lost,)), policy)
    assert launched(made) == 1


@pytest.mark.parametrize(
    ("values", "demand", "expected"),
    [
        ({}, (jobs(1, cpus=8),), ["i-00000001"]),
        ({}, (), []),
        ({}, None, []),
        ({"type": "large"}, (jobs(1, cpus=8),), []),
        ({"type": ""}, (jobs(1, cpus=8),), []),
    ],
)
def test_an_idle_vm_of_an_earlier_type_gives_its_place_to_jobs_that_it_does_not_hold(
    values: dict[str, object], demand: object, expected: list[str]
) -> None:
    """Found by the simulator: with all of max_vms kept for the minimum, they waited for ever."""
    records = [joined(1, **{"type": "small", **values}), joined(2, **{"type": "small", **values})]
    policy = replace(BY_SHAPE, pools=(Pool("default", 0, None, "large"),), min_vms=2, max_vms=2)
    seen = see(records, demand=demand, workers=(worker(1, idle_seconds=9999), worker(2, idle_seconds=9998)))
    assert ended(plan(seen, remember(records), policy)) == expected
    assert not ended(plan(seen, remember(records), replace(policy, max_vms=3))), "there is room"
    going = [replace(records[0], doomed=True, terminated_at=NOW - 1), records[1]]
    assert not ended(plan(seen, remember(going), policy)), "one after the other"


TYPES = {"small": Shape(2, 4000), "large": Shape(16, 32000)}
LARGE = replace(BY_SHAPE, pools=(Pool("default", 0, 5, "large"),))


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


def test_a_closed_worker_of_an_earlier_type_is_reopened_only_for_what_it_holds() -> None:
    closed = joined(1, type="small", closing_at=NOW - 50, closed=True, terminate_retry_at=NOW + 50)
    memory = remember([closed], capacities=TYPES, waiting_since=NOW - 100)
    at_work = (worker(1, cpus=2, closed=True),)
    made = plan(see([closed], demand=(jobs(1, cpus=8),), workers=at_work), memory, LARGE)
    assert (of(made, Kind.REOPEN), launched(made)) == ([], 1)
    made = plan(see([closed], demand=(jobs(1, cpus=2),), workers=at_work), memory, LARGE)
    assert (len(of(made, Kind.REOPEN)), launched(made)) == (1, 0)


def test_a_worker_that_somebody_closed_does_not_fill_the_minimum_in_place_of_an_idle_one() -> None:
    records = [joined(1), joined(2)]
    workers = (worker(1, running=1, closed=True, closed_by_other=True), worker(2, idle_seconds=9999))
    assert ended(plan(see(records, workers=workers), remember(records), replace(PLAIN, min_vms=1))) == []


@pytest.mark.parametrize(("closed", "said"), [(True, "was closed"), (False, "was to be closed")])
def test_a_worker_is_called_closed_only_if_it_is(closed: bool, said: str) -> None:
    record = joined(1, closing_at=NOW - 9, closed=closed)
    made = plan(see([record], workers=(worker(1),)), remember([record]), PLAIN)
    assert [str(decision.reason) for decision in of(made, Kind.TERMINATE)] == [
        f"its worker {said} for a termination that has not succeeded yet"
    ]


def test_what_became_of_the_last_boots_is_said_whatever_was_refused_since() -> None:
    broken = Breaker(failed_boots=3, trips=1, paused_until=NOW - 1, reason="no capacity", boot_reason="no such command")
    memory = remember([vm(1)], waiting_since=NOW - 100, breakers={"default": broken})
    made = plan(see([vm(1)], demand=(jobs(20),)), memory, PLAIN)
    assert launched(made) == 0
    assert any(hold.reason.text.endswith("must join first: no such command") for hold in of(made, Kind.HOLD))
