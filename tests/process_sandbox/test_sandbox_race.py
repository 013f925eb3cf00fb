"""No job is lost or started twice while workers are closed, and those that closed lose their power, at any moment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastiq.config import Settings
from elastiq.model import Worker
from elastiq.plugins import Closing
from elastiq.plugins.sandbox import Job, SandboxBatch, Spool, create

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
    return create(Settings(sandbox_spool_dir=spool.directory))


@pytest.fixture
def machines(spool: Spool) -> Iterator[Machines]:
    machines = Machines(spool)
    yield machines
    machines.kill_all()


def wait_for_worker(batch: SandboxBatch, instance_id: str) -> Worker:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        for worker in batch.workers():
            if worker.instance_id == instance_id:
                return worker
        assert time.monotonic() < deadline, f"{instance_id} did not join"
        time.sleep(0.005)


def wait_until_all_done(spool: Spool, jobs: int) -> list[Job]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        done = spool.jobs("done")
        if len(done) == jobs:
            return done
        assert time.monotonic() < deadline, f"{len(done)} of {jobs} jobs are done"
        time.sleep(0.02)


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


def test_a_busy_vm_without_power_gives_its_job_back(spool: Spool, batch: SandboxBatch, machines: Machines) -> None:
    first = machines.start()
    worker = wait_for_worker(batch, first)
    spool.submit(Job("new", ["sleep", "1"]))
    while wait_for_worker(batch, first).jobs == 0:
        time.sleep(0.01)
    assert batch.demand() == ()
    machines.kill(first)
    assert [demand.jobs for demand in batch.demand()] == [1]
    assert batch.close(worker) is Closing.CLOSED
    machines.start()
    (job,) = wait_until_all_done(spool, 1)
    assert (job.starts, job.worker) == (2, "worker-1")


def test_sigterm_lets_the_running_job_end(spool: Spool, batch: SandboxBatch, machines: Machines) -> None:
    instance_id = machines.start()
    spool.submit(Job("new", ["sleep", "0.5"]))
    while wait_for_worker(batch, instance_id).jobs == 0:
        time.sleep(0.01)
    machines.terminate(instance_id)
    spool.submit(Job("new", ["true"]))
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
