"""Prints what elastiq costs, beside the original and the targets: `python -m tests.bench [--quick] [--strict]`.

Every piece runs in a fresh process, and its figures are the median of several repetitions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.plans import KINDS
from tests.testbed.rootfs import UnavailableError, rootfs

ROOT = Path(__file__).parents[2]
PIECE_SECONDS = 1800
RESIDENT_MIB = 80
PAGE = 200

Costs = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    original: str
    value: float
    unit: str
    target: float | None = None
    """At most this; None: only shown."""

    @property
    def met(self) -> bool:
        return self.target is None or self.value <= self.target

    def cells(self) -> tuple[str, ...]:
        target = "" if self.target is None else f"<= {_number(self.target)}"
        verdict = "" if self.target is None else ("met" if self.met else "MISSED")
        return self.what, self.original, f"{_number(self.value)} {self.unit}".strip(), target, verdict


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def piece(name: str, repetitions: int, *arguments: object) -> Costs:
    """Run one piece in a process of its own and return what it cost."""
    command = [sys.executable, "-m", "tests.bench.pieces", name, str(repetitions), *map(str, arguments)]
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}  # as elastiqctl and the service have it
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, timeout=PIECE_SECONDS, check=True)
    costs: Costs = json.loads(done.stdout.splitlines()[-1])
    return costs


def queue_checks(repetitions: int) -> list[Row]:
    originals = {0: ("2 ms", "28"), 10_000: ("4 ms", "28"), 100_000: ("22 ms", "49"), 1_000_000: ("", "")}
    costs = {jobs: piece("queue_check", repetitions, jobs) for jobs in originals}
    rows = []
    for jobs, (cpu, peak) in originals.items():
        name = f"queue check, {jobs:,} idle jobs"
        rows += [
            Row(f"{name}: own CPU", cpu, costs[jobs]["cpu_ms"], "ms", 5),
            Row(f"{name}: CPU of commands", "", costs[jobs]["children_cpu_ms"], "ms"),
            Row(f"{name}: peak", f"{peak} MiB" if peak else "", costs[jobs]["peak_mib"], "MiB", 100),
        ]
    growth = costs[1_000_000]["cpu_ms"] - costs[0]["cpu_ms"]
    return [*rows, Row("queue check, growth of own CPU from 0 to 1,000,000", "", max(0.0, growth), "ms", 2)]


def vm_checks(repetitions: int) -> list[Row]:
    rows = []
    for vms, slots, cpu, peak in ((100, 100, 95, 30), (1000, 1000, 856, 81), (1000, 5000, 1527, 109)):
        costs = piece("vm_check", repetitions, vms, slots, "running")
        rows += _listing(f"VM check, {vms:,} VMs, {slots:,} slots", vms, costs, cpu, 0.4 * cpu, 2, peak)
    costs = piece("vm_check", min(5, repetitions), 5000, 40_000, "running")
    name = "VM check, 5,000 VMs, 40,000 slots"
    rows += [
        Row(f"{name}: own CPU", "", costs["cpu_ms"], "ms", 2000),
        Row(f"{name}: requests (pages of one listing)", "", costs["requests"], "", 5000 // PAGE),
        Row(f"{name}: peak", "", costs["peak_mib"], "MiB", 150),
    ]
    costs = piece("vm_check", repetitions, 1000, 0, "pending")
    return rows + _listing("error check, 1,000 owned VMs", 1000, costs, 366, 366, 1, 54)


def _listing(name: str, vms: int, costs: Costs, cpu: float, cpu_target: float, requests: int, peak: int) -> list[Row]:
    return [
        Row(f"{name}: own CPU", f"{cpu} ms", costs["cpu_ms"], "ms", cpu_target),
        Row(f"{name}: wall", "", costs["wall_ms"], "ms"),
        Row(f"{name}: requests (pages of one listing)", str(requests), costs["requests"], "", -(-vms // PAGE)),
        Row(f"{name}: peak", f"{peak} MiB", costs["peak_mib"], "MiB"),
        Row(f"{name}: resident after", "", costs["resident_mib"], "MiB", RESIDENT_MIB),
    ]


def plans(repetitions: int) -> list[Row]:
    """Make plans alone, of a few VMs and of thousands."""
    rows = []
    for kind in KINDS:
        for vms, groups, target in ((3, 3, None), (50, 5, None), (5000, 100, 100), (5000, 10_000, 400)):
            costs = piece("plans", repetitions if vms > 50 else 200, kind, vms, groups, 2 * vms)
            rows.append(Row(f"plan(), {kind}: {vms:,} VMs, {groups:,} groups", "", costs["cpu_ms"], "ms", target))
    return rows


def launches(repetitions: int) -> list[Row]:
    fast, slow = piece("launch", repetitions, 0), piece("launch", repetitions, 0.5)
    return [
        Row("launch of 100 VMs: requests", "101", max(fast["requests"], slow["requests"]), "", 3),
        Row("launch of 100 VMs: own CPU", "230 ms", fast["cpu_ms"], "ms", 230),
        Row("launch of 100 VMs: wall, no latency", "1,610 ms", fast["wall_ms"], "ms"),
        Row("launch of 100 VMs: wall, 0.5 s latency", "51,000 ms", slow["wall_ms"], "ms", 2000),
    ]


def paced_launches() -> list[Row]:
    """Launch 5,000 VMs out of AWS's bucket."""
    name, counts = "5,000 VMs out of AWS's bucket", piece("paced_launch", 1, 5000)
    used = 100 * counts["launched"] / (counts["launched"] + counts["lost"])
    return [
        Row(f"{name}: requests refused", "", counts["refused"], "", 0),
        Row(f"{name}: part of it that was not used", "", 100 - used, "%", 2),
        Row(f"{name}: virtual time", "", counts["seconds"], "s"),
    ]


