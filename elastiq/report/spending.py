"""What VMs cost, as the report has it and `elastiqctl status` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elastiq.decisions import CostFigures

MICROS = 1_000_000


def reported(cost: CostFigures | None) -> dict[str, object]:
    """Return the entries of the report: amounts in the currency; none where the file has no section [cost]."""
    if cost is None:
        return {}
    amounts = {
        "cost_per_hour": cost.per_hour,
        "spent_today": cost.today,
        "spent_this_month": cost.this_month,
        "max_per_hour": cost.max_per_hour,
        "max_per_day": cost.max_per_day,
        "max_per_month": cost.max_per_month,
    }
    found = {name: None if micros is None else micros / MICROS for name, micros in amounts.items()}
    return {"currency": cost.currency, **found}


def lines(report: Mapping[str, Any]) -> dict[str, str]:
    """Return what `status` says of it; nothing if the report says nothing."""
    if report.get("cost_per_hour") is None:
        return {}
    currency = f" {report['currency']}" if report.get("currency") else ""
    parts = (
        f"{report['cost_per_hour']:.2f}{currency} an hour{_of(report, 'max_per_hour')}",
        f"{report['spent_today']:.2f} spent today{_of(report, 'max_per_day')}",
        f"{report['spent_this_month']:.2f} this month{_of(report, 'max_per_month')}",
    )
    return {"cost": ", ".join(parts)}


def _of(report: Mapping[str, Any], name: str) -> str:
    return "" if report.get(name) is None else f" (of {report[name]:.2f})"
