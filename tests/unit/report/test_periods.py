"""Times as people give them; days of 23, 24 and 25 hours, and those that do not begin at midnight."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import pytest

from elastiq.calendars import Calendar
from elastiq.errors import ElastiqError
from elastiq.report.periods import days, moment, since_of

NOW = 1_795_879_800.0
"""2026-11-28 15:30 UTC."""


@pytest.fixture
def zone(request: pytest.FixtureRequest, in_zone: Callable[[str], None]) -> str:
    in_zone(request.param)
    return str(request.param)


def calendar(zone: str) -> Calendar:
    return Calendar(ZoneInfo(zone), zone)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("90s", NOW - 90),
        ("30m", NOW - 1800),
        ("12h", NOW - 43200),
        ("2d", NOW - 172800),
        ("4w", NOW - 28 * 86400),
        ("999999999w", 0.0),
        ("2026-11-28", 1_795_820_400.0),
        ("2026-11-28T12:30", 1_795_865_400.0),
        ("2026-11-28 12:30:05", 1_795_865_405.0),
    ],
)
def test_since(text: str, at: float) -> None:
    assert since_of(text, NOW, calendar("Europe/Berlin")) == at


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2",
        "d",
        "-2d",
        "2 d",
        "1.5h",
        "2026-13-01",
        "2026-02-30",
        "28.11.2026",
        "2026-11-28T24:00",
        "2026-11-28T12:60",
        "\x1b[2J",
    ],
)
def test_what_is_no_time_is_said(text: str) -> None:
    with pytest.raises(ElastiqError, match="is no time; give 90s") as caught:
        since_of(text, NOW, Calendar())
    assert str(caught.value).isprintable()


def test_a_date_to_come_is_refused() -> None:
    with pytest.raises(ElastiqError, match="is yet to come"):
        since_of("2099-01-01", NOW, Calendar())


@pytest.mark.parametrize(
    ("zone", "first", "count", "lengths"),
    [
        ("Europe/Berlin", (2026, 3, 28), 3, (24, 23, 24)),
        ("Europe/Berlin", (2026, 10, 24), 3, (24, 25, 24)),
        ("America/Sao_Paulo", (2018, 11, 3), 3, (24, 23, 24)),  # midnight is left out
        ("Asia/Kolkata", (2026, 3, 28), 2, (24, 24)),
        ("Australia/Lord_Howe", (2026, 4, 4), 3, (24, 24.5, 24)),
        ("UTC", (2026, 3, 28), 1, (24,)),
    ],
)
def test_days_follow_one_another_and_have_their_hours(
    zone: str, first: tuple[int, int, int], count: int, lengths: tuple[float, ...]
) -> None:
    begin = datetime(*first, tzinfo=ZoneInfo(zone)).timestamp()
    found = days(begin, begin + sum(lengths) * 3600, calendar(zone))
    assert [(end - start) / 3600 for _, start, end in found] == list(lengths)
    assert found[0][1] == begin and all(one[2] == other[1] for one, other in zip(found, found[1:]))
    assert found[0][0] == "{:04}-{:02}-{:02}".format(*first)
    assert len({name for name, _, _ in found}) == count


def test_parts_of_days() -> None:
    assert days(NOW, NOW, Calendar()) == []
    ((_, begin, end),) = days(NOW, NOW + 1, Calendar())
    assert (begin, end) == (NOW, NOW + 1)


@pytest.mark.parametrize("zone", ["Asia/Kolkata"], indirect=True)
def test_a_moment_says_its_zone(zone: str) -> None:
    assert moment(NOW) == "2026-11-28 21:00:00+0530"
    assert datetime.fromtimestamp(NOW, timezone.utc).hour == 15
