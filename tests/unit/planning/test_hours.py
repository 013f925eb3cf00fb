"""What schedules change of the policy, and that nothing but idleness ends VMs when their hours end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.calendars import Hours, Spell
from elastiq.decisions import Kind, Token
from elastiq.model import Policy, Pool, Schedule
from elastiq.planning.hours import changes, in_force
from elastiq.planning.plan import plan
from tests.unit.planning.table import NOW, PLAIN, ended, jobs, joined, launched, of, remember, see, worker

DAYS = tuple(range(7))
MINUTE = 60.0
EIGHT = NOW - NOW % 86400 + 8 * 3600
"""In UTC, as all of these."""
DAY = Hours((Spell(DAYS, 480, 1080),))
NIGHT = Hours((Spell(DAYS, 1320, 360),))
GPU = Pool("gpu", 0, 4)


def with_schedules(*schedules: Schedule, pools: tuple[Pool, ...] = PLAIN.pools) -> Policy:
    return replace(PLAIN, schedules=schedules, pools=pools)


@pytest.mark.parametrize(
    ("schedules", "at", "limits"),
    [
        pytest.param([], EIGHT, (0, 5, 3600.0), id="none"),
        pytest.param([Schedule("a", DAY, "", 2)], EIGHT, (2, 5, 3600.0), id="a minimum"),
        pytest.param([Schedule("a", DAY, "", 2)], EIGHT - 180, (2, 5, 3600.0), id="from a boot before on"),
        pytest.param([Schedule("a", DAY, "", 2)], EIGHT - 181, (0, 5, 3600.0), id="no earlier"),
        pytest.param([Schedule("a", DAY, "", 2)], EIGHT + 10 * 3600, (0, 5, 3600.0), id="and not when they end"),
        pytest.param([Schedule("a", DAY, "", None, 3)], EIGHT, (0, 3, 3600.0), id="a maximum"),
        pytest.param([Schedule("a", DAY, "", None, 3)], EIGHT - 60, (0, 5, 3600.0), id="not before"),
        pytest.param([Schedule("a", DAY, "", None, 9)], EIGHT, (0, 5, 3600.0), id="which is never raised"),
        pytest.param([Schedule("a", DAY, "", None, None, 60.0)], EIGHT, (0, 5, 60.0), id="an idle time"),
        pytest.param([Schedule("a", NIGHT, "", 1)], EIGHT - 3 * 3600, (1, 5, 3600.0), id="over night"),
        pytest.param(
            [Schedule("a", DAY, "", 2, 4, 60.0), Schedule("b", DAY, "", 1, 3, 90.0)], EIGHT, (2, 3, 90.0), id="several"
        ),
        pytest.param([Schedule("a", DAY, "default", 2)], EIGHT, (2, 5, 3600.0), id="by the name of the only pool"),
    ],
)
def test_what_holds(schedules: list[Schedule], at: float, limits: tuple[int, int, float]) -> None:
    policy = in_force(with_schedules(*schedules), remember([]), at)
    assert (policy.min_vms, policy.max_vms, policy.idle_seconds_of("default")) == limits
    (pool,) = policy.pools
    assert (pool.min_vms, pool.max_vms) == limits[:2]


def test_a_policy_without_a_change_is_itself() -> None:
    policy = with_schedules(Schedule("a", DAY, "", 2))
    assert in_force(policy, remember([]), EIGHT - 3600) is policy
    assert in_force(PLAIN, remember([]), EIGHT) is PLAIN


def test_a_schedule_of_one_pool_leaves_the_others_alone() -> None:
    pools = (Pool("cpu"), GPU)
    policy = in_force(with_schedules(Schedule("a", DAY, "gpu", 2, 3, 60.0), pools=pools), remember([]), EIGHT)
    assert policy.pools == (pools[0], replace(GPU, min_vms=2, max_vms=3, idle_for_time_s=60.0))
    assert (policy.min_vms, policy.max_vms) == (0, 5)
    whole = in_force(with_schedules(Schedule("a", DAY, "", 2), pools=pools), remember([]), EIGHT)
    assert (whole.pools, whole.min_vms) == (pools, 2)


def test_a_pool_that_is_called_default_beside_others_is_one_of_them() -> None:
    pools = (Pool("default"), GPU)
    of_one = in_force(with_schedules(Schedule("a", DAY, "default", 2, 3), pools=pools), remember([]), EIGHT)
    assert (of_one.min_vms, of_one.max_vms, of_one.pools[0].min_vms) == (0, 5, 2)
    of_all = in_force(with_schedules(Schedule("a", DAY, "", 2, 3), pools=pools), remember([]), EIGHT)
    assert (of_all.min_vms, of_all.max_vms, of_all.pools) == (2, 3, pools)


def test_how_long_before_is_learnt() -> None:
    memory = remember([], boots={"default": (400.0, 420.0)})
    policy = with_schedules(Schedule("a", DAY, "", 2))
    assert in_force(policy, memory, EIGHT - 415).min_vms == 2
    assert sorted(changes(policy, memory, EIGHT - 1000))[:3] == [EIGHT - 415, EIGHT, EIGHT + 36000]


def test_the_plan_wakes_for_it_and_launches() -> None:
    policy = with_schedules(Schedule("a", DAY, "", 2))
    seen = replace(see([]), now=EIGHT - 3600)
    made = plan(seen, remember([]), policy)
    assert (launched(made), made.wake_at) == (0, EIGHT - 180)
    made = plan(replace(seen, now=made.wake_at), made.memory, policy)
    assert launched(made) == 2
    assert "fewer VMs than min_vms 2 are at work" in str(of(made, Kind.LAUNCH)[0].reason)


def test_when_hours_end_vms_go_by_idleness_alone() -> None:
    policy = with_schedules(Schedule("a", DAY, "", 3, None, 600.0))
    records = [joined(number) for number in (1, 2, 3)]
    workers = (worker(1, running=1), worker(2, idle_seconds=900), worker(3, idle_seconds=9000))
    at_work = replace(see(records, workers=workers), now=EIGHT + 36000 - 1)
    assert not ended(plan(at_work, remember(records), policy))
    assert ended(plan(replace(at_work, now=EIGHT + 36000), remember(records), policy)) == ["i-00000003"]


def test_a_lower_maximum_ends_no_vm_and_launches_none() -> None:
    policy = with_schedules(Schedule("a", DAY, "", None, 1))
    records = [joined(number) for number in (1, 2, 3)]
    workers = (worker(1, running=4), worker(2, running=4), worker(3, idle_seconds=9))
    seen = replace(see(records, demand=(jobs(9),), workers=workers), now=EIGHT)
    made = plan(seen, remember(records, waiting_since=EIGHT - 100), policy)
    assert not ended(made)
    assert not launched(made)
    assert Token.QUOTA_FULL in [one.reason.token for one in of(made, Kind.HOLD)]
