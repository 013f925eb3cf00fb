"""The file of what was: looks at queue and workers, and the lives of VMs. No decision depends on it.

Of its own, so that damage to it, or its size, is none to what the daemon must not forget.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from elastiq.errors import StateError
from elastiq.state import kept
from elastiq.state.database import is_damage, malformed, move_aside
from elastiq.state.kept import Event, Hour, Life
from elastiq.state.looks import Glass, Look

ARCHIVE = "history.db"

KEPT_SECONDS = 90 * 86400.0
"""Looks are kept for so long, as far as there is room."""

MOST_BYTES = 25_000_000
"""Of looks; the oldest go first. With what is kept for years the file has at most 100 MB."""

BUSY_TIMEOUT_SECONDS = 0.2
"""Nobody writes but the daemon, and whoever reads is not waited for."""

READ_TIMEOUT_SECONDS = 2.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS looks (number INTEGER PRIMARY KEY, begins_at REAL NOT NULL, written_from REAL NOT NULL,
                                  until REAL NOT NULL, is_first INTEGER NOT NULL, lines BLOB NOT NULL);
"""


@dataclass(frozen=True)
class Piece:
    """Looks that are written at once."""

    begins_at: float
    """When what it goes on with began."""
    written_from: float
    until: float
    """It says how everything was up to then, and from `written_from` on."""
    is_first: bool
    """Whether it is the first since that beginning."""
    lines: str


@dataclass
class Past:
    """What was kept of a time."""

    pieces: list[tuple[Piece, list[Look]]] = field(default_factory=list)
    """In the order in which they were written. Where one is missing, so are those up to the next beginning."""
    lives: list[Life] = field(default_factory=list)
    damage: str = ""
    """What could not be read, in words."""


class Archive:
    """The open file. It is opened when something is to be written, and again after that has failed."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / ARCHIVE
        self._connection: sqlite3.Connection | None = None

    def living(self, now: float) -> dict[str, Life]:
        """Return the VMs that were there when it was written last. Raise StateError, as `add`."""
        with self._errors(now):
            found = {}
            for life, damage in kept.lives(self._open(), "ended_at IS NULL", ()):
                if life is None:
                    raise sqlite3.DatabaseError(damage)
                found[life.id] = life
            return found

    def add(
        self,
        piece: Piece | None,
        lives: Iterable[Life],
        now: float,
        events: Iterable[Event] = (),
        hours: Iterable[Hour] = (),
    ) -> None:
        """Keep looks, lives of VMs and events, add to the sums of hours, all or nothing; let go what is old. Raise
        StateError.

        A file that is damaged is moved aside, and the next time another one is begun.
        """
        with self._errors(now):
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                if piece is not None:
                    _insert(connection, piece)
                kept.write_lives(connection, lives)
                kept.write_events(connection, events)
                kept.add_hours(connection, hours)
                kept.note_written(connection, now)
                if piece is not None and piece.is_first:
                    _thin(connection, now)
                    kept.thin(connection, now)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            # sqlite3 gives its other files the rights of this one.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            self._path.chmod(0o600)
            connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                # What a crash of the machine takes away is a few minutes of the past; a pass is not to wait for that.
                connection.execute("PRAGMA synchronous=NORMAL")
                connection.executescript(SCHEMA)
                _migrate(connection)
            except (sqlite3.Error, UnicodeDecodeError):
                connection.close()
                raise
            self._connection = connection
        return self._connection

    @contextlib.contextmanager
    def _errors(self, now: float) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            self.close()
            text = f"{self._path}: {error}"
            # sqlite3 repeats in its message what it cannot read.
            is_garbled = isinstance(error, UnicodeDecodeError)
            if is_garbled or (isinstance(error, sqlite3.DatabaseError) and is_damage(error)):
                try:
                    text += f"; it is moved to {move_aside(self._path, now)}, and another one is begun"
                except OSError as reason:
                    text += f"; it cannot be moved aside: {reason}"
            raise StateError(text) from error

    def close(self) -> None:
        """Close it; nothing is lost without."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _insert(connection: sqlite3.Connection, piece: Piece) -> None:
    lines = zlib.compress(piece.lines.encode("ascii"))
    connection.execute(
        "INSERT INTO looks (begins_at, written_from, until, is_first, lines) VALUES (?, ?, ?, ?, ?)",
        (piece.begins_at, piece.written_from, piece.until, int(piece.is_first), lines),
    )


def _thin(connection: sqlite3.Connection, now: float) -> None:
    """Let go what is too old, or too much."""
    connection.execute("DELETE FROM looks WHERE until < ?", (now - KEPT_SECONDS,))
    held = 0
    for number, size_bytes in connection.execute("SELECT number, length(lines) FROM looks ORDER BY number DESC"):
        with malformed():
            held += size_bytes
        if held > MOST_BYTES:
            connection.execute("DELETE FROM looks WHERE number <= ?", (number,))
            break


def _migrate(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        kept.migrate(connection)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")


def read_past(directory: Path, seconds: float) -> Past | None:
    """Return what was kept in the last `seconds` of what there is, or None if nothing ever was. Change nothing."""
    path = directory / ARCHIVE
    past = Past()
    try:
        if not path.exists():
            return None
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=READ_TIMEOUT_SECONDS)) as db:
            (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
            past.damage = "" if found == "ok" else f"{path}: {found}"
            with malformed():
                since = (db.execute("SELECT max(until) FROM looks").fetchone()[0] or 0.0) - seconds
            for life, damage in kept.lives(db, "coalesce(ended_at, ?) >= ?", (since, since)):
                if life is not None:
                    past.lives.append(life)
                else:  # it costs itself alone
                    past.damage = f"{path}: {damage}"
            _read_pieces(db, since, past)
    except (OSError, sqlite3.Error, UnicodeDecodeError) as error:
        past.damage = f"{path}: {error}"
    return past


def _read_pieces(db: sqlite3.Connection, since: float, past: Past) -> None:
    query = "SELECT * FROM looks WHERE until >= ? ORDER BY number"
    glass, expected = Glass(), None
    for number, begins_at, written_from, until, is_first, lines in db.execute(query, (since,)):
        if not all(type(time) in (int, float) for time in (begins_at, written_from, until)):
            past.damage, expected = f"looks {number}: no times", None
            continue
        if is_first:
            glass.begin()
        elif number != expected:
            continue
        expected = number + 1
        looks: list[Look] = []
        try:
            text, is_whole = _text(lines)
            for look in glass.read(text, begins_at):
                looks.append(look)
            if not is_whole:
                raise ValueError("the end is missing")
        except (ValueError, TypeError) as error:
            past.damage, expected = f"looks {number}: {error}", None
            until = looks[-1].at if looks else written_from
        past.pieces.append((Piece(begins_at, written_from, until, bool(is_first), ""), looks))


def _text(lines: bytes) -> tuple[str, bool]:
    """Return the lines of a piece, or their beginning if the rest is damaged, and whether that is all of them."""
    machine, parts = zlib.decompressobj(), []
    with contextlib.suppress(zlib.error):
        for place in range(0, len(lines), 1024):
            parts.append(machine.decompress(lines[place : place + 1024]))
    return b"".join(parts).decode("ascii", "replace"), machine.eof
