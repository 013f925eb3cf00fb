"""Pauses of launches."""

from __future__ import annotations

from elastiq.memory import Breaker
from elastiq.model import Pool
from elastiq.planning import patience
from elastiq.planning.breaker import begin_anew, boot_failed, launch_refused

NOW = 1_000_000.0


def test_the_breaker_pauses_for_5_10_20_and_30_minutes() -> None:
    breaker, now, pauses = Breaker(), NOW, []
    for _ in range(7):
        breaker = boot_failed(breaker, now, "did not join")
        pauses.append(round(max(0.0, breaker.paused_until - now)))
        now = max(now, breaker.paused_until)
    assert pauses == [0, 0, 300, 600, 1200, 1800, 1800]


def test_failures_during_a_pause_do_not_prolong_it() -> None:
    breaker = boot_failed(Breaker(failed_boots=2), NOW, "did not join")
    assert boot_failed(breaker, NOW + 10, "did not join").paused_until == breaker.paused_until


def test_a_refusal_pauses_for_15_s_and_more_but_never_shortens_a_pause() -> None:
    breaker, pauses = Breaker(), []
    for _ in range(6):
        breaker = launch_refused(breaker, NOW, "quota")
        pauses.append(breaker.paused_until - NOW)
    assert pauses == [15, 30, 60, 120, 300, 300]
    assert launch_refused(Breaker(paused_until=NOW + 1800), NOW, "quota").paused_until == NOW + 1800


def test_whoever_begins_anew_may_launch_at_once_and_one_more_failure_pauses_for_longer() -> None:
    tripped = boot_failed(Breaker(failed_boots=2), NOW, "did not join")
    (anew,) = begin_anew({"default": tripped}, [Pool()], None, NOW + 1).values()
    assert anew.paused_until == 0
    assert boot_failed(anew, NOW + 1, "did not join").paused_until == NOW + 601


def test_after_the_loss_of_the_database_every_pool_pauses_until_all_its_vms_must_be_listed() -> None:
    patience_seconds = patience.SETTLE_SECONDS + patience.UNSEEN_SECONDS
    pools = [Pool("small"), Pool("large")]
    for later in (0.0, patience_seconds - 1):
        breakers = begin_anew({"small": Breaker(failed_boots=2)}, pools, NOW, NOW + later)
        assert {name: breaker.paused_until for name, breaker in breakers.items()} == {
            "small": NOW + patience_seconds,
            "large": NOW + patience_seconds,
        }
        assert breakers["small"].failed_boots == 2
    assert begin_anew({}, pools, NOW, NOW + patience_seconds) == {}
    (until,) = {one.paused_until for one in begin_anew({}, pools, NOW + 9999, NOW).values()}
    assert until == NOW + patience_seconds, "the wall clock went back"
