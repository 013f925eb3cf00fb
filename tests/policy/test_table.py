"""The table, on a small made trace."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from elastiq.config import Settings
from elastiq.model import Pool
from elastiq.sim.replay.simulate import CORES
from tests.policy import __main__ as program
from tests.policy.table import OF_SEVERAL_SIZES, ROWS, SIZES, Cell, cell, lines, mean_of, scenario

MADE = str(program.MADE)


def test_mean_of_ratios_is_geometric_and_the_worst_stays() -> None:
    found = mean_of([Cell(1.0, 10.0, 20.0, 5.0, 0), Cell(4.0, 30.0, 40.0, -3.0, 2)])
    assert found == Cell(2.0, 20.0, 30.0, 5.0, 2)


def test_every_row_has_its_line() -> None:
    with ThreadPoolExecutor(1) as pool:
        head, *found = lines([MADE], [180.0], pool)
    assert head.split() == ["all", "95", "%", "worst", "made"]
    assert [re.split(r"  +", line)[0] for line in found] == [*ROWS]
    for line in found:
        assert len(re.findall(r"\d\.\d{3} @ \d+", line)) == 2
        assert "never start" not in line


def test_rows_and_boots_may_be_chosen() -> None:
    with ThreadPoolExecutor(1) as pool:
        head, *found = lines([MADE], [60.0, 600.0], pool, "Slurm")
    assert head.split()[:5] == ["all", "boot", "60", "boot", "600"]
    assert len(found) == 2
    assert all(len(re.findall(r"\d\.\d{3} @ \d+", line)) == 4 for line in found)


def test_a_longer_boot_costs_more_and_lets_jobs_wait_longer() -> None:
    row = "classic, at once and for a minute"
    short, long = cell(row, MADE, 60.0), cell(row, MADE, 600.0)
    assert 1.0 < short.ratio < long.ratio
    assert short.mean_wait_seconds < long.mean_wait_seconds


def test_how_to_get_a_trace_is_said_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "SHARED", tmp_path)
    assert program.main(["--no-shapes", "--boots", "180", "--rows", "Slurm"]) == 0
    said = capsys.readouterr().out
    assert "make policy TRACES=" in said
    assert said.count("Slurm's power saving") == 2


def test_traces_that_lie_beside_the_project_are_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mine.swf").write_text(program.MADE.read_text())
    monkeypatch.setattr(program, "SHARED", tmp_path)
    assert program.traces_of([]) == [str(tmp_path / "mine.swf")]
    assert program.traces_of(["a.swf"]) == ["a.swf"]


def test_vms_of_several_sizes_cost_less_than_of_one_by_the_same_options() -> None:
    several = scenario(MADE, 180.0, CORES, SIZES).run(Settings(), OF_SEVERAL_SIZES)
    one = scenario(MADE, 180.0, CORES).run(Settings(), replace(OF_SEVERAL_SIZES, pools=(Pool(),)))
    assert several.vm_hours < one.vm_hours
    assert several.oracle_vm_hours == one.oracle_vm_hours
    assert several.never_started == 0
