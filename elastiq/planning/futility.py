"""Jobs that do not start although there is room for them: from what happened, whatever keeps the batch system from it.

Nobody can know beforehand all that decides whether a job starts. So each group of waiting jobs is watched: if workers
of elastiq had room for it for some cycles of the batch system, and yet it never became smaller, it is in vain to launch
VMs for it. A group of which some start and some do not is in vain as far as its smallest size goes.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from elastiq.memory import Futility, Memory, VmRecord, Watch
from elastiq.model import Demand, Policy, Worker
from elastiq.planning import patience
from elastiq.planning.adaptive import held_seconds
from elastiq.planning.fleet import Fleet
from elastiq.planning.packing import Rest, Room, Rooms
from elastiq.planning.suspicion import Unused, kept_unused, left_unused, with_unused

ROOMS_WATCHED = 20
"""Workers with room for one group."""

WITNESSES = 2
"""Workers whose room is not used, if there are so many at all: a single one may be hurt in a way that does not show."""

TRUSTED_SECONDS = 86400.0
"""A group that starts after a trial is as good as any other so long later: if it stands still before, it is tried again
after longer and longer pauses, for what was taken for a start may have been none."""

SETTLED_SECONDS = 1800.0
"""When no fewer have waited for so long, none of those that start is counted any more among those that do not."""

FUTILE_KEPT_SECONDS = 2 * 86400.0
"""A group that has not waited any more is forgotten so long after the next trial would have been due."""


@dataclass(frozen=True)
class Share:
    """What of a group of waiting jobs is worth a launch."""

    jobs: int
    in_vain: int = 0
    may_try: bool = False
    """Whether one VM is due for those in vain."""


class _OpenRooms:
    """Room on workers of elastiq's, by its kind: there are few kinds, however many VMs."""

    def __init__(self, fleet: Fleet, demand: Sequence[Demand]) -> None:
        """Look at the workers for these jobs."""
        self._idle_since: dict[str, float | None] = {}
        self._kinds: dict[str, int] = {}
        self._alike: list[list[str]] = []
        self._samples: list[Room] = []
        self._known: dict[Hashable, dict[int | None, bool]] = {}
        self._kinds_of: dict[int, tuple[Mapping[str, float], frozenset[int | None]]] = {}
        """The kinds of rooms, by the identity of what is watched, which many groups share, and is kept with them."""
        self._shared: dict[tuple[tuple[str, float], ...], Mapping[str, float]] = {}
        numbers: dict[Hashable, int] = {}
        vms, workers = fleet.memory.vms, fleet.open_workers
        for id_, there in fleet.rooms_there.items() if demand else ():
            worker, (free, *others) = workers[id_], there
            kind = (free.cpus, free.memory_mb, free.disk_mb, free.gpus, *others)
            number = numbers.setdefault(kind, len(numbers))
            if number == len(self._samples):
                self._samples.append(Room(*there))
                self._alike.append([])
            self._alike[number].append(id_)
            self._kinds[id_] = number
            self._idle_since[id_] = None if worker.jobs else _idle_since(vms[id_], worker, fleet)
        self._rooms = Rooms(self._samples, min((group.shape.cpus for group in demand), default=0))

    def still(self, watched: Mapping[str, float], rest: Rest) -> Mapping[str, float]:
        """Return those VMs of `watched` on whose workers there is room for a job of `rest`."""
        if not watched:
            return watched
        kind = rest.kind
        known = self._known.get(kind)
        if known is None:
            known = self._known[kind] = {None: False}
        is_for_all = True
        found = self._kinds_of.get(id(watched))
        if found is None:
            found = self._kinds_of[id(watched)] = watched, frozenset(map(self._kinds.get, watched))
        for number in found[1]:
            if number not in known and number is not None:
                known[number] = self._samples[number].holds(rest)
            is_for_all = is_for_all and known[number]
        if is_for_all:
            return watched
        return {id_: since for id_, since in watched.items() if known[self._kinds.get(id_)]}

    def shared(self, watched: Mapping[str, float]) -> Mapping[str, float]:
        """Return the same, for all groups of which the same is watched."""
        return self._shared.setdefault(tuple(watched.items()), watched)

    def holding(self, rest: Rest) -> Iterator[str]:
        """Go over the VMs on whose workers there is room for a job of `rest`."""
        for number, _ in self._rooms.holding(rest):
            yield from self._alike[number]

    def idle_since(self, id_: str) -> float | None:
        """Return since when the whole worker is free; None: jobs are there."""
        return self._idle_since[id_]


