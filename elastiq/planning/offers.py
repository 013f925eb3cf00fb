"""Which offer of a pool is asked next: market, type and zone, and which of them are put away after refusals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from elastiq.decisions import Decision, End, Outcome, Step, Token
from elastiq.memory import Away, Memory, VmRecord
from elastiq.model import ON_DEMAND, SPOT, Offer, Policy, Pool, Scope
from elastiq.planning import offer_words, patience

MICROS = 1_000_000


def away(offer: Offer, memory: Memory, now: float, at_least: int = 1) -> Away | None:
    """Return why `offer` is not to be asked for `at_least` VMs at once `now`, of several reasons the one that lasts
    longest; None: it may be."""
    if not memory.offers_away:
        return None
    found = (memory.offers_away.get(key) for key in _keys(offer))
    counting = [one for one in found if one is not None and now < one.until and one.at_least <= at_least]
    return max(counting, key=_until, default=None)


def all_away(pool: Pool, memory: Memory, now: float, at_least: int = 1) -> Away | None:
    """Return why nothing of `pool` is to be asked for, by the offer that may be asked first again; None: something is.
    A pool with one offer has no other to go to, so that one is never put away: see elastiq.planning.breaker."""
    if not (pool.has_choice or pool.is_variant) or not memory.offers_away:
        return None
    found = [away(offer, memory, now, at_least) for offer in pool.offers]
    reasons = [one for one in found if one is not None]
    return min(reasons, key=_until) if len(reasons) == len(found) else None


def variants(policy: Policy, memory: Memory, now: float) -> tuple[Pool, ...]:
    """Return the pools in the order in which VMs are launched of them, once for each type: in a pool those types first
    whose offers come first among those that may be asked."""
    if not memory.offers_away:
        return policy.variants
    return tuple(variant for pool in policy.pools for variant in _in_turn(pool, memory, now))


def _in_turn(pool: Pool, memory: Memory, now: float) -> Sequence[Pool]:
    open_ = dict.fromkeys(offer.type for offer in pool.offers if away(offer, memory, now) is None)
    turns = {type_: turn for turn, type_ in enumerate(open_)}
    return sorted(pool.variants, key=lambda variant: turns.get(variant.instance_type, len(turns)))


def put_away(memory: Memory, request: Decision, outcome: Outcome, now: float) -> Memory:
    """Return `memory` after the cloud had no room for a request: its offer, or what the refusal is about, is put away
    for longer each time, until there is room again."""
    key = _key(request.walk[0].offer, outcome.scope)
    before = memory.offers_away.get(key)
    times = 0 if before is None or now - before.until > patience.AWAY_REMEMBERED_SECONDS else before.times
    pause = patience.pause_seconds(patience.AWAY_PAUSES_SECONDS, times)
    others = {
        name: one
        for name, one in memory.offers_away.items()
        if now - one.until <= patience.AWAY_REMEMBERED_SECONDS and name != key
    }
    found = Away(now + pause, times + 1, request.at_least, outcome.cause.value, outcome.detail)
    return replace(memory, offers_away={**others, key: found})


def given(memory: Memory, offer: Offer) -> Memory:
    """Return `memory` after the cloud gave VMs of `offer`: what was put away of it is forgotten."""
    keys = set(_keys(offer))
    if keys.isdisjoint(memory.offers_away):
        return memory
    left = {key: one for key, one in memory.offers_away.items() if key not in keys}
    return replace(memory, offers_away=left)


def next_request(decision: Decision, memory: Memory, now: float) -> Decision | None:
    """Return what the cloud is asked first for a launch: that is the offer at the head of its walk; None: all are put
    away."""
    if not decision.walk:
        return decision
    walk = tuple(step for step in decision.walk if away(step.offer, memory, now, decision.at_least) is None)
    return replace(decision, walk=walk, count=walk[0].count) if walk else None


def what_is_left(request: Decision, outcome: Outcome) -> Decision | None:
    """Return what is still to be asked for after `request` came to `outcome`; None: nothing.

    Without an answer nothing is: VMs may exist, and more would be too many. Nor is there where another offer would be
    refused for the same reason. Never more VMs are asked for in all than the launch was for. A job of several VMs whose
    VMs are there waits for the next plan with the others.
    """
    made = len(outcome.instance_ids)
    is_refused = outcome.end is End.FAILED and outcome.cause is Token.CLOUD_CAPACITY
    if not (is_refused and outcome.scope is not Scope.ACCOUNT) and outcome.end is not End.DONE:
        return None
    most = request.count - made
    if most <= 0 or (made and request.at_least > 1):
        return None
    part = most / request.count
    counts = (min(most, max(request.at_least, math.ceil(step.count * part - 1e-9))) for step in request.walk[1:])
    walk = tuple(replace(step, count=count) for step, count in zip(request.walk[1:], counts))
    return replace(request, walk=walk, count=walk[0].count) if walk else None


def walk_of(own: Pool, others: Iterable[tuple[Pool, int]], whole: Pool, count: int) -> Sequence[Step]:
    """Return the offers for `count` VMs of `own`, one type of the pool `whole`, and those of `others`, other types that
    hold the same jobs with so many VMs. They come in the order of the pool; where it is known what they cost, those of
    one market by what all VMs cost, its own first."""
    counts = {offer: most for pool, most in others for offer in pool.offers}
    counts.update(dict.fromkeys(own.offers, count))
    steps = [(offer, counts[offer]) for offer in whole.offers if offer in counts]
    if all(offer.most_micros for offer, _ in steps):
        markets = list(dict.fromkeys(offer.market for offer in whole.offers))

        def turn(step: tuple[Offer, int]) -> tuple[int, bool, int]:
            offer, vms = step
            return markets.index(offer.market), offer.type != own.instance_type, expected_micros(offer) * vms

        steps.sort(key=turn)
    first = next((number for number, (offer, _) in enumerate(steps) if offer.type == own.instance_type), 0)
    return [Step(offer, min(count, vms)) for offer, vms in steps[first:]]


def of_request(request: Decision) -> Decision:
    """Return a request with the offer in its reason, for people."""
    if not request.walk:
        return request
    return replace(request, reason=offer_words.asked(request.reason, request.walk[0].offer))


def expected_micros(offer: Offer) -> int:
    """Return what `offer` is expected to cost an hour, in millionths of the currency, with what is lost by
    interruptions; where that of the spot market is not known, by what it costs at most. 0: not known."""
    price = offer.most_micros or 0 if offer.price is None else offer.price * MICROS
    return round(price * offer.weight)


def price_of(record: VmRecord, pool: Pool | None) -> float | None:
    """Return what a VM of `pool` costs an hour, as the configuration says now; None: it does not, as of the spot
    market. What it costs at most says `Purse.price_of`."""
    offer = _offer_of(record, pool)
    return None if offer is None else offer.price


def dearness(record: VmRecord, pool: Pool | None) -> float:
    """Return by what a VM is dearer than others: what it costs an hour, on the spot market what it would on demand; 0
    if that is not known."""
    offer = _offer_of(record, pool)
    if offer is None:
        return 0.0
    return (offer.most_micros or 0) / MICROS if offer.price is None else offer.price


def _offer_of(record: VmRecord, pool: Pool | None) -> Offer | None:
    """Return the offer that a VM is of; the first of its type and market, if nobody knows its zone."""
    market, offers = record.market or ON_DEMAND, () if pool is None else pool.offers
    alike = [one for one in offers if one.type in ("", record.type) and one.market == market]
    return next((one for one in alike if one.zone in ("", record.zone)), alike[0] if alike else None)


def is_fallback(record: VmRecord, pool: Pool | None) -> bool:
    """Return whether a VM is on demand where spot would be rather."""
    return pool is not None and bool(pool.offers) and pool.offers[0].is_spot and record.market == ON_DEMAND


def _until(one: Away) -> float:
    return one.until


def _keys(offer: Offer) -> tuple[str, ...]:
    """Return under what an offer may have been put away."""
    scopes = (
        Scope.OFFER,
        Scope.FAMILY,
        *((Scope.ZONE,) if offer.zone else ()),
        *((Scope.SPOT,) if offer.is_spot else ()),
    )
    return tuple(_key(offer, scope) for scope in scopes)


def key_of(market: str, type_: str, zone: str) -> str:
    """Return by what an offer is remembered."""
    return f"{market} {type_} {zone}".rstrip()


def _key(offer: Offer, scope: Scope) -> str:
    if scope is Scope.SPOT and offer.is_spot:
        return SPOT
    if scope is Scope.FAMILY and offer.type:
        return f"{offer.market} {offer.family}.*"
    if scope is Scope.ZONE and offer.zone:
        return offer.zone
    return key_of(offer.market, offer.type, offer.zone)
