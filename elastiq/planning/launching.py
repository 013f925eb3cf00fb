"""Which VMs are launched for the jobs that lack room, for those to come and for the minimum, within all limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import compress

from elastiq.decisions import Decision, Kind, Reason, Token
from elastiq.memory import Breaker
from elastiq.model import Policy, Pool
from elastiq.planning import choice, money_words, offer_words, patience, words
from elastiq.planning.adaptive import Lacking, lacking
from elastiq.planning.capacities import is_larger
from elastiq.planning.draft import Up
from elastiq.planning.eligibility import Chance
from elastiq.planning.fleet import Fleet
from elastiq.planning.futility import suspicious_seconds, unused_by
from elastiq.planning.offers import all_away, walk_of
from elastiq.planning.pace import LIMIT
from elastiq.planning.packing import Rest, count
from elastiq.planning.wanted import Wanted, of_other_types, vms_for

NONE_COMING: Counter[str] = Counter()

MOST_VMS_AT_ONCE = 1000
"""Of one launch; EC2's RunInstances takes no more."""


def launch(up: Up, left: list[Rest], reopened: int, *, may_spare: bool) -> None:
    """Launch VMs for the jobs that are left, for those to come and for the minimum, within quota and breaker."""
    turns = _Turns(up, reopened, may_spare=may_spare)
    number = 0
    for tier in choice.tiers(up.fleet):
        number += len(tier)
        if len(tier) > 1:
            left = turns.of_tier(tier, left, up.fleet.variants[number:])
        for place, pool in enumerate(tier, number - len(tier) + 1):
            left = turns.of_pool(pool, left, up.fleet.variants[place:])
    _settle_beyond(up, _launch_to_learn(up, left), turns.last)
    _launch_to_try(up)
    for pool in turns.late:
        missing = _missing(up, pool, reopened)
        if missing:
            _launch_of(up, pool, Wanted(), Lacking(), missing, 0)


class _Turns:
    """One pool after the other, once for each type."""

    def __init__(self, up: Up, reopened: int, *, may_spare: bool) -> None:
        self._up, self._reopened, self._may_spare = up, reopened, may_spare
        self.last: Reason | None = None
        """Why jobs that got no VM last did not."""
        self.late: list[Pool] = []
        """Whose minimum is lacking if nothing comes for the jobs of others."""
        self._begun: set[str] = set()
        self._seen: dict[str, set[int]] = {}

    def of_tier(self, tier: Sequence[Pool], left: list[Rest], next_pools: Sequence[Pool]) -> list[Rest]:
        """Launch VMs of pools of which what they cost for these jobs decides; return the jobs that are left."""
        up, fleet = self._up, self._up.fleet
        wide, single = [rest for rest in left if rest.machines > 1], [rest for rest in left if rest.machines == 1]
        for key, rests in choice.for_wide(up, tier, wide, {pool.key: _room(up, pool) for pool in tier}).items():
            pool = next(one for one in tier if one.key == key)
            wanted = vms_for(rests, _room(up, pool), pool, fleet)
            taken = {rest.number for rest in rests}
            wide = [rest for rest in wide if rest.number not in taken]
            wide += self._ask(pool, wanted, next_pools) if wanted.vms else wanted.beyond
        room = {pool.key: _room(up, pool) for pool in tier}
        found, single = choice.for_single(up, tier, single, room, _room_of_all(up, tier))
        others = [*wide, *single]
        for place, pool in enumerate(tier):
            wanted = found.get(pool.key, Wanted())
            coming = choice.coming(found, tier[place + 1 :])
            others += self._ask(pool, wanted, next_pools, others, coming, is_last=pool.name not in self._begun)
            self._begun.add(pool.name)
        return others

    def of_pool(self, pool: Pool, left: list[Rest], pools: Sequence[Pool]) -> list[Rest]:
        """Launch VMs of a pool for those of these jobs that it runs; return the others."""
        up, fleet = self._up, self._up.fleet
        # What one type of a pool holds and does not get, for want of quota, it does not get of another type either.
        seen = self._seen.setdefault(pool.name, set())
        suited = [rest for rest in left if rest.number not in seen and up.is_suited(rest, pool)]
        taken = {rest.number for rest in suited}
        seen |= taken
        left = [rest for rest in left if rest.number not in taken]
        next_pools = [one for one in pools if one.name != pool.name]
        parts = _apart(suited, pool, fleet)
        for part in parts:
            is_last = pool.name not in self._begun and part is parts[-1]
            wanted = _wanted(part, _room(up, pool), pool, fleet)
            left += self._ask(pool, wanted, next_pools, left, is_last=is_last)
        self._begun.add(pool.name)
        return left

    def _ask(
        self,
        pool: Pool,
        wanted: Wanted,
        next_pools: Sequence[Pool],
        others: Iterable[Rest] = (),
        coming: Counter[str] | None = None,
        *,
        is_last: bool = False,
    ) -> list[Rest]:
        """Launch the VMs that are wanted, and if this is the last launch of a pool, those for jobs to come and for the
        minimum; return the jobs that get none. VMs of others will be launched for `others`, and so many are `coming`
        for jobs for which that is settled."""
        up = self._up
        room = _room(up, pool)
        missing = _missing(up, pool, self._reopened, others, coming or Counter()) if is_last else 0
        if is_last and missing < _missing(up, pool, self._reopened):
            self.late.append(pool)
        spare = lacking(up.fleet, pool, up.rooms, wanted, room) if self._may_spare and is_last else Lacking()
        if not wanted.vms + spare.vms + missing:
            return wanted.beyond
        decision = _launch_of(up, pool, wanted, spare, missing, wanted.jobs)
        going = _not_launched_for(up, decision, wanted, next_pools)
        self.last = _settle_launch(up, decision, wanted)
        return [*wanted.beyond, *going]


