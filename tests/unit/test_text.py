"""What others wrote, made fit to be shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.text import cut, excerpt, last_lines, one_line, printable, shown


def test_printable_replaces_character_by_character_and_keeps_the_rest_whole() -> None:
    assert printable("a\tb\n\x1b[31mü\udc80\u202e") == "a?b??[31mü??"
    assert printable("a\tb\r\n", " ") == "a b  "
    assert printable("x" * 10_000) == "x" * 10_000


def test_cut_says_that_there_was_more() -> None:
    assert cut("12345", 5) == "12345"
    assert cut("123456", 5) == "12..."


def test_one_line_is_one_however_many_there_were() -> None:
    assert one_line("  first\r\n\n\tsecond \x07 third\n", 100) == "first second third"
    assert one_line("first\nsecond", 9) == "first ..."
    assert one_line("\n \t", 9) == ""


def test_shown_is_short_and_shows_that_a_character_is_strange() -> None:
    assert shown("max\tvms") == "max?vms"
    assert shown("x" * 40) == "x" * 40
    assert shown("x" * 41) == "x" * 37 + "..."


def test_an_excerpt_is_one_short_harmless_line() -> None:
    said = excerpt("\n bad\x1b[31m\nnews" + "x" * 10_000)
    assert said.startswith("'bad\\x1b[31m\\nnewsx")
    assert len(said) < 250


@given(st.text(), st.integers(3, 50))
def test_whatever_it_was_it_is_printable_and_no_longer(text: str, most: int) -> None:
    line = one_line(text, most)
    for made in (line, printable(text), shown(text), excerpt(text)):
        assert made.isprintable()
    assert len(line) <= most
    assert len(shown(text)) <= 40
    assert len(printable(text)) == len(text)


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("", 9, ""),
        (" one \n\n two\n", 99, "one | two"),
        ("one\ntwo", 5, "two"),
        ("one\nfourteen", 4, "teen"),
    ],
)
def test_the_last_lines(text: str, limit: int, expected: str) -> None:
    assert last_lines(text, limit) == expected
