"""What an observation changes in what elastiq remembers: which VMs are its own, and which worker runs on which.

Pure functions: no clock, no input or output, no randomness.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from elastiq.model import (
    Breaker,
    Departed,
    Instance,
    InstanceState,
    Intent,
    Kind,
    Memory,
    Observation,
    Outcome,
    Policy,
    Pool,
    Shape,
    VmRecord,
    Worker,
)

MISSING_GRACE_SECONDS = 600.0
"""A VM that listings leave out counts for this long: listings are eventually consistent, and sometimes wrong. If the
batch system shows its worker it counts for longer: until that has been gone for as long, too."""

SETTLE_SECONDS = 120.0
SETTLE_SECONDS_PER_VM = 5.0
"""After an unclear answer to a launch, VMs may still turn up for so long (OpenStack makes about one in 2 s)."""

UNSEEN_SECONDS = 300.0
"""VMs of such a launch must be left out by listings over so long a time: one listing may be wrong."""

CLOCKS_APART_SECONDS = 300.0
"""So far the clocks of the cloud and of the head node may be apart when a VM's launch time is compared."""

STALE_WORKER_SLACK_SECONDS = 120.0
"""How much longer than its VM's age a worker may claim to have been idle; more: the ad is an earlier VM's."""

ONCE_OWN_KEPT = 1000

BOOT_FAILURES_TO_TRIP = 3
BOOT_PAUSES_SECONDS = (300.0, 600.0, 1200.0, 1800.0)
"""After three failed boots in a row launches pause for 5, 10, 20, then 30 minutes."""

REFUSAL_PAUSES_SECONDS = (15.0, 30.0, 60.0, 120.0, 300.0)
"""Pauses after launch requests in a row that the cloud refused; short, since quota comes back at any time."""

CLOSE_AGAIN_SECONDS = 30.0
RETRY_SECONDS = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0)
"""Pauses between tries to terminate a VM."""

REOPEN_AGAIN_SECONDS = 60.0
"""Pause after a worker could not be reopened. Its VM may be terminated meanwhile, and another one take its jobs."""

TERMINATE_AGAIN_SECONDS = 120.0
"""A VM that listings still show alive, and not on its way out, so long after the cloud accepted its termination did not
get it: a fresh VM may be unknown by its id, and OpenStack forgets terminations that fail."""


@dataclass(frozen=True)
class Situation:
    """An observation, sorted: what is remembered now, and the live workers by whose they are."""

    memory: Memory
    own_workers: Mapping[str, Worker] = field(default_factory=dict)
    """Workers on VMs of elastiq, by instance id."""
    foreign_workers: tuple[Worker, ...] = ()
    departed: tuple[VmRecord, ...] = ()
    """VMs that are gone without having been terminated by elastiq."""


def track(observation: Observation, memory: Memory, policy: Policy) -> Situation:
    """Return the situation after `observation`: unknown parts of it change nothing."""
    departed: tuple[VmRecord, ...] = ()
    if observation.instances is not None:
        memory, departed = _track_instances(observation, observation.instances, memory, policy)
    if observation.workers is None:
        return Situation(memory, departed=departed)
    memory, own, foreign = _track_workers(observation, observation.workers, memory, policy)
    return Situation(memory, own, foreign, departed)


