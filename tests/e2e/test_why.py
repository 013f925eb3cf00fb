"""What `elastiqctl why` says of jobs and VMs of real batch systems, by the daemon's own verdicts."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from elastiq.decisions import Token
from tests.e2e import configurations
from tests.e2e.harness import ElasticCluster
from tests.e2e.systems import BatchMaker, on
from tests.testbed.batch import wait_until
from tests.testbed.htcondor_pool import LASTING_ADS, HtcondorPool
from tests.testbed.machines import Network
from tests.testbed.proxy import Vm
from tests.testbed.slurm_pool import SlurmPool

CPUS_PER_VM = 2
TOMORROW = time.strftime("%Y%m%d%H%M", time.localtime(time.time() + 86400))
NO_DEMAND: dict[str, dict[str, dict[str, Any]]] = {
    "htcondor": {
        "job-not-due": {"extra": f"deferral_time = {int(time.time()) + 86400}"},
        "job-not-on-workers": {"extra": "universe = local\nrequirements = false"},
    },
    "slurm": {"job-not-due": {"options": ["--begin=now+1day"]}},
    "gridengine": {
        "job-not-due": {"options": ["-a", TOMORROW]},
        "job-bound": {"options": ["-l", "hostname=head.pool.example"]},
    },
}
"""What makes jobs of each system that only its own words tell apart from demand."""

BOUND_SECONDS = 900.0
"""Against a hang alone."""


class Asking:
    """`elastiqctl why` on the head node."""

    def __init__(self, cluster: ElasticCluster) -> None:
        self._cluster = cluster
        self.said: list[str] = []

    def why(self, *words: str) -> dict[str, Any]:
        done = self._cluster.elastiqctl("why", *words, "--json")
        self.said.append(f"{words} -> {done.returncode} {done.stdout}{done.stderr}")
        found: dict[str, Any] = json.loads(done.stdout) if done.stdout.strip() else {"told": []}
        return {**found, "code": done.returncode}

    def tokens(self, *words: str) -> list[str]:
        return [one["token"] for one in self.why(*words)["told"]]

    def wait_for(self, token: str, *words: str) -> dict[str, Any]:
        """Return what is said of a job or VM once it is `token`, after people have been told the same."""
        wait_until(
            lambda: token in self.tokens(*words), f"{words} is {token}", detail=lambda: "\n".join(self.said[-3:])
        )
        found = self.why(*words)
        lines = self._cluster.elastiqctl("why", *words).stdout.splitlines()
        assert lines[1].partition(" ")[0].lower() in {known.value for known in Token}, "it may be another by now"
        assert all(one["remedy"] for one in found["told"])
        return found


def _held_back(cluster: ElasticCluster) -> threading.Event:
    """Let no VM boot until the event that is returned is set: to see it booting must not be a matter of time."""
    may_boot, boot = threading.Event(), cluster.cloud.on_running

    def boot_later(vm: Vm) -> None:
        may_boot.wait(BOUND_SECONDS)
        if boot is not None:
            boot(vm)

    cluster.cloud.on_running = boot_later
    return may_boot


@pytest.mark.real
@on()
def test_why_of_jobs_and_vms(make_batch: BatchMaker) -> None:
    batch = make_batch(CPUS_PER_VM)
    with ElasticCluster(batch) as cluster:
        asking, may_boot = Asking(cluster), _held_back(cluster)
        cluster.configure(configurations.own(cluster, max_vms="1", waiting_jobs_time_s="30", idle_for_time_s="30"))
        held = batch.submit(1, 1, held=True)
        found = asking.wait_for("job-held", held)
        assert found["code"] == 0, "what a job is that is no demand does not depend on the daemon"
        assert asking.why("987654") == {**asking.why("987654"), "code": 3}
        assert asking.tokens("987654") == ["no-such-job"]
        assert asking.tokens("no job at all") == ["no-such-job"]
        for token, words in NO_DEMAND[batch.plugin].items():
            asking.wait_for(token, batch.submit(1, 600, **words))
        runs = batch.submit(1, 600)
        assert "not-running" in asking.tokens(runs)
        cluster.elastiqctl("start", check=True)
        waits = asking.wait_for("waiting-time", runs)
        assert waits["group"]["pools"][0]["answer"] in ("yes", "unknown")
        assert waits["told"][0]["until"] > waits["at"]
        asking.wait_for("room-booting", runs)
        asking.wait_for("still-booting", *cluster.alive())
        may_boot.set()
        asking.wait_for("job-runs", runs)
        (vm,) = cluster.alive()
        asking.wait_for("at-work", vm)
        large = batch.submit(1, 1, cpus=64)
        asking.wait_for("larger-than-vm", large)
        full = batch.submit(1, 1, cpus=CPUS_PER_VM)
        asking.wait_for("quota-full", full)
        if batch.plugin != "htcondor":
            asking.wait_for("job-depends", batch.submit(1, 1, after=runs))
            array = batch.submit(8, 60, at_once=1)
            asking.wait_for("job-limited", array)
            of_array = "_" if batch.plugin == "slurm" else "."
            assert asking.tokens(f"{array}{of_array}8") == ["job-limited"]
            assert asking.tokens(f"{array}{of_array}9") == ["no-such-job"], "it has eight"
        else:
            assert asking.tokens(f"{runs}.1") == ["no-such-job"]
        everything = cluster.elastiqctl("why").stdout
        assert "larger-than-vm" in everything
        assert "larger-than-vm" in cluster.elastiqctl("jobs").stdout
        assert vm in cluster.elastiqctl("vms").stdout
        planned = cluster.elastiqctl("plan")
        assert planned.returncode == 0, planned.stdout + planned.stderr
        assert "running of 0..1" in planned.stdout
        batch.cancel_all()
        asking.wait_for("idle-yet-short", vm)
        gone = asking.wait_for("ended-by-elastiq", vm)
        assert gone["told"][1]["token"] == "idle"
        assert asking.tokens("i-00000000000000000") == ["no-such-vm"]
        cluster.elastiqctl("stop", check=True)


@pytest.mark.real
def test_why_of_jobs_that_limits_of_slurm_keep_back(testbed_root: None, networks: list[Network]) -> None:
    networks.append(Network())
    more = (
        "Licenses=fluent:1\nPartitionName=other Nodes=ALL State=UP\nPartitionName=off Nodes=ALL State=DOWN\n"
        "NodeName=template-other CPUs=2 RealMemory=2000 Feature=absent State=FUTURE\n"
    )
    batch = SlurmPool(networks[-1], CPUS_PER_VM, more)
    with ElasticCluster(batch) as cluster:
        asking = Asking(cluster)
        configuration = configurations.own(cluster, max_vms="2", idle_for_time_s="600")
        cluster.configure(configuration.replace("\n[slurm]\n", "\n[slurm]\npartitions = batch\n"))
        other = batch.submit(1, 600, options=["--partition=other"])
        asking.wait_for("job-elsewhere", other)
        asking.wait_for("job-limited", batch.submit(1, 600, options=["--partition=off"]))
        has_it, ends = batch.submit(1, 600, options=["--licenses=fluent:1"]), batch.submit(1, 1)
        cluster.elastiqctl("start", check=True)
        asking.wait_for("job-runs", has_it)
        asking.wait_for("job-limited", batch.submit(1, 600, options=["--licenses=fluent:1"]))
        asking.wait_for("job-ended", ends)
        asking.wait_for("not-eligible", batch.submit(1, 600, options=["--constraint=absent"]))
        cluster.elastiqctl("stop", check=True)


@pytest.mark.real
def test_why_of_jobs_that_htcondor_keeps_or_no_machine_of_it_takes(testbed_root: None, networks: list[Network]) -> None:
    networks.append(Network())
    batch = HtcondorPool(networks[-1], LASTING_ADS + "FLUENT_LIMIT = 1\n", f"NUM_CPUS = {CPUS_PER_VM}\n")
    with ElasticCluster(batch) as cluster:
        asking = Asking(cluster)
        cluster.configure(configurations.own(cluster, max_vms="1", idle_for_time_s="600"))
        has_it = batch.submit(1, 600, extra="concurrency_limits = fluent")
        ends = batch.submit(1, 1, extra="leave_in_queue = true")
        cluster.elastiqctl("start", check=True)
        asking.wait_for("job-runs", has_it)
        asking.wait_for("job-ended", ends)
        asking.wait_for("job-limited", batch.submit(1, 600, extra="concurrency_limits = fluent"))
        absent = batch.submit(1, 600, extra="requirements = TARGET.HasWhatNobodyHas =?= true")
        found = asking.wait_for("not-eligible", absent)
        assert found["group"]["pools"][0]["answer"] == "no"
        cluster.elastiqctl("stop", check=True)
