"""A small batch system in one directory, for trying elastiq out, for its tests, and as the plugin to copy from.

Jobs are JSON files that move by rename: `queue/` to `running/WORKER/` to `done/`, or stay in `held/`. Each worker keeps
`workers/NAME.json` (who it is, and for how long it has been idle by its own clock) and holds a lock on
`workers/NAME.alive`, which its jobs inherit: the kernel lets go of it when the last of these processes is gone.
Jobs start, and workers join and close, only under the spool's one lock. That makes `close` atomic.

`Spool` is the batch system, `SandboxBatch` the plugin proper. The workers are `python -m elastiq.sandbox.worker`.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

from elastiq.clock import Clock
from elastiq.errors import BatchError, ConfigError
from elastiq.model import Demand, Shape, Worker
from elastiq.plugins import Closing

if TYPE_CHECKING:
    from elastiq.config import Settings

LOCK_TIMEOUT_SECONDS = 30.0
"""The lock is held for milliseconds, or seconds where processor or disk are busy; whoever holds it longer is stopped or
stuck."""
FOLDERS = ("queue", "held", "running", "done", "workers", "closed")
LARGEST_NUMBER = 10**15
"""No time or size comes near it."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Job:
    """A job as its file tells it."""

    id: str
    command: list[str]
    cpus: int = 1
    memory_mb: int = 0
    submitted_at: float = 0.0
    not_before: float = 0.0
    after: str = ""
    """Id of the job that has to be done first; empty: none."""
    starts: int = 0
    """How often it has been started; more than once means that a worker died under it."""
    worker: str = ""
    exit_code: int | None = None


@dataclass(frozen=True)
class WorkerRecord:
    """A worker as its own file tells it."""

    name: str
    instance_id: str = ""
    address: str = ""
    cpus: int = 1
    memory_mb: int = 0
    idle_seconds: float = 0.0
    """By the worker's own clock at the time of writing: never more than the truth."""

    @property
    def key(self) -> str:
        """Name of its mark in `closed/`: known before the worker joins, if its VM is."""
        return self.instance_id or self.name


Record = TypeVar("Record", Job, WorkerRecord)
JSON_TYPES = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "int | None": (int, type(None)),
    "list[str]": (list,),
}


def parse(kind: type[Record], text: str, where: str) -> Record:
    """Return the job or worker that `text` describes. Raise BatchError that names `where` if it is damaged."""
    try:
        record = kind(**json.loads(text, parse_constant=int))
        for field in fields(kind):
            if type(getattr(record, field.name)) not in JSON_TYPES[str(field.type)]:
                raise TypeError(f"{field.name} is {getattr(record, field.name)!r}")
        numbers: tuple[float, ...]
        if isinstance(record, Job):
            names, numbers = (record.id, record.after), (record.memory_mb, record.submitted_at, record.not_before)
        else:
            names, numbers = (record.name, record.instance_id), (record.memory_mb, record.idle_seconds)
        # Files are named by these; the second may be empty.
        if not NAME.fullmatch(names[0]) or (names[1] and not NAME.fullmatch(names[1])):
            raise ValueError("a name that cannot be")
        if record.cpus < 1 or not all(0 <= number < LARGEST_NUMBER for number in numbers):
            raise ValueError("a number that cannot be")
        if isinstance(record, Job) and not all(isinstance(word, str) for word in record.command):
            raise TypeError("a command is a list of strings")
    except (ValueError, TypeError, RecursionError) as error:
        raise BatchError(f"{where} is damaged ({str(error)[:100]}); mend or remove it") from error
    return record


