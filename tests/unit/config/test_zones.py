"""Time zones, as this system knows them."""

from __future__ import annotations

import zoneinfo
from pathlib import Path

import pytest

from elastiq.config import zones


@pytest.mark.parametrize("name", ["UTC", "Europe/Rome", "America/Argentina/Buenos_Aires"])
def test_zones_that_there_are(name: str) -> None:
    zones.check(name)
    assert zones.calendar(name).name == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("Europe/Roma", "'Europe/Roma' is no time zone that this system knows, did you mean Europe/Rome?"),
        ("rome", "'rome' is no time zone that this system knows, did you mean Europe/Rome?"),
        ("/etc/passwd", "is no time zone that this system knows"),
        ("../../etc/passwd", "is no time zone that this system knows"),
        ("Europe", "is no time zone that this system knows"),
        ("xqxqxq", "'xqxqxq' is no time zone that this system knows; give one such as Europe/Rome or UTC"),
    ],
)
def test_zones_that_there_are_not(name: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        zones.check(name)
    assert problem in str(caught.value)


def test_a_system_without_their_data_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(key: str) -> None:
        raise zoneinfo.ZoneInfoNotFoundError(key)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", none)
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    zones.check("UTC")
    with pytest.raises(ValueError, match="cannot be looked up: this system has no data of time zones; install the"):
        zones.check("Europe/Rome")
    assert zones.calendar("").name == "UTC"
    assert zones.calendar("Europe/Rome").name == "UTC", "its data has gone since"


@pytest.mark.parametrize(("tz", "name"), [("Asia/Kathmandu", "Asia/Kathmandu"), (":Europe/Rome", "Europe/Rome")])
def test_without_a_name_it_is_that_of_this_machine(tz: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", tz)
    assert zones.calendar("").name == name


@pytest.mark.parametrize(("target", "name"), [("zoneinfo/Europe/Rome", "Europe/Rome"), ("elsewhere", "UTC")])
def test_that_is_what_etc_localtime_tells(
    target: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TZ", raising=False)
    (tmp_path / "localtime").symlink_to(tmp_path / target)
    monkeypatch.setattr(zones, "_LOCAL", tmp_path / "localtime")
    assert zones.calendar("").name == name
