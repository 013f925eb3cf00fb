"""Decides what to launch, reopen and terminate, and says why. Pure: no clock, no input or output, no randomness.

The rules for threshold, waiting time, jobs per VM, idle time, deployment time and quota are the original elastiq's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from elastiq.decisions import Decision, Figures, Kind, Plan
from elastiq.memory import Breaker, Intent, Memory, VmRecord
from elastiq.model import DEFAULT_JOBS_PER_VM, Demand, InstanceState, Observation, Policy, Pool, Shape, Worker
from elastiq.planning import patience
from elastiq.planning.intents import same_type
from elastiq.planning.packing import UNLIMITED, Room, largest_first, place, take_one_each
from elastiq.planning.tracking import Situation, track

MOST_VMS_AT_ONCE = 1000
"""Of one launch; EC2's RunInstances takes no more."""

NAMES_SHOWN = 5
"""Of VMs, in one reason."""


def plan(observation: Observation, memory: Memory, policy: Policy) -> Plan:
    """Return what to do after `observation`, what to remember, and why, in words.

    Nothing is launched unless queue, workers and VMs are all known; nothing is terminated unless workers and VMs
    are. The decisions of one plan never exceed the quota, whatever becomes of each of them.
    """
    situation = track(observation, memory, policy)
    unknown = [
        name
        for name, part in (
            ("the queue", observation.demand),
            ("the workers", observation.workers),
            ("the VMs", observation.instances),
        )
        if part is None
    ]
    memory = situation.memory
    decisions: list[Decision] = []
    ask_again: tuple[str, ...] = ()
    if unknown:
        faults = f" ({'; '.join(observation.faults)})" if observation.faults else ""
        decisions.append(_hold(f"{' and '.join(unknown)} cannot be read, so nothing is launched{faults}"))
    else:
        memory, ups = _plan_up(observation, situation, policy)
        decisions += ups
        ask_again = _ask_again(memory, policy) if _count(observation.demand or ()) else ()
    if observation.workers is not None and observation.instances is not None:
        reopened = {decision.instance_id for decision in decisions if decision.kind is Kind.REOPEN}
        seen_at = observation.now - observation.workers_age_seconds
        lacking = not unknown and memory.waiting_since is not None
        decisions += _plan_down(observation.now, seen_at, situation, policy, reopened, lacking)
    decisions += _report_left_alone(observation.now, situation, policy)
    figures = _figures(observation, situation, policy)
    return Plan(tuple(decisions), memory, _summary(figures, policy, decisions), situation.departed, figures, ask_again)


def _hold(reason: str) -> Decision:
    return Decision(Kind.HOLD, reason)


def _count(demand: Iterable[Demand]) -> int:
    return sum(group.jobs for group in demand)


def _vm_room(pool: Pool, memory: Memory, policy: Policy, type_: str = "") -> Room:
    """Return what one VM of `pool` takes: a new one, or one of an earlier `type_`."""
    capacity = memory.capacities.get(type_ if type_ and pool.instance_type else pool.capacity_key)
    if policy.n_jobs_per_vm is not None:
        return Room(None, policy.n_jobs_per_vm)
    if capacity is None:
        return Room(None, DEFAULT_JOBS_PER_VM)
    return Room(capacity, UNLIMITED)


def _working(record: VmRecord) -> bool:
    """Return whether this VM is, or is expected to become, a worker that takes jobs."""
    return record.state in (InstanceState.PENDING, InstanceState.RUNNING) and not record.leaving


def _on_its_way(record: VmRecord, now: float, policy: Policy) -> bool:
    late = now - record.awaited_since > policy.estimated_vm_deploy_time_s
    return _working(record) and record.joined_at is None and not late


def _just_out_of_sight(record: VmRecord, now: float) -> bool:
    """Return whether its worker is probably coming back: just reopened, or the batch system was restarted."""
    unseen = record.lost_since is None or now - record.lost_since <= patience.OUT_OF_SIGHT_SECONDS
    return _working(record) and record.joined_at is not None and unseen


def _counts(record: VmRecord) -> bool:
    """Return whether this VM counts against the quota: all but those that the cloud says are on their way out."""
    return not (record.terminated_at is not None and record.state is InstanceState.STOPPING)


def _may_yet_join(record: VmRecord) -> bool:
    """Return whether it is not known yet how the boot of this VM ends."""
    return record.joined_at is None and not record.failed_boot and _counts(record)


