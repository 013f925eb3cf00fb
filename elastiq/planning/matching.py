"""Which worker runs on which VM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from elastiq.memory import VmRecord
from elastiq.model import Worker
from elastiq.planning import patience


@dataclass(frozen=True)
class Matches:
    """Which worker runs on which VM, and where that is in doubt."""

    workers: Mapping[str, Worker] = field(default_factory=dict)
    """By instance id."""
    rivals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The names of the workers, where several claim one VM; by instance id."""
    shared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The ids of the VMs, where several have the address or the name of one worker, which therefore matches none; by
    the name of the worker."""

    @cached_property
    def perhaps(self) -> Mapping[str, str]:
        """The names of workers that match none, by the instance id of each VM on which one may run."""
        return {id_: name for name, ids in self.shared.items() for id_ in ids}


def match_workers(workers: Iterable[Worker], records: Iterable[VmRecord], seen_at: float) -> Matches:
    """Return which worker runs on which VM.

    A worker is matched by the instance id that it advertises, else by its address, else by its name. Whoever
    advertises an instance id is matched by that alone; an address or name that is not unique matches nothing, nor does
    a worker that has been idle for longer than its VM exists, if that VM has not joined yet: the ad of an earlier VM.
    """
    records = [record for record in records if record.terminated_at is None]
    by_id = {record.id: record for record in records}
    by_address = _all((record.address, record) for record in records)
    by_name = _all((name, record) for record in records for name in _names(record))
    matched: dict[str, Worker] = {}
    claims: dict[str, tuple[str, ...]] = {}
    shared: dict[str, tuple[str, ...]] = {}
    for worker in workers:
        if worker.instance_id:
            record = by_id.get(worker.instance_id)
        else:
            by_either = (by_address.get(worker.address or ""), by_name.get(worker.name.split(".")[0]))
            record = next((found[0] for found in by_either if found and len(found) == 1), None)
            several = next((found for found in by_either if found and len(found) > 1), ())
            if record is None and several:
                shared[worker.name] = tuple(one.id for one in several)
            if (
                record is not None
                and record.joined_at is None
                and (worker.idle_seconds or 0.0) > seen_at - record.launched_at + patience.STALE_WORKER_SLACK_SECONDS
            ):
                record = None
        if record is None:
            continue
        claims[record.id] = (*claims.get(record.id, ()), worker.name)
        if record.id not in matched or worker.jobs > matched[record.id].jobs:
            matched[record.id] = worker
    rivals = {id_: names for id_, names in claims.items() if len(names) > 1}
    for id_ in rivals:
        # Two workers claim one VM: one ad is stale. Neither is known to be idle.
        matched[id_] = replace(matched[id_], idle_seconds=None)
    return Matches(matched, rivals, shared)


def _all(pairs: Iterable[tuple[str | None, VmRecord]]) -> dict[str, list[VmRecord]]:
    found: dict[str, list[VmRecord]] = {}
    for key, record in pairs:
        if key:
            found.setdefault(key, []).append(record)
    return found


def _names(record: VmRecord) -> tuple[str, ...]:
    """Return host names that batch systems derive for a VM: its own, and those made of its address."""
    dashed = record.address.replace(".", "-") if record.address else ""
    return tuple({name for name in (record.name.split(".")[0], dashed, f"ip-{dashed}" if dashed else "") if name})
