"""Lanes: what hangs in one of them holds up nobody for long, and no late answer is taken for a fresh one."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from elastiq.clock import Clock
from elastiq.errors import BatchError, CloudError, CloudFault
from elastiq.model import Judgement, Worker
from elastiq.plugins import Closing
from elastiq.process.lanes import (
    STUCK_CALLS,
    BatchLane,
    Lane,
    LaneBusyError,
)
from tests.unit.fakes import FakeBatch

LONG = 60.0
SHORT = 0.05
OVERTAKE = 1000.0
GIVE_UP = 10_000.0
"""So long that they pass only when a test says so, however slow the machine is."""


class Gate:
    """A function that blocks until it is let go, and says how often it was called."""

    def __init__(self, answer: object = "answer", error: BaseException | None = None) -> None:
        self.answer = answer
        self.error = error
        self.calls = 0
        self._counting = threading.Lock()
        self.entered = threading.Event()
        self.open = threading.Event()
        self.left = threading.Event()

    def __call__(self) -> object:
        with self._counting:
            self.calls += 1
        self.entered.set()
        self.open.wait(LONG)
        self.left.set()
        if self.error:
            raise self.error
        return self.answer


class SettableClock(Clock):
    """The real clock, plus time that the test adds."""

    added = 0.0

    def now(self) -> float:
        return super().now() + self.added


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def lane(clock: SettableClock) -> Iterator[Lane]:
    made = patient(clock)
    yield made
    made.retire()


def patient(clock: Clock) -> Lane:
    return Lane(
        "cloud",
        clock,
        ask_wait_seconds=LONG,
        act_wait_seconds=LONG,
        overtake_seconds=OVERTAKE,
        give_up_seconds=GIVE_UP,
    )


@contextmanager
def hanging(
    lane: Lane, gate: Gate, error: type[Exception] = LaneBusyError, match: str | None = None
) -> Iterator[pytest.ExceptionInfo[Exception]]:
    """Make a call that comes to the gate and is hardly waited for. Any other is, since its thread may be slow."""
    lane._ask_wait_seconds = lane._act_wait_seconds = SHORT
    with pytest.raises(error, match=match) as caught:
        yield caught
    lane._ask_wait_seconds = lane._act_wait_seconds = LONG
    assert gate.entered.wait(LONG)


def settle(lane: Lane, gate: Gate) -> None:
    """Let the call in hand end, and wait until the lane knows."""
    gate.open.set()
    while lane._current is not None and not lane._current.answered:
        gate.left.wait(0.001)


def test_an_answer_in_time_is_returned_from_another_thread(clock: SettableClock) -> None:
    assert patient(clock).ask("the list", threading.current_thread, "list") is not threading.current_thread()


def test_an_error_is_raised_as_it_is(clock: SettableClock) -> None:
    lane = patient(clock)
    error = CloudError("no", CloudFault.CAPACITY)

    def fail() -> None:
        raise error

    with pytest.raises(CloudError) as caught:
        lane.act("launching", fail)
    assert caught.value is error
    assert lane.ask("the list", lambda: 1, "list") == 1


def test_a_call_that_hangs_is_named_and_was_asked(lane: Lane, gate: Gate) -> None:
    with hanging(lane, gate, match=r"^cloud: RunInstances has not answered for \d+ s$") as caught:
        lane.ask("RunInstances", gate, "x")
    assert caught.value.call is not None


def test_another_call_is_left_out_at_once_while_one_hangs(clock: SettableClock, lane: Lane, gate: Gate) -> None:
    with hanging(lane, gate):
        lane.ask("the list", gate, "list")
    clock.added += 900
    with pytest.raises(LaneBusyError, match="the size was left out: the list has not answered for") as caught:
        lane.ask("the size", lambda: 1, "size")
    assert caught.value.call is None
    (seconds,) = re.findall(r"for (\d+) s$", str(caught.value))
    assert 900 <= int(seconds) < 900 + LONG, "it did not wait once more"


def test_the_same_question_is_not_asked_twice_and_its_late_answer_is_returned_once(lane: Lane, gate: Gate) -> None:
    for _ in range(2):
        with hanging(lane, gate):
            lane.ask("the list", gate, "list")
    assert gate.calls == 1
    settle(lane, gate)
    assert lane.ask("the list", gate, "list") == "answer"
    assert lane.ask("the list", gate, "list") == "answer"
    assert gate.calls == 2


def test_a_question_overtakes_a_call_that_has_been_silent_for_long(
    clock: SettableClock, lane: Lane, gate: Gate
) -> None:
    with hanging(lane, gate):
        lane.ask("the list", gate, "list")
    clock.added += OVERTAKE
    assert lane.ask("the list", lambda: "on a new connection", "list") == "on a new connection"
    settle(lane, gate)
    assert lane.ask("the list", lambda: "fresh", "list") == "fresh"


def test_of_two_calls_with_the_same_question_the_first_answer_is_taken(
    clock: SettableClock, lane: Lane, gate: Gate
) -> None:
    silent = Gate()
    with hanging(lane, gate):
        lane.ask("the list", gate, "list")
    clock.added += OVERTAKE
    threading.Thread(target=lambda: (silent.entered.wait(LONG), gate.open.set())).start()
    assert lane.ask("the list", silent, "list") == "answer"
    silent.open.set()


def test_the_failure_of_an_overtaken_question_is_of_no_use(clock: SettableClock, lane: Lane, gate: Gate) -> None:
    gate.error = CloudError("read timeout")
    with hanging(lane, gate):
        lane.ask("the list", gate, "list")
    clock.added += OVERTAKE
    (overtaken,) = lane._kept
    second = Gate("second")
    with hanging(lane, second):
        lane.ask("the list", second, "list")
    gate.open.set()
    while not overtaken.answered:
        gate.left.wait(0.001)
    settle(lane, second)
    assert lane.ask("the list", second, "list") == "second"


def test_no_act_overtakes_an_act(clock: SettableClock, lane: Lane, gate: Gate) -> None:
    with hanging(lane, gate):
        lane.act("closing w1", gate)
    clock.added += OVERTAKE
    assert lane.ask("the workers", lambda: 3, "workers") == 3
    with pytest.raises(LaneBusyError, match="reopening w1 was left out: closing w1 has not answered for") as caught:
        lane.act("reopening w1", lambda: None)
    assert caught.value.call is None


def test_an_act_makes_the_answers_of_overtaken_questions_worthless(
    clock: SettableClock, lane: Lane, gate: Gate
) -> None:
    with hanging(lane, gate):
        lane.ask("the list", gate, "list")
    clock.added += OVERTAKE
    (overtaken,) = lane._kept
    assert lane.ask("the size", lambda: 1, "size") == 1
    lane.act("launching", lambda: None)
    gate.open.set()
    while not overtaken.answered:
        gate.left.wait(0.001)
    assert lane.ask("the list", lambda: "fresh", "list") == "fresh"


def test_a_late_answer_survives_other_questions(lane: Lane, gate: Gate) -> None:
    with hanging(lane, gate):
        lane.ask("the workers", gate, "workers")
    settle(lane, gate)
    assert lane.ask("the queue", lambda: 5, "demand") == 5
    assert lane.ask("the workers", gate, "workers") == "answer"
    assert gate.calls == 1


def test_a_late_answer_to_a_question_is_worth_nothing_after_an_act(lane: Lane, gate: Gate) -> None:
    with hanging(lane, gate):
        lane.ask("the list", gate, "list")
    settle(lane, gate)
    lane.act("launching", lambda: None)
    assert lane.ask("the list", lambda: "fresh", "list") == "fresh"


def test_a_late_answer_to_an_act_is_never_taken_for_a_fresh_one(lane: Lane, gate: Gate) -> None:
    batch = FakeBatch()
    batch.close = lambda worker: gate()  # type: ignore[method-assign, assignment, return-value]
    gate.answer = Closing.CLOSED
    laned = BatchLane(batch, lane, lane)
    with hanging(lane, gate, BatchError, "closing w1 has not answered"):
        laned.close(Worker("w1"))
    with pytest.raises(BatchError, match="closing w1 was left out"):
        laned.close(Worker("w1"))
    settle(lane, gate)
    batch.close = lambda worker: Closing.BUSY  # type: ignore[method-assign, assignment, return-value]
    assert laned.close(Worker("w1")) is Closing.BUSY


def test_the_late_answer_to_an_act_is_told_by_its_call(clock: SettableClock, lane: Lane, gate: Gate) -> None:
    with hanging(lane, gate) as caught:
        lane.act("launching", gate)
    call = caught.value.call  # type: ignore[attr-defined]
    with pytest.raises(LaneBusyError, match=r"launching has not answered for \d+ s"):
        lane.late(call)
    settle(lane, gate)
    lane.act("launching more", lambda: ())
    assert lane.late(call) == "answer"
    assert gate.calls == 1


@pytest.mark.parametrize("why", ["given up", "retired"])
def test_a_call_that_nobody_waits_for_any_more_still_tells_its_answer(
    clock: SettableClock, lane: Lane, gate: Gate, why: str
) -> None:
    with hanging(lane, gate) as caught:
        lane.act("launching", gate)
    call = caught.value.call  # type: ignore[attr-defined]
    if why == "given up":
        clock.added += GIVE_UP + 1
        assert lane.ask("the list", lambda: 7, "list") == 7
    else:
        lane.retire()
    gate.open.set()
    while not call.answered:
        gate.left.wait(0.001)
    assert lane.late(call) == "answer"


def test_a_slow_system_is_not_asked_beside_its_own_slowness(clock: SettableClock, lane: Lane, gate: Gate) -> None:
    """Two listings at a time do not come sooner than one."""
    with hanging(lane, gate):
        lane.ask("the list", gate, "list")
    clock.added += OVERTAKE - 1
    settle(lane, gate)
    assert lane.ask("the list", gate, "list") == "answer"
    again = Gate()
    with hanging(lane, again):
        lane.ask("the list", again, "list")
    clock.added += OVERTAKE + 1
    with hanging(lane, again):
        lane.ask("the list", lambda: "asked beside the other", "list")
    clock.added += OVERTAKE
    assert lane.ask("the list", lambda: "a new connection", "list") == "a new connection"
    again.open.set()


@pytest.mark.long
def test_threads_that_hang_for_good_are_few(clock: SettableClock, lane: Lane, gate: Gate) -> None:
    before = set(threading.enumerate())
    for number in range(1, STUCK_CALLS + 6):
        with hanging(lane, gate):
            lane.ask("the list", gate, "list")
        while gate.calls < min(number, STUCK_CALLS + 1):
            gate.left.wait(0.001)
        clock.added += GIVE_UP + 1
    assert gate.calls == STUCK_CALLS + 1
    assert len(set(threading.enumerate()) - before) == STUCK_CALLS + 1


def test_a_signal_handler_ends_the_waiting(clock: SettableClock, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elastiq.process.lanes.STOP_GRACE_SECONDS", SHORT)
    lane = patient(clock)
    before = signal.signal(signal.SIGUSR1, lambda number, frame: lane.abandon())
    try:
        threading.Thread(target=lambda: (gate.entered.wait(LONG), os.kill(os.getpid(), signal.SIGUSR1))).start()
        with pytest.raises(LaneBusyError) as caught:
            lane.act("launching", gate)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert caught.value.call is not None
    with pytest.raises(LaneBusyError, match="elastiq is stopping") as caught:
        lane.ask("the list", lambda: 1, "list")
    assert caught.value.call is None


def test_a_stop_is_noticed_even_if_it_does_not_end_the_wait(
    clock: SettableClock, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal that comes just before the wait begins is handled only after it."""
    monkeypatch.setattr("elastiq.process.lanes.STOP_GRACE_SECONDS", SHORT)
    monkeypatch.setattr("elastiq.process.lanes.SLICE_SECONDS", SHORT)
    lane = patient(clock)

    def stop_without_waking() -> None:
        gate.entered.wait(LONG)
        lane._abandoned = True

    threading.Thread(target=stop_without_waking).start()
    with pytest.raises(LaneBusyError):
        lane.act("launching", gate)


