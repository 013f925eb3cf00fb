"""Sums of hours: what is known is summed up, what is not known is in none of them."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from elastiq.memory import Intent, Memory, VmRecord
from elastiq.model import Demand, InstanceState, Shape, Worker
from elastiq.state.kept import Hour
from elastiq.state.sums import GAP_SECONDS, Moment, Sums, moment

RUNNING = InstanceState.RUNNING

RECORDS = (
    VmRecord("i-boots", "a"),
    VmRecord("i-idle", "a", state=RUNNING, joined_at=1.0, worker_name="w1"),
    VmRecord("i-busy", "a", state=RUNNING, joined_at=1.0, worker_name="w2", at_work=True),
    VmRecord("i-leaves", "b", state=RUNNING, joined_at=1.0, closing_at=5.0),
    VmRecord("i-lost", "b", state=RUNNING, joined_at=1.0, lost_since=5.0),
    VmRecord("i-gone", "b", state=InstanceState.STOPPING, terminated_at=5.0),
)
MEMORY = Memory(vms={record.id: record for record in RECORDS}, intents=(Intent("t", "b", 3, 1.0, found=("i-leaves",)),))
DEMAND = (Demand(Shape(), 3), Demand(Shape(2), 4))
WORKERS = (Worker("w1"), Worker("w2", jobs=2), Worker("other", jobs=5))


def sums_of(*moments: Moment) -> dict[str, Hour]:
    sums = Sums()
    for one in moments:
        sums.look(one)
    return {hour.pool: hour for hour in sums.take()}


def test_what_is_seen_is_summed_up_from_look_to_look() -> None:
    found = sums_of(moment(DEMAND, WORKERS, MEMORY, 100.0), moment((), (), Memory(), 110.0))
    assert found[""] == Hour(0.0, "", 10.0, 10.0, 70.0, 70.0)
    a = Hour(0.0, "a", 10.0, running_job_seconds=20.0, booting_vm_seconds=10.0, idle_vm_seconds=10.0)
    assert found["a"] == Hour(**{**vars(a), "busy_vm_seconds": 10.0})
    assert found["b"] == Hour(
        0.0, "b", 10.0, asked_vm_seconds=20.0, leaving_vm_seconds=10.0, unknown_vm_seconds=10.0
    ), "what the cloud is ending costs nothing"


def test_what_is_not_known_is_no_zero() -> None:
    found = sums_of(moment(None, None, MEMORY, 100.0), moment(None, None, MEMORY, 110.0))
    assert found[""].queue_seconds == 0 and found[""].seconds == 10
    assert found["a"].idle_vm_seconds == found["a"].busy_vm_seconds == 0
    assert found["a"].unknown_vm_seconds == 20


def test_nobody_knows_what_was_while_nobody_looked() -> None:
    late = 100.0 + GAP_SECONDS + 1
    assert sums_of(moment(DEMAND, WORKERS, MEMORY, 100.0), moment(DEMAND, WORKERS, MEMORY, late)) == {}
    assert sums_of(moment(DEMAND, WORKERS, MEMORY, 100.0), moment(DEMAND, WORKERS, MEMORY, 90.0)) == {}


@given(st.lists(st.floats(1, GAP_SECONDS), min_size=1, max_size=40))
def test_hours_add_up_to_the_time_that_was_looked(pauses: list[float]) -> None:
    sums, at = Sums(), 7_000.0
    sums.look(moment(DEMAND, WORKERS, MEMORY, at))
    for pause in pauses:
        at += pause
        sums.look(moment(DEMAND, WORKERS, MEMORY, at))
    hours = [hour for hour in sums.take() if hour.pool == "a"]
    assert math.isclose(sum(hour.busy_vm_seconds for hour in hours), at - 7_000.0, rel_tol=1e-9)
    assert all(hour.seconds <= 3600.000001 and hour.at % 3600 == 0 for hour in hours)
    assert sums.take() == []


def test_what_comes_after_the_last_look_is_as_it_was_then() -> None:
    sums = Sums()
    sums.go_on(90.0)
    sums.look(moment(DEMAND, WORKERS, MEMORY, 100.0))
    sums.go_on(110.0)
    assert {hour.pool: hour.seconds for hour in sums.take()} == {"": 10, "a": 10, "b": 10}
