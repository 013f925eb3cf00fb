"""What the batch plugin judges decides where VMs are launched: yes, no, or one to learn from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.decisions import Kind, Token
from elastiq.memory import Memory, Showing
from elastiq.model import Demand, Eligibility, Judgement, Policy, Pool, Shape
from elastiq.planning.eligibility import Chance, Chances, chances
from elastiq.planning.plan import plan
from tests.unit.planning.table import NOW, joined, launched, of, remember, see, worker

POLICY = Policy(max_vms=10, cluster="test")
TWO = replace(POLICY, pools=(Pool("plain"), Pool("gpu")))
YES, NO, UNKNOWN = (Judgement(one, "" if one is Eligibility.YES else "HasCVMFS") for one in Eligibility)
LATER = {"waiting_since": NOW - 100}


def group(count: int = 20, running: int | None = None, **judged: Judgement) -> Demand:
    return Demand(Shape(1, 1000), count, running=running, wants="x", judgements=judged)


def test_chances() -> None:
    memory = Memory(
        capacities={"gpu": Shape(4, 500)}, taught_by={"gpu": ("a", "b", "c", "d")}, showings={"gpu": Showing(NOW)}
    )
    assert chances(group(plain=NO), memory, TWO.pools, NOW) == {"plain": Chance.NO, "gpu": Chance.TOO_LARGE}
    assert chances(group(plain=UNKNOWN, gpu=NO), memory, TWO.pools, NOW) == {"plain": Chance.TRY, "gpu": Chance.NO}
    assert chances(group(plain=UNKNOWN, running=1), Memory(), TWO.pools, NOW) == {
        "plain": Chance.YES,
        "gpu": Chance.YES,
    }


MAY, TRY, LARGE, NEVER = Chance.YES, Chance.TRY, Chance.TOO_LARGE, Chance.NO


@pytest.mark.parametrize(
    ("found", "barred", "follows"),
    [
        ((MAY, MAY), "", (False, False, "plain", "plain")),
        ((NEVER, MAY), "plain", (False, False, "gpu", "gpu")),
        ((TRY, MAY), "", (False, True, "plain", "gpu")),
        ((LARGE, TRY), "", (False, True, "gpu", None)),
        ((LARGE, NEVER), "gpu", (True, False, None, None)),
        ((LARGE, MAY), "", (False, False, "gpu", "gpu")),
        ((NEVER, NEVER), "plain gpu", (False, False, None, None)),
    ],
)
def test_what_follows_from_the_chances_on_each_pool(
    found: tuple[Chance, Chance], barred: str, follows: tuple[bool, bool, str | None, str | None]
) -> None:
    of_pools = dict(zip(("plain", "gpu"), found))
    assert Chances.of(of_pools) == Chances(of_pools, frozenset(barred.split()), *follows)


def test_what_no_pool_offers_is_no_demand_and_says_why() -> None:
    made = plan(see([], demand=(group(default=NO),)), Memory(**LATER), POLICY)
    (hold,) = of(made, Kind.HOLD)
    assert (hold.reason.token, launched(made)) == (Token.NOT_ELIGIBLE, 0)
    assert "HasCVMFS" in str(hold.reason)
    assert [(verdict.jobs, verdict.reason.token) for verdict in made.verdicts] == [(20, Token.NOT_ELIGIBLE)]


def test_vms_are_of_the_pool_that_offers_it() -> None:
    (decision,) = of(plan(see([], demand=(group(plain=NO),)), Memory(**LATER), TWO), Kind.LAUNCH)
    assert (decision.pool, decision.count) == ("gpu", 5)


@pytest.mark.parametrize("judged", [YES, UNKNOWN])
def test_room_is_taken_on_workers_that_may_run_it(judged: Judgement) -> None:
    records = [joined(1)]
    seen = see(records, demand=(group(2, default=judged),), workers=(worker(1),))
    assert not launched(plan(seen, remember(records, **LATER), POLICY))


def test_room_on_workers_that_could_never_run_it_is_none() -> None:
    records = [joined(1, pool="plain")]
    seen = see(records, demand=(group(2, plain=NO),), workers=(worker(1),))
    (decision,) = of(plan(seen, remember(records, **LATER), TWO), Kind.LAUNCH)
    assert decision.pool == "gpu"


def test_what_is_not_known_is_one_vm_to_learn_from_and_no_other_until_it_is_there() -> None:
    groups = (group(100, default=UNKNOWN), replace(group(100, default=UNKNOWN), wants="y"))
    made = plan(see([], demand=groups), Memory(**LATER), POLICY)
    assert [(one.count, one.reason.token) for one in of(made, Kind.LAUNCH)] == [(1, Token.TO_LEARN)]
    booting = [replace(joined(1), joined_at=None, worker_name="", launched_at=NOW - 60)]
    made = plan(see(booting, demand=groups, workers=()), remember(booting, **LATER), POLICY)
    assert not launched(made)
    assert {verdict.reason.token for verdict in made.verdicts if verdict.group} >= {Token.LEARNING}


def test_jobs_that_are_known_to_run_get_their_vms_beside_those_of_which_it_is_not_known() -> None:
    groups = (group(100, default=UNKNOWN), Demand(Shape(1, 1000), 8))
    made = plan(see([], demand=groups), Memory(**LATER), POLICY)
    assert launched(made) == 2
    assert sum(verdict.jobs for verdict in made.verdicts) == 108
