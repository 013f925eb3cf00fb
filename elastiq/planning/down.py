"""Which VMs go, and why each of the others stays. The rules for idle and deployment time are the original elastiq's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache

from elastiq.decisions import Decision, Kind, Reason, Token, Verdict
from elastiq.memory import Breaker, Stage, VmRecord
from elastiq.model import InstanceState, Pool, Worker
from elastiq.planning import interruptions, money_words, words
from elastiq.planning.adaptive import free_cores, held_seconds, spare_of
from elastiq.planning.capacities import capacity_of
from elastiq.planning.draft import Answer, Down
from elastiq.planning.fleet import Fleet
from elastiq.planning.futility import futile_seconds
from elastiq.planning.offers import all_away, dearness, is_fallback
from elastiq.planning.packing import Rest, Room

MOST_USUAL = 10_000
"""Of so many VMs what is usually said is kept from plan to plan."""


def plan_down(
    fleet: Fleet,
    reopened: Collection[str],
    needless: Collection[str],
    rooms: Sequence[Room] = (),
    lacking: Sequence[tuple[Rest, Pool]] = (),
    *,
    is_lacking: bool,
) -> Down:
    """Return which VMs go.

    `needless` were launched in vain, `rooms` are what waiting jobs leave of the room on elastiq's VMs, and `is_lacking`
    tells that jobs lack room: for `lacking` VMs would be launched now, of these pools, if the quota allowed.
    """
    down = Down(is_any_in_hand=any(record.termination_asked_at is not None for record in fleet.unusual))
    idle: list[tuple[float, VmRecord]] = []
    workers = fleet.own_workers
    for record in fleet.records:
        worker = workers.get(record.id)
        if worker is not None and seen_at_once(fleet, record, worker):
            if worker.jobs:
                down.verdicts.append(_at_work_as_usual(record.id))
            else:
                idle.append((worker.idle_seconds or 0.0, record))
            continue
        if record.id in reopened:
            down.answer(record, _stays(Token.REOPENED, record, worker))
            continue
        answer = first_answer(fleet, record, worker)
        if answer is not None:
            down.answer(record, answer)
        elif worker is not None:
            idle.append((worker.idle_seconds or 0.0, record))
    idle = _beyond_caps(down, _of_answered_launches(down, idle, fleet), fleet)
    idle = _idle_for_long(down, idle, needless, fleet)
    # While it may yet show whether jobs that are taken to go there start, such a VM is not in the way of others.
    tried = {room.instance_id for room in rooms if room.is_needed}
    open_ = [one for one in idle if one[0] > futile_seconds(fleet.policy) or one[1].id not in tried]
    in_the_way = _in_the_way(open_, down.going, fleet, lacking) if is_lacking else None
    if in_the_way is not None:
        is_earlier = _is_of_earlier_type(in_the_way, fleet)
        down.answer(in_the_way, Answer(words.in_the_way(in_the_way, is_earlier=is_earlier), goes=True))
        idle = [entry for entry in idle if entry[1] is not in_the_way]
    _end_idle(down, _not_needed(down, idle, fleet, rooms), fleet)
    return down


def _of_answered_launches(
    down: Down, idle: Iterable[tuple[float, VmRecord]], fleet: Fleet
) -> list[tuple[float, VmRecord]]:
    """Return those of `idle` that are not of a launch that the cloud has not answered yet: OpenStack calls a launch
    failed of which a VM has gone before."""
    unanswered = {intent.token for intent in fleet.memory.intents if intent.in_hand}
    left = []
    for seconds, record in idle:
        if record.token in unanswered:
            down.answer(record, _stays(Token.ANSWER_TO_COME, record, fleet.worker(record)))
        else:
            left.append((seconds, record))
    return left


def _beyond_caps(down: Down, idle: list[tuple[float, VmRecord]], fleet: Fleet) -> list[tuple[float, VmRecord]]:
    """Let those of `idle` go for which there is no money, at once and below any minimum; return the others."""
    purse = fleet.purse
    gone, excess, left = purse.gone, purse.excess, []
    if gone is None and excess <= 0:
        return idle
    for seconds, record in _in_turn(idle, fleet):
        if gone is None and excess <= 0:
            left.append((seconds, record))
            continue
        excess -= purse.price_of(record)
        down.answer(record, Answer(money_words.beyond(record, seconds, purse), goes=True))
    return left


def _idle_for_long(
    down: Down, idle: Iterable[tuple[float, VmRecord]], needless: Collection[str], fleet: Fleet
) -> list[tuple[float, VmRecord]]:
    """Return those of `idle` that may go."""
    left = []
    for seconds, record in idle:
        if seconds > fleet.policy.idle_seconds_of(record.pool) or record.id in needless:
            left.append((seconds, record))
        else:
            down.answer(record, _stays(Token.IDLE_YET_SHORT, record, fleet.worker(record)))
    return left


def first_answer(fleet: Fleet, record: VmRecord, worker: Worker | None) -> Answer | None:
    """Return what the first of RULES says that answers; None: its worker is idle."""
    for rule in RULES:
        answer = rule(fleet, record, worker)
        if answer is not None:
            return answer
    return None


def seen_at_once(fleet: Fleet, record: VmRecord, worker: Worker) -> bool:
    """Return whether RULES answer what they do of most of thousands of VMs: that a job is there, or nothing."""
    if worker.closed or worker.closed_by_other or (worker.jobs and worker.idle_seconds is not None):
        return False
    return record.is_usual and record.id not in fleet.matches.rivals


@lru_cache(maxsize=MOST_USUAL)
def _at_work_as_usual(id_: str) -> Verdict:
    return Verdict(words.stays(Token.AT_WORK, VmRecord(id_), None), instance_id=id_)


def left_alone(fleet: Fleet) -> list[Decision]:
    """Say which VMs are counted, and why elastiq does nothing about them."""
    reasons = list(_answers_to_come(fleet))
    alike = [id_ for intent in fleet.memory.intents for id_ in intent.lookalikes]
    if alike:
        reasons.append(words.lookalikes(alike, fleet.policy))
    reasons += [words.claimed_twice(id_, rivals) for id_, rivals in fleet.matches.rivals.items()]
    reasons += [words.shared_address(worker, ids) for worker, ids in fleet.matches.shared.items()]
    missing: dict[tuple[float, float], list[str]] = {}
    for record in fleet.unusual:
        if record.missing_since is not None:
            missing.setdefault((record.missing_since, fleet.counts_until(record)), []).append(record.id)
    reasons += [words.not_listed(ids, fleet.now - since, end - fleet.now) for (since, end), ids in missing.items()]
    drained = [id_ for id_, worker in fleet.own_workers.items() if worker.closed_by_other]
    if drained:
        reasons.append(words.closed_by_other(drained))
    return [Decision(Kind.HOLD, reason) for reason in reasons]


def _answers_to_come(fleet: Fleet) -> Iterator[Reason]:
    launches = [intent for intent in fleet.memory.intents if intent.in_hand]
    for pool in sorted({intent.pool for intent in launches}):
        since = min(intent.requested_at for intent in launches if intent.pool == pool)
        count = sum(intent.count for intent in launches if intent.pool == pool)
        yield words.vms_to_come(pool, count, fleet.now - since)
    asked_at = {record.id: record.termination_asked_at for record in fleet.unusual if record.termination_asked_at}
    if asked_at:
        yield words.terminations_to_come(tuple(asked_at), fleet.now - min(asked_at.values()))


def nothing_is_known(records: Iterable[VmRecord]) -> Down:
    """Return that every VM stays, because workers or VMs cannot be read."""
    reason = words.world_unknown()
    return Down(verdicts=[Verdict(reason, instance_id=record.id) for record in records])


def _stays(token: Token, record: VmRecord, worker: Worker | None) -> Answer:
    return Answer(words.stays(token, record, worker))


def _going(_fleet: Fleet, record: VmRecord, worker: Worker | None) -> Answer | None:
    return _stays(Token.GOING, record, worker) if record.stage is Stage.GOING else None


def _asked_for(_fleet: Fleet, record: VmRecord, worker: Worker | None) -> Answer | None:
    return None if record.termination_asked_at is None else _stays(Token.ANSWER_TO_COME, record, worker)


def _retry_later(fleet: Fleet, record: VmRecord, worker: Worker | None) -> Answer | None:
    return _stays(Token.RETRY_LATER, record, worker) if fleet.now < record.terminate_retry_at else None


def _closed_by_other(fleet: Fleet, record: VmRecord, worker: Worker | None) -> Answer | None:
    """Whatever elastiq wanted of it before: a termination without an answer may never have reached the cloud."""
    if not fleet.is_closed_by_other(record) or record.state is InstanceState.ERROR:
        return None
    return _stays(Token.CLOSED_BY_OTHER, record, worker)


def _shares_worker(fleet: Fleet, record: VmRecord, worker: Worker | None) -> Answer | None:
    """A VM on which a worker may be at work that matches none: to close that one would tell nothing of this VM."""
    if worker is not None or record.state is InstanceState.ERROR:
        return None
    name = fleet.matches.perhaps.get(record.id)
    return None if name is None else Answer(words.shared_address(name, fleet.matches.shared[name]))


def _unfinished(fleet: Fleet, record: VmRecord, worker: Worker | None) -> Answer | None:
    if record.stage is not Stage.LEAVING:
        return None
    has_left_open = worker is None and record.joined_at is not None and not (record.closed or record.doomed)
    if has_left_open and not _is_given_up(fleet, record):
        return _stays(Token.WORKER_OUT_OF_SIGHT, record, worker)
    return Answer(words.unfinished(record), goes=True, is_failed_boot=record.joined_at is None)


def _in_error(_fleet: Fleet, record: VmRecord, _worker: Worker | None) -> Answer | None:
    if record.state is not InstanceState.ERROR:
        return None
    return Answer(words.in_error(record), goes=True, is_failed_boot=record.joined_at is None)


def _not_listed(fleet: Fleet, record: VmRecord, _worker: Worker | None) -> Answer | None:
    if record.missing_since is None or record.stage is not Stage.UNLISTED:
        return None
    counts_seconds = fleet.counts_until(record) - fleet.now
    return Answer(words.not_listed([record.id], fleet.now - record.missing_since, counts_seconds))


def _claimed_twice(fleet: Fleet, record: VmRecord, worker: Worker | None) -> Answer | None:
    rivals = fleet.matches.rivals.get(record.id)
    return Answer(words.claimed_twice(record.id, rivals)) if rivals and worker and not worker.jobs else None


def _interrupted(fleet: Fleet, record: VmRecord, worker: Worker | None) -> Answer | None:
    if not interruptions.is_to_come(record, fleet.now):
        return None
    if worker is not None and worker.interrupted and not worker.jobs:
        return Answer(interruptions.without_job(record), goes=True)
    return _stays(Token.INTERRUPTED, record, worker)


def _closed_at_birth(_fleet: Fleet, record: VmRecord, worker: Worker | None) -> Answer | None:
    if worker is None or not worker.closed or worker.jobs or not record.failed_boot or record.has_worked:
        return None
    return Answer(words.closed_at_birth(record), goes=True, is_failed_boot=True)


def _closed_for_long(fleet: Fleet, record: VmRecord, worker: Worker | None) -> Answer | None:
    """A VM whose worker is closed although elastiq knows of no termination.

    Where the batch system does not tell who closed it, somebody else may have a reason; but so may elastiq have had,
    before its records were lost.
    """
    if worker is None or not worker.closed or worker.jobs:
        return None
    idle_seconds = worker.idle_seconds or 0.0
    if idle_seconds <= fleet.policy.idle_seconds_of(record.pool) + fleet.policy.lost_worker_time_s:
        return _stays(Token.CLOSED_BY_SOMEBODY, record, worker)
    return Answer(words.closed_and_idle(record, idle_seconds), goes=True)


def _at_work(_fleet: Fleet, record: VmRecord, worker: Worker | None) -> Answer | None:
    if worker is None or (record.works and not worker.jobs):
        return None
    return _stays(Token.AT_WORK, record, worker)


def _never_joined(fleet: Fleet, record: VmRecord, worker: Worker | None) -> Answer | None:
    if worker is not None or record.joined_at is not None or not fleet.is_late(record):
        return None
    return Answer(words.never_joined(record, fleet.policy), goes=True, is_failed_boot=True)


def _worker_lost(fleet: Fleet, record: VmRecord, worker: Worker | None) -> Answer | None:
    if worker is not None or not _is_given_up(fleet, record):
        return None
    return Answer(words.worker_lost(record, fleet.policy), goes=True)


def _is_given_up(fleet: Fleet, record: VmRecord) -> bool:
    seen_at, lost_since = fleet.seen_at, record.lost_since
    return lost_since is not None and seen_at - lost_since > fleet.policy.lost_worker_time_s


def _awaited(_fleet: Fleet, record: VmRecord, worker: Worker | None) -> Answer | None:
    if worker is not None:
        return None
    return _stays(Token.STILL_BOOTING if record.joined_at is None else Token.WORKER_OUT_OF_SIGHT, record, worker)


RULES: tuple[Callable[[Fleet, VmRecord, Worker | None], Answer | None], ...] = (
    _going,
    _asked_for,
    _retry_later,
    _closed_by_other,
    _shares_worker,
    _unfinished,
    _in_error,
    _not_listed,
    _claimed_twice,
    _interrupted,
    _closed_at_birth,
    _closed_for_long,
    _at_work,
    _never_joined,
    _worker_lost,
    _awaited,
)
"""In this order: the first one that answers decides. A VM on which none does has an idle worker."""


def _in_the_way(
    idle: Iterable[tuple[float, VmRecord]],
    going: Collection[str],
    fleet: Fleet,
    lacking: Sequence[tuple[Rest, Pool]],
) -> VmRecord | None:
    """Return the VM that has idled for long, while jobs lack room that it does not hold and the quota leaves none for
    one that would: it is of an earlier type, hurt, or of another pool.

    The minimum would keep it, and none of those that jobs need could come.
    """
    if going or any(record.leaving for record in fleet.unusual):
        return None
    # Of thousands of groups few differ in what decides here.
    room = {pool.key: fleet.quota_room(pool) for pool in fleet.variants}
    barred = (one for one in lacking if room[one[1].key] < fleet.lacks(one[0].shape, one[0].machines))
    kinds = {(rest.kind, wanted.key): (rest, wanted) for rest, wanted in barred}.values()
    for _, record in _in_turn(idle, fleet):
        pool = fleet.policy.pool(record.pool)
        if pool is not None and not fleet.quota_room(pool) and _is_of_earlier_type(record, fleet):
            return record
        if any(_bars(record, rest, wanted, fleet) for rest, wanted in kinds):
            return record
    return None


def _in_turn(idle: Iterable[tuple[float, VmRecord]], fleet: Fleet) -> list[tuple[float, VmRecord]]:
    """Return idle VMs in the order in which they go: those on demand first where spot would be rather, then the
    dearest, then those that have idled for longest."""

    def turn(entry: tuple[float, VmRecord]) -> tuple[bool, float, float]:
        seconds, record = entry
        pool = fleet.policy.pool(record.pool)
        return not is_fallback(record, pool), -dearness(record, pool), -seconds

    return sorted(idle, key=turn)


def _is_of_earlier_type(record: VmRecord, fleet: Fleet) -> bool:
    pool = fleet.policy.pool(record.pool)
    return pool is not None and not pool.takes(record.type)


def _bars(record: VmRecord, rest: Rest, wanted: Pool, fleet: Fleet) -> bool:
    """Return whether jobs that this idle VM does not hold could have one of the pool `wanted` in its place."""
    worker = fleet.worker(record)
    lacks = fleet.lacks(rest.shape, rest.machines)
    if worker is None or (fleet.purse.caps and not fleet.purse.frees(record, wanted, lacks)):
        return False  # it would go in vain
    breaker = fleet.memory.breakers.get(wanted.name, Breaker())
    if fleet.now < breaker.paused_until or all_away(wanted, fleet.memory, fleet.now) is not None:
        return False  # nothing would come in its place for now
    is_barred = fleet.key_of(record) in rest.barred_from
    holds = rest.shape.fits(worker.capacity) and rest.shape.fits(worker.free) and not is_barred
    if holds or record.pool == wanted.name:
        is_of_other_type = wanted.is_variant and record.type != wanted.instance_type
        # One that says that it is hurt does not tell what a whole one holds.
        return not holds and (worker.hurt or is_of_other_type or capacity_of(fleet.memory, wanted) is not None)
    pool = fleet.policy.pool(record.pool)
    of_both = fleet.counted
    is_kept = pool is not None and of_both[record.pool] <= pool.min_vms
    has_own_room = wanted.max_vms is None or of_both[wanted.name] + fleet.possible(wanted.name) < wanted.max_vms
    return has_own_room and not is_kept


def _not_needed(
    down: Down, idle: Sequence[tuple[float, VmRecord]], fleet: Fleet, rooms: Sequence[Room]
) -> list[tuple[float, VmRecord]]:
    """Return those of `idle` where no waiting job is to start, and without which enough is free for jobs to come."""
    if not idle:
        return []
    pools = fleet.policy.pools
    room_of = {room.instance_id: room for room in rooms if room.instance_id}
    spare = {pool.name: spare_of(pool, fleet.memory, fleet.policy) for pool in pools}
    free = {pool.name: free_cores(rooms, pool, fleet) if spare[pool.name].cores else 0.0 for pool in pools}
    left: list[tuple[float, VmRecord]] = []
    kept: dict[str, int] = {}
    for seconds, record in _in_turn(idle, fleet):
        pool = fleet.pool_of(record)
        room = room_of.get(record.id)
        cores = 0.0 if room is None or not spare[pool.name].cores else free_cores([room], pool, fleet)
        is_held = fleet.policy.is_adaptive and seconds <= held_seconds(record.pool, fleet.policy)
        if room is not None and room.is_needed and is_held:
            down.answer(record, _stays(Token.KEPT_FOR_JOBS, record, fleet.worker(record)))
        elif spare[pool.name].cores and free[pool.name] - cores < spare[pool.name].cores:
            down.answer(record, _stays(Token.KEPT_AS_SPARE, record, fleet.worker(record)))
            kept[pool.name] = kept.get(pool.name, 0) + 1
        else:
            free[pool.name] -= cores
            left.append((seconds, record))
    for name, vms in kept.items():
        down.decisions.append(Decision(Kind.HOLD, spare[name].kept(vms, name)))
    return left


def _end_idle(down: Down, idle: Sequence[tuple[float, VmRecord]], fleet: Fleet) -> None:
    """Let idle VMs go in their turn, down to the minimum.

    VMs that are still booting, or whose worker somebody else closed, keep nobody alive.
    """
    if not idle:
        return
    policy, vms, going = fleet.policy, fleet.memory.vms, down.going
    joined = Counter([vms[id_].pool for id_ in fleet.open_workers if id_ not in going])
    spare = sum(joined.values()) - policy.min_vms
    pool_spare = {pool.name: joined[pool.name] - pool.min_vms for pool in policy.pools}
    kept = []
    for seconds, record in _in_turn(idle, fleet):
        if spare > 0 and pool_spare.get(record.pool, 1) > 0:
            spare -= 1
            pool_spare[record.pool] = pool_spare.get(record.pool, 1) - 1
            is_over = seconds > policy.idle_seconds_of(record.pool)
            why = words.idle(record, seconds, policy) if is_over else words.launched_in_vain(record, seconds)
            down.answer(record, Answer(why, goes=True))
        else:
            kept.append(record)
    if kept:
        down.decisions.append(Decision(Kind.HOLD, words.kept_for_minimum(len(kept), policy)))
    for record in kept:
        down.answer(record, _stays(Token.KEPT_FOR_MINIMUM, record, fleet.worker(record)))
