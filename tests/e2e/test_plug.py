"""What is gone without a word: a VM whose plug is pulled while it runs a job, a scheduler that says nothing."""

from __future__ import annotations

import time

import pytest

from tests.e2e import configurations
from tests.e2e.configurations import GRACE_SECONDS
from tests.e2e.harness import ElasticCluster, stays
from tests.e2e.systems import BatchMaker, on
from tests.testbed.pool import wait_until

SLOTS_PER_VM = 4
SILENCE_SECONDS = {"htcondor": 20.0}
"""How long, where it is not a minute: HTCondor's jobs need their schedd before their lease is over."""


@pytest.mark.real
@on()
def test_the_job_of_a_vm_that_died_runs_elsewhere(make_batch: BatchMaker) -> None:
    batch = make_batch(SLOTS_PER_VM)
    with ElasticCluster(batch) as cluster:
        cluster.configure(configurations.own(cluster, min_vms="2", max_vms="2"))
        cluster.elastiqctl("start", check=True)
        wait_until(lambda: len(cluster.alive()) == 2, "the minimum is launched", 60, cluster.asked)
        batch.wait_joined(cluster.alive())
        wait_until(
            lambda: "0 pending, 2 running of 2..2" in cluster.elastiqctl("status").stdout,
            "elastiq knows the workers",
            detail=lambda: cluster.elastiqctl("status").stdout,
        )
        job = batch.submit(1, 8)
        wait_until(batch.busy, "the job runs")
        (dead,) = batch.busy()
        survivors = cluster.alive() - {dead}
        died_at = time.monotonic()
        cluster.cloud.terminate_from_outside(dead)
        check_seconds = float(configurations.TIMES["check_vms_every_s"])
        wait_until(lambda: dead not in batch.joined(), "it is forgotten", check_seconds + GRACE_SECONDS, batch.joined)
        print(f"\nforgotten after {time.monotonic() - died_at:.1f} s,", end=" ")
        stays(lambda: dead not in batch.joined(), 3, "it is forgotten")
        batch.wait_all(batch.recovery_seconds + 120)
        print(f"the job of 8 s was done elsewhere after {time.monotonic() - died_at:.1f} s")
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
    silence_seconds = SILENCE_SECONDS.get(batch.plugin, 60.0)
    with ElasticCluster(batch) as cluster:
        times = {"idle_for_time_s": "3", "waiting_jobs_time_s": "5"}
        cluster.configure(configurations.own(cluster, max_vms="2", **times))
        batch.submit(SLOTS_PER_VM - 1, silence_seconds + GRACE_SECONDS + 20)
        cluster.elastiqctl("start", check=True)
        first_jobs = SLOTS_PER_VM - 1
        wait_until(lambda: sum(batch.busy().values()) == first_jobs, "the first jobs run", 60, batch.queue)
        stays(lambda: sum(batch.busy().values()) == first_jobs, 3, "the first jobs run")
        vms = cluster.alive()
        assert len(vms) == 1
        if batch.plugin != "htcondor":  # test_trouble.py restarts its collector
            for _ in range(2):
                batch.restart_master()
                stays(lambda: cluster.alive() == vms, 2, "nothing is terminated or launched")
        batch.submit(SLOTS_PER_VM, 1, cpus=2)
        batch.silence()
        stays(lambda: cluster.alive() == vms, silence_seconds, "nothing is terminated or launched")
        recovered_at = time.monotonic()
        batch.wake()
        limit_seconds = (
            float(times["waiting_jobs_time_s"])
            + float(configurations.TIMES["check_queue_every_s"])
            + float(configurations.TIMES["sleep_s"])
        )
        wait_until(lambda: len(cluster.alive()) == 2, "one more VM", limit_seconds + GRACE_SECONDS, cluster.asked)
        print(f"\nRunInstances {time.monotonic() - recovered_at:.1f} s after the scheduler answered again")
        batch.wait_all(120)
        cluster.elastiqctl("stop", check=True)
        assert set(batch.job_starts().values()) == {1}
        assert batch.evictions() == []
        assert "queue check failed" in cluster.log()
