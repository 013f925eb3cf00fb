"""The sandbox, a batch system in a directory (elastiq/sandbox/spool.py): for trying elastiq out, and to copy from.

The contract of each method is in elastiq.plugins.Matchmaker. Jobs start, and workers join and close, only under the
spool's one lock: that makes `close` atomic, as a real batch system's own check does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from elastiq.clock import Clock
from elastiq.errors import BatchError, ConfigError
from elastiq.model import Demand, Eligibility, Explanation, Judgement, Shape, Standing, Worker
from elastiq.plugins import TAKES_ONLY, Closing
from elastiq.plugins.kit import explained, is_same, label
from elastiq.plugins.sections import SandboxOptions
from elastiq.sandbox.spool import Job, Spool, WorkerRecord, parse
from elastiq.text import one_line, shown

if TYPE_CHECKING:
    from elastiq.config import Settings


class SandboxBatch:
    """What elastiq asks, answered from the spool."""

    def __init__(self, spool: Spool, clock: Clock) -> None:
        self._spool = spool
        self._clock = clock
        self._has_answered = False
        """If it has, a spool that is missing is no new one."""

    def demand(self) -> tuple[Demand, ...]:
        """Return the jobs that could start now, grouped by what decides where."""
        with self._spool.locked():
            running = Counter(_kind(job) for _, jobs in self._spool.records() for job in jobs)
        self._has_answered = True
        now = self._clock.now()
        waits: dict[tuple[Shape, str, bool], list[float]] = {}
        for job in self._spool.due():
            waits.setdefault(_kind(job), []).append(max(0.0, now - job.submitted_at))
        return tuple(
            Demand(shape, len(seconds), max(seconds), 1, wants, whole, running[shape, wants, whole])
            for (shape, wants, whole), seconds in waits.items()
        )

    def workers(self) -> tuple[Worker, ...]:
        """Return the living workers."""
        with self._spool.locked():
            workers = tuple(self._worker(record, jobs) for record, jobs in self._spool.records())
        self._has_answered = True
        return workers

    def close(self, worker: Worker) -> Closing:
        """Close `worker` if it runs no job; one that has not joined is closed for the time when it does."""
        with self._spool.locked():
            found = self._found(worker)
            if any(jobs for _, jobs in found):
                return Closing.BUSY
            self._leave_to_others(found)
            for key in {record.key for record, _ in found} or {worker.instance_id or worker.name} - {""}:
                self._spool.closed_mark(key).touch(mode=0o600)
        return Closing.CLOSED

    def reopen(self, worker: Worker) -> None:
        """Take the mark of `close` away."""
        with self._spool.locked():
            found = self._found(worker)
            self._leave_to_others(found)
            for key in {*(record.key for record, _ in found), worker.instance_id or worker.name} - {""}:
                self._spool.closed_mark(key).unlink(missing_ok=True)

    def forget(self, worker: Worker) -> None:
        """Strike `worker` off the list; if it still lives it takes that as an order to leave.

        The mark of a VM that has never joined stays, in case that it joins late.
        """
        with self._spool.locked():
            if any(jobs for _, jobs in self._found(worker)):
                raise BatchError(f"{label(worker)} still runs jobs and cannot be forgotten")
            for path in self._spool.files("workers"):
                record = parse(WorkerRecord, path.read_text(), str(path))
                if is_same(_identity(record), worker):
                    path.unlink()
                    if not self._spool.is_alive(record.name):
                        self._spool.closed_mark(record.key).unlink(missing_ok=True)

    def template(self, worker: Worker) -> str:
        """Return what workers like `worker` offer."""
        with self._spool.locked():
            for record, _ in self._found(worker):
                if not self._spool.closed_mark(record.key).exists():
                    return json.dumps({"offers": sorted(record.offers)})
        raise BatchError(f"{label(worker)} is closed or not there, and shows nothing of what others offer")

    def judge(self, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        """Return whether workers like `template` offer what jobs need."""
        narrowing = _read(template)
        offers = _offers(narrowing.get("template", template))
        supposed = narrowing.get("offers", "").split()
        found = [_judgement(one.split(), offers, supposed) for one in wants]
        jobs = narrowing.get("jobs", "*").split()
        return tuple(
            judgement if "*" in jobs or set(jobs).intersection(one.split()) or not jobs else _refusal(jobs)
            for one, judgement in zip(wants, found)
        )

    def narrowed(self, template: str, jobs: str, offers: str) -> str:
        """Return the three as one text. `jobs` and `offers` are words that jobs need and workers offer."""
        texts = {"jobs": " ".join(_words(jobs)), "offers": "" if template else " ".join(_words(offers))}
        return json.dumps({**texts, "template": template}, sort_keys=True)

    def explain(self, job: str) -> Explanation:
        """Return where the job is, by its number, with or without the zeros in front."""
        with self._spool.locked():
            found = self._spool.find(job.zfill(6) if job.isdecimal() else job)
        if found is None:
            return explained(Standing.UNKNOWN)
        folder, one = found
        if folder == "done":
            return explained(Standing.ENDED, f"exit code {one.exit_code} on {one.worker}")
        if folder == "held":
            return explained(Standing.HELD, f"it is in {self._spool.directory}/held")
        if folder.startswith("running/"):
            return explained(Standing.RUNS, f"on {folder.partition('/')[2]}")
        if self._spool.awaits(one):
            return explained(Standing.DEPENDS, f"on job {one.after}")
        now = self._clock.now()
        if one.not_before > now:
            return explained(Standing.NOT_DUE, f"for {one.not_before - now:.0f} s more")
        shape, wants, whole = _kind(one)
        group = Demand(shape, 1, max(0.0, now - one.submitted_at), 1, wants, whole)
        return explained(Standing.WAITS, "it is in the queue", group)

    def check(self) -> str:
        """Return how many workers and jobs there are. At the start, a spool that is empty or missing is made first."""
        if not self._has_answered and self._spool.is_empty:
            self._spool.create()
        return (
            f"sandbox in {self._spool.directory}: {len(self.workers())} workers, {len(self._spool.due())} jobs waiting"
        )

    def _found(self, worker: Worker) -> list[tuple[WorkerRecord, list[Job]]]:
        """Return the living workers that `worker` is, one in general, each with its jobs. The caller holds the lock."""
        return [(record, jobs) for record, jobs in self._spool.records() if is_same(_identity(record), worker)]

    def _leave_to_others(self, found: list[tuple[WorkerRecord, list[Job]]]) -> None:
        for record, _ in found:
            if self._spool.closed_by_hand(record.key):
                raise BatchError(f"{label(_identity(record))} was closed by hand and is left so")

    def _worker(self, record: WorkerRecord, jobs: list[Job]) -> Worker:
        capacity = free = Shape(record.cpus, record.memory_mb)
        if any(job.whole for job in jobs):
            free = Shape(0, 0)
        elif jobs:
            used_mb = sum(job.memory_mb or 0 for job in jobs)
            free_mb = None if record.memory_mb is None else max(0, record.memory_mb - used_mb)
            free = Shape(record.cpus - sum(job.cpus for job in jobs), free_mb)
        return replace(
            _identity(record),
            capacity=capacity,
            free=free,
            jobs=len(jobs),
            idle_seconds=None if jobs else record.idle_seconds,
            closed=self._spool.closed_mark(record.key).exists(),
            closed_by_other=self._spool.closed_by_hand(record.key),
        )


def create(settings: Settings) -> SandboxBatch:
    """Return the plugin for `settings`. Raise ConfigError if they name no spool directory."""
    directory = settings.of(SandboxOptions).spool_dir
    if directory is None:
        raise ConfigError(["[sandbox] spool_dir is missing: give the directory that the workers use"])
    clock = Clock()
    return SandboxBatch(Spool(directory, clock), clock)


def _identity(record: WorkerRecord) -> Worker:
    """Return which machine it is, and nothing else of it."""
    return Worker(record.name, record.instance_id or None, record.address or None)


def _kind(job: Job) -> tuple[Shape, str, bool]:
    """Return all that decides where `job` may run: its shape, what it wants, and whether it wants all of a worker."""
    return Shape(job.cpus, job.memory_mb or None), " ".join(sorted({*job.needs})), job.whole


def _offers(template: str) -> list[str] | None:
    """Return what is offered, or None if the template does not tell: there is none yet, or it is damaged."""
    try:
        offers = json.loads(template)["offers"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return offers if isinstance(offers, list) else None


def _words(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")] if text else []
    if not all(len(word.split()) == 1 for word in words):
        raise BatchError(f"'{shown(text)}' is no list of words; put a comma between two")
    return words


def _read(text: str) -> dict[str, str]:
    """Return what `narrowed` made `text` of; nothing if it was not made by that."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    is_ours = isinstance(document, dict) and document.keys() == {"jobs", "offers", "template"}
    return document if is_ours and all(isinstance(one, str) for one in document.values()) else {}


def _refusal(jobs: list[str]) -> Judgement:
    return Judgement(Eligibility.NO, f"{TAKES_ONLY} that need {one_line(' or '.join(jobs), 150)}")


def _judgement(needs: list[str], offers: list[str] | None, supposed: list[str]) -> Judgement:
    missing = ", ".join(need for need in needs if need not in (supposed if offers is None else offers))
    if not missing:
        return Judgement()
    if offers is None:
        return Judgement(Eligibility.UNKNOWN, f"no worker has shown yet whether it offers {missing}")
    return Judgement(Eligibility.NO, f"workers do not offer {missing}")
