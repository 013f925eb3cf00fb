"""The embedded batch system, with real worker processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from elastiq.config import Settings
from elastiq.model import Worker
from elastiq.plugins import BatchSystem
from elastiq.plugins.sandbox import create
from elastiq.plugins.sections import SandboxOptions
from elastiq.sandbox.spool import Job, Spool

from .harness import Harness


class SandboxHarness(Harness):
    """A spool directory of its own."""

    settle_seconds = 0.2
    race_rounds = 60
    race_window_seconds = 0.03

    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="elastiq-contract-"))
        self._spool = Spool(self._directory / "spool")
        self._spool.create()
        self._may_end = self._directory / "may-end"
        self.batch = self.reconnect()

    def stop(self) -> None:
        for instance_id in list(self._processes):
            self.leave(instance_id)
        shutil.rmtree(self._directory)

    def reconnect(self) -> BatchSystem:
        return create(Settings(plugins=(SandboxOptions(spool_dir=self._spool.directory),)))

    def join(self, name: str, instance_id: str, address: str) -> None:
        command = [sys.executable, "-m", "elastiq.sandbox.worker", f"--spool={self._spool.directory}"]
        command += [f"--name={name}", f"--instance-id={instance_id}", f"--address={address}", "--look-every-s=0.01"]
        command += ["--memory-mb=1024", "--offers=cvmfs"]
        self._processes[instance_id] = subprocess.Popen(command, start_new_session=True)

    def leave(self, instance_id: str) -> None:
        process = self._processes.pop(instance_id)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def submit(self, seconds: float, *, held: bool = False, after: str = "") -> str:
        return self._spool.submit(Job("new", ["sleep", str(seconds)], after=after), held=held).id

    def submit_long(self) -> str:
        wait = f"until test -e {self._may_end}; do sleep 0.05; done"
        return self._spool.submit(Job("new", ["sh", "-c", wait])).id

    def submit_special(self, seconds: float, *, offered: bool) -> str:
        return self._spool.submit(Job("new", ["sleep", str(seconds)], needs=["cvmfs" if offered else "gpu"])).id

    def special_options(self) -> tuple[str, str]:
        return "cvmfs", "cvmfs"

    def submit_whole(self, seconds: float) -> str:
        return self._spool.submit(Job("new", ["sleep", str(seconds)], whole=True)).id

    def let_end(self, job: str) -> None:
        self._may_end.touch()

    def cancel(self, job: str) -> None:
        with self._spool.locked():
            (self._spool.directory / "queue" / f"{job}.json").unlink()

    def starts(self, job: str) -> int:
        return self._find(job).starts

    def is_done(self, job: str) -> bool:
        return self._find(job).exit_code is not None

    def close_by_hand(self, worker: Worker) -> None:
        self._spool.closed_mark(worker.instance_id or "").write_text("a new disk")

    def open_by_hand(self, worker: Worker) -> None:
        self._spool.closed_mark(worker.instance_id or "").unlink()

    def hide(self) -> None:
        (self._spool.directory / "lock").unlink(missing_ok=True)
        self._spool.directory.rename(self._directory / "hidden")

    def _find(self, job: str) -> Job:
        with self._spool.locked():
            running = [f"running/{folder.name}" for folder in (self._spool.directory / "running").iterdir()]
            for folder in ["queue", "held", "done", *running]:
                for found in self._spool.jobs(folder):
                    if found.id == job:
                        return found
        raise AssertionError(f"job {job} is lost")