def _track_instances(
    observation: Observation, instances: tuple[Instance, ...], memory: Memory, policy: Policy
) -> tuple[Memory, tuple[VmRecord, ...]]:
    """Return the memory after a listing, and the VMs that are gone without elastiq's doing."""
    now = observation.now
    listed_at = now - observation.instances_age_seconds
    listed = {instance.id: instance for instance in instances}
    vms = dict(memory.vms)
    ended = _track_listed(listed.values(), vms, memory, policy, now, listed_at)
    vanished = _track_unlisted(listed, vms, memory, listed_at, observation)
    breakers = dict(memory.breakers)
    for record in ended:
        if record.terminated_at is None and record.joined_at is None and not record.failed_boot:
            how = "after a termination without an answer" if record.doomed else "by itself"
            reason = f"VM {record.id} ended {how}: {record.detail or 'no reason'}"
            breakers[record.pool] = boot_failed(breakers.get(record.pool), now, reason)
    for record in vanished:
        if record.joined_at is None and not record.failed_boot:
            reason = f"VM {record.id} vanished before it became a worker"
            breakers[record.pool] = boot_failed(breakers.get(record.pool), now, reason)
    tokens_shown = memory.tokens_shown or any(instance.client_token for instance in listed.values())
    nobodys = [] if tokens_shown else [one for one in listed.values() if one.id not in vms and _is_nobodys(one)]
    intents, given_up = _track_intents(memory.intents, listed, nobodys, listed_at, policy)
    once_own = tuple(name for name in memory.once_own if name not in vms)
    once_own = (*once_own, *(record.id for record in vanished), *given_up)[-ONCE_OWN_KEPT:]
    departed = [record for record in ended if record.terminated_at is None and not record.doomed]
    departed += vanished
    gone = {record.id: Departed(record.worker_name, record.address, now) for record in departed if record.worker_name}
    memory = replace(memory, vms=vms, breakers=breakers, intents=intents, once_own=once_own, tokens_shown=tokens_shown)
    if gone:
        memory = replace(memory, to_forget={**memory.to_forget, **gone})
    return memory, tuple(departed)


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
        if instance.state.alive:
            vms[instance.id] = _still_there(_refresh(record, instance, policy.cluster), listed_at)
        else:
            vms.pop(instance.id, None)
            ended.append(replace(record, detail=instance.detail or record.detail))
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
        elif listed_at - record.missing_since > MISSING_GRACE_SECONDS:
            missing.append(record)
    if not missing:
        return []
    workers = observation.workers
    shown = None if workers is None else match_workers(workers, memory.vms.values(), observation.now)
    vanished = [record for record in missing if record.doomed or not _in_sight(record, shown, listed_at)]
    for record in vanished:
        del vms[record.id]
    return vanished


def _in_sight(record: VmRecord, shown: Mapping[str, Worker] | None, listed_at: float) -> bool:
    """Return whether the batch system showed its worker lately: then jobs may run there, whatever listings say. They
    may be those of another region or account, and one answer of a batch system is no better than one listing."""
    if record.joined_at is None:
        return shown is not None and record.id in shown
    if shown is None or record.id in shown or record.lost_since is None:
        return True
    return listed_at - record.lost_since <= MISSING_GRACE_SECONDS


def _track_intents(
    intents: Iterable[Intent],
    listed: Mapping[str, Instance],
    nobodys: list[Instance],
    listed_at: float,
    policy: Policy,
) -> tuple[tuple[Intent, ...], list[str]]:
    """Return the launches that are still unclear, and the client tokens of those that are given up.

    One of `nobodys`, VMs of a cloud that shows neither token nor tag, keeps a launch that it could be of from being
    given up.
    """
    found = Counter(instance.client_token for instance in listed.values())
    unclear = []
    given_up = []
    for intent in intents:
        missing = intent.count - found[intent.token]
        if missing <= 0:
            continue
        if listed_at - intent.waiting_since <= _settle_seconds(intent):
            unclear.append(intent)
            continue
        alike = [instance.id for instance in nobodys if _looks_like(instance, intent, policy)]
        alike = sorted(alike, key=lambda id_: id_ not in intent.lookalikes)[:missing]
        nobodys = [instance for instance in nobodys if instance.id not in alike]
        known = intent.lookalikes if intent.unseen_since is None else ()
        since = listed_at if intent.unseen_since is None else intent.unseen_since
        if len(alike) < missing and not (known and listed.keys() >= set(known)) and listed_at - since <= UNSEEN_SECONDS:
            unclear.append(replace(intent, unseen_since=since))
        elif alike:
            unclear.append(replace(intent, lookalikes=tuple(alike), unseen_since=None))
        else:
            given_up.append(intent.token)
    return tuple(unclear), given_up


def _settle_seconds(intent: Intent) -> float:
    return SETTLE_SECONDS + SETTLE_SECONDS_PER_VM * intent.count


def _is_nobodys(instance: Instance) -> bool:
    """Return whether nothing says whose VM this is."""
    return instance.state.alive and not (instance.client_token or instance.cluster or instance.pool)


def _looks_like(instance: Instance, intent: Intent, policy: Policy) -> bool:
    """Return whether a VM without token and tag is of the image, the type and the time of a launch."""
    pools = [pool for pool in policy.pools if pool.name == intent.pool]
    image_id = intent.image_id or policy.image_id
    if intent.image_id:
        pools = [Pool(intent.pool, instance_type=intent.instance_type)]
    of_type = all(same_type(instance.type, pool) for pool in pools)
    if not image_id or instance.image_id != image_id or not of_type or instance.launched_at is None:
        return False
    late_seconds = instance.launched_at - intent.requested_at
    return -CLOCKS_APART_SECONDS <= late_seconds <= _settle_seconds(intent) + CLOCKS_APART_SECONDS


