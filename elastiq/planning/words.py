"""Every sentence of a plan, with its token and its figures."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from elastiq.decisions import Decision, Figures, Kind, Reason, Token
from elastiq.memory import Breaker, Memory, VmRecord
from elastiq.model import Demand, Observation, Policy, Pool, Shape, Worker, of_pool
from elastiq.planning import patience
from elastiq.planning.phrases import describe

NAMES_SHOWN = 5
"""Of VMs, in one reason."""

GROUPS_SHOWN = 3
"""Of jobs, in one reason."""

LEFT_OUT = " was left out: "
"""What is in front of the reason why a question was not even put."""

_MEANINGS = {token: token.meaning[0].lower() + token.meaning[1:].rstrip(".") for token in Token}
"""What tokens mean, as parts of a sentence."""


def unreadable(observation: Observation) -> Reason | None:
    """Return why nothing is launched, or None if queue, workers and VMs are all known."""
    parts = {
        "the queue": observation.demand,
        "the workers": observation.workers,
        "the VMs": observation.instances,
    }
    what = " and ".join(name for name, part in parts.items() if part is None)
    faults = f" ({'; '.join(_without_repetition(observation.faults))})" if observation.faults else ""
    return Reason(Token.UNREADABLE, f"{what} cannot be read, so nothing is launched{faults}", what) if what else None


def world_unknown() -> Reason:
    return Reason(Token.WORLD_UNKNOWN, "the workers or the VMs cannot be read, so nothing is terminated")


def room_for(jobs: int, *, is_any_asked_for: bool = False) -> Reason:
    where = "workers present, booting or asked for have" if is_any_asked_for else "workers present or booting have"
    text = f"{where} room for {_jobs(jobs)} still waiting"
    return Reason(Token.HAS_ROOM, text, numbers={"jobs": jobs})


def room_booting(jobs: int) -> Reason:
    text = f"VMs that are booting will have room for {_jobs(jobs)}"
    return Reason(Token.ROOM_BOOTING, text, numbers={"jobs": jobs})


def foreign_room(jobs: int, policy: Policy) -> Reason:
    seconds = policy.estimated_vm_deploy_time_s
    text = f"a worker that is not elastiq's has room for {_jobs(jobs)}; believed for {seconds:g} s"
    return Reason(Token.FOREIGN_ROOM, text, numbers={"jobs": jobs, "seconds": seconds})


def below_threshold(jobs: int, policy: Policy) -> Reason:
    threshold = policy.waiting_jobs_threshold
    text = f"{_without_room(jobs)}, fewer than waiting_jobs_threshold {threshold}"
    return Reason(Token.BELOW_THRESHOLD, text, numbers={"jobs": jobs, "threshold": threshold})


def waiting_time(jobs: int, waited_seconds: float, policy: Policy) -> Reason:
    limit = policy.waiting_jobs_time_s
    when = f" for {waited_seconds:.0f} s; VMs are launched after waiting_jobs_time_s {limit:g}"
    text = _without_room(jobs) + (when if limit else "; VMs are launched if they find none at the next look either")
    return Reason(Token.WAITING_TIME, text, numbers={"jobs": jobs, "seconds": waited_seconds, "limit": limit})


def no_room(jobs: int, pool: Pool, policy: Policy) -> Reason:
    seconds = policy.waiting_jobs_time_s
    text = _without_room(jobs) + (f" for more than {seconds:g} s" if seconds else "")
    return Reason(Token.NO_ROOM, text, pool.name, {"jobs": jobs, "seconds": seconds})


def below_minimum(pool: Pool, policy: Policy) -> Reason:
    minimum = max(pool.min_vms, policy.min_vms)
    text = f"fewer VMs than min_vms {minimum} are at work"
    return Reason(Token.BELOW_MINIMUM, text, pool.name, {"min_vms": minimum})


def reopened(jobs: int, record: VmRecord) -> Reason:
    state = "is closed but not terminated" if record.closed else "may be closed for a termination"
    text = f"{_without_room(jobs)} and the worker of this VM {state}"
    return Reason(Token.REOPENED, text, record.id, {"jobs": jobs})


def paused(why: Reason, breaker: Breaker, now: float) -> Reason:
    seconds = breaker.paused_until - now
    text = f"{why}, but launches{of_pool(why.subject)} pause for {seconds:.0f} s more: {breaker.reason}"
    return Reason(Token.LAUNCHES_PAUSED, text, why.subject, {**why.numbers, "pause_seconds": seconds})


def quota_full(why: Reason, limit: str) -> Reason:
    return Reason(Token.QUOTA_FULL, f"{why}, but all of {limit} are in use", why.subject, why.numbers)


def quota_leaves(why: Reason, room: int, limit: str) -> Reason:
    text = f"{why}; {limit} leaves {room}"
    return Reason(why.token, text, why.subject, {**why.numbers, "room": room})


def request_takes(why: Reason, room: int) -> Reason:
    text = f"{why}; one request takes no more than {room}"
    return Reason(why.token, text, why.subject, {**why.numbers, "room": room})


def fewer_at_once(why: Reason, ask: int) -> Reason:
    text = f"{why}; no more than {ask} at once, since the cloud has refused more"
    return Reason(why.token, text, why.subject, {**why.numbers, "ask": ask})


def not_before_the_answer(why: Reason, ask: int) -> Reason:
    text = f"{why}, but no more than {ask} at once, since the cloud has refused more, and these are still awaited"
    return Reason(Token.ANSWER_TO_COME, text, why.subject, {**why.numbers, "ask": ask})


def not_beside_another(why: Reason) -> Reason:
    text = f"{why}, but the cloud has not answered to the last launch yet, and is asked for one at a time"
    return replace(why, token=Token.ANSWER_TO_COME, text=text)


def trial_booting(why: Reason, breaker: Breaker) -> Reason:
    text = f"{why}, but {_never_joined(breaker)}, so the one that is booting must join first: {breaker.boot_reason}"
    return Reason(Token.TRIAL_BOOTING, text, why.subject, {"failed_boots": breaker.failed_boots})


def trial(why: Reason, breaker: Breaker) -> Reason:
    text = f"{why}; one VM to try, since {_never_joined(breaker)}"
    return Reason(Token.TRIAL, text, why.subject, {**why.numbers, "failed_boots": breaker.failed_boots})


def quota_leaves_too_few(jobs: int, machines: int, room: int, policy: Policy) -> Reason:
    what = f"{_jobs(jobs)} {'lacks' if jobs == 1 else 'lack'} {machines} VMs at once"
    text = f"{what}, but max_vms {policy.max_vms} leaves {room}, so none is launched for that"
    return Reason(Token.QUOTA_LEAVES_TOO_FEW, text, numbers={"jobs": jobs, "machines": machines, "room": room})


def wider_than_quota(groups: Sequence[Demand], policy: Policy) -> Reason:
    shown = groups[:GROUPS_SHOWN]
    what = "; ".join(f"{_jobs(group.jobs)} of {group.vms_per_job} machines at once" for group in shown)
    sizes = " ".join(str(group.vms_per_job) for group in shown)
    text = f"{what} can never run: max_vms is {policy.max_vms}; not counted as demand"
    return Reason(Token.WIDER_THAN_QUOTA, text, sizes)


def larger_than_vm(groups: Sequence[Demand], largest: Shape) -> Reason:
    shown = groups[:GROUPS_SHOWN]
    what = "; ".join(f"{_jobs(group.jobs)} of {describe(group.shape)}" for group in shown)
    sizes = "; ".join(describe(group.shape) for group in shown)
    text = f"{what} can never run: a VM holds {describe(largest)}; not counted as demand"
    return Reason(Token.LARGER_THAN_VM, text, sizes)


def larger_than_new_vm(groups: Sequence[Demand]) -> Reason:
    shown = groups[:GROUPS_SHOWN]
    what = "; ".join(f"{_jobs(group.jobs)} of {describe(group.shape)}" for group in shown)
    text = f"{what} fit workers that are there, but no VM that could be launched, so none is launched for that"
    return Reason(Token.LARGER_THAN_NEW_VM, text, "; ".join(describe(group.shape) for group in shown))


def cloud_limit(groups: Sequence[Demand], most: int) -> Reason:
    shown = groups[:GROUPS_SHOWN]
    what = "; ".join(f"{_jobs(group.jobs)} of {group.vms_per_job} machines at once" for group in shown)
    text = (
        f"{what} cannot run: the cloud gave no more than {most} VMs; raise its quota, and reload; tried again in a day"
    )
    return Reason(Token.CLOUD_LIMIT, text, " ".join(str(group.vms_per_job) for group in shown), {"most": most})


def not_eligible(groups: Sequence[Demand]) -> Reason:
    shown = groups[:GROUPS_SHOWN]
    what = "; ".join(f"{_jobs(group.jobs)} of {describe(group.shape)} ({_not_offered(group)})" for group in shown)
    more = f"; and {len(groups) - len(shown)} groups more" if len(groups) > len(shown) else ""
    text = f"{what}{more} cannot run on VMs of elastiq's; not counted as demand"
    return Reason(Token.NOT_ELIGIBLE, text, "; ".join(_not_offered(group) for group in shown))


def _not_offered(group: Demand) -> str:
    reasons = dict.fromkeys(judgement.reason for judgement in group.judgements.values() if judgement.reason)
    return "; ".join(reasons) or "the batch system says so"


def in_vain(groups: Sequence[tuple[Demand, int]], memory: Memory, now: float) -> Reason:
    """Return that so many jobs of each group do not start whatever room there is, and when that is tried again."""
    shown = groups[:GROUPS_SHOWN]
    what = "; ".join(f"{_jobs(jobs)} of {describe(group.shape)}" for group, jobs in shown)
    more = f"; and {len(groups) - len(shown)} groups more" if len(groups) > len(shown) else ""
    try_at = min(memory.futile[group.key].try_at for group, _ in groups)
    text = (
        f"{what}{more} did not start although workers of elastiq's had room for them; not counted as demand, one VM is "
        f"launched to try again in {max(0.0, try_at - now) / 60:.0f} min; see why the batch system does not start them"
    )
    jobs = sum(number for _, number in groups)
    subject = "; ".join(f"{describe(group.shape)} {group.key[:6]}" for group, _ in shown)
    return Reason(Token.IN_VAIN, text, subject, {"jobs": jobs, "try_at": try_at})


def in_vain_trial(group: Demand, jobs: int) -> Reason:
    text = f"{_jobs(jobs)} of {describe(group.shape)} did not start although there was room; one VM to try again"
    return Reason(Token.TRIAL, text, describe(group.shape), {"jobs": jobs})


def to_learn(group: Demand, jobs: int, pool: Pool) -> Reason:
    what = _unknown(group, pool)
    text = f"{_without_room(jobs)}, and it is not known whether VMs have what is wanted ({what}); one VM to learn it"
    return Reason(Token.TO_LEARN, text, pool.name, {"jobs": jobs})


def learning(groups: Sequence[Demand], jobs: int) -> Reason:
    text = f"{_without_room(jobs)}, and it is not known yet whether VMs have what is wanted; those that boot will tell"
    subject = "; ".join(describe(group.shape) for group in groups[:GROUPS_SHOWN])
    return Reason(Token.LEARNING, text, subject, {"jobs": jobs})


def _unknown(group: Demand, pool: Pool) -> str:
    reason = group.judgements[pool.key].reason if pool.key in group.judgements else ""
    return reason or f"a job is of {describe(group.shape)}, more than the VMs seen last had"


def closed_at_birth(record: VmRecord) -> Reason:
    text = "its worker was closed by others before it ran anything; see the batch system for the reason"
    return Reason(Token.CLOSED_AT_BIRTH, text, record.id)


def launched_in_vain(record: VmRecord, seconds: float) -> Reason:
    text = f"idle for {seconds:.0f} s and without a job since it was launched, while those that wait do not start there"
    return Reason(Token.LAUNCHED_IN_VAIN, text, record.id, {"seconds": seconds})


def unfinished(record: VmRecord) -> Reason:
    if record.goes_because:
        return Reason(Token.UNFINISHED, f"{record.goes_because}; retried", record.id)
    done = "was closed" if record.closed or record.doomed else "was to be closed"
    text = f"its worker {done} for a termination that has not succeeded yet"
    return Reason(Token.UNFINISHED, text, record.id)


def in_error(record: VmRecord) -> Reason:
    detail = f": {record.detail}" if record.detail else ""
    return Reason(Token.VM_IN_ERROR, f"the cloud says it is in error{detail}", record.id)


def never_joined(record: VmRecord, policy: Policy) -> Reason:
    limit = policy.estimated_vm_deploy_time_s
    text = f"it has not joined the batch system in {limit:g} s (estimated_vm_deploy_time_s)"
    return Reason(Token.NEVER_JOINED, text, record.id, {"limit": limit})


def worker_lost(record: VmRecord, policy: Policy) -> Reason:
    limit = policy.lost_worker_time_s
    text = f"its worker left the batch system and was not back in {limit:g} s (lost_worker_time_s)"
    return Reason(Token.WORKER_LOST, text, record.id, {"limit": limit})


def closed_and_idle(record: VmRecord, idle_seconds: float) -> Reason:
    text = f"its worker is closed and has been idle for {idle_seconds:.0f} s, so it serves nobody"
    return Reason(Token.CLOSED_AND_IDLE, text, record.id, {"seconds": idle_seconds})


def in_the_way(record: VmRecord, *, is_earlier: bool) -> Reason:
    which = f", of the earlier type {record.type}," if is_earlier else ""
    text = f"idle{which} and in the place of a VM for jobs that it does not hold"
    return Reason(Token.IN_THE_WAY, text, record.id)


def idle(record: VmRecord, seconds: float, policy: Policy) -> Reason:
    limit = policy.idle_seconds_of(record.pool)
    text = f"idle for {seconds:.0f} s, more than idle_for_time_s {limit:g}"
    return Reason(Token.IDLE, text, record.id, {"seconds": seconds, "limit": limit})


def kept_for_minimum(kept: int, policy: Policy) -> Reason:
    text = f"{kept} idle VM{'s' if kept > 1 else ''} kept: min_vms is {policy.min_vms}"
    return Reason(Token.KEPT_FOR_MINIMUM, text, numbers={"vms": kept, "min_vms": policy.min_vms})


def vms_to_come(pool: str, count: int, seconds: float) -> Reason:
    text = f"{count} VM{'s were' if count != 1 else ' was'} asked for {seconds:.0f} s ago, no answer from the cloud yet"
    return Reason(Token.ANSWER_TO_COME, text, pool, {"vms": count, "seconds": seconds})


def goes_after_the_answer(why: Reason) -> Reason:
    return replace(why, token=Token.ANSWER_TO_COME, text=f"{why}; it goes once the cloud has answered to those before")


def terminations_to_come(ids: Sequence[str], seconds: float) -> Reason:
    names = ", ".join(ids[:NAMES_SHOWN])
    text = f"the termination of {_vms(ids)} was asked for {seconds:.0f} s ago, no answer from the cloud yet"
    return Reason(Token.ANSWER_TO_COME, text, names, {"vms": len(ids), "seconds": seconds})


def lookalikes(ids: Sequence[str], policy: Policy) -> Reason:
    names = ", ".join(ids[:NAMES_SHOWN])
    text = (
        f"VM {names} may be of a launch whose answer was lost, but has neither its client token nor a tag: it counts "
        f"and is left alone; give it the tag elastiq:cluster={policy.cluster}, or terminate it"
    )
    return Reason(Token.LOOKALIKE, text, names, {"vms": len(ids)})


def not_listed(ids: Sequence[str], missing_seconds: float, counts_seconds: float) -> Reason:
    """Return for how long listings have left VMs out, and for how much longer these count; infinity: as long as their
    workers are in sight."""
    is_one, names = len(ids) == 1, ", ".join(ids[:NAMES_SHOWN])
    counts = "it counts" if is_one else "they count"
    text = f"the cloud has not listed {_vms(ids)} for {missing_seconds:.0f} s"
    numbers = {"vms": float(len(ids)), "seconds": missing_seconds}
    if math.isinf(counts_seconds):
        workers = "its worker has" if is_one else "their workers have"
        text += f", but {workers} not left the batch system, so {counts} and {'is' if is_one else 'are'} left alone"
        if missing_seconds > patience.MISSING_GRACE_SECONDS:
            text += "; check region, api_url and the keys"
        return Reason(Token.NOT_LISTED, text, names, numbers)
    for_how_long = f"for {counts_seconds:.0f} s more" if counts_seconds > 0 else "until it is left out once more"
    return Reason(Token.NOT_LISTED, f"{text}; {counts} {for_how_long}", names, {**numbers, "left": counts_seconds})


def claimed_twice(id_: str, rivals: Sequence[str]) -> Reason:
    text = (
        f"VM {id_} is left alone: workers {' and '.join(rivals[:NAMES_SHOWN])} of the batch system all claim its id, "
        "address or name, so that none is known to be idle; have the batch system drop those that are not there"
    )
    return Reason(Token.CLAIMED_TWICE, text, id_, {"workers": len(rivals)})


def shared_address(worker: str, ids: Sequence[str]) -> Reason:
    text = (
        f"worker {worker} is taken for none of elastiq's: {_vms(ids)} all have its address or name; "
        "terminate those that are not in use, or let workers advertise their instance ids"
    )
    return Reason(Token.SHARED_ADDRESS, text, worker, {"vms": len(ids)})


def how_gone(record: VmRecord, now: float, they: str = "it") -> str:
    """Return how the cloud shows that a VM is gone: it says so, or does not list it."""
    if record.missing_since is None:
        return f"the cloud says that {they} ended: {record.detail or 'no reason given'}"
    text = f"the cloud has not listed {they if they == 'it' else 'them'} for {now - record.missing_since:.0f} s"
    if record.joined_at is None:
        return f"{text}, and no worker was seen"
    since = record.missing_since if record.lost_since is None else record.lost_since
    return f"{text}, nor has the batch system shown the worker for {now - since:.0f} s"


def gone(token: Token, records: Sequence[VmRecord], now: float) -> Reason:
    """Return that VMs are gone, which all ended the same way."""
    ids, is_one = [record.id for record in records], len(records) == 1
    how = how_gone(records[0], now, "it" if is_one else "they")
    if token is Token.ENDED_AFTER_ALL:
        why = "after a termination without a clear answer"
    elif token is Token.VM_INTERRUPTED:
        why = f"because the cloud has taken {'it' if is_one else 'them'} back"
    else:
        why = f"and elastiq did not terminate {'it' if is_one else 'them'}"
    text = f"{_vms(ids)} {'is' if is_one else 'are'} gone {why}: {how}"
    return Reason(token, text, ", ".join(ids[:NAMES_SHOWN]), {"vms": len(ids)})


def closed_by_other(ids: Sequence[str]) -> Reason:
    names = ", ".join(ids[:NAMES_SHOWN])
    text = f"VM {names} is left alone: somebody else closed its worker in the batch system"
    return Reason(Token.CLOSED_BY_OTHER, text, names, {"vms": len(ids)})


def stays(token: Token, record: VmRecord, worker: Worker | None) -> Reason:
    """Return why a VM stays, in the words of the token's meaning, with how long its worker has been idle."""
    idle_seconds = worker.idle_seconds if worker else None
    numbers = {} if idle_seconds is None else {"idle_seconds": idle_seconds}
    because = f": {record.goes_because}" if record.goes_because else ""
    return Reason(token, f"{_MEANINGS[token]}{because}", record.id, numbers)