def _possible(memory: Memory, pool: str) -> int:
    """Return how many VMs may exist that elastiq does not know for its own."""
    return sum(
        len(intent.lookalikes) if intent.needs_people else _unseen(intent, memory)
        for intent in memory.intents
        if intent.pool == pool
    )


def _awaited(memory: Memory, pool: str) -> int:
    """Return how many VMs may still turn up as elastiq's own."""
    return sum(_unseen(intent, memory) for intent in memory.intents if intent.pool == pool and not intent.needs_people)


def _unseen(intent: Intent, memory: Memory) -> int:
    return max(0, intent.count - sum(record.token == intent.token for record in memory.vms.values()))


def _quota_room(memory: Memory, policy: Policy, pool: Pool) -> int:
    """Return how many more VMs of `pool` may be launched."""
    return max(0, _quota_left(memory, policy, pool))


def _quota_left(memory: Memory, policy: Policy, pool: Pool) -> int:
    """Return what is left of the quota for `pool`; less than nothing if the quota was lowered."""

    def used(records: Iterable[VmRecord], pools: Iterable[str]) -> int:
        return sum(map(_counts, records)) + sum(_possible(memory, name) for name in pools)

    of_pool = used((record for record in memory.vms.values() if record.pool == pool.name), [pool.name])
    pools = {intent.pool for intent in memory.intents}
    of_cluster = used(memory.vms.values(), pools)
    return min(
        UNLIMITED if pool.max_vms is None else pool.max_vms - of_pool,
        UNLIMITED if policy.max_vms is None else policy.max_vms - of_cluster,
    )


def _ask_again(memory: Memory, policy: Policy) -> tuple[str, ...]:
    pools = {pool.name: pool for pool in policy.pools}
    return tuple(
        intent.token
        for intent in memory.intents
        if intent.pool in pools and _quota_left(memory, policy, pools[intent.pool]) >= 0
    )


def _plan_up(observation: Observation, situation: Situation, policy: Policy) -> tuple[Memory, list[Decision]]:
    now, memory = observation.now, situation.memory
    decisions: list[Decision] = []
    demand, too_big = _feasible(observation.demand or (), situation, policy)
    decisions += too_big

    lacking = place(largest_first(demand), _own_rooms(now, situation, policy))
    if _count(lacking) < max(1, policy.waiting_jobs_threshold):
        memory = replace(memory, waiting_since=None)
    elif memory.waiting_since is None:
        memory = replace(memory, waiting_since=now)
    waited = now - memory.waiting_since if memory.waiting_since is not None else 0.0
    left = _place_on_foreign(lacking, waited, situation, policy)
    closed = [
        record
        for record in memory.vms.values()
        if record.leaving and not (_never_reopen(record) or _closed_by_other(record, situation))
        if now >= record.reopen_retry_at
    ]
    reopened, left = _reopen(left, closed, memory, policy)
    decisions += reopened

    waiting = _count(left)
    due = False
    if not waiting:
        if _count(demand) and not reopened:
            decisions.append(_hold(f"workers present or booting have room for {_jobs(_count(demand))} still waiting"))
    elif waiting < policy.waiting_jobs_threshold:
        decisions.append(
            _hold(f"{_without_room(waiting)}, fewer than waiting_jobs_threshold {policy.waiting_jobs_threshold}")
        )
    elif waited > policy.waiting_jobs_time_s:
        due = True
    else:
        limit = policy.waiting_jobs_time_s
        decisions.append(
            _hold(f"{_without_room(waiting)} for {waited:.0f} s; VMs are launched after waiting_jobs_time_s {limit:g}")
        )
    decisions += _launches(now, left if due else [], memory, policy, len(reopened))
    return memory, decisions


def _feasible(demand: Sequence[Demand], situation: Situation, policy: Policy) -> tuple[list[Demand], list[Decision]]:
    """Return the demand that VMs could serve, and a word on the rest: launching would not help it."""
    decisions = []
    fitting = list(demand)
    if policy.max_vms is not None:
        machines = policy.max_vms + len(situation.foreign_workers)
        wide = [group for group in fitting if group.vms_per_job > machines]
        if wide:
            what = "; ".join(f"{_jobs(group.jobs)} of {group.vms_per_job} machines at once" for group in wide[:3])
            decisions.append(_hold(f"{what} can never run: max_vms is {policy.max_vms}; not counted as demand"))
            fitting = [group for group in fitting if group not in wide]
    capacities = [situation.memory.capacities.get(pool.capacity_key) for pool in policy.pools]
    known = [capacity for capacity in capacities if capacity is not None]
    if len(known) < len(capacities):
        return fitting, decisions
    large = [group for group in fitting if not any(group.shape.fits(capacity) for capacity in known)]
    if large:
        largest = max(known, key=lambda capacity: (capacity.cpus, capacity.memory_mb))
        what = "; ".join(f"{_jobs(group.jobs)} of {_describe(group.shape)}" for group in large[:3])
        decisions.append(_hold(f"{what} can never run: a VM holds {_describe(largest)}; not counted as demand"))
    return [group for group in fitting if group not in large], decisions


