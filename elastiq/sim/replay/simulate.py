"""simulate(): what recorded jobs come to with the real plan()."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from elastiq.config import Settings
from elastiq.model import Policy
from elastiq.sim.replay.cluster import Cluster
from elastiq.sim.replay.daemon import Replay, Rhythm
from elastiq.sim.replay.figures import Figures, OfType, billed_hours, elasticity, percentile
from elastiq.sim.replay.oracle import lives_of
from elastiq.sim.replay.traces import Job
from elastiq.sim.replay.work import Work, work_of

BEGINS_AT = 1_000_000_000.0
"""When the first job is submitted, in seconds since the epoch: any time does."""

BOOT_SECONDS = 180.0

CORES = 4


@dataclass(frozen=True)
class Scenario:
    """Jobs, and the VMs on which they are to run, whatever the options say."""

    jobs: Sequence[Job]
    boot_seconds: float = BOOT_SECONDS
    """How long a VM takes from its launch until it joins."""
    cores: int = CORES
    """Of each VM."""
    max_vms: int | None = None
    """None: as many as hold all jobs that would run at the same time if none waited."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """How many cores VMs of each type have, where there are several sizes; `cores` is one of them."""

    @cached_property
    def work(self) -> Work:
        return work_of(self.jobs, self.cores, self.max_vms, self.sizes)

    @cached_property
    def oracle_vm_hours(self) -> float:
        """What the jobs cost with the future known, and none waiting."""
        return billed_hours(lives_of(self.work))

    def run(self, settings: Settings, policy: Policy | None = None, *, every_poll: bool = False) -> Figures:
        """Return what comes of the options of `settings`, or of `policy` instead of theirs."""
        policy = with_quota(policy or settings.policy(), self.work.max_vms)
        cluster = Cluster(self.work, self.boot_seconds, BEGINS_AT)
        replay = Replay(cluster, policy, Rhythm.of(settings), self.work, every_poll=every_poll)
        replay.run()
        waits, prices = cluster.waits, _prices(policy)
        of_types = tuple(self._of_type(type_, cluster, prices) for type_ in self.sizes)
        price = self._price(prices)
        return Figures(
            jobs=len(waits),
            left_out=self.work.left_out,
            never_started=cluster.never_started,
            vms=cluster.launched,
            vm_hours=self._measured(of_types, price) if of_types else billed_hours(cluster.lives),
            oracle_vm_hours=self.oracle_vm_hours,
            mean_wait_seconds=math.fsum(waits) / len(waits) if waits else 0.0,
            p95_wait_seconds=percentile(waits, 0.95),
            worst_wait_seconds=max(waits, default=0.0),
            elasticity=elasticity(cluster.demand_curve, cluster.supply_curve, cluster.last_end_at),
            boot_seconds=self.boot_seconds,
            cores_per_vm=self.cores,
            max_vms=self.work.max_vms,
            plans=replay.plans,
            demand_curve=cluster.demand_curve,
            supply_curve=cluster.supply_curve,
            price=price,
            of_types=of_types,
        )

    def _of_type(self, type_: str, cluster: Cluster, prices: Mapping[str, float]) -> OfType:
        lives = cluster.lives_of.get(type_, ())
        return OfType(type_, self.sizes[type_], prices.get(type_), len(lives), billed_hours(lives))

    def _price(self, prices: Mapping[str, float]) -> float | None:
        """Return what an hour of a VM costs that others are measured by."""
        alike = [prices[one] for one in self.sizes or prices if one in prices and self.work.cores_of(one) == self.cores]
        return min(alike, default=None)

    def _measured(self, of_types: Sequence[OfType], price: float | None) -> float:
        """Return how many hours of a VM with `cores` cost as much as all those of other types do."""
        if price and all(one.price is not None for one in of_types):
            return math.fsum(one.hours * (one.price or 0.0) for one in of_types) / price
        return math.fsum(one.hours * one.cores for one in of_types) / self.cores


def simulate(
    jobs: Sequence[Job],
    settings: Settings | None = None,
    *,
    policy: Policy | None = None,
    boot_seconds: float = BOOT_SECONDS,
    cores: int = CORES,
    max_vms: int | None = None,
    sizes: Mapping[str, int] | None = None,
    every_poll: bool = False,
) -> Figures:
    """Return what `jobs` come to with the options of `settings` (the defaults if there are none).

    `policy` is taken instead of that of the settings, which then say but how often is looked. There are at most
    `max_vms`, whatever the policy says. With `every_poll` a plan is made at every look. `Scenario` says the rest.
    """
    scenario = Scenario(jobs, boot_seconds, cores, max_vms, sizes or {})
    return scenario.run(settings or Settings(), policy, every_poll=every_poll)


def _prices(policy: Policy) -> dict[str, float]:
    """Return what an hour of each type costs by the file, the least of several pools'; on the spot market as much as on
    demand, for nothing else is known."""
    found: dict[str, float] = {}
    for offer in (offer for pool in policy.pools for offer in pool.offers):
        if offer.most_micros is not None:
            found[offer.type] = min(offer.most_micros / 1e6, found.get(offer.type, math.inf))
    return found


def with_quota(policy: Policy, max_vms: int) -> Policy:
    """Return `policy` with a maximum of VMs, and no minimum above it."""
    pools = tuple(replace(pool, max_vms=max_vms, min_vms=min(pool.min_vms, max_vms)) for pool in policy.pools)
    return replace(policy, pools=pools, max_vms=max_vms, min_vms=min(policy.min_vms, max_vms))
