"""Asks the world how it is, and keeps the last answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from elastiq.memory import Memory
from elastiq.model import Demand, Instance, Observation, Worker
from elastiq.ports import Ports
from elastiq.report.reporter import Reporter


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
        return Observation(
            now,
            demand=self.demand,
            demand_age_seconds=now - self.demand_at,
            workers=self.workers,
            workers_age_seconds=now - self.workers_at,
            instances=self.instances,
            instances_age_seconds=now - self.instances_at,
            faults=tuple(fault for fault in (self.queue_fault, self.workers_fault, self.cloud_fault) if fault),
        )


class Observer:
    """Puts the questions of the loop to the batch system and the cloud. None of them changes anything there.

    What is asked for is unknown until it is answered, even if a defect of a plugin ends the pass meanwhile.
    """

    def __init__(self, ports: Ports, reporter: Reporter, reading: Reading) -> None:
        self._ports, self._reporter = ports, reporter
        self.reading = reading

    def check_queue(self) -> None:
        """Ask what waits."""
        now = self._ports.clock.now()
        self.reading = replace(self.reading, demand=None)
        demand, fault = self._reporter.attempt("queue check", self._ports.batch.demand)
        self.reading = replace(self.reading, demand=demand, demand_at=now, queue_fault=fault)

    def check_workers(self) -> None:
        """Ask which workers there are."""
        now = self._ports.clock.now()
        self.reading = replace(self.reading, workers=None)
        workers, fault = self._reporter.attempt("worker check", self._ports.batch.workers)
        self.reading = replace(self.reading, workers=workers, workers_at=now, workers_fault=fault)

    def check_instances(self, memory: Memory) -> None:
        """Ask which VMs there are; those of the whole account only where the tag alone does not tell."""
        now = self._ports.clock.now()
        # A listing by tag cannot tell a VM that has lost its tag from one that is gone.
        doubtful = any(not record.tagged or record.missing_since is not None for record in memory.vms.values())
        everything = bool(memory.intents or memory.once_own) or doubtful
        self.reading = replace(self.reading, instances=None)
        listing = self._ports.cloud.list_instances
        instances, fault = self._reporter.attempt("VM check", lambda: listing(everything=everything))
        self.reading = replace(self.reading, instances=instances, instances_at=now, cloud_fault=fault)
