"""What only Slurm has: jobs and nodes that are hidden from everybody but its own user."""

from __future__ import annotations

import pytest

from tests.e2e.harness import PluginOnHead
from tests.testbed.machines import Network
from tests.testbed.pool import wait_until
from tests.testbed.slurm_pool import SlurmPool

INSTANCE_ID = "i-00000001"
TASKS = [number for number in range(400) if number % 3]
"""So many gaps that squeue, unasked, would not print the whole list."""


@pytest.mark.real
def test_what_is_hidden_is_seen_through_sudo_as_it_is(testbed_root: None, networks: list[Network]) -> None:
    networks.append(Network())
    batch = SlurmPool(networks[-1], 1, "PrivateData=cloud,jobs,nodes\n")
    batch.start_worker(INSTANCE_ID, "10.77.1.1", batch.substituted_user_data())
    with PluginOnHead(batch) as plugin:
        wait_until(
            lambda: [worker["instance_id"] for worker in plugin.call("workers")] == [INSTANCE_ID], "it joins", 60
        )
        (worker,) = plugin.call("workers")
        assert 0 <= worker["idle_seconds"] < 60
        batch.submit(1, 60, options=[f"--array={','.join(map(str, TASKS))}"])
        batch.submit(1, 1, options=["--begin=now+1days"])

        def waiting() -> int:
            return sum(group["jobs"] for group in plugin.call("demand"))

        # One of them runs.
        wait_until(lambda: waiting() == len(TASKS) - 1, "the tasks wait", 60, waiting)
        assert all(0 <= group["oldest_wait_seconds"] < 120 for group in plugin.call("demand"))
