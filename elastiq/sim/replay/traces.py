"""Job traces in the Standard Workload Format."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

SUBMITTED, RUN_SECONDS, ALLOCATED, REQUESTED = 1, 3, 4, 7
"""Columns, from 0, of the fields that are used. -1 in one of them is "not known"."""

LONGEST_SECONDS = 50 * 366 * 86400.0
"""No trace is longer; whoever says more has a time of another kind in that column."""

MOST_PROCESSORS = 10_000_000


class Job(NamedTuple):
    """A job as it was recorded."""

    submitted_at: float
    """In seconds since the trace begins."""
    seconds: float
    """How long it ran."""
    processors: int


@lru_cache(maxsize=4)
def read(path: str) -> tuple[Job, ...]:
    """Return every job that ran, in the order in which they were submitted.

    Of the processors those count that were allocated, and those that were requested where that is not known. The file
    may be compressed by gzip. Raise ValueError if it is no such file, OSError if it cannot be read.
    """
    jobs: list[Job] = []
    for number, line in enumerate(_content(path).decode("latin-1").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(";"):
            continue
        try:
            jobs += _job([float(word) for word in line.split()])
        except (ValueError, IndexError, OverflowError):
            raise ValueError(f"{path}:{number}: not a line of the Standard Workload Format") from None
    return tuple(sorted(jobs))


def _content(path: str) -> bytes:
    content = Path(path).read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: is compressed by gzip, and damaged: {error}") from None


def _job(fields: list[float]) -> Iterator[Job]:
    """Return the job of a line, if it ran. Raise ValueError or IndexError if it is none."""
    submitted_at, seconds = fields[SUBMITTED], fields[RUN_SECONDS]
    allocated, requested = fields[ALLOCATED], fields[REQUESTED] if len(fields) > REQUESTED else -1.0
    processors = allocated if allocated > 0 else requested
    if not all(map(math.isfinite, fields)) or max(submitted_at, seconds) > LONGEST_SECONDS:
        raise ValueError("no time")
    if processors > MOST_PROCESSORS:
        raise ValueError("no number of processors")
    if seconds > 0 and submitted_at >= 0:
        yield Job(submitted_at, seconds, max(1, int(processors)))
