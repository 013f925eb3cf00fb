"""The promises hold where the cloud announces that it takes VMs back, whatever else goes wrong meanwhile."""

from __future__ import annotations

import pytest

from elastiq.sim.engine import DAY
from elastiq.sim.proof.faults import ANNOUNCED, ONE_OFF, PROBABILITIES
from elastiq.sim.proof.life import Options, live

pytestmark = pytest.mark.usefixtures("quiet")

EVERYTHING = (*PROBABILITIES, *ONE_OFF, *ANNOUNCED)


@pytest.mark.parametrize("seed", range(4))
def test_where_nothing_else_goes_wrong_jobs_are_queued_again_before_the_end(seed: int) -> None:
    result = live(seed, Options(life_seconds=8 * DAY, real_state=0.0, kinds=ANNOUNCED, in_vain=0.0, offers=1.0))
    assert not result.violation
    assert result.book.faults["spot notice"]


def test_some_were_queued_again() -> None:
    found = [
        live(seed, Options(life_seconds=8 * DAY, real_state=0.0, kinds=ANNOUNCED, in_vain=0.0, offers=1.0))
        for seed in (7, 11)
    ]
    assert sum(result.book.work["jobs queued again in time"] for result in found) > 0


@pytest.mark.parametrize("seed", range(4))
def test_beside_all_other_faults(seed: int) -> None:
    kinds = (*EVERYTHING, *ANNOUNCED * 8)
    result = live(seed, Options(life_seconds=8 * DAY, real_state=0.0, kinds=kinds, adaptive=0.5, offers=0.8))
    assert not result.violation
