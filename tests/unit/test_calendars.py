"""Days, months and hours of the week, also where clocks are changed."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.calendars import Calendar, Hours, Spell

ZONES = ("UTC", "Europe/Rome", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Havana")


def of(zone: str) -> Calendar:
    return Calendar(ZoneInfo(zone), zone)


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


@pytest.mark.parametrize(
    ("zone", "day", "minutes", "is_end", "at"),
    [
        ("UTC", date(2026, 3, 29), 150, False, "2026-03-29 02:30"),
        ("Europe/Rome", date(2026, 3, 28), 150, False, "2026-03-28 01:30"),
        ("Europe/Rome", date(2026, 3, 29), 150, False, "2026-03-29 01:00"),  # left out: then
        ("Europe/Rome", date(2026, 3, 29), 150, True, "2026-03-29 01:00"),
        ("Europe/Rome", date(2026, 3, 29), 180, False, "2026-03-29 01:00"),
        ("Europe/Rome", date(2026, 3, 29), 1440, True, "2026-03-29 22:00"),
        ("Europe/Rome", date(2026, 10, 25), 150, False, "2026-10-25 00:30"),  # twice: it begins the first time
        ("Europe/Rome", date(2026, 10, 25), 150, True, "2026-10-25 01:30"),  # ... and ends the second time
        ("America/New_York", date(2026, 11, 1), 90, False, "2026-11-01 05:30"),
        ("America/New_York", date(2026, 11, 1), 90, True, "2026-11-01 06:30"),
        ("America/New_York", date(2026, 3, 8), 150, False, "2026-03-08 07:00"),
        ("Australia/Lord_Howe", date(2026, 10, 4), 135, False, "2026-10-03 15:30"),  # by half an hour
        ("America/Havana", date(2026, 3, 8), 0, False, "2026-03-08 05:00"),  # no midnight
        ("America/Havana", date(2026, 11, 1), 0, False, "2026-11-01 04:00"),  # two
        ("Pacific/Apia", date(2011, 12, 30), 480, False, "2011-12-30 10:00"),  # a day left out
    ],
)
def test_when_it_is_so_late_by_local_clocks(zone: str, day: date, minutes: int, is_end: bool, at: str) -> None:
    assert of(zone).moment(day, minutes, is_end=is_end) == utc(at)


@pytest.mark.parametrize(
    ("zone", "at", "hours"),
    [
        ("Europe/Rome", "2026-03-29 12:00", 23),
        ("Europe/Rome", "2026-10-25 12:00", 25),
        ("Australia/Lord_Howe", "2026-04-04 20:00", 24.5),
        ("UTC", "2026-10-25 12:00", 24),
    ],
)
def test_days_are_as_long_as_they_are(zone: str, at: str, hours: float) -> None:
    begin, end = of(zone).day(utc(at))
    assert (end - begin) / 3600 == hours


def test_a_month_is_that_of_the_zone() -> None:
    begin, end = of("Asia/Kathmandu").month(utc("2026-01-31 18:30"))
    assert (begin, end) == (utc("2026-01-31 18:15"), utc("2026-02-28 18:15"))
    assert of("UTC").month(utc("2026-12-31 23:59"))[1] == utc("2027-01-01 00:00")


@given(st.sampled_from(ZONES), st.integers(1_700_000_000, 1_900_000_000))
def test_days_and_months_follow_one_another_and_begin_with_a_quarter(zone: str, at: int) -> None:
    for period in (of(zone).day, of(zone).month):
        begin, end = period(float(at))
        assert begin <= at < end
        assert period(end)[0] == end
        assert begin % 900 == 0


MINUTES = st.integers(0, 1439)
SPELLS = st.builds(
    Spell, st.sets(st.integers(0, 6), min_size=1).map(lambda days: tuple(sorted(days))), MINUTES, st.integers(1, 1440)
).filter(lambda spell: spell.begin != spell.end)


@given(st.sampled_from(ZONES), st.lists(SPELLS, min_size=1, max_size=3), st.integers(1_700_000_000, 1_900_000_000))
def test_hours_are_on_between_their_changes_alone(zone: str, spells: list[Spell], at: int) -> None:
    hours = Hours(tuple(spells), of(zone))
    changes = sorted(hours.changes(float(at)))
    is_on = hours.is_on(at)
    if changes:
        assert all(hours.is_on(at + part * (changes[0] - at)) is is_on for part in (0.3, 0.9))
        assert hours.is_on(changes[0]) is not is_on
        assert changes[0] - at <= 8 * 86400
    else:
        assert is_on  # always


@given(st.sampled_from(ZONES), SPELLS, st.integers(1_700_000_000, 1_900_000_000))
def test_hours_are_those_that_local_clocks_show(zone: str, spell: Spell, at: int) -> None:
    """But for such times as exist twice, or not."""
    hours, local = Hours((spell,), of(zone)), datetime.fromtimestamp(at, ZoneInfo(zone))
    around = [datetime.fromtimestamp(at + seconds, ZoneInfo(zone)).utcoffset() for seconds in (-90000, 90000)]
    if around[0] != around[1]:
        return
    minutes = local.hour * 60 + local.minute
    yesterday = (local.date() - timedelta(days=1)).weekday()
    is_over_night = spell.end <= spell.begin
    today = local.weekday() in spell.days and spell.begin <= minutes and (is_over_night or minutes < spell.end)
    assert hours.is_on(at) is (today or (is_over_night and yesterday in spell.days and minutes < spell.end))


def test_a_lead_comes_before_the_beginning() -> None:
    hours = Hours((Spell((0,), 480, 1080),), of("Europe/Rome"))
    monday = utc("2026-03-30 06:00")
    assert not hours.is_on(monday - 181, 180)
    assert hours.is_on(monday - 180, 180)
    assert not hours.is_on(monday - 1)
    assert sorted(hours.changes(monday - 600, 180))[:3] == [monday - 180, monday, monday + 36000]
    assert of("Europe/Rome").shown(monday) == "2026-03-30 08:00"
