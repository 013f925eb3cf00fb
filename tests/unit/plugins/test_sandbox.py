"""The plugin of the sandbox, on workers without processes: what it answers, and what it refuses to believe."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

import pytest

from elastiq.clock import Clock
from elastiq.config import Settings
from elastiq.errors import BatchError, ConfigError
from elastiq.model import Demand, Eligibility, Judgement, Shape, Standing, Worker
from elastiq.plugins import Closing
from elastiq.plugins.faults import judgement_faults, template_faults, workers_faults
from elastiq.plugins.sandbox import SandboxBatch, create
from elastiq.plugins.sections import SandboxOptions
from elastiq.sandbox.spool import Job, Spool, WorkerRecord, open_lock, try_lock

ROOT = Path(__file__).parents[3]


class StoppedClock(Clock):
    """A clock that moves only when told."""

    def __init__(self, now: float = 1000.0) -> None:
        super().__init__()
        self.seconds = now

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def spool(tmp_path: Path, clock: StoppedClock) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool", clock)
    spool.create()
    yield spool
    while FakeWorker.joined:
        FakeWorker.joined.pop().die()


@pytest.fixture
def batch(spool: Spool, clock: StoppedClock) -> SandboxBatch:
    return SandboxBatch(spool, clock)


class FakeWorker:
    """A worker's files and lock without its process."""

    joined: ClassVar[list[FakeWorker]] = []
    """Keeps the locks from being given back before the test ends."""

    def __init__(self, spool: Spool, record: WorkerRecord) -> None:
        self.spool = spool
        (spool.directory / "running" / record.name).mkdir()
        (spool.directory / "workers" / f"{record.name}.json").write_text(json.dumps(asdict(record)))
        self.lock = open_lock(spool.directory / "workers" / f"{record.name}.alive")
        assert try_lock(self.lock.fileno())
        self.joined.append(self)

    def die(self) -> None:
        self.lock.close()


def submit(spool: Spool, **changes: object) -> Job:
    return spool.submit(Job("new", ["true"], **changes))  # type: ignore[arg-type]


def test_demand_groups_by_shape_and_tells_the_longest_wait(
    spool: Spool, batch: SandboxBatch, clock: StoppedClock
) -> None:
    submit(spool)
    clock.seconds += 30
    submit(spool)
    submit(spool, cpus=4, memory_mb=2000)
    clock.seconds += 10
    found = {demand.shape: (demand.jobs, demand.oldest_wait_seconds) for demand in batch.demand()}
    assert found == {Shape(1): (2, 40.0), Shape(4, 2000): (1, 10.0)}


def run_on(spool: Spool, name: str, job: Job) -> None:
    with spool.locked():
        spool.move(job, "queue", f"running/{name}")


def test_demand_groups_by_all_that_decides_where_and_counts_what_runs(spool: Spool, batch: SandboxBatch) -> None:
    FakeWorker(spool, WorkerRecord("w", cpus=8, offers=["gpu", "cvmfs"]))
    for _ in range(2):
        run_on(spool, "w", submit(spool, needs=["gpu"]))
    run_on(spool, "w", submit(spool, cpus=2))
    for needs in (["gpu"], ["cvmfs", "gpu"], ["gpu", "cvmfs", "gpu"], []):
        submit(spool, needs=needs)
    submit(spool, memory_mb=0, whole=True)
    assert set(batch.demand()) == {
        Demand(Shape(1), 1, 0.0, wants="gpu", running=2),
        Demand(Shape(1), 2, 0.0, wants="cvmfs gpu", running=0),
        Demand(Shape(1), 1, 0.0, running=0),
        Demand(Shape(1), 1, 0.0, takes_whole_vms=True, running=0),
    }


def test_demand_leaves_out_what_could_not_start_now(spool: Spool, batch: SandboxBatch, clock: StoppedClock) -> None:
    first = submit(spool)
    submit(spool, after=first.id)
    submit(spool, not_before=clock.seconds + 60)
    spool.submit(Job("new", ["true"]), held=True)
    assert [demand.jobs for demand in batch.demand()] == [1]
    with spool.locked():
        spool.move(first, "queue", "done")
    clock.seconds += 60
    assert [demand.jobs for demand in batch.demand()] == [2]