def idle_runs() -> list[Row]:
    """Run the daemon as it is, with the original's default intervals."""
    originals = {0: "20 ms", 100: "250 ms"}
    rows = []
    for vms, costs in _daemons(tuple(originals), 60, 45).items():
        name = f"60 s idle, {vms} VMs"
        rows += [
            Row(f"{name}: own CPU", originals[vms], costs["cpu_ms"], "ms", 250),
            Row(f"{name}: CPU of commands", "", costs["children_cpu_ms"], "ms"),
            Row(f"{name}: requests", "4", costs["requests"], "", 4),
            Row(f"{name}: resident", "29 MiB", costs["resident_mib"], "MiB", RESIDENT_MIB),
        ]
    return rows


def resident() -> list[Row]:
    """Look at the whole daemon after a few VM checks."""
    rows = []
    for vms, costs in _daemons((100, 1000), 4, 2).items():
        name = f"daemon, {vms:,} VMs, a VM check every 2 s"
        rows.append(Row(f"{name}: resident", "", costs["resident_mib"], "MiB", RESIDENT_MIB))
        rows.append(Row(f"{name}: peak", "", costs["peak_mib"], "MiB", 100))
    return rows


def slurm_queues(repetitions: int) -> list[Row]:
    """Look at the queue of a real Slurm; the column of the original has what `squeue --json` costs there instead."""
    try:
        rootfs()
    except UnavailableError as reason:
        print(f"no real Slurm: {reason}\n")
        return []
    rows = []
    for name, arrays, jobs in (("an array of 50,000", 1, 50_000), ("10,000 single jobs", 10_000, 1)):
        costs = piece("slurm_queue", repetitions, arrays, jobs)
        what = f"real Slurm, {name}"
        rows += [
            Row(f"{what}: own CPU", "", costs["cpu_ms"], "ms", 5),
            Row(
                f"{what}: CPU of commands (squeue --json)",
                f"{costs['json_cpu_ms']:.0f} ms",
                costs["children_cpu_ms"],
                "ms",
            ),
            Row(f"{what}: wall (squeue --json)", f"{costs['json_wall_ms']:.0f} ms", costs["wall_ms"], "ms", 1000),
            Row(
                f"{what}: peak of commands (squeue --json)",
                f"{costs['json_peak_mib']:.0f} MiB",
                costs["children_peak_mib"],
                "MiB",
            ),
            Row(f"{what}: peak", "", costs["peak_mib"], "MiB", 100),
        ]
    return rows


def htcondor_queues(repetitions: int) -> list[Row]:
    """Look at the queue of a real HTCondor; the column of the original has what it costs to tell jobs apart by their
    sizes alone, as 2.0.0 did."""
    try:
        rootfs()
    except UnavailableError as reason:
        print(f"no real HTCondor: {reason}\n")
        return []
    costs = piece("htcondor_queue", repetitions, 1000, 100, 5)
    what = "real HTCondor, 100,000 jobs in 1,000 groups"
    growth = max(0.0, costs["many_demand_cpu_ms"] - costs["one_demand_cpu_ms"])
    by_size = costs["many_by_size_children_cpu_ms"]
    return [
        Row(f"{what}: own CPU", "", costs["many_demand_cpu_ms"], "ms"),
        Row(f"{what}: growth of own CPU from 1,000 jobs on", "", growth, "ms", 2),
        Row(
            f"{what}: CPU of child process (by sizes alone)",
            f"{by_size:.0f} ms",
            costs["many_demand_children_cpu_ms"],
            "ms",
            1.1 * by_size + 200,
        ),
        Row(
            f"{what}: wall (by sizes alone)",
            f"{costs['many_by_size_wall_ms']:.0f} ms",
            costs["many_demand_wall_ms"],
            "ms",
        ),
        Row(
            f"{what}: CPU of the schedd (by sizes alone)",
            f"{costs['many_by_size_schedd_cpu_ms']:.0f} ms",
            costs["many_demand_schedd_cpu_ms"],
            "ms",
        ),
        Row(f"{what}: CPU of judging them for 5 pools, every 10 min", "", costs["many_judge_children_cpu_ms"], "ms"),
        Row(f"{what}: elastiqctl why of one job, wall", "", costs["many_why_one_ms"], "ms", 2000),
        Row(f"{what}: elastiqctl why of all, wall", "", costs["many_why_all_ms"], "ms", 2000),
    ]


