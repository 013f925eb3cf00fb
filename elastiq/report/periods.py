"""Times as people give them and see them, and the days between them."""

from __future__ import annotations

import re
from datetime import date as date_
from datetime import datetime, timezone

from elastiq.calendars import Calendar
from elastiq.errors import ElastiqError
from elastiq.text import shown

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

_SPAN = re.compile(r"([0-9]{1,9})([smhdw])")

_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[ T](\d{1,2}):(\d{2})(?::(\d{2}))?)?")


def since_of(text: str, now: float, calendar: Calendar) -> float:
    """Return from when on is asked for: 90s, 30m, 12h, 2d or 4w ago, or at a date, perhaps with a time, as people in
    that time zone have it. Raise ElastiqError if it is none of these, or yet to come."""
    span, date = _SPAN.fullmatch(text), _DATE.fullmatch(text)
    wrong = ElastiqError(
        f"--since: '{shown(text)}' is no time; give 90s, 30m, 12h, 2d, 4w or a date, such as 2026-11-28 or "
        "2026-11-28T12:30"
    )
    if span:
        return max(0.0, now - int(span[1]) * _UNITS[span[2]])
    if not date:
        raise wrong
    year, month, day, *rest = (int(part or 0) for part in date.groups())
    try:
        hour, minute, second = rest
        if not (hour < 24 and minute < 60 and second < 60):
            raise wrong
        at = calendar.moment(date_(year, month, day), 60 * hour + minute) + second
    except (ValueError, OverflowError, OSError):
        raise wrong from None
    if at > now:
        raise ElastiqError(f"--since: {shown(text)} is yet to come")
    return at


def days(since: float, until: float, calendar: Calendar) -> list[tuple[str, float, float]]:
    """Return the days from `since` to `until`, with when they begin and end; the first and the last may be parts."""
    found = []
    begin = since
    while begin < until:
        _, end = calendar.day(begin)
        found.append((f"{calendar.date_of(begin):%Y-%m-%d}", begin, min(max(end, begin + 1), until)))
        begin = found[-1][2]
    return found


def moment(at: float) -> str:
    """Return a time for people, in the local time zone."""
    return f"{datetime.fromtimestamp(at, timezone.utc).astimezone():%Y-%m-%d %H:%M:%S%z}"
