"""Root on a worker of real Slurm or Grid Engine, which is an administrator there, and users: what they write."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.e2e import configurations
from tests.e2e.harness import ElasticCluster
from tests.e2e.systems import BatchMaker, on
from tests.testbed.batch import BatchTestbed, wait_until
from tests.testbed.machines import Machine

ESCAPES = "\x1b]0;owned\x07\x1b[2J\u202e"
OPTIONS = {"idle_for_time_s": "20", "waiting_jobs_time_s": "1", "max_vms": "4"}


def machine_of(batch: BatchTestbed, instance_id: str) -> Machine:
    return next(one for one in batch.network.machines if one.name == instance_id)


def check_what_is_shown(cluster: ElasticCluster) -> None:
    shown = "".join(cluster.elastiqctl(*words).stdout for words in (["status"], ["vms"], ["jobs"]))
    log = cluster.log()
    assert len(log) < 1_000_000
    assert "this pass was given up" not in log
    assert [line for line in (log + shown).splitlines() if not line.isprintable()] == []


def pose_in_slurm(liar: Machine, victim: str, idle: str) -> None:
    """Make up nodes that say to be the VMs of others, with room for all, and one of which nothing can be read."""
    # One process of it may be gone at any moment: it forks.
    started = liar.run("ps", "-o", "args=", "-C", "slurmd").stdout
    server = started.partition("--conf-server ")[2].split()[0]
    for number, (feature, cpus) in enumerate(((victim, 128), (idle, 128), ("x" * 2000, 1))):
        node = f"CPUs={cpus} RealMemory={cpus * 1000} Feature={feature},lane0 Port={6820 + number}"
        command = ("slurmd", "-Z", "-N", f"liar{number}", "--conf-server", server, "--conf", node)
        liar.run("sh", "-c", '"$@" </dev/null >/dev/null 2>&1', "sh", *command, check=False)
        liar.run("scontrol", "update", f"nodename=liar{number}", f"comment={ESCAPES}", f"extra={ESCAPES}", check=False)


def pose_in_gridengine(liar: Machine, victim: str, idle: str) -> None:
    """Have its own host say to be the VM of another, with room for all; a host there may write the configuration."""
    variables = {"SGE_ROOT": "/var/lib/gridengine", "SGE_CELL": "default"}
    host = liar.run("hostname").stdout.strip()
    for value in (f"elastiq_instance={victim}", "slots=100000"):
        liar.run("qconf", "-mattr", "exechost", "complex_values", value, host, environment=variables, check=False)


ODD_JOBS: dict[str, Sequence[Sequence[str]]] = {
    "slurm": [["--hold", f"--job-name={ESCAPES}", f"--comment={ESCAPES}"], ["--hold", f"--wckey={ESCAPES}"]],
    "gridengine": [["-h", "-ac", f"x={ESCAPES}"], ["-h", "-A", "a" * 500]],
}


@pytest.mark.real
@on("slurm", "gridengine")
def test_root_on_a_worker_of(make_batch: BatchMaker) -> None:
    """The VM of the job that runs stays, others go as usual, nothing is launched, and what is shown can be read."""
    batch = make_batch(2)
    with ElasticCluster(batch) as cluster:
        cluster.configure(configurations.own(cluster, **OPTIONS))
        jobs = [batch.submit(1, 3600, cpus=2) for _ in range(2)]
        idle_job = batch.submit(1, 8, cpus=2)
        cluster.elastiqctl("start", check=True)
        wait_until(lambda: len(batch.busy()) == 3, "each job has a VM", detail=batch.queue)
        wait_until(lambda: not batch.is_unfinished(idle_job), "one is done", detail=batch.queue)
        victim, own = batch.busy()
        (idle,) = cluster.alive() - {victim, own}
        launched = len(cluster.cloud.operations("RunInstances"))
        pose = pose_in_slurm if batch.plugin == "slurm" else pose_in_gridengine
        pose(machine_of(batch, own), victim, idle)
        for options in ODD_JOBS[batch.plugin]:
            batch.submit(1, 1, options=options)  # type: ignore[call-arg]
        wait_until(lambda: idle not in cluster.alive(), "the idle VM goes as usual", detail=cluster.log)
        assert {victim, own} <= cluster.alive()
        assert all(batch.is_unfinished(job) for job in jobs)
        assert len(cluster.cloud.operations("RunInstances")) == launched
        check_what_is_shown(cluster)
        cluster.elastiqctl("stop", check=True)
