"""What would change a verdict, and what is said of jobs that are no demand."""

from __future__ import annotations

import pytest

from elastiq.decisions import Token
from elastiq.model import Demand, Eligibility, Explanation, Judgement, Shape, Standing
from elastiq.planning import remedies
from elastiq.planning.eligibility import Chance
from elastiq.planning.remedies import REMEDIES, STANDINGS, no_demand, of_a_pool, remedy

ENDS_OF_ACTIONS = {Token.DONE, Token.JOB_GOT_IN, Token.DRY_RUN, Token.BATCH_ERROR, Token.NOT_JOURNALLED}
ENDS_OF_ACTIONS |= {Token.NOT_ACCEPTED, *(token for token in Token if token.name.startswith("CLOUD_"))}
ENDS_OF_ACTIONS -= {Token.CLOUD_LIMIT}


def test_every_token_that_why_may_give_says_what_would_change_it() -> None:
    assert set(Token) - ENDS_OF_ACTIONS == REMEDIES.keys()
    assert all(text and text[0].islower() and not text.endswith(".") for text in REMEDIES.values())


def test_a_token_of_a_later_version_has_no_remedy() -> None:
    assert remedy("quota-full").startswith("raise max_vms")
    assert remedy("no such token") == ""


def test_every_standing_but_that_of_demand_has_a_token_of_its_own() -> None:
    assert STANDINGS.keys() == set(Standing) - {Standing.WAITS}
    assert len(set(STANDINGS.values())) == len(STANDINGS)


def test_what_the_batch_system_says_is_passed_on() -> None:
    reason = no_demand(Explanation(Standing.HELD, "by its owner"))
    assert reason.token is Token.JOB_HELD
    assert str(reason).endswith("The batch system says: by its owner")
    assert "says" not in str(no_demand(Explanation(Standing.RUNS)))


@pytest.mark.parametrize(
    ("chance", "judged", "expected"),
    [
        (Chance.YES, Judgement(), (Eligibility.YES, "")),
        (Chance.NO, Judgement(Eligibility.NO, "no HasGPU"), (Eligibility.NO, "no HasGPU")),
        (Chance.TOO_LARGE, Judgement(), (Eligibility.NO, "a VM holds 4 CPUs")),
        (Chance.TRY, Judgement(Eligibility.UNKNOWN, "HasGPU"), (Eligibility.UNKNOWN, "HasGPU")),
        (Chance.TRY, Judgement(), (Eligibility.UNKNOWN, "it is more than the VMs seen last had")),
    ],
)
def test_what_is_said_of_a_pool(chance: Chance, judged: Judgement, expected: tuple[Eligibility, str]) -> None:
    group = Demand(Shape(8), 1, judgements={"gpu": judged})
    assert of_a_pool(group, "gpu", chance, Shape(4)) == expected


def test_a_vm_that_elastiq_terminated_says_why() -> None:
    assert str(remedies.ended_by_elastiq("i-1", "idle")) == "elastiq terminated it: idle"
    assert str(remedies.ended_by_elastiq("i-1", "")) == "elastiq terminated it"
