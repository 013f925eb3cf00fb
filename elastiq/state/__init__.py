"""What must outlive the daemon: the launch journal, the owned VMs, the last decisions and the report for `status`."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from elastiq.decisions import Decision, Outcome
from elastiq.errors import StateError
from elastiq.memory import Breaker, Departed, Intent, Memory, VmRecord
from elastiq.model import InstanceState, Shape

log = logging.getLogger(__name__)

DATABASE = "elastiq.db"

LEGACY_FILE = "state"

DECISIONS_KEPT = 1000

BUSY_TIMEOUT_SECONDS = 2.0

OPENING_TIMEOUT_SECONDS = 30.0
"""Whoever reads the database just then, and is not scheduled for seconds, must not keep the daemon from its start."""

LARGEST_NUMBER = 10**15
"""No time, count or size comes near it; "not a number" is not below it."""

SMALLEST_DATABASE_BYTES = 512
"""The smallest page of sqlite3; no database is shorter, unless it is empty."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS vms (id TEXT PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS intents (token TEXT PRIMARY KEY, pool TEXT NOT NULL, count INTEGER NOT NULL,
                                    requested_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS decisions (number INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL,
                                      subject TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL,
                                      token TEXT NOT NULL DEFAULT '', cause TEXT NOT NULL DEFAULT '');
