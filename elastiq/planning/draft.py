"""What is decided for waiting jobs and for VMs, while it is being decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from elastiq.decisions import Decision, Kind, Reason, Token, Verdict
from elastiq.memory import VmRecord
from elastiq.model import Demand, Pool
from elastiq.planning import words
from elastiq.planning.eligibility import Chance, Chances
from elastiq.planning.fleet import Fleet
from elastiq.planning.money import Purse
from elastiq.planning.packing import Rest, Room


@dataclass
class Up:
    """What is decided for waiting jobs, while it is being decided."""

    groups: Sequence[Demand]
    fleet: Fleet
    waiting_since: float | None = None
    """Since when at least waiting_jobs_threshold jobs lack room, but for that of VMs that are just asked for."""
    rooms: list[Room] = field(default_factory=list)
    """Of elastiq's VMs, as the jobs have left it; of those that are launched now, none."""
    decisions: list[Decision] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    chances: list[Chances] = field(default_factory=list)
    """Of each group."""
    due: list[Rest] = field(default_factory=list)
    """Jobs in vain for which one VM may be launched to try again."""
    tried: list[Demand] = field(default_factory=list)
    """The groups for which that is done."""
    lacking: list[tuple[Rest, Pool]] = field(default_factory=list)
    """Jobs for which VMs are due, and of which pool they would be first."""
    sized: list[Pool] = field(default_factory=list)
    """The pools of which a VM is launched to see whether it holds more than the last ones did."""
    is_lacking: bool = False
    """Whether at least waiting_jobs_threshold jobs lack room now."""

    @property
    def has_room(self) -> bool:
        """Return whether any job is taken to start on a worker that is there, or on some and others that boot."""
        found = ((one.reason.token, one.group.vms_per_job) for one in self.verdicts if one.group)
        return any(token is Token.HAS_ROOM or (token is Token.ROOM_BOOTING and vms > 1) for token, vms in found)

    @property
    def launched(self) -> int:
        """How many VMs are to be launched so far."""
        return sum(decision.count for decision in self.decisions if decision.kind is Kind.LAUNCH)

    def launched_of(self, pool: Pool) -> int:
        """Return how many of them are of `pool`."""
        return sum(one.count for one in self.decisions if one.kind is Kind.LAUNCH and one.pool == pool.name)

    @property
    def purse(self) -> Purse:
        """What there is to spend after these launches."""
        return self.fleet.purse.after(self.decisions)

    def is_too_large(self, rest: Rest) -> bool:
        """Return whether no VM holds such a job, although there are some that offer what it wants."""
        return self.chances[rest.number].is_too_large

    def is_suited(self, rest: Rest, pool: Pool) -> bool:
        """Return whether it is sure that VMs of `pool` run such jobs."""
        return self.chances[rest.number].of_pools[pool.key] is Chance.YES

    def is_to_learn(self, rest: Rest) -> bool:
        """Return whether a VM would show whether such jobs run."""
        return self.chances[rest.number].is_to_learn

    def will_come(self, pool: Pool, *, is_larger: bool = False) -> bool:
        """Return whether there will be VMs of `pool` to learn from: on their way, about to be launched, or there and
        without a job so far. What these hold they have shown, so that is nothing if a job is larger (`is_larger`)."""
        launched = (one for one in self.decisions if one.kind is Kind.LAUNCH and one.pool == pool.name)
        if any(not pool.is_variant or one.walk[0].offer.type == pool.instance_type for one in launched):
            return True
        if self.fleet.is_any_on_its_way(pool):
            return True
        return not is_larger and self.fleet.is_any_unused(pool)

    def pool_to_try(self, rest: Rest) -> Pool | None:
        """Return the first pool of which a VM may teach something about such jobs."""
        return self.fleet.variant_of_key.get(self.chances[rest.number].first_to_try)

    def by_pool(self, rests: Iterable[Rest]) -> dict[str, list[Rest]]:
        """Return the jobs of which it is sure that VMs of a pool run them, by the name of the first such pool."""
        found: dict[str, list[Rest]] = {}
        for rest in rests:
            pool = self.fleet.variant_of_key.get(self.chances[rest.number].first_sure)
            if pool is not None:
                found.setdefault(pool.name, []).append(rest)
        return found

    def settle(self, rests: Iterable[Rest], reason: Reason) -> None:
        """Say what becomes of these jobs."""
        self.verdicts += [Verdict(reason, self.groups[rest.number], rest.jobs) for rest in rests]

    def hold(self, reason: Reason, rests: Iterable[Rest] = ()) -> None:
        """Do nothing for these jobs, and say why."""
        self.decisions.append(Decision(Kind.HOLD, reason))
        self.settle(rests, reason)

    def settle_placed(self, placed: Counter[tuple[int, Token]], because: Reason | None = None) -> None:
        """Say of jobs that have found room where that is."""
        for (number, kind), jobs in placed.items():
            reason = because or self._placed(kind, jobs)
            self.verdicts.append(Verdict(reason, self.groups[number], jobs))

    def _placed(self, kind: Token, jobs: int) -> Reason:
        if kind is Token.FOREIGN_ROOM:
            return words.foreign_room(jobs, self.fleet.policy)
        if kind is Token.HAS_ROOM:
            return words.room_for(jobs, is_any_asked_for=self.fleet.is_any_in_hand)
        return words.room_booting(jobs)


@dataclass(frozen=True)
class Answer:
    """What a rule says of a VM."""

    reason: Reason
    goes: bool = False
    is_failed_boot: bool = False
    """True if it never became a worker."""


@dataclass
class Down:
    """What is decided for VMs, while it is being decided."""

    decisions: list[Decision] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    is_any_in_hand: bool = False
    """Whether the answer to terminations is still to come: the cloud is asked for one lot at a time."""
    postponed: set[str] = field(default_factory=set)
    """VMs that go once it has come."""

    def answer(self, record: VmRecord, answer: Answer) -> None:
        """Let a VM go or stay."""
        postponed = answer.goes and self.is_any_in_hand
        reason = words.goes_after_the_answer(answer.reason) if postponed else answer.reason
        self.verdicts.append(Verdict(reason, instance_id=record.id))
        if postponed:
            self.postponed.add(record.id)
        elif answer.goes:
            self.decisions.append(
                Decision(
                    Kind.TERMINATE,
                    answer.reason,
                    record.pool,
                    instance_id=record.id,
                    failed_boot=answer.is_failed_boot,
                )
            )

    @property
    def going(self) -> set[str]:
        return {decision.instance_id for decision in self.decisions if decision.kind is Kind.TERMINATE}
