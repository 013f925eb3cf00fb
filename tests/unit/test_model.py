"""What follows from what is seen, and from the options."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.model import InstanceState, Policy, Pool, Shape


@pytest.mark.parametrize(
    ("job", "room", "fits"),
    [
        (Shape(2, 1000, 500, 1), Shape(2, 1000, 500, 1), True),
        (Shape(3), Shape(2), False),
        (Shape(1, 1001), Shape(2, 1000), False),
        (Shape(1, 1001), Shape(2), True),  # how much memory there is is not known
        (Shape(1, 1), Shape(2, 0), False),  # nothing is left
        (Shape(1), Shape(2, 0, 0), True),
        (Shape(1, 0, 0, 0), Shape(2, 0, 0, 0), True),
        (Shape(1, None, 501), Shape(2, None, 500), False),
        (Shape(1, None, 501), Shape(2), True),
        (Shape(1, None, 1), Shape(2, None, 0), False),
        (Shape(1, None, None, 1), Shape(2), False),  # a graphics processor that is not told is not there
        (Shape(1, None, None, 1), Shape(2, gpus=None), True),
    ],
)
def test_fits(job: Shape, room: Shape, fits: bool) -> None:
    assert job.fits(room) is fits


def test_all_but_terminated_vms_are_alive() -> None:
    assert [state for state in InstanceState if not state.alive] == [InstanceState.TERMINATED]


@pytest.mark.parametrize(
    ("own", "other", "takes"), [("a", "a", True), ("a", "b", False), ("", "b", True), ("a", "", True)]
)
def test_a_pool_takes_vms_of_its_type(own: str, other: str, takes: bool) -> None:
    assert Pool(instance_type=own).takes(other) is takes


def test_what_vms_hold_is_kept_by_type_where_there_is_one() -> None:
    default, other = Pool(), Pool("p")
    assert (default.capacity_key, replace(default, instance_type="large").capacity_key) == ("default", "large")
    assert (other.capacity_key, replace(other, instance_type="large").capacity_key) == ("p", "p large")


def test_a_pool_that_is_no_more() -> None:
    policy = Policy(pools=(Pool("a"), Pool("b")))
    assert policy.pool("b") is policy.pools[1]
    assert policy.pool("c") is None
