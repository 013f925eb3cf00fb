"""Threads of their own for the outside systems, so that what hangs never keeps the loop from asking the others.

The batch system has one; those of the cloud are in elastiq.process.cloud_lanes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from elastiq.clock import Clock
from elastiq.errors import BatchError, ElastiqError
from elastiq.model import Demand, Judgement, Worker
from elastiq.plugins import BatchSystem, Closing
from elastiq.plugins.adapter import Adapter

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

ASK_WAIT_SECONDS = 5.0
"""How long the loop waits for the answer to a question. With ACT_WAIT_SECONDS it bounds by how much the silence of one
system delays the checks of the other."""

ACT_WAIT_SECONDS = 8.0
"""How long the loop waits for the answer to an act. Longer, because a late answer of a batch system is of no use."""

GIVE_UP_SECONDS = 900.0
"""When a call that still has no answer is left to itself. Well above the deadlines that the ports keep for their own
calls, so that it only ever meets one whose deadline failed."""

SLICE_SECONDS = 1.0
"""For so long is waited at a time: a signal that comes just before a wait does not end it, and is handled after it."""

OVERTAKE_SECONDS = 10.0
"""A question may overtake a call that has been silent for so long: an outage often ends on new connections only, while
old ones stay silent until their own deadline. Less than one poll, so that the poll after the outage finds an answer."""

OVERTAKE_USUAL = 2.0
"""But not before it took so many times as long as the last answer to it did: a slow system is not helped by more
questions."""

STUCK_CALLS = 4
"""So many calls may be overtaken or left to themselves at a time before no further one is made."""

STOP_GRACE_SECONDS = 2.0
"""How long a call in hand may still take to end when the daemon is told to stop (it must be gone within 5 s)."""

ADVICE_WAIT_SECONDS = 1.0
"""How long the loop waits for advice, which nothing depends on; later than that it is fetched when it is asked for
again."""

KEPT_ANSWERS = 100
"""How many late answers to questions are kept for the caller; the oldest goes first."""


class LaneBusyError(ElastiqError):
    """The outside system has not answered in time, or still owes the answer to another call."""

    def __init__(self, message: str, call: _Call | None = None) -> None:
        super().__init__(message)
        self.call = call
        """The call, if it was made and may still take effect; None if it never left."""


class _Call:
    """One call on its way through a lane's thread."""

    def __init__(
        self,
        what: str,
        key: str,
        function: Callable[[], Any],
        *,
        act: bool,
        started_at: float,
        extra_seconds: float = 0.0,
    ) -> None:
        self.what = what
        self.key = key
        """By what a question is known again; empty for an act."""
        self.function = function
        self.act = act
        self.started_at = started_at
        self.extra_seconds = extra_seconds
        """How much longer than others it may take before it is given up."""
        self.answered = False
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.function()
        except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread, not swallowed
            self.error = error
        self.answered = True

    def collect(self) -> Any:
        """Return what the function returned, or raise what it raised."""
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # its traceback holds this frame: a cycle that would keep all of it alive
        return self.result


