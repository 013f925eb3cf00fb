"""Which offer is asked next: a table of what was refused, and of what may be asked then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from elastiq.decisions import Decision, End, Kind, Outcome, Reason, Step, Token
from elastiq.memory import Away, Memory
from elastiq.model import ON_DEMAND, SPOT, Offer, Policy, Pool, Scope
from elastiq.planning import patience
from elastiq.planning.offers import (
    all_away,
    away,
    dearness,
    given,
    is_fallback,
    next_request,
    of_request,
    price_of,
    put_away,
    variants,
    walk_of,
    what_is_left,
)
from tests.unit.planning.table import NOW, vm

TYPES, ZONES = ("m5.large", "m5.xlarge", "c5.large"), ("subnet-a", "subnet-b")
OFFERS = tuple(Offer(market, type_, zone) for market in (SPOT, ON_DEMAND) for type_ in TYPES for zone in ZONES)
POOL = Pool("cpu", instance_type="m5.large", offers=OFFERS)
POLICY = Policy((POOL,))
FIRST, WHY = OFFERS[0], Reason(Token.NO_ROOM, "8 jobs have found no room", "cpu")


def launch(count: int = 4, at_least: int = 1, offers: Sequence[Offer] = OFFERS) -> Decision:
    walk = tuple(Step(offer, count) for offer in offers)
    return Decision(Kind.LAUNCH, WHY, "cpu", count, at_least=at_least, walk=walk)


def refused(request: Decision, scope: Scope = Scope.OFFER) -> Outcome:
    return Outcome(request, End.FAILED, "no room", token="t", cause=Token.CLOUD_CAPACITY, scope=scope)


def after(offer: Offer, scope: Scope = Scope.OFFER, memory: Memory | None = None, now: float = NOW) -> Memory:
    request = launch(offers=(offer,))
    return put_away(memory or Memory(), request, refused(request, scope), now)


def names(offers: Sequence[Offer]) -> set[str]:
    return {f"{one.market} {one.type} {one.zone}" for one in offers}


@pytest.mark.parametrize(
    ("scope", "gone"),
    [
        (Scope.OFFER, [FIRST]),
        (Scope.FAMILY, [one for one in OFFERS if one.is_spot and one.family == "m5"]),
        (Scope.SPOT, [one for one in OFFERS if one.is_spot]),
        (Scope.ZONE, [one for one in OFFERS if one.zone == "subnet-a"]),
    ],
)
def test_what_a_refusal_puts_away(scope: Scope, gone: Sequence[Offer]) -> None:
    memory = after(FIRST, scope)
    assert names([one for one in OFFERS if away(one, memory, NOW)]) == names(gone)
    assert names([one for one in OFFERS if away(one, memory, NOW + 179.9)]) == names(gone)
    assert not [one for one in OFFERS if away(one, memory, NOW + 180.0)]


@pytest.mark.parametrize("scope", [Scope.SPOT, Scope.ZONE, Scope.FAMILY])
def test_what_the_offer_does_not_say_is_not_put_away(scope: Scope) -> None:
    """A subnet that nobody has chosen is no subnet of others."""
    plain = Offer()
    memory = after(plain, scope)
    assert away(plain, memory, NOW)
    assert not any(away(one, memory, NOW) for one in OFFERS)


def test_the_time_doubles_up_to_half_an_hour_and_begins_anew_after_a_success() -> None:
    memory, now, minutes = Memory(), NOW, []
    for _ in range(7):
        memory = after(FIRST, memory=memory, now=now)
        found = away(FIRST, memory, now)
        assert found is not None
        minutes.append((found.until - now) / 60)
        now = found.until
    assert minutes == [3, 6, 12, 24, 30, 30, 30]
    memory = given(memory, FIRST)
    assert not memory.offers_away
    found = away(FIRST, after(FIRST, memory=memory, now=now), now)
    assert found is not None
    assert found.until == now + 180


def test_a_refusal_long_ago_does_not_lengthen_the_next_one() -> None:
    memory = after(FIRST)
    later = NOW + 180 + patience.AWAY_REMEMBERED_SECONDS + 1
    assert after(FIRST, memory=memory, now=later).offers_away["spot m5.large subnet-a"].times == 1
    assert list(after(OFFERS[1], memory=memory, now=later).offers_away) == ["spot m5.large subnet-b"]


def test_a_success_ends_nothing_that_it_does_not_show() -> None:
    memory = after(OFFERS[1], memory=after(FIRST))
    assert list(given(memory, FIRST).offers_away) == ["spot m5.large subnet-b"]
    assert given(memory, OFFERS[5]) is memory


def test_it_is_remembered_why() -> None:
    kept = after(FIRST).offers_away["spot m5.large subnet-a"]
    assert kept == Away(NOW + 180, 1, 1, "cloud-capacity", "no room")


def test_many_vms_at_once_that_were_refused_tell_nothing_of_fewer() -> None:
    request = launch(8, at_least=8, offers=(FIRST,))
    memory = put_away(Memory(), request, refused(request), NOW)
    assert away(FIRST, memory, NOW, at_least=8)
    assert away(FIRST, memory, NOW, at_least=7) is None
    assert away(FIRST, memory, NOW) is None


def test_a_pool_is_away_if_all_of_its_offers_are_and_until_the_first_of_them_is_back() -> None:
    memory = Memory()
    for seconds, offer in enumerate(OFFERS):
        assert all_away(POOL, memory, NOW) is None
        memory = after(offer, memory=memory, now=NOW + seconds)
    found = all_away(POOL, memory, NOW + 20)
    assert found is not None
    assert found.until == NOW + 180


def test_the_only_offer_of_a_pool_is_never_put_away() -> None:
    only = Pool(instance_type="m5.large", offers=(FIRST,))
    assert all_away(only, after(FIRST), NOW) is None
    assert all_away(POOL.of_type("m5.large"), after(FIRST, Scope.SPOT), NOW) is None
    assert all_away(only.of_type("m5.large"), after(FIRST), NOW)


@pytest.mark.parametrize(
    ("gone", "order"),
    [
        ([], ["m5.large", "m5.xlarge", "c5.large"]),
        ([(OFFERS[0], Scope.OFFER)], ["m5.large", "m5.xlarge", "c5.large"]),
        ([(OFFERS[0], Scope.OFFER), (OFFERS[1], Scope.OFFER)], ["m5.xlarge", "c5.large", "m5.large"]),
        ([(OFFERS[0], Scope.FAMILY)], ["c5.large", "m5.large", "m5.xlarge"]),
        ([(OFFERS[0], Scope.SPOT)], ["m5.large", "m5.xlarge", "c5.large"]),
        ([(OFFERS[0], Scope.SPOT), (OFFERS[6], Scope.FAMILY)], ["c5.large", "m5.large", "m5.xlarge"]),
    ],
)
def test_the_type_that_is_asked_for_first(gone: Sequence[tuple[Offer, Scope]], order: Sequence[str]) -> None:
    memory = Memory()
    for offer, scope in gone:
        memory = after(offer, scope, memory)
    assert [one.instance_type for one in variants(POLICY, memory, NOW)] == order


def test_a_pool_of_one_type_stays_as_it_is() -> None:
    one = Pool("one", instance_type="m5.large", offers=OFFERS[:2])
    assert variants(Policy((one, Pool("two"))), after(FIRST), NOW) == (one, Pool("two"))


def test_a_request_goes_to_the_first_offer_that_is_not_put_away() -> None:
    assert next_request(launch(), Memory(), NOW) == launch()
    found = next_request(launch(), after(FIRST, Scope.SPOT), NOW)
    assert found is not None
    assert found.walk[0].offer == OFFERS[6]
    assert next_request(launch(offers=OFFERS[:6]), after(FIRST, Scope.SPOT), NOW) is None
    plain = replace(launch(), walk=())
    assert next_request(plain, after(FIRST), NOW) == plain


UNCLEAR, PENDING = ((End.UNCLEAR, Token.CLOUD_UNREACHABLE), (End.PENDING, Token.CLOUD_PENDING))


@pytest.mark.parametrize(
    ("end", "cause", "scope", "made", "left"),
    [
        (End.FAILED, Token.CLOUD_CAPACITY, Scope.OFFER, 0, 4),
        (End.FAILED, Token.CLOUD_CAPACITY, Scope.ACCOUNT, 0, None),
        (End.FAILED, Token.CLOUD_CONFIGURATION, Scope.OFFER, 0, None),
        (End.FAILED, Token.CLOUD_CREDENTIALS, Scope.OFFER, 0, None),
        (End.FAILED, Token.CLOUD_THROTTLED, Scope.OFFER, 0, None),
        (End.FAILED, Token.CLOUD_UNSENT, Scope.OFFER, 0, None),
        (End.REFUSED, Token.DRY_RUN, Scope.OFFER, 0, None),
        (*UNCLEAR, Scope.OFFER, 0, None),
        (*PENDING, Scope.OFFER, 0, None),
        (End.DONE, Token.DONE, Scope.OFFER, 4, None),
        (End.DONE, Token.DONE, Scope.OFFER, 3, 1),
        (End.DONE, Token.DONE, Scope.OFFER, 1, 3),
    ],
)
def test_what_is_still_asked_for(end: End, cause: Token, scope: Scope, made: int, left: int | None) -> None:
    ids = tuple(f"i-{number}" for number in range(made))
    outcome = Outcome(launch(), end, "", ids, "t", cause, scope)
    found = what_is_left(launch(), outcome)
    assert (found and found.count) == left
    assert found is None or found.walk[0].offer == OFFERS[1]


def test_a_walk_ends_with_the_last_offer() -> None:
    only = launch(offers=(FIRST,))
    assert what_is_left(only, refused(only)) is None


def test_vms_of_another_size_are_as_many_as_hold_what_is_left() -> None:
    """8 small ones are wanted, or 2 large: after 4 small ones, one large."""
    walk = (Step(FIRST, 8), Step(OFFERS[2], 2), Step(OFFERS[4], 16))
    request = Decision(Kind.LAUNCH, WHY, "cpu", 8, walk=walk)
    found = what_is_left(request, Outcome(request, End.DONE, instance_ids=("a", "b", "c", "d"), token="t"))
    assert found is not None
    assert [step.count for step in found.walk] == [1, 4]
    assert found.count == 1


def test_a_job_of_several_vms_has_all_of_them_from_one_offer() -> None:
    request = launch(6, at_least=3)
    found = what_is_left(request, refused(request))
    assert found is not None
    assert (found.count, found.at_least) == (6, 3)
    assert what_is_left(request, Outcome(request, End.DONE, instance_ids=("a", "b", "c", "d"), token="t")) is None


def test_other_types_come_in_between_in_the_order_of_the_pool() -> None:
    small, large, other = POOL.variants
    walk = walk_of(small, [(large, 2)], POOL, 4)
    assert [(step.offer.type, step.count) for step in walk] == [
        *[("m5.large", 4)] * 2,
        *[("m5.xlarge", 2)] * 2,
        *[("m5.large", 4)] * 2,
        *[("m5.xlarge", 2)] * 2,
    ]
    assert [step.offer.market for step in walk] == [SPOT] * 4 + [ON_DEMAND] * 4
    assert walk_of(other, [(small, 9)], POOL, 4)[0] == Step(OFFERS[4], 4), "what comes before does not hold the jobs"
    assert {step.count for step in walk_of(other, [(small, 9)], POOL, 4)} == {4}, "never more than were planned"


def test_people_are_told_which_offer_is_asked() -> None:
    assert str(of_request(launch()).reason) == "8 jobs have found no room; spot m5.large in subnet-a"
    assert str(of_request(replace(launch(), walk=())).reason) == "8 jobs have found no room"


def test_what_a_vm_costs_is_known_by_its_market_and_type() -> None:
    offers = (
        Offer(SPOT, "m5.large", "a"),
        Offer(ON_DEMAND, "m5.large", "a", 0.1),
        Offer(ON_DEMAND, "c5.large", "a", 0.2),
    )
    pool = Pool(instance_type="m5.large", offers=offers)
    assert price_of(vm(1, type="c5.large", market=ON_DEMAND), pool) == 0.2
    assert price_of(vm(1, type="c5.large"), pool) == 0.2
    assert price_of(vm(1, type="m5.large", market=SPOT), pool) is None
    assert price_of(vm(1, type="r5.large", market=ON_DEMAND), pool) is None
    assert price_of(vm(1, type="m5.large"), None) is None
    assert dearness(vm(1, type="m5.large", market=SPOT), pool) == dearness(vm(1), None) == 0.0
    assert dearness(vm(1, type="c5.large", market=ON_DEMAND), pool) == 0.2
    known = Pool(offers=(Offer(SPOT, "m5.large", "a", most_micros=100_000),))
    assert dearness(vm(1, type="m5.large", market=SPOT), known) == 0.1, "as much as on demand, for want of better"
    assert is_fallback(vm(1, market=ON_DEMAND), pool)
    assert not is_fallback(vm(1, market=SPOT), pool)
    assert not is_fallback(vm(1), pool)
    assert not is_fallback(vm(1, market=ON_DEMAND), Pool())
