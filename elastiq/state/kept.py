"""What is kept for years, and how it stands in the file: lives of VMs, events, hourly sums.

A year of 1,000 VMs a day has to stay small, so names stand once, in a table of their own.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, NamedTuple

from elastiq.state.database import malformed
from elastiq.state.records import LARGEST_NUMBER, from_dict

VERSION = 1
"""Of the schema. 0 had lives of VMs as JSON, and neither events nor sums."""

HOUR_SECONDS = 3600

MOST_VMS = 370_000
"""Lives of VMs are kept for as long as there are no more of them: a year of 1,000 a day."""

MOST_EVENTS = 50_000

MOST_HOURS = 10 * 366 * 24
"""Rows, one of each pool and hour in which there was a VM of it, and one of all."""

TOLD_SECONDS = 90 * 86400.0
"""For so long after the end of a VM the sentence is kept why it was terminated, and the name of its worker."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS names (number INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS vms (id TEXT NOT NULL UNIQUE, pool INTEGER NOT NULL, type INTEGER NOT NULL,
                                launched_at REAL NOT NULL, joined_at REAL, ended_at REAL, because TEXT NOT NULL,
                                market INTEGER NOT NULL, zone INTEGER NOT NULL, price REAL, first_job_at REAL,
                                idle_seconds REAL, idle_since REAL, token INTEGER NOT NULL, worker TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS vms_in_order ON vms (launched_at);
CREATE INDEX IF NOT EXISTS vms_living ON vms (ended_at) WHERE ended_at IS NULL;
CREATE INDEX IF NOT EXISTS vms_told ON vms (ended_at) WHERE because <> '' OR worker <> '';
CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY, at REAL NOT NULL, kind INTEGER NOT NULL,
                                   token INTEGER NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS hours (at INTEGER NOT NULL, pool INTEGER NOT NULL, seconds REAL NOT NULL,
                                  queue_seconds REAL NOT NULL, waiting REAL NOT NULL, running REAL NOT NULL,
                                  asked REAL NOT NULL, booting REAL NOT NULL, idle REAL NOT NULL, busy REAL NOT NULL,
                                  leaving REAL NOT NULL, unknown REAL NOT NULL,
                                  PRIMARY KEY (at, pool)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value REAL NOT NULL);
"""


@dataclass(frozen=True)
class Life:
    """A VM of elastiq's own, from launch to end, as elastiq saw it."""

    id: str
    pool: str
    type: str
    launched_at: float
    joined_at: float | None = None
    ended_at: float | None = None
    """When the cloud accepted its termination, or when it was seen to be gone; None: it is there."""
    because: str = ""
    """Why elastiq terminated it; empty if it did not, is not known to have, or 90 days later."""
    market: str = ""
    """Empty if nobody has said it."""
    zone: str = ""
    """Subnet or zone that it was asked for in; empty if nobody has chosen."""
    price: float | None = None
    """An hour, as the configuration said when it was launched; None: not known."""
    first_job_at: float | None = None
    """When its worker was first seen with a job; None: never."""
    idle_seconds: float | None = 0.0
    """For how long it was joined and had no job, without what `idle_since` adds; None: that was not kept."""
    idle_since: float | None = None
    """Since when it has been idle, if it is there and idle."""
    token: str = ""
    """The token of the reason for which it was terminated, or of how it is known to have gone; empty: neither, or it is
    there."""
    worker: str = ""
    """What the batch system called its worker; empty if it had none, or 90 days later."""


@dataclass(frozen=True)
class Event:
    """Something that happened."""

    at: float
    kind: str
    """started, stopped, launch, terminate, reopen, gone, hold, hold-over."""
    token: str
    """Of an action the cause of how it ended if it did not take effect, otherwise of its reason; of a hold its own."""
    subject: str
    """A VM, a pool, a size of jobs; may be empty."""
    text: str
    """One sentence, without secrets."""


@dataclass(frozen=True)
class Hour:
    """What an hour came to. Sums are of the part of it in which the daemon was at work and could see: what it did not
    see is in none of them."""

    at: float
    """When it begins: a whole number of hours since the epoch."""
    pool: str
    """Empty: all of the cluster, its queue and its workers; VMs are in the row of their pool alone."""
    seconds: float = 0.0
    """For how long the daemon was at work."""
    queue_seconds: float = 0.0
    """For how long it knew the queue, which jobs that wait are of."""
    waiting_job_seconds: float = 0.0
    """Of all jobs that are demand, in the row without a pool alone."""
    running_job_seconds: float = 0.0
    """Of jobs on the workers of the pool's VMs; without a pool, on all workers."""
    asked_vm_seconds: float = 0.0
    """Of VMs that the cloud was asked for and that have not turned up yet."""
    booting_vm_seconds: float = 0.0
    idle_vm_seconds: float = 0.0
    busy_vm_seconds: float = 0.0
    leaving_vm_seconds: float = 0.0
    """Of VMs whose worker is closed, or that the cloud is ending."""
    unknown_vm_seconds: float = 0.0
    """Of VMs of which it is not known what they do: their worker is out of sight, the batch system does not answer, or
    the cloud says that they are broken."""


