"""The contract of elastiq.plugins.BatchSystem, tried on live batch systems."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from elastiq.errors import BatchError
from elastiq.model import Worker
from elastiq.plugins import Closing

from .harness import Harness, SandboxHarness

HARNESSES: list[type[Harness]] = [SandboxHarness]

NAME, INSTANCE_ID, ADDRESS = "worker-1", "i-0123456789abcdef0", "127.0.0.1"


@pytest.fixture(params=HARNESSES, ids=lambda harness: harness.__name__)
def system(request: pytest.FixtureRequest) -> Iterator[Harness]:
    harness: Harness = request.param()
    harness.start()
    yield harness
    harness.stop()


@pytest.fixture
def joined(system: Harness) -> Harness:
    """A system with one idle worker."""
    system.join(NAME, INSTANCE_ID, ADDRESS)
    system.worker(INSTANCE_ID)
    return system


def is_idle(system: Harness) -> bool:
    return system.worker(INSTANCE_ID).jobs == 0


def test_an_empty_system_says_that_there_is_nothing(system: Harness) -> None:
    assert system.batch.demand() == ()
    assert system.batch.workers() == ()
    assert "\n" not in system.batch.check()


def test_waiting_jobs_are_counted_until_they_are_cancelled(system: Harness) -> None:
    jobs = [system.submit(1) for _ in range(3)]
    system.wait_until(lambda: system.waiting() == 3, "three jobs to wait")
    (demand,) = system.batch.demand()
    assert demand.shape.cpus == 1
    assert demand.oldest_wait_seconds is None or demand.oldest_wait_seconds >= 0
    system.cancel(jobs[0])
    system.wait_until(lambda: system.waiting() == 2, "the cancelled job to go")


def test_held_jobs_are_no_demand(system: Harness) -> None:
    system.submit(1, held=True)
    system.submit(1)
    system.wait_until(lambda: system.waiting() == 1, "the one job that is not held")
    time.sleep(system.settle_seconds)
    assert system.waiting() == 1


def test_a_worker_that_joined_is_idle_and_free(joined: Harness) -> None:
    worker = joined.worker(INSTANCE_ID)
    assert worker.name
    assert worker.address == ADDRESS
    assert worker.capacity.cpus >= 1
    assert worker.free == worker.capacity
    assert worker.jobs == 0
    assert worker.idle_seconds is not None and worker.idle_seconds >= 0
    assert not worker.closed


def test_a_busy_worker_is_not_idle_and_its_job_no_demand(joined: Harness) -> None:
    joined.submit(600)
    joined.wait_until(lambda: not is_idle(joined), "the job to start")
    worker = joined.worker(INSTANCE_ID)
    assert worker.idle_seconds is None
    assert worker.free.cpus < worker.capacity.cpus
    joined.wait_until(lambda: joined.waiting() == 0, "the running job to leave the queue")


def test_a_short_job_begins_the_idle_time_anew(joined: Harness) -> None:
    def idle_seconds() -> float:
        return joined.worker(INSTANCE_ID).idle_seconds or 0.0

    joined.wait_until(lambda: idle_seconds() > joined.settle_seconds, "the idle time to grow")
    before = time.monotonic()
    job = joined.submit(0)
    joined.wait_until(lambda: joined.is_done(job) and is_idle(joined), "the job to end")
    assert idle_seconds() <= time.monotonic() - before


def test_a_closed_worker_starts_nothing_until_it_is_reopened(joined: Harness) -> None:
    worker = joined.worker(INSTANCE_ID)
    assert joined.batch.close(worker) is Closing.CLOSED
    assert joined.worker(INSTANCE_ID).closed
    job = joined.submit(0)
    time.sleep(joined.settle_seconds)
    assert joined.starts(job) == 0
    assert joined.waiting() == 1
    assert joined.batch.close(worker) is Closing.CLOSED
    joined.batch.reopen(worker)
    joined.wait_until(lambda: joined.is_done(job), "the job to run after the reopen")
    assert not joined.worker(INSTANCE_ID).closed
    joined.batch.reopen(worker)


def test_a_busy_worker_refuses_to_close_and_goes_on(joined: Harness) -> None:
    first = joined.submit(3)
    joined.wait_until(lambda: not is_idle(joined), "the job to start")
    assert joined.batch.close(joined.worker(INSTANCE_ID)) is Closing.BUSY
    assert not joined.worker(INSTANCE_ID).closed
    second = joined.submit(0)
    joined.wait_until(lambda: joined.is_done(first) and joined.is_done(second), "both jobs to end")
    assert (joined.starts(first), joined.starts(second)) == (1, 1)


def test_a_vm_that_never_joined_closes(system: Harness) -> None:
    assert system.batch.close(Worker("", "i-0fedcba9876543210", "127.0.0.99")) is Closing.CLOSED


def test_a_worker_listed_after_all_is_found_by_its_vm_alone(joined: Harness) -> None:
    assert joined.batch.close(Worker("", INSTANCE_ID, ADDRESS)) is Closing.CLOSED
    assert joined.worker(INSTANCE_ID).closed


def test_a_worker_without_power_goes_and_is_forgotten(joined: Harness) -> None:
    worker = joined.worker(INSTANCE_ID)
    assert joined.batch.close(worker) is Closing.CLOSED
    joined.leave(NAME)
    joined.batch.forget(worker)
    joined.wait_until(lambda: joined.batch.workers() == (), "the dead worker to go")
    joined.batch.forget(worker)
    joined.batch.reopen(worker)


def test_an_unreachable_system_is_an_error_never_nothing(joined: Harness) -> None:
    worker = joined.worker(INSTANCE_ID)
    joined.hide()
    for call in (
        joined.batch.demand,
        joined.batch.workers,
        joined.batch.check,
        lambda: joined.batch.close(worker),
        lambda: joined.batch.reopen(worker),
    ):
        with pytest.raises(BatchError):
            call()


def test_close_and_a_new_job_never_both_win(joined: Harness) -> None:
    chance = random.Random(2)
    for _ in range(joined.race_rounds):
        worker = joined.worker(INSTANCE_ID)
        job = joined.submit(0.05)
        time.sleep(chance.uniform(0, joined.race_window_seconds))
        answer = joined.batch.close(worker)
        starts = joined.starts(job)
        if answer is Closing.CLOSED and not joined.is_done(job):
            time.sleep(joined.settle_seconds / 4)
            assert (starts, joined.starts(job)) == (0, 0), "a job started on a closed worker"
            joined.batch.reopen(worker)
        elif answer is Closing.CLOSED:
            joined.batch.reopen(worker)
        joined.wait_until(lambda job=job: joined.is_done(job), "the job to end")  # type: ignore[misc]
        assert joined.starts(job) == 1
