"""What an observation changes in what elastiq remembers: which VMs are its own, and which worker runs on which.

Pure functions: no clock, no input or output, no randomness.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from elastiq.memory import Breaker, Departed, Intent, Memory, VmRecord
from elastiq.model import SPOT, Instance, InstanceState, Observation, Policy, Worker
from elastiq.planning import patience
from elastiq.planning.boots import with_boot
from elastiq.planning.breaker import boot_failed
from elastiq.planning.capacities import learn_capacities
from elastiq.planning.intents import is_unmarked, made_of, track_intents
from elastiq.planning.matching import Matches, match_workers

ONCE_OWN_KEPT = 1000

_UNTROUBLED = Breaker()


@dataclass(frozen=True)
class Situation:
    """An observation, sorted: what is remembered now, and the live workers by whose they are."""

    memory: Memory
    matches: Matches = field(default_factory=Matches)
    """Which workers are on VMs of elastiq."""
    foreign_workers: tuple[Worker, ...] = ()
    departed: tuple[VmRecord, ...] = ()
    """VMs that are gone although the cloud has accepted no termination of them."""


def track(observation: Observation, memory: Memory, policy: Policy) -> Situation:
    """Return the situation after `observation`: unknown parts of it change nothing."""
    departed: tuple[VmRecord, ...] = ()
    if observation.instances is not None:
        memory, departed = _track_instances(observation, observation.instances, memory, policy)
    if observation.workers is None:
        return Situation(memory, departed=departed)
    memory, matches, foreign = _track_workers(observation, observation.workers, memory, policy)
    return Situation(memory, matches, foreign, departed)


def _track_instances(
    observation: Observation, instances: tuple[Instance, ...], memory: Memory, policy: Policy
) -> tuple[Memory, tuple[VmRecord, ...]]:
    """Return the memory after a listing, and the VMs that are gone though no termination of them was accepted."""
    now = observation.now
    listed_at = now - observation.instances_age_seconds
    listed = {instance.id: instance for instance in instances}
    vms = dict(memory.vms)
    ended = _track_listed(listed.values(), vms, memory, policy, now, listed_at)
    vanished = _track_unlisted(listed, vms, memory, listed_at, observation)
    breakers = dict(memory.breakers)
    for record in ended:
        if record.terminated_at is None and _has_failed_to_boot(record):
            how = "after a termination without an answer" if record.doomed else "by itself"
            reason = f"VM {record.id} ended {how}: {record.detail or 'no reason'}"
            breakers[record.pool] = boot_failed(breakers.get(record.pool), now, reason)
    for record in vanished:
        if _has_failed_to_boot(record):
            reason = f"VM {record.id} vanished before it became a worker"
            breakers[record.pool] = boot_failed(breakers.get(record.pool), now, reason)
    tokens_shown = memory.tokens_shown or any(instance.client_token for instance in listed.values())
    nobodys = [] if tokens_shown else [one for one in listed.values() if one.id not in vms and is_unmarked(one)]
    intents, given_up = track_intents(memory, listed, nobodys, listed_at, policy)
    for intent in memory.intents:
        if intent.token in given_up:
            missing = replace(memory, vms=vms).unseen(intent)
            reason = f"{missing} of {intent.count} VMs of a launch without an answer never turned up"
            breakers[intent.pool] = boot_failed(breakers.get(intent.pool), now, reason)
    once_own = tuple(name for name in memory.once_own if name not in vms)
    once_own = (*once_own, *(record.id for record in vanished), *given_up)[-ONCE_OWN_KEPT:]
    departed = [record for record in ended if record.terminated_at is None] + vanished
    by_itself = [record for record in departed if not record.doomed or record.missing_since is not None]
    gone = {record.id: Departed(record.worker_name, _left_at(record, observation), now) for record in by_itself}
    memory = _changed(memory, vms=vms, breakers=breakers, intents=intents, once_own=once_own, tokens_shown=tokens_shown)
    if gone:
        memory = replace(memory, to_forget={**memory.to_forget, **gone})
    return memory, tuple(departed)


def _has_failed_to_boot(record: VmRecord) -> bool:
    """Return whether a VM that is gone is one more failed boot: not if the cloud has taken it back."""
    return record.joined_at is None and not record.failed_boot and record.interrupted_at is None


def _track_listed(
    instances: Iterable[Instance],
    vms: dict[str, VmRecord],
    memory: Memory,
    policy: Policy,
    now: float,
    listed_at: float,
) -> list[VmRecord]:
    """Bring `vms` up to date with what is listed; return what has been taken out of it because it has ended."""
    tokens = {intent.token: intent for intent in memory.intents}
    known_before = set(memory.once_own)
    ended = []
    for instance in instances:
        record = vms.get(instance.id)
        if record is None:
            if not instance.state.alive or not _is_own(instance, policy.cluster, tokens, known_before):
                continue
            met_before = instance.id in known_before
            record = _adopt(instance, now, tokens.get(instance.client_token), policy, met_before=met_before)
        if instance.interrupted and record.interrupted_at is None:
            record = replace(record, interrupted_at=listed_at)
        if instance.state.alive:
            record = _refresh(record, instance, policy.cluster)
            vms[instance.id] = record if record.terminated_at is None else _still_there(record, listed_at)
        else:
            vms.pop(instance.id, None)
            ended.append(replace(record, detail=instance.detail or record.detail, missing_since=None))
    return ended


def _track_unlisted(
    listed: Mapping[str, Instance],
    vms: dict[str, VmRecord],
    memory: Memory,
    listed_at: float,
    observation: Observation,
) -> list[VmRecord]:
    """Bring `vms` up to date with what the listing leaves out; return what has vanished for good."""
    missing = []
    for record in memory.vms.values():
        if record.id in listed or record.launched_at >= listed_at:
            continue
        if record.terminated_at is not None:
            if listed_at > record.terminated_at:
                del vms[record.id]
        elif record.missing_since is None:
            vms[record.id] = replace(record, missing_since=listed_at)
        elif listed_at - record.missing_since > patience.MISSING_GRACE_SECONDS:
            missing.append(record)
    if not missing:
        return []
    workers = observation.workers
    shown = (
        None
        if workers is None
        else match_workers(workers, memory.vms.values(), observation.now - observation.workers_age_seconds)
    )
    in_sight = None if shown is None else shown.workers
    vanished = [record for record in missing if record.doomed or not _in_sight(record, in_sight, listed_at)]
    for record in vanished:
        del vms[record.id]
    return vanished


def _left_at(record: VmRecord, observation: Observation) -> str | None:
    """Return the address by which the batch system may be told that a VM is gone; None if it may be another's.

    A VM that dies at once may have become a worker that elastiq never saw.
    """
    if record.worker_name or not record.address:
        return record.address
    if observation.workers is None:
        return None
    there = [worker for worker in observation.workers if worker.address == record.address]
    own = match_workers(there, [record], observation.now - observation.workers_age_seconds).workers
    return record.address if len(own) == len(there) else None


def _in_sight(record: VmRecord, shown: Mapping[str, Worker] | None, listed_at: float) -> bool:
    """Return whether the batch system showed its worker lately: then jobs may run there, whatever listings say. They
    may be those of another region or account, and one answer of a batch system is no better than one listing."""
    if record.joined_at is None:
        return shown is not None and record.id in shown
    if shown is None or record.id in shown or record.lost_since is None:
        return True
    return listed_at - record.lost_since <= patience.MISSING_GRACE_SECONDS


def _is_own(instance: Instance, cluster: str, tokens: Mapping[str, Intent], once_own: set[str]) -> bool:
    tagged = bool(cluster) and instance.cluster == cluster
    return tagged or instance.client_token in tokens or instance.id in once_own or instance.client_token in once_own


def _adopt(instance: Instance, now: float, intent: Intent | None, policy: Policy, *, met_before: bool) -> VmRecord:
    """Return a record for a VM of elastiq without one: its launch was not journalled to the end, it was taken for gone
    (`met_before`), or state was lost."""
    if intent is not None:
        # The last VM of a large launch may be made long after the request.
        made_at = max(intent.waiting_since, min(now, instance.launched_at or 0.0))
        return made_of(intent, instance.id, made_at)
    launched_at = now if instance.launched_at is None else min(now, instance.launched_at)
    age_seconds = None if instance.launched_at is None else now - instance.launched_at
    is_young = (
        age_seconds is not None and -patience.CLOCKS_APART_SECONDS <= age_seconds <= policy.estimated_vm_deploy_time_s
    )
    # An old one may have been a worker for long: it gets the patience of a worker that is out of sight.
    may_have_joined = met_before or not is_young
    pools = [pool.name for pool in policy.pools]
    return VmRecord(
        instance.id,
        instance.pool if instance.pool in pools else pools[0],
        instance.client_token,
        launched_at=launched_at,
        joined_at=launched_at if may_have_joined else None,
        lost_since=now if may_have_joined else None,
    )


def _refresh(record: VmRecord, instance: Instance, cluster: str) -> VmRecord:
    """Return the record of a VM as a listing shows it: itself if that is nothing new, as with most of them."""
    address, name, type_ = (
        instance.address or record.address,
        instance.name or record.name,
        instance.type or record.type,
    )
    market = instance.market or record.market
    tagged = bool(cluster) and instance.cluster == cluster
    if (
        record.state is instance.state
        and record.address == address
        and record.name == name
        and record.type == type_
        and record.market == market
        and record.detail == instance.detail
        and record.tagged is tagged
        and record.missing_since is None
    ):
        return record
    return replace(
        record,
        state=instance.state,
        address=address,
        name=name,
        type=type_,
        market=market,
        detail=instance.detail,
        tagged=tagged,
        missing_since=None,
    )


def _still_there(record: VmRecord, listed_at: float) -> VmRecord:
    """Return the record of a listed VM; one that should have been gone for long is to be terminated again."""
    is_going = record.state is InstanceState.STOPPING
    gone_seconds = listed_at - (record.terminated_at or listed_at)
    if is_going or gone_seconds <= patience.TERMINATE_AGAIN_SECONDS:
        return record
    return replace(record, terminated_at=None)


def _changed(memory: Memory, **values: object) -> Memory:
    """Return `memory` itself if it has these values already."""
    changed = {name: value for name, value in values.items() if getattr(memory, name) != value}
    return replace(memory, **changed) if changed else memory  # type: ignore[arg-type]


def _track_workers(
    observation: Observation, workers: tuple[Worker, ...], memory: Memory, policy: Policy
) -> tuple[Memory, Matches, tuple[Worker, ...]]:
    seen_at = observation.now - observation.workers_age_seconds
    vms = dict(memory.vms)
    breakers = dict(memory.breakers)
    matches = match_workers(workers, vms.values(), seen_at)
    joined = []
    own = {
        id_: worker if worker.idle_seconds is None else _not_idle_for_longer(worker, memory.vms[id_], seen_at)
        for id_, worker in matches.workers.items()
    }
    for id_, record in memory.vms.items():
        worker = own.get(id_)
        if worker is not None:
            seen = _seen(record, worker, seen_at)
            if seen is not record:
                vms[id_] = seen
            if record.joined_at is None:
                joined.append(id_)
            before = breakers.get(record.pool, _UNTROUBLED)
            if record.has_worked and not before.useless_births:
                continue  # as most of thousands
            vms[id_], breaker = _as_born(record, seen, worker, before, seen_at, policy)
            if breaker is not before and breaker != before:
                breakers[record.pool] = breaker
        elif record.joined_at is not None and not record.doomed and record.lost_since is None:
            vms[id_] = replace(record, lost_since=seen_at)
    foreign: tuple[Worker, ...] = ()
    if len(own) < len(workers):
        own_names = {worker.name for worker in own.values()}
        foreign = tuple(worker for worker in workers if worker.name not in own_names)
    memory = _learn_boots(_changed(memory, vms=vms, breakers=breakers), joined, policy)
    memory = learn_capacities(memory, own, policy, seen_at)
    return memory, replace(matches, workers=own), foreign


def _learn_boots(memory: Memory, joined: Iterable[str], policy: Policy) -> Memory:
    """Return `memory` with how long those VMs took that have just `joined`: not if nobody looked meanwhile."""
    for record in (memory.vms[id_] for id_ in joined):
        pool = policy.pool(record.pool)
        if pool is None or record.counted_from or record.joined_at is None:
            continue
        if pool.takes(record.type) and record.joined_at > record.launched_at:
            memory = with_boot(memory, pool, record.joined_at - record.launched_at)
    return memory


def _not_idle_for_longer(worker: Worker, record: VmRecord, seen_at: float) -> Worker:
    """Return `worker`, idle for no longer than since its VM was last seen with work: a batch system may give the start
    of the last job for its end (HTCondor 23.9 does, in the ad that it sends as the last dynamic slot goes)."""
    if worker.idle_seconds is None or not record.has_worked:
        return worker
    idle_from = seen_at if record.at_work or record.idle_from is None else record.idle_from
    idle_seconds = max(0.0, min(worker.idle_seconds, seen_at - idle_from))
    return worker if idle_seconds == worker.idle_seconds else replace(worker, idle_seconds=idle_seconds)


def _as_born(
    before: VmRecord, record: VmRecord, worker: Worker, breaker: Breaker, seen_at: float, policy: Policy
) -> tuple[VmRecord, Breaker]:
    """Return a VM and the breaker of its pool after a look at its worker: whether it has become one that is of use."""
    seconds = seen_at - (seen_at if record.joined_at is None else record.joined_at)
    # With a short idle_for_time_s none gets older if it has to wait for others that a job needs at the same time.
    stays_idle = policy.idle_seconds_of(record.pool) + policy.estimated_vm_deploy_time_s * policy.is_adaptive
    is_old = seconds > patience.CLOSED_AT_BIRTH_SECONDS or (worker.idle_seconds or 0.0) > stays_idle
    lately = is_old and seconds <= 3 * patience.CLOSED_AT_BIRTH_SECONDS
    is_sound = not (worker.closed or worker.hurt)
    # That an earlier VM is at work, or sound, tells nothing of those that do not boot now.
    if (worker.jobs and not before.has_worked) or (breaker.useless_births and lately and is_sound):
        breaker = replace(breaker, failed_boots=0, trips=0, useless_births=0)
    elif reason := _useless_at_birth(record, worker, seen_at, policy):
        breaker = replace(breaker, useless_births=breaker.useless_births + 1)
        breaker = boot_failed(breaker, seen_at, f"the worker of VM {record.id} {reason}")
        record = replace(record, failed_boot=True)
    elif before.joined_at is None and not breaker.useless_births:
        breaker = replace(breaker, failed_boots=0, trips=0)
    return record, breaker


def _useless_at_birth(record: VmRecord, worker: Worker, seen_at: float, policy: Policy) -> str:
    """Return what is the matter with a worker that has been of no use since it joined; empty: nothing, as far as it is
    known."""
    if worker.jobs or worker.interrupted or record.leaving or record.has_worked or record.failed_boot:
        return ""
    seconds = seen_at - (seen_at if record.joined_at is None else record.joined_at)
    idle_seconds = worker.idle_seconds or 0.0
    if worker.closed:
        # A job may have come and gone between two looks, or before a restart: the batch system would know of it.
        is_told = seconds > patience.CLOSED_AT_BIRTH_SECONDS and idle_seconds >= seconds
        return "was closed by others before it ran anything" if is_told else ""
    # Its VM goes once it has idled for long, and is not seen again then.
    goes_after = policy.idle_seconds_of(record.pool)
    is_told = worker.hurt and idle_seconds > min(patience.CLOSED_AT_BIRTH_SECONDS, goes_after)
    return "holds less than its VM does, by what it says itself, and ran nothing" if is_told else ""


def _seen(record: VmRecord, worker: Worker, seen_at: float) -> VmRecord:
    """Return the record of a VM as its worker shows it: itself if that is nothing new, as with most of them."""
    at_work = worker.jobs > 0
    work_from = None if not at_work else record.work_from if record.at_work else seen_at
    idle_from = None if at_work else seen_at if record.at_work else record.idle_from
    was_closing = record.closing_at is not None and not record.doomed
    if was_closing and not worker.closed and seen_at > (record.closing_at or 0.0) + patience.CLOSE_AGAIN_SECONDS:
        # Open although elastiq once closed it: somebody else opened it again, and jobs may be on their way.
        record = replace(record, closing_at=None, closed=False, terminate_tries=0)
    interrupted_at = record.interrupted_at
    # Nobody but the cloud takes VMs back, and only such: what a worker says of others may be forged.
    if worker.interrupted and record.market == SPOT:
        interrupted_at = seen_at if interrupted_at is None else interrupted_at
    elif record.state is InstanceState.RUNNING:
        interrupted_at = None  # somebody has taken the mark away, and nothing of it has come
    if (
        record.at_work is at_work
        and record.interrupted_at == interrupted_at
        and record.work_from == work_from
        and record.idle_from == idle_from
        and record.joined_at is not None
        and record.worker_name == worker.name
        and record.lost_since is None
    ):
        return record
    return replace(
        record,
        at_work=at_work,
        work_from=work_from,
        idle_from=idle_from,
        joined_at=seen_at if record.joined_at is None else record.joined_at,
        worker_name=worker.name,
        lost_since=None,
        interrupted_at=interrupted_at,
        requeued_at=None if interrupted_at is None else record.requeued_at,
    )
