"""What was kept of a time, for people: lives of VMs, events, hourly sums. Read beside the daemon, nothing is changed.

What is damaged is left out and said; it raises nothing.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from elastiq.state import kept
from elastiq.state.archive import ARCHIVE, READ_TIMEOUT_SECONDS
from elastiq.state.kept import HOUR_SECONDS, Event, Hour, Life, Whole

Row = TypeVar("Row")

WRITTEN_WITHIN_SECONDS = 2 * HOUR_SECONDS
"""What a daemon has seen lately is not written yet, where there is no VM for up to an hour."""

LEAST_SEEN_SECONDS = 60.0
"""An hour of which the daemon saw all but so much has no gap: a restart takes a while."""


@dataclass(frozen=True)
class Source:
    """How what was read is to be taken."""

    is_there: bool = True
    """Whether anything was ever kept."""
    written_to: float | None = None
    """When the daemon wrote last: up to then is known what there is. None: not known."""
    damage: str = ""
    """What could not be read, in words."""


@dataclass(frozen=True)
class Lives(Source):
    """Lives of VMs."""

    lives: tuple[Life, ...] = ()
    """By their launch."""


@dataclass(frozen=True)
class Parted(Source):
    """Lives of VMs by the times in which they were."""

    whole: tuple[tuple[int, Whole], ...] = ()
    """The sums of those that began and ended within one of the times, with its number."""
    lives: tuple[Life, ...] = ()
    """The others."""

    @property
    def vms(self) -> int:
        """Return how many VMs they are of."""
        return len(self.lives) + sum(whole.vms for _, whole in self.whole)


@dataclass(frozen=True)
class Events(Source):
    """Events."""

    events: tuple[Event, ...] = ()
    """The oldest first."""


@dataclass(frozen=True)
class Hours(Source):
    """Hourly sums."""

    hours: tuple[Hour, ...] = ()
    """In their order; there is none where the daemon did not look at all."""

    def gaps(self, since: float, until: float) -> tuple[tuple[float, float], ...]:
        """Return when nobody looked, from the first sums of all on: whole hours and parts of hours, one after the other
        as one. Of an hour of which a part is missing it is not kept which: it is named whole."""
        seen = {hour.at: hour.seconds for hour in self.hours if not hour.pool}
        if not seen:
            return ()
        if self.written_to is not None and until - self.written_to < WRITTEN_WITHIN_SECONDS:
            until = min(until, self.written_to)
        found: list[tuple[float, float]] = []
        first = min(seen)
        at = max(since, first) // HOUR_SECONDS * HOUR_SECONDS
        while at < until:
            begin, end = max(at, since), min(at + HOUR_SECONDS, until)
            is_first = at == first
            if seen.get(at, 0.0) < end - at - LEAST_SEEN_SECONDS and not (is_first and at in seen):
                if found and found[-1][1] == begin:
                    found[-1] = (found[-1][0], end)
                else:
                    found.append((begin, end))
            at += HOUR_SECONDS
        return tuple(found)


def read_lives(directory: Path, since: float, until: float) -> Lives:
    """Return the VMs that were there at any time from `since` to before `until`."""
    source, rows = _read(directory, lambda db: kept.lives(db, kept.OVERLAPS, (until, since)))
    return Lives(**vars(source), lives=rows)


def read_parted(directory: Path, windows: Sequence[tuple[float, float]]) -> Parted:
    """Return the VMs that were there at any of these times, which follow one another."""
    source, rows = _read(directory, lambda db: kept.lives_in(db, windows))
    whole = tuple(row for row in rows if isinstance(row, tuple))
    return Parted(**vars(source), whole=whole, lives=tuple(row for row in rows if isinstance(row, Life)))


def read_first_launch(directory: Path, since: float) -> float | None:
    """Return when the first VM was launched of those that were there at any time from `since` on; None: not known."""
    _, rows = _read(directory, lambda db: iter([(kept.first_launch(db, since), "")]))
    return rows[0] if rows else None


def read_life(directory: Path, id_: str) -> Life | None:
    """Return what was kept of a VM; None if nothing was, or it cannot be read."""
    _, rows = _read(directory, lambda db: kept.lives(db, "id = ?", (id_,)))
    return rows[0] if rows else None


def read_events(directory: Path, since: float, until: float) -> Events:
    """Return what happened from `since` to before `until`."""
    source, rows = _read(directory, lambda db: kept.events(db, since, until))
    return Events(**vars(source), events=rows)


def read_hours(directory: Path, since: float, until: float, *, of_pools: bool = True) -> Hours:
    """Return the sums of the hours of which any part is from `since` to before `until`, of the cluster and of its pools
    or, to find gaps, of the cluster alone."""
    first = since // HOUR_SECONDS * HOUR_SECONDS
    source, rows = _read(directory, lambda db: kept.hours(db, first, until, of_pools=of_pools))
    return Hours(**vars(source), hours=rows)


def _read(
    directory: Path, rows_of: Callable[[sqlite3.Connection], Iterator[tuple[Row | None, str]]]
) -> tuple[Source, tuple[Row, ...]]:
    path = directory / ARCHIVE
    found: list[Row] = []
    damage, written_to = "", None
    try:
        if not path.exists():
            return Source(is_there=False), ()
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=READ_TIMEOUT_SECONDS)) as db:
            written_to = kept.written_to(db)
            for row, what in rows_of(db):
                if row is not None:
                    found.append(row)
                damage = damage or what
    except (OSError, sqlite3.Error, UnicodeDecodeError) as error:
        damage = str(error)
    return Source(True, written_to, f"{path}: {damage}" if damage else ""), tuple(found)