def _describe(shape: Shape) -> str:
    parts = [f"{shape.cpus} CPU{'s' if shape.cpus != 1 else ''}"]
    parts += [f"{shape.memory_mb} MB memory"] if shape.memory_mb else []
    parts += [f"{shape.disk_mb} MB disk"] if shape.disk_mb else []
    parts += [f"{shape.gpus} GPU{'s' if shape.gpus != 1 else ''}"] if shape.gpus else []
    return ", ".join(parts)


def _own_rooms(now: float, situation: Situation, policy: Policy) -> list[Room]:
    """Return the room on elastiq's workers that take jobs, and on VMs that are on their way.

    A free worker of elastiq is as good as a new VM, so what fits there needs no launch, however long it waits.
    """
    memory = situation.memory
    pools = {pool.name: pool for pool in policy.pools}
    rooms = []
    for id_, record in memory.vms.items():
        worker = situation.own_workers.get(id_)
        if worker is not None and _working(record) and not worker.closed:
            jobs = UNLIMITED if policy.n_jobs_per_vm is None else max(0, policy.n_jobs_per_vm - worker.jobs)
            rooms.append(Room(worker.free, jobs))
        elif worker is None and (_on_its_way(record, now, policy) or _just_out_of_sight(record, now)):
            rooms.append(_vm_room(pools.get(record.pool, policy.pools[0]), memory, policy, record.type))
    for intent in memory.intents:
        if intent.pool in pools and not intent.needs_people:
            pool, type_ = pools[intent.pool], intent.instance_type
            rooms += [_vm_room(pool, memory, policy, type_) for _ in range(_unseen(intent, memory))]
    return rooms


def _place_on_foreign(demand: Sequence[Demand], waited: float, situation: Situation, policy: Policy) -> list[Demand]:
    """Return what is left of `demand` after putting it on workers that are not elastiq's.

    Such a worker may be of another kind: its room is believed only while the jobs have not waited for long. `waited`
    tells of all jobs together, for batch systems that do not tell more.
    """
    rooms = [Room(worker.free, UNLIMITED) for worker in situation.foreign_workers if not worker.closed]
    left = []
    for group in demand:
        seconds = waited if group.oldest_wait_seconds is None else group.oldest_wait_seconds
        left += place([group], rooms) if seconds <= policy.estimated_vm_deploy_time_s else [group]
    return left


def _closed_by_other(record: VmRecord, situation: Situation) -> bool:
    worker = situation.own_workers.get(record.id)
    return worker is not None and worker.closed_by_other


def _never_reopen(record: VmRecord) -> bool:
    """Return whether a job must not start there any more: it is going, or may be."""
    return record.doomed or record.terminated_at is not None or record.state is not InstanceState.RUNNING


def _reopen(
    left: list[Demand], closed: Sequence[VmRecord], memory: Memory, policy: Policy
) -> tuple[list[Decision], list[Demand]]:
    decisions = []
    pools = {pool.name: pool for pool in policy.pools}
    for record in closed:
        if not left or not record.worker_name:
            continue
        after = place(left, [_vm_room(pools.get(record.pool, policy.pools[0]), memory, policy, record.type)])
        if _count(after) < _count(left):
            closed_ = "is closed but not terminated" if record.closed else "may be closed for a termination"
            reason = f"{_without_room(_count(left))} and the worker of this VM {closed_}"
            decisions.append(Decision(Kind.REOPEN, reason, record.pool, instance_id=record.id))
            left = after
    return decisions, left


