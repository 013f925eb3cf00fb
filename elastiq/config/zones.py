"""Time zones, as this system knows them."""

from __future__ import annotations

import difflib
import os
import zoneinfo
from datetime import timezone
from pathlib import Path

from elastiq.calendars import Calendar
from elastiq.text import shown

NO_DATA = "this system has no data of time zones; install the package tzdata"

_LOCAL = Path("/etc/localtime")


def check(name: str) -> None:
    """Raise ValueError, with the reason in words, unless `name` is a time zone that this system knows."""
    if name != "UTC":
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(_unknown(name)) from None


def _unknown(name: str) -> str:
    known = zoneinfo.available_timezones()
    if not known:
        return f"'{shown(name)}' cannot be looked up: {NO_DATA}"
    close = difflib.get_close_matches(name, known, n=1)
    if not close:
        close = [zone for zone in sorted(known) if zone.rpartition("/")[2].lower() == name.lower().replace(" ", "_")]
    hint = f", did you mean {close[0]}?" if close else "; give one such as Europe/Rome or UTC"
    return f"'{shown(name)}' is no time zone that this system knows{hint}"


def calendar(name: str) -> Calendar:
    """Return the calendar of a time zone that `check` has let pass; of none: of the one that this machine is in."""
    if not name:
        return _of_this_machine()
    try:
        return Calendar(timezone.utc if name == "UTC" else zoneinfo.ZoneInfo(name), name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return Calendar()  # its data has gone since the file was read


def _of_this_machine() -> Calendar:
    """Return the time zone that TZ or /etc/localtime tell of; UTC if they do not."""
    named = os.environ.get("TZ", "").lstrip(":") or _name_of(_LOCAL)
    try:
        return Calendar(zoneinfo.ZoneInfo(named), named)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return Calendar()


def _name_of(link: Path) -> str:
    """Return which zone /etc/localtime is a link to."""
    try:
        return str(link.resolve()).partition("zoneinfo/")[2]
    except OSError:
        return ""
