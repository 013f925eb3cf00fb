"""Pauses of launches: after boots that failed, launches that were refused, and the loss of what was known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from elastiq.memory import Breaker
from elastiq.model import Pool
from elastiq.planning import patience

DAMAGED = "the state database was damaged, and VMs launched just before may not be listed yet"


def boot_failed(breaker: Breaker | None, now: float, reason: str) -> Breaker:
    """Return the breaker after a VM ended in error or never joined; failures during a pause do not prolong it."""
    breaker = breaker or Breaker()
    breaker = replace(breaker, failed_boots=breaker.failed_boots + 1, boot_reason=reason)
    if breaker.failed_boots < patience.BOOT_FAILURES_TO_TRIP or now < breaker.paused_until:
        return breaker
    pause = patience.pause_seconds(patience.BOOT_PAUSES_SECONDS, breaker.trips)
    return replace(breaker, trips=breaker.trips + 1, paused_until=now + pause, reason=reason)


def launch_refused(breaker: Breaker, now: float, reason: str) -> Breaker:
    """Return the breaker after the cloud refused a launch; a longer pause goes on."""
    until = now + patience.pause_seconds(patience.REFUSAL_PAUSES_SECONDS, breaker.refusals)
    paused_until = max(breaker.paused_until, until)
    return replace(breaker, refusals=breaker.refusals + 1, paused_until=paused_until, reason=reason)


def begin_anew(
    breakers: Mapping[str, Breaker], pools: Iterable[Pool], damaged_at: float | None, now: float
) -> Mapping[str, Breaker]:
    """Return the breakers of a daemon that begins, or goes on with another configuration: somebody has probably mended
    something, so launches go on. But not while listings may still leave out VMs of launches that only the database
    knew of which was damaged at `damaged_at` (None: never)."""
    going_on = {
        name: replace(breaker, paused_until=0.0, ask=None, most=None, most_until=0.0)
        for name, breaker in breakers.items()
    }
    until = 0.0 if damaged_at is None else min(now, damaged_at) + patience.SETTLE_SECONDS + patience.UNSEEN_SECONDS
    if now >= until:
        return going_on
    paused = {
        pool.name: replace(going_on.get(pool.name, Breaker()), paused_until=until, reason=DAMAGED) for pool in pools
    }
    return {**going_on, **paused}