def _launches(now: float, left: list[Demand], memory: Memory, policy: Policy, reopened: int) -> list[Decision]:
    """Return the launches for the jobs that are left and for the minimum, within quota and breaker."""
    decisions: list[Decision] = []
    launched = 0
    cluster_missing = policy.min_vms - reopened - sum(_working(record) for record in memory.vms.values())
    cluster_missing -= sum(_awaited(memory, pool.name) for pool in policy.pools)
    for number, pool in enumerate(policy.pools):
        room = max(0, min(MOST_VMS_AT_ONCE, _quota_room(memory, policy, pool) - launched))
        wanted, beyond = _vms_for(left, room, pool, memory, policy)
        waiting, left = _count(left), beyond
        own_missing = pool.min_vms - _awaited(memory, pool.name) - reopened
        own_missing -= sum(_working(record) for record in memory.vms.values() if record.pool == pool.name)
        missing = max(0, own_missing, cluster_missing - launched if number == 0 else 0)
        count = max(wanted, missing)
        if not count:
            continue
        if wanted >= missing:
            why = f"{_without_room(waiting)} for more than {policy.waiting_jobs_time_s:g} s"
        else:
            why = f"fewer VMs than min_vms {max(pool.min_vms, policy.min_vms)} are at work"
        decision = _within_limits(now, count, room, why, pool, memory, policy)
        launched += decision.count
        decisions.append(decision)
    wide = [group for group in left if group.vms_per_job > 1]
    if wide and policy.max_vms is not None:
        room = max(0, max(_quota_left(memory, policy, pool) for pool in policy.pools) - launched)
        what = f"{_jobs(wide[0].jobs)} {'lacks' if wide[0].jobs == 1 else 'lack'} {wide[0].vms_per_job} VMs at once"
        decisions.append(_hold(f"{what}, but max_vms {policy.max_vms} leaves {room}, so none is launched for that"))
    return decisions


def _within_limits(now: float, count: int, room: int, why: str, pool: Pool, memory: Memory, policy: Policy) -> Decision:
    breaker = memory.breakers.get(pool.name, Breaker())
    if now < breaker.paused_until:
        pause = f"launches pause for {breaker.paused_until - now:.0f} s more"
        return _hold(f"{why}, but {pause}: {breaker.reason}")
    maximum = min((limit for limit in (pool.max_vms, policy.max_vms) if limit is not None), default=None)
    if not room:
        return _hold(f"{why}, but all of max_vms {maximum} are in use")
    if breaker.failed_boots >= patience.BOOT_FAILURES_TO_TRIP:
        trial = f"the last {breaker.failed_boots} VMs never became workers"
        booting = any(record.pool == pool.name and _may_yet_join(record) for record in memory.vms.values())
        if booting or _awaited(memory, pool.name):
            return _hold(f"{why}, but {trial}, so the one that is booting must join first: {breaker.boot_reason}")
        count, why = 1, f"{why}; one VM to try, since {trial}"
    if count > room:
        most = room == MOST_VMS_AT_ONCE
        why = f"{why}; one request takes no more than {room}" if most else f"{why}; max_vms {maximum} leaves {room}"
    return Decision(Kind.LAUNCH, why, pool.name, min(count, room))


def _vms_for(left: list[Demand], room: int, pool: Pool, memory: Memory, policy: Policy) -> tuple[int, list[Demand]]:
    """Return how many VMs of `pool` hold what is left, and what they do not hold.

    First fit, largest jobs first. One VM more than `room` may be wanted, which tells that there should be more; but a
    job that needs several VMs at once gets all of them within `room`, or none.
    """
    rooms: list[Room] = []
    beyond = []
    for group in largest_first(left):
        jobs = group.jobs
        if group.vms_per_job > 1:
            able = [present for present in rooms if present.holds(group.shape)]
            while jobs and _vm_room(pool, memory, policy).holds(group.shape):
                lacking = max(0, group.vms_per_job - len(able))
                if len(rooms) + lacking > room:
                    break
                new = [_vm_room(pool, memory, policy) for _ in range(lacking)]
                rooms += new
                able += new
                able = take_one_each(able[: group.vms_per_job], group.shape) + able[group.vms_per_job :]
                jobs -= 1
        else:
            for present in rooms:
                jobs -= present.take(group.shape, jobs)
            per_vm = _vm_room(pool, memory, policy).take(group.shape, jobs)
            while jobs and per_vm and len(rooms) <= room:
                rooms.append(_vm_room(pool, memory, policy))
                jobs -= rooms[-1].take(group.shape, jobs)
        if jobs:
            beyond.append(replace(group, jobs=jobs))
    return len(rooms), beyond


