"""A picture of demand and capacity over time, as SVG that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from elastiq.sim.replay.cluster import Curve
from elastiq.sim.replay.figures import Figures
from elastiq.text import printable

WIDTH, HEIGHT = 1000, 420
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 64, 48
COLUMNS = WIDTH - LEFT - RIGHT
"""Each shows the mean of its time."""

DEMAND, SUPPLY, INK, FAINT = "#9ec5e8", "#c2410c", "#333333", "#dddddd"

UNITS = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0))


@dataclass(frozen=True)
class _Scale:
    seconds: float
    most: float

    def x(self, seconds: float) -> float:
        return LEFT + seconds / self.seconds * COLUMNS

    def y(self, vms: float) -> float:
        return HEIGHT - BOTTOM - vms / self.most * (HEIGHT - BOTTOM - TOP)


def picture(figures: Figures, trace: str) -> str:
    """Return the picture of a life: the VMs that jobs wanted, and the workers there were."""
    demand, supply = figures.demand_curve, figures.supply_curve
    begins_at = min(demand.times[0], supply.times[0])
    ends_at = max(demand.times[-1], supply.times[-1], begins_at + 60.0)
    wanted, there = means(demand, begins_at, ends_at, COLUMNS), means(supply, begins_at, ends_at, COLUMNS)
    scale = _Scale(ends_at - begins_at, _top([*wanted, *there]))
    area = " ".join(_points(wanted, scale))
    corner = f"{LEFT + COLUMNS},{scale.y(0):.1f}"
    title = escape(printable(f"{trace}: {figures.jobs:,} jobs, {figures.vms:,} VMs launched"))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            'font-family="sans-serif" font-size="13">',
            f"<title>{title}</title>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
            f'<text x="{LEFT}" y="24" font-size="16" fill="{INK}">{title}</text>',
            *_legend(figures),
            *_grid(scale),
            f'<polygon points="{LEFT},{scale.y(0):.1f} {area} {corner}" fill="{DEMAND}"/>',
            f'<polyline points="{" ".join(_points(there, scale))}" fill="none" stroke="{SUPPLY}" stroke-width="1.5" '
            'stroke-linejoin="round"/>',
            f'<line x1="{LEFT}" y1="{scale.y(0):.1f}" x2="{LEFT + COLUMNS}" y2="{scale.y(0):.1f}" stroke="{INK}"/>',
            "</svg>",
            "",
        ]
    )


def means(curve: Curve, begins_at: float, ends_at: float, columns: int) -> list[float]:
    """Return the mean of a curve in each of so many parts of a time."""
    sums = [0.0] * columns
    width = (ends_at - begins_at) / columns
    for begin, end, value in zip(curve.times, [*curve.times[1:], ends_at], curve.values):
        if not value:
            continue
        first = min(columns - 1, int((begin - begins_at) / width))
        last = min(columns - 1, int((end - begins_at) / width))
        for column in range(first, last + 1):
            left, right = begins_at + column * width, begins_at + (column + 1) * width
            sums[column] += value * max(0.0, min(end, right) - max(begin, left))
    return [total / width for total in sums]


def _points(values: Sequence[float], scale: _Scale) -> Iterable[str]:
    """Return the corners of steps, without those that lie on a line."""
    for column, value in enumerate(values):
        y = f"{scale.y(value):.1f}"
        is_first = column == 0 or value != values[column - 1]
        if is_first:
            yield f"{LEFT + column},{y}"
        if is_first or column == len(values) - 1 or values[column + 1] != value:
            yield f"{LEFT + column + 1},{y}"


def _top(values: Iterable[float]) -> float:
    return max(1.0, 1.05 * max(values, default=0.0))


def _step(most: float, lines: int) -> float:
    """Return a round distance of which about so many go into `most`."""
    rough = most / lines
    power = 10.0 ** math.floor(math.log10(rough))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= rough), 10 * power)


def _grid(scale: _Scale) -> Iterable[str]:
    step = max(1.0, _step(scale.most, 6))
    for number in range(int(scale.most / step) + 1):
        y = scale.y(number * step)
        yield f'<line x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + COLUMNS}" y2="{y:.1f}" stroke="{FAINT}"/>'
        text = f"{number * step:,.0f}"
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="{INK}">{text}</text>'
    name, unit = next((one for one in UNITS if scale.seconds >= 2 * one[1]), UNITS[-1])
    step = max(1.0, _step(scale.seconds / unit, 12))
    for number in range(int(scale.seconds / unit / step) + 1):
        x = scale.x(number * step * unit)
        yield f'<line x1="{x:.1f}" y1="{scale.y(0):.1f}" x2="{x:.1f}" y2="{scale.y(0) + 5:.1f}" stroke="{INK}"/>'
        text = f"{number * step:g}"
        yield f'<text x="{x:.1f}" y="{scale.y(0) + 20:.1f}" text-anchor="middle" fill="{INK}">{text}</text>'
    x, y = LEFT + COLUMNS, HEIGHT - 8
    yield f'<text x="{x}" y="{y}" text-anchor="end" fill="{INK}">{name} since the first job</text>'
    yield f'<text x="8" y="{TOP - 12}" fill="{INK}">VMs</text>'


def _legend(figures: Figures) -> Iterable[str]:
    yield f'<rect x="{LEFT}" y="38" width="14" height="12" fill="{DEMAND}"/>'
    yield f'<text x="{LEFT + 20}" y="49" fill="{INK}">wanted by jobs that run or wait</text>'
    x = LEFT + 250
    yield f'<line x1="{x}" y1="44" x2="{x + 14}" y2="44" stroke="{SUPPLY}" stroke-width="2"/>'
    yield f'<text x="{x + 20}" y="49" fill="{INK}">workers</text>'
    hours = f"{figures.vm_hours:,.0f} VM-hours"
    ratio = "" if figures.ratio is None else f", {figures.ratio:.3f} times what would do if the future were known"
    wait = f"mean wait {figures.mean_wait_seconds:.0f} s"
    text = f"{hours}{ratio}; {wait}"
    yield f'<text x="{LEFT + COLUMNS}" y="49" text-anchor="end" fill="{INK}">{text}</text>'
