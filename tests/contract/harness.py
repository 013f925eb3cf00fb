"""What the contract suite needs of a batch system to try its plugin.

To plug another system in: write a subclass of Harness, and either add it to HARNESSES in systems.py or, from outside of
this checkout, name it by ELASTIQ_HARNESS=MODULE:CLASS. A system that is not there says so by `pytest.skip(reason)` in
its `start`; a thing that it does not have, by the same in its method.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import cast

import pytest

from elastiq.model import Demand, Eligibility, Explanation, Usage, Worker
from elastiq.plugins import (
    ACCOUNTING,
    EXPLAINING,
    MATCHMAKING,
    Accountant,
    BatchSystem,
    Closing,
    Explainer,
    Matchmaker,
)
from elastiq.plugins.faults import (
    demand_faults,
    explanation_faults,
    judgement_faults,
    later_faults,
    template_faults,
    usage_faults,
    workers_faults,
)
from elastiq.plugins.kit import is_same


class Harness(ABC):
    """A live batch system that the suite has for itself, without workers and without jobs.

    Every method returns when the batch system has accepted it; what follows from it the suite waits for itself.
    """

    batch: BatchSystem
    address = "127.0.0.1"
    """Of the machine that the suite lets join."""
    other_address = "127.0.0.99"
    """Of one that never joins."""
    patience_seconds = 60.0
    """A bound against hangs: how long this system may take until something shows."""
    step_seconds = 0.02
    """How often the suite looks while it waits."""
    settle_seconds = 1.0
    """How long the suite watches that something does NOT happen: some rounds of the system's own scheduler."""
    rounding_seconds = 0.0
    """By so much an idle time may be too long."""
    job_seconds = 3.0
    """A job that takes this long still runs when the suite has asked two or three questions; only of systems that can
    not end a job when they are told to."""
    short_job_seconds = 0.05
    race_rounds = 20
    race_window_seconds = 1.0
    """A job is submitted at a random moment this long around a close."""
    leaves_when_closed = False
    """Whether a closed worker is no longer listed."""
    check_asks = True
    """Whether `check` asks the batch system at all."""

    @abstractmethod
    def start(self) -> None:
        """Start the system, or skip, and set `batch`."""

    @abstractmethod
    def stop(self) -> None:
        """End everything that was started; called even if `start` failed."""

    @abstractmethod
    def reconnect(self) -> BatchSystem:
        """Return the plugin as another process of elastiq has it."""

    @abstractmethod
    def join(self, name: str, instance_id: str, address: str) -> None:
        """Start a worker on a machine of this id and address that takes one job at a time."""

    @abstractmethod
    def leave(self, instance_id: str) -> None:
        """Pull the plug of a worker's machine."""

    @abstractmethod
    def submit(self, seconds: float, *, held: bool = False, after: str = "") -> str:
        """Submit a job of one CPU that takes `seconds`, and return its id; it waits for the end of job `after`."""

    def submit_long(self) -> str:
        """Submit a job that runs until `let_end`, and return its id."""
        return self.submit(self.job_seconds)

    def let_end(self, job: str) -> None:
        """Have a job of `submit_long` end well; one that cannot be told to is waited for."""
        self.wait_until(lambda: self.is_done(job), "the long job to end")

    @abstractmethod
    def cancel(self, job: str) -> None:
        """Remove a job that waits."""

    @abstractmethod
    def starts(self, job: str) -> int:
        """Return how often `job` has been started."""

    @abstractmethod
    def is_done(self, job: str) -> bool:
        """Return whether `job` has run to its end."""

    @abstractmethod
    def hide(self) -> None:
        """Make the batch system unreachable, for good."""

    def submit_array(self, tasks: int, at_once: int, seconds: float) -> None:
        """Submit an array of jobs, of which no more than `at_once` may run at a time."""
        pytest.skip(f"{type(self).__name__} has no arrays")

    def submit_wide(self, machines: int, seconds: float) -> None:
        """Submit a job that needs one CPU on each of several machines at the same time."""
        pytest.skip(f"{type(self).__name__} has no jobs on several machines")

    def submit_special(self, seconds: float, *, offered: bool) -> str:
        """Submit a job of one CPU that asks for something special, and return its id: for what the workers of `join`
        offer, or for what no worker here ever does."""
        pytest.skip(f"{type(self).__name__} has nothing special to ask for")

    def special_options(self) -> tuple[str, str]:
        """Return as which `jobs` a pool takes those of `submit_special` that are for what workers offer, and no others,
        and what `offers` say of such workers."""
        pytest.skip(f"{type(self).__name__} has no pools that take certain jobs")

    def submit_whole(self, seconds: float) -> str:
        """Submit a job of one CPU that has its machine for itself, and return its id."""
        pytest.skip(f"{type(self).__name__} has no jobs that take a whole machine")

    def close_by_hand(self, worker: Worker) -> None:
        """Close a worker as an administrator does, giving a reason."""
        pytest.skip(f"{type(self).__name__} does not say who closed a worker")

    def open_by_hand(self, worker: Worker) -> None:
        """Undo `close_by_hand`."""
        raise NotImplementedError

    def now(self) -> float:
        """Return the time by the system's own clock."""
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until `condition()` holds; fail the test, naming `what`, if it takes too long."""
        deadline = self.now() + self.patience_seconds
        while not condition():
            assert self.now() < deadline, f"waited {self.patience_seconds:g} s in vain: {what}"
            self.pause(self.step_seconds)

    def demand(self) -> tuple[Demand, ...]:
        """Return what the plugin says of the waiting jobs; fail the test if that cannot be."""
        answer = self.batch.demand()
        assert demand_faults(answer) == []
        return answer

    def workers(self) -> tuple[Worker, ...]:
        """Return what the plugin says of the workers; fail the test if that cannot be, also not after what it said
        before."""
        asked_at = self.now()
        answer = self.batch.workers()
        assert workers_faults(answer) == []
        last_at, last = getattr(self, "_last", (asked_at, ()))
        assert later_faults(last, answer, self.now() - last_at) == []
        self._last = (asked_at, answer)
        return answer

    def waiting(self) -> int:
        """Return how many jobs wait as the plugin tells it."""
        return sum(demand.jobs for demand in self.demand())

    def matchmaker(self) -> Matchmaker:
        """Return the plugin as one that judges jobs; skip the test if it does not."""
        if not any(hasattr(self.batch, method) for method in MATCHMAKING):
            pytest.skip(f"the plugin of {type(self).__name__} judges no jobs")
        return cast("Matchmaker", self.batch)

    def explained(self, job: str) -> Explanation:
        """Return what the plugin tells of a job; fail the test if that cannot be, and skip it if it tells of none."""
        if not all(hasattr(self.batch, method) for method in EXPLAINING):
            pytest.skip(f"the plugin of {type(self).__name__} tells of no single jobs")
        answer = cast("Explainer", self.batch).explain(job)
        assert explanation_faults(answer) == []
        return answer

    def usage(self) -> tuple[Usage, ...]:
        """Return who has used what so far; fail the test if that cannot be, and skip it if the plugin does not tell."""
        if not all(hasattr(self.batch, method) for method in ACCOUNTING):
            pytest.skip(f"the plugin of {type(self).__name__} does not tell who used which worker")
        answer = cast("Accountant", self.batch).usage(0.0)
        assert usage_faults(answer) == []
        return answer

    def template(self, worker: Worker) -> str:
        """Return what the plugin says that workers like this one offer; fail the test if that cannot be."""
        answer = self.matchmaker().template(worker)
        assert template_faults(answer) == []
        return answer

    def judged(self, wants: Sequence[str], template: str) -> list[Eligibility]:
        """Return what the plugin answers for each of `wants`; fail the test if that cannot be."""
        answer = self.matchmaker().judge(wants, template)
        assert judgement_faults(answer, len(wants)) == []
        return [one.answer for one in answer]

    def group(self) -> Demand:
        """Return the waiting jobs, which are of one kind, once there are any; the next moment they may have started."""
        found: list[Demand] = []

        def is_any() -> bool:
            found[:] = self.demand()
            return bool(found)

        self.wait_until(is_any, "a job to wait")
        assert len(found) == 1
        return found[0]

    def listed(self, instance_id: str) -> Worker | None:
        """Return the worker of a VM as the plugin lists it now."""
        wanted = Worker("", instance_id, self.address)
        found = [worker for worker in self.workers() if is_same(worker, wanted)]
        assert len(found) <= 1
        return found[0] if found else None

    def worker(self, instance_id: str) -> Worker:
        """Return the worker of a VM once the plugin lists it."""
        found: list[Worker] = []

        def is_listed() -> bool:
            worker = self.listed(instance_id)
            found[:] = [worker] if worker else []
            return bool(found)

        self.wait_until(is_listed, f"worker of {instance_id} to join")
        return found[0]

    def close(self, worker: Worker) -> Closing:
        """Close as the plugin does; what it answers shows in the list at once."""
        answer = self.batch.close(worker)
        listed = self.listed(worker.instance_id or "")
        if answer is Closing.CLOSED and self.leaves_when_closed:
            assert listed is None
        elif answer is Closing.CLOSED:
            assert listed
            assert listed.closed
            assert not listed.closed_by_other
        else:
            assert answer is Closing.BUSY
            assert listed
            assert not listed.closed
        return answer
