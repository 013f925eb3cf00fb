"""Days and hours of the week as the file says them: `Mon-Fri 08:00-18:00; Sat 10:00-14:00`."""

from __future__ import annotations

import difflib
import re

from elastiq.calendars import DAYS, MINUTES_OF_DAY, Spell
from elastiq.text import shown

WANTED = "give days and hours such as Mon-Fri 08:00-18:00; Sat 10:00-14:00"

_HOURS = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")

_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def parse(text: str) -> tuple[Spell, ...]:
    """Return the hours that `text` tells of. Raise ValueError, with the reason in words."""
    parts = [part.strip() for part in text.split(";")]
    if not all(parts):
        raise ValueError(f"has a semicolon without hours before or after it; {WANTED}")
    return tuple(spell for part in parts for spell in _spells(part))


def _spells(part: str) -> list[Spell]:
    part = re.sub(r"\s*([,-])\s*", r"\1", part)
    words = part.split()
    days: tuple[int, ...] = tuple(range(len(DAYS)))
    if not words[0][0].isdigit():
        days = _days(words.pop(0))
    if not words:
        return [Spell(days)]
    if len(words) > 1:
        raise ValueError(f"'{shown(part)}' is no time of the week; {WANTED}")
    return [Spell(days, *_minutes(hours)) for hours in words[0].split(",")]


def _days(text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for item in text.split(","):
        first, dash, last = item.partition("-")
        begin, end = _day(first), _day(last) if dash else _day(first)
        number = (end - begin) % len(DAYS)
        found |= {(begin + add) % len(DAYS) for add in range(number + 1)}
    return tuple(sorted(found))


def _day(name: str) -> int:
    lower = name.lower()
    found = [number for number, day in enumerate(_NAMES) if lower in (day, day[:3])]
    if found:
        return found[0]
    close = difflib.get_close_matches(lower, [*_NAMES, *(day[:3] for day in _NAMES)], n=1)
    hint = f", did you mean {close[0][:3].capitalize()}?" if close else f"; days are {', '.join(DAYS)}"
    raise ValueError(f"'{shown(name)}' is no day of the week{hint}")


def _minutes(text: str) -> tuple[int, int]:
    match = _HOURS.fullmatch(text)
    if match is None:
        raise ValueError(f"'{shown(text)}' is no time of day; give one such as 08:00-18:00, or 22:00-06:00 over night")
    hours = [int(number) for number in match.groups()]
    begin, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
    if max(hours[1], hours[3]) > 59 or begin >= MINUTES_OF_DAY or end > MINUTES_OF_DAY:
        raise ValueError(f"'{shown(text)}' is no time of day; hours go from 00:00 to 24:00")
    if begin == end:
        raise ValueError(f"'{shown(text)}' ends when it begins; for whole days leave the hours out")
    return begin, end
