"""Days, months and hours of the week in a time zone, as seconds since the epoch.

Local times that exist twice, when clocks go back, and such that do not exist, when they go forward, are what people
would want: what begins at the first does so the first time, what ends then does so the second time; what begins or ends
at the second does so when clocks go forward. Pure: nothing reads the clock here, and time zones are given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MINUTES_OF_DAY = 24 * 60
NEAR_DAYS = 8
"""So many days before and after hold what is next: hours of the week come again after 7."""


@dataclass(frozen=True)
class Calendar:
    """How people in a time zone count days and months."""

    zone: tzinfo = timezone.utc
    name: str = "UTC"

    def day(self, at: float) -> tuple[float, float]:
        """Return when the day of `at` begins and ends."""
        today = self.date_of(at)
        return self.moment(today, 0), self.moment(today + timedelta(days=1), 0)

    def month(self, at: float) -> tuple[float, float]:
        """Return when the month of `at` begins and ends."""
        first = self.date_of(at).replace(day=1)
        return self.moment(first, 0), self.moment((first + timedelta(days=31)).replace(day=1), 0)

    def date_of(self, at: float) -> date:
        """Return which day it is."""
        return datetime.fromtimestamp(at, self.zone).date()

    def shown(self, at: float) -> str:
        """Return a time for people."""
        return datetime.fromtimestamp(at, self.zone).strftime("%Y-%m-%d %H:%M")

    def moment(self, day: date, minutes: int, *, is_end: bool = False) -> float:
        """Return when it is so many minutes past midnight by the clocks of that day, which may be more than 24 h."""
        wall = datetime(day.year, day.month, day.day) + timedelta(minutes=minutes)  # noqa: DTZ001 (zone follows)
        first, second = (wall.replace(tzinfo=self.zone, fold=fold) for fold in (0, 1))
        early, late = sorted((first.timestamp(), second.timestamp()))
        if first.utcoffset() == second.utcoffset():
            return early
        if datetime.fromtimestamp(early, self.zone).replace(tzinfo=None) == wall:
            return late if is_end else early  # it exists twice
        return self._change(early, late)

    def _change(self, early: float, late: float) -> float:
        """Return when the clocks are changed between the two."""
        before = datetime.fromtimestamp(early, self.zone).utcoffset()
        low, high = int(early), int(late)  # offsets are whole seconds
        while high - low > 1:
            middle = (low + high) // 2
            is_before = datetime.fromtimestamp(middle, self.zone).utcoffset() == before
            low, high = (middle, high) if is_before else (low, middle)
        return float(high)


@dataclass(frozen=True)
class Spell:
    """Hours of some days of the week, such as Mon-Fri 08:00-18:00."""

    days: tuple[int, ...]
    """On which they begin; Monday is 0."""
    begin: int = 0
    """In minutes past midnight."""
    end: int = MINUTES_OF_DAY
    """The same. No later than `begin`: on the next day."""


@dataclass(frozen=True)
class Hours:
    """Hours of the week, in a time zone."""

    spells: tuple[Spell, ...] = ()
    calendar: Calendar = field(default_factory=Calendar)

    def spans(self, at: float) -> tuple[tuple[float, float], ...]:
        """Return from when to when they are, of a week before and after `at`, in their order; what meets is one."""
        return _spans(self, self.calendar.date_of(at))

    def is_on(self, at: float, within_seconds: float = 0.0) -> bool:
        """Return whether they are `at` that time, or begin within so long."""
        return any(begin - within_seconds <= at < end for begin, end in self.spans(at))

    def changes(self, at: float, lead_seconds: float = 0.0) -> Iterator[float]:
        """Return when they next begin, so long before that, and when they next end."""
        for begin, end in self.spans(at):
            yield from (moment for moment in (begin - lead_seconds, begin, end) if moment > at)


@lru_cache(maxsize=256)
def _spans(hours: Hours, today: date) -> tuple[tuple[float, float], ...]:
    found = []
    for number in range(-NEAR_DAYS, NEAR_DAYS + 1):
        day = today + timedelta(days=number)
        for spell in hours.spells:
            if day.weekday() in spell.days:
                end = spell.end if spell.end > spell.begin else spell.end + MINUTES_OF_DAY
                begins_at = hours.calendar.moment(day, spell.begin)
                found.append((begins_at, hours.calendar.moment(day, end, is_end=True)))
    merged: list[tuple[float, float]] = []
    for begins_at, ends_at in sorted(found):
        if merged and begins_at <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(ends_at, merged[-1][1])
        elif begins_at < ends_at:
            merged.append((begins_at, ends_at))
    return tuple(merged)