class Spool:
    """The batch system: a directory, and what may be done with it. Every method raises BatchError alone."""

    def __init__(self, directory: Path, clock: Clock | None = None) -> None:
        self.directory = directory
        self._clock = clock or Clock()

    def create(self) -> None:
        """Make the directories that are missing."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in FOLDERS:
                (self.directory / folder).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise BatchError(f"cannot make the sandbox's spool directory {self.directory}: {error}") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the spool's lock. Raise BatchError if it cannot be had, or if a file cannot be used meanwhile."""
        try:
            with open_lock(self.directory / "lock") as lock:
                deadline = self._clock.now() + LOCK_TIMEOUT_SECONDS
                while not try_lock(lock.fileno()):
                    if self._clock.now() > deadline:
                        raise BatchError(f"the lock {self.directory}/lock is stuck: is a worker stopped?")
                    self._clock.sleep(0.01)
                yield
        except (OSError, UnicodeDecodeError) as error:
            raise BatchError(f"cannot use the sandbox's spool directory {self.directory}: {error}") from error

    def submit(self, job: Job, held: bool = False) -> Job:
        """Put `job` in the queue under the next free number, and return it."""
        with self.locked():
            serial = self.directory / "serial"
            last = serial.read_text() if serial.exists() else "0"
            if not re.fullmatch("[0-9]{1,9}", last):
                raise BatchError(f"{serial} is damaged; write the number of the last job into it")
            job = replace(job, id=f"{int(last) + 1:06d}", submitted_at=self._clock.now())
            write_file(serial, str(int(last) + 1))
            self.write(job, "held" if held else "queue")
        return job

    def write(self, job: Job, folder: str) -> None:
        """Write `job` into `folder`, whole or not at all."""
        write_file(self.directory / folder / f"{job.id}.json", json.dumps(asdict(job)))

    def files(self, folder: str) -> list[Path]:
        """Return the JSON files in `folder` by name."""
        try:
            return sorted(path for path in (self.directory / folder).iterdir() if path.suffix == ".json")
        except OSError as error:
            raise BatchError(f"cannot read the sandbox's spool directory: {error}") from error

    def jobs(self, folder: str) -> list[Job]:
        """Return the jobs in `folder`, oldest first. One that is moved on while it is read is left out."""
        found = []
        for path in self.files(folder):
            try:
                found.append(parse(Job, path.read_text(), str(path)))
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError) as error:
                raise BatchError(f"cannot read {path}: {error}") from error
        return found

    def due(self) -> list[Job]:
        """Return the queued jobs that could start now, oldest first."""
        now = self._clock.now()
        done = self.directory / "done"
        return [
            job
            for job in self.jobs("queue")
            if job.not_before <= now and (not job.after or (done / f"{job.after}.json").exists())
        ]

    def records(self) -> list[tuple[WorkerRecord, list[Job]]]:
        """Return each living worker with the jobs that run there; what ran on a dead one goes back to the queue.

        The caller holds the lock.
        """
        living = []
        for path in self.files("workers"):
            record = parse(WorkerRecord, path.read_text(), str(path))
            if self.is_alive(record.name):
                living.append((record, self.jobs(f"running/{record.name}")))
        for folder in (self.directory / "running").iterdir():
            if not self.is_alive(folder.name):
                for job in self.jobs(f"running/{folder.name}"):
                    self.move(job, f"running/{folder.name}", "queue" if job.exit_code is None else "done")
        return living

    def move(self, job: Job, source: str, target: str) -> None:
        """Move the file of `job`. The caller holds the lock."""
        name = f"{job.id}.json"
        (self.directory / source / name).rename(self.directory / target / name)

    def is_alive(self, name: str) -> bool:
        """Return whether the worker or a job of it still lives. The caller holds the spool's lock."""
        path = self.directory / "workers" / f"{name}.alive"
        if not path.exists():
            return False
        with open_lock(path) as alive:
            return not try_lock(alive.fileno())

    def closed_mark(self, key: str) -> Path:
        """Return the file that, while it is there, keeps jobs from starting on a worker.

        Whoever closes it by hand writes the reason into it; elastiq's own are empty.
        """
        return self.directory / "closed" / key

    def closed_by_hand(self, key: str) -> bool:
        """Return whether the mark is somebody else's than elastiq's."""
        mark = self.closed_mark(key)
        return mark.exists() and mark.stat().st_size > 0


