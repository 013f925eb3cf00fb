"""What `elastiqctl history` and `cost` show: a document for programs, a table for other programs, lines for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from elastiq.report.cost import Line, total
from elastiq.report.periods import moment
from elastiq.state.kept import Event, Life

Document = dict[str, Any]

COST_COLUMNS = ("vms", "vm_hours", "boot_hours", "work_hours", "idle_hours", "unknown_hours", "unpriced_hours", "cost")

HISTORY_COLUMNS = (
    *("what", "at", "kind", "token", "subject", "text", "id", "pool", "market", "type", "zone", "price"),
    *("launched_at", "joined_at", "first_job_at", "ended_at", "idle_seconds", "worker"),
)


def vm_document(life: Life, until: float) -> Document:
    """Return a VM, with for how long it was idle up to `until`."""
    document = {**vars(life)}
    since = document.pop("idle_since")
    if life.idle_seconds is not None and since is not None:
        document["idle_seconds"] = life.idle_seconds + max(0.0, until - since)
    return document


def history_document(lives: Iterable[Life], events: Iterable[Event], until: float) -> Document:
    """Return VMs and events, the newest last."""
    return {"vms": [vm_document(life, until) for life in lives], "events": [dict(vars(one)) for one in events]}


def history_rows(document: Document) -> list[Sequence[object]]:
    """Return the same as rows of HISTORY_COLUMNS, by time."""
    rows = [{"what": "vm", "at": vm["launched_at"], **vm, "text": vm["because"]} for vm in document["vms"]]
    rows += [{"what": "event", **event} for event in document["events"]]
    rows.sort(key=lambda row: float(row["at"]))
    return [[row.get(name) for name in HISTORY_COLUMNS] for row in rows]


def history_lines(document: Document, until: float) -> list[str]:
    """Return the same for people."""
    head = ("launched", "VM", "pool", "offer", "boot", "first job", "idle", "lived", "price", "ended", "why")
    rows = [_vm_row(vm, until) for vm in document["vms"]]
    lines = table([head, *rows]) if rows else ["no VM was there in that time"]
    lines.append("")
    events = [
        (moment(one["at"]), one["kind"], one["token"] or "-", one["text"] or one["subject"])
        for one in document["events"]
    ]
    return [*lines, *(table([("when", "what", "token", "in words"), *events]) if events else ["nothing happened"])]


def _vm_row(vm: Mapping[str, Any], until: float) -> tuple[str, ...]:
    launched, joined, ended = vm["launched_at"], vm["joined_at"], vm["ended_at"]
    return (
        moment(launched),
        vm["id"],
        vm["pool"],
        " ".join(filter(None, (vm["market"], vm["type"], vm["zone"]))) or "-",
        "never" if joined is None else span(joined - launched),
        "never" if vm["first_job_at"] is None else span(vm["first_job_at"] - launched),
        "-" if vm["idle_seconds"] is None else span(vm["idle_seconds"]),
        span((until if ended is None else ended) - launched),
        "-" if vm["price"] is None else f"{vm['price']:g}",
        "is there" if ended is None else moment(ended),
        vm["token"] or "-",
    )


def cost_document(way: str, lines: Mapping[str, Line], vms: int) -> Document:
    """Return what VMs have cost."""
    rows = [{way: name, **_cost(line)} for name, line in lines.items()] if way else []
    return {"by": way or "all", "lines": rows, "total": _cost(total(lines.values(), vms))}


def _cost(line: Line) -> Document:
    hours = {
        name: round(seconds / 3600, 6)
        for name, seconds in (
            ("vm_hours", line.seconds),
            ("boot_hours", line.boot_seconds),
            ("work_hours", line.work_seconds),
            ("idle_hours", line.idle_seconds),
            ("unknown_hours", line.unknown_seconds),
            ("unpriced_hours", line.unpriced_seconds),
        )
    }
    is_priced = line.seconds > line.unpriced_seconds or not line.seconds
    return {"vms": line.vms, **hours, "cost": round(line.money, 6) if is_priced else None}


def cost_rows(document: Document) -> list[Sequence[object]]:
    """Return the same as rows, the sum last."""
    way = document["by"]
    rows = [*document["lines"], {way: "sum", **document["total"]}]
    return [[row[name] for name in (way, *COST_COLUMNS)] for row in rows]


def cost_lines(document: Document, currency: str = "") -> list[str]:
    """Return the same for people."""
    head = (document["by"], "VMs", "VM-hours", "boot", "work", "idle", "unknown", "cost")
    names = COST_COLUMNS[1:6]
    sums = [*document["lines"], {document["by"]: "sum", **document["total"]}]
    rows = [
        (one[document["by"]], str(one["vms"]), *(_hours(one[name]) for name in names), _money(one["cost"]))
        for one in sums
    ]
    lines = table([head, *rows], right_from=1)
    unpriced, cost = document["total"]["unpriced_hours"], document["total"]["cost"]
    if cost is None:
        lines.append("no price is known of any of them: see instance_types in elastiq.conf(5)")
    else:
        if currency:
            lines.append(f"costs are in {currency}")
        if unpriced:
            lines.append(f"{_hours(unpriced)} VM-hours of these have no price, and are not in the cost")
    return lines


def _hours(hours: float) -> str:
    return f"{hours:.2f}"


def _money(amount: float | None) -> str:
    return "-" if amount is None else f"{amount:.2f}"


def span(seconds: float) -> str:
    """Return how long something took."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def table(rows: Sequence[Sequence[str]], right_from: int = 1000) -> list[str]:
    """Return rows as lines with columns of one width; from `right_from` on they are flush right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(
            f"{text:>{width}}" if place >= right_from else f"{text:{width}}"
            for place, (text, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]


def comma_separated(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return rows as RFC 4180 has them, but with the line ends of this system."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(["" if value is None else value for value in row] for row in rows)
    return text.getvalue().splitlines()
