"""No VM in vain, on real batch systems: what no worker offers launches nothing, what they offer all that it needs."""

from __future__ import annotations

import pytest

from tests.e2e import configurations
from tests.e2e.conftest import PoolMaker
from tests.e2e.harness import ElasticCluster, stays
from tests.testbed.batch import wait_until

WATCHED_SECONDS = 10.0
"""Longer than the waiting time after which VMs are launched, and some rounds of any scheduler."""

CVMFS = "requirements = TARGET.HasCVMFS =?= true"
OFFERS_CVMFS = "HasCVMFS = True\nSTARTD_ATTRS = $(STARTD_ATTRS) HasCVMFS\n"


@pytest.mark.real
@pytest.mark.parametrize("offered", [False, True])
def test_a_job_gets_vms_only_if_their_workers_offer_what_it_requires(make_htcondor: PoolMaker, offered: bool) -> None:
    """The first VM shows what workers offer."""
    pool = make_htcondor("", "NUM_CPUS = 2\n" + OFFERS_CVMFS * offered)
    with ElasticCluster(pool) as cluster:
        cluster.configure(configurations.own(cluster, max_vms="4", waiting_jobs_time_s="1"))
        pool.submit(6, 3600, extra=CVMFS)
        cluster.elastiqctl("start", check=True)
        if offered:
            wait_until(lambda: sum(pool.busy().values()) == 6, "all jobs run at the same time", detail=pool.queue)
            pool.cancel_all()
            wait_until(lambda: not cluster.alive(), "idle VMs are gone", detail=cluster.asked)
            assert cluster.cloud.max_alive == 3
        else:
            text = "cannot run on VMs of elastiq's; not counted as demand"
            wait_until(lambda: text in cluster.log(), f"elastiq has said: {text}", detail=cluster.log)
            assert "HasCVMFS" in cluster.log()
            wait_until(lambda: not cluster.alive(), "the idle VM is gone", detail=cluster.asked)
            stays(lambda: not cluster.alive(), WATCHED_SECONDS, "nothing more is launched")
            assert len(cluster.cloud.vms) == 1
        cluster.elastiqctl("stop", check=True)
