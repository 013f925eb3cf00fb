"""A cluster without faults that keeps its history: the real Core on the simulator's world, whose VM-hours are known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from elastiq.config import Settings
from elastiq.config.sections import Ec2Options, ElastiqOptions, QuotaOptions
from elastiq.core import Core
from elastiq.model import Shape
from elastiq.ports import Ports
from elastiq.sim.batch import SimBatch
from elastiq.sim.cloud import SimCloud
from elastiq.sim.engine import DAY, HOUR, Engine, SimClock
from elastiq.sim.proof.book import Book
from elastiq.sim.proof.disks import Disk, QuickState
from elastiq.sim.proof.faults import Faults
from elastiq.sim.proof.gate import Gate
from elastiq.sim.things import CLUSTER, IMAGE, SMALL, START, Traits
from elastiq.sim.world import World
from elastiq.state.archive import Archive

SETTINGS = Settings(
    elastiq=ElastiqOptions(batch_plugin="htcondor", cluster_name=CLUSTER, idle_for_time_s=600.0),
    ec2=Ec2Options(image_id=IMAGE, flavour=SMALL),
    quota=QuotaOptions(max_vms=40),
)


class Month:
    """Bursts of jobs by day, few by night, with run times of all kinds."""

    def __init__(self, directory: Path, *, settings: Settings = SETTINGS, seed: int = 1) -> None:
        self.engine, self.book = Engine(seed, START), Book()
        faults = Faults(self.engine, self.book)
        self.settings = settings
        self.world = World(self.engine, self.book, faults, Traits(), settings)
        self.directory, self.jobs = directory, 0
        self.disk = Disk()
        self.start()
        self._come()

    def start(self) -> None:
        """Start the daemon, or start it again: what it had not written is lost."""
        gate = Gate(self.world)
        batch, cloud = SimBatch(self.world, gate), SimCloud(self.world, gate)
        archive = Archive(self.directory)
        ports = Ports(SimClock(self.engine), batch, cloud, QuickState(self.disk), archive)
        self.core = Core(self.settings, ports, self._token)

    def _token(self) -> str:
        return f"elastiq-{self.engine.random.getrandbits(48):012x}"

    def _come(self) -> None:
        """Submit a burst of jobs, and have the next one come."""
        engine, random = self.engine, self.engine.random
        if engine.time > START:
            shape = Shape(random.choice((1, 1, 1, 2, 4)), 1000)
            seconds = min(random.lognormvariate(6.5, 1.3), 12 * HOUR)
            for _ in range(min(int(random.paretovariate(1.0)), 60)):
                self.jobs += 1
                self.world.submit(shape, seconds * engine.between(0.6, 1.4))
        day = 1 + math.sin(engine.time / DAY * 2 * math.pi)
        engine.after(random.expovariate((0.2 + day) / HOUR * 2), self._come)

    def run(self, seconds: float) -> None:
        """Let the daemon work for so long."""
        until = self.engine.time + seconds
        while self.engine.time < until:
            self.core.step()
            self.engine.run_until(self.engine.time + max(0.1, self.core.seconds_to_next_check()))

    @property
    def vm_hours(self) -> float:
        """What the VMs of elastiq have lived so far, in truth."""
        living = sum(self.engine.time - vm.created_at for vm in self.world.own())
        return (self.book.work["VM-seconds"] + living) / HOUR


def with_options(**options: float) -> Settings:
    """Return the settings with other options of [elastiq]."""
    return replace(SETTINGS, elastiq=replace(SETTINGS.elastiq, **options))  # type: ignore[arg-type]
