"""Jobs that do not start although there is room for them: from what happened, whatever keeps the batch system from it.

Nobody can know beforehand all that decides whether a job starts. So each group of waiting jobs is watched: if workers
of elastiq had room for it for some cycles of the batch system, and yet it never became smaller, it is in vain to launch
VMs for it. A group of which some start and some do not is in vain as far as its smallest size goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from elastiq.memory import Futility, Memory, VmRecord, Watch
from elastiq.model import Demand, Policy
from elastiq.planning import patience
from elastiq.planning.eligibility import barred_from, chances
from elastiq.planning.fleet import Fleet
from elastiq.planning.packing import Rest, Room

ROOMS_WATCHED = 20
"""Workers with room for one group."""

WITNESSES = 2
"""Workers whose room is not used, if there are so many at all: a single one may be hurt in a way that does not show."""

FUTILE_KEPT_SECONDS = 2 * 86400.0
"""A group that has not waited any more is forgotten so long after the next trial would have been due."""


@dataclass(frozen=True)
class Share:
    """What of a group of waiting jobs is worth a launch."""

    jobs: int
    in_vain: int = 0
    may_try: bool = False
    """Whether one VM is due for those in vain."""


@dataclass
class _OpenRoom:
    """Room on a worker of elastiq's."""

    record: VmRecord
    room: Room
    idle_since: float | None
    """Since when the whole worker is free; None: jobs are there."""


def share_of(group: Demand, memory: Memory, now: float) -> Share:
    """Return what of `group` is worth a launch."""
    futile = memory.futile.get(group.key)
    if futile is None:
        return Share(group.jobs)
    in_vain = min(group.jobs, futile.jobs) if futile.has_started else group.jobs
    return Share(group.jobs - in_vain, in_vain, in_vain > 0 and now >= futile.try_at)


def tried(memory: Memory, group: Demand, now: float) -> Memory:
    """Return `memory` after a VM was launched to try whether `group` starts by now."""
    key = group.key
    futile = memory.futile.get(key)
    if futile is None:
        return memory
    pause = patience.pause_seconds(patience.TRIAL_PAUSES_SECONDS, futile.trials + 1)
    again = replace(futile, trials=futile.trials + 1, try_at=now + pause)
    return replace(memory, futile={**memory.futile, key: again})


def trial_failed(memory: Memory, key: str, now: float) -> Memory:
    """Return `memory` after the cloud gave no VM for a trial of group `key`: it is due as soon as launches go on."""
    futile = memory.futile.get(key)
    if futile is None:
        return memory
    again = replace(futile, trials=max(0, futile.trials - 1), try_at=now)
    return replace(memory, futile={**memory.futile, key: again})


def futile_seconds(policy: Policy) -> float:
    """Return for how long jobs must wait beside room until that is in vain."""
    return max(patience.SHORTEST_FUTILE_SECONDS, min(patience.FUTILE_SECONDS, policy.idle_for_time_s))


def watch(demand: Sequence[Demand], fleet: Fleet, looked_at: float) -> Memory:
    """Return the memory of `fleet` after a look at waiting jobs and workers, the older of them at `looked_at`."""
    memory, rooms = fleet.memory, _open_rooms(fleet)
    kinds = _of_a_kind(rooms)
    watched: dict[str, Watch] = {}
    futile = dict(memory.futile)
    for group in demand:
        key = group.key
        before = memory.watched.get(key)
        has_started = before is not None and group.jobs < before.waiting and _runs(group, fleet)
        known = _after_look(futile.pop(key, None), group, has_started=has_started)
        barred = barred_from(chances(group, memory, fleet.policy, fleet.now))
        rest = Rest(0, group.shape, 1, group.vms_per_job, group.takes_whole_vms, barred)
        seen = _watch(before, group, rest, rooms, kinds, looked_at, has_started=has_started)
        seen = _with_witnesses(seen, looked_at, fleet.policy)
        watched[key] = seen
        if _is_in_vain(seen, group, fleet, looked_at):
            known = _in_vain(known, seen, fleet.now)
            if group.jobs > seen.least:
                # Those that have come meanwhile are watched from now on.
                watched[key] = replace(seen, least=group.jobs, since=looked_at, has_started=False, witnesses=())
        if known is not None:
            futile[key] = known
    waiting = watched.keys()
    futile = {
        key: known
        for key, known in futile.items()
        if key in waiting or not (known.has_started or fleet.now > known.try_at + FUTILE_KEPT_SECONDS)
    }
    if watched == memory.watched and futile == memory.futile:
        return memory
    return replace(memory, watched=watched, futile=futile)


def launched_in_vain(fleet: Fleet, looked_at: float) -> frozenset[str]:
    """Return the VMs that have never had a job, and stand beside jobs that do not start there."""
    found = set()
    for key, seen in fleet.memory.watched.items():
        if key in fleet.memory.futile:
            for id_ in _unused(seen, looked_at, fleet.policy):
                record = fleet.memory.vms.get(id_)
                if record and not record.has_worked:
                    found.add(id_)
    return frozenset(found)


