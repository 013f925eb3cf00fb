"""How long VMs take from their launch to joining the batch system, as far as it was seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from elastiq.memory import Memory
from elastiq.model import Policy, Pool, of_pool

USUAL_BOOT_SECONDS = 180.0
"""How long a VM takes to join, as long as none has been seen to."""

BOOTS_REMEMBERED = 20


def boot_seconds(pool: Pool, memory: Memory, policy: Policy) -> float:
    """Return how long a VM of `pool` takes from its launch to joining the batch system, or longer: three of four that
    were seen took no longer."""
    seen = memory.boots.get(pool.capacity_key)
    seconds = quantile(seen, 0.75) if seen else USUAL_BOOT_SECONDS
    return min(seconds, policy.estimated_vm_deploy_time_s)


def with_boot(memory: Memory, pool: Pool, seconds: float) -> Memory:
    """Return `memory` after a VM of `pool` was seen to join `seconds` after its launch."""
    seen = (*memory.boots.get(pool.capacity_key, ()), round(seconds, 1))[-BOOTS_REMEMBERED:]
    return replace(memory, boots={**memory.boots, pool.capacity_key: seen})


def too_brief_idle_times(memory: Memory, policy: Policy) -> tuple[str, ...]:
    """Say of each pool of which idle VMs go before others have booted, what to set instead. The policy adaptive keeps
    those on which waiting jobs are to start."""
    advice = []
    for pool in policy.pools:
        idle_seconds, seconds = policy.idle_seconds_of(pool.name), boot_seconds(pool, memory, policy)
        if not policy.is_adaptive and pool.capacity_key in memory.boots and idle_seconds < seconds:
            advice.append(
                f"idle_for_time_s {idle_seconds:g}{of_pool(pool.name)} is less than VMs lately took to boot "
                f"({math.ceil(seconds / 60)} min): those on which a job of several VMs is to start go while it waits "
                "for the others; raise it, or set policy = adaptive"
            )
    return tuple(advice)


def quantile(values: Sequence[float], part: float) -> float:
    """Return below what `part` of some values lie, between two of them in proportion. There must be one at least."""
    ordered = sorted(values)
    place = part * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