def _idle_since(record: VmRecord, worker: Worker, fleet: Fleet) -> float:
    # One that is seen for the first time may have joined long before.
    is_new = record.joined_at is None or record.joined_at >= fleet.seen_at
    there_since = record.launched_at if is_new else record.joined_at or 0.0
    return max(fleet.seen_at - (worker.idle_seconds or 0.0), there_since)


def share_of(group: Demand, memory: Memory, now: float) -> Share:
    """Return what of `group` is worth a launch."""
    futile = memory.futile.get(group.key)
    if futile is None or futile.is_trusted:
        return Share(group.jobs)
    in_vain = min(group.jobs, futile.jobs) if futile.has_started else group.jobs
    return Share(group.jobs - in_vain, in_vain, in_vain > 0 and now >= futile.try_at)


def unused_by(group: Demand, fleet: Fleet, seconds: float) -> Mapping[str, float]:
    """Return the VMs whose workers have had room for `group` that it did not use for `seconds`, which are
    `suspicious_seconds`: so long that it is none; and for how long."""
    seen = fleet.memory.watched.get(group.key)
    return {} if seen is None else left_unused(seen, seconds, fleet.seen_at)


def tried(memory: Memory, group: Demand, now: float) -> Memory:
    """Return `memory` after a VM was launched to try whether `group` starts by now."""
    key = group.key
    futile = memory.futile.get(key)
    if futile is None:
        return memory
    pause = patience.pause_seconds(patience.TRIAL_PAUSES_SECONDS, futile.trials + 1)
    # Room that was there already shows it without a VM, and the next look says what of it.
    has_room = key in memory.watched and memory.watched[key].rooms
    bar = futile.bar if has_room else futile.bar or _bar(futile, now)
    again = replace(futile, trials=futile.trials + 1, try_at=now + pause, tried_at=now, bar=bar)
    return replace(memory, futile={**memory.futile, key: again})


def trial_failed(memory: Memory, key: str, now: float) -> Memory:
    """Return `memory` after the cloud gave no VM for a trial of group `key`: it is due as soon as launches go on."""
    futile = memory.futile.get(key)
    if futile is None or futile.is_trusted:
        return memory
    again = replace(futile, trials=max(0, futile.trials - 1), try_at=now)
    return replace(memory, futile={**memory.futile, key: again})


def futile_seconds(policy: Policy) -> float:
    """Return for how long jobs must wait beside room until that is in vain."""
    stays = held_seconds("", policy) if policy.is_adaptive else policy.idle_for_time_s
    return max(patience.SHORTEST_FUTILE_SECONDS, min(patience.FUTILE_SECONDS, stays))


def suspicious_seconds(policy: Policy) -> float:
    """Return for how long a worker has room that jobs do not use until it is none for them."""
    return max(futile_seconds(policy), policy.estimated_vm_deploy_time_s)


def watch(demand: Sequence[Demand], fleet: Fleet, looked_at: float) -> Memory:
    """Return the memory of `fleet` after a look at waiting jobs and workers, the older of them at `looked_at`."""
    memory = fleet.memory
    rooms = _OpenRooms(fleet, demand)
    left_over, seconds = Unused(memory.vms, looked_at), futile_seconds(fleet.policy)
    watched: dict[str, Watch] = {}
    futile = dict(memory.futile)
    for group in demand:
        key = group.key
        before = memory.watched.get(key)
        if before is not None and not before.waiting:
            before = replace(before, waiting=group.jobs, least=group.jobs, since=looked_at)
        has_started = _has_started(before, group.jobs, group.running, fleet, looked_at)
        known = _after_look(futile.pop(key, None), group, fleet, has_started=bool(has_started))
        if before is not None and has_started is None:
            watched[key] = _undecided(before, fleet)
            if known is not None:
                futile[key] = known
            continue
        barred = fleet.chances(group).barred_from
        rest = Rest(0, group.shape, 1, group.vms_per_job, group.takes_whole_vms, barred)
        seen = _watch(before, group, rest, rooms, looked_at, has_started=bool(has_started))
        unused = _unused(seen, looked_at, seconds)
        seen = _with_witnesses(seen, unused, fleet)
        if group.vms_per_job == 1:
            # That some run may hide that others have started, where as many have come.
            may_have_started = bool(has_started) or group.running != 0
            seen = with_unused(before or seen, seen, left_over, may_have_started=may_have_started)
        watched[key] = seen
        if _is_in_vain(seen, unused, group, fleet):
            known = _in_vain(known, seen, fleet.now)
            if group.jobs > seen.least:
                # Those that have come meanwhile are watched from now on.
                watched[key] = replace(seen, least=group.jobs, since=looked_at, has_started=False, witnesses=())
        if known is not None:
            futile[key] = known
    waiting = set(watched)
    for key, before in memory.watched.items():
        if key not in waiting and (left := _of_one_that_went(before, fleet, looked_at)) is not None:
            watched[key] = left
    futile = {
        key: known
        for key, known in futile.items()
        if key in waiting or not (known.has_started or fleet.now > known.try_at + FUTILE_KEPT_SECONDS)
    }
    if watched == memory.watched and futile == memory.futile:
        return memory
    return replace(memory, watched=watched, futile=futile)


