"""What `elastiqctl status` shows of a report."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timezone
from typing import Any

from elastiq.planning.why import Account
from elastiq.report import spending
from elastiq.text import printable

SILENT_SECONDS = 180.0
"""A running daemon writes its report every minute."""

SHORTEST_REPEATED = 20
"""Characters of an error that are worth saying once alone."""

OTHER_VMS = {
    "vms_asked_for": "asked for",
    "vms_leaving": "leaving",
    "vms_in_error": "in error",
    "vms_stopped": "stopped",
}
"""Entries of the report that are worth a word only if there are any."""


MOST_HOLDS = 10
"""All of it is to be seen on one screen; `elastiqctl why` has the rest."""


def picture(report: dict[str, Any], monotonic_microseconds: int, told: Account | None = None) -> list[str]:
    """Return the report of a running daemon for people, line by line, as at that time of the monotonic clock, with what
    it has `told` of jobs and VMs."""
    try:
        return [printable(line) for line in _lines(report, monotonic_microseconds, told)]
    except (TypeError, ValueError, AttributeError, ArithmeticError, OSError):
        return [f"elastiq is running, but its last report cannot be read; see the log: {printable(str(report)[:200])}"]


def _lines(report: dict[str, Any], monotonic_microseconds: int, told: Account | None) -> list[str]:
    lines = [
        f"elastiq {report.get('version')} is running (pid {report.get('pid')}) since {_time(report, 'started_at')}"
    ]
    age_seconds = (monotonic_microseconds - int(report.get("monotonic_microseconds") or 0)) / 1_000_000
    if age_seconds < 0:
        # Of another boot, in which the daemon had the same number, as is usual in containers.
        lines.append("  but it has not reported since this machine was started; see the log")
    elif age_seconds > SILENT_SECONDS:
        lines.append(f"  but it has not reported for {age_seconds:.0f} s; see the log")
    facts = {
        "jobs waiting": _number(report.get("jobs_waiting")),
        "workers": f"{_number(report.get('workers_busy'))} busy, {_number(report.get('workers_idle'))} idle",
        "VMs": _vms(report),
        **_pools(report),
        **_verdicts(told),
        **spending.lines(report),
        "last action": _event(report.get("last_action")),
        "last error": _event(report.get("last_error")),
    }
    error = report.get("last_error") or {"text": "", "over_at": True}
    holds = report.get("holds") or []
    for hold in holds[:MOST_HOLDS]:
        said = hold if error.get("over_at") else without_error(hold, str(error.get("text")), "see last error")
        lines.append(f"  holding back  {said}")
    if len(holds) > MOST_HOLDS:
        lines.append(f"  holding back  and {len(holds) - MOST_HOLDS} more: see elastiqctl why")
    for advice in report.get("advice") or []:
        lines.append(f"  advice        {advice}")
    lines[1:1] = [f"  {name:13} {text}" for name, text in facts.items()]
    return lines


def _vms(report: dict[str, Any]) -> str:
    at_most = report.get("max_vms")
    unconfirmed = report.get("vms_unconfirmed")
    counts = [
        f"{_number(report.get('vms_pending'))} pending",
        f"{_number(report.get('vms_running'))} running",
        *(f"{report[name]} {state}" for name, state in OTHER_VMS.items() if report.get(name)),
        *([f"{unconfirmed} unconfirmed{_until(report)}"] if unconfirmed else []),
    ]
    limits = f"{_number(report.get('min_vms'))}..{'unlimited' if at_most is None else at_most}"
    return f"{', '.join(counts)} of {limits}"


def _pools(report: dict[str, Any]) -> dict[str, str]:
    of_pools = report.get("vms_of_pools") or {}
    return {"of pools": ", ".join(f"{vms} {name}" for name, vms in of_pools.items())} if of_pools else {}


def _verdicts(told: Account | None) -> dict[str, str]:
    """Return how many jobs and VMs there are of each verdict, those of most first."""
    if told is None:
        return {}
    jobs: Counter[str] = Counter()
    for group in told.groups:
        for verdict in group.told:
            jobs[verdict.token] += verdict.jobs
    vms = Counter(vm.told.token for vm in told.vms)
    lines = {"of jobs": jobs, "of VMs": vms}
    return {name: ", ".join(f"{n} {token}" for token, n in one.most_common()) for name, one in lines.items() if one}


def _number(value: object) -> str:
    return "unknown" if value is None else str(value)


def _event(event: dict[str, Any] | None) -> str:
    if not event:
        return "none"
    over = f" (over since {_time(event, 'over_at')})" if event.get("over_at") else ""
    return f"{_time(event, 'at')}{over}: {event.get('text')}"


def without_error(hold: str, text: str, instead: str) -> str:
    """Return why something is held back, without the words of an error that is shown already: they may be long."""
    # What failed, or what came of it, as far as both sentences have it.
    starts = [0, *(match.end() for match in re.finditer(r"[:;] ", text))]
    parts = (text[start:] for start in starts if len(text) - start >= SHORTEST_REPEATED)
    return next((hold.replace(part, instead) for part in parts if part in hold), hold)


def _until(report: dict[str, Any]) -> str:
    return f" until {_time(report, 'unconfirmed_until')}" if report.get("unconfirmed_until") else ""


def _time(facts: dict[str, Any], name: str) -> str:
    at = datetime.fromtimestamp(float(facts.get(name) or 0), timezone.utc)
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S%z")
