"""Three pools on real batch systems: small VMs, large ones, and such with a resource of their own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

import pytest

from tests.e2e import configurations
from tests.e2e.harness import ElasticCluster
from tests.testbed.batch import BatchTestbed, end_jobs, wait_until
from tests.testbed.htcondor_pool import LASTING_ADS, HtcondorPool
from tests.testbed.machines import Network
from tests.testbed.proxy import Vm
from tests.testbed.slurm_pool import SlurmPool

SMALL, LARGE, WITH_GPUISH = "m5.large", "m5.2xlarge", "c5.xlarge"
"""What moto says of them is what the workers have: 2, 8 and 4 CPUs."""

POOLS = f"""
[pool small]
priority = 3
instance_types = {SMALL} 0.10
max_vms = 2

[pool large]
priority = 2
instance_types = {LARGE} 0.40
max_vms = 3

[pool gpuish]
priority = 1
instance_types = {WITH_GPUISH} 0.90
max_vms = 4
offers = {{offers}}
"""
MOST = {"small": 2, "large": 3, "gpuish": 4}
PRICES = {"small": 0.1, "large": 0.4, "gpuish": 0.9}

OFFERS = {"htcondor": "gpuish = 2", "slurm": "gres:gpuish:2"}
MACHINES: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "htcondor": {
        SMALL: {"configuration": "NUM_CPUS = 2\nMEMORY = 4000\n"},
        LARGE: {"configuration": "NUM_CPUS = 8\nMEMORY = 16000\n"},
        WITH_GPUISH: {"configuration": "NUM_CPUS = 4\nMEMORY = 4000\nMACHINE_RESOURCE_gpuish = 2\n"},
    },
    "slurm": {
        SMALL: {"node": "CPUs=2 RealMemory=4000"},
        LARGE: {"node": "CPUs=8 RealMemory=16000"},
        WITH_GPUISH: {"node": "CPUs=4 RealMemory=4000 Gres=gpuish:2"},
    },
}
SLURM = """
GresTypes=gpuish
NodeName=template-g[1-4] CPUs=4 RealMemory=4000 Gres=gpuish:2 State=FUTURE
"""
GRES = "Name=gpuish Count=2 Flags=CountOnly\n"
IDLE_SECONDS = 2.0


def _batch(name: str, network: Network) -> BatchTestbed:
    return HtcondorPool(network, LASTING_ADS) if name == "htcondor" else SlurmPool(network, 2, SLURM, GRES)


def _submit_with_gpuish(batch: BatchTestbed, count: int) -> None:
    """Submit jobs of two CPUs and one of the resource each: a VM of that pool holds two of them."""
    if isinstance(batch, HtcondorPool):
        batch.submit(count, 3600, cpus=2, extra="request_gpuish = 1")
    elif isinstance(batch, SlurmPool):
        batch.submit(count, 3600, cpus=2, options=["--gres=gpuish:1"])


def _are_idle(cluster: ElasticCluster, count: int) -> bool:
    """Return whether so many VMs are known to have been idle for longer than IDLE_SECONDS."""
    found = json.loads(cluster.elastiqctl("vms", "--json").stdout)
    since = [vm["idle_since"] for vm in found["vms"]]
    return len(since) == count and all(one is not None and found["at"] - one > IDLE_SECONDS for one in since)


@pytest.mark.real
@pytest.mark.parametrize("name", ["htcondor", "slurm"])
def test_jobs_of_all_kinds_run_on_vms_of_three_pools(
    testbed_root: None, networks: list[Network], name: str, request: pytest.FixtureRequest
) -> None:
    networks.append(Network())
    batch = _batch(name, networks[-1])
    request.node.pools.append(batch)

    def machine_of(vm: Vm) -> Mapping[str, str]:
        return MACHINES[name][vm.parameters["InstanceType"]]

    with ElasticCluster(batch, machine_of=machine_of) as cluster:
        pools = POOLS.format(offers=OFFERS[name])

        def configuration(idle_for_time_s: str) -> str:
            times = {"waiting_jobs_time_s": "1", "idle_for_time_s": idle_for_time_s}
            return configurations.own(cluster, min_vms="1", max_vms="9", **times) + pools

        def there_are() -> Counter[str]:
            return Counter(vm.tags["elastiq:pool"] for vm in cluster.cloud.alive())

        cluster.configure(configuration("3600"))
        batch.submit(4, 3600)
        batch.submit(2, 3600, cpus=6)
        _submit_with_gpuish(batch, 2)
        cluster.elastiqctl("start", check=True)
        wait_until(lambda: sum(batch.busy().values()) == 8, "jobs of all kinds run", detail=batch.queue)
        print(f"{name}: 4 small, 2 large and 2 with a resource run on {dict(there_are())}")
        assert there_are()["gpuish"] == 1, "the resource was believed before a worker had shown it"
        # More than the small ones may take, and more with the resource than one VM has; nothing keeps small jobs from
        # VMs with the resource that join first, so that one of those that need it may want yet another VM.
        batch.submit(6, 3600)
        _submit_with_gpuish(batch, 2)
        wait_until(lambda: sum(batch.busy().values()) == 16, "none waits while there is quota", detail=batch.queue)
        print(f"{name}: 10 small, 2 large and 4 with a resource run on {dict(there_are())}")
        assert all(there_are()[pool] <= most for pool, most in MOST.items())
        end_jobs(batch)
        pool_of = {vm.id: vm.tags["elastiq:pool"] for vm in cluster.cloud.alive()}
        wait_until(lambda: _are_idle(cluster, len(pool_of)), "all are idle", detail=batch.queue)
        # So all of them are known to have been idle for too long at the same moment.
        cluster.configure(configuration(f"{IDLE_SECONDS:g}"))
        cluster.hang_up()
        wait_until(lambda: len(cluster.alive()) == 1, "but for the minimum all go", detail=cluster.log)
        (left,) = cluster.alive()
        assert pool_of[left] == "small", "the cheapest stays"
        requests = cluster.cloud.operations("TerminateInstances")
        ended = [id_ for request in requests for id_ in request.numbered("InstanceId")]
        assert set(ended) == set(pool_of) - {left}
        print(f"{name}: gone in this order: {[pool_of[id_] for id_ in ended]}")
        prices = [PRICES[pool_of[id_]] for id_ in ended]
        assert prices == sorted(prices, reverse=True), "the dearest go first"
        assert batch.evictions() == [], "no job was taken off its worker"
        cluster.elastiqctl("stop", check=True)
