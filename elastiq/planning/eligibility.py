"""Which pool may run which jobs: what the batch plugin judged, and what VMs hold."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from elastiq.memory import Memory
from elastiq.model import Demand, Eligibility, Judgement, Policy, Pool
from elastiq.planning.capacities import holds_perhaps, is_larger


class Chance(Enum):
    """Whether it is worth launching VMs of a pool for a group of jobs."""

    YES = "yes"
    TRY = "try"
    """One VM may be launched, and it is known then."""
    TOO_LARGE = "too large"
    """VMs do not hold such a job."""
    NO = "no"
    """VMs do not offer what it wants."""


def chances(group: Demand, memory: Memory, policy: Policy, now: float) -> Mapping[str, Chance]:
    """Return for each pool, by its name, whether VMs of it are worth launching for `group`."""
    return {pool.name: _chance(group, pool, memory, now) for pool in policy.pools}


def _chance(group: Demand, pool: Pool, memory: Memory, now: float) -> Chance:
    answer = group.judgements.get(pool.name, Judgement()).answer
    if answer is Eligibility.NO:
        return Chance.NO
    # If such jobs run, more of them can.
    may_try = answer is Eligibility.UNKNOWN and not group.running
    if is_larger(memory, pool, group.shape):
        if not holds_perhaps(memory, pool, group.shape, now):
            return Chance.TOO_LARGE
        may_try = True
    return Chance.TRY if may_try else Chance.YES


def barred_from(found: Mapping[str, Chance]) -> frozenset[str]:
    """Return the pools whose workers could never run such jobs, whatever room they have."""
    if Chance.NO not in found.values():
        return frozenset()
    return frozenset(name for name, chance in found.items() if chance is Chance.NO)
