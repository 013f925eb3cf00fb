"""Jobs that do not start although there is room for them cost little, and those that start lack nothing for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from elastiq.decisions import End, Kind, Outcome, Token
from elastiq.memory import Futility, Intent, Memory, Watch
from elastiq.model import Demand, Policy, Shape, Worker
from elastiq.planning.futility import share_of, tried
from elastiq.planning.learning import learn
from elastiq.planning.plan import plan
from tests.unit.planning.day import BOOT_SECONDS, START, STEP_SECONDS, Day
from tests.unit.planning.table import NOW, joined, launched, of, remember, see, vm, worker

# Most of them live through days.
pytestmark = pytest.mark.long

POLICY = Policy(max_vms=10, cluster="c")
HOLDS = Shape(8, 16000)
SMALL = Shape(1, 1000)
KNOWN = Memory(capacities={"default": HOLDS})


def tokens(day: Day) -> set[Token]:
    return {decision.reason.token for decision in day.plans[-1].decisions}


@pytest.mark.parametrize("idle_for_time_s", [60, 300, 3600])
def test_jobs_that_never_start_cost_little(idle_for_time_s: int) -> None:
    day = Day(replace(POLICY, idle_for_time_s=idle_for_time_s), HOLDS, memory=KNOWN)
    day.run(24, lambda _: [Demand(SMALL, 200)])
    assert day.launched >= POLICY.max_vms  # type: ignore[operator]
    assert day.vm_hours < 4
    assert Token.IN_VAIN in tokens(day)


def test_the_second_day_costs_next_to_nothing() -> None:
    day = Day(POLICY, HOLDS, memory=KNOWN).run(24, lambda _: [Demand(SMALL, 200)])
    before = day.vm_hours
    day.run(24, lambda _: [Demand(SMALL, 200)])
    assert day.vm_hours - before < 0.5


def test_jobs_that_come_and_go_without_ever_starting_are_known_again() -> None:
    def comes_and_goes(day: Day) -> Sequence[Demand]:
        return [Demand(SMALL, 200)] if int(day.now // 3600) % 2 else []

    assert Day(POLICY, HOLDS, memory=KNOWN).run(24, comes_and_goes).vm_hours < 4


def comes_beside_a_long_job(day: Day) -> Sequence[Demand]:
    """20 jobs that never start come each hour and go 20 minutes later; a batch system that does not say what runs."""
    day.busy = dict.fromkeys(day.joined()[:1], 1)
    return [Demand(SMALL, 20)] if (day.now - START) % 3600 < 1200 else []


@pytest.mark.parametrize("max_vms", [2, 4])
@pytest.mark.parametrize("idle_for_time_s", [300, 900])
def test_jobs_that_are_removed_while_another_runs_have_not_started(max_vms: int, idle_for_time_s: int) -> None:
    """Found by the simulator: one VM after the other came, for each stood idle alone, and work was done elsewhere."""
    policy = replace(POLICY, max_vms=max_vms, idle_for_time_s=idle_for_time_s)
    day = Day(policy, SMALL, memory=Memory(capacities={"default": SMALL})).run(24, comes_beside_a_long_job)
    assert (day.vm_hours - 24) / (max_vms - 1) < 3


def test_jobs_that_begin_elsewhere_are_no_removed_ones() -> None:
    """A worker of no use stands idle beside them, while others start them."""
    before = Watch(20, 20, NOW - 1000, {"i-00000001": NOW - 1000}, witnesses=("i-00000001",))
    group = Demand(SMALL, 20)
    seen = (worker(1, idle_seconds=1000), worker(2, running=1))
    for began_at, is_kept in ((NOW - 30, False), (NOW - 5000, True)):
        records = [joined(1), replace(joined(2), at_work=True, work_from=began_at)]
        made = plan(see(records, workers=seen), remember(records, watched={group.key: before}), POLICY)
        assert bool(made.memory.watched) is is_kept
    (kept,) = made.memory.watched.values()
    assert (kept.waiting, kept.witnesses) == (0, ("i-00000001",))
    back = plan(see(records, demand=(group,), workers=seen), made.memory, POLICY).memory.watched[group.key]
    assert (back.waiting, back.least, back.since, back.witnesses) == (20, 20, NOW, ("i-00000001",))
    used = replace(records[0], at_work=True, work_from=NOW + 60)
    seen = (worker(1, running=1), worker(2, running=1))
    later = see([used, records[1]], demand=(group,), workers=seen, now=NOW + 60)
    known = remember([used, records[1]], watched={group.key: back})
    assert not plan(later, known, POLICY).memory.watched[group.key].witnesses


def test_whether_jobs_started_or_were_removed_is_told_by_the_next_look_at_workers() -> None:
    group = Demand(SMALL, 20)
    before = Watch(20, 20, NOW - 1000, {"i-00000001": NOW - 1000}, witnesses=("i-00000001",))
    records = [joined(1), replace(joined(2), at_work=True, work_from=NOW - 5000)]
    seen = (worker(1, idle_seconds=1000), worker(2, running=1))
    fewer = replace(group, jobs=3)

    def watched(demand: tuple[Demand, ...], at: float, age: float, known: Watch, workers: tuple[Worker, ...]) -> Watch:
        look = see(records, demand=demand, workers=workers, now=at, workers_age_seconds=age)
        return plan(look, remember(records, watched={group.key: known}), POLICY).memory.watched[group.key]

    for demand in ((fewer,), ()):
        pending = watched(demand, NOW, 30.0, before, seen)
        assert (pending.waiting, pending.fell_at) == (20, NOW)
        assert watched(demand, NOW + 60, 90.0, pending, seen) == pending
        told = watched(demand, NOW + 90, 0.0, pending, seen)
        assert (told.fell_at, told.has_started, told.witnesses) == (None, False, ("i-00000001",))


def test_twenty_such_groups_cost_no_more_than_one_hour_each() -> None:
    groups = [Demand(Shape(1, 1000 + number), 5) for number in range(20)]
    day = Day(replace(POLICY, max_vms=30), HOLDS, memory=KNOWN).run(24, lambda _: groups)
    assert day.vm_hours < 20


def test_they_are_tried_again_ever_less_often_and_a_start_ends_it() -> None:
    day = Day(POLICY, HOLDS, memory=KNOWN).run(1, lambda _: [Demand(SMALL, 200)])
    assert day.launched == 10
    day.run(1, lambda _: [Demand(SMALL, 200)])
    assert day.launched == 11
    day.run(7, lambda _: [Demand(SMALL, 200)])
    assert day.launched == 13
    assert not day.joined()

    def now_they_start(day: Day) -> Sequence[Demand]:
        day.busy = dict.fromkeys(day.joined(), 8)
        return [Demand(SMALL, 200 - 8 * len(day.joined()), running=8 * len(day.joined()))]

    day.run(8, now_they_start)
    assert len(day.joined()) == 10
    assert all(futile.is_trusted for futile in day.memory.futile.values())
    day.run(24, now_they_start)
    assert not day.memory.futile


def recovering(day: Day) -> Sequence[Demand]:
    """200 jobs of a group of which others start; after 3 hours these start, too."""
    hours = (day.now - START) / 3600
    good = day.joined()[:1]
    at_work = good if hours < 3 else day.joined()
    day.busy = dict.fromkeys(at_work, 8)
    left = 200 if hours < 3 else 200 - 8 * max(0, len(at_work) - len(good))
    return [Demand(SMALL, left + (8 if not good else 0), running=8 * len(at_work))]


def test_a_part_of_a_group_that_starts_again_gets_as_many_vms_as_it_needs_after_one_trial() -> None:
    """It had one VM after the other, each a boot later."""
    day = Day(replace(POLICY, max_vms=30), HOLDS, memory=KNOWN).run(3, recovering)
    (futile,) = day.memory.futile.values()
    assert (futile.has_started, len(day.joined())) == (True, 1)
    while len(day.joined()) == 1:
        assert day.now - START < 7 * 3600
        day.run(STEP_SECONDS / 3600, recovering)
    day.run(6 * STEP_SECONDS / 3600, recovering)
    assert len(day.joined()) == 26


def test_good_jobs_that_were_counted_among_those_in_vain_are_no_sign_that_these_start() -> None:
    """Found by the simulator: each time that a few more had been counted, all of max_vms came again."""

    def mixed(day: Day) -> Sequence[Demand]:
        number = int((day.now - START) / STEP_SECONDS)
        at_work = day.joined()[: 2 + number // 60 % 2]
        day.busy = {id_: 8 for id_ in at_work}
        return [Demand(SMALL, 200 + number * 7 % 15, running=8 * len(at_work))]

    day = Day(replace(POLICY, max_vms=30), HOLDS, memory=KNOWN).run(1, mixed)
    for _ in range(12 * 60):
        day.run(STEP_SECONDS / 3600, mixed)
        (futile,) = day.memory.futile.values()
        assert not futile.is_trusted


def test_what_starts_after_a_trial_and_stands_still_again_is_tried_ever_less_often() -> None:
    """Licences that come and go every two hours: each time all of max_vms would be launched."""

    def flapping(day: Day) -> Sequence[Demand]:
        starts = int((day.now - START) / 7200) % 2
        day.busy = dict.fromkeys(day.joined(), 8) if starts else {}
        running = sum(day.busy.values())
        return [Demand(SMALL, 500 - running, running=running)]

    day = Day(POLICY, HOLDS, memory=KNOWN).run(48, flapping)
    assert max(futile.trials for futile in day.memory.futile.values()) > 1


def test_jobs_that_become_ever_more_have_their_vms_ended_as_soon() -> None:
    """What came meanwhile began the watch anew, and each VM idled for an hour."""
    day = Day(POLICY, HOLDS, memory=KNOWN).run(24, lambda day: [Demand(SMALL, 200 + int((day.now - START) / 60))])
    assert day.vm_hours < 3


def test_vms_that_came_for_a_job_of_more_machines_than_there_are_go_soon() -> None:
    wide = Demand(Shape(8, 1000), 1, None, 256)
    day = Day(replace(POLICY, max_vms=300), HOLDS, quota=96, memory=KNOWN).run(24, lambda _: [wide])
    assert day.vm_hours < 96 / 4


def test_a_vm_that_joins_after_the_verdict_is_not_waited_for_as_long_as_those_before_but_a_trial_is() -> None:
    group = Demand(SMALL, 50, running=0)
    records = [joined(1, joined_at=NOW - 70, launched_at=NOW - 500)]
    workers = (worker(1, idle_seconds=70),)
    first = {group.key: Futility(50, try_at=NOW + 3500, tried_at=NOW - 100)}
    made = plan(see(records, demand=(group,), workers=workers), remember(records, futile=first), POLICY)
    assert [one.reason.token for one in of(made, Kind.TERMINATE)] == [Token.LAUNCHED_IN_VAIN]
    trial = {group.key: Futility(50, trials=1, try_at=NOW + 7000, tried_at=NOW - 500)}
    assert not of(
        plan(see(records, demand=(group,), workers=workers), remember(records, futile=trial), POLICY), Kind.TERMINATE
    )


def test_of_a_group_of_which_some_start_only_the_others_are_in_vain() -> None:
    """40 jobs never start; of the same group so many others come and go that two VMs are at work all the time."""

    def mixed(day: Day) -> Sequence[Demand]:
        number = int(day.now // STEP_SECONDS)
        at_work = day.joined()[:2]
        day.busy = {id_: 8 - (number + place) % 2 for place, id_ in enumerate(at_work)}
        return [Demand(SMALL, 40 + (number % 3 if at_work else 16), running=sum(day.busy.values()))]

    day = Day(POLICY, HOLDS, memory=KNOWN).run(24, mixed)
    (futile,) = day.memory.futile.values()
    assert (futile.jobs, futile.has_started) == (40, True)
    assert len(day.joined()) <= 3
    assert day.vm_hours < 24 * 3


def test_of_such_a_group_what_is_more_than_ever_waited_gets_vms_at_once() -> None:
    group = Demand(SMALL, 60)
    memory = Memory(futile={group.key: Futility(40, has_started=True, try_at=NOW + 3600)})
    assert share_of(group, memory, NOW).jobs == 20
    assert share_of(replace(group, jobs=30), memory, NOW).jobs == 0


def test_one_worker_alone_does_not_tell_of_a_group_where_there_are_others() -> None:
    """It may be hurt in a way that does not show."""
    group = Demand(SMALL, 50)
    watched = {group.key: Watch(50, 50, NOW - 1000, {"i-00000001": NOW - 1000})}
    workers = (worker(1, idle_seconds=1000), worker(2, running=4))
    records = [joined(1), joined(2)]
    made = plan(see(records, demand=(group,), workers=workers), remember(records, watched=watched), POLICY)
    assert not made.memory.futile
    alone = plan(see(records[:1], demand=(group,), workers=workers[:1]), remember(records[:1], watched=watched), POLICY)
    assert alone.memory.futile


@pytest.mark.parametrize(
    ("waiting", "running", "is_in_vain"),
    [
        pytest.param(50, 0, True, id="none started"),
        pytest.param(49, 0, True, id="one was removed"),
        pytest.param(49, 1, False, id="one started"),
        pytest.param(55, 8, True, id="more came, and nobody can see whether some started"),
    ],
)
def test_a_start_begins_the_watch_anew(waiting: int, running: int, is_in_vain: bool) -> None:
    group = Demand(SMALL, waiting, running=running)
    watched = {group.key: Watch(50, 50, NOW - 1000, {"i-00000001": NOW - 1000})}
    records = [joined(1)]
    seen = see(records, demand=(group,), workers=(worker(1, idle_seconds=1000),))
    assert bool(plan(seen, remember(records, watched=watched), POLICY).memory.futile) is is_in_vain


def test_nothing_is_learnt_while_the_queue_or_the_workers_cannot_be_read() -> None:
    group = Demand(SMALL, 50)
    watched = {group.key: Watch(50, 50, NOW - 1000, {"i-00000001": NOW - 1000})}
    records = [joined(1)]
    memory = remember(records, watched=watched)
    for seen in (
        see(records, demand=None, workers=(worker(1, idle_seconds=1000),)),
        see(records, demand=(group,), workers=None),
    ):
        assert not plan(seen, memory, POLICY).memory.futile


def test_its_vms_go_before_their_idle_time_if_they_never_had_a_job() -> None:
    group = Demand(SMALL, 50, running=0)
    watched = {group.key: Watch(50, 50, NOW - 400, {f"i-{n:08x}": NOW - 400 for n in (1, 2, 3)})}
    records = [joined(1), joined(2), joined(3, idle_from=NOW - 400)]
    workers = tuple(worker(number, idle_seconds=400) for number in (1, 2, 3))
    made = plan(see(records, demand=(group,), workers=workers), remember(records, watched=watched), POLICY)
    ends = {decision.instance_id: decision.reason.token for decision in of(made, Kind.TERMINATE)}
    assert ends == {"i-00000001": Token.LAUNCHED_IN_VAIN, "i-00000002": Token.LAUNCHED_IN_VAIN}
    kept = plan(
        see(records, demand=(group,), workers=workers), remember(records, watched=watched), replace(POLICY, min_vms=2)
    )
    assert len(of(kept, Kind.TERMINATE)) == 1


def test_a_trial_postpones_the_next() -> None:
    group = Demand(SMALL, 50)
    memory = Memory(futile={group.key: Futility(50, try_at=NOW - 1)})
    made = plan(see([], demand=(group,)), memory, POLICY)
    assert launched(made) == 1
    known = {group.key: Futility(50, try_at=NOW - 1, fewest=50, fewest_since=NOW)}
    assert made.memory.futile[group.key] == tried(Memory(futile=known), group, NOW).futile[group.key]
    assert made.memory.futile[group.key].try_at == NOW + 7200


def test_a_trial_that_the_cloud_refuses_is_none() -> None:
    group = Demand(SMALL, 50)
    before = Futility(50, trials=2, try_at=NOW - 1, fewest=50, fewest_since=NOW)
    made = plan(see([], demand=(group,)), Memory(futile={group.key: before}), POLICY)
    (decision,) = of(made, Kind.LAUNCH)
    asked = replace(made.memory, intents=(Intent("t", "default", 1, NOW),))
    after = learn(asked, Outcome(decision, End.FAILED, "quota", token="t"), NOW)
    assert after.futile[group.key] == replace(before, try_at=NOW, tried_at=NOW)


def test_jobs_that_come_after_the_verdict_and_do_not_start_are_in_vain_as_well() -> None:
    """Found by the simulator: of a group of which some had started."""

    def ever_more(day: Day) -> Sequence[Demand]:
        hours = (day.now - START) / 3600
        day.busy = {id_: 8 for id_ in day.joined()[:1]} if hours < 1 else {}
        started = 1 if hours < 1 else 0
        return [Demand(SMALL, (11 if hours < 0.2 else 10) + (50 if hours > 1.5 else 0), running=started)]

    day = Day(replace(POLICY, min_vms=2), HOLDS, memory=KNOWN).run(2, ever_more)
    before = day.launched
    day.run(20, ever_more)
    assert day.launched - before < 5


def test_a_trial_for_jobs_of_several_machines_has_all_of_them() -> None:
    group = Demand(SMALL, 5, None, 3)
    memory = Memory(futile={group.key: Futility(5, try_at=NOW - 1)})
    (decision,) = of(plan(see([], demand=(group,)), memory, POLICY), Kind.LAUNCH)
    assert (decision.count, decision.at_least) == (3, 3)


def test_a_slow_boot_is_not_taken_for_room() -> None:
    day = Day(POLICY, HOLDS, memory=KNOWN).run(BOOT_SECONDS / 3600, lambda _: [Demand(SMALL, 200)])
    assert not day.memory.futile
    assert not any(seen.rooms for seen in day.memory.watched.values())


@pytest.mark.parametrize("idle_for_time_s", [300, 3600])
def test_workers_that_others_close_before_they_run_anything_cost_little(idle_for_time_s: int) -> None:
    day = Day(replace(POLICY, idle_for_time_s=idle_for_time_s), HOLDS, closed=True, memory=KNOWN)
    day.run(24, lambda _: [Demand(SMALL, 200)])
    assert day.vm_hours < 24


@pytest.mark.parametrize(("wanted", "quota", "given"), [(10, 5, 5), (10, 1, 1), (64, 7, 7)])
def test_a_cloud_that_gives_all_or_nothing_gives_what_its_quota_has(wanted: int, quota: int, given: int) -> None:
    def run_for_good(day: Day) -> Sequence[Demand]:
        day.busy = dict.fromkeys(day.joined(), 8)
        left = wanted - len(day.joined())
        return [Demand(Shape(8, 1000), left, running=wanted - left)] if left else []

    day = Day(replace(POLICY, max_vms=wanted), HOLDS, quota=quota, all_or_nothing=True, memory=KNOWN)
    day.run(6, run_for_good)
    assert len(day.joined()) == given
    assert day.refused < 6 * 3600 / 250


def test_a_job_of_more_machines_than_the_cloud_gives_holds_none_of_them_day_after_day() -> None:
    wide = Demand(Shape(8, 1000), 1, None, 256)
    day = Day(replace(POLICY, max_vms=300), HOLDS, quota=96, memory=KNOWN).run(24, lambda _: [wide])
    assert (day.launched, day.vm_hours < 2 * 96) == (96, True)
    day = Day(replace(POLICY, max_vms=300), HOLDS, quota=96, all_or_nothing=True, memory=KNOWN)
    assert day.run(24, lambda _: [wide]).vm_hours == 0


def test_jobs_that_take_whole_vms_boot_at_the_same_time() -> None:
    def alone(day: Day) -> Sequence[Demand]:
        day.busy = dict.fromkeys(day.joined(), 1)
        left = 20 - len(day.joined())
        return [Demand(SMALL, left, takes_whole_vms=True, running=20 - left)] if left else []

    day = Day(replace(POLICY, max_vms=30), HOLDS, memory=KNOWN)
    day.run(10 / 60, alone)
    assert len(day.joined()) == 20


def test_a_vm_that_goes_at_the_first_look_has_shown_it_too() -> None:
    """Found by the simulator: with long checks and a short idle_for_time_s a VM was launched every ten minutes."""
    group = Demand(SMALL, 5)
    policy = replace(POLICY, idle_for_time_s=300.0)
    booting = vm(1, launched_at=NOW - 800)
    before = plan(see([booting], demand=(group,), now=NOW - 600), remember([booting]), policy).memory
    seen = see([booting], demand=(group,), workers=(worker(1, idle_seconds=450),), demand_age_seconds=60.0)
    before = replace(before, vms={booting.id: replace(booting, joined_at=None)})
    made = plan(seen, before, policy)
    assert made.memory.futile[group.key].jobs == 5


def test_a_verdict_that_counted_jobs_which_start_keeps_the_others_in_vain() -> None:
    """Found by the simulator: each of them that started had VMs launched for all, at twice the cost of a day."""
    group = Demand(SMALL, 203, running=8)
    memory = remember(
        [], futile={group.key: Futility(203, try_at=NOW + 3600)}, watched={group.key: Watch(203, 203, 0.0)}
    )
    fewer = replace(group, jobs=200)
    made = plan(see([], demand=(fewer,)), memory, POLICY)
    assert share_of(fewer, made.memory, NOW).jobs == 0
    assert share_of(fewer, made.memory, NOW).may_try or launched(made) == 1


@pytest.mark.parametrize(
    ("is_adaptive", "seconds", "is_in_vain"), [(True, 200, False), (True, 300, True), (False, 200, True)]
)
def test_a_slow_cycle_of_the_batch_system_is_waited_for_as_long_as_workers_stay(
    is_adaptive: bool, seconds: int, is_in_vain: bool
) -> None:
    """With the policy adaptive idle_for_time_s is 60, but a worker on which waiting jobs are to start stays longer."""
    group = Demand(SMALL, 4)
    records = [joined(1), joined(2)]
    workers = tuple(worker(number, idle_seconds=seconds) for number in (1, 2))
    since = NOW - seconds
    before = Watch(4, 4, since, {"i-00000001": since, "i-00000002": since})
    policy = replace(POLICY, is_adaptive=is_adaptive, idle_for_time_s=60.0)
    made = plan(see(records, demand=(group,), workers=workers), remember(records, watched={group.key: before}), policy)
    assert bool(made.memory.futile) is is_in_vain


def test_two_workers_one_after_the_other_tell_as_much_as_two_at_a_time() -> None:
    """Found by the simulator: one VM after the other came for a single job, beside a worker that was busy."""
    group = Demand(SMALL, 1)
    records = [joined(1), joined(2)]
    workers = (worker(1, idle_seconds=1000), worker(2, running=4))
    before = Watch(1, 1, NOW - 5000, {"i-00000001": NOW - 1000}, witnesses=("i-0000000f",))
    seen = see(records, demand=(group,), workers=workers)
    assert plan(seen, remember(records, watched={group.key: before}), POLICY).memory.futile
    alone = replace(before, witnesses=())
    assert not plan(seen, remember(records, watched={group.key: alone}), POLICY).memory.futile


def _hopeless_beside_a_long_job(
    removed: Callable[[int], int], running: int | None
) -> Callable[[Day], Sequence[Demand]]:
    """200 jobs that never start, of which so many have been removed at a step; one of the same group runs for days."""

    def demand(day: Day) -> Sequence[Demand]:
        day.busy = dict.fromkeys(day.joined()[:1], 1)
        waiting = 200 - removed(int((day.now - START) / STEP_SECONDS))
        started = len(day.busy) if running is not None else None
        return [Demand(SMALL, waiting, running=started)] if waiting else []

    return demand


@pytest.mark.parametrize(
    "removed",
    [
        pytest.param(lambda step: step // 60 * 5, id="five every hour"),
        pytest.param(lambda step: 200 if step % 120 >= 90 else 0, id="all come and go"),
    ],
)
def test_jobs_that_are_removed_have_not_started(removed: Callable[[int], int]) -> None:
    """Each removal had all of max_vms launched again for those that were left, or came instead."""
    day = Day(POLICY, HOLDS, memory=KNOWN)
    day.run(24, _hopeless_beside_a_long_job(removed, running=1))
    assert not any(futile.is_trusted for futile in day.memory.futile.values())
    assert day.launched < 2 * POLICY.max_vms  # type: ignore[operator]
    assert day.vm_hours < 24 + 6


def test_nor_have_they_where_only_the_workers_tell_that_no_more_runs() -> None:
    """A trial was taken for a success: it comes once, for when the long one started the others did not become fewer."""
    day = Day(POLICY, HOLDS, memory=KNOWN)
    day.run(24, _hopeless_beside_a_long_job(lambda step: step // 60 * 5, running=None))
    assert day.launched < 3 * POLICY.max_vms  # type: ignore[operator]
