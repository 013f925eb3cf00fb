"""What VMs cost, and what the caps in money leave for new ones.

Money is counted in millionths of the currency, as whole numbers, so that sums are exact; what is spent by the second is
rounded up. What VMs that are gone have cost is remembered by quarters of an hour since the epoch: in every time zone
days begin with one.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from elastiq.decisions import CostFigures, Decision, Kind, Token
from elastiq.memory import Intent, Memory, VmRecord
from elastiq.model import Policy, Pool
from elastiq.planning.boots import boot_seconds
from elastiq.planning.packing import UNLIMITED

QUARTER_SECONDS = 900

KEPT_SECONDS = 33 * 86400.0
"""What is older than a month is of no use any more."""

HOUR = 3600.0


@dataclass(frozen=True)
class Cap:
    """A limit in money at one moment, in millionths of the currency."""

    name: str
    """As the option is called."""
    token: Token
    most: int
    used: int
    """What counts against it for a new VM: of the hour what all VMs that may exist cost; of a day or a month what is
    spent and what those that boot cost at the least."""
    spent: int
    """What is spent already; of the hour as `used`."""
    ends_at: float = math.inf
    """When the day or the month is over."""

    @property
    def is_of_hour(self) -> bool:
        return self.token is Token.CAP_HOUR


@dataclass(frozen=True)
class Purse:
    """What there is to spend. Nothing of it changes while a plan is made but by `after`."""

    memory: Memory
    policy: Policy
    now: float
    caps: tuple[Cap, ...] = ()

    @staticmethod
    def of(memory: Memory, policy: Policy, now: float) -> Purse:
        """Return what there is to spend `now`."""
        purse = Purse(memory, policy, now)
        return replace(purse, caps=tuple(purse._caps())) if policy.cost.is_capped else purse

    def _caps(self) -> Iterator[Cap]:
        cost = self.policy.cost
        if cost.max_per_hour is not None:
            in_use = self.per_hour
            yield Cap("max_per_hour", Token.CAP_HOUR, cost.max_per_hour, in_use, in_use)
        if cost.max_per_day is not None:
            yield self._of_period("max_per_day", Token.CAP_DAY, cost.max_per_day, cost.calendar.day(self.now))
        if cost.max_per_month is not None:
            yield self._of_period("max_per_month", Token.CAP_MONTH, cost.max_per_month, cost.calendar.month(self.now))

    def _of_period(self, name: str, token: Token, most: int, period: tuple[float, float]) -> Cap:
        spent = self.spent(*period)
        return Cap(name, token, most, spent + self._bound, spent, period[1])

    @cached_property
    def per_hour(self) -> int:
        """What all VMs cost an hour that may exist."""
        found = sum(self.price_of(record) for record in self.memory.vms.values() if record.counts)
        return found + sum(self.price_of(intent) * self._possible(intent) for intent in self.memory.intents)

    def _possible(self, intent: Intent) -> int:
        """Return how many VMs of a launch may exist that are not known for its own."""
        return len(intent.lookalikes) if intent.needs_people else self.memory.unseen(intent)

    @cached_property
    def _bound(self) -> int:
        """What VMs that boot, or may exist, will have cost at the least when they can go, beside what is spent."""
        bound = 0
        for record in self.memory.vms.values():
            if record.may_yet_join and not record.leaving:
                seconds = self._least_seconds(record.pool) - max(0.0, self.now - _from(record))
                bound += _cost(self.price_of(record), seconds)
        for intent in self.memory.intents:
            seconds = max(self._least_seconds(intent.pool), self.now - intent.requested_at)
            bound += self._possible(intent) * _cost(self.price_of(intent), seconds)
        return bound

    def _least_seconds(self, pool: str) -> float:
        """Return for how long a new VM of a pool costs money at the least: until it has joined, and has been idle."""
        found = self.policy.pool(pool)
        boot = 0.0 if found is None else boot_seconds(found, self.memory, self.policy)
        return boot + self.policy.idle_seconds_of(pool)

    def price_of(self, one: VmRecord | Intent) -> int:
        """Return what a VM costs an hour at most: by the file as it is now, or else as when it was asked for. Where
        neither says it, as the dearest of its pool, or of all."""
        type_ = one.type if isinstance(one, VmRecord) else one.instance_type
        own = self.policy.pool(one.pool)
        known = None if own is None or not type_ else own.most_micros(type_)
        return known or one.most_micros or (own and own.most_micros()) or self._dearest

    @cached_property
    def _dearest(self) -> int:
        return max((pool.most_micros() or 0 for pool in self.policy.pools), default=0)

    def spent(self, begin: float, end: float) -> int:
        """Return what was spent within that time."""
        quarters = list(self.memory.spent)
        first, last = (bisect_left(quarters, _key(math.ceil(at / QUARTER_SECONDS))) for at in (begin, end))
        gone = sum(list(self.memory.spent.values())[first:last])
        return gone + sum(self._spent_on(record, begin, min(end, self.now)) for record in self.memory.vms.values())

    def _spent_on(self, record: VmRecord, begin: float, end: float) -> int:
        until = min(end, _until(record, self.now))
        return _cost(self.price_of(record), until - max(begin, _from(record)))

    def cost(self, cap: Cap, pool: Pool) -> int | None:
        """Return how much of a cap a new VM of `pool` takes at the least: of the cheapest of its types; None: what it
        costs is not known."""
        prices = [variant.most_micros() for variant in pool.variants]
        known = [price for price in prices if price]
        price = min(known) if len(known) == len(prices) else self._dearest
        if not price:
            return None
        return price if cap.is_of_hour else _cost(price, self._least_seconds(pool.name))

    def room(self, pool: Pool) -> int:
        """Return for how many new VMs of `pool` there is money; less than nothing if a cap is passed already."""
        return min((self._room(cap, pool) for cap in self.caps), default=UNLIMITED)

    def room_of_hour(self, pool: Pool) -> int:
        """Return the same by max_per_hour alone: of that, but of no other cap, something comes back when a VM goes."""
        return min((self._room(cap, pool) for cap in self.caps if cap.is_of_hour), default=UNLIMITED)

    def _room(self, cap: Cap, pool: Pool) -> int:
        cost = self.cost(cap, pool)
        return 0 if cost is None else (cap.most - cap.used) // max(1, cost)

    def is_ever_enough(self, pool: Pool, vms: int) -> bool:
        """Return whether there would be money for so many VMs of `pool` if there were no others, and nothing spent."""
        return all((self.cost(cap, pool) or 0) * vms <= cap.most for cap in self.caps)

    def tightest(self, pool: Pool) -> Cap:
        """Return the cap that leaves the least to `pool`. There must be one."""
        return min(self.caps, key=lambda cap: self._room(cap, pool))

    def frees(self, record: VmRecord, pool: Pool, vms: int) -> bool:
        """Return whether there is money for so many VMs of `pool` if that VM goes, as far as the hour is concerned."""
        for cap in self.caps:
            cost = self.cost(cap, pool)
            left = cap.most - cap.used + (self.price_of(record) if cap.is_of_hour else 0)
            if cost is None or left < vms * cost:
                return False
        return True

    def after(self, decisions: Iterable[Decision]) -> Purse:
        """Return what is left after these launches, whichever of their offers is had."""
        launches = [decision for decision in decisions if decision.kind is Kind.LAUNCH]
        if not self.caps or not launches:
            return self
        caps = (replace(cap, used=cap.used + sum(self._taken(cap, one) for one in launches)) for cap in self.caps)
        return replace(self, caps=tuple(caps))

    def _taken(self, cap: Cap, launch: Decision) -> int:
        pool = self.policy.pool(launch.pool)
        if pool is None:
            return 0
        steps = [(pool.at(step.offer), step.count) for step in launch.walk] or [(pool, launch.count)]
        return max((self.cost(cap, one) or 0) * count for one, count in steps)

    def within(self, launch: Decision) -> Decision | None:
        """Return a launch with as many VMs of each of its offers as there is money for; None: for none."""
        pool = self.policy.pool(launch.pool)
        if not self.caps or pool is None:
            return launch
        if not launch.walk:
            count = min(launch.count, self.room(pool))
            return replace(launch, count=count) if count >= launch.at_least else None
        steps = (replace(step, count=min(step.count, self.room(pool.at(step.offer)))) for step in launch.walk)
        walk = tuple(step for step in steps if step.count >= launch.at_least)
        return replace(launch, walk=walk, count=walk[0].count) if walk else None

    @cached_property
    def gone(self) -> Cap | None:
        """The cap of a day or a month that is spent, if there is one: then no idle VM is kept."""
        spent = [cap for cap in self.caps if not cap.is_of_hour and cap.spent >= cap.most]
        return max(spent, key=lambda cap: cap.ends_at, default=None)

    @property
    def excess(self) -> int:
        """By how much an hour all VMs that may exist are dearer than max_per_hour, as after a change of it, without
        those that are leaving."""
        of_hour = [cap for cap in self.caps if cap.is_of_hour]
        if not of_hour:
            return 0
        leaving = sum(self.price_of(record) for record in self.memory.vms.values() if record.counts and record.leaving)
        return max(cap.used - leaving - cap.most for cap in of_hour)

    @property
    def is_kept(self) -> bool:
        """Whether all that may exist, and all that is spent, is within the caps."""
        return self.gone is None and all(cap.used <= cap.most for cap in self.caps if cap.is_of_hour)

    def changes(self) -> Iterator[float]:
        """Return when what is said here changes by time alone: a day or a month is spent, or over."""
        costing = [record for record in self.memory.vms.values() if record.terminated_at is None]
        rate = sum(map(self.price_of, costing)) if self.policy.cost.is_capped_by_time else 0
        for cap in self.caps:
            if not cap.is_of_hour:
                yield cap.ends_at
                if rate and cap.spent < cap.most:
                    yield self.now + (cap.most - cap.spent) * HOUR / rate

    def figures(self) -> CostFigures | None:
        """Return what VMs cost, for people; None where nothing is kept of it."""
        cost = self.policy.cost
        if not cost.is_kept:
            return None
        day, month = cost.calendar.day(self.now), cost.calendar.month(self.now)
        limits = cost.max_per_hour, cost.max_per_day, cost.max_per_month
        return CostFigures(cost.currency, self.per_hour, self.spent(*day), self.spent(*month), *limits)


def paid(before: Memory, after: Memory, policy: Policy, now: float) -> Memory:
    """Return `after` with what those VMs have cost that were there `before` and are gone now."""
    gone = [record for id_, record in before.vms.items() if id_ not in after.vms]
    if not policy.cost.is_kept or not gone:
        return after
    purse, spent = Purse(before, policy, now), dict(after.spent)
    for record in gone:
        for quarter, micros in _shares(purse.price_of(record), _from(record), _until(record, now), now):
            spent[quarter] = spent.get(quarter, 0) + micros
    oldest = _key(math.floor((now - KEPT_SECONDS) / QUARTER_SECONDS))
    lately = {quarter: spent[quarter] for quarter in sorted(spent) if quarter > oldest}
    return replace(after, spent=lately)


def _from(record: VmRecord) -> float:
    """Return from when on a VM has cost money: it may have been made as soon as it was asked for."""
    return record.asked_at or record.launched_at


def _until(record: VmRecord, now: float) -> float:
    """Return until when a VM has cost money: a cloud that has accepted its end asks for none from then on."""
    return now if record.terminated_at is None else min(now, record.terminated_at)


def _shares(price: int, begin: float, end: float, now: float) -> Iterator[tuple[str, int]]:
    """Return what a VM has cost, by quarters of an hour."""
    begin = max(begin, now - KEPT_SECONDS)
    done, quarter = 0, math.floor(begin / QUARTER_SECONDS)
    while quarter * QUARTER_SECONDS < end:
        by_then = _cost(price, min(end, (quarter + 1) * QUARTER_SECONDS) - begin)
        yield _key(quarter), by_then - done
        done, quarter = by_then, quarter + 1


def _key(quarter: int) -> str:
    """Return the name of a quarter of an hour, which comes in the order of names."""
    return f"{max(0, quarter):010d}"


def _cost(price: int, seconds: float) -> int:
    """Return what so many seconds cost, rounded up."""
    return math.ceil(price * seconds / HOUR) if seconds > 0 else 0


def shown(micros: int) -> str:
    """Return an amount for people: with two digits behind the point, or as many as it has."""
    whole, part = divmod(abs(micros), 1_000_000)
    digits = f"{part:06d}".rstrip("0")
    return f"{'-' if micros < 0 else ''}{whole}.{digits:0<2}"
