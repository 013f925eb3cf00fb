"""What the contract suite needs of a batch system to try its plugin, and the sandbox's answer to it.

To plug another system in: write a subclass of Harness and add it to HARNESSES in test_batch_contract.py. A system that
is not there says so by `pytest.skip(reason)` in its `start`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from elastiq.config import Settings
from elastiq.model import Worker
from elastiq.plugins import BatchSystem
from elastiq.plugins.sandbox import Job, Spool, create


class Harness(ABC):
    """A live batch system that the suite has for itself, without workers and without jobs.

    Every method returns when the batch system has accepted it; what follows from it the suite waits for itself.
    """

    batch: BatchSystem
    patience_seconds: float = 10.0
    """A bound against hangs: how long this system may take until something shows."""
    settle_seconds: float = 1.0
    """How long the suite watches that something does NOT happen: some rounds of the system's own scheduler."""
    race_rounds: int = 20
    race_window_seconds: float = 1.0
    """A job is submitted at a random moment this long around a close."""

    @abstractmethod
    def start(self) -> None:
        """Start the system, or skip, and set `batch`."""

    @abstractmethod
    def stop(self) -> None:
        """End everything that was started."""

    @abstractmethod
    def join(self, name: str, instance_id: str, address: str) -> None:
        """Start a worker on a machine of this id and address that takes one job at a time."""

    @abstractmethod
    def leave(self, name: str) -> None:
        """Pull the plug of a worker's machine."""

    @abstractmethod
    def submit(self, seconds: float, held: bool = False) -> str:
        """Submit a job of one CPU that takes `seconds`, and return its id."""

    @abstractmethod
    def cancel(self, job: str) -> None:
        """Remove a job that waits."""

    @abstractmethod
    def starts(self, job: str) -> int:
        """Return how often `job` has been started."""

    @abstractmethod
    def is_done(self, job: str) -> bool:
        """Return whether `job` has run to its end."""

    @abstractmethod
    def hide(self) -> None:
        """Make the batch system unreachable."""

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until `condition()` holds; fail the test, naming `what`, if it takes too long."""
        deadline = time.monotonic() + self.patience_seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {self.patience_seconds:g} s in vain: {what}"
            time.sleep(0.02)

    def waiting(self) -> int:
        """Return how many jobs wait as the plugin tells it."""
        return sum(demand.jobs for demand in self.batch.demand())

    def worker(self, instance_id: str) -> Worker:
        """Return the worker of a VM once the plugin lists it."""
        found: list[Worker] = []

        def is_listed() -> bool:
            found[:] = [worker for worker in self.batch.workers() if worker.instance_id == instance_id]
            return bool(found)

        self.wait_until(is_listed, f"worker of {instance_id} to join")
        assert len(found) == 1
        return found[0]


class SandboxHarness(Harness):
    """The embedded batch system with real worker processes."""

    settle_seconds = 0.2
    race_rounds = 60
    race_window_seconds = 0.03

    def start(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="elastiq-contract-"))
        self._spool = Spool(self._directory / "spool")
        self._spool.create()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.batch = create(Settings(sandbox_spool_dir=self._spool.directory))

    def stop(self) -> None:
        for name in list(self._processes):
            self.leave(name)
        shutil.rmtree(self._directory)

    def join(self, name: str, instance_id: str, address: str) -> None:
        command = [sys.executable, "-m", "elastiq.sandbox.worker", f"--spool={self._spool.directory}"]
        command += [f"--name={name}", f"--instance-id={instance_id}", f"--address={address}", "--look-every-s=0.01"]
        self._processes[name] = subprocess.Popen(command, start_new_session=True)

    def leave(self, name: str) -> None:
        process = self._processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def submit(self, seconds: float, held: bool = False) -> str:
        return self._spool.submit(Job("new", ["sleep", str(seconds)]), held=held).id

    def cancel(self, job: str) -> None:
        with self._spool.locked():
            (self._spool.directory / "queue" / f"{job}.json").unlink()

    def starts(self, job: str) -> int:
        return self._find(job).starts

    def is_done(self, job: str) -> bool:
        return self._find(job).exit_code is not None

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
