"""Defects that stopped the daemon, for a while or for good."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from elastiq import command
from elastiq.errors import BatchError
from elastiq.model import InstanceState, Worker
from elastiq.plugins.htcondor import HTCondor
from tests.defects.conftest import HeadNode
from tests.process.conftest import LONG
from tests.testbed.proxy import Ec2Endpoint
from tests.unit.fakes import settings_with
from tests.unit.rig import SETTINGS, Rig


def test_api_refuses_connections(head: HeadNode) -> None:
    """API refusing connections: the first queue check came after 253 s"""
    (head.home / "fail").write_text("the queue is looked at")
    assert head.ctl("start")[0] == 0
    head.wait_for("queue check failed: the queue is looked at")
    head.wait_for("VM check failed: DescribeInstances")
    assert head.ctl("stop")[0] == 0


def test_describe_instances_hangs(head: HeadNode, silent_cloud: tuple[str, threading.Event]) -> None:
    """DescribeInstances hanging: no queue check in 270 s"""
    head.api_url, asked = silent_cloud
    head.configure()
    assert head.ctl("start")[0] == 0
    assert asked.wait(LONG)
    (head.home / "fail").write_text("the queue is looked at meanwhile")
    head.wait_for("the queue is looked at meanwhile")
    assert head.ctl("stop")[0] == 0


def test_condor_q_hangs(head: HeadNode, endpoint: Ec2Endpoint) -> None:
    """a hanging condor_q: 246 s in which nothing else runs"""
    head.api_url = endpoint.url
    head.configure()
    (head.home / "hang").touch()
    assert head.ctl("start")[0] == 0
    head.wait_for("queue check failed: batch system: the queue check has not answered for ")
    before = len(endpoint.operations("DescribeInstances"))
    for _ in range(int(LONG / 0.05)):
        if len(endpoint.operations("DescribeInstances")) > before:
            break
        endpoint.wait(0.05)
    assert len(endpoint.operations("DescribeInstances")) > before
    assert head.ctl("stop")[0] == 0


def test_grandchild_that_holds_the_pipe(tmp_path: Path) -> None:
    """and a grandchild holding the pipe defeats its timeout"""
    mark = tmp_path / "pid"
    for seconds in (0.5, 5.0, 50.0):
        with pytest.raises(BatchError, match=rf"within {seconds:g} s and was killed"):
            command.run(["sh", "-c", f"sleep 600 & echo $! >{mark}.new; mv {mark}.new {mark}; exit 0"], seconds)
        if mark.exists():  # on a busy machine the shell may not come so far at first
            break
    grandchild = Path(f"/proc/{mark.read_text().strip()}/stat")
    for _ in range(int(LONG / 0.05)):
        try:
            if grandchild.read_text().split()[2] == "Z":
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.05)
    raise AssertionError("the grandchild still runs")


def test_unresolvable_worker_name(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """an unresolvable worker name"""
    resolved = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **_: resolved.append(arguments))
    monkeypatch.setattr(socket, "gethostbyname", lambda *arguments: resolved.append(arguments))
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    assert rig.batch.joined is not None
    rig.batch.joined["no.such.host.invalid"] = Worker("no.such.host.invalid", idle_seconds=9999.0)
    rig.join_all(idle_seconds=301)
    rig.run(100)
    assert rig.cloud.terminations == [("i-00000001",)], "the daemon goes on with its other workers"
    assert not resolved


def test_vm_in_error_is_seen_twice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """an error VM checked twice in a pass"""
    rig = Rig(tmp_path, settings_with(SETTINGS, min_vms=1))
    rig.run(5)
    failed = replace(rig.cloud.vms["i-00000001"], state=InstanceState.ERROR)
    rig.cloud.vms["i-00000001"] = failed
    listing = rig.cloud.list_instances
    rig.cloud.list_instances = lambda **options: (*listing(**options), *listing(**options))  # type: ignore[method-assign]
    rig.run(200)
    assert rig.cloud.terminations == [("i-00000001",)]
    assert "defect" not in caplog.text
    rig.state.close()


def test_dry_run_with_a_vm_in_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """dry run with an error VM: traceback, daemon gone"""
    rig = Rig(tmp_path, settings_with(SETTINGS, min_vms=1, dry_run_shutdown_vms=True))
    rig.run(5)
    rig.cloud.vms["i-00000001"] = replace(rig.cloud.vms["i-00000001"], state=InstanceState.ERROR)
    rig.run(600)
    assert not rig.cloud.terminations
    assert "defect" not in caplog.text
    listed_before = len(rig.batch.calls)
    rig.run(60)
    assert len(rig.batch.calls) > listed_before, "the daemon goes on"
    rig.state.close()


def test_empty_output_of_condor_q(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """empty output of condor_q with exit 0 taken as 0 jobs"""
    for name, script in {
        "condor_status": 'echo "schedd-a@"',
        "condor_q": "exit 0",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BatchError):
        HTCondor("cli", 10.0).demand()
