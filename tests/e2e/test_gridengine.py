"""What only Grid Engine has: start times that no state shows, environments with so many slots on each machine, and jobs
that may not be rerun."""

from __future__ import annotations

import pytest

from tests.e2e import configurations
from tests.e2e.harness import ElasticCluster, PluginOnHead, stays
from tests.e2e.systems import BatchMaker, on
from tests.testbed.batch import end_jobs, wait_until
from tests.testbed.gridengine_pool import GridEnginePool

CPUS_PER_VM = 2
WATCHED_SECONDS = 6.0


@pytest.mark.real
@on("gridengine")
def test_jobs_of_two_machines_get_both_and_those_not_yet_due_none(make_batch: BatchMaker) -> None:
    batch = make_batch(CPUS_PER_VM)
    assert isinstance(batch, GridEnginePool)
    with ElasticCluster(batch) as cluster:
        cluster.configure(configurations.own(cluster, max_vms="3", waiting_jobs_time_s="1", idle_for_time_s="60"))
        batch.submit(3, 1, options=["-a", "203712312359"])
        batch.submit(1, 1, options=["-l", "hostname=ip-10-77-1-99.pool.example"])
        cluster.elastiqctl("start", check=True)
        stays(lambda: not cluster.alive(), WATCHED_SECONDS, "nothing is launched")
        job = batch.submit(1, 3, options=["-pe", "two", str(2 * CPUS_PER_VM)])
        wait_until(lambda: not batch.is_unfinished(job), "the job is done", detail=batch.queue)
        wait_until(lambda: not cluster.alive(), "idle VMs are gone", detail=cluster.asked)
        cluster.elastiqctl("stop", check=True)
        launches = cluster.cloud.operations("RunInstances")
        assert [int(request.parameters["MaxCount"]) for request in launches] == [2]
        assert batch.evictions() == []


@pytest.mark.real
@on("gridengine")
def test_a_job_that_may_not_be_rerun_is_neither_rerun_nor_deleted(make_batch: BatchMaker) -> None:
    batch = make_batch(CPUS_PER_VM)
    assert isinstance(batch, GridEnginePool)
    batch.start_worker("i-1", "10.77.1.1", batch.substituted_user_data())
    batch.wait_joined({"i-1"})
    jobs = [batch.submit(1, 3600, options=["-r", answer]) for answer in ("y", "n")]
    wait_until(lambda: batch.busy() == {"i-1": 2}, "both jobs run", detail=batch.queue)
    with PluginOnHead(batch) as plugin:
        (worker,) = plugin.call("workers")
        batch.network.remove("i-1")
        batch.start_worker("i-2", "10.77.1.2", batch.substituted_user_data())
        error = plugin.ask("forget", worker)["error"]
        assert "may not be rerun" in error
        assert "ip-10-77-1-1.pool.example" in error
        end_jobs(batch, jobs[0])
        assert batch.last_ran_on(jobs[0]) == "i-2"
        assert batch.is_unfinished(jobs[1])
        assert plugin.ask("close", worker) == {"answer": "busy"}
        # As the message says.
        batch.head.run("qmod", "-f", "-rj", jobs[1])
        end_jobs(batch, jobs[1])
        plugin.call("forget", worker)
        assert [found["instance_id"] for found in plugin.call("workers")] == ["i-2"]
