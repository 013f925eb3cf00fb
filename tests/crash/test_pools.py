"""Several pools in one cluster: each job on a VM that can run it, whatever becomes of the daemon meanwhile."""

from __future__ import annotations

import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from elastiq.sandbox.spool import Job
from tests.crash.launcher import QUICK, Order
from tests.crash.rig import Head, Site, head_node, wait_until
from tests.testbed.proxy import Dialect

KINDS = {"small": "cpus=1", "large": "cpus=4", "gpu": "cpus=2;offers=gpu"}
MOST = {"small": 3, "large": 2, "gpu": 2}


def sections(head: Head, *names: str) -> str:
    """Return the sections of these pools, in this order, and write what their VMs do at boot."""
    text = ""
    for name in names:
        script = head.directory / f"{name}-user-data"
        script.write_text(head.user_data(KINDS[name]))
        script.chmod(0o600)
        text += f"[pool {name}]\nmax_vms = {MOST[name]}\nflavour = {name}\nuser_data_file = {script}\n"
    return text


def configure(head: Head, *names: str) -> None:
    times = {"idle_for_time_s": 1, "n_jobs_per_vm": None}
    head.configure(max_vms=6, pools=sections(head, *names), **times)


def submit(head: Head, seconds: float) -> None:
    """Submit jobs of three kinds: those that any VM can run, those that a large one can, and those that need a GPU."""
    for wanted in (Job("new", []), Job("new", [], cpus=3), Job("new", [], needs=["gpu"])):
        for _ in range(4):
            head.spool.submit(Job("new", ["sleep", str(seconds)], cpus=wanted.cpus, needs=wanted.needs))
            head.submitted += 1


def check(head: Head, site: Site) -> None:
    """See that every job ran once, on a VM that could run it, and that no pool ever had too many."""
    head.check_jobs()
    kinds = {vm.id: vm.tags["elastiq:pool"] for vm in site.cloud.vms.values()}
    ran = Counter((job.cpus, *job.needs, kinds[job.worker]) for job in head.spool.jobs("done"))
    assert {kind for kind in ran if kind[0] == 3} == {(3, "large")}
    assert {kind for kind in ran if "gpu" in kind[1:-1]} == {(1, "gpu", "gpu")}
    assert all(f";{KINDS[kinds[vm.id]]};".encode() in vm.user_data for vm in site.cloud.vms.values())
    launches = site.cloud.operations("RunInstances")
    assert {request.parameters["InstanceType"] for request in launches} == set(kinds.values())
    assert site.cloud.max_alive <= 6


@pytest.mark.parametrize("dialect", ["aws", "openstack"])
def test_each_job_runs_on_a_vm_of_a_pool_that_can_run_it(dialect: Dialect, tmp_path: Path) -> None:
    with Site() as site:
        site.prepare(dialect)
        with head_node(tmp_path / "head", site, "pools") as head:
            configure(head, *KINDS)
            submit(head, 0.5)
            head.start(Order(constants=QUICK))
            head.wait_until_quiet()
            head.stop()
            check(head, site)


def test_each_job_runs_once_though_the_daemon_is_killed_again_and_again(tmp_path: Path) -> None:
    random_ = random.Random(7)
    with Site() as site:
        site.prepare("aws")
        with head_node(tmp_path / "head", site, "pools") as head:
            configure(head, *KINDS)
            submit(head, 1.0)
            for _ in range(6):
                head.start(Order(constants=QUICK))
                wait_until(head.has_started, "the daemon to start", head.story)
                seen, more = len(site.cloud.requests), random_.randint(1, 12)
                wait_until(lambda: len(site.cloud.requests) >= seen + more, "requests", head.story)  # noqa: B023
                head.kill()
            head.start(Order(constants=QUICK))
            head.wait_until_quiet()
            head.stop()
            check(head, site)


def test_pools_come_and_go_while_vms_of_them_live(tmp_path: Path) -> None:
    with Site() as site:
        site.prepare("aws")
        with head_node(tmp_path / "head", site, "pools") as head:
            configure(head, "small")
            head.spool.submit(Job("new", ["sh", "-c", f"until test -e {tmp_path / 'go'}; do sleep 0.1; done"]))
            head.submitted += 1
            process = head.start(Order(constants=QUICK))
            wait_until(lambda: not head.spool.files("queue"), "a job on the small pool", head.story)
            configure(head, "gpu", "large")
            process.send_signal(signal.SIGHUP)
            submit(head, 0.2)
            wait_until(lambda: head.done() == head.submitted - 1, "the jobs on other pools", head.story)
            assert not [vm for vm in site.cloud.vms.values() if vm.ended and vm.tags["elastiq:pool"] == "small"]
            (tmp_path / "go").touch()
            head.wait_until_quiet()
            head.stop()
            check(head, site)
