"""Which VMs go: what is seen, what is remembered, what follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.decisions import Kind
from elastiq.memory import VmRecord
from elastiq.model import InstanceState, Pool, Worker
from elastiq.planning.plan import plan
from tests.unit.planning.table import (
    BY_SHAPE,
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
        pytest.param(joined(1, closing_at=NOW - 9), (), True, id="closing before a crash: tried again"),
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


def test_a_vm_whose_termination_may_have_gone_through_is_ended_whoever_closed_it_since() -> None:
    record = joined(1, closing_at=NOW - 500, closed=True, doomed=True)
    workers = (worker(1, closed=True, closed_by_other=True),)
    assert ended(plan(see([record], workers=workers), remember([record]), PLAIN)) == [record.id]


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
