"""What happened is told once, however often it comes to the same."""

from __future__ import annotations

from elastiq.decisions import Decision, End, Kind, Outcome, Plan, Reason, Step, Token
from elastiq.memory import Memory
from elastiq.model import Offer
from elastiq.report.events import HOLD_LASTS_SECONDS, SAME_AGAIN_SECONDS, Events

FULL = Decision(Kind.HOLD, Reason(Token.QUOTA_FULL, "2 VMs more are wanted than max_vms leaves", "default"))
LAUNCH = Decision(Kind.LAUNCH, Reason(Token.NO_ROOM, "8 jobs lack room"), "default", 2)
SPOT = Decision(LAUNCH.kind, LAUNCH.reason, "batch", 2, walk=(Step(Offer("spot", "m5.large", "subnet-1"), 2),))
END = Decision(Kind.TERMINATE, Reason(Token.IDLE, "idle for 310 s", "i-1"), instance_id="i-1")


def plan(*decisions: Decision) -> Plan:
    return Plan(decisions, Memory(), "")


def told(events: Events) -> list[tuple[float, str, str, str]]:
    return [(event.at, event.kind, event.token, event.subject) for event in events.take()]


def test_a_hold_begins_and_ends_once() -> None:
    events = Events(str)
    for now in (0.0, 10.0, 20.0):
        events.plan(plan(FULL), now)
    events.plan(plan(), 30.0)
    events.plan(plan(FULL), 40.0)
    assert told(events) == [(0.0, "hold", "quota-full", "default")], "what is back at once was not over"
    events.plan(plan(), 40.0 + HOLD_LASTS_SECONDS)
    assert told(events) == []
    events.plan(plan(), 41.0 + HOLD_LASTS_SECONDS)
    assert told(events) == [(40.0, "hold-over", "quota-full", "default")]


def test_a_vm_that_is_gone_neither_begins_nor_ends() -> None:
    events = Events(str)
    events.plan(plan(Decision(Kind.HOLD, Reason(Token.VM_ENDED, "VM i-1 has ended", "i-1"))), 1.0)
    events.plan(plan(), 1000.0)
    assert told(events) == [(1.0, "gone", "vm-ended", "i-1")]


def test_what_is_refused_again_and_again_is_told_every_hour_and_after_it_worked() -> None:
    events = Events(str)
    refused = Outcome(LAUNCH, End.FAILED, "no capacity", cause=Token.CLOUD_CAPACITY)
    for now in (0.0, 60.0, 120.0):
        events.outcomes([refused], now)
    assert told(events) == [(0.0, "launch", "cloud-capacity", "default")]
    events.outcomes([refused], SAME_AGAIN_SECONDS)
    assert len(told(events)) == 1
    events.outcomes([Outcome(LAUNCH, End.DONE, "launched i-1, i-2")], SAME_AGAIN_SECONDS + 1)
    events.outcomes([refused], SAME_AGAIN_SECONDS + 2)
    assert [token for _, _, token, _ in told(events)] == ["no-room", "cloud-capacity"]


def test_a_sentence_says_what_was_done_where_and_why_in_one_line_without_secrets() -> None:
    events = Events(lambda text: text.replace("hunter2", "***"))
    events.outcomes([Outcome(SPOT, End.FAILED, "refused:\nhunter2 is wrong", cause=Token.CLOUD_CREDENTIALS)], 1.0)
    events.outcomes([Outcome(END, End.DONE, "terminated")], 2.0)
    launch, end = events.take()
    assert launch.text == (
        "launch 2 VMs of pool batch at spot m5.large subnet-1: 8 jobs lack room; refused: *** is wrong"
    )
    assert end.text == "terminate VM i-1: idle for 310 s; terminated"
    assert (end.kind, end.token, end.subject) == ("terminate", "idle", "i-1")
