"""Workers that say they have room, and on which what waits does not start: whoever is root there may say anything.

Room that is there is used within some cycles of the batch system. A worker whose room a group has left unused for
longer than a VM takes to boot is no room for that group any more: it is hurt, or it lies. That is seen before the group
itself is taken for one that never starts, which several workers have to show. And no worker is believed to have many
times what others of its kind have.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace

from elastiq.decisions import Reason, Token
from elastiq.memory import VmRecord, Watch
from elastiq.model import Shape, Worker

FAR_MORE = 4
"""No VM has more than so many times as much as all others of its kind: twice as many CPUs as there are some workers do
offer, where jobs use them little, and new ones may be configured otherwise than old ones."""

SIZES = ("cpus", "memory_mb", "gpus")
"""Of a Shape; how much disk is free differs from VM to VM."""


class Unused:
    """What groups have left unused at one look. Many share both what they watch and what follows from it, which is
    found out once."""

    def __init__(self, vms: Mapping[str, VmRecord], looked_at: float) -> None:
        self._vms = vms
        self._looked_at = looked_at
        self._counted: dict[Hashable, tuple[Mapping[str, float], Mapping[str, float]]] = {}
        self._shared: dict[tuple[tuple[str, float], ...], Mapping[str, float]] = {}

    def since(
        self, before: Watch, seen: Watch, *, may_have_started: bool, is_still: bool
    ) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Return `unused_since` and `unused_seconds` of `seen`, which comes after `before`."""
        known, seconds = before.unused_since, before.unused_seconds
        is_usual = not seconds and known.keys() == seen.rooms.keys()
        kind = (id(known), may_have_started, is_still)
        if is_usual and kind in self._counted:
            return self._counted[kind][1], seconds
        since, seconds = self._counted_on(before, seen, may_have_started=may_have_started, is_still=is_still)
        if not seconds:
            since = self._shared.setdefault(tuple(since.items()), since)
        if is_usual:
            # With what has this identity, so that nothing else can have it meanwhile.
            self._counted[kind] = known, since
        return since, seconds

    def _counted_on(
        self, before: Watch, seen: Watch, *, may_have_started: bool, is_still: bool
    ) -> tuple[Mapping[str, float], Mapping[str, float]]:
        own, looked_at = self._vms, self._looked_at
        since, seconds = dict(before.unused_since), dict(before.unused_seconds)
        for id_ in before.unused_since.keys() - seen.rooms.keys():
            seconds[id_] = seconds.get(id_, 0.0) + max(0.0, looked_at - since.pop(id_))
        since.update((id_, looked_at) for id_ in seen.rooms if id_ not in since)
        for id_ in [*since, *seconds]:
            begun, has_room = since.get(id_, looked_at), id_ in since
            if id_ not in own or (may_have_started and _worked_at(own[id_], is_still=is_still and has_room) > begun):
                seconds.pop(id_, None)
                since.update({id_: looked_at} if has_room else {})
        return since, seconds


def with_unused(before: Watch, seen: Watch, unused: Unused, *, may_have_started: bool) -> Watch:
    """Return `seen`, which comes after `before`, with the VMs whose room its group does not use.

    Time counts while there is room, however often there is none in between: a worker that is shown full now and then
    is no better. It begins anew for those at work where jobs of the group `may_have_started` since; but where as many
    of it run and wait as before, none did on a worker that has been at work all the time: it may say so for ever.
    """
    is_still = seen.running is not None and (seen.waiting, seen.running) == (before.waiting, before.running)
    since, seconds = unused.since(before, seen, may_have_started=may_have_started, is_still=is_still)
    if since is seen.unused_since and not (seconds or seen.unused_seconds):
        return seen
    if since == seen.unused_since and seconds == seen.unused_seconds:
        return seen
    # As `replace` has it, which takes three times as long: there may be thousands.
    first = (seen.waiting, seen.least, seen.since, seen.rooms, seen.has_started, seen.witnesses)
    return Watch(*first, seen.running, seen.fell_at, since, seconds)


