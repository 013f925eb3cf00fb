"""What VMs cost in truth, and the promises about caps in money."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from elastiq.calendars import DAYS, Calendar, Hours, Spell
from elastiq.config import Settings
from elastiq.config.convert import type_and_price
from elastiq.config.sections import CostOptions
from elastiq.decisions import Plan, Token
from elastiq.model import Pool, Schedule
from elastiq.sim.engine import HOUR
from elastiq.sim.things import LARGE, SMALL, Vm

if TYPE_CHECKING:
    from elastiq.sim.world import World

ZONES = ("UTC", "Europe/Rome", "America/New_York", "Asia/Kathmandu")

IDLE_SLACK_SECONDS = 2 * HOUR
"""How long an idle VM may be there on a day whose money is spent: as long as tries to close and terminate it take."""

_CAPS = (Token.CAP_HOUR, Token.CAP_DAY, Token.CAP_MONTH)


def made_of_money(settings: Settings, random: Random) -> Settings:
    """Return `settings` with prices, caps in money and schedules."""
    types = [type_and_price(entry)[0] for entry in settings.ec2.instance_types] or random.choice(
        ([SMALL], [SMALL, LARGE])
    )
    prices = {SMALL: random.choice((0.1, 0.096, 0.333333)), LARGE: random.choice((0.2, 0.35))}
    priced = tuple(f"{type_} {prices[type_]}" for type_ in types)
    dearest, quota = max(prices[type_] for type_ in types), settings.quota
    most = quota.max_vms or 1
    cost = CostOptions(
        currency=random.choice(("", "EUR")),
        max_per_hour=random.choice(
            (None, dearest * random.randint(1, most), dearest * random.uniform(1.0, most + 0.5))
        ),
        max_per_day=random.choice((None, dearest * random.uniform(2.0, 40.0))),
        max_per_month=random.choice((None, None, dearest * random.uniform(20.0, 600.0))),
        timezone=random.choice(ZONES),
    )
    return replace(
        settings,
        ec2=replace(settings.ec2, flavour="", instance_types=priced),
        cost=cost,
        has_cost=True,
        schedules=tuple(_schedule(number, most, random) for number in range(random.choice((0, 1, 1, 2)))),
    )


def _schedule(number: int, most: int, random: Random) -> Schedule:
    days = tuple(sorted(random.sample(range(len(DAYS)), random.randint(1, len(DAYS)))))
    spell = Spell(days, 60 * random.randrange(24), 60 * random.randrange(24) + 30)
    least = random.choice((None, random.randint(0, most)))
    idle = random.choice((None, 300.0, 7200.0))
    return Schedule(f"s{number}", Hours((spell,), Calendar()), "", least, random.choice((None, most, 1)), idle)


class Till:
    """Counts what the VMs cost that the daemon can know, by the prices of the file. It changes nothing of the truth."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._entries = {type_: price or 0.0 for type_, price in map(type_and_price, world.settings.ec2.instance_types)}
        self._calendar = world.settings.policy().cost.calendar
        self._asked: dict[str, float] = {}
        """What a VM of each launch costs, by its token."""
        self._counts = True
        self._reached: dict[float, float] = {}
        """When the money of a day or a month was spent, by when that ends."""
        self._held_at = -math.inf
        self._calm_since: float | None = None

    def lose_count(self) -> None:
        """Nobody can know any more what was spent: the clock was set, or the database is damaged."""
        self._counts = False

    def _price(self, vm: Vm) -> float:
        return self._entries[vm.type]

    def _spent(self, begin: float, end: float) -> float:
        world, now, spent = self._world, self._world.engine.time, 0.0
        for vm in world.vms.values():
            if vm.own and vm.seen.recorded and not vm.seen.excused:
                until = min(now, end, world.gone_at.get(vm.id, math.inf))
                until = min(until, vm.end_asked_at) if vm.end_requested else until
                spent += self._price(vm) * max(0.0, until - max(begin, vm.created_at)) / HOUR
        return spent

    def _periods(self) -> list[tuple[str, float, float, float]]:
        """Return each cap of a day or a month with its amount, and when that begins and ends."""
        cost, now = self._world.settings.cost, self._world.engine.time
        found = []
        if cost.max_per_day is not None:
            found.append(("max_per_day", cost.max_per_day, *self._calendar.day(now)))
        if cost.max_per_month is not None:
            found.append(("max_per_month", cost.max_per_month, *self._calendar.month(now)))
        return found

    def check_launch(self, pool: Pool, count: int, token: str) -> None:
        """Measure a request for VMs, which leaves the cloud no choice, against the caps."""
        world, price = self._world, self._entries[pool.instance_type]
        cap = world.settings.cost.max_per_hour
        if cap is not None:
            there = sum(self._price(vm) for vm in world.own() if world.witness.counts(vm))
            there += sum(vms * self._asked.get(asked, 0.0) for asked, vms in world.coming.items())
            text = f"{count} VMs of {price} asked for when {there:.6f} were in use of {cap:.6f}"
            world.book.check("never above max_per_hour", there + count * price <= cap + 1e-6, text)
        self._asked[token] = price
        for name, most, begin, end in self._periods() if self._counts else ():
            spent = self._spent(begin, end)
            text = f"{count} VMs asked for when {spent:.4f} were spent of {name} {most:.4f}"
            world.book.check("nothing at a cap", spent <= most, text)

    def watch(self, made: Plan | None, *, is_calm: bool) -> None:
        """Note whether a cap holds anything back, and look for VMs that idle although the money is spent."""
        world, now = self._world, self._world.engine.time
        if _is_held(made):
            self._held_at = now
        self._calm_since = (now if self._calm_since is None else self._calm_since) if is_calm else None
        if self._calm_since is None or not self._counts:
            return
        for name, most, begin, end in self._periods():
            # What the daemon has not seen of it is little beside that.
            if end not in self._reached and self._spent(begin, end) >= most:
                self._reached[end] = now
            if end not in self._reached:
                continue
            since = max(self._reached[end], self._calm_since)
            for vm in world.own():
                is_free = vm.joined and not (vm.jobs or vm.drained or vm.kept or vm.hung or vm.seen.excused)
                idle_seconds = now - max(since, vm.idle_since, vm.created_at)
                world.book.check(
                    "no idle VM at a cap",
                    not is_free or idle_seconds <= IDLE_SLACK_SECONDS,
                    f"{vm.id} has idled for {idle_seconds:.0f} s since {name} {most:.4f} is reached",
                )

    def held_since(self, moment: float, made: Plan | None) -> bool:
        """Return whether a cap has held anything back since then; `made` is the last plan."""
        schedules = any(one.max_vms is not None for one in self._world.settings.schedules)
        return schedules or self._held_at >= moment - 2 * self.idle_seconds - HOUR or _is_held(made)

    def least(self, always: int) -> int:
        """Return how many VMs may idle."""
        return max([always, *(one.min_vms or 0 for one in self._world.settings.schedules)])

    @property
    def idle_seconds(self) -> float:
        """For how long schedules let VMs idle."""
        return max((one.idle_for_time_s or 0.0 for one in self._world.settings.schedules), default=0.0)


def _is_held(made: Plan | None) -> bool:
    return made is not None and any(one.reason.token in _CAPS for one in made.decisions)
