"""Caps in money: what counts against them, what is launched within them, and what goes at them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.decisions import Decision, End, Kind, Outcome, Token
from elastiq.memory import Intent, Memory, VmRecord
from elastiq.model import ON_DEMAND, SPOT, Cost, Demand, Offer, Policy, Pool, Shape
from elastiq.planning.learning import learn
from elastiq.planning.money import HOUR, Purse, paid, shown
from elastiq.planning.offers import next_request, what_is_left
from elastiq.planning.plan import plan
from tests.unit.planning.table import NOW, ended, jobs, joined, launched, of, remember, see, vm, worker

DAY = 86400.0
SMALL, LARGE = "m5.large", "m5.2xlarge"
OFFERS = tuple(
    Offer(market, type_, zone, price / 1e6 if market == ON_DEMAND else None, price)
    for market in (SPOT, ON_DEMAND)
    for type_, price in ((SMALL, 100_000), (LARGE, 300_000))
    for zone in ("a", "b")
)
ONE = Pool("default", 0, 50, SMALL, offers=(Offer(ON_DEMAND, SMALL, "", 0.1, 100_000),))
BOTH = Pool("default", 0, 50, SMALL, offers=OFFERS)
POLICY = Policy(pools=(ONE,), max_vms=50, n_jobs_per_vm=4, cluster="test", idle_for_time_s=1800.0)
WAITED = {"waiting_since": NOW - 100}
TODAY = NOW - NOW % DAY
"""In UTC."""


def capped(
    *, hour: float | None = None, day: float | None = None, month: float | None = None, **more: object
) -> Policy:
    limits = [None if limit is None else round(limit * 1e6) for limit in (hour, day, month)]
    return replace(POLICY, cost=Cost(True, "EUR", *limits), **more)  # type: ignore[arg-type]


def works(number: int, **values: object) -> VmRecord:
    return joined(number, **{"type": SMALL, **values})


@pytest.mark.parametrize(
    ("memory", "micros"),
    [
        pytest.param(remember([]), 0, id="nothing"),
        pytest.param(remember([works(1), works(2)]), 200_000, id="VMs"),
        pytest.param(remember([works(1, type=LARGE, most_micros=250_000)]), 250_000, id="as when it was launched"),
        pytest.param(remember([works(1, most_micros=250_000)]), 100_000, id="by the file where that says it"),
        pytest.param(remember([works(1, type=LARGE)]), 100_000, id="of an unknown price: the dearest of its pool"),
        pytest.param(remember([works(1, pool="gone", type="x")]), 100_000, id="of a pool that is gone: of all"),
        pytest.param(remember([], intents=(Intent("t", "default", 3, NOW - 30, SMALL),)), 300_000, id="asked for"),
        pytest.param(
            remember([works(1, token="t")], intents=(Intent("t", "default", 3, NOW - 30, SMALL),)),
            300_000,
            id="some seen",
        ),
        pytest.param(
            remember([], intents=(Intent("t", "default", 2, 0.0, SMALL, lookalikes=("i-1",)),)), 100_000, id="alike"
        ),
    ],
)
def test_what_all_that_may_exist_costs_an_hour(memory: Memory, micros: int) -> None:
    assert Purse.of(memory, capped(hour=9), NOW).per_hour == micros


def test_the_hour_is_exact() -> None:
    """0.1 + 0.1 + 0.1 is more than 0.3 to a computer that counts in binary fractions."""
    made = plan(see([], demand=(jobs(40),)), remember([], **WAITED), capped(hour=0.3))
    assert launched(made) == 3
    assert str(of(made, Kind.LAUNCH)[0].reason) == (
        "40 jobs have found no room for more than 40 s; max_per_hour 0.30 EUR: 0.00 in use leaves 3"
    )


def test_what_the_hour_does_not_leave_is_said() -> None:
    records = [works(number) for number in range(1, 4)]
    workers = tuple(worker(number, running=4) for number in range(1, 4))
    made = plan(see(records, demand=(jobs(9),), workers=workers), remember(records, **WAITED), capped(hour=0.35))
    (hold,) = [one for one in of(made, Kind.HOLD) if one.reason.token is Token.CAP_HOUR]
    assert str(hold.reason) == (
        "9 jobs have found no room for more than 40 s, but max_per_hour 0.35 EUR: 0.30 in use, "
        "a VM of m5.large costs 0.10"
    )
    assert {one.reason.token for one in made.verdicts if one.group} == {Token.CAP_HOUR}
    assert not ended(made)


@pytest.mark.parametrize(
    ("policy", "vms"),
    [
        pytest.param(capped(day=1.0), 18, id="1 / (0.1 x (180 + 1800) s)"),
        pytest.param(capped(month=0.054), 0, id="less than one costs at the least"),
        pytest.param(capped(month=0.055), 1, id="just enough"),
        pytest.param(capped(day=1.0, hour=0.5), 5, id="the tightest"),
        pytest.param(capped(), 50, id="none"),
    ],
)
def test_of_a_day_a_new_vm_takes_what_it_costs_at_the_least(policy: Policy, vms: int) -> None:
    made = plan(see([], demand=(jobs(200),)), remember([], **WAITED), policy)
    assert launched(made) == vms
    assert bool(vms) or Token.CAP_MONTH in [one.reason.token for one in of(made, Kind.HOLD)]


def test_those_that_boot_take_it_as_well() -> None:
    booting = vm(1, type=SMALL, launched_at=NOW - 60, asked_at=NOW - 60)
    (cap,) = Purse.of(remember([booting]), capped(day=1), NOW).caps
    assert (cap.spent, cap.used) == (1667, 1667 + 53334)
    lost = Intent("t", "default", 2, NOW - 60, SMALL)
    (cap,) = Purse.of(remember([], intents=(lost,)), capped(day=1), NOW).caps
    assert (cap.spent, cap.used) == (0, 2 * 55000)


def test_what_was_spent_is_kept_when_vms_go_and_counts_by_the_second() -> None:
    policy = capped(day=5)
    before = remember([works(1, launched_at=NOW - 3600.0), works(2, launched_at=NOW - 36.0)])
    left = remember([before.vms["i-00000002"]])
    after = paid(before, left, policy, NOW)
    assert sum(after.spent.values()) == 100_000
    assert max(after.spent.values()) == 25_000
    assert Purse.of(after, policy, NOW).spent(TODAY, TODAY + DAY) == 100_000 + 1_000
    assert paid(before, left, POLICY, NOW) is left, "nothing is kept of it without [cost]"


def test_a_vm_whose_end_was_accepted_costs_nothing_from_then_on() -> None:
    record = works(1, launched_at=NOW - 3600.0, terminated_at=NOW - 1800.0)
    assert Purse.of(remember([record]), capped(day=5), NOW).spent(NOW - DAY, NOW) == 50_000


def test_only_the_part_of_this_day_counts_today() -> None:
    now = TODAY + 1800.0
    records = [works(1, launched_at=TODAY - 7200.0)]
    (cap,) = Purse.of(remember(records), capped(day=5), now).caps
    assert cap.spent == 50_000
    gone = paid(remember(records), remember([]), capped(day=5), now)
    assert Purse.of(gone, capped(day=5), now).caps[0].spent == 50_000
    assert Purse.of(gone, capped(month=5), now).caps[0].spent == 250_000


def test_what_is_older_than_a_month_is_forgotten() -> None:
    old = remember([works(1)], spent={"0000000001": 5, f"{int(NOW // 900):010d}": 7})
    after = paid(old, replace(old, vms={}), capped(day=1), NOW + 40 * DAY)
    assert not {"0000000001", f"{int(NOW // 900):010d}"} & after.spent.keys()
    assert list(after.spent) == sorted(after.spent)


@pytest.mark.parametrize("cap", ["day", "month"])
def test_when_the_money_is_spent_idle_vms_go_at_once_and_busy_ones_never(cap: str) -> None:
    records = [works(1), works(2), vm(3, type=SMALL)]
    seen = see(records, demand=(jobs(1),), workers=(worker(1, running=1), worker(2, idle_seconds=1)))
    policy = capped(**{cap: 0.5}, min_vms=3, pools=(replace(ONE, min_vms=3),))  # type: ignore[arg-type]
    made = plan(seen, remember(records, **WAITED), policy)
    assert (ended(made), launched(made)) == (["i-00000002"], 0)
    (end,) = of(made, Kind.TERMINATE)
    assert end.reason.token is Token.BEYOND_CAP
    when = {"day": "today", "month": "this month"}[cap]
    assert str(end.reason).startswith(f"idle, and max_per_{cap} 0.50 EUR is reached: 0.5")
    assert str(end.reason).endswith(f" spent {when}")
    (hold,) = [one for one in of(made, Kind.HOLD) if one.reason.subject == f"max_per_{cap}"]
    assert f"spent {when}; nothing is launched until 1970-0" in str(hold.reason)


def test_nothing_is_reopened_then() -> None:
    records = [works(1, closing_at=NOW - 100, closed=True)]
    seen = see(records, demand=(jobs(1),), workers=(worker(1, closed=True),))
    memory = remember(records, **WAITED)
    assert of(plan(seen, memory, capped(day=9)), Kind.REOPEN)
    assert not of(plan(seen, memory, capped(day=0.1)), Kind.REOPEN)


def test_a_cap_of_the_hour_that_was_lowered_ends_idle_vms_until_it_is_kept() -> None:
    records = [works(number) for number in range(1, 5)]
    workers = tuple(worker(number, idle_seconds=number) for number in range(1, 4))
    seen = see(records, workers=(*workers, worker(4, running=1)))
    assert ended(plan(seen, remember(records), capped(hour=0.25, min_vms=4))) == ["i-00000003", "i-00000002"]
    assert not ended(plan(seen, remember(records), capped(hour=0.4, min_vms=4))), "what the hour holds may idle"
    records[2:3] = [replace(records[2], closing_at=NOW - 9, closed=True, doomed=True, terminated_at=NOW - 5)]
    again = ended(
        plan(replace(seen, workers=(workers[0], workers[1])), remember(records), capped(hour=0.35, min_vms=4))
    )
    assert again == [], "one goes already"


def test_an_idle_vm_makes_room_for_one_that_jobs_need_only_if_that_is_enough() -> None:
    gpu = Pool("gpu", 0, 9, LARGE, offers=(Offer(ON_DEMAND, LARGE, "", 0.3, 300_000),))
    records = [works(1), works(2)]
    capacities = {SMALL: Shape(4, 4000), f"gpu {LARGE}": Shape(64, 4000)}
    workers = tuple(worker(number, idle_seconds=9999) for number in (1, 2))
    seen = see(records, demand=(Demand(Shape(64), 1),), workers=workers)
    memory = remember(records, capacities=capacities, **WAITED)
    for cap, goes in ((0.4, ["i-00000001"]), (0.35, [])):
        policy = capped(hour=cap, pools=(ONE, gpu), n_jobs_per_vm=None, min_vms=2)
        assert ended(plan(seen, memory, policy)) == goes


@pytest.mark.parametrize(
    ("policy", "after_seconds"),
    [
        pytest.param(capped(day=9), TODAY + DAY - NOW, id="the day is over"),
        pytest.param(capped(day=0.6), 11_600.0, id="the money is spent"),
        pytest.param(capped(hour=9), None, id="an hour never is by itself"),
    ],
)
def test_the_plan_wakes_when_it_changes(policy: Policy, after_seconds: float | None) -> None:
    records = [works(1, joined_at=NOW - 9000)]
    made = plan(see(records, workers=(worker(1, running=1),)), remember(records), policy)
    if after_seconds is None:
        assert made.wake_at >= NOW + DAY
    else:
        assert made.wake_at == pytest.approx(NOW + after_seconds, abs=0.01)
    if after_seconds == 11_600.0:
        later = replace(see(records, workers=(worker(1, idle_seconds=5),)), now=made.wake_at)
        assert ended(plan(later, made.memory, policy)) == ["i-00000001"]


def test_figures_for_people() -> None:
    records = [works(1, launched_at=NOW - HOUR)]
    figures = plan(see(records), remember(records), capped(day=9)).figures.cost
    assert figures is not None
    assert (figures.per_hour, figures.today, figures.this_month, figures.max_per_day) == (
        100_000,
        *[100_000] * 2,
        9_000_000,
    )
    assert plan(see(records), remember(records), POLICY).figures.cost is None


@pytest.mark.parametrize(
    ("micros", "text"),
    [(0, "0.00"), (96_000, "0.096"), (12_000_000, "12.00"), (11_520_000, "11.52"), (-1, "-0.000001")],
)
def test_amounts_for_people(micros: int, text: str) -> None:
    assert shown(micros) == text


ANSWERS = st.lists(st.sampled_from(["full", "lost", *range(8)]), max_size=10)
DEMANDS = st.lists(
    st.builds(
        Demand, st.builds(Shape, st.sampled_from([1, 8])), st.integers(1, 30), vms_per_job=st.sampled_from([1, 1, 3])
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda one: one.key,
)


@pytest.mark.long
@given(ANSWERS, DEMANDS, st.integers(0, 30), st.sampled_from(["hour", "day"]))
def test_whatever_offers_of_walks_give_no_cap_is_passed(
    answers: list[str | int], demand: list[Demand], tenths: int, cap: str
) -> None:
    """As the actuator walks: each request is within what those before it leave."""
    limit = 0.1 * tenths + 0.05
    policy = capped(**{cap: limit}, pools=(BOTH,), n_jobs_per_vm=None)  # type: ignore[arg-type]
    capacities = {SMALL: Shape(4, 8000), f"default {LARGE}": Shape(8, 16000), LARGE: Shape(8, 16000)}
    memory = remember([], capacities=capacities, **WAITED)
    made = plan(see([], demand=tuple(demand)), memory, policy)
    memory, number = made.memory, 0
    for decision in of(made, Kind.LAUNCH):
        left: Decision | None = decision
        while left is not None:
            affordable = Purse.of(memory, policy, NOW).within(left)
            request = affordable and next_request(affordable, memory, NOW)
            if request is None:
                break
            offer, token = request.walk[0].offer, f"t{number}"
            intent = Intent(
                token,
                "default",
                request.count,
                NOW,
                offer.type,
                market=offer.market,
                most_micros=offer.most_micros or 0,
            )
            memory = replace(memory, intents=(*memory.intents, intent))
            purse = Purse.of(memory, policy, NOW)
            assert all(cap.used <= cap.most for cap in purse.caps)
            assert request.count >= request.at_least
            answer = answers[number] if number < len(answers) else "full"
            number += 1
            ids = tuple(
                f"i-{number}-{each}" for each in range(min(request.count, answer if isinstance(answer, int) else 0))
            )
            outcome = Outcome(request, End.DONE, instance_ids=ids, token=token)
            if answer in ("full", "lost"):
                end = End.FAILED if answer == "full" else End.UNCLEAR
                cause = Token.CLOUD_CAPACITY if answer == "full" else Token.CLOUD_UNREACHABLE
                outcome = Outcome(request, end, token=token, cause=cause)
            memory = learn(memory, outcome, NOW)
            left = what_is_left(request, outcome)


@pytest.mark.long
@given(st.lists(st.tuples(st.integers(1, 10**6), st.floats(0, 10 * DAY), st.floats(0, DAY)), max_size=8))
def test_what_is_spent_is_the_same_before_and_after_vms_are_gone(vms: list[tuple[int, float, float]]) -> None:
    """But for the quarter of an hour in which a period begins."""
    records = [
        works(number, type="", most_micros=price, launched_at=NOW - age, terminated_at=max(NOW - age, NOW - ago))
        for number, (price, age, ago) in enumerate(vms)
    ]
    policy = replace(capped(day=1), pools=(Pool("default", 0, 5),))
    before = remember(records)
    after = paid(before, remember([]), policy, NOW)
    for begin, end in ((TODAY, TODAY + DAY), (TODAY - DAY, TODAY), (NOW - 12 * DAY - (NOW % 900), NOW + 900)):
        live, kept = Purse(before, policy, NOW).spent(begin, end), Purse(after, policy, NOW).spent(begin, end)
        assert abs(live - kept) <= 2 * len(records)