def _is_own(instance: Instance, cluster: str, tokens: Mapping[str, Intent], once_own: set[str]) -> bool:
    tagged = bool(cluster) and instance.cluster == cluster
    return tagged or instance.client_token in tokens or instance.id in once_own or instance.client_token in once_own


def _adopt(instance: Instance, now: float, intent: Intent | None, policy: Policy, *, met_before: bool) -> VmRecord:
    """Return a record for a VM of elastiq without one: its launch was not journalled to the end, it was taken for gone
    (`met_before`), or state was lost."""
    if intent is not None:
        # The last VM of a large launch may be made long after the request.
        made_at = max(intent.waiting_since, min(now, instance.launched_at or 0.0))
        return VmRecord(instance.id, intent.pool, intent.token, launched_at=made_at, type=intent.instance_type)
    launched_at = now if instance.launched_at is None else min(now, instance.launched_at)
    age_seconds = None if instance.launched_at is None else now - instance.launched_at
    is_young = age_seconds is not None and -CLOCKS_APART_SECONDS <= age_seconds <= policy.estimated_vm_deploy_time_s
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
    fresh = {
        "state": instance.state,
        "address": instance.address or record.address,
        "name": instance.name or record.name,
        "type": instance.type or record.type,
        "detail": instance.detail,
        "tagged": bool(cluster) and instance.cluster == cluster,
        "missing_since": None,
    }
    return _changed(record, fresh)


def _still_there(record: VmRecord, listed_at: float) -> VmRecord:
    """Return the record of a listed VM; one that should have been gone for long is to be terminated again."""
    is_going = record.state is InstanceState.STOPPING
    if record.terminated_at is None or is_going or listed_at - record.terminated_at <= TERMINATE_AGAIN_SECONDS:
        return record
    return replace(record, terminated_at=None)


def _changed(record: VmRecord, values: Mapping[str, object]) -> VmRecord:
    """Return `record` itself if it has these values already: most records stay the same from cycle to cycle."""
    if all(getattr(record, name) == value for name, value in values.items()):
        return record
    return replace(record, **values)  # type: ignore[arg-type]


def _track_workers(
    observation: Observation, workers: tuple[Worker, ...], memory: Memory, policy: Policy
) -> tuple[Memory, dict[str, Worker], tuple[Worker, ...]]:
    now = observation.now
    seen_at = now - observation.workers_age_seconds
    vms = dict(memory.vms)
    breakers = dict(memory.breakers)
    capacities = dict(memory.capacities)
    pools = {pool.name: pool for pool in policy.pools}
    own = match_workers(workers, vms.values(), now)
    for id_, record in memory.vms.items():
        worker = own.get(id_)
        if worker is not None:
            vms[id_] = _seen(record, worker, seen_at)
            pool = pools.get(record.pool)
            # A VM launched before the type was changed does not tell what the next ones will hold.
            teaches = pool.capacity_key if pool and pool.instance_type in ("", record.type) else ""
            if teaches and _differs(worker.capacity, capacities.get(teaches)):
                capacities[teaches] = worker.capacity
            if record.joined_at is None and record.pool in breakers:
                breakers[record.pool] = replace(breakers[record.pool], failed_boots=0, trips=0)
        elif record.joined_at is not None and not record.doomed and record.lost_since is None:
            vms[id_] = replace(record, lost_since=seen_at)
    own_names = {worker.name for worker in own.values()}
    foreign = tuple(worker for worker in workers if worker.name not in own_names)
    return replace(memory, vms=vms, breakers=breakers, capacities=capacities), own, foreign


def same_type(type_: str, pool: Pool) -> bool:
    """Return whether a VM of `type_` may be one that `pool` launches now; either may not say its type."""
    return not (type_ and pool.instance_type) or type_ == pool.instance_type


def _differs(found: Shape, known: Shape | None) -> bool:
    """Return whether `found` is news; the free disk that some batch systems give as capacity changes all the time."""
    if found.cpus <= 0:
        return False
    if known is None or abs(found.disk_mb - known.disk_mb) > known.disk_mb / 10:
        return True
    return replace(found, disk_mb=0) != replace(known, disk_mb=0)


