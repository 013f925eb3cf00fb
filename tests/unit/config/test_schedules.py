"""Sections [schedule NAME], and all that can be wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastiq.calendars import Hours, Spell
from elastiq.config import zones
from elastiq.errors import ConfigError
from elastiq.model import Schedule
from tests.unit.config.rig import IMAGE, loaded, warnings_of

QUOTA = "[quota]\nmax_vms = 50\n"


def problems(directory: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(directory, IMAGE + QUOTA + text)
    return [problem.partition("elastiq.conf")[2] for problem in caught.value.problems]


def test_schedules_as_they_are_in_the_file(tmp_path: Path) -> None:
    text = """[pool cpu]
[cost]
timezone = Europe/Rome
[schedule day]
when = Mon-Fri 08:00-18:00
pool = cpu
min_vms = 5
[schedule night]
when = 22:00-06:00 ; a comment
timezone = UTC
max_vms = 0
idle_for_time_s = 2m
"""
    day, night = loaded(tmp_path, IMAGE + QUOTA + text).policy().schedules
    rome = zones.calendar("Europe/Rome")
    assert day == Schedule("day", Hours((Spell((0, 1, 2, 3, 4), 480, 1080),), rome), "cpu", 5)
    assert (night.pool, night.min_vms, night.max_vms, night.idle_for_time_s) == ("", None, 0, 120.0)
    assert night.hours.calendar.name == "UTC"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[schedule]\nwhen = Mon\n", ":6: [schedule]: a schedule needs a name, such as [schedule day]"),
        (
            "[schedule a/b]\n",
            ":6: [schedule a/b]: 'a/b' cannot be the name of a schedule: give up to 64 letters, digits and . _ -",
        ),
        (
            "[schedule a]\nmin_vms = 1\n",
            ":6: [schedule a] when: is missing; give days and hours such as Mon-Fri 08:00-18:00; Sat 10:00-14:00",
        ),
        ("[schedule a]\nwhen = Mon\nmin_vm = 1\n", ":8: [schedule a] min_vm: unknown option, did you mean min_vms?"),
        (
            "[schedule a]\nwhen = Mom\nmin_vms = 1\n",
            ":7: [schedule a] when: 'Mom' is no day of the week, did you mean Mon?",
        ),
        (
            "[schedule a]\nwhen = Mon\npool = gpu\nmin_vms = 1\n",
            ":8: [schedule a] pool: there is no [pool gpu]; there are default",
        ),
        ("[schedule a]\nwhen = Mon\nmin_vms = 3\nmax_vms = 2\n", ":8: [schedule a] min_vms: 3 is more than max_vms 2"),
        (
            "[schedule a]\nwhen = Mon\nmin_vms = 51\n",
            ":8: [schedule a] min_vms: 51 is more than max_vms 50, which a schedule cannot raise",
        ),
        (
            "[pool p]\nmax_vms = 4\n[schedule a]\nwhen = Mon\npool = p\nmin_vms = 5\n",
            ":11: [schedule a] min_vms: 5 is more than max_vms 4, which a schedule cannot raise",
        ),
        (
            "[schedule a]\nwhen = Mon\ntimezone = Mars\nmin_vms = 1\n",
            ":8: [schedule a] timezone: 'Mars' is no time zone that this system knows",
        ),
        ("[schedul a]\n", ":6: [schedul a]: unknown section, did you mean [schedule a]?"),
        (
            "[schedules night]\n[schedule day]\nwhen = Mon\nmin_vms = 1\n",
            ":6: [schedules night]: unknown section, did you mean [schedule night]?",
        ),
    ],
)
def test_problems(text: str, problem: str, tmp_path: Path) -> None:
    (found,) = problems(tmp_path, text)
    assert found.startswith(problem)


def test_one_that_changes_nothing_is_said(tmp_path: Path) -> None:
    (found,) = warnings_of(tmp_path, f"{IMAGE}[schedule a]\nwhen = Mon\n")
    assert found.endswith("[schedule a] when: changes nothing; give min_vms, max_vms or idle_for_time_s")
