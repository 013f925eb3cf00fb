"""simulate(): small traces, reckoned by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.config import Settings
from elastiq.config.sections import Ec2Options, ElastiqOptions
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


SIZES = {"small": 1, "large": 8}


def priced(*types: str) -> Settings:
    return replace(settings(), ec2=Ec2Options(instance_types=types))


def test_each_job_has_vms_of_a_size_that_holds_it_and_these_are_billed_by_what_they_cost() -> None:
    jobs = [Job(0.0, 600.0, 1), Job(0.0, 600.0, 8)]
    figures = simulate(jobs, priced("small 0.05", "large 0.4"), cores=8, sizes=SIZES)
    small, large = figures.of_types
    assert [(one.type, one.cores, one.price, one.vms) for one in (small, large)] == [
        ("small", 1, 0.05, 1), ("large", 8, 0.4, 1),
    ]  # fmt: skip
    assert (figures.price, figures.cores_per_vm, figures.max_vms, figures.jobs) == (0.4, 8, 9, 2)
    assert figures.is_by_price
    assert figures.vm_hours == pytest.approx(large.hours + small.hours / 8)
    dear = simulate(jobs, priced("small 0.2", "large 0.4"), cores=8, sizes=SIZES)
    assert dear.vms == 2, "one large one holds but the large job"
    assert dear.vm_hours == pytest.approx(dear.of_types[1].hours + dear.of_types[0].hours / 2)


def test_without_prices_cores_are_what_counts() -> None:
    figures = simulate([Job(0.0, 600.0, 1)], priced("small", "large"), cores=8, sizes=SIZES)
    assert not figures.is_by_price
    assert figures.price is None
    assert figures.vm_hours == pytest.approx(figures.of_types[0].hours / 8)
    assert max(figures.supply_curve.values) == max(figures.demand_curve.values) == 1


def test_a_job_of_more_cores_than_the_largest_has_is_split() -> None:
    figures = simulate([Job(0.0, 500.0, 12)], priced("small 0.05", "large 0.4"), cores=8, sizes=SIZES)
    assert (figures.jobs, figures.never_started) == (1, 0)
    assert {one.type: one.vms for one in figures.of_types} == {"small": 0, "large": 2}
