"""Pictures of what was, as SVG with words that stay as large as other text however wide the picture is.

A picture is a pure function of plain series. The shapes are in an SVG of their own that is stretched to the width of
the page; lines and words are placed beside it by percentages.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from elastiq.report.markup import Markup, joined, tag

HEIGHT = 160
"""Of the shapes, in pixels."""
TOP, BELOW = 10, 24
"""Room for the words above and below them."""
FINE = 1000
"""The shapes are so many units high."""
LINES = 4
LINE_ABOVE = 2.0
"""A line rises so many times as high as the layers below it at most: millions of jobs would make these too low to be
seen."""
DAY_SECONDS = 86400.0
LABEL_HOURS = 6


@dataclass(frozen=True)
class Span:
    """A time in equal steps."""

    begins_at: float
    step_seconds: float
    steps: int

    @property
    def ends_at(self) -> float:
        """Return when the last step is over."""
        return self.begins_at + self.steps * self.step_seconds


@dataclass(frozen=True)
class Layer:
    """A value in each step; None: not known."""

    name: str
    look: str
    """Which colour it has, as the style of the page calls it."""
    values: Sequence[float | None]

    @property
    def known(self) -> list[float]:
        """Return the values that are known."""
        return [value for value in self.values if value is not None]


@dataclass(frozen=True)
class Chart:
    """What is to be drawn: layers that lie on one another, others that hang below them, and a line over all."""

    key: str
    """Tells its parts from those of other pictures of the page."""
    caption: str
    unit: str
    span: Span
    layers: tuple[Layer, ...]
    below: tuple[Layer, ...] = ()
    line: Layer | None = None
    is_columns: bool = False
    """Whether each step stands alone, as what is counted in it does."""

    @property
    def all_layers(self) -> tuple[Layer, ...]:
        """Return all that has a name in it."""
        return (*self.layers, *self.below, *([self.line] if self.line else []))

    @property
    def gaps(self) -> list[int]:
        """Return the steps of which nothing is known."""
        each = zip(*(layer.values for layer in self.all_layers))
        return [step for step, values in enumerate(each) if all(value is None for value in values)]


def round_step(most: float, lines: int) -> float:
    """Return a round distance of which about so many go into `most`."""
    rough = most / lines
    power = 10.0 ** math.floor(math.log10(rough))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= rough), 10 * power)


def figure(chart: Chart) -> Markup:
    """Return a picture with its caption and its legend; nothing if nothing of it is known."""
    if not any(layer.known for layer in chart.all_layers):
        return Markup()
    high, low = _range(chart)
    title, about = f"{chart.key}-title", f"{chart.key}-about"
    picture = tag(
        "svg",
        tag("title", chart.caption, id=title),
        tag("desc", summary(chart), id=about),
        _grid(chart, high, low),
        _shapes(chart, high, low),
        class_="chart",
        role="img",
        aria_labelledby=f"{title} {about}",
        width="100%",
        height=TOP + HEIGHT + BELOW,
    )
    caption = tag("figcaption", tag("strong", chart.caption), f" ({chart.unit})")
    return tag("figure", caption, picture, _legend(chart))


def summary(chart: Chart) -> str:
    """Return a picture in words."""
    parts = []
    for layer in chart.all_layers:
        if layer.known:
            total = sum(layer.known)
            of_all = (
                f"{number(total)} in all, " if chart.is_columns else f"{number(total / len(layer.known))} on average, "
            )
            parts.append(f"{layer.name}: {of_all}at most {number(max(layer.known))}")
    gaps = chart.gaps
    parts += [f"nothing is known of {len(gaps)} of {chart.span.steps} parts of that time"] if gaps else []
    return "; ".join(parts)


def number(value: float) -> str:
    """Return a number for people: whole, or with as many places as it needs to be told from 0."""
    places = 0 if abs(value) >= 100 or value == round(value) else 1 if abs(value) >= 10 else 2
    return f"{value:,.{places}f}"


def _range(chart: Chart) -> tuple[float, float]:
    high = max([*_sums(chart.layers), 0.0])
    above = max(chart.line.known if chart.line else [], default=0.0)
    high = max(high, min(above, LINE_ABOVE * high) if high else above)
    low = max([*_sums(chart.below), 0.0])
    return (1.05 * high, 1.05 * low) if high or low else (1.0, 0.0)


def _sums(layers: Sequence[Layer]) -> list[float]:
    return [sum(value or 0.0 for value in values) for values in zip(*(layer.values for layer in layers))]


def _y(value: float, high: float, low: float) -> int:
    return max(0, round((high - value) / (high + low) * FINE))


def _shapes(chart: Chart, high: float, low: float) -> Markup:
    draw = _columns if chart.is_columns else _steps
    parts = [tag("path", d=f"M{step} 0h1v{FINE}h-1z", class_="gap") for step in chart.gaps]
    for layers, sign in ((chart.layers, 1), (chart.below, -1)):
        base = [0.0] * chart.span.steps
        for layer in layers:
            top = [one + sign * (value or 0.0) for one, value in zip(base, layer.values)]
            path = draw([_y(one, high, low) for one in base], [_y(one, high, low) for one in top])
            parts += [tag("path", d=path, class_=layer.look)] if path else []
            base = top
    if chart.line is not None:
        values = [None if value is None else _y(value, high, low) for value in chart.line.values]
        parts.append(tag("path", d=_outline(values), class_=f"line {chart.line.look}"))
    box = f"0 0 {chart.span.steps} {FINE}"
    return tag("svg", *parts, class_="plot", y=TOP, height=HEIGHT, viewBox=box, preserveAspectRatio="none")


def _runs(base: Sequence[int], top: Sequence[int]) -> Iterable[tuple[int, int, int, int]]:
    """Yield first step, step behind the last, base and top of what is as high for some steps."""
    first = 0
    for step in range(1, len(base) + 1):
        if step == len(base) or (base[step], top[step]) != (base[first], top[first]):
            if base[first] != top[first]:
                yield first, step, base[first], top[first]
            first = step


def _steps(base: Sequence[int], top: Sequence[int]) -> str:
    return "".join(f"M{first} {low}V{high}H{end}V{low}z" for first, end, low, high in _runs(base, top))


def _columns(base: Sequence[int], top: Sequence[int]) -> str:
    return "".join(
        f"M{step}.1 {low}V{high}h.8V{low}z" for step, (low, high) in enumerate(zip(base, top)) if low != high
    )


def _outline(values: Sequence[int | None]) -> str:
    """Return a line through steps, which ends where nothing is known."""
    path, last = "", None
    for step, value in enumerate(values):
        if value is not None:
            path += f"M{step} {value}" if last is None else f"V{value}" if value != last else ""
            is_same = step + 1 < len(values) and values[step + 1] == value
            path += "" if is_same else f"H{step + 1}"
        last = value
    return path


def _grid(chart: Chart, high: float, low: float) -> Markup:
    step = round_step(high + low, LINES)
    parts = []
    for count in range(-int(low / step), int(high / step) + 1):
        y = TOP + _y(count * step, high, low) * HEIGHT / FINE
        parts.append(
            tag("line", x1="0", x2="100%", y1=f"{y:.1f}", y2=f"{y:.1f}", class_="axis" if not count else "grid")
        )
        parts.append(tag("text", number(abs(count * step)), x="-6", y=f"{y + 4:.1f}", class_="left"))
    for place, words in _moments(chart.span):
        x = f"{place:.1%}"
        parts.append(tag("line", x1=x, x2=x, y1=TOP + HEIGHT, y2=TOP + HEIGHT + 4, class_="axis"))
        parts.append(tag("text", words, x=x, y=TOP + HEIGHT + 18, class_="middle"))
    return tag("svg", *parts, class_="words", height=TOP + HEIGHT + BELOW)


def _moments(span: Span) -> Iterable[tuple[float, str]]:
    """Yield where in a time round moments of the local time are, and how they are called."""
    seconds = span.ends_at - span.begins_at
    is_long = seconds > 3 * DAY_SECONDS
    hour = 3600.0
    at = math.ceil(span.begins_at / 1800.0) * 1800.0
    while at <= span.ends_at:
        local = datetime.fromtimestamp(at, timezone.utc).astimezone()
        is_round = local.minute == 0 and local.hour % LABEL_HOURS == 0
        if is_round and (not is_long or (local.hour == 0 and local.weekday() == 0)):
            place = (at - span.begins_at) / seconds
            if 0.03 <= place <= 0.97:
                yield place, f"{local.day} {local:%b}" if is_long else f"{local:%H:%M}"
        at += hour / 2


def _legend(chart: Chart) -> Markup:
    names = [(layer.name, layer.look + (" line" if layer is chart.line else "")) for layer in chart.all_layers]
    names += [("not known", "gap")] if chart.gaps else []
    swatch = [joined(tag("span", class_=f"swatch {look}", aria_hidden="true"), " ", name) for name, look in names]
    return tag("ul", *(tag("li", one) for one in swatch), class_="legend")
