"""What is kept for years: small, let go when it is too much, and taken over from the file of an earlier version."""

from __future__ import annotations

import json
import os
import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from elastiq.errors import StateError
from elastiq.state import kept
from elastiq.state.archive import ARCHIVE, MOST_BYTES, Archive, Piece
from elastiq.state.kept import Event, Hour, Life
from elastiq.state.past import read_events, read_hours, read_life, read_lives

FOREVER = 1e12

LIFE = Life(
    "i-0123456789abcdef0",
    "batch",
    "m5.large",
    1_790_000_000.25,
    1_790_000_100.5,
    1_790_003_600.75,
    "idle for 310 s, more than idle_for_time_s",
    "spot",
    "subnet-1",
    0.0336,
    1_790_000_130.0,
    400.5,
    None,
    "idle",
    "ip-10-0-0-7.internal",
)

EVENT = Event(1_790_000_000.0, "hold", "quota-full", "batch", "2 VMs more are wanted than max_vms leaves")

HOUR = Hour(1_789_999_200.0, "batch", 3600.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)

OLD = """
CREATE TABLE looks (number INTEGER PRIMARY KEY, begins_at REAL NOT NULL, written_from REAL NOT NULL,
                    until REAL NOT NULL, is_first INTEGER NOT NULL, lines BLOB NOT NULL);
CREATE TABLE lives (id TEXT PRIMARY KEY, launched_at REAL NOT NULL, ended_at REAL, record TEXT NOT NULL);
CREATE INDEX lives_in_order ON lives (launched_at);
"""
"""As the versions before this one made it."""

OLD_LIFE = {"id": "i-1", "pool": "default", "type": "small", "launched_at": 5.0, "joined_at": 9.0, "ended_at": 99.0}


def old(directory: Path) -> None:
    with closing(sqlite3.connect(directory / ARCHIVE)) as db:
        db.executescript(OLD)
        first = {**OLD_LIFE, "because": "idle for 60 s"}
        second = {**OLD_LIFE, "id": "i-2", "launched_at": 7.0, "ended_at": None}
        for life in (first, second):
            row = (life["id"], life["launched_at"], life["ended_at"], json.dumps(life))
            db.execute("INSERT INTO lives VALUES (?, ?, ?, ?)", row)
        db.execute("INSERT INTO looks VALUES (1, 5.0, 5.0, 6.0, 1, x'00')")
        db.commit()


