"""Which types and pools the jobs at hand get VMs of, where several could run them and it is known what these cost.

Pools of a higher priority come first, and in a pool the market that is to be asked first. Whatever is left to choose is
chosen for all jobs together: elastiq.planning.mix has the numbers. Where a price or a size is not known, the order in
the file decides.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from elastiq.memory import Breaker
from elastiq.model import Pool, Shape
from elastiq.planning.draft import Up
from elastiq.planning.fleet import Fleet
from elastiq.planning.mix import Limits, Mix, Size, Sort, cheapest
from elastiq.planning.offers import away, expected_micros
from elastiq.planning.packing import UNLIMITED, Rest
from elastiq.planning.wanted import Wanted, vms_for

MOST_SORTS = 40
"""For more kinds of jobs each is looked at by itself: to compare all of them would take a plan too long."""


def tiers(fleet: Fleet) -> list[tuple[Pool, ...]]:
    """Return the pools, once for each type, in the order in which VMs are launched of them: those together of which
    what the jobs at hand cost decides."""
    if len(fleet.variants) < 2:
        return [fleet.variants]
    found: list[tuple[Pool, ...]] = []
    for tier, alike in groupby(fleet.variants, key=lambda pool: _tier(pool, fleet)):
        pools = tuple(alike)
        found += [pools] if tier is not None else [(pool,) for pool in pools]
    return found


def _tier(pool: Pool, fleet: Fleet) -> tuple[int, int] | None:
    """Return which pools come beside this one; None: none does."""
    breaker = fleet.memory.breakers.get(pool.name, Breaker())
    is_priced = bool(pool.offers) and all(offer.most_micros for offer in pool.offers)
    is_held = fleet.now < breaker.paused_until or breaker.failed_boots or breaker.ask is not None
    if not is_priced or is_held or fleet.quota_left(pool) <= 0:
        return None
    if fleet.policy.n_jobs_per_vm is None and fleet.new_room(pool).free is None:
        return None
    whole = fleet.policy.pool(pool.name) or pool
    market = next((one.market for one in pool.offers if away(one, fleet.memory, fleet.now) is None), None)
    markets = list(dict.fromkeys(one.market for one in whole.offers))
    return None if market is None else (whole.priority, markets.index(market))


def for_wide(up: Up, tier: Sequence[Pool], rests: Iterable[Rest], room: Mapping[str, int]) -> dict[str, list[Rest]]:
    """Return which of these jobs, which need several VMs each, get them of which of these pools, by their keys; `room`
    says how many there may be of each."""
    found: dict[str, list[Rest]] = {}
    for rest in rests:
        able = [pool for pool in tier if up.is_suited(rest, pool)]
        if able:
            best = min(able, key=lambda pool: _price_of_all(rest, pool, room[pool.key], up.fleet))
            found.setdefault(best.key, []).append(rest)
    return found


def _price_of_all(rest: Rest, pool: Pool, room: int, fleet: Fleet) -> tuple[bool, int]:
    """Return what VMs of `pool` cost that hold all of these jobs; what there is no room for comes last."""
    each = fleet.new_room(pool).take(rest, UNLIMITED)
    vms = max(rest.machines, -(-rest.jobs * rest.machines // each)) if each else UNLIMITED
    return vms > room, vms * _price(pool, fleet)


def for_single(
    up: Up, tier: Sequence[Pool], rests: Iterable[Rest], room: Mapping[str, int], most: int
) -> tuple[dict[str, Wanted], list[Rest]]:
    """Return the VMs of each of these pools, by their keys, that hold all of these jobs for the least money, and the
    jobs that are left; at most so many in all, and as many of each as `room` says."""
    alike: dict[Hashable, list[Rest]] = {}
    able: dict[Hashable, frozenset[str]] = {}
    left = []
    for rest in rests:
        keys = frozenset(pool.key for pool in tier if up.is_suited(rest, pool))
        if not keys:
            left.append(rest)
            continue
        alike.setdefault((rest.kind, keys), []).append(rest)
        able[rest.kind, keys] = keys
    sorts = [Sort(_asks(several[0].shape), able[kind], several[0].takes_whole) for kind, several in alike.items()]
    jobs = [sum(rest.jobs for rest in several) for several in alike.values()]
    sizes = [
        Size(pool.key, pool.name, _price(pool, up.fleet), _holds(pool, up.fleet), room[pool.key], _bound(pool))
        for pool in tier
    ]
    queues = [deque(several) for several in alike.values()]
    if not sorts:
        return {}, left
    if len(sorts) > MOST_SORTS:
        return _each_by_itself(up, tier, sorts, queues, sizes, room, left)
    of_pool = {name: max(size.most for size in sizes if size.pool == name) for name in {size.pool for size in sizes}}
    budget = max(size.most * size.bound for size in sizes) if up.purse.caps else None
    mix = cheapest(sorts, jobs, sizes, Limits(most, of_pool, budget))
    found = _wanted(mix, queues)
    return found, [*left, *(rest for queue in queues for rest in queue)]


def _wanted(mix: Mix, queues: Sequence[deque[Rest]]) -> dict[str, Wanted]:
    """Return the VMs of a mix by the keys of their pools, and take the jobs that go there out of `queues`."""
    found: dict[str, Wanted] = {}
    for (size, load), times in mix.vms.items():
        wanted = found.setdefault(size.key, Wanted())
        for _ in range(times):
            for number, count in load:
                wanted.takers += [(wanted.vms, rest) for rest in _taken(queues[number], count)]
            wanted.vms += 1
    return found


def _taken(queue: deque[Rest], count: int) -> Iterator[Rest]:
    while count:
        rest = queue.popleft()
        taken = min(count, rest.jobs)
        if taken < rest.jobs:
            queue.appendleft(rest.of(rest.jobs - taken))
        count -= taken
        yield rest.of(taken)


def _each_by_itself(
    up: Up,
    tier: Sequence[Pool],
    sorts: Sequence[Sort],
    queues: Sequence[deque[Rest]],
    sizes: Sequence[Size],
    room: Mapping[str, int],
    left: list[Rest],
) -> tuple[dict[str, Wanted], list[Rest]]:
    """Return the same where every job gets a VM of the size of which its part costs least."""
    chosen: dict[str, list[Rest]] = {}
    for sort, queue in zip(sorts, queues):
        best = min(sizes, key=lambda size: sort.part(size) * size.price if sort.part(size) <= 1 else math.inf)
        chosen.setdefault(best.key, []).extend(queue)
    found = {}
    for pool in tier:
        if pool.key in chosen:
            wanted = found[pool.key] = vms_for(chosen[pool.key], max(0, room[pool.key] - 1), pool, up.fleet)
            left += wanted.beyond
            wanted.beyond = []
    return found, left


def _asks(shape: Shape) -> tuple[float, ...]:
    return shape.cpus, shape.memory_mb or 0, shape.disk_mb or 0, shape.gpus or 0, 1


def _holds(pool: Pool, fleet: Fleet) -> tuple[float, ...]:
    fresh = fleet.new_room(pool)
    free = fresh.free
    if free is None:
        return math.inf, math.inf, math.inf, math.inf, fresh.jobs
    rest = (math.inf if amount is None else amount for amount in (free.memory_mb, free.disk_mb, free.gpus))
    return free.cpus, *rest, fresh.jobs


def _price(pool: Pool, fleet: Fleet) -> int:
    """Return what a VM costs of what is asked for first."""
    open_ = (offer for offer in pool.offers if away(offer, fleet.memory, fleet.now) is None)
    return next((expected_micros(offer) for offer in open_), _bound(pool))


def _bound(pool: Pool) -> int:
    return pool.most_micros() or 0


def coming(found: Mapping[str, Wanted], tier: Iterable[Pool]) -> Counter[str]:
    """Return how many VMs are wanted of each pool, by its name."""
    vms = Counter[str]()
    for pool in tier:
        if pool.key in found:
            vms[pool.name] += found[pool.key].vms
    return vms
