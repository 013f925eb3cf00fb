"""The sandbox's batch system: its files and its lock."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from elastiq.errors import BatchError
from elastiq.sandbox.spool import LOCK_TIMEOUT_SECONDS, Job, Spool, parse
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
    job = spool.submit(Job("new", ["true"], cpus=3, memory_mb=5, not_before=7, after="000009"))
    assert spool.jobs("queue") == [job]
    assert parse(Job, json.dumps(asdict(job)), "here") == job


def test_a_spool_that_can_not_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BatchError, match="cannot make"):
        Spool(tmp_path / "file" / "spool").create()
