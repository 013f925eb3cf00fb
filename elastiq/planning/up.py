"""What to launch and reopen: jobs that lack room, then workers to reopen, then VMs to launch.

The rules for threshold, waiting time, jobs per VM and quota are the original elastiq's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress

from elastiq.decisions import Decision, Kind, Reason, Token, Verdict
from elastiq.memory import Breaker
from elastiq.model import Demand, Policy, Pool
from elastiq.planning import offer_words, patience, words
from elastiq.planning.adaptive import Lacking, follow, lacking
from elastiq.planning.capacities import is_larger
from elastiq.planning.eligibility import Chance
from elastiq.planning.feasible import feasible
from elastiq.planning.fleet import Fleet
from elastiq.planning.offers import all_away, walk_of
from elastiq.planning.pace import LIMIT
from elastiq.planning.packing import Rest, Room, Rooms, count, largest_first, least_cpus, place
from elastiq.planning.wanted import Wanted, of_other_types, vms_for

MOST_VMS_AT_ONCE = 1000
"""Of one launch; EC2's RunInstances takes no more."""


@dataclass
class Up:
    """What is decided for waiting jobs, while it is being decided."""

    groups: Sequence[Demand]
    fleet: Fleet
    waiting_since: float | None = None
    """Since when at least waiting_jobs_threshold jobs lack room, but for that of VMs that are just asked for."""
    rooms: list[Room] = field(default_factory=list)
    """Of elastiq's VMs, as the jobs have left it; of those that are launched now, none."""
    decisions: list[Decision] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    chances: list[Mapping[str, Chance]] = field(default_factory=list)
    """Of each group, by the keys of the pools."""
    due: list[Rest] = field(default_factory=list)
    """Jobs in vain for which one VM may be launched to try again."""
    tried: list[Demand] = field(default_factory=list)
    """The groups for which that is done."""
    lacking: list[tuple[Rest, Pool]] = field(default_factory=list)
    """Jobs for which VMs are due, and of which pool they would be first."""
    sized: list[Pool] = field(default_factory=list)
    """The pools of which a VM is launched to see whether it holds more than the last ones did."""
    is_lacking: bool = False
    """Whether at least waiting_jobs_threshold jobs lack room now."""

    @property
    def has_room(self) -> bool:
        """Return whether any job is taken to start on a worker that is there, or on some and others that boot."""
        found = ((one.reason.token, one.group.vms_per_job) for one in self.verdicts if one.group)
        return any(token is Token.HAS_ROOM or (token is Token.ROOM_BOOTING and vms > 1) for token, vms in found)

    @property
    def launched(self) -> int:
        """How many VMs are to be launched so far."""
        return sum(decision.count for decision in self.decisions if decision.kind is Kind.LAUNCH)

    def is_too_large(self, rest: Rest) -> bool:
        """Return whether no VM holds such a job, although there are some that offer what it wants."""
        found = self.chances[rest.number].values()
        return Chance.TOO_LARGE in found and all(chance in (Chance.TOO_LARGE, Chance.NO) for chance in found)

    def is_suited(self, rest: Rest, pool: Pool) -> bool:
        """Return whether it is sure that VMs of `pool` run such jobs."""
        return self.chances[rest.number][pool.key] is Chance.YES

    def is_to_learn(self, rest: Rest) -> bool:
        """Return whether a VM would show whether such jobs run."""
        return Chance.TRY in self.chances[rest.number].values()

    def will_come(self, pool: Pool, *, is_larger: bool = False) -> bool:
        """Return whether there will be VMs of `pool` to learn from: on their way, about to be launched, or there and
        without a job so far. What these hold they have shown, so that is nothing if a job is larger (`is_larger`)."""
        launched = (one for one in self.decisions if one.kind is Kind.LAUNCH and one.pool == pool.name)
        if any(not pool.is_variant or one.walk[0].offer.type == pool.instance_type for one in launched):
            return True
        if self.fleet.is_any_on_its_way(pool):
            return True
        return not is_larger and self.fleet.is_any_unused(pool)

    def pool_to_try(self, rest: Rest) -> Pool | None:
        """Return the first pool of which a VM may teach something about such jobs."""
        found = self.chances[rest.number]
        return next((pool for pool in self.fleet.variants if found[pool.key] in (Chance.TRY, Chance.YES)), None)

    def by_pool(self, rests: Iterable[Rest]) -> dict[str, list[Rest]]:
        """Return the jobs of which it is sure that VMs of a pool run them, by the name of the first such pool."""
        found: dict[str, list[Rest]] = {}
        for rest in rests:
            chances = self.chances[rest.number]
            name = next((pool.name for pool in self.fleet.variants if chances[pool.key] is Chance.YES), None)
            if name is not None:
                found.setdefault(name, []).append(rest)
        return found

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
        if kind is Token.HAS_ROOM:
            return words.room_for(jobs, is_any_asked_for=self.fleet.is_any_in_hand)
        return words.room_booting(jobs)


