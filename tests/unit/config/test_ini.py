"""The form of the file: what is an option, what goes on, what is a comment, and what is none of these."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.config.ini import Entry, Line, Problem, parse


def values(text: str) -> dict[str, list[str]]:
    """Return the pieces of each value."""
    return {f"{entry.section}.{entry.name}": [piece.text for piece in entry.pieces] for entry in parse(text).entries}


def test_every_piece_knows_its_line() -> None:
    found = parse("# first\n\n[one]\nA = b\n  c\n[two]\nd: e = f\n")
    assert found.sections == {"one": 3, "two": 6}
    assert found.entries == [
        Entry("one", "a", "A", [Line(4, "b"), Line(5, "c")]),
        Entry("two", "d", "d", [Line(7, "e = f")]),
    ]
    assert [entry.line for entry in found.entries] == [4, 7]
    assert not found.problems


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a = b ; c", {"s.a": ["b ; c"]}),
        ("a = b\n# c\n  d", {"s.a": ["b", "d"]}),
        ("a = b\n\n  c = d", {"s.a": ["b", "c = d"]}),
        ("a =", {"s.a": [""]}),
        ("a.b-c_1=%(d)s", {"s.a.b-c_1": ["%(d)s"]}),
        ("a = 1\na = 2", {"s.a": ["2"]}),
    ],
)
def test_value(text: str, pieces: dict[str, list[str]]) -> None:
    assert values(f"[s]\n{text}\n") == pieces


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = b", Problem(1, "stands before any section; a section begins with a line like [elastiq]")),
        ("[s]\n[t]\n[s]", Problem(3, "[s]: section given twice, first in line 1; put them together")),
        ("[ ]\na = b", Problem(1, "[]: a section has a name, such as [elastiq]")),
        ("[s]\nhello", Problem(2, '[s]: not an option; write "name = value"')),
        ("[s]\n  a = b", Problem(2, "[s]: begins with a space, but there is no value before it to go on with")),
    ],
)
def test_problem(text: str, problem: Problem) -> None:
    assert parse(text).problems == [problem]


@given(st.text())
def test_nothing_is_raised_and_every_line_is_one_of_the_file(text: str) -> None:
    found = parse(text)
    last = text.count("\n") + 1
    assert all(1 <= problem.line <= last and problem.text.isprintable() for problem in found.problems)
    assert all(1 <= piece.number <= last for entry in found.entries for piece in entry.pieces)
