"""The database file: opened, checked, brought up to date, moved aside if it is damaged, and written in transactions."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from elastiq.errors import StateError

log = logging.getLogger(__name__)

DATABASE = "elastiq.db"
BUSY_TIMEOUT_SECONDS = 2.0
OPENING_TIMEOUT_SECONDS = 30.0
"""Whoever reads the database just then, and is not scheduled for seconds, must not keep the daemon from its start."""
SMALLEST_DATABASE_BYTES = 512
"""The smallest page of sqlite3; no database is shorter, unless it is empty."""
VERSION = 1
"""Of the schema. 0 had launches in columns, and fewer columns for decisions."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS vms (id TEXT PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS launches (token TEXT PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS decisions (number INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL,
                                      subject TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL,
                                      token TEXT NOT NULL DEFAULT '', cause TEXT NOT NULL DEFAULT '');
"""

Execute = Callable[[str, Sequence[object]], object]


class Database:
    """The open database. A damaged one is moved aside and said loudly."""

    def __init__(
        self, path: Path, now: float, check: Callable[[sqlite3.Connection], object], *, is_durable: bool
    ) -> None:
        """Open or create it; `check` raises sqlite3.DatabaseError if what is in it cannot be read.

        Raise StateError if the directory cannot be used.
        """
        self._path, self._check, self._is_durable = path, check, is_durable
        self.damaged = ""
        """Where a damaged database was moved to, if that happened now."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise self._trouble(error) from error
            self.damaged = str(move_aside(self._path, now))
            log.error(
                "%s is damaged (%s): moved to %s; starting from an empty one, VMs are found again by their tags",
                path,
                error,
                self.damaged,
            )
            with self._errors():
                self._connection = self._open()
            with self.transaction():
                self.put("damaged_at", now)
        except OSError as error:
            raise StateError(f"{path.parent}: {error.strerror}; the state directory must be writable") from error

    def _open(self) -> sqlite3.Connection:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        os.fchmod(handle, 0o600)
        size_bytes = os.fstat(handle).st_size
        os.close(handle)
        if 0 < size_bytes < SMALLEST_DATABASE_BYTES:
            # sqlite3 would take it for a new one, and nobody would hear that what was known is lost.
            raise sqlite3.DatabaseError(f"malformed: only {size_bytes} bytes long")
        # Transactions are begun by hand: sqlite3's own way commits behind one's back.
        connection = sqlite3.connect(self._path, timeout=OPENING_TIMEOUT_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={'FULL' if self._is_durable else 'OFF'}")
            found = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != ("ok",):
                raise sqlite3.DatabaseError(f"malformed: {found and found[0]}")
            _bring_up_to_date(connection)
            self._check(connection)
            connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_SECONDS * 1000:.0f}")
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection

    def _trouble(self, error: sqlite3.Error) -> StateError:
        return StateError(f"{self._path}: {error}; see whether the disk is full and who may write there")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._trouble(error) from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Execute]:
        """Do all that is executed in it, on disk when it ends, or nothing. Raise StateError."""
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        self._connection.execute("ROLLBACK")

    def read(self) -> Any:
        """Return what the check returns. Raise StateError."""
        with self._errors():
            return self._check(self._connection)

    def put(self, name: str, value: object) -> None:
        """Set a fact, within a transaction."""
        self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    def fact(self, name: str) -> Any:
        """Return a fact, or None if it is not known. Raise StateError."""
        with self._errors():
            row = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def close(self) -> None:
        """Close it; nothing is lost without."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()


def move_aside(path: Path, now: float) -> Path:
    """Give the database at `path`, and the files that belong to it, another name; return that. Raise OSError."""
    target = path.with_name(f"{path.name}.damaged-{now:.0f}")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").replace(f"{target}{suffix}")
    return target


@contextlib.contextmanager
def malformed() -> Iterator[None]:
    """Turn what values of another kind cause into sqlite3.DatabaseError."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise sqlite3.DatabaseError(f"malformed: {error}") from error


def _bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Make the tables, and take over what an earlier version wrote. What a later one wrote is left as it is."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if version >= VERSION and {"vms", "launches", "facts", "decisions"} <= tables:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in SCHEMA.split(";"):
            connection.execute(statement)
        columns = {row[1] for row in connection.execute("PRAGMA table_info(decisions)")}
        for column in sorted({"token", "cause"} - columns):
            connection.execute(f"ALTER TABLE decisions ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")
        if "intents" in tables:
            _take_over_launches(connection)
        for old, new in (("former", "once_own"), ("unforgotten", "to_forget")):
            connection.execute("UPDATE OR REPLACE facts SET name = ? WHERE name = ?", (new, old))
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")


def _take_over_launches(connection: sqlite3.Connection) -> None:
    row = connection.execute("SELECT value FROM facts WHERE name = 'looks'").fetchone()
    with malformed():
        looks = json.loads(row[0]) if row else {}
        for token, pool, count, requested_at in connection.execute("SELECT * FROM intents").fetchall():
            instance_type, image_id = looks.get(token, ("", ""))
            launch = {"token": token, "pool": pool, "count": count, "requested_at": requested_at}
            record = json.dumps({**launch, "instance_type": instance_type, "image_id": image_id})
            connection.execute("INSERT OR REPLACE INTO launches VALUES (?, ?)", (token, record))
    connection.execute("DROP TABLE intents")
    connection.execute("DELETE FROM facts WHERE name = 'looks'")


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Return whether `error` means a broken file, and not a full disk, a lock or a missing right."""
    if isinstance(error, sqlite3.OperationalError):
        return any(word in str(error) for word in ("malformed", "decode"))
    return True
