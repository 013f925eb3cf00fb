"""Looks at workers that show nothing new but which of them are at work: all that they change is remembered here.

A plan would remember the same, and do nothing; on a busy cluster nine looks of ten are such.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from elastiq.memory import Breaker, Memory, VmRecord
from elastiq.sim.replay.cluster import Machine


def is_quiet(memory: Memory) -> bool:
    """Return whether nothing is remembered that depends on which workers are at work, but for their own records."""
    is_watching = any(seen.waiting for seen in memory.watched.values())
    unsettled = is_watching or memory.futile or memory.intents or memory.to_forget
    return not unsettled and all(breaker == Breaker() for breaker in memory.breakers.values())


def remembered(memory: Memory, changed: Iterable[Machine], seen_at: float) -> Memory:
    """Return `memory` after a look at workers, of which these have begun or ended jobs since the last one."""
    vms = {}
    for machine in changed:
        record = memory.vms.get(machine.id)
        if record is not None:
            vms[machine.id] = _seen(record, machine, seen_at)
    return replace(memory, vms={**memory.vms, **vms}) if vms else memory


def _seen(record: VmRecord, machine: Machine, seen_at: float) -> VmRecord:
    if machine.jobs:
        return replace(record, at_work=True, work_from=record.work_from if record.at_work else seen_at, idle_from=None)
    return replace(record, at_work=False, work_from=None, idle_from=seen_at) if record.at_work else record
