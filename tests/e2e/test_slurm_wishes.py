"""What decides where jobs run, on a real Slurm: what the plugin says of jobs and nodes is what Slurm does with them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.harness import PluginOnHead
from tests.testbed.batch import wait_until
from tests.testbed.machines import Network
from tests.testbed.rootfs import JOB_USER
from tests.testbed.slurm_pool import SlurmPool

CYCLE_SECONDS = 2.0
"""Of the testbed's scheduler."""
OTHER_NODES = ("ReqNodeNotAvail", "Nodes required for job are DOWN", "BadConstraints")
FAST, SLOW, BROKEN = "i-00000001", "i-00000002", "i-00000003"
CONFIGURATION = """
GresTypes=gpu,nic
Licenses=fluent:2
NodeName=template-f[1-4] CPUs=4 RealMemory=4000 Feature=fast,both Gres=gpu:a100:2,nic:4 State=FUTURE
NodeName=template-s[1-4] CPUs=4 RealMemory=4000 Feature=slow,both Gres=gpu:3090:1 State=FUTURE
NodeSet=slow Feature=slow
PartitionName=short Nodes=ALL MaxNodes=2 MaxTime=10 MaxCPUsPerNode=2 MaxMemPerNode=1500 State=UP
PartitionName=off Nodes=ALL State=DOWN
PartitionName=whole Nodes=ALL OverSubscribe=EXCLUSIVE State=UP
PartitionName=slow Nodes=slow State=UP
"""
GRES = f"""\
NodeName={FAST} Name=gpu Type=a100 File=/dev/null
NodeName={FAST} Name=gpu Type=a100 File=/dev/zero
NodeName={FAST} Name=nic Count=4 Flags=CountOnly
NodeName={SLOW} Name=gpu Type=3090 File=/dev/null
"""
"""Of GPUs that nobody uses any device will do."""


class Cluster:
    """One node of each kind, and the plugin on the head node."""

    def __init__(self, batch: SlurmPool, plugin: PluginOnHead) -> None:
        self.batch, self.plugin = batch, plugin

    def demand(self, *jobs: str) -> list[dict[str, Any]]:
        """Return the demand of `jobs`, options of sbatch each, while no node is open; remove them again."""
        for options in jobs:
            self.batch.submit(1, 3600, options=options.split())
        # By the third scheduling cycle every reason is this job's own.
        time.sleep(3 * CYCLE_SECONDS)
        found = list(self.plugin.call("demand"))
        self.clear()
        return found

    def one(self, options: str) -> dict[str, Any]:
        (group,) = self.demand(options)
        return group

    def judged(self, group: dict[str, Any], template: str) -> dict[str, str]:
        (judgement,) = self.plugin.call("judge", [[group["wants"]], template])
        return dict(judgement)

    def waits_for_others(self) -> bool:
        """Return whether all jobs have ended, or wait for other nodes than those that are open: by their reasons, which
        may be those of an earlier scheduling cycle, and for some cycles more."""
        before = self.batch.queue()
        if not all(job["state"] == "PENDING" and job["reason"].startswith(OTHER_NODES) for job in before):
            return False
        time.sleep(5 * CYCLE_SECONDS)
        return self.batch.queue() == before

    def open(self, *names: str) -> None:
        """Open the nodes `names`, and no others."""
        for name in (FAST, SLOW):
            state = "resume" if name in names else "drain"
            if ("drain" in self.states()[name]) != (state == "drain"):
                self.batch.head.run("scontrol", "update", f"nodename={name}", f"state={state}", "reason=test")
        wait_until(
            lambda: all(("drain" in self.states()[name]) != (name in names) for name in (FAST, SLOW)),
            f"only {names} are open",
            detail=self.states,
        )

    def states(self) -> dict[str, str]:
        lines = self.batch.head.run("sinfo", "--noheader", "--Node", "--format=%N %T").stdout.splitlines()
        return dict(line.split() for line in lines)

    def clear(self) -> None:
        self.batch.cancel_all()
        self.batch.wait_all()

    def worker(self, name: str) -> dict[str, Any]:
        (worker,) = [worker for worker in self.plugin.call("workers") if worker["name"] == name]
        return dict(worker)


