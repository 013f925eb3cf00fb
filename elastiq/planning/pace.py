"""How fast AWS lets VMs be launched."""

from __future__ import annotations

from collections import Counter

from elastiq.memory import Memory

BUCKET_VMS = 1000
REFILL_PER_SECOND = 2.0
"""AWS takes each VM that is asked for out of a bucket of so many, into which so many come back (Amazon EC2 API
Reference, "Request throttling": the resource token bucket of RunInstances). What it does not hold is refused with
RequestLimitExceeded."""

LIMIT = f"AWS's bucket for launches ({REFILL_PER_SECOND:g} VMs a second)"
"""What it is called beside max_vms."""


def launches_left(memory: Memory, now: float) -> int:
    """Return what is left in the bucket, by when the VMs that are remembered were asked for. Those that have ended
    since are not: if too many are asked for then, AWS refuses them, and launches pause."""
    asked = Counter[float]()
    for record in memory.vms.values():
        asked[min(now, record.asked_at or record.launched_at)] += 1
    for intent in memory.intents:
        asked[min(now, intent.requested_at)] += memory.unseen(intent)
    left, at = float(BUCKET_VMS), 0.0
    for time, vms in sorted(asked.items()):
        left, at = min(BUCKET_VMS, left + REFILL_PER_SECOND * (time - at)) - vms, time
    return max(0, int(min(BUCKET_VMS, left + REFILL_PER_SECOND * (now - at))))
