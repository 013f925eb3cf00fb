"""How fast VMs are launched at AWS."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.decisions import Token
from elastiq.memory import Intent, Memory, VmRecord
from elastiq.model import Demand, Policy, Pool, Shape
from elastiq.planning.pace import BUCKET_VMS, LIMIT, launches_left
from elastiq.planning.plan import plan
from tests.unit.planning.table import NOW, launched, see

POLICY = Policy(pools=(Pool("default", 0, None),), max_vms=None, waiting_jobs_time_s=0, is_adaptive=True, is_paced=True)


def launches(*asked: tuple[int, float]) -> Memory:
    """Return a memory of so many VMs each that were asked for so many seconds ago."""
    ages = [age for vms, age in asked for _ in range(vms)]
    return Memory(vms={f"i-{n}": VmRecord(f"i-{n}", asked_at=NOW - age) for n, age in enumerate(ages)})


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ((), BUCKET_VMS),
        (((1000, 0.0),), 0),
        (((1000, 15.0),), 30),
        (((300, 100.0),), 900),
        (((1000, 500.0),), BUCKET_VMS),
        (((1000, 9000.0), (900, 10.0)), 120),
        (((1000, 600.0), *((30, float(age)) for age in range(585, 0, -15))), 30),
        (((1500, 100.0),), 0),
        (((10, -50.0),), 990),
    ],
    ids=["none yet", "all", "a poll later", "some", "filled again", "never more", "as they come", "more", "clock"],
)
def test_what_is_left_in_the_bucket(asked: tuple[tuple[int, float], ...], expected: int) -> None:
    assert launches_left(launches(*asked), NOW) == expected


def test_a_launch_without_an_answer_counts() -> None:
    intent = Intent("t", "default", 400, NOW, found=("i-1",))
    assert launches_left(Memory(vms={"i-1": VmRecord("i-1", token="t", asked_at=NOW)}, intents=(intent,)), NOW) == 600


@pytest.mark.long
@pytest.mark.parametrize(("is_paced", "expected"), [(True, [1000, 30, 30, 30]), (False, [1000, 1000, 1000, 1000])])
def test_thousands_are_launched_as_the_bucket_fills(is_paced: bool, expected: list[int]) -> None:
    group = Demand(Shape(8, 0), 9000)
    memory = Memory(capacities={"default": Shape(8, 0)})
    policy = replace(POLICY, is_paced=is_paced)
    asked: list[int] = []
    for poll in range(4):
        now = NOW + 15 * poll
        made = plan(see([], demand=(replace(group, jobs=9000 - sum(asked)),), now=now), memory, policy)
        asked.append(launched(made))
        new = {f"i-{poll}-{n}": VmRecord(f"i-{poll}-{n}", launched_at=now, asked_at=now) for n in range(asked[-1])}
        memory = replace(made.memory, vms={**made.memory.vms, **new})
    assert asked == expected


def test_it_is_said_that_the_bucket_is_empty() -> None:
    memory = Memory(intents=(Intent("t", "default", 1000, NOW),), capacities={"default": Shape(8, 0)})
    made = plan(see([], demand=(Demand(Shape(8, 0), 1004),)), memory, POLICY)
    held = [decision.reason for decision in made.decisions if decision.reason.token is Token.QUOTA_FULL]
    assert [str(reason).endswith(f"; {LIMIT} leaves 0") for reason in held] == [True]
