"""The log: private, bounded, without secrets, and never in the way."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastiq.process import logs
from elastiq.redaction import Redactor
from tests.unit.leaks import LEAKS, leaked, redactor


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, raising = list(root.handlers), root.level, logging.raiseExceptions
    names = ("elastiq", *logs._FOREIGN_LOGGERS)
    levels = {name: logging.getLogger(name).level for name in names}
    root.handlers.clear()
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raising
    for name in names:
        logging.getLogger(name).setLevel(levels[name])


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def start(directory: Path, level: int = 0, redactor: Redactor | None = None) -> logging.Logger:
    logs.start(directory, level, redactor or Redactor())
    return logging.getLogger("elastiq.test")


def test_lines_have_local_time_with_zone(tmp_path: Path) -> None:
    start(tmp_path).info("hello")
    text = (tmp_path / "elastiq.log").read_text()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4} INFO hello\n", text)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_files_are_private_under_any_umask(tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if umask == 0o777 and os.geteuid() != 0:
        pytest.skip("under umask 777 only root can enter what it has made")
    monkeypatch.setattr(logs, "ROTATE_AT_BYTES", 300)
    before = os.umask(umask)
    try:
        log = start(tmp_path / "log")
        for number in range(20):
            log.info("line %d", number)
    finally:
        os.umask(before)
    files = sorted((tmp_path / "log").iterdir())
    assert len(files) > 2
    assert {mode(path) for path in files} == {0o600}
    assert mode(tmp_path / "log") == 0o700 & ~umask


def test_files_of_the_original_become_private(tmp_path: Path) -> None:
    for name in ("elastiq.log", "elastiq.log.1"):
        (tmp_path / name).write_text("old\n")
        (tmp_path / name).chmod(0o666)
    start(tmp_path)
    assert {mode(path) for path in tmp_path.iterdir()} == {0o600}
    assert (tmp_path / "elastiq.log").read_text() == "old\n"


def test_thirty_old_files_are_kept_and_none_is_longer_than_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (logs.ROTATE_AT_BYTES, logs.ROTATED_FILES) == (1_000_000, 30)
    monkeypatch.setattr(logs, "ROTATE_AT_BYTES", 1000)
    log = start(tmp_path)
    for number in range(2000):
        log.info("grüße %d", number)
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"elastiq.log", *(f"elastiq.log.{number}" for number in range(1, 31))}
    assert max(path.stat().st_size for path in tmp_path.iterdir()) <= 1000
    newest_first = [tmp_path / "elastiq.log", *(tmp_path / f"elastiq.log.{number}" for number in range(1, 31))]
    numbers = [int(line.split()[-1]) for path in reversed(newest_first) for line in path.read_text().splitlines()]
    assert numbers == list(range(numbers[0], 2000))


def test_a_record_longer_than_a_file_does_not_push_the_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "ROTATE_AT_BYTES", 100)
    start(tmp_path).info("x" * 500)
    assert [path.name for path in tmp_path.iterdir()] == ["elastiq.log"]


def test_a_full_disk_loses_lines_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = start(tmp_path)
    log.info("before")
    room = [5, 0, 0]
    real_write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if not room:
            return real_write(descriptor, data)
        bytes_left = room.pop(0)
        if not bytes_left:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(descriptor, data[:bytes_left])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for number in range(5):
            log.info("line %d", number)
    lines = (tmp_path / "elastiq.log").read_text().splitlines()
    assert [line.partition(" INFO ")[2] for line in lines] == ["before", "", "line 3", "line 4"]


def test_the_real_full_device(tmp_path: Path) -> None:
    (tmp_path / "elastiq.log").symlink_to("/dev/full")
    before = mode(Path("/dev/full"))
    handler = logs.RotatingLog(tmp_path)
    record = logging.LogRecord("elastiq", logging.INFO, "", 0, "lost", (), None)
    logging.raiseExceptions = False
    handler.handle(record)
    handler.close()
    assert mode(Path("/dev/full")) == before


def test_a_removed_directory_comes_back(tmp_path: Path) -> None:
    log = start(tmp_path / "log")
    shutil.rmtree(tmp_path / "log")
    log.info("again")
    assert "again" in (tmp_path / "log" / "elastiq.log").read_text()


def test_a_directory_that_can_not_come_back_is_no_trouble(tmp_path: Path) -> None:
    log = start(tmp_path / "log")
    shutil.rmtree(tmp_path / "log")
    (tmp_path / "log").write_text("in the way")
    log.info("lost")
    (tmp_path / "log").unlink()
    log.info("back")
    assert "back" in (tmp_path / "log" / "elastiq.log").read_text()


def test_a_log_moved_away_by_others_is_begun_anew(tmp_path: Path) -> None:
    log = start(tmp_path)
    log.info("one")
    (tmp_path / "elastiq.log").rename(tmp_path / "elsewhere")
    log.info("two")
    assert "two" in (tmp_path / "elastiq.log").read_text()
    assert "two" not in (tmp_path / "elsewhere").read_text()


def test_a_message_that_can_not_be_formatted_is_no_trouble(tmp_path: Path) -> None:
    log = start(tmp_path)
    log.info("%d jobs", "many")
    log.info("surrogate \udc80")
    assert "surrogate" in (tmp_path / "elastiq.log").read_text()


def test_a_log_directory_that_can_not_be_used_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("")
    with pytest.raises(OSError, match="log"):
        start(tmp_path / "log")


@pytest.mark.parametrize(
    ("level", "seen"),
    [(0, "info warning error"), (10, "debug info warning error"), (30, "warning error"), (40, "error")],
)
def test_the_log_level_counts(tmp_path: Path, level: int, seen: str) -> None:
    log = start(tmp_path, level)
    for word in ("debug", "info", "warning", "error"):
        getattr(log, word)(word)
    assert [line.split()[-1] for line in (tmp_path / "elastiq.log").read_text().splitlines()] == seen.split()


def test_requests_of_boto3_are_never_logged(tmp_path: Path) -> None:
    start(tmp_path, logging.DEBUG)
    for name in ("botocore.endpoint", "urllib3.connectionpool", "boto3", "some.library"):
        logging.getLogger(name).debug("Making request with UserData")
        logging.getLogger(name).info("Found credentials")
    assert (tmp_path / "elastiq.log").read_text() == ""


@pytest.mark.parametrize("text", LEAKS.values(), ids=LEAKS)
def test_no_secret_gets_through(tmp_path: Path, text: str) -> None:
    log = start(tmp_path, logging.DEBUG, redactor())
    log.info("a message: %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("an error")
    written = (tmp_path / "elastiq.log").read_text()
    assert written.count("(hidden)") >= 2 or "//proxy.example.org" in written
    assert not leaked(written)
