"""Prices of the spot market beside those in the file."""

from __future__ import annotations

import pytest

from elastiq.model import ON_DEMAND, SPOT, Offer, Policy, Pool
from elastiq.planning.prices import priced, types_without

PRICES = {("a", "z1"): 0.03, ("a", "z2"): 0.04, ("b", "z1"): 0.05}


def policy(*offers: Offer) -> Policy:
    return Policy((Pool("default", offers=offers), Pool("other")))


@pytest.mark.parametrize(
    ("offer", "price"),
    [
        pytest.param(Offer(SPOT, "a", "z1"), 0.03, id="of its zone"),
        pytest.param(Offer(SPOT, "a", "subnet-1"), 0.04, id="of a subnet, which may be in the dearest"),
        pytest.param(Offer(SPOT, "a"), 0.04, id="wherever the cloud likes"),
        pytest.param(Offer(SPOT, "b", "z2"), 0.05, id="told of another zone only"),
        pytest.param(Offer(SPOT, "c", "z1"), None, id="told of other types only"),
        pytest.param(Offer(SPOT, "a", "z1", 0.01), 0.01, id="the file has one"),
        pytest.param(Offer(ON_DEMAND, "a", "z1"), None, id="on demand"),
    ],
)
def test_which_price_counts(offer: Offer, price: float | None) -> None:
    assert priced(policy(offer), PRICES).pools[0].offers[0].price == price


def test_nothing_is_changed_without_need() -> None:
    known = policy(Offer(SPOT, "a", "z1", 0.01), Offer(ON_DEMAND, "b"))
    assert priced(known, PRICES) is known
    unknown = policy(Offer(SPOT, "c"))
    assert priced(unknown, PRICES) is unknown
    assert priced(policy(Offer(SPOT, "a")), {}) == policy(Offer(SPOT, "a"))


def test_which_types_are_asked_for() -> None:
    offers = (Offer(SPOT, "b"), Offer(SPOT, "a", "z1"), Offer(SPOT, "a", "z2"), Offer(SPOT, "c", "", 0.1), Offer(SPOT))
    assert types_without(policy(*offers, Offer(ON_DEMAND, "d"))) == ("a", "b")