@pytest.fixture(scope="module")
def cluster(testbed_root: None) -> Iterator[Cluster]:
    network = Network()
    try:
        batch = SlurmPool(network, 4, CONFIGURATION, GRES)
        for name, address, offer in (
            (FAST, "10.77.1.1", "Gres=gpu:a100:2,nic:4 Feature=fast,both"),
            (SLOW, "10.77.1.2", "Gres=gpu:3090:1 Feature=slow,both"),
        ):
            node = f"CPUs=4 RealMemory=4000 {offer}"
            batch.start_worker(name, address, batch.substituted_user_data(), node=node)
        batch.wait_joined([FAST, SLOW])
        with PluginOnHead(batch) as plugin:
            yield Cluster(batch, plugin)
    finally:
        network.stop()


@pytest.mark.real
def test_what_is_judged_is_what_slurm_does(cluster: Cluster) -> None:
    """On one node and on the other: the plugin is asked before Slurm is let."""
    wishes = [
        "--constraint=fast",
        "--constraint=slow",
        "--constraint=fast&both",
        "--constraint=slow|fast&slow",
        "--constraint=slow|fast",
        "--constraint=(fast&both)|slow",
        "--constraint=[slow|fast]",
        "--constraint=slow*1",
        "--constraint=[slow*1&fast*1]",
        "--gres=gpu:a100:1",
        "--gres=gpu:a100:2",
        "--gres=gpu:3090:1",
        "--gres=nic:2",
        "--gpus-per-task=a100:1 --ntasks=2 --nodes=1",
        "--partition=slow",
        "--partition=slow,batch",
        "--mem=0",
        "--exclusive",
    ]
    cluster.open(FAST, SLOW)
    templates = {name: cluster.plugin.call("template", cluster.worker(name)) for name in (FAST, SLOW)}
    cluster.open()
    groups = {}
    for wish in wishes:
        cluster.batch.submit(1, 3600, options=wish.split())
        wait_until(
            lambda: len(cluster.plugin.call("demand")) == 1, f"a job with {wish} waits", detail=cluster.batch.queue
        )
        (groups[wish],) = cluster.plugin.call("demand")
        cluster.clear()
    assert all(cluster.judged(group, "")["answer"] in ("unknown", "yes") for group in groups.values())
    for name, template in templates.items():
        cluster.open(name)
        jobs = {wish: cluster.batch.submit(1, 0, options=wish.split()) for wish in wishes}
        wait_until(cluster.waits_for_others, "all jobs have run, or wait for other nodes", detail=cluster.batch.queue)
        left = {job["job"] for job in cluster.batch.queue()}
        ran = {wish: "no" if job in left else "yes" for wish, job in jobs.items()}
        cluster.clear()
        assert {wish: cluster.judged(group, template)["answer"] for wish, group in groups.items()} == ran


@pytest.mark.real
def test_limits(cluster: Cluster) -> None:
    cluster.open()
    assert cluster.demand("--partition=off", "--partition=short --time=60", "--partition=short --mem=2000") == []
    refused = cluster.judged(cluster.one("--partition=short --nodes=3"), "")
    assert refused == {"answer": "no", "reason": "partition short: at most 2 nodes a job, and 3 are asked for"}
    assert cluster.one("--partition=short,batch --nodes=3")["wants"] == ""
    licensed = cluster.demand(*["--licenses=fluent:1"] * 5)
    assert [(group["jobs"], group["wants"]) for group in licensed] == [(2, "")]


@pytest.mark.real
def test_licenses_that_are_used_up(cluster: Cluster) -> None:
    cluster.open(SLOW)
    job = cluster.batch.submit(1, 3600, options=["--licenses=fluent:2"])
    wait_until(lambda: cluster.batch.busy()[SLOW], f"job {job} runs", detail=cluster.batch.queue)
    cluster.open()
    for _ in range(20):
        cluster.batch.submit(1, 3600, options=["--licenses=fluent:1"])
    plain = cluster.batch.submit(1, 3600)
    wait_until(lambda: [group["jobs"] for group in cluster.plugin.call("demand")] == [1], f"job {plain} alone waits")
    assert cluster.plugin.call("demand")[0]["running"] == 1
    cluster.clear()


