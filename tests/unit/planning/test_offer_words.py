"""Sentences about offers."""

from __future__ import annotations

import pytest

from elastiq.decisions import Reason, Token
from elastiq.memory import Away
from elastiq.model import ON_DEMAND, SPOT, Offer, Pool
from elastiq.planning.offer_words import described, put_away

WHY = Reason(Token.NO_ROOM, "1 job has found no room", "cpu", {"jobs": 1})
AWAY = Away(1180.0, 1, 1, "cloud-capacity", "RunInstances: InsufficientInstanceCapacity")


@pytest.mark.parametrize(
    ("offer", "text"),
    [
        (Offer(SPOT, "m5.large", "subnet-a"), "spot m5.large in subnet-a"),
        (Offer(ON_DEMAND, "m5.large"), "on-demand m5.large"),
        (Offer(zone="nova-1"), "on-demand VM in nova-1"),
    ],
)
def test_an_offer(offer: Offer, text: str) -> None:
    assert described(offer) == text


def test_why_nothing_of_a_pool_is_asked_for() -> None:
    several = Pool("cpu", instance_type="a", offers=(Offer(type="a"), Offer(type="b")))
    said = put_away(WHY, several, AWAY, 1000.0)
    assert str(said) == (
        "1 job has found no room, but all offers of pool cpu were refused, and none is asked for 180 s more: "
        "RunInstances: InsufficientInstanceCapacity"
    )
    assert (said.token, said.subject, said.numbers["pause_seconds"]) == (Token.LAUNCHES_PAUSED, "cpu", 180.0)
    assert "but all offers of a of pool cpu were refused" in str(put_away(WHY, several.variants[0], AWAY, 1000.0))