def test_nothing_there_is_none_not_an_error(batch: SandboxBatch) -> None:
    assert batch.demand() == ()
    assert batch.workers() == ()
    assert batch.check().endswith("0 workers, 0 jobs waiting")


def test_a_worker_shows_what_is_free_and_how_long_it_is_idle(spool: Spool, batch: SandboxBatch) -> None:
    FakeWorker(spool, WorkerRecord("w", "i-1", "10.0.0.1", cpus=4, memory_mb=4000, idle_seconds=12.5))
    (idle,) = batch.workers()
    assert idle == Worker("w", "i-1", "10.0.0.1", Shape(4, 4000), Shape(4, 4000), 0, 12.5, False)
    run_on(spool, "w", submit(spool, cpus=3, memory_mb=1000))
    (busy,) = batch.workers()
    assert (busy.free, busy.jobs, busy.idle_seconds) == (Shape(1, 3000), 1, None)


@pytest.mark.parametrize(
    ("memory_mb", "job", "free"),
    [
        (None, {"cpus": 1, "memory_mb": 500}, Shape(3)),
        (4000, {"cpus": 1}, Shape(3, 4000)),
        (4000, {"cpus": 1, "memory_mb": 4000}, Shape(3, 0)),
        (4000, {"cpus": 1, "memory_mb": 9000}, Shape(3, 0)),
        (4000, {"cpus": 1, "whole": True}, Shape(0, 0)),
        (None, {"cpus": 1, "whole": True}, Shape(0, 0)),
    ],
)
def test_none_left_and_not_known_are_told_apart(
    spool: Spool, batch: SandboxBatch, memory_mb: int | None, job: dict[str, object], free: Shape
) -> None:
    FakeWorker(spool, WorkerRecord("w", cpus=4, memory_mb=memory_mb))
    run_on(spool, "w", submit(spool, **job))
    answer = batch.workers()
    assert (answer[0].capacity, answer[0].free) == (Shape(4, memory_mb), free)
    assert workers_faults(answer) == []


def test_a_template_is_what_workers_offer_and_nothing_of_this_one(spool: Spool, batch: SandboxBatch) -> None:
    FakeWorker(spool, WorkerRecord("w", "i-1", "10.0.0.1", offers=["gpu", "cvmfs"], memory_mb=100))
    FakeWorker(spool, WorkerRecord("v", "i-2", "10.0.0.2", offers=["cvmfs", "gpu"], cpus=9))
    run_on(spool, "v", submit(spool))
    template = batch.template(Worker("", "i-1"))
    assert batch.template(Worker("v", "i-2")) == template
    assert template_faults(template) == []
    batch.close(Worker("w", "i-1"))
    for worker in (Worker("w", "i-1"), Worker("x", "i-3")):
        with pytest.raises(BatchError, match="is closed or not there"):
            batch.template(worker)


