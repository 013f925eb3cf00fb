"""The loop of recorded jobs: it may skip plans, and nothing comes out differently."""

from __future__ import annotations

import random

import pytest

from elastiq.config import Settings
from elastiq.config.sections import ElastiqOptions, QuotaOptions
from elastiq.sim.replay.daemon import Rhythm
from elastiq.sim.replay.figures import Figures
from elastiq.sim.replay.simulate import simulate
from elastiq.sim.replay.traces import Job, read
from tests.unit.test_layout import TOP

ADAPTIVE: dict[str, object] = {"policy": "adaptive", "waiting_jobs_time_s": 0.0, "idle_for_time_s": 60.0}


def some_jobs(seed: int) -> list[Job]:
    """Return jobs of four hours: bursts, stragglers and some of several VMs."""
    chance = random.Random(seed)
    jobs: list[Job] = []
    for _ in range(12):
        at = chance.random() * 4 * 3600
        processors = chance.choice((1, 1, 1, 2, 4, 9))
        jobs += [
            Job(at + chance.random() * 60, chance.lognormvariate(5, 1), processors)
            for _ in range(chance.choice((1, 2, 9)))
        ]
    return sorted(jobs)


def told(figures: Figures) -> tuple[float, ...]:
    return (
        figures.vms,
        figures.vm_hours,
        figures.mean_wait_seconds,
        figures.worst_wait_seconds,
        *figures.supply_curve.times,
    )


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("options", [{}, {"waiting_jobs_time_s": 0.0, "idle_for_time_s": 60.0}, ADAPTIVE], ids=str)
def test_a_plan_that_was_not_made_would_have_changed_nothing(seed: int, options: dict[str, object]) -> None:
    settings = Settings(elastiq=ElastiqOptions(**options), quota=QuotaOptions(min_vms=seed % 2))  # type: ignore[arg-type]
    quick = simulate(some_jobs(seed), settings, max_vms=5)
    slow = simulate(some_jobs(seed), settings, max_vms=5, every_poll=True)
    assert told(quick) == told(slow)
    assert quick.plans < slow.plans / 2


@pytest.mark.long
@pytest.mark.parametrize("seed", range(12))
def test_nor_if_it_learns_from_every_look(seed: int) -> None:
    """Jobs of one size, of which many wait for boots, and the load rises again and again."""
    chance = random.Random(seed)
    jobs = sorted(
        Job(at + chance.random() * 60, chance.lognormvariate(5 + seed % 3, 1), seed % 2 + 1)
        for at in (chance.random() * 4 * 3600 for _ in range(20))
        for _ in range(chance.choice((1, 3, 40)))
    )
    options = {**ADAPTIVE, "idle_for_time_s": (5.0, 60.0, 300.0)[seed % 3], "eagerness": (0.5, 0.95)[seed // 6]}
    settings = Settings(elastiq=ElastiqOptions(**options), quota=QuotaOptions(min_vms=seed % 4))  # type: ignore[arg-type]
    quick = simulate(jobs, settings, max_vms=(5, 30)[seed % 2])
    slow = simulate(jobs, settings, max_vms=(5, 30)[seed % 2], every_poll=True)
    assert told(quick) == told(slow)
    assert quick.plans < slow.plans / 2


def test_vms_that_come_join_and_go_as_they_were_to_make_no_plan() -> None:
    jobs = sorted(Job(600.0 * burst + n, 300.0 + 17 * n, 1) for burst in range(12) for n in range(3 + burst % 5))
    settings = Settings(elastiq=ElastiqOptions(**ADAPTIVE))  # type: ignore[arg-type]
    quick, slow = simulate(jobs, settings), simulate(jobs, settings, every_poll=True)
    assert told(quick) == told(slow)
    assert quick.plans < slow.plans / 8


def test_looks_are_no_more_frequent_than_the_loop() -> None:
    options = ElastiqOptions(sleep_s=30.0, check_queue_every_s=15.0, check_vms_every_s=45.0)
    assert Rhythm.of(Settings(elastiq=options)) == Rhythm(30.0, 45.0, 30.0)


def test_a_job_that_can_never_start_ends_the_life() -> None:
    """Fewer jobs wait than the threshold, and no more come."""
    figures = simulate(
        [Job(0.0, 60.0, 1), Job(3600.0, 60.0, 1)], Settings(elastiq=ElastiqOptions(waiting_jobs_threshold=5))
    )
    assert (figures.jobs, figures.never_started, figures.vms) == (0, 2, 0)


def test_a_year_without_jobs_is_passed_over() -> None:
    settings = Settings(quota=QuotaOptions(min_vms=1))
    figures = simulate([Job(0.0, 60.0, 1), Job(366 * 86400.0, 60.0, 1)], settings)
    assert figures.plans < 1000
    assert figures.vm_hours == pytest.approx(366 * 24, rel=0.01)


SHARED = [directory / "shared" / "traces" for directory in TOP.parents[:2]]
TRACES = next((path for path in SHARED if path.is_dir()), SHARED[0])


@pytest.mark.long
@pytest.mark.skipif(not TRACES.is_dir(), reason=f"there are no traces in {TRACES}")
def test_it_is_so_on_a_day_of_a_real_trace() -> None:
    jobs = [job for job in read(str(TRACES / "lcg-2005-imperial.swf.gz")) if job.submitted_at < 86400]
    settings = Settings(elastiq=ElastiqOptions(waiting_jobs_time_s=0.0, idle_for_time_s=60.0))
    quick, slow = simulate(jobs, settings), simulate(jobs, settings, every_poll=True)
    assert told(quick) == told(slow)
    assert quick.jobs == len(jobs) > 100