def _unused(seen: Watch, looked_at: float, policy: Policy) -> list[str]:
    """Return the VMs whose workers have had room for the group for long enough."""
    seconds = futile_seconds(policy)
    return [id_ for id_, since in seen.rooms.items() if looked_at - max(since, seen.since) >= seconds]


def _open_rooms(fleet: Fleet) -> Mapping[str, _OpenRoom]:
    found = {}
    for record in fleet.records:
        room, worker = fleet.present_room(record), fleet.worker(record)
        if room is None or worker is None or (room.free is not None and room.free.cpus <= 0):
            continue
        idle_since = None
        if not worker.jobs:
            # One that is seen for the first time may have joined long before.
            is_new = record.joined_at is None or record.joined_at >= fleet.seen_at
            there_since = record.launched_at if is_new else record.joined_at or 0.0
            idle_since = max(fleet.seen_at - (worker.idle_seconds or 0.0), there_since)
        found[record.id] = _OpenRoom(record, room, idle_since)
    return found


def _of_a_kind(rooms: Mapping[str, _OpenRoom]) -> Mapping[object, Sequence[str]]:
    """Return the VMs by the kind of room that they have: there are few kinds, however many VMs."""
    kinds: dict[object, list[str]] = {}
    for id_, one in rooms.items():
        kinds.setdefault((one.room.free, one.room.jobs, one.room.pool, one.room.is_empty), []).append(id_)
    return kinds


def _runs(group: Demand, fleet: Fleet) -> bool:
    """Return whether jobs of `group` may run: if it became smaller, they may have started, not only been removed."""
    if group.running is not None:
        return group.running > 0
    return any(worker.jobs for worker in (*fleet.own_workers.values(), *fleet.foreign_workers))


def _after_look(futile: Futility | None, group: Demand, *, has_started: bool) -> Futility | None:
    if futile is None:
        return None
    if group.jobs < futile.jobs:
        if has_started and futile.trials and not futile.has_started:
            return None  # the trial has shown that they start by now
        if has_started:
            # Either all can start by now, which one trial after the other shows soon, or some that start were counted.
            return replace(futile, jobs=group.jobs, has_started=True, trials=0, try_at=0.0)
        return replace(futile, jobs=group.jobs) if futile.has_started else futile
    return replace(futile, has_started=True) if has_started else futile


def _watch(
    before: Watch | None,
    group: Demand,
    rest: Rest,
    rooms: Mapping[str, _OpenRoom],
    kinds: Mapping[object, Sequence[str]],
    looked_at: float,
    *,
    has_started: bool,
) -> Watch:
    if before is None:
        before = Watch(group.jobs, group.jobs, looked_at)
    elif group.jobs < before.least:
        # Jobs that were merely removed say nothing of the others.
        since = looked_at if has_started else before.since
        witnesses = () if has_started else before.witnesses
        before = replace(before, least=group.jobs, since=since, has_started=has_started, witnesses=witnesses)
    kept = {id_: since for id_, since in before.rooms.items() if id_ in rooms and rooms[id_].room.holds(rest)}
    lacking = max(ROOMS_WATCHED, group.vms_per_job) - len(kept)
    further = (id_ for alike in kinds.values() if rooms[alike[0]].room.holds(rest) for id_ in alike if id_ not in kept)
    for id_ in islice(further, lacking):
        idle_since = rooms[id_].idle_since
        kept[id_] = looked_at if idle_since is None else min(looked_at, idle_since)
    if not kept and before.least != group.jobs:
        # Without room nothing is learnt: what counts is what waits from this look on, of a VM that joins after it, too.
        before = replace(before, least=group.jobs, since=looked_at)
    has_started = before.has_started or has_started
    return replace(before, waiting=group.jobs, rooms=kept, has_started=has_started)


def _with_witnesses(seen: Watch, looked_at: float, policy: Policy) -> Watch:
    found = tuple(dict.fromkeys((*seen.witnesses, *_unused(seen, looked_at, policy))))[:ROOMS_WATCHED]
    return seen if found == seen.witnesses else replace(seen, witnesses=found)


def _is_in_vain(seen: Watch, group: Demand, fleet: Fleet, looked_at: float) -> bool:
    """Return whether workers enough have had room for `group` for long, one after the other or at the same time, and
    none of it started."""
    if len(_unused(seen, looked_at, fleet.policy)) < max(1, group.vms_per_job):
        return False
    are_open = sum(fleet.present_room(record) is not None for record in fleet.records)
    return len(seen.witnesses) >= min(WITNESSES, are_open)


def _in_vain(known: Futility | None, seen: Watch, now: float) -> Futility:
    if known is None:
        return Futility(seen.least, seen.has_started, 0, now + patience.TRIAL_PAUSES_SECONDS[0])
    return replace(known, jobs=seen.least if known.has_started else max(known.jobs, seen.least))
