"""VMs that the cloud has announced to take back: what becomes of their jobs, and what is said of them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from elastiq.decisions import Decision, Kind, Reason, Token
from elastiq.memory import VmRecord
from elastiq.model import SPOT, Demand, Eligibility, Judgement, Policy, Shape
from elastiq.planning import patience
from elastiq.planning.fleet import Fleet


def is_to_come(record: VmRecord, now: float) -> bool:
    """Return whether the cloud is about to take a VM back: it has said so, and not long ago."""
    return record.interrupted_at is not None and now - record.interrupted_at <= patience.INTERRUPTION_SECONDS


def may_come(record: VmRecord) -> bool:
    """Return whether the cloud may take a VM back, so that its worker is looked at more often."""
    return record.interrupted_at is not None or (
        record.market == SPOT and record.works and record.joined_at is not None
    )


def requeue_at(record: VmRecord, policy: Policy) -> float:
    """Return from when on the jobs of a VM are to be queued again; infinity: never."""
    if record.interrupted_at is None or not policy.requeues_interrupted:
        return math.inf
    if record.requeued_at is not None:
        return record.requeued_at + patience.REQUEUE_AGAIN_SECONDS
    return record.interrupted_at + patience.REQUEUE_AFTER_SECONDS


def decisions(fleet: Fleet) -> Iterator[Decision]:
    """Say which VMs the cloud takes back, and have the jobs queued again that still run there shortly before.

    By the worker of this moment alone: what it said some time ago may be over.
    """
    due = []
    for record in _announced(fleet):
        worker = fleet.worker(record)
        yield Decision(Kind.HOLD, announced(record), record.pool)
        is_due = fleet.now >= requeue_at(record, fleet.policy)
        if worker is not None and worker.interrupted and worker.jobs and is_due:
            due.append(record)
    # There may be no time for all: those first that have not been asked yet.
    for record in sorted(due, key=lambda one: one.requeued_at or 0.0):
        yield Decision(Kind.REQUEUE, requeued(record), record.pool, instance_id=record.id)


def successors(fleet: Fleet) -> Iterator[Demand]:
    """Return what runs on VMs that the cloud takes back, each VM as one job for a VM of the same pool: so another one
    is asked for before its jobs wait. Until they are queued again, when they are demand by themselves."""
    for record in _announced(fleet):
        worker, pool = fleet.worker(record), fleet.policy.pool(record.pool)
        if pool is None or worker is None or record.requeued_at is not None or not worker.jobs:
            continue
        whole, free = worker.capacity, worker.free
        shape = Shape(
            max(1, whole.cpus - free.cpus),
            _used(whole.memory_mb, free.memory_mb),
            _used(whole.disk_mb, free.disk_mb),
            _used(whole.gpus, free.gpus),
        )
        others = [one.key for one in fleet.variants if one.name != pool.name]
        yield Demand(shape, 1, judgements=dict.fromkeys(others, _OTHER_POOL), is_to_come=True)


def _announced(fleet: Fleet) -> Iterator[VmRecord]:
    taken_back = (record for record in fleet.unusual if record.interrupted_at is not None)
    return (record for record in taken_back if is_to_come(record, fleet.now) and not record.leaving)


def _used(whole: int | None, free: int | None) -> int | None:
    return None if whole is None or free is None else max(0, whole - free)


_OTHER_POOL = Judgement(Eligibility.NO, "its VM is of another pool")


def announced(record: VmRecord) -> Reason:
    """Return that the cloud takes a VM back."""
    jobs = ", and what runs there counts as one job that waits" if record.at_work and record.requeued_at is None else ""
    text = f"the cloud has announced that it takes VM {record.id} back: it is no room{jobs}"
    return Reason(Token.INTERRUPTED, text, record.id)


def without_job(record: VmRecord) -> Reason:
    """Return that a VM goes which the cloud would take back anyway."""
    text = "the cloud has announced that it takes it back, and no job is there"
    return Reason(Token.INTERRUPTED_IDLE, text, record.id)


def requeued(record: VmRecord) -> Reason:
    """Return why the jobs of a VM are queued again."""
    text = "the cloud is about to end it, and its jobs with it (on_interruption = requeue)"
    return Reason(Token.REQUEUED, text, record.id)