class Whole(NamedTuple):
    """Lives of VMs that began and ended within a time, as a sum: of those of one pool, type, market and price that
    ended for one reason."""

    pool: str
    type: str
    market: str
    token: str
    price: float | None
    vms: int
    boot_seconds: float
    work_seconds: float
    idle_seconds: float
    unknown_seconds: float
    """It was not kept whether they worked or idled."""

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.boot_seconds + self.work_seconds + self.idle_seconds + self.unknown_seconds


class Names:
    """The names in the file, by their numbers and the other way round."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        rows = db.execute("SELECT number, text FROM names")
        self.texts: dict[int, str] = {number: text for number, text in rows if type(text) is str}
        self._numbers = {text: number for number, text in self.texts.items()}

    def number(self, text: str) -> int:
        """Return the number of a name, which is added to the file if it is new."""
        if text not in self._numbers:
            cursor = self._db.execute("INSERT INTO names (text) VALUES (?)", (text,))
            number = int(cursor.lastrowid or 0)
            self._numbers[text], self.texts[number] = number, text
        return self._numbers[text]


def write_lives(db: sqlite3.Connection, lives: Iterable[Life]) -> None:
    """Write lives of VMs, each in place of what there is of the VM."""
    names = Names(db)
    longest = 0.0
    for life in lives:
        row: list[Any] = list(astuple(life))
        for place in _NAMED:
            row[place] = names.number(row[place])
        db.execute(_PUT_LIFE, row)
        longest = max(longest, (life.ended_at or 0.0) - life.launched_at)
    db.execute("UPDATE facts SET value = max(value, ?) WHERE name = 'longest_seconds'", (longest,))


_LIFE = (
    "id, pool, type, launched_at, joined_at, ended_at, because, market, zone, price, first_job_at, idle_seconds, "
    "idle_since, token, worker"
)
_NAMED = (1, 2, 7, 8, 13)
"""Which of these are numbers of names."""
_UPDATES = ", ".join(f"{name} = excluded.{name}" for name in _LIFE.split(", "))
_MARKS = ", ".join("?" * len(_LIFE.split(", ")))
_PUT_LIFE = f"INSERT INTO vms ({_LIFE}) VALUES ({_MARKS}) ON CONFLICT (id) DO UPDATE SET {_UPDATES}"  # noqa: S608


def write_events(db: sqlite3.Connection, events: Iterable[Event]) -> None:
    """Add events."""
    names = Names(db)
    for event in events:
        row = (event.at, names.number(event.kind), names.number(event.token), event.subject, event.text)
        db.execute("INSERT INTO events (at, kind, token, subject, text) VALUES (?, ?, ?, ?, ?)", row)


_SUMS = "seconds, queue_seconds, waiting, running, asked, booting, idle, busy, leaving, unknown"
_ADDED = ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS.split(", "))
_ADD_HOUR = (
    f"INSERT INTO hours (at, pool, {_SUMS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608 (fixed names)
    f"ON CONFLICT DO UPDATE SET {_ADDED}"
)


def add_hours(db: sqlite3.Connection, hours: Iterable[Hour]) -> None:
    """Add to the sums of hours."""
    names = Names(db)
    for hour in hours:
        row = astuple(hour)
        db.execute(_ADD_HOUR, (int(row[0]), names.number(hour.pool), *row[2:]))


def thin(db: sqlite3.Connection, now: float) -> None:
    """Let go what is too old, or too much."""
    db.execute(
        "DELETE FROM vms WHERE ended_at IS NOT NULL AND launched_at <= "
        "(SELECT launched_at FROM vms ORDER BY launched_at DESC LIMIT 1 OFFSET ?)",
        (MOST_VMS,),
    )
    db.execute(
        "UPDATE vms SET because = '', worker = '' WHERE (because <> '' OR worker <> '') AND ended_at < ?",
        (now - TOLD_SECONDS,),
    )
    db.execute("DELETE FROM events WHERE number <= (SELECT max(number) FROM events) - ?", (MOST_EVENTS,))
    db.execute("DELETE FROM hours WHERE at <= (SELECT at FROM hours ORDER BY at DESC LIMIT 1 OFFSET ?)", (MOST_HOURS,))


def migrate(db: sqlite3.Connection) -> None:
    """Make a file of an earlier version one of this version, in the transaction that is open."""
    if _version(db) >= VERSION:
        return
    for statement in SCHEMA.split(";"):
        db.execute(statement)
    db.execute("INSERT OR IGNORE INTO facts VALUES ('longest_seconds', 0.0)")
    if _has_table(db, "lives"):
        write_lives(db, (life for life, _ in _old_lives(db, "1", ()) if life is not None))
        db.execute("DROP TABLE lives")
    db.execute(f"PRAGMA user_version = {VERSION}")


def _version(db: sqlite3.Connection) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def _has_table(db: sqlite3.Connection, name: str) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)).fetchone() is not None


OVERLAPS = "launched_at < ? AND (ended_at IS NULL OR ended_at >= ?)"
"""Given the end and the begin of a time: which lives `lives` is to yield."""


def lives(db: sqlite3.Connection, where: str, values: tuple[object, ...]) -> Iterator[tuple[Life | None, str]]:
    """Yield the lives that `where` chooses, by launch; None and why for one that cannot be read."""
    if not _has_table(db, "vms"):
        yield from _old_lives(db, where, values)
        return
    yield from _lives(db, where, values, Names(db).texts)


def _lives(
    db: sqlite3.Connection, where: str, values: tuple[object, ...], texts: Mapping[int, str]
) -> Iterator[tuple[Life | None, str]]:
    for row in db.execute(f"SELECT {_LIFE} FROM vms WHERE {where} ORDER BY launched_at", values):  # noqa: S608
        try:
            yield _life(row, texts), ""
        except (KeyError, TypeError, ValueError):
            yield None, f"malformed: the life of a VM, {str(row[0])[:20]!r}"


def _life(row: tuple[Any, ...], texts: Mapping[int, str]) -> Life:
    (
        id_,
        pool,
        type_,
        launched_at,
        joined_at,
        ended_at,
        because,
        market,
        zone,
        price,
        first,
        idle,
        since,
        token,
        worker,
    ) = row
    if type(id_) is not str or type(because) is not str or type(worker) is not str:
        raise TypeError
    for number in (joined_at, ended_at, price, first, idle, since):
        if number is not None and not abs(number) < LARGEST_NUMBER:
            raise ValueError
    if not abs(launched_at) < LARGEST_NUMBER:
        raise ValueError
    return Life(
        id_,
        texts[pool],
        texts[type_],
        launched_at,
        joined_at,
        ended_at,
        because,
        texts[market],
        texts[zone],
        price,
        first,
        idle,
        since,
        texts[token],
        worker,
    )


_JOINED = "coalesce(joined_at, ended_at)"
_IS_WHOLE = (
    f"(launched_at <= {_JOINED} AND {_JOINED} <= ended_at AND launched_at < ended_at AND ended_at < ? AND "
    f"idle_since IS NULL AND (idle_seconds IS NULL OR idle_seconds BETWEEN 0 AND ended_at - {_JOINED}) AND "
    f"(price IS NULL OR price BETWEEN 0 AND {LARGEST_NUMBER}))"
)
_SUMMED = (
    f"SELECT alone, pool, type, market, token, price, count(*), total({_JOINED} - launched_at), "  # noqa: S608 (fixed names)
    f"total(ended_at - {_JOINED} - idle_seconds), total(idle_seconds), "
    f"total(CASE WHEN idle_seconds IS NULL THEN ended_at - {_JOINED} END) "
    f"FROM (SELECT *, CASE WHEN {_IS_WHOLE} THEN 0 ELSE rowid END AS alone "
    "FROM vms WHERE launched_at >= ? AND launched_at < ?) GROUP BY alone, pool, type, market, token, price"
)
_AT_ONCE = 500
"""So many rows are asked for by their numbers."""

_WEEK_SECONDS = 7 * 86400
_PARTS = 52
"""SQLite sorts what it groups: the launches of a year take less time in so many parts than all at once."""


def lives_in(
    db: sqlite3.Connection, windows: Sequence[tuple[float, float]]
) -> Iterator[tuple[tuple[int, Whole] | Life | None, str]]:
    """Yield the lives that overlap times which follow one another. Of those within one of them their sums come with its
    number: there are hundreds of thousands in a year. None and why for what cannot be read."""
    if not windows:
        return
    since, until = windows[0][0], windows[-1][1]
    if not _has_table(db, "vms"):
        yield from lives(db, OVERLAPS, (until, since))
        return
    texts = Names(db).texts
    before = since - _longest_seconds(db)
    yield from _lives(db, "ended_at IS NULL AND launched_at < ?", (since,), texts)
    yield from _lives(db, "launched_at < ? AND ended_at >= ? AND launched_at >= ?", (since, since, before), texts)
    alone: list[int] = []
    for place, (begin, end) in enumerate(windows):
        for first, last in _parts(begin, end):
            for number, pool, type_, market, token, *sums in db.execute(_SUMMED, (end, first, last)):
                if number:
                    alone.append(number)
                elif pool in texts and type_ in texts and market in texts and token in texts:
                    yield (place, Whole(texts[pool], texts[type_], texts[market], texts[token], *sums)), ""
                else:
                    yield None, "malformed: lives of VMs"
    for start in range(0, len(alone), _AT_ONCE):
        yield from _lives(db, f"rowid IN ({', '.join(map(str, alone[start : start + _AT_ONCE]))})", (), texts)


def _longest_seconds(db: sqlite3.Connection) -> float:
    """Return how long no VM was there for longer that has ended: of all that began before a time few are asked for."""
    row = db.execute("SELECT value FROM facts WHERE name = 'longest_seconds'").fetchone()
    return row[0] if row and type(row[0]) is float else math.inf


def _parts(begin: float, end: float) -> Iterator[tuple[float, float]]:
    count = _PARTS if end - begin > _WEEK_SECONDS else 1
    bounds = [begin + (end - begin) * number / count for number in range(count)] + [end]
    yield from zip(bounds, bounds[1:])


def first_launch(db: sqlite3.Connection, since: float) -> float | None:
    """Return when the first VM was launched of those that were there at any time from `since` on; None: none was."""
    table = "vms" if _has_table(db, "vms") else "lives"
    query = f"SELECT launched_at FROM {table} WHERE ended_at IS NULL OR ended_at >= ? ORDER BY launched_at LIMIT 1"  # noqa: S608
    row = db.execute(query, (since,)).fetchone()
    return row[0] if row and type(row[0]) is float else None


def _old_lives(db: sqlite3.Connection, where: str, values: tuple[object, ...]) -> Iterator[tuple[Life | None, str]]:
    if not _has_table(db, "lives"):
        return
    for row in db.execute(f"SELECT record FROM lives WHERE {where} ORDER BY launched_at", values):  # noqa: S608
        try:
            with malformed():
                # How long it was idle was not kept then.
                life = from_dict(Life, {"idle_seconds": None, **json.loads(row[0])})
        except sqlite3.DatabaseError as error:
            yield None, str(error)
        else:
            yield life, ""


def events(db: sqlite3.Connection, since: float, until: float) -> Iterator[tuple[Event | None, str]]:
    """Yield the events from `since` to before `until`, in their order; None and why for one that cannot be read."""
    if not _has_table(db, "events"):
        return
    texts = Names(db).texts
    query = "SELECT at, kind, token, subject, text FROM events WHERE at >= ? AND at < ? ORDER BY number"
    for at, kind, token, subject, text in db.execute(query, (since, until)):
        if type(at) is float and kind in texts and token in texts and type(subject) is str and type(text) is str:
            yield Event(at, texts[kind], texts[token], subject, text), ""
        else:
            yield None, "malformed: an event"


def hours(
    db: sqlite3.Connection, since: float, until: float, *, of_pools: bool = True
) -> Iterator[tuple[Hour | None, str]]:
    """Yield the hours that begin from `since` to before `until`, of the cluster and of its pools or of the cluster
    alone; None and why for one that cannot be read."""
    if not _has_table(db, "hours"):
        return
    texts = Names(db).texts
    which = "" if of_pools else "AND pool NOT IN (SELECT number FROM names WHERE text <> '')"
    query = f"SELECT at, pool, {_SUMS} FROM hours WHERE at >= ? AND at < ? {which} ORDER BY at"  # noqa: S608
    for at, pool, *sums in db.execute(query, (since, until)):
        is_sound = type(at) is int and pool in texts and set(map(type, sums)) == {float}
        if is_sound and min(sums) >= 0 and max(sums) < LARGEST_NUMBER:
            yield Hour(float(at), texts[pool], *sums), ""
        else:
            yield None, "malformed: the sums of an hour"


def written_to(db: sqlite3.Connection) -> float | None:
    """Return when the daemon wrote last; None: not known."""
    if not _has_table(db, "facts"):
        return None
    row = db.execute("SELECT value FROM facts WHERE name = 'written_to'").fetchone()
    return row[0] if row and type(row[0]) is float else None


def note_written(db: sqlite3.Connection, now: float) -> None:
    """Keep when that was."""
    db.execute("INSERT OR REPLACE INTO facts VALUES ('written_to', ?)", (float(now),))
