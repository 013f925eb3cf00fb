"""Who gets the lock of a state directory when several processes want it, or only look at it."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest

from elastiq.clock import Clock
from elastiq.process.pidfile import LOCK_FILE, PID_FILE, AlreadyRunningError, PidFile, find_daemon


class EventfulClock(Clock):
    """Its time passes only in `sleep`; after so many seconds something happens."""

    def __init__(self, after_seconds: float, event: Callable[[], object]) -> None:
        super().__init__()
        self.seconds = 0.0
        self._after_seconds, self._event = after_seconds, event

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        if self.seconds >= self._after_seconds:
            self._event()


@pytest.mark.parametrize("seconds", [0.5, 20.0])
def test_those_who_only_look_do_not_keep_a_daemon_from_starting(seconds: float, tmp_path: Path) -> None:
    with (tmp_path / LOCK_FILE).open("w") as looker:
        fcntl.flock(looker, fcntl.LOCK_SH)
        clock = EventfulClock(seconds, looker.close)
        with PidFile(tmp_path, clock):
            assert clock.seconds >= seconds


def test_another_daemon_does(tmp_path: Path) -> None:
    clock = EventfulClock(float("inf"), lambda: None)
    with PidFile(tmp_path, clock), pytest.raises(AlreadyRunningError), PidFile(tmp_path, clock):
        pass
    assert 0.5 <= clock.seconds <= 2, "after more than one look, but soon"


def test_what_is_no_text_in_the_pid_file_is_no_number(tmp_path: Path) -> None:
    with PidFile(tmp_path, Clock()):
        assert find_daemon(tmp_path)
        (tmp_path / PID_FILE).write_bytes(b"\xff\xfe\n")
        assert find_daemon(tmp_path) == 0
    assert find_daemon(tmp_path) is None
