"""Texts of ClassAd expressions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.plugins.htcondor_classads import assignments, clauses, is_well_formed, reachable, read


def texts(text: str) -> list[str] | None:
    found = clauses(text)
    return None if found is None else [clause.text for clause in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", ["true"]),
        ("A && B", ["A", "B"]),
        ("(A && (B && C)) && D", ["A", "B", "C", "D"]),
        ("((A))", ["A"]),
        ("(A) || (B && C)", ["(A) || (B && C)"]),
        ("A && B || C", ["A && B || C"]),
        ("A && (B || C && D)", ["A", "B || C && D"]),
        ("A ? B && C : D && E", ["A ? B && C : D && E"]),
        ("A && B ?: C", ["A && B ?: C"]),
        ('A == "x && y" && B', ['A == "x && y"', "B"]),
        ('A == "quo\\"te && " && B', ['A == "quo\\"te && "', "B"]),
        ("f(a && b, c) && {1 && 2}[0]", ["f(a && b, c)", "{1 && 2}[0]"]),
        ("'a && b' && c", ["'a && b'", "c"]),
        ("A&&!B", ["A", "!B"]),
    ],
)
def test_clauses(text: str, expected: list[str]) -> None:
    assert texts(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "(", ")", "(]", "a && (b", "a = 3", "a; b", '"open', "'open", "a @ b", "(" * 61 + "1" + ")" * 61, "a\x00b"],
    ids=ascii,
)
def test_what_is_no_expression(text: str) -> None:
    assert read(text) is None
    assert clauses(text) is None


@pytest.mark.parametrize(
    ("text", "my", "target", "either", "functions"),
    [
        ("TARGET.Arch == MY.Want && Other", "want", "arch", "other", ""),
        ("target . Memory >= SELF.x", "x", "memory", "", ""),
        ("isUndefined(a) && regexp(b, TARGET.c)", "", "c", "a b", "isundefined regexp"),
        ("true && Undefined isnt ERROR", "", "", "", ""),
        ('"TARGET.x" == y', "", "", "y", ""),
        ("[a = b; c = TARGET.d].a", "", "d", "b", ""),
        ("x.y.z", "", "", "x", ""),
        ("'od d' > 1.5E+00", "", "", "od d", ""),
        ("TARGET.f(3)", "", "f", "", ""),
        ("MY", "", "", "my", ""),
    ],
)
def test_what_an_expression_refers_to(text: str, my: str, target: str, either: str, functions: str) -> None:
    found = read(text)
    assert found is not None
    names = [either] if " " in either and "'" in text else either.split()
    assert (found.my, found.target) == (frozenset(my.split()), frozenset(target.split()))
    assert (found.either, found.functions) == (frozenset(names), frozenset(functions.split()))


@pytest.mark.parametrize("text", [".a", "parent.a", "a == .b"])
def test_scopes_that_nobody_uses_are_too_odd(text: str) -> None:
    assert read(text) is None


def test_what_differs_in_writing_alone_is_the_same() -> None:
    one = read('f( a,b )&&{1,  2}[0]==-1.500000000000000E+00 && x =?= "K\\303\\266ln"')
    two = read('f(a, b) && {\n 1, 2\n}[0] == -1.5 && x =?= "Köln"')
    assert one is not None
    assert two is not None
    assert one.text == two.text


def test_what_functions_are_given() -> None:
    found = read("f(a, g(TARGET.b)[c]) && (d) == {e}[0] && MY.h")
    assert found is not None
    assert found.within == {("f", "a"), ("f", "b"), ("g", "b"), ("f", "c")}


def test_foreign_functions() -> None:
    found = read('userHome("root") == strcat(a) && random(3)')
    assert found is not None
    assert found.foreign == {"userhome", "random"}


def test_reachable() -> None:
    ad = {name: read(text) for name, text in {"a": "b + MY.c", "b": "TARGET.d", "c": "3", "d": "a", "x": "x"}.items()}
    known = {name: expression for name, expression in ad.items() if expression}
    assert reachable(["a", "nope"], known) == {"a", "b", "c"}
    assert reachable(["x"], known) is None
    chain = {f"n{number}": read(f"n{number + 1}") for number in range(5000)}
    assert reachable(["n0"], {name: link for name, link in chain.items() if link}) is None


@given(st.text() | st.text(alphabet="ab&|()[]{}!=?:\"'\\ .,;1E-"))
def test_every_text_is_read_or_refused_and_reading_is_stable(text: str) -> None:
    found = read(text)
    if found is not None:
        again = read(found.text)
        assert again is not None
        assert again.text == found.text


ORDERLY = [
    "A =?= true", "a && (b || !c)", "1 ? 2 : 3", "f()", "f(a, b)", "{}", "{1, 2}", "a.b == 1", '"x" == y', "a == -1",
    "a isnt undefined", "x[0] == 1", "a ? b : c ? d : e", ".5 < x", "'my attr' == 1", "a ?: b",
]  # fmt: skip
DISORDERLY = [
    "x(", "a b", "a =", "= a", "1 ? 2", "f(a,)", "a.1", "10K > 3", "(a", "a, b", "()", "!", "a = true", "f(,)", "a : b",
    "f(a ? b)", '"a" "b"', "true(3)", "[a = 1]", "(f)(x)", "", "&& a", "a &&", ".a",
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"), [*((one, True) for one in ORDERLY), *((one, False) for one in DISORDERLY)]
)
def test_operands_and_operators_follow_one_another(text: str, expected: bool) -> None:
    assert is_well_formed(text) is expected


@given(
    st.lists(st.sampled_from(["a", "1", '"x"', "&&", "!", "-", "(", ")", ",", "f(", "?", ":", ".", "is"]), max_size=7)
)
def test_what_is_well_formed_is_an_expression_to_htcondor(words: list[str]) -> None:
    classad2 = pytest.importorskip("classad2", reason="HTCondor's Python bindings are not installed")
    text = " ".join(words)
    if is_well_formed(text):
        classad2.ExprTree(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('A = true, B = "x, y"', (("A", "true"), ("B", '"x, y"'))),
        ("a = {1,2},b=f(x, y)", (("a", "{1, 2}"), ("b", "f(x, y)"))),
        ("a", None),
        ("a =", None),
        ("a = 1,", None),
        ("a == 1", None),
        ('a = "', None),
        ("1 = a", None),
        ("", None),
    ],
)
def test_assignments(text: str, expected: tuple[tuple[str, str], ...] | None) -> None:
    assert assignments(text) == expected
