"""What `simulate` prints for people."""

from __future__ import annotations

from elastiq.sim.replay.figures import Figures


def lines_of(figures: Figures, trace: str, span_seconds: float, machines: str) -> list[str]:
    """Return the figures of a trace, line by line; `machines` says on what its jobs ran."""
    facts = {
        "VM-hours": _hours(figures),
        "wait": _wait(figures),
        "VMs": _vms(figures),
        "elasticity": _elasticity(figures),
    }
    left_out = f"{figures.left_out:,} left out, since they need more VMs" if figures.left_out else ""
    stuck = f"{figures.never_started:,} have never started" if figures.never_started else ""
    if left_out or stuck:
        facts["jobs"] = "; ".join(text for text in (left_out, stuck) if text)
    head = f"{trace}: {figures.jobs:,} jobs in {time_text(span_seconds)}"
    return [
        head,
        f"  on {machines.format(max_vms=f'{figures.max_vms:,}')}",
        *(f"  {name:11} {text}" for name, text in facts.items()),
    ]


def _hours(figures: Figures) -> str:
    hours = hours_text(figures.vm_hours)
    if figures.of_types:
        hours += f" of VMs with {figures.cores_per_vm} cores, by {'price' if figures.is_by_price else 'cores'}"
    if figures.ratio is None:
        return hours
    least = hours_text(figures.oracle_vm_hours)
    return f"{hours}, {figures.ratio:.3f} times the {least} that would do if the future were known and no job waited"


def _vms(figures: Figures) -> str:
    each = ", ".join(f"{one.vms:,} {one.type or 'of no type'}" for one in figures.of_types if one.vms)
    return f"{figures.vms:,} launched" + (f": {each}" if each else "")


def _wait(figures: Figures) -> str:
    return (
        f"{time_text(figures.mean_wait_seconds)} on average, up to {time_text(figures.p95_wait_seconds)} for 95 % of "
        f"the jobs, {time_text(figures.worst_wait_seconds)} at worst"
    )


def _elasticity(figures: Figures) -> str:
    found = figures.elasticity
    return (
        f"too few workers for {found.timeshare_under:.1%} of the time, too many for {found.timeshare_over:.1%}; on "
        f"average {found.accuracy_under:.1%} short of the demand and {found.accuracy_over:.1%} above it"
    )


def hours_text(hours: float) -> str:
    """Return VM-hours as people read them."""
    return f"{hours:,.{0 if hours >= 1000 else 1 if hours >= 100 else 2}f}"


def time_text(seconds: float) -> str:
    """Return a time as people say it, with two units at the most."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.1f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"
