"""The figures of the report for Prometheus: a file that node_exporter's textfile collector reads. No port is opened."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elastiq.decisions import End, Kind, Outcome
from elastiq.report.exposition import Family, lines
from elastiq.report.publishing import publish

GAUGES: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    ("elastiq_jobs_waiting", "Jobs that wait for a worker.", {"": "jobs_waiting"}),
    ("elastiq_workers", "Workers in the batch system.", {"busy": "workers_busy", "idle": "workers_idle"}),
    (
        "elastiq_vms",
        "VMs that count against the maximum; unconfirmed ones may have been launched.",
        {
            "asked_for": "vms_asked_for",
            "pending": "vms_pending",
            "running": "vms_running",
            "leaving": "vms_leaving",
            "error": "vms_in_error",
            "stopped": "vms_stopped",
            "unconfirmed": "vms_unconfirmed",
        },
    ),
    ("elastiq_min_vms", "There are always at least this many VMs.", {"": "min_vms"}),
    ("elastiq_max_vms", "There are never more VMs than this; +Inf is unlimited.", {"": "max_vms"}),
    ("elastiq_cost_per_hour", "What all VMs cost an hour that may exist, by the prices given.", {"": "cost_per_hour"}),
    (
        "elastiq_spent",
        "What VMs have cost in the day and in the month that are not over.",
        {"today": "spent_today", "this_month": "spent_this_month"},
    ),
    ("elastiq_start_time_seconds", "When the daemon started, since the epoch.", {"": "started_at"}),
    ("elastiq_report_time_seconds", "When this was written, since the epoch.", {"": "updated_at"}),
)
"""Name, help, and which entry of the report has the value for each state; without states for the empty one."""

FAILURES = (
    "queue check",
    "worker check",
    "VM check",
    "launch",
    "terminate",
    "reopen",
    "pass",
    "defect",
    "notice by mail",
    "notice by webhook",
    "notice by command",
)
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
            self.failed[kind.value] += outcome.end in (End.FAILED, End.UNCLEAR)
        elif kind is Kind.LAUNCH:
            self.launched += len(outcome.instance_ids)
        elif kind is Kind.TERMINATE:
            self.terminated += 1


def text(report: Mapping[str, Any], totals: Totals, more: Iterable[Family] = ()) -> str:
    """Return the figures of a report, and `more`, as Prometheus reads them. What is not known is left out: it is not
    0."""
    cluster = {"cluster": report["cluster"]}
    return "".join(f"{line}\n" for family in (*_of_report(report, totals), *more) for line in lines(family, cluster))


def _of_report(report: Mapping[str, Any], totals: Totals) -> Iterable[Family]:
    values = {**report, "max_vms": math.inf if report["max_vms"] is None else report["max_vms"]}
    for name, meaning, states in GAUGES:
        known = {state: values[key] for state, key in states.items() if values.get(key) is not None}
        samples = [({"state": state} if state else {}, value) for state, value in known.items()]
        yield Family(name, "gauge", meaning, samples)
    tokens = dict.fromkeys(reason["token"] for reason in report["reasons"])
    held = [({"reason": token}, 1) for token in tokens]
    yield Family("elastiq_held_back", "gauge", "Why nothing is done, by the tokens of docs/reasons.md.", held)
    for name, meaning, count in (
        ("elastiq_vms_launched_total", "VMs that the cloud has launched.", totals.launched),
        ("elastiq_vms_terminated_total", "VMs that elastiq terminated.", totals.terminated),
    ):
        yield Family(name, "counter", meaning, [({}, count)])
    failures = [({"kind": kind}, count) for kind, count in sorted(totals.failed.items())]
    yield Family("elastiq_failures_total", "counter", "Checks and actions that failed.", failures)


def write(path: Path, report: Mapping[str, Any], totals: Totals, more: Iterable[Family] = ()) -> None:
    """Replace the file at `path`. Raise OSError."""
    publish(path, text(report, totals, more).encode())
