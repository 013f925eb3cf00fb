"""What an answer of a plugin can get wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from elastiq.model import Demand, Eligibility, Explanation, Judgement, Shape, Standing, Worker
from elastiq.plugins import EXPLANATION_LIMIT, TEMPLATE_LIMIT, WANTS_LIMIT
from elastiq.plugins.faults import (
    demand_faults,
    explanation_faults,
    judgement_faults,
    later_faults,
    template_faults,
    workers_faults,
)

WORKER = Worker("node-1", "i-1", "10.0.0.1", Shape(4, 8000), Shape(4, 8000), 0, 100.0)
UNREADABLE = "\x1b[31m\nline two"


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (5, "it is a int, not a Demand"),
        (Demand(Shape(0), 1), "shape.cpus is 0, not a number from 1"),
        (Demand(Shape(1, -1), 1), "shape.memory_mb is -1"),
        (Demand(Shape(1, 1.5), 1), "shape.memory_mb is 1.5"),  # type: ignore[arg-type]
        (Demand(Shape(True), 1), "shape.cpus is True"),
        (Demand(Shape(1, 10**13), 1), "shape.memory_mb is 1"),
        (Demand((1, 2), 1), "shape is a tuple, not a Shape"),  # type: ignore[arg-type]
        (Demand(Shape(1), 0), "jobs is 0, not a number from 1"),
        (Demand(Shape(1), None), "jobs is None"),  # type: ignore[arg-type]
        (Demand(Shape(1), 1, -1.0), "oldest_wait_seconds is -1.0"),
        (Demand(Shape(1), 1, 1_700_000_000.0), "oldest_wait_seconds is 1700000000.0, no time span"),
        (Demand(Shape(1), 1, float("nan")), "oldest_wait_seconds is nan"),
        (Demand(Shape(1), 1, None, 0), "vms_per_job is 0"),
        (Demand(Shape(None), 1), "shape.cpus is None"),  # type: ignore[arg-type]
        (Demand(Shape(1, "4G"), 1), "shape.memory_mb is '4G'"),  # type: ignore[arg-type]
        (Demand(Shape(1), 1, wants=None), "wants is 'None', no text of at most 4000"),  # type: ignore[arg-type]
        (Demand(Shape(1), 1, wants=("gpu",)), "wants is "),  # type: ignore[arg-type]
        (Demand(Shape(1), 1, wants="x" * (WANTS_LIMIT + 1)), "wants is"),
        (Demand(Shape(1), 1, takes_whole_vms=1), "takes_whole_vms is neither"),  # type: ignore[arg-type]
        (Demand(Shape(1), 1, running=-1), "running is -1, neither a number from 0 nor None"),
        (Demand(Shape(1), 1, running=True), "running is True"),
    ],
)
def test_faults_of_a_group(group: Any, expected: str) -> None:
    (fault,) = demand_faults((group,))
    assert fault.startswith(f"group 1: {expected}")


def test_groups_of_one_kind_belong_together() -> None:
    assert demand_faults((Demand(Shape(1), 1), Demand(Shape(1), 1, None, 2), Demand(Shape(2), 1))) == []
    (fault,) = demand_faults((Demand(Shape(1), 1), Demand(Shape(1), 2)))
    assert fault.endswith("is in 2 groups")
    (fault,) = demand_faults((Demand(Shape(1), 1, wants="a", running=0), Demand(Shape(1), 2, 3.0, wants="a")))
    assert fault.endswith("is in 2 groups")
    alike = (Demand(Shape(1), 1), Demand(Shape(1, 0), 1), Demand(Shape(1), 1, wants="a"))
    assert demand_faults((*alike, Demand(Shape(1), 1, takes_whole_vms=True), Demand(Shape(1, None, 5, None), 9))) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": ""}, "name is"),
        ({"name": None}, "name is"),
        ({"name": UNREADABLE}, "name is"),
        ({"instance_id": ""}, "instance_id is ''"),
        ({"instance_id": 1}, "instance_id is 1"),
        ({"address": "node-1"}, "address is 'node-1'"),
        ({"address": ""}, "address is ''"),
        ({"capacity": Shape(0)}, "capacity.cpus is 0"),
        ({"capacity": None}, "capacity is a NoneType"),
        ({"free": Shape(-1)}, "free.cpus is -1"),
        ({"free": Shape(5, 8000)}, "5 cpus are free of 4"),
        ({"free": Shape(4, 9000)}, "9000 memory_mb are free of 8000"),
        ({"free": Shape(4, 8000, 0, 1)}, "1 gpus are free of 0"),
        ({"capacity": Shape(4, 0), "free": Shape(4, 0)}, "capacity.memory_mb is 0, which no machine has: what is not"),
        ({"capacity": Shape(4, 8000, 0)}, "capacity.disk_mb is 0, which no machine has: what is not known is None"),
        ({"free": Shape(None)}, "free.cpus is None"),
        ({"hurt": None}, "hurt is None, neither True nor False"),
        ({"jobs": -1}, "jobs is -1"),
        ({"jobs": None}, "jobs is None"),
        ({"jobs": 1}, "it has 1 jobs and has been idle for 100 s"),
        ({"idle_seconds": -1}, "idle_seconds is -1"),
        ({"idle_seconds": "5"}, "idle_seconds is '5'"),
        ({"idle_seconds": float("inf")}, "idle_seconds is inf"),
        ({"idle_seconds": 1_700_000_000}, "idle_seconds is 1700000000, no time span"),
        ({"closed": None}, "closed is None"),
        ({"closed": 1}, "closed is 1"),
        ({"closed_by_other": True}, "closed_by_other is True, but closed is not"),
    ],
)
def test_faults_of_a_worker(changes: dict[str, Any], expected: str) -> None:
    (fault,) = workers_faults((replace(WORKER, **changes),))
    assert expected in fault


def test_workers_that_are_all_right() -> None:
    workers = (
        WORKER,
        replace(WORKER, name="node-2", instance_id="i-2", address=None, jobs=2, idle_seconds=None, free=Shape(0, 1)),
        replace(WORKER, name="node-3", instance_id=None, capacity=Shape(1), free=Shape(1, 500), idle_seconds=0),
        replace(WORKER, name="node-3", instance_id=None, address="10.0.0.9", closed=True, closed_by_other=True),
        replace(WORKER, name="node-4", instance_id=None, free=Shape(0, 0, None, None), hurt=True),
        replace(WORKER, name="node-5", instance_id=None, capacity=Shape(4, None, None, None), free=Shape(4, 0, 0, 9)),
    )
    assert workers_faults(workers) == []


def test_workers_that_are_not_one_each() -> None:
    assert workers_faults((WORKER, replace(WORKER, instance_id="i-2"))) == [
        "2 workers are called node-1 at 10.0.0.1",
    ]
    assert workers_faults((WORKER, replace(WORKER, name="node-2"))) == ["2 workers have the instance id i-1"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (None, "it is a NoneType, not a text"),
        (b"like node-1", "it is a bytes, not a text"),
        ("", "it is empty, which means that there is none"),
        ("x" * (TEMPLATE_LIMIT + 1), "it has 100001 characters, more than 100000"),
    ],
)
def test_faults_of_a_template(template: object, expected: str) -> None:
    assert template_faults(template) == [expected]
    assert template_faults("\0\n\ud800" + "x" * (TEMPLATE_LIMIT - 3)) == []


NO = Judgement(Eligibility.NO, "no gpu")


@pytest.mark.parametrize(
    ("judged", "expected"),
    [
        (None, "it is 'None', not a tuple of 2"),
        ([NO, NO], "it is "),
        ((NO,), "it is "),
        ((NO, None), "judgement 2 is 'None', not a Judgement"),
        ((Eligibility.NO, NO), "judgement 1 is "),
        ((Judgement("no", "no gpu"), NO), "judgement 1 is "),  # type: ignore[arg-type]
        ((NO, Judgement(Eligibility.NO)), "judgement 2 is no with the reason \"''\""),
        ((NO, Judgement(Eligibility.UNKNOWN)), "judgement 2 is unknown with the reason"),
        ((NO, Judgement(Eligibility.YES, "gpu")), "judgement 2 is yes with the reason"),
        ((NO, Judgement(Eligibility.NO, None)), "judgement 2 is no with the reason"),  # type: ignore[arg-type]
        ((NO, Judgement(Eligibility.NO, UNREADABLE)), "judgement 2 is no with the reason"),
    ],
)
def test_faults_of_judgements(judged: object, expected: str) -> None:
    (fault,) = judgement_faults(judged, 2)
    assert fault.startswith(expected)


def test_judgements_that_are_all_right() -> None:
    assert judgement_faults((NO, Judgement(), Judgement(Eligibility.UNKNOWN, "no worker yet")), 3) == []
    assert judgement_faults((), 0) == []


@pytest.mark.parametrize(
    ("before", "after", "elapsed_seconds", "faults"),
    [
        (100.0, 105.0, 5.0, 0),
        (100.0, 100.0, 5.0, 0),  # nothing new was reported
        (100.0, 400.0, 5.0, 0),  # the first report for five minutes
        (100.0, 4.0, 5.0, 0),  # a job came and went
        (100.0, 99.0, 5.0, 0),  # rounded
        (100.0, 90.0, 5.0, 1),
        (100.0, 100_000.0, 5.0, 1),
        (None, 100_000.0, 5.0, 0),
        (100.0, None, 5.0, 0),
    ],
)
def test_idle_times_that_can_both_be_true(
    before: float | None, after: float | None, elapsed_seconds: float, faults: int
) -> None:
    pair = [replace(WORKER, idle_seconds=seconds) for seconds in (before, after)]
    assert len(later_faults(pair[:1], pair[1:], elapsed_seconds)) == faults


WAITS = Explanation(Standing.WAITS, "no match found", Demand(Shape(), 1))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, "it is 'None', not an Explanation"),
        (Explanation("held"), "it is "),  # type: ignore[arg-type]
        (replace(WAITS, text=None), "its text is 'None'"),
        (replace(WAITS, text="a\nb"), "its text is "),
        (replace(WAITS, text="a" * (EXPLANATION_LIMIT + 1)), "its text is "),
        (replace(WAITS, group=None), "waits, but in no group"),
        (Explanation(Standing.HELD, "", WAITS.group), "held, but in a group"),
        (replace(WAITS, group=Demand(Shape(), 0)), "its group: jobs is 0"),
        (replace(WAITS, group=7), "its group: it is a int, not a Demand"),
    ],
)
def test_faults_of_an_explanation(answer: object, expected: str) -> None:
    (fault,) = explanation_faults(answer)
    assert fault.startswith(expected)


def test_explanations_that_are_all_right() -> None:
    assert explanation_faults(WAITS) == []
    assert all(explanation_faults(Explanation(one)) == [] for one in Standing if one is not Standing.WAITS)
