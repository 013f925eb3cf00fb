"""When something would change by itself: moments at which a limit of patience is over."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from elastiq.memory import Memory, Rises, Stage, VmRecord, Watch
from elastiq.model import Observation, Policy
from elastiq.planning import patience, rates
from elastiq.planning.adaptive import held_seconds, period_seconds
from elastiq.planning.capacities import BELIEVED_SECONDS, LASTS_SECONDS
from elastiq.planning.futility import FUTILE_KEPT_SECONDS, futile_seconds, suspicious_seconds
from elastiq.planning.hours import changes
from elastiq.planning.intents import settle_seconds
from elastiq.planning.interruptions import requeue_at
from elastiq.planning.money import Purse


def wake_at(observation: Observation, memory: Memory, policy: Policy) -> float:
    """Return from when on a plan for the same answers of the world comes out differently; infinity: never."""
    return _first(_of_the_plan(observation, memory, policy), observation.now)


def look_at(observation: Observation, memory: Memory, policy: Policy) -> float:
    """Return from when on a new look at a world that has not changed leads to another plan, or to a try to have a
    dead worker forgotten; infinity: never.

    A limit that was passed after the last look is noticed at the next one, so this may lie in the past.
    """
    ages = (observation.demand_age_seconds, observation.workers_age_seconds, observation.instances_age_seconds)
    return _first(_of_a_look(observation, memory, policy), observation.now - max(ages))


def _first(moments: Iterable[float], since: float) -> float:
    return min(filter(float(since).__le__, moments), default=math.inf)


def _of_the_plan(observation: Observation, memory: Memory, policy: Policy) -> Iterator[float]:
    for record in memory.vms.values():
        if record.is_usual:
            continue
        yield record.terminate_retry_at
        yield record.reopen_retry_at
        if record.interrupted_at is not None:
            yield requeue_at(record, policy)
            yield record.interrupted_at + patience.INTERRUPTION_SECONDS
        if record.joined_at is None:
            yield record.awaited_since + policy.estimated_vm_deploy_time_s
        if record.lost_since is not None:
            yield record.lost_since + patience.OUT_OF_SIGHT_SECONDS
        if record.missing_since is not None:
            yield record.missing_since + patience.MISSING_GRACE_SECONDS
    for breaker in memory.breakers.values():
        yield breaker.paused_until
        if breaker.most is not None:
            yield breaker.most_until
    for away in memory.offers_away.values():
        yield away.until
    for ids in memory.taught_by.values():
        teacher = memory.vms.get(ids[0]) if len(ids) == 1 else None
        if teacher is not None and teacher.joined_at is not None:
            yield teacher.joined_at + BELIEVED_SECONDS
    for showing in memory.showings.values():
        yield showing.try_at
        yield showing.at + LASTS_SECONDS
    for group in observation.demand or ():
        if group.key in memory.futile:
            yield memory.futile[group.key].try_at
    yield from changes(policy, memory, observation.now)
    yield from Purse.of(memory, policy, observation.now).changes()
    yield from rates.changes(memory, observation.now)
    if memory.waiting_since is not None:
        yield memory.waiting_since + policy.waiting_jobs_time_s
        yield memory.waiting_since + policy.estimated_vm_deploy_time_s


def _of_a_look(observation: Observation, memory: Memory, policy: Policy) -> Iterator[float]:
    if policy.is_adaptive:
        for pool in policy.pools:
            load = memory.loads.get(pool.name)
            if load is not None and (load.risen or memory.rises.get(pool.name, Rises()).cores):
                yield load.since + period_seconds(pool, memory, policy)
    yield from {record.launched_at for record in memory.vms.values()}  # a listing that began before cannot show it
    for record in memory.vms.values():
        if record.stage is not Stage.WORKING:
            yield from _of_a_vm(record, policy)
        elif record.idle_from is not None:
            yield record.idle_from + policy.idle_seconds_of(record.pool)
    workers_at = observation.now - observation.workers_age_seconds
    limits = {futile_seconds(policy), patience.SHORTEST_FUTILE_SECONDS} if observation.demand else set()
    for record in memory.vms.values() if observation.demand else ():
        if record.joined_at is not None and not record.has_worked:
            yield from (record.joined_at + limit for limit in limits)
    for name in ("", *(pool.name for pool in policy.pools)):
        limits |= {policy.idle_seconds_of(name), policy.idle_seconds_of(name) + policy.lost_worker_time_s}
        if policy.is_adaptive:
            limits.add(held_seconds(name, policy))
    if any(worker.hurt for worker in observation.workers or ()):
        limits.add(patience.CLOSED_AT_BIRTH_SECONDS)
    for idle_since in {
        workers_at - one.idle_seconds for one in observation.workers or () if one.idle_seconds is not None
    }:
        for limit in limits:
            yield idle_since + limit
    if any(worker.closed for worker in observation.workers or ()):
        for record in memory.vms.values():
            if record.joined_at is not None and not record.has_worked:
                yield record.joined_at + patience.CLOSED_AT_BIRTH_SECONDS
    yield from _of_watches(memory.watched.values(), policy)
    demand_at = observation.now - observation.demand_age_seconds
    for group in observation.demand or ():
        if group.oldest_wait_seconds is not None:
            yield demand_at - group.oldest_wait_seconds + policy.estimated_vm_deploy_time_s
    for gone in memory.to_forget.values():
        yield gone.retry_at
    for intent in memory.intents:
        yield intent.waiting_since + settle_seconds(intent)
        if intent.unseen_since is not None:
            yield intent.unseen_since + patience.UNSEEN_SECONDS


def _of_watches(watches: Iterable[Watch], policy: Policy) -> Iterator[float]:
    # Groups are many, and begin at few moments with few rooms, which they share: each of these counts once.
    rooms_since: dict[float, set[float]] = {}
    unused_since: set[float] = set()
    known: set[tuple[float, int]] = set()
    known_unused: set[int] = set()
    suspicious = suspicious_seconds(policy)
    for seen in watches:
        if not seen.waiting:
            yield seen.since + FUTILE_KEPT_SECONDS
        rooms, unused = (seen.since, id(seen.rooms)), id(seen.unused_since)
        if rooms not in known:
            known.add(rooms)
            rooms_since.setdefault(seen.since, set()).update(seen.rooms.values())
        if not seen.unused_seconds:
            if unused not in known_unused:
                known_unused.add(unused)
                unused_since.update(seen.unused_since.values())
            continue
        for id_, since in seen.unused_since.items():
            yield since + suspicious - seen.unused_seconds.get(id_, 0.0)
    seconds = futile_seconds(policy)
    for waiting_since, moments in rooms_since.items():
        yield from (max(since, waiting_since) + seconds for since in moments)
    yield from (since + suspicious for since in unused_since)


def _of_a_vm(record: VmRecord, policy: Policy) -> Iterator[float]:
    if record.joined_at is None:
        yield record.awaited_since + policy.estimated_vm_deploy_time_s
    if record.lost_since is not None:
        yield record.lost_since + policy.lost_worker_time_s
        yield record.lost_since + patience.MISSING_GRACE_SECONDS
    if record.missing_since is not None:
        yield record.missing_since + patience.MISSING_GRACE_SECONDS
    if record.terminated_at is not None:
        yield record.terminated_at
        yield record.terminated_at + patience.TERMINATE_AGAIN_SECONDS
    if record.closing_at is not None:
        yield record.closing_at + patience.CLOSE_AGAIN_SECONDS
    if record.idle_from is not None:
        yield record.idle_from + policy.idle_seconds_of(record.pool)
