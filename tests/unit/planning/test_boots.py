"""How long a boot takes, from those that were seen."""

from __future__ import annotations

import pytest

from elastiq.memory import Memory
from elastiq.model import Policy, Pool
from elastiq.planning.boots import (
    BOOTS_REMEMBERED,
    USUAL_BOOT_SECONDS,
    boot_seconds,
    quantile,
    too_brief_idle_times,
    with_boot,
)

POOL = Pool(instance_type="m1.small")


@pytest.mark.parametrize(
    ("values", "part", "expected"),
    [((5.0,), 0.75, 5.0), ((1.0, 2.0), 0.5, 1.5), ((4.0, 1.0, 3.0, 2.0, 5.0), 0.75, 4.0), ((1.0, 9.0), 1.0, 9.0)],
)
def test_quantile(values: tuple[float, ...], part: float, expected: float) -> None:
    assert quantile(values, part) == expected


def test_a_boot_takes_as_long_as_three_of_four_did() -> None:
    memory = Memory()
    assert boot_seconds(POOL, memory, Policy()) == USUAL_BOOT_SECONDS
    for seconds in (60.0, 80.0, 100.0, 120.0, 140.0):
        memory = with_boot(memory, POOL, seconds)
    assert boot_seconds(POOL, memory, Policy()) == 120.0
    assert boot_seconds(Pool(instance_type="m1.large"), memory, Policy()) == USUAL_BOOT_SECONDS


def test_it_never_takes_longer_than_a_vm_is_waited_for() -> None:
    assert boot_seconds(POOL, with_boot(Memory(), POOL, 500.0), Policy(estimated_vm_deploy_time_s=90)) == 90
    assert boot_seconds(POOL, Memory(), Policy(estimated_vm_deploy_time_s=90)) == 90


def test_only_the_last_are_remembered() -> None:
    memory = Memory()
    for number in range(2 * BOOTS_REMEMBERED):
        memory = with_boot(memory, POOL, float(number))
    assert memory.boots["m1.small"] == tuple(float(number) for number in range(BOOTS_REMEMBERED, 2 * BOOTS_REMEMBERED))


def test_it_is_said_which_idle_times_are_shorter_than_a_boot() -> None:
    pools = (Pool("small", 0, None, "s"), Pool("large", 0, None, "l", idle_for_time_s=100.0))
    policy = Policy(pools=pools, idle_for_time_s=60.0)
    assert too_brief_idle_times(Memory(), policy) == (), "nobody knows it yet"
    memory = with_boot(with_boot(Memory(), pools[0], 90.0), pools[1], 90.0)
    (advice,) = too_brief_idle_times(memory, policy)
    assert advice.startswith("idle_for_time_s 60 of pool small is less than VMs lately took to boot (2 min): ")
    assert too_brief_idle_times(memory, Policy(pools=pools, idle_for_time_s=60.0, is_adaptive=True)) == ()
    assert too_brief_idle_times(memory, Policy(pools=pools, idle_for_time_s=90.0)) == ()
