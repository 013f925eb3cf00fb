"""A Core on a batch system, a cloud and a clock that tests steer by hand."""

from __future__ import annotations

from pathlib import Path

from elastiq.config import Settings
from elastiq.core import Core
from elastiq.model import Demand, Shape
from elastiq.ports import Pages, Ports
from elastiq.redaction import Redactor
from elastiq.state import State
from tests.unit.fakes import FakeBatch, FakeClock, FakeCloud, settings_with

SETTINGS = settings_with(n_jobs_per_vm=4, max_vms=5, idle_for_time_s=300, cluster_name="test")


class Rig:
    """A Core on fakes. `run` moves the time on as the daemon's loop does."""

    def __init__(self, directory: Path, settings: Settings = SETTINGS, redactor: Redactor | None = None) -> None:
        self.directory, self.redactor = directory, redactor
        self.clock, self.batch, self.cloud = FakeClock(), FakeBatch(), FakeCloud()
        self.settings = settings
        self.pages: Pages | None = None
        self.start()

    def start(self) -> None:
        """Start, or start again after a crash: nothing is told to the old Core."""
        self.state = State(self.directory, self.clock.now())
        ports = Ports(self.clock, self.batch, self.cloud, self.state, pages=self.pages)
        self.core = Core(self.settings, ports, redactor=self.redactor)

    def run(self, seconds: float) -> None:
        end = self.clock.now() + seconds
        while self.clock.now() < end:
            self.core.step()
            self.clock.time += min(self.settings.elastiq.sleep_s, max(0.1, self.core.seconds_to_next_check()))

    def wait_for_jobs(self, count: int) -> None:
        self.batch.jobs = (Demand(Shape(), count),) if count else ()

    def join_all(self, jobs: int = 0, idle_seconds: float = 0.0) -> None:
        self.cloud.run()
        for id_ in self.cloud.alive:
            self.batch.join(id_, jobs=jobs, idle_seconds=idle_seconds)
