"""Who is said to have cost what: by the records that a real Slurm and a real Grid Engine keep of ended jobs.

HTCondor's are asked for by the commands of docs/history.md.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e import configurations
from tests.e2e.harness import ElasticCluster
from tests.e2e.systems import BatchMaker, on
from tests.testbed.batch import wait_until
from tests.testbed.rootfs import JOB_USER

SUMS = ("vm_hours", "boot_hours", "work_hours", "idle_hours", "unknown_hours")
ROUNDING_HOURS = 1e-5
"""Of a few lines, each in millionths of an hour."""


@pytest.mark.real
@on("slurm", "gridengine")
def test_users_are_told_once_their_jobs_have_ended(make_batch: BatchMaker) -> None:
    batch = make_batch(2)
    with ElasticCluster(batch) as cluster:
        cluster.configure(configurations.own(cluster, max_vms="1"))
        cluster.elastiqctl("start", check=True)
        batch.submit(2, 8)
        batch.wait_all()

        def lines() -> dict[str, dict[str, Any]]:
            said = json.loads(cluster.elastiqctl("cost", "--by", "user", "--json", check=True).stdout)
            found = {line["user"]: line for line in said["lines"]}
            for name in SUMS:
                assert abs(sum(line[name] for line in found.values()) - said["total"][name]) < ROUNDING_HOURS, said
            return found

        # Nothing runs any more: only what is kept of ended jobs can tell, and Grid Engine writes it some time later.
        wait_until(lambda: JOB_USER in lines(), "the user is told", detail=lines)
        cluster.elastiqctl("stop", check=True)
        found = lines()
        print(found)
        assert set(found) <= {JOB_USER, "(boot)", "(idle)", "(unknown)"}
        assert found[JOB_USER]["vms"] == 1 and found[JOB_USER]["work_hours"] > 0
