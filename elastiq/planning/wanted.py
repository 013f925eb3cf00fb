"""How many new VMs of a pool jobs want."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from elastiq.decisions import Decision
from elastiq.model import Pool
from elastiq.planning.fleet import Fleet
from elastiq.planning.packing import Rest, Room, Rooms, count, largest_first, least_cpus, take_one_each


@dataclass
class Wanted:
    """VMs of one pool that jobs want, and which of them each job goes to."""

    vms: int = 0
    takers: list[tuple[int, Rest]] = field(default_factory=list)
    """The last of the VMs that these jobs need, counted from 0, and the jobs."""
    beyond: list[Rest] = field(default_factory=list)
    """What VMs of this pool do not hold, or cannot take now."""

    @property
    def jobs(self) -> int:
        """How many jobs want them, or would."""
        return count(rest for _, rest in self.takers) + count(self.beyond)

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
    fresh = fleet.new_room(pool)
    rooms = Rooms(least_cpus=least_cpus(left))
    wanted = Wanted()
    for rest in largest_first(left):
        take = _take_wide if rest.machines > 1 else _take_single
        jobs = take(rest, rooms, room, fresh, wanted)
        if jobs:
            wanted.beyond.append(rest.of(jobs))
    wanted.vms = len(rooms.all)
    return wanted


def of_other_types(decision: Decision, pool: Pool, wanted: Wanted, fleet: Fleet) -> list[tuple[Pool, int]]:
    """Return the other types of `pool` whose VMs hold all the jobs that a launch is for, and how many of them do."""
    jobs = Counter[int]()
    for vm, rest in wanted.takers:
        if vm < decision.count:
            jobs[rest.number] += rest.jobs
    rests = {rest.number: rest for _, rest in wanted.takers}
    launched_for = [rests[number].of(each) for number, each in jobs.items()]
    own, spare = fleet.new_room(pool), max(0, decision.count - wanted.vms)
    found, known = [], {(own.free, own.jobs): decision.count}
    for other in fleet.variants:
        if other.name != pool.name or other is pool or any(other.key in rest.barred_from for rest in launched_for):
            continue
        fresh = fleet.new_room(other)
        size = (fresh.free, fresh.jobs)
        if size not in known and all(fresh.holds(rest) for rest in launched_for):
            known[size] = max(1, vms_for(launched_for, decision.count, other, fleet).vms + spare)
        if size in known:
            found.append((other, known[size]))
    return found


def _take_single(rest: Rest, rooms: Rooms, room: int, fresh: Room, wanted: Wanted) -> int:
    """Put jobs into `rooms` and new ones, like `fresh`; return how many are left."""
    jobs = rest.jobs
    for number, present in chain(rooms.holding(rest), _new(rest, rooms, room + 1, fresh)):
        taken = present.take(rest, jobs)
        wanted.takers.append((number, rest.of(taken)))
        jobs -= taken
        if not jobs:
            break
    return jobs


def _new(rest: Rest, rooms: Rooms, most: int, fresh: Room) -> Iterator[tuple[int, Room]]:
    """Add rooms for jobs, up to so many."""
    while len(rooms.all) < most and fresh.holds(rest):
        yield _add(rooms, fresh)


def _add(rooms: Rooms, fresh: Room) -> tuple[int, Room]:
    room = Room(fresh.free, fresh.jobs, fresh.kind, fresh.pool)
    return rooms.add(room), room


def _take_wide(rest: Rest, rooms: Rooms, room: int, fresh: Room, wanted: Wanted) -> int:
    """Put jobs of several machines into `rooms` and new ones, like `fresh`; return how many are left."""
    jobs, takers = rest.jobs, Counter[int]()
    further = rooms.holding(rest)
    able: list[tuple[int, Room]] = []
    while jobs and fresh.holds(rest):
        able += islice(further, rest.machines - len(able))
        lacking = rest.machines - len(able)
        if len(rooms.all) + lacking > room:
            break
        able += [_add(rooms, fresh) for _ in range(lacking)]
        takers[max(number for number, _ in able)] += 1
        take_one_each([present for _, present in able], rest)
        able = [entry for entry in able if entry[1].holds(rest)]
        jobs -= 1
    wanted.takers += [(last, rest.of(number)) for last, number in takers.items()]
    return jobs