def _plan_down(
    now: float, seen_at: float, situation: Situation, policy: Policy, reopened: set[str], lacking: bool
) -> list[Decision]:
    decisions: list[Decision] = []
    idle: list[tuple[float, VmRecord]] = []
    for record in situation.memory.vms.values():
        if record.terminated_at is not None or record.id in reopened or now < record.terminate_retry_at:
            continue
        worker = situation.own_workers.get(record.id)
        reason, failed_boot = _reason_to_end(seen_at, record, worker, policy)
        if reason:
            decisions.append(_terminate(record, reason, failed_boot=failed_boot))
        elif record.missing_since is None and worker is not None and _working(record) and _is_idle(worker):
            idle.append((worker.idle_seconds or 0.0, record))
    going = {decision.instance_id for decision in decisions}
    idle = [entry for entry in idle if entry[0] > policy.idle_for_time_s]
    in_the_way = _in_the_way(idle, going, situation.memory, policy) if lacking else None
    if in_the_way is not None:
        reason = f"idle, of the earlier type {in_the_way.type}, and in the place of a VM for jobs that it does not hold"
        decisions.append(_terminate(in_the_way, reason))
        going.add(in_the_way.id)
        idle = [entry for entry in idle if entry[1] is not in_the_way]
    return decisions + _end_idle(idle, going, situation, policy)


def _in_the_way(idle: list[tuple[float, VmRecord]], going: set[str], memory: Memory, policy: Policy) -> VmRecord | None:
    """Return the VM of an earlier type that has idled for long while jobs lack room and the quota leaves none.

    The minimum would keep it, and none of the type that is launched now could come: those jobs may need just that.
    """
    pools = {pool.name: pool for pool in policy.pools}
    if going or any(record.leaving for record in memory.vms.values()):
        return None
    for _, record in sorted(idle, key=lambda entry: -entry[0]):
        pool = pools.get(record.pool)
        if pool is not None and not same_type(record.type, pool) and not _quota_room(memory, policy, pool):
            return record
    return None


def _is_idle(worker: Worker) -> bool:
    return not (worker.closed or worker.jobs)


def _reason_to_end(seen_at: float, record: VmRecord, worker: Worker | None, policy: Policy) -> tuple[str, bool]:
    """Return why this VM must go though the batch system does not call it idle, and whether it never was a worker.

    Patience is counted up to `seen_at`, when the workers were last looked at: one may have joined since.
    """
    if worker is not None and worker.closed_by_other and not record.doomed and record.state is not InstanceState.ERROR:
        return "", False
    if record.leaving:
        done = "was closed" if record.closed or record.doomed else "was to be closed"
        return f"its worker {done} for a termination that has not succeeded yet", record.joined_at is None
    if record.state is InstanceState.ERROR:
        return f"the cloud says it is in error{': ' + record.detail if record.detail else ''}", record.joined_at is None
    if record.missing_since is not None:
        return "", False
    if worker is not None:
        return _reason_to_end_closed(worker, policy), False
    if record.joined_at is None and seen_at - record.awaited_since > policy.estimated_vm_deploy_time_s:
        limit = policy.estimated_vm_deploy_time_s
        return f"it has not joined the batch system in {limit:g} s (estimated_vm_deploy_time_s)", True
    if record.lost_since is not None and seen_at - record.lost_since > policy.lost_worker_time_s:
        limit = policy.lost_worker_time_s
        return f"its worker left the batch system and was not back in {limit:g} s (lost_worker_time_s)", False
    return "", False


def _report_left_alone(now: float, situation: Situation, policy: Policy) -> list[Decision]:
    """Say which VMs are counted, and why elastiq does nothing about them."""
    decisions = []
    alike = [id_ for intent in situation.memory.intents for id_ in intent.lookalikes]
    if alike:
        decisions.append(
            _hold(
                f"VM {', '.join(alike[:NAMES_SHOWN])} may be of a launch whose answer was lost, but has neither its "
                "client token nor a tag: it counts and is left alone; "
                f"give it the tag elastiq:cluster={policy.cluster}, or terminate it"
            )
        )
    missing = [
        id_
        for id_ in situation.own_workers
        if now - (situation.memory.vms[id_].missing_since or now) > patience.MISSING_GRACE_SECONDS
    ]
    if missing:
        names = ", ".join(missing[:NAMES_SHOWN])
        decisions.append(
            _hold(
                f"the cloud does not list VM {names}, but the batch system shows its worker: it counts and is left "
                "alone; check region, api_url and the keys"
            )
        )
    drained = [id_ for id_, worker in situation.own_workers.items() if worker.closed_by_other]
    if drained:
        names = ", ".join(drained[:NAMES_SHOWN])
        decisions.append(_hold(f"VM {names} is left alone: somebody else closed its worker in the batch system"))
    return decisions


