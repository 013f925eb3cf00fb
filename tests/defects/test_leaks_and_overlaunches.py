"""Defects that left VMs nobody knew, or made too many of them."""

from __future__ import annotations

import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from elastiq.errors import CloudFault, StateError
from elastiq.memory import Memory, VmRecord
from elastiq.model import InstanceState
from elastiq.process.pidfile import find_daemon
from elastiq.state import State, read_report
from tests.defects.conftest import HeadNode, RigOnEc2
from tests.process.conftest import LONG
from tests.testbed.proxy import Ec2Endpoint
from tests.unit.fakes import settings_with
from tests.unit.rig import SETTINGS, Rig


def until(condition: Any, endpoint: Ec2Endpoint) -> None:
    for _ in range(int(LONG / 0.05)):
        if condition():
            return
        endpoint.wait(0.05)
    raise AssertionError("waited in vain")


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_signal_within_a_batch_of_launches(head: HeadNode, endpoint: Ec2Endpoint, signal_number: int) -> None:
    """SIGTERM or SIGKILL in a batch of 10 launches left 6 running VMs that no file knows"""
    endpoint.launch_seconds_per_vm = 0.15
    head.api_url = endpoint.url
    head.configure("[quota]\nmin_vms = 10\nmax_vms = 10")
    assert head.ctl("start")[0] == 0
    until(lambda: len(endpoint.alive()) >= 4, endpoint)
    pid = find_daemon(head.state)
    assert pid
    os.kill(pid, signal_number)
    until(lambda: find_daemon(head.state) is None, endpoint)
    assert head.ctl("start")[0] == 0

    def all_are_known() -> bool:
        report = read_report(head.state) or {}
        return report.get("vms_running") == 10 and not report.get("vms_pending") and report.get("pid") != pid

    until(all_are_known, endpoint)
    assert head.ctl("stop")[0] == 0
    assert (len(endpoint.alive()), endpoint.max_alive) == (10, 10)


@pytest.mark.parametrize("fault", [{"lose_answer": True}, {"body": "<html>", "after_effect": True}])
def test_answer_to_a_launch_lost_or_malformed_twice(
    tmp_path: Path, endpoint: Ec2Endpoint, fault: dict[str, Any]
) -> None:
    """an answer to RunInstances lost or malformed twice left 2 unowned"""
    rig = RigOnEc2(tmp_path, endpoint, max_vms=4)
    endpoint.inject("RunInstances", times=2, **fault)
    rig.wait_for_jobs(100)
    rig.run(900)
    assert endpoint.max_alive == 4
    assert set(rig.core.memory.vms) == {vm.id for vm in endpoint.alive()}
    rig.state.close()


def test_one_empty_listing(rig: Rig) -> None:
    """one empty DescribeInstances answer emptied the ownership file for good"""
    rig.wait_for_jobs(12)
    rig.run(60)
    owned = set(rig.cloud.alive)
    rig.cloud.hidden = owned
    rig.run(50)
    assert all(record.missing_since for record in rig.core.memory.vms.values())
    rig.cloud.hidden = set()
    rig.start()
    rig.run(50)
    assert set(rig.core.memory.vms) == owned
    assert all(record.missing_since is None for record in rig.core.memory.vms.values())


def test_api_error_during_the_check_for_vms_that_never_joined(tmp_path: Path) -> None:
    """an API error during the never-joined check meant no check ever again"""
    rig = Rig(tmp_path, settings_with(SETTINGS, estimated_vm_deploy_time_s=120, min_vms=1))
    rig.run(5)
    rig.cloud.run()
    rig.run(110)
    rig.cloud.fault = CloudFault.UNREACHABLE
    rig.run(100)
    assert not rig.cloud.terminations
    rig.cloud.fault = None
    rig.run(100)
    assert rig.cloud.terminations == [("i-00000001",)]
    rig.state.close()


def test_restart_with_two_pending_at_the_maximum(tmp_path: Path) -> None:
    """a restart with 2 VMs pending at max 2 made 4"""
    rig = Rig(tmp_path, settings_with(SETTINGS, max_vms=2))
    rig.wait_for_jobs(100)
    rig.run(60)
    assert rig.cloud.launches == [2]
    rig.start()
    rig.run(300)
    assert rig.cloud.launches == [2]
    rig.state.close()