"""

Row = TypeVar("Row")


class State:
    """The state directory. Every `save` is one transaction that is on disk when it returns."""

    def __init__(self, directory: Path, now: float, *, is_durable: bool = True) -> None:
        """Open or create the database in `directory`; a damaged one is moved aside and said loudly.

        Raise StateError if the directory cannot be used.
        """
        self._path = directory / DATABASE
        self._synchronous = "FULL" if is_durable else "OFF"
        self._saved = Memory()
        self.damaged = ""
        """Where a damaged database was moved to, if that happened now."""
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._database = self._open()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise StateError(
                    f"{self._path}: {error}; see whether the disk is full and who may write there"
                ) from error
            self.damaged = str(self._move_aside(now))
            log.error(
                "%s is damaged (%s): moved to %s; starting from an empty one, VMs are found again by their tags",
                self._path,
                error,
                self.damaged,
            )
            with self._errors():
                self._database = self._open()
            with self._transaction():
                self._put("damaged_at", now)
        except OSError as error:
            raise StateError(f"{directory}: {error.strerror}; the state directory must be writable") from error

    def _open(self) -> sqlite3.Connection:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        os.fchmod(handle, 0o600)
        size_bytes = os.fstat(handle).st_size
        os.close(handle)
        if 0 < size_bytes < SMALLEST_DATABASE_BYTES:
            # sqlite3 would take it for a new one, and nobody would hear that what was known is lost.
            raise sqlite3.DatabaseError(f"malformed: only {size_bytes} bytes long")
        # Transactions are begun by hand: sqlite3's own way commits behind one's back.
        database = sqlite3.connect(self._path, timeout=OPENING_TIMEOUT_SECONDS, isolation_level=None)
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute(f"PRAGMA synchronous={self._synchronous}")
            found = database.execute("PRAGMA quick_check(1)").fetchone()
            if found != ("ok",):
                raise sqlite3.DatabaseError(f"malformed: {found and found[0]}")
            database.executescript(SCHEMA)
            columns = {row[1] for row in database.execute("PRAGMA table_info(decisions)")}
            for column in sorted({"token", "cause"} - columns):  # of a database of an earlier version
                database.execute(f"ALTER TABLE decisions ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")
            self._read(database)
            database.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_SECONDS * 1000:.0f}")
        except sqlite3.DatabaseError:
            database.close()
            raise
        return database

    def _move_aside(self, now: float) -> Path:
        target = self._path.with_name(f"{DATABASE}.damaged-{now:.0f}")
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self._path}{suffix}").replace(f"{target}{suffix}")
        return target

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StateError(f"{self._path}: {error}; see whether the disk is full and who may write there") from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._errors():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            finally:
                if self._database.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        self._database.execute("ROLLBACK")

    def load(self, now: float) -> Memory:
        """Return what was saved last, as it is to be seen after a restart. Raise StateError."""
        with self._errors():
            self._saved = self._read(self._database)
        return after_restart(self._saved, now)

    @staticmethod
    def _read(database: sqlite3.Connection) -> Memory:
        try:
            facts = {name: json.loads(value) for name, value in database.execute("SELECT name, value FROM facts")}
            vms = [
                _from_dict(VmRecord, json.loads(text), state=InstanceState)
                for (text,) in database.execute("SELECT record FROM vms")
            ]
            looks = {token: (str(type_), str(image)) for token, (type_, image) in facts.get("looks", {}).items()}
            intents = tuple(
                _checked(Intent(*row, *looks.get(row[0], ())))
                for row in database.execute("SELECT token, pool, count, requested_at FROM intents")
            )
            if not all(isinstance(text, str) for text in facts.get("former", ())):
                raise TypeError("former is no list of texts")
            _refused(facts.get("refused_features"))
            return Memory(
                vms={record.id: record for record in vms},
                intents=intents,
                breakers={name: _from_dict(Breaker, value) for name, value in facts.get("breakers", {}).items()},
                capacities={name: _from_dict(Shape, value) for name, value in facts.get("capacities", {}).items()},
                once_own=tuple(facts.get("former", ())),
                to_forget={name: _from_dict(Departed, value) for name, value in facts.get("unforgotten", {}).items()},
                tokens_shown=bool(facts.get("tokens_shown", False)),
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise sqlite3.DatabaseError(f"malformed: {error}") from error

    def save(self, memory: Memory) -> None:
        """Write what changed since the last save. Raise StateError if it is not safely on disk."""
        old = self._saved
        changed = [record for id_, record in memory.vms.items() if old.vms.get(id_) != record]
        gone = [id_ for id_ in old.vms if id_ not in memory.vms]
        facts = {
            name: value
            for name, value, before in (
                ("breakers", memory.breakers, old.breakers),
                ("capacities", memory.capacities, old.capacities),
                ("former", memory.once_own, old.once_own),
                ("unforgotten", memory.to_forget, old.to_forget),
                ("tokens_shown", memory.tokens_shown, old.tokens_shown),
            )
            if value != before
        }
        if not (changed or gone or facts or memory.intents != old.intents):
            return
        with self._transaction():
            execute = self._database.execute
            for record in changed:
                execute("INSERT OR REPLACE INTO vms VALUES (?, ?)", (record.id, _to_json(record)))
            for id_ in gone:
                execute("DELETE FROM vms WHERE id = ?", (id_,))
            if memory.intents != old.intents:
                execute("DELETE FROM intents")
                for intent in memory.intents:
                    row = (intent.token, intent.pool, intent.count, intent.requested_at)
                    execute("INSERT INTO intents VALUES (?, ?, ?, ?)", row)
                # No columns, so that earlier versions can read the database.
                looks = {intent.token: (intent.instance_type, intent.image_id) for intent in memory.intents}
                self._put("looks", looks)
            for name, value in facts.items():
                self._put(name, _plain(value))
        self._saved = memory

    def _put(self, name: str, value: object) -> None:
        self._database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    def damaged_at(self) -> float | None:
        """Return when a damaged database was last replaced by an empty one. Raise StateError."""
        with self._errors():
            row = self._database.execute("SELECT value FROM facts WHERE name = 'damaged_at'").fetchone()
        found = json.loads(row[0]) if row else None
        return found if isinstance(found, float) else None

    def refused_features(self, cloud: str) -> frozenset[str]:
        """Return the request features that `cloud` (Settings.cloud) was found to refuse; none if another one did."""
        with self._errors():
            row = self._database.execute("SELECT value FROM facts WHERE name = 'refused_features'").fetchone()
        of, features = _refused(json.loads(row[0]) if row else None)
        return features if of == cloud else frozenset()

    def save_refused_features(self, cloud: str, features: frozenset[str]) -> None:
        """Keep them across restarts, instead of those of any other cloud. Raise StateError."""
        with self._transaction():
            self._put("refused_features", {"of": cloud, "features": sorted(features)})

    def record(self, at: float, decision: Decision, outcome: Outcome | None) -> None:
        """Add a decision and what became of it to the last decisions. Raise StateError."""
        detail = "" if outcome is None else outcome.detail
        cause = "" if outcome is None else outcome.cause.value
        subject = decision.instance_id or decision.pool
        with self._transaction():
            self._database.execute(
                "INSERT INTO decisions (at, kind, subject, reason, detail, token, cause) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (at, decision.kind.value, subject, str(decision.reason), detail, decision.reason.token.value, cause),
            )
            self._database.execute(
                "DELETE FROM decisions WHERE number <= (SELECT max(number) FROM decisions) - ?", (DECISIONS_KEPT,)
            )

    def save_report(self, report: Mapping[str, object]) -> None:
        """Write what `elastiqctl status` shows. Raise StateError."""
        with self._transaction():
            self._put("report", dict(report))

    def adopt_legacy(self, memory: Memory, now: float) -> Memory:
        """Return `memory` with the ids of the original's state file, which is read once and then renamed.

        A line that is no instance id is reported and kept out; the file itself is never changed.
        """
        path = self._path.with_name(LEGACY_FILE)
        try:
            lines = path.read_text("ascii", "replace").splitlines()
        except (FileNotFoundError, IsADirectoryError):
            return memory
        except OSError as error:
            log.warning("%s: %s; the VMs of the original elastiq are not taken over", path, error.strerror)
            return memory
        vms = dict(memory.vms)
        for number, line in enumerate(lines, 1):
            id_ = line.strip()
            if _is_instance_id(id_):
                # They may have been workers for long, and the original did not write down since when.
                vms.setdefault(id_, VmRecord(id_, launched_at=now, joined_at=now, lost_since=now))
            elif id_:
                log.warning("%s:%d: not an instance id, left out", path, number)
        memory = replace(memory, vms=vms)
        self.save(memory)
        path.replace(path.with_name(f"{LEGACY_FILE}.imported"))
        log.info("%s: took over %d VMs of the original elastiq", path, len(vms))
        return memory

    def close(self) -> None:
        """Close the database; nothing is lost without it."""
        with contextlib.suppress(sqlite3.Error):
            self._database.close()


def after_restart(memory: Memory, now: float) -> Memory:
    """Return `memory` as a daemon that starts `now` has to see it.

    Times later than `now` (the wall clock went back) become `now`. Patience with what is out of sight begins afresh:
    nobody looked while the daemon was down, and the wall clock may have gone forward. Whoever restarts the daemon has
    probably mended something, so that no pause of launches goes on.
    """
    vms = {id_: _patient(_not_after(record, now), now) for id_, record in memory.vms.items()}
    intents = tuple(
        replace(intent, requested_at=min(intent.requested_at, now), restarted_at=now) for intent in memory.intents
    )
    breakers = {name: replace(breaker, paused_until=0.0) for name, breaker in memory.breakers.items()}
    to_forget = {
        id_: replace(gone, gone_at=min(gone.gone_at, now), retry_at=0.0) for id_, gone in memory.to_forget.items()
    }
    return replace(memory, vms=vms, intents=intents, breakers=breakers, to_forget=to_forget)


def read_report(directory: Path) -> dict[str, Any] | None:
    """Return the daemon's last report, or None if there is none that can be read. Changes nothing."""
    path = directory / DATABASE
    try:
        if not path.exists():
            return None
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_SECONDS)) as db:
            row = db.execute("SELECT value FROM facts WHERE name = 'report'").fetchone()
        report = json.loads(row[0]) if row else None
    except (OSError, sqlite3.Error, ValueError, TypeError, RecursionError):
        return None
    return report if isinstance(report, dict) else None


