"""What is saved comes back, as it is to be seen after a restart."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from elastiq.memory import Intent, VmRecord
from elastiq.state import State
from tests.unit.state.rig import MEMORY, NOW, reopen, restarted


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    state = State(tmp_path, NOW)
    state.save(MEMORY)
    state.close()
    assert reopen(tmp_path) == restarted(MEMORY)


def test_changes_and_removals_are_saved(tmp_path: Path) -> None:
    state = State(tmp_path, NOW)
    state.save(MEMORY)
    later = replace(MEMORY, vms={"i-1": replace(MEMORY.vms["i-1"], closed=True)}, intents=(), once_own=())
    state.save(later)
    state.close()
    assert reopen(tmp_path) == later


def test_the_waiting_time_does_not_outlive_a_restart(tmp_path: Path) -> None:
    state = State(tmp_path, NOW)
    state.save(replace(MEMORY, waiting_since=NOW))
    state.close()
    assert reopen(tmp_path).waiting_since is None


def test_what_is_known_of_an_unclear_launch_comes_back(tmp_path: Path) -> None:
    known = Intent("t3", "default", 4, NOW - 500, unseen_since=NOW - 100, lookalikes=("i-9",), found=("i-1", "i-7"))
    state = State(tmp_path, NOW)
    state.load(NOW)
    state.save(replace(MEMORY, intents=(known,)))
    state.close()
    assert reopen(tmp_path).intents == (replace(known, counted_from=NOW - 500),)


def _present_at(directory: Path) -> float | None:
    with contextlib.closing(sqlite3.connect(directory / "elastiq.db")) as database:
        row = database.execute("SELECT value FROM facts WHERE name = 'present_at'").fetchone()
    return None if row is None else float(row[0])


@pytest.mark.parametrize("waits", [True, False])
def test_that_a_daemon_is_at_work_is_kept_while_it_waits_for_something(tmp_path: Path, waits: bool) -> None:
    state = State(tmp_path, NOW)
    state.load(NOW)
    state.save(MEMORY if waits else replace(MEMORY, vms={"i-1": MEMORY.vms["i-1"]}, intents=()))
    assert _present_at(tmp_path) == NOW, "the times in it are as of then"
    state.present(NOW + 2)
    assert _present_at(tmp_path) == NOW, "often enough"
    state.present(NOW + 5)
    assert _present_at(tmp_path) == (NOW + 5 if waits else NOW)
    state.close()


def test_a_restart_and_what_it_changes_are_kept_together(tmp_path: Path) -> None:
    """Or a daemon that is killed before it has noted that it is at work lets the same absence count twice."""
    state = State(tmp_path, NOW)
    state.load(NOW)
    state.save(replace(MEMORY, vms={"i-2": VmRecord("i-2", launched_at=NOW - 100)}))
    state.close()
    for now in (NOW + 40, NOW + 80):
        state = State(tmp_path, now)
        memory = state.load(now)
        assert now - memory.vms["i-2"].awaited_since == 100
        state.save(memory)
        state.close()


@pytest.mark.parametrize("value", ['"then"', "[]", "true", "1e15", "NaN"])
def test_a_time_at_work_that_can_not_be_is_damage(tmp_path: Path, value: str) -> None:
    State(tmp_path, NOW).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "elastiq.db")) as database:
        database.execute("INSERT INTO facts VALUES ('present_at', ?)", (value,))
        database.commit()
    state = State(tmp_path, NOW)
    assert state.damaged
    state.close()


def test_what_was_spent_comes_back_in_its_order(tmp_path: Path) -> None:
    spent = {f"{quarter:010d}": quarter for quarter in (1111, 1112)}
    state = State(tmp_path, NOW)
    record = replace(MEMORY.vms["i-1"], most_micros=96_000)
    state.save(replace(MEMORY, spent=dict(reversed(spent.items())), vms={"i-1": record}))
    state.close()
    found = reopen(tmp_path)
    assert list(found.spent.items()) == list(spent.items())
    assert found.vms["i-1"].most_micros == 96_000


@pytest.mark.parametrize("value", ['{"0000001111": "7"}', '{"0000001111": -1}', '{"now": 7}', "[7]", '{"1": 1.5}'])
def test_an_amount_that_can_not_be_is_damage(tmp_path: Path, value: str) -> None:
    State(tmp_path, NOW).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "elastiq.db")) as database:
        database.execute("INSERT INTO facts VALUES ('spent', ?)", (value,))
        database.commit()
    state = State(tmp_path, NOW)
    assert state.damaged
    state.close()


def test_what_is_known_of_interruptions_comes_back(tmp_path: Path) -> None:
    known = {"spot m5.large subnet-1": (1.5, 20.0, NOW - 7.0)}
    state = State(tmp_path, NOW)
    state.save(replace(MEMORY, interruptions=known))
    state.close()
    assert reopen(tmp_path).interruptions == known


@pytest.mark.parametrize("value", ["[1, 2]", "[1, 2, 3, 4]", '[1, 2, "3"]', "[-1, 2, 3]", "[1, 1e15, 3]", "7", "null"])
def test_an_interruption_that_can_not_be_is_damage(tmp_path: Path, value: str) -> None:
    State(tmp_path, NOW).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "elastiq.db")) as database:
        database.execute("INSERT INTO facts VALUES ('interruptions', ?)", (f'{{"spot a": {value}}}',))
        database.commit()
    state = State(tmp_path, NOW)
    assert state.damaged
    state.close()


@pytest.mark.parametrize("value", ['"i-1"', "[1]", "7", "null"])
def test_ids_that_can_not_be_are_damage(tmp_path: Path, value: str) -> None:
    state = State(tmp_path, NOW)
    state.save(MEMORY)
    state.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "elastiq.db")) as database:
        database.execute("UPDATE launches SET record = json_set(record, '$.found', json(?))", (value,))
        database.commit()
    state = State(tmp_path, NOW)
    assert state.damaged
    state.close()


def test_a_database_of_a_newer_version_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    state = State(tmp_path, NOW)
    state.save(MEMORY)
    state.close()
    database = sqlite3.connect(tmp_path / "elastiq.db")
    database.execute("UPDATE vms SET record = json_set(record, '$.of_tomorrow', 1)")
    database.commit()
    database.close()
    assert reopen(tmp_path) == restarted(MEMORY)