def _reason_to_end_closed(worker: Worker, policy: Policy) -> str:
    """Return why a VM must go whose worker is closed although elastiq knows of no termination.

    Where the batch system does not tell who closed it, somebody else may have a reason; but so may elastiq have had,
    before its records were lost.
    """
    idle_seconds = worker.idle_seconds or 0.0
    if not worker.closed or worker.jobs or idle_seconds <= policy.idle_for_time_s + policy.lost_worker_time_s:
        return ""
    return f"its worker is closed and has been idle for {idle_seconds:.0f} s, so it serves nobody"


def _terminate(record: VmRecord, reason: str, *, failed_boot: bool = False) -> Decision:
    return Decision(Kind.TERMINATE, reason, record.pool, instance_id=record.id, failed_boot=failed_boot)


def _end_idle(
    idle: list[tuple[float, VmRecord]], going: set[str], situation: Situation, policy: Policy
) -> list[Decision]:
    """Return terminations of the longest idle VMs down to the minimum.

    VMs that are still booting, or whose worker somebody else closed, keep nobody alive.
    """
    open_workers = {id_ for id_, worker in situation.own_workers.items() if not worker.closed}
    joined = [
        record
        for record in situation.memory.vms.values()
        if _working(record) and record.id in open_workers and record.id not in going
    ]
    spare = len(joined) - policy.min_vms
    pool_spare = {pool.name: sum(record.pool == pool.name for record in joined) - pool.min_vms for pool in policy.pools}
    decisions = []
    kept = 0
    for seconds, record in sorted(idle, key=lambda entry: -entry[0]):
        if spare > 0 and pool_spare.get(record.pool, 1) > 0:
            spare -= 1
            pool_spare[record.pool] = pool_spare.get(record.pool, 1) - 1
            decisions.append(
                _terminate(record, f"idle for {seconds:.0f} s, more than idle_for_time_s {policy.idle_for_time_s:g}")
            )
        else:
            kept += 1
    if kept:
        decisions.append(_hold(f"{kept} idle VM{'s' if kept > 1 else ''} kept: min_vms is {policy.min_vms}"))
    return decisions


def _jobs(count: int) -> str:
    return f"{count} job{'s' if count != 1 else ''}"


def _without_room(count: int) -> str:
    return f"{_jobs(count)} {'has' if count == 1 else 'have'} found no room"


def _figures(observation: Observation, situation: Situation, policy: Policy) -> Figures:
    records = situation.memory.vms.values()
    pending = sum(record.state is InstanceState.PENDING for record in records)
    gone = sum(not _counts(record) for record in records)
    workers = observation.workers
    busy = None if workers is None else sum(worker.jobs > 0 for worker in workers)
    return Figures(
        None if observation.demand is None else _count(observation.demand),
        busy,
        None if workers is None or busy is None else len(workers) - busy,
        pending,
        len(situation.memory.vms) - pending - gone,
        sum(_possible(situation.memory, pool.name) for pool in policy.pools),
    )


def _summary(figures: Figures, policy: Policy, decisions: Sequence[Decision]) -> str:
    def number(value: int | None) -> str:
        return "?" if value is None else str(value)

    launch = sum(decision.count for decision in decisions if decision.kind is Kind.LAUNCH)
    reopen = sum(decision.kind is Kind.REOPEN for decision in decisions)
    terminate = sum(decision.kind is Kind.TERMINATE for decision in decisions)
    actions = [
        f"{verb} {count}" for verb, count in (("reopen", reopen), ("launch", launch), ("terminate", terminate)) if count
    ]
    holds = [decision.reason for decision in decisions if decision.kind is Kind.HOLD]
    maximum = "unlimited" if policy.max_vms is None else policy.max_vms
    unconfirmed = f", {figures.vms_unconfirmed} unconfirmed" if figures.vms_unconfirmed else ""
    return (
        f"jobs {number(figures.jobs_waiting)} waiting; workers {number(figures.workers_busy)} busy, "
        f"{number(figures.workers_idle)} idle; VMs {figures.vms_pending} pending, {figures.vms_running} running"
        f"{unconfirmed} of {policy.min_vms}..{maximum}: {'; '.join([*actions, *holds]) or 'nothing to do'}"
    )
