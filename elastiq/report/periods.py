"""Times as people give them and see them, and the days between them, in the local time zone."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta, timezone

from elastiq.errors import ElastiqError
from elastiq.text import shown

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

_SPAN = re.compile(r"([0-9]{1,9})([smhdw])")

_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[ T](\d{1,2}):(\d{2})(?::(\d{2}))?)?")


def since_of(text: str, now: float) -> float:
    """Return from when on is asked for: 90s, 30m, 12h, 2d or 4w ago, or at a date, perhaps with a time. Raise
    ElastiqError if it is none of these, or yet to come."""
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
        moment = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 (local time, as people mean it)
        at = day_begin(moment) if date[4] is None else moment.timestamp()
    except (ValueError, OverflowError, OSError):
        raise wrong from None
    if at > now:
        raise ElastiqError(f"--since: {shown(text)} is yet to come")
    return at


def days(since: float, until: float) -> list[tuple[str, float, float]]:
    """Return the days from `since` to `until`, with when they begin and end; the first and the last may be parts."""
    found = []
    begin = since
    while begin < until:
        day = datetime.fromtimestamp(begin, timezone.utc).astimezone().replace(tzinfo=None)
        following = datetime(day.year, day.month, day.day) + timedelta(days=1)  # noqa: DTZ001
        # Where a clock is put back at midnight the day before comes twice.
        end = max(day_begin(following), begin + 1)
        found.append((f"{day:%Y-%m-%d}", begin, min(end, until)))
        begin = end
    return found


def day_begin(day: datetime) -> float:
    """Return when a day begins in the local time zone: at midnight, or where a clock is put forward then, after it."""
    wanted = (day.year, day.month, day.day)
    noon = time.mktime((*wanted, 12, 0, 0, 0, 0, -1))
    low, high = noon - 36 * 3600, noon
    while high - low > 1:
        middle = (low + high) // 2
        if time.localtime(middle)[:3] < wanted:
            low = middle
        else:
            high = middle
    return high


def moment(at: float) -> str:
    """Return a time for people."""
    return f"{datetime.fromtimestamp(at, timezone.utc).astimezone():%Y-%m-%d %H:%M:%S%z}"
