"""A plan as a whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.decisions import Kind, Token
from elastiq.memory import Intent, Memory, VmRecord
from elastiq.model import InstanceState
from elastiq.planning.plan import plan
from tests.unit.planning.table import (
    NOW,
    PLAIN,
    jobs,
    joined,
    of,
    remember,
    see,
    vm,
    worker,
)


def test_the_waiting_time_starts_goes_on_and_is_forgotten() -> None:
    first = plan(see([], demand=(jobs(8),)), Memory(), PLAIN)
    assert first.memory.waiting_since == NOW
    unknown = plan(replace(see([]), demand=None), first.memory, PLAIN)
    assert unknown.memory.waiting_since == NOW, "a failed query leaves it untouched"
    assert plan(see([]), first.memory, PLAIN).memory.waiting_since is None


def test_the_summary_is_one_sentence() -> None:
    records = [joined(1)]
    seen = see(records, demand=(jobs(8),), workers=(worker(1, running=4),))
    made = plan(seen, remember(records, waiting_since=NOW - 50), PLAIN)
    assert made.summary == "jobs 8 waiting; workers 1 busy, 0 idle; VMs 0 pending, 1 running of 0..5: launch 2"


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([vm(1, state=InstanceState.ERROR)], "0 running, 1 in error of"),
        ([vm(1, state=InstanceState.STOPPED), vm(2)], "1 running, 1 stopped of"),
        ([vm(1, state=InstanceState.STOPPING)], "0 running, 1 leaving of"),
        ([joined(1, closing_at=NOW - 5, doomed=True), vm(2, state=InstanceState.PENDING)], "1 pending, 0 running, 1 l"),
        ([joined(1, terminated_at=NOW - 5, state=InstanceState.STOPPING)], "0 pending, 0 running of"),
    ],
)
def test_only_vms_that_run_are_called_running(records: list[VmRecord], said: str) -> None:
    made = plan(see(records), remember(records), PLAIN)
    assert said in made.summary
    figures = made.figures
    count = figures.vms_pending + figures.vms_running + figures.vms_leaving + figures.vms_in_error + figures.vms_stopped
    assert count == sum(record.counts for record in records)


def test_unconfirmed_vms_are_told_with_how_long_they_count_at_most() -> None:
    lost = Intent("t", "default", 2, NOW - 30)
    made = plan(see([]), remember([], intents=(lost,)), PLAIN)
    assert "0 running, 2 unconfirmed for 400 s more at most of 0..5" in made.summary
    assert made.figures.unconfirmed_until == NOW + 400
    unseen = replace(lost, requested_at=NOW - 300, unseen_since=NOW - 100)
    late = replace(lost, requested_at=NOW - 900, unseen_since=NOW - 301)
    made = plan(see([], instances=None), remember([], intents=(unseen,)), PLAIN)
    assert "2 unconfirmed for 200 s more at most" in made.summary
    made = plan(see([], instances=None), remember([], intents=(late,)), PLAIN)
    assert "2 unconfirmed until a listing leaves them out of" in made.summary
    for_people = replace(lost, requested_at=NOW - 900, lookalikes=("i-7", "i-8"))
    made = plan(see([], instances=None), remember([], intents=(for_people,)), PLAIN)
    assert "2 unconfirmed of 0..5" in made.summary


def test_a_fault_is_not_told_again_for_each_question_that_it_kept_from_being_put() -> None:
    first = "queue check failed: batch system: the queue has not answered for 30 s"
    faults = (
        "worker check failed: batch system: the workers was left out: the queue has not answered for 31 s",
        first,
        first,
        "VM check failed: cloud: no connection",
    )
    made = plan(see([], demand=None, workers=None, instances=None, faults=faults), Memory(), PLAIN)
    assert made.summary.count("has not answered") == 1
    assert f"({first}; VM check failed: cloud: no connection)" in made.summary
    made = plan(see([], demand=None, workers=None, faults=faults[:1]), Memory(), PLAIN)
    assert faults[0] in made.summary


def test_the_first_reason_is_kept_while_a_vm_goes_and_no_longer() -> None:
    record = joined(1)
    idle = see([record], workers=(worker(1, idle_seconds=3700),))
    kept = plan(idle, remember([record]), PLAIN).memory.vms[record.id]
    assert kept.goes_because == "idle for 3700 s, more than idle_for_time_s 3600"
    failed = replace(kept, closing_at=NOW - 5, closed=True, doomed=True)
    (again,) = of(plan(idle, remember([failed]), PLAIN), Kind.TERMINATE)
    assert (again.reason.token, str(again.reason)) == (Token.UNFINISHED, f"{kept.goes_because}; retried")
    retried = plan(idle, remember([failed]), PLAIN).memory.vms[record.id]
    assert retried.goes_because == kept.goes_because
    later = plan(idle, remember([replace(failed, terminate_retry_at=NOW + 9)]), PLAIN)
    assert str(later.verdicts[0].reason).endswith(f": {kept.goes_because}")
    busy = plan(see([record], workers=(worker(1, running=1),)), remember([kept]), PLAIN)
    assert busy.memory.vms[record.id].goes_because == "", "a job got in first"
