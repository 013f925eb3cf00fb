"""Plans for pools of several types: each job gets VMs of a type that holds it, of the first one that may be had."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from elastiq.decisions import Decision, End, Kind, Outcome, Plan, Reason, Step, Token
from elastiq.memory import Breaker, Intent, Memory
from elastiq.model import ON_DEMAND, SPOT, Demand, Eligibility, Judgement, Offer, Pool, Scope, Shape
from elastiq.planning.offers import put_away
from elastiq.planning.plan import plan
from tests.unit.planning.table import BY_SHAPE, NOW, ended, jobs, joined, of, remember, see, vm, wide, worker

ZONES = ("subnet-a", "subnet-b")
SMALL, EQUAL, LARGE = (Offer(type=type_, zone="subnet-a", price=price) for type_, price in zip("abc", (0.1, 0.2, 0.4)))
CPU = Pool("cpu", instance_type="a", offers=(SMALL, EQUAL, LARGE))
POLICY = replace(BY_SHAPE, pools=(CPU,), max_vms=20)
HOLDS = {"cpu a": Shape(4, 4000), "cpu b": Shape(4, 4000), "cpu c": Shape(16, 64000)}
KNOWN = Memory(waiting_since=NOW - 100, capacities=HOLDS)


def without(memory: Memory, *offers: Offer) -> Memory:
    for offer in offers:
        request = Decision(Kind.LAUNCH, Reason(Token.NO_ROOM, ""), walk=(Step(offer, 1),))
        refused = Outcome(request, End.FAILED, "no room", cause=Token.CLOUD_CAPACITY, scope=Scope.OFFER)
        memory = put_away(memory, request, refused, NOW)
    return memory


def by_type(made: Plan) -> dict[str, int]:
    found = Counter[str]()
    for decision in of(made, Kind.LAUNCH):
        found[decision.walk[0].offer.type] += decision.count
    return dict(found)


@pytest.mark.parametrize(
    ("demand", "away", "launched"),
    [
        ([jobs(8)], (), {"a": 2}),
        ([jobs(1, 8)], (), {"c": 1}),
        ([jobs(8), jobs(2, 16)], (), {"a": 2, "c": 2}),
        ([jobs(1, 1, 32000), jobs(4)], (), {"a": 1, "c": 1}),
        ([wide(2, 3, 16)], (), {"c": 6}),
        ([jobs(8)], (SMALL,), {"b": 2}),
        ([jobs(8)], (SMALL, EQUAL), {"c": 1}),
        ([jobs(8), jobs(1, 16)], (SMALL, EQUAL), {"c": 2}),
        ([jobs(8), jobs(1, 16)], (LARGE,), {"a": 2}),
        ([jobs(8)], (SMALL, EQUAL, LARGE), {}),
        ([jobs(200)], (), {"a": 20}),
    ],
)
def test_jobs_get_vms_of_the_first_type_that_may_be_had_and_holds_them(
    demand: list[Demand], away: tuple[Offer, ...], launched: dict[str, int]
) -> None:
    made = plan(see([], demand=tuple(demand)), without(KNOWN, *away), POLICY)
    assert by_type(made) == launched
    told = sum(verdict.jobs for verdict in made.verdicts if verdict.group)
    assert told == sum(group.jobs for group in demand)
    assert all(decision.count == decision.walk[0].count for decision in of(made, Kind.LAUNCH))


def test_a_launch_may_go_on_to_types_that_hold_all_of_its_jobs_and_to_no_other() -> None:
    (first, second) = of(plan(see([], demand=(jobs(8), jobs(1, 16))), KNOWN, POLICY), Kind.LAUNCH)
    assert [(step.offer.type, step.count) for step in first.walk] == [("a", 2), ("b", 2), ("c", 1)]
    assert [(step.offer.type, step.count) for step in second.walk] == [("c", 1)]


def test_what_is_too_large_for_all_types_that_may_be_had_waits_for_the_one_that_holds_it() -> None:
    made = plan(see([], demand=(jobs(1, 16),)), without(KNOWN, LARGE), POLICY)
    (hold,) = of(made, Kind.HOLD)
    assert hold.reason.token is Token.LAUNCHES_PAUSED
    assert "but all offers of c of pool cpu were refused, and none is asked for 180 s more: no room" in str(hold.reason)
    assert made.wake_at == NOW + 180


def test_a_pool_without_an_offer_leaves_its_jobs_to_the_next_one() -> None:
    policy = replace(POLICY, pools=(replace(CPU, offers=(SMALL, EQUAL)), Pool("other")))
    made = plan(see([], demand=(jobs(8),)), without(KNOWN, SMALL, EQUAL), policy)
    assert [(one.pool, one.walk) for one in of(made, Kind.LAUNCH)] == [("other", ())]


def test_no_type_is_launched_for_what_the_quota_of_the_pool_does_not_leave() -> None:
    policy = replace(POLICY, pools=(replace(CPU, max_vms=2),))
    made = plan(see([], demand=(jobs(80),)), KNOWN, policy)
    assert by_type(made) == {"a": 2}
    full = [vm(1, pool="cpu", type="a"), vm(2, pool="cpu", type="a")]
    made = plan(see(full, demand=(jobs(80),)), remember(full, waiting_since=NOW - 100, capacities=HOLDS), policy)
    assert by_type(made) == {}
    assert str(made.summary).count("max_vms 2 of pool cpu") == 1


def test_the_minimum_is_launched_once_for_all_types() -> None:
    made = plan(see([]), KNOWN, replace(POLICY, pools=(replace(CPU, min_vms=3),)))
    assert by_type(made) == {"a": 3}
    (decision,) = of(made, Kind.LAUNCH)
    assert [step.count for step in decision.walk] == [3, 3, 3]


@pytest.mark.parametrize(("own", "whole"), [(3, 0), (0, 3), (2, 3)])
@pytest.mark.parametrize("most", [3, 20])
@pytest.mark.parametrize("is_known", [True, False])
def test_vms_for_jobs_come_before_those_that_only_fill_the_minimum(
    own: int, whole: int, most: int, is_known: bool
) -> None:
    """Found by the simulator: with as many as there may be, a larger type never came."""
    policy = replace(POLICY, pools=(replace(CPU, min_vms=own),), min_vms=whole, max_vms=most)
    memory = replace(KNOWN, capacities=HOLDS if is_known else {key: HOLDS[key] for key in ("cpu a", "cpu b")})
    made = plan(see([], demand=(jobs(1, 16),)), memory, policy)
    assert by_type(made) == {"c": 1, "a": 2}
    away = plan(see([], demand=(jobs(1, 16),)), without(memory, LARGE), policy)
    assert by_type(away) == {"a": 3}, "nothing else is to be had"


def test_vms_for_jobs_of_another_pool_come_before_the_minimum_of_all_but_not_before_that_of_a_pool() -> None:
    plain, large = Pool("plain"), Pool("large")
    holds = {"plain": Shape(4, 4000), "large": Shape(16, 64000)}
    memory = Memory(waiting_since=NOW - 100, capacities=holds)
    policy = replace(BY_SHAPE, pools=(plain, large), min_vms=1, max_vms=1)
    (decision,) = of(plan(see([], demand=(jobs(1, 16),)), memory, policy), Kind.LAUNCH)
    assert (decision.pool, decision.count) == ("large", 1)
    policy = replace(policy, pools=(replace(plain, min_vms=1), large))
    (decision,) = of(plan(see([], demand=(jobs(1, 16),)), memory, policy), Kind.LAUNCH)
    assert (decision.pool, decision.count) == ("plain", 1)


def test_the_minimum_is_one_request_with_what_it_is_to_teach() -> None:
    policy = replace(POLICY, min_vms=2)
    (decision,) = of(plan(see([], demand=(jobs(1, 16),)), replace(KNOWN, capacities={}), policy), Kind.LAUNCH)
    assert (decision.walk[0].offer.type, decision.count) == ("a", 2)


def test_vms_that_boot_are_room_for_what_their_type_holds() -> None:
    booting = [vm(1, pool="cpu", type="c"), vm(2, pool="cpu", type="a")]
    memory = remember(booting, waiting_since=NOW - 100, capacities=HOLDS)
    assert by_type(plan(see(booting, demand=(jobs(20),)), memory, POLICY)) == {}
    assert by_type(plan(see(booting, demand=(jobs(1, 16), jobs(8))), memory, POLICY)) == {"a": 1}
    intents = (Intent("t", "cpu", 1, NOW, "c", at_least=1),)
    memory = replace(KNOWN, intents=intents)
    assert by_type(plan(see([], demand=(jobs(1, 16), jobs(4))), memory, POLICY)) == {"a": 1}


def test_what_each_type_holds_is_learnt_of_its_own_vms() -> None:
    records = [joined(1, pool="cpu", type="a"), joined(2, pool="cpu", type="c"), joined(3, pool="cpu", type="old")]
    workers = (worker(1), worker(2, cpus=16), worker(3, cpus=64))
    made = plan(see(records, workers=workers), remember(records), POLICY)
    assert made.memory.capacities == {"cpu a": Shape(4, 4000), "cpu c": Shape(16, 4000)}


YES, NO, UNKNOWN = (Judgement(one, "" if one is Eligibility.YES else "HasCVMFS") for one in Eligibility)


@pytest.mark.parametrize(
    ("judged", "launched"),
    [
        ({"cpu a": NO, "cpu b": NO}, {"c": 1}),
        ({"cpu a": NO}, {"b": 2}),
        ({"cpu a": UNKNOWN, "cpu b": YES, "cpu c": UNKNOWN}, {"a": 2}),
        ({"cpu a": UNKNOWN, "cpu b": NO, "cpu c": UNKNOWN}, {"a": 1}),
        ({"cpu a": UNKNOWN, "cpu b": UNKNOWN, "cpu c": UNKNOWN}, {"a": 1}),
        ({"cpu a": NO, "cpu b": NO, "cpu c": NO}, {}),
    ],
)
def test_what_the_batch_system_says_of_one_type_is_not_taken_for_another(
    judged: dict[str, Judgement], launched: dict[str, int]
) -> None:
    """But where it is not known yet of one what is known of another, they are made of the same image."""
    group = Demand(Shape(1, 1000), 8, wants="x", judgements=judged)
    assert by_type(plan(see([], demand=(group,)), KNOWN, POLICY)) == launched


def test_the_idle_vms_that_cost_most_go_first() -> None:
    """As far as the minimum lets any go; of those that cost the same the one that has idled for longest."""
    records = [joined(number, pool="cpu", type=type_, market=ON_DEMAND) for number, type_ in enumerate("aabcc", 1)]
    workers = tuple(worker(number, idle_seconds=4000.0 + number) for number in range(1, 6))
    order = []
    for least in (4, 3, 2, 1, 0):
        made = plan(see(records, workers=workers), remember(records), replace(POLICY, min_vms=least))
        order += [id_ for id_ in ended(made) if id_ not in order]
    assert order == ["i-00000005", "i-00000004", "i-00000003", "i-00000002", "i-00000001"]


def test_vms_on_demand_go_before_spot_where_that_comes_first() -> None:
    offers = tuple(Offer(market, "a", zone) for market in (SPOT, ON_DEMAND) for zone in ZONES)
    policy = replace(POLICY, pools=(replace(CPU, offers=offers),), min_vms=1)
    records = [joined(1, pool="cpu", type="a", market=SPOT), joined(2, pool="cpu", type="a", market=ON_DEMAND)]
    workers = (worker(1, idle_seconds=9000.0), worker(2, idle_seconds=4000.0))
    assert ended(plan(see(records, workers=workers), remember(records), policy)) == ["i-00000002"]
    reverse = replace(policy, pools=(replace(CPU, offers=offers[::-1]),))
    assert ended(plan(see(records, workers=workers), remember(records), reverse)) == ["i-00000001"]


@pytest.mark.parametrize("holds", [HOLDS, {"cpu a": HOLDS["cpu a"], "cpu b": HOLDS["cpu b"]}, {}])
def test_an_idle_vm_of_a_small_type_gives_its_place_to_a_large_one_of_the_same_pool(holds: dict[str, Shape]) -> None:
    """Also where nobody knows what that holds: found by the simulator."""
    policy = replace(POLICY, max_vms=1, min_vms=1)
    records = [joined(1, pool="cpu", type="a")]
    memory = remember(records, waiting_since=NOW - 100, capacities=holds)
    seen = see(records, demand=(jobs(1, 16),), workers=(worker(1, idle_seconds=4000.0),))
    assert ended(plan(seen, memory, policy)) == ["i-00000001"]
    assert ended(plan(seen, without(memory, LARGE), policy)) == ([] if "cpu b" in holds else ["i-00000001"])
    paused = replace(memory, breakers={"cpu": Breaker(paused_until=NOW + 60)})
    assert not ended(plan(seen, paused, policy)), "nothing would come in its place for now"
    assert not ended(plan(replace(seen, demand=(jobs(1, 4),)), memory, policy)), "it holds them"


@pytest.mark.parametrize(("idle_seconds", "expected"), [(45.0, []), (70.0, ["i-00000001"])])
def test_a_vm_to_which_jobs_are_taken_to_go_is_in_nobodys_way_until_it_shows_whether_they_start(
    idle_seconds: float, expected: list[str]
) -> None:
    """Found by the simulator: one after the other went before it was found out that they never do."""
    policy = replace(POLICY, max_vms=1, min_vms=1, idle_for_time_s=30.0)
    records = [joined(1, pool="cpu", type="a")]
    memory = remember(records, waiting_since=NOW - 100, capacities=HOLDS)
    seen = see(records, demand=(jobs(1, 16), jobs(1, 4)), workers=(worker(1, idle_seconds=idle_seconds),))
    assert ended(plan(seen, memory, policy)) == expected
    assert ended(plan(replace(seen, demand=(jobs(1, 16),)), memory, policy)) == ["i-00000001"]
