"""Loads made to fool a policy that keeps room for jobs to come, and what came of it beside launching for waiting jobs
alone."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from elastiq.config import Settings
from elastiq.model import Policy
from elastiq.sim.replay.figures import Figures
from elastiq.sim.replay.simulate import Scenario
from elastiq.sim.replay.traces import Job

REACTIVE = Policy(waiting_jobs_time_s=0.0, idle_for_time_s=60.0)
ADAPTIVE = Policy(waiting_jobs_time_s=0.0, idle_for_time_s=60.0, is_adaptive=True)

MOST_TIMES_THE_COST = 1.3
MOST_SECONDS_LONGER = 5.0
MOST_SECONDS_STARVED = 300.0
"""So much longer than with the reactive policy the worst of all waits may be."""

BOOT = 180.0
PERIOD = BOOT + 60.0
"""Of the policy's own measurements."""
LOOK = 15.0
"""The queue is looked at so often."""
MINUTE, HOUR = 60.0, 3600.0


@dataclass(frozen=True)
class Shape:
    """Jobs, and the maximum of VMs; without it as many as all jobs would need at the same time."""

    name: str
    jobs: tuple[Job, ...]
    max_vms: int | None = None
    boot_seconds: float = BOOT


@dataclass(frozen=True)
class Beside:
    """What came of a shape with both policies."""

    shape: Shape
    reactive: Figures
    adaptive: Figures

    @property
    def times_the_cost(self) -> float:
        return self.adaptive.vm_hours / self.reactive.vm_hours

    @property
    def seconds_longer(self) -> float:
        return self.adaptive.mean_wait_seconds - self.reactive.mean_wait_seconds

    def faults(self) -> list[str]:
        """Return what is worse than it may be."""
        found = []
        if self.times_the_cost > MOST_TIMES_THE_COST:
            found.append(f"costs {self.times_the_cost:.2f} times as much")
        if self.seconds_longer > MOST_SECONDS_LONGER:
            found.append(f"lets jobs wait {self.seconds_longer:.0f} s longer")
        if self.adaptive.never_started or self.adaptive.jobs < len(self.shape.jobs):
            found.append(f"{self.adaptive.never_started} jobs never start")
        if self.adaptive.worst_wait_seconds > self.reactive.worst_wait_seconds + MOST_SECONDS_STARVED:
            found.append(f"lets a job wait {self.adaptive.worst_wait_seconds:.0f} s")
        return found

    def cells(self) -> tuple[str, ...]:
        one, other = self.reactive, self.adaptive
        waits = (f"{it.mean_wait_seconds:.0f} / {it.worst_wait_seconds:.0f}" for it in (one, other))
        return (
            self.shape.name,
            f"{len(self.shape.jobs):,}",
            f"{one.vm_hours:.1f}",
            f"{self.times_the_cost:.2f}",
            *waits,
            ", ".join(self.faults()) or "held",
        )


HEAD = ("shape", "jobs", "VM-hours", "times", "wait, s", "adaptive", "")


def beside(shape: Shape) -> Beside:
    """Run a shape with both policies."""
    scenario = Scenario(shape.jobs, shape.boot_seconds, max_vms=shape.max_vms)
    return Beside(shape, scenario.run(Settings(), REACTIVE), scenario.run(Settings(), ADAPTIVE))


def every(seconds: float, until: float, jobs: int, run: float, cores: int = 1, since: float = 0.0) -> Iterator[Job]:
    """Yield so many jobs at once, again and again."""
    for number in range(math.ceil((until - since) / seconds)):
        yield from [Job(since + number * seconds, run, cores)] * jobs


def following(loads: Iterable[int], step: float, cores: int = 1) -> Iterator[Job]:
    """Yield jobs so that so many run at a time, one number after the other: those that began last end first."""
    running: list[float] = []
    now = 0.0
    for load in [*loads, 0]:
        while len(running) > load:
            began = running.pop()
            yield Job(began, now - began, cores)
        running += [now] * (load - len(running))
        now += step


def poisson(seconds: float, until: float, run: Callable[[random.Random], float], seed: int) -> Iterator[Job]:
    chance = random.Random(seed)
    now = 0.0
    while (now := now + chance.expovariate(1 / seconds)) < until:
        yield Job(now, run(chance), 1)


