"""What is saved comes back, as it is to be seen after a restart."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

from elastiq.memory import Memory, VmRecord
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


def test_times_in_the_future_become_now(tmp_path: Path) -> None:
    state = State(tmp_path, NOW)
    state.save(MEMORY)
    state.close()
    memory = reopen(tmp_path, NOW - 3600)
    assert memory.vms["i-1"].launched_at == NOW - 3600
    assert memory.intents[0].requested_at == NOW - 3600


def test_patience_begins_anew_with_a_restart(tmp_path: Path) -> None:
    """Found by the simulator: the wall clock had gone forward by an hour, and a worker out of sight was given up."""
    record = VmRecord("i-2", launched_at=NOW, joined_at=NOW, lost_since=NOW, missing_since=NOW, closing_at=NOW)
    state = State(tmp_path, NOW)
    state.save(replace(MEMORY, vms={"i-2": record}))
    state.close()
    memory = reopen(tmp_path, NOW + 3600)
    assert memory.vms["i-2"] == replace(record, lost_since=NOW + 3600, missing_since=NOW + 3600)
    assert memory.intents[0].requested_at == NOW
    assert memory.intents[0].waiting_since == NOW + 3600


def test_a_launch_in_the_future_may_have_joined_meanwhile(tmp_path: Path) -> None:
    """Found by the simulator: the wall clock went back, and a VM seemed too young for its idle worker."""
    state = State(tmp_path, NOW)
    state.save(Memory(vms={"i-1": VmRecord("i-1", launched_at=NOW)}))
    state.close()
    record = reopen(tmp_path, NOW - 3600).vms["i-1"]
    assert (record.launched_at, record.joined_at, record.lost_since) == (NOW - 3600, NOW - 3600, NOW - 3600)


def test_a_database_of_a_newer_version_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    state = State(tmp_path, NOW)
    state.save(MEMORY)
    state.close()
    database = sqlite3.connect(tmp_path / "elastiq.db")
    database.execute("UPDATE vms SET record = json_set(record, '$.of_tomorrow', 1)")
    database.commit()
    database.close()
    assert reopen(tmp_path) == restarted(MEMORY)