def summary(figures: Figures, policy: Policy, decisions: Iterable[Decision], now: float) -> str:
    """Return a pass in one sentence."""
    decisions = tuple(decisions)
    counts = {
        "reopen": sum(decision.kind is Kind.REOPEN for decision in decisions),
        "launch": sum(decision.count for decision in decisions if decision.kind is Kind.LAUNCH),
        "requeue": sum(decision.kind is Kind.REQUEUE for decision in decisions),
        "terminate": sum(decision.kind is Kind.TERMINATE for decision in decisions),
    }
    actions = [f"{verb} {count}" for verb, count in counts.items() if count]
    holds = [str(decision.reason) for decision in decisions if decision.kind is Kind.HOLD]
    maximum = "unlimited" if policy.max_vms is None else policy.max_vms
    others = {
        "asked for": figures.vms_asked_for,
        "leaving": figures.vms_leaving,
        "in error": figures.vms_in_error,
        "stopped": figures.vms_stopped,
    }
    more = "".join(f", {count} {state}" for state, count in others.items() if count) + _unconfirmed(figures, now)
    return (
        f"jobs {_number(figures.jobs_waiting)} waiting; workers {_number(figures.workers_busy)} busy, "
        f"{_number(figures.workers_idle)} idle; VMs {figures.vms_pending} pending, {figures.vms_running} running"
        f"{more} of {policy.min_vms}..{maximum}: {'; '.join([*actions, *holds]) or 'nothing to do'}"
    )


