"""What the loop keeps of what it sees; that it survives whatever becomes of that."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from elastiq.core import Core
from elastiq.errors import StateError
from elastiq.memory import VmRecord
from elastiq.model import Demand, InstanceState, Policy, Shape, Worker
from elastiq.ports import Ports
from elastiq.recorder import kinds, life_of, uses
from elastiq.state import read_report
from elastiq.state.archive import Archive, Piece, read_past
from elastiq.state.kept import Event, Hour, Life
from elastiq.state.looks import Kind, Queued, Use
from elastiq.state.past import read_events, read_hours, read_life, read_lives
from tests.unit.rig import Rig


class Full:
    """A disk without room, until it has some."""

    def __init__(self, archive: Archive) -> None:
        self.archive, self.is_full = archive, True

    def living(self, now: float) -> dict[str, Life]:
        return self.archive.living(now)

    def add(
        self,
        piece: Piece | None,
        lives: Iterable[Life],
        now: float,
        events: Iterable[Event] = (),
        hours: Iterable[Hour] = (),
    ) -> None:
        if self.is_full:
            raise StateError("no room on the disk")
        self.archive.add(piece, lives, now, events, hours)


def with_history(rig: Rig, history: Archive | Full) -> Rig:
    ports = Ports(rig.clock, rig.batch, rig.cloud, rig.state, history)
    rig.core = Core(rig.settings, ports, redactor=rig.redactor)
    return rig


def test_queue_workers_and_lives_of_vms_are_kept(rig: Rig) -> None:
    with_history(rig, Archive(rig.directory))
    rig.wait_for_jobs(8)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(jobs=1)
    rig.run(600)
    rig.core.end()
    past = read_past(rig.directory, 1e9)
    assert past is not None
    looks = [look for _, looks in past.pieces for look in looks]
    assert [queued.waiting for look in looks for queued in look.kinds.values()] == [8, 0]
    assert {use.jobs for look in looks for use in look.uses.values() if use} == {1}
    assert {life.id for life in past.lives} == set(rig.cloud.alive)
    assert all(life.joined_at and life.ended_at is None for life in past.lives)


def test_a_disk_without_room_fails_no_pass_and_is_said(rig: Rig) -> None:
    full = Full(Archive(rig.directory))
    with_history(rig, full)
    rig.wait_for_jobs(8)
    rig.run(900)
    assert rig.cloud.launches[0] == 2, "nothing is decided by it"
    report = read_report(rig.directory)
    assert report is not None
    assert report["last_error"]["text"].startswith("what is seen cannot be kept")
    past = read_past(rig.directory, 1e9)
    assert past is not None and not past.pieces
    full.is_full = False
    rig.run(900)
    past = read_past(rig.directory, 1e9)
    assert past is not None and past.pieces and past.lives


def test_what_was_there_at_the_last_start_and_is_gone_has_ended(rig: Rig) -> None:
    archive = Archive(rig.directory)
    archive.add(None, [Life("i-gone", "default", "", 5.0)], 10.0)
    with_history(rig, archive)
    rig.run(400)
    past = read_past(rig.directory, 1e9)
    assert past is not None
    assert [life.ended_at is not None for life in past.lives if life.id == "i-gone"] == [True]


def test_a_vm_that_elastiq_terminated_says_why(rig: Rig) -> None:
    with_history(rig, Archive(rig.directory))
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.join_all(jobs=1)
    (vm,) = rig.cloud.alive
    rig.wait_for_jobs(0)
    rig.run(60)
    rig.join_all(idle_seconds=9999)
    rig.run(700)
    life = read_life(rig.directory, vm)
    assert life is not None
    assert life.ended_at is not None
    assert life.because.startswith("idle for ")


def test_jobs_are_counted_by_what_they_need_and_nothing_else_is_kept() -> None:
    demand = (
        Demand(Shape(1, 3000), 2, wants="User == alice", running=1),
        Demand(Shape(1, 4000), 3, wants="User == bob", running=2),
        Demand(Shape(1, None), 4),
    )
    assert kinds(demand) == {Kind(1, 4096, 0): Queued(5, 3), Kind(1, None, 0): Queued(4, None)}


def test_use_of_workers() -> None:
    records = {"i-1": VmRecord("i-1"), "i-2": VmRecord("i-2", worker_name="by-name")}
    workers = (
        Worker("a", instance_id="i-1", capacity=Shape(4), free=Shape(1), jobs=2),
        Worker("by-name", capacity=Shape(4), free=Shape(4), jobs=0),
        Worker("other", capacity=Shape(4), free=Shape(4), jobs=1),
    )
    assert uses(workers, records) == {
        "i-1": Use(3, 2, 4, True),
        "by-name": Use(0, 0, 4, True),
        "other": Use(1, 1, 4, False),
    }


def test_a_life_is_told_with_its_first_job_its_idle_time_and_why_it_ended(rig: Rig) -> None:
    with_history(rig, Archive(rig.directory))
    began = rig.clock.now()
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.join_all()
    rig.run(90)
    rig.wait_for_jobs(0)
    rig.join_all(jobs=1)
    rig.run(300)
    rig.join_all(idle_seconds=0.0)
    rig.run(200)
    rig.join_all(idle_seconds=9999)
    rig.run(250)
    (life,) = read_lives(rig.directory, 0, 1e12).lives
    assert life.token == "idle" and life.joined_at and life.ended_at and life.first_job_at
    assert life.launched_at < life.joined_at < life.first_job_at < life.ended_at
    idle = life.idle_seconds
    assert idle is not None and life.idle_since is None
    waited = life.first_job_at - life.joined_at
    assert waited > 0 and waited + 200 < idle < life.ended_at - life.joined_at - 200
    kinds_told = [event.kind for event in read_events(rig.directory, began, 1e12).events]
    assert kinds_told[0] == "started" and {"launch", "terminate"} <= set(kinds_told)
    rig.run(400)
    hours = read_hours(rig.directory, 0, 1e12).hours
    busy = sum(hour.busy_vm_seconds for hour in hours)
    assert abs(busy - (life.ended_at - life.joined_at - idle)) < 60
    assert sum(hour.seconds for hour in hours if not hour.pool) > 800


def test_a_vm_that_ends_by_itself_says_so(rig: Rig) -> None:
    with_history(rig, Archive(rig.directory))
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(jobs=1)
    rig.run(60)
    (vm,) = rig.cloud.alive
    rig.cloud.vms[vm] = replace(rig.cloud.vms[vm], state=InstanceState.TERMINATED)
    rig.run(200)
    life = read_life(rig.directory, vm)
    assert life is not None and life.token == "vm-ended" and life.because == ""
    assert "gone" in {event.kind for event in read_events(rig.directory, 0, 1e12).events}


@given(st.lists(st.tuples(st.floats(1, 5000), st.booleans()), max_size=12), st.booleans(), st.integers(0, 11))
def test_idle_and_work_add_up_whatever_comes(turns: list[tuple[float, bool]], ends: bool, restart: int) -> None:
    """As `planning/tracking.py` tells of it, with a daemon that is started again in between."""
    at, idle = 1000.0, 0.0
    record = VmRecord("i-1", launched_at=900.0, joined_at=at)
    life = life_of(record, None, Policy())
    for number, (seconds, works) in enumerate(turns):
        idle += 0.0 if record.at_work else seconds
        at += seconds
        if works is not record.at_work:
            times = {"work_from": at, "idle_from": None} if works else {"work_from": None, "idle_from": at}
            record = replace(record, at_work=works, **times)  # type: ignore[arg-type]
        if number == restart:
            life = life_of(record, replace(life), Policy())
        life = life_of(record, life, Policy())
    if ends:
        idle += 0.0 if record.at_work else 10.0
        at += 10.0
        record = replace(record, terminated_at=at, goes_cause="idle")
        life = life_of(replace(record, detail="again"), life_of(record, life, Policy()), Policy())
        assert life.ended_at == at and life.idle_since is None and life.token == "idle"
    assert life.idle_seconds is not None
    so_far = 0.0 if life.idle_since is None else at - life.idle_since
    assert math.isclose(life.idle_seconds + so_far, idle, abs_tol=1e-6)
