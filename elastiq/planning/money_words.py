"""Sentences about money."""

from __future__ import annotations

from elastiq.decisions import Reason, Token
from elastiq.memory import VmRecord
from elastiq.model import Policy, Pool
from elastiq.planning.money import Cap, Purse, shown

_WHEN = {Token.CAP_DAY: "today", Token.CAP_MONTH: "this month"}


def amount(micros: int, currency: str) -> str:
    """Return an amount for people, with its currency if that is known."""
    return f"{shown(micros)} {currency}".rstrip()


def held(why: Reason, purse: Purse, pool: Pool, vms: int) -> Reason:
    """Return that so many VMs of `pool` are not launched, for want of money."""
    cap = purse.tightest(pool)
    cost = purse.cost(cap, pool)
    what = f"a VM of {pool.instance_type or 'unknown type'}" if vms == 1 else f"{vms} VMs of {pool.instance_type}"
    costs = "costs" if vms == 1 else "cost"
    least = "" if cap.is_of_hour else " at the least"
    price = f"{what} {costs} {shown(cost * vms)}{least}" if cost is not None else f"what {what} {costs} is not known"
    text = f"{why}, but {_state(cap, purse.policy)}, {price}"
    numbers = {"most": cap.most / 1e6, "used": cap.used / 1e6, "cost": (cost or 0) * vms / 1e6}
    until = {} if cap.is_of_hour else {"until": cap.ends_at}
    return Reason(cap.token, text, why.subject, {**why.numbers, **numbers, **until})


def limit(purse: Purse, pool: Pool) -> str:
    """Return by what name a cap goes that leaves fewer VMs of `pool` than are wanted."""
    return _state(purse.tightest(pool), purse.policy)


def _state(cap: Cap, policy: Policy) -> str:
    used = "in use" if cap.is_of_hour else f"spent or bound {_WHEN[cap.token]}"
    return f"{cap.name} {amount(cap.most, policy.cost.currency)}: {shown(cap.used)} {used}"


def gone(cap: Cap, policy: Policy) -> Reason:
    """Return that a day's or a month's money is spent."""
    text = (
        f"{cap.name} {amount(cap.most, policy.cost.currency)} is reached: {shown(cap.spent)} spent {_WHEN[cap.token]}; "
        f"nothing is launched until {policy.cost.calendar.shown(cap.ends_at)}, idle VMs go at once, jobs that run end "
        "as they would"
    )
    numbers = {"most": cap.most / 1e6, "used": cap.spent / 1e6, "until": cap.ends_at}
    return Reason(cap.token, text, cap.name, numbers)


def beyond(record: VmRecord, seconds: float, purse: Purse) -> Reason:
    """Return that an idle VM goes for want of money."""
    cap = purse.gone or next(cap for cap in purse.caps if cap.is_of_hour)
    reached = f"{shown(cap.spent)} spent {_WHEN[cap.token]}" if cap.token in _WHEN else f"{shown(cap.used)} in use"
    text = f"idle, and {cap.name} {amount(cap.most, purse.policy.cost.currency)} is reached: {reached}"
    return Reason(Token.BEYOND_CAP, text, record.id, {"seconds": seconds, "most": cap.most / 1e6})
