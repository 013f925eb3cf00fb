"""A cluster's own history, run again, costs what the cluster has cost."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from elastiq.config import Settings
from elastiq.sim.engine import DAY
from elastiq.sim.replay.recorded import Recorded, recorded
from elastiq.sim.replay.simulate import Scenario
from elastiq.state.archive import read_past
from tests.sim.month import SETTINGS, Month, with_options

pytestmark = pytest.mark.usefixtures("quiet")

ADAPTIVE = with_options(policy="adaptive", idle_for_time_s=60.0, waiting_jobs_time_s=0.0)


def record_of(directory: Path) -> Recorded:
    past = read_past(directory, 1e9)
    assert past is not None and past.damage == ""
    return recorded(past)


@pytest.mark.parametrize("settings", [SETTINGS, ADAPTIVE], ids=["classic", "adaptive"])
def test_days_run_again_cost_within_5_percent_of_what_they_have_cost(settings: Settings, tmp_path: Path) -> None:
    month = Month(tmp_path, settings=settings)
    month.run(3 * DAY)
    month.core.end()
    record = record_of(tmp_path)
    assert not record.gaps
    boot = statistics.median(seconds for boots in month.core.memory.boots.values() for seconds in boots)
    figures = Scenario(record.jobs, boot, 4, 40).run(settings)
    assert figures.jobs > 500
    assert figures.vm_hours == pytest.approx(month.vm_hours, rel=0.05)
    lived = sum(end - begin for begin, end in record.lives) / 3600
    assert lived == pytest.approx(month.vm_hours, rel=0.02)


def test_a_daemon_that_is_killed_leaves_a_gap_that_is_said(tmp_path: Path) -> None:
    month = Month(tmp_path)
    month.run(0.5 * DAY)
    down_from = month.engine.time
    month.engine.run_until(down_from + 7200)
    month.start()
    month.run(0.5 * DAY)
    month.core.end()
    ((begin, end),) = record_of(tmp_path).gaps
    assert begin <= down_from and end >= down_from + 7199, "times are kept to a tenth of a second"
    assert end - begin < 7200 + 3700, "only what was not written yet is lost beside"
