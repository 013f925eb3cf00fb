"""The daemon is killed every 20 to 40 s, for minutes: patience goes on over that, and nothing is lost or too much.

ELASTIQ_KILL_SECONDS says for how long jobs come, 600 by hand; what is given up when is printed.
"""

from __future__ import annotations

import os
import random
import threading
import time

import pytest

from tests.e2e import configurations
from tests.e2e.harness import ElasticCluster
from tests.e2e.systems import BatchMaker, on
from tests.testbed.batch import wait_until
from tests.testbed.proxy import Vm

SECONDS = float(os.environ.get("ELASTIQ_KILL_SECONDS", "60"))
DEPLOY_SECONDS = 45
SLOTS_PER_VM = 4
MAX_VMS = 4
BOUND_SECONDS = 1200.0
"""Against hangs: launches without an answer are given up after minutes."""


class Killer:
    """Kills the daemon again and again, and starts it again."""

    def __init__(self, cluster: ElasticCluster) -> None:
        self._cluster, self._chance = cluster, random.Random(7)
        self._over = threading.Event()
        self.kills = 0
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        while not self._over.wait(self._chance.uniform(20, 40)):
            pid = self._cluster.elastiqctl("status").stdout.partition("(pid ")[2].partition(")")[0]
            self._cluster.head.run("kill", "-9", pid)
            self._cluster.elastiqctl("start", check=True)
            self.kills += 1

    def end(self) -> None:
        """Let the daemon live."""
        self._over.set()
        self._thread.join()


@pytest.mark.real
@pytest.mark.slow
@on("htcondor")
def test_what_never_comes_is_given_up_however_often_the_daemon_is_killed(make_batch: BatchMaker) -> None:
    batch = make_batch(SLOTS_PER_VM)

    started: list[str] = []
    """VMs in the order in which they came to run; every third one does nothing, beginning with the first."""

    def user_data_of(vm: Vm) -> str | bytes:
        started.append(vm.id)
        return "#!/bin/sh\necho no worker here\n" if len(started) % 3 == 1 else vm.user_data

    with ElasticCluster(batch, user_data_of=user_data_of) as cluster:
        times = {"estimated_vm_deploy_time_s": str(DEPLOY_SECONDS), "waiting_jobs_time_s": "1"}
        cluster.configure(configurations.own(cluster, max_vms=str(MAX_VMS), **times))
        for after in (1, 1, 2):
            cluster.cloud.inject("RunInstances", after=after, cut=200)  # damaged: whether VMs were made is not told
        cluster.elastiqctl("start", check=True)
        killer, began_at, jobs = Killer(cluster), time.monotonic(), []
        try:
            while time.monotonic() - began_at < SECONDS or not killer.kills:
                jobs.append(batch.submit(random.Random(len(jobs)).randint(1, 2 * SLOTS_PER_VM), 5))
                time.sleep(10)
            wait_until(lambda: not batch.queue(), "all jobs are done", BOUND_SECONDS, detail=batch.queue)
            wait_until(lambda: not cluster.alive(), "all VMs are gone", BOUND_SECONDS, detail=cluster.asked)
            wait_until(lambda: "unconfirmed" not in cluster.elastiqctl("status").stdout, "all is clear", BOUND_SECONDS)
        finally:
            killer.end()
        silent = [cluster.cloud.vms[id_] for id_ in started[::3]]
        lives = [(vm.terminated_at or 0.0) - vm.launched_at for vm in silent]
        print(f"\n{killer.kills} kills; VMs that never joined lived {', '.join(f'{life:.0f}' for life in lives)} s")
        cluster.elastiqctl("stop", check=True)
        assert set(batch.job_starts().values()) == {1}
        assert batch.evictions() == []
        assert cluster.cloud.max_alive <= MAX_VMS