@pytest.mark.parametrize(
    ("wants", "template", "answer", "reason"),
    [
        ("", "", Eligibility.YES, ""),
        ("", '{"offers": []}', Eligibility.YES, ""),
        ("gpu", '{"offers": ["cvmfs", "gpu"]}', Eligibility.YES, ""),
        ("cvmfs gpu", '{"offers": ["cvmfs", "gpu"]}', Eligibility.YES, ""),
        ("cvmfs fpga gpu", '{"offers": ["cvmfs"]}', Eligibility.NO, "workers do not offer fpga, gpu"),
        ("gp", '{"offers": ["gpu"]}', Eligibility.NO, "workers do not offer gp"),
        ("gpu", "", Eligibility.UNKNOWN, "no worker has shown yet whether it offers gpu"),
        ("gpu", '{"offers": ["gp', Eligibility.UNKNOWN, "no worker has shown yet whether it offers gpu"),
        ("gpu", '{"offers": "gpu"}', Eligibility.UNKNOWN, "no worker has shown yet whether it offers gpu"),
        ("gpu", '{"features": ["gpu"]}', Eligibility.UNKNOWN, "no worker has shown yet whether it offers gpu"),
        ("gpu", "[" * 100_000, Eligibility.UNKNOWN, "no worker has shown yet whether it offers gpu"),
        ("gpu", '["gpu"]', Eligibility.UNKNOWN, "no worker has shown yet whether it offers gpu"),
        ("gpu", '{"offers": [[], {}, null]}', Eligibility.NO, "workers do not offer gpu"),
    ],
)
def test_judgements(batch: SandboxBatch, wants: str, template: str, answer: Eligibility, reason: str) -> None:
    judged = batch.judge(["", wants, wants], template)
    assert judgement_faults(judged, 3) == []
    assert judged[1:] == (Judgement(answer, reason),) * 2
    assert judged[0].answer is Eligibility.YES


def test_close_refuses_a_busy_worker_and_changes_nothing(spool: Spool, batch: SandboxBatch) -> None:
    FakeWorker(spool, WorkerRecord("w", "i-1"))
    job = submit(spool)
    with spool.locked():
        spool.move(job, "queue", "running/w")
    (worker,) = batch.workers()
    assert batch.close(worker) is Closing.BUSY
    assert not batch.workers()[0].closed


def test_close_holds_until_reopen(spool: Spool, batch: SandboxBatch) -> None:
    FakeWorker(spool, WorkerRecord("w", "i-1"))
    (worker,) = batch.workers()
    assert batch.close(worker) is Closing.CLOSED
    assert batch.close(worker) is Closing.CLOSED
    assert batch.workers()[0].closed
    batch.reopen(worker)
    batch.reopen(worker)
    assert not batch.workers()[0].closed


def test_a_vm_that_never_joined_is_closed_for_when_it_does(spool: Spool, batch: SandboxBatch) -> None:
    absent = Worker("", "i-late", "10.0.0.9")
    assert batch.close(absent) is Closing.CLOSED
    batch.forget(absent)
    FakeWorker(spool, WorkerRecord("late", "i-late", "10.0.0.9"))
    assert batch.workers()[0].closed


@pytest.mark.parametrize(
    ("asked", "same"),
    [
        (Worker("other-name", "i-1"), True),
        (Worker("w", "i-2"), False),
        (Worker("w"), True),
        (Worker("w", None, "10.0.0.1"), True),
        (Worker("w", None, "10.9.9.9"), False),
        (Worker("", None, "10.0.0.1"), True),
        (Worker("", "i-2", "10.0.0.1"), False),
        (Worker("", None, None), False),
    ],
)
def test_the_instance_id_says_who_it_is_then_address_then_name(
    spool: Spool, batch: SandboxBatch, asked: Worker, same: bool
) -> None:
    FakeWorker(spool, WorkerRecord("w", "i-1", "10.0.0.1"))
    batch.close(asked)
    assert batch.workers()[0].closed is same


def test_the_jobs_of_a_dead_worker_wait_again(spool: Spool, batch: SandboxBatch) -> None:
    worker = FakeWorker(spool, WorkerRecord("w"))
    running, ended = submit(spool), submit(spool)
    with spool.locked():
        for job in (running, ended):
            spool.move(job, "queue", "running/w")
        spool.write(Job(ended.id, ["true"], exit_code=0), "running/w")
    assert batch.demand() == ()
    worker.die()
    assert batch.workers() == ()
    assert [job.id for job in spool.jobs("queue")] == [running.id]
    assert [job.id for job in spool.jobs("done")] == [ended.id]


def test_forget_removes_a_dead_worker_and_refuses_a_busy_one(spool: Spool, batch: SandboxBatch) -> None:
    worker = FakeWorker(spool, WorkerRecord("w", "i-1"))
    (seen,) = batch.workers()
    job = submit(spool)
    with spool.locked():
        spool.move(job, "queue", "running/w")
    with pytest.raises(BatchError, match="still runs jobs"):
        batch.forget(seen)
    worker.die()
    batch.forget(seen)
    batch.forget(seen)
    assert spool.files("workers") == []


