"""The plugin that docs/plugins.md shows, on an imitation of its batch system."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from elastiq.config import Settings
from elastiq.model import Worker
from elastiq.plugins import BatchSystem

from .harness import Harness

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
IMITATION = Path(__file__).with_name("ants.py")


def example() -> str:
    """Return the plugin as the page has it."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return str(code)


def module() -> ModuleType:
    """Return it as a module."""
    # Where dataclasses look for it.
    made = sys.modules["elastiq_ants"] = ModuleType("elastiq_ants")
    exec(compile(example(), str(PAGE), "exec"), made.__dict__)
    return made


class ExampleHarness(Harness):
    """ANTS: a file, and a command in PATH."""

    settle_seconds = 0.2
    race_window_seconds = 0.05

    def start(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="elastiq-ants-"))
        self._state = self._directory / "state"
        self._state.write_text(json.dumps({"at": time.time(), "hosts": [], "jobs": []}))
        command = self._directory / "ants"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {IMITATION} {self._state} "$@"\n')
        command.chmod(0o755)
        self._patch = pytest.MonkeyPatch()
        self._patch.setenv("PATH", f"{self._directory}:{os.environ['PATH']}")
        self.batch = self.reconnect()

    def stop(self) -> None:
        self._patch.undo()
        shutil.rmtree(self._directory)

    def reconnect(self) -> BatchSystem:
        batch: BatchSystem = module().create(Settings())
        return batch

    def join(self, name: str, instance_id: str, address: str) -> None:
        self._ants("join", name, instance_id, address)

    def leave(self, instance_id: str) -> None:
        self._ants("leave", instance_id)

    def submit(self, seconds: float, *, held: bool = False, after: str = "") -> str:
        return self._ants("submit", str(seconds), "held" if held else "", after)

    def submit_special(self, seconds: float, *, offered: bool) -> str:
        return self._ants("submit", str(seconds), "", "", "ssd", *([] if offered else ["gpu"]))

    def submit_long(self) -> str:
        return self.submit(1e6)

    def let_end(self, job: str) -> None:
        self._ants("end", job)

    def cancel(self, job: str) -> None:
        self._ants("cancel", job)

    def starts(self, job: str) -> int:
        return int(self._job(job)["starts"])

    def is_done(self, job: str) -> bool:
        return bool(self._job(job)["state"] == "done")

    def close_by_hand(self, worker: Worker) -> None:
        self._ants("close", "--reason", "a new disk", worker.name)

    def open_by_hand(self, worker: Worker) -> None:
        self._ants("open", worker.name)

    def hide(self) -> None:
        self._state.unlink()

    def _job(self, job: str) -> Any:
        return json.loads(self._ants("job", job))

    def _ants(self, *arguments: str) -> str:
        return subprocess.run(
            [self._directory / "ants", *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()
