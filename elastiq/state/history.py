"""The last decisions, and the report that `status` shows: written by the daemon, read by anybody who may."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

from elastiq.decisions import Decision, Outcome
from elastiq.memory import Memory
from elastiq.state import journal
from elastiq.state.database import BUSY_TIMEOUT_SECONDS, DATABASE, Database

DECISIONS_KEPT = 1000
COLUMNS = ("number", "at", "kind", "subject", "reason", "detail", "token", "cause")


def record(database: Database, at: float, decision: Decision, outcome: Outcome | None) -> None:
    """Add a decision and what became of it to the last decisions. Raise StateError."""
    detail, cause = ("", "") if outcome is None else (outcome.detail, outcome.cause.value)
    subject = decision.instance_id or decision.pool
    with database.transaction() as execute:
        execute(
            "INSERT INTO decisions (at, kind, subject, reason, detail, token, cause) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (at, decision.kind.value, subject, str(decision.reason), detail, decision.reason.token.value, cause),
        )
        execute("DELETE FROM decisions WHERE number <= (SELECT max(number) FROM decisions) - ?", (DECISIONS_KEPT,))


def read_report(directory: Path) -> dict[str, Any] | None:
    """Return the daemon's last report, or None if there is none that can be read. Changes nothing."""
    return _document(directory, "report")


def read_account(directory: Path) -> dict[str, Any] | None:
    """Return what the daemon's last plan said of every group of jobs and every VM (elastiq/report/accounts.py reads
    it), or None if there is none that can be read. Changes nothing."""
    return _document(directory, "account")


def _document(directory: Path, name: str) -> dict[str, Any] | None:
    try:
        rows = _rows(directory, "SELECT value FROM facts WHERE name = ?", (name,))
        found = json.loads(rows[0][0]) if rows else None
    except (OSError, sqlite3.Error, ValueError, TypeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def read_memory(directory: Path) -> Memory | None:
    """Return what the daemon remembers, or None if there is nothing that can be read. Changes nothing."""
    path = directory / DATABASE
    try:
        if not path.exists():
            return None
        with contextlib.closing(_open(path)) as db:
            return journal.read(db)
    except (OSError, sqlite3.Error):
        return None


def read_decisions(directory: Path, after: int) -> list[dict[str, Any]]:
    """Return the decisions recorded since the one numbered `after`, oldest first; none if they cannot be read."""
    query = f"SELECT {', '.join(COLUMNS)} FROM decisions WHERE number > ? ORDER BY number"  # noqa: S608 (fixed names)
    try:
        return [dict(zip(COLUMNS, row)) for row in _rows(directory, query, (after,))]
    except (OSError, sqlite3.Error):
        return []


def read_decisions_on(directory: Path, instance_id: str) -> list[dict[str, Any]]:
    """Return those of the last decisions that are on a VM, or name it, oldest first; none if they cannot be read."""
    query = f"SELECT {', '.join(COLUMNS)} FROM decisions WHERE subject = ? OR instr(reason, ?) ORDER BY number"  # noqa: S608
    try:
        return [dict(zip(COLUMNS, row)) for row in _rows(directory, query, (instance_id, instance_id))]
    except (OSError, sqlite3.Error):
        return []


def _rows(directory: Path, query: str, values: tuple[object, ...]) -> list[Any]:
    path = directory / DATABASE
    if not path.exists():
        return []
    with contextlib.closing(_open(path)) as db:
        return db.execute(query, values).fetchall()


def _open(path: Path) -> sqlite3.Connection:
    """Return the database at `path`, to be looked at alone."""
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_SECONDS)