def answers(repetitions: int) -> list[Row]:
    """Ask as people do, with whole processes, beside 100,000 jobs and a year of 1,000 VMs a day."""
    why, kept = piece("why_sandbox", repetitions, 100_000), piece("history_year", repetitions, 1000)
    what, year = "sandbox, 100,000 jobs", "a year of 1,000 VMs a day"
    asked = {
        "history of a day": "history",
        "cost of 30 days": "cost",
        "cost of all": "cost_year",
        "cost of all by day": "cost_day_year",
        "cost of all by pool": "cost_pool_year",
    }
    return [
        Row(f"{what}: elastiqctl why of one job, wall", "", why["why_one_ms"], "ms", 2000),
        Row(f"{what}: elastiqctl why of all, wall", "", why["why_all_ms"], "ms", 2000),
        Row(f"{year}: size of history.db", "", kept["megabytes"], "MB", 100),
        *(Row(f"{year}: {name}, CPU", "", kept[f"{key}_cpu_ms"], "ms", 1000) for name, key in asked.items()),
        Row(f"{year}: history of a week, CPU", "", kept["history_week_cpu_ms"], "ms"),
        Row("page, 5,000 VMs: CPU", "", kept["page_large_ms"], "ms", 100),
        Row("page, 5,000 VMs: size", "", kept["page_large_bytes"] / 1000, "kB", 300),
        Row(f"page, {year}: CPU of reading what was", "", kept["page_read_ms"], "ms"),
    ]


def simulated() -> list[Row]:
    """Run a month of recorded jobs."""
    found = piece("thirty_days", 1, 100_000)
    what = f"30 days, 100,000 jobs, {found['vms']} VMs on average: elastiqctl simulate"
    return [
        Row(f"{what}, CPU", "", found["cpu_seconds"], "s", 30),
        Row(f"{what}, peak", "", found["peak_mib"], "MiB", 500),
    ]


def flooded() -> list[Row]:
    """Let whole daemons live beside answers without measure or end."""
    found = piece("floods", 1, 30)
    names = {"peak_mib": "peak memory of the daemon", "late_seconds": "loop late by", "log_kb": "log"}
    targets = {"peak_mib": (150, "MiB"), "late_seconds": (10, "s"), "log_kb": (1000, "kB")}
    return [
        Row(f"{found['floods']} floods, the worst ({found[key][0]}): {what}", "", found[key][1], unit, target)
        for key, what in names.items()
        for target, unit in (targets[key],)
    ]


def _daemons(clusters: Sequence[int], seconds: int, check_vms_every_s: int) -> dict[int, Costs]:
    """Run a daemon for each number of VMs, all at a time, to wait only once."""
    with ThreadPoolExecutor() as pool:
        runs = {vms: pool.submit(piece, "daemon", 1, vms, seconds, check_vms_every_s) for vms in clusters}
    return {vms: run.result() for vms, run in runs.items()}


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table that is also readable as it is."""
    head = ("figure", "original", "elastiq", "target", "verdict")
    lines = [head, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    texts = [
        "| "
        + " | ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths))
        )
        + " |"
        for line in lines
    ]
    rule = (
        "|"
        + "|".join("-" * (width + 2) if not column else "-" * (width + 1) + ":" for column, width in enumerate(widths))
        + "|"
    )
    return "\n".join([texts[0], rule, *texts[1:]])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, and not the 60 s of standing idle")
    parser.add_argument("--strict", action="store_true", help="exit status 1 if a target is missed")
    arguments = parser.parse_args()
    repetitions = 5 if arguments.quick else 15
    parts: list[Callable[[], list[Row]]] = [
        lambda: queue_checks(repetitions),
        lambda: vm_checks(repetitions),
        lambda: plans(min(3, repetitions)),
        lambda: launches(1 if arguments.quick else 5),
        paced_launches,
        resident,
        lambda: answers(1 if arguments.quick else 5),
    ]
    if not arguments.quick:
        parts += [
            simulated,
            idle_runs,
            flooded,
            lambda: slurm_queues(repetitions),
            lambda: htcondor_queues(repetitions),
        ]
    rows: list[Row] = []
    for part in parts:
        rows += part()
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} at the end\n")
    print(table(rows))
    missed = [row.what for row in rows if not row.met]
    print(f"\n{len(missed)} of {sum(row.target is not None for row in rows)} targets missed")
    return 1 if missed and arguments.strict else 0


if __name__ == "__main__":
    sys.exit(main())