def test_what_is_kept_is_what_is_read(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.add(None, [replace(LIFE, ended_at=None)], 1.0)
    archive.add(None, [LIFE], 7.0, [EVENT], [HOUR])
    assert read_lives(tmp_path, 0, FOREVER).lives == (LIFE,)
    assert read_events(tmp_path, 0, FOREVER).events == (EVENT,)
    assert read_hours(tmp_path, 0, FOREVER).hours == (HOUR,)
    assert read_life(tmp_path, LIFE.id) == LIFE
    assert read_lives(tmp_path, 0, FOREVER).written_to == 7.0


def test_the_sums_of_the_cluster_alone(tmp_path: Path) -> None:
    whole = replace(HOUR, pool="")
    Archive(tmp_path).add(None, [], 1.0, [], [HOUR, whole])
    assert read_hours(tmp_path, 0, FOREVER, of_pools=False).hours == (whole,)
    assert len(read_hours(tmp_path, 0, FOREVER).hours) == 2


def test_the_sums_of_an_hour_add_up(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    for _ in range(3):
        archive.add(None, [], 1.0, hours=[HOUR, replace(HOUR, pool="")])
    found = {hour.pool: hour for hour in read_hours(tmp_path, 0, FOREVER).hours}
    assert found["batch"].busy_vm_seconds == 3 * HOUR.busy_vm_seconds
    assert found[""].seconds == 3 * 3600


def test_a_file_of_an_earlier_version_is_read_before_and_after_it_is_taken_over(tmp_path: Path) -> None:
    old(tmp_path)
    before = read_lives(tmp_path, 0, FOREVER)
    assert before.damage == "" and [life.id for life in before.lives] == ["i-1", "i-2"]
    assert before.lives[0].because == "idle for 60 s"
    assert before.lives[0].idle_seconds is None, "that was not kept"
    assert read_events(tmp_path, 0, FOREVER).events == () == read_hours(tmp_path, 0, FOREVER).hours
    archive = Archive(tmp_path)
    assert set(archive.living(10.0)) == {"i-2"}
    assert read_lives(tmp_path, 0, FOREVER).lives == before.lives
    with closing(sqlite3.connect(tmp_path / ARCHIVE)) as db:
        assert db.execute("SELECT count(*) FROM looks").fetchone() == (1,)
        assert not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'lives'").fetchone()
    archive.add(None, [LIFE], 11.0, [EVENT], [HOUR])
    assert len(read_lives(tmp_path, 0, FOREVER).lives) == 3


@pytest.mark.parametrize("kills", range(1, 400, 29))
def test_killed_while_it_is_taken_over_nothing_is_lost(kills: int, tmp_path: Path) -> None:
    old(tmp_path)
    pid = os.fork()
    if pid == 0:
        db = sqlite3.connect(tmp_path / ARCHIVE, isolation_level=None)
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            if steps == kills:
                os._exit(9)
            return 0

        db.set_progress_handler(count, 1)
        db.execute("BEGIN IMMEDIATE")
        kept.migrate(db)
        db.execute("COMMIT")
        os._exit(0)
    os.waitpid(pid, 0)
    assert [life.id for life in read_lives(tmp_path, 0, FOREVER).lives] == ["i-1", "i-2"]
    assert set(Archive(tmp_path).living(10.0)) == {"i-2"}


def test_what_is_too_much_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in (("MOST_VMS", 3), ("MOST_EVENTS", 4), ("MOST_HOURS", 5)):
        monkeypatch.setattr(kept, name, most)
    archive = Archive(tmp_path)
    now = 1_790_000_000.0
    for number in range(20):
        life = replace(LIFE, id=f"i-{number}", launched_at=now + number, ended_at=now + number + 60)
        event, hour = replace(EVENT, at=now + number), replace(HOUR, at=HOUR.at + number * 3600)
        archive.add(Piece(now, now, now + number, True, ""), [life], now + number, [event], [hour])
    assert [life.id for life in read_lives(tmp_path, 0, FOREVER).lives] == ["i-17", "i-18", "i-19"]
    assert len(read_events(tmp_path, 0, FOREVER).events) == 4
    assert len(read_hours(tmp_path, 0, FOREVER).hours) == 5
    late = now + kept.TOLD_SECONDS + 90
    archive.add(Piece(late, late, late, True, ""), [], late)
    assert {(life.because, life.worker, life.token) for life in read_lives(tmp_path, 0, FOREVER).lives} == {
        ("", "", "idle")
    }


@pytest.mark.long
def test_a_year_of_1000_vms_a_day_is_100_mb_at_most_with_all_that_is_kept_beside(tmp_path: Path) -> None:
    """A twentieth of it is written; what is bounded otherwise is counted as large as it may get."""
    share, begin, chance = 20, 1_790_000_000.0, random.Random(1)
    archive = Archive(tmp_path)
    vms = kept.MOST_VMS // share
    for first in range(0, vms, 500):
        lives = []
        for number in range(first, first + 500):
            at = begin + number * 86.4 * share + chance.random()
            ended, idle = at + chance.expovariate(1 / 7000), chance.random() * 700
            # Of a quarter the sentence is still there.
            because = LIFE.because if number > vms * 3 // 4 else ""
            id_ = f"i-{chance.getrandbits(68):017x}"
            life = Life(id_, "batch", "m5.large", at, at + 90, ended, because, "spot", "", 0.03, at, idle, token="idle")
            lives.append(replace(life, worker="ip-10-0-123-217.eu-west-1.compute.internal" if because else ""))
        archive.add(None, lives, begin)
    lives_bytes = page_bytes(tmp_path) * share
    text = "launch 2 VMs of pool batch at on-demand m5.large: 8 jobs lack room for 40 s; launched i-1, i-2" * 2
    events = [Event(begin + number, "launch", "no-room", "batch", text) for number in range(kept.MOST_EVENTS // share)]
    hours = [replace(HOUR, at=HOUR.at + number * 3600, pool=pool) for number in range(8766 // share) for pool in "abcd"]
    archive.add(None, [], begin, events, hours)
    rest_bytes = page_bytes(tmp_path) * share - lives_bytes
    total = lives_bytes + rest_bytes + MOST_BYTES
    assert total <= 100e6, f"{total / 1e6:.0f} MB, of them {lives_bytes / 1e6:.0f} of lives"


def page_bytes(directory: Path) -> int:
    with closing(sqlite3.connect(directory / ARCHIVE)) as db:
        pages, size = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        return int(pages * size)


def test_a_full_disk_keeps_all_or_nothing(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.add(None, [LIFE], 1.0, [EVENT], [HOUR])
    assert archive._connection is not None
    pages = archive._connection.execute("PRAGMA page_count").fetchone()[0]
    archive._connection.execute(f"PRAGMA max_page_count={pages}")
    many = [replace(EVENT, text=f"{number}" * 300) for number in range(500)]
    with pytest.raises(StateError, match="full"):
        archive.add(None, [], 2.0, many, [HOUR])
    assert read_events(tmp_path, 0, FOREVER).events == (EVENT,)
    assert read_hours(tmp_path, 0, FOREVER).hours == (HOUR,)
    assert read_events(tmp_path, 0, FOREVER).written_to == 1.0
