"""Which of the waiting jobs VMs could serve at all: launching would not help the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from elastiq.planning import words
from elastiq.planning.capacities import capacity_of
from elastiq.planning.futility import share_of, suspicious_seconds, unused_by
from elastiq.planning.packing import Rest
from elastiq.planning.suspicion import unused_room

if TYPE_CHECKING:
    from elastiq.model import Demand
    from elastiq.planning.draft import Up
    from elastiq.planning.fleet import Fleet


def feasible(up: Up) -> list[Rest]:
    """Return the jobs that VMs could serve, and say a word on the others: launching would not help them."""
    fleet, variants = up.fleet, up.fleet.variants
    seconds = suspicious_seconds(fleet.policy)
    rests = [
        Rest(
            number,
            one.shape,
            one.jobs,
            one.vms_per_job,
            one.takes_whole_vms,
            up.chances[number].barred_from,
            frozenset(() if _is_in_vain(one, fleet) else unused_by(one, fleet, seconds)),
        )
        for number, one in enumerate(up.groups)
    ]
    _say_what_stays_unused(up, rests, seconds)
    rests = _not_too_wide(up, rests)
    not_eligible = [rest for rest in rests if len(rest.barred_from) == len(variants)]
    eligible = [rest for rest in rests if len(rest.barred_from) < len(variants)]
    if not_eligible:
        up.hold(words.not_eligible([up.groups[rest.number] for rest in not_eligible]), not_eligible)
    hopeless = [rest for rest in eligible if up.is_too_large(rest) and not fleet.fits_a_worker(rest.shape)]
    if hopeless:
        known = [capacity for capacity in (capacity_of(fleet.memory, one) for one in variants) if capacity]
        largest = max(known, key=lambda capacity: (capacity.cpus, capacity.memory_mb or 0))
        up.hold(words.larger_than_vm([up.groups[rest.number] for rest in hopeless], largest), hopeless)
    no_demand = {rest.number for rest in hopeless}
    return _not_in_vain(up, [rest for rest in eligible if rest.number not in no_demand])


def _is_in_vain(group: Demand, fleet: Fleet) -> bool:
    return group.key in fleet.memory.futile and share_of(group, fleet.memory, fleet.now).in_vain > 0


def _say_what_stays_unused(up: Up, rests: Iterable[Rest], suspicious_after: float) -> None:
    """Say which workers have room, as they tell, for jobs that do not start there."""
    jobs, longest = Counter[str](), dict[str, float]()
    for rest in rests:
        for id_ in rest.unused:
            jobs[id_] += rest.jobs
            longest[id_] = max(
                longest.get(id_, 0.0), unused_by(up.groups[rest.number], up.fleet, suspicious_after)[id_]
            )
    for id_, seconds in longest.items():
        if id_ in up.fleet.own_workers and up.fleet.is_open(up.fleet.memory.vms[id_]):
            up.hold(unused_room(id_, jobs[id_], seconds))


def _not_too_wide(up: Up, rests: list[Rest]) -> list[Rest]:
    """Return the jobs that do not need more machines at once than there may be."""
    fleet, policy = up.fleet, up.fleet.policy
    if policy.max_vms is not None:
        machines = policy.max_vms + len(fleet.foreign_workers)
        wide = [rest for rest in rests if rest.machines > machines]
        if wide:
            up.hold(words.wider_than_quota([up.groups[rest.number] for rest in wide], policy), wide)
            rests = [rest for rest in rests if rest.machines <= machines]
    limits = [fleet.cloud_limit(pool) for pool in policy.pools]
    if None not in limits:
        most = sum(limit for limit in limits if limit is not None) + len(fleet.foreign_workers)
        wide = [rest for rest in rests if rest.machines > max(1, most)]
        if wide:
            up.hold(words.cloud_limit([up.groups[rest.number] for rest in wide], most), wide)
            rests = [rest for rest in rests if rest.machines <= max(1, most)]
    return rests


def _not_in_vain(up: Up, rests: Iterable[Rest]) -> list[Rest]:
    """Return the jobs without those that do not start whatever room there is; of such a group one VM may be due."""
    if not up.fleet.memory.futile:
        return list(rests)
    left, vain = [], []
    for rest in rests:
        share = share_of(up.groups[rest.number], up.fleet.memory, up.fleet.now)
        if share.jobs:
            left.append(rest.of(share.jobs))
        if share.in_vain:
            vain.append(rest.of(share.in_vain))
        if share.may_try:
            up.due.append(rest.of(share.in_vain))
    if vain:
        groups = [(up.groups[rest.number], rest.jobs) for rest in vain]
        reason = words.in_vain(groups, up.fleet.memory, up.fleet.now)
        up.hold(reason)
        due = {rest.number for rest in up.due}
        up.settle([rest for rest in vain if rest.number not in due], reason)
    return left
