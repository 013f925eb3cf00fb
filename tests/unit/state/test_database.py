"""The file: private, written as a whole or not at all, and never overwritten by damage."""

from __future__ import annotations

import os
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from elastiq.errors import StateError
from elastiq.memory import Memory
from elastiq.state import State
from tests.unit.state.rig import MEMORY, NOW, reopen, restarted


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_files_are_private_under_any_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        state = State(tmp_path / "new", NOW)
        state.save(MEMORY)
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
        state.close()
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.write_bytes(b"not a database" * 500), id="garbage"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:5000] + b"\xff" * 4000), id="torn"),
        pytest.param(lambda path: _poison(path), id="a record that is no record"),
        pytest.param(
            lambda path: _poison(path, f'{{"id": "i-1", "joined_at": {10**400}}}'), id="a number beyond any float"
        ),
    ],
)
def test_a_damaged_database_is_moved_aside_and_said(
    tmp_path: Path, damage: object, caplog: pytest.LogCaptureFixture
) -> None:
    state = State(tmp_path, NOW)
    state.save(MEMORY)
    state.close()
    damage(tmp_path / "elastiq.db")  # type: ignore[operator]
    assert reopen(tmp_path) == Memory()
    assert (tmp_path / "elastiq.db.damaged-1000000").exists()
    assert "is damaged" in caplog.text


def _poison(path: Path, record: str = "[1]") -> None:
    database = sqlite3.connect(path)
    database.execute("UPDATE vms SET record = ?", (record,))
    database.commit()
    database.close()


def test_an_unusable_directory_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="file/state"):
        State(tmp_path / "file" / "state", NOW)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elastiq.state.database.BUSY_TIMEOUT_SECONDS", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_failed_save_changes_nothing_and_is_tried_again(tmp_path: Path) -> None:
    state = State(tmp_path, NOW)
    state.save(MEMORY)
    blocker = sqlite3.connect(tmp_path / "elastiq.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    more = replace(MEMORY, intents=())
    with pytest.raises(StateError, match="locked"):
        state.save(more)
    blocker.execute("ROLLBACK")
    blocker.close()
    state.save(more)
    state.close()
    assert reopen(tmp_path) == restarted(more)


@pytest.mark.long
@pytest.mark.usefixtures("impatient")
def test_a_reader_that_is_not_scheduled_for_seconds_keeps_no_daemon_from_its_start(tmp_path: Path) -> None:
    reader = sqlite3.connect(tmp_path / "elastiq.db", isolation_level=None, check_same_thread=False)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM sqlite_master").fetchall()
    goes_on = threading.Timer(0.5, reader.close)
    goes_on.start()
    state = State(tmp_path, NOW)
    goes_on.join()
    assert state.load(NOW) == Memory()
    state.close()
