"""Which worker runs on which VM."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from elastiq.memory import VmRecord
from elastiq.model import Worker
from elastiq.planning import patience


def match_workers(workers: Iterable[Worker], records: Iterable[VmRecord], seen_at: float) -> dict[str, Worker]:
    """Return which worker runs on which VM, by instance id.

    A worker is matched by the instance id that it advertises, else by its address, else by its name. Whoever
    advertises an instance id is matched by that alone; an address or name that is not unique matches nothing, nor does
    a worker that has been idle for longer than its VM exists, if that VM has not joined yet: the ad of an earlier VM.
    """
    records = [record for record in records if record.terminated_at is None]
    by_id = {record.id: record for record in records}
    by_address = _unique((record.address, record) for record in records)
    by_name = _unique((name, record) for record in records for name in _names(record))
    matched: dict[str, Worker] = {}
    doubtful = set()
    for worker in workers:
        if worker.instance_id:
            record = by_id.get(worker.instance_id)
        else:
            record = by_address.get(worker.address or "") or by_name.get(worker.name.split(".")[0])
            if (
                record is not None
                and record.joined_at is None
                and (worker.idle_seconds or 0.0) > seen_at - record.launched_at + patience.STALE_WORKER_SLACK_SECONDS
            ):
                record = None
        if record is None:
            continue
        if record.id in matched:
            doubtful.add(record.id)
        if record.id not in matched or worker.jobs > matched[record.id].jobs:
            matched[record.id] = worker
    for id_ in doubtful:
        # Two workers claim one VM: one ad is stale. Neither is known to be idle.
        matched[id_] = replace(matched[id_], idle_seconds=None)
    return matched


def _unique(pairs: Iterable[tuple[str | None, VmRecord]]) -> dict[str, VmRecord]:
    found: dict[str, VmRecord] = {}
    ambiguous = set()
    for key, record in pairs:
        if not key:
            continue
        if key in found and found[key].id != record.id:
            ambiguous.add(key)
        found[key] = record
    return {key: record for key, record in found.items() if key not in ambiguous}


def _names(record: VmRecord) -> tuple[str, ...]:
    """Return host names that batch systems derive for a VM: its own, and those made of its address."""
    dashed = record.address.replace(".", "-") if record.address else ""
    return tuple({name for name in (record.name.split(".")[0], dashed, f"ip-{dashed}" if dashed else "") if name})