def test_two_daemons_at_once(head: HeadNode, endpoint: Ec2Endpoint) -> None:
    """two daemons at once made 8 for 4"""
    head.api_url = endpoint.url
    head.configure("[quota]\nmin_vms = 4\nmax_vms = 8")
    daemons = [head.foreground(f"--logdir={head.logs}") for _ in range(2)]
    try:
        until(lambda: any(process.poll() is not None for process in daemons), endpoint)
        head.wait_for("of 4..8: nothing to do")
        refused, running = sorted(daemons, key=lambda process: process.poll() is None)
        assert running.poll() is None
        assert head.finish(refused)[1].startswith("elastiq is already running")
        assert endpoint.max_alive == 4
        running.terminate()
        assert head.finish(running)[0] == 0
    finally:
        for process in daemons:
            process.kill()


def test_garbage_in_the_state_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """garbage in the state file was accepted and overwritten"""
    content = b"i-0123456789abcdef0\n\xff\x00garbage\ni-\nami-12345678\ni-0123456g\n  i-00000001  \n"
    (tmp_path / "state").write_bytes(content)
    state = State(tmp_path, 1000.0)
    memory = state.adopt_legacy(state.load(1000.0), 1000.0)
    state.close()
    assert set(memory.vms) == {"i-0123456789abcdef0", "i-00000001"}
    assert caplog.text.count("not an instance id") == 4
    assert (tmp_path / "state.imported").read_bytes() == content

    # The same of the database that has taken its place: it is kept for whoever wants to see it.
    (tmp_path / "elastiq.db").write_bytes(b"garbage" * 1000)
    state = State(tmp_path, 1001.0)
    state.close()
    assert (tmp_path / "elastiq.db.damaged-1001").read_bytes() == b"garbage" * 1000


def test_full_disk(tmp_path: Path) -> None:
    """on a full disk the last id was cut in half"""
    state = State(tmp_path, 1000.0)
    before = Memory(vms={"i-00000001": VmRecord("i-00000001", joined_at=900.0)})
    state.save(before)
    with state.database.transaction() as execute:
        pages = execute("PRAGMA page_count", ()).fetchone()[0]  # type: ignore[attr-defined]
        execute(f"PRAGMA max_page_count = {pages}", ())
    many = {f"i-{number:08x}": VmRecord(f"i-{number:08x}") for number in range(2000)}
    with pytest.raises(StateError, match="full"):
        state.save(Memory(vms=many))
    state.close()
    state = State(tmp_path, 1000.0)
    assert state.load(1000.0) == before
    state.close()


def test_joined_vm_is_counted_once(tmp_path: Path) -> None:
    """a launched-and-joined VM was counted twice until the deploy time had passed
    (max 4 stayed at 2 with 10 jobs waiting)"""
    rig = Rig(tmp_path, settings_with(SETTINGS, max_vms=4, min_vms=2, n_jobs_per_vm=1))
    rig.run(5)
    rig.join_all(jobs=1)
    for worker in rig.batch.joined or ():
        rig.batch.joined[worker] = replace(
            rig.batch.joined[worker], free=replace(rig.batch.joined[worker].free, cpus=0)
        )
    rig.wait_for_jobs(10)
    rig.run(120)
    assert rig.clock.now() < 1_000_000 + rig.settings.elastiq.estimated_vm_deploy_time_s
    assert len(rig.cloud.alive) == 4
    rig.state.close()


def test_failed_termination_is_retried_soon(rig: Rig) -> None:
    """one failed TerminateInstances was retried only after another whole idle time"""
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=301)
    rig.cloud.refuse_terminate = True
    while not rig.cloud.terminations:
        rig.run(5)
    rig.cloud.refuse_terminate = False
    rig.run(60)
    assert rig.settings.elastiq.idle_for_time_s == 300
    assert not rig.cloud.alive


def test_dead_vm_is_terminated_once(rig: Rig) -> None:
    """and a dead VM was terminated again every 10 s"""
    rig.wait_for_jobs(8)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=301)
    for id_ in rig.cloud.alive[:1]:
        # One dies by itself; the other is terminated and then stays listed, in either state, for a long time.
        rig.cloud.vms[id_] = replace(rig.cloud.vms[id_], state=InstanceState.TERMINATED)
    terminate = rig.cloud.terminate

    def linger(ids: list[str]) -> tuple[str, ...]:
        accepted = terminate(ids)
        for id_ in ids:
            rig.cloud.vms[id_] = replace(rig.cloud.vms[id_], state=InstanceState.STOPPING)
        return accepted

    rig.cloud.terminate = linger  # type: ignore[method-assign]
    rig.run(2 * 3600)
    assert Counter(id_ for ids in rig.cloud.terminations for id_ in ids) == {"i-00000002": 1}