def irregular(until: float, pauses: tuple[float, ...], jobs: tuple[int, ...], run: float, seed: int) -> Iterator[Job]:
    chance, now = random.Random(seed), 0.0
    while now < until:
        yield from [Job(now, run, 1)] * chance.choice(jobs)
        now += chance.choice(pauses)


def random_walk(steps: int, seed: int) -> Iterator[int]:
    chance, load = random.Random(seed), 20
    for _ in range(steps):
        load = max(0, min(60, load + chance.choice((-6, -2, 0, 2, 6))))
        yield load


def _pulses() -> Iterator[Shape]:
    for minutes in (4, 8, 12, 20, 60):
        yield _shape(f"1 job of a minute every {minutes} min", every(minutes * MINUTE, 8 * HOUR, 1, 60))
    for minutes in (4, 8, 12, 20, 60):
        yield _shape(f"8 jobs of a minute every {minutes} min", every(minutes * MINUTE, 8 * HOUR, 8, 60))
    for minutes in (20, 30, 60, 120):
        yield _shape(f"40 jobs of 5 min every {minutes} min", every(minutes * MINUTE, 12 * HOUR, 40, 300))
    for seconds in (45, 90, 150):
        gap = BOOT + 120 + 60 + seconds
        yield _shape(f"a burst {seconds} s after VMs have idled for a minute", every(gap, 8 * HOUR, 8, 120))


def _of_the_policy() -> Iterator[Shape]:
    for times, text in ((0.5, "half its"), (1.0, "its"), (2.0, "twice its"), (12.0, "12 times its")):
        until = 8 * HOUR if times < 12 else 24 * HOUR
        yield _shape(f"a burst in {text} period", every(times * PERIOD, until, 12, 100))
    yield _shape("half an hour of bursts, then silence", following(([8, 0] * 15 + [0] * 90) * 4, 60.0))
    trained = [job for hour in (0, 4, 8, 12) for job in every(PERIOD, (hour + 1) * HOUR, 16, 120, 1, hour * HOUR)]
    yield _shape("it learns for an hour, and nothing comes for three", trained)
    edge = irregular(24 * HOUR, (4 * PERIOD, 5 * PERIOD), (4,), 60, 5)
    yield _shape("bursts as rare as it still keeps room for", edge)
    yield _shape("bursts after 1 to 12 of its periods", irregular(24 * HOUR, (240, 720, 1440, 2880), (4, 16), 90, 7))


def _on_and_off() -> Iterator[Shape]:
    """Busy for long enough that it learns, and then quiet for long enough that all which it keeps is for nothing."""
    for pause, run, jobs, on, off, boot in (
        (94, 8, 3, 1700, 14400, 600.0),
        (258, 4, 34, 2400, 20000, 600.0),
        (570, 890, 1, 3400, 7700, 600.0),
        (83, 134, 2, 2900, 6600, BOOT),
        (24, 67, 4, 1300, 7700, BOOT),
        (21, 30, 1, 1100, 2700, 60.0),
    ):
        starts = range(0, 48 * 3600, on + off)
        found = (job for at in starts for job in every(pause, at + on, jobs, run, 1, at))
        yield _shape(
            f"{on / 60:.0f} min of bursts, {off / 60:.0f} min of silence, boot {boot:.0f} s", found, None, boot
        )


def _curves() -> Iterator[Shape]:
    up, down = list(range(0, 48, 2)), list(range(48, 0, -2))
    yield _shape("sawtooth: slowly up, down at once", following((up + [0] * 4) * 6, 120.0))
    yield _shape("sawtooth: up at once, slowly down", following((down + [0] * 4) * 6, 120.0))
    yield _shape("sawtooth in its period", following([4, 12, 20, 28] * 90, 60.0))
    yield _shape("steps down", following([n for n in (48, 40, 32, 24, 16, 8) for _ in range(20)] * 3, 60.0))
    yield _shape("steps up", following([n for n in (8, 16, 24, 32, 40, 48) for _ in range(20)] * 3, 60.0))
    yield _shape("up and down by steps", following([n for n in (8, 24, 48, 24, 8, 0) for _ in range(15)] * 4, 60.0))
    yield _shape("night and day", following([round(24 - 24 * math.cos(n / 12 * math.pi)) for n in range(96)], 900.0))
    yield _shape("a random walk", following(random_walk(400, 3), 90.0))
    yield _shape("bursts that grow", (Job(n * HOUR, 200, 1) for n in range(24) for _ in range(3 * n + 3)))
    yield _shape(
        "bursts that shrink",
        (Job(n * HOUR, 200, 1) for n in range(24) for _ in range(72 - 3 * n)),
    )


