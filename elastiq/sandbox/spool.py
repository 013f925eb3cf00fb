"""The sandbox's batch system: a directory in which jobs and workers are files.

A job is `ID.json` and moves by rename: `queue/` to `running/WORKER/` to `done/`; in `held/` it waits for people. What
ran on a worker that died goes back to `queue/`. A job may need what not every worker offers: `runs_on` has the rule.

A worker (`python -m elastiq.sandbox.worker`) keeps `workers/NAME.json`: who it is, what it has, and for how long it has
been idle by its own clock. It holds a lock on `workers/NAME.alive`, which its jobs inherit: the kernel lets go of it
when the last of these processes is gone, so that nothing is called dead while something of it runs. Whoever removes its
file orders it to leave.

A mark in `closed/`, by instance id or else name, keeps jobs from starting on a worker, also on one that is yet to
join. `serial` holds the number of the last job.

Jobs are started, and workers join and are closed, only by those who hold the one lock, `lock`: what they have looked at
stays so until they have acted. Every file is written beside its place and renamed, so that a reader always sees it
whole.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, TypeVar

from elastiq.clock import Clock
from elastiq.errors import BatchError
from elastiq.state.records import from_dict

LOCK_TIMEOUT_SECONDS = 30.0
"""The lock is held for milliseconds, or seconds where processor or disk are busy; whoever holds it longer is stopped or
stuck."""

FOLDERS = ("queue", "held", "running", "done", "workers", "closed")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

MOST_OFFERS = 20
"""So many things a job may need, and a worker offer."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A job as its file tells it."""

    id: str
    command: list[str]
    cpus: int = 1
    memory_mb: int | None = None
    """None: it asks for none."""
    needs: list[str] = field(default_factory=list)
    """Names of what a worker has to offer, to run it."""
    whole: bool = False
    """It has its worker for itself, however little it asks for."""
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
    memory_mb: int | None = None
    """None: not known; then no job is kept from it by its memory."""
    offers: list[str] = field(default_factory=list)
    idle_seconds: float = 0.0
    """By the worker's own clock at the time of writing: never more than the truth."""

    @property
    def key(self) -> str:
        """Name of its mark in `closed/`: known before the worker joins, if its VM is."""
        return self.instance_id or self.name


Record = TypeVar("Record", Job, WorkerRecord)


def parse(kind: type[Record], text: str, where: str) -> Record:
    """Return the job or worker that `text` describes. Raise BatchError that names `where` if it is damaged."""
    try:
        values = json.loads(text)
        record = from_dict(kind, values)
        if not values.keys() <= asdict(record).keys():
            raise ValueError("a field that cannot be")
        numbers: tuple[float, ...]
        if isinstance(record, Job):
            names, numbers = (record.id, record.after), (record.submitted_at, record.not_before)
        else:
            names, numbers = (record.name, record.instance_id), (record.idle_seconds,)
        # Files are named by these; the second may be empty.
        if not NAME.fullmatch(names[0]) or (names[1] and not NAME.fullmatch(names[1])):
            raise ValueError("a name that cannot be")
        least_mb = 0 if isinstance(record, Job) else 1
        if record.cpus < 1 or min(numbers) < 0 or (record.memory_mb is not None and record.memory_mb < least_mb):
            raise ValueError("a number that cannot be")
        if isinstance(record, Job) and not all(isinstance(word, str) for word in record.command):
            raise TypeError("a command is a list of strings")
        check_offers(record.needs if isinstance(record, Job) else record.offers)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BatchError(f"{where} is damaged ({str(error)[:100]}); mend or remove it") from error
    return record


def check_offers(names: Sequence[object]) -> None:
    """Raise ValueError if these are no names of what workers may offer."""
    if len(names) > MOST_OFFERS or not all(isinstance(name, str) and NAME.fullmatch(name) for name in names):
        raise ValueError("what a worker offers is named in letters, digits, points and dashes, at most 20 of them")


def runs_on(job: Job, record: WorkerRecord, beside: Sequence[Job]) -> bool:
    """Return whether `job` may start on a worker where the jobs `beside` run."""
    if beside and (job.whole or any(other.whole for other in beside)):
        return False
    used_mb = sum(other.memory_mb or 0 for other in beside)
    return (
        set(job.needs) <= set(record.offers)
        and job.cpus <= record.cpus - sum(other.cpus for other in beside)
        and (not job.memory_mb or record.memory_mb is None or job.memory_mb <= record.memory_mb - used_mb)
    )


class Spool:
    """The batch system: a directory, and what may be done with it. Every method raises BatchError alone."""

    def __init__(self, directory: Path, clock: Clock | None = None) -> None:
        self.directory = directory
        self._clock = clock or Clock()
        self._said: set[str] = set()
        """What was logged of jobs that cannot be read: once each."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it, or no such directory. Raise BatchError if that cannot be seen."""
        try:
            return not self.directory.exists() or not any(self.directory.iterdir())
        except OSError as error:
            raise BatchError(f"cannot read the sandbox's spool directory: {error}") from error

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
        return [self._job(path, text) for path, text in self._texts(folder)]

    def _texts(self, folder: str) -> Iterator[tuple[Path, bytes]]:
        for path in self.files(folder):
            try:
                yield path, path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise BatchError(f"cannot read {path}: {error}") from error

    @staticmethod
    def _job(path: Path, text: bytes) -> Job:
        try:
            return parse(Job, text.decode(), str(path))
        except UnicodeDecodeError as error:
            raise BatchError(f"{path} is damaged ({error.reason}); mend or remove it") from error

    def _readable(self, folder: str) -> Iterator[Job]:
        """Yield the jobs in `folder`, oldest first, but for those that are damaged: each costs itself alone."""
        for path, text in self._texts(folder):
            try:
                yield self._job(path, text)
            except BatchError as error:
                if str(error) not in self._said:
                    log.warning("a job is left out: %s", error)
                    self._said.add(str(error))

    def due(self) -> list[Job]:
        """Return the queued jobs that could start now, oldest first; those that are damaged are left out."""
        now = self._clock.now()
        return [job for job in self._readable("queue") if job.not_before <= now and not self.awaits(job)]

    def awaits(self, job: Job) -> bool:
        """Return whether `job` waits for another one that is not done."""
        return bool(job.after) and not (self.directory / "done" / f"{job.after}.json").exists()

    def find(self, id_: str) -> tuple[str, Job] | None:
        """Return in which folder a job is, and the job; None if there is none. The caller holds the lock."""
        if not NAME.fullmatch(id_):
            return None
        running = [f"running/{folder.name}" for folder in (self.directory / "running").iterdir()]
        for folder in ("queue", "held", *running, "done"):
            path = self.directory / folder / f"{id_}.json"
            if path.exists():
                return folder, self._job(path, path.read_bytes())
        return None

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
