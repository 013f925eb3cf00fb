"""The adaptive policy: how much room is kept free for jobs that have not come yet, from how the load rose lately.

The load of a pool is what runs on its workers and what waits for them, in cores. Within each period of the time that a
VM takes to boot and a minute it rises by something; as much as most of the last rises is kept free, so that the next
jobs of that kind need not wait for a boot.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from elastiq.decisions import Reason, Token
from elastiq.memory import Breaker, Load, Memory, Rises
from elastiq.model import DEFAULT_JOBS_PER_VM, Policy, Pool, Shape, Worker
from elastiq.planning.boots import boot_seconds, quantile
from elastiq.planning.capacities import capacity_of
from elastiq.planning.fleet import Fleet
from elastiq.planning.packing import Rest, Room
from elastiq.planning.wanted import Wanted

SETTLE_SECONDS = 60.0
"""A period is longer than a boot by so much: a VM is asked for, seen and given jobs some seconds late."""

PERIODS = 12
"""Rises within so many of the last periods are remembered. Bursts come close together: with 24, jobs of recorded traces
waited for longer, and VMs cost no less."""

QUIET_PERIODS = 3
"""If the load has not risen for so many periods, nothing is kept free: what rose before is over."""

LARGEST_PART_OF_QUOTA = 0.25
"""No more of max_vms than this is kept free."""

TOGETHER_SECONDS = 5.0
"""The queue and the workers tell of the load only if they were looked at within so long a time: a job that started in
between would count twice, or not at all."""

DEAREST = 1.2
"""What is kept free may make all VMs cost so many times as much as launching them for waiting jobs alone would, even if
nothing comes for as long as rises are remembered..."""

PERIODS_OF_COST = 288
"""...reckoned over about so many periods: a day."""


@dataclass(frozen=True)
class Spare:
    """How many cores of a pool are to be free for jobs that have not come yet, and why."""

    cores: int = 0
    most_risen: float = 0.0
    """By how many cores the load rose at most, within one of the periods remembered."""
    period_seconds: float = 0.0

    def __str__(self) -> str:
        minutes = PERIODS * self.period_seconds / 60
        rose = f"the load rose by up to {self.most_risen:.0f} within {self.period_seconds:.0f} s"
        return f"spare {self.cores} cores, for in the last {minutes:.0f} min {rose}"

    def launched(self, vms: int, free_cores: float, pool: Pool) -> Reason:
        """Return why so many VMs are launched although no job waits for them."""
        few = f"{free_cores:.0f} cores are free or booting, {_vms(vms)} too few for jobs to come"
        numbers = {"cores": self.cores, "free": free_cores, "risen": self.most_risen}
        return Reason(Token.SPARE, f"{few}: {self}", pool.name, numbers)

    def launched_beside(self, why: Reason, vms: int) -> Reason:
        """Return why so many more VMs are launched than the jobs need for which there is `why`."""
        text = f"{why}, and {_vms(vms)} for jobs to come: {self}"
        return replace(why, text=text, numbers={**why.numbers, "cores": self.cores})

    def kept(self, vms: int, pool: str) -> Reason:
        """Return why so many idle VMs stay."""
        numbers = {"vms": vms, "cores": self.cores, "risen": self.most_risen}
        return Reason(Token.KEPT_AS_SPARE, f"{_vms(vms)} idle and kept for jobs to come: {self}", pool, numbers)


def _vms(vms: int) -> str:
    return "1 VM" if vms == 1 else f"{vms} VMs"


@dataclass(frozen=True)
class Lacking:
    """How many VMs are to be launched for jobs to come, and what is to be free for these."""

    vms: int = 0
    spare: Spare = field(default_factory=Spare)
    free_cores: float = 0.0


def cores_of_vm(pool: Pool, memory: Memory, policy: Policy) -> int:
    """Return how many cores a VM of `pool` has; where jobs are counted, not their cores, how many jobs it takes."""
    capacity = capacity_of(memory, pool)
    if policy.n_jobs_per_vm is not None or capacity is None:
        return policy.n_jobs_per_vm or DEFAULT_JOBS_PER_VM
    return max(1, capacity.cpus)


def held_seconds(pool: str, policy: Policy) -> float:
    """Return for how long a worker of `pool` may be idle and stay since waiting jobs are to start there: as long as
    others that such a job needs at the same time may take to boot. Whatever keeps jobs from starting, it goes then."""
    return policy.idle_seconds_of(pool) + policy.estimated_vm_deploy_time_s


def follow(fleet: Fleet, waiting: Mapping[str, Iterable[Rest]], demand_at: float) -> Memory:
    """Return the memory after a look at the load; `waiting` are the jobs that VMs of each pool could run, as the queue
    was at `demand_at`."""
    memory = fleet.memory
    if abs(fleet.seen_at - demand_at) > TOGETHER_SECONDS:
        return memory
    at_work: dict[str, list[Worker]] = {}
    for id_, worker in fleet.own_workers.items():
        if worker.jobs and memory.vms[id_].counts:
            at_work.setdefault(memory.vms[id_].pool, []).append(worker)
    for pool in fleet.policy.pools:
        workers = at_work.get(pool.name, ())
        capacity, by_number = _capacity(pool, fleet), fleet.policy.n_jobs_per_vm is not None
        cores = sum(worker.jobs if by_number else _in_use(worker) for worker in workers)
        cores += sum(rest.jobs * rest.machines * cores_of(rest, capacity) for rest in waiting.get(pool.name, ()))
        memory = after_look(memory, pool, fleet.policy, demand_at, cores, len(workers), fleet.counted[pool.name])
    return memory


def after_look(
    memory: Memory, pool: Pool, policy: Policy, seen_at: float, cores: float, busy_vms: int, vms: int
) -> Memory:
    """Return the memory after a look at which jobs of `pool` ran on, or waited for, so many cores, and so many of its
    VMs were busy."""
    kept_anyway = min(vms, max(pool.min_vms, policy.min_vms))
    seen = Load(seen_at, cores, cores, 0.0, seen_at, max(busy_vms, kept_anyway), vms)
    load, rises = memory.loads.get(pool.name), memory.rises.get(pool.name, Rises())
    period = period_seconds(pool, memory, policy)
    if load is None or seen.seen_at < load.seen_at:
        return replace(memory, loads={**memory.loads, pool.name: seen})
    is_quiet = not (load.risen or rises.cores)
    is_as_before = (load.cores, load.busy_vms, load.vms) == (seen.cores, seen.busy_vms, seen.vms)
    if is_as_before and (is_quiet or seen.seen_at < load.since + period):
        return memory  # periods without a rise are made up for when there is one: meanwhile nothing follows from them
    if seen.seen_at - load.seen_at > PERIODS_OF_COST * period:
        return replace(memory, loads={**memory.loads, pool.name: seen})
    while seen.seen_at - load.since >= period:
        end = load.since + period
        load = _until(load, end)
        rises = _with_period(rises, load, pool, memory, policy)
        load = Load(end, load.cores, load.cores, 0.0, end, load.busy_vms, load.vms)
    load = _until(load, seen.seen_at)
    load = replace(
        load,
        lowest=min(load.lowest, seen.cores),
        risen=max(load.risen, seen.cores - load.lowest),
        cores=seen.cores,
        busy_vms=seen.busy_vms,
        vms=seen.vms,
    )
    memory = replace(memory, loads={**memory.loads, pool.name: load})
    if memory.rises.get(pool.name, Rises()) != rises:
        memory = replace(memory, rises={**memory.rises, pool.name: rises})
    return memory


def _until(load: Load, now: float) -> Load:
    """Return `load` after nothing has changed until `now`."""
    seconds = now - load.seen_at
    busy, all_ = load.busy_vm_seconds + load.busy_vms * seconds, load.vm_seconds + load.vms * seconds
    return replace(load, seen_at=now, busy_vm_seconds=busy, vm_seconds=all_)


def _with_period(rises: Rises, load: Load, pool: Pool, memory: Memory, policy: Policy) -> Rises:
    """Return `rises` with a period that is over.

    Without spare room its rise would have cost the boots of VMs that hold it, as far as those of the period before had
    no room left and there may be so many, and their idle time at the end.
    """
    cores, boot = cores_of_vm(pool, memory, policy), boot_seconds(pool, memory, policy)
    vms = min(math.ceil(max(0.0, load.risen - rises.left_over_cores) / cores), _most_vms(pool, policy))
    left_over = max(0.0, vms * cores + rises.left_over_cores - load.risen) if load.risen else 0.0
    kept = 1.0 - 1.0 / PERIODS_OF_COST
    needed = load.busy_vm_seconds + vms * (boot + policy.idle_seconds_of(pool.name))
    risen = (*rises.cores, round(load.risen, 2))[-PERIODS:]
    return Rises(
        risen if any(risen) else (),
        left_over,
        _fading(rises.needed_vm_seconds * kept + needed),
        _fading(rises.vm_seconds * kept + load.vm_seconds),
    )


def _fading(seconds: float) -> float:
    return round(seconds, 1) if seconds >= 1.0 else 0.0


def period_seconds(pool: Pool, memory: Memory, policy: Policy) -> float:
    """Return the time within which a rise of the load is measured."""
    return boot_seconds(pool, memory, policy) + SETTLE_SECONDS


def spare_of(pool: Pool, memory: Memory, policy: Policy) -> Spare:
    """Return how many cores of `pool` are to be free: the quantile `eagerness` of the last rises, within the limits
    above. Periods that nobody has seen count as quiet."""
    rises = memory.rises.get(pool.name, Rises())
    if not policy.is_adaptive or not _is_rising(rises, memory.loads.get(pool.name)):
        return Spare()
    a_vm, period = cores_of_vm(pool, memory, policy), period_seconds(pool, memory, policy)
    cores = quantile((*[0.0] * (PERIODS - len(rises.cores)), *rises.cores), policy.eagerness)
    cores = min(cores, LARGEST_PART_OF_QUOTA * _most_vms(pool, policy) * a_vm)
    allowed_vm_seconds = DEAREST * rises.needed_vm_seconds - rises.vm_seconds
    cores = min(cores, math.floor(max(0.0, allowed_vm_seconds) / (PERIODS * period)) * a_vm)
    return Spare(math.floor(cores), max(rises.cores), period) if cores >= 1 else Spare()


def _most_vms(pool: Pool, policy: Policy) -> float:
    """Return how many VMs of `pool` there may be; infinity where nothing limits them."""
    return min((limit for limit in (pool.max_vms, policy.max_vms) if limit is not None), default=math.inf)


def _is_rising(rises: Rises, load: Load | None) -> bool:
    """Return whether the load has risen lately."""
    return any(rises.cores[-QUIET_PERIODS:]) or (bool(rises.cores) and load is not None and load.risen > 0)


def lacking(fleet: Fleet, pool: Pool, rooms: Iterable[Room], wanted: Wanted, most: int) -> Lacking:
    """Return what is lacking of the room to be kept free, beside the VMs `wanted` for jobs, within `most` VMs in all.

    Only whole VMs are launched for jobs to come: one that is needed in part costs as much. They are no reason to ask a
    cloud for more that has just refused, or to launch VMs while it is not sure that they ever join.
    """
    spare = spare_of(pool, fleet.memory, fleet.policy)
    breaker = fleet.memory.breakers.get(pool.name, Breaker())
    if not spare.cores or breaker.failed_boots or fleet.ask(pool) is not None:
        return Lacking()
    a_vm, capacity = cores_of_vm(pool, fleet.memory, fleet.policy), _capacity(pool, fleet)
    taken = sum(rest.jobs * rest.machines * cores_of(rest, capacity) for _, rest in wanted.takers)
    free = free_cores(rooms, pool, fleet) + max(0.0, wanted.vms * a_vm - taken)
    vms = min(math.floor((spare.cores - free) / a_vm), most - wanted.vms)
    return Lacking(vms, spare, free) if vms > 0 else Lacking()


def cores_of(rest: Rest, capacity: Shape | None) -> float:
    """Return how many cores one job takes on a machine: also those that nobody else can use, since it takes as large a
    part of the memory or of the GPUs."""
    if capacity is None:
        return 1.0
    if rest.takes_whole:
        return float(capacity.cpus)
    return min(1.0, max(_parts(rest.shape, capacity))) * capacity.cpus


def _parts(shape: Shape, capacity: Shape) -> Iterable[float]:
    pairs = (
        (shape.cpus, capacity.cpus),
        (shape.memory_mb, capacity.memory_mb),
        (shape.gpus, capacity.gpus),
    )
    return [part / whole for part, whole in pairs if part is not None and whole]


def _in_use(worker: Worker) -> float:
    free, capacity = worker.free, worker.capacity
    if free.cpus <= 0:
        return float(capacity.cpus)
    used = Shape(
        max(0, capacity.cpus - free.cpus),
        _difference(capacity.memory_mb, free.memory_mb),
        None,
        _difference(capacity.gpus, free.gpus),
    )
    return min(1.0, max(_parts(used, capacity), default=1.0)) * capacity.cpus


def _difference(whole: int | None, part: int | None) -> int | None:
    return None if whole is None or part is None else max(0, whole - part)


def free_cores(rooms: Iterable[Room], pool: Pool, fleet: Fleet) -> float:
    """Return how many cores are free in those of `rooms` that are of `pool`, where jobs can use them."""
    capacities = {one.key: _capacity(one, fleet) for one in fleet.policy.variants if one.name == pool.name}
    return sum(_free(room, capacities[room.pool]) for room in rooms if room.pool in capacities)


def _free(room: Room, capacity: Shape | None) -> float:
    if capacity is None or room.free is None:
        return float(room.jobs)
    if not room.free.cpus and capacity.cpus:
        return 0.0  # as most of thousands
    return max(0.0, min(1.0, *_parts(room.free, capacity))) * capacity.cpus if room.jobs else 0.0


def _capacity(pool: Pool, fleet: Fleet) -> Shape | None:
    """Return what a VM holds; None where jobs are counted."""
    return None if fleet.policy.n_jobs_per_vm is not None else capacity_of(fleet.memory, pool)
