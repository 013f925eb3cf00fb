"""Defects that killed jobs, or VMs that were nobody's business."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from elastiq import clock
from elastiq.model import Instance, InstanceState, Worker
from elastiq.plugins import Closing
from elastiq.plugins.htcondor_parse import parse_machines
from tests.unit.plugins.condor import slot
from tests.unit.rig import Rig


def joined(rig: Rig, vms: int, jobs: int = 0, idle_seconds: float = 0.0) -> None:
    """Let so many VMs be launched and join."""
    rig.wait_for_jobs(4 * vms)
    rig.run(70)
    rig.wait_for_jobs(0)
    rig.join_all(jobs=jobs, idle_seconds=idle_seconds)
    rig.run(50)
    assert len(rig.cloud.alive) == vms


def test_slot_busy_between_look_and_termination(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """a slot that turned busy between condor_status and TerminateInstances was killed 0.45 s later"""
    joined(rig, 1)
    rig.join_all(idle_seconds=301)
    workers, asked = rig.batch.workers, []

    def answer_then_start_a_job() -> tuple[Worker, ...]:
        answer = workers()
        rig.join_all(jobs=1)
        asked.append(answer)
        return answer

    monkeypatch.setattr(rig.batch, "workers", answer_then_start_a_job)
    rig.run(200)
    assert any(worker.idle_seconds and worker.idle_seconds > 300 for answer in asked for worker in answer)
    assert ("close", "i-00000001") in rig.batch.calls
    assert not rig.cloud.terminations


def test_claimed_idle_slot() -> None:
    """Claimed/Idle slots killed"""
    idle, claimed = (
        parse_machines(json.dumps([slot(State=state, Activity="Idle")])) for state in ("Unclaimed", "Claimed")
    )
    assert (idle[0].worker.jobs, idle[0].worker.idle_seconds is None) == (0, False)
    assert (claimed[0].worker.jobs, claimed[0].worker.idle_seconds) == (1, None)


def test_short_job_between_two_looks(rig: Rig) -> None:
    """a 2 s job between two 5 s polls did not reset the idle timer"""
    joined(rig, 1)
    for _ in range(30):
        # No look ever sees the job, but the batch system's own clock says for how long there was none.
        rig.join_all(idle_seconds=3)
        rig.run(45)
    assert not rig.cloud.terminations


def test_idle_vms_of_others(rig: Rig) -> None:
    """idle VMs that elastiq does not own were terminated (5 of 5)"""
    rig.cloud.launch(rig.settings.policy().pools[0], 5, "theirs")
    rig.cloud.vms = {id_: replace(vm, cluster="") for id_, vm in rig.cloud.vms.items()}
    rig.join_all(idle_seconds=99_999)
    rig.run(4 * 3600)
    assert len(rig.cloud.alive) == 5
    assert not [call for call, _ in rig.batch.calls if call == "close"]


def test_foreign_vm_with_the_same_private_address(rig: Rig) -> None:
    """a foreign VM with the same private IP"""
    joined(rig, 1)
    own = "i-00000001"
    rig.cloud.vms[own] = replace(rig.cloud.vms[own], address="10.0.0.9")
    rig.cloud.vms["i-foreign"] = Instance("i-foreign", InstanceState.RUNNING, address="10.0.0.9")
    rig.batch.joined = {"node": Worker("node", address="10.0.0.9", idle_seconds=301.0)}
    rig.run(3 * 3600)
    assert "i-foreign" in rig.cloud.alive
    assert all(ids == (own,) for ids in rig.cloud.terminations)


def test_new_vm_with_the_address_of_a_stale_ad(rig: Rig) -> None:
    """a new VM that reused the IP of a stale ad"""
    stale = Worker("earlier", address="10.0.0.9", idle_seconds=5000.0)
    rig.batch.joined = {"earlier": stale}
    rig.wait_for_jobs(4)
    rig.run(70)
    rig.wait_for_jobs(0)
    rig.cloud.run()
    rig.cloud.vms["i-00000001"] = replace(rig.cloud.vms["i-00000001"], address="10.0.0.9")
    rig.run(100)
    assert not rig.cloud.terminations, "while it boots"
    rig.batch.joined["new"] = Worker("new", address="10.0.0.9", jobs=1)
    rig.run(400)
    rig.batch.joined["new"] = Worker("new", address="10.0.0.9", idle_seconds=5.0)
    rig.run(100)
    assert not rig.cloud.terminations, "nor with both ads there"


def test_restart_while_condor_status_fails(rig: Rig) -> None:
    """after a restart while condor_status failed, three owned busy VMs were terminated as "never joined\""""
    joined(rig, 3, jobs=4)
    rig.batch.jobs = rig.batch.joined = None
    rig.start()
    rig.run(5 * 3600)
    assert len(rig.cloud.alive) == 3
    assert not rig.cloud.terminations


class Time:
    """Replaces the module `time` of elastiq.clock: the wall clock can be set, the monotonic one only goes on."""

    def __init__(self) -> None:
        self.passed_seconds = 1000.0
        self.wall_ahead_seconds = 1_700_000_000.0

    def time(self) -> float:
        return self.passed_seconds + self.wall_ahead_seconds

    def monotonic(self) -> float:
        return self.passed_seconds


@pytest.fixture
def stepped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Rig, Time, Callable[[float], None]]:
    """A Core with the real Clock on a time that can step, and how to let seconds pass."""
    time = Time()
    monkeypatch.setattr(clock, "time", time)
    rig = Rig(tmp_path)
    rig.clock = clock.Clock()  # type: ignore[assignment]
    rig.start()

    def run(seconds: float) -> None:
        for _ in range(int(seconds)):
            rig.core.step()
            time.passed_seconds += 1

    return rig, time, run


def test_clock_step_forward_and_an_idle_vm(stepped: tuple[Rig, Time, Callable[[float], None]]) -> None:
    """a clock step of +3700 s killed a VM idle for 3 s"""
    rig, time, run = stepped
    rig.wait_for_jobs(4)
    run(70)
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=3)
    run(50)
    time.wall_ahead_seconds += 3700
    run(100)
    assert len(rig.cloud.alive) == 1
    assert not rig.cloud.terminations


def test_clock_step_forward_and_a_booting_vm(stepped: tuple[Rig, Time, Callable[[float], None]]) -> None:
    """and a booting one"""
    rig, time, run = stepped
    rig.wait_for_jobs(4)
    run(70)
    assert len(rig.cloud.alive) == 1
    time.wall_ahead_seconds += 3700
    run(100)
    assert not rig.cloud.terminations


def test_clock_step_back(stepped: tuple[Rig, Time, Callable[[float], None]]) -> None:
    """a step of -3600 s stalled the daemon"""
    rig, time, run = stepped
    run(30)
    time.wall_ahead_seconds -= 3600
    rig.wait_for_jobs(4)
    run(70)
    assert rig.cloud.launches == [1]


def test_a_job_that_gets_in_first_is_told_by_the_batch_system(rig: Rig) -> None:
    """The rule behind all of these: without CLOSED from the batch system nothing is terminated."""
    joined(rig, 1)
    rig.join_all(idle_seconds=301)
    rig.batch.close = lambda worker: Closing.BUSY  # type: ignore[method-assign]
    rig.run(3 * 3600)
    assert not rig.cloud.terminations
