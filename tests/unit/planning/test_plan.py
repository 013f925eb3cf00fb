"""A plan as a whole."""

from __future__ import annotations

from dataclasses import replace

from elastiq.memory import Memory
from elastiq.planning.plan import plan
from tests.unit.planning.table import (
    NOW,
    PLAIN,
    jobs,
    joined,
    remember,
    see,
    worker,
)


def test_the_waiting_time_starts_goes_on_and_is_forgotten() -> None:
    first = plan(see([], demand=(jobs(8),)), Memory(), PLAIN)
    assert first.memory.waiting_since == NOW
    unknown = plan(replace(see([]), demand=None), first.memory, PLAIN)
    assert unknown.memory.waiting_since == NOW, "a failed query leaves it untouched"
    assert plan(see([]), first.memory, PLAIN).memory.waiting_since is None


def test_the_summary_is_one_sentence() -> None:
    records = [joined(1)]
    seen = see(records, demand=(jobs(8),), workers=(worker(1, running=4),))
    made = plan(seen, remember(records, waiting_since=NOW - 50), PLAIN)
    assert made.summary == "jobs 8 waiting; workers 1 busy, 0 idle; VMs 0 pending, 1 running of 0..5: launch 2"
