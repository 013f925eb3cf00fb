"""What is said of VMs that are gone, and that were not to go."""

from __future__ import annotations

from dataclasses import replace

from elastiq.decisions import Kind, Token
from elastiq.model import Instance, InstanceState
from elastiq.planning import patience
from elastiq.planning.plan import plan
from tests.unit.planning.table import NOW, PLAIN, joined, of, remember, see, vm

LONG_AGO = NOW - patience.MISSING_GRACE_SECONDS - 15


def test_a_vm_that_the_cloud_says_has_ended_is_told_with_the_clouds_reason_also_if_it_never_joined() -> None:
    records = [vm(1), joined(2), joined(3)]
    ended = tuple(
        Instance(record.id, InstanceState.TERMINATED, detail=detail)
        for record, detail in zip(records, ("Client.UserInitiated", "Client.UserInitiated", ""))
    )
    made = plan(see([], instances=ended), remember(records), PLAIN)
    assert [(str(one.reason), one.reason.token) for one in of(made, Kind.HOLD)] == [
        (
            "VMs i-00000001, i-00000002 are gone and elastiq did not terminate them: "
            "the cloud says that they ended: Client.UserInitiated",
            Token.VM_ENDED,
        ),
        (
            "VM i-00000003 is gone and elastiq did not terminate it: the cloud says that it ended: no reason given",
            Token.VM_ENDED,
        ),
    ]
    assert [one.detail for one in made.departed][1] == "the cloud says that it ended: Client.UserInitiated"
    assert "is gone" not in made.summary, "it has a line of its own"


def test_a_vm_that_has_vanished_is_told_with_for_how_long_it_was_out_of_sight() -> None:
    records = [vm(1, missing_since=LONG_AGO), joined(2, missing_since=LONG_AGO, lost_since=LONG_AGO)]
    made = plan(see([]), remember(records), PLAIN)
    assert [one.reason.token for one in of(made, Kind.HOLD)] == [Token.VM_VANISHED] * 2
    assert [one.detail for one in made.departed] == [
        "the cloud has not listed it for 615 s, and no worker was seen",
        "the cloud has not listed it for 615 s, nor has the batch system shown the worker for 615 s",
    ]


def test_a_vm_that_ended_after_a_termination_without_an_answer_is_not_said_to_have_ended_by_itself() -> None:
    record = joined(1, closing_at=NOW - 99, closed=True, doomed=True)
    gone = Instance(record.id, InstanceState.TERMINATED, detail="Client.UserInitiatedShutdown")
    vanished = replace(record, missing_since=LONG_AGO)
    for made in (
        plan(see([], instances=(gone,)), remember([record]), PLAIN),
        plan(see([]), remember([vanished]), PLAIN),
    ):
        (hold,) = of(made, Kind.HOLD)
        assert hold.reason.token is Token.ENDED_AFTER_ALL
        assert "is gone after a termination without a clear answer: the cloud " in str(hold.reason)
        assert str(hold.reason) in made.summary
        assert not made.departed


def test_many_vms_that_ended_alike_are_one_reason() -> None:
    records = [joined(number) for number in range(1, 101)]
    ended = tuple(Instance(record.id, InstanceState.TERMINATED) for record in records)
    (hold,) = of(plan(see([], instances=ended), remember(records), PLAIN), Kind.HOLD)
    assert "i-00000005 and 95 more are gone" in str(hold.reason)
