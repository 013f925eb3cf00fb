"""From an empty pool to its maximum and back, by a daemon that was started with elastiqctl on the head node."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.e2e import configurations
from tests.e2e.harness import KEYS, ElasticCluster, stays
from tests.e2e.systems import SYSTEMS, BatchMaker
from tests.testbed.batch import wait_until
from tests.testbed.rootfs import SERVICE_USER

JOBS = 40
JOB_SECONDS = 5
SLOTS_PER_VM = 4

Configuration = Callable[[ElasticCluster], str]


def with_minimum(cluster: ElasticCluster) -> str:
    """Return elastiq's own form, with a minimum, for a head node without HTCondor's Python bindings."""
    return configurations.own(cluster, min_vms="1", max_vms="5", query="cli")


def from_nothing(cluster: ElasticCluster) -> str:
    """Return elastiq's own form for a cluster that is empty when nothing waits."""
    return configurations.own(cluster, min_vms="0", max_vms="5")


@pytest.mark.real
@pytest.mark.parametrize(
    ("make_batch", "configuration", "user", "minimum", "maximum"),
    [
        pytest.param("htcondor", with_minimum, SERVICE_USER, 1, 5, id="htcondor-own-form"),
        *(
            pytest.param(system, from_nothing, SERVICE_USER, 0, 5, id=f"{system}-own-form")
            for system in SYSTEMS
            if system != "htcondor"
        ),
        pytest.param("htcondor", configurations.original, "", 0, 3, id="htcondor-original-form-by-root"),
    ],
    indirect=["make_batch"],
)
def test_scale_up_and_down(
    make_batch: BatchMaker, configuration: Configuration, user: str, minimum: int, maximum: int
) -> None:
    batch = make_batch(SLOTS_PER_VM)
    with ElasticCluster(batch, user=user) as cluster:
        cluster.configure(configuration(cluster))
        assert "is not running" in cluster.elastiqctl("status").stdout
        cluster.elastiqctl("start", check=True)
        assert cluster.elastiqctl("start", check=True).stdout.startswith("elastiq is already running")
        wait_until(lambda: len(cluster.alive()) == minimum, "the minimum is launched", detail=cluster.asked)
        queued_at = time.monotonic()
        batch.submit(JOBS, JOB_SECONDS)

        wait_until(lambda: len(cluster.alive()) == maximum, "all VMs are launched", detail=cluster.asked)
        batch.wait_joined(cluster.alive())
        status = cluster.elastiqctl("status", check=True).stdout
        assert f"of {minimum}..{maximum}" in status
        batch.wait_all()
        wait_until(lambda: len(cluster.alive()) == minimum, "idle VMs are gone", detail=cluster.asked)
        stays(lambda: len(cluster.alive()) == minimum, 5, "the minimum stays")
        batch.wait_joined(cluster.alive())
        wait_until(
            lambda: f"0 pending, {minimum} running of {minimum}..{maximum}" in cluster.elastiqctl("status").stdout,
            "status shows the minimum",
            detail=lambda: cluster.elastiqctl("status").stdout,
        )
        status = cluster.elastiqctl("status", check=True).stdout
        assert "jobs waiting  0\n" in status
        conf = cluster.elastiqctl("conf", check=True).stdout
        assert cluster.configuration_path in conf
        assert "stopped" in cluster.elastiqctl("stop", check=True).stdout
        assert cluster.elastiqctl("stop", check=True).stdout == "elastiq is not running\n"
        assert cluster.elastiqctl("status").returncode == 1

    launches = cluster.cloud.operations("RunInstances")
    sizes = [int(request.parameters["MaxCount"]) for request in launches]
    to_launch_seconds = launches[-1].at - queued_at
    print(f"\n{status}\n{JOBS} jobs; RunInstances of {sizes}, at most {cluster.cloud.max_alive} VMs alive at a time;")
    print(f"{to_launch_seconds:.1f} s from submission to RunInstances")
    assert sizes == [minimum, maximum - minimum] if minimum else [maximum]
    assert cluster.cloud.max_alive == maximum
    assert batch.evictions() == []
    starts = batch.job_starts()
    assert len(starts) == JOBS
    assert set(starts.values()) == {1}
    assert cluster.cloud.failures == []
    log = cluster.log()
    assert "Traceback" not in log
    assert not any(secret in log for secret in KEYS.values())
