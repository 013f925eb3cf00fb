"""What is gone without a word: a VM whose plug is pulled while it runs a job, a scheduler that says nothing."""

from __future__ import annotations

import time

import pytest

from tests.e2e import configurations
from tests.e2e.conftest import PoolMaker
from tests.e2e.harness import ElasticCluster, stays
from tests.testbed.pool import wait_until

SLOTS_PER_VM = 4
LEASE_SECONDS = 20
GRACE_SECONDS = 5.0
"""For the round trips of a machine with two processors that runs a whole pool."""
SILENCE_SECONDS = 20


@pytest.mark.real
def test_the_job_of_a_vm_that_died_runs_elsewhere(make_htcondor: PoolMaker) -> None:
    # An ad that nobody takes back outlives the test. The lease is what htcondor-head.conf sets, only smaller: a
    # shadow whose worker does not answer waits for its end, whatever it is told (measured: condor_vacate_job, also
    # -fast, condor_hold and condor_qedit -forward).
    batch = make_htcondor(
        head_configuration=f"CLASSAD_LIFETIME = 900\nJOB_DEFAULT_LEASE_DURATION = {LEASE_SECONDS}\n",
        worker_configuration=f"NUM_CPUS = {SLOTS_PER_VM}\n",
    )
    with ElasticCluster(batch) as cluster:
        cluster.configure(configurations.own(cluster, min_vms="2", max_vms="2"))
        cluster.elastiqctl("start", check=True)
        wait_until(lambda: len(cluster.alive()) == 2, "the minimum is launched", 30, cluster.asked)
        batch.wait_joined(cluster.alive())
        batch.submit(1, 8)
        wait_until(lambda: batch.slots("-constraint", 'State == "Claimed" && Activity == "Busy"'), "the job runs")
        (busy,) = batch.slots("-constraint", 'State == "Claimed"')
        dead, survivors = busy["EC2InstanceId"], cluster.alive() - {busy["EC2InstanceId"]}
        died_at = time.monotonic()
        cluster.cloud.terminate_from_outside(dead)
        check_seconds = float(configurations.TIMES["check_vms_every_s"])
        wait_until(lambda: dead not in batch.joined(), "its ads are gone", check_seconds + GRACE_SECONDS, batch.slots)
        print(f"\nits ads were gone after {time.monotonic() - died_at:.1f} s,", end=" ")
        stays(lambda: dead not in batch.joined(), 3, "its ads are gone")
        batch.wait_all(LEASE_SECONDS + 120)
        print(f"the job of 8 s was done elsewhere after {time.monotonic() - died_at:.1f} s")
        last_host = batch.head.run("condor_history", "-af", "LastRemoteHost").stdout.split()
        cluster.elastiqctl("stop", check=True)
        assert len(last_host) == 1
        assert last_host[0].split("@")[1] != busy["Machine"]
        assert f"VM {dead} is gone and elastiq did not terminate it" in cluster.log()
        assert survivors <= cluster.alive()
        assert cluster.cloud.operations("TerminateInstances") == []
        assert cluster.cloud.max_alive == 2


@pytest.mark.real
def test_nothing_happens_while_the_scheduler_is_silent(make_htcondor: PoolMaker) -> None:
    batch = make_htcondor(worker_configuration=f"NUM_CPUS = {SLOTS_PER_VM}\n")
    with ElasticCluster(batch) as cluster:
        times = {"idle_for_time_s": "3", "waiting_jobs_time_s": "5"}
        cluster.configure(configurations.own(cluster, max_vms="2", **times))
        batch.submit(SLOTS_PER_VM - 1, SILENCE_SECONDS + 20)
        cluster.elastiqctl("start", check=True)
        # Running by JobStatus is also a job whose shadow still has to ask the schedd what to run.
        busy = ("-constraint", 'State == "Claimed" && Activity == "Busy"')
        wait_until(lambda: len(batch.slots(*busy)) == SLOTS_PER_VM - 1, "the first jobs run", 60, batch.queue)
        stays(lambda: len(batch.slots(*busy)) == SLOTS_PER_VM - 1, 3, "the first jobs run")
        vms = cluster.alive()
        assert len(vms) == 1
        batch.submit(SLOTS_PER_VM, 1, cpus=2)
        batch.head.run("sh", "-c", "kill -STOP $(pidof condor_schedd)")
        stays(lambda: cluster.alive() == vms, SILENCE_SECONDS, "nothing is terminated or launched")
        recovered_at = time.monotonic()
        batch.head.run("sh", "-c", "kill -CONT $(pidof condor_schedd)")
        limit_seconds = (
            float(times["waiting_jobs_time_s"])
            + float(configurations.TIMES["check_queue_every_s"])
            + float(configurations.TIMES["sleep_s"])
        )
        wait_until(lambda: len(cluster.alive()) == 2, "one more VM", limit_seconds + GRACE_SECONDS, cluster.asked)
        print(f"\nRunInstances {time.monotonic() - recovered_at:.1f} s after the schedd answered again")
        batch.wait_all(60)
        cluster.elastiqctl("stop", check=True)
        assert set(batch.job_starts().values()) == {1}
        assert batch.evictions() == []
        assert "queue check failed" in cluster.log()
