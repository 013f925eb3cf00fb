"""Room that jobs do not use, and room that nothing else of its kind has: whoever is root on a worker may claim both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.decisions import Kind, Plan, Token
from elastiq.memory import Memory, VmRecord, Watch
from elastiq.model import Demand, Policy, Shape, Worker
from elastiq.planning.futility import suspicious_seconds
from elastiq.planning.plan import plan
from elastiq.planning.suspicion import FAR_MORE, Shown, Unused, with_unused
from tests.unit.planning.table import NOW, joined, remember, see, worker

POLICY = Policy(max_vms=10, cluster="c", waiting_jobs_time_s=0.0)
HOLDS = Shape(4, 4000, None, 0)
HUGE = Shape(10**6, 10**9, 10**9, 10**3)
BOOT_SECONDS = suspicious_seconds(POLICY)
LIAR, OTHER = "i-00000001", "i-00000002"


def full(number: int) -> Worker:
    return worker(number, running=4, free=replace(HOLDS, cpus=0), capacity=HOLDS)


def idle(number: int, shape: Shape = HOLDS, idle_seconds: float = 0.0) -> Worker:
    return worker(number, free=shape, capacity=shape, idle_seconds=idle_seconds)


def test_nothing_else_of_a_watch_is_another_for_what_it_leaves_unused() -> None:
    seen = Watch(7, 5, NOW - 60, {LIAR: NOW - 60}, True, (OTHER,), 3, NOW - 5, {LIAR: NOW - 30}, {OTHER: 9.0})
    after = with_unused(seen, seen, Unused({LIAR: joined(1)}, NOW), may_have_started=False)
    assert after.unused_seconds != seen.unused_seconds
    assert replace(after, unused_since=seen.unused_since, unused_seconds=seen.unused_seconds) == seen
    assert None not in [getattr(seen, one.name) for one in fields(seen)]


class Clock:
    """plan() again and again on two VMs, of which the second is full; nothing that is launched ever joins."""

    def __init__(self) -> None:
        self.now = NOW
        records = [replace(joined(1), idle_from=NOW - 5000), replace(joined(2), at_work=True, work_from=NOW - 5000)]
        self.memory: Memory = remember(records, capacities={"default": HOLDS})

    def look(self, seconds: float, workers: Sequence[Worker], *demand: Demand) -> Plan:
        self.now += seconds
        records: list[VmRecord] = list(self.memory.vms.values())
        made = plan(see(records, demand=demand, workers=workers, now=self.now), self.memory, POLICY)
        self.memory = made.memory
        return made


def tokens(made: Plan) -> set[Token]:
    return {one.reason.token for one in made.decisions}


def launches(made: Plan) -> int:
    return sum(one.count for one in made.decisions if one.kind is Kind.LAUNCH)


def test_room_that_jobs_leave_unused_for_a_boot_is_no_room_for_them() -> None:
    clock, group = Clock(), Demand(Shape(1), 2)
    clock.look(0, [idle(1), full(2)], group)
    made = clock.look(BOOT_SECONDS - 1, [idle(1), full(2)], group)
    assert (launches(made), Token.UNUSED_ROOM in tokens(made)) == (0, False)
    made = clock.look(1, [idle(1), full(2)], group)
    assert Token.UNUSED_ROOM in tokens(made)
    (said,) = [one.reason for one in made.decisions if one.reason.token is Token.UNUSED_ROOM]
    assert (said.subject, said.numbers) == (LIAR, {"jobs": 2, "seconds": BOOT_SECONDS})
    assert launches(clock.look(1, [idle(1), full(2)], group)) == 1
    other = Demand(Shape(2), 1)
    assert launches(clock.look(1, [idle(1), full(2)], other)) == 0, "it is room for those that have not waited so long"


def test_it_makes_no_difference_how_often_the_worker_is_full_or_gone_in_between() -> None:
    """None of the group runs, as the batch system says, so that none of it is what fills the worker."""
    clock, group = Clock(), Demand(Shape(1), 2, running=0)
    shown: Sequence[Sequence[Worker]] = [[idle(1), full(2)], [full(1), full(2)], [idle(1), full(2)], [full(2)]]
    for number in range(int(2 * BOOT_SECONDS) // 10 + 2):
        clock.look(10, shown[number % 4], group)
    assert Token.UNUSED_ROOM in tokens(clock.look(10, shown[0], group))


def test_a_worker_that_is_shown_full_at_times_may_have_run_them_where_some_run() -> None:
    clock, group = Clock(), Demand(Shape(1), 2, running=1)
    for number in range(int(2 * BOOT_SECONDS) // 10 + 2):
        clock.look(10, [idle(1) if number % 4 else full(1), full(2)], group)
    assert Token.UNUSED_ROOM not in tokens(clock.look(10, [idle(1), full(2)], group))


def test_jobs_that_start_elsewhere_do_not_make_it_better() -> None:
    """Those that wait would have fitted there, and it has not even been seen at work."""
    clock = Clock()
    for number in range(int(BOOT_SECONDS) // 60 + 1):
        clock.look(60, [idle(1), full(2)], Demand(Shape(1), 50 - number, running=4 + number))
    assert Token.UNUSED_ROOM in tokens(clock.look(0, [idle(1), full(2)], Demand(Shape(1), 10)))


def test_jobs_that_may_have_started_there_do() -> None:
    """A machine with much room gets one job at a time, and is full only after many rounds of the batch system."""
    clock = Clock()
    for jobs in range(1, int(3 * BOOT_SECONDS) // 60):
        at_work = worker(1, running=jobs, free=Shape(64), capacity=Shape(64))
        made = clock.look(60, [at_work, full(2)], Demand(Shape(1), 50, running=jobs))
        assert Token.UNUSED_ROOM not in tokens(made), "others come as fast as they start"


def test_a_worker_at_work_beside_a_queue_that_stands_still_has_no_room_for_it() -> None:
    """Some of the group run for long, on the other one; whoever is root may always say that a job is on this one."""
    clock, group = Clock(), Demand(Shape(1), 2, running=4)
    at_work = worker(1, running=1, free=Shape(3, 3000), capacity=HOLDS)
    for _ in range(int(BOOT_SECONDS) // 60):
        assert Token.UNUSED_ROOM not in tokens(clock.look(60, [at_work, full(2)], group))
    assert Token.UNUSED_ROOM in tokens(clock.look(60, [at_work, full(2)], group))
    assert launches(clock.look(1, [at_work, full(2)], group)) == 1


def test_it_has_where_others_of_the_group_come_as_fast_as_they_start() -> None:
    clock = Clock()
    at_work = worker(1, running=1, free=Shape(3, 3000), capacity=HOLDS)
    for number in range(3 * int(BOOT_SECONDS) // 60):
        group = Demand(Shape(1), 2 + number % 5, running=4)
        assert Token.UNUSED_ROOM not in tokens(clock.look(60, [at_work, full(2)], group))


def test_it_is_known_again_for_the_next_jobs_of_the_group_until_some_have_run_there() -> None:
    clock, group = Clock(), Demand(Shape(1), 2)
    for _ in range(2):
        clock.look(BOOT_SECONDS, [idle(1), full(2)], group)
    clock.look(60, [idle(1), full(2)])
    assert Token.UNUSED_ROOM in tokens(clock.look(3600, [idle(1), full(2)], group))
    clock.look(60, [full(1), full(2)])
    assert Token.UNUSED_ROOM not in tokens(clock.look(60, [idle(1), full(2)], group))


SIZE = st.sampled_from([0, 1, 2, 4, 5, 8, 9, 16, 17, 64, 1000])
SHAPES = st.builds(Shape, SIZE, st.none() | SIZE, st.none() | SIZE, st.none() | SIZE)


@given(st.lists(st.tuples(SHAPES, SHAPES), min_size=1, max_size=6))
def test_each_size_is_believed_up_to_the_same_limit_whoever_shows_what(shown: list[tuple[Shape, Shape]]) -> None:
    what = Shown()
    for number, (capacity, _) in enumerate(shown):
        what.add(str(number), Worker(str(number), capacity=capacity))
    for number, (capacity, free) in enumerate(shown):
        believed = what.believed(str(number), Worker("w", capacity=capacity, free=free))
        others = [one for place, (one, _) in enumerate(shown) if place != number]
        for name in ("cpus", "memory_mb", "gpus"):
            most = max((getattr(one, name) or 0 for one in others), default=0)
            told, is_free = getattr(capacity, name) or 0, getattr(free, name)
            is_far_more = bool(most) and max(told, is_free or 0) > FAR_MORE * most
            expected = min(is_free, most) if is_far_more and is_free is not None else is_free
            assert getattr(believed, name) == expected, name
        assert believed.disk_mb == free.disk_mb


def test_many_times_what_all_others_have_is_not_believed() -> None:
    clock = Clock()
    made = clock.look(0, [idle(1, HUGE), full(2)], Demand(Shape(1), 100))
    placed = sum(one.jobs for one in made.verdicts if one.reason.token is Token.HAS_ROOM)
    assert placed == HOLDS.cpus


@pytest.mark.parametrize(
    "capacity, free, others, believed",
    [
        (HUGE, HUGE, [HOLDS], replace(HUGE, cpus=4, memory_mb=4000)),
        (HUGE, HUGE, [], HUGE),
        (HUGE, replace(HUGE, cpus=3), [HOLDS], replace(HUGE, cpus=3, memory_mb=4000)),
        (HOLDS, HUGE, [HOLDS], replace(HUGE, cpus=4, memory_mb=4000)),
        (Shape(4 * FAR_MORE), Shape(4 * FAR_MORE), [HOLDS], Shape(4 * FAR_MORE)),
        (Shape(32), Shape(32), [HOLDS, Shape(16)], Shape(32)),
        (Shape(4, None, None, 8), Shape(4, None, None, 8), [Shape(4, None, None, 0)], Shape(4, None, None, 8)),
        (Shape(4, 10**9), Shape(4, None), [HOLDS], Shape(4, None)),
    ],
)
def test_what_is_believed_of_a_worker(capacity: Shape, free: Shape, others: list[Shape], believed: Shape) -> None:
    shown = Shown()
    shown.add(LIAR, Worker("liar", capacity=capacity, free=free))
    for number, shape in enumerate(others):
        shown.add(f"i-other{number}", Worker("other", capacity=shape))
    assert shown.believed(LIAR, Worker("liar", LIAR, capacity=capacity, free=free)) == believed


def test_an_old_look_at_workers_tells_nothing_of_jobs_that_have_just_come() -> None:
    """Found by the simulator."""
    clock = Clock()
    records = list(clock.memory.vms.values())
    age = BOOT_SECONDS + 60
    seen = see(records, demand=(Demand(Shape(1), 2),), workers=[idle(1), full(2)], now=NOW, workers_age_seconds=age)
    assert Token.UNUSED_ROOM not in tokens(plan(seen, clock.memory, POLICY))


def test_groups_that_watch_the_same_share_it() -> None:
    clock = Clock()
    demand = [Demand(Shape(1, memory), 3, running=0) for memory in (10, 20, 30)]
    for _ in range(3):
        clock.look(60.0, [idle(1), idle(2)], *demand)
    seen = clock.memory.watched.values()
    assert len(seen) == len(demand) and all(one.rooms.keys() == {LIAR, OTHER} for one in seen)
    assert len({id(one.rooms) for one in seen}) == len({id(one.unused_since) for one in seen}) == 1