def read_decisions(directory: Path, after: int) -> list[dict[str, Any]]:
    """Return the decisions recorded since the one numbered `after`, oldest first; none if they cannot be read."""
    path = directory / DATABASE
    names = ("number", "at", "kind", "subject", "reason", "detail", "token", "cause")
    query = f"SELECT {', '.join(names)} FROM decisions WHERE number > ? ORDER BY number"  # noqa: S608 (fixed names)
    try:
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_SECONDS)) as db:
            return [dict(zip(names, row)) for row in db.execute(query, (after,))]
    except (OSError, sqlite3.Error):
        return []


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Return whether `error` means a broken file, and not a full disk, a lock or a missing right."""
    if isinstance(error, sqlite3.OperationalError):
        return any(word in str(error) for word in ("malformed", "decode"))
    return True


def _is_instance_id(text: str) -> bool:
    body = text[2:]
    return text.startswith("i-") and 8 <= len(body) <= 32 and all(letter in "0123456789abcdef" for letter in body)


def _not_after(record: VmRecord, now: float) -> VmRecord:
    values = {
        field.name: now
        for field in fields(record)
        if field.name.endswith(("_at", "_since")) and (getattr(record, field.name) or 0.0) > now
    }
    if "launched_at" in values and record.joined_at is None:
        # Nobody knows how old it is, and it may have been a worker for long: it gets the patience of a lost one.
        values.update(joined_at=now, lost_since=now)
    return replace(record, **values) if values else record  # type: ignore[arg-type]


def _patient(record: VmRecord, now: float) -> VmRecord:
    if record.joined_at is None:
        record = replace(record, restarted_at=now)
    if record.lost_since is None and record.missing_since is None:
        return record
    lost_since = None if record.lost_since is None else now
    return replace(record, lost_since=lost_since, missing_since=None if record.missing_since is None else now)


def _refused(saved: Any) -> tuple[str, frozenset[str]]:
    """Return a cloud and what it refuses, as saved. Raise TypeError or KeyError if it cannot be that."""
    if saved is None:
        return "", frozenset()
    of, features = saved["of"], saved["features"]
    if not all(isinstance(text, str) for text in (of, *features)):
        raise TypeError("refused_features is no list of texts")
    return of, frozenset(features)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: asdict(item) for name, item in value.items()}
    return value


def _to_json(record: VmRecord) -> str:
    return json.dumps({**asdict(record), "state": record.state.value})


def _from_dict(kind: type[Row], values: dict[str, Any], **convert: Any) -> Row:
    """Return a dataclass from a saved dictionary; fields of other versions are left out."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    known = {name: value for name, value in values.items() if name in names}
    for name, function in convert.items():
        if name in known:
            known[name] = function(known[name])
    return _checked(kind(**known))


_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "int": (int,),
    "float": (float, int),
    "float | None": (float, int, type(None)),
    "bool": (bool,),
    "InstanceState": (InstanceState,),
    "tuple[str, ...]": (tuple,),
}


def _checked(row: Row) -> Row:
    """Return `row`. Raise TypeError or ValueError if a value of it is of another kind than its field."""
    for field in fields(row):  # type: ignore[arg-type]
        value = getattr(row, field.name)
        if type(value) not in _TYPES.get(str(field.type), (type(value),)):
            raise TypeError(f"{field.name} is a {type(value).__name__}")
        if isinstance(value, (int, float)) and not abs(value) < LARGEST_NUMBER:
            raise ValueError(f"{field.name} is no number that can be")
    return row
