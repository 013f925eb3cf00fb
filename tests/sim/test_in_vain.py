"""A day of a cluster with jobs that never start: what they cost, and what those that start lose by them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from elastiq.model import Shape
from elastiq.sim.batch import NOT_OFFERED, UNREADABLE
from elastiq.sim.engine import DAY, HOUR
from elastiq.sim.proof.life import Life, Options
from elastiq.sim.things import START, Job, Vm
from tests.unit.fakes import settings_with

pytestmark = pytest.mark.usefixtures("quiet")

SHAPE = Shape(1, 1000)
MOST_VMS = 30
GOOD_JOBS_PER_HOUR = 500
GOOD_JOB_SECONDS = 240.0
SEED = 3
"""A cluster whose VMs have 2 CPUs, of which a day needs most of MOST_VMS."""
OTHER_SEEDS = (8, 9)
"""One in which hardly any job waits, and one whose VMs have 8 CPUs, so that each launch counts."""


@dataclass
class Day:
    """What came of it."""

    vm_hours: list[float] = field(default_factory=list)
    """Of each day."""
    good: list[Job] = field(default_factory=list)

    @property
    def mean_wait_seconds(self) -> float:
        waits = [job.started_at - job.submitted_at for job in self.good if job.started_at is not None]
        return sum(waits) / len(waits)


class Scenario:
    """A cluster without faults but for jobs that never start."""

    def __init__(self, directory: Path, seed: int = SEED, **values: object) -> None:
        self.life = life = Life(seed, Options(real_state=0.0, in_vain=0.0), directory)
        options = {"max_vms": MOST_VMS, "min_vms": 0, "n_jobs_per_vm": None, "waiting_jobs_threshold": 0, **values}
        life.settings = life.world.settings = settings_with(life.settings, **options)
        life.core.reconfigure(life.settings, life.batch, life.cloud)
        self.day = Day()

    def hopeless(self, jobs: int, wants: str, at: float = 0.0) -> None:
        """Let jobs wait that never start."""
        submit = self.life.world.submit
        for _ in range(jobs):
            self.life.engine.after(at, lambda: submit(SHAPE, HOUR, wants=wants, is_hopeless=True))

    def withdraw(self, at: float) -> None:
        """Let their owners take them out again."""
        self.life.engine.after(at, self._withdraw)

    def _withdraw(self) -> None:
        world = self.life.world
        world.waiting = [job for job in world.waiting if not job.is_hopeless]

    def good_jobs(self) -> None:
        """Let jobs come that start as soon as they have room."""
        random, life = Random(1), self.life
        for _ in range(24 * GOOD_JOBS_PER_HOUR):
            seconds = GOOD_JOB_SECONDS * random.uniform(0.5, 1.5)
            life.engine.after(
                random.uniform(0, DAY),
                lambda seconds=seconds: self.day.good.append(life.world.submit(SHAPE, seconds)),  # type: ignore[misc]
            )

    def run(self, days: int = 1) -> Day:
        life = self.life
        for number in range(1, days + 1):
            life.run_until(START + number * DAY)
            alive = sum(life.engine.time - vm.created_at for vm in life.world.own()) / HOUR
            so_far = life.book.work["VM-seconds"] / HOUR + alive
            self.day.vm_hours.append(so_far - sum(self.day.vm_hours))
        life.close()
        return self.day


def first_try(jobs: int) -> float:
    """Return what it may cost at most to find out that jobs never start: VM-hours of as many VMs as they ask for.

    Each boots, is looked at for five minutes, and goes with the next check: that is the cost of not making others wait.
    To launch fewer at first would let every new kind of jobs wait for a second boot; to look for less long would take
    those for hopeless that a negotiator comes to only every five minutes.
    """
    return min(MOST_VMS, jobs) * 0.25


@pytest.mark.parametrize("jobs", [1, 200])
@pytest.mark.parametrize("wants", ["", f"{NOT_OFFERED} 1", f"{UNREADABLE} 1"], ids=["blind", "no", "unknown"])
def test_a_group_alone_costs_an_hour_a_day_at_most(wants: str, jobs: int, tmp_path: Path) -> None:
    scenario = Scenario(tmp_path)
    scenario.hopeless(jobs, wants)
    first, second = scenario.run(2).vm_hours
    assert first > 0, "one VM at least is launched to learn from"
    assert first <= (1.0 if jobs == 1 or wants else 1.0 + first_try(jobs))
    assert second <= 1.0


@pytest.mark.parametrize("idle_for_time_s", [60.0, 300.0])
@pytest.mark.parametrize("wants", ["", f"{NOT_OFFERED} 1"], ids=["jobs that would start", "jobs for what none offers"])
def test_an_image_whose_workers_all_come_hurt_costs_no_more_than_one_that_does_not_boot(
    wants: str, idle_for_time_s: float, tmp_path: Path
) -> None:
    """They join and say that they hold less than their VM: no GPU, a broken slot. VMs of it went and came again all
    weekend, for each join was taken for a good boot."""
    scenario = Scenario(tmp_path, max_vms=3, idle_for_time_s=idle_for_time_s)
    world = scenario.life.world
    usual = world.on_birth

    def born(vm: Vm) -> None:
        usual(vm)
        vm.hurt = True
        vm.lose(1)

    world.on_birth = born
    for _ in range(8):
        world.submit(Shape(2, 1000), HOUR, wants=wants, is_hopeless=bool(wants))
    first, second = scenario.run(2).vm_hours
    # One VM every half an hour, for as long as it takes to boot and to be found of no use.
    assert first > 0
    assert second <= 48 * (idle_for_time_s + 900) / HOUR


def test_a_group_that_comes_and_goes_every_hour_costs_no_more(tmp_path: Path) -> None:
    scenario = Scenario(tmp_path)
    for hour in range(48):
        scenario.hopeless(200, "", hour * HOUR)
        scenario.withdraw((hour + 0.5) * HOUR)
    first, second = scenario.run(2).vm_hours
    assert first <= 1.0 + first_try(200)
    assert second <= 1.0


def test_twenty_groups_cost_an_hour_a_day_each_at_most(tmp_path: Path) -> None:
    scenario = Scenario(tmp_path)
    for number in range(20):
        scenario.hopeless(5, f"plain {number}")
    first, second = scenario.run(2).vm_hours
    assert first <= 20.0
    assert second <= 20.0


@pytest.mark.parametrize("wants", ["", "plain 1", f"{NOT_OFFERED} 1"], ids=["same group", "group of its own", "no"])
def test_jobs_that_start_wait_no_longer_beside_those_that_do_not(wants: str, tmp_path: Path) -> None:
    """On several clusters together: of one alone two such days differ by some percent as it is, for boots and looks
    fall otherwise with every launch."""
    usual_waits, waits = 0.0, 0.0
    for seed in (SEED, *OTHER_SEEDS):
        without, beside = Scenario(tmp_path / f"without {seed}", seed), Scenario(tmp_path / f"beside {seed}", seed)
        for scenario in (without, beside):
            scenario.good_jobs()
        beside.hopeless(200, wants, 2 * HOUR)
        usual, found = without.run(), beside.run()
        assert usual.vm_hours[0] < 24 * MOST_VMS * 0.9, "the quota must leave room, or nothing would be shown"
        usual_waits, waits = usual_waits + usual.mean_wait_seconds, waits + found.mean_wait_seconds
        assert found.vm_hours[0] - usual.vm_hours[0] <= 1.0 + first_try(200) + 0.03 * usual.vm_hours[0]
    assert waits <= 1.05 * usual_waits
