"""Fits waiting jobs into the room that workers and VMs have. Pure functions, and rooms that fill up."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from typing import NamedTuple

from elastiq.decisions import Token
from elastiq.model import Shape

UNLIMITED = 10**9

ROOMS_OF_A_BLOCK = 32
"""Rooms of which it is known together what each of them holds at most."""


class Rest(NamedTuple):
    """What of a group of waiting jobs has found no room yet. A tuple, since a plan may need some 100,000."""

    number: int
    """Of the group, in the order of the batch system's answer: jobs keep their identity through a plan."""
    shape: Shape
    jobs: int
    machines: int
    """How many machines each of these jobs lacks at the same time."""
    takes_whole: bool = False
    """Whether each of these jobs has its machines for itself."""
    barred_from: frozenset[str] = frozenset()
    """The pools on whose VMs these jobs could never run."""
    unused: frozenset[str] = frozenset()
    """The VMs whose room these jobs have left unused for too long to be taken to start there."""

    @property
    def kind(self) -> Hashable:
        """What decides which rooms hold one of these jobs: equal for groups that differ in nothing of that."""
        shape = self.shape
        sizes = (shape.cpus, shape.memory_mb, shape.disk_mb, shape.gpus)
        return (*sizes, self.takes_whole, self.barred_from, self.unused)

    def of(self, jobs: int) -> Rest:
        """Return so many of these jobs."""
        return self if jobs == self.jobs else self._replace(jobs=jobs)


@dataclass
class Room:
    """Where waiting jobs could go without a launch: a shape still free, and how many jobs it takes at most."""

    free: Shape | None
    """None: not known, only `jobs` counts."""
    jobs: int
    kind: Token = Token.HAS_ROOM
    """What becomes of a job that goes here."""
    pool: str = ""
    """Of which pool the VM is; empty if it is none of elastiq's."""
    is_empty: bool = True
    """Whether no job is there, nor meant to go there."""
    instance_id: str = ""
    """The VM, if it is one of elastiq's whose worker is there."""
    is_needed: bool = False
    """Whether waiting jobs are taken to go there."""

    def takes_any(self, cpus: int) -> bool:
        """Return whether a job that asks for so many CPUs at least may have room here."""
        return self.jobs > 0 and (self.free is None or self.free.cpus >= cpus)

    def holds(self, rest: Rest) -> bool:
        """Return whether one more job of `rest` has room here."""
        return self._how_many(rest) > 0

    def take(self, rest: Rest, jobs: int) -> int:
        """Put up to `jobs` jobs of `rest` here; return how many found room."""
        taken = min(jobs, self._how_many(rest))
        if taken:
            self.jobs = 0 if rest.takes_whole else self.jobs - taken
            self.is_empty = False
            self.is_needed = True
            if self.free is not None:
                self.free = _minus(self.free, rest.shape, taken)
        return taken

    def _how_many(self, rest: Rest) -> int:
        free, shape = self.free, rest.shape
        if free is not None and free.cpus < shape.cpus:
            return 0  # most rooms are full, and that is the quickest way to see it
        if self.pool in rest.barred_from or (rest.takes_whole and not self.is_empty):
            return 0
        if rest.unused and self.instance_id in rest.unused:
            return 0
        jobs = min(self.jobs, 1) if rest.takes_whole else self.jobs
        return jobs if free is None else min(jobs, _how_many(shape, free))


