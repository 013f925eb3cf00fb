"""Recorded jobs, as machines of one size, or of several, run them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from elastiq.sim.replay.traces import Job


@dataclass(frozen=True)
class Size:
    """What jobs of a group need: so many VMs at the same time, and so many cores of each."""

    vms: int
    cores: int

    @property
    def all_cores(self) -> int:
        return self.vms * self.cores


@dataclass(frozen=True)
class Work:
    """Jobs to run, in the order in which they are submitted."""

    jobs: tuple[tuple[Job, Size], ...]
    cores: int
    """Of each VM; where there are several sizes, of those that others are measured by."""
    max_vms: int
    left_out: int = 0
    """How many jobs need more VMs than there may be."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """How many cores VMs of each type have, where there are several sizes."""

    @property
    def largest(self) -> int:
        """How many cores the largest VMs have."""
        return max(self.sizes.values(), default=self.cores)

    def cores_of(self, type_: str) -> int:
        """Return how many cores VMs of a type have."""
        return self.sizes.get(type_, self.cores)


def size_of(job: Job, cores: int) -> Size:
    """Return what `job` needs of VMs with `cores`: more than one of them only if one does not hold it, and then the
    same of each."""
    vms = -(-job.processors // cores)
    return Size(vms, -(-job.processors // vms))


def work_of(
    jobs: Sequence[Job], cores: int, max_vms: int | None = None, several: Mapping[str, int] | None = None
) -> Work:
    """Return `jobs` on VMs with `cores`, of which there may be `max_vms`; None: as many as all jobs need that would run
    at the same time if none waited. With `several` types, whose cores it tells, jobs need as many of the largest, and
    there may be as many of the smallest."""
    several = several or {}
    largest, smallest = max(several.values(), default=cores), min(several.values(), default=cores)
    sizes: dict[int, Size] = {}
    pairs = []
    for job in jobs:
        if job.processors not in sizes:
            sizes[job.processors] = size_of(job, largest)
        pairs.append((job, sizes[job.processors]))
    if max_vms is None:
        return Work(tuple(pairs), cores, peak_vms(pairs, smallest), sizes=several)
    held = tuple(pair for pair in pairs if pair[1].vms <= max_vms)
    return Work(held, cores, max_vms, len(pairs) - len(held), several)


def peak_vms(pairs: Sequence[tuple[Job, Size]], cores: int) -> int:
    """Return how many VMs hold all the cores that are busy at the same time if no job waits, and the widest job; at
    least one."""
    changes: Counter[float] = Counter()
    for job, size in pairs:
        changes[job.submitted_at] += size.all_cores
        changes[job.submitted_at + job.seconds] -= size.all_cores
    busy = peak = 0
    for _, change in sorted(changes.items()):
        busy += change
        peak = max(peak, busy)
    widest = max((size.vms for size in {size for _, size in pairs}), default=1)
    return max(1, widest, -(-peak // cores))
