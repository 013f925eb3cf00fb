"""What `elastiqctl top` shows: a pure function of how things stand, of what was, and of the size of the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from elastiq.model import Shape
from elastiq.planning.phrases import describe
from elastiq.report.charts import Layer, number
from elastiq.report.now import STAGES, Now
from elastiq.report.series import Past
from elastiq.report.spans import span
from elastiq.text import cut, printable

NARROWEST = 40
"""Columns that it is drawn for; of a narrower terminal the rest is cut off."""
POOLS_MOST = 8
HOLDS_MOST = 6
ROWS_WITHOUT_HEIGHT = 30
HOURS_SHOWN = 24
NAME_CHARACTERS = 16

Clean = Callable[[str], str]


@dataclass(frozen=True)
class Glyphs:
    """The characters that bars are made of."""

    stages: str
    """One for each of STAGES, so that they are told apart without colours."""
    heights: str
    """From nothing to all."""
    unknown: str


BLOCKS = Glyphs("░█▒?!xv··", " ▁▂▃▄▅▆▇█", "?")
PLAIN = Glyphs("-#=?!xv..", " .:-=+*#@", "?")
"""For terminals that show no others."""

Piece = tuple[str, str]
"""Words, and how they look: a stage, strong, soft, good, bad, or nothing."""
Line = tuple[Piece, ...]


def lines(
    now: Now, past: Past, width: int, height: int | None, glyphs: Glyphs = BLOCKS, clean: Clean = str
) -> list[Line]:
    """Return the picture for a terminal of that size; without a height as many lines as are worth reading."""
    width = max(NARROWEST, width)

    def words(told: str) -> str:
        return printable(clean(now.without_error(told)))

    top = [*_header(now, words, clean), *_vms(now, width, glyphs, words), *_hours(past, width, glyphs)]
    holds = _holds(now, words)
    rest = ROWS_WITHOUT_HEIGHT if height is None else height - len(top) - len(holds)
    shown = [*top, *holds, *_jobs(now, width, rest, words)]
    fitting = [_fitting(line, width) for line in shown]
    return fitting if height is None else fitting[:height]


def plain(picture: Sequence[Line]) -> str:
    """Return a picture as text."""
    return "\n".join("".join(words for words, _ in line).rstrip() for line in picture)


def _fitting(line: Line, width: int) -> Line:
    found: list[Piece] = []
    for told, look in line:
        left = width - sum(len(words) for words, _ in found)
        if len(told) > left:
            return (*found, (cut(told, left) if left > 3 else told[:left], look))
        found.append((told, look))
    return tuple(found)


def _header(now: Now, words: Clean, clean: Clean) -> list[Line]:
    report = now.report
    cluster = words(report.cluster) if report else ""
    look = "bad" if now.is_in_trouble else "good"
    age = "" if now.silent_seconds is None else f", {span(now.silent_seconds)} ago"
    seen = f"; last reported {_time(report.updated_at)}{age}" if report and report.updated_at else ""
    found: list[Line] = [((f"{cluster}  " if cluster else "", "strong"), (now.state, look), (seen, "soft"))]
    if report is None:
        return found
    at_most = "" if report.max_vms is None else f" of at most {report.max_vms}"
    vms = sum(pool.vms for pool in now.told.pools)
    facts = (
        ("jobs ", f"{_count(report.jobs_waiting)} waiting"),
        ("workers ", f"{_count(report.workers_busy)} busy, {_count(report.workers_idle)} idle"),
        ("VMs ", f"{vms}{at_most}" if now.told.at else "unknown"),
    )
    found.append(tuple(piece for name, fact in facts for piece in ((name, "soft"), (f"{fact}   ", "strong"))))
    if now.error is not None:
        found.append((("error ", "bad"), (f"{_time(now.error.at)}: {printable(clean(now.error.text))}", "")))
    if report.summary and now.is_running:
        found.append((("", ""), (words(report.summary), "")))
    return found


def _vms(now: Now, width: int, glyphs: Glyphs, words: Clean) -> list[Line]:
    pools = now.stages()
    total: Counter[str] = sum(pools.values(), Counter())
    if not total:
        return []
    stages = [stage for stage in STAGES if total[stage]]
    signs = dict(zip(STAGES, glyphs.stages))
    legend = [piece for stage in stages for piece in ((signs[stage], stage), (f" {total[stage]} {stage}  ", ""))]
    found: list[Line] = [(), (("VMs  ", "strong"), *legend), tuple(_bar(total, stages, width, signs))]
    largest = sorted(pools.items(), key=lambda item: -sum(item[1].values()))
    if len(pools) > 1:
        for name, counts in largest[:POOLS_MOST]:
            parts = ", ".join(f"{counts[stage]} {stage}" for stage in stages if counts[stage]) or "none"
            found.append(((f"  {cut(words(name), NAME_CHARACTERS):{NAME_CHARACTERS}}", ""), (parts, "soft")))
        if len(pools) > POOLS_MOST:
            found.append(((f"  and {len(pools) - POOLS_MOST} more pools", "soft"),))
    return found


def _bar(total: Counter[str], stages: Sequence[str], width: int, signs: dict[str, str]) -> list[Piece]:
    whole = sum(total.values())
    length = min(width, whole)
    counted, drawn, bar = 0, 0, []
    for stage in stages:
        counted += total[stage]
        end = round(length * counted / whole)
        bar.append((signs[stage] * (end - drawn), stage))
        drawn = end
    return bar


def _hours(past: Past, width: int, glyphs: Glyphs) -> list[Line]:
    """Return bars of the last day: the VMs that there were, those that jobs wanted, the jobs that waited."""
    if not past.periods:
        return []
    period = past.periods[0]
    layers = [layer for layer in (_together(period.capacity), period.demand, period.waiting) if layer and layer.known]
    if not layers:
        return []
    columns = max(1, min(width - NAME_CHARACTERS - 22, 2 * HOURS_SHOWN))
    found: list[Line] = [(), ((period.name, "strong"),)]
    for layer in layers:
        values = _squeezed(layer.values, columns)
        most = max((value for value in values if value is not None), default=0.0)
        bars = "".join(_height(value, most, glyphs) for value in values)
        name = f"  {layer.name:{NAME_CHARACTERS}}"
        found.append(((name, ""), (bars, layer.look), (f"  at most {number(most)}", "soft")))
    return found


def _together(layers: Sequence[Layer]) -> Layer | None:
    """Return the sum of layers."""
    if not layers:
        return None
    each = zip(*(layer.values for layer in layers))
    sums = [None if all(one is None for one in values) else sum(one or 0.0 for one in values) for values in each]
    return Layer("VMs", "work", sums)


def _squeezed(values: Sequence[float | None], columns: int) -> list[float | None]:
    """Return the most of each of so many parts; None: nothing of it is known."""
    columns = min(columns, len(values))
    found = []
    for column in range(columns):
        part = values[column * len(values) // columns : (column + 1) * len(values) // columns]
        found.append(max((value for value in part if value is not None), default=None))
    return found


def _height(value: float | None, most: float, glyphs: Glyphs) -> str:
    if value is None:
        return glyphs.unknown
    if value <= 0 or most <= 0:
        return glyphs.heights[0]
    return glyphs.heights[max(1, round(value / most * (len(glyphs.heights) - 1)))]


def _holds(now: Now, words: Clean) -> list[Line]:
    holds = now.holds()
    found: list[Line] = [(), (("Held back", "strong"),)] if holds else []
    for hold in holds[:HOLDS_MOST]:
        found.append(((f"  {hold.token} ", "bad"), (words(hold.text), "")))
        found += [((f"    to change it: {hold.remedy}", "soft"),)] if hold.remedy else []
    if len(holds) > HOLDS_MOST:
        found.append(((f"  and {len(holds) - HOLDS_MOST} more", "soft"),))
    return found


def _jobs(now: Now, width: int, room: int, words: Clean) -> list[Line]:
    verdicts = now.verdicts()
    if not verdicts or room < 4:
        return []
    room -= 2
    shown = verdicts if len(verdicts) <= room and not now.told.groups_left_out else verdicts[: room - 1]
    left_out = len(verdicts) - len(shown) + now.told.groups_left_out
    found: list[Line] = [(), (("Jobs that wait", "strong"),)]
    for group, told in shown:
        waits = "" if group.waits_since is None else f", for {span(max(0.0, now.at - group.waits_since))}"
        asks = describe(Shape(group.cpus, group.memory_mb, group.disk_mb, group.gpus))
        found.append(
            (
                (f"{told.jobs:>8} of ", ""),
                (f"{asks}{waits}: ", "soft"),
                (f"{told.token} ", "strong"),
                (words(told.text), ""),
            )
        )
    if left_out:
        found.append(((f"         and {left_out} more, of fewer jobs", "soft"),))
    return found


def _count(value: int | None) -> str:
    return "unknown" if value is None else str(value)


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, timezone.utc).astimezone():%H:%M:%S}"
