"""What a daemon that starts makes of what an earlier one remembered. In tests/property it is killed again and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastiq.memory import Away, Breaker, Departed, Futility, Intent, Memory, Showing, Template, VmRecord, Watch
from elastiq.model import Demand, Policy, Shape
from elastiq.state import State, after_restart
from tests.unit.planning.day import STEP_SECONDS, Day

NOW = 1_000_000.0
USED = 300.0
"""So much of each patience was used up when the last daemon was at work."""


def waiting(present_at: float) -> Memory:
    since = present_at - USED
    return Memory(
        vms={
            "i-1": VmRecord("i-1", launched_at=since),
            "i-2": VmRecord("i-2", launched_at=since, joined_at=since, lost_since=since, missing_since=since),
        },
        intents=(Intent("t", "default", 2, since, unseen_since=since, lookalikes=("i-9",), found=("i-1",)),),
    )


@pytest.mark.parametrize(
    ("away_seconds", "used_seconds"),
    [(0, USED), (5, USED), (60, USED), (100, USED - 40), (360, 0), (36_000, 0), (-1, 0), (-36_000, 0), (None, 0)],
)
def test_patience_goes_on_where_it_stood(away_seconds: float | None, used_seconds: float) -> None:
    """After a long absence there is more of it; if nobody knows how long it was (the wall clock went back, or an
    earlier version did not say), it starts over."""
    present_at = NOW - (away_seconds or 0)
    memory = after_restart(waiting(present_at), NOW, None if away_seconds is None else present_at)
    (intent,) = memory.intents
    lost, since = memory.vms["i-2"], NOW - used_seconds
    assert (lost.lost_since, lost.missing_since, intent.unseen_since) == (since, since, since)
    assert intent.waiting_since == since
    assert (intent.lookalikes, intent.found) == (("i-9",), ("i-1",))
    booting = memory.vms["i-1"]
    if booting.joined_at is None:
        assert booting.awaited_since == since
        assert booting.launched_at == min(NOW, present_at - USED)
    else:
        assert (present_at - USED > NOW, booting.lost_since) == (True, NOW), "it may have joined long ago"


def test_what_the_cloud_owed_to_another_process_is_not_waited_for() -> None:
    """Found by the simulator: a launch in hand is never given up, so that jobs waited for its VMs for good."""
    going = VmRecord("i-1", launched_at=NOW - 50, joined_at=NOW - 40, doomed=True, termination_asked_at=NOW - 5)
    memory = Memory(vms={"i-1": going}, intents=(Intent("t", "default", 1, NOW - 5, in_hand=True),))
    memory = after_restart(memory, NOW, NOW - 1)
    assert memory.vms["i-1"].termination_asked_at is None
    assert not memory.intents[0].in_hand


def test_times_in_the_future_become_now() -> None:
    closing = VmRecord("i-1", launched_at=NOW - 5, joined_at=NOW - 4, closing_at=NOW + 10, terminate_retry_at=NOW + 20)
    gone = {"i-0": Departed("w0", gone_at=NOW + 5, retry_at=NOW + 30)}
    memory = Memory(vms={"i-1": closing}, intents=(Intent("t", "default", 1, NOW + 5),), to_forget=gone)
    memory = after_restart(memory, NOW, NOW + 10)
    record = memory.vms["i-1"]
    assert (record.launched_at, record.closing_at, record.terminate_retry_at) == (NOW - 5, NOW, NOW)
    assert memory.intents[0].requested_at == NOW
    assert (memory.to_forget["i-0"].gone_at, memory.to_forget["i-0"].retry_at) == (NOW, 0.0)


def test_a_vm_is_not_idle_since_the_future() -> None:
    """Found by the simulator: the wall clock went back by hours, and idle VMs stayed until it was as late again."""
    record = VmRecord("i-1", launched_at=NOW - 9000, joined_at=NOW - 8000, idle_from=NOW + 30_000)
    assert after_restart(Memory(vms={"i-1": record}), NOW, NOW + 30_000).vms["i-1"].idle_from == NOW


def test_a_launch_in_the_future_may_have_joined_meanwhile() -> None:
    """Found by the simulator: the wall clock went back, and a VM seemed too young for its idle worker."""
    memory = after_restart(Memory(vms={"i-1": VmRecord("i-1", launched_at=NOW + 3600)}), NOW, NOW + 3600)
    record = memory.vms["i-1"]
    assert (record.launched_at, record.joined_at, record.lost_since) == (NOW, NOW, NOW)


def test_what_began_after_the_last_sign_of_life_has_all_its_time() -> None:
    """An idle daemon gives none; one that launches may be killed before it does."""
    memory = after_restart(Memory(vms={"i-1": VmRecord("i-1", launched_at=NOW - 10)}), NOW, NOW - 90_000)
    assert memory.vms["i-1"].awaited_since == NOW


def test_no_pause_of_launches_outlives_a_restart() -> None:
    breaker = Breaker(failed_boots=3, trips=1, paused_until=NOW + 500)
    found = after_restart(Memory(breakers={"default": breaker}), NOW, NOW - 5).breakers["default"]
    assert (found.failed_boots, found.trips, found.paused_until) == (3, 1, 0.0)


def test_what_was_put_away_stays_so_but_for_no_longer_than_if_it_were_refused_now() -> None:
    """The cloud has no more room than before. The wall clock may have gone back."""
    later, much_later = Away(1100.0, 2), Away(90_000.0, 5)
    memory = after_restart(Memory(offers_away={"a": later, "b": much_later}), 1000.0, 990.0)
    assert memory.offers_away == {"a": later, "b": Away(1000.0 + 1800.0, 5)}


def test_no_interruption_is_of_the_future() -> None:
    known = {"spot a": (1.0, 2.0, 900.0), "spot b": (1.0, 2.0, 5000.0)}
    memory = after_restart(Memory(interruptions=known), 1000.0, 990.0)
    assert memory.interruptions == {"spot a": (1.0, 2.0, 900.0), "spot b": (1.0, 2.0, 1000.0)}


def test_no_trial_is_further_away_than_if_it_were_planned_now() -> None:
    """The wall clock went back by a year: nothing would be tried again for so long."""
    year = 365 * 86400.0
    memory = Memory(
        futile={"a": Futility(3, trials=2, try_at=NOW + year), "b": Futility(3, try_at=NOW + 60)},
        showings={"default": Showing(NOW + year, 1, NOW + year)},
        templates={"default": Template("like w1", "i-1", NOW + year)},
        second_templates={"default": Template("like w2", "i-2", NOW + year)},
        breakers={"default": Breaker(most=3, most_until=NOW + year)},
    )
    found = after_restart(memory, NOW, None)
    assert found.futile == {"a": Futility(3, trials=2, try_at=NOW + 86400), "b": Futility(3, try_at=NOW + 60)}
    assert found.showings["default"] == Showing(NOW, 1, NOW + 86400)
    assert found.templates["default"].taken_at == found.second_templates["default"].taken_at == NOW
    assert found.breakers["default"].most_until == NOW + 86400


@pytest.mark.parametrize(
    ("away_seconds", "used_seconds"),
    [(0, USED), (60, USED), (61, USED - 60), (36_000, USED - 60), (-1, 0), (-36_000, 0), (None, 0)],
)
def test_what_was_seen_of_jobs_beside_room_is_not_lost(away_seconds: float | None, used_seconds: float) -> None:
    present_at = NOW - (away_seconds or 0)
    since = present_at - USED
    memory = Memory(watched={"a": Watch(5, 5, since - 100, {"i-1": since}, witnesses=("i-2",))})
    seen = after_restart(memory, NOW, None if away_seconds is None else present_at).watched["a"]
    assert seen.rooms == {"i-1": NOW - used_seconds}
    assert seen.since <= NOW - used_seconds
    assert seen.witnesses == ("i-2",)


@pytest.mark.long
@pytest.mark.parametrize(("up_seconds", "away_seconds"), [(300, 5), (300, 55), (300, 600), (180, 300), (3600, 86400)])
def test_a_daemon_that_is_killed_again_and_again_finds_out_all_the_same_what_never_starts(
    up_seconds: float, away_seconds: float, tmp_path: Path
) -> None:
    """By cron, in a crash loop, by whoever likes to restart things: it kept ten VMs all day for one such group."""
    policy = Policy(max_vms=10, cluster="c")
    day = Day(policy, Shape(8, 16000), memory=Memory(capacities={"default": Shape(8, 16000)}))
    seconds_up = 0.0
    while seconds_up < 8 * 3600:
        state = State(tmp_path, day.now, is_durable=False)
        day.memory = state.load(day.now) if seconds_up else day.memory
        until = day.now + up_seconds
        while day.now < until:
            day.run(STEP_SECONDS / 3600, lambda _: [Demand(Shape(1, 1000), 200, running=0)])
            state.save(day.memory)
            state.present(day.now)
        state.close()
        seconds_up += up_seconds
        day.now += away_seconds
    assert day.memory.futile
    assert day.vm_hours < 8


def test_groups_that_watch_the_same_share_it_after_a_restart() -> None:
    memory = Memory(watched={key: Watch(5, 5, NOW - 100, {"i-1": NOW - 50, "i-2": NOW - 50}) for key in "abc"})
    seen = after_restart(memory, NOW, NOW - 10).watched.values()
    assert len({id(one.rooms) for one in seen}) == 1
