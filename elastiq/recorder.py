"""Keeps what the daemon sees, for later questions: what waited, which workers were at work, when VMs came and went.

It comes after all that a pass does, and nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from elastiq.errors import StateError
from elastiq.memory import Memory, VmRecord
from elastiq.model import Demand, Worker
from elastiq.observer import Reading
from elastiq.ports import History
from elastiq.report.reporter import Reporter
from elastiq.state.archive import Life, Piece
from elastiq.state.looks import Kind, Pen, Queued, Use

WRITTEN_EVERY_SECONDS = 300.0
"""What came after the last time is lost with the process."""

WHOLE_EVERY_SECONDS = 3600.0
"""So often it is begun anew, that the old can be let go, and a damage ends."""

MOST_CHARACTERS = 2_000_000
"""If so much has come, it is written at once."""

TOPIC = "history"


class Recorder:
    """Takes note of every look, and writes that down once in a while."""

    def __init__(self, history: History | None, reporter: Reporter) -> None:
        self._history, self._reporter = history, reporter
        self._pen = Pen()
        self._begins_at: float | None = None
        """When what is written now was begun; None: it is to be begun."""
        self._written_to = self._until = 0.0
        self._is_first = True
        """Whether nothing was written since that beginning."""
        self._tried_at = 0.0
        """When it was written last, or could not be."""
        self._demand_at = self._workers_at = 0.0
        self._lives: dict[str, Life] | None = None
        """Of the VMs that there are, as they are kept; None: not read yet."""
        self._changed: dict[str, Life] = {}
        self._records: Mapping[str, VmRecord] = {}

    def note(self, reading: Reading, memory: Memory, now: float) -> None:
        """Take note of what was seen since the last time, and of the VMs that are remembered."""
        if self._history is None or (self._lives is None and not self._begin(self._history, now)):
            return
        self._note_lives(memory.vms, now)
        if self._begins_at is None or now - self._begins_at >= WHOLE_EVERY_SECONDS:
            self._write(now)
            self._begins_at = self._written_to = self._until = now
            self._is_first = True
            self._pen.begin(now)
        if reading.demand_at < reading.workers_at:
            self._note_queue(reading)
        if reading.workers_at != self._workers_at:
            self._workers_at = reading.workers_at
            self._pen.workers(
                reading.workers_at, None if reading.workers is None else uses(reading.workers, memory.vms)
            )
        self._note_queue(reading)
        self._until = now
        is_due = now - self._tried_at >= WRITTEN_EVERY_SECONDS and (self._pen.characters or self._changed)
        if is_due or self._pen.characters > MOST_CHARACTERS:
            self._write(now)

    def _note_queue(self, reading: Reading) -> None:
        if reading.demand_at != self._demand_at:
            self._demand_at = reading.demand_at
            self._pen.queue(reading.demand_at, None if reading.demand is None else kinds(reading.demand))

    def _begin(self, history: History, now: float) -> bool:
        """Read which VMs were there; return whether that could be done."""
        if 0 <= now - self._tried_at < WRITTEN_EVERY_SECONDS:
            return False
        self._tried_at = now
        try:
            self._lives = history.living(now)
        except StateError as error:
            self._fail(error)
        return self._lives is not None

    def _note_lives(self, records: Mapping[str, VmRecord], now: float) -> None:
        if records is self._records or self._lives is None:
            return
        for id_, record in records.items():
            if self._records.get(id_) is not record:
                ended_at, because = record.terminated_at, record.goes_because if record.terminated_at else ""
                life = Life(id_, record.pool, record.type, record.launched_at, record.joined_at, ended_at, because)
                if self._lives.get(id_) != life:
                    self._lives[id_] = self._changed[id_] = life
        for id_ in [id_ for id_ in self._lives if id_ not in records]:
            life = self._lives.pop(id_)
            if life.ended_at is None:
                self._changed[id_] = replace(life, ended_at=now)
        self._records = records

    def finish(self, now: float) -> None:
        """Write what is not written yet: the daemon ends."""
        if self._begins_at is not None:
            self._until = now
            self._write(now)

    def _write(self, now: float) -> None:
        self._tried_at = now
        if self._history is None or self._begins_at is None:
            return
        if self._until <= self._written_to and not self._changed:
            return
        piece = Piece(self._begins_at, self._written_to, self._until, self._is_first, self._pen.take())
        lives = list(self._changed.values())
        self._changed = {}
        try:
            self._history.add(piece, lives, now)
        except StateError as error:
            # What was to be kept is lost: to hold it until the disk has room would take room itself.
            self._begins_at = self._lives = None
            self._records = {}
            self._fail(error)
        else:
            self._is_first, self._written_to = False, self._until
            self._reporter.fine(TOPIC)

    def _fail(self, error: StateError) -> None:
        self._reporter.error(TOPIC, f"what is seen cannot be kept, and is missing later in simulate --history: {error}")


def kinds(demand: Sequence[Demand]) -> dict[Kind, Queued]:
    """Return how many jobs wait and run of each kind; what they want beyond sizes is left out, it may name people."""
    found: dict[Kind, Queued] = {}
    for group in demand:
        shape = group.shape
        memory_mb = 1 << max(0, shape.memory_mb - 1).bit_length() if shape.memory_mb else shape.memory_mb
        kind = Kind(shape.cpus, memory_mb, shape.gpus, group.vms_per_job, group.takes_whole_vms)
        waiting, running = found.get(kind, (0, 0))
        both = None if running is None or group.running is None else running + group.running
        found[kind] = Queued(waiting + group.jobs, both)
    return found


def uses(workers: Sequence[Worker], records: Mapping[str, VmRecord]) -> dict[str, Use]:
    """Return what is in use of each worker, by its VM, or its name where it does not say that."""
    own = {record.worker_name for record in records.values()}
    found = {}
    for worker in workers:
        capacity = worker.capacity.cpus
        cores = min(max(capacity - worker.free.cpus, 1), max(capacity, 1)) if worker.jobs else 0
        is_own = worker.instance_id in records or worker.name in own
        found[worker.instance_id or worker.name] = Use(cores, worker.jobs, capacity, is_own)
    return found
