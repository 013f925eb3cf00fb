"""The demonstration says that all is well only if it is."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rich", reason="the demonstration needs rich: pip install -e '.[sandbox]'")

from elastiq.clock import Clock
from elastiq.sandbox.demo import FIRST_WAVE, SECOND_WAVE, Demo, DemoError
from elastiq.sandbox.screen import PlainScreen
from elastiq.sandbox.spool import Job, Spool

JOBS = len(FIRST_WAVE) + len(SECOND_WAVE)


class Account:
    """The endpoint's account of a good demonstration, to be spoilt."""

    def __init__(self) -> None:
        self.launched_at = {f"i-{number}": 10.0 for number in range(6)}
        self.terminated_at = {f"i-{number}": 20.0 for number in range(6)}
        self.most_vms = 5
        self.states = dict.fromkeys(self.launched_at, "terminated")

    def statistics(self) -> dict[str, Any]:
        requests = {"RunInstances": 2, "TerminateInstances": 3}
        times = {"launched_at": self.launched_at, "terminated_at": self.terminated_at}
        return {"requests": requests, "most_vms": self.most_vms, **times}

    def instances(self) -> list[tuple[str, str, str]]:
        return [(id_, "10.0.0.1", state) for id_, state in self.states.items()]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool")
    spool.create()
    for number in range(1, JOBS + 1):
        spool.write(Job(f"{number:06d}", ["true"], starts=1, exit_code=0), "done")
    spool.write(Job("000098", ["true"], cpus=64), "queue")
    spool.write(Job("000099", ["true"], needs=["gpu"]), "queue")
    return spool


def summary(spool: Spool, account: Account, exit_code: int = 0) -> str:
    return Demo(spool.directory.parent, PlainScreen(), Clock()).summary(account, exit_code)  # type: ignore[arg-type]


def test_a_good_run_is_told_in_one_line(spool: Spool) -> None:
    line = summary(spool, Account())
    assert line.startswith("24 jobs done, each started once; 6 VMs launched by 2 RunInstances, terminated by 3 ")
    assert "5 at once (max 5); 60 VM-seconds in" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("job", "problem"),
    [
        (Job("000001", ["true"], starts=2, exit_code=0), "started more than once"),
        (Job("000001", ["true"], starts=1, exit_code=-9), "killed"),
        (Job("000100", ["true"], starts=1, exit_code=0), "jobs are missing"),
    ],
)
def test_a_job_that_went_wrong_is_a_failure(spool: Spool, job: Job, problem: str) -> None:
    (spool.directory / "done" / f"{job.id}.json").write_text(json.dumps(asdict(job)))
    with pytest.raises(DemoError, match=problem):
        summary(spool, Account())


@pytest.mark.parametrize("id_", ["000098", "000099"])
def test_a_job_that_ran_where_none_could_is_a_failure(spool: Spool, id_: str) -> None:
    (spool.directory / "queue" / f"{id_}.json").unlink()
    with pytest.raises(DemoError, match="the jobs that no VM could run did not stay in the queue"):
        summary(spool, Account())


def test_too_many_vms_are_a_failure(spool: Spool) -> None:
    account = Account()
    account.most_vms = 6
    with pytest.raises(DemoError, match="6 VMs at once are more than 5"):
        summary(spool, account)


def test_a_vm_left_behind_is_a_failure(spool: Spool) -> None:
    account = Account()
    account.states["i-3"] = "running"
    with pytest.raises(DemoError, match="VMs are left behind: i-3"):
        summary(spool, account)


def test_a_vm_that_nobody_terminated_is_a_failure(spool: Spool) -> None:
    account = Account()
    del account.terminated_at["i-3"]
    with pytest.raises(DemoError, match="not all terminated by request"):
        summary(spool, account)


def test_a_daemon_that_ends_badly_is_a_failure(spool: Spool) -> None:
    with pytest.raises(DemoError, match="the daemon ended with code 1"):
        summary(spool, Account(), exit_code=1)
