"""Jobs told from looks: small records, reckoned by hand."""

from __future__ import annotations

from elastiq.sim.replay.recorded import Recorded, recorded
from elastiq.sim.replay.traces import Job
from elastiq.state.archive import Past, Piece
from elastiq.state.kept import Life
from elastiq.state.looks import QUEUE, WORKERS, Kind, Look, Queued, Use

ONE = Kind(1, None, 0)


def queue(at: float, waiting: int, kind: Kind = ONE) -> Look:
    return Look(at, 10.0, QUEUE, at == 0, kinds={kind: Queued(waiting, None)})


def workers(at: float, *, gap: float | None = 10.0, is_own: bool = True, **cores: int) -> Look:
    uses = {name: Use(count, count, 4, is_own) for name, count in cores.items()}
    return Look(at, gap, WORKERS, at == 0 or gap is None, uses=uses)


def told(*looks: Look, until: float = 10_000.0, lives: tuple[Life, ...] = ()) -> Recorded:
    return recorded(Past([(Piece(0.0, 0.0, until, True, ""), list(looks))], list(lives)))


def test_a_job_that_waits_starts_and_ends() -> None:
    found = told(workers(0, a=0), queue(0, 0), queue(100, 1), queue(200, 0), workers(200, a=1), workers(800, a=0))
    assert found.jobs == (Job(95.0, 600.0, 1),)


def test_a_job_that_never_waits() -> None:
    assert told(workers(0, a=0), workers(100, a=1), workers(300, a=0)).jobs == (Job(95.0, 200.0, 1),)


def test_a_worker_that_shows_a_start_before_the_queue_does() -> None:
    found = told(workers(0, a=0), queue(0, 0), queue(100, 1), workers(200, a=1), queue(205, 0), workers(800, a=0))
    assert found.jobs == (Job(95.0, 600.0, 1),)


def test_a_start_that_no_worker_shows_is_the_end_of_another() -> None:
    """The worker is as full as before, so the one that has run for longest has ended; the sum is what was measured."""
    found = told(workers(0, a=1), queue(0, 1), queue(1000, 0), workers(3000, a=0))
    assert found.jobs == (Job(0.0, 995.0, 1), Job(0.0, 2000.0, 1))
    assert sum(job.seconds for job in found.jobs) == 2995


def test_short_jobs_one_after_the_other_on_a_worker_that_stays_full() -> None:
    """Found on a real HTCondor: all have ended before it is sure that no worker showed their starts."""
    looks = (queue(10, 3), workers(20, a=1), queue(20, 2), queue(40, 1), queue(60, 0), workers(80, a=0))
    found = told(workers(0, a=0), queue(0, 0), *looks)
    assert found.jobs == (Job(5.0, 20.0, 1),) * 3
    others = told(workers(0, a=0, is_own=False), queue(0, 0), queue(10, 3), workers(20, is_own=False, a=1), *looks[2:])
    assert (found.elsewhere, others.jobs, others.elsewhere) == (0, (), 3)


def test_jobs_that_are_removed_from_the_queue_are_none() -> None:
    assert told(workers(0, a=0), queue(0, 0), queue(100, 3), queue(200, 0)).jobs == ()


def test_a_job_of_several_vms_is_one() -> None:
    wide = Kind(4, None, 0, vms_per_job=2)
    looks = (workers(0, a=0, b=0), queue(0, 0), queue(100, 1, wide), queue(200, 0, wide))
    use = Use(4, 1, 4, True)
    found = told(
        *looks,
        Look(200, 10.0, WORKERS, False, uses={"a": use, "b": use}),
        workers(500, a=0, b=0),
    )
    assert found.jobs == (Job(95.0, 300.0, 8),)


def test_jobs_on_workers_of_others_are_left_out_and_counted() -> None:
    found = told(workers(0, is_own=False, a=0), workers(100, is_own=False, a=1), workers(300, is_own=False, a=0))
    assert (found.jobs, found.elsewhere) == ((), 1)


def test_a_gap_is_said_and_what_changed_in_it_did_so_at_its_ends() -> None:
    found = told(workers(0, a=1), workers(5000, gap=None, b=1), workers(6000, b=0))
    assert found.gaps == ((0.0, 5000.0),)
    assert found.gap_seconds == 5000
    assert found.jobs == (Job(0.0, 300.0, 1), Job(4700.0, 1295.0, 1))


def test_what_has_not_ended_is_counted() -> None:
    found = told(workers(0, a=0), queue(0, 0), workers(100, a=1), queue(100, 1), until=700.0)
    assert found.cut == 2
    assert found.jobs == (Job(95.0, 605.0, 1), Job(95.0, 605.0, 1))


def test_a_wall_clock_that_goes_back_takes_no_time_away() -> None:
    first = (Piece(1000.0, 1000.0, 2000.0, True, ""), [workers(1000, gap=None, a=1)])
    second = (Piece(500.0, 500.0, 900.0, True, ""), [workers(500, gap=None, a=1), workers(800, a=0)])
    found = recorded(Past([first, second]))
    assert found.jobs == (Job(0.0, 1295.0, 1),)


def test_lives_of_vms_are_cut_at_the_ends_of_the_record() -> None:
    lives = (Life("i-1", "p", "", -50.0, ended_at=100.0), Life("i-2", "p", "", 200.0))
    assert told(workers(0, a=0), until=700.0, lives=lives).lives == ((0.0, 100.0), (200.0, 700.0))
    assert told().jobs == ()
