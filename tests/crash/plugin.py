"""The sandbox's batch system with a diary of the calls, which can be made to hang.

`SPOOL/calls` gets a line for each call: monotonic time and name. While there is a file `SPOOL/hang`, every call hangs
in the way that its text says: "silent" until the file is gone, "command" in a command that never ends and whose
children, one of them in a session of its own, keep its output open; the command's deadline is in the file as well.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from elastiq import command
from elastiq.config import Settings
from elastiq.plugins import METHODS
from elastiq.plugins.sandbox import SandboxBatch
from elastiq.plugins.sandbox import create as create_sandbox
from elastiq.plugins.sections import SandboxOptions

ENDLESS = 'echo $$ >>"$1"; setsid sh -c "echo \\$\\$ >>\'$1\'; exec sleep 3600" & sleep 3600 & exec sleep 3600'
"""A command whose own process and whose orphan write their process numbers down, for those who clean up."""


class Unreliable:
    """Every method of the plugin, after a line in the diary and perhaps a hang."""

    def __init__(self, batch: SandboxBatch, spool: Path) -> None:
        self._batch = batch
        self._spool = spool

    def __getattr__(self, name: str) -> Any:
        if name not in METHODS:
            raise AttributeError(name)

        def call(*arguments: Any) -> Any:
            with (self._spool / "calls").open("a") as diary:
                diary.write(f"{time.monotonic()} {name}\n")
            self._hang()
            return getattr(self._batch, name)(*arguments)

        return call

    def _hang(self) -> None:
        path = self._spool / "hang"
        if not path.exists():
            return
        way, seconds = path.read_text().split()
        if way == "command":
            command.run(["sh", "-c", ENDLESS, "hang", str(self._spool / "hung")], float(seconds))
        while path.exists():
            time.sleep(0.05)


def create(settings: Settings) -> Unreliable:
    """Return the plugin."""
    directory = settings.of(SandboxOptions).spool_dir
    assert directory is not None
    return Unreliable(create_sandbox(settings), directory)
