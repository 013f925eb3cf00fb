"""What is kept beside the journal, and what an earlier version wrote."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from elastiq.memory import Intent
from elastiq.model import Shape
from elastiq.state import State, read_decisions, read_report
from tests.unit.state.rig import NOW, reopen


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


RECORDED = Path(__file__).with_name("recorded") / "2.0.0.sql"
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
        assert [replace(intent, counted_from=0.0) for intent in memory.intents] == [
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


def test_what_2_0_0_wrote_as_zero_is_not_known(tmp_path: Path) -> None:
    _put_fact(tmp_path, "capacities", '{"a": {"cpus": 4, "memory_mb": 0, "disk_mb": 0, "gpus": 0}}')
    assert reopen(tmp_path).capacities == {"a": Shape(4)}
