"""The sandbox's batch system: its files and its lock."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from elastiq.errors import BatchError
from elastiq.sandbox.spool import LOCK_TIMEOUT_SECONDS, Job, Spool, WorkerRecord, parse, runs_on
from tests.unit.fakes import FakeClock

JOB = Job("new", ["true"])


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def spool(tmp_path: Path, clock: FakeClock) -> Spool:
    spool = Spool(tmp_path / "spool", clock)  # type: ignore[arg-type]
    spool.create()
    return spool


def test_a_stuck_lock_is_an_error_after_a_while(spool: Spool, clock: FakeClock) -> None:
    before = clock.time
    with spool.locked(), pytest.raises(BatchError, match="is stuck"), spool.locked():
        pass
    assert clock.time - before > LOCK_TIMEOUT_SECONDS


def test_a_damaged_serial_number_is_an_error(spool: Spool) -> None:
    (spool.directory / "serial").write_text("many")
    with pytest.raises(BatchError, match="serial is damaged"):
        spool.submit(JOB)


def test_files_are_private_and_nothing_half_written_stays(spool: Spool) -> None:
    job = spool.submit(JOB)
    assert spool.directory.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in (spool.directory / "queue").iterdir()} == {f"{job.id}.json"}
    assert (spool.directory / "queue" / f"{job.id}.json").stat().st_mode & 0o777 == 0o600


def test_a_job_survives_writing_and_reading(spool: Spool) -> None:
    job = spool.submit(Job("new", ["true"], 3, 5, ["gpu"], True, not_before=7, after="000009"))
    assert spool.jobs("queue") == [job]
    assert parse(Job, json.dumps(asdict(job)), "here") == job


def test_a_spool_that_can_not_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BatchError, match="cannot make"):
        Spool(tmp_path / "file" / "spool").create()


def job(cpus: int = 1, memory_mb: int | None = None, *needs: str, whole: bool = False) -> Job:
    return Job("1", ["true"], cpus, memory_mb, list(needs), whole)


@pytest.mark.parametrize(
    ("asks", "beside", "memory_mb", "runs"),
    [
        (job(4), [], 1000, True),
        (job(5), [], 1000, False),
        (job(2), [job(3)], 1000, False),
        (job(1, 1000), [], 1000, True),
        (job(1, 1001), [], 1000, False),
        (job(1, 1), [job(1, 1000)], 1000, False),
        (job(1), [job(1, 1000)], 1000, True),
        (job(1, 10**9), [job(1, 10**9)], None, True),  # how much memory there is is not known
        (job(1, None, "gpu"), [], 1000, True),
        (job(1, None, "gpu", "fpga"), [], 1000, False),
        (job(whole=True), [], 1000, True),
        (job(whole=True), [job()], 1000, False),
        (job(), [job(whole=True)], 1000, False),
    ],
)
def test_what_runs_where(asks: Job, beside: list[Job], memory_mb: int | None, runs: bool) -> None:
    record = WorkerRecord("w", cpus=4, memory_mb=memory_mb, offers=["cvmfs", "gpu"])
    assert runs_on(asks, record, beside) is runs


@pytest.mark.parametrize(
    "changes",
    [{"memory_mb": 0}, {"memory_mb": -1}, {"offers": ["a b"]}, {"offers": [None]}, {"offers": {}}, {"cpus": 0}],
)
def test_a_worker_that_can_not_be_is_damage(changes: dict[str, object]) -> None:
    record = {**asdict(WorkerRecord("w", memory_mb=1)), **changes}
    with pytest.raises(BatchError, match="here is damaged"):
        parse(WorkerRecord, json.dumps(record), "here")


def test_a_worker_of_2_0_0_is_read() -> None:
    record = '{"name": "w", "instance_id": "i-1", "address": "", "cpus": 2, "memory_mb": 4096, "idle_seconds": 7.5}'
    assert parse(WorkerRecord, record, "here") == WorkerRecord("w", "i-1", "", 2, 4096, [], 7.5)