def launched_in_vain(demand: Sequence[Demand], fleet: Fleet, looked_at: float) -> frozenset[str]:
    """Return the VMs that have never had a job although they have stood beside `demand` for long, nothing of which they
    are taken to run; those launched before that was found of a group, a moment after they have joined."""
    if not demand:
        return frozenset()
    futile = [fleet.memory.futile[group.key] for group in demand if group.key in fleet.memory.futile]
    found_at = max((one.tried_at for one in futile if not one.trials), default=0.0)
    found = set()
    for record in fleet.records:
        worker = fleet.worker(record)
        if worker is None or worker.jobs or record.has_worked or not fleet.is_open(record):
            continue
        is_of_first_launch = record.launched_at < found_at
        seconds = patience.SHORTEST_FUTILE_SECONDS if is_of_first_launch else futile_seconds(fleet.policy)
        if looked_at - _idle_since(record, worker, fleet) >= seconds:
            found.add(record.id)
    return frozenset(found)


def _unused(seen: Watch, looked_at: float, seconds: float) -> list[str]:
    """Return the VMs whose workers have had room for the group for so long."""
    if looked_at - seen.since < seconds:
        return []
    return [id_ for id_, since in seen.rooms.items() if looked_at - since >= seconds]


def _has_started(before: Watch | None, jobs: int, running: int | None, fleet: Fleet, looked_at: float) -> bool | None:
    """Return whether of a group of which so many wait by now some have started, and were not only removed; None: the
    next look at workers tells.

    That some run does not tell it: they may have run for long. A worker that has stood idle beside those that wait
    would have had the first ones: if no other of elastiq's began to work since either, they were removed.
    """
    if before is None or jobs >= before.waiting:
        return False
    if not (fleet.is_any_at_work if running is None else running):
        return False
    if running is not None and running > (before.running or 0):
        return True
    unused = {*before.witnesses, *_unused(before, looked_at, futile_seconds(fleet.policy))}
    idle_since = min((before.rooms.get(id_, before.since) for id_ in unused if _is_idle(id_, fleet)), default=math.inf)
    if idle_since == math.inf or fleet.last_work_from > idle_since:
        return True
    return False if fleet.seen_at >= (before.fell_at or fleet.now) else None


def _is_idle(id_: str, fleet: Fleet) -> bool:
    """Return whether a VM has no job, or goes without one."""
    worker, record = fleet.own_workers.get(id_), fleet.memory.vms.get(id_)
    return (record is None or record.leaving) if worker is None else not worker.jobs


def _undecided(before: Watch, fleet: Fleet) -> Watch:
    return before if before.fell_at is not None else replace(before, fell_at=fleet.now)


def _of_one_that_went(before: Watch, fleet: Fleet, looked_at: float) -> Watch | None:
    """Return what is kept of a group of which none waits any more; None: nothing has been learnt of it."""
    if not before.waiting:
        return before if fleet.now <= before.since + FUTILE_KEPT_SECONDS else None
    has_started = _has_started(before, 0, None, fleet, looked_at)
    if has_started is None:
        return _undecided(before, fleet)
    vms, least = fleet.memory.vms, suspicious_seconds(fleet.policy)
    seconds = kept_unused(before, least, vms, looked_at, may_have_started=has_started)
    witnesses = () if has_started else before.witnesses
    return Watch(0, 0, fleet.now, witnesses=witnesses, unused_seconds=seconds) if witnesses or seconds else None


