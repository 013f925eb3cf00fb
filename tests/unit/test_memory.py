"""What is told of a VM by what is remembered of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.memory import Intent, Memory, Stage, VmRecord
from elastiq.model import InstanceState

JOINED = VmRecord("i-1", state=InstanceState.RUNNING, joined_at=5.0)


@pytest.mark.parametrize(
    ("record", "stage"),
    [
        (VmRecord("i-1"), Stage.BOOTING),
        (JOINED, Stage.WORKING),
        (replace(JOINED, lost_since=7.0), Stage.OUT_OF_SIGHT),
        (replace(JOINED, missing_since=7.0), Stage.UNLISTED),
        (replace(JOINED, state=InstanceState.STOPPED), Stage.BROKEN),
        (replace(JOINED, state=InstanceState.ERROR, missing_since=7.0), Stage.UNLISTED),
        (replace(JOINED, closing_at=7.0, missing_since=7.0), Stage.LEAVING),
        (replace(JOINED, doomed=True), Stage.LEAVING),
        (replace(JOINED, closed=True, terminated_at=8.0), Stage.GOING),
    ],
    ids=lambda value: value.value if isinstance(value, Stage) else "",
)
def test_a_vm_is_at_one_stage_of_its_life(record: VmRecord, stage: Stage) -> None:
    assert record.stage is stage


def test_only_a_vm_that_the_cloud_says_is_on_its_way_out_does_not_count() -> None:
    accepted = replace(JOINED, terminated_at=8.0)
    assert JOINED.counts and accepted.counts
    assert not replace(accepted, state=InstanceState.STOPPING).counts
    assert replace(JOINED, state=InstanceState.STOPPING).counts, "nobody asked for its end"


def test_a_worker_that_may_be_dying_is_not_reopened() -> None:
    closed = replace(JOINED, closing_at=7.0, closed=True)
    assert closed.may_reopen
    for change in ({"doomed": True}, {"terminated_at": 8.0}, {"state": InstanceState.PENDING}):
        assert not replace(closed, **change).may_reopen  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("record", "is_awaited"),
    [
        (VmRecord("i-1"), True),
        (JOINED, False),
        (replace(JOINED, lost_since=7.0), True),
        (replace(JOINED, missing_since=7.0), False),
        (replace(JOINED, lost_since=7.0, missing_since=7.0), True),
        (VmRecord("i-1", closing_at=7.0), False),
        (VmRecord("i-1", doomed=True, missing_since=7.0), True),
        (replace(JOINED, doomed=True, missing_since=7.0), True),
        (replace(JOINED, lost_since=7.0, missing_since=7.0, terminated_at=8.0), False),
    ],
)
def test_what_is_waited_for_until_it_is_given_up(record: VmRecord, is_awaited: bool) -> None:
    """A VM whose worker is in sight counts for as long as it is, whatever listings say."""
    assert record.is_awaited is is_awaited
    assert Memory(vms={"i-1": record}).is_patient is is_awaited


def test_launches_are_waited_for_but_those_that_need_people() -> None:
    intent = Intent("t", "default", 2, 0.0)
    assert Memory(intents=(intent,)).is_patient
    assert not Memory(intents=(replace(intent, lookalikes=("i-9",)),)).is_patient
    assert Memory(intents=(replace(intent, lookalikes=("i-9",), unseen_since=5.0),)).is_patient
    assert not Memory().is_patient


def test_vms_of_a_launch_that_have_not_turned_up() -> None:
    intent = Intent("t", "default", 2, 0.0)
    assert Memory().unseen(intent) == 2
    assert Memory(vms={"i-1": replace(JOINED, token="t")}).unseen(intent) == 1
    assert Memory(vms={f"i-{n}": VmRecord(f"i-{n}", token="t") for n in range(3)}).unseen(intent) == 0
    found = replace(intent, found=("i-1", "i-2"))
    assert Memory().unseen(found) == 0, "whatever became of them"
    assert Memory(vms={"i-1": VmRecord("i-1", token="t")}).unseen(replace(intent, found=("i-1",))) == 1
