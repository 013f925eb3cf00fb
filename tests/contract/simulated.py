"""The simulator's batch system, in virtual time."""

from __future__ import annotations

import pytest

from elastiq.model import InstanceState, Shape, Worker
from elastiq.plugins import BatchSystem
from elastiq.sim.batch import SimBatch
from elastiq.sim.engine import Engine
from elastiq.sim.proof.book import Book
from elastiq.sim.proof.faults import Faults
from elastiq.sim.proof.gate import Gate
from elastiq.sim.things import START, Job, Traits, Vm
from elastiq.sim.world import World
from tests.unit.fakes import settings_with

from .harness import Harness

FOR_GOOD_SECONDS = 1e9


class SimHarness(Harness):
    """A world without a cloud and, until it is hidden, without faults."""

    patience_seconds = 3600.0
    step_seconds = 1.0
    settle_seconds = 120.0
    job_seconds = 60.0
    race_rounds = 100
    race_window_seconds = 30.0
    check_asks = False
    traits = Traits(capacity=Shape(1, 4000), advertises="address")

    def start(self) -> None:
        self._engine = Engine(seed=1, time=START)
        book = Book()
        self._faults = Faults(self._engine, book)
        self._world = World(
            self._engine, book, self._faults, self.traits, settings_with(check_queue_every_s=FOR_GOOD_SECONDS)
        )
        self._jobs: dict[str, Job] = {}
        self.batch = self.reconnect()

    def stop(self) -> None:
        pass

    def reconnect(self) -> BatchSystem:
        return SimBatch(self._world, Gate(self._world))

    def now(self) -> float:
        return self._engine.time

    def pause(self, seconds: float) -> None:
        self._engine.run_until(self._engine.time + seconds)

    def join(self, name: str, instance_id: str, address: str) -> None:
        vm = Vm(instance_id, True, "", self._engine.time, self.traits.capacity)
        vm.state, vm.address, vm.name = InstanceState.RUNNING, address, name
        self._world.vms[instance_id] = vm
        self._engine.after(60.0, lambda: self._world.join(vm))

    def leave(self, instance_id: str) -> None:
        self._world.gone(self._world.vms[instance_id])

    def submit(self, seconds: float, *, held: bool = False, after: str = "") -> str:
        if after:
            pytest.skip("simulated jobs do not depend on each other")
        job = self._world.submit(Shape(1, 100), seconds, held=held)
        self._jobs[str(job.number)] = job
        return str(job.number)

    def cancel(self, job: str) -> None:
        self._world.waiting.remove(self._jobs[job])

    def starts(self, job: str) -> int:
        return self._jobs[job].tries

    def is_done(self, job: str) -> bool:
        return self._jobs[job].done

    def close_by_hand(self, worker: Worker) -> None:
        pytest.skip("the simulation itself ends as soon as a worker that somebody else closed is touched")

    def hide(self) -> None:
        self._faults.begin("batch system outage", FOR_GOOD_SECONDS)


class LeavingSimHarness(SimHarness):
    """Workers that leave the batch system when they are closed, as HTCondor's do."""

    leaves_when_closed = True
    traits = Traits(capacity=Shape(1, 4000), exits_when_closed=True)
