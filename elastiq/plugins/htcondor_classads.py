"""Texts of ClassAd expressions: their clauses, and what they refer to. Nothing is evaluated here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

_TOKEN = re.compile(
    r"""\s*(?:
    "(?:[^"\\]|\\.)*"
    |'(?:[^'\\]|\\.)+'
    |\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?
    |[A-Za-z_][A-Za-z0-9_]*
    |=\?=|=!=|==|!=|<=|>=|&&|\|\||<<|>>>|>>|\?:|[-+*/%<>!~&|^?:.,;=(){}\[\]]
    )""",
    re.VERBOSE | re.DOTALL,
)
"""A text, a quoted name, a number, a name or a sign, and the blanks before it."""
_CLOSED_BY = {"(": ")", "[": "]", "{": "}"}
_OPENING, _CLOSING = frozenset(_CLOSED_BY), frozenset(_CLOSED_BY.values())
_CHECKED = _OPENING | _CLOSING | {";", "="}
_WORDS = frozenset({"true", "false", "undefined", "error", "is", "isnt"})
_SCOPES = {"my": "my", "self": "my", "target": "target", "other": "target"}
_DEEPEST = 60
"""So deeply nobody nests brackets by hand; HTCondor's own parser gives up somewhere, or crashes."""

PURE_FUNCTIONS = frozenset(
    {
        "isundefined", "iserror", "isstring", "isinteger", "isreal", "islist", "isclassad", "isboolean",
        "isabstime", "isreltime", "member", "identicalmember", "anycompare", "allcompare", "sum", "avg", "min",
        "max", "size", "split", "splitusername", "splitslotname", "join", "strcat", "substr", "strcmp",
        "stricmp", "toupper", "tolower", "versioncmp", "version_gt", "version_ge", "version_lt", "version_le",
        "version_eq", "version_in_range", "int", "real", "string", "bool", "floor", "ceil", "ceiling", "round",
        "pow", "quantize", "ifthenelse", "regexp", "regexpmember", "regexps", "replace", "replaceall",
        "stringlistsize", "stringlistsum", "stringlistavg", "stringlistmin", "stringlistmax",
        "stringlistmember", "stringlistimember", "stringlistsubsetmatch", "stringlistisubsetmatch",
        "stringlistregexpmember", "interval", "time", "formattime", "evalineachcontext", "countmatches",
        "unparse", "unresolved",
    }
)  # fmt: skip
"""Functions of which the same ads give the same value, but for the time, and that look at nothing else. Not so random,
userHome and userMap, which read what is on this machine alone, eval, and what a library of the site's own adds."""


@dataclass(frozen=True)
class Expression:
    """What is to be known of an expression without evaluating it."""

    text: str
    """In one line, and the same for everything that differs in blanks alone."""
    my: frozenset[str] = frozenset()
    """Attributes asked of the ad it stands in, in small letters, as all names here."""
    target: frozenset[str] = frozenset()
    """Attributes asked of the other ad."""
    either: frozenset[str] = frozenset()
    """Attributes without a scope: of its own ad if that has them, else of the other."""
    functions: frozenset[str] = frozenset()
    within: frozenset[tuple[str, str]] = frozenset()
    """Pairs of a function and an attribute in what it is given."""

    @property
    def foreign(self) -> frozenset[str]:
        """Return the functions that it calls and that are not pure."""
        return self.functions - PURE_FUNCTIONS


@lru_cache(maxsize=4096)
def read(text: str) -> Expression | None:
    """Given the text of an expression, return what is known of it; None if it cannot be one, or is too odd to judge."""
    tokens = _tokens(text)
    return None if tokens is None else _expression(tokens)


@lru_cache(maxsize=256)
def clauses(text: str) -> tuple[Expression, ...] | None:
    """Return the clauses of an expression, all of which have to be true; None as `read` does."""
    tokens = _tokens(text)
    if tokens is None:
        return None
    found = []
    for clause in _split(tokens):
        expression = _expression(clause)
        if expression is None:
            return None
        found.append(expression)
    return tuple(found)


