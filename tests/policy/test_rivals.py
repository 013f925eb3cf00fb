"""The rivals' rules, reckoned by hand."""

from __future__ import annotations

import pytest

from elastiq.sim.replay.traces import Job
from elastiq.sim.replay.work import work_of
from tests.policy.rivals import ClusterAutoscaler, Original, SlurmPowerSaving

BOOT = 180.0
BILLED_BEYOND = 30.0


def test_the_original_waits_before_it_launches_and_keeps_a_vm_for_an_hour() -> None:
    made = Original().run(work_of([Job(0.0, 600.0, 1)], 4), BOOT)
    (wait,) = made.waits
    assert BOOT + 40 < wait <= BOOT + 40 + 2 * 15
    lived = made.vm_hours * 3600 - BILLED_BEYOND
    assert BOOT + 600 + 3600 < lived <= BOOT + 600 + 3600 + 2 * 45


def test_the_original_counts_on_a_vm_that_is_full_until_it_should_have_come() -> None:
    """Jobs that come once the first VM has joined wait as if it was still to take them."""
    jobs = [Job(0.0, 5000.0, 4), Job(300.0, 100.0, 4)]
    late = Original().run(work_of(jobs, 4), BOOT).waits[1]
    assert late > BOOT + 40 + 300


def test_the_original_with_its_sample_file_leaves_few_jobs_for_ever() -> None:
    made = Original(threshold=10, wait_seconds=100.0).run(work_of([Job(0.0, 60.0, 1)] * 3, 4), BOOT)
    assert (made.waits, made.never_started, made.vm_hours) == ((), 3, 0.0)


def test_cluster_autoscaler_launches_at_its_next_look_and_keeps_a_vm_for_ten_minutes() -> None:
    made = ClusterAutoscaler().run(work_of([Job(0.0, 600.0, 1), Job(1.0, 600.0, 3)], 4), BOOT)
    assert max(made.waits) <= BOOT + 10
    lived = made.vm_hours * 3600 - BILLED_BEYOND
    assert BOOT + 600 + 600 < lived <= BOOT + 600 + 600 + 2 * 10


@pytest.mark.parametrize(("cores", "vms"), [([3, 3, 1], 2), ([2, 2, 2, 2], 2), ([8, 1], 3), ([16], 4)])
def test_cluster_autoscaler_packs(cores: list[int], vms: int) -> None:
    work = work_of([Job(0.0, 1000.0, one) for one in cores], 4, 10)
    lived = ClusterAutoscaler().run(work, BOOT).vm_hours * 3600 / (BOOT + 1000 + 600 + BILLED_BEYOND)
    assert lived == pytest.approx(vms, rel=0.02)


def test_slurm_binds_a_job_to_the_node_that_boots_for_it() -> None:
    """Although a core of the first node is free long before."""
    jobs = [Job(0.0, 200.0, 4), Job(200.0, 100.0, 4)]
    made = SlurmPowerSaving().run(work_of(jobs, 4, 2), BOOT)
    assert made.waits == (BOOT, BOOT)
    used_again = SlurmPowerSaving().run(work_of([Job(0.0, 200.0, 4), Job(390.0, 100.0, 4)], 4, 2), BOOT)
    assert used_again.waits == (BOOT, 0.0)


def test_slurm_ends_a_node_after_suspend_time() -> None:
    lived = SlurmPowerSaving(60.0).run(work_of([Job(0.0, 600.0, 1)], 4), BOOT).vm_hours * 3600 - BILLED_BEYOND
    assert BOOT + 600 + 60 <= lived <= BOOT + 600 + 60 + 30


def test_slurm_lets_jobs_wait_where_all_nodes_are_full() -> None:
    made = SlurmPowerSaving().run(work_of([Job(0.0, 600.0, 4)] * 3, 4, 1), BOOT)
    assert made.waits == (BOOT, BOOT + 600, BOOT + 1200)
