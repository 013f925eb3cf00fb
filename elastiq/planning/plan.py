"""Decides what to launch, reopen and terminate, and says why. Pure: no clock, no input or output, no randomness."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from elastiq.decisions import Decision, Kind, Plan, Verdict
from elastiq.memory import Memory, VmRecord
from elastiq.model import Observation, Policy, Pool
from elastiq.planning import interruptions, money_words, words
from elastiq.planning.capacities import size_tried
from elastiq.planning.departures import NOT_OF_ELASTIQ, departures
from elastiq.planning.down import left_alone, nothing_is_known, plan_down
from elastiq.planning.draft import Up
from elastiq.planning.fleet import Fleet
from elastiq.planning.futility import launched_in_vain, tried, watch
from elastiq.planning.hours import in_force
from elastiq.planning.moments import look_at, wake_at
from elastiq.planning.money import paid
from elastiq.planning.rates import weighed, with_gone
from elastiq.planning.tracking import track
from elastiq.planning.up import plan_up


def plan(observation: Observation, memory: Memory, policy: Policy) -> Plan:
    """Return what to do after `observation`, what to remember, and why, in words.

    Nothing is launched unless queue, workers and VMs are all known; nothing is terminated unless workers and VMs
    are. The decisions of one plan never exceed the quota, whatever becomes of each of them.
    """
    policy = in_force(policy, memory, observation.now)
    situation = track(observation, memory, policy)
    known = paid(memory, situation.memory, policy, observation.now)
    known = with_gone(memory, known, situation.departed, observation.now)
    situation, policy = replace(situation, memory=known), weighed(policy, known, observation.now)
    fleet = Fleet.of(observation, situation, policy)
    looked_at = observation.now - max(observation.demand_age_seconds, observation.workers_age_seconds)
    if words.unreadable(observation) is None:
        fleet = fleet.after(watch(observation.demand or (), fleet, looked_at))
    up = _up(observation, fleet)
    fleet = up.fleet
    memory = replace(fleet.memory, waiting_since=up.waiting_since)
    for group in up.tried:
        memory = tried(memory, group, observation.now)
    for pool in up.sized:
        memory = size_tried(memory, pool, observation.now)
    if observation.workers is None or observation.instances is None:
        down = nothing_is_known(fleet.records)
    else:
        reopened = {decision.instance_id for decision in up.decisions if decision.kind is Kind.REOPEN}
        is_lacking = observation.demand is not None and up.is_lacking
        waiting = () if is_lacking or up.has_room else observation.demand or ()
        needless = launched_in_vain(waiting, fleet, looked_at)
        down = plan_down(fleet, reopened, needless, up.rooms, up.lacking, is_lacking=is_lacking)
    memory = _with_first_reasons(memory, fleet.unusual, down.decisions, down.postponed)
    departed = departures(situation.departed, observation.now)
    spent = [Decision(Kind.HOLD, money_words.gone(cap, policy))] if (cap := fleet.purse.gone) else []
    taken_back = interruptions.decisions(fleet) if observation.workers is not None else ()
    decisions = (*up.decisions, *down.decisions, *spent, *left_alone(fleet), *taken_back, *departed.decisions)
    figures = fleet.figures(observation)
    return Plan(
        decisions,
        memory,
        # What is in `departed` has a line of its own.
        words.summary(
            figures, policy, (one for one in decisions if one.reason.token not in NOT_OF_ELASTIQ), observation.now
        ),
        departed.records,
        figures,
        _ask_again(observation, fleet),
        (*(one for one in up.verdicts if one.group is None or not one.group.is_to_come), *down.verdicts),
        wake_at(observation, memory, policy),
        look_at(observation, memory, policy),
    )


def _with_first_reasons(
    memory: Memory, unusual: Iterable[VmRecord], decisions: Iterable[Decision], postponed: Collection[str]
) -> Memory:
    """Return `memory` with why each VM that goes was to go at first, and without why others once were to go."""
    ending = {one.instance_id: one.reason for one in decisions if one.kind is Kind.TERMINATE}
    going = {*ending, *postponed}
    changed = {}
    for record in (*unusual, *(memory.vms[id_] for id_ in ending)):
        reason = ending.get(record.id)
        if reason is not None and not (record.goes_because or record.leaving):
            changed[record.id] = replace(record, goes_because=str(reason), goes_cause=reason.token.value)
        elif record.goes_because and record.id not in going and not record.leaving:
            changed[record.id] = replace(record, goes_because="", goes_cause="")
    return replace(memory, vms={**memory.vms, **changed}) if changed else memory


def _up(observation: Observation, fleet: Fleet) -> Up:
    groups, unreadable = observation.demand or (), words.unreadable(observation)
    if unreadable is None:
        running = tuple(interruptions.successors(fleet))
        return plan_up((*groups, *running), fleet, observation.now - observation.demand_age_seconds)
    hold = Decision(Kind.HOLD, unreadable)
    verdicts = [Verdict(unreadable, group, group.jobs) for group in groups]
    since = fleet.memory.waiting_since
    return Up(groups, fleet, since, fleet.rooms(), [hold], verdicts, is_lacking=since is not None)


def _ask_again(observation: Observation, fleet: Fleet) -> tuple[str, ...]:
    """Return the client tokens of launches without an answer that are still wanted, and within quota and caps."""
    if words.unreadable(observation) is not None or not observation.demand:
        return ()
    pools = ((intent, fleet.policy.pool(intent.pool)) for intent in fleet.memory.intents)
    return tuple(intent.token for intent, pool in pools if pool is not None and _is_within_limits(fleet, pool))


def _is_within_limits(fleet: Fleet, pool: Pool) -> bool:
    """Return whether all that may exist is within quota and caps: what was asked for already counts."""
    return fleet.quota_left(pool) >= 0 and fleet.purse.is_kept