def plan_up(groups: Sequence[Demand], fleet: Fleet, demand_at: float) -> Up:
    """Return what to launch and reopen for `groups`, as they were at `demand_at`, and for the minimum, and what becomes
    of every job."""
    now, policy = fleet.now, fleet.policy
    up = Up(groups, fleet, fleet.memory.waiting_since)
    up.chances = [fleet.chances(group) for group in groups]
    rests = feasible(up)
    placed: Counter[tuple[int, Token]] = Counter()
    if policy.is_adaptive:
        up.fleet = fleet = fleet.after(follow(fleet, up.by_pool(rests), demand_at))
    up.rooms = fleet.rooms()
    without_room = place(largest_first(rests), Rooms(up.rooms, least_cpus(rests)), placed, fleet.most_to_come)
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
    _launch(up, left, reopened, may_spare=may_spare)
    return up


def _place_on_foreign(up: Up, rests: Sequence[Rest], waited: float, placed: Counter[tuple[int, Token]]) -> list[Rest]:
    """Return what is left of `rests` after putting them on workers that are not elastiq's.

    Such a worker may be of another kind: its room is believed only while the jobs have not waited for long. `waited`
    tells of all jobs together, for batch systems that do not tell more.
    """
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
    in_vain: set[tuple[str, str]] = set()
    for record in fleet.records if left else ():
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


def _launch(up: Up, left: list[Rest], reopened: int, *, may_spare: bool) -> None:
    """Launch VMs for the jobs that are left, for those to come and for the minimum, within quota and breaker."""
    fleet, policy = up.fleet, up.fleet.policy
    cluster_missing = policy.min_vms - reopened - sum(fleet.working.values())
    cluster_missing -= sum(fleet.awaited(pool.name) for pool in policy.pools)
    last = None
    begun: set[str] = set()
    seen: set[tuple[str, int]] = set()
    for number, pool in enumerate(fleet.variants, 1):
        # What one type of a pool holds and does not get, for want of quota, it does not get of another type either.
        suited = [rest for rest in left if up.is_suited(rest, pool) and (pool.name, rest.number) not in seen]
        taken = {rest.number for rest in suited}
        seen |= {(pool.name, number) for number in taken}
        left = [rest for rest in left if rest.number not in taken]
        own_missing = pool.min_vms - fleet.awaited(pool.name) - reopened - fleet.working[pool.name]
        next_pools = [one for one in fleet.variants[number:] if one.name != pool.name]
        parts, launched_before = _apart(suited, pool, fleet), up.launched
        for part in parts:
            room, is_last = _room(up, pool), pool.name not in begun and part is parts[-1]
            wanted = _wanted(part, room, pool, fleet)
            own_missing_yet = own_missing - (up.launched - launched_before)
            missing = max(0, own_missing_yet, cluster_missing - up.launched) if is_last else 0
            spare = lacking(fleet, pool, up.rooms, wanted, room) if may_spare and is_last else Lacking()
            left += wanted.beyond
            if not wanted.vms + spare.vms + missing:
                continue
            decision = _launch_of(up, pool, wanted, spare, missing, count(part))
            left += _not_launched_for(up, decision, wanted, next_pools)
            last = _settle_launch(up, decision, wanted)
        begun.add(pool.name)
    _settle_beyond(up, _launch_to_learn(up, left), last)
    _launch_to_try(up)


def _apart(suited: list[Rest], pool: Pool, fleet: Fleet) -> list[list[Rest]]:
    """Return jobs of several VMs, which get them of one offer, and thereby in one zone, and then the others; where
    there is one offer, all together."""
    wide = [rest for rest in suited if rest.machines > 1]
    breaker = fleet.memory.breakers.get(pool.name, Breaker())
    if not wide or len(wide) == len(suited) or not pool.has_choice or breaker.failed_boots or breaker.ask:
        return [suited]
    return [wide, [rest for rest in suited if rest.machines == 1]]


