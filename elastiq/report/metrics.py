"""The figures of the report for Prometheus: a file that node_exporter's textfile collector reads. No port is opened.

prometheus_client is imported in here alone, and only if a file is wanted: elastiq does without it otherwise.
"""

from __future__ import annotations

import importlib
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elastiq.decisions import End, Kind, Outcome

FILE_MODE = 0o644
"""node_exporter runs as another user, and nothing in the file is secret."""

GAUGES: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    ("elastiq_jobs_waiting", "Jobs that wait for a worker.", {"": "jobs_waiting"}),
    ("elastiq_workers", "Workers in the batch system.", {"busy": "workers_busy", "idle": "workers_idle"}),
    (
        "elastiq_vms",
        "VMs that count against the maximum; unconfirmed ones may have been launched.",
        {"pending": "vms_pending", "running": "vms_running", "unconfirmed": "vms_unconfirmed"},
    ),
    ("elastiq_min_vms", "There are always at least this many VMs.", {"": "min_vms"}),
    ("elastiq_max_vms", "There are never more VMs than this; +Inf is unlimited.", {"": "max_vms"}),
    ("elastiq_start_time_seconds", "When the daemon started, since the epoch.", {"": "started_at"}),
    ("elastiq_report_time_seconds", "When this was written, since the epoch.", {"": "updated_at"}),
)
"""Name, help, and which entry of the report has the value for each state; without states for the empty one."""

FAILURES = ("queue check", "worker check", "VM check", "launch", "terminate", "reopen", "pass", "defect")
"""Counted from 0 on, because Prometheus takes a counter that turns up as 1 for one that has not risen."""


@dataclass
class Totals:
    """What was done and what failed since the daemon started."""

    launched: int = 0
    terminated: int = 0
    failed: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(FAILURES, 0)))

    def count(self, outcome: Outcome) -> None:
        """Add what became of a decision."""
        kind = outcome.decision.kind
        if outcome.end is not End.DONE:
            self.failed[kind.value] += outcome.end is not End.REFUSED
        elif kind is Kind.LAUNCH:
            self.launched += len(outcome.instance_ids)
        elif kind is Kind.TERMINATE:
            self.terminated += 1


@dataclass(frozen=True, eq=False)
class _Collector:
    families: tuple[Any, ...]

    def collect(self) -> Iterable[Any]:
        return self.families


def can_be_written() -> bool:
    """Return whether prometheus_client can be imported."""
    try:
        importlib.import_module("prometheus_client")
    except ImportError:
        return False
    return True


def registry(report: Mapping[str, Any], totals: Totals) -> Any:
    """Return a CollectorRegistry with the figures of a report. What is not known is left out: it is not 0."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    cluster = report["cluster"]
    values = {**report, "max_vms": math.inf if report["max_vms"] is None else report["max_vms"]}
    families = []
    for name, text, states in GAUGES:
        gauge = GaugeMetricFamily(name, text, labels=["cluster"] if "" in states else ["cluster", "state"])
        for state, entry in states.items():
            if values[entry] is not None:
                gauge.add_metric([cluster, state] if state else [cluster], values[entry])
        if gauge.samples:
            families.append(gauge)
    launched = CounterMetricFamily("elastiq_vms_launched", "VMs that the cloud has launched.", labels=["cluster"])
    launched.add_metric([cluster], totals.launched)
    terminated = CounterMetricFamily("elastiq_vms_terminated", "VMs that elastiq terminated.", labels=["cluster"])
    terminated.add_metric([cluster], totals.terminated)
    failures = CounterMetricFamily("elastiq_failures", "Checks and actions that failed.", labels=["cluster", "kind"])
    for kind, count in sorted(totals.failed.items()):
        failures.add_metric([cluster, kind], count)
    made = CollectorRegistry()
    made.register(_Collector((*families, launched, terminated, failures)))
    return made


def write(path: Path, report: Mapping[str, Any], totals: Totals) -> None:
    """Replace the file at `path`, so that nobody reads half of it. Raise OSError.

    prometheus_client's write_to_textfile leaves the mode to the umask until it is done, and a new temporary file behind
    for each daemon that is killed in it.
    """
    from prometheus_client import generate_latest

    content = generate_latest(registry(report, totals))
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    with temporary.open("xb") as file:
        os.fchmod(file.fileno(), FILE_MODE)
        file.write(content)
    temporary.replace(path)
