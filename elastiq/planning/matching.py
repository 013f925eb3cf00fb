"""Which worker runs on which VM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    advertises an instance id is matched by that alone, unless it has the address of another VM, and not that of this
    one: then it runs there, whatever it says. An address or name that is not unique matches nothing, nor does a worker
    that has been idle for longer than its VM exists, if that VM has not joined yet: the ad of an earlier VM.
    """
    records = [record for record in records if record.terminated_at is None]
    by_id = {record.id: record for record in records}
    found_by = _Search(records)
    matched: dict[str, Worker] = {}
    rivals: dict[str, tuple[str, ...]] = {}
    shared: dict[str, tuple[str, ...]] = {}
    for worker in workers:
        record = by_id.get(worker.instance_id or "")
        if record is not None and found_by.is_elsewhere(worker, record):
            worker, record = replace(worker, instance_id=None), None
        if not worker.instance_id:
            record, several = found_by.address_or_name(worker)
            if several:
                shared[worker.name] = tuple(one.id for one in several)
            if record is not None and record.joined_at is None and _is_older(worker, record, seen_at):
                record = None
        if record is None:
            continue
        other = matched.setdefault(record.id, worker)
        if other is not worker:
            rivals[record.id] = (*rivals.get(record.id, (other.name,)), worker.name)
            if worker.jobs > other.jobs:
                matched[record.id] = worker
    for id_ in rivals:
        # Two workers claim one VM: one ad is stale. Neither is known to be idle.
        matched[id_] = replace(matched[id_], idle_seconds=None)
    return Matches(matched, rivals, shared)


def _is_older(worker: Worker, record: VmRecord, seen_at: float) -> bool:
    """Return whether a worker has been idle for longer than its VM can exist."""
    age_seconds = seen_at - (record.asked_at or record.launched_at)
    return (worker.idle_seconds or 0.0) > age_seconds + patience.STALE_WORKER_SLACK_SECONDS


class _Search:
    """Finds VMs by what few workers are known by alone; what nobody asks for is never sorted."""

    def __init__(self, records: Iterable[VmRecord]) -> None:
        self._records = records

    def is_elsewhere(self, worker: Worker, claimed: VmRecord) -> bool:
        """Return whether a worker has the address of another VM than the one that it claims to be, whose address is
        known. An address that no VM has tells nothing: there are VMs with several, and there is NAT."""
        if not (worker.address and claimed.address) or worker.address == claimed.address:
            return False
        return worker.address in self._by_address

    def address_or_name(self, worker: Worker) -> tuple[VmRecord | None, Sequence[VmRecord]]:
        """Return the one VM that has the address of a worker, else its name; if none is the only one, all that do."""
        by_address = self._by_address.get(worker.address or "", ())
        if len(by_address) == 1:
            return by_address[0], ()
        by_name = self._by_name.get(worker.name.split(".")[0], ())
        if len(by_name) == 1:
            return by_name[0], ()
        return None, by_address or by_name

    @cached_property
    def _by_address(self) -> Mapping[str, Sequence[VmRecord]]:
        return _all((record.address, record) for record in self._records)

    @cached_property
    def _by_name(self) -> Mapping[str, Sequence[VmRecord]]:
        return _all((name, record) for record in self._records for name in _names(record))


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