def _launch_of(up: Up, pool: Pool, wanted: Wanted, spare: Lacking, missing: int, waiting: int) -> Decision:
    """Decide on the launch of VMs of `pool`, for jobs, for those to come or for the minimum."""
    fleet, policy = up.fleet, up.fleet.policy
    vms, room = max(wanted.vms + spare.vms, missing), _room(up, pool)
    is_for_jobs = wanted.vms + spare.vms >= missing
    why = _why(waiting, spare, pool, policy) if is_for_jobs else words.below_minimum(pool, policy)
    at_least = wanted.at_least if is_for_jobs and not missing else 1
    decision = _within_limits(fleet, pool, vms, room, why, at_least)
    if decision.kind is Kind.LAUNCH:
        others = of_other_types(decision, pool, wanted, fleet) if pool.is_variant else []
        if not is_for_jobs:
            others = [(other, decision.count) for other, _ in others]
        decision = _with_walk(up, decision, pool, others)
    up.decisions.append(decision)
    return decision


def _with_walk(up: Up, decision: Decision, pool: Pool, others: Iterable[tuple[Pool, int]] = ()) -> Decision:
    """Return a launch with the offers that may be asked, where there are several."""
    whole = up.fleet.policy.pool(pool.name)
    if decision.kind is not Kind.LAUNCH or whole is None or not whole.has_choice:
        return decision
    return replace(decision, walk=tuple(walk_of(pool, others, whole, decision.count)))


def _room(up: Up, pool: Pool) -> int:
    """Return how many VMs of `pool` one launch may be for now."""
    fleet = up.fleet
    return max(0, min(MOST_VMS_AT_ONCE, min(fleet.quota_room(pool), fleet.launches_left) - up.launched))


def _why(waiting: int, spare: Lacking, pool: Pool, policy: Policy) -> Reason:
    if not waiting:
        return spare.spare.launched(spare.vms, spare.free_cores, pool)
    why = words.no_room(waiting, pool, policy)
    return spare.spare.launched_beside(why, spare.vms) if spare.vms else why


def _wanted(suited: list[Rest], room: int, pool: Pool, fleet: Fleet) -> Wanted:
    """Return the VMs wanted for jobs, no more than the cloud is asked for at once; but a job of several machines gets
    all of them or none, and asking for too many costs nothing then."""
    ask = fleet.ask(pool)
    if ask is None or ask >= room:
        return vms_for(suited, room, pool, fleet)
    single = [rest for rest in suited if rest.machines == 1]
    first, others = (single, [rest for rest in suited if rest.machines > 1]) if single else (suited, [])
    wanted = vms_for(first, ask if single else room, pool, fleet)
    wanted.beyond += others
    return wanted


def _launch_to_learn(up: Up, left: list[Rest]) -> list[Rest]:
    """Launch one VM of each pool to learn from for jobs of which it is not known whether they start there; return the
    others. Where VMs are on their way, these will show it."""
    fleet = up.fleet
    waiting: list[Rest] = []
    held: dict[str, Reason] = {}
    for rest in left:
        pool = up.pool_to_try(rest) if up.is_to_learn(rest) else None
        if pool is None:
            continue
        larger = is_larger(fleet.memory, pool, rest.shape)
        if up.will_come(pool, is_larger=larger):
            waiting.append(rest)
            continue
        if pool.key in held:
            up.settle([rest], held[pool.key])
            continue
        room = _room(up, pool)
        decision = _within_limits(fleet, pool, 1, room, words.to_learn(up.groups[rest.number], rest.jobs, pool))
        decision = _with_walk(up, decision, pool)
        up.decisions.append(replace(decision, trial_of=pool.capacity_key if larger else ""))
        up.settle([rest], decision.reason)
        if decision.kind is Kind.HOLD:
            held[pool.key] = decision.reason
        elif larger:
            up.sized.append(pool)
    if waiting:
        up.hold(words.learning([up.groups[rest.number] for rest in waiting], count(waiting)), waiting)
    return [rest for rest in left if not up.is_to_learn(rest)]


