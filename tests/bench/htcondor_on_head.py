"""Runs on the head node of a real HTCondor: what a look at its queue costs the plugin, what it costs to find out which
jobs each pool could run, what a look costs that tells jobs apart by their sizes alone, and how long `elastiqctl why`
takes for one of the jobs.

`python3 htcondor_on_head.py REPETITIONS JOBS GROUPS POOLS` prints one JSON document.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from elastiq.model import Demand
from elastiq.plugins.htcondor import HTCondor
from elastiq.plugins.htcondor_matching import template_of
from tests.bench.telling import asked, configured, planned

REAPED_SECONDS = 1.0
"""How long the schedd may take to notice that what it has forked has ended."""

BY_SIZE = str(Path(__file__).with_name("htcondor_by_size.py"))

SLOT = {
    "Machine": "worker.pool.example",
    "Name": "slot1@worker.pool.example",
    "PartitionableSlot": True,
    "State": "Unclaimed",
    "Arch": "X86_64",
    "OpSys": "LINUX",
    "HasFileTransfer": True,
    "Cpus": 4,
    "Memory": 8000,
    "Disk": 100_000_000,
    "TotalSlotCpus": 4,
    "TotalSlotMemory": 8000,
    "TotalSlotDisk": 100_000_000,
    "Start": True,
}
"""An idle worker; each pool offers a lane of its own beside that."""


def main() -> None:
    repetitions, jobs, groups, pools = map(int, sys.argv[1:])
    plugin = HTCondor("bindings", 120)
    templates = [template_of([{**SLOT, "Lane": pool, "LaneCount": pools}]) for pool in range(pools)]

    def by_size() -> int:
        answer = subprocess.run([sys.executable, BY_SIZE], stdout=subprocess.PIPE, check=True).stdout
        return int(sum(json.loads(answer)))

    def judged(demand: tuple[Demand, ...]) -> int:
        wants = [group.wants for group in demand]
        return sum(len(plugin.judge(wants, template)) for template in templates)

    demand = plugin.demand()
    assert sum(group.jobs for group in demand) == jobs, demand[:3]
    assert len(demand) == groups, len(demand)
    assert by_size() == jobs
    measured = {
        **_measured("demand", repetitions, plugin.demand),
        **_measured("by_size", repetitions, by_size),
        **_measured("judge", 1, lambda: judged(demand)),
    }
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        planned(home, demand)
        # The last jobs: whoever looks through the queue for them looks through all of it.
        of_one = asked(repetitions, configured(home, "htcondor"), "why", f"{_last_job()}", "--json")
        of_all = asked(repetitions, home / "elastiq.conf", "why")
        measured |= {"why_one_ms": of_one["wall_ms"], "why_all_ms": of_all["wall_ms"]}
    print(json.dumps(measured))


def _last_job() -> str:
    command = ["condor_q", "-allusers", "-af:j", "ProcId"]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.split()[-2]


def _measured(name: str, repetitions: int, ask: Callable[[], object]) -> dict[str, float]:
    walls, cpus, children, schedds = [], [], [], []
    for _ in range(repetitions):
        wall, cpu, child = time.perf_counter(), time.process_time(), _children_seconds()
        schedd = _schedd_seconds()
        ask()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        children.append(_children_seconds() - child)
        time.sleep(REAPED_SECONDS)
        schedds.append(_schedd_seconds() - schedd)
    figures = {"wall": walls, "cpu": cpus, "children_cpu": children, "schedd_cpu": schedds}
    return {f"{name}_{figure}_ms": 1000 * median(seconds) for figure, seconds in figures.items()}


def _schedd_seconds() -> float:
    """Return the CPU time of the schedd and of the processes that it has forked for queries, in steps of 10 ms."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().rpartition(") ")
        except OSError:
            continue  # it has ended meanwhile
        if name.endswith("(condor_schedd"):
            return sum(map(int, rest.split()[11:15])) / os.sysconf("SC_CLK_TCK")
    raise LookupError("no condor_schedd runs here")


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


main()
