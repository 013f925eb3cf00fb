"""Plans for several pools: whose VMs are launched for which jobs, and whose go first."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from elastiq.decisions import Kind, Plan, Token
from elastiq.memory import Breaker, Memory
from elastiq.model import Demand, Eligibility, Judgement, Pool, Shape
from elastiq.planning.plan import plan
from tests.unit.planning.table import BY_SHAPE, NOW, ended, jobs, joined, of, remember, see, vm, worker

SMALL, LARGE = Pool("small"), Pool("large")
POLICY = replace(BY_SHAPE, pools=(SMALL, LARGE), max_vms=20)
KNOWN = Memory(waiting_since=NOW - 100, capacities={"small": Shape(4, 4000), "large": Shape(16, 64000)})


def of_pools(made: Plan) -> Counter[str]:
    found = Counter[str]()
    for decision in of(made, Kind.LAUNCH):
        found[decision.pool] += decision.count
    return found


def only_in(pool: str, count: int, cpus: int = 1) -> Demand:
    no = Judgement(Eligibility.NO, "it lacks something")
    return Demand(Shape(cpus, None), count, wants=pool, judgements={"small": no, "large": no, pool: Judgement()})


@pytest.mark.parametrize(
    ("demand", "launched"),
    [
        ([jobs(8)], {"small": 2}),
        ([jobs(1, 8)], {"large": 1}),
        ([jobs(8), jobs(2, 16)], {"small": 2, "large": 2}),
        ([jobs(1, 1, 32000), jobs(4)], {"small": 1, "large": 1}),
        ([only_in("large", 3)], {"large": 1}),
        ([only_in("large", 20), only_in("small", 8)], {"small": 2, "large": 2}),
        ([replace(jobs(2, 16), vms_per_job=3)], {"large": 6}),
        ([jobs(200)], {"small": 20}),
    ],
)
def test_jobs_get_vms_of_the_first_pool_that_can_run_them(demand: list[Demand], launched: dict[str, int]) -> None:
    assert of_pools(plan(see([], demand=tuple(demand)), KNOWN, POLICY)) == launched


@pytest.mark.parametrize("number", range(1, 40))
def test_what_a_full_pool_does_not_take_goes_to_the_next(number: int) -> None:
    """With the first one full, jobs for one more VM of it were left waiting for good."""
    policy = replace(POLICY, pools=(replace(SMALL, max_vms=2), LARGE))
    full = [vm(1, pool="small"), vm(2, pool="small")]
    memory = replace(KNOWN, vms={record.id: record for record in full})
    launched = of_pools(plan(see(full, demand=(jobs(8 + number),)), memory, policy))
    assert launched == {"large": -(-number // 16)}


def test_what_a_pool_that_fills_up_does_not_take_goes_to_the_next() -> None:
    policy = replace(POLICY, pools=(replace(SMALL, max_vms=2), LARGE))
    made = plan(see([], demand=(jobs(20),)), KNOWN, policy)
    assert of_pools(made) == {"small": 2, "large": 1}
    assert sum(verdict.jobs for verdict in made.verdicts if verdict.group) == 20


def test_a_pool_whose_launches_pause_leaves_its_jobs_to_the_next() -> None:
    broken = {"small": Breaker(paused_until=NOW + 600, reason="no capacity")}
    made = plan(see([], demand=(jobs(20),)), replace(KNOWN, breakers=broken), POLICY)
    assert of_pools(made) == {"large": 2}
    assert any(decision.reason.token is Token.LAUNCHES_PAUSED for decision in of(made, Kind.HOLD))


def test_what_a_pool_may_not_ask_for_at_once_goes_to_the_next() -> None:
    asked = {"small": Breaker(ask=1)}
    assert of_pools(plan(see([], demand=(jobs(20),)), replace(KNOWN, breakers=asked), POLICY)) == {
        "small": 1,
        "large": 1,
    }


def test_jobs_that_only_a_full_pool_can_run_wait_for_it() -> None:
    policy = replace(POLICY, pools=(replace(SMALL, max_vms=1), LARGE))
    full = [joined(1, pool="small")]
    seen = see(full, demand=(only_in("small", 9),), workers=(worker(1, running=4),))
    made = plan(seen, remember(full, waiting_since=NOW - 100, capacities=KNOWN.capacities), policy)
    assert not of_pools(made)
    assert "all of max_vms 1 of pool small are in use" in of(made, Kind.HOLD)[-1].reason.text
    assert {verdict.reason.token for verdict in made.verdicts if verdict.group} == {Token.QUOTA_FULL}


def test_no_more_vms_than_all_pools_together_may_have() -> None:
    policy = replace(POLICY, max_vms=3, pools=(replace(SMALL, max_vms=2), LARGE))
    assert of_pools(plan(see([], demand=(jobs(500),)), KNOWN, policy)) == {"small": 2, "large": 1}


def test_each_pool_has_its_minimum_and_the_cluster_its_own() -> None:
    policy = replace(POLICY, min_vms=4, pools=(replace(SMALL, min_vms=1), replace(LARGE, min_vms=2)))
    made = plan(see([]), Memory(), policy)
    assert sum(of_pools(made).values()) >= 4
    assert of_pools(made)["large"] >= 1
    again = replace(policy, min_vms=0)
    assert of_pools(plan(see([]), Memory(), again)) == {"small": 1, "large": 2}


def test_the_minimum_of_the_cluster_is_reached_with_what_pools_may_have() -> None:
    policy = replace(POLICY, min_vms=5, pools=(replace(SMALL, max_vms=2), LARGE))
    assert of_pools(plan(see([]), Memory(), policy)) == {"small": 2, "large": 3}


def test_vms_of_a_pool_are_idle_for_as_long_as_it_says() -> None:
    policy = replace(POLICY, idle_for_time_s=600.0, pools=(replace(SMALL, idle_for_time_s=60.0), LARGE))
    records = [joined(1, pool="small"), joined(2, pool="large"), joined(3, pool="gone")]
    workers = tuple(worker(number, idle_seconds=100.0) for number in (1, 2, 3))
    made = plan(see(records, workers=workers), remember(records), policy)
    assert ended(made) == ["i-00000001"]
    assert "more than idle_for_time_s 60" in of(made, Kind.TERMINATE)[0].reason.text
    later = tuple(worker(number, idle_seconds=601.0) for number in (1, 2, 3))
    assert len(ended(plan(see(records, workers=later), remember(records), policy))) == 3


def test_how_many_vms_each_pool_has_is_told_where_there_are_named_ones() -> None:
    records = [joined(1, pool="small"), vm(2, pool="small"), vm(3, pool="large")]
    seen = see(records, workers=(worker(1),))
    assert plan(seen, remember(records), POLICY).figures.vms_of_pools == {"small": 2, "large": 1}
    assert plan(seen, remember(records), BY_SHAPE).figures.vms_of_pools == {}
