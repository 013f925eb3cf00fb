"""What is gone without a word: a VM whose plug is pulled while it runs a job, a scheduler that says nothing."""

from __future__ import annotations

import time

import pytest

from tests.e2e import configurations
from tests.e2e.harness import ElasticCluster, stays
from tests.e2e.systems import BatchMaker, on
from tests.testbed.batch import end_jobs, wait_until
from tests.testbed.htcondor_pool import SHORT_LEASE

SLOTS_PER_VM = 4
SILENCE_SECONDS = 20.0
"""More than idle_for_time_s and waiting_jobs_time_s of the test together, and some checks. No longer: HTCondor's jobs
need their schedd before their lease is over."""


@pytest.mark.real
@on()
def test_the_job_of_a_vm_that_died_runs_elsewhere(make_batch: BatchMaker) -> None:
    batch = make_batch(SLOTS_PER_VM)
    with ElasticCluster(batch) as cluster:
        cluster.configure(configurations.own(cluster, min_vms="2", max_vms="2"))
        cluster.elastiqctl("start", check=True)
        wait_until(lambda: len(cluster.alive()) == 2, "the minimum is launched", detail=cluster.asked)
        batch.wait_joined(cluster.alive())
        wait_until(
            lambda: "0 busy, 2 idle" in cluster.elastiqctl("status").stdout,
            "elastiq knows the workers",
            detail=lambda: cluster.elastiqctl("status").stdout,
        )
        options = {"extra": SHORT_LEASE} if batch.plugin == "htcondor" else {}
        job = batch.submit(1, 3600, **options)
        wait_until(batch.busy, "the job runs")
        (dead,) = batch.busy()
        survivors = cluster.alive() - {dead}
        died_at = time.monotonic()

        def seen() -> str:
            lines = cluster.log().splitlines()[-15:]
            return f"{dead} died; {batch.joined()} have joined; {batch.queue()}; elastiq says: {' / '.join(lines)}"

        cluster.cloud.terminate_from_outside(dead)
        wait_until(lambda: dead not in batch.joined(), "it is forgotten", detail=seen)
        print(f"\nforgotten after {time.monotonic() - died_at:.1f} s,", end=" ")
        stays(lambda: dead not in batch.joined(), 3, "it is forgotten")
        wait_until(lambda: set(batch.busy()) - {dead}, "the job runs elsewhere", detail=seen)
        print(f"the job ran elsewhere after {time.monotonic() - died_at:.1f} s")
        end_jobs(batch)
        last = batch.last_ran_on(job)
        cluster.elastiqctl("stop", check=True)
        assert last
        assert last != dead
        assert f"VM {dead} is gone and elastiq did not terminate it" in cluster.log()
        assert survivors <= cluster.alive()
        assert cluster.cloud.operations("TerminateInstances") == []
        assert cluster.cloud.max_alive == 2


@pytest.mark.real
@on()
def test_nothing_happens_while_the_scheduler_is_silent(make_batch: BatchMaker) -> None:
    batch = make_batch(SLOTS_PER_VM)
    with ElasticCluster(batch) as cluster:
        times = {"idle_for_time_s": "10", "waiting_jobs_time_s": "5"}
        cluster.configure(configurations.own(cluster, max_vms="2", **times))
        batch.submit(SLOTS_PER_VM - 1, 3600)
        cluster.elastiqctl("start", check=True)
        first_jobs = SLOTS_PER_VM - 1
        wait_until(lambda: sum(batch.busy().values()) == first_jobs, "the first jobs run", detail=batch.queue)
        stays(lambda: sum(batch.busy().values()) == first_jobs, 3, "the first jobs run")
        vms = cluster.alive()
        assert len(vms) == 1
        if batch.plugin != "htcondor":  # test_trouble.py restarts its collector
            for _ in range(2):
                batch.restart_master()
                stays(lambda: cluster.alive() == vms, 2, "nothing is terminated or launched")
        with cluster.paused():  # or it might see the jobs before the scheduler is silent
            second_jobs = batch.submit(SLOTS_PER_VM, 1, cpus=2)
            batch.silence()
        stays(lambda: cluster.alive() == vms, SILENCE_SECONDS, "nothing is terminated or launched")
        wait_until(lambda: "queue check failed" in cluster.log(), "elastiq has noticed", detail=cluster.log)
        assert cluster.alive() == vms
        recovered_at = time.monotonic()
        batch.wake()
        wait_until(lambda: len(cluster.alive()) == 2, "one more VM", detail=cluster.asked)
        print(f"\nRunInstances {time.monotonic() - recovered_at:.1f} s after the scheduler answered again")
        wait_until(lambda: not batch.is_unfinished(second_jobs), "the jobs are done", detail=batch.queue)
        end_jobs(batch)
        cluster.elastiqctl("stop", check=True)
        assert set(batch.job_starts().values()) == {1}
        assert batch.evictions() == []
