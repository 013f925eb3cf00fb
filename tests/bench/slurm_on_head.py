"""Runs on the head node of a real Slurm: what one look at its queue costs the plugin, and what `squeue --json` would.

`python3 slurm_on_head.py REPETITIONS JOBS` prints one JSON document.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from statistics import median

from elastiq.plugins.slurm import Slurm


def main() -> None:
    repetitions, jobs = map(int, sys.argv[1:])
    plugin = Slurm(60)
    plugin.demand()
    walls, cpus, children = [], [], []
    for _ in range(repetitions):
        wall, cpu, child = time.perf_counter(), time.process_time(), _children_seconds()
        demand = plugin.demand()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        children.append(_children_seconds() - child)
        assert sum(group.jobs for group in demand) == jobs, demand
    measured = {
        "wall_ms": 1000 * median(walls),
        "cpu_ms": 1000 * median(cpus),
        "children_cpu_ms": 1000 * median(children),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "children_peak_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        **_squeue_json(),
    }
    print(json.dumps(measured))


def _squeue_json() -> dict[str, float]:
    started = time.perf_counter()
    with open(os.devnull, "wb") as nowhere:
        process = subprocess.Popen(["squeue", "--json"], stdout=nowhere)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return {
        "json_wall_ms": 1000 * (time.perf_counter() - started),
        "json_cpu_ms": 1000 * (used.ru_utime + used.ru_stime),
        "json_peak_mib": used.ru_maxrss / 1024,
    }


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


main()
