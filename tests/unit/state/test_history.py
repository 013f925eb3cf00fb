"""The last decisions, and the report for `status`."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from elastiq.decisions import Decision, End, Kind, Outcome, Reason, Token
from elastiq.memory import Memory
from elastiq.model import Shape
from elastiq.state import State, read_account, read_decisions_on, read_memory, read_report
from tests.unit.state.rig import NOW


def test_decisions_are_kept_and_trimmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elastiq.state.history.DECISIONS_KEPT", 5)
    state = State(tmp_path, NOW)
    decision = Decision(Kind.LAUNCH, Reason(Token.NO_ROOM, "8 jobs wait"), count=2)
    for number in range(9):
        state.record(NOW + number, decision, Outcome(decision, End.DONE, f"launched {number}"))
    state.close()
    database = sqlite3.connect(tmp_path / "elastiq.db")
    rows = database.execute("SELECT kind, reason, detail FROM decisions ORDER BY number").fetchall()
    database.close()
    assert rows == [("launch", "8 jobs wait", f"launched {number}") for number in range(4, 9)]


def test_the_report_is_read_without_the_daemon_and_nothing_is_made(tmp_path: Path) -> None:
    assert read_report(tmp_path) is None
    assert not list(tmp_path.iterdir())
    state = State(tmp_path, NOW)
    state.save_report({"summary": "nothing to do"})
    assert read_report(tmp_path) == {"summary": "nothing to do"}
    state.close()
    assert read_report(tmp_path) == {"summary": "nothing to do"}


def test_the_memory_is_read_without_the_daemon_and_nothing_is_made(tmp_path: Path) -> None:
    assert read_memory(tmp_path) is None
    assert not list(tmp_path.iterdir())
    state = State(tmp_path, NOW)
    known = Memory(capacities={"default": Shape(8, 16000)})
    state.save(known)
    assert read_memory(tmp_path) == known
    state.close()
    assert read_memory(tmp_path) == known
    (tmp_path / "elastiq.db").write_bytes(b"no database")
    assert read_memory(tmp_path) is None


def test_decisions_on_a_vm_are_those_that_name_it(tmp_path: Path) -> None:
    state = State(tmp_path, 0.0)
    idle = Decision(Kind.TERMINATE, Reason(Token.IDLE, "idle", "i-1"), instance_id="i-1")
    gone = Decision(Kind.HOLD, Reason(Token.VM_ENDED, "VMs i-1, i-2 are gone", "i-1, i-2"))
    state.record(1.0, idle, Outcome(idle, End.DONE, "terminated"))
    state.record(2.0, gone, None)
    assert [one["token"] for one in read_decisions_on(tmp_path, "i-1")] == ["idle", "vm-ended"]
    assert [one["token"] for one in read_decisions_on(tmp_path, "i-2")] == ["vm-ended"]
    assert read_decisions_on(tmp_path, "i-3") == []
    assert read_decisions_on(tmp_path / "absent", "i-1") == []


def test_what_a_plan_said_stays_until_it_is_written_anew(tmp_path: Path) -> None:
    assert read_account(tmp_path) is None
    state = State(tmp_path, 0.0)
    state.save_report({"summary": "nothing to do"})
    assert read_account(tmp_path) is None
    state.save_report({"summary": "nothing to do"}, {"at": 1.0})
    state.save_report({"summary": "still nothing"})
    assert read_account(tmp_path) == {"at": 1.0}