def _worked_at(record: VmRecord, *, is_still: bool = False) -> float:
    """Return when a worker was last seen at work; `is_still`: as what it has been all the time does not count."""
    begun = (record.work_from or 0.0) if is_still else math.inf
    return max(begun if record.at_work else 0.0, record.idle_from or 0.0)


def left_unused(seen: Watch, seconds: float, looked_at: float) -> Mapping[str, float]:
    """Return the VMs whose room a group has left unused for `seconds` at least until the last look at workers, and for
    how long."""
    if not (seen.unused_since or seen.unused_seconds):
        return {}
    if not seen.unused_seconds and looked_at - min(seen.unused_since.values()) < seconds:
        return {}
    spent = dict(seen.unused_seconds)
    for id_, since in seen.unused_since.items():
        spent[id_] = spent.get(id_, 0.0) + max(0.0, looked_at - since)
    return {id_: each for id_, each in spent.items() if each >= seconds}


def kept_unused(
    before: Watch, seconds: float, own: Mapping[str, VmRecord], now: float, *, may_have_started: bool
) -> Mapping[str, float]:
    """Return the same of a group of which none waits any more, without those on which it may have run at last."""
    found = left_unused(before, seconds, now)
    return {
        id_: each
        for id_, each in found.items()
        if id_ in own and not (may_have_started and _worked_at(own[id_]) > before.unused_since.get(id_, now))
    }


def unused_room(id_: str, jobs: int, seconds: float) -> Reason:
    """Return why the room of a VM is none for so many jobs any more."""
    text = (
        f"VM {id_} is taken for no room for {jobs} waiting job{'s' if jobs != 1 else ''} any more: its worker has had "
        f"room for {seconds:.0f} s, and none began there; see in the batch system why, and close it there or end the VM"
    )
    return Reason(Token.UNUSED_ROOM, text, id_, {"jobs": jobs, "seconds": seconds})


@dataclass
class Shown:
    """What VMs of one kind show that they hold: of each size the two largest, with who shows them."""

    largest: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    usual: set[str] = field(default_factory=set)
    """The VMs that have, and have free, no more than two others have: they are believed."""
    _seconds: tuple[int, int, int] = (0, 0, 0)
    """The second largest of each size; 0: fewer than two VMs show it."""

    def add(self, id_: str, worker: Worker) -> None:
        """Let it hold for this VM, too."""
        (cpus, memory_mb, gpus), shape, free = self._seconds, worker.capacity, worker.free
        if shape.cpus <= cpus and (shape.memory_mb or 0) <= memory_mb and (shape.gpus or 0) <= gpus:
            if free.cpus <= cpus and (free.memory_mb or 0) <= memory_mb and (free.gpus or 0) <= gpus:
                self.usual.add(id_)
            return
        for name in SIZES:
            value, found = getattr(shape, name), self.largest.get(name, ())
            if value is not None and (len(found) < 2 or value > found[1][0]):
                self.largest[name] = sorted((*found, (value, id_)), reverse=True)[:2]
        cpus, memory_mb, gpus = (sum(value for value, _ in self.largest.get(name, [])[1:]) for name in SIZES)
        self._seconds = cpus, memory_mb, gpus

    def believed(self, id_: str, worker: Worker) -> Shape:
        """Return what is free on a worker, as far as that is not many times what all others have."""
        (cpus, memory_mb, gpus), has, free = self._seconds, worker.capacity, worker.free
        # What is not far more than that is not far more than what all others have, whoever shows it.
        if (
            max(has.cpus, free.cpus) <= FAR_MORE * cpus
            and max(has.memory_mb or 0, free.memory_mb or 0) <= FAR_MORE * memory_mb
            and max(has.gpus or 0, free.gpus or 0) <= FAR_MORE * gpus
        ):
            return free
        less = {}
        for name in SIZES:
            most = next((value for value, shower in self.largest.get(name, ()) if shower != id_), 0)
            offered, is_free = getattr(has, name), getattr(free, name)
            if is_free is not None and 0 < most < is_free and max(offered or 0, is_free) > FAR_MORE * most:
                less[name] = most
        return replace(free, **less) if less else free
