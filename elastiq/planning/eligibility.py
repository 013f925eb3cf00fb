"""Which pool may run which jobs: what the batch plugin judged, and what VMs hold."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from elastiq.memory import Memory
from elastiq.model import Demand, Eligibility, Judgement, Pool, Shape
from elastiq.planning.capacities import capacity_of, holds_perhaps


class Chance(Enum):
    """Whether it is worth launching VMs of a pool for a group of jobs."""

    YES = "yes"
    TRY = "try"
    """One VM may be launched, and it is known then."""
    TOO_LARGE = "too large"
    """VMs do not hold such a job."""
    NO = "no"
    """VMs do not offer what it wants."""


@dataclass(frozen=True)
class Chances:
    """What follows for a group of jobs from its chance on VMs of each pool."""

    of_pools: Mapping[str, Chance]
    """By the keys of the pools, in their order."""
    barred_from: frozenset[str]
    """The pools whose workers could never run such jobs, whatever room they have."""
    is_too_large: bool
    """Whether no VM holds such a job, although there are some that offer what it wants."""
    is_to_learn: bool
    """Whether a VM would show whether such jobs run."""
    first_to_try: str | None
    """The first pool whose VMs run such jobs, or would show whether they do."""
    first_sure: str | None
    """The first pool of which it is sure that its VMs run them."""

    @staticmethod
    def of(found: Mapping[str, Chance]) -> Chances:
        """Return what follows."""
        known = set(found.values())
        return Chances(
            found,
            frozenset(key for key, chance in found.items() if chance is Chance.NO),
            Chance.TOO_LARGE in known and known <= {Chance.TOO_LARGE, Chance.NO},
            Chance.TRY in known,
            next((key for key, chance in found.items() if chance in (Chance.TRY, Chance.YES)), None),
            next((key for key, chance in found.items() if chance is Chance.YES), None),
        )


class Judged:
    """What follows for groups of jobs at one moment: found out once for all that are alike."""

    def __init__(self, memory: Memory, pools: Sequence[Pool], now: float) -> None:
        self._memory, self._now = memory, now
        self._pools = [(pool, capacity_of(memory, pool), _siblings(pool, pools)) for pool in pools]
        self._of_groups: dict[int, Chances] = {}
        """By the identity of the group, which is kept: no other can have its number meanwhile."""
        self._groups: list[Demand] = []
        self._of_kinds: dict[Hashable, Chances] = {}
        self._alike: dict[tuple[Chance, ...], Chances] = {}

    def chances(self, group: Demand) -> Chances:
        """Return what follows for `group`."""
        known = self._of_groups.get(id(group))
        if known is not None:
            return known
        judged = group.judgements
        answers = tuple([(name, judgement.answer) for name, judgement in judged.items()]) if judged else ()
        shape = group.shape
        kind = (shape.cpus, shape.memory_mb, shape.disk_mb, shape.gpus, bool(group.running), answers)
        found = self._of_kinds.get(kind)
        if found is None:
            alike = tuple([_chance(group, *one, self._memory, self._now) for one in self._pools])
            if alike not in self._alike:
                self._alike[alike] = Chances.of({one[0].key: chance for one, chance in zip(self._pools, alike)})
            found = self._of_kinds[kind] = self._alike[alike]
        self._of_groups[id(group)] = found
        self._groups.append(group)
        return found


def chances(group: Demand, memory: Memory, pools: Iterable[Pool], now: float) -> Mapping[str, Chance]:
    """Return for each of `pools`, by its key, whether VMs of it are worth launching for `group`."""
    return Judged(memory, tuple(pools), now).chances(group).of_pools


_NOT_JUDGED = Judgement()
"""What a group is taken for of which nothing was judged."""


def _siblings(pool: Pool, pools: Iterable[Pool]) -> Iterable[Pool]:
    return [one for one in pools if one.name == pool.name and one is not pool] if pool.is_variant else ()


def _chance(
    group: Demand, pool: Pool, capacity: Shape | None, siblings: Iterable[Pool], memory: Memory, now: float
) -> Chance:
    answer = group.judgements.get(pool.key, _NOT_JUDGED).answer
    if answer is Eligibility.NO:
        return Chance.NO
    if answer is Eligibility.UNKNOWN and any(_is_able(group, sibling) for sibling in siblings):
        # Made of the same image: what else a worker offers than its size is the same.
        answer = Eligibility.YES
    # If such jobs run, more of them can.
    may_try = answer is Eligibility.UNKNOWN and not group.running
    if capacity is not None and not group.shape.fits(capacity):
        if not holds_perhaps(memory, pool, group.shape, now):
            return Chance.TOO_LARGE
        may_try = True
    return Chance.TRY if may_try else Chance.YES


def _is_able(group: Demand, pool: Pool) -> bool:
    return group.judgements.get(pool.key, Judgement(Eligibility.UNKNOWN)).answer is Eligibility.YES
