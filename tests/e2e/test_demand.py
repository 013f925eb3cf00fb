"""What is launched for jobs that are not simply jobs: arrays with a cap, several machines at once, jobs that wait for
something else than a VM, jobs that no VM can hold."""

from __future__ import annotations

import pytest

from tests.e2e import configurations
from tests.e2e.harness import ElasticCluster, stays
from tests.e2e.systems import BatchMaker, on
from tests.testbed.batch import wait_until
from tests.testbed.slurm_pool import SlurmPool

CPUS_PER_VM = 2
WATCHED_SECONDS = 8.0
"""Longer than the waiting time after which VMs are launched, and some rounds of any scheduler."""


@pytest.mark.real
@on()
def test_jobs_that_no_vm_would_help_launch_nothing(make_batch: BatchMaker) -> None:
    batch = make_batch(CPUS_PER_VM)
    with ElasticCluster(batch) as cluster:
        # One VM has to show what a VM holds.
        cluster.configure(configurations.own(cluster, min_vms="1", max_vms="3", waiting_jobs_time_s="1"))
        held = batch.submit(CPUS_PER_VM + 1, 1, held=True)
        if batch.plugin != "htcondor":  # its jobs depend on each other by DAGMan, which submits them when they are due
            batch.submit(CPUS_PER_VM + 1, 1, after=held)
        batch.submit(1, 1, cpus=64)
        cluster.elastiqctl("start", check=True)
        wait_until(lambda: len(batch.joined()) == 1, "the minimum has joined", detail=cluster.asked)
        vms = cluster.alive()
        for text in ("1 job of 64 CPUs", f"can never run: a VM holds {CPUS_PER_VM} CPUs"):
            wait_until(lambda text=text: text in cluster.log(), f"elastiq has said: {text}", detail=cluster.log)
        stays(lambda: cluster.alive() == vms, WATCHED_SECONDS, "nothing more is launched")
        cluster.elastiqctl("stop", check=True)
        assert len(cluster.cloud.operations("RunInstances")) == 1
        assert batch.job_starts() == dict.fromkeys(batch.job_starts(), 0)


@pytest.mark.real
@on("slurm", "gridengine")
def test_an_array_with_a_cap_launches_for_no_more_than_that(make_batch: BatchMaker) -> None:
    tasks, at_once = 200, 4
    batch = make_batch(CPUS_PER_VM)
    with ElasticCluster(batch) as cluster:
        cluster.configure(configurations.own(cluster, waiting_jobs_time_s="1"))
        # So long that most of the time, however late the scheduler starts the next, all run that may.
        batch.submit(tasks, 10, at_once=at_once)
        cluster.elastiqctl("start", check=True)
        wait_until(lambda: sum(batch.busy().values()) == at_once, "the cap is reached", detail=batch.busy)
        stays(lambda: sum(batch.busy().values()) <= at_once, 2 * WATCHED_SECONDS, "no more than the cap run")
        batch.cancel_all()
        wait_until(lambda: not cluster.alive(), "idle VMs are gone", detail=cluster.asked)
        cluster.elastiqctl("stop", check=True)
        assert cluster.cloud.max_alive == at_once / CPUS_PER_VM
        assert len(cluster.cloud.vms) == at_once / CPUS_PER_VM


@pytest.mark.real
@on("slurm")
def test_a_job_of_three_machines_gets_all_or_none(make_batch: BatchMaker) -> None:
    batch = make_batch(CPUS_PER_VM)
    assert isinstance(batch, SlurmPool)
    with ElasticCluster(batch) as cluster:
        # The first VM that has joined is idle until the third has.
        times = {"waiting_jobs_time_s": "1", "idle_for_time_s": "60"}
        cluster.configure(configurations.own(cluster, max_vms="2", **times))
        batch.submit(1, 5, cpus=CPUS_PER_VM, options=["--nodes=3"])
        cluster.elastiqctl("start", check=True)
        said = "1 job of 3 machines at once can never run: max_vms is 2"
        wait_until(lambda: said in cluster.log(), "elastiq has said so", detail=cluster.log)
        stays(lambda: not cluster.alive(), WATCHED_SECONDS, "nothing is launched for a job that cannot run")
        cluster.configure(configurations.own(cluster, max_vms="4", **times))
        cluster.elastiqctl("restart", check=True)
        batch.wait_all()
        wait_until(lambda: not cluster.alive(), "idle VMs are gone", detail=cluster.asked)
        cluster.elastiqctl("stop", check=True)
        launches = cluster.cloud.operations("RunInstances")
        assert [int(request.parameters["MaxCount"]) for request in launches] == [3]
        assert set(batch.job_starts().values()) == {1}
        assert batch.evictions() == []


