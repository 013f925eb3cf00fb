"""What does not go as planned: a VM that never joins, a collector that forgets everything."""

from __future__ import annotations

import time

import pytest

from tests.e2e import configurations
from tests.e2e.conftest import PoolMaker
from tests.e2e.harness import ElasticCluster, stays
from tests.e2e.systems import BatchMaker, on
from tests.testbed.batch import end_jobs, wait_until
from tests.testbed.proxy import Vm

SLOTS_PER_VM = 4


@pytest.mark.real
@on()
def test_a_vm_that_never_joins_is_replaced(make_batch: BatchMaker) -> None:
    batch = make_batch(SLOTS_PER_VM)
    deploy_seconds = 40  # in which its replacement has to join, on a busy machine, too

    def first_one_does_nothing(vm: Vm) -> str | bytes:
        is_first = len(cluster.cloud.vms) == 1
        return "#!/bin/sh\necho no worker here\n" if is_first else vm.user_data

    with ElasticCluster(batch, user_data_of=first_one_does_nothing) as cluster:
        times = {"estimated_vm_deploy_time_s": str(deploy_seconds), "waiting_jobs_time_s": "1"}
        cluster.configure(configurations.own(cluster, **times))
        batch.submit(2, 2)
        cluster.elastiqctl("start", check=True)
        batch.wait_all()
        cluster.elastiqctl("stop", check=True)
        vms = sorted(cluster.cloud.vms.values(), key=lambda vm: vm.launched_at)
        assert len(vms) == 2
        assert vms[0].terminated_at is not None
        print(f"\nterminated {vms[0].terminated_at - vms[0].launched_at:.1f} s after its launch, and replaced")
        # The daemon reads the launch time from its own clock, before the cloud takes it: on a busy machine long before.
        assert vms[0].terminated_at - vms[0].launched_at > deploy_seconds / 2
        assert vms[1].launched_at > vms[0].launched_at
        assert cluster.cloud.max_alive <= 2
        assert set(batch.job_starts().values()) == {1}
        assert f"it has not joined the batch system in {deploy_seconds} s" in cluster.log()
        assert "no worker here" in cluster.log()


@pytest.mark.real
def test_nothing_is_terminated_while_the_collector_comes_back(make_htcondor: PoolMaker) -> None:
    batch = make_htcondor(worker_configuration=f"NUM_CPUS = {SLOTS_PER_VM}\n")
    with ElasticCluster(batch) as cluster:
        cluster.configure(configurations.own(cluster, max_vms="2", waiting_jobs_time_s="1"))
        batch.submit(2 * SLOTS_PER_VM, 3600)
        cluster.elastiqctl("start", check=True)
        all_run = 2 * SLOTS_PER_VM
        wait_until(
            lambda: sum(job["JobStatus"] == 2 for job in batch.queue()) == all_run, "all jobs run", detail=batch.queue
        )
        vms = cluster.alive()
        assert len(vms) == 2
        # Idle and deployment times that have long passed when the collector comes back and knows nobody.
        times = {"idle_for_time_s": "3", "estimated_vm_deploy_time_s": "4", "waiting_jobs_time_s": "1"}
        cluster.configure(configurations.own(cluster, max_vms="2", **times))
        cluster.elastiqctl("restart", check=True)
        wait_until(
            lambda: "0 pending, 2 running of 0..2" in cluster.elastiqctl("status").stdout,
            "elastiq knows the workers",
            detail=lambda: cluster.elastiqctl("status").stdout,
        )
        for restarted in ("collector", "collector and elastiq"):
            started = time.monotonic()
            batch.head.run("sh", "-c", "kill -9 $(pidof condor_collector)")
            if restarted != "collector":
                cluster.elastiqctl("restart", check=True)
            stays(lambda: cluster.alive() == vms, 20, "nothing is terminated or launched")
            wait_until(lambda: batch.head.run("condor_status", check=False).returncode == 0, "the collector is back")
            seconds = time.monotonic() - started
            print(f"\n{restarted} restarted and watched for {seconds:.0f} s; {len(vms)} VMs kept")
        assert cluster.cloud.operations("TerminateInstances") == []
        end_jobs(batch)
        assert set(batch.job_starts().values()) == {1}
        assert batch.evictions() == []
        wait_until(lambda: not cluster.alive(), "idle VMs are gone", detail=cluster.asked)
        cluster.elastiqctl("stop", check=True)
        assert cluster.cloud.max_alive == 2
