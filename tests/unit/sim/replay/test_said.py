"""Figures in the words of people."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.sim.replay.said import lines_of, time_text
from elastiq.sim.replay.simulate import simulate
from elastiq.sim.replay.traces import Job


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.6, "60 s"), (150, "2.5 min"), (7200, "2.0 h"), (864000, "10.0 days")]
)
def test_times(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


def test_jobs_that_did_not_run_are_told() -> None:
    figures = simulate([Job(0.0, 60.0, 1)])
    assert len(lines_of(figures, "a.swf", 0.0, "VMs")) == 6
    text = "\n".join(lines_of(replace(figures, left_out=2, never_started=1), "a.swf", 0.0, "VMs"))
    assert "2 left out, since they need more VMs; 1 have never started" in text


def test_no_job_is_no_ratio() -> None:
    assert "VM-hours    0.00" in lines_of(simulate([]), "a.swf", 0.0, "VMs")[2]
