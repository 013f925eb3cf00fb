"""What follows from what is remembered of a VM."""

from __future__ import annotations

import pytest

from elastiq.memory import Intent, Memory, Stage, VmRecord
from elastiq.model import InstanceState

RUNNING = InstanceState.RUNNING


@pytest.mark.parametrize(
    ("record", "stage", "works", "counts", "may_reopen"),
    [
        (VmRecord("i-1"), Stage.BOOTING, True, True, False),
        (VmRecord("i-1", state=RUNNING, joined_at=5.0), Stage.WORKING, True, True, True),
        (VmRecord("i-1", state=RUNNING, joined_at=5.0, lost_since=9.0), Stage.OUT_OF_SIGHT, True, True, True),
        (VmRecord("i-1", state=RUNNING, joined_at=5.0, missing_since=9.0), Stage.UNLISTED, True, True, True),
        (VmRecord("i-1", state=InstanceState.STOPPED), Stage.BROKEN, False, True, False),
        (VmRecord("i-1", state=InstanceState.ERROR), Stage.BROKEN, False, True, False),
        (VmRecord("i-1", state=RUNNING, joined_at=5.0, closing_at=9.0), Stage.LEAVING, False, True, True),
        (VmRecord("i-1", state=RUNNING, joined_at=5.0, doomed=True), Stage.LEAVING, False, True, False),
        (VmRecord("i-1", state=RUNNING, joined_at=5.0, terminated_at=9.0), Stage.GOING, False, True, False),
        (VmRecord("i-1", state=InstanceState.STOPPING, terminated_at=9.0), Stage.GOING, False, False, False),
        (VmRecord("i-1", state=InstanceState.STOPPING), Stage.BROKEN, False, True, False),
    ],
)
def test_the_life_of_a_vm(record: VmRecord, stage: Stage, works: bool, counts: bool, may_reopen: bool) -> None:
    assert (record.stage, record.works, record.counts, record.may_reopen) == (stage, works, counts, may_reopen)


def test_patience_with_a_boot_begins_again_with_the_daemon() -> None:
    assert VmRecord("i-1", launched_at=5.0).awaited_since == 5.0
    assert VmRecord("i-1", launched_at=5.0, restarted_at=9.0).awaited_since == 9.0


@pytest.mark.parametrize(
    ("values", "expected"), [({}, True), ({"joined_at": 5.0}, False), ({"failed_boot": True}, False)]
)
def test_how_a_boot_ends_is_open_until_it_is_known(values: dict[str, float], expected: bool) -> None:
    assert VmRecord("i-1", **values).may_yet_join is expected  # type: ignore[arg-type]


def test_vms_of_a_launch_that_have_not_turned_up() -> None:
    intent = Intent("t", "default", 2, 5.0)
    assert Memory(vms={"i-1": VmRecord("i-1", token="t")}).unseen(intent) == 1
    many = {f"i-{number}": VmRecord(f"i-{number}", token="t") for number in range(3)}
    assert Memory(vms=many).unseen(intent) == 0
