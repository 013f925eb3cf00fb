"""A worker of the sandbox's batch system: `python -m elastiq.sandbox.worker --spool DIR --name NAME`.

It runs jobs until SIGTERM (then it finishes those that run and leaves) or until the batch system forgets it.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO

from elastiq.clock import Clock
from elastiq.errors import BatchError
from elastiq.sandbox.spool import Job, Spool, WorkerRecord, check_offers, open_lock, runs_on, try_lock, write_file


class SandboxWorker:
    """One machine of the batch system: starts what fits, one process a job, and tells how long it has been idle."""

    def __init__(self, spool: Spool, record: WorkerRecord, clock: Clock, look_every_s: float = 0.25) -> None:
        self._spool = spool
        self._record = record
        self._clock = clock
        self._look_every_s = look_every_s
        self._path = spool.directory / "workers" / f"{record.name}.json"
        self._running_folder = f"running/{record.name}"
        self._running: list[tuple[Job, subprocess.Popen[bytes]]] = []
        self._idle_since = clock.now()
        self._alive: IO[str] | None = None
        self.leaving = False

    def run(self) -> None:
        """Join, run jobs, leave. Raise BatchError if the spool cannot be used or the name is taken."""
        self._join()
        while not self._is_over():
            self._clock.sleep(self._look_every_s)
            try:
                with self._spool.locked():
                    self._end_jobs()
                    if not self.leaving and self._path.exists():
                        self._start_jobs()
                        self._beat()
            except BatchError as error:
                # Whoever damaged the spool may mend it; a worker that left would give up the jobs that it runs.
                print(f"worker {self._record.name}: {error}", file=sys.stderr, flush=True)

    def _is_over(self) -> bool:
        return not self._running and (self.leaving or not self._path.exists())

    def _join(self) -> None:
        with self._spool.locked():
            self._alive = open_lock(self._path.with_suffix(".alive"))
            if not try_lock(self._alive.fileno()):
                raise BatchError(f"a worker named {self._record.name} is already there; choose another name")
            self._spool.records()  # what a dead worker of this name left behind goes back to the queue
            (self._spool.directory / self._running_folder).mkdir(mode=0o700, exist_ok=True)
            self._beat()

    def _beat(self) -> None:
        idle_seconds = 0.0 if self._running else self._clock.now() - self._idle_since
        record = replace(self._record, idle_seconds=idle_seconds)
        write_file(self._path, json.dumps(asdict(record)), durable=False)

    def _start_jobs(self) -> None:
        if self._spool.closed_mark(self._record.key).exists():
            return
        for job in self._spool.due():
            if runs_on(job, self._record, [running for running, _ in self._running]):
                self._start(replace(job, starts=job.starts + 1, worker=self._record.name))

    def _start(self, job: Job) -> None:
        self._spool.move(job, "queue", self._running_folder)
        self._spool.write(job, self._running_folder)
        assert self._alive is not None
        try:
            process = subprocess.Popen(job.command, stdin=subprocess.DEVNULL, pass_fds=[self._alive.fileno()])
        except (OSError, ValueError) as error:
            print(f"job {job.id}: cannot run {job.command[:1]}: {error}", file=sys.stderr, flush=True)
            self._end(job, 127)
        else:
            self._running.append((job, process))

    def _end_jobs(self) -> None:
        for job, process in list(self._running):
            exit_code = process.poll()
            if exit_code is not None:
                self._end(job, exit_code)
                self._running.remove((job, process))
                self._idle_since = self._clock.now()

    def _end(self, job: Job, exit_code: int) -> None:
        # The exit code first: should the power fail before the move, nobody runs the job a second time.
        self._spool.write(replace(job, exit_code=exit_code), self._running_folder)
        self._spool.move(job, self._running_folder, "done")


def positive(text: str) -> int:
    """Return the whole number from 1 that `text` is. Raise ValueError if it is none."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def offers(text: str) -> list[str]:
    """Return the names in `text`, with commas between them. Raise ValueError if they are none."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    check_offers(names)
    return names


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m elastiq.sandbox.worker", description="A worker of the sandbox.")
    parser.add_argument("--spool", type=Path, required=True, help="spool directory of the batch system")
    parser.add_argument("--name", required=True, help="name of this worker")
    parser.add_argument("--instance-id", default="", help="EC2 instance id of its VM")
    parser.add_argument("--address", default="", help="private IPv4 address of its VM")
    parser.add_argument("--cpus", type=positive, default=1)
    parser.add_argument("--memory-mb", type=positive, help="memory for jobs (default: not known, and no limit)")
    parser.add_argument(
        "--offers", type=offers, default=[], metavar="NAMES", help="what jobs may need, as in gpu,cvmfs"
    )
    parser.add_argument("--look-every-s", type=float, default=0.25, help="seconds between two looks at the queue")
    options = parser.parse_args(arguments)
    clock = Clock()
    machine = (options.instance_id, options.address)
    record = WorkerRecord(options.name, *machine, options.cpus, options.memory_mb, options.offers)
    worker = SandboxWorker(Spool(options.spool, clock), record, clock, options.look_every_s)

    def leave(*_: object) -> None:
        worker.leaving = True

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    clock.wake_on_signals()
    try:
        worker.run()
    except BatchError as error:
        print(f"worker {options.name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
