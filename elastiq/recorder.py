"""Keeps what the daemon sees and does, for later questions: what waited, which workers were at work, when VMs came and
went, what happened and why.

It comes after all that a pass does, and nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from elastiq.decisions import Outcome, Plan
from elastiq.errors import StateError
from elastiq.memory import Memory, VmRecord
from elastiq.model import Demand, Policy, Worker
from elastiq.observer import Reading
from elastiq.planning.departures import token_of
from elastiq.planning.offers import price_of
from elastiq.ports import History
from elastiq.report.events import Events
from elastiq.report.reporter import Reporter
from elastiq.state.archive import Piece
from elastiq.state.kept import Life
from elastiq.state.looks import Kind, Pen, Queued, Use
from elastiq.state.sums import Sums, moment
from elastiq.version import VERSION

WRITTEN_EVERY_SECONDS = 300.0
"""What came after the last time is lost with the process."""

LIVES_EVERY_SECONDS = 30.0
"""So often lives of VMs and events are written at most, of their own."""

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
        self._gone: dict[str, str] = {}
        """The tokens of how VMs have gone since the last note."""
        self._events, self._sums = Events(reporter.clean), Sums()
        self._added_at = 0.0
        self._is_started = False

    def outcomes(self, outcomes: Iterable[Outcome], now: float) -> None:
        """Take note of what became of actions."""
        if self._history is not None:
            self._events.outcomes(outcomes, now)

    def planned(self, made: Plan, outcomes: Iterable[Outcome], now: float) -> None:
        """Take note of what was decided, and of what became of it."""
        if self._history is None:
            return
        if not self._is_started:
            self._is_started = True
            self._events.process("started", f"elastiq {VERSION} was started", now)
        self._events.plan(made, now)
        self._events.outcomes(outcomes, now)
        for record in made.departed:
            self._gone[record.id] = token_of(record).value

    def note(self, reading: Reading, memory: Memory, policy: Policy, now: float) -> None:
        """Take note of what was seen since the last time, and of the VMs that are remembered."""
        if self._history is None or (self._lives is None and not self._begin(self._history, now)):
            return
        self._note_lives(memory.vms, policy, now)
        self._sums.look(moment(reading.demand, reading.workers, memory, now))
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
        is_due = now - self._tried_at >= WRITTEN_EVERY_SECONDS and (self._pen.characters or self._sums.is_any_vm)
        if is_due or self._pen.characters > MOST_CHARACTERS:
            self._write(now)
        elif (self._changed or self._events.is_any) and now - self._added_at >= LIVES_EVERY_SECONDS:
            self._add(None, now)

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

    def _note_lives(self, records: Mapping[str, VmRecord], policy: Policy, now: float) -> None:
        if records is self._records or self._lives is None:
            return
        for id_, record in records.items():
            if self._records.get(id_) is not record:
                before = self._lives.get(id_)
                life = life_of(record, before, policy)
                if before != life:
                    self._lives[id_] = self._changed[id_] = life
        for id_ in [id_ for id_ in self._lives if id_ not in records]:
            life, token = self._lives.pop(id_), self._gone.pop(id_, "")
            if life.ended_at is None:
                last = self._records.get(id_)
                token = token or (last.goes_cause if last is not None and last.doomed else "")
                self._changed[id_] = ended(life, now, token)
        self._gone.clear()
        self._records = records

    def finish(self, now: float) -> None:
        """Write what is not written yet: the daemon ends."""
        if self._begins_at is not None:
            self._events.process("stopped", "elastiq was stopped", now)
            self._sums.go_on(now)
            self._until = now
            self._write(now)

    def _write(self, now: float) -> None:
        """Write looks, and all else."""
        self._tried_at = now
        if self._begins_at is None:
            return
        if self._until <= self._written_to and not (self._changed or self._events.is_any):
            return
        piece = Piece(self._begins_at, self._written_to, self._until, self._is_first, self._pen.take())
        if self._add(piece, now):
            self._is_first, self._written_to = False, self._until

    def _add(self, piece: Piece | None, now: float) -> bool:
        """Have all kept that waits for it, and return whether it was."""
        if self._history is None:
            return False
        self._added_at = now
        lives, self._changed = list(self._changed.values()), {}
        try:
            self._history.add(piece, lives, now, self._events.take(), self._sums.take())
        except StateError as error:
            # What was to be kept is lost: to hold it until the disk has room would take room itself.
            self._begins_at = self._lives = None
            self._records = {}
            self._tried_at = now
            self._fail(error)
            return False
        self._reporter.fine(TOPIC)
        return True

    def _fail(self, error: StateError) -> None:
        self._reporter.error(
            TOPIC, f"what is seen cannot be kept, and is missing later in history, cost and simulate --history: {error}"
        )


def life_of(record: VmRecord, before: Life | None, policy: Policy) -> Life:
    """Return the life of a VM as it is remembered now, after what was kept of it before."""
    is_over = record.terminated_at is not None
    price = before.price if before is not None else None
    known = Life(
        record.id,
        record.pool,
        record.type,
        record.launched_at,
        record.joined_at,
        record.terminated_at,
        record.goes_because if is_over else "",
        record.market,
        record.zone,
        price_of(record, policy.pool(record.pool)) if price is None else price,
        (before and before.first_job_at) or record.work_from,
        token=record.goes_cause if is_over else "",
        worker=record.worker_name,
    )
    if before is not None and before.ended_at is not None and before.ended_at == record.terminated_at:
        return replace(known, idle_seconds=before.idle_seconds)
    seconds, since = _idle(record, before)
    life = replace(known, ended_at=None, idle_seconds=seconds, idle_since=since)
    return life if record.terminated_at is None else ended(life, record.terminated_at, known.token)


def _idle(record: VmRecord, before: Life | None) -> tuple[float | None, float | None]:
    """Return for how long a VM was idle before it last began to be, and when that was if it is idle now."""
    since = None if record.joined_at is None or record.at_work else record.idle_from or record.joined_at
    if before is None:
        return 0.0, since
    if since is not None and before.ended_at is not None:
        since = max(since, before.ended_at)  # it was not, after all
    seconds, earlier = before.idle_seconds, before.idle_since
    if earlier is None or earlier == since:
        return seconds, since
    # If nobody saw when work began, it counts as work from the last look on that is kept.
    until = record.work_from if record.at_work and record.work_from is not None else earlier
    return None if seconds is None else seconds + max(0.0, until - earlier), since


def ended(life: Life, at: float, token: str) -> Life:
    """Return the life of a VM that has ended."""
    idle = 0.0 if life.idle_since is None else max(0.0, at - life.idle_since)
    seconds = None if life.idle_seconds is None else life.idle_seconds + idle
    return replace(life, ended_at=at, idle_seconds=seconds, idle_since=None, token=token)


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
