"""What a life on recorded jobs comes to, in numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from elastiq.sim.replay.cluster import Curve

BILLED_BEYOND_SECONDS = 30.0
"""A VM is billed by the second, from its launch to its termination, and for so long more: until it has shut down."""


@dataclass(frozen=True)
class Elasticity:
    """How well the number of workers followed what jobs wanted (SPEC-RG-2016-01), over the whole time.

    With d the VMs that hold the jobs which wait or run, and s the workers there are, at each moment of a time T.
    """

    accuracy_under: float
    """Mean of max(d - s, 0) / max(d, 1)."""
    accuracy_over: float
    """Mean of max(s - d, 0) / max(d, 1)."""
    timeshare_under: float
    """Share of T with s < d."""
    timeshare_over: float
    """Share of T with s > d."""
    jitter_per_hour: float
    """How often s changed less how often d did, per hour."""


@dataclass(frozen=True)
class OfType:
    """What VMs of one type came to, where there are several."""

    type: str
    cores: int
    price: float | None
    """An hour, by the file."""
    vms: int
    hours: float


@dataclass(frozen=True)
class Figures:
    """What the jobs of a trace would have cost, and how long they would have waited."""

    jobs: int
    """That have started."""
    left_out: int
    """Jobs that need more VMs than there may be."""
    never_started: int
    vms: int
    """How many were launched."""
    vm_hours: float
    """Of VMs with `cores_per_vm`: an hour of another type counts as much as it costs beside one of these, or, where not
    all prices are known, as its cores are beside theirs."""
    oracle_vm_hours: float
    mean_wait_seconds: float
    p95_wait_seconds: float
    worst_wait_seconds: float
    elasticity: Elasticity
    boot_seconds: float
    cores_per_vm: int
    max_vms: int
    plans: int
    demand_curve: Curve
    supply_curve: Curve
    price: float | None = None
    """What an hour of a VM with `cores_per_vm` costs by the file; None: it does not say."""
    of_types: tuple[OfType, ...] = ()
    """Empty if there is one size."""

    @property
    def is_by_price(self) -> bool:
        """Whether VMs of several types are measured by what they cost."""
        return bool(self.price) and all(one.price is not None for one in self.of_types)

    @property
    def ratio(self) -> float | None:
        """VM-hours over those of the oracle; None without jobs."""
        return self.vm_hours / self.oracle_vm_hours if self.oracle_vm_hours else None


def billed_hours(lives: Iterable[tuple[float, float]]) -> float:
    """Return for how many hours VMs are billed that live from one time to another."""
    return math.fsum(end - begin + BILLED_BEYOND_SECONDS for begin, end in lives) / 3600


def percentile(values: Sequence[float], share: float) -> float:
    """Return the least of `values` that `share` of them do not exceed; 0 if there are none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else 0.0


def elasticity(demand: Curve, supply: Curve, until: float) -> Elasticity:
    """Return how well `supply` followed `demand` from the beginning of both to `until`."""
    under = over = short = much = 0.0
    moments = sorted({*demand.times, *supply.times, until})
    wanted = there = at_demand = at_supply = 0
    for begin, end in zip(moments, moments[1:]):
        if begin >= until:
            break
        while at_demand < len(demand.times) and demand.times[at_demand] <= begin:
            wanted, at_demand = demand.values[at_demand], at_demand + 1
        while at_supply < len(supply.times) and supply.times[at_supply] <= begin:
            there, at_supply = supply.values[at_supply], at_supply + 1
        seconds = end - begin
        under += max(wanted - there, 0) / max(wanted, 1) * seconds
        over += max(there - wanted, 0) / max(wanted, 1) * seconds
        short += seconds * (there < wanted)
        much += seconds * (there > wanted)
    total = until - moments[0]
    if total <= 0:
        return Elasticity(0.0, 0.0, 0.0, 0.0, 0.0)
    changes = len(supply.times) - len(demand.times)
    return Elasticity(under / total, over / total, short / total, much / total, changes / (total / 3600))