class SandboxBatch:
    """The plugin: what elastiq asks, answered from the spool. Each method's contract is in `BatchSystem`."""

    def __init__(self, spool: Spool, clock: Clock) -> None:
        self._spool = spool
        self._clock = clock

    def demand(self) -> tuple[Demand, ...]:
        """Return the jobs that could start now, grouped by shape."""
        with self._spool.locked():
            self._spool.records()
        now = self._clock.now()
        waits: dict[Shape, list[float]] = {}
        for job in self._spool.due():
            waits.setdefault(Shape(job.cpus, job.memory_mb), []).append(max(0.0, now - job.submitted_at))
        return tuple(Demand(shape, len(seconds), max(seconds)) for shape, seconds in waits.items())

    def workers(self) -> tuple[Worker, ...]:
        """Return the living workers."""
        with self._spool.locked():
            return tuple(self._worker(record, jobs) for record, jobs in self._spool.records())

    def close(self, worker: Worker) -> Closing:
        """Close `worker` if it runs no job; one that has not joined is closed for the time when it does."""
        with self._spool.locked():
            found = [(record, jobs) for record, jobs in self._spool.records() if is_same(record, worker)]
            if any(jobs for _, jobs in found):
                return Closing.BUSY
            self._leave_to_others(found)
            for key in {record.key for record, _ in found} or {worker.instance_id or worker.name} - {""}:
                self._spool.closed_mark(key).touch(mode=0o600)
        return Closing.CLOSED

    def reopen(self, worker: Worker) -> None:
        """Take the mark of `close` away."""
        with self._spool.locked():
            found = [(record, jobs) for record, jobs in self._spool.records() if is_same(record, worker)]
            self._leave_to_others(found)
            for key in {*(record.key for record, _ in found), worker.instance_id or worker.name} - {""}:
                self._spool.closed_mark(key).unlink(missing_ok=True)

    def forget(self, worker: Worker) -> None:
        """Strike `worker` off the list; if it still lives it takes that as an order to leave.

        The mark of a VM that has never joined stays, in case that it joins late.
        """
        with self._spool.locked():
            for record, jobs in self._spool.records():
                if is_same(record, worker) and jobs:
                    raise BatchError(f"worker {record.name} still runs jobs and cannot be forgotten")
            for path in self._spool.files("workers"):
                record = parse(WorkerRecord, path.read_text(), str(path))
                if is_same(record, worker):
                    path.unlink()
                    if not self._spool.is_alive(record.name):
                        self._spool.closed_mark(record.key).unlink(missing_ok=True)

    def check(self) -> str:
        """Return how many workers and jobs there are."""
        return (
            f"sandbox in {self._spool.directory}: {len(self.workers())} workers, {len(self._spool.due())} jobs waiting"
        )

    def _leave_to_others(self, found: list[tuple[WorkerRecord, list[Job]]]) -> None:
        for record, _ in found:
            if self._spool.closed_by_hand(record.key):
                raise BatchError(f"worker {record.name} was closed by hand and is left so")

    def _worker(self, record: WorkerRecord, jobs: list[Job]) -> Worker:
        free_memory_mb = record.memory_mb - sum(job.memory_mb for job in jobs)
        return Worker(
            name=record.name,
            instance_id=record.instance_id or None,
            address=record.address or None,
            capacity=Shape(record.cpus, record.memory_mb),
            free=Shape(record.cpus - sum(job.cpus for job in jobs), max(0, free_memory_mb)),
            jobs=len(jobs),
            idle_seconds=None if jobs else record.idle_seconds,
            closed=self._spool.closed_mark(record.key).exists(),
            closed_by_other=self._spool.closed_by_hand(record.key),
        )


def create(settings: Settings) -> SandboxBatch:
    """Return the plugin for `settings`. Raise ConfigError if they name no spool directory."""
    if settings.sandbox_spool_dir is None:
        raise ConfigError(["[sandbox] spool_dir is missing: give the directory that the workers use"])
    clock = Clock()
    return SandboxBatch(Spool(settings.sandbox_spool_dir, clock), clock)


def is_same(record: WorkerRecord, worker: Worker) -> bool:
    """Return whether both mean the same machine: by instance id if both have one, else by name, else by address."""
    if record.instance_id and worker.instance_id:
        return record.instance_id == worker.instance_id
    if worker.name:
        return record.name == worker.name
    return bool(worker.address) and record.address == worker.address


def private(name: str, flags: int) -> int:
    """Open a file that its owner alone may read and that no command inherits."""
    return os.open(name, flags | os.O_CLOEXEC, 0o600)


def open_lock(path: Path) -> IO[str]:
    """Open the lock file at `path`, made if it is missing; closing it gives the lock back."""
    return open(path, "a", opener=private)


def try_lock(descriptor: int) -> bool:
    """Take the lock on an open file, if nobody else has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_file(path: Path, text: str, durable: bool = True) -> None:
    """Put `text` at `path` so that a reader sees all of it or nothing; if `durable`, also after a power failure."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w", opener=private) as file:
        file.write(text)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    temporary.rename(path)