class Lane:
    """Runs the calls to one outside system one after the other in a thread of their own.

    Used by the loop's thread alone; only `abandon` may also be called by a signal handler.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        ask_wait_seconds: float = ASK_WAIT_SECONDS,
        act_wait_seconds: float = ACT_WAIT_SECONDS,
        overtake_seconds: float = OVERTAKE_SECONDS,
        give_up_seconds: float = GIVE_UP_SECONDS,
    ) -> None:
        self.name = name
        self._clock = clock
        self._ask_wait_seconds = ask_wait_seconds
        self._act_wait_seconds = act_wait_seconds
        self._overtake_seconds = overtake_seconds
        self._give_up_seconds = give_up_seconds
        self._calls: SimpleQueue[_Call | None] | None = None
        # SimpleQueue.put is reentrant: a signal handler may wake the very thread that it interrupts.
        self._news: SimpleQueue[None] = SimpleQueue()
        self._current: _Call | None = None
        self._kept: list[_Call] = []
        """Questions whose answers may still be returned, the oldest first."""
        self._usual_seconds: dict[str, float] = {}
        """How long the last answer to a question took to come, or to be asked for again, by its key."""
        self._stuck: list[_Call] = []
        self._abandoned = False

    def ask(self, what: str, function: Callable[[], Answer], key: str) -> Answer:
        """Run `function`, which changes nothing, in the lane's thread; return or raise what it does.

        `what` names the call in messages. If it is not answered in time it goes on. Asked for again with the same
        `key` it is waited for, or its answer returned if it came meanwhile, once. Only after OVERTAKE_SECONDS of
        silence it is made again beside the old one, and the first answer is taken. An act in between makes an answer
        worthless.

        Raise LaneBusyError if there is no answer in time, or at once if another call is still unanswered and must not
        be overtaken yet.
        """
        answer: Answer = self._call(_Call(what, key, function, act=False, started_at=self._clock.now()))
        return answer

    def act(self, what: str, function: Callable[[], Answer], *, extra_seconds: float = 0.0) -> Answer:
        """Run `function`, which changes something, in the lane's thread; return or raise what it does.

        It is given up `extra_seconds` later than others. Raise LaneBusyError as `ask` does; what comes late is told by
        `late`.
        """
        now = self._clock.now()
        answer: Answer = self._call(_Call(what, "", function, act=True, started_at=now, extra_seconds=extra_seconds))
        return answer

    def late(self, call: _Call) -> Any:
        """Return or raise what a call came to that was not answered in time. Raise LaneBusyError while it is not.

        Also if it was given up, or the lane retired: the thread of a call goes on to its end.
        """
        if not call.answered:
            raise LaneBusyError(f"{self.name}: {self._silence(call)}", call)
        return call.collect()

    def abandon(self) -> None:
        """End the waiting: a call in hand has STOP_GRACE_SECONDS left, any further one raises LaneBusyError."""
        self._abandoned = True
        self._news.put(None)

    def retire(self) -> None:
        """Let the thread end after the call in hand; the lane is of no more use."""
        self._leave_thread()

    def _call(self, call: _Call) -> Any:
        if self._abandoned:
            raise LaneBusyError(f"{self.name}: {call.what} was left out: elastiq is stopping")
        self._leave_if_overdue(call)
        silent = self._in_the_way(call)
        if silent is not None:
            raise LaneBusyError(f"{self.name}: {call.what} was left out: {self._silence(silent)}")
        if self._current is not None and not self._current.answered:
            call = self._current
        elif self._answered(call.key) is None:
            self._start(call)
        if not self._wait_for(call):
            raise LaneBusyError(f"{self.name}: {self._silence(call)}", call)
        answered = self._answered(call.key) or call
        if call.key:
            self._usual_seconds[call.key] = self._seconds(answered)
        # What else may still answer to the same question is older news.
        self._kept = [kept for kept in self._kept if kept.key != call.key]
        return answered.collect()

    def _in_the_way(self, call: _Call) -> _Call | None:
        """Return the unanswered call because of which `call` cannot be made now."""
        calls = [self._current] if self._current else []
        if call.act:
            # Acts keep their order: one that is on its way may undo what a later one did.
            calls += [stuck for stuck in self._stuck if stuck.act and not self._overdue(stuck)]
        same = call.key
        return next((one for one in calls if not one.answered and not (same and one.key == same)), None)

    def _answered(self, key: str) -> _Call | None:
        """Return the youngest question of `key` whose answer waits to be returned.

        Neither what comes after long nor the failure of an overtaken one is of any use.
        """
        for call in reversed(self._kept):
            useful = call is self._current or (call.error is None and not self._overdue(call))
            if call.key == key and call.answered and useful:
                return call
        return None

    def _silence(self, call: _Call) -> str:
        return f"{call.what} has not answered for {self._seconds(call):.0f} s"

    def _seconds(self, call: _Call) -> float:
        return self._clock.now() - call.started_at

    def _overdue(self, call: _Call) -> bool:
        return self._seconds(call) >= self._give_up_seconds + call.extra_seconds

    def _start(self, call: _Call) -> None:
        if self._calls is None:
            calls: SimpleQueue[_Call | None] = SimpleQueue()
            threading.Thread(target=_serve, args=(calls, self._news), name=self.name, daemon=True).start()
            self._calls = calls
        self._kept = [] if call.act else [*self._kept, call][-KEPT_ANSWERS:]
        self._current = call
        self._calls.put(call)

    def _wait_for(self, call: _Call) -> bool:
        """Return whether `call` was answered in time, which is cut short when the daemon is told to stop."""
        while not self._news.empty():
            self._news.get_nowait()
        deadline = self._clock.now() + (self._act_wait_seconds if call.act else self._ask_wait_seconds)
        stopping = False
        while not (call.answered or self._answered(call.key)):
            now = self._clock.now()
            if self._abandoned and not stopping:
                stopping = True
                deadline = min(deadline, now + STOP_GRACE_SECONDS)
            if now >= deadline:
                break
            with suppress(Empty):
                self._news.get(timeout=min(SLICE_SECONDS, deadline - now))
        return call.answered or self._answered(call.key) is not None

    def _leave_if_overdue(self, call: _Call) -> None:
        """Leave a silent call and its thread to themselves if `call` may overtake it, or if it hangs for good."""
        self._stuck = [stuck for stuck in self._stuck if not stuck.answered]
        silent = self._current
        if silent is None or silent.answered or len(self._stuck) >= STUCK_CALLS:
            return
        if self._overdue(silent):
            log.error("%s: %s; no longer waiting for it", self.name, self._silence(silent))
        elif call.act or self._seconds(silent) < self._patience_seconds(silent):
            return
        self._stuck.append(silent)
        self._leave_thread()
        self._current = None

    def _patience_seconds(self, call: _Call) -> float:
        return max(self._overtake_seconds, OVERTAKE_USUAL * self._usual_seconds.get(call.key, 0.0))

    def _leave_thread(self) -> None:
        if self._calls is not None:
            self._calls.put(None)
        self._calls = None


def _serve(calls: SimpleQueue[_Call | None], news: SimpleQueue[None]) -> None:
    """Run calls until None comes."""
    for call in iter(calls.get, None):
        call.run()
        news.put(None)


class BatchLane:
    """A BatchSystem in a lane, and a Matchmaker even if it is none. Its methods and those of CloudLane are written out,
    for in a table their arguments would have no types (ParamSpec is not in Python 3.9)."""

    def __init__(self, batch: BatchSystem, lane: Lane, aside: Lane, name: str = "") -> None:
        """`aside` is for what nobody waits for: it must not keep a question waiting that something depends on. `name`
        is what the configuration calls the plugin."""
        self._batch, self._lane, self._aside = Adapter(batch, name), lane, aside

    def demand(self) -> tuple[Demand, ...]:
        return self._ask("the queue check", self._batch.demand, "demand")

    def workers(self) -> tuple[Worker, ...]:
        return self._ask("the worker check", self._batch.workers, "workers")

    def close(self, worker: Worker) -> Closing:
        return self._act(f"closing {_name(worker)}", lambda: self._batch.close(worker))

    def reopen(self, worker: Worker) -> None:
        return self._act(f"reopening {_name(worker)}", lambda: self._batch.reopen(worker))

    def requeue(self, worker: Worker) -> None:
        return self._act(f"queuing jobs of {_name(worker)} again", lambda: self._batch.requeue(worker))

    def forget(self, worker: Worker) -> None:
        return self._act(f"forgetting {_name(worker)}", lambda: self._batch.forget(worker))

    def check(self) -> str:
        return self._ask("the check of the batch system", self._batch.check, "check")

    def template(self, worker: Worker) -> str:
        what, key = f"the template of {_name(worker)}", f"template {_name(worker)}"
        return self._ask(what, lambda: self._batch.template(worker), key)

    def judge(self, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        key = f"judge {hash((tuple(wants), template))}"
        return self._ask("the judgement of jobs", lambda: self._batch.judge(wants, template), key)

    def narrowed(self, template: str, jobs: str, offers: str) -> str:
        key = f"narrowed {hash((template, jobs, offers))}"
        return self._ask("what a pool takes", lambda: self._batch.narrowed(template, jobs, offers), key)

    def advice(self) -> tuple[str, ...]:
        return _from_batch(lambda: self._aside.ask("advice", self._batch.advice, "advice"))

    def _ask(self, what: str, function: Callable[[], Answer], key: str) -> Answer:
        return _from_batch(lambda: self._lane.ask(what, function, key))

    def _act(self, what: str, function: Callable[[], Answer]) -> Answer:
        return _from_batch(lambda: self._lane.act(what, function))


def _from_batch(call: Callable[[], Answer]) -> Answer:
    try:
        return call()
    except LaneBusyError as error:
        raise BatchError(str(error)) from None


def _name(worker: Worker) -> str:
    return worker.name or worker.instance_id or worker.address or "a worker"
