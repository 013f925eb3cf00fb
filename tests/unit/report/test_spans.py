"""How long something is, in words."""

from __future__ import annotations

import pytest

from elastiq.report.spans import span


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172800, "2 d"), (8640000, "100 d")],
)
def test_the_unit_is_the_largest_of_which_there_are_two(seconds: float, words: str) -> None:
    assert span(seconds) == words
