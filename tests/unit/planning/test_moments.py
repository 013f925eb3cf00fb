"""When a plan would come out differently by itself; tests/property shows that none comes before."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from elastiq.memory import Breaker, Departed, Intent, Memory, VmRecord
from elastiq.planning import patience
from elastiq.planning.moments import look_at, wake_at
from tests.unit.planning.table import NOW, PLAIN, jobs, joined, remember, see, vm, worker


@pytest.mark.parametrize(
    ("memory", "seconds"),
    [
        pytest.param(Memory(), math.inf, id="nothing is due"),
        pytest.param(Memory(waiting_since=NOW - 10), 30.0, id="jobs have waited for long enough"),
        pytest.param(Memory(waiting_since=NOW - 100), 500.0, id="the room of foreign workers is believed no more"),
        pytest.param(Memory(breakers={"default": Breaker(paused_until=NOW + 7)}), 7.0, id="a pause ends"),
        pytest.param(remember([vm(1)]), 500.0, id="a VM is late"),
        pytest.param(remember([joined(1, terminate_retry_at=NOW + 9)]), 9.0, id="a termination is tried again"),
        pytest.param(remember([joined(1, reopen_retry_at=NOW + 8)]), 8.0, id="a worker may be reopened again"),
        pytest.param(
            remember([joined(1, lost_since=NOW - 20)]), patience.OUT_OF_SIGHT_SECONDS - 20, id="a worker is no room"
        ),
        pytest.param(
            remember([joined(1, missing_since=NOW - 20)]), patience.MISSING_GRACE_SECONDS - 20, id="a VM is given up"
        ),
    ],
)
def test_wake_at(memory: Memory, seconds: float) -> None:
    assert wake_at(see([]), memory, PLAIN) == NOW + seconds


def only(record: VmRecord) -> Memory:
    return remember([record])


@pytest.mark.parametrize(
    ("memory", "seconds"),
    [
        pytest.param(Memory(), math.inf, id="nothing is due"),
        pytest.param(only(joined(1, lost_since=NOW - 700)), 2900.0, id="a lost worker is given up"),
        pytest.param(
            only(joined(1, closing_at=NOW - 5)), patience.CLOSE_AGAIN_SECONDS - 5, id="a close is asked for again"
        ),
        pytest.param(
            only(joined(1, terminated_at=NOW - 5)), patience.TERMINATE_AGAIN_SECONDS - 5, id="a termination, too"
        ),
        pytest.param(
            Memory(to_forget={"i-1": Departed("w1", retry_at=NOW + 6)}), 6.0, id="a dead worker is to be forgotten"
        ),
        pytest.param(
            Memory(intents=(Intent("t", "default", 1, NOW - 5),)),
            patience.SETTLE_SECONDS + patience.SETTLE_SECONDS_PER_VM - 5,
            id="a launch without an answer is settled",
        ),
    ],
)
def test_look_at(memory: Memory, seconds: float) -> None:
    assert look_at(see([]), memory, PLAIN) == NOW + seconds


def test_a_worker_that_is_idle_is_due_at_the_end_of_its_idle_time() -> None:
    seen = see([joined(1)], workers=(worker(1, idle_seconds=3000.0),), workers_age_seconds=10.0)
    assert look_at(seen, only(joined(1)), PLAIN) == NOW - 10 + 600


def test_jobs_whose_wait_the_batch_system_tells_are_due_by_its_word() -> None:
    seen = see([], demand=(replace(jobs(1), oldest_wait_seconds=400.0),), demand_age_seconds=5.0)
    assert look_at(seen, Memory(), PLAIN) == NOW - 5 + 200


def test_a_limit_that_was_passed_after_the_last_look_is_due_at_once() -> None:
    record = joined(1, closing_at=NOW - patience.CLOSE_AGAIN_SECONDS - 1)
    assert look_at(see([], workers_age_seconds=2.0), only(record), PLAIN) == NOW - 1
    assert look_at(see([]), only(record), PLAIN) == math.inf
