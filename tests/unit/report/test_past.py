"""What history and cost print: the same for people and for programs, and nothing that is not known as a number."""

from __future__ import annotations

import csv

from elastiq.report.cost import by_property
from elastiq.report.past import (
    COST_COLUMNS,
    HISTORY_COLUMNS,
    comma_separated,
    cost_document,
    cost_lines,
    cost_rows,
    history_document,
    history_lines,
    history_rows,
    span,
)
from elastiq.state.kept import Event, Life

LIVES = (
    Life("i-1", "a", "m5.large", 0.0, 100.0, 3700.0, "idle for 9 s", "spot", "", 3.6, 120.0, 600.0, token="idle"),
    Life("i-2", "b", "", 50.0, idle_seconds=None),
    Life("i-3", "b", "", 60.0, 70.0, idle_seconds=5.0, idle_since=3000.0),
)
EVENTS = (Event(10.0, "launch", "no-room", "a", 'launch 2 VMs: "8 jobs", all of them'),)


def test_history_for_people_and_programs() -> None:
    document = history_document(LIVES, EVENTS, 4000.0)
    assert [vm["idle_seconds"] for vm in document["vms"]] == [600.0, None, 1005.0]
    lines = history_lines(document, 4000.0)
    for part in ("i-1", "a", "spot m5.large", "0:01:40", "0:02:00", "0:10:00", "1:01:40", "3.6"):
        assert part in lines[1]
    assert lines[1].endswith("idle") and "is there" in lines[2] and "never" in lines[2]
    assert lines[-1].endswith('launch  no-room  launch 2 VMs: "8 jobs", all of them')
    rows = list(csv.DictReader(comma_separated(HISTORY_COLUMNS, history_rows(document))))
    assert [(row["what"], row["id"] or row["text"]) for row in rows] == [
        ("vm", "i-1"),
        ("event", 'launch 2 VMs: "8 jobs", all of them'),
        ("vm", "i-2"),
        ("vm", "i-3"),
    ]
    assert rows[2]["joined_at"] == "", "not known is no zero"


def test_nothing_happened() -> None:
    assert history_lines(history_document((), (), 1.0), 1.0) == ["no VM was there in that time", "", "nothing happened"]


def test_cost_says_how_much_has_no_price() -> None:
    document = cost_document("pool", by_property("pool", LIVES, 0.0, 3700.0), 3)
    assert document["lines"][0]["cost"] == 3.7 and document["lines"][1]["cost"] is None
    lines = cost_lines(document, "EUR")
    assert lines[0].split() == ["pool", "VMs", "VM-hours", "boot", "work", "idle", "unknown", "cost"]
    assert lines[3].split()[0] == "sum" and lines[3].split()[-1] == "3.70"
    assert lines[4:] == ["costs are in EUR", "2.02 VM-hours of these have no price, and are not in the cost"]
    rows = list(csv.DictReader(comma_separated(("pool", *COST_COLUMNS), cost_rows(document))))
    assert [row["cost"] for row in rows] == ["3.7", "", "3.7"]


def test_no_price_at_all_is_said_instead_of_a_cost_of_nothing() -> None:
    document = cost_document("", by_property("", LIVES[1:], 0.0, 3700.0), 2)
    assert document["lines"] == [] and document["total"]["cost"] is None
    assert cost_lines(document)[-1].startswith("no price is known")


def test_spans() -> None:
    assert [span(seconds) for seconds in (0, 59.6, 3600, 360_000, -5)] == [
        "0:00:00",
        "0:01:00",
        "1:00:00",
        "100:00:00",
        "0:00:00",
    ]
