"""What follows from what is seen, and from the options."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.model import ON_DEMAND, SPOT, Demand, InstanceState, Offer, Policy, Pool, Shape


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


@pytest.mark.parametrize(
    ("group", "key"),
    [
        (Demand(Shape(1, None, 0, 2), 3, vms_per_job=2, wants="x\udcff"), "13731fd767a27b19"),
        (Demand(Shape(8, 500, 20000, 0), 1, takes_whole_vms=True), "a6783e9e05ecb20c"),
    ],
)
def test_a_group_is_known_again_by_what_states_of_earlier_versions_say(group: Demand, key: str) -> None:
    assert group.key == key


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


def test_a_pool_of_several_types_is_one_pool_for_each_but_by_name() -> None:
    offers = (Offer(SPOT, "a", "1"), Offer(SPOT, "b", "1"), Offer(ON_DEMAND, "a", "1"), Offer(ON_DEMAND, "b", "1"))
    pool = Pool("p", 1, 9, "a", offers=offers)
    first, second = pool.variants
    assert (first.name, first.key, first.capacity_key, first.max_vms) == ("p", "p a", "p a", 9)
    assert (second.key, second.offers) == ("p b", (offers[1], offers[3]))
    assert first.variants == (first,)
    assert Policy(pools=(pool, Pool("q"))).variants == (first, second, Pool("q"))
    assert pool.takes("b")
    assert not pool.takes("c")
    assert not first.takes("b")
    of_one = replace(pool, offers=offers[::2])
    assert of_one.variants == (of_one,)
    assert of_one.key == "p"


def test_the_cloud_is_asked_for_a_pool_that_leaves_it_no_choice() -> None:
    pool = Pool("p", instance_type="a", offers=(Offer(type="a"), Offer(SPOT, "b", "z")))
    asked = pool.at(pool.offers[1])
    assert (asked.name, asked.instance_type, asked.offers) == ("p", "b", pool.offers[1:])
    assert pool.has_choice
    assert not asked.has_choice


@pytest.mark.parametrize(("type_", "family"), [("m5.large", "m5"), ("m1", "m1"), ("", "")])
def test_a_type_is_of_a_family(type_: str, family: str) -> None:
    assert Offer(type=type_).family == family