def is_well_formed(text: str) -> bool:
    """Return whether operands and operators of `text` follow one another as in an expression. Records (`[a = 1]`) are
    taken for none."""
    tokens = _tokens(text)
    is_operand_next, before = True, ""
    open_brackets: list[str] = []
    choices = [0]
    """How many ? in each open bracket have not come to their : yet."""
    for word in tokens or ():
        sign = word.lower()
        if sign in _CLOSING:
            # Only a call or a list may be empty.
            if (is_operand_next and before not in ("{", "call")) or choices.pop():
                return False
            open_brackets.pop()
            is_operand_next, before = False, sign
            continue
        if is_operand_next:
            is_name = word[0].isalpha() or word[0] in "_'"
            if sign in ("(", "{") and before != ".":
                open_brackets.append(sign)
                choices.append(0)
            elif sign in _OPERATORS or not (is_name or (before != "." and word[0] in '"0123456789.' and word != ".")):
                if sign not in _BEFORE_OPERANDS or before == ".":
                    return False
            else:
                is_operand_next = False
            before = sign
            continue
        is_call = sign == "(" and before != "" and (before[0].isalpha() or before[0] == "_") and before not in _WORDS
        if is_call or sign == "[":
            open_brackets.append("call" if is_call else sign)
            choices.append(0)
            before = "call" if is_call else sign
        elif sign == "," and open_brackets and open_brackets[-1] in ("call", "{") and not choices[-1]:
            before = sign
        elif sign in _OPERATORS:
            choices[-1] += (sign == "?") - (sign == ":")
            if choices[-1] < 0:
                return False
            before = sign
        else:
            return False
        is_operand_next = True
    return not is_operand_next and choices == [0]


_BEFORE_OPERANDS = frozenset("+-!~")

