"""Figures, reckoned by hand."""

from __future__ import annotations

import pytest

from elastiq.sim.replay.cluster import Curve
from elastiq.sim.replay.figures import billed_hours, elasticity, percentile


def curve(*steps: tuple[float, int]) -> Curve:
    made = Curve()
    for time, value in steps:
        made.step(time, value)
    return made


def test_a_vm_is_billed_by_the_second_and_half_a_minute_more() -> None:
    assert billed_hours([(0.0, 3570.0), (100.0, 1870.0)]) == pytest.approx(1.5)
    assert billed_hours([]) == 0.0


def test_the_percentile_is_a_value_that_was_seen() -> None:
    assert percentile([5.0], 0.95) == 5.0
    assert percentile(list(map(float, range(100, 0, -1))), 0.95) == 95.0
    assert percentile([], 0.95) == 0.0


def test_elasticity() -> None:
    # Of 100 s: 20 s two VMs are wanted and none is there, 50 s both are, 30 s none is wanted and both are there still.
    found = elasticity(curve((0.0, 2), (70.0, 0)), curve((0.0, 0), (20.0, 2)), 100.0)
    assert found.accuracy_under == pytest.approx(0.20)
    assert found.accuracy_over == pytest.approx(0.60)
    assert found.timeshare_under == pytest.approx(0.20)
    assert found.timeshare_over == pytest.approx(0.30)
    assert found.jitter_per_hour == pytest.approx(0.0)


def test_jitter_counts_what_is_changed_more_often_than_is_wanted() -> None:
    found = elasticity(curve((0.0, 1)), curve((0.0, 1), (10.0, 2), (20.0, 1)), 3600.0)
    assert found.jitter_per_hour == pytest.approx(2.0)


def test_no_time_is_no_figure() -> None:
    assert elasticity(curve((5.0, 1)), curve((5.0, 1)), 5.0).accuracy_under == 0.0
