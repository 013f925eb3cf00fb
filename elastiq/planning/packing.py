"""Fits waiting jobs into the room that workers and VMs have. Pure functions, and rooms that fill up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from elastiq.model import Demand, Shape

UNLIMITED = 10**9


@dataclass
class Room:
    """Where waiting jobs could go without a launch: a shape still free, and how many jobs it takes at most."""

    free: Shape | None
    """None: not known, only `jobs` counts."""
    jobs: int

    def holds(self, shape: Shape) -> bool:
        """Return whether one more job of `shape` has room here."""
        return self.jobs > 0 and (self.free is None or _how_many(shape, self.free) > 0)

    def take(self, shape: Shape, jobs: int) -> int:
        """Put up to `jobs` jobs of `shape` here; return how many found room."""
        taken = min(jobs, self.jobs, UNLIMITED if self.free is None else _how_many(shape, self.free))
        self.jobs -= taken
        if self.free is not None and taken:
            self.free = _minus(self.free, shape, taken)
        return taken


def _how_many(shape: Shape, free: Shape) -> int:
    if not shape.fits(free):
        return 0
    counts = [free.cpus // shape.cpus] if shape.cpus else []
    counts += [free.memory_mb // shape.memory_mb] if shape.memory_mb and free.memory_mb else []
    counts += [free.disk_mb // shape.disk_mb] if shape.disk_mb and free.disk_mb else []
    counts += [free.gpus // shape.gpus] if shape.gpus else []
    return min(counts, default=UNLIMITED)


def _minus(free: Shape, shape: Shape, jobs: int) -> Shape:
    # 0 means "not known" for memory and disk, so what is used up stays at 1.
    return Shape(
        free.cpus - shape.cpus * jobs,
        max(1, free.memory_mb - shape.memory_mb * jobs) if free.memory_mb else 0,
        max(1, free.disk_mb - shape.disk_mb * jobs) if free.disk_mb else 0,
        free.gpus - shape.gpus * jobs,
    )


def place(demand: Sequence[Demand], rooms: Iterable[Room]) -> list[Demand]:
    """Return what is left of `demand` after putting it into `rooms`.

    A job that needs several machines at once keeps what room there is; what is left of it are the machines it lacks.
    """
    rooms = list(rooms)
    left = []
    for group in demand:
        if group.vms_per_job > 1:
            left += _place_wide(group, rooms)
            continue
        jobs = group.jobs
        for room in rooms:
            if not jobs:
                break
            jobs -= room.take(group.shape, jobs)
        if jobs:
            left.append(replace(group, jobs=jobs))
    return left


def _place_wide(group: Demand, rooms: Iterable[Room]) -> list[Demand]:
    shape, machines = group.shape, group.vms_per_job
    able = [room for room in rooms if room.holds(shape)]
    for number in range(group.jobs):
        if len(able) < machines:
            take_one_each(able, shape)
            partly = [replace(group, jobs=1, vms_per_job=machines - len(able))] if able else []
            rest = group.jobs - number - len(partly)
            return [*partly, *([replace(group, jobs=rest)] if rest else [])]
        able = take_one_each(able[:machines], shape) + able[machines:]
    return []


def take_one_each(rooms: list[Room], shape: Shape) -> list[Room]:
    """Put one job of `shape` into each room; return those that take another one."""
    for room in rooms:
        room.take(shape, 1)
    return [room for room in rooms if room.holds(shape)]


def largest_first(demand: Iterable[Demand]) -> list[Demand]:
    """Return `demand` in the order in which it is best packed."""

    def size(group: Demand) -> tuple[int, ...]:
        return group.vms_per_job, group.shape.gpus, group.shape.cpus, group.shape.memory_mb

    return sorted(demand, key=size, reverse=True)
