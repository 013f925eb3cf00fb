"""Ctrl-C leaves nothing of the demonstration behind, even the moment that something starts."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rich", reason="the demonstration needs rich: pip install -e '.[sandbox]'")

from elastiq.clock import Clock
from elastiq.sandbox.demo import Demo
from elastiq.sandbox.hypervisor import Hypervisor
from elastiq.sandbox.screen import PlainScreen


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """What is started in these tests; Ctrl-C comes the moment it runs, before whoever starts it knows of it."""
    started: list[subprocess.Popen[bytes]] = []
    original = subprocess.Popen

    def popen(_command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        started.append(original(["sleep", "600"], **options))
        signal.raise_signal(signal.SIGINT)
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_ctrl_c_leaves_no_child_behind_that_has_just_started(
    interrupted: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    demo = Demo(tmp_path, PlainScreen(), Clock())
    with pytest.raises(KeyboardInterrupt), (tmp_path / "log").open("w") as log:
        demo._start(["anything"], log, log)
    demo.clean_up()
    assert [process.returncode for process in interrupted] == [-signal.SIGKILL]


def test_ctrl_c_leaves_no_vm_behind_that_has_just_booted(
    interrupted: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    class OneVm:
        def instances(self) -> list[tuple[str, str, str]]:
            return [("i-00000001", "10.0.0.1", "running")]

        def user_data(self, _id: str) -> bytes:
            return b""

    hypervisor = Hypervisor(OneVm(), tmp_path, Clock(), boot_seconds=(0.0,))  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        hypervisor.look()
    hypervisor.stop()
    assert [process.returncode for process in interrupted] == [-signal.SIGKILL]
