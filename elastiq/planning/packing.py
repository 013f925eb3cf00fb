"""Fits waiting jobs into the room that workers and VMs have. Pure functions, and rooms that fill up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from elastiq.decisions import Token
from elastiq.model import Shape

UNLIMITED = 10**9


@dataclass(frozen=True)
class Rest:
    """What of a group of waiting jobs has found no room yet."""

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

    def holds(self, rest: Rest) -> bool:
        """Return whether one more job of `rest` has room here."""
        return self._how_many(rest) > 0

    def take(self, rest: Rest, jobs: int) -> int:
        """Put up to `jobs` jobs of `rest` here; return how many found room."""
        if self.free is not None and self.free.cpus < rest.shape.cpus:
            return 0  # most rooms are full, and that is the quickest way to see it
        taken = min(jobs, self._how_many(rest))
        if taken:
            self.jobs = 0 if rest.takes_whole else self.jobs - taken
            self.is_empty = False
            if self.free is not None:
                self.free = _minus(self.free, rest.shape, taken)
        return taken

    def _how_many(self, rest: Rest) -> int:
        if self.pool in rest.barred_from:
            return 0
        jobs = self.jobs
        if rest.takes_whole:
            jobs = min(jobs, int(self.is_empty))
        return jobs if self.free is None else min(jobs, _how_many(rest.shape, self.free))


def _how_many(shape: Shape, free: Shape) -> int:
    if not shape.fits(free):
        return 0
    pairs = (
        (free.cpus, shape.cpus),
        (free.memory_mb, shape.memory_mb),
        (free.disk_mb, shape.disk_mb),
        (free.gpus, shape.gpus),
    )
    return min((there_is // asked for there_is, asked in pairs if asked and there_is is not None), default=UNLIMITED)


def _minus(free: Shape, shape: Shape, jobs: int) -> Shape:
    return Shape(
        free.cpus - shape.cpus * jobs,
        _less(free.memory_mb, shape.memory_mb, jobs),
        _less(free.disk_mb, shape.disk_mb, jobs),
        _less(free.gpus, shape.gpus, jobs),
    )


def _less(there_is: int | None, asked: int | None, jobs: int) -> int | None:
    return None if there_is is None else there_is - (asked or 0) * jobs


def place(rests: Iterable[Rest], rooms: Iterable[Room], placed: Counter[tuple[int, Token]]) -> list[Rest]:
    """Return what is left of `rests` after putting them into `rooms`; `placed` is told how many jobs went where.

    A job that needs several machines at once keeps what room there is; what is left of it are the machines it lacks.
    """
    rooms = list(rooms)
    left = []
    for rest in rests:
        if rest.machines > 1:
            left += _place_wide(rest, rooms, placed)
            continue
        jobs = rest.jobs
        for room in rooms:
            if not jobs:
                break
            taken = room.take(rest, jobs)
            if taken:
                placed[rest.number, room.kind] += taken
                jobs -= taken
        if jobs:
            left.append(replace(rest, jobs=jobs))
    return left


def _place_wide(rest: Rest, rooms: Iterable[Room], placed: Counter[tuple[int, Token]]) -> list[Rest]:
    machines = rest.machines
    able = [room for room in rooms if room.holds(rest)]
    for number in range(rest.jobs):
        if len(able) < machines:
            take_one_each(able, rest)
            partly = [replace(rest, jobs=1, machines=machines - len(able))] if able else []
            others = rest.jobs - number - len(partly)
            return [*partly, *([replace(rest, jobs=others)] if others else [])]
        kinds = {room.kind for room in able[:machines]}
        placed[rest.number, kinds.pop() if len(kinds) == 1 else Token.ROOM_BOOTING] += 1
        able = take_one_each(able[:machines], rest) + able[machines:]
    return []


def take_one_each(rooms: list[Room], rest: Rest) -> list[Room]:
    """Put one job of `rest` into each room; return those that take another one."""
    for room in rooms:
        room.take(rest, 1)
    return [room for room in rooms if room.holds(rest)]


def count(rests: Iterable[Rest]) -> int:
    """Return how many jobs there are."""
    return sum(rest.jobs for rest in rests)


def largest_first(rests: Iterable[Rest]) -> list[Rest]:
    """Return `rests` in the order in which they are best packed."""

    def size(rest: Rest) -> tuple[int, ...]:
        shape = rest.shape
        return rest.machines, int(rest.takes_whole), shape.gpus or 0, shape.cpus, shape.memory_mb or 0

    return sorted(rests, key=size, reverse=True)