def _wide() -> Iterator[Shape]:
    yield _shape("one big job at a time", every(70 * MINUTE, 12 * HOUR, 1, HOUR, 4))
    yield _shape("one job of 4 VMs at a time", every(40 * MINUTE, 12 * HOUR, 1, 20 * MINUTE, 16))
    yield _shape("a job of 32 VMs every hour", every(HOUR, 12 * HOUR, 1, 10 * MINUTE, 128))
    beside_small = [*every(HOUR, 12 * HOUR, 1, 10 * MINUTE, 128), *every(300, 12 * HOUR, 2, 400)]
    yield _shape("a job of 32 VMs beside small ones", beside_small, 40)
    yield _shape("two jobs of 32 VMs where 40 VMs may be", every(3 * HOUR, 12 * HOUR, 2, 15 * MINUTE, 128), 40)
    yield _shape("jobs of 3 cores, which leave one", every(9 * MINUTE, 8 * HOUR, 6, 400, 3))
    mixed = [*every(7 * MINUTE, 8 * HOUR, 4, 500, 3), *every(5 * MINUTE, 8 * HOUR, 5, 250, 2)]
    yield _shape("jobs of 2 and 3 cores", mixed)
    yield _shape("bursts of jobs of a whole VM, as for GPUs", every(25 * MINUTE, 12 * HOUR, 6, 300, 4), 8)
    gpus = [*every(25 * MINUTE, 12 * HOUR, 6, 300, 4), *every(4 * MINUTE, 12 * HOUR, 2, 200)]
    yield _shape("... beside small ones", gpus, 12)


def _heavy(chance: random.Random) -> float:
    return min(30 * chance.paretovariate(0.9), 2e4)


def _lengths() -> Iterator[Shape]:
    yield _shape("jobs shorter than a look, all the time", every(7, 3 * HOUR, 1, 5))
    yield _shape("100 jobs shorter than a look every 10 min", every(600, 6 * HOUR, 100, 5))
    yield _shape("jobs of 10 s at random", poisson(20, 48 * HOUR, lambda _: 10.0, 11))
    turns = [*every(600, 10 * HOUR, 4, 60), *every(600, 10 * HOUR, 4, 2 * HOUR, 1, 300)]
    yield _shape("short and long jobs in turn", turns)
    anchors = (Job(n * 240.0, 6 * HOUR if n % 10 == 0 else 120.0, 1) for n in range(120))
    yield _shape("one job in ten stays for 6 h", anchors)
    yield _shape(
        "lengths without a mean", poisson(60, 12 * HOUR, lambda chance: min(30 * chance.paretovariate(0.9), 2e4), 13)
    )
    yield _shape("many jobs at random", poisson(15, 8 * HOUR, lambda chance: chance.expovariate(1 / 600), 17))
    yield _shape("few jobs at random", poisson(900, 24 * HOUR, lambda chance: chance.expovariate(1 / 600), 19))
    yield _shape("one burst, and nothing for half a day", [*every(HOUR, HOUR, 200, 600), Job(13 * HOUR, 60, 1)])
    yield _shape("a flood where 2 VMs may be", every(30 * MINUTE, 6 * HOUR, 40, 200), 2)


def _shape(name: str, jobs: Iterable[Job], max_vms: int | None = None, boot_seconds: float = BOOT) -> Shape:
    """Return a shape. What is submitted together comes up to a look late: else the one policy would look just as each
    burst comes, and the other, whose looks lie otherwise, never."""
    made, chance = [*jobs], random.Random(name)
    late = {at: chance.uniform(0, LOOK) for at in sorted({job.submitted_at for job in made})}
    moved = (job._replace(submitted_at=job.submitted_at + late[job.submitted_at]) for job in made)
    return Shape(name, tuple(sorted(moved)), max_vms, boot_seconds)


def shapes() -> list[Shape]:
    """Return them all."""
    return [*_pulses(), *_of_the_policy(), *_on_and_off(), *_curves(), *_wide(), *_lengths()]