@pytest.mark.real
def test_jobs_that_take_whole_nodes(cluster: Cluster) -> None:
    cluster.open()
    found = cluster.demand(*["--exclusive"] * 20, "--partition=whole", "--mem=0", "--exclusive=user", "")
    kinds = {(group["takes_whole_vms"], group["shape"]["memory_mb"]): group["jobs"] for group in found}
    assert kinds == {(True, 1000): 20 + 1, (True, None): 1, (False, 1000): 2}
    cluster.open(FAST)
    for options in (["--exclusive"], ["--mem=0"]):
        job = cluster.batch.submit(1, 3600, options=options)
        wait_until(lambda: cluster.batch.busy()[FAST], f"job {job} runs", detail=cluster.batch.queue)
        other = cluster.batch.submit(1, 3600)
        wait_until(
            lambda job=other: {one["job"]: one["reason"] for one in cluster.batch.queue()}[job] == "Resources",  # type: ignore[misc]
            f"job {other} finds no room",
            detail=cluster.batch.queue,
        )
        assert cluster.worker(FAST)["free"]["memory_mb"] == 0
        cluster.clear()


@pytest.mark.real
def test_a_heterogeneous_job_is_one_on_all_its_nodes(cluster: Cluster) -> None:
    cluster.open()
    options = ["--nodes=2", "--mem=100", ":", "--gres=gpu:a100:1", "--cpus-per-task=2"]
    cluster.batch.head.run("sbatch", "--output=/dev/null", *options, user=JOB_USER, stdin="#!/bin/sh\nsleep 9\n")
    wait_until(lambda: len(cluster.batch.queue()) == 2, "both components wait", detail=cluster.batch.queue)
    (group,) = cluster.plugin.call("demand")
    shape = {"cpus": 2, "memory_mb": 100, "disk_mb": None, "gpus": 1}
    assert (group["jobs"], group["vms_per_job"], group["shape"]) == (1, 3, shape)
    assert cluster.judged(group, "")["answer"] == "unknown"
    cluster.clear()


@pytest.mark.real
def test_a_node_that_slurm_closes_at_its_registration(cluster: Cluster) -> None:
    """It claims GPUs that it does not have."""
    batch = cluster.batch
    node = "CPUs=4 RealMemory=4000 Gres=gpu:a100:2"
    batch.start_worker(BROKEN, "10.77.1.3", batch.substituted_user_data(), node=node)
    wait_until(lambda: BROKEN in cluster.states(), "it registers")
    worker = cluster.worker(BROKEN)
    assert (worker["closed"], worker["closed_by_other"], worker["hurt"], worker["jobs"]) == (True, False, True, 0)
    assert "is not there, closed or broken" in cluster.plugin.ask("template", worker)["error"]
    assert "drained by Slurm itself" in cluster.plugin.ask("reopen", worker)["error"]
    assert cluster.plugin.call("close", worker) == "closed"
    assert cluster.worker(BROKEN)["hurt"]


@pytest.mark.real
def test_odd_texts_hide_nothing(cluster: Cluster) -> None:
    """Of an administrator; and of a user, whose job asks for a type of GPU that nobody has."""
    cluster.open()
    odd = "a|b\n'\"\x1f\x1e\x1d\nNodeName=x State=DOWN RealMemory=1 AllocMem=1 x"
    before = cluster.worker(SLOW)
    for text in ("comment", "extra", "reason"):
        cluster.batch.head.run("scontrol", "update", f"nodename={SLOW}", f"{text}={odd}")
    after = cluster.worker(SLOW)
    assert {**after, "idle_seconds": 0} == {**before, "idle_seconds": 0}
    plain = cluster.batch.submit(1, 3600)
    for options in ([f"--comment={odd}"], [f"--job-name={odd}"], ["--gres=gpu:a|b:1"]):
        cluster.batch.head.run("sbatch", "--output=/dev/null", "--wrap=true", *options, user=JOB_USER, check=False)
    wait_until(lambda: cluster.plugin.call("demand"), f"job {plain} waits")
    assert sum(group["jobs"] for group in cluster.plugin.call("demand")) >= 3
    cluster.clear()
