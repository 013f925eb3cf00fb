"""What to launch and reopen: jobs that lack room, then workers to reopen, then VMs to launch.

The rules for threshold, waiting time, jobs per VM and quota are the original elastiq's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from elastiq.decisions import Decision, Kind, Reason, Token, Verdict
from elastiq.memory import Breaker
from elastiq.model import Demand, Pool
from elastiq.planning import patience, words
from elastiq.planning.fleet import Fleet
from elastiq.planning.packing import Rest, Room, count, largest_first, place, take_one_each

MOST_VMS_AT_ONCE = 1000
"""Of one launch; EC2's RunInstances takes no more."""


@dataclass
class Up:
    """What is decided for waiting jobs, while it is being decided."""

    groups: Sequence[Demand]
    fleet: Fleet
    waiting_since: float | None = None
    """Since when at least waiting_jobs_threshold jobs lack room."""
    decisions: list[Decision] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    def settle(self, rests: Iterable[Rest], reason: Reason) -> None:
        """Say what becomes of these jobs."""
        self.verdicts += [Verdict(reason, self.groups[rest.number], rest.jobs) for rest in rests]

    def hold(self, reason: Reason, rests: Iterable[Rest] = ()) -> None:
        """Do nothing for these jobs, and say why."""
        self.decisions.append(Decision(Kind.HOLD, reason))
        self.settle(rests, reason)

    def settle_placed(self, placed: Counter[tuple[int, Token]], because: Reason | None = None) -> None:
        """Say of jobs that have found room where that is."""
        for (number, kind), jobs in placed.items():
            reason = because or self._placed(kind, jobs)
            self.verdicts.append(Verdict(reason, self.groups[number], jobs))

    def _placed(self, kind: Token, jobs: int) -> Reason:
        if kind is Token.FOREIGN_ROOM:
            return words.foreign_room(jobs, self.fleet.policy)
        return words.room_for(jobs) if kind is Token.HAS_ROOM else words.room_booting(jobs)


def plan_up(groups: Sequence[Demand], fleet: Fleet) -> Up:
    """Return what to launch and reopen for `groups` and for the minimum, and what becomes of every job."""
    now, policy = fleet.now, fleet.policy
    up = Up(groups, fleet, fleet.memory.waiting_since)
    rests = _feasible(up)
    placed: Counter[tuple[int, Token]] = Counter()
    lacking = place(largest_first(rests), fleet.rooms(), placed)
    if count(lacking) < max(1, policy.waiting_jobs_threshold):
        up.waiting_since = None
    elif up.waiting_since is None:
        up.waiting_since = now
    waited = 0.0 if up.waiting_since is None else now - up.waiting_since
    left = _place_on_foreign(up, lacking, waited, placed)
    up.settle_placed(placed)
    left, reopened = _reopen(up, left)
    if not _is_due(up, rests, left, waited, reopened):
        left = []
    _launch(up, left, reopened)
    return up


def _feasible(up: Up) -> list[Rest]:
    """Return the jobs that VMs could serve, and say a word on the others: launching would not help them."""
    fleet, policy = up.fleet, up.fleet.policy
    rests = [Rest(number, one.shape, one.jobs, one.vms_per_job) for number, one in enumerate(up.groups)]
    if policy.max_vms is not None:
        machines = policy.max_vms + len(fleet.foreign_workers)
        wide = [rest for rest in rests if rest.machines > machines]
        if wide:
            up.hold(words.wider_than_quota([up.groups[rest.number] for rest in wide], policy), wide)
            rests = [rest for rest in rests if rest.machines <= machines]
    capacities = [fleet.memory.capacities.get(pool.capacity_key) for pool in policy.pools]
    known = [capacity for capacity in capacities if capacity is not None]
    if len(known) < len(capacities):
        return rests
    large = [rest for rest in rests if not any(rest.shape.fits(capacity) for capacity in known)]
    if large:
        largest = max(known, key=lambda capacity: (capacity.cpus, capacity.memory_mb or 0))
        up.hold(words.larger_than_vm([up.groups[rest.number] for rest in large], largest), large)
        too_large = {rest.number for rest in large}
        rests = [rest for rest in rests if rest.number not in too_large]
    return rests


