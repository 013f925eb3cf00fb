"""Job traces in the Standard Workload Format."""

from __future__ import annotations

import gzip
from functools import lru_cache
from pathlib import Path

SUBMITTED, RUN_SECONDS, PROCESSORS = 1, 3, 4
"""Columns, from 0, of the fields that are used."""


@lru_cache(maxsize=4)
def read(path: str) -> tuple[tuple[float, float, int], ...]:
    """Return submit time, run time (both seconds) and processors of every job that ran, in order.

    The file may be compressed by gzip. Raise ValueError if it is no such file, OSError if it cannot be read.
    """
    content = Path(path).read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    jobs = []
    for number, line in enumerate(content.decode("latin-1").splitlines(), 1):
        if not line.strip() or line.startswith(";"):
            continue
        try:
            fields = [float(word) for word in line.split()]
            submitted, seconds, processors = fields[SUBMITTED], fields[RUN_SECONDS], int(fields[PROCESSORS])
        except (ValueError, IndexError):
            raise ValueError(f"{path}:{number}: not a line of the Standard Workload Format") from None
        if seconds > 0:
            jobs.append((submitted, seconds, max(1, processors)))
    return tuple(sorted(jobs))
