"""A batch plugin for tests of the process: no jobs, no workers; told by files in STANDIN_DIRECTORY to misbehave."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from elastiq.config import Settings
from elastiq.errors import BatchError
from elastiq.model import Demand, Worker
from elastiq.plugins import Closing


class StandIn:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def demand(self) -> tuple[Demand, ...]:
        if (self.directory / "hang").exists():
            (self.directory / "hanging").touch()
            threading.Event().wait()
        if (self.directory / "fail").exists():
            raise BatchError((self.directory / "fail").read_text())
        return ()

    def workers(self) -> tuple[Worker, ...]:
        return ()

    def close(self, worker: Worker) -> Closing:
        return Closing.BUSY

    def reopen(self, worker: Worker) -> None:
        pass

    def forget(self, worker: Worker) -> None:
        pass

    def check(self) -> str:
        return f"stand-in, NOTIFY_SOCKET {'set' if 'NOTIFY_SOCKET' in os.environ else 'not set'}"


def create(settings: Settings) -> StandIn:
    return StandIn(Path(os.environ["STANDIN_DIRECTORY"]))