_OPERATORS = frozenset(
    {
        *("&&", "||", "==", "!=", "=?=", "=!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "&", "|", "^"),
        *("<<", ">>", ">>>", "is", "isnt", "?:", "?", ":", "."),
    }
)


def assignments(text: str) -> tuple[tuple[str, str], ...] | None:
    """Given a list such as `A = 1, B = "x"`, return names and values; None if it is no such list. What the values are
    is not looked at."""
    pieces: list[str] = _TOKEN.findall(text)
    if "".join(pieces) != text.rstrip():
        return None
    depth = 0
    parts: list[list[str]] = [[]]
    for word in map(str.strip, pieces):
        depth += (word in _OPENING) - (word in _CLOSING)
        if word == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(word)
    if not all(len(part) > 2 and part[1] == "=" and _NAME.fullmatch(part[0]) for part in parts):
        return None
    return tuple((part[0], _joined(part[2:])) for part in parts)


_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")


def reachable(names: Iterable[str], ad: Mapping[str, Expression]) -> frozenset[str] | None:
    """Return those of `names` that `ad` has, and what these refer to in it. Return None if any refers to itself."""
    done: set[str] = set()
    open_names: dict[str, None] = {}

    def visit(name: str) -> bool:
        if name in done or name not in ad:
            return True
        if name in open_names or len(open_names) > _DEEPEST:
            return False
        open_names[name] = None
        fine = all(visit(inner) for inner in sorted(ad[name].my | ad[name].either))
        del open_names[name]
        done.add(name)
        return fine

    return frozenset(done) if all([visit(name) for name in sorted(names)]) else None


@lru_cache(maxsize=16)
def _tokens(text: str) -> tuple[str, ...] | None:
    """Return the tokens of `text`, or None if it is no single expression."""
    pieces: list[str] = _TOKEN.findall(text)
    if "".join(pieces) != text.rstrip():
        return None
    tokens = tuple(map(str.strip, pieces))
    open_brackets: list[str] = []
    for word in filter(_CHECKED.__contains__, tokens):
        if word in _OPENING:
            open_brackets.append(_CLOSED_BY[word])
        elif (word in _CLOSING and (not open_brackets or open_brackets.pop() != word)) or (
            word in (";", "=") and "]" not in open_brackets
        ):
            return None
        if len(open_brackets) > _DEEPEST:
            return None
    return tokens if tokens and not open_brackets else None


def _split(tokens: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return what is joined by && on the outside, without brackets around it."""
    tokens = _bare(tokens)
    if "&&" not in tokens:
        return [tokens]
    depth, start = 0, 0
    parts: list[tuple[str, ...]] = []
    for position, word in enumerate(tokens):
        if word in _OPENING:
            depth += 1
        elif word in _CLOSING:
            depth -= 1
        elif depth == 0 and word in ("||", "?", "?:"):
            return [tokens]
        elif depth == 0 and word == "&&":
            parts.append(tokens[start:position])
            start = position + 1
    parts.append(tokens[start:])
    if len(parts) == 1:
        return [tokens]
    return [clause for part in parts for clause in (_split(part) if part else [part])]


def _bare(tokens: tuple[str, ...]) -> tuple[str, ...]:
    while len(tokens) > 2 and tokens[0] == "(" and _closes_at(tokens) == len(tokens) - 1:
        tokens = tokens[1:-1]
    return tokens


def _closes_at(tokens: Sequence[str]) -> int:
    depth = 0
    for position, word in enumerate(tokens):
        depth += (word in _OPENING) - (word in _CLOSING)
        if depth == 0:
            return position
    return -1


@lru_cache(maxsize=4096)
def _expression(tokens: tuple[str, ...]) -> Expression | None:
    scopes: dict[str, set[str]] = {"my": set(), "target": set(), "": set()}
    functions: set[str] = set()
    within: set[tuple[str, str]] = set()
    calls: list[str] = []
    for position, word in enumerate(tokens):
        if word in _OPENING:
            calls.append(tokens[position - 1].lower() if position else "")
        elif word in _CLOSING:
            calls.pop()
        if not (word[0].isalpha() or word[0] in "_'"):
            continue
        name = word.strip("'").lower()
        before, after = _around(tokens, position)
        if before == ".":
            scope = _SCOPES.get(tokens[position - 2].strip("'").lower()) if position > 1 else None
            if position == 1 or not _ends_value(tokens[position - 2]) or tokens[position - 2].lower() == "parent":
                return None
            is_inner = position > 2 and tokens[position - 3] == "."
            if scope and not is_inner:
                scopes[scope].add(name)
                within |= {(call, name) for call in calls}
        elif after == "(" and word[0] != "'":
            functions.add(name)
        elif after != "=" and not (name in _SCOPES and after == ".") and name not in _WORDS:
            scopes[""].add(name)
            within |= {(call, name) for call in calls}
    mine, others, either = (frozenset(scopes[scope]) for scope in ("my", "target", ""))
    inside = frozenset(pair for pair in within if pair[0] in functions)
    return Expression(_joined(tokens), mine, others, either, frozenset(functions), inside) if tokens else None


def _around(tokens: Sequence[str], position: int) -> tuple[str, str]:
    return (
        tokens[position - 1] if position else "",
        tokens[position + 1] if position + 1 < len(tokens) else "",
    )


def _ends_value(word: str) -> bool:
    return word[-1] in ")]}'\"_" or word[-1].isalnum()


def _joined(tokens: Sequence[str]) -> str:
    pieces, before = [], ""
    for word in tokens:
        tight = not before or before in "([{.!~" or word in ")]},;."
        is_call = word in "([" and before not in ("is", "isnt", "") and _ends_value(before)
        written = repr(float(word)) if word[0] in "0123456789." and _REAL.fullmatch(word) else word
        pieces.append(written if tight or is_call else " " + written)
        before = word
    return ascii_only("".join(pieces))


def ascii_only(text: str) -> str:
    """Return `text` with its other characters as HTCondor writes them: the octal numbers of their bytes."""
    if text.isascii():
        return text
    return "".join(one if one.isascii() else "".join(f"\\{byte:03o}" for byte in one.encode()) for one in text)


_REAL = re.compile(r"[0-9]+\.[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+")
"""A real number, which HTCondor writes in several ways."""
