"""Expressions of features. What is true of them was tried on Slurm 24.11: 57 expressions on a node with a and b and one
with c alone, 114 of 114 alike; and counts and brackets by jobs that ran or waited."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.plugins.slurm_constraints import features_in, is_met


@pytest.mark.parametrize(
    ("expression", "with_a_and_b", "with_c"),
    [
        ("a", True, False),
        ("a&b", True, False),
        ("a|c", True, True),
        ("a&c", False, False),
        ("[a|c]", True, True),
        ("c|a&b", True, False),
        ("a&b|c", True, True),
        ("(a&b)|c", True, True),
        ("c|(a&b)", True, True),
        ("a|c&b", True, False),
        ("b&(c|a)", True, False),
        ("a*2", True, False),
        ("[a*1&c*1]", False, False),
        ("[a*2&b*1]", True, False),
        ("[(a&b)*1&a*1]", True, False),
        ("[a|(b&c)]", True, False),
        ("a&[b|c]", True, False),
        ("intel-2.6_x@y%z", False, False),
    ],
)
def test_expressions(expression: str, with_a_and_b: bool, with_c: bool) -> None:
    assert (is_met(expression, {"a", "b"}), is_met(expression, {"c"})) == (with_a_and_b, with_c)


@pytest.mark.parametrize(
    "expression",
    ["", "a&", "|a", "a b", "!a", "a,b", "()", "a()", "(a", "a)", "[a)", "*2", "a**2", "a*x", "a&&b", "a\nb"],
)
def test_what_is_no_expression_is_not_judged(expression: str) -> None:
    assert is_met(expression, {"a", "b"}) is None


def test_no_depth_is_too_deep() -> None:
    assert is_met("(" * 50_000 + "a" + ")" * 50_000, {"a"}) is True


def test_features_are_named_once() -> None:
    assert features_in("[(a&b)*4&c*1]|a") == ("a", "b", "c")


@given(st.text(alphabet="ab&|()[]*2! \n", max_size=30))
def test_every_text_has_an_answer(text: str) -> None:
    answer = is_met(text, set(features_in(text)))
    assert answer in (True, None)  # a machine with all of the features meets whatever can be read