def _after_look(futile: Futility | None, group: Demand, fleet: Fleet, *, has_started: bool) -> Futility | None:
    now = fleet.now
    if futile is None or (futile.is_trusted and now > futile.try_at):
        return None
    if futile.is_trusted:
        return futile
    if has_started and futile.trials and not futile.has_started and group.jobs < futile.jobs:
        return replace(futile, is_trusted=True, try_at=now + TRUSTED_SECONDS)
    futile = _after_fewer(futile, group, now, has_started=has_started)
    if group.jobs < futile.bar and _is_trial_at_work(futile, fleet):
        return replace(futile, is_trusted=True, try_at=now + TRUSTED_SECONDS)
    if group.jobs < futile.jobs and (has_started or futile.has_started):
        # Either all can start by now, which a trial shows, or some that start were counted.
        try_at = futile.try_at if futile.has_started or futile.trials else now
        return replace(futile, jobs=group.jobs, has_started=True, try_at=try_at)
    return replace(futile, has_started=True) if has_started else futile


def _after_fewer(futile: Futility, group: Demand, now: float, *, has_started: bool) -> Futility:
    """Return `futile` with the fewest that have waited; if that was the same for long, another trial is soon due."""
    if futile.fewest and group.jobs >= futile.fewest:
        return futile
    bar, try_at = futile.bar, futile.try_at
    if not bar and has_started and _bar(futile, now):
        bar, try_at = futile.fewest, min(try_at, futile.tried_at + patience.TRIAL_PAUSES_SECONDS[0])
    return replace(futile, fewest=group.jobs, fewest_since=now, bar=bar, try_at=try_at)


def _bar(futile: Futility, now: float) -> int:
    return futile.fewest if now - futile.fewest_since >= SETTLED_SECONDS else 0


def _is_trial_at_work(futile: Futility, fleet: Fleet) -> bool:
    """Return whether a VM that was launched to try has a job."""
    return any(record.at_work and record.launched_at >= futile.tried_at for record in fleet.records)


def _watch(
    before: Watch | None,
    group: Demand,
    rest: Rest,
    rooms: _OpenRooms,
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
    kept = rooms.still(before.rooms, rest)
    lacking = max(ROOMS_WATCHED, group.vms_per_job) - len(kept)
    if lacking > 0:
        further = list(islice((id_ for id_ in rooms.holding(rest) if id_ not in kept), lacking))
        idle_since = ((id_, rooms.idle_since(id_)) for id_ in further)
        new = {id_: looked_at if idle is None else min(looked_at, idle) for id_, idle in idle_since}
        kept = rooms.shared({**kept, **new})
    if not kept and before.least != group.jobs:
        # Without room nothing is learnt: what counts is what waits from this look on, of a VM that joins after it, too.
        before = replace(before, least=group.jobs, since=looked_at)
    has_started = before.has_started or has_started
    numbers = (group.jobs, group.running, has_started, None)
    is_still = (before.waiting, before.running, before.has_started, before.fell_at) == numbers
    if is_still and (kept is before.rooms or kept == before.rooms):
        return before
    return replace(before, waiting=group.jobs, running=group.running, rooms=kept, has_started=has_started, fell_at=None)


def _with_witnesses(seen: Watch, unused: Sequence[str], fleet: Fleet) -> Watch:
    """Return `seen` with the VMs that have stood unused, and without those that began to work since."""
    if not (unused or seen.witnesses):
        return seen
    vms = fleet.memory.vms
    found = dict.fromkeys((*seen.witnesses, *unused))
    unused = [id_ for id_ in found if id_ not in vms or (vms[id_].work_from or 0.0) <= seen.since]
    witnesses = tuple(unused[:ROOMS_WATCHED])
    return seen if witnesses == seen.witnesses else replace(seen, witnesses=witnesses)


def _is_in_vain(seen: Watch, unused: Sequence[str], group: Demand, fleet: Fleet) -> bool:
    """Return whether workers enough have had room for `group` for long, one after the other or at the same time, and
    none of it started."""
    if len(unused) < max(1, group.vms_per_job):
        return False
    return len(seen.witnesses) >= min(WITNESSES, len(fleet.open_workers))


def _in_vain(known: Futility | None, seen: Watch, now: float) -> Futility:
    if known is None or known.is_trusted:
        trials = 0 if known is None else known.trials
        try_at = now + patience.pause_seconds(patience.TRIAL_PAUSES_SECONDS, trials)
        return Futility(seen.least, seen.has_started, trials, try_at, now, seen.least, now)
    if seen.least >= 2 * known.fewest:
        known = replace(known, fewest=seen.least, fewest_since=now)  # those that wait now are others
    return replace(known, jobs=seen.least if known.has_started else max(known.jobs, seen.least), bar=0)
