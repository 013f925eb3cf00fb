"""Looks that show nothing new but which workers are at work, how many jobs wait for VMs that boot, and which VMs have
come, joined or gone as they were to: all that they change is remembered here.

A plan would remember the same, and do nothing; on a busy cluster nine looks of ten are such. Where that is not plain,
it is left to a plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from elastiq.memory import Breaker, Memory, VmRecord
from elastiq.model import Demand, Observation, Policy, Worker
from elastiq.planning.adaptive import after_look, cores_of_vm, spare_of
from elastiq.planning.moments import look_at, wake_at
from elastiq.planning.money import paid
from elastiq.planning.rates import with_gone
from elastiq.planning.tracking import track
from elastiq.sim.replay.cluster import Cluster, Machine


def is_quiet(memory: Memory) -> bool:
    """Return whether nothing is remembered that depends on which workers are at work, but for their own records."""
    return _is_untroubled(memory) and not any(seen.waiting for seen in memory.watched.values())


def _is_untroubled(memory: Memory) -> bool:
    unsettled = memory.futile or memory.intents or memory.to_forget
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


def tracked(memory: Memory, cluster: Cluster, policy: Policy) -> Memory:
    """Return `memory` after a look at the VMs and workers of `cluster`, as a plan tracks them: those that are as they
    were need not be tracked again."""
    now, ids = cluster.now, {machine.id for machine in cluster.changed}
    lately = {id_: one for id_, one in memory.vms.items() if id_ in ids or one.terminated_at is not None}
    instances = cluster.changed_instances(policy.cluster)
    seen = Observation(now, workers=cluster.changed_workers(), instances=instances)
    before = replace(memory, vms=lately)
    after = track(seen, before, policy).memory
    after = with_gone(before, paid(before, after, policy, now), (), now)
    vms = {**memory.vms, **after.vms}
    for id_ in lately.keys() - after.vms.keys():
        del vms[id_]
    return replace(after, vms=vms)


def is_plain(policy: Policy, boot_seconds: float) -> bool:
    """Return whether `Standing` can tell what the adaptive policy makes of a look: all VMs are alike, none is given up
    before it joins, and neither what VMs cost nor the time of the day has a say."""
    is_of_one_kind = len(policy.variants) == 1 and policy.n_jobs_per_vm is None
    all_join = boot_seconds < policy.estimated_vm_deploy_time_s
    return policy.is_adaptive and is_of_one_kind and all_join and not policy.cost.is_capped and not policy.schedules


@dataclass(frozen=True)
class Shown:
    """Workers, as a look has shown them."""

    joined: int
    free_cores: int
    longest_idle_seconds: float
    """Below zero: jobs run on all of them."""

    @staticmethod
    def of(workers: Iterable[Worker], memory: Memory, seen_at: float, longer_seconds: float) -> Shown:
        """Return what of `workers` counts that were looked at last at `seen_at`, and without a job for so much longer
        than they say: those whose VMs are still to stay."""
        kept = [(one, memory.vms[one.name]) for one in workers if one.name in memory.vms]
        kept = [(one, record) for one, record in kept if record.terminated_at is None]
        idle = [
            seen_at - _idle_since(record, seen_at - one.idle_seconds - longer_seconds)
            for one, record in kept
            if one.idle_seconds is not None
        ]
        return Shown(len(kept), sum(one.free.cpus for one, _ in kept), max(idle, default=-1.0))

    @staticmethod
    def of_all(cluster: Cluster, memory: Memory) -> Shown:
        """Return what `cluster` shows now."""
        idle = [cluster.now - _idle_since(memory.vms[one.id], one.idle_since or 0.0) for one in cluster.idle]
        return Shown(cluster.joined, cluster.free_cores, max(idle, default=-1.0))


def _idle_since(record: VmRecord, since: float) -> float:
    """Return since when a plan takes a worker for idle that is so `since` then: at the earliest since a look at it."""
    return since if not record.has_worked or record.idle_from is None else max(since, record.idle_from)


@dataclass(frozen=True)
class Standing:
    """What stands since the last plan of an adaptive policy that `is_plain`, as long as no VM comes, joins or goes that
    it does not know of."""

    is_calm: bool
    """Whether nothing is under way but boots and ends of VMs, and jobs of one kind that wait for boots."""
    cores_of_each: int | None
    """How many cores each of the jobs took that waited then; 0: none waited; None: they were not alike."""
    booting: int
    """VMs that are yet to join."""
    look_at: float
    """When a plan is due because of what does not depend on jobs."""
    wake_at: float
    """The same, at a look that is not new."""

    @staticmethod
    def of(memory: Memory, demand: Sequence[Demand], policy: Policy, now: float) -> Standing:
        """Return what stands after a plan for `demand` that was made `now`, and what was done then."""
        unusual = {record.id: record for record in memory.vms.values() if not record.is_usual}
        booting = [record for record in unusual.values() if record.works and record.joined_at is None]
        going = sum(record.terminated_at is not None for record in unusual.values())
        beside_room = any(seen.rooms or seen.unused_seconds for seen in memory.watched.values())
        is_plain = len(booting) + going == len(unusual) and memory.waiting_since is None and not beside_room
        seen, is_calm = Observation(now, demand=()), _is_untroubled(memory) and is_plain
        due_at = look_at(seen, replace(memory, vms=unusual, loads={}), policy)
        teachers = {id_: memory.vms[id_] for ids in memory.taught_by.values() for id_ in ids if id_ in memory.vms}
        woken_at = wake_at(seen, replace(memory, vms={**teachers, **unusual}), policy)
        return Standing(is_calm, _cores_of_each(demand), len(booting), due_at, woken_at)

    def is_enough(self, demand: Sequence[Demand], shown: Shown, memory: Memory, policy: Policy) -> bool:
        """Return whether no plan would launch or end a VM: all that wait have room on those that boot alone, and beside
        it as much is free as is to be, and not so much more that a VM may go."""
        (pool,) = policy.pools
        each, a_vm, jobs = (
            _cores_of_each(demand),
            cores_of_vm(pool, memory, policy),
            sum(group.jobs for group in demand),
        )
        if each is None or (each and shown.free_cores):
            return False
        if each and jobs > self.booting * (a_vm // each):
            return False
        fewest = max(pool.min_vms, policy.min_vms)
        if shown.joined + self.booting < fewest:
            return False
        free, spare = shown.free_cores + self.booting * a_vm - jobs * each, spare_of(pool, memory, policy).cores
        is_idle = shown.longest_idle_seconds > policy.idle_seconds_of(pool.name)
        may_end = is_idle and shown.joined > fewest
        return spare < free + a_vm and not (may_end and free - a_vm >= spare)

    def watched(self, demand: Sequence[Demand], memory: Memory) -> Memory | None:
        """Return `memory` after a look at jobs that wait for boots; None: what became of others is left to a plan."""
        if demand:
            return memory if self.cores_of_each in (0, _cores_of_each(demand)) else None
        if any(seen.witnesses or seen.unused_since for seen in memory.watched.values()):
            return None
        return replace(memory, watched={}) if memory.watched else memory

    def after_look(self, demand: Sequence[Demand], cluster: Cluster, memory: Memory, policy: Policy) -> Memory | None:
        """Return `memory` after a look at `demand` and the workers of `cluster`; None: a plan might do something."""
        known = self.watched(demand, memory)
        if known is None:
            return None
        return self._followed(demand, cluster, remembered(known, cluster.changed, cluster.now), policy)

    def after_news(
        self, demand: Sequence[Demand], cluster: Cluster, memory: Memory, policy: Policy
    ) -> tuple[Memory, Standing] | None:
        """Return `memory`, and what stands, after a look at `demand` and at workers and VMs of `cluster` that have
        come, joined or gone as was expected; None: a plan might do something."""
        known = self.watched(demand, memory)
        if known is None:
            return None
        memory = tracked(known, cluster, policy)
        standing = Standing.of(memory, demand, policy, cluster.now)
        if not standing.is_calm or cluster.now >= standing.look_at:
            return None
        followed = standing._followed(demand, cluster, memory, policy)
        return None if followed is None else (followed, standing)

    def _followed(self, demand: Sequence[Demand], cluster: Cluster, memory: Memory, policy: Policy) -> Memory | None:
        """Return `memory` after the load was looked at; None: a plan might do something."""
        (pool,) = policy.pools
        cores = cluster.cores_in_use + sum(group.jobs * group.shape.cpus for group in demand)
        busy_vms = cluster.joined - len(cluster.idle)
        memory = after_look(memory, pool, policy, cluster.now, cores, busy_vms, len(memory.vms))
        return memory if self.is_enough(demand, Shown.of_all(cluster, memory), memory, policy) else None

    def next_look_at(self, demand: tuple[Demand, ...], cluster: Cluster, memory: Memory, policy: Policy) -> float:
        """Return what `moments.look_at` does, after a look that was all."""
        idle = {machine.id: memory.vms[machine.id] for machine in cluster.idle}
        shown = Observation(cluster.now, demand=demand, workers=cluster.idle_workers())
        return min(self.look_at, look_at(shown, replace(memory, vms=idle), policy))


def _cores_of_each(demand: Sequence[Demand]) -> int | None:
    if not demand:
        return 0
    (group,) = demand if len(demand) == 1 else (None,)
    return group.shape.cpus if group is not None and group.vms_per_job == 1 else None