def _missing(up: Up, pool: Pool, reopened: int, others: Iterable[Rest] = (), coming: Counter[str] = NONE_COMING) -> int:
    """Return how many VMs of `pool` its own minimum and that of all pools lack, leaving out what VMs of other types or
    pools for `others` may make up for, and those that are `coming`: with these first the quota might be used up, and
    those never come."""
    fleet, policy = up.fleet, up.fleet.policy
    own = pool.min_vms - reopened - fleet.working[pool.name] - fleet.awaited(pool.name) - up.launched_of(pool)
    every = policy.min_vms - reopened - sum(fleet.working.values()) - up.launched
    every -= sum(fleet.awaited(one.name) for one in policy.pools)
    own, every = own - coming[pool.name], every - sum(coming.values())
    if own <= 0 and every <= 0:
        return 0
    tried = (up.pool_to_try(rest) for rest in others)
    able = {one.name for one in tried if one is not None and one.key != pool.key}
    return max(0, 0 if pool.name in able else own, 0 if able else every)


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
    decision = _within_limits(up, pool, vms, room, why, at_least)
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
    return up.purse.within(replace(decision, walk=tuple(walk_of(pool, others, whole, decision.count)))) or decision


def _room(up: Up, pool: Pool) -> int:
    """Return how many VMs of `pool` one launch may be for now."""
    fleet = up.fleet
    vms = min(MOST_VMS_AT_ONCE, min(fleet.quota_left(pool), fleet.launches_left) - up.launched)
    return max(0, min(vms, up.purse.room(pool)))


def _room_of_all(up: Up, tier: Sequence[Pool]) -> int:
    """Return how many VMs of these pools together may be launched now, whatever they cost."""
    fleet = up.fleet
    of_pools = sum({pool.name: fleet.quota_left(pool) for pool in tier}.values())
    return max(0, min(of_pools, fleet.quota_left_of_all, fleet.launches_left) - up.launched)


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
        decision = _within_limits(up, pool, 1, room, words.to_learn(up.groups[rest.number], rest.jobs, pool))
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
        unused = unused_by(group, fleet, suspicious_seconds(fleet.policy))
        if pool is None or up.will_come(pool) or fleet.memory.watched[group.key].rooms.keys() - unused:
            up.tried.append(group)
            up.settle([rest], words.in_vain([(group, rest.jobs)], fleet.memory, fleet.now))
            continue
        room = _room(up, pool)
        decision = _within_limits(up, pool, rest.machines, room, words.in_vain_trial(group, rest.jobs), rest.machines)
        up.decisions.append(replace(_with_walk(up, decision, pool), trial_of=group.key))
        up.settle([rest], decision.reason)
        if decision.kind is Kind.LAUNCH:
            up.tried.append(group)


def _within_limits(up: Up, pool: Pool, vms: int, room: int, why: Reason, at_least: int = 1) -> Decision:
    """Return the launch of up to `vms` VMs of `pool`, or why there is none."""
    fleet, purse = up.fleet, up.purse
    breaker = fleet.memory.breakers.get(pool.name, Breaker())
    if fleet.now < breaker.paused_until:
        return Decision(Kind.HOLD, words.paused(why, breaker, fleet.now))
    reason = all_away(pool, fleet.memory, fleet.now, at_least)
    if reason is not None:
        whole = fleet.policy.pool(pool.name)
        is_whole = whole is not None and all_away(whole, fleet.memory, fleet.now, at_least) is not None
        return Decision(Kind.HOLD, offer_words.put_away(why, whole if is_whole and whole else pool, reason, fleet.now))
    is_paced = fleet.launches_left < fleet.quota_left(pool)
    is_dear = bool(purse.caps) and purse.room(pool) <= room
    if room < at_least and is_dear:
        return Decision(Kind.HOLD, money_words.held(why, purse, pool, at_least))
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
        elif is_dear:
            why = words.quota_leaves(why, room, money_words.limit(purse, pool))
        else:
            why = words.quota_leaves(why, room, LIMIT if is_paced else fleet.limit(pool))
    return Decision(Kind.LAUNCH, why, pool.name, min(vms, room), at_least=min(vms, room, at_least))


def _not_launched_for(up: Up, decision: Decision, wanted: Wanted, next_pools: Sequence[Pool]) -> list[Rest]:
    """Take out of `wanted` and return the jobs that get no VM of its pool now, but may get one of `next_pools`."""
    staying, going = [], Counter[int]()
    for vm, rest in wanted.takers:
        found = up.chances[rest.number].of_pools
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
    is_limited = policy.max_vms is not None or policy.cost.is_capped
    is_wide = [rest.machines > 1 and is_limited for rest in left]
    wide = list(compress(left, is_wide))
    room = max(0, max(fleet.quota_left(pool) for pool in policy.pools) - up.launched)
    purse = up.purse
    for rest in wide:
        reason = words.quota_leaves_too_few(rest.jobs, rest.machines, room, policy)
        pool = up.pool_to_try(rest) or policy.pools[0]
        is_dear = room >= rest.machines or not purse.is_ever_enough(pool, rest.machines)
        if purse.caps and is_dear:
            reason = money_words.held(words.no_room(rest.jobs, pool, policy), purse, pool, rest.machines)
        if rest is wide[0]:
            up.hold(reason)
        up.settle([rest], reason)
    others = [rest for rest, of_wide in zip(left, is_wide) if not of_wide]
    up.settle(others, limit or words.no_room(count(others), policy.pools[0], policy))
