"""The measured pieces. Each runs in a process of its own and prints what it cost as one JSON document.

`python -m tests.bench.pieces NAME REPETITIONS ARGUMENTS...`
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from elastiq.cli import collect_seldom
from elastiq.clock import Clock
from elastiq.config import Settings
from elastiq.config.sections import ElastiqOptions
from elastiq.plugins.sandbox import SandboxBatch
from elastiq.report.now import Now
from elastiq.report.page import page
from elastiq.report.series import read_past
from elastiq.sandbox.spool import Job, Spool
from elastiq.sim.replay.simulate import simulate
from elastiq.sim.replay.traces import Job as Trace
from elastiq.state import read_report
from tests.bench.plans import Situation
from tests.bench.rig import DAEMON, CoreRig, ReplayedCloud, configuration, memory_mib
from tests.bench.telling import asked, configured, planned, year
from tests.page.scenes import large
from tests.testbed.htcondor_pool import BINDINGS_ENVIRONMENT, HtcondorPool
from tests.testbed.machines import CHECKOUT, Network
from tests.testbed.rootfs import JOB_USER
from tests.testbed.slurm_pool import SlurmPool

NEVER = 1e9
PATIENCE = 30
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def commands(jobs: int = 0, vms: int = 1, slots: int = 0, wants: str = "wants") -> Iterator[Path]:
    """Put HTCondor's commands on PATH; yield a directory for the state. Without `wants` jobs have no Requirements."""
    with tempfile.TemporaryDirectory(prefix="elastiq-bench-") as name:
        # In another process: what it takes to write them is none of elastiq's memory.
        words = [sys.executable, "-m", "tests.bench.rig", name, str(jobs), str(vms), str(slots), wants]
        subprocess.run(words, check=True)
        os.environ["PATH"] = f"{name}/bin:{os.environ['PATH']}"
        yield Path(name) / "state"


def repeated(rig: CoreRig, repetitions: int, advance_seconds: float) -> dict[str, Any]:
    """Measure passes of the loop, each after a jump of the clock."""
    walls, cpus, children = [], [], []
    for _ in range(repetitions):
        rig.clock.ahead_seconds += advance_seconds
        wall, cpu, child = time.perf_counter(), time.process_time(), children_seconds()
        rig.core.step()
        while rig.core.reading.listing is not None:  # its answer comes later than the loop waits for it
            time.sleep(0.1)
            rig.clock.ahead_seconds += 5.0
            rig.core.step()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        children.append(children_seconds() - child)
    now, peak = memory_mib()
    return {
        "wall_ms": 1000 * median(walls),
        "cpu_ms": 1000 * median(cpus),
        "children_cpu_ms": 1000 * median(children),
        "peak_mib": peak,
        "resident_mib": now,
    }


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def queue_check(repetitions: int, jobs: str) -> dict[str, Any]:
    with commands(jobs=int(jobs)) as directory, ReplayedCloud(0) as cloud:
        rig = CoreRig(
            directory, cloud, check_queue_every_s=15.0, check_vms_every_s=NEVER, waiting_jobs_time_s=NEVER, max_vms=None
        )
        rig.core.step()
        before = cloud.requests()
        measured = repeated(rig, repetitions, 15.0)
        said = rig.core.reading.demand
        assert said is not None and sum(group.jobs for group in said) == int(jobs), said
        return {**measured, "requests": total(cloud.requests()) - total(before)}


def vm_check(repetitions: int, vms: str, slots: str, state: str) -> dict[str, Any]:
    with commands(vms=int(vms), slots=int(slots)) as directory, ReplayedCloud(int(vms), state) as cloud:
        options = {"check_vms_every_s": 20.0, "check_queue_every_s": NEVER, "estimated_vm_deploy_time_s": NEVER}
        rig = CoreRig(directory, cloud, **options, max_vms=None)
        rig.core.step()
        for _ in range(PATIENCE):  # the first listing of thousands is answered later than the loop waits for it
            if rig.owned() == int(vms) and rig.core.reading.workers:
                break
            time.sleep(1)
            rig.clock.ahead_seconds += 20.0
            rig.core.step()
        assert rig.owned() == int(vms), rig.core.reading
        assert len(rig.core.reading.workers or ()) == min(int(vms), int(slots)), rig.core.reading.workers_fault
        before = cloud.requests()
        measured = repeated(rig, repetitions, 120.0)
        made = {name: count - before.get(name, 0) for name, count in cloud.requests().items()}
        assert made.keys() == {"DescribeInstances"}, made
        return {**measured, "requests": made["DescribeInstances"] / repetitions}


