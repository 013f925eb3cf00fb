"""Sums of hours while they are being made: what waits, runs, boots and idles, from one look to the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from elastiq.memory import Memory, Stage, VmRecord
from elastiq.model import Demand, Worker
from elastiq.state.kept import HOUR_SECONDS, Hour

GAP_SECONDS = 900.0
"""Who has not looked for longer does not know what was meanwhile: the machine slept, or a pass hung."""

_STAGES: Mapping[Stage, str] = {
    Stage.BOOTING: "booting_vm_seconds",
    Stage.LEAVING: "leaving_vm_seconds",
    Stage.GOING: "leaving_vm_seconds",
}


@dataclass(frozen=True)
class Moment:
    """How it is from now on, until it is looked at again."""

    at: float
    rates: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By pool: by how much each sum grows a second."""


def moment(demand: Sequence[Demand] | None, workers: Sequence[Worker] | None, memory: Memory, now: float) -> Moment:
    """Return how it is now; `demand` and `workers` are None if they are not known."""
    rates: dict[str, Counter[str]] = {"": Counter()}
    if demand is not None:
        rates[""]["queue_seconds"] = 1
        rates[""]["waiting_job_seconds"] = sum(group.jobs for group in demand)
    for record in memory.vms.values():
        if record.terminated_at is None or record.counts:
            rates.setdefault(record.pool, Counter())[_stage(record, is_known=workers is not None)] += 1
    for intent in memory.intents:
        rates.setdefault(intent.pool, Counter())["asked_vm_seconds"] += memory.unseen(intent)
    pools = {record.worker_name: record.pool for record in memory.vms.values() if record.worker_name}
    for worker in workers or ():
        if worker.jobs:
            rates[""]["running_job_seconds"] += worker.jobs
            if worker.name in pools:
                rates[pools[worker.name]]["running_job_seconds"] += worker.jobs
    return Moment(now, rates)


def _stage(record: VmRecord, *, is_known: bool) -> str:
    if record.stage is Stage.WORKING:
        if not is_known:
            return "unknown_vm_seconds"
        return "busy_vm_seconds" if record.at_work else "idle_vm_seconds"
    return _STAGES.get(record.stage, "unknown_vm_seconds")


class Sums:
    """Adds up."""

    def __init__(self) -> None:
        self._last: Moment | None = None
        self._hours: dict[tuple[float, str], Counter[str]] = {}

    @property
    def is_any_vm(self) -> bool:
        """Whether there was a VM, or one was asked for, at the last look."""
        return self._last is not None and len(self._last.rates) > 1

    def look(self, now: Moment) -> None:
        """Add what the time since the last look came to, as it was then."""
        last, self._last = self._last, now
        if last is None or not 0 < now.at - last.at <= GAP_SECONDS:
            return
        begin = last.at
        while begin < now.at:
            hour = begin // HOUR_SECONDS * HOUR_SECONDS
            end = min(now.at, hour + HOUR_SECONDS)
            for pool, rates in last.rates.items():
                sums = self._hours.setdefault((hour, pool), Counter())
                sums["seconds"] += end - begin  # type: ignore[assignment]
                for name, rate in rates.items():
                    sums[name] += rate * (end - begin)  # type: ignore[assignment]
            begin = end

    def go_on(self, now: float) -> None:
        """Add what the time since the last look comes to if nothing has changed: there will be no other look."""
        if self._last is not None:
            self.look(replace(self._last, at=now))

    def take(self) -> list[Hour]:
        """Return what has come since the last time."""
        taken, self._hours = self._hours, {}
        return [
            Hour(at, pool, **{name: float(value) for name, value in sums.items()}) for (at, pool), sums in taken.items()
        ]
