"""What VMs cost, in the report and in `elastiqctl status`."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastiq.decisions import CostFigures
from elastiq.report import spending
from elastiq.report.status import picture
from elastiq.state import read_report
from tests.unit.fakes import settings_with
from tests.unit.report.test_status import REPORT
from tests.unit.rig import SETTINGS, Rig


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        (None, {}),
        (
            CostFigures("EUR", 96_000, 3_204_000, 41_100_000, 12_000_000, 100_000_000),
            {"cost": "0.10 EUR an hour (of 12.00), 3.20 spent today (of 100.00), 41.10 this month"},
        ),
        (CostFigures("", 0, 0, 0), {"cost": "0.00 an hour, 0.00 spent today, 0.00 this month"}),
    ],
)
def test_what_status_says(figures: CostFigures | None, says: dict[str, str]) -> None:
    assert spending.lines(spending.reported(figures)) == says


def test_it_stands_in_the_picture() -> None:
    shown = picture({**REPORT, **spending.reported(CostFigures("EUR", 96_000, 0, 0))}, 1_001_000_000)
    assert "  cost          0.10 EUR an hour, 0.00 spent today, 0.00 this month" in shown
    assert not any("cost" in line for line in picture(REPORT, 1_001_000_000))


def test_a_daemon_keeps_what_was_spent_over_a_restart(tmp_path: Path) -> None:
    settings = settings_with(SETTINGS, instance_types=("m5.large 3.6",), max_per_day=100.0, currency="EUR")
    settings = type(settings)(**{**vars(settings), "has_cost": True})
    rig = Rig(tmp_path, settings)
    rig.wait_for_jobs(4)
    rig.run(100)
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=0)
    rig.run(100)
    rig.join_all(idle_seconds=9999)
    rig.run(300)
    assert not rig.core.memory.vms
    spent = sum(rig.core.memory.spent.values())
    assert 0.1e6 < spent < 0.5e6, "0.001 a second"
    rig.state.close()
    rig.start()
    assert sum(rig.core.memory.spent.values()) == spent
    rig.run(20)
    report = read_report(tmp_path)
    assert report is not None
    assert report["spent_today"] == pytest.approx(spent / 1e6)
    rig.state.close()
