"""Recorded jobs on VMs of one size."""

from __future__ import annotations

import pytest

from elastiq.sim.replay.traces import Job
from elastiq.sim.replay.work import Size, size_of, work_of


@pytest.mark.parametrize(
    ("processors", "size"),
    [(1, Size(1, 1)), (4, Size(1, 4)), (5, Size(2, 3)), (6, Size(2, 3)), (8, Size(2, 4)), (9, Size(3, 3))],
)
def test_a_job_is_split_over_no_more_vms_than_needed(processors: int, size: Size) -> None:
    assert size_of(Job(0.0, 1.0, processors), 4) == size


def test_the_peak_is_of_cores_at_work_if_nobody_waits() -> None:
    jobs = [Job(0.0, 10.0, 3), Job(5.0, 10.0, 3), Job(10.0, 10.0, 3)]
    # Never more than two at a time: the first ends as the third begins.
    assert work_of(jobs, 4).max_vms == 2
    assert work_of(jobs, 1).max_vms == 6
    assert work_of([], 4).max_vms == 1


def test_jobs_that_need_more_vms_than_there_may_be_are_left_out() -> None:
    jobs = [Job(0.0, 10.0, 4), Job(1.0, 10.0, 12)]
    assert work_of(jobs, 4).left_out == 0
    work = work_of(jobs, 4, 2)
    assert (len(work.jobs), work.left_out, work.max_vms) == (1, 1, 2)
