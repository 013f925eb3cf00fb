"""Stopping the daemon from outside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from elastiq import cli, control
from elastiq.process.pidfile import find_daemon

STUBBORN = """
import signal, sys
from pathlib import Path
from elastiq.clock import Clock
from elastiq.process.pidfile import PidFile
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with PidFile(Path(sys.argv[1]), Clock()):
    print("here", flush=True)
    signal.pause()
"""


def test_stop_kills_what_does_not_listen_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(control, "STOP_SECONDS", 0.2)
    monkeypatch.setattr(control, "KILL_SECONDS", 60.0)
    with subprocess.Popen([sys.executable, "-c", STUBBORN, tmp_path], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert find_daemon(tmp_path) == process.pid
        code = cli.main(["stop", f"--config={tmp_path / 'absent'}", f"--state-dir={tmp_path}"])
        assert code == 0
        assert process.wait() == -9
    assert "is killed now" in capsys.readouterr().err


def test_stop_of_what_has_ended_since_it_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    found = iter([process.pid])
    monkeypatch.setattr(control, "find_daemon", lambda _: next(found, None))
    assert cli.main(["stop", f"--config={tmp_path / 'absent'}", f"--state-dir={tmp_path}"]) == 0
    assert capsys.readouterr().out == f"elastiq has stopped (pid {process.pid})\n"


SLOW_TO_LEAVE = """
import signal, sys, time
from pathlib import Path
from elastiq.clock import Clock
from elastiq.process.pidfile import PidFile
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
with PidFile(Path(sys.argv[1]), Clock()):
    print("here", flush=True)
    signal.sigwait([signal.SIGTERM])
time.sleep(2)
"""


def test_stop_waits_for_the_end_of_the_process(tmp_path: Path) -> None:
    """Whoever removes its user next wants it gone; what is left of it for its parent is none."""
    with subprocess.Popen([sys.executable, "-c", SLOW_TO_LEAVE, tmp_path], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert cli.main(["stop", f"--config={tmp_path / 'absent'}", f"--state-dir={tmp_path}"]) == 0
        assert process.poll() == 0
