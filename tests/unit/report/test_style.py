"""The colours of the page, against the contrast that WCAG 2.2 wants at level AA."""

from __future__ import annotations

import itertools
import re

import pytest

from elastiq.report.style import DARK, LIGHT, LOOKS, sheet

WORDS, SHAPES = 4.5, 3.0
"""WCAG 2.2, 1.4.3 and 1.4.11."""


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_words_and_shapes_stand_out(colours: dict[str, str]) -> None:
    behind = ("paper", "card", "bad-card")
    for name, paper in itertools.product(("ink", "soft", "good", "bad", "link"), behind):
        assert contrast(colours[name], colours[paper]) >= WORDS, f"{name} on {paper}"
    for look, paper in itertools.product(LOOKS, ("paper", "card")):
        assert contrast(colours[f"c-{look}"], colours[paper]) >= SHAPES, f"{look} on {paper}"


def test_every_colour_that_is_used_is_there() -> None:
    assert set(re.findall(r"var\(--([\w-]+)\)", sheet())) - {"c"} <= set(LIGHT)
    assert set(LIGHT) == set(DARK)


def test_nothing_is_fetched() -> None:
    assert not re.search(r"url\(|@import|http", sheet())
