"""Loads made to fool the adaptive policy. `make policy` runs them all; here every fifth."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.policy.shapes import ADAPTIVE, REACTIVE, Beside, Shape, beside, shapes

EVERY = 5


def test_there_are_fifty_that_differ() -> None:
    found = shapes()
    assert len({shape.name for shape in found}) == len({shape.jobs for shape in found}) == len(found) >= 50
    assert all(shape.jobs for shape in found)


@pytest.mark.parametrize("shape", shapes()[::EVERY], ids=lambda shape: shape.name)
def test_no_load_fools_the_policy(shape: Shape) -> None:
    assert beside(shape).faults() == []


def test_what_is_worse_is_said() -> None:
    found = beside(shapes()[0])
    dear = replace(found.adaptive, vm_hours=found.reactive.vm_hours * 1.31)
    slow = replace(found.adaptive, mean_wait_seconds=found.reactive.mean_wait_seconds + 5.1)
    stuck = replace(found.adaptive, never_started=1, jobs=found.adaptive.jobs - 1)
    starved = replace(found.adaptive, worst_wait_seconds=found.reactive.worst_wait_seconds + 301)
    said = [Beside(found.shape, found.reactive, one).faults() for one in (dear, slow, stuck, starved)]
    assert [len(faults) for faults in said] == [1, 1, 1, 1]
    assert Beside(found.shape, found.reactive, found.reactive).faults() == []


def test_the_two_differ_in_room_for_jobs_to_come_alone() -> None:
    assert replace(ADAPTIVE, is_adaptive=False) == REACTIVE
