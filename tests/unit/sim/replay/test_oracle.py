"""The packing with the future known: by hand, and what holds for every one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from elastiq.sim.replay.oracle import lives_of
from elastiq.sim.replay.traces import Job
from elastiq.sim.replay.work import Work, peak_vms, work_of


def lives(*jobs: Job, cores: int = 4) -> list[tuple[float, float]]:
    return sorted(lives_of(work_of(sorted(jobs), cores)))


def test_one_job_has_a_vm_for_itself() -> None:
    assert lives(Job(5.0, 10.0, 1)) == [(5.0, 15.0)]


def test_jobs_at_the_same_time_share_a_vm_until_it_is_full() -> None:
    assert lives(*[Job(0.0, 10.0, 1)] * 5) == [(0.0, 10.0), (0.0, 10.0)]


def test_a_job_goes_where_it_lengthens_least() -> None:
    # The third job ends with the second: there it lengthens nothing.
    found = lives(Job(0.0, 100.0, 2), Job(0.0, 50.0, 3), Job(40.0, 10.0, 1), cores=3)
    assert found == [(0.0, 50.0), (0.0, 100.0)]


def test_a_short_job_does_not_keep_a_long_vm() -> None:
    # Both hold the last job; the VM with the shorter life has less to lose.
    found = lives(Job(0.0, 100.0, 2), Job(0.0, 50.0, 2), Job(0.0, 50.0, 1), Job(0.0, 100.0, 1), cores=3)
    assert found == [(0.0, 50.0), (0.0, 100.0)]


def test_a_vm_goes_on_with_a_job_that_begins_as_another_ends() -> None:
    assert lives(Job(0.0, 10.0, 4), Job(10.0, 10.0, 4)) == [(0.0, 20.0)]
    assert lives(Job(0.0, 10.0, 4), Job(10.5, 10.0, 4)) == [(0.0, 10.0), (10.5, 20.5)]


def test_a_job_of_three_vms_has_three() -> None:
    assert lives(Job(0.0, 10.0, 12)) == [(0.0, 10.0)] * 3


jobs = st.lists(
    st.builds(Job, st.integers(0, 20000).map(float), st.integers(1, 9000).map(float), st.integers(1, 11)), max_size=40
)


def core_seconds(work: Work) -> float:
    return sum(job.seconds * size.all_cores for job, size in work.jobs)


@given(jobs, st.integers(1, 5))
def test_it_costs_no_less_than_the_cores_and_no_more_than_a_vm_for_each_job(some: list[Job], cores: int) -> None:
    work = work_of(sorted(some), cores)
    found = lives_of(work)
    seconds = sum(end - begin for begin, end in found)
    assert core_seconds(work) <= seconds * cores + 1e-6
    assert seconds <= sum(job.seconds * size.vms for job, size in work.jobs) + 1e-6


@given(jobs, st.integers(1, 5))
def test_there_is_room_for_all_at_any_time(some: list[Job], cores: int) -> None:
    work = work_of(sorted(some), cores)
    found = lives_of(work)
    for moment in {job.submitted_at for job in some}:
        alive = sum(begin <= moment < end for begin, end in found)
        busy = sum(
            size.all_cores for job, size in work.jobs if job.submitted_at <= moment < job.submitted_at + job.seconds
        )
        assert busy <= alive * cores
    assert len(found) >= (peak_vms(work.jobs, cores) if some else 0)
