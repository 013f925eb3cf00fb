"""No job is lost or started twice while workers are closed, and those that closed lose their power, at any moment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from elastiq.config import Settings
from elastiq.model import Worker
from elastiq.plugins import Closing
from elastiq.plugins.sandbox import SandboxBatch, create
from elastiq.plugins.sections import SandboxOptions
from elastiq.sandbox.spool import Job, Spool

PATIENCE_SECONDS = 60


class Machines:
    """Worker processes, each in a process group of its own, as a VM is."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> str:
        instance_id = f"i-{len(self._processes):08x}"
        command = [sys.executable, "-m", "elastiq.sandbox.worker", f"--spool={self._spool.directory}"]
        command += [f"--name=worker-{len(self._processes)}", f"--instance-id={instance_id}", "--look-every-s=0.005"]
        self._processes[instance_id] = subprocess.Popen(command, start_new_session=True)
        return instance_id

    def kill(self, instance_id: str) -> None:
        process = self._processes[instance_id]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def kill_all(self) -> None:
        for instance_id in self._processes:
            self.kill(instance_id)

    def returncode(self, instance_id: str) -> int:
        return self._processes[instance_id].wait(PATIENCE_SECONDS)

    def terminate(self, instance_id: str) -> None:
        self._processes[instance_id].terminate()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool")
    spool.create()
    return spool


@pytest.fixture
def batch(spool: Spool) -> SandboxBatch:
    return create(Settings(plugins=(SandboxOptions(spool_dir=spool.directory),)))


@pytest.fixture
def machines(spool: Spool) -> Iterator[Machines]:
    machines = Machines(spool)
    yield machines
    machines.kill_all()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_SECONDS} s in vain: {what}"
        time.sleep(0.005)


def wait_for_worker(batch: SandboxBatch, instance_id: str) -> Worker:
    found: list[Worker] = []

    def is_listed() -> bool:
        found[:] = [worker for worker in batch.workers() if worker.instance_id == instance_id]
        return bool(found)

    wait_until(is_listed, f"{instance_id} to join")
    return found[0]


def wait_until_all_done(spool: Spool, jobs: int) -> list[Job]:
    wait_until(lambda: len(spool.files("done")) == jobs, f"{jobs} jobs to be done")
    return spool.jobs("done")


def test_vms_that_closed_can_go_at_any_moment(spool: Spool, batch: SandboxBatch, machines: Machines) -> None:
    chance = random.Random(7)
    answers = {Closing.CLOSED: 0, Closing.BUSY: 0}
    instance_id = machines.start()
    jobs = 0
    while min(answers.values()) < 40:
        worker = wait_for_worker(batch, instance_id)
        spool.submit(Job("new", ["sleep", "0.02"]))
        jobs += 1
        time.sleep(chance.uniform(0, 0.02))
        answer = batch.close(worker)
        answers[answer] += 1
        if answer is Closing.CLOSED:
            machines.kill(instance_id)
            batch.forget(worker)
            instance_id = machines.start()
        else:
            wait_until_all_done(spool, jobs)
        assert sum(answers.values()) < 1000, answers
    done = wait_until_all_done(spool, jobs)
    assert {job.starts for job in done} == {1}
    assert {job.exit_code for job in done} == {0}


def test_a_busy_vm_without_power_gives_its_job_back(
    spool: Spool, batch: SandboxBatch, machines: Machines, tmp_path: Path
) -> None:
    first = machines.start()
    worker = wait_for_worker(batch, first)
    again = tmp_path / "again"
    spool.submit(Job("new", ["sh", "-c", f"test -e {again} && exit; touch {again}; exec sleep 600"]))
    wait_until(again.exists, "the job to start")
    assert batch.close(worker) is Closing.BUSY
    assert batch.demand() == ()
    machines.kill(first)
    wait_until(lambda: [demand.jobs for demand in batch.demand()] == [1], "the job to wait again")
    assert batch.close(worker) is Closing.CLOSED
    machines.start()
    (job,) = wait_until_all_done(spool, 1)
    assert (job.starts, job.worker) == (2, "worker-1")


def test_sigterm_lets_the_running_job_end(spool: Spool, machines: Machines, tmp_path: Path) -> None:
    instance_id = machines.start()
    started, may_end = tmp_path / "started", tmp_path / "may-end"
    spool.submit(Job("new", ["sh", "-c", f"touch {started}; until test -e {may_end}; do sleep 0.05; done"]))
    wait_until(started.exists, "the job to start")
    machines.terminate(instance_id)
    spool.submit(Job("new", ["true"]))
    may_end.touch()
    assert machines.returncode(instance_id) == 0
    assert [job.id for job in spool.jobs("done")] == ["000001"]
    assert [job.id for job in spool.jobs("queue")] == ["000002"]


def test_a_forgotten_worker_leaves(batch: SandboxBatch, machines: Machines) -> None:
    instance_id = machines.start()
    worker = wait_for_worker(batch, instance_id)
    assert batch.close(worker) is Closing.CLOSED
    batch.forget(worker)
    assert machines.returncode(instance_id) == 0
    assert batch.workers() == ()


def test_a_name_that_is_taken_is_refused(spool: Spool, batch: SandboxBatch, machines: Machines) -> None:
    wait_for_worker(batch, machines.start())
    command = [sys.executable, "-m", "elastiq.sandbox.worker", f"--spool={spool.directory}", "--name=worker-0"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert result.returncode == 1
    assert "is already there" in result.stderr


def test_a_command_that_is_not_there_ends_its_job(spool: Spool, machines: Machines) -> None:
    machines.start()
    spool.submit(Job("new", ["no-such-command-anywhere"]))
    (job,) = wait_until_all_done(spool, 1)
    assert job.exit_code == 127
