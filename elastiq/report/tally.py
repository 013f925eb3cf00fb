"""What Prometheus counts: launches and refusals, boots, waits, VM-seconds and money, since the daemon started.

Labels are pools, offers and tokens alone, as the configuration has them: never a job, a user or a VM.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from elastiq.decisions import End, Kind, Outcome, Plan, Token
from elastiq.memory import Stage, VmRecord
from elastiq.model import ON_DEMAND, Offer, Policy
from elastiq.planning.offers import price_of
from elastiq.report.exposition import Histogram

OTHER = "other"
"""The pool of VMs whose own is not in the configuration any more."""

BOOT_LIMITS_SECONDS = (15, 30, 60, 90, 120, 180, 240, 300, 420, 600, 900, 1800, 3600)

WAIT_LIMITS_SECONDS = (15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400)

GROUPS_FOLLOWED = 10_000
"""Groups of jobs; of more it is not known how long they wait."""

ARRIVALS_FOLLOWED = 200
"""Moments at which jobs of one group came; those that come then count as of the last one."""

SECONDS_AN_HOUR = 3600.0


@dataclass(frozen=True)
class Rate:
    """What some VMs cost a second."""

    pool: str
    market: str
    work: str
    """booting, busy, idle, or other: its worker is out of sight or closed, or the listings leave it out."""


@dataclass
class Arrivals:
    """When jobs of a group that wait came, the oldest first."""

    known: deque[tuple[float | None, int]] = field(default_factory=deque)
    """None: before the daemon looked first."""
    jobs: int = 0

    def come(self, at: float | None, jobs: int) -> None:
        if len(self.known) >= ARRIVALS_FOLLOWED:
            at, jobs_before = self.known.pop()
            jobs_more = jobs + jobs_before
        else:
            jobs_more = jobs
        self.known.append((at, jobs_more))
        self.jobs += jobs

    def go(self, jobs: int, now: float, waits: Histogram) -> None:
        """Take the oldest for those that wait no longer."""
        self.jobs -= jobs
        while jobs > 0:
            at, there = self.known.popleft()
            gone = min(jobs, there)
            if at is not None:
                waits.observe(max(0.0, now - at), gone)
            if there > gone:
                self.known.appendleft((at, there - gone))
            jobs -= gone


class Tally:
    """Counts what plans show and what came of them."""

    def __init__(self) -> None:
        self.launched: Counter[tuple[str, Offer | None]] = Counter()
        """By pool and offer; None: what VMs of a pool are that has no choice."""
        self.refused: Counter[tuple[str, Token]] = Counter()
        self.terminated: Counter[tuple[str, Token]] = Counter()
        self.failed_boots: Counter[str] = Counter()
        self.vm_seconds: defaultdict[Rate, float] = defaultdict(float)
        self.cost: defaultdict[tuple[str, str], float] = defaultdict(float)
        """By pool and market, in the currency of the prices."""
        self.unpriced_seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        self.boots: dict[str, Histogram] = {}
        self.waits = Histogram(WAIT_LIMITS_SECONDS)
        self._at: float | None = None
        """When it looked last."""
        self._records: Mapping[str, VmRecord] = {}
        self._rates: Counter[tuple[Rate, float]] = Counter()
        """How many VMs there are of each, with their price an hour; 0: not known."""
        self._made: Plan | None = None
        self._groups: dict[str, Arrivals] | None = None

    def count(self, outcome: Outcome) -> None:
        """Add what became of a decision."""
        decision = outcome.decision
        if decision.kind is Kind.LAUNCH:
            if outcome.end is End.DONE:
                offer = decision.walk[0].offer if decision.walk else None
                self.launched[decision.pool, offer] += len(outcome.instance_ids)
            elif outcome.end in (End.FAILED, End.UNCLEAR):
                self.refused[decision.pool, outcome.cause] += 1
        elif decision.kind is Kind.TERMINATE and outcome.end is End.DONE:
            self.terminated[decision.pool, decision.reason.token] += 1
            self.failed_boots[decision.pool] += decision.failed_boot

    def look(self, made: Plan, policy: Policy, now: float) -> None:
        """Add what has come since the last look, by the plan that is in force `now`."""
        since = now if self._at is None else min(self._at, now)
        for (rate, price), vms in self._rates.items():
            self._spend(rate, price, vms * (now - since))
        if made.memory.vms is not self._records:
            self._note_vms(made.memory.vms, policy, since, now)
        if made is not self._made:
            self._made = made
            self._note_jobs(made, now)
        self._at = now

    def _spend(self, rate: Rate, price: float, seconds: float) -> None:
        self.vm_seconds[rate] += seconds
        if price:
            self.cost[rate.pool, rate.market] += price * seconds / SECONDS_AN_HOUR
        else:
            self.unpriced_seconds[rate.pool, rate.market] += seconds

    def _note_vms(self, records: Mapping[str, VmRecord], policy: Policy, since: float, now: float) -> None:
        rates: Counter[tuple[Rate, float]] = Counter()
        known: dict[tuple[str, str, str, str], tuple[Rate, float]] = {}  # thousands of VMs are of a few kinds
        for id_, record in records.items():
            before = self._records.get(id_)
            if record.joined_at is not None and self._at is not None and (before is None or before.joined_at is None):
                self._note_boot(record, policy)
            if record.stage in (Stage.GOING, Stage.BROKEN):
                continue
            kind = (record.pool, record.market, record.type, work_of(record))
            if kind not in known:
                rate = Rate(known_pool(policy, record.pool), record.market or ON_DEMAND, kind[-1])
                known[kind] = rate, price_of(record, policy.pool(record.pool)) or 0.0
            rate, price = known[kind]
            rates[known[kind]] += 1
            if before is None and self._at is not None and record.launched_at > since:
                self._spend(rate, price, max(0.0, now - record.launched_at))
        self._records, self._rates = records, rates

    def _note_boot(self, record: VmRecord, policy: Policy) -> None:
        took = (record.joined_at or 0.0) - record.launched_at
        if record.launched_at and took >= 0:
            self.boots.setdefault(known_pool(policy, record.pool), Histogram(BOOT_LIMITS_SECONDS)).observe(took)

    def _note_jobs(self, made: Plan, now: float) -> None:
        is_unreadable = any(decision.reason.token is Token.UNREADABLE for decision in made.decisions)
        if made.figures.jobs_waiting is None or is_unreadable:
            return  # who waits no longer is not known
        waiting = {verdict.group.key: verdict.group.jobs for verdict in made.verdicts if verdict.group is not None}
        is_first, groups = self._groups is None, self._groups or {}
        for key in [key for key in groups if key not in waiting]:
            gone = groups.pop(key)
            gone.go(gone.jobs, now, self.waits)
        for key, jobs in waiting.items():
            if key not in groups and len(groups) >= GROUPS_FOLLOWED:
                continue
            group = groups.setdefault(key, Arrivals())
            if jobs < group.jobs:
                group.go(group.jobs - jobs, now, self.waits)
            elif jobs > group.jobs:
                group.come(None if is_first else now, jobs - group.jobs)
        self._groups = groups


def work_of(record: VmRecord) -> str:
    """Return what a VM does, in a word."""
    if record.stage is Stage.BOOTING:
        return "booting"
    if record.stage is not Stage.WORKING:
        return "other"
    return "busy" if record.at_work else "idle"


def known_pool(policy: Policy, name: str) -> str:
    """Return the name of a pool of the configuration, or OTHER."""
    return name if policy.pool(name) is not None else OTHER
