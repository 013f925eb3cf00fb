"""What the outcome of an action changes in what elastiq remembers."""

from __future__ import annotations

from dataclasses import replace

from elastiq.decisions import End, Kind, Outcome, Token
from elastiq.memory import Breaker, Memory
from elastiq.model import Scope
from elastiq.planning import patience
from elastiq.planning.breaker import boot_failed, launch_refused
from elastiq.planning.capacities import size_trial_failed
from elastiq.planning.futility import trial_failed
from elastiq.planning.intents import made_of, with_answer
from elastiq.planning.offers import away, given, put_away


def learn(memory: Memory, outcome: Outcome, now: float) -> Memory:
    """Return `memory` after a launch, termination or reopening came to `outcome`."""
    if outcome.token:
        return _learn_launch(memory, outcome, now)
    decision, end = outcome.decision, outcome.end
    record = memory.vms.get(decision.instance_id)
    if record is None:
        return memory
    if decision.kind is Kind.REQUEUE:
        record = replace(record, requeued_at=now)
        return replace(memory, vms={**memory.vms, record.id: record})
    if decision.failed_boot and not (record.failed_boot or end is End.REFUSED):
        # Once: a termination that has no effect is asked for again and again.
        breaker = boot_failed(memory.breakers.get(record.pool), now, f"VM {record.id}: {decision.reason}")
        memory = replace(memory, breakers={**memory.breakers, record.pool: breaker})
        record = replace(record, failed_boot=True)
    if end is End.PENDING:
        record = replace(record, reopen_failed=False, termination_asked_at=now)
        return replace(memory, vms={**memory.vms, record.id: record})
    failed = decision.kind is Kind.REOPEN and end is not End.DONE
    record = replace(record, reopen_failed=failed, termination_asked_at=None)
    if end is End.DONE and decision.kind is Kind.TERMINATE:
        record = replace(record, terminated_at=now, terminate_tries=0)
    elif end in (End.DONE, End.REFUSED):
        # If the close took effect, that may be why the worker is out of sight: then patience with it starts over.
        lost_since = None if record.closed else record.lost_since
        record = replace(record, closing_at=None, closed=False, terminate_tries=0, lost_since=lost_since)
        record = replace(record, reopen_retry_at=0.0)
        if end is End.REFUSED:
            record = replace(record, doomed=False, terminate_retry_at=now + patience.CLOSE_AGAIN_SECONDS)
    elif decision.kind is Kind.REOPEN:
        # It may be open all the same, and jobs on their way: patience with a worker out of sight starts over, too.
        lost_since = None if record.closed else record.lost_since
        again_at = now + patience.REOPEN_AGAIN_SECONDS
        record = replace(record, closed=False, lost_since=lost_since, reopen_retry_at=again_at)
    else:
        pause = patience.pause_seconds(patience.RETRY_SECONDS, record.terminate_tries)
        record = replace(record, terminate_tries=record.terminate_tries + 1, terminate_retry_at=now + pause)
    return replace(memory, vms={**memory.vms, record.id: record})


_NOT_FOR_THE_NUMBER = frozenset(
    {Token.CLOUD_CONFIGURATION, Token.CLOUD_CREDENTIALS, Token.CLOUD_THROTTLED, Token.CLOUD_UNREACHABLE}
    | {Token.CLOUD_UNSENT, Token.CLOUD_BUSY, Token.NOT_JOURNALLED, Token.CLOUD_JOIN_TOKEN}
)
"""Causes of refusals that asking for fewer VMs would not mend."""


def _given(breaker: Breaker, outcome: Outcome, memory: Memory, now: float) -> Breaker:
    """Return the breaker of a pool after the cloud has given VMs, all that were asked for or some."""
    decision, count = outcome.decision, len(outcome.instance_ids)
    breaker = replace(breaker, refusals=0, ask=None)
    if 0 < count < decision.at_least:
        # Against what was asked: other clouds give none then, and asking again costs nothing.
        there_are = sum(record.pool == decision.pool and record.counts for record in memory.vms.values())
        until = now + patience.CLOUD_LIMIT_SECONDS
        return replace(breaker, most=there_are + count, most_until=until)
    return breaker


def _is_of_one_offer(outcome: Outcome) -> bool:
    """Return whether a refusal leaves a pool with other offers that may be had."""
    is_full = outcome.cause is Token.CLOUD_CAPACITY and outcome.scope is not Scope.ACCOUNT
    return bool(outcome.decision.walk) and outcome.end is End.FAILED and is_full


def _may_go_on(outcome: Outcome, memory: Memory, now: float) -> bool:
    """Return whether another offer is asked for the same now."""
    others, at_least = outcome.decision.walk[1:], outcome.decision.at_least
    return _is_of_one_offer(outcome) and any(away(step.offer, memory, now, at_least) is None for step in others)


def _learn_launch(memory: Memory, outcome: Outcome, now: float) -> Memory:
    pool = outcome.decision.pool
    breaker = memory.breakers.get(pool, Breaker())
    asked = next((intent for intent in memory.intents if intent.token == outcome.token), None)
    if outcome.end is End.FAILED and asked and memory.found(asked):
        # OpenStack calls a launch failed of which one VM has gone before the answer is made: the others are there.
        outcome = replace(outcome, end=End.UNCLEAR)
    if outcome.end is End.DONE:
        breaker = _given(breaker, outcome, memory, now)
        # Listings may have shown them before, all of them if there is no intent: those that are not there have ended.
        new = [id_ for id_ in outcome.instance_ids if asked and id_ not in memory.vms and id_ not in asked.found]
        memory = replace(memory, vms={**memory.vms, **{id_: made_of(asked, id_, now) for id_ in new if asked}})
        if outcome.decision.walk and outcome.instance_ids:
            memory = given(memory, outcome.decision.walk[0].offer)
        if asked and outcome.instance_ids and outcome.decision.reason.token is not Token.ASKED_AGAIN:
            memory = with_answer(memory, len(outcome.instance_ids), now - asked.requested_at)
    elif _is_of_one_offer(outcome):
        memory = put_away(memory, outcome.decision, outcome, now)
    elif outcome.end is End.FAILED:
        breaker = launch_refused(breaker, now, outcome.detail)
        if outcome.cause not in _NOT_FOR_THE_NUMBER:
            breaker = replace(breaker, ask=max(1, outcome.decision.count // 2))
    if outcome.end is End.FAILED and not _may_go_on(outcome, memory, now):
        memory = trial_failed(memory, outcome.decision.trial_of, now)
        if outcome.decision.trial_of in memory.showings:
            memory = size_trial_failed(memory, outcome.decision.trial_of)
    intents = tuple(intent for intent in memory.intents if intent is not asked)
    if asked and outcome.end in (End.UNCLEAR, End.PENDING):
        intents = (*intents, replace(asked, in_hand=outcome.end is End.PENDING))
    return replace(memory, intents=intents, breakers={**memory.breakers, pool: breaker})
