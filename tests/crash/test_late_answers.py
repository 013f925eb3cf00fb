"""Answers that come late, in both dialects, and kills: no VM twice, none lost, none too many, no job started twice.

A slice of `python -m tests.crash --late 100`; ELASTIQ_LATE_RUNS says how many, ELASTIQ_CRASH_SEED where to begin.
"""

from __future__ import annotations

import os

import pytest

from tests.crash.late import run_many

RUNS = int(os.environ.get("ELASTIQ_LATE_RUNS", "20"))
FIRST_SEED = int(os.environ.get("ELASTIQ_CRASH_SEED", "0"))


@pytest.mark.slow
def test_late_answers_and_kills() -> None:
    runs = run_many(FIRST_SEED, RUNS)
    print("\n".join(map(str, runs)))
    failed = [run for run in runs if run.failure]
    assert not failed, "\n\n".join(map(str, failed))