@pytest.mark.real
@on("slurm")
def test_jobs_that_take_whole_machines_all_get_one_at_once(make_batch: BatchMaker) -> None:
    jobs = 20
    batch = make_batch(CPUS_PER_VM)
    assert isinstance(batch, SlurmPool)
    with ElasticCluster(batch) as cluster:
        cluster.configure(configurations.own(cluster, max_vms="30", waiting_jobs_time_s="1"))
        for _ in range(jobs):
            batch.submit(1, 3600, options=["--exclusive"])
        cluster.elastiqctl("start", check=True)
        wait_until(lambda: len(batch.busy()) == jobs, "each has a machine", detail=batch.busy)
        assert set(batch.busy().values()) == {1}
        batch.cancel_all()
        wait_until(lambda: not cluster.alive(), "idle VMs are gone", detail=cluster.asked)
        cluster.elastiqctl("stop", check=True)
        launches = cluster.cloud.operations("RunInstances")
        assert [int(request.parameters["MaxCount"]) for request in launches] == [jobs]


@pytest.mark.real
@on("slurm")
def test_a_heterogeneous_job_gets_all_its_machines_or_none(make_batch: BatchMaker) -> None:
    batch = make_batch(CPUS_PER_VM)
    assert isinstance(batch, SlurmPool)
    with ElasticCluster(batch) as cluster:
        # The first VM that has joined is idle until the third has.
        times = {"waiting_jobs_time_s": "1", "idle_for_time_s": "60"}
        cluster.configure(configurations.own(cluster, max_vms="2", **times))
        components = ["--nodes=2", ":", "--nodes=1", f"--cpus-per-task={CPUS_PER_VM}"]
        batch.submit(1, 5, options=components)
        cluster.elastiqctl("start", check=True)
        said = "1 job of 3 machines at once can never run: max_vms is 2"
        wait_until(lambda: said in cluster.log(), "elastiq has said so", detail=cluster.log)
        stays(lambda: not cluster.alive(), WATCHED_SECONDS, "nothing is launched for a part of the job")
        cluster.configure(configurations.own(cluster, max_vms="4", **times))
        cluster.elastiqctl("restart", check=True)
        batch.wait_all()
        wait_until(lambda: not cluster.alive(), "idle VMs are gone", detail=cluster.asked)
        cluster.elastiqctl("stop", check=True)
        launches = cluster.cloud.operations("RunInstances")
        assert [int(request.parameters["MaxCount"]) for request in launches] == [3]
        assert batch.evictions() == []


@pytest.mark.real
@on("slurm")
def test_jobs_for_what_no_worker_offers_cost_what_it_takes_to_learn_it(make_batch: BatchMaker) -> None:
    """One VM: the next queue check knows what its worker offers, even if that has just joined."""
    batch = make_batch(CPUS_PER_VM)
    with ElasticCluster(batch) as cluster:
        cluster.configure(configurations.own(cluster, max_vms="5", waiting_jobs_time_s="1"))
        batch.submit(10, 3600, lane="lane1")
        cluster.elastiqctl("start", check=True)
        said = "constraint lane1: no worker like this has the feature lane1"
        wait_until(lambda: said in cluster.log(), "elastiq has said so", detail=cluster.log)
        wait_until(lambda: not cluster.alive(), "what it has learnt from is gone", detail=cluster.asked)
        stays(lambda: not cluster.alive(), WATCHED_SECONDS, "no other is launched")
        assert len(cluster.cloud.vms) == 1
        batch.submit(CPUS_PER_VM, 1)
        wait_until(
            lambda: len(batch.job_starts()) == CPUS_PER_VM, "plain jobs get a VM beside them", detail=batch.queue
        )
        cluster.elastiqctl("stop", check=True)
