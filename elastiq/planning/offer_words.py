"""Sentences about offers: market, type and zone."""

from __future__ import annotations

from dataclasses import replace

from elastiq.decisions import Reason, Token
from elastiq.memory import Away
from elastiq.model import Offer, Pool, of_pool


def described(offer: Offer) -> str:
    """Return an offer in words: "spot m5.large in subnet-1"."""
    where = f" in {offer.zone}" if offer.zone else ""
    return f"{offer.market} {offer.type or 'VM'}{where}"


def asked(why: Reason, offer: Offer) -> Reason:
    """Return why VMs are launched, and which offer is asked for them."""
    return replace(why, text=f"{why}; {described(offer)}")


def put_away(why: Reason, pool: Pool, reason: Away, now: float) -> Reason:
    """Return that nothing of a pool can be had for now."""
    seconds = reason.until - now
    what = f"all offers of {pool.instance_type}" if pool.is_variant else "all offers"
    text = f"{why}, but {what}{of_pool(pool.name)} were refused, and none is asked for {seconds:.0f} s more"
    numbers = {**why.numbers, "pause_seconds": seconds}
    return Reason(Token.LAUNCHES_PAUSED, f"{text}: {reason.detail}", pool.name, numbers)