def _place_on_foreign(up: Up, rests: Sequence[Rest], waited: float, placed: Counter[tuple[int, Token]]) -> list[Rest]:
    """Return what is left of `rests` after putting them on workers that are not elastiq's.

    Such a worker may be of another kind: its room is believed only while the jobs have not waited for long. `waited`
    tells of all jobs together, for batch systems that do not tell more.
    """
    rooms = up.fleet.foreign_rooms()
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
    for record in fleet.records:
        waits = record.reopen_failed or fleet.now < record.reopen_retry_at
        if not record.leaving or not record.may_reopen or fleet.is_closed_by_other(record) or waits:
            continue
        if not left or not record.worker_name:
            continue
        placed: Counter[tuple[int, Token]] = Counter()
        after = place(left, [fleet.new_room(fleet.pool_of(record), record.type)], placed)
        if count(after) < count(left):
            reason = words.reopened(count(left), record)
            up.decisions.append(Decision(Kind.REOPEN, reason, record.pool, instance_id=record.id))
            up.settle_placed(placed, reason)
            left = after
            reopened += 1
    return left, reopened


def _is_due(up: Up, rests: Sequence[Rest], left: Sequence[Rest], waited: float, reopened: int) -> bool:
    """Return whether VMs are to be launched for the jobs that are left; if not, say why."""
    policy, waiting = up.fleet.policy, count(left)
    if not waiting:
        if count(rests) and not reopened:
            up.hold(words.room_for(count(rests)))
        return False
    if waiting < policy.waiting_jobs_threshold:
        up.hold(words.below_threshold(waiting, policy), left)
        return False
    if waited <= policy.waiting_jobs_time_s:
        up.hold(words.waiting_time(waiting, waited, policy), left)
        return False
    return True


def _launch(up: Up, left: list[Rest], reopened: int) -> None:
    """Launch VMs for the jobs that are left and for the minimum, within quota and breaker."""
    fleet, policy = up.fleet, up.fleet.policy
    launched = 0
    cluster_missing = policy.min_vms - reopened - sum(record.works for record in fleet.records)
    cluster_missing -= sum(fleet.awaited(pool.name) for pool in policy.pools)
    last = None
    for number, pool in enumerate(policy.pools):
        room = max(0, min(MOST_VMS_AT_ONCE, fleet.quota_room(pool) - launched))
        wanted = _vms_for(left, room, pool, fleet)
        waiting, left = count(left), wanted.beyond
        own_missing = pool.min_vms - fleet.awaited(pool.name) - reopened
        own_missing -= sum(record.works for record in fleet.records if record.pool == pool.name)
        missing = max(0, own_missing, cluster_missing - launched if number == 0 else 0)
        vms = max(wanted.vms, missing)
        if not vms:
            continue
        is_for_jobs = wanted.vms >= missing
        why = words.no_room(waiting, pool, policy) if is_for_jobs else words.below_minimum(pool, policy)
        decision = _within_limits(fleet, pool, vms, room, why)
        up.decisions.append(decision)
        launched += decision.count
        last = _settle_launch(up, decision, wanted)
    _settle_beyond(up, left, launched, last)


def _within_limits(fleet: Fleet, pool: Pool, vms: int, room: int, why: Reason) -> Decision:
    """Return the launch of up to `vms` VMs of `pool`, or why there is none."""
    breaker = fleet.memory.breakers.get(pool.name, Breaker())
    if fleet.now < breaker.paused_until:
        return Decision(Kind.HOLD, words.paused(why, breaker, fleet.now))
    limits = (pool.max_vms, fleet.policy.max_vms)
    maximum = min((limit for limit in limits if limit is not None), default=None)
    if not room:
        return Decision(Kind.HOLD, words.quota_full(why, maximum))
    if breaker.failed_boots >= patience.BOOT_FAILURES_TO_TRIP:
        booting = any(record.pool == pool.name and record.may_yet_join for record in fleet.records)
        if booting or fleet.awaited(pool.name):
            return Decision(Kind.HOLD, words.trial_booting(why, breaker))
        vms, why = 1, words.trial(why, breaker)
    if vms > room:
        most = room == MOST_VMS_AT_ONCE
        why = words.request_takes(why, room) if most else words.quota_leaves(why, room, maximum)
    return Decision(Kind.LAUNCH, why, pool.name, min(vms, room))


