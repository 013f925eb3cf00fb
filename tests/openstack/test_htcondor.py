"""A real HTCondor whose workers are at a real OpenStack: machines in namespaces, for its hypervisor runs nothing."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.e2e import configurations
from tests.e2e.harness import HeadNode
from tests.openstack.rig import Hypervisor
from tests.testbed.batch import wait_until
from tests.testbed.htcondor_pool import LASTING_ADS, HtcondorPool
from tests.testbed.machines import SWITCH_ADDRESS, Network
from tests.testbed.openstack.cloud import REGION, OpenStack
from tests.testbed.openstack.relay import Relay

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("openstack")]

SLOTS_PER_VM = 4
MAX_VMS = 3


@pytest.fixture
def pool(openstack: OpenStack, request: pytest.FixtureRequest) -> Iterator[HtcondorPool]:
    with Network() as network:
        pool = HtcondorPool(network, LASTING_ADS, f"NUM_CPUS = {SLOTS_PER_VM}\n")
        request.node.pool = pool
        yield pool


def _boots(pool: HtcondorPool, relay: Relay) -> Callable[[str, str], Callable[[], object]]:
    """Return what starts the machine of a VM, with the user data that the cloud was given. The cloud's own network is
    not there: each has another address than the cloud says."""
    numbers = itertools.count(1)

    def boot(instance_id: str, address: str) -> Callable[[], object]:
        user_data = base64.b64decode(relay.operations("RunInstances")[-1].parameters["UserData"])
        pool.start_worker(instance_id, f"10.77.1.{next(numbers)}", user_data)
        return lambda: pool.network.remove(instance_id)

    return boot


def test_workers_come_for_jobs_and_go_after_them(openstack: OpenStack, pool: HtcondorPool) -> None:
    relay = openstack.relay(bind=SWITCH_ADDRESS, entering=pool.network.entered)
    known = openstack.facts
    ec2 = {
        "api_url": relay.url,
        "region": REGION,
        "aws_access_key_id": known.access_key,
        "aws_secret_access_key": known.secret_key,
        "image_id": known.image_id,
        "flavour": known.flavours[0],
        "key_name": known.key_name,
    }
    with Hypervisor(openstack, _boots(pool, relay)) as hypervisor, HeadNode(pool, ec2) as head:
        head.configure(configurations.own(head, max_vms=str(MAX_VMS), log_level="info"))
        head.elastiqctl("start", check=True)
        jobs = pool.submit(2 * MAX_VMS * SLOTS_PER_VM, 5)
        wait_until(lambda: len(openstack.servers()) == MAX_VMS, "VMs are launched", detail=head.log)
        wait_until(lambda: len(pool.joined()) == MAX_VMS, "they become workers", detail=head.log)
        wait_until(lambda: not pool.is_unfinished(jobs), "the jobs are done", detail=pool.queue)
        wait_until(lambda: not openstack.servers(), "idle VMs are gone", detail=head.log)
        head.elastiqctl("stop", check=True)
        print(f"--- elastiq's log\n{head.log()}")  # shown if the test fails
        assert set(pool.job_starts().values()) == {1}
        assert pool.evictions() == []
        assert hypervisor.most_vms == MAX_VMS
        asked = [request for request in relay.operations("RunInstances") if request.status == 200]
        launched = [request.body.count("<instanceId>") for request in asked]
        assert sum(launched) == sum(line.count(" i-") for line in head.log().splitlines() if "; launched" in line)
        complaints = [line for line in head.log().splitlines() if " WARNING " in line or " ERROR " in line]
        assert [line for line in complaints if "api_url: begins with http://" not in line] == []
