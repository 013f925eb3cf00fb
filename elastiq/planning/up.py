"""What to launch and reopen: jobs that lack room, then workers to reopen, then VMs to launch.

The rules for threshold, waiting time, jobs per VM and quota are the original elastiq's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from elastiq.decisions import Decision, Kind, Token
from elastiq.model import Demand
from elastiq.planning import words
from elastiq.planning.adaptive import follow
from elastiq.planning.draft import Up
from elastiq.planning.feasible import feasible
from elastiq.planning.fleet import Fleet
from elastiq.planning.launching import launch
from elastiq.planning.packing import Rest, Rooms, count, largest_first, least_cpus, place


def plan_up(groups: Sequence[Demand], fleet: Fleet, demand_at: float) -> Up:
    """Return what to launch and reopen for `groups`, as they were at `demand_at`, and for the minimum, and what becomes
    of every job."""
    now, policy = fleet.now, fleet.policy
    up = Up(groups, fleet, fleet.memory.waiting_since)
    up.chances = [fleet.chances(group) for group in groups]
    rests = feasible(up)
    placed: Counter[tuple[int, Token]] = Counter()
    if policy.is_adaptive:
        waiting = [rest for rest in rests if not groups[rest.number].is_to_come]
        up.fleet = fleet = fleet.after(follow(fleet, up.by_pool(waiting), demand_at))
    fewest_cpus = least_cpus(rests)
    up.rooms = fleet.rooms(fewest_cpus)
    without_room = place(largest_first(rests), Rooms(up.rooms, fewest_cpus), placed, fleet.most_to_come)
    threshold = max(1, policy.waiting_jobs_threshold)
    up.is_lacking = count(without_room) >= threshold
    if up.is_lacking and up.waiting_since is None:
        up.waiting_since = now
    elif not up.is_lacking and not (fleet.is_any_in_hand and count(rests) >= threshold):
        up.waiting_since = None  # but a launch whose answer is still to come may be refused
    waited = 0.0 if up.waiting_since is None else now - up.waiting_since
    left = _place_on_foreign(up, without_room, waited, placed)
    up.settle_placed(placed)
    left = _without_those_for_others(up, left)
    left, reopened = _reopen(up, left)
    is_due = _is_due(up, left, waited, reopened)
    may_spare = is_due or not left
    left = left if is_due else []
    up.lacking = [(rest, pool) for rest in left if (pool := up.pool_to_try(rest)) is not None]
    launch(up, left, reopened, may_spare=may_spare)
    return up


def _place_on_foreign(up: Up, rests: Sequence[Rest], waited: float, placed: Counter[tuple[int, Token]]) -> list[Rest]:
    """Return what is left of `rests` after putting them on workers that are not elastiq's.

    Such a worker may be of another kind: its room is believed only while the jobs have not waited for long. `waited`
    tells of all jobs together, for batch systems that do not tell more.
    """
    if not up.fleet.foreign_workers:
        return list(rests)
    rooms = Rooms(up.fleet.foreign_rooms(), least_cpus(rests))
    left = []
    for rest in rests:
        oldest = up.groups[rest.number].oldest_wait_seconds
        is_believed = (waited if oldest is None else oldest) <= up.fleet.policy.estimated_vm_deploy_time_s
        left += place([rest], rooms, placed) if is_believed else [rest]
    return left


def _reopen(up: Up, left: list[Rest]) -> tuple[list[Rest], int]:
    """Open workers that are closed but not terminated; return what is left of the jobs, and how many were opened."""
    fleet = up.fleet
    reopened = 0
    if fleet.purse.gone is not None:
        return left, reopened  # it would cost more
    in_vain: set[tuple[str, str]] = set()
    for record in fleet.unusual if left else ():
        kind = (record.pool, record.type)
        if not record.leaving or not record.may_reopen or not record.worker_name or kind in in_vain:
            continue
        if record.reopen_failed or fleet.now < record.reopen_retry_at or fleet.is_closed_by_other(record):
            continue
        placed: Counter[tuple[int, Token]] = Counter()
        after = place(left, Rooms([fleet.new_room(fleet.pool_of(record), record.type)]), placed)
        if count(after) == count(left):
            in_vain.add(kind)
        else:
            reason = words.reopened(count(left), record)
            up.decisions.append(Decision(Kind.REOPEN, reason, record.pool, instance_id=record.id))
            up.settle_placed(placed, reason)
            left = after
            in_vain.clear()  # a job that lacked several machines may lack only one now
            reopened += 1
            if not left:
                break
    return left, reopened


def _without_those_for_others(up: Up, left: Sequence[Rest]) -> list[Rest]:
    """Return the jobs that VMs hold, and say a word on those that only workers hold which are there and full."""
    only_there = [rest for rest in left if up.is_too_large(rest)]
    if only_there:
        up.hold(words.larger_than_new_vm([up.groups[rest.number] for rest in only_there]), only_there)
    return [rest for rest in left if not up.is_too_large(rest)]


_ROOMS = (Token.HAS_ROOM, Token.ROOM_BOOTING, Token.FOREIGN_ROOM)


def _is_due(up: Up, left: Sequence[Rest], waited: float, reopened: int) -> bool:
    """Return whether VMs are to be launched for the jobs that are left; if not, say why."""
    policy, waiting = up.fleet.policy, count(left)
    if not waiting:
        with_room = sum(verdict.jobs for verdict in up.verdicts if verdict.reason.token in _ROOMS)
        if with_room and not reopened:
            up.hold(words.room_for(with_room, is_any_asked_for=up.fleet.is_any_in_hand))
        return False
    if waiting < policy.waiting_jobs_threshold:
        up.hold(words.below_threshold(waiting, policy), left)
        return False
    if waited <= policy.waiting_jobs_time_s and not (policy.is_adaptive and not policy.waiting_jobs_time_s):
        up.hold(words.waiting_time(waiting, waited, policy), left)
        return False
    return True
