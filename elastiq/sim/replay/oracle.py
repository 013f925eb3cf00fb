"""What the same jobs would have cost with the future known, and no job waiting."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain

from elastiq.sim.replay.traces import Job
from elastiq.sim.replay.work import Size, Work

SLOT_SECONDS = 300.0
"""VMs are looked for by so long parts of their lives."""


class _Vm:
    """A VM without boot, from its first job's start to its last job's end."""

    __slots__ = ("begins_at", "busy", "ends_at", "times")

    def __init__(self, begins_at: float, ends_at: float) -> None:
        self.begins_at, self.ends_at = begins_at, ends_at
        self.times = [begins_at]
        self.busy = [0]
        """How many cores are at work from each of `times` on, until the next."""

    def is_less_busy(self, most: int, begins_at: float, ends_at: float) -> bool:
        """Return whether no more than `most` cores are at work at any moment between two times."""
        index = bisect_right(self.times, begins_at)
        if index and self.busy[index - 1] > most and self.times[index - 1] < ends_at:
            return False  # as most that are asked
        last = bisect_left(self.times, ends_at)
        return max(self.busy[max(0, index - 1) : last], default=0) <= most

    def run(self, begins_at: float, ends_at: float, cores: int) -> None:
        """Run a job; the VM lives for as long as that takes."""
        self.begins_at, self.ends_at = min(self.begins_at, begins_at), max(self.ends_at, ends_at)
        first, last = self._at(begins_at), self._at(ends_at)
        for index in range(first, last):
            self.busy[index] += cores

    def _at(self, time: float) -> int:
        """Return where `time` is among `times`, put there if it was not."""
        index = bisect_left(self.times, time)
        if index == len(self.times) or self.times[index] != time:
            self.times.insert(index, time)
            self.busy.insert(index, self.busy[index - 1] if index else 0)
        return index


class _Packing:
    """VMs, and which of them live in each slot of time."""

    def __init__(self, cores: int) -> None:
        self.vms: list[_Vm] = []
        self._cores = cores
        self._in_slot: dict[int, list[_Vm]] = defaultdict(list)

    def put(self, job: Job, size: Size) -> None:
        """Run a job from when it is submitted."""
        begins_at, ends_at = job.submitted_at, job.submitted_at + job.seconds
        taken: list[_Vm] = []
        for _ in range(size.vms):
            vm = self._best(begins_at, ends_at, size.cores, taken)
            slots = range(0)
            if vm is None:
                vm = _Vm(begins_at, ends_at)
                self.vms.append(vm)
            else:
                slots = _slots(vm.begins_at, vm.ends_at)
            vm.run(begins_at, ends_at, size.cores)
            for slot in _beyond(slots, _slots(vm.begins_at, vm.ends_at)):
                self._in_slot[slot].append(vm)
            for slot in self._full_slots(vm, begins_at, ends_at):
                vms_there = self._in_slot[slot]
                if vm in vms_there:
                    vms_there.remove(vm)
            taken.append(vm)

    def _full_slots(self, vm: _Vm, begins_at: float, ends_at: float) -> Iterable[int]:
        """Return the slots in the midst of its life in which a VM has no room at any moment, since a job has come at
        that time: from now on it need not be asked there."""
        since = None
        times = [*vm.times, vm.ends_at]
        first = max(0, bisect_right(vm.times, begins_at) - 1)
        while first and vm.busy[first - 1] == self._cores:
            first -= 1
        for index in range(first, len(vm.busy)):
            if vm.busy[index] == self._cores:
                since = times[index] if since is None else since
                continue
            if since is not None:
                yield from _within(since, times[index])
            since = None
            if times[index] >= ends_at:
                return
        if since is not None:
            yield from _within(since, times[-1])

    def _best(self, begins_at: float, ends_at: float, cores: int, taken: list[_Vm]) -> _Vm | None:
        """Return the VM with room whose life becomes longer by least; of several that with the shortest life."""
        best, least, shortest = None, float("inf"), float("inf")
        most = self._cores - cores
        slots = {int(begins_at // SLOT_SECONDS), int(ends_at // SLOT_SECONDS)}
        # No life is shorter than this job, for the longest come first: so each that it touches is there when it begins,
        # or when it ends.
        for slot in slots:
            if best is not None and least == 0.0:
                break  # all whose lives need not become longer are there in both
            for vm in reversed(self._in_slot.get(slot, [])):
                begins, ends = vm.begins_at, vm.ends_at
                if ends < begins_at or begins > ends_at:
                    continue
                longer = (begins - begins_at if begins > begins_at else 0.0) + (
                    ends_at - ends if ends_at > ends else 0.0
                )
                if longer > least or (longer == least and ends - begins >= shortest) or vm in taken:
                    continue
                if vm.is_less_busy(most, begins_at, ends_at):
                    best, least, shortest = vm, longer, ends - begins
        return best


def _within(begins_at: float, ends_at: float) -> range:
    """Return the slots that are inside of a time, and do not touch its ends."""
    return range(int(begins_at // SLOT_SECONDS) + 1, int(ends_at // SLOT_SECONDS))


def _slots(begins_at: float, ends_at: float) -> range:
    return range(int(begins_at // SLOT_SECONDS), int(ends_at // SLOT_SECONDS) + 1)


def _beyond(slots: range, longer: range) -> Iterable[int]:
    """Return those of `longer` that are not among `slots`."""
    return chain(range(longer.start, slots.start), range(slots.stop, longer.stop)) if slots else longer


def lives_of(work: Work) -> list[tuple[float, float]]:
    """Return when each VM begins and ends if every job starts as it is submitted, and all is known beforehand.

    The longest job has its turn first. Each goes to the VM with free cores whose life becomes longer by least, of
    several to that with the shortest life; to a new one if its time touches none. There is no boot, and no maximum.
    """
    packing = _Packing(work.cores)
    for job, size in sorted(work.jobs, key=lambda pair: (-pair[0].seconds, -pair[1].all_cores, pair[0].submitted_at)):
        packing.put(job, size)
    return [(vm.begins_at, vm.ends_at) for vm in packing.vms]
