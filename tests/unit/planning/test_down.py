"""Which VMs go: what is seen, what is remembered, what follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.decisions import Kind, Token
from elastiq.memory import Intent, Showing, VmRecord
from elastiq.model import Demand, InstanceState, Pool, Shape, Worker
from elastiq.planning.plan import plan
from tests.unit.planning.table import (
    BY_SHAPE,
    HOLDS_4,
    NOW,
    PLAIN,
    ended,
    jobs,
    joined,
    launched,
    of,
    remember,
    see,
    vm,
    wide,
    worker,
)


@pytest.mark.parametrize("part", ["workers", "instances"])
def test_nothing_is_terminated_in_doubt(part: str) -> None:
    records = [joined(1), vm(2, launched_at=NOW - 5000), joined(3, lost_since=NOW - 90_000)]
    seen = see(records, workers=(worker(1, idle_seconds=99_999),))
    assert len(ended(plan(seen, remember(records), PLAIN))) == 3
    assert not ended(plan(replace(seen, **{part: None}), remember(records), PLAIN))


@pytest.mark.parametrize(
    ("record", "workers", "expected"),
    [
        pytest.param(joined(1), (worker(1, idle_seconds=3601),), True, id="idle for longer than idle_for_time_s"),
        pytest.param(joined(1), (worker(1, idle_seconds=3600),), False, id="idle, not for longer"),
        pytest.param(joined(1), (worker(1, idle_seconds=None),), False, id="idle since unknown"),
        pytest.param(joined(1), (worker(1, running=1),), False, id="busy"),
        pytest.param(joined(1), (worker(1, idle_seconds=7199, closed=True),), False, id="closed by somebody else"),
        pytest.param(joined(1), (worker(1, idle_seconds=7201, closed=True),), True, id="closed and forgotten"),
        pytest.param(joined(1), (worker(1, running=1, closed=True),), False, id="closed, busy"),
        pytest.param(vm(1, launched_at=NOW - 601), (), True, id="never joined"),
        pytest.param(vm(1, launched_at=NOW - 600), (), False, id="may still join"),
        pytest.param(vm(1, state=InstanceState.ERROR), (), True, id="in error"),
        pytest.param(joined(1, lost_since=NOW - 3601), (), True, id="lost for long"),
        pytest.param(joined(1, lost_since=NOW - 3500), (), False, id="lost, may come back"),
        pytest.param(joined(1), (), False, id="lost just now"),
        pytest.param(joined(1, closing_at=NOW - 9), (worker(1),), True, id="closing before a crash: tried again"),
        pytest.param(joined(1, closing_at=NOW - 9), (), False, id="perhaps not closed, out of sight: may come back"),
        pytest.param(joined(1, closing_at=NOW - 9, lost_since=NOW - 3601), (), True, id="perhaps not closed, lost"),
        pytest.param(joined(1, closing_at=NOW - 9, closed=True), (), True, id="closed, out of sight"),
        pytest.param(vm(1, closing_at=NOW - 9), (), True, id="closing before it joined"),
        pytest.param(joined(1, doomed=True, closing_at=NOW - 99), (), True, id="termination without an answer"),
        pytest.param(joined(1, doomed=True, closing_at=NOW - 99, terminate_retry_at=NOW + 1), (), False, id="back-off"),
        pytest.param(joined(1, terminated_at=NOW - 9, doomed=True), (), False, id="terminated already"),
    ],
)
def test_scale_down(record: VmRecord, workers: tuple[Worker, ...], expected: bool) -> None:
    assert ended(plan(see([record], workers=workers), remember([record]), PLAIN)) == ([record.id] if expected else [])


def test_a_vm_may_have_joined_since_the_workers_were_looked_at() -> None:
    record = vm(1, launched_at=NOW - 700)
    assert not ended(plan(see([record], workers_age_seconds=200.0), remember([record]), PLAIN))
    lost = joined(1, lost_since=NOW - 3700)
    assert not ended(plan(see([lost], workers_age_seconds=200.0), remember([lost]), PLAIN))


def test_a_failed_boot_is_one_also_when_its_termination_is_tried_again() -> None:
    records = [vm(1, closing_at=NOW - 99, doomed=True), joined(2, closing_at=NOW - 99, doomed=True)]
    made = of(plan(see(records), remember(records), PLAIN), Kind.TERMINATE)
    assert [decision.failed_boot for decision in made] == [True, False]


def test_the_longest_idle_goes_first_and_the_minimum_stays() -> None:
    records = [joined(number) for number in (1, 2, 3)]
    workers = tuple(worker(number, idle_seconds=seconds) for number, seconds in ((1, 4000), (2, 6000), (3, 5000)))
    made = plan(see(records, workers=workers), remember(records), replace(PLAIN, min_vms=1))
    assert ended(made) == [records[1].id, records[2].id]
    assert [str(hold.reason) for hold in of(made, Kind.HOLD)] == ["1 idle VM kept: min_vms is 1"]


def test_a_booting_vm_keeps_no_idle_worker_from_being_the_minimum() -> None:
    records = [joined(1), vm(2)]
    made = plan(see(records, workers=(worker(1, idle_seconds=9999),)), remember(records), replace(PLAIN, min_vms=1))
    assert not ended(made)


def test_a_worker_that_somebody_else_closed_is_left_alone_and_reported() -> None:
    records = [joined(1), joined(2, closing_at=NOW - 500, closed=True)]
    workers = tuple(worker(n, idle_seconds=90_000.0, closed=True, closed_by_other=True) for n in (1, 2))
    memory = remember(records, waiting_since=NOW - 100)
    made = plan(see(records, demand=(jobs(1),), workers=workers), memory, PLAIN)
    assert ended(made) == []
    assert of(made, Kind.REOPEN) == []
    assert "VM i-00000001, i-00000002 is left alone: somebody else closed its worker" in made.summary
    assert launched(made) == 1


@pytest.mark.parametrize(
    ("record", "workers", "said"),
    [
        pytest.param(
            vm(1), (), "the cloud has not listed VM i-00000001 for 20 s; it counts for 580 s more", id="boots"
        ),
        pytest.param(
            joined(1),
            (worker(1),),
            "the cloud has not listed VM i-00000001 for 20 s, but its worker has not left the batch system, so "
            "it counts and is left alone",
            id="works",
        ),
        pytest.param(
            joined(1, lost_since=NOW - 5),
            (),
            "the cloud has not listed VM i-00000001 for 20 s; it counts for 595 s more",
            id="lost",
        ),
        pytest.param(
            joined(1, lost_since=NOW - 5, doomed=True, closing_at=NOW - 30, terminate_retry_at=NOW + 5),
            (),
            "the cloud has not listed VM i-00000001 for 20 s; it counts for 580 s more",
            id="may have been terminated",
        ),
    ],
)
def test_a_vm_that_listings_leave_out_is_told_at_once_with_how_long_it_counts(
    record: VmRecord, workers: tuple[Worker, ...], said: str
) -> None:
    memory = remember([replace(record, missing_since=NOW - 20)])
    made = plan(see([], workers=workers), memory, PLAIN)
    assert [(one.reason.token, str(one.reason)) for one in of(made, Kind.HOLD)] == [(Token.NOT_LISTED, said)]
    if not record.leaving:
        assert [str(verdict.reason) for verdict in made.verdicts] == [said]
    unknown = plan(see([], workers=workers, instances=None, now=NOW + 900.0), memory, PLAIN)
    assert any(one.reason.token is Token.NOT_LISTED for one in of(unknown, Kind.HOLD)), "it still counts"


def test_vms_that_one_listing_leaves_out_are_one_reason() -> None:
    records = [joined(number, missing_since=NOW - 700, launched_at=NOW - 900) for number in range(1, 8)]
    made = plan(see([], workers=tuple(map(worker, range(1, 8)))), remember(records), PLAIN)
    (hold,) = of(made, Kind.HOLD)
    assert str(hold.reason) == (
        "the cloud has not listed VMs i-00000001, i-00000002, i-00000003, i-00000004, i-00000005 and 2 more for 700 s, "
        "but their workers have not left the batch system, so they count and are left alone; "
        "check region, api_url and the keys"
    )


def test_a_vm_that_two_workers_claim_is_kept_and_its_rivals_are_named() -> None:
    record = joined(1)
    rivals = (worker(1, idle_seconds=9999), worker(1, idle_seconds=8888, name="old"))
    made = plan(see([record], workers=rivals), remember([record]), PLAIN)
    assert not ended(made)
    (hold,) = of(made, Kind.HOLD)
    assert hold.reason.token is Token.CLAIMED_TWICE
    assert "workers w1 and old of the batch system all claim" in str(hold.reason)
    assert [verdict.reason for verdict in made.verdicts] == [hold.reason]
    busy = (worker(1, running=1), rivals[1])
    made = plan(see([record], workers=busy), remember([record]), PLAIN)
    assert [verdict.reason.token for verdict in made.verdicts] == [Token.AT_WORK]


def test_an_address_that_two_vms_have_is_told() -> None:
    records = [joined(1, address="10.0.0.5"), joined(2, address="10.0.0.5")]
    lone = Worker("any", address="10.0.0.5", idle_seconds=5.0)
    made = plan(see(records, workers=(lone,)), remember(records), PLAIN)
    (hold,) = of(made, Kind.HOLD)
    assert hold.reason.token is Token.SHARED_ADDRESS
    assert "worker any is taken for none of elastiq's: VMs i-00000001, i-00000002 all have" in str(hold.reason)


def test_a_vm_whose_termination_may_never_have_been_asked_for_is_left_to_who_closed_it_since() -> None:
    """Found by the simulator: killed between a close and the request, elastiq ended what was drained meanwhile."""
    record = joined(1, closing_at=NOW - 500, closed=True, doomed=True)
    closed = worker(1, closed=True, closed_by_other=True)
    made = plan(see([record], workers=(closed,)), remember([record]), PLAIN)
    assert ended(made) == []
    assert [verdict.reason.token for verdict in made.verdicts] == [Token.CLOSED_BY_OTHER]
    opened = see([record], workers=(replace(closed, closed=False, closed_by_other=False),))
    assert ended(plan(opened, remember([record]), PLAIN)) == [record.id]


@pytest.mark.parametrize(
    "of_vm",
    [
        {"joined_at": None, "launched_at": NOW - 9999},
        {"lost_since": NOW - 9999},
        {"closing_at": NOW - 500, "lost_since": NOW - 9999},
        {"closing_at": NOW - 500, "closed": True, "doomed": True},
    ],
    ids=["never joined", "lost", "close broken off", "termination without an answer"],
)
def test_a_vm_that_may_be_that_of_a_worker_in_sight_stays(of_vm: dict[str, object]) -> None:
    """Found by the simulator: each of five VMs with one address was ended as one that had never become a worker."""
    records = [joined(number, address="10.0.0.5", **of_vm) for number in (1, 2)]
    lone = Worker("any", address="10.0.0.5", jobs=1)
    made = plan(see(records, workers=(lone,)), remember(records), PLAIN)
    assert ended(made) == []
    assert [verdict.reason.token for verdict in made.verdicts] == [Token.SHARED_ADDRESS] * 2
    assert ended(plan(see(records), remember(records), PLAIN)) == [record.id for record in records]
    known = Worker("w1", instance_id=records[0].id, idle_seconds=9999.0)
    assert ended(plan(see(records, workers=(lone, known)), remember(records), PLAIN)) == [records[0].id]
    broken = [replace(record, state=InstanceState.ERROR) for record in records]
    assert ended(plan(see(broken, workers=(lone,)), remember(broken), PLAIN)) == [record.id for record in records]


@pytest.mark.parametrize(
    ("values", "demand", "expected"),
    [
        ({}, (jobs(1, cpus=8),), ["i-00000001"]),
        ({}, (), []),
        ({}, None, []),
        ({"type": "large"}, (jobs(1, cpus=8),), []),
        ({"type": ""}, (jobs(1, cpus=8),), []),
    ],
)
def test_an_idle_vm_of_an_earlier_type_gives_its_place_to_jobs_that_it_does_not_hold(
    values: dict[str, object], demand: object, expected: list[str]
) -> None:
    """Found by the simulator: with all of max_vms kept for the minimum, they waited for ever."""
    records = [joined(1, **{"type": "small", **values}), joined(2, **{"type": "small", **values})]
    policy = replace(BY_SHAPE, pools=(Pool("default", 0, None, "large"),), min_vms=2, max_vms=2)
    seen = see(records, demand=demand, workers=(worker(1, idle_seconds=9999), worker(2, idle_seconds=9998)))
    assert ended(plan(seen, remember(records), policy)) == expected
    assert not ended(plan(seen, remember(records), replace(policy, max_vms=3))), "there is room"
    going = [replace(records[0], doomed=True, terminated_at=NOW - 1), records[1]]
    assert not ended(plan(seen, remember(going), policy)), "one after the other"


@pytest.mark.parametrize(
    ("values", "demand", "expected"),
    [
        pytest.param({}, jobs(1, cpus=4), ["i-00000001"], id="hurt"),
        pytest.param(
            {"capacity": Shape(4, 4000), "free": Shape(4, 0)}, jobs(1, 1, 500), ["i-00000001"], id="no memory"
        ),
        pytest.param({}, jobs(9, cpus=2), [], id="it holds them"),
        pytest.param({"idle_seconds": 3000.0}, jobs(1, cpus=4), [], id="not idle for long"),
        pytest.param({}, jobs(1, cpus=8), [], id="no VM holds them"),
    ],
)
def test_an_idle_vm_that_is_hurt_gives_its_place_to_jobs_that_it_does_not_hold(
    values: dict[str, object], demand: Demand, expected: list[str]
) -> None:
    """Found by the simulator: kept for the minimum, with all of max_vms in use, it held them back for good."""
    records = [joined(1)]
    policy = replace(BY_SHAPE, min_vms=1, max_vms=1)
    hurt = replace(worker(1, idle_seconds=9999, cpus=2), **values)
    memory = remember(records, capacities=HOLDS_4, taught_by={"default": ("a", "b", "c", "d")}, waiting_since=NOW - 100)
    memory = replace(memory, showings={"default": Showing(NOW)})
    seen = see(records, demand=(demand,), workers=(hurt,))
    made = plan(seen, memory, policy)
    assert ended(made) == expected
    if expected:
        assert str(made.decisions[-1].reason) == "idle and in the place of a VM for jobs that it does not hold"
    assert not ended(plan(seen, memory, replace(policy, max_vms=2))), "there is room"
    by_number = plan(seen, memory, replace(policy, n_jobs_per_vm=4))
    assert ended(by_number) == expected, "found by the simulator: with n_jobs_per_vm it still did"


@pytest.mark.parametrize(("is_hurt", "expected"), [(True, ["i-00000001"]), (False, [])])
def test_a_vm_that_says_it_is_hurt_gives_its_place_though_nobody_knows_what_a_whole_one_holds(
    is_hurt: bool, expected: list[str]
) -> None:
    """Found by the simulator: the first one after a change of type was hurt, and kept for the minimum."""
    records = [joined(1)]
    policy = replace(BY_SHAPE, min_vms=1, max_vms=1)
    hurt = replace(worker(1, idle_seconds=9999, cpus=2), hurt=is_hurt)
    seen = see(records, demand=(jobs(1, cpus=4),), workers=(hurt,))
    memory = remember(records, waiting_since=NOW - 100)
    assert ended(plan(seen, memory, policy)) == expected


@pytest.mark.parametrize(("in_hand", "expected"), [(True, []), (False, ["i-00000001"])])
def test_no_idle_vm_goes_before_the_cloud_has_answered_its_launch(in_hand: bool, expected: list[str]) -> None:
    """Seen at OpenStack: the launch took minutes, and failed since one of its VMs was gone by then."""
    records = [joined(1, token="slow")]
    memory = remember(records, intents=(Intent("slow", "default", 2, NOW - 94, in_hand=in_hand),))
    made = plan(see(records, workers=(worker(1, idle_seconds=9999),)), memory, PLAIN)
    assert ended(made) == expected
    assert (made.verdicts[0].reason.token is Token.ANSWER_TO_COME) == in_hand


@pytest.mark.parametrize(("hurt", "machines", "expected"), [(True, 4, ["i-00000001"]), (True, 3, []), (False, 4, [])])
def test_an_idle_vm_that_is_hurt_gives_its_place_to_a_job_of_more_vms_than_may_be_launched_beside_it(
    hurt: bool, machines: int, expected: list[str]
) -> None:
    """Found by the simulator: a hurt one kept for the minimum, and a job on as many VMs as there may be."""
    records = [joined(1), joined(2)]
    policy = replace(BY_SHAPE, min_vms=2, max_vms=4)
    memory = remember(records, capacities=HOLDS_4, taught_by={"default": ("a", "b", "c", "d")}, waiting_since=NOW - 100)
    memory = replace(memory, showings={"default": Showing(NOW)})
    workers = (worker(1, idle_seconds=9999, cpus=2 if hurt else 4), worker(2, running=4, idle_seconds=None, cpus=4))
    made = plan(see(records, demand=(wide(1, machines, cpus=4),), workers=workers), memory, policy)
    assert ended(made) == expected


@pytest.mark.parametrize(("own_minimum", "most", "expected"), [(0, None, ["i-00000001"]), (1, None, []), (0, 0, [])])
def test_an_idle_vm_of_another_pool_gives_its_place_where_only_the_cluster_has_a_minimum(
    own_minimum: int, most: int | None, expected: list[str]
) -> None:
    records = [joined(1, pool="plain")]
    pools = (Pool("plain", own_minimum), Pool("gpu", 0, most))
    policy = replace(BY_SHAPE, pools=pools, min_vms=1, max_vms=1)
    holds = {"plain": Shape(4, 4000), "gpu": Shape(4, 4000, None, 1)}
    taught = {name: ("a", "b", "c", "d") for name in holds}
    memory = remember(records, capacities=holds, taught_by=taught, waiting_since=NOW - 100)
    memory = replace(memory, showings=dict.fromkeys(holds, Showing(NOW)))
    demand = (Demand(Shape(1, 500, None, 1), 1),)
    made = plan(see(records, demand=demand, workers=(worker(1, idle_seconds=9999),)), memory, policy)
    assert ended(made) == expected


def test_a_worker_that_somebody_closed_does_not_fill_the_minimum_in_place_of_an_idle_one() -> None:
    records = [joined(1), joined(2)]
    workers = (worker(1, running=1, closed=True, closed_by_other=True), worker(2, idle_seconds=9999))
    assert ended(plan(see(records, workers=workers), remember(records), replace(PLAIN, min_vms=1))) == []


@pytest.mark.parametrize(("closed", "said"), [(True, "was closed"), (False, "was to be closed")])
def test_a_worker_is_called_closed_only_if_it_is(closed: bool, said: str) -> None:
    record = joined(1, closing_at=NOW - 9, closed=closed)
    made = plan(see([record], workers=(worker(1),)), remember([record]), PLAIN)
    assert [str(decision.reason) for decision in of(made, Kind.TERMINATE)] == [
        f"its worker {said} for a termination that has not succeeded yet"
    ]


@pytest.mark.parametrize(("age_seconds", "goes"), [(0.0, True), (170.0, True), (190.0, False), (800.0, False)])
def test_a_vm_is_late_only_when_workers_and_vms_were_looked_at_since(age_seconds: float, goes: bool) -> None:
    # Until it is listed its address is not known, and by that alone many workers are matched.
    record = vm(1, launched_at=NOW - PLAIN.estimated_vm_deploy_time_s - 180.0)
    seen = see([record], demand=(jobs(1),), workers=(worker(7, running=4),), instances_age_seconds=age_seconds)
    made = plan(seen, remember([record], waiting_since=NOW - 100), PLAIN)
    assert (ended(made) == [record.id]) is goes
    assert bool(launched(made)) is goes, "until then it is room for those that wait"
