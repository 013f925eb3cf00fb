"""Scenarios that hypothesis makes up, and makes as small as it can when one of them breaks a promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, example, find, given, settings
from hypothesis import strategies as st

from elastiq.sim.engine import DAY
from elastiq.sim.proof.faults import ONE_OFF, PROBABILITIES
from elastiq.sim.proof.life import Options, live
from tests.sim.test_mutants import takes_no_answer_for_closed

LIVES = 8
"""So many, and always the same, that a violation does not hang on the luck of one seed when faults are left out."""


@dataclass(frozen=True)
class Scenario:
    """Some lives of clusters in which few kinds of faults happen."""

    days: int
    kinds: tuple[str, ...]

    def violation(self) -> str:
        for seed in range(LIVES):
            violation = live(seed, Options(life_seconds=self.days * DAY, kinds=self.kinds)).violation
            if violation:
                return f"{violation}, seed {seed}"
        return ""


def scenarios(kinds: Sequence[str], days: Sequence[int] = (1, 2, 4)) -> st.SearchStrategy[Scenario]:
    few = st.lists(st.sampled_from(kinds), min_size=1, max_size=5, unique=True).map(tuple)
    return st.builds(Scenario, st.sampled_from(days), few)


pytestmark = pytest.mark.usefixtures("quiet")


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(scenarios([*PROBABILITIES, *ONE_OFF]))
@example(Scenario(4, ("reopen: answer lost, done", "administrator drains workers", "launch: credentials refused")))
@example(
    Scenario(1, ("launch: answer lost, VMs made", "VM crashes", "cloud outage", "cloud hangs", "launch: no capacity"))
)
def test_a_few_kinds_of_faults_break_no_promise(scenario: Scenario) -> None:
    assert not scenario.violation()


def test_a_scenario_that_breaks_a_promise_is_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    takes_no_answer_for_closed(monkeypatch)
    # Out of few: what is tried on the way to the smallest takes seconds each.
    of_few = scenarios(["cloud throttles", "close: answer lost, not done"], [16])
    quickly = settings(max_examples=60, database=None)
    smallest = find(of_few, lambda scenario: bool(scenario.violation()), settings=quickly)
    assert len(smallest.kinds) == 1
    assert any(kind.startswith("close: answer lost") for kind in smallest.kinds)
    assert smallest.violation().startswith("no job killed")
