"""The last day and the last month as series, out of what the daemon has kept: what the page and `top` draw."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from elastiq.report.charts import DAY_SECONDS, Layer, Span, number
from elastiq.state.kept import HOUR_SECONDS, Event, Hour, Life, Whole
from elastiq.state.past import read_events, read_hours, read_parted

DAY_STEPS = 24
MONTH_DAYS = 30
MONTH_STEP_HOURS = 3

KNOWN_SECONDS = 60.0
"""Of a step of which less was seen nothing is known."""

EVENTS_KEPT = 100
EVENTS_SECONDS = (3600.0, DAY_SECONDS, 90 * DAY_SECONDS)
"""So far back is looked for them, as long as that shows too few."""

STAGES: tuple[tuple[str, str, Callable[[Hour], float]], ...] = (
    ("at work", "work", lambda hour: hour.busy_vm_seconds),
    ("idle", "idle", lambda hour: hour.idle_vm_seconds),
    ("booting", "boot", lambda hour: hour.asked_vm_seconds + hour.booting_vm_seconds),
    ("leaving", "go", lambda hour: hour.leaving_vm_seconds),
    ("not in sight", "out", lambda hour: hour.unknown_vm_seconds),
)
"""What VMs do: how that is called, its colour, and their seconds in it."""

REASONS_MOST = 5
LOOKS_OF_REASONS = {"idle": "idle", "never-joined": "bad", "vm-in-error": "bad"}
OTHER_LOOKS = ("go", "wait", "out", "boot", "work", "bad", "idle")
"""Colours of reasons, in their order, as far as they are not in use."""


@dataclass(frozen=True)
class Period:
    """A time in equal steps. In each step None is not known."""

    name: str
    key: str
    span: Span
    capacity: tuple[Layer, ...] = ()
    """How many VMs there were on average, by stage."""
    demand: Layer | None = None
    """How many VMs jobs would have had, on average: those that run, and those that wait."""
    waiting: Layer | None = None
    """How many jobs waited on average."""
    wide: Span | None = None
    """The same time in the steps of what is counted in it."""
    launches: tuple[Layer, ...] = ()
    """How many VMs were launched."""
    ends: tuple[Layer, ...] = ()
    """How many VMs have ended, by the reason."""
    spent: tuple[Layer, ...] = ()
    """VM-hours by stage."""
    money: tuple[Layer, ...] = ()
    """What VMs have cost, where their prices are known."""


@dataclass(frozen=True)
class Past:
    """What was."""

    periods: tuple[Period, ...] = ()
    events: tuple[Event, ...] = ()
    """The newest first."""
    damage: str = ""
    """What of it could not be read, in words."""


@dataclass(frozen=True)
class Lived:
    """VMs that were there."""

    lives: Sequence[Life] = ()
    whole: Sequence[tuple[float, Whole]] = ()
    """The sums of those whose life was within a step, which is one of each period: when it began, and the sum."""


def read_past(directory: Path, at: float) -> Past:
    """Return what was kept up to a moment. Change nothing."""
    end = (at // HOUR_SECONDS + 1) * HOUR_SECONDS
    month, days = _month(at)
    hours = read_hours(directory, min(month.begins_at, days.begins_at), end)
    day = Span(end - DAY_STEPS * HOUR_SECONDS, float(HOUR_SECONDS), DAY_STEPS)
    bounds = sorted({*_bounds(day), *_bounds(days)})
    parted = read_parted(directory, list(zip(bounds, bounds[1:])))
    lived = Lived(parted.lives, tuple((bounds[place], whole) for place, whole in parted.whole))
    for seconds in EVENTS_SECONDS:
        events = read_events(directory, at - seconds, end)
        if len(events.events) >= EVENTS_KEPT:
            break
    periods = (
        period("The last day", "day", day, day, hours.hours, lived, at),
        period("The last month", "month", month, days, hours.hours, lived, at),
    )
    damage = next(filter(None, (hours.damage, parted.damage, events.damage)), "")
    return Past(periods, tuple(reversed(events.events[-EVENTS_KEPT:])), damage)


def _month(at: float) -> tuple[Span, Span]:
    """Return the last days of the local time, in steps of hours and in days."""
    # Without its offset, which may have been another then.
    today = _local(at).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    first = (today - timedelta(days=MONTH_DAYS - 1)).timestamp()
    step = MONTH_STEP_HOURS * HOUR_SECONDS
    return Span(first, float(step), MONTH_DAYS * 24 // MONTH_STEP_HOURS), Span(first, DAY_SECONDS, MONTH_DAYS)


def _local(at: float) -> datetime:
    return datetime.fromtimestamp(at, timezone.utc).astimezone()


def period(name: str, key: str, span: Span, wide: Span, hours: Sequence[Hour], lived: Lived, at: float) -> Period:
    """Return what hours and lives of VMs say of a time: averages in the steps of `span`, sums in those of `wide`."""
    bounds = _bounds(wide)
    in_steps, in_columns = _by_step(hours, _bounds(span)), _by_step(hours, bounds)
    seconds = [sum(hour.seconds for hour in step if not hour.pool) for step in in_steps]
    stages = [
        Layer(stage, look, _rates([sum(map(of, step)) for step in in_steps], seconds)) for stage, look, of in STAGES
    ]
    queue_seconds = [sum(hour.queue_seconds for hour in step if not hour.pool) for step in in_steps]
    waiting = _rates([sum(hour.waiting_job_seconds for hour in step) for step in in_steps], queue_seconds)
    spent = [Layer(stage, look, _hours(in_columns, of)) for stage, look, of in STAGES]
    launches = [(life.launched_at, 1) for life in lived.lives] + [(at, whole.vms) for at, whole in lived.whole]
    return Period(
        name,
        key,
        span,
        tuple(layer for layer in stages if any(layer.known)) or tuple(stages[:1]),
        _demand(stages[0], in_steps, waiting),
        Layer("waiting jobs", "wait", waiting),
        wide,
        (Layer("launched", "boot", _counts(launches, bounds)),) if launches else (),
        _ends(lived, bounds),
        tuple(layer for layer in spent if any(layer.known)),
        _money(lived, bounds, at),
    )


def _bounds(span: Span) -> list[float]:
    """Return when each step begins, and when the last one ends; days are those of the local time, of which one may have
    an hour more or less."""
    if span.step_seconds != DAY_SECONDS:
        return [span.begins_at + step * span.step_seconds for step in range(span.steps + 1)]
    first = _local(span.begins_at).replace(tzinfo=None)
    return [(first + timedelta(days=day)).timestamp() for day in range(span.steps + 1)]


def _step(at: float, bounds: Sequence[float]) -> int | None:
    """Return in which step a moment is; None: in none."""
    return bisect_right(bounds, at) - 1 if bounds[0] <= at < bounds[-1] else None


def _by_step(hours: Iterable[Hour], bounds: Sequence[float]) -> list[list[Hour]]:
    found: list[list[Hour]] = [[] for _ in bounds[1:]]
    for hour in hours:
        step = _step(hour.at, bounds)
        if step is not None:
            found[step].append(hour)
    return found


def _counts(counted: Iterable[tuple[float, int]], bounds: Sequence[float]) -> list[float]:
    found = [0.0] * (len(bounds) - 1)
    for at, count in counted:
        step = _step(at, bounds)
        if step is not None:
            found[step] += count
    return found


def _rates(sums: Sequence[float], seconds: Sequence[float]) -> list[float | None]:
    return [one / part if part >= KNOWN_SECONDS else None for one, part in zip(sums, seconds)]


def _hours(columns: Sequence[Sequence[Hour]], of: Callable[[Hour], float]) -> list[float | None]:
    return [sum(map(of, hours)) / HOUR_SECONDS if hours else None for hours in columns]


def _demand(at_work: Layer, steps: Sequence[Sequence[Hour]], waiting: Sequence[float | None]) -> Layer | None:
    """Return how many VMs jobs would have had: those at work, and as many for those that wait as there were for those
    that ran, in that step or, where none did, in all of the time."""
    usual = _vms_per_job([hour for hours in steps for hour in hours])
    values: list[float | None] = []
    for busy, hours, jobs in zip(at_work.values, steps, waiting):
        each = _vms_per_job(hours) or usual
        values.append(None if busy is None or jobs is None or (jobs and each is None) else busy + jobs * (each or 0.0))
    most = max((value for value in values if value is not None), default=None)
    return None if most is None else Layer(f"wanted by jobs, at most {number(most)}", "line", values)


def _vms_per_job(hours: Iterable[Hour]) -> float | None:
    vm_seconds = job_seconds = 0.0
    for hour in hours:
        if hour.pool:
            vm_seconds += hour.busy_vm_seconds
            job_seconds += hour.running_job_seconds
    return vm_seconds / job_seconds if vm_seconds and job_seconds else None


def _ends(lived: Lived, bounds: Sequence[float]) -> tuple[Layer, ...]:
    """Return how many VMs have ended in each step, by the tokens of the reasons, those of most VMs first."""
    found: dict[str, list[tuple[float, int]]] = defaultdict(list)
    ended = [(life.token, life.ended_at, 1) for life in lived.lives if life.ended_at is not None]
    for token, at, count in (*ended, *((whole.token, at, whole.vms) for at, whole in lived.whole)):
        if bounds[0] <= at < bounds[-1]:
            found[token or "no reason kept"].append((at, count))
    largest = sorted(found.items(), key=lambda item: (-sum(count for _, count in item[1]), item[0]))
    named = dict(largest[:REASONS_MOST])
    if len(largest) > REASONS_MOST:
        named["other reasons"] = [one for _, counted in largest[REASONS_MOST:] for one in counted]
    free = [look for look in OTHER_LOOKS if look not in {LOOKS_OF_REASONS.get(token) for token in named}]
    layers = []
    for token, counted in named.items():
        look = LOOKS_OF_REASONS.get(token) or (free.pop(0) if free else "go")
        layers.append(Layer(token, look, _counts(counted, bounds)))
    return tuple(layers)


def _money(lived: Lived, bounds: Sequence[float], at: float) -> tuple[Layer, ...]:
    """Return what VMs have cost in each step; nothing if no price is known."""
    found = [0.0] * (len(bounds) - 1)
    is_any = False
    for began_at, whole in lived.whole:
        if whole.price is None:
            continue
        is_any, within = True, _step(began_at, bounds)
        if within is not None:
            found[within] += whole.price * whole.seconds / HOUR_SECONDS
    for life in lived.lives:
        if life.price is None:
            continue
        is_any = True
        end = min(at, bounds[-1], at if life.ended_at is None else life.ended_at)
        begin = max(life.launched_at, bounds[0])
        step = max(0, bisect_right(bounds, begin) - 1)
        while begin < end:
            until = min(end, bounds[step + 1])
            found[step] += life.price * (until - begin) / HOUR_SECONDS
            begin, step = until, step + 1
    return (Layer("all VMs that have a price", "wait", found),) if is_any else ()
