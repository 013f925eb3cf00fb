"""What the loop keeps of what it sees; that it survives whatever becomes of that."""

from __future__ import annotations

from collections.abc import Iterable

from elastiq.core import Core
from elastiq.errors import StateError
from elastiq.memory import VmRecord
from elastiq.model import Demand, Shape, Worker
from elastiq.ports import Ports
from elastiq.recorder import kinds, uses
from elastiq.state import read_report
from elastiq.state.archive import Archive, Life, Piece, read_life, read_past
from elastiq.state.looks import Kind, Queued, Use
from tests.unit.rig import Rig


class Full:
    """A disk without room, until it has some."""

    def __init__(self, archive: Archive) -> None:
        self.archive, self.is_full = archive, True

    def living(self, now: float) -> dict[str, Life]:
        return self.archive.living(now)

    def add(self, piece: Piece | None, lives: Iterable[Life], now: float) -> None:
        if self.is_full:
            raise StateError("no room on the disk")
        self.archive.add(piece, lives, now)


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
