"""The file of what was: killed at any step, damaged, full, old."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from elastiq.errors import StateError
from elastiq.state import archive
from elastiq.state import kept as kept_rows
from elastiq.state.archive import ARCHIVE, Archive, Piece, read_past
from elastiq.state.kept import Event, Hour, Life
from elastiq.state.past import read_events, read_hours, read_life

LINE = "[%d,45.0,1,%d,[]]\n"
ALL = 1e9

EVENT, HOUR = Event(1000.0, "hold", "idle", "", "x"), Hour(3600.0, "", 9.0)


def piece(number: int, *, first: bool = False, lines: str = "") -> Piece:
    begins_at = 1000.0
    return Piece(begins_at, begins_at + number, begins_at + number + 1, first, lines or LINE % (number, first))


def life(number: int, ended_at: float | None = None) -> Life:
    return Life(f"i-{number}", "default", "small", 1000.0 + number, 1100.0, ended_at)


def filled(directory: Path, pieces: int = 3) -> Archive:
    kept = Archive(directory)
    for number in range(pieces):
        kept.add(piece(number, first=number == 0), [life(number)], 1000.0)
    return kept


def numbers(directory: Path, seconds: float = ALL) -> list[int]:
    past = read_past(directory, seconds)
    assert past is not None
    return [int(look.at) - 1000 for _, looks in past.pieces for look in looks]


def test_what_is_kept_is_what_is_read_and_nobody_else_may(tmp_path: Path) -> None:
    assert read_past(tmp_path, ALL) is None
    kept = filled(tmp_path)
    kept.add(None, [life(1, ended_at=2000.0)], 1000.0)
    assert kept.living(0.0) == {"i-0": life(0), "i-2": life(2)}
    past = read_past(tmp_path, ALL)
    assert past is not None and past.damage == ""
    assert numbers(tmp_path) == [0, 1, 2]
    assert {one.id: one.ended_at for one in past.lives} == {"i-0": None, "i-1": 2000.0, "i-2": None}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob(f"{ARCHIVE}*")} == {0o600}


@pytest.mark.parametrize("kills", range(1, 700, 17))
def test_killed_at_any_step_it_has_all_or_nothing_of_the_last(kills: int, tmp_path: Path) -> None:
    kept = filled(tmp_path)
    pid = os.fork()
    if pid == 0:
        own = Archive(tmp_path)
        own.living(0.0)
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            if steps == kills:
                os._exit(9)
            return 0

        assert own._connection is not None
        own._connection.set_progress_handler(count, 1)
        own.add(piece(3), [life(3)], 1000.0, [EVENT], [HOUR])
        os._exit(0)
    os.waitpid(pid, 0)
    found = numbers(tmp_path)
    assert found in ([0, 1, 2], [0, 1, 2, 3])
    assert ("i-3" in kept.living(0.0)) == (len(found) == 4)
    assert len(read_events(tmp_path, 0, 1e12).events) == len(read_hours(tmp_path, 0, 1e12).hours) == len(found) - 3
    kept.add(piece(0, first=True), [], 1000.0)
    assert numbers(tmp_path) == [*found, 0]


def test_a_piece_that_is_missing_or_damaged_leaves_out_what_goes_on_with_it(tmp_path: Path) -> None:
    kept = filled(tmp_path, 4)
    kept.add(piece(9, first=True), [], 1000.0)
    kept.add(piece(10), [], 1000.0)
    with sqlite3.connect(tmp_path / ARCHIVE) as database:
        (whole,) = database.execute("SELECT lines FROM looks WHERE number = 2").fetchone()
        database.execute("UPDATE looks SET lines = ? WHERE number = 2", (whole[:-8],))
    past = read_past(tmp_path, ALL)
    assert past is not None and "looks 2" in past.damage
    assert numbers(tmp_path) in ([0, 9, 10], [0, 1, 9, 10])
    with sqlite3.connect(tmp_path / ARCHIVE) as database:
        database.execute("DELETE FROM looks WHERE number = 2")
    assert numbers(tmp_path) == [0, 9, 10]


@pytest.mark.parametrize("seed", range(8))
def test_a_file_full_of_garbage_is_moved_aside_and_another_one_begun(seed: int, tmp_path: Path) -> None:
    filled(tmp_path).close()
    path = tmp_path / ARCHIVE
    content = random.Random(seed).randbytes(path.stat().st_size)
    path.write_bytes(content)
    past = read_past(tmp_path, ALL)
    assert past is not None and past.damage and not past.pieces
    kept = Archive(tmp_path)
    with pytest.raises(StateError, match=r"moved to .*history\.db\.damaged-7, and another one is begun"):
        kept.living(7.0)
    assert (tmp_path / f"{ARCHIVE}.damaged-7").read_bytes() == content
    kept.add(piece(5, first=True), [], 8.0)
    assert numbers(tmp_path) == [5]


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 0.95])
def test_a_file_that_was_cut_is_no_end_of_anything(share: float, tmp_path: Path) -> None:
    kept = filled(tmp_path, 200)
    kept.close()
    path = tmp_path / ARCHIVE
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    past = read_past(tmp_path, ALL)
    assert past is not None and (past.damage or numbers(tmp_path) == list(range(200)))
    kept = Archive(tmp_path)
    for number in range(3):  # at the latest the second finds another file
        try:
            kept.add(piece(number, first=True), [life(number)], 9.0)
        except StateError:
            continue
    assert numbers(tmp_path)[-1] == 2


def test_a_full_disk_is_said_and_over_when_there_is_room(tmp_path: Path) -> None:
    kept = filled(tmp_path)
    assert kept._connection is not None
    pages = kept._connection.execute("PRAGMA page_count").fetchone()[0]
    kept._connection.execute(f"PRAGMA max_page_count={pages}")
    large = "".join(f"[{number},{random.Random(number).random()},1,0,[]]\n" for number in range(9000))
    with pytest.raises(StateError, match="full"):
        kept.add(piece(3, lines=large), [life(3)], 1000.0)
    kept.add(piece(4, first=True), [], 1000.0)
    assert numbers(tmp_path) == [0, 1, 2, 4]


def test_what_is_old_or_too_much_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = filled(tmp_path, 5)
    kept.add(piece(7, first=True), [], 1000.0 + archive.KEPT_SECONDS + 4.5)
    assert numbers(tmp_path) == [7], "the rest goes on with what is gone"
    monkeypatch.setattr(archive, "MOST_BYTES", 60)
    monkeypatch.setattr(kept_rows, "MOST_VMS", 2)
    for number in range(8, 20):
        kept.add(piece(number, first=True), [life(number, ended_at=5000.0)], 1000.0)
    assert numbers(tmp_path) == [18, 19]
    past = read_past(tmp_path, ALL)
    assert past is not None
    assert {one.id for one in past.lives if one.ended_at} == {"i-18", "i-19"}


def test_the_life_of_one_vm_is_found_with_why_it_ended(tmp_path: Path) -> None:
    assert read_life(tmp_path, "i-1") is None
    kept = filled(tmp_path)
    ended = Life("i-1", "default", "small", 1001.0, 1100.0, 2000.0, "idle for 4000 s")
    kept.add(None, [ended], 1000.0)
    assert read_life(tmp_path, "i-1") == ended
    assert read_life(tmp_path, "i-77") is None
    with closing(sqlite3.connect(tmp_path / ARCHIVE)) as db:
        db.execute("UPDATE vms SET pool = 'x'")
        db.commit()
    assert read_life(tmp_path, "i-1") is None


def test_a_life_that_is_damaged_costs_itself_alone(tmp_path: Path) -> None:
    filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / ARCHIVE)) as db:
        db.execute("UPDATE vms SET pool = 'x' WHERE id = 'i-1'")
        db.commit()
    past = read_past(tmp_path, ALL)
    assert past is not None and "malformed" in past.damage
    assert [one.id for one in past.lives] == ["i-0", "i-2"]
    assert numbers(tmp_path) == [0, 1, 2]
