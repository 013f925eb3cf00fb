"""Sentences about money."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from elastiq.decisions import Token
from elastiq.model import Cost
from elastiq.planning import money_words
from elastiq.planning.money import Purse
from elastiq.planning.words import no_room
from tests.unit.planning.table import NOW, remember
from tests.unit.planning.test_money import ONE, POLICY, capped, works


def purse(**caps: float) -> Purse:
    return Purse.of(remember([works(1)]), capped(**caps), NOW)


@pytest.mark.parametrize(
    ("caps", "vms", "token", "says"),
    [
        ({"hour": 0.15}, 1, Token.CAP_HOUR, "max_per_hour 0.15 EUR: 0.10 in use, a VM of m5.large costs 0.10"),
        ({"hour": 0.15}, 3, Token.CAP_HOUR, "max_per_hour 0.15 EUR: 0.10 in use, 3 VMs of m5.large cost 0.30"),
        (
            {"day": 0.3, "hour": 9},
            1,
            Token.CAP_DAY,
            "max_per_day 0.30 EUR: 0.277778 spent or bound today, a VM of m5.large costs 0.055 at the least",
        ),
        (
            {"month": 0.3},
            1,
            Token.CAP_MONTH,
            "max_per_month 0.30 EUR: 0.277778 spent or bound this month, a VM of m5.large costs 0.055 at the least",
        ),
    ],
)
def test_what_is_held_back(caps: dict[str, float], vms: int, token: Token, says: str) -> None:
    reason = money_words.held(no_room(4, ONE, POLICY), purse(**caps), ONE, vms)
    assert reason.token is token
    assert str(reason) == f"4 jobs have found no room for more than 40 s, but {says}"
    assert json.loads(json.dumps(dict(reason.numbers), allow_nan=False))["jobs"] == 4


def test_without_a_currency_amounts_stand_alone() -> None:
    policy = replace(capped(hour=0.05), cost=Cost(True, "", 50_000))
    alone = Purse.of(remember([works(1)]), policy, NOW)
    assert money_words.limit(alone, ONE) == "max_per_hour 0.05: 0.10 in use"
    assert str(money_words.beyond(works(1), 9, alone)) == "idle, and max_per_hour 0.05 is reached: 0.10 in use"


def test_of_what_has_no_price_it_is_said_so() -> None:
    unpriced = replace(ONE, offers=())
    alone = Purse.of(remember([]), capped(hour=1, pools=(unpriced,)), NOW)
    assert alone.room(unpriced) == 0
    assert "what a VM of m5.large costs is not known" in str(
        money_words.held(no_room(4, unpriced, POLICY), alone, unpriced, 1)
    )