def launch(repetitions: int, latency_seconds: str) -> dict[str, Any]:
    """Measure the pass that launches 100 VMs, from the decision to the record of the last one."""
    measured, requests = [], []
    for _ in range(repetitions):
        with commands(400, wants="") as directory, ReplayedCloud(0, "running", float(latency_seconds)) as cloud:
            # Without Requirements: of others one VM is launched first, to learn whether it runs them.
            rig = CoreRig(directory, cloud, n_jobs_per_vm=4, max_vms=100)
            rig.core.step()
            before = total(cloud.requests())
            # The queue alone is due: the next look at the VMs is a cycle of its own.
            rig.core._vms_due_at = NEVER * 10
            measured.append(repeated(rig, 1, 41.0))
            requests.append(total(cloud.requests()) - before)
            assert rig.owned() == 100, rig.owned()
    return {name: median(one[name] for one in measured) for name in measured[0]} | {"requests": max(requests)}


def paced_launch(_repetitions: int, vms: str) -> dict[str, Any]:
    """Launch thousands of VMs where they come out of AWS's bucket, in jumps of a poll."""
    with commands(4 * int(vms), wants="") as directory, ReplayedCloud(0, "running", 0.0, "--bucket") as cloud:
        options = {"n_jobs_per_vm": 4, "max_vms": int(vms), "estimated_vm_deploy_time_s": NEVER}
        rig = CoreRig(directory, cloud, **options, check_vms_every_s=600.0)
        rig.core._policy = replace(rig.core._policy, is_paced=True)
        began_at = rig.clock.now()
        while (counts := cloud.requests(rig.clock.ahead_seconds))["launched"] < int(vms):
            rig.core.step()
            rig.clock.ahead_seconds += 15.0
            assert rig.clock.now() - began_at < 2 * int(vms), counts
        return {**counts, "seconds": rig.clock.now() - began_at}


def plans(repetitions: int, kind: str, vms: str, groups: str, max_vms: str) -> dict[str, Any]:
    """Measure plan() alone, on new answers of a world in which nothing has changed."""
    situation = Situation(kind, int(vms), int(groups), int(max_vms))
    cpus = []
    for _ in range(repetitions):
        seen = situation.look()
        cpu = time.process_time()
        situation.decide(seen)
        cpus.append(time.process_time() - cpu)
    return {"cpu_ms": 1000 * median(cpus)}


def slurm_queue(repetitions: int, arrays: str, jobs: str) -> dict[str, Any]:
    """Measure the plugin's look at a real Slurm with so many jobs in each of so many arrays; 1 is no array."""
    with Network() as network:
        pool = SlurmPool(network, 4)
        if jobs == "1":
            submit = "seq $1 | xargs -P 4 -I {} sbatch --quiet --output=/dev/null --wrap 'sleep 60' >/dev/null"
            pool.head.run("sh", "-euc", submit, "sh", arrays, user=JOB_USER, timeout_seconds=600)
        else:
            for _ in range(int(arrays)):
                pool.submit(int(jobs), 60)
        time.sleep(5)  # until the scheduler has given each a reason
        script = f"{CHECKOUT}/tests/bench/slurm_on_head.py"
        words = ("python3", script, str(repetitions), str(int(arrays) * int(jobs)))
        answer = pool.head.run(*words, environment={"PYTHONPATH": CHECKOUT}, timeout_seconds=300).stdout
    measured: dict[str, Any] = json.loads(answer)
    return measured


