"""What a plan and the tally come to, as metrics: by pool, offer, stage and token."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from elastiq.decisions import Plan, Token
from elastiq.memory import Stage, VmRecord
from elastiq.model import ON_DEMAND, Offer, Policy
from elastiq.planning.offers import away
from elastiq.planning.why import pool_now
from elastiq.report.exposition import Family, Histogram, histograms
from elastiq.report.tally import BOOT_LIMITS_SECONDS, OTHER, Rate, Tally, known_pool, work_of

WORKS = ("booting", "busy", "idle", "other")

STAGES = (
    "busy",
    "idle",
    *(stage.value.replace(" ", "_") for stage in Stage if stage is not Stage.WORKING),
)
"""A VM that works is busy or idle."""

GOING = (
    Token.IDLE,
    Token.IN_THE_WAY,
    Token.UNFINISHED,
    Token.VM_IN_ERROR,
    Token.NEVER_JOINED,
    Token.WORKER_LOST,
    Token.CLOSED_AND_IDLE,
    Token.CLOSED_AT_BIRTH,
    Token.LAUNCHED_IN_VAIN,
    Token.INTERRUPTED_IDLE,
)
"""Why VMs go: counted from 0 on, because Prometheus takes a counter that turns up as 1 for one that has not risen."""

REFUSALS = tuple(token for token in Token if token.value.startswith("cloud-") and token is not Token.CLOUD_LIMIT)
"""Why launches are refused, counted from 0 on as well."""

MOST_OFFERS = 300
"""Offers of which VMs are counted; the VMs of further ones are of OTHER. The cloud may name types as it likes."""


@dataclass(frozen=True)
class Look:
    """What the metrics are of."""

    made: Plan
    policy: Policy
    tally: Tally
    at: float


def families(look: Look) -> tuple[Family, ...]:
    """Return all metrics beyond those of the report."""
    return (*_of_pools(look), *_of_offers(look), *_of_reasons(look), *_counters(look.tally, look.policy), *_times(look))


def _of_pools(look: Look) -> Iterable[Family]:
    made, policy = look.made, look.policy
    names = [pool.name for pool in policy.pools]
    stages = Counter((known_pool(look.policy, record.pool), _stage(record)) for record in made.memory.vms.values())
    pools = [*names, *([OTHER] if any(pool == OTHER for pool, _ in stages) and OTHER not in names else [])]
    now = {pool.name: pool_now(pool, made.memory, policy, look.at) for pool in policy.pools}
    yield Family(
        "elastiq_pool_vms",
        "gauge",
        "VMs of each pool by their stage.",
        [({"pool": pool, "stage": stage}, stages[pool, stage]) for pool in pools for stage in STAGES],
    )
    yield Family(
        "elastiq_pool_counted_vms",
        "gauge",
        "VMs of each pool that count against its max_vms, also such that were only asked for.",
        [({"pool": name}, now[name].vms) for name in names],
    )
    yield Family(
        "elastiq_pool_min_vms",
        "gauge",
        "There are always at least this many VMs of the pool.",
        [({"pool": pool.name}, pool.min_vms) for pool in policy.pools],
    )
    yield Family(
        "elastiq_pool_max_vms",
        "gauge",
        "There are never more VMs of the pool than this; +Inf is unlimited.",
        [({"pool": pool.name}, math.inf if pool.max_vms is None else pool.max_vms) for pool in policy.pools],
    )
    yield Family(
        "elastiq_pool_launches_paused",
        "gauge",
        "1 while launches of the pool pause after failed boots or refusals.",
        [({"pool": name}, now[name].paused_until is not None) for name in names],
    )
    yield Family(
        "elastiq_pool_usual_boot_seconds",
        "gauge",
        "What elastiq reckons that a VM of the pool takes from launch to joining: three of four took no longer.",
        [({"pool": name}, now[name].boot_seconds) for name in names],
    )


def _stage(record: VmRecord) -> str:
    return work_of(record) if record.stage is Stage.WORKING else record.stage.value.replace(" ", "_")


def _of_offers(look: Look) -> Iterable[Family]:
    found: Counter[tuple[str, Offer]] = Counter()
    for record in look.made.memory.vms.values():
        offer = Offer(record.market or ON_DEMAND, record.type, record.zone)
        found[known_pool(look.policy, record.pool), offer] += record.stage is not Stage.GOING
    kept = dict(found.most_common(MOST_OFFERS))
    rest = sum(found.values()) - sum(kept.values())
    samples = [({"pool": pool, **labels_of(offer)}, float(vms)) for (pool, offer), vms in kept.items() if vms]
    if rest:
        samples.append(({"pool": OTHER, **labels_of(Offer(OTHER, OTHER, OTHER))}, rest))
    yield Family(
        "elastiq_offer_vms",
        "gauge",
        "VMs by pool, market, type and subnet or zone, as they were asked for or as the cloud says; not those going.",
        samples,
    )
    gone: list[tuple[Mapping[str, str], float]] = []
    for pool in look.policy.pools:
        for offer in dict.fromkeys(pool.offers):
            why = away(offer, look.made.memory, look.at)
            if why is not None:
                gone.append(({"pool": pool.name, **labels_of(offer), "reason": why.reason}, 1))
    yield Family(
        "elastiq_offer_away",
        "gauge",
        "1 for each offer that is not asked for a while after a refusal, by the token of its cause.",
        gone,
    )


def labels_of(offer: Offer) -> dict[str, str]:
    """Return the labels that tell an offer from others."""
    return {"market": offer.market, "type": offer.type, "zone": offer.zone}


def _of_reasons(look: Look) -> Iterable[Family]:
    jobs: Counter[Token] = Counter()
    vms: Counter[Token] = Counter()
    for verdict in look.made.verdicts:
        if verdict.group is None:
            vms[verdict.reason.token] += 1
        else:
            jobs[verdict.reason.token] += verdict.jobs
    for name, meaning, found in (
        ("elastiq_jobs_by_reason", "Waiting jobs by the token of what becomes of them, see docs/reasons.md.", jobs),
        ("elastiq_vms_by_reason", "VMs by the token of why they stay or go, see docs/reasons.md.", vms),
    ):
        yield Family(name, "gauge", meaning, [({"reason": token.value}, count) for token, count in found.items()])


def _counters(tally: Tally, policy: Policy) -> Iterable[Family]:
    names = [pool.name for pool in policy.pools]
    offers = [
        (pool.name, offer)
        for pool in policy.pools
        for offer in dict.fromkeys(pool.offers or (_usual_offer(policy, pool.name),))
    ]
    launched: Counter[tuple[str, str, str, str]] = Counter()
    counts = [(pool, offer or _usual_offer(policy, pool), count) for (pool, offer), count in tally.launched.items()]
    for pool, offer, count in (*((pool, offer, 0) for pool, offer in offers), *counts):
        launched[known_pool(policy, pool), offer.market, offer.type, offer.zone] += count
    yield Family(
        "elastiq_offer_launched_total",
        "counter",
        "VMs that the cloud has launched of each offer since the daemon started.",
        [
            ({"pool": pool, "market": market, "type": type_, "zone": zone}, count)
            for (pool, market, type_, zone), count in launched.items()
        ],
    )
    for name, meaning, tokens, found in (
        (
            "elastiq_launches_refused_total",
            "Requests for VMs that failed, or whose answer was lost, by the token of the cause.",
            REFUSALS,
            tally.refused,
        ),
        ("elastiq_pool_terminated_total", "VMs that elastiq terminated, by the token of why.", GOING, tally.terminated),
    ):
        samples = [
            ({"pool": pool, "reason": token.value}, count)
            for (pool, token), count in {
                **dict.fromkeys(((pool, token) for pool in names for token in tokens), 0),
                **_by_known_pool(found, policy),
            }.items()
        ]
        yield Family(name, "counter", meaning, samples)
    yield Family(
        "elastiq_failed_boots_total",
        "counter",
        "VMs that were terminated because they never became workers.",
        [({"pool": name}, tally.failed_boots[name]) for name in names],
    )
    yield from _money(tally, offers)


def _usual_offer(policy: Policy, name: str) -> Offer:
    """Return what VMs of a pool are that has no choice."""
    pool = policy.pool(name)
    if pool is None:
        return Offer()
    return pool.offers[0] if pool.offers else Offer(type=pool.instance_type)


def _by_known_pool(found: Mapping[tuple[str, Token], int], policy: Policy) -> Counter[tuple[str, Token]]:
    counts: Counter[tuple[str, Token]] = Counter()
    for (pool, token), count in found.items():
        counts[known_pool(policy, pool), token] += count
    return counts


def _money(tally: Tally, offers: Iterable[tuple[str, Offer]]) -> Iterable[Family]:
    markets = dict.fromkeys((pool, offer.market) for pool, offer in offers)
    rates = dict.fromkeys((Rate(pool, market, work) for pool, market in markets for work in WORKS), 0.0)
    yield Family(
        "elastiq_vm_seconds_total",
        "counter",
        "Seconds that VMs have been there since the daemon started, as far as it saw them, from their launch until the "
        "cloud accepted their termination, by what they did.",
        [
            ({"pool": rate.pool, "market": rate.market, "work": rate.work}, seconds)
            for rate, seconds in {**rates, **tally.vm_seconds}.items()
        ],
    )
    for name, meaning, found in (
        (
            "elastiq_cost_total",
            "What these seconds cost by the prices in the configuration file, in its currency; VMs without a price "
            "there cost nothing here, see elastiq_unpriced_vm_seconds_total.",
            tally.cost,
        ),
        (
            "elastiq_unpriced_vm_seconds_total",
            "Those of elastiq_vm_seconds_total for which no price is known.",
            tally.unpriced_seconds,
        ),
    ):
        samples = [
            ({"pool": pool, "market": market}, value)
            for (pool, market), value in {**dict.fromkeys(markets, 0.0), **found}.items()
        ]
        yield Family(name, "counter", meaning, samples)


def _times(look: Look) -> Iterable[Family]:
    none = Histogram(BOOT_LIMITS_SECONDS)
    pools = {**dict.fromkeys((pool.name for pool in look.policy.pools), none), **look.tally.boots}
    yield histograms(
        "elastiq_boot_seconds",
        "From the launch of a VM, as the cloud said when, until its worker was first seen in the batch system.",
        (({"pool": pool}, found) for pool, found in pools.items()),
    )
    yield histograms(
        "elastiq_job_wait_seconds",
        "How long jobs were seen to wait: from the look at the queue that showed one more of a kind to the one that "
        "showed one fewer, the oldest taken for first. They have started somewhere, or were removed or held. Left out: "
        "jobs that waited when the daemon started, and such that came and went between two looks.",
        [({}, look.tally.waits)],
    )
