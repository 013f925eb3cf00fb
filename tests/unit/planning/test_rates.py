"""How often VMs of each offer are taken back, and which offer is asked first because of that."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.decisions import Kind
from elastiq.memory import Memory, VmRecord
from elastiq.model import ON_DEMAND, SPOT, Instance, InstanceState, Offer, Policy, Pool
from elastiq.planning.moments import wake_at
from elastiq.planning.plan import plan
from elastiq.planning.rates import (
    HALF_LIFE_SECONDS,
    MOST_KEPT,
    STEP_SECONDS,
    SUPPOSED_HOURS,
    Rates,
    changes,
    weighed,
    with_gone,
)
from tests.unit.planning.table import NOW, jobs, joined, of, remember, see, worker

HOUR = 3600.0
AT = math.floor(NOW / STEP_SECONDS) * STEP_SECONDS
"""When rates begin to be as they are at NOW."""


def offer(market: str, type_: str, zone: str, price: float, *, is_known: bool = False) -> Offer:
    return Offer(market, type_, zone, price if is_known or market == ON_DEMAND else None, round(price * 1e6))


OFFERS = tuple(
    offer(market, type_, zone, price)
    for market in (SPOT, ON_DEMAND)
    for type_, price in (("a.small", 0.10), ("b.small", 0.12))
    for zone in ("z1", "z2")
)
POOL = Pool("default", 0, 50, "a.small", offers=OFFERS)
POLICY = Policy((POOL,), max_vms=50, n_jobs_per_vm=4, cluster="test")


def spot(number: int, **values: object) -> VmRecord:
    return joined(number, **{"type": "a.small", "market": SPOT, "zone": "z1", **values})


def seen(times: float, hours: float, key: str = "spot a.small z1", at: float = AT) -> Memory:
    return Memory(interruptions={key: (times, hours, at)})


def order(policy: Policy) -> list[str]:
    return [f"{one.market} {one.type} {one.zone}" for one in policy.pools[0].offers]


def test_nothing_is_weighed_as_long_as_nothing_was_taken_back() -> None:
    assert weighed(POLICY, remember([spot(1), spot(2)]), NOW) is POLICY
    assert weighed(POLICY, seen(0.0, 500.0), NOW) is POLICY
    assert not list(changes(seen(0.0, 500.0), NOW))


def test_what_is_taken_back_often_comes_later_on_its_market() -> None:
    rates = Rates(seen(8.0, 16.0), NOW)
    assert rates.per_hour(OFFERS[0]) == pytest.approx(8 / (16 + SUPPOSED_HOURS))
    assert rates.dearer(OFFERS[0], POOL, POLICY) == pytest.approx(1 + 0.2 * (180 + 3600) / HOUR)
    small = ["spot a.small z2", "spot a.small z1"]
    large = ["spot b.small z1", "spot b.small z2"]
    assert order(weighed(POLICY, seen(7.0, 16.0), NOW))[:4] == [*small, *large], "0.118 against 0.12"
    assert order(weighed(POLICY, seen(8.0, 16.0), NOW))[:4] == [small[0], *large, small[1]], "0.121 against 0.12"
    assert order(weighed(POLICY, seen(900.0, 16.0), NOW))[4:] == order(POLICY)[4:], "the market stays the first"


def test_one_on_demand_is_never_taken_back() -> None:
    assert Rates(seen(9.0, 1.0, "on-demand a.small z1"), NOW).per_hour(OFFERS[4]) == 0


def test_without_prices_the_types_stay_as_in_the_file() -> None:
    bare = tuple(replace(one, price=None, most_micros=None) for one in OFFERS)
    policy = Policy((replace(POOL, offers=bare),))
    assert order(weighed(policy, seen(30.0, 1.0), NOW))[:4] == [
        "spot a.small z2",
        "spot a.small z1",
        "spot b.small z1",
        "spot b.small z2",
    ]


@pytest.mark.parametrize(
    ("price", "times", "place"),
    [
        pytest.param(0.05, 0.0, 0, id="cheap"),
        pytest.param(0.095, 0.0, 3, id="dearer than other spot offers"),
        pytest.param(0.095, 8.0, -1, id="with what is lost dearer than on demand"),
        pytest.param(0.10, 0.0, None, id="by its price alone no cheaper"),
    ],
)
def test_what_spot_costs_is_compared_with_the_same_type_on_demand(
    price: float, times: float, place: int | None
) -> None:
    prices = [price, 0.06, 0.07, 0.08]
    known = tuple(replace(one, price=prices[number]) if one.is_spot else one for number, one in enumerate(OFFERS))
    policy = Policy((replace(POOL, offers=known),))
    found = order(weighed(policy, seen(times, 16.0), NOW))
    expected = [] if place is None else [range(len(OFFERS))[place]]
    assert [number for number, name in enumerate(found) if name == "spot a.small z1"] == expected


def test_after_a_day_it_counts_half_by_the_hour() -> None:
    memory = seen(8.0, 1000.0)
    now = Rates(memory, NOW).per_hour(OFFERS[0])
    day = Rates(memory, NOW + HALF_LIFE_SECONDS).per_hour(OFFERS[0])
    assert now == pytest.approx(8 / 1024)
    assert day == pytest.approx(4 / 524)
    (moment,) = changes(memory, NOW)
    assert moment == AT + STEP_SECONDS
    assert Rates(memory, moment - 1).per_hour(OFFERS[0]) == now
    assert Rates(memory, moment).per_hour(OFFERS[0]) < now
    assert wake_at(see([]), memory, POLICY) <= moment


def test_an_interruption_is_counted_once_and_at_once() -> None:
    """A VM is announced to be taken back, terminated by elastiq as it is idle, and gone."""
    record = spot(1, launched_at=NOW - 20 * HOUR)
    taken = worker(1, 1, interrupted=True, closed=True)
    made = plan(see([record], workers=(taken,), demand=()), remember([record]), POLICY)
    assert Rates(made.memory, NOW + HOUR).per_hour(OFFERS[0]) == pytest.approx(1 / (15.3 + SUPPOSED_HOURS), rel=0.05)
    before = Rates(made.memory, NOW + HOUR).per_hour(OFFERS[0])
    memory = replace(made.memory, vms={"i-00000001": replace(made.memory.vms["i-00000001"], terminated_at=NOW + 60)})
    observation = replace(see([]), now=NOW + 120, workers=())
    memory = plan(observation, memory, POLICY).memory
    assert not memory.vms
    assert Rates(memory, NOW + HOUR).per_hour(OFFERS[0]) == pytest.approx(before, rel=1e-6)
    again = plan(replace(observation, now=NOW + 180), memory, POLICY).memory
    assert again.interruptions == memory.interruptions


def test_one_that_the_cloud_says_to_have_taken_back_without_notice_counts() -> None:
    record = spot(1)
    listed = Instance(record.id, InstanceState.TERMINATED, cluster="test", interrupted=True)
    observation = replace(see([], workers=()), instances=(listed,))
    found = plan(observation, remember([record]), POLICY).memory.interruptions
    assert found["spot a.small z1"][0] == pytest.approx(1.0)


def test_others_count_for_their_hours_alone() -> None:
    on_demand, old = spot(1, market=ON_DEMAND), spot(2, launched_at=NOW - 9 * HOUR)
    ended = remember([on_demand, replace(old, terminated_at=NOW - HOUR)])
    memory = with_gone(ended, Memory(), (), NOW)
    ((key, (times, hours, at)),) = memory.interruptions.items()
    assert (key, times, at) == ("spot a.small z1", 0.0, NOW)
    assert 6.5 < hours < 8.0


def test_what_is_remembered_is_bounded_and_forgotten() -> None:
    many = {f"spot a z{number}": (1.0, 1.0, NOW) for number in range(2 * MOST_KEPT)}
    memory = replace(remember([spot(1)]), interruptions={**many, "spot often z": (5.0, 1.0, NOW)})
    found = with_gone(memory, replace(memory, vms={}), (), NOW).interruptions
    assert len(found) == MOST_KEPT
    assert "spot often z" in found
    later = with_gone(memory, replace(memory, vms={}), (), NOW + 30 * HALF_LIFE_SECONDS).interruptions
    assert list(later) == ["spot a.small z1"]


@given(
    st.floats(0, 1e14), st.floats(0, 1e14), st.floats(-1e14, 1e14), st.floats(0, 1e12), st.none() | st.floats(0, 1e12)
)
def test_whatever_was_kept_a_rate_is_a_number(
    times: float, hours: float, at: float, launched_at: float, interrupted_at: float | None
) -> None:
    record = spot(1, launched_at=launched_at, interrupted_at=interrupted_at)
    memory = replace(remember([record]), interruptions={"spot a.small z1": (times, hours, at)})
    rates = Rates(memory, NOW)
    assert 0 <= rates.per_hour(OFFERS[0]) < math.inf
    assert set(order(weighed(POLICY, memory, NOW))) == set(order(POLICY))
    after = with_gone(memory, replace(memory, vms={}), (), NOW).interruptions
    assert all(0 <= number < math.inf for one in after.values() for number in one)


def test_vms_are_asked_for_where_they_are_left_alone() -> None:
    memory = replace(seen(8.0, 16.0), waiting_since=NOW - 100)
    made = plan(see([], demand=(jobs(4),)), memory, POLICY)
    (decision,) = of(made, Kind.LAUNCH)
    assert decision.walk[0].offer.zone == "z2"