def _settle_launch(up: Up, decision: Decision, wanted: _Wanted) -> Reason:
    """Say of the jobs for which VMs are wanted whether these are launched; return what held the others back."""
    if decision.kind is Kind.HOLD:
        limit = decision.reason
    elif decision.count < wanted.vms and decision.count < MOST_VMS_AT_ONCE and decision.reason.token is Token.NO_ROOM:
        limit = replace(decision.reason, token=Token.QUOTA_FULL)
    else:
        limit = decision.reason
    for vm, rest in wanted.takers:
        up.settle([rest], decision.reason if vm < decision.count else limit)
    return limit


def _settle_beyond(up: Up, left: Sequence[Rest], launched: int, limit: Reason | None) -> None:
    """Say why nothing is launched for jobs that no pool has taken."""
    fleet, policy = up.fleet, up.fleet.policy
    wide = [rest for rest in left if rest.machines > 1 and policy.max_vms is not None]
    room = max(0, max(fleet.quota_left(pool) for pool in policy.pools) - launched)
    for rest in wide:
        reason = words.quota_leaves_too_few(rest.jobs, rest.machines, room, policy)
        if rest is wide[0]:
            up.hold(reason)
        up.settle([rest], reason)
    others = [rest for rest in left if rest not in wide]
    up.settle(others, limit or words.no_room(count(others), policy.pools[0], policy))


@dataclass
class _Wanted:
    """VMs of one pool that jobs want, and which of them each job goes to."""

    vms: int = 0
    takers: list[tuple[int, Rest]] = field(default_factory=list)
    """The last of the VMs that these jobs need, counted from 0, and the jobs."""
    beyond: list[Rest] = field(default_factory=list)
    """What VMs of this pool do not hold, or cannot take now."""


def _vms_for(left: Sequence[Rest], room: int, pool: Pool, fleet: Fleet) -> _Wanted:
    """Return how many VMs of `pool` hold what is left, and what they do not hold.

    First fit, largest jobs first. One VM more than `room` may be wanted, which tells that there should be more; but a
    job that needs several VMs at once gets all of them within `room`, or none.
    """
    rooms: list[Room] = []
    wanted = _Wanted()
    for rest in largest_first(left):
        take = _take_wide if rest.machines > 1 else _take_single
        jobs = take(rest, rooms, room, pool, fleet, wanted)
        if jobs:
            wanted.beyond.append(replace(rest, jobs=jobs))
    wanted.vms = len(rooms)
    return wanted


def _take_single(rest: Rest, rooms: list[Room], room: int, pool: Pool, fleet: Fleet, wanted: _Wanted) -> int:
    """Put jobs into `rooms` and new ones; return how many are left."""
    jobs = rest.jobs
    per_vm = fleet.new_room(pool).take(rest.shape, jobs)
    number = 0
    while jobs and (number < len(rooms) or (per_vm and number <= room)):
        if number == len(rooms):
            rooms.append(fleet.new_room(pool))
        taken = rooms[number].take(rest.shape, jobs)
        if taken:
            wanted.takers.append((number, replace(rest, jobs=taken)))
            jobs -= taken
        number += 1
    return jobs


def _take_wide(rest: Rest, rooms: list[Room], room: int, pool: Pool, fleet: Fleet, wanted: _Wanted) -> int:
    """Put jobs of several machines into `rooms` and new ones; return how many are left."""
    jobs, takers = rest.jobs, Counter[int]()
    able = [number for number, present in enumerate(rooms) if present.holds(rest.shape)]
    while jobs and fleet.new_room(pool).holds(rest.shape):
        lacking = max(0, rest.machines - len(able))
        if len(rooms) + lacking > room:
            break
        able += range(len(rooms), len(rooms) + lacking)
        rooms += [fleet.new_room(pool) for _ in range(lacking)]
        taken, others = able[: rest.machines], able[rest.machines :]
        take_one_each([rooms[number] for number in taken], rest.shape)
        able = [number for number in taken if rooms[number].holds(rest.shape)] + others
        takers[max(taken)] += 1
        jobs -= 1
    wanted.takers += [(last, replace(rest, jobs=number)) for last, number in takers.items()]
    return jobs
