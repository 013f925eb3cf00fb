"""How many new VMs of a pool jobs want."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from elastiq.model import Pool
from elastiq.planning.fleet import Fleet
from elastiq.planning.packing import Rest, Room, largest_first, take_one_each


@dataclass
class Wanted:
    """VMs of one pool that jobs want, and which of them each job goes to."""

    vms: int = 0
    takers: list[tuple[int, Rest]] = field(default_factory=list)
    """The last of the VMs that these jobs need, counted from 0, and the jobs."""
    beyond: list[Rest] = field(default_factory=list)
    """What VMs of this pool do not hold, or cannot take now."""

    @property
    def at_least(self) -> int:
        """With fewer VMs than so many none of these jobs could start."""
        if not self.takers or any(rest.machines == 1 for _, rest in self.takers):
            return 1
        return 1 + min(last for last, _ in self.takers)


def vms_for(left: Sequence[Rest], room: int, pool: Pool, fleet: Fleet) -> Wanted:
    """Return how many VMs of `pool` hold what is left, and what they do not hold.

    First fit, largest jobs first. One VM more than `room` may be wanted, which tells that there should be more; but a
    job that needs several VMs at once gets all of them within `room`, or none.
    """
    rooms: list[Room] = []
    wanted = Wanted()
    for rest in largest_first(left):
        take = _take_wide if rest.machines > 1 else _take_single
        jobs = take(rest, rooms, room, pool, fleet, wanted)
        if jobs:
            wanted.beyond.append(replace(rest, jobs=jobs))
    wanted.vms = len(rooms)
    return wanted


def _take_single(rest: Rest, rooms: list[Room], room: int, pool: Pool, fleet: Fleet, wanted: Wanted) -> int:
    """Put jobs into `rooms` and new ones; return how many are left."""
    jobs = rest.jobs
    per_vm = fleet.new_room(pool).take(rest, jobs)
    number = 0
    while jobs and (number < len(rooms) or (per_vm and number <= room)):
        if number == len(rooms):
            rooms.append(fleet.new_room(pool))
        taken = rooms[number].take(rest, jobs)
        if taken:
            wanted.takers.append((number, replace(rest, jobs=taken)))
            jobs -= taken
        number += 1
    return jobs


def _take_wide(rest: Rest, rooms: list[Room], room: int, pool: Pool, fleet: Fleet, wanted: Wanted) -> int:
    """Put jobs of several machines into `rooms` and new ones; return how many are left."""
    jobs, takers = rest.jobs, Counter[int]()
    able = [number for number, present in enumerate(rooms) if present.holds(rest)]
    while jobs and fleet.new_room(pool).holds(rest):
        lacking = max(0, rest.machines - len(able))
        if len(rooms) + lacking > room:
            break
        able += range(len(rooms), len(rooms) + lacking)
        rooms += [fleet.new_room(pool) for _ in range(lacking)]
        taken, others = able[: rest.machines], able[rest.machines :]
        take_one_each([rooms[number] for number in taken], rest)
        able = [number for number in taken if rooms[number].holds(rest)] + others
        takers[max(taken)] += 1
        jobs -= 1
    wanted.takers += [(last, replace(rest, jobs=number)) for last, number in takers.items()]
    return jobs
