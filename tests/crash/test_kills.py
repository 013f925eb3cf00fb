"""The daemon is killed, or told to end, at every step: nothing is lost, nothing too much, no job killed.

A slice of what `python -m tests.crash` does; ELASTIQ_CRASH_KILLS says how many kills, ELASTIQ_CRASH_SEED where to
begin.
"""

from __future__ import annotations

import os
import signal
from math import gcd

import pytest

from tests.crash.episode import STEPS, STRIDE, failures, run_episodes, table

KILLS = int(os.environ.get("ELASTIQ_CRASH_KILLS", "20"))
FIRST_SEED = int(os.environ.get("ELASTIQ_CRASH_SEED", "0"))


@pytest.mark.parametrize(("number", "kills"), [(signal.SIGKILL, KILLS), (signal.SIGTERM, max(8, KILLS // 2))])
def test_nothing_is_lost_nothing_is_too_much_and_no_job_is_killed(number: signal.Signals, kills: int) -> None:
    reports = run_episodes(FIRST_SEED, kills, number)
    print(f"{number.name}\n{table(reports)}")
    again = f"python -m tests.crash --signal {number.name} --seed SEED runs one of these again"
    assert not failures(reports), f"{again}\n{failures(reports)}"
    assert sum(len(report.kills) for report in reports) >= kills


def test_enough_seeds_in_a_row_reach_every_step() -> None:
    assert gcd(STRIDE, len(STEPS)) == 1
