"""How many VMs of which types hold some jobs for the least money: numbers alone.

That is bin packing with bins of several sizes, which nobody solves exactly in time. So several good packings are made,
each is mended where several VMs cost more than one that holds the same, others are made by what each job came to in the
best, and the cheapest is taken. Of what costs hardly more, that is taken which leaves the least unused when the first
jobs end.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property

AS_CHEAP = 1.03
"""What costs up to so many times as much as the cheapest is as good, and what it will leave unused decides."""

LARGEST_PART_OF_ROOM = 0.5
"""Of what is as cheap the smaller VMs are taken only if they are no larger a part of those that there may be yet: the
next jobs have to have room as well."""

MOST_MENDED = 24
"""So many kinds of VMs are compared with each other."""

MOST_TOGETHER = 16
"""The jobs of so many VMs are put on one."""

TIMES_AGAIN = 2
MOST_SORTS_AGAIN = 50
"""So often jobs are packed again by what they came to, and of so many sorts at most: of many there is always one that
fits beside others."""

Amounts = tuple[float, ...]
"""Of each resource: CPUs, memory, disk, GPUs, and how many jobs; infinity: as much as one likes."""

Load = tuple[tuple[int, int], ...]
"""What is on a VM: numbers of sorts, and how many jobs of each."""


@dataclass(frozen=True)
class Size:
    """VMs that may be launched."""

    key: str
    pool: str
    price: int
    holds: Amounts
    most: int
    """How many of them there may be."""
    bound: int
    """What it counts for within `Limits.budget`: what it costs at most."""


Kind = tuple[Size, Load]


@dataclass(frozen=True)
class Sort:
    """Jobs that are alike."""

    asks: Amounts
    able: frozenset[str]
    """The keys of the sizes that run them."""
    takes_whole: bool = False
    """Whether each has its VM for itself."""

    def part(self, size: Size) -> float:
        """Return how large a part of a VM one of these jobs takes; more than 1: it holds none."""
        if size.key not in self.able:
            return math.inf
        asked = [(ask, holds) for ask, holds in zip(self.asks, size.holds) if ask]
        part = max((ask / holds if holds else math.inf for ask, holds in asked), default=0.0)
        return max(part, 1.0) if self.takes_whole else part


@dataclass(frozen=True)
class Limits:
    """How many VMs there may be: in all, of each pool, and what all of them may cost an hour (None: anything)."""

    most: int
    of_pool: Mapping[str, int] = field(default_factory=dict)
    budget: int | None = None

    def left(self, size: Size, vms: Mapping[Kind, int]) -> int:
        """Return how many more of a size there may be beside `vms`."""
        of_pool = sum(times for (one, _), times in vms.items() if one.pool == size.pool)
        of_size = sum(times for (one, _), times in vms.items() if one is size)
        least = min(self.most - sum(vms.values()), size.most - of_size)
        if self.budget is not None:
            least = min(least, (self.budget - sum(one.bound * times for (one, _), times in vms.items())) // size.bound)
        return min(least, self.of_pool[size.pool] - of_pool) if size.pool in self.of_pool else least


@dataclass(frozen=True)
class Mix:
    """VMs, and what is on each."""

    vms: Mapping[Kind, int]
    """How many there are of each kind."""
    left: tuple[int, ...] = ()
    """How many jobs of each sort have no room."""

    @cached_property
    def price(self) -> int:
        return sum(size.price * times for (size, _), times in self.vms.items())

    @cached_property
    def count(self) -> int:
        return sum(self.vms.values())

    @cached_property
    def unused_later(self) -> float:
        """What of the price would be for nothing if all jobs but one of each VM had ended."""
        return sum(
            size.price * times * (1 - 1 / sum(jobs for _, jobs in load)) for (size, load), times in self.vms.items()
        )


def cheapest(sorts: Sequence[Sort], jobs: Sequence[int], sizes: Sequence[Size], limits: Limits) -> Mix:
    """Return VMs of `sizes` for so many jobs of each of the `sorts`: for as many of them as there may be VMs for, and
    then for the least money."""
    packer = again = _Packer(sorts, sizes, limits)
    found = packer.tried(jobs, (None, *packer.sizes))
    best = _complete(found, packer)[0]
    for _ in range(TIMES_AGAIN if 1 < len(sorts) <= MOST_SORTS_AGAIN and len(packer.sizes) > 1 else 0):
        again = again.by_cost(best)
        tried = again.tried(jobs, (None,))
        best = _complete(tried, packer)[0]
        found += tried
    complete = _complete(found, packer)
    as_cheap = [one for one in complete if one.price <= complete[0].price * AS_CHEAP]
    modest = [one for one in as_cheap if one.count <= LARGEST_PART_OF_ROOM * limits.most]
    if modest:
        return min(modest, key=lambda one: (one.unused_later, one.price))
    return min(as_cheap, key=lambda one: (one.count, one.price))


def _complete(found: Sequence[Mix], packer: _Packer) -> list[Mix]:
    """Return those that leave the least without room, the cheapest first."""
    lacking = [packer.worth(enumerate(one.left)) for one in found]
    complete = [one for one, lacks in zip(found, lacking) if lacks <= min(lacking) * 1.0001]
    return sorted(complete, key=lambda one: one.price)


_LARGEST, _EVEN = "the largest jobs first", "a part of all jobs first"

_WAYS = ((_LARGEST, _EVEN), (_LARGEST,), (_EVEN,))


class _Packer:
    """Fills VMs one kind after the other."""

    def __init__(self, sorts: Sequence[Sort], sizes: Sequence[Size], limits: Limits) -> None:
        self._sorts, self._limits = sorts, limits
        self.sizes = _useful(sizes, sorts)
        """The cheapest first."""
        parts = [[(size, sort.part(size)) for size in sizes] for sort in sorts]
        self._worths = [min((size.price * part for size, part in each if part <= 1), default=0.0) for each in parts]
        """What a job costs at the least, if the rest of its VM is used as well."""
        self._order = self._by_worth()

    def by_cost(self, mix: Mix) -> _Packer:
        """Return one by which jobs are worth what they come to in `mix`: what one VM costs is parted among its jobs."""
        paid, jobs = [0.0] * len(self._sorts), [0] * len(self._sorts)
        for (size, load), times in mix.vms.items():
            part = size.price / (self.worth(load) or 1.0)
            for number, count in load:
                paid[number] += part * self._worths[number] * count * times
                jobs[number] += count * times
        made = copy(self)
        made._worths = [
            all_paid / count if count else worth for all_paid, count, worth in zip(paid, jobs, self._worths)
        ]
        made._order = made._by_worth()
        return made

    def _by_worth(self) -> list[int]:
        return sorted(range(len(self._sorts)), key=lambda number: -self._worths[number])

    def tried(self, jobs: Sequence[int], bases: Sequence[Size | None]) -> list[Mix]:
        """Return several packings of these jobs, as they are made and mended."""
        plain = [self.packed(jobs, base, ways) for base in bases for ways in _WAYS]
        return [*plain, *map(self.mended, plain)]

    def worth(self, jobs: Iterable[tuple[int, int]]) -> float:
        """Return what so many jobs of each sort cost at the least."""
        return sum(self._worths[number] * count for number, count in jobs)

    def packed(self, jobs: Sequence[int], base: Size | None, ways: Sequence[str]) -> Mix:
        """Return VMs for these jobs: each time such ones of which the most is had for the price. With a `base` others
        are taken only for what that does not hold, and what fits beside it."""
        left, vms = list(jobs), Counter[Kind]()
        while any(left):
            able = [size for size in self.sizes if self._limits.left(size, vms) > 0]
            beyond: list[int] = []
            if base in able:
                beyond = [number for number in self._order if left[number] and self._sorts[number].part(base) > 1]
                able = [size for size in able if (size is base) is not bool(beyond)] or able
            loads = [(size, self._load(left, size, beyond, way)) for size in able for way in ways]
            loads = [(size, load) for size, load in loads if load]
            if not loads:
                break
            size, load = max(loads, key=lambda one: round(self.worth(one[1]) / one[0].price, 6))
            times = min(self._limits.left(size, vms), *(left[number] // count for number, count in load))
            vms[size, load] += times
            for number, count in load:
                left[number] -= count * times
        return Mix(vms, tuple(left))

    def _load(self, left: Sequence[int], size: Size, first: Sequence[int], way: str) -> Load:
        """Return what one VM takes of what is left."""
        room, found = list(size.holds), Counter[int]()
        for number, count in self._turns(left, size, first, way):
            sort, most = self._sorts[number], min(count, left[number] - found[number])
            if not most or size.key not in sort.able or (sort.takes_whole and found):
                continue
            for asked, free in zip(sort.asks, room):
                if free < asked * most:
                    most = int(free // asked)
            if most and sort.takes_whole:
                return ((number, 1),)
            if most:
                found[number] += most
                room = [free - asked * most for asked, free in zip(sort.asks, room)]
                if not room[0]:
                    break
        return tuple(found.items())

    def _turns(self, left: Sequence[int], size: Size, first: Sequence[int], way: str) -> Iterator[tuple[int, int]]:
        """Return which jobs are put on a VM of `size` in turn, and how many at most."""
        if way is _EVEN:
            able = [number for number in self._order if left[number] and self._sorts[number].part(size) <= 1]
            asks = [[left[number] * asked for asked in self._sorts[number].asks] for number in able]
            parts = (holds / whole for holds, whole in zip(size.holds, map(sum, zip(*asks))) if whole)
            part = min(1.0, min(parts, default=0.0))
            yield from ((number, int(left[number] * part)) for number in able)
        for number in (*first, *self._order):
            yield number, left[number]

    def mended(self, mix: Mix) -> Mix:
        """Return the same jobs on VMs that are no larger than they must be, and on one where that costs less than
        several."""
        vms = Counter(mix.vms)
        for (size, load), times in mix.vms.items():
            without = _without(vms, {(size, load): times})
            cheaper = (one for one in self.sizes if one.price < size.price and self._holds(one, load))
            able = (one for one in cheaper if self._limits.left(one, without) >= times)
            smaller = next(able, None)
            if smaller is not None:
                vms = without
                vms[smaller, load] += times
        while True:
            kinds = list(vms)[-MOST_MENDED:][::-1]
            tried = [self._gathered(kind, size, kinds, vms) for size in self.sizes for kind in kinds]
            if not any(saved > 0 for saved, _, _ in tried):
                break
            _, parts, made = max(tried, key=lambda one: one[0])
            times = min(vms[kind] // count for kind, count in parts.items())
            without = _without(vms, {kind: count * times for kind, count in parts.items()})
            times = min(times, self._limits.left(made[0], without))
            if times <= 0:
                break
            vms = _without(vms, {kind: count * times for kind, count in parts.items()})
            vms[made] += times
        return Mix(vms, mix.left)

    def _gathered(
        self, first: Kind, size: Size, kinds: Sequence[Kind], vms: Mapping[Kind, int]
    ) -> tuple[int, Counter[Kind], Kind]:
        """Return what is saved if one VM of `size` takes the jobs of several, of which VMs, and how it is then."""
        parts, load, price = Counter[Kind](), Counter[int](), 0
        for kind in (first, *kinds):
            while parts[kind] < vms[kind] and sum(parts.values()) < MOST_TOGETHER:
                both = load + Counter(dict(kind[1]))
                if not self._holds(size, tuple(both.items())):
                    break
                parts[kind] += 1
                load, price = both, price + kind[0].price
            if not parts[first]:
                break
        return price - size.price, +parts, (size, tuple(load.items()))

    def _holds(self, size: Size, load: Load) -> bool:
        jobs = sum(count for _, count in load)
        room = size.holds
        for number, count in load:
            sort = self._sorts[number]
            if size.key not in sort.able or (sort.takes_whole and jobs > 1):
                return False
            room = tuple(free - asked * count for asked, free in zip(sort.asks, room))
        return min(room) >= 0


def _without(vms: Mapping[Kind, int], others: Mapping[Kind, int]) -> Counter[Kind]:
    return +Counter({kind: times - others.get(kind, 0) for kind, times in vms.items()})


def _useful(sizes: Iterable[Size], sorts: Sequence[Sort]) -> list[Size]:
    """Return the sizes, the cheapest first, without those beside which another holds as much of everything, for the
    same jobs, and costs no more."""
    found: list[Size] = []
    for size in sorted(sizes, key=lambda one: (one.price, [-holds for holds in one.holds])):
        jobs = [size.key in sort.able for sort in sorts]
        if size.most > 0 and size.price > 0 and not any(_is_beaten(size, jobs, other, sorts) for other in found):
            found.append(size)
    return found


def _is_beaten(size: Size, jobs: Sequence[bool], other: Size, sorts: Sequence[Sort]) -> bool:
    holds_as_much = all(there >= holds for there, holds in zip(other.holds, size.holds)) and other.most >= size.most
    return holds_as_much and other.pool == size.pool and jobs == [other.key in sort.able for sort in sorts]
