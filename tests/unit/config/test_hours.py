"""Days and hours of the week as the file says them."""

from __future__ import annotations

import pytest

from elastiq.calendars import Spell
from elastiq.config.hours import parse

WEEK, WORK = tuple(range(7)), (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("text", "spells"),
    [
        ("Mon-Fri 08:00-18:00", [Spell(WORK, 480, 1080)]),
        ("mon - fri  8:00 - 18:00", [Spell(WORK, 480, 1080)]),
        ("Mon,Wed 08:00-12:00; Sat 10:00-14:00", [Spell((0, 2), 480, 720), Spell((5,), 600, 840)]),
        ("Mon 08:00-12:00,14:00-18:00", [Spell((0,), 480, 720), Spell((0,), 840, 1080)]),
        ("22:00-06:00", [Spell(WEEK, 1320, 360)]),
        ("Sat-Mon", [Spell((0, 5, 6))]),
        ("Sunday, Tuesday", [Spell((1, 6))]),
        ("Fri 18:00-24:00", [Spell((4,), 1080, 1440)]),
        ("Mon-Sun", [Spell(WEEK)]),
    ],
)
def test_what_it_means(text: str, spells: list[Spell]) -> None:
    assert parse(text) == tuple(spells)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Mon-Fry 08:00-18:00", "'Fry' is no day of the week, did you mean Fri?"),
        ("weekend", "'weekend' is no day of the week"),
        ("xyz", "'xyz' is no day of the week; days are Mon, Tue, Wed, Thu, Fri, Sat, Sun"),
        ("Mon 8-18", "'8-18' is no time of day; give one such as 08:00-18:00, or 22:00-06:00 over night"),
        ("Mon 08:00-25:00", "'08:00-25:00' is no time of day; hours go from 00:00 to 24:00"),
        ("Mon 08:60-09:00", "'08:60-09:00' is no time of day; hours go from 00:00 to 24:00"),
        ("24:00-06:00", "'24:00-06:00' is no time of day; hours go from 00:00 to 24:00"),
        ("Mon 08:00-08:00", "'08:00-08:00' ends when it begins; for whole days leave the hours out"),
        ("Mon 08:00-09:00 10:00-11:00", "is no time of the week; give days and hours such as"),
        ("Mon;;Tue", "has a semicolon without hours before or after it; give days and hours such as"),
        ("Mon;", "has a semicolon without hours before or after it; give days and hours such as"),
        ("-", "'' is no day of the week; days are"),
        ("Mon,", "'' is no day of the week; days are"),
    ],
)
def test_problems(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert problem in str(caught.value)
