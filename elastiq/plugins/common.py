"""What all plugins do alike beside parsing: keep a deadline, ask in a child process, and know a machine again."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from elastiq.clock import Clock
from elastiq.command import run
from elastiq.errors import BatchError
from elastiq.model import Worker


class Deadline:
    """The end of one call of a plugin, shared by all the commands that it runs."""

    def __init__(self, clock: Clock, seconds: float, who: str) -> None:
        self._clock = clock
        self._seconds = seconds
        self._end = clock.now() + seconds
        self._who = who

    def remaining(self) -> float:
        """Return the seconds left. Raise BatchError if there are none."""
        seconds = self._end - self._clock.now()
        if seconds <= 0:
            raise BatchError(f"{self._who} gave no complete answer within {self._seconds:g} s")
        return seconds


def run_module(module: str, arguments: Sequence[str], timeout_seconds: float) -> str:
    """Run a module of elastiq's as a program of its own, and return what it prints; raise BatchError as `run` does.

    For what must not run in the daemon: libraries that may hang or crash, and answers that take much memory.
    """
    # -m needs to find this very package, wherever the daemon was started from.
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    environment = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return run([sys.executable, "-m", module, *arguments], timeout_seconds, environment=environment)


def is_same(one: Worker, other: Worker) -> bool:
    """Return whether both are the same VM: by instance id if both have one, else by address, else by name.

    A name or address may be another VM's next; an instance id never is.
    """
    if one.instance_id and other.instance_id:
        return one.instance_id == other.instance_id
    if one.address and other.address:
        return one.address == other.address
    return bool(one.name) and one.name.lower() == other.name.lower()


def label(worker: Worker) -> str:
    """Return what to call `worker` in a message."""
    return f"worker {worker.name or worker.instance_id or worker.address or 'without a name'}"
