"""What a plan says of every group of jobs and every VM, from when on it is so, and until when at the earliest.

Nothing is decided here: the verdicts are the plan's own, and times come from what is remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from elastiq.decisions import Kind, Plan, Token, Verdict
from elastiq.memory import Breaker, Memory, Stage, VmRecord
from elastiq.model import Demand, Policy, Pool
from elastiq.planning import patience
from elastiq.planning.adaptive import held_seconds
from elastiq.planning.boots import boot_seconds
from elastiq.planning.capacities import capacity_of
from elastiq.planning.eligibility import chances
from elastiq.planning.hours import in_force
from elastiq.planning.offer_words import described
from elastiq.planning.offers import away
from elastiq.planning.remedies import just_launched, of_a_pool

GROUPS_TOLD = 2000
"""Groups of jobs, those with most jobs first: no more are judged either."""

IDS_TOLD = 20
"""Of VMs that boot, of each pool."""

OFFERS_TOLD = 50
"""Of each pool, of those that are put away."""

ANY_NUMBER = 10**9
"""As many VMs at once as nobody asks for."""


@dataclass(frozen=True)
class Told:
    """One verdict."""

    token: str
    text: str
    jobs: int = 0
    """How many jobs of the group it is about."""
    since: float | None = None
    """None: not known."""
    until: float | None = None
    """When it may be another at the earliest, by time alone; None: not by time alone."""


@dataclass(frozen=True)
class PoolTold:
    """Whether VMs of a pool could run the jobs of a group."""

    pool: str
    """The name of the pool, and behind it the type where it is one of several."""
    answer: str
    """yes, no or unknown."""
    reason: str = ""


@dataclass(frozen=True)
class GroupTold:
    """A group of waiting jobs."""

    key: str
    jobs: int
    cpus: int
    memory_mb: int | None
    disk_mb: int | None
    gpus: int | None
    vms_per_job: int
    takes_whole_vms: bool
    running: int | None
    waits_since: float | None
    """Since when the oldest of them waits."""
    told: tuple[Told, ...]
    pools: tuple[PoolTold, ...]


@dataclass(frozen=True)
class VmTold:
    """A VM."""

    id: str
    pool: str
    stage: str
    worker: str
    address: str
    launched_at: float
    joined_at: float | None
    idle_since: float | None
    told: Told


@dataclass(frozen=True)
class OfferAway:
    """An offer that is not asked for a while, since the cloud has refused it."""

    offer: str
    """Market, type, and subnet or zone, in words."""
    until: float
    reason: str
    """The token of the cause."""
    text: str
    """What the cloud said."""
    at_least: int = 1
    """So many VMs at once were refused; fewer may be asked for."""


@dataclass(frozen=True)
class PoolNow:
    """What the next launch of a pool depends on."""

    name: str
    vms: int
    """How many VMs count against its quota."""
    max_vms: int | None
    booting: tuple[str, ...]
    """VMs that may yet join, some of them."""
    vms_booting: int
    vms_asked_for: int
    """VMs of launches that the cloud has not shown yet."""
    boot_seconds: float
    """How long a VM takes to join, by the last ones."""
    paused_until: float | None
    pause_reason: str
    away: tuple[OfferAway, ...] = ()
    """Offers that are put away, those first that may be asked first again; some of them."""
    offers_away: int = 0
    """How many these are."""
    offers: int = 0
    """Of how many."""


@dataclass(frozen=True)
class Account:
    """All that a plan says."""

    at: float
    """When the plan was made."""
    groups: tuple[GroupTold, ...] = ()
    groups_left_out: int = 0
    vms: tuple[VmTold, ...] = ()
    pools: tuple[PoolNow, ...] = ()
    max_vms: int | None = None
    """Of all pools together."""
    waiting_since: float | None = None
    """Since when as many jobs lack room as waiting_jobs_threshold says."""
    holds: tuple[Told, ...] = ()
    """What is deliberately not done."""


def account(made: Plan, policy: Policy, at: float) -> Account:
    """Return what `made`, a plan of the time `at`, says of each group and each VM."""
    policy = in_force(policy, made.memory, at)
    held = (decision.reason for decision in made.decisions if decision.kind is Kind.HOLD)
    groups: dict[str, list[Verdict]] = {}
    of_vms: dict[str, Verdict] = {}
    for verdict in made.verdicts:
        if verdict.group is None:
            of_vms[verdict.instance_id] = verdict
        else:
            groups.setdefault(verdict.group.key, []).append(verdict)
    largest = sorted(groups.values(), key=lambda verdicts: -_demand(verdicts).jobs)
    return Account(
        at,
        tuple(_group(verdicts, made.memory, policy, at) for verdicts in largest[:GROUPS_TOLD]),
        max(0, len(largest) - GROUPS_TOLD),
        tuple(vm_told(record, of_vms.get(record.id), policy, at) for record in made.memory.vms.values()),
        tuple(pool_now(pool, made.memory, policy, at) for pool in policy.pools),
        policy.max_vms,
        made.memory.waiting_since,
        tuple(Told(reason.token.value, str(reason)) for reason in held),
    )


def _demand(verdicts: list[Verdict]) -> Demand:
    group = verdicts[0].group
    if group is None:
        raise ValueError("a verdict on a VM is none on jobs")
    return group


def _group(verdicts: list[Verdict], memory: Memory, policy: Policy, at: float) -> GroupTold:
    group = _demand(verdicts)
    since = None if group.oldest_wait_seconds is None else at - group.oldest_wait_seconds
    told: dict[tuple[str, str], Told] = {}
    for verdict in verdicts:
        text, token = str(verdict.reason), verdict.reason.token
        before = told.get((token.value, text))
        jobs = verdict.jobs + (before.jobs if before else 0)
        until = _until_of_jobs(verdict, memory, policy, at)
        told[token.value, text] = Told(token.value, text, jobs, since, until)
    return group_told(group, memory, policy, at, tuple(told.values()))


def group_told(group: Demand, memory: Memory, policy: Policy, at: float, told: tuple[Told, ...] = ()) -> GroupTold:
    """Return a group of jobs and which pools could run it, with what was `told` of it."""
    shape = group.shape
    return GroupTold(
        group.key,
        group.jobs,
        shape.cpus,
        shape.memory_mb,
        shape.disk_mb,
        shape.gpus,
        group.vms_per_job,
        group.takes_whole_vms,
        group.running,
        None if group.oldest_wait_seconds is None else at - group.oldest_wait_seconds,
        told,
        _pools_of(group, memory, policy, at),
    )


def _pools_of(group: Demand, memory: Memory, policy: Policy, at: float) -> tuple[PoolTold, ...]:
    found = chances(group, memory, policy.variants, at)
    answers = (
        (pool.key, of_a_pool(group, pool.key, found[pool.key], capacity_of(memory, pool))) for pool in policy.variants
    )
    return tuple(PoolTold(name, answer.value, reason) for name, (answer, reason) in answers)


def _until_of_jobs(verdict: Verdict, memory: Memory, policy: Policy, at: float) -> float | None:
    token, numbers = verdict.reason.token, verdict.reason.numbers
    if token is Token.WAITING_TIME:
        return at + max(0.0, numbers["limit"] - numbers["seconds"])
    if token is Token.LAUNCHES_PAUSED:
        return at + numbers["pause_seconds"]
    if token is Token.IN_VAIN:
        return numbers["try_at"]
    if token in (Token.CAP_DAY, Token.CAP_MONTH):
        return numbers["until"]
    if token is Token.FOREIGN_ROOM and verdict.group is not None and verdict.group.oldest_wait_seconds is not None:
        return at - verdict.group.oldest_wait_seconds + policy.estimated_vm_deploy_time_s
    if token is Token.CLOUD_LIMIT:
        return min((one.most_until for one in memory.breakers.values() if one.most is not None), default=None)
    return None


def vm_told(record: VmRecord, verdict: Verdict | None, policy: Policy, at: float) -> VmTold:
    """Return what is said of a VM; without a verdict it has come since the plan was made."""
    reason = just_launched(record) if verdict is None else verdict.reason
    idle_seconds = reason.numbers.get("idle_seconds", reason.numbers.get("seconds"))
    idle_since = None if idle_seconds is None else at - idle_seconds
    since, until = _span(reason.token, record, idle_since, policy)
    return VmTold(
        record.id,
        record.pool,
        record.stage.value,
        record.worker_name,
        record.address or "",
        record.launched_at,
        record.joined_at,
        idle_since,
        Told(reason.token.value, str(reason), 0, since, until),
    )


def _span(
    token: Token, record: VmRecord, idle_since: float | None, policy: Policy
) -> tuple[float | None, float | None]:
    """Return from when on that is said of a VM, and until when at the earliest."""
    limit = _LIMITS_OF_IDLENESS.get(token)
    if limit is not None and idle_since is not None:
        return idle_since, idle_since + limit(record.pool, policy)
    if token is Token.AT_WORK:
        return record.work_from, None  # as most of thousands
    deploy_seconds, lost_seconds = policy.estimated_vm_deploy_time_s, policy.lost_worker_time_s
    gone = patience.MISSING_GRACE_SECONDS
    spans: Mapping[Token, tuple[float | None, float | None]] = {
        Token.INTERRUPTED: (record.interrupted_at, None),
        Token.STILL_BOOTING: (record.launched_at, record.awaited_since + deploy_seconds),
        Token.NEVER_JOINED: (record.awaited_since + deploy_seconds, None),
        Token.WORKER_OUT_OF_SIGHT: (record.lost_since, _after(record.lost_since, lost_seconds)),
        Token.WORKER_LOST: (_after(record.lost_since, lost_seconds), None),
        Token.NOT_LISTED: (record.missing_since, _after(record.missing_since, gone) if _may_go(record) else None),
        Token.GOING: (record.terminated_at, None),
        Token.UNFINISHED: (record.closing_at, None),
        Token.ANSWER_TO_COME: (record.termination_asked_at, None),
        Token.RETRY_LATER: (record.closing_at, record.terminate_retry_at),
    }
    return spans.get(token, (idle_since, None))


def _may_go(record: VmRecord) -> bool:
    return record.doomed or record.joined_at is None or record.lost_since is not None


def _after(at: float | None, seconds: float) -> float | None:
    return None if at is None else at + seconds


def _idle_limit(pool: str, policy: Policy) -> float:
    return policy.idle_seconds_of(pool)


def _closed_limit(pool: str, policy: Policy) -> float:
    return policy.idle_seconds_of(pool) + policy.lost_worker_time_s


_LIMITS_OF_IDLENESS: Mapping[Token, Callable[[str, Policy], float]] = {
    Token.IDLE_YET_SHORT: _idle_limit,
    Token.KEPT_FOR_JOBS: held_seconds,
    Token.CLOSED_BY_SOMEBODY: _closed_limit,
}
"""How long a worker may be idle before what is said of its VM is another."""


def pool_now(pool: Pool, memory: Memory, policy: Policy, at: float) -> PoolNow:
    """Return what the next launch of a pool depends on, as of the time `at`."""
    own = [record for record in memory.vms.values() if record.pool == pool.name]
    booting = [record.id for record in own if record.stage is Stage.BOOTING]
    intents = [intent for intent in memory.intents if intent.pool == pool.name]
    asked_for = sum(memory.unseen(intent) for intent in intents if not intent.needs_people)
    alike = sum(len(intent.lookalikes) for intent in intents)
    breaker = memory.breakers.get(pool.name, Breaker())
    is_paused = at < breaker.paused_until
    put_away = _put_away(pool, memory, at)
    return PoolNow(
        pool.name,
        sum(record.counts for record in own) + asked_for + alike,
        pool.max_vms,
        tuple(booting[:IDS_TOLD]),
        len(booting),
        asked_for,
        boot_seconds(pool, memory, policy),
        breaker.paused_until if is_paused else None,
        breaker.reason if is_paused else "",
        put_away[:OFFERS_TOLD],
        len(put_away),
        len(set(pool.offers)),
    )


def _put_away(pool: Pool, memory: Memory, at: float) -> tuple[OfferAway, ...]:
    """Return the offers of a pool that are not asked, by when they may be asked again. Where there is no other, nothing
    is put away: launches of the pool pause instead."""
    if not pool.has_choice or not memory.offers_away:
        return ()
    found = []
    for offer in dict.fromkeys(pool.offers):
        why = away(offer, memory, at) or away(offer, memory, at, ANY_NUMBER)
        if why is not None:
            found.append(OfferAway(described(offer), why.until, why.reason, why.detail, why.at_least))
    return tuple(sorted(found, key=lambda one: one.until))
