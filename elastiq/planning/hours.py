"""What schedules change of the policy.

Of several at the same time, and of what holds always, the highest minimum and the lowest maximum count, and the longest
idle time of the schedules. A minimum holds from so long before its hours on as a VM takes to boot, so that it is there
when they begin. Everything else goes on as it would: no VM goes because hours end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from elastiq.memory import Memory
from elastiq.model import DEFAULT_POOL, Policy, Pool, Schedule
from elastiq.planning.boots import boot_seconds


def in_force(policy: Policy, memory: Memory, now: float) -> Policy:
    """Return the policy as the schedules make it `now`; itself if they change nothing."""
    if not policy.schedules:
        return policy
    of_all = [one for one in policy.schedules if not one.pool or _is_all_there_is(one.pool, policy)]
    changed = replace(
        policy,
        pools=tuple(_pool(pool, policy, memory, now) for pool in policy.pools),
        min_vms=_highest(policy.min_vms, _minima(of_all, policy, memory, now)),
        max_vms=_lowest(policy.max_vms, _holding(of_all, lambda one: one.max_vms, now)),
        idle_for_time_s=_longest(_holding(of_all, lambda one: one.idle_for_time_s, now), policy.idle_for_time_s),
    )
    return policy if changed == policy else changed


def _pool(pool: Pool, policy: Policy, memory: Memory, now: float) -> Pool:
    is_all = _is_all_there_is(pool.name, policy)
    own = [one for one in policy.schedules if one.pool == pool.name or (is_all and not one.pool)]
    idle = list(_holding(own, lambda one: one.idle_for_time_s, now))
    return replace(
        pool,
        min_vms=_highest(pool.min_vms, _minima(own, policy, memory, now)),
        max_vms=_lowest(pool.max_vms, _holding(own, lambda one: one.max_vms, now)),
        idle_for_time_s=max(idle) if idle else pool.idle_for_time_s,
    )


def _is_all_there_is(name: str, policy: Policy) -> bool:
    """Return whether that is the pool of a configuration that names none: it has the limits of the whole."""
    return name == DEFAULT_POOL and len(policy.pools) == 1


def _holding(schedules: Iterable[Schedule], value: Callable[[Schedule], float | None], now: float) -> Iterator[float]:
    """Return what those schedules say of something that hold `now`."""
    for schedule in schedules:
        found = value(schedule)
        if found is not None and schedule.hours.is_on(now):
            yield found


def _minima(schedules: Iterable[Schedule], policy: Policy, memory: Memory, now: float) -> Iterator[int]:
    for schedule in schedules:
        if schedule.min_vms is not None and schedule.hours.is_on(now, _lead_seconds(schedule, policy, memory)):
            yield schedule.min_vms


def _lead_seconds(schedule: Schedule, policy: Policy, memory: Memory) -> float:
    """Return how long before its hours the VMs of a schedule are launched."""
    if schedule.min_vms is None:
        return 0.0
    pools = [pool for pool in policy.pools if schedule.pool in ("", pool.name)]
    return max((boot_seconds(pool, memory, policy) for pool in pools), default=0.0)


def changes(policy: Policy, memory: Memory, now: float) -> Iterator[float]:
    """Return when the policy in force next changes, by each of the schedules."""
    for schedule in policy.schedules:
        yield from schedule.hours.changes(now, _lead_seconds(schedule, policy, memory))


def _highest(always: int, others: Iterable[int]) -> int:
    return max((always, *others))


def _lowest(always: int | None, others: Iterable[float]) -> int | None:
    found = [int(one) for one in others]
    return min(found if always is None else [always, *found], default=None)


def _longest(found: Iterable[float], always: float) -> float:
    return max(found, default=always)
