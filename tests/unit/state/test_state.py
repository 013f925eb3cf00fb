"""What is on disk: complete, private, and never overwritten by damage."""

from __future__ import annotations

import os
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from elastiq.decisions import Decision, End, Kind, Outcome, Reason, Token
from elastiq.errors import StateError
from elastiq.memory import Breaker, Departed, Intent, Memory, VmRecord
from elastiq.model import InstanceState, Shape
from elastiq.state import State, read_decisions, read_report

NOW = 1_000_000.0
MEMORY = Memory(
    vms={
        "i-1": VmRecord("i-1", "default", "t1", NOW - 5, InstanceState.RUNNING, "10.0.0.1", joined_at=NOW - 1),
        "i-2": VmRecord("i-2", doomed=True, terminate_tries=3),
    },
    intents=(Intent("t2", "default", 4, NOW, instance_type="m1.small", image_id="ami-1"),),
    tokens_shown=True,
    breakers={"default": Breaker(3, 1, 0, 0.0, "did not join")},
    capacities={"default": Shape(4, 8000, 20_000, 1)},
    once_own=("i-0",),
    to_forget={"i-00": Departed("w0", "10.0.0.9", NOW - 5, 2)},
)


def reopen(directory: Path, now: float = NOW) -> Memory:
    state = State(directory, now)
    try:
        return state.load(now)
    finally:
        state.close()


def restarted(memory: Memory, now: float = NOW) -> Memory:
    vms = {id_: vm if vm.joined_at else replace(vm, restarted_at=now) for id_, vm in memory.vms.items()}
    return replace(memory, vms=vms, intents=tuple(replace(intent, restarted_at=now) for intent in memory.intents))


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


def test_a_reader_that_is_not_scheduled_for_seconds_keeps_no_daemon_from_its_start(tmp_path: Path) -> None:
    reader = sqlite3.connect(tmp_path / "elastiq.db", isolation_level=None, check_same_thread=False)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM sqlite_master").fetchall()
    goes_on = threading.Timer(3, reader.close)
    goes_on.start()
    state = State(tmp_path, NOW)
    goes_on.join()
    assert state.load(NOW) == Memory()
    state.close()


def test_refused_features_are_kept_for_the_cloud_that_refused_them(tmp_path: Path) -> None:
    state = State(tmp_path, NOW)
    assert state.refused_features("a") == frozenset()
    state.save_refused_features("a", frozenset({"TagSpecifications"}))
    state.close()
    state = State(tmp_path, NOW)
    assert state.refused_features("a") == {"TagSpecifications"}
    assert state.refused_features("b") == frozenset()
    state.save_refused_features("b", frozenset({"MaxResults"}))
    assert state.refused_features("a") == frozenset()
    assert state.refused_features("b") == {"MaxResults"}
    state.close()


def _put_fact(directory: Path, name: str, value: str) -> None:
    State(directory, NOW).close()
    database = sqlite3.connect(directory / "elastiq.db")
    database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))
    database.commit()
    database.close()


@pytest.mark.parametrize(
    "value", ["7", "[]", '{"of": "a"}', '{"of": 7, "features": []}', '{"of": "a", "features": [[]]}']
)
def test_features_that_can_not_be_are_damage(tmp_path: Path, value: str) -> None:
    _put_fact(tmp_path, "refused_features", value)
    state = State(tmp_path, NOW)
    assert state.damaged
    assert state.refused_features("a") == frozenset()
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


RECORDED = Path(__file__).parents[1] / "recorded/state/2.0.0.sql"
"""A database that 2.0.0 wrote before launches were records, by `.dump` of sqlite3."""


def test_a_database_of_before_launches_were_records_is_taken_over(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "elastiq.db")
    database.executescript(RECORDED.read_text())
    database.close()
    now = 1_700_000_000.0
    for _ in range(2):
        state = State(tmp_path, now)
        assert not state.damaged
        memory = state.load(now)
        assert set(memory.vms) == {"i-1", "i-2"}
        assert (memory.vms["i-1"].worker_name, memory.vms["i-1"].joined_at) == ("w1", now - 800)
        assert (memory.vms["i-2"].closed, memory.vms["i-2"].terminate_tries) == (True, 2)
        assert [replace(intent, restarted_at=0.0) for intent in memory.intents] == [
            Intent("t2", "default", 3, now - 60, "m1.small", "ami-1"),
            Intent("t3", "default", 1, now - 30),
        ]
        breaker = memory.breakers["default"]
        assert (breaker.failed_boots, breaker.trips, breaker.refusals, breaker.reason) == (3, 1, 2, "no capacity")
        assert memory.capacities == {"m1.small": Shape(4, 8000, 20000, 1)}
        assert (memory.once_own, memory.tokens_shown) == (("i-0", "t0"), True)
        assert memory.to_forget["i-00"].worker_name == "w0"
        assert state.refused_features("http://cloud|r|") == {"TagSpecifications"}
        state.save(memory)
        state.close()
    assert read_report(tmp_path) == {"pid": 4711, "summary": "jobs 0 waiting"}
    assert [(row["kind"], row["token"]) for row in read_decisions(tmp_path, 0)] == [("launch", ""), ("hold", "")]
