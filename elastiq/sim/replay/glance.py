"""Looks at workers that show nothing new but which of them are at work: all that they change is remembered here.

A plan would remember the same, and do nothing; on a busy cluster nine looks of ten are such. Where that is not plain,
it is left to a plan.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from elastiq.memory import Breaker, Memory, VmRecord
from elastiq.model import Observation, Policy
from elastiq.planning.adaptive import after_look, cores_of_vm, spare_of
from elastiq.planning.moments import look_at
from elastiq.sim.replay.cluster import Cluster, Machine


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
        if record is not None and record.at_work != bool(machine.jobs):
            vms[machine.id] = _seen(record, machine, seen_at)
    return replace(memory, vms={**memory.vms, **vms}) if vms else memory


def _seen(record: VmRecord, machine: Machine, seen_at: float) -> VmRecord:
    if machine.jobs:
        return replace(record, at_work=True, work_from=seen_at, idle_from=None)
    return replace(record, at_work=False, work_from=None, idle_from=seen_at)


def is_plain(policy: Policy) -> bool:
    """Return whether `Standing` can tell what the adaptive policy makes of a look: all VMs are alike, and nothing that
    VMs cost and no clock has a say."""
    is_of_one_kind = len(policy.variants) == 1 and policy.n_jobs_per_vm is None
    return policy.is_adaptive and is_of_one_kind and not policy.cost.is_capped and not policy.schedules


@dataclass(frozen=True)
class Standing:
    """What stands since the last plan of an adaptive policy that `is_plain`, as long as no VM comes, joins or goes, and
    no job waits."""

    is_calm: bool
    """Whether nothing else is under way."""
    booting: int
    """VMs that are yet to join."""
    look_at: float
    """When a plan is due because of what does not depend on jobs."""

    @staticmethod
    def of(memory: Memory, policy: Policy, now: float) -> Standing:
        """Return what stands after a plan that was made `now`."""
        unusual = {record.id: record for record in memory.vms.values() if not record.is_usual}
        all_boot = all(record.works and record.joined_at is None for record in unusual.values())
        others = replace(memory, vms=unusual, loads={})
        return Standing(
            is_quiet(memory) and all_boot, len(unusual), look_at(Observation(now, demand=()), others, policy)
        )

    def after_look(self, memory: Memory, cluster: Cluster, policy: Policy) -> Memory | None:
        """Return `memory` after the look that `cluster` shows; None: a plan might launch or end VMs."""
        (pool,) = policy.pools
        memory = remembered(memory, cluster.changed, cluster.now)
        busy_vms = cluster.joined - len(cluster.idle)
        memory = after_look(memory, pool, policy, cluster.now, cluster.cores_in_use, busy_vms, len(memory.vms))
        spare, a_vm = spare_of(pool, memory, policy).cores, cores_of_vm(pool, memory, policy)
        free = cluster.free_cores + self.booting * a_vm
        if spare >= free + a_vm:
            return None
        may_end = free - a_vm >= spare and cluster.joined > max(pool.min_vms, policy.min_vms)
        is_over = may_end and any(
            cluster.now - _idle_since(machine, memory) > policy.idle_seconds_of(pool.name) for machine in cluster.idle
        )
        return None if is_over else memory

    def next_look_at(self, memory: Memory, cluster: Cluster, policy: Policy) -> float:
        """Return what `moments.look_at` does, after a look that was all."""
        idle = {machine.id: memory.vms[machine.id] for machine in cluster.idle}
        shown = Observation(cluster.now, demand=(), workers=cluster.idle_workers())
        return min(self.look_at, look_at(shown, replace(memory, vms=idle), policy))


def _idle_since(machine: Machine, memory: Memory) -> float:
    """Return since when a plan takes the worker for idle: at the earliest since a look has shown it."""
    record, since = memory.vms[machine.id], machine.idle_since or 0.0
    return since if not record.has_worked or record.idle_from is None else max(since, record.idle_from)
