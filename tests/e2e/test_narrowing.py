"""Pools that take certain jobs, on real HTCondor: jobs opt in, and what workers offer is believed before they do."""

from __future__ import annotations

import json

import pytest

from tests.e2e import configurations
from tests.e2e.conftest import PoolMaker
from tests.e2e.harness import ElasticCluster, stays
from tests.testbed.batch import wait_until

WATCHED_SECONDS = 6.0
"""Longer than the waiting time after which VMs are launched, and some rounds of the negotiator."""

WORKERS = (
    "NUM_CPUS = 2\nHasCVMFS = True\nSTARTD_ATTRS = $(STARTD_ATTRS) HasCVMFS\n"
    "START = TARGET.MayUseAWS =?= true || TARGET.WantLarge =?= true\n"
)

POOLS = """
[pool large]
jobs = WantLarge =?= true
max_vms = 1

[pool cpu]
jobs = MayUseAWS =?= true
offers = HasCVMFS = true
"""

OPT_IN = "+MayUseAWS = true\nrequirements = TARGET.HasCVMFS =?= true"


def _reason(cluster: ElasticCluster, job: str, pool: str) -> str:
    found = json.loads(cluster.elastiqctl("why", job, "--json").stdout or "{}")
    answers = {one["pool"]: one["reason"] for one in found.get("group", {}).get("pools", ())}
    return str(answers.get(pool, ""))


@pytest.mark.real
@pytest.mark.parametrize("query", ["bindings", "cli"])
def test_jobs_opt_in_to_the_cloud(make_htcondor: PoolMaker, query: str) -> None:
    pool = make_htcondor("", WORKERS)
    with ElasticCluster(pool) as cluster:
        text = configurations.own(cluster, max_vms="5", waiting_jobs_time_s="1", query=query)
        cluster.configure(text + POOLS)
        plain = pool.submit(3, 3600)
        cluster.elastiqctl("start", check=True)
        said = "pool cpu takes only jobs with MayUseAWS =?= true"
        wait_until(lambda: said in _reason(cluster, plain, "cpu"), f"why says: {said}", detail=cluster.log)
        assert "pool large takes only jobs with WantLarge =?= true" in _reason(cluster, plain, "large")
        assert said in cluster.elastiqctl("why", plain).stdout
        stays(lambda: not cluster.cloud.vms, WATCHED_SECONDS, "nothing is launched for jobs that have not opted in")
        pool.submit(6, 3600, extra=OPT_IN)
        wait_until(lambda: sum(pool.busy().values()) == 6, "all that have opted in run", detail=pool.queue)
        first = next(one for one in cluster.asked() if "RunInstances" in one)
        assert "RunInstances 1 " not in first, "no VM was tried alone: the configuration says what its workers offer"
        pool.submit(1, 3600, extra="+WantLarge = true")
        wait_until(lambda: sum(pool.busy().values()) == 7, "the one for the other pool runs", detail=pool.queue)
        launched = sorted(vm.tags["elastiq:pool"] for vm in cluster.cloud.vms.values())
        assert launched == ["cpu", "cpu", "cpu", "large"]
        cluster.configure(text + POOLS.replace("MayUseAWS =?= true", "MayUseGCP =?= true"))
        cluster.hang_up()
        later = pool.submit(2, 3600, extra=OPT_IN)
        said = "pool cpu takes only jobs with MayUseGCP =?= true"
        wait_until(lambda: said in _reason(cluster, later, "cpu"), f"why says: {said}", detail=cluster.log)
        stays(lambda: len(cluster.cloud.vms) == 4, WATCHED_SECONDS, "what was changed holds at once")
        cluster.elastiqctl("stop", check=True)
