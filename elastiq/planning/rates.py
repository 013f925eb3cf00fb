"""How often the cloud takes VMs of each offer back, as far as was seen, and what that adds to its price.

An interruption costs what the VM's jobs had done, and the boot of another VM. Divided by how long VMs of the offer run
until one is taken back, that is what an hour of it costs beside its price. Both are forgotten by half in a day.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from elastiq.memory import Memory, VmRecord
from elastiq.model import SPOT, Offer, Policy, Pool
from elastiq.planning.boots import boot_seconds
from elastiq.planning.offers import MICROS, expected_micros, key_of

HOUR = 3600.0

HALF_LIFE_SECONDS = 86400.0
"""After a day what was seen counts half."""

SUPPOSED_HOURS = 24.0
"""So many VM-hours without an interruption are supposed of every offer, so that one alone, of a VM that was launched a
minute ago, does not count for one a minute."""

LOST_WORK_SECONDS = 3600.0
"""What is lost of the work of a VM that is taken back: as much as of jobs that take two hours. In three recorded traces
(LCG 2005: RAL, CNAF, Imperial) what runs at any moment has run for 6 to 17 hours, but such jobs are not for spot."""

STEP_SECONDS = 3600.0
"""By time alone the rates change at full hours only, so that it is known when a plan may come out differently."""

MOST_KEPT = 500
"""Of so many offers something is remembered, of those with the most interruptions."""

FORGOTTEN = 0.01
"""With less than so much of an interruption left, after about a week, and with as little of a VM-hour, nothing is
remembered of an offer."""

_Seen = tuple[float, float]
"""Interruptions, and VM-hours, as they count at one moment."""


@dataclass(frozen=True)
class Rates:
    """Interruptions an hour, as they count at one moment."""

    memory: Memory
    now: float

    @cached_property
    def _step(self) -> float:
        return math.floor(self.now / STEP_SECONDS) * STEP_SECONDS

    @cached_property
    def _seen(self) -> Mapping[str, _Seen]:
        """By the names of offers: of VMs that are gone, and of those that are there."""
        found = {key: _at(self._step, *seen) for key, seen in self.memory.interruptions.items()}
        for record in self.memory.vms.values():
            if record.market == SPOT:
                key = _key(record)
                found[key] = _sum(found.get(key, (0.0, 0.0)), _of(record, self._step))
        return found

    @property
    def are_any(self) -> bool:
        """Whether any VM was taken back lately."""
        return any(times > 0 for times, _ in self._seen.values())

    def per_hour(self, offer: Offer) -> float:
        """Return how often an hour a VM of `offer` is taken back: never, if it is not of the spot market."""
        times, hours = self._seen.get(key_of(offer.market, offer.type, offer.zone), (0.0, 0.0))
        return times / (hours + SUPPOSED_HOURS) if offer.is_spot else 0.0

    def dearer(self, offer: Offer, pool: Pool, policy: Policy) -> float:
        """Return how many times its price `offer` costs, with what is lost by interruptions."""
        of_type = pool.of_type(offer.type) if pool.has_choice else pool
        lost_seconds = boot_seconds(of_type, self.memory, policy) + LOST_WORK_SECONDS
        return 1.0 + self.per_hour(offer) * lost_seconds / HOUR


def weighed(policy: Policy, memory: Memory, now: float) -> Policy:
    """Return `policy` with the offers of each pool in the order of what they cost with what interruptions cost; itself
    if none was seen, and no price of the spot market is known."""
    if not any(offer.is_spot for pool in policy.pools for offer in pool.offers):
        return policy
    rates = Rates(memory, now)
    pools = tuple(_weighed(pool, rates, policy) for pool in policy.pools)
    is_same = all(pool is before for pool, before in zip(pools, policy.pools))
    return policy if is_same else replace(policy, pools=pools)


def _weighed(pool: Pool, rates: Rates, policy: Policy) -> Pool:
    """Return a pool with its offers by market, by what they cost, and then as in the file.

    An offer of the spot market that costs no less than the same type on demand comes after all others; one whose very
    price is no less is none at all.
    """
    if not pool.has_choice or not (rates.are_any or any(one.is_spot and one.price for one in pool.offers)):
        return pool
    on_demand = {one.type: one.price for one in pool.offers if not one.is_spot and one.price is not None}
    markets = list(dict.fromkeys(one.market for one in pool.offers))
    types = list(dict.fromkeys(one.type for one in pool.offers))

    def turn(offer: Offer) -> tuple[float, ...]:
        cost, limit = expected_micros(offer) or math.inf, on_demand.get(offer.type)
        is_last = offer.is_spot and offer.price is not None and limit is not None and cost >= limit * MICROS
        return is_last, markets.index(offer.market), cost, types.index(offer.type), offer.weight

    worthwhile = (one for one in pool.offers if not _is_dear(one, on_demand))
    offers = (replace(one, weight=rates.dearer(one, pool, policy)) for one in worthwhile)
    return replace(pool, offers=tuple(sorted(offers, key=turn)))


def _is_dear(offer: Offer, on_demand: Mapping[str, float]) -> bool:
    limit = on_demand.get(offer.type)
    return offer.is_spot and offer.price is not None and limit is not None and offer.price >= limit


def with_gone(before: Memory, after: Memory, departed: Iterable[VmRecord], now: float) -> Memory:
    """Return `after` with how long those VMs of the spot market were there, and whether they were taken back, that were
    there `before` and are gone now. `departed` tells how those ended that elastiq has not ended."""
    ended = {record.id: record for record in departed}
    gone = [ended.get(id_, record) for id_, record in before.vms.items() if id_ not in after.vms]
    gone = [record for record in gone if record.market == SPOT]
    if not gone:
        return after
    found = {key: _at(now, *seen) for key, seen in after.interruptions.items()}
    for record in gone:
        key = _key(record)
        found[key] = _sum(found.get(key, (0.0, 0.0)), _of(record, now))
    kept = [(key, seen) for key, seen in found.items() if max(seen) >= FORGOTTEN]
    kept = sorted(kept, key=lambda entry: entry[1], reverse=True)[:MOST_KEPT]
    return replace(after, interruptions={key: (times, hours, now) for key, (times, hours) in sorted(kept)})


def changes(memory: Memory, now: float) -> Iterator[float]:
    """Return when what is known of interruptions counts for less by time alone."""
    rates = Rates(memory, now)
    if (memory.interruptions or any(one.interrupted_at for one in memory.vms.values())) and rates.are_any:
        yield (math.floor(now / STEP_SECONDS) + 1) * STEP_SECONDS


def _key(record: VmRecord) -> str:
    return key_of(record.market, record.type, record.zone)


def _of(record: VmRecord, now: float) -> _Seen:
    """Return what a VM adds: it counts for the less the longer ago it was there."""
    ends = (record.interrupted_at, record.terminated_at, record.missing_since)
    end = min(one for one in (now, *ends) if one is not None)
    age, rest = max(0.0, end - record.launched_at), max(0.0, now - end)
    hours = HALF_LIFE_SECONDS / math.log(2) * (1.0 - _left(age)) * _left(rest) / HOUR
    return (0.0 if record.interrupted_at is None else _left(now - record.interrupted_at)), hours


def _at(now: float, times: float, hours: float, counted_at: float) -> _Seen:
    left = _left(now - counted_at)
    return times * left, hours * left


def _left(seconds: float) -> float:
    """Return how much still counts of what was so long ago."""
    return math.pow(0.5, max(0.0, seconds) / HALF_LIFE_SECONDS)


def _sum(one: _Seen, other: _Seen) -> _Seen:
    return one[0] + other[0], one[1] + other[1]
