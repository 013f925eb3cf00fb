"""Other options for the same jobs: beside one another, and which of them are worth setting."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from elastiq.config import SECTIONS, Settings
from elastiq.sim.replay.figures import Figures
from elastiq.sim.replay.said import hours_text, time_text
from elastiq.sim.replay.simulate import Scenario

Read = Callable[[Sequence[str]], Settings]
"""Reads the configuration file, with changes such as "idle_for_time_s=60" to it. Raises ConfigError."""

THIS_FILE = "this file"

WORTH_SAVING = 0.01
"""A smaller part of the VM-hours is no reason to change options."""

WORTH_WAITING_SECONDS = 30.0
"""So much longer may jobs wait on average for what is cheaper, if nothing else is."""

_KNOWN = frozenset(option.name for section in SECTIONS for option in section.options)


@dataclass(frozen=True)
class Variant:
    """Changes to the configuration, with a name for people."""

    name: str
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tried:
    """What came of a variant."""

    variant: Variant
    settings: Settings
    figures: Figures


def changes_of(text: str) -> list[str]:
    """Return the changes of one --set, which may be several with commas between them."""
    return re.split(r",(?=[A-Za-z_.]+\s*=)", text)


def compared(sets: Iterable[str]) -> list[Variant]:
    """Return what is set beside the file as it is: the policies, and each of `sets`."""
    return [
        _classic("classic, as the original by default", 40, 3600),
        _classic("classic, at once and for a minute", 0, 60),
        *(_adaptive(eagerness) for eagerness in ((0.25, 0.5, 0.65, 0.8, 0.95) if "eagerness" in _KNOWN else ())),
        *(Variant(text, tuple(changes_of(text))) for text in sets),
    ]


def searched() -> list[Variant]:
    """Return what is tried for advice."""
    classic = [
        _classic(f"classic, waiting_jobs_time_s {wait}, idle_for_time_s {idle}", wait, idle)
        for wait in (0, 40)
        for idle in (60, 300, 1200, 3600)
    ]
    eager = (0.0, 0.25, 0.5, 0.65, 0.8, 0.95, 1.0) if "eagerness" in _KNOWN else ()
    return [*(_adaptive(eagerness) for eagerness in eager), *classic]


def _classic(name: str, wait_seconds: int, idle_seconds: int) -> Variant:
    times = (f"waiting_jobs_time_s={wait_seconds}", f"idle_for_time_s={idle_seconds}")
    return Variant(name, (*_policy("classic"), *times))


def _adaptive(eagerness: float) -> Variant:
    times = ("waiting_jobs_time_s=0", "idle_for_time_s=60", f"eagerness={eagerness:g}")
    return Variant(f"adaptive, eagerness {eagerness:g}", (*_policy("adaptive"), *times))


def _policy(name: str) -> tuple[str, ...]:
    common = ("waiting_jobs_threshold=0", "n_jobs_per_vm=")
    return (f"policy={name}", *common) if "policy" in _KNOWN else common


def tried(variants: Iterable[Variant], read: Read, scenario: Scenario, tell: Callable[[str], None]) -> list[Tried]:
    """Return what comes of each variant; `tell` is given its name first. Raise ConfigError if one cannot be."""
    # An option that cannot be is said before anything takes long.
    readings = [(variant, read(variant.changes)) for variant in variants]
    found = []
    for variant, settings in readings:
        tell(variant.name)
        found.append(Tried(variant, settings, scenario.run(settings)))
    return found


def front(found: Iterable[Tried]) -> list[Tried]:
    """Return those of which no other is as cheap and lets jobs wait for less long, the cheapest first."""
    best: list[Tried] = []
    for one in sorted(found, key=lambda one: (one.figures.vm_hours, one.figures.mean_wait_seconds)):
        if not best or one.figures.mean_wait_seconds < best[-1].figures.mean_wait_seconds:
            best.append(one)
    return best


def advice(present: Tried, found: Sequence[Tried]) -> str:
    """Return what to set instead of what is set at `present`, in one sentence."""
    cheaper = [one for one in found if _saved(present, one) >= WORTH_SAVING and _is_complete(present, one)]
    wait = present.figures.mean_wait_seconds
    for longer in (0.0, WORTH_WAITING_SECONDS):
        fit = [one for one in cheaper if one.figures.mean_wait_seconds <= wait + longer]
        if fit:
            best = min(fit, key=lambda one: one.figures.vm_hours)
            return f"Set {_set(present, best)}: {_gain(present, best)}."
    return (
        "Leave the options as they are: nothing that was tried needs fewer VM-hours without letting jobs wait for more "
        f"than {WORTH_WAITING_SECONDS:.0f} s longer."
    )


def _saved(present: Tried, other: Tried) -> float:
    return 1 - other.figures.vm_hours / present.figures.vm_hours if present.figures.vm_hours else 0.0


def _is_complete(present: Tried, other: Tried) -> bool:
    return other.figures.jobs >= present.figures.jobs


def _set(present: Tried, best: Tried) -> str:
    """Return the changes that make a difference to what the file says."""
    texts = []
    for change in best.variant.changes:
        title, _, value = change.partition("=")
        name = title.rpartition(".")[2].strip().lower()
        now, then = (_value(one.settings, name) for one in (present, best))
        if now != then:
            texts.append(f"{name} = {value}" if value else f"no {name}")
    return ", ".join(texts[:-1]) + " and " * (len(texts) > 1) + texts[-1]


def _value(settings: Settings, name: str) -> object:
    return getattr(settings.elastiq, name, getattr(settings.quota, name, None))


def _gain(present: Tried, best: Tried) -> str:
    now, then = present.figures, best.figures
    hours = f"{hours_text(then.vm_hours)} instead of {hours_text(now.vm_hours)}"
    waits = f"{time_text(then.mean_wait_seconds)} on average instead of {time_text(now.mean_wait_seconds)}"
    return f"{_saved(present, best):.1%} fewer VM-hours ({hours}), and jobs wait {waits}"


def table(found: Iterable[Tried]) -> list[str]:
    """Return variants beside one another, line by line."""
    rows: list[tuple[str, ...]] = [("", "VM-hours", "ratio", "mean wait", "95 %", "worst", "VMs")]
    for one in found:
        figures = one.figures
        waits = (figures.mean_wait_seconds, figures.p95_wait_seconds, figures.worst_wait_seconds)
        ratio = "" if figures.ratio is None else f"{figures.ratio:.3f}"
        rows.append((one.variant.name, hours_text(figures.vm_hours), ratio, *map(time_text, waits), f"{figures.vms:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:]))]).rstrip()
        for row in rows
    ]
