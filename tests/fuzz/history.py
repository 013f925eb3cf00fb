"""What the daemon has kept, and traces: files that may be damaged, cut, or of another."""

from __future__ import annotations

import fcntl
import gzip
import sqlite3
import zlib

from elastiq.errors import StateError
from elastiq.process.pidfile import LOCK_FILE, PID_FILE, find_daemon
from elastiq.sim.replay import traces
from elastiq.sim.replay.recorded import recorded
from elastiq.state.archive import ARCHIVE, Archive, Piece, read_past
from elastiq.state.past import read_events, read_first_launch, read_hours, read_life, read_lives, read_parted
from tests.fuzz.checks import NOW, Target, directory


def history_file(data: bytes) -> None:
    """A history of any content."""
    with directory() as place:
        (place / ARCHIVE).write_bytes(data)
        past = read_past(place, 86400.0)
        assert past is not None
        recorded(past)
        lives = read_lives(place, 0.0, NOW)
        assert lives.damage or lives.lives == () or data.startswith(b"SQLite format 3\0")
        read_parted(place, [(0.0, NOW)])
        read_first_launch(place, 0.0)
        read_life(place, "i-1")
        read_events(place, 0.0, NOW)
        read_hours(place, 0.0, NOW).gaps(0.0, NOW)
        archive = Archive(place)
        try:
            archive.living(NOW)
            archive.add(None, (), NOW)
        except StateError as error:
            assert str(error).isprintable()
        finally:
            archive.close()


def looks(data: bytes) -> None:
    """A sound history whose looks are any text, as they are or as what was compressed."""
    with directory() as place:
        archive = Archive(place)
        archive.add(Piece(NOW - 100, NOW - 100, NOW, True, ""), (), NOW)
        archive.close()
        database = sqlite3.connect(place / ARCHIVE)
        for number, lines in enumerate((zlib.compress(data), data), 10):
            row = (number, NOW - 100, NOW - 100, NOW, 1, lines)
            database.execute("INSERT INTO looks VALUES (?, ?, ?, ?, ?, ?)", row)
        database.commit()
        database.close()
        past = read_past(place, 86400.0)
        assert past is not None
        assert past.damage
        recorded(past)


def trace(data: bytes) -> None:
    """A recorded trace, also compressed."""
    with directory() as place:
        for content in (data, gzip.compress(data), b"\x1f\x8b" + data):
            traces.read.cache_clear()
            path = place / "trace.swf"
            path.write_bytes(content)
            try:
                jobs = traces.read(str(path))
            except ValueError as error:
                assert str(path) in str(error)
                continue
            assert all(job.seconds > 0 and job.processors > 0 and job.submitted_at >= 0 for job in jobs)


def pid_file(data: bytes) -> None:
    """A pid file of any content beside a lock that nobody holds, and one that is held."""
    with directory() as place:
        (place / PID_FILE).write_bytes(data)
        (place / LOCK_FILE).write_bytes(data)
        assert find_daemon(place) is None
        with (place / LOCK_FILE).open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                pid = find_daemon(place)
            except StateError as error:
                assert str(error).isprintable()
                return
        assert pid is not None
        assert pid >= 0


TARGETS: dict[str, Target] = {target.__name__: target for target in (history_file, looks, trace, pid_file)}


def _archive() -> bytes:
    with directory() as place:
        archive = Archive(place)
        archive.add(Piece(NOW - 100, NOW - 100, NOW, True, _LOOKS.decode()), (), NOW)
        archive.close()
        return (place / ARCHIVE).read_bytes()


_LOOKS = b'[0.0,null,0,1,[[1,null,0,1,0,5,null]]]\n[15.0,null,1,1,[[0,0,1,4,1,"ab"]]]\n'

SEEDS: dict[str, tuple[bytes, ...]] = {
    "history_file": (_archive(),),
    "looks": (_LOOKS, b"[1,2,0,1,null]\n"),
    "trace": (b"; Version: 2\n1 0 5 100 4 -1 -1 4 200 -1 1 1 1 1 1 -1 -1 -1\n",),
    "pid_file": (b"123\n", b"1"),
}
