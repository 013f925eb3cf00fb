"""Which of the waiting jobs are no demand, and why."""

from __future__ import annotations

import pytest

from elastiq.decisions import Token
from elastiq.model import Demand, Eligibility, Judgement, Shape
from elastiq.planning.plan import plan
from tests.unit.planning.table import BY_SHAPE, HOLDS_4, NOW, launched, remember, see, wide

NO = {"default": Judgement(Eligibility.NO, "no such licence")}


@pytest.mark.parametrize(
    ("group", "token"),
    [
        (wide(1, 6), Token.WIDER_THAN_QUOTA),
        (Demand(Shape(1), 3, judgements=NO), Token.NOT_ELIGIBLE),
        (Demand(Shape(64), 3), Token.LARGER_THAN_VM),
    ],
)
def test_what_no_vm_could_serve_is_no_demand(group: Demand, token: Token) -> None:
    made = plan(see([], demand=(group,)), remember([], waiting_since=NOW - 100, capacities=HOLDS_4), BY_SHAPE)
    assert launched(made) == 0
    assert [verdict.reason.token for verdict in made.verdicts] == [token]
