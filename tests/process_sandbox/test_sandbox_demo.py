"""The demonstration as a person starts it, with the real daemon: what it shows, checks, and leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

for needed in ("moto", "flask", "rich"):
    pytest.importorskip(needed, reason=f"the demonstration needs {needed}: pip install -e '.[sandbox]'")

DEMO = [sys.executable, "-m", "elastiq.sandbox"]
PATIENCE_SECONDS = 600
"""Longer than the demonstration's own bounds."""

SUMMARY = re.compile(
    r"24 jobs done, each started once; (\d+) VMs launched by (\d+) RunInstances, terminated by (\d+) "
    r"TerminateInstances, (\d+) at once \(max 5\); \d+ VM-seconds in \d+ s; nothing left behind"
)


def start(tmp_path: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def processes_of(directory: Path) -> list[int]:
    """Return the processes whose command line or environment names `directory`, this one left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(directory).encode() in text:
                found.append(int(entry.name))
    return found


def wait_for_daemon(tmp_path: Path) -> int:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        for pid in processes_of(tmp_path):
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if b"elastiq-real.py" in command:
                return pid
        assert time.monotonic() < deadline, "the daemon did not start"
        time.sleep(0.1)


@pytest.mark.slow
def test_the_cluster_grows_and_shrinks_and_nothing_is_left(tmp_path: Path) -> None:
    demo = start(tmp_path)
    output, _ = demo.communicate(timeout=PATIENCE_SECONDS)
    assert demo.returncode == 0, output
    summary = SUMMARY.fullmatch(output.splitlines()[-1])
    assert summary, output
    launched, launches, _terminations, most = map(int, summary.groups())
    assert launched > most == 5
    assert launches < launched
    assert "64 CPUs can never run" in output
    assert "1 job of 1 CPU (workers do not offer gpu) cannot run on VMs of elastiq's" in output
    assert "has not joined the batch system" in output
    assert "\x1b" not in output
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_and_removes_everything(tmp_path: Path) -> None:
    demo = start(tmp_path)
    wait_for_daemon(tmp_path)
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=PATIENCE_SECONDS)
    assert demo.returncode == 130, output
    assert output.splitlines()[-1] == "interrupted; everything is ended and removed"
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_dead_daemon_is_a_failure_that_names_the_logs(tmp_path: Path) -> None:
    demo = start(tmp_path)
    os.kill(wait_for_daemon(tmp_path), signal.SIGKILL)
    output, _ = demo.communicate(timeout=PATIENCE_SECONDS)
    assert demo.returncode == 1, output
    failure = re.fullmatch(
        r"the demonstration failed: the daemon ended with code -9.*; logs: (.*)", output.splitlines()[-1]
    )
    assert failure, output
    assert Path(failure.group(1)).is_dir()
    assert processes_of(tmp_path) == []
