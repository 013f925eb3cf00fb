"""`simulate --history`: what the daemon has kept, run again, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from elastiq.memory import Memory
from elastiq.state import State
from elastiq.state.archive import Archive, Piece
from elastiq.state.kept import Life
from elastiq.state.looks import Kind, Pen, Queued, Use
from tests.unit.sim.replay.test_command import simulate

DOCUMENTED = """
elastiqctl simulate --history 30d
elastiqctl simulate --history 30d --compare
"""
"""The commands of docs/simulate.md."""


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Two days: each one job of 1,000 s, on a VM that was there for 2,000 s."""
    pen, archive = Pen(), Archive(tmp_path)
    for day in range(2):
        began = day * 86400.0
        pen.begin(began)
        pen.queue(began, {Kind(1, None, 0): Queued(1, None)})
        pen.workers(began, {})
        pen.queue(began + 200, {})
        pen.workers(began + 200, {"w": Use(1, 1, 4, True)})
        pen.workers(began + 1200, {"w": Use(0, 0, 4, True)})
        pen.workers(began + 2000, {})
        piece = Piece(began, began, began + 3000, True, pen.take())
        archive.add(piece, [Life(f"i-{day}", "default", "", began, ended_at=began + 2000)], began)
    archive.close()
    return tmp_path


def test_the_history_is_run_again_with_boot_times_as_learnt(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = State(kept, 0.0)
    state.save(Memory(boots={"m1.small": (90.0, 100.0, 110.0), "default": (90.0, 100.0, 110.0)}))
    state.close()
    assert simulate(kept, "--history", "30d", "--json", "--price", "0.5", "--set", "flavour=m1.small") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["trace"], found["jobs"], found["boot_seconds"], found["max_vms"]) == (None, 2, 100, 3)
    assert found["cost"] == pytest.approx(found["vm_hours"] / 2)
    history = found["history"]
    assert (history["vms"], history["elsewhere"], history["cut"], history["damage"]) == (2, 0, 0, None)
    assert history["vm_hours"] == pytest.approx(2 * 2030 / 3600)
    assert len(history["gaps"]) == 1, "between the days nothing was seen"


@pytest.mark.parametrize("command", DOCUMENTED.split("\n")[1:-1])
def test_the_documented_commands(command: str, kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(kept, *command.split()[2:]) == 0
    assert "2 jobs" in capsys.readouterr().out


def test_lines_for_people_and_a_shorter_time(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(kept, "--history", "2h", "--price", "2") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("history of 50.0 min: 1 jobs")
    assert "(as configured)" in printed
    assert "in truth    0.56 VM-hours in that time, of 1 VMs" in printed
    assert "\n  cost        " in printed


def test_what_cannot_be_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(tmp_path, "--history", "30d") == 1
    assert "history.db: there is none" in capsys.readouterr().err
    (tmp_path / "history.db").write_text("no database at all, but long enough to be taken for one")
    assert simulate(tmp_path, "--history", "30d") == 1
    assert "no job was at work in that time; " in capsys.readouterr().err


@pytest.mark.parametrize("words", [("--history", "soon"), ("--history", "0d"), ("a.swf", "--history", "1d"), ()])
def test_wrong_usage(words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        simulate(tmp_path, *words)
    assert ended.value.code == 1
    assert "usage: elastiqctl simulate" in capsys.readouterr().err
