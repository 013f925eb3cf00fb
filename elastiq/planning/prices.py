"""What VMs of the spot market cost now, put beside the prices in the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from elastiq.model import Offer, Policy, Pool

Prices = Mapping[tuple[str, str], float]
"""An hour, by type and availability zone."""


def types_without(policy: Policy) -> tuple[str, ...]:
    """Return the types that may be had on the spot market, and of which the file does not say what they cost there."""
    offers = (offer for pool in policy.pools for offer in pool.offers)
    return tuple(sorted({offer.type for offer in offers if offer.is_spot and offer.type and offer.price is None}))


def priced(policy: Policy, prices: Prices) -> Policy:
    """Return `policy` with `prices` where the file has none: those in the file stay. In which zone a subnet is nobody
    has said, so that there the price of the dearest zone counts."""
    if not prices or not types_without(policy):
        return policy
    pools = tuple(_priced(pool, prices) for pool in policy.pools)
    return policy if pools == policy.pools else replace(policy, pools=pools)


def _priced(pool: Pool, prices: Prices) -> Pool:
    return replace(pool, offers=tuple(_offer(offer, prices) for offer in pool.offers))


def _offer(offer: Offer, prices: Prices) -> Offer:
    if not offer.is_spot or offer.price is not None:
        return offer
    of_type = {zone: price for (type_, zone), price in prices.items() if type_ == offer.type}
    return replace(offer, price=of_type.get(offer.zone, max(of_type.values(), default=None)))
