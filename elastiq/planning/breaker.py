"""Pauses of launches after boots that failed."""

from __future__ import annotations

from dataclasses import replace

from elastiq.memory import Breaker
from elastiq.planning import patience


def boot_failed(breaker: Breaker | None, now: float, reason: str) -> Breaker:
    """Return the breaker after a VM ended in error or never joined; failures during a pause do not prolong it."""
    breaker = breaker or Breaker()
    breaker = replace(breaker, failed_boots=breaker.failed_boots + 1, boot_reason=reason)
    if breaker.failed_boots < patience.BOOT_FAILURES_TO_TRIP or now < breaker.paused_until:
        return breaker
    pause = patience.BOOT_PAUSES_SECONDS[min(breaker.trips, len(patience.BOOT_PAUSES_SECONDS) - 1)]
    return replace(breaker, trips=breaker.trips + 1, paused_until=now + pause, reason=reason)