def test_a_call_that_ends_within_the_grace_still_counts(
    clock: SettableClock, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elastiq.process.lanes.STOP_GRACE_SECONDS", LONG)
    lane = patient(clock)

    def stop_then_answer() -> None:
        gate.entered.wait(LONG)
        lane.abandon()
        gate.open.set()

    threading.Thread(target=stop_then_answer).start()
    assert lane.act("launching", gate) == "answer"


def test_a_plugin_that_does_not_judge_lets_every_job_run_everywhere(clock: SettableClock) -> None:
    class Plain:
        def check(self) -> str:
            return "2.0.0"

    batch = BatchLane(Plain(), patient(clock), patient(clock))  # type: ignore[arg-type]
    assert batch.check() == "2.0.0"
    assert batch.template(Worker("node-1")) == ""
    assert batch.judge(["", "gpu"], "of another plugin") == (Judgement(), Judgement())


def test_every_method_of_the_port_goes_through(clock: SettableClock) -> None:
    batch = BatchLane(FakeBatch(), patient(clock), patient(clock))
    assert batch.demand() == ()
    assert batch.workers() == ()
    assert batch.template(Worker("node-1")) == "like node"
    assert batch.judge(["", "b"], "") == (Judgement(), Judgement())


def test_advice_keeps_nothing_else_waiting(clock: SettableClock, lane: Lane, gate: Gate) -> None:
    batch = FakeBatch()
    batch.advice = gate  # type: ignore[method-assign, assignment]
    gate.answer = ("fill them",)
    aside = Lane("advice", clock, ask_wait_seconds=SHORT)
    laned = BatchLane(batch, lane, aside)
    with hanging(aside, gate, BatchError, "advice has not answered"):
        laned.advice()
    assert laned.demand() == ()
    assert laned.check() == "fake"
    settle(aside, gate)
    assert laned.advice() == ("fill them",)
    assert gate.calls == 1
