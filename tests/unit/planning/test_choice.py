"""Which pools and types jobs get VMs of, where prices are known: tables of plans."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from elastiq.decisions import Decision, End, Kind, Outcome, Plan, Reason, Step, Token
from elastiq.memory import Breaker, Memory
from elastiq.model import ON_DEMAND, SPOT, Cost, Demand, Offer, Policy, Pool, Scope, Shape
from elastiq.planning.offers import put_away
from elastiq.planning.plan import plan
from tests.unit.planning.table import BY_SHAPE, NOW, jobs, of, see, vm, wide

CORES = {"one": 1, "two": 2, "four": 4, "eight": 8, "dear": 4, "cheap": 4, "odd": 4}
PRICES = {"one": 50, "two": 100, "four": 200, "eight": 400, "dear": 300, "cheap": 150}
HOLDS = {f"{pool} {type_}": Shape(cpus) for type_, cpus in CORES.items() for pool in ("cpu", "other")}
KNOWN = Memory(waiting_since=NOW - 100, capacities=HOLDS)


def pool(types: str, name: str = "cpu", *, markets: tuple[str, ...] = (ON_DEMAND,), **values: object) -> Pool:
    names = types.split()
    offers = tuple(Offer(market, one, "", None, PRICES.get(one)) for market in markets for one in names)
    return replace(Pool(name, instance_type=names[0], offers=offers), **values)


def policy(*pools: Pool, **values: object) -> Policy:
    return replace(BY_SHAPE, **{"pools": pools, "max_vms": 100, **values})


def launched(made: Plan) -> dict[str, int]:
    found = Counter[str]()
    for one in of(made, Kind.LAUNCH):
        found[one.walk[0].offer.type if one.walk else one.pool] += one.count
    return dict(found)


SIZES = pool("one two four eight")


@pytest.mark.parametrize(
    ("pools", "demand", "expected"),
    [
        ([SIZES], [jobs(8)], {"one": 8}),
        ([SIZES], [jobs(2, 4), jobs(1, 2)], {"four": 2, "two": 1}),
        ([SIZES], [wide(2, 3, 2)], {"two": 6}),
        ([SIZES], [wide(1, 2, 4), jobs(3)], {"four": 2, "one": 3}),
        # The cheapest of several pools, whichever comes first in the file.
        ([pool("dear", "other"), pool("four")], [jobs(8)], {"cpu": 2}),
        ([pool("four"), pool("dear", "other")], [jobs(8)], {"cpu": 2}),
        # ... but priority comes before price.
        ([pool("dear", "other", priority=1), pool("four")], [jobs(8)], {"other": 2}),
        # Where a price is not known the order in the file decides.
        ([pool("odd", "other"), pool("four")], [jobs(8)], {"other": 2}),
        ([pool("dear", "other"), pool("odd")], [jobs(8)], {"other": 2}),
        # What is full or has no VM of such a size leaves jobs to the next.
        ([pool("cheap", "other", max_vms=1), pool("four")], [jobs(8)], {"other": 1, "cpu": 1}),
        ([pool("one", "other"), pool("four")], [jobs(1, 3), jobs(1)], {"cpu": 1}),
        # A quota that is nearly used up goes to larger ones.
        ([pool("one two four eight", max_vms=3)], [jobs(20)], {"eight": 2, "four": 1}),
        ([pool("one eight", max_vms=2)], [jobs(9)], {"eight": 1, "one": 1}),
        ([pool("one eight", max_vms=2)], [jobs(100)], {"eight": 2}),
    ],
)
def test_jobs_get_the_cheapest_vms(pools: list[Pool], demand: list[Demand], expected: dict[str, int]) -> None:
    made = plan(see([], demand=tuple(demand)), KNOWN, policy(*pools))
    assert launched(made) == expected
    told = sum(verdict.jobs for verdict in made.verdicts if verdict.group)
    assert told == sum(group.jobs for group in demand)


def refused(*offers: Offer) -> Memory:
    memory = KNOWN
    for offer in offers:
        request = Decision(Kind.LAUNCH, Reason(Token.NO_ROOM, ""), walk=(Step(offer, 1),))
        outcome = Outcome(request, End.FAILED, "no room", cause=Token.CLOUD_CAPACITY, scope=Scope.OFFER)
        memory = put_away(memory, request, outcome, NOW)
    return memory


def test_a_market_that_comes_first_comes_before_what_is_cheaper_on_another() -> None:
    both = pool("cheap four dear", markets=(SPOT, ON_DEMAND))
    cheap, four, dear = both.offers[:3]
    assert launched(plan(see([], demand=(jobs(8),)), KNOWN, policy(both))) == {"cheap": 2}
    assert launched(plan(see([], demand=(jobs(8),)), refused(cheap), policy(both))) == {"four": 2}
    made = plan(see([], demand=(jobs(8),)), refused(cheap, four), policy(both))
    (decision,) = of(made, Kind.LAUNCH)
    walk = [(step.offer.market, step.offer.type) for step in decision.walk]
    assert walk[0] == (SPOT, "dear")
    assert walk[-3:] == [(ON_DEMAND, "dear"), (ON_DEMAND, "cheap"), (ON_DEMAND, "four")]
    made = plan(see([], demand=(jobs(8),)), refused(cheap, four, dear), policy(both))
    assert launched(made) == {"cheap": 2}


def test_what_is_taken_back_often_counts_for_dearer() -> None:
    both = pool("four cheap dear", markets=(SPOT, ON_DEMAND))
    demand = (jobs(8),)

    def with_rate(times: float) -> Memory:
        return replace(KNOWN, interruptions={"spot cheap": (times, 16.0, NOW)})

    # Of jobs of an hour and a boot that is lost: 150 * (1 + 12 / 40 * 1.2) is more than 200.
    assert launched(plan(see([], demand=demand), with_rate(5.0), policy(both))) == {"cheap": 2}
    made = plan(see([], demand=demand), with_rate(13.0), policy(both))
    assert launched(made) == {"four": 2}
    (decision,) = of(made, Kind.LAUNCH)
    assert [step.offer.type for step in decision.walk[:3]] == ["four", "cheap", "dear"]


def test_what_spot_costs_now_counts() -> None:
    both = pool("four cheap", markets=(SPOT, ON_DEMAND))
    prices = {(SPOT, "four"): 0.00005, (SPOT, "cheap"): 0.0001}
    offers = tuple(replace(one, price=prices.get((one.market, one.type))) for one in both.offers)
    assert launched(plan(see([], demand=(jobs(8),)), KNOWN, policy(replace(both, offers=offers)))) == {"four": 2}


def test_a_refused_type_is_followed_by_the_next_cheapest_for_the_same_jobs() -> None:
    (decision,) = of(plan(see([], demand=(jobs(4),)), KNOWN, policy(pool("four dear cheap eight"))), Kind.LAUNCH)
    assert [(step.offer.type, step.count) for step in decision.walk] == [
        ("cheap", 1), ("four", 1), ("dear", 1), ("eight", 1),
    ]  # fmt: skip


def test_a_pool_whose_launches_pause_has_no_say() -> None:
    broken = replace(KNOWN, breakers={"other": Breaker(paused_until=NOW + 60)})
    pools = policy(pool("cheap", "other"), pool("four"))
    assert launched(plan(see([], demand=(jobs(8),)), broken, pools)) == {"cpu": 2}


def test_types_of_which_it_is_not_known_what_they_hold_come_as_in_the_file() -> None:
    unknown = replace(KNOWN, capacities={"cpu one": Shape(1)})
    assert launched(plan(see([], demand=(jobs(8),)), unknown, policy(pool("one eight")))) == {"one": 8}
    assert launched(plan(see([], demand=(jobs(1, 8),)), unknown, policy(pool("one eight")))) == {"eight": 1}


def test_the_minimum_is_part_of_what_jobs_want() -> None:
    made = plan(see([], demand=(jobs(1, 8), jobs(1, 4))), KNOWN, policy(replace(SIZES, min_vms=4)))
    assert sum(launched(made).values()) == 4
    assert launched(made)["eight"] == launched(made)["four"] == 1
    assert launched(plan(see([]), KNOWN, policy(replace(SIZES, min_vms=2)))) == {"one": 2}


def test_no_more_is_spent_than_there_is() -> None:
    capped = policy(SIZES, cost=Cost(is_kept=True, max_per_hour=250))
    made = plan(see([], demand=(jobs(8),)), KNOWN, capped)
    assert launched(made) == {"one": 5}
    assert sum(verdict.jobs for verdict in made.verdicts) == 8


@pytest.mark.parametrize("full", [0, 3, 5])
def test_jobs_beyond_the_quota_are_told_so(full: int) -> None:
    records = [vm(number, pool="cpu", type="eight") for number in range(full)]
    memory = replace(KNOWN, vms={one.id: one for one in records})
    made = plan(see(records, demand=(jobs(100),)), memory, policy(SIZES, max_vms=5))
    assert launched(made) == ({"eight": 5 - full} if full < 5 else {})
    reasons = {one.reason.token for one in made.verdicts if one.group}
    assert Token.QUOTA_FULL in reasons
    assert sum(one.jobs for one in made.verdicts if one.group) == 100


def test_many_kinds_of_jobs_each_get_what_is_cheapest_for_them() -> None:
    demand = tuple(Demand(Shape(1 + number % 8, number), 1) for number in range(1, 61))
    made = plan(see([], demand=demand), KNOWN, policy(SIZES))
    assert sum(one.jobs for one in made.verdicts if one.group) == 60
    cores = sum(CORES[type_] * count for type_, count in launched(made).items())
    assert cores <= 1.2 * sum(one.shape.cpus for one in demand)