def htcondor_queue(repetitions: int, groups: str, jobs_of_each: str, pools: str) -> dict[str, Any]:
    """Measure the plugin's look at a real HTCondor that has so many groups of jobs, which differ in their Requirements:
    first with one job in each, and with as many as `jobs_of_each` then."""
    measured: dict[str, Any] = {}
    with Network() as network:
        pool = HtcondorPool(network, "MAX_JOBS_PER_OWNER = 1000000\nMAX_JOBS_PER_SUBMISSION = 1000000\n")
        # Compiled, as an installed package is: each look at the queue starts a Python.
        pool.head.run("sh", "-euc", f"mkdir /opt/compiled; cp -r {CHECKOUT}/elastiq /opt/compiled")
        pool.head.run("python3", "-m", "compileall", "-q", "/opt/compiled")
        path = f"/opt/compiled:{BINDINGS_ENVIRONMENT['PYTHONPATH']}:{CHECKOUT}"
        there = 0
        for name, jobs in (("one", 1), ("many", int(jobs_of_each))):
            description = [
                "executable = /bin/true",
                "transfer_executable = false",
                "request_cpus = 1\nrequest_memory = 16\nrequest_disk = 1M",
            ]
            for group in range(int(groups)):
                wish = f"Lane =?= {group % int(pools)} || LaneCount > {group // int(pools)}"
                description.append(f"requirements = {wish}\nqueue {jobs - there}")
            pool.head.run(
                "condor_submit", "-terse", "-", user=JOB_USER, stdin="\n".join(description) + "\n", timeout_seconds=900
            )
            there = jobs
            script = f"{CHECKOUT}/tests/bench/htcondor_on_head.py"
            words = ("python3", script, str(repetitions), str(int(groups) * jobs), groups, pools)
            answer = pool.head.run(*words, environment={"PYTHONPATH": path}, timeout_seconds=900).stdout
            measured |= {f"{name}_{figure}": value for figure, value in json.loads(answer).items()}
    return measured


def why_sandbox(repetitions: int, jobs: str) -> dict[str, Any]:
    """Measure `elastiqctl why` beside so many jobs of the sandbox, the last of which is asked for."""
    with tempfile.TemporaryDirectory(prefix="elastiq-bench-") as name:
        home = Path(name)
        spool = Spool(home / "spool")
        spool.create()
        for number in range(1, int(jobs) + 1):
            job = Job(f"{number:06d}", ["true"], 1 + number % 4, submitted_at=time.time())
            # Not by submit, which would take minutes to bring each of them to the disk.
            (spool.directory / "queue" / f"{job.id}.json").write_text(json.dumps(vars(job)))
        planned(home, SandboxBatch(spool, Clock()).demand())
        configuration = configured(home, "sandbox", f"[sandbox]\nspool_dir = {spool.directory}")
        of_one, of_all = (
            asked(repetitions, configuration, "why", jobs, "--json"),
            asked(repetitions, configuration, "why"),
        )
        return {"why_one_ms": of_one["wall_ms"], "why_all_ms": of_all["wall_ms"]}


def history_year(repetitions: int, vms_a_day: str) -> dict[str, Any]:
    """Measure `elastiqctl history`, `cost` and `page` on a year of so many VMs a day."""
    with tempfile.TemporaryDirectory(prefix="elastiq-bench-") as name:
        home, measured = Path(name), dict[str, Any]()
        (home / "state").mkdir(0o700)
        now = time.time()
        planned(home, ())
        measured["megabytes"] = year(home, now, int(vms_a_day))
        configuration = configured(home, "sandbox", f"[sandbox]\nspool_dir = {home}/spool")
        since = "--since=52w"
        for name_, words in {
            "history": ("history",),
            "history_week": ("history", "--since=1w"),
            "cost": ("cost",),
            "cost_year": ("cost", since),
            "cost_day_year": ("cost", since, "--by=day"),
            "cost_pool_year": ("cost", since, "--by=pool"),
            "page": ("page",),
        }.items():
            found = asked(repetitions, configuration, *words)
            measured |= {f"{name_}_{figure}": value for figure, value in found.items()}
        return measured | _page(home / "state", now, repetitions)