def _launch_to_try(up: Up) -> None:
    """Launch a VM, or as many as a job needs at once, for jobs in vain that are due to be tried again, unless there is
    room for them, or will be: that shows it as well."""
    fleet = up.fleet
    for rest in up.due:
        group, pool = up.groups[rest.number], up.pool_to_try(rest)
        if pool is None or up.will_come(pool) or fleet.memory.watched[group.key].rooms:
            up.tried.append(group)
            up.settle([rest], words.in_vain([(group, rest.jobs)], fleet.memory, fleet.now))
            continue
        room = _room(up, pool)
        decision = _within_limits(
            fleet, pool, rest.machines, room, words.in_vain_trial(group, rest.jobs), rest.machines
        )
        up.decisions.append(replace(_with_walk(up, decision, pool), trial_of=group.key))
        up.settle([rest], decision.reason)
        if decision.kind is Kind.LAUNCH:
            up.tried.append(group)


def _within_limits(fleet: Fleet, pool: Pool, vms: int, room: int, why: Reason, at_least: int = 1) -> Decision:
    """Return the launch of up to `vms` VMs of `pool`, or why there is none."""
    breaker = fleet.memory.breakers.get(pool.name, Breaker())
    if fleet.now < breaker.paused_until:
        return Decision(Kind.HOLD, words.paused(why, breaker, fleet.now))
    reason = all_away(pool, fleet.memory, fleet.now, at_least)
    if reason is not None:
        whole = fleet.policy.pool(pool.name)
        is_whole = whole is not None and all_away(whole, fleet.memory, fleet.now, at_least) is not None
        return Decision(Kind.HOLD, offer_words.put_away(why, whole if is_whole and whole else pool, reason, fleet.now))
    is_paced = fleet.launches_left < fleet.quota_room(pool)
    if room < at_least:
        paced = replace(words.quota_leaves(why, room, LIMIT), token=Token.QUOTA_FULL)
        return Decision(Kind.HOLD, paced if is_paced else words.quota_full(why, fleet.limit(pool)))
    if fleet.is_any_in_hand:
        return Decision(Kind.HOLD, words.not_beside_another(why))
    if breaker.failed_boots >= patience.BOOT_FAILURES_TO_TRIP:
        booting = any(record.pool == pool.name and fleet.is_to_prove_itself(record) for record in fleet.records)
        if booting or fleet.awaited(pool.name):
            return Decision(Kind.HOLD, words.trial_booting(why, breaker))
        vms, at_least, why = 1, 1, words.trial(why, breaker)
    ask = fleet.ask(pool)
    if ask is not None and fleet.awaited(pool.name) >= ask:
        return Decision(Kind.HOLD, words.not_before_the_answer(why, ask))
    if ask is not None and at_least == 1 and min(vms, room) > ask:
        return Decision(Kind.LAUNCH, words.fewer_at_once(why, ask), pool.name, ask)
    if vms > room:
        if room == MOST_VMS_AT_ONCE:
            why = words.request_takes(why, room)
        else:
            why = words.quota_leaves(why, room, LIMIT if is_paced else fleet.limit(pool))
    return Decision(Kind.LAUNCH, why, pool.name, min(vms, room), at_least=min(vms, room, at_least))


def _not_launched_for(up: Up, decision: Decision, wanted: Wanted, next_pools: Sequence[Pool]) -> list[Rest]:
    """Take out of `wanted` and return the jobs that get no VM of its pool now, but may get one of `next_pools`."""
    staying, going = [], Counter[int]()
    for vm, rest in wanted.takers:
        found = up.chances[rest.number]
        if vm >= decision.count and any(found[pool.key] is Chance.YES for pool in next_pools):
            going[rest.number] += rest.jobs
        else:
            staying.append((vm, rest))
    rests = {rest.number: rest for _, rest in wanted.takers}
    wanted.takers = staying
    return [rests[number].of(jobs) for number, jobs in going.items()]


def _settle_launch(up: Up, decision: Decision, wanted: Wanted) -> Reason:
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


def _settle_beyond(up: Up, left: Sequence[Rest], limit: Reason | None) -> None:
    """Say why nothing is launched for jobs that no pool has taken."""
    fleet, policy = up.fleet, up.fleet.policy
    is_wide = [rest.machines > 1 and policy.max_vms is not None for rest in left]
    wide = list(compress(left, is_wide))
    room = max(0, max(fleet.quota_left(pool) for pool in policy.pools) - up.launched)
    for rest in wide:
        reason = words.quota_leaves_too_few(rest.jobs, rest.machines, room, policy)
        if rest is wide[0]:
            up.hold(reason)
        up.settle([rest], reason)
    others = [rest for rest, of_wide in zip(left, is_wide) if not of_wide]
    up.settle(others, limit or words.no_room(count(others), policy.pools[0], policy))
