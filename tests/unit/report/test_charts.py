"""Pictures of plain series."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from elastiq.report.charts import FINE, Chart, Layer, Span, figure, number, round_step, summary

SPAN = Span(1_700_000_000.0, 3600.0, 4)
CHART = Chart(
    "day-vms",
    "Demand and capacity",
    "VMs",
    SPAN,
    (Layer("at work", "work", (2.0, 2.0, 0.0, 4.0)), Layer("idle", "idle", (1.0,) * 4)),
)


def paths(chart: Chart) -> dict[str, str]:
    return {look: path for path, look in re.findall(r'<path d="([^"]*)" class="([^"]*)"', figure(chart))}


def test_layers_lie_on_one_another() -> None:
    high = 5 * 1.05
    work, idle = round((high - 2) / high * FINE), round((high - 3) / high * FINE)
    found = paths(CHART)
    assert found["work"].startswith(f"M0 {FINE}V{work}H2V{FINE}z"), "steps of one height are one shape"
    assert found["idle"].startswith(f"M0 {work}V{idle}H2V{work}z")
    assert found["idle"].count("z") == 3


def test_what_is_below_hangs_down() -> None:
    made = paths(
        replace(CHART, layers=CHART.layers[:1], below=(Layer("ended", "go", (0.0, 4.0, 0.0, 0.0)),), is_columns=True)
    )
    assert made["go"] == f"M1.1 {FINE // 2}V{round((1.05 * 4 + 4) / (2 * 1.05 * 4) * FINE)}h.8V{FINE // 2}z"


def test_a_gap_is_shown_as_a_gap_and_ends_the_line() -> None:
    layer = Layer("at work", "work", (2.0, None, None, 4.0))
    line = Layer("wanted", "line", (3.0, None, None, 4.0))
    chart = replace(CHART, layers=(layer,), line=line)
    made = figure(chart)
    assert made.count('class="gap"') == 2
    assert "not known</li>" in made
    assert paths(chart)["line line"].count("M") == 2
    assert "nothing is known of 2 of 4 parts of that time" in summary(chart)


def test_nothing_known_is_no_picture() -> None:
    assert figure(replace(CHART, layers=(Layer("at work", "work", (None,) * 4),))) == ""
    assert figure(replace(CHART, layers=())) == ""


def test_only_zeros_are_a_picture() -> None:
    assert "<svg" in figure(replace(CHART, layers=(Layer("at work", "work", (0.0,) * 4),)))


def test_words_say_what_the_picture_shows() -> None:
    assert summary(CHART) == "at work: 2 on average, at most 4; idle: 1 on average, at most 1"
    assert summary(replace(CHART, is_columns=True)).startswith("at work: 8 in all, at most 4")
    made = figure(CHART)
    assert '<title id="day-vms-title">Demand and capacity</title>' in made
    assert 'role="img" aria-labelledby="day-vms-title day-vms-about"' in made


@pytest.mark.parametrize(("value", "words"), [(0, "0"), (3, "3"), (0.25, "0.25"), (12.34, "12.3"), (12345.6, "12,346")])
def test_numbers_are_short(value: float, words: str) -> None:
    assert number(value) == words


@pytest.mark.parametrize(("most", "step"), [(1, 0.5), (4, 1), (37, 10), (4800, 2000), (0.01, 0.005)])
def test_distances_are_round(most: float, step: float) -> None:
    assert round_step(most, 4) == pytest.approx(step)


@pytest.fixture
def rome(in_zone: Callable[[str], None]) -> None:
    in_zone("Europe/Rome")


def words_below(span: Span) -> list[str]:
    values = (1.0,) * span.steps
    return re.findall(
        r'class="middle">([^<]*)<', figure(replace(CHART, span=span, layers=(Layer("a", "work", values),)))
    )


@pytest.mark.usefixtures("rome")
def test_moments_are_those_of_the_local_time_also_where_it_is_put_back() -> None:
    # 2026-10-25 03:00 CEST becomes 02:00 CET.
    assert words_below(Span(1792868400.0, 3600.0, 25)) == ["00:00", "06:00", "12:00", "18:00"]
    assert words_below(Span(1792868400.0 - 14 * 86400, 3600.0, 21 * 24)) == ["12 Oct", "19 Oct", "26 Oct"]
