"""simulate(): small traces, reckoned by hand."""

from __future__ import annotations

import pytest

from elastiq.config import Settings
from elastiq.config.sections import ElastiqOptions
from elastiq.sim.replay.simulate import simulate
from elastiq.sim.replay.traces import Job

BOOT = 180.0


def settings(**options: float) -> Settings:
    return Settings(elastiq=ElastiqOptions(**{"waiting_jobs_time_s": 0.0, "idle_for_time_s": 60.0, **options}))  # type: ignore[arg-type]


def test_one_job() -> None:
    """It is submitted as the queue is looked at. A VM is launched at the next look, for no job may be launched for
    before it has waited for more than 0 s; it starts as that VM joins."""
    figures = simulate([Job(0.0, 600.0, 1)], settings(), boot_seconds=BOOT)
    assert (figures.jobs, figures.vms, figures.max_vms, figures.left_out) == (1, 1, 1, 0)
    assert figures.worst_wait_seconds == figures.mean_wait_seconds == figures.p95_wait_seconds
    assert BOOT < figures.worst_wait_seconds <= BOOT + 15
    # From the launch: boot, job, up to two looks until it is seen to be idle for a minute, and what is billed beyond.
    least = BOOT + 600 + 60 + 30
    assert least <= figures.vm_hours * 3600 <= least + 2 * 45
    assert figures.oracle_vm_hours == pytest.approx(630 / 3600)
    assert figures.ratio == pytest.approx(figures.vm_hours / figures.oracle_vm_hours)


def test_a_burst_waits_for_one_boot() -> None:
    figures = simulate([Job(7.0, 1000.0, 1)] * 8, settings(), boot_seconds=BOOT)
    assert (figures.jobs, figures.vms, figures.max_vms) == (8, 2, 2)
    assert figures.worst_wait_seconds <= BOOT + 2 * 15
    assert figures.oracle_vm_hours == pytest.approx(2 * 1030 / 3600)


def test_a_job_of_two_vms_gets_both_at_once() -> None:
    figures = simulate([Job(0.0, 500.0, 8)], settings(), boot_seconds=BOOT)
    assert (figures.jobs, figures.vms, figures.max_vms) == (1, 2, 2)
    assert figures.worst_wait_seconds <= BOOT + 15
    assert figures.oracle_vm_hours == pytest.approx(2 * 530 / 3600)


def test_the_quota_holds_and_what_is_larger_is_left_out() -> None:
    jobs = [Job(0.0, 500.0, 4), Job(0.0, 500.0, 4), Job(0.0, 500.0, 8)]
    figures = simulate(jobs, settings(), boot_seconds=BOOT, max_vms=1)
    assert (figures.jobs, figures.left_out, figures.vms) == (2, 1, 1)
    assert max(figures.supply_curve.values) == 1
    assert figures.worst_wait_seconds == pytest.approx(figures.mean_wait_seconds + 250)


def test_no_job() -> None:
    figures = simulate([], settings())
    assert (figures.jobs, figures.vms, figures.vm_hours, figures.ratio) == (0, 0, 0.0, None)
