"""Traces: which lines are jobs, and what is said of files that are none."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from elastiq.sim.replay.traces import Job, read

LINE = "{number} {at} -1 {seconds} {allocated} -1 -1 {requested} -1 -1 1 1 1 -1 -1 1 -1 -1"


def line(at: float = 0, seconds: float = 10, allocated: int = 1, requested: int = -1) -> str:
    return LINE.format(number=1, at=at, seconds=seconds, allocated=allocated, requested=requested)


def written(path: Path, *lines: str) -> str:
    path.write_text("\n".join([";Computer: one", "", *lines, ""]))
    return str(path)


def test_jobs_come_in_the_order_of_their_submission(tmp_path: Path) -> None:
    name = written(tmp_path / "a.swf", line(at=20, seconds=5), line(at=10.5, seconds=7, allocated=3))
    assert read(name) == (Job(10.5, 7.0, 3), Job(20.0, 5.0, 1))


def test_processors_are_those_allocated_else_those_requested_else_one(tmp_path: Path) -> None:
    name = written(
        tmp_path / "a.swf",
        line(at=1, allocated=2, requested=4),
        line(at=2, allocated=-1, requested=4),
        line(at=3, allocated=-1),
        line(at=4, allocated=0, requested=0),
    )
    assert [job.processors for job in read(name)] == [2, 4, 1, 1]


def test_jobs_that_did_not_run_or_were_never_submitted_are_none(tmp_path: Path) -> None:
    name = written(tmp_path / "a.swf", line(seconds=0), line(seconds=-1), line(at=-1), line(at=5))
    assert read(name) == (Job(5.0, 10.0, 1),)


def test_a_short_line_needs_no_more_than_the_processors(tmp_path: Path) -> None:
    assert read(written(tmp_path / "a.swf", "1 0 -1 10 2")) == (Job(0.0, 10.0, 2),)


@pytest.mark.parametrize(
    "bad",
    ["hello", "1 2 3", line(at=float("nan")), line(seconds=float("inf")), line(at=1e300), line(allocated=10**9)],
)
def test_what_is_no_line_is_told_with_its_number(tmp_path: Path, bad: str) -> None:
    name = written(tmp_path / "a.swf", line(), bad)
    with pytest.raises(ValueError, match=r"a\.swf:4: not a line of the Standard Workload Format"):
        read(name)


def test_compressed_traces_are_read_and_damaged_ones_refused(tmp_path: Path) -> None:
    content = gzip.compress("\n".join(line(at=at) for at in range(1000)).encode())
    good, cut, torn = tmp_path / "good.gz", tmp_path / "cut.gz", tmp_path / "torn.gz"
    good.write_bytes(content)
    cut.write_bytes(content[: len(content) // 2])
    torn.write_bytes(content[:200] + bytes(50) + content[250:])
    assert len(read(str(good))) == 1000
    for damaged in (cut, torn):
        with pytest.raises(ValueError, match=r"is compressed by gzip, and damaged"):
            read(str(damaged))


def test_a_missing_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(str(tmp_path / "missing.swf"))
