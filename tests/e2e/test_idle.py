"""No VM goes before it has been idle for idle_for_time_s, whatever the batch system says of it.

HTCondor 23.9 often says, in the ad that it sends as the last dynamic slot goes, that the slot has been idle since that
job's start. Jobs last longer than idle_for_time_s here, and fill their workers.
"""

from __future__ import annotations

import os
import time

import pytest

from tests.e2e import configurations
from tests.e2e.harness import ElasticCluster
from tests.e2e.systems import BatchMaker, on
from tests.testbed.batch import wait_until

CPUS = 2
VMS = int(os.environ.get("ELASTIQ_IDLE_VMS", "4"))
IDLE_SECONDS = 12
JOB_SECONDS = 25


@pytest.mark.real
@on()
def test_no_vm_goes_before_its_idle_time_after_the_end_of_its_job(make_batch: BatchMaker) -> None:
    batch = make_batch(CPUS)
    with ElasticCluster(batch) as cluster:
        times = {"waiting_jobs_time_s": "1", "idle_for_time_s": str(IDLE_SECONDS)}
        cluster.configure(configurations.own(cluster, max_vms=str(VMS), n_jobs_per_vm="1", **times))
        batch.submit(VMS, JOB_SECONDS, cpus=CPUS)
        cluster.elastiqctl("start", check=True)
        busy_at: dict[str, float] = {}

        def are_gone() -> bool:
            now = time.monotonic()
            busy_at.update(dict.fromkeys(batch.busy(), now))
            return not batch.queue() and not cluster.alive()

        wait_until(are_gone, "the jobs are done and all VMs gone", detail=cluster.asked)
        cluster.elastiqctl("stop", check=True)
        vms = cluster.cloud.vms
        idle = {id_: (vms[id_].terminated_at or 0.0) - at for id_, at in busy_at.items()}
        print(f"seconds from the last sight of a job to the end of its VM: {sorted(map(round, idle.values()))}")
        assert [id_ for id_, seconds in idle.items() if seconds < IDLE_SECONDS] == []
        assert len(idle) > 1
        assert set(batch.job_starts().values()) == {1}