def _seen(record: VmRecord, worker: Worker, seen_at: float) -> VmRecord:
    fresh: dict[str, object] = {
        "joined_at": seen_at if record.joined_at is None else record.joined_at,
        "worker_name": worker.name,
        "lost_since": None,
    }
    was_closing = record.closing_at is not None and not record.doomed
    if was_closing and not worker.closed and seen_at > (record.closing_at or 0.0) + CLOSE_AGAIN_SECONDS:
        # Open although elastiq once closed it: somebody else opened it again, and jobs may be on their way.
        fresh.update(closing_at=None, closed=False, terminate_tries=0)
    return _changed(record, fresh)


def match_workers(workers: Iterable[Worker], records: Iterable[VmRecord], now: float) -> dict[str, Worker]:
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
                and (worker.idle_seconds or 0.0) > now - record.launched_at + STALE_WORKER_SLACK_SECONDS
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


def boot_failed(breaker: Breaker | None, now: float, reason: str) -> Breaker:
    """Return the breaker after a VM ended in error or never joined; failures during a pause do not prolong it."""
    breaker = breaker or Breaker()
    breaker = replace(breaker, failed_boots=breaker.failed_boots + 1, boot_reason=reason)
    if breaker.failed_boots < BOOT_FAILURES_TO_TRIP or now < breaker.paused_until:
        return breaker
    pause = BOOT_PAUSES_SECONDS[min(breaker.trips, len(BOOT_PAUSES_SECONDS) - 1)]
    return replace(breaker, trips=breaker.trips + 1, paused_until=now + pause, reason=reason)


def learn(memory: Memory, outcome: Outcome, now: float) -> Memory:
    """Return `memory` after a launch, termination or reopening came to `outcome`."""
    decision = outcome.decision
    if outcome.token:
        return _learn_launch(memory, outcome, now)
    record = memory.vms.get(decision.instance_id)
    if record is None:
        return memory
    if decision.failed_boot and not (record.failed_boot or outcome.refused):
        # Once: a termination that has no effect is asked for again and again.
        failure = boot_failed(memory.breakers.get(record.pool), now, decision.reason)
        memory = replace(memory, breakers={**memory.breakers, record.pool: failure})
        record = replace(record, failed_boot=True)
    if outcome.done and decision.kind is Kind.TERMINATE:
        record = replace(record, terminated_at=now, terminate_tries=0)
    elif outcome.done or outcome.refused:
        # If the close took effect, that may be why the worker is out of sight: then patience with it begins anew.
        lost_since = None if record.closed else record.lost_since
        record = replace(record, closing_at=None, closed=False, terminate_tries=0, lost_since=lost_since)
        if outcome.refused:
            record = replace(record, doomed=False, terminate_retry_at=now + CLOSE_AGAIN_SECONDS)
    elif decision.kind is Kind.REOPEN:
        record = replace(record, reopen_retry_at=now + REOPEN_AGAIN_SECONDS)
    else:
        pause = RETRY_SECONDS[min(record.terminate_tries, len(RETRY_SECONDS) - 1)]
        record = replace(record, terminate_tries=record.terminate_tries + 1, terminate_retry_at=now + pause)
    return replace(memory, vms={**memory.vms, record.id: record})


def _learn_launch(memory: Memory, outcome: Outcome, now: float) -> Memory:
    pool = outcome.decision.pool
    breaker = memory.breakers.get(pool, Breaker())
    asked = next((intent for intent in memory.intents if intent.token == outcome.token), None)
    intents = tuple(intent for intent in memory.intents if intent is not asked or outcome.uncertain)
    if outcome.done:
        breaker = replace(breaker, refusals=0)
        vms = dict(memory.vms)
        type_ = asked.instance_type if asked else ""
        for id_ in outcome.instance_ids:
            vms.setdefault(id_, VmRecord(id_, pool, outcome.token, launched_at=now, type=type_))
        memory = replace(memory, vms=vms)
    elif not (outcome.uncertain or outcome.refused):
        pause = REFUSAL_PAUSES_SECONDS[min(breaker.refusals, len(REFUSAL_PAUSES_SECONDS) - 1)]
        breaker = replace(
            breaker,
            refusals=breaker.refusals + 1,
            paused_until=max(breaker.paused_until, now + pause),
            reason=outcome.detail,
        )
    return replace(memory, intents=intents, breakers={**memory.breakers, pool: breaker})
