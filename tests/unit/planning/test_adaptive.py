"""How much room is kept free for jobs to come, and what that does to launches and terminations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from elastiq.decisions import Kind, Plan, Token
from elastiq.memory import Load, Memory, Rises, VmRecord
from elastiq.model import Demand, Instance, InstanceState, Observation, Policy, Pool, Shape, Worker
from elastiq.planning.adaptive import PERIODS, Spare, cores_of, period_seconds, spare_of
from elastiq.planning.boots import quantile
from elastiq.planning.packing import Rest
from elastiq.planning.plan import plan

POLICY = Policy(max_vms=40, waiting_jobs_time_s=0.0, idle_for_time_s=60.0, is_adaptive=True, pools=(Pool(max_vms=40),))
(POOL,) = POLICY.pools
FOUR = Shape(4, 8000)
PERIOD = period_seconds(POOL, Memory(), POLICY)
T0 = 1_000_000.0


def with_rises(*cores: float, needed: float = 1e6, spent: float = 1e6) -> Memory:
    return Memory(capacities={"default": FOUR}, rises={"default": Rises(tuple(cores), 0.0, needed, spent)})


def cluster(now: float, memory: Memory, jobs: Iterable[int], waiting: int = 0, idle: float = 600.0) -> Observation:
    """Return a cluster with a VM for each of `jobs`, with so many jobs of one core on it."""
    instances, workers = [], []
    for number, running in enumerate(jobs):
        id_ = f"i-{number:08x}"
        instances.append(Instance(id_, InstanceState.RUNNING, launched_at=T0 - 4000, cluster="c", pool="default"))
        free, since = Shape(4 - running, 8000), None if running else idle
        workers.append(Worker(id_, id_, capacity=FOUR, free=free, jobs=running, idle_seconds=since))
    demand = (Demand(Shape(1), waiting),) if waiting else ()
    return Observation(now, demand, 0.0, tuple(workers), 0.0, tuple(instances), 0.0)


def memory_of(jobs: Iterable[int], memory: Memory) -> Memory:
    vms = {}
    for number, running in enumerate(jobs):
        id_ = f"i-{number:08x}"
        vms[id_] = VmRecord(
            id_,
            launched_at=T0 - 4000,
            state=InstanceState.RUNNING,
            joined_at=T0 - 3900,
            worker_name=id_,
            at_work=running > 0,
            tagged=True,
        )
    return replace(memory, vms=vms)


def planned(jobs: tuple[int, ...], memory: Memory, waiting: int = 0, policy: Policy = POLICY) -> Plan:
    policy = replace(policy, cluster="c")
    return plan(cluster(T0, memory, jobs, waiting), memory_of(jobs, memory), policy)


def launched(made: Plan) -> int:
    return sum(one.count for one in made.decisions if one.kind is Kind.LAUNCH)


def ended(made: Plan) -> int:
    return sum(one.kind is Kind.TERMINATE for one in made.decisions)


@pytest.mark.parametrize(
    ("memory", "eagerness", "cores"),
    [
        pytest.param(Memory(), 0.75, 0, id="nothing is known"),
        pytest.param(with_rises(*[8.0] * PERIODS), 0.75, 8, id="it always rose by 8"),
        pytest.param(with_rises(*[0.0] * 6, *[8.0] * 6), 0.75, 8, id="every second time"),
        pytest.param(with_rises(*[0.0] * 10, *[8.0] * 2), 0.75, 0, id="too rarely"),
        pytest.param(with_rises(*[0.0] * 10, *[8.0] * 2), 1.0, 8, id="too rarely but for the most eager"),
        pytest.param(with_rises(*[8.0] * PERIODS), 0.0, 8, id="even the least rise is 8"),
        pytest.param(with_rises(8.0, 8.0), 0.75, 0, id="periods that nobody has seen were quiet"),
        pytest.param(with_rises(*[900.0] * PERIODS), 0.75, 40, id="no more than a quarter of the quota"),
        pytest.param(with_rises(*[8.0] * PERIODS, needed=1e6, spent=1.3e6), 0.75, 0, id="it has cost too much"),
        pytest.param(with_rises(*[8.0] * PERIODS, needed=1e6, spent=1.1e6), 0.75, 8, id="it has not"),
        pytest.param(with_rises(*[8.0] * PERIODS, needed=2e4, spent=2e4), 0.75, 4, id="a VM would not cost too much"),
        pytest.param(with_rises(*[8.0] * PERIODS, needed=1e4, spent=1e4), 0.75, 0, id="any would, if nothing came"),
        pytest.param(with_rises(*[8.0] * 10, *[0.0] * 2), 0.75, 8, id="two quiet periods are a pause"),
        pytest.param(with_rises(*[8.0] * 9, *[0.0] * 3), 0.75, 0, id="three are the end"),
        pytest.param(with_rises(*[2.7] * PERIODS), 0.75, 2, id="whole cores"),
    ],
)
def test_spare(memory: Memory, eagerness: float, cores: int) -> None:
    policy = replace(POLICY, eagerness=eagerness)
    assert spare_of(POOL, memory, policy).cores == cores
    assert spare_of(POOL, memory, replace(policy, is_adaptive=False)) == Spare()


@pytest.mark.parametrize(
    ("jobs", "waiting", "launches"),
    [
        pytest.param((4, 4), 0, 2, id="all of the spare room is lacking"),
        pytest.param((4, 4, 0), 0, 1, id="half of it"),
        pytest.param((4, 4, 0, 0), 0, 0, id="none"),
        pytest.param((4, 4, 1, 0), 0, 0, id="less than a VM"),
        pytest.param((4, 4), 3, 2, id="jobs that wait leave a core of theirs"),
        pytest.param((4, 4), 4, 3, id="jobs that wait, and the spare room"),
        pytest.param((4, 4, 0), 4, 2, id="jobs that wait take what was free"),
        pytest.param((), 0, 2, id="no VM at all"),
    ],
)
def test_vms_are_launched_for_jobs_to_come(jobs: tuple[int, ...], waiting: int, launches: int) -> None:
    made = planned(jobs, with_rises(*[8.0] * PERIODS), waiting)
    assert launched(made) == launches
    (reason,) = [one.reason for one in made.decisions if one.kind is Kind.LAUNCH] or [None]
    if reason is not None:
        assert reason.token is (Token.NO_ROOM if waiting else Token.SPARE) or (jobs and waiting and launches)
        assert "spare 8 cores, for in the last 48 min the load rose by up to 8 within 240 s" in reason.text


def test_a_load_that_rises_again_ends_the_quiet() -> None:
    memory = with_rises(*[8.0] * 9, *[0.0] * 3)
    assert spare_of(POOL, replace(memory, loads={"default": Load(T0, 4.0, 4.0, 0.0, T0)}), POLICY).cores == 0
    assert spare_of(POOL, replace(memory, loads={"default": Load(T0, 5.0, 4.0, 1.0, T0)}), POLICY).cores == 8


def test_jobs_that_wait_get_vms_at_once() -> None:
    assert launched(planned((4,), Memory(capacities={"default": FOUR}), waiting=5)) == 2
    made = planned(
        (4,), Memory(capacities={"default": FOUR}), waiting=5, policy=replace(POLICY, waiting_jobs_time_s=9.0)
    )
    assert launched(made) == 0


def test_jobs_to_come_never_pass_the_quota() -> None:
    policy = replace(POLICY, max_vms=5, pools=(Pool(max_vms=5),))
    assert launched(planned((4, 4, 4, 4), with_rises(*[100.0] * PERIODS), policy=policy)) == 1
    assert launched(planned((4, 4, 4, 4, 4), with_rises(*[100.0] * PERIODS), policy=policy)) == 0


@pytest.mark.parametrize(
    ("rises", "jobs", "ends"),
    [
        pytest.param([0.0], (4, 0, 0, 0), 3, id="nothing is to be free"),
        pytest.param([8.0], (4, 0, 0, 0), 1, id="two VMs are"),
        pytest.param([8.0], (4, 0, 0), 0, id="these two"),
        pytest.param([8.0], (1, 1, 2, 0), 1, id="it is free beside jobs"),
        pytest.param([5.0], (4, 0, 0, 0), 1, id="more than one VM"),
    ],
)
def test_idle_vms_go_if_enough_is_free_without_them(rises: list[float], jobs: tuple[int, ...], ends: int) -> None:
    made = planned(jobs, with_rises(*rises * PERIODS))
    assert ended(made) == ends
    kept = jobs.count(0) - ends
    assert sum(one.reason.token is Token.KEPT_AS_SPARE for one in made.verdicts) == kept
    holds = [one.reason.text for one in made.decisions if one.reason.token is Token.KEPT_AS_SPARE]
    assert bool(holds) == bool(kept)
    assert all(text.startswith(f"{kept} VM") and "kept for jobs to come: spare" in text for text in holds)


def test_workers_where_waiting_jobs_are_to_start_stay() -> None:
    """Also those of a job of several VMs that waits for others to boot."""
    jobs, memory = (0, 0, 0), memory_of((0, 0, 0), Memory(capacities={"default": FOUR}))
    seen = replace(cluster(T0, memory, jobs), demand=(Demand(Shape(4), 1, vms_per_job=2),))
    made = plan(seen, memory, replace(POLICY, cluster="c"))
    assert ended(made) == 1
    assert sum(one.reason.token is Token.KEPT_FOR_JOBS for one in made.verdicts) == 2


def test_a_wide_job_that_idle_workers_hold_in_part_starts_once_the_others_have_booted() -> None:
    policy = replace(POLICY, cluster="c")
    memory = memory_of((0, 0), Memory(capacities={"default": FOUR}))
    seen = replace(cluster(T0, memory, (0, 0)), demand=(Demand(Shape(4), 1, vms_per_job=3),))
    made = plan(seen, memory, policy)
    made = plan(replace(seen, now=T0 + 0.1), made.memory, policy)
    assert (launched(made), ended(made)) == (1, 0)


def follow_day(loads: Iterable[int], seconds: float = 60.0, policy: Policy = POLICY) -> Memory:
    """Return the memory after so many cores were in use at one look after the other."""
    memory = Memory(capacities={"default": FOUR})
    policy = replace(policy, cluster="c")
    for number, load in enumerate(loads):
        jobs = (*[4] * (load // 4), *([load % 4] if load % 4 else []))
        seen = cluster(T0 + number * seconds, memory, jobs)
        memory = plan(seen, memory_of(jobs, memory), policy).memory
    return memory


def test_rises_are_measured_from_the_lowest_load_of_each_period() -> None:
    memory = follow_day([8, 12, 4, 10, 10, 10, 10, 10, 10, 10, 30])
    assert memory.rises["default"].cores == (6.0, 0.0)
    assert memory.loads["default"].risen == 20


def test_a_load_that_never_rises_leaves_nothing_to_remember() -> None:
    memory = follow_day([12] * 40)
    assert not memory.rises
    assert spare_of(POOL, memory, POLICY) == Spare()


def test_a_job_that_starts_is_no_rise() -> None:
    """It was waiting before, and neither answer is older than the other."""
    policy = replace(POLICY, cluster="c")
    memory = memory_of((0,), Memory(capacities={"default": FOUR}))
    memory = plan(cluster(T0, memory, (0,), waiting=3), memory, policy).memory
    memory = plan(cluster(T0 + 30, memory, (3,)), memory_of((3,), memory), policy).memory
    assert memory.loads["default"].risen == 0


def test_answers_of_different_times_tell_nothing_of_the_load() -> None:
    policy = replace(POLICY, cluster="c")
    memory = memory_of((0,), Memory(capacities={"default": FOUR}))
    seen = replace(cluster(T0, memory, (0,), waiting=3), workers_age_seconds=30.0)
    assert not plan(seen, memory, policy).memory.loads


def test_time_in_which_nobody_looked_is_quiet() -> None:
    memory = follow_day([4, 9])
    seen = cluster(T0 + 60 + 3 * PERIOD, memory, (4, 4, 1))
    memory = plan(seen, memory_of((4, 4, 1), memory), replace(POLICY, cluster="c")).memory
    assert memory.rises["default"].cores == (5.0, 0.0, 0.0)


def test_jobs_in_vain_are_no_load() -> None:
    policy = replace(POLICY, cluster="c", max_vms=2)
    memory = memory_of((4, 4), Memory(capacities={"default": FOUR}))
    seen = replace(cluster(T0, memory, (4, 4)), demand=(Demand(Shape(64), 40),))
    assert plan(seen, memory, policy).memory.loads["default"].cores == 8


@pytest.mark.parametrize(
    ("rest", "cores"),
    [
        (Rest(0, Shape(1), 1, 1), 1.0),
        (Rest(0, Shape(1, 4000), 1, 1), 2.0),
        (Rest(0, Shape(1, 100, None, 1), 1, 1), 4.0),
        (Rest(0, Shape(1), 1, 1, takes_whole=True), 4.0),
        (Rest(0, Shape(9), 1, 1), 4.0),
    ],
)
def test_a_job_counts_for_all_that_nobody_else_can_use(rest: Rest, cores: float) -> None:
    assert cores_of(rest, Shape(4, 8000, None, 1)) == cores


def test_what_room_to_keep_free_may_cost_is_bounded() -> None:
    """One short job in three periods: a VM that is always there would cost twice as much as one for each job."""
    policy, memory = replace(POLICY, cluster="c", eagerness=0.9), Memory(capacities={"default": FOUR})
    for number in range(600):
        is_there = number % 12 < 1
        jobs = (1,) if is_there else (0,)
        seen = cluster(T0 + number * 60.0, memory, jobs)
        memory = plan(seen, memory_of(jobs, memory), policy).memory
    assert quantile((*memory.rises["default"].cores,), policy.eagerness) == 1
    assert memory.rises["default"].vm_seconds > memory.rises["default"].needed_vm_seconds
    assert spare_of(POOL, memory, policy) == Spare()


@pytest.mark.parametrize(("max_vms", "vms"), [(40, 10), (2, 2), (None, 10)])
def test_a_rise_would_have_cost_no_more_vms_than_there_may_be(max_vms: int | None, vms: int) -> None:
    """Jobs that pile up behind the quota had let a few VMs cost as much as many that never were."""
    policy = replace(POLICY, cluster="c", max_vms=max_vms, pools=(Pool(max_vms=max_vms),))
    memory = Memory(capacities={"default": FOUR})
    for seconds, waiting in ((0.0, 0), (30.0, 40), (PERIOD, 40)):
        memory = plan(
            cluster(T0 + seconds, memory_of((4,), memory), (4,), waiting), memory_of((4,), memory), policy
        ).memory
    rises = memory.rises["default"]
    assert rises.cores == (40.0,)
    assert rises.needed_vm_seconds == pytest.approx(PERIOD + vms * (180 + 60))


@pytest.mark.parametrize(("idle", "ends"), [(660.0, 0), (661.0, 2)])
def test_jobs_that_never_start_keep_no_worker_for_good(idle: float, ends: int) -> None:
    """Found by the simulator: a worker on which jobs were said to have room stayed idle."""
    memory = memory_of((0, 0), Memory(capacities={"default": FOUR}))
    seen = cluster(T0, memory, (0, 0), waiting=8, idle=idle)
    assert ended(plan(seen, memory, replace(POLICY, cluster="c"))) == ends


def test_a_quiet_cluster_has_nothing_to_write_down() -> None:
    """And what its VMs have cost meanwhile is made up for as soon as the load changes."""
    policy, memory = replace(POLICY, cluster="c"), memory_of((4,), Memory(capacities={"default": FOUR}))
    first = plan(cluster(T0, memory, (4,)), memory, policy).memory
    later = plan(cluster(T0 + 5 * PERIOD, memory, (4,)), first, policy).memory
    assert (later.loads, later.rises) == (first.loads, first.rises)
    changed = plan(cluster(T0 + 5 * PERIOD + 1, memory, (3,)), memory_of((3,), later), policy).memory
    assert changed.rises["default"].vm_seconds == pytest.approx(5 * PERIOD, rel=0.02)
