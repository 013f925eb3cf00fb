"""What was kept is read as it is: what overlaps a time, gaps as gaps, damage said."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from elastiq.state.archive import ARCHIVE, Archive
from elastiq.state.kept import Hour, Life
from elastiq.state.past import Hours, read_events, read_hours, read_life, read_lives, read_parted
from tests.unit.state.test_kept import EVENT, HOUR, LIFE


def test_nothing_was_ever_kept(tmp_path: Path) -> None:
    found = read_lives(tmp_path, 0, 1e12)
    assert not found.is_there and found.damage == "" and found.lives == ()
    assert not read_events(tmp_path, 0, 1e12).is_there and not read_hours(tmp_path, 0, 1e12).is_there
    assert read_life(tmp_path, "i-1") is None
    assert not (tmp_path / ARCHIVE).exists()


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [(0, 10, ""), (0, 11, "a"), (20, 30, "a"), (21, 30, ""), (21, 41, "b"), (1000, 2000, "b"), (0, 5000, "ab")],
)
def test_lives_that_overlap_a_time(since: float, until: float, found: str, tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.add(None, [Life("a", "p", "t", 10.0, ended_at=20.0), Life("b", "p", "t", 40.0)], 1.0)
    assert "".join(life.id for life in read_lives(tmp_path, since, until).lives) == found


def hours(*seen: tuple[int, float]) -> Hours:
    return Hours(hours=tuple(Hour(number * 3600.0, "", seconds) for number, seconds in seen))


@pytest.mark.parametrize(
    ("seen", "gaps"),
    [
        ((), ()),
        (((5, 3600.0), (6, 3590.0), (7, 3600.0)), ()),
        (((5, 100.0), (6, 3600.0), (7, 3600.0)), ()),  # it was begun then
        (((5, 3600.0), (7, 3600.0)), ((6, 7),)),
        (((5, 3600.0), (6, 600.0)), ((6, 8),)),
        (((1, 3600.0), (5, 3600.0), (6, 3600.0)), ((3, 5), (7, 8))),
    ],
)
def test_when_nobody_looked(seen: tuple[tuple[int, float], ...], gaps: tuple[tuple[int, int], ...]) -> None:
    found = hours(*seen).gaps(3 * 3600.0, 8 * 3600.0)
    assert tuple((begin / 3600, end / 3600) for begin, end in found) == gaps


def test_the_hour_that_is_not_over_has_no_gap() -> None:
    assert hours((5, 3600.0), (6, 600.0)).gaps(5 * 3600.0, 6 * 3600.0 + 640) == ()


def test_what_is_not_written_yet_is_no_gap_but_what_is_overdue_is() -> None:
    found = replace(hours((5, 3600.0), (6, 600.0)), written_to=6 * 3600.0 + 600)
    assert found.gaps(5 * 3600.0, 7 * 3600.0 + 1800) == ()
    assert found.gaps(5 * 3600.0, 9 * 3600.0) == ((6 * 3600.0, 9 * 3600.0),)


def test_a_row_that_is_damaged_costs_itself_alone_and_is_said(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.add(None, [LIFE, replace(LIFE, id="i-2")], 1.0, [EVENT, EVENT], [HOUR, replace(HOUR, pool="")])
    with closing(sqlite3.connect(tmp_path / ARCHIVE)) as db:
        db.execute("UPDATE vms SET joined_at = 'soon' WHERE id = 'i-2'")
        db.execute("UPDATE events SET token = 999 WHERE number = 1")
        db.execute("UPDATE hours SET busy = -1.0 WHERE pool = (SELECT number FROM names WHERE text = '')")
        db.commit()
    for found, rows in (
        (read_lives(tmp_path, 0, 1e12), 1),
        (read_parted(tmp_path, [(0, 1e12)]), 1),
        (read_events(tmp_path, 0, 1e12), 1),
        (read_hours(tmp_path, 0, 1e12), 1),
    ):
        assert "malformed" in found.damage
        assert sum(len(value) for value in vars(found).values() if isinstance(value, tuple)) == rows


@pytest.mark.parametrize("seed", range(30))
def test_whatever_is_damaged_nothing_is_raised(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    archive = Archive(tmp_path)
    lives = [replace(LIFE, id=f"i-{number}") for number in range(300)]
    archive.add(None, lives, 1.0, [EVENT] * 100, [HOUR])
    archive.close()
    path = tmp_path / ARCHIVE
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 20, 500))):
        content[chance.randrange(100 if seed % 2 else 0, len(content))] = chance.randrange(256)
    path.write_bytes(content[: chance.choice((len(content), len(content) // 2))])
    read_lives(tmp_path, 0, 1e12)
    read_events(tmp_path, 0, 1e12)
    read_hours(tmp_path, 0, 1e12).gaps(HOUR.at, HOUR.at + 9e5)
    read_life(tmp_path, "i-7")
