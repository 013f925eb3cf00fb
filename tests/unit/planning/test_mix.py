"""How many VMs of which types: small cases, reckoned by hand. tests/property has the cheapest of many beside them."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from elastiq.planning.mix import Amounts, Limits, Mix, Size, Sort, cheapest

MANY = 10**6


def size(name: str, price: int, cpus: float, memory: float = math.inf, most: int = MANY, pool: str = "p") -> Size:
    return Size(name, pool, price, (cpus, memory, math.inf, 0, math.inf), most, price)


def sort(cpus: float, memory: float = 0, able: str = "abcd", *, takes_whole: bool = False) -> Sort:
    asks: Amounts = (cpus, memory, 0, 0, 1)
    return Sort(asks, frozenset(able), takes_whole)


def by_size(mix: Mix) -> dict[str, int]:
    found = Counter[str]()
    for (one, _), times in mix.vms.items():
        found[one.key] += times
    return dict(found)


ONE, TWO, FOUR, EIGHT = size("a", 50, 1), size("b", 100, 2), size("c", 200, 4), size("d", 400, 8)
EQUAL = (ONE, TWO, FOUR, EIGHT)
"""At the same price per core."""


@pytest.mark.parametrize(
    ("sorts", "jobs", "sizes", "most", "expected"),
    [
        # What leaves nothing unused later, where nothing else decides.
        ([sort(1)], [8], EQUAL, MANY, {"a": 8}),
        ([sort(2)], [3], EQUAL, MANY, {"b": 3}),
        ([sort(3)], [2], EQUAL, MANY, {"c": 2}),
        ([sort(8), sort(1)], [1, 3], EQUAL, MANY, {"d": 1, "a": 3}),
        # What costs hardly more is as good; what costs more is not.
        ([sort(1)], [8], (size("a", 51, 1), EIGHT), MANY, {"a": 8}),
        ([sort(1)], [8], (size("a", 52, 1), EIGHT), MANY, {"d": 1}),
        ([sort(1)], [9], (size("a", 52, 1), EIGHT), MANY, {"d": 1, "a": 1}),
        # A whole larger one is cheaper than several, though more of it is free.
        ([sort(1)], [5], (size("c", 200, 4), size("d", 360, 8)), MANY, {"d": 1}),
        ([sort(1)], [5], (size("b", 100, 2), size("d", 360, 8)), MANY, {"b": 3}),
        # Never more of them than half of what is left, if others are as cheap; and none waits for want of quota.
        ([sort(1)], [8], EQUAL, 16, {"a": 8}),
        ([sort(1)], [8], EQUAL, 15, {"b": 4}),
        ([sort(1)], [8], EQUAL, 4, {"c": 2}),
        ([sort(1)], [8], EQUAL, 1, {"d": 1}),
        ([sort(1)], [20], (size("a", 50, 1), size("d", 900, 8)), 3, {"d": 3}),
        # What fits beside larger jobs costs nothing.
        ([sort(6), sort(1)], [1, 2], EQUAL, MANY, {"d": 1}),
        # Memory and cores are used up together.
        ([sort(1, 6), sort(4, 2)], [8, 2], (size("a", 100, 8, 32), size("b", 101, 4, 32)), MANY, {"a": 2}),
        # Jobs that have a VM for themselves get the cheapest that holds them.
        ([sort(1, takes_whole=True)], [3], (FOUR, size("d", 190, 8)), MANY, {"d": 3}),
        ([sort(1, able="c")], [2], EQUAL, MANY, {"c": 1}),
        ([], [], EQUAL, MANY, {}),
        ([sort(1)], [0], EQUAL, MANY, {}),
    ],
)
def test_the_cheapest(sorts: list[Sort], jobs: list[int], sizes: tuple[Size, ...], most: int, expected: object) -> None:
    made = cheapest(sorts, jobs, sizes, Limits(most))
    assert by_size(made) == expected
    on_vms = Counter[int]()
    for (_, load), times in made.vms.items():
        for number, count in load:
            on_vms[number] += count * times
    assert [on_vms[number] + left for number, left in enumerate(made.left)] == jobs


def test_as_many_jobs_as_there_may_be_vms_for() -> None:
    made = cheapest([sort(8), sort(1)], [3, 40], EQUAL, Limits(4))
    assert made.count == 4
    assert sum(made.left) == 43 - 3 - 8
    none = cheapest([sort(1)], [5], EQUAL, Limits(0))
    assert (none.vms, none.left) == ({}, (5,))
    assert cheapest([sort(16)], [5], EQUAL, Limits(9)).left == (5,)


def test_limits_of_types_and_of_pools_hold() -> None:
    few = size("a", 50, 1, most=3)
    assert by_size(cheapest([sort(1)], [8], (few, EIGHT), Limits(MANY))) == {"d": 1}
    assert by_size(cheapest([sort(1)], [8], EQUAL, Limits(MANY, budget=250))) == {"a": 5}
    other = size("b", 60, 1, pool="other")
    found = by_size(cheapest([sort(1)], [8], (ONE, other), Limits(MANY, {"p": 5, "other": MANY})))
    assert found == {"a": 5, "b": 3}


def test_many_jobs_take_no_longer_than_few() -> None:
    """Whole numbers of alike VMs are reckoned at once."""
    made = cheapest([sort(3), sort(1)], [1_000_000, 1_000_001], (size("d", 330, 8), FOUR), Limits(10**9))
    assert len(made.vms) < 10
    assert made.price <= 1.03 * 4_000_001 * 330 / 8