def _page(directory: Path, now: float, repetitions: int) -> dict[str, Any]:
    """Measure the writing of the page alone, without the start of a Python."""
    walls, made = [], ""
    for now_, past in ((Now.read(directory, now, 1, is_running=True), read_past(directory, now)), large()):
        seconds = []
        for _ in range(repetitions):
            started = time.process_time()
            made = page(now_, past)
            seconds.append(time.process_time() - started)
        walls.append((1000 * median(seconds), len(made.encode())))
    started = time.process_time()
    read_past(directory, now)
    return {
        "page_read_ms": 1000 * (time.process_time() - started),
        "page_made_ms": walls[0][0],
        "page_large_ms": walls[1][0],
        "page_large_bytes": walls[1][1],
    }


def thirty_days(_repetitions: int, jobs: str) -> dict[str, Any]:
    """Simulate a month of bursts and single jobs of one core, of minutes to days, by the adaptive policy."""
    chance, days, work = random.Random(1), 30 * 86400.0, list[Trace]()
    while len(work) < int(jobs):
        at = chance.random() * days
        burst = chance.choice((1, 1, 1, 5, 40))
        work += [Trace(at + chance.random() * 600, min(3e5, chance.lognormvariate(8, 2)), 1) for _ in range(burst)]
    options = ElastiqOptions(policy="adaptive", waiting_jobs_time_s=0.0, idle_for_time_s=60.0)
    began_at = time.process_time()
    figures = simulate(sorted(work), Settings(elastiq=options))
    return {
        "cpu_seconds": time.process_time() - began_at,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "vms": round(figures.vm_hours / 720),
    }


def total(requests: dict[str, int]) -> int:
    return sum(requests.values())


def daemon(_repetitions: int, vms: str, seconds: str, check_vms_every_s: str) -> dict[str, Any]:
    """Measure the whole daemon for so many seconds after its first look at the VMs; requests from its start on."""
    with commands(vms=max(1, int(vms)), slots=int(vms)) as directory, ReplayedCloud(int(vms)) as cloud:
        path = configuration(directory.parent, cloud.url, check_vms_every_s, min_vms=vms)  # or idle ones would go
        command = [sys.executable, str(DAEMON), f"--config={path}"]
        command += [f"--logdir={directory.parent / 'log'}", f"--state-dir={directory}"]
        process = subprocess.Popen(command)
        try:
            wait_for_listing(cloud, process)
            time.sleep(3)
            cpu, children = used_seconds(process.pid)
            time.sleep(float(seconds))
            cpu_end, children_end = used_seconds(process.pid)
            now, peak = memory_mib(process.pid)
            requests = total(cloud.requests())
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(20)
        assert status == 0, f"the daemon ended with {status}"
        report = read_report(directory)
        assert report is not None and report["vms_running"] == int(vms), report
        return {
            "cpu_ms": 1000 * (cpu_end - cpu),
            "children_cpu_ms": 1000 * (children_end - children),
            "requests": requests,
            "peak_mib": peak,
            "resident_mib": now,
        }


def wait_for_listing(cloud: ReplayedCloud, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 30
    while not cloud.requests().get("DescribeInstances"):
        assert process.poll() is None, "the daemon did not start"
        assert time.monotonic() < until, "the daemon does not list its VMs"
        time.sleep(0.1)


def used_seconds(pid: int) -> tuple[float, float]:
    """Return the CPU time of a process, and that of its children so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    own, children = (sum(map(int, fields[first : first + 2])) / TICKS_PER_SECOND for first in (11, 13))
    return own, children


def floods(_repetitions: int, seconds: str) -> dict[str, Any]:
    """Measure whole daemons beside answers without measure."""
    from tests.bench.flooded import lived_beside_floods  # they would be in the memory of all other pieces

    return lived_beside_floods(float(seconds))


PIECES: dict[str, Callable[..., dict[str, Any]]] = {
    "thirty_days": thirty_days,
    "queue_check": queue_check,
    "vm_check": vm_check,
    "launch": launch,
    "paced_launch": paced_launch,
    "daemon": daemon,
    "floods": floods,
    "plans": plans,
    "slurm_queue": slurm_queue,
    "htcondor_queue": htcondor_queue,
    "why_sandbox": why_sandbox,
    "history_year": history_year,
}

if __name__ == "__main__":
    collect_seldom()
    print(json.dumps(PIECES[sys.argv[1]](int(sys.argv[2]), *sys.argv[3:])))
