"""How many new VMs jobs want, and with how many of them at least any job starts."""

from __future__ import annotations

import pytest

from elastiq.memory import Memory
from elastiq.model import Observation, Policy, Shape
from elastiq.planning.fleet import Fleet
from elastiq.planning.packing import Rest
from elastiq.planning.tracking import Situation
from elastiq.planning.wanted import vms_for

POLICY = Policy(max_vms=10)
(POOL,) = POLICY.pools
FLEET = Fleet.of(Observation(0.0), Situation(Memory(capacities={"default": Shape(4, 8000)})), POLICY)


@pytest.mark.parametrize(
    ("rests", "room", "vms", "at_least", "beyond"),
    [
        pytest.param([Rest(0, Shape(1), 8, 1)], 10, 2, 1, 0, id="as many as hold them"),
        pytest.param([Rest(0, Shape(1, 4000), 8, 1)], 10, 4, 1, 0, id="memory is what decides"),
        pytest.param([Rest(0, Shape(1), 7, 1, takes_whole=True)], 10, 7, 1, 0, id="one each for whole ones"),
        pytest.param([Rest(0, Shape(4), 8, 1)], 2, 3, 1, 5, id="one more than there is room for, to tell that"),
        pytest.param([Rest(0, Shape(8), 1, 1)], 10, 0, 1, 1, id="none for what they do not hold"),
        pytest.param([Rest(0, Shape(4), 2, 3)], 10, 6, 3, 0, id="with three a job of three machines starts"),
        pytest.param([Rest(0, Shape(4), 1, 3)], 2, 0, 1, 1, id="none for a part of a job"),
        pytest.param([Rest(0, Shape(4), 1, 3), Rest(1, Shape(4), 1, 1)], 10, 4, 1, 0, id="one is of use for the other"),
        pytest.param([Rest(0, Shape(1), 1, 1, barred_from=frozenset({"default"}))], 10, 0, 1, 1, id="not on these"),
    ],
)
def test_wanted(rests: list[Rest], room: int, vms: int, at_least: int, beyond: int) -> None:
    wanted = vms_for(rests, room, POOL, FLEET)
    assert (wanted.vms, wanted.at_least, sum(rest.jobs for rest in wanted.beyond)) == (vms, at_least, beyond)
