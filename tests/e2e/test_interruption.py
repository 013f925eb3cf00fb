"""The cloud announces that it takes a VM back: its job waits again in time, and a new VM is asked for."""

from __future__ import annotations

import json
import time

import pytest

from tests.e2e import configurations
from tests.e2e.harness import ElasticCluster
from tests.e2e.systems import BatchMaker, on
from tests.testbed.batch import wait_until
from tests.testbed.machines import Machine

SPOT = {"/latest/meta-data/instance-life-cycle": "spot"}
REBALANCE = "events/recommendations/rebalance", {"noticeTime": "2026-11-28T20:15:00Z"}
INTERRUPTION = "spot/instance-action", {"action": "terminate", "time": "2026-11-28T20:17:00Z"}


def say(vm: Machine, path: str, document: dict[str, str]) -> None:
    """Let the metadata service of a VM say something from now on."""
    script = 'mkdir -p "$(dirname "$1")"; cat >"$1.new"; mv "$1.new" "$1"'
    vm.run("sh", "-c", script, "sh", f"/run/metadata/latest/meta-data/{path}", stdin=json.dumps(document))


@pytest.mark.real
@on()
def test_the_job_of_a_vm_that_is_taken_back_waits_again_in_time(make_batch: BatchMaker) -> None:
    batch = make_batch(1)
    batch.metadata = SPOT
    with ElasticCluster(batch) as cluster:
        cluster.ec2 = {**cluster.ec2, "market": "spot"}
        cluster.configure(configurations.own(cluster, max_vms="2", idle_for_time_s="200"))
        cluster.elastiqctl("start", check=True)
        batch.submit(1, 3600)
        wait_until(lambda: len(batch.busy()) == 1, "the job runs", detail=batch.queue)
        (first,) = batch.busy()
        vm = next(machine for machine in batch.network.machines if machine.name == first)
        # Read before the notice: if it closed the worker, that would be seen by then.
        say(vm, *REBALANCE)
        time.sleep(6)
        assert f"takes VM {first} back" not in cluster.log()
        say(vm, *INTERRUPTION)
        began = time.monotonic()
        wait_until(lambda: f"takes VM {first} back" in cluster.log(), "it is seen", detail=batch.queue)
        print(f"seen after {time.monotonic() - began:.1f} s")
        wait_until(lambda: len(cluster.cloud.operations("RunInstances")) == 2, "another VM is asked for")
        print(f"asked for after {time.monotonic() - began:.1f} s")
        wait_until(lambda: first not in batch.busy(), "the job is taken off", detail=batch.queue)
        print(f"waits again after {time.monotonic() - began:.1f} s; AWS announces it 120 s before")
        wait_until(lambda: first not in cluster.alive(), "the VM goes once it is empty")
        wait_until(lambda: len(batch.busy()) == 1 and first not in batch.busy(), "it runs again", detail=batch.queue)
        assert "launches pause" not in cluster.log()
        assert len(cluster.cloud.operations("RunInstances")) == 2