def _unconfirmed(figures: Figures, now: float) -> str:
    if not figures.vms_unconfirmed:
        return ""
    text = f", {figures.vms_unconfirmed} unconfirmed"
    if figures.unconfirmed_until is None:
        return text
    seconds = figures.unconfirmed_until - now
    return f"{text} for {seconds:.0f} s more at most" if seconds > 0 else f"{text} until a listing leaves them out"


def _without_repetition(faults: Sequence[str]) -> list[str]:
    """Return the faults without those that were left out because of another one of them, and without doubles."""
    causes = [re.sub(r"[0-9.]+", "", fault.rpartition(LEFT_OUT)[2]) for fault in faults]
    first = sorted(range(len(faults)), key=lambda number: LEFT_OUT in faults[number])
    told: list[int] = []
    for number in first:
        if not any(causes[number] in causes[other] for other in told):
            told.append(number)
    return [faults[number] for number in sorted(told)]


def _number(value: int | None) -> str:
    return "?" if value is None else str(value)


def _vms(ids: Sequence[str]) -> str:
    if len(ids) == 1:
        return f"VM {ids[0]}"
    shown = ", ".join(ids[:NAMES_SHOWN])
    return f"VMs {shown} and {len(ids) - NAMES_SHOWN} more" if len(ids) > NAMES_SHOWN else f"VMs {shown}"


def _jobs(count: int) -> str:
    return f"{count} job{'s' if count != 1 else ''}"


def _without_room(count: int) -> str:
    return f"{_jobs(count)} {'has' if count == 1 else 'have'} found no room"


def _never_joined(breaker: Breaker) -> str:
    return f"the last {breaker.failed_boots} boots failed"