DAMAGED = [
    "",
    "{",
    "[]",
    "null",
    '{"id": "000001"}',
    '{"id": "000001", "command": ["true"], "cpus": "2"}',
    '{"id": "000001", "command": ["true"], "cpus": 0}',
    '{"id": "000001", "command": ["true"], "cpus": true}',
    '{"id": "000001", "command": ["true"], "memory_mb": NaN}',
    '{"id": "000001", "command": ["true"], "submitted_at": Infinity}',
    '{"id": "000001", "command": "true"}',
    '{"id": "000001", "command": [1]}',
    '{"id": "000001", "command": ["true"], "memory_mb": -1}',
    '{"id": "000001", "command": ["true"], "memory_mb": "1"}',
    '{"id": "000001", "command": ["true"], "whole": 1}',
    '{"id": "000001", "command": ["true"], "needs": "gpu"}',
    '{"id": "000001", "command": ["true"], "needs": [1]}',
    '{"id": "000001", "command": ["true"], "needs": ["two words"]}',
    '{"id": "000001", "command": ["true"], "needs": ["line\nend"]}',
    '{"id": "000001", "command": ["true"], "needs": ["' + '", "'.join("abcdefghijklmnopqrstu") + '"]}',
    '{"id": "../../x", "command": ["true"]}',
    '{"id": "000001", "command": ["true"], "surprise": 1}',
    "\x00" * 100,
]


@pytest.mark.parametrize("text", [*(text.encode() for text in DAMAGED), b"\xff\xfe\xff"])
def test_a_damaged_job_costs_itself_alone_and_is_told_once(
    spool: Spool, batch: SandboxBatch, caplog: pytest.LogCaptureFixture, text: bytes
) -> None:
    submit(spool)
    (spool.directory / "queue" / "odd.json").write_bytes(text)
    for _ in range(3):
        assert [group.jobs for group in batch.demand()] == [1]
    (line,) = caplog.messages
    assert re.fullmatch(r"a job is left out: .*odd\.json is damaged \(.*\); mend or remove it", line, re.DOTALL)


@pytest.mark.parametrize("text", DAMAGED)
def test_a_running_job_that_can_not_be_read_is_an_error_never_no_job(
    spool: Spool, batch: SandboxBatch, text: str
) -> None:
    FakeWorker(spool, WorkerRecord("w", "i-1"))
    (spool.directory / "running" / "w" / "000001.json").write_text(text)
    for call in (batch.demand, batch.workers, lambda: batch.close(Worker("w", "i-1"))):
        with pytest.raises(BatchError, match=r"000001\.json is damaged .*mend or remove it"):
            call()


def test_every_truncation_of_a_worker_is_an_error(spool: Spool, batch: SandboxBatch) -> None:
    text = json.dumps(asdict(WorkerRecord("w", "i-1", "10.0.0.1")))
    FakeWorker(spool, WorkerRecord("w"))
    for length in range(len(text)):
        (spool.directory / "workers" / "w.json").write_text(text[:length])
        with pytest.raises(BatchError, match="damaged"):
            batch.workers()
        with pytest.raises(BatchError, match="damaged"):
            batch.close(Worker("w"))


def test_bytes_that_are_no_text_are_an_error(spool: Spool, batch: SandboxBatch) -> None:
    (spool.directory / "workers" / "w.json").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BatchError, match="cannot use"):
        batch.workers()


@pytest.mark.parametrize("folder", ["queue", "workers", "running", "."])
def test_a_missing_directory_is_an_error(spool: Spool, batch: SandboxBatch, folder: str) -> None:
    (spool.directory / folder).rename(spool.directory.parent / "away")
    with pytest.raises(BatchError):
        batch.demand()
    if folder != "queue":
        with pytest.raises(BatchError):
            batch.workers()


