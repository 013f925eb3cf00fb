"""Whether processes have ended."""

from __future__ import annotations

import time
from pathlib import Path

PATIENCE_SECONDS = 120.0


def gone(pid: int) -> bool:
    """Return whether there is no such process, or one that only waits to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


def wait_until_gone(pid: int) -> bool:
    """Return True as soon as it is gone, and False if that takes too long."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not gone(pid):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def pids_in(path: Path) -> list[int]:
    """Wait for a line of them in a file."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < until, f"nothing in {path}"
        time.sleep(0.02)
    return [int(word) for word in path.read_text().split()]
