"""What the daemon has kept of a real pool, run again by `simulate`, comes to what its VMs really took.

ELASTIQ_HISTORY_SECONDS says for how long jobs come, an hour by hand: days in little.
"""

from __future__ import annotations

import json
import os
import random
import time

import pytest

from elastiq.sim.replay.figures import BILLED_BEYOND_SECONDS
from tests.e2e import configurations
from tests.e2e.harness import ElasticCluster
from tests.e2e.systems import BatchMaker, on
from tests.testbed.batch import wait_until

CPUS = 2
SECONDS = float(os.environ.get("ELASTIQ_HISTORY_SECONDS", "90"))
SEED = int(os.environ.get("ELASTIQ_SEED", "5"))
NEARLY = 0.05 if SECONDS >= 1800 else 0.25
"""The moments of looks, which differ, are a larger part of less."""
TIMES = {
    "check_queue_every_s": "2",
    "check_vms_every_s": "4",
    "check_vms_in_error_every_s": "4",
    "waiting_jobs_time_s": "5",
    "idle_for_time_s": "40",
}


@pytest.mark.real
@on("htcondor")
def test_what_was_run_again_comes_to_what_it_was(make_batch: BatchMaker) -> None:
    batch, dice = make_batch(CPUS), random.Random(SEED)
    with ElasticCluster(batch) as cluster:
        cluster.configure(configurations.own(cluster, max_vms="6", **TIMES))
        cluster.elastiqctl("start", check=True)
        until, jobs = time.monotonic() + SECONDS, 0
        while time.monotonic() < until:
            count = dice.choice((1, 1, 2, 3, 5, 9))
            batch.submit(count, dice.choice((20, 35, 60, 90)), cpus=dice.choice((1, 1, 2)))
            jobs += count
            time.sleep(min(max(0.0, until - time.monotonic()), dice.choice((15, 30, 60, 120))))
        wait_until(lambda: not batch.queue() and not cluster.alive(), "the jobs are done, all VMs gone")
        cluster.elastiqctl("stop", check=True)
        said = cluster.elastiqctl("simulate", "--history", "1d", "--json", "--cores", str(CPUS), check=True).stdout
        found = json.loads(said)
        lives = [(vm.terminated_at or 0.0) - vm.launched_at for vm in cluster.cloud.vms.values()]
        billed_hours = sum(seconds + BILLED_BEYOND_SECONDS for seconds in lives) / 3600
        kept = found["history"]
        print(
            f"{jobs} jobs, {len(lives)} VMs, {billed_hours:.3f} VM-hours; the history says {kept['vm_hours']:.3f} of "
            f"{kept['vms']}; run again {found['vm_hours']:.3f} of {found['vms']}, boot {found['boot_seconds']:.0f} s, "
            f"gaps {kept['gap_seconds']:.0f} s"
        )
        assert kept["vms"] == len(lives)
        assert 0.7 * jobs < found["jobs"] <= jobs, "one that follows another at once may be taken for the same"
        assert abs(kept["vm_hours"] / billed_hours - 1) < NEARLY
        assert abs(found["vm_hours"] / billed_hours - 1) < NEARLY