@pytest.mark.parametrize("is_there", [False, True])
def test_an_empty_or_missing_spool_is_made_at_the_start_and_not_before(tmp_path: Path, is_there: bool) -> None:
    directory = tmp_path / "new" / "spool"
    if is_there:
        directory.mkdir(parents=True)
    batch = create(Settings(plugins=(SandboxOptions(spool_dir=directory),)))
    assert directory.exists() is is_there, "the configuration may be checked by another user"
    assert batch.check() == f"sandbox in {directory}: 0 workers, 0 jobs waiting"
    assert (directory / "queue").stat().st_mode & 0o777 == 0o700
    assert batch.workers() == batch.demand() == ()
    assert is_there or directory.stat().st_mode & 0o777 == 0o700
    directory.rename(tmp_path / "away")
    with pytest.raises(BatchError):
        batch.check()


def test_a_spool_of_which_a_part_is_missing_is_not_mended(spool: Spool, batch: SandboxBatch) -> None:
    (spool.directory / "queue").rmdir()
    with pytest.raises(BatchError, match="cannot read"):
        batch.check()


def test_create_needs_a_directory() -> None:
    with pytest.raises(ConfigError, match="spool_dir"):
        create(Settings())


def test_the_daemon_loads_it_without_the_packages_of_the_demonstration() -> None:
    program = "import elastiq.plugins.sandbox, sys; print({'rich', 'moto', 'flask', 'botocore'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout == "set()\n"


def test_what_a_single_job_is(spool: Spool, batch: SandboxBatch, clock: StoppedClock) -> None:
    first, held = spool.submit(Job("new", ["true"], cpus=2)), spool.submit(Job("new", ["true"]), held=True)
    after = spool.submit(Job("new", ["true"], after=first.id))
    later = spool.submit(Job("new", ["true"], not_before=clock.now() + 60))
    told = batch.explain(first.id)
    assert told.group is not None
    assert (told.standing, told.group.key) == (Standing.WAITS, batch.demand()[0].key)
    assert batch.explain("1") == told, "the zeros in front may be left out"
    assert batch.explain(held.id).standing is Standing.HELD
    assert batch.explain(after.id).standing is Standing.DEPENDS
    assert batch.explain(later.id).standing is Standing.NOT_DUE
    spool.move(first, "queue", "done")
    assert batch.explain(first.id).standing is Standing.ENDED
    assert batch.explain(after.id).standing is Standing.WAITS
    for name in ("99", "../lock", ""):
        assert batch.explain(name).standing is Standing.UNKNOWN


@pytest.mark.parametrize(
    ("jobs", "offers", "wants", "template", "answer"),
    [
        ("gpu", "", "gpu", "", Eligibility.UNKNOWN),
        ("gpu", "gpu", "gpu", "", Eligibility.YES),
        ("gpu", "gpu", "cvmfs", "", Eligibility.NO),
        ("gpu, fpga", "", "", "", Eligibility.NO),
        ("gpu", "", "cvmfs gpu", '{"offers": ["cvmfs", "gpu"]}', Eligibility.YES),
        ("", "gpu", "gpu", '{"offers": []}', Eligibility.NO),
        ("*", "cvmfs", "cvmfs gpu", "", Eligibility.UNKNOWN),
        ("*", "cvmfs", "cvmfs gpu", "damaged", Eligibility.UNKNOWN),
    ],
)
def test_pools_that_take_certain_jobs(
    batch: SandboxBatch, jobs: str, offers: str, wants: str, template: str, answer: Eligibility
) -> None:
    (found,) = batch.judge([wants], batch.narrowed(template, jobs, offers))
    assert found.answer is answer
    assert judgement_faults((found,), 1) == []


@pytest.mark.parametrize("text", ["a b", "a,", ","])
def test_words_that_are_none(batch: SandboxBatch, text: str) -> None:
    with pytest.raises(BatchError, match="is no list of words"):
        batch.narrowed("", text, "")
    with pytest.raises(BatchError, match="is no list of words"):
        batch.narrowed("", "", text)
