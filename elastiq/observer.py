"""Asks the world how it is, and keeps the last answers: every question in words, every failure said once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from elastiq.clock import Clock
from elastiq.errors import BatchError, CloudError
from elastiq.memory import Memory
from elastiq.model import Demand, Instance, Observation, Worker
from elastiq.plugins import BatchSystem
from elastiq.ports import Cloud
from elastiq.report.reporter import Reporter

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Reading:
    """The last answers of the world, when each was asked for, and what went wrong since."""

    demand: tuple[Demand, ...] | None = None
    demand_at: float = 0.0
    workers: tuple[Worker, ...] | None = None
    workers_at: float = 0.0
    instances: tuple[Instance, ...] | None = None
    instances_at: float = 0.0
    queue_fault: str = ""
    workers_fault: str = ""
    cloud_fault: str = ""

    def observation(self, now: float) -> Observation:
        """Return the reading as one view with ages."""
        faults = tuple(fault for fault in (self.queue_fault, self.workers_fault, self.cloud_fault) if fault)
        return Observation(
            now,
            self.demand,
            now - self.demand_at,
            self.workers,
            now - self.workers_at,
            self.instances,
            now - self.instances_at,
            faults,
        )


class Observer:
    """Puts the questions of the loop to the batch system and the cloud. None of them changes anything there.

    What is asked for is unknown until it is answered, even if a defect of a plugin ends the pass meanwhile.
    """

    def __init__(self, clock: Clock, batch: BatchSystem, cloud: Cloud, reporter: Reporter, reading: Reading) -> None:
        self._clock, self._batch, self._cloud, self._reporter = clock, batch, cloud, reporter
        self.reading = reading
        self.stopping = False
        """Set when the daemon is to end: a question that is abandoned for that is no fault."""

    def check_queue(self) -> None:
        """Ask what waits."""
        now = self._clock.now()
        self.reading = replace(self.reading, demand=None)
        demand, fault = self.ask("queue check", self._batch.demand)
        self.reading = replace(self.reading, demand=demand, demand_at=now, queue_fault=fault)

    def check_workers(self) -> None:
        """Ask which workers there are."""
        now = self._clock.now()
        self.reading = replace(self.reading, workers=None)
        workers, fault = self.ask("worker check", self._batch.workers)
        self.reading = replace(self.reading, workers=workers, workers_at=now, workers_fault=fault)

    def check_instances(self, memory: Memory) -> None:
        """Ask which VMs there are; those of the whole account only where the tag alone does not tell."""
        now = self._clock.now()
        # A listing by tag cannot tell a VM that has lost its tag from one that is gone.
        doubtful = any(not record.tagged or record.missing_since is not None for record in memory.vms.values())
        everything = bool(memory.intents or memory.once_own) or doubtful
        self.reading = replace(self.reading, instances=None)
        instances, fault = self.ask("VM check", lambda: self._cloud.list_instances(everything=everything))
        self.reading = replace(self.reading, instances=instances, instances_at=now, cloud_fault=fault)

    def ask(self, what: str, call: Callable[[], Answer]) -> tuple[Answer | None, str]:
        """Return the answer, or None and why there is none."""
        try:
            answer = call()
        except (BatchError, CloudError) as error:
            fault = f"{what} failed: {error}"
            if not self.stopping:
                self._reporter.error(what, fault)
            return None, fault
        self._reporter.fine(what)
        return answer, ""