def _how_many(shape: Shape, free: Shape) -> int:
    most = free.cpus // shape.cpus if shape.cpus else UNLIMITED
    if shape.memory_mb and free.memory_mb is not None:
        most = min(most, free.memory_mb // shape.memory_mb)
    if shape.disk_mb and free.disk_mb is not None:
        most = min(most, free.disk_mb // shape.disk_mb)
    if shape.gpus and free.gpus is not None:
        most = min(most, free.gpus // shape.gpus)
    return max(0, most)


def _minus(free: Shape, shape: Shape, jobs: int) -> Shape:
    return Shape(
        free.cpus - shape.cpus * jobs,
        _less(free.memory_mb, shape.memory_mb, jobs),
        _less(free.disk_mb, shape.disk_mb, jobs),
        _less(free.gpus, shape.gpus, jobs),
    )


def _less(there_is: int | None, asked: int | None, jobs: int) -> int | None:
    return None if there_is is None else there_is - (asked or 0) * jobs


@dataclass
class _Most:
    """What none of some rooms exceeds."""

    memory_mb: dict[float, float] = field(default_factory=dict)
    """The most memory that a room with so many CPUs has: one with many CPUs and one with much memory are not yet one
    with both."""
    gpus: float = -1.0
    has_empty: bool = False

    def may_hold(self, rest: Rest) -> bool:
        """Return False if none of the rooms holds a job of `rest`."""
        shape = rest.shape
        if self.gpus < (shape.gpus or -1) or (rest.takes_whole and not self.has_empty):
            return False
        cpus, memory_mb = shape.cpus, shape.memory_mb or -math.inf
        return any(most >= memory_mb and of >= cpus for of, most in self.memory_mb.items())

    def include(self, entries: Iterable[tuple[int, Room]]) -> None:
        """Let it hold for these rooms, too."""
        most_of, gpus_at_most = self.memory_mb, self.gpus
        for _, room in entries:
            free = room.free
            if room.is_empty:
                self.has_empty = True
            if free is None:
                gpus_at_most = most_of[math.inf] = math.inf
                continue
            memory_mb = math.inf if free.memory_mb is None else free.memory_mb
            if memory_mb > most_of.get(free.cpus, -math.inf):
                most_of[free.cpus] = memory_mb
            gpus = math.inf if free.gpus is None else free.gpus
            if gpus > gpus_at_most:
                gpus_at_most = gpus
        self.gpus = gpus_at_most

    def include_all(self, other: _Most) -> None:
        """Let it hold for the rooms of `other`, too."""
        self.has_empty = self.has_empty or other.has_empty
        self.gpus = max(self.gpus, other.gpus)
        for cpus, memory_mb in other.memory_mb.items():
            if memory_mb > self.memory_mb.get(cpus, -math.inf):
                self.memory_mb[cpus] = memory_mb


class _Block:
    """Rooms that lie side by side, each with its place."""

    def __init__(self, entries: list[tuple[int, Room]]) -> None:
        self.rooms = entries
        self.most = _Most()
        self.most.include(entries)
        self.is_stale = False
        """Whether a room may have got jobs since `most` was found out, as most new ones do at once."""

    def add(self, entry: tuple[int, Room]) -> None:
        self.rooms.append(entry)
        self.most.include((entry,))
        self.is_stale = True

    def refresh(self, least_cpus: int) -> None:
        """Find out anew what the rooms hold at most; leave out those that take no job of so many CPUs."""
        self.rooms = [entry for entry in self.rooms if entry[1].takes_any(least_cpus)]
        self.most = _Most()
        self.most.include(self.rooms)
        self.is_stale = False


class _Side:
    """The rooms on VMs of one pool, in blocks."""

    def __init__(self, entries: Sequence[tuple[int, Room]], least_cpus: int) -> None:
        firsts = range(0, len(entries), ROOMS_OF_A_BLOCK)
        self._blocks = [_Block(list(entries[first : first + ROOMS_OF_A_BLOCK])) for first in firsts]
        self._least_cpus = least_cpus
        self._is_stale = False
        self._most = self._most_of_blocks()

    def add(self, entry: tuple[int, Room]) -> None:
        if not self._blocks or len(self._blocks[-1].rooms) >= ROOMS_OF_A_BLOCK:
            self._blocks.append(_Block([]))
        self._blocks[-1].add(entry)
        self._most.include((entry,))

    def holding(self, rest: Rest) -> Iterator[tuple[int, Room]]:
        if not self._most.may_hold(rest):
            return
        for block in self._blocks:
            if not block.most.may_hold(rest):
                continue
            for entry in block.rooms:
                if entry[1].holds(rest):
                    block.is_stale = True
                    yield entry
            if block.is_stale:
                block.refresh(self._least_cpus)
                self._is_stale = True
        if self._is_stale:
            self._refresh()

    def _refresh(self) -> None:
        self._is_stale = False
        self._blocks = [block for block in self._blocks if block.rooms]
        self._most = self._most_of_blocks()

    def _most_of_blocks(self) -> _Most:
        most = _Most()
        for block in self._blocks:
            most.include_all(block.most)
        return most


class Rooms:
    """Rooms in their order. They fill up and never become emptier: what has held no job of a kind holds none later."""

    def __init__(self, rooms: Iterable[Room] = (), least_cpus: int = 0) -> None:
        """Take these rooms, for jobs of which none asks for fewer CPUs than so many."""
        self.all = list(rooms)
        self._least_cpus = least_cpus
        self._fruitless: set[Hashable] = set()
        by_pool: dict[str, list[tuple[int, Room]]] = {}
        for place, room in enumerate(self.all):
            if room.takes_any(least_cpus):
                by_pool.setdefault(room.pool, []).append((place, room))
        self._sides = {pool: _Side(entries, least_cpus) for pool, entries in by_pool.items()}

    def add(self, room: Room) -> int:
        """Add a room behind the others; return its place."""
        place = len(self.all)
        self.all.append(room)
        if room.takes_any(self._least_cpus):
            side = self._sides.get(room.pool)
            if side is None:
                side = self._sides[room.pool] = _Side((), self._least_cpus)
            side.add((place, room))
            self._fruitless.clear()
        return place

    def holding(self, rest: Rest) -> Iterator[tuple[int, Room]]:
        """Go over the rooms that hold a job of `rest`, with their places, while jobs are put into those passed."""
        kind = rest.kind
        if kind in self._fruitless:
            return
        is_fruitless = True
        able = [side.holding(rest) for pool, side in self._sides.items() if pool not in rest.barred_from]
        for entry in able[0] if len(able) == 1 else merge(*able):
            is_fruitless = False
            yield entry
        if is_fruitless:
            self._fruitless.add(kind)


def place(
    rests: Iterable[Rest], rooms: Rooms, placed: Counter[tuple[int, Token]], to_come: float = math.inf
) -> list[Rest]:
    """Return what is left of `rests` after putting them into `rooms`; `placed` is told how many jobs went where.

    A job that needs several machines at once keeps what room there is; what is left of it are the machines it lacks.
    But if those are more than the VMs that are `to_come` at most, it cannot start by now, and others get the room.
    """
    left = []
    for rest in rests:
        if rest.machines > 1:
            wide = _place_wide(rest, rooms, placed, to_come)
            to_come -= sum(one.machines for one in wide if one.machines < rest.machines)
            left += wide
            continue
        jobs = rest.jobs
        for _, room in rooms.holding(rest) if jobs else ():
            taken = room.take(rest, jobs)
            placed[rest.number, room.kind] += taken
            jobs -= taken
            if not jobs:
                break
        if jobs:
            left.append(rest.of(jobs))
    return left


def _place_wide(rest: Rest, rooms: Rooms, placed: Counter[tuple[int, Token]], to_come: float) -> list[Rest]:
    machines = rest.machines
    further = rooms.holding(rest)
    able: list[Room] = []
    for number in range(rest.jobs):
        able += [room for _, room in islice(further, machines - len(able))]
        if len(able) < machines:
            if machines - len(able) > to_come:
                return [rest.of(rest.jobs - number)]
            take_one_each(able, rest)
            partly = [rest._replace(jobs=1, machines=machines - len(able))] if able else []
            others = rest.jobs - number - len(partly)
            return [*partly, *([rest.of(others)] if others else [])]
        kinds = {room.kind for room in able}
        placed[rest.number, kinds.pop() if len(kinds) == 1 else Token.ROOM_BOOTING] += 1
        able = take_one_each(able, rest)
    return []


def take_one_each(rooms: list[Room], rest: Rest) -> list[Room]:
    """Put one job of `rest` into each room; return those that take another one."""
    for room in rooms:
        room.take(rest, 1)
    return [room for room in rooms if room.holds(rest)]


def count(rests: Iterable[Rest]) -> int:
    """Return how many jobs there are."""
    return sum(rest.jobs for rest in rests)


def least_cpus(rests: Iterable[Rest]) -> int:
    """Return the fewest CPUs that one of these jobs asks for."""
    return min((rest.shape.cpus for rest in rests), default=0)


def largest_first(rests: Iterable[Rest]) -> list[Rest]:
    """Return `rests` in the order in which they are best packed."""

    def size(rest: Rest) -> tuple[int, ...]:
        shape = rest.shape
        return rest.machines, int(rest.takes_whole), shape.gpus or 0, shape.cpus, shape.memory_mb or 0

    return sorted(rests, key=size, reverse=True)
