"""Slurm's expressions of features, as `--constraint` takes them."""

from __future__ import annotations

import re
from collections.abc import Collection

_WORD = re.compile(r"[&|]|[()\[\]]|\*[0-9]+|[^&|()\[\]*!,;\s]+")
_CLOSED_BY = {"(": ")", "[": "]"}


def features_in(expression: str) -> tuple[str, ...]:
    """Return the features that `expression` names, each once, in their order."""
    names = (word for word in _WORD.findall(expression) if word[0] not in "&|()[]*")
    return tuple(dict.fromkeys(names))


def is_met(expression: str, features: Collection[str]) -> bool | None:
    """Return whether machines that all have `features` can be all the nodes of a job with this `--constraint`, or None
    if that cannot be read.

    As Slurm does, `&` and `|` bind alike, from left to right, and brackets first. Counts (`a*2`, `[a*2&b*1]`) share the
    nodes of a job out among features; machines that are all alike do for that if they have every one of them, so a
    count changes nothing here, nor does `[a|b]`, by which all nodes shall have the same one of these.
    """
    # Without recursion: a user may nest them as deep as the text is long.
    outer: list[tuple[bool | None, str, str]] = []
    value: bool | None = None
    operator, after_operand, end = "", False, 0
    for match in _WORD.finditer(expression):
        word, begin, end = match[0], end, match.end()
        if match.start() != begin:
            return None
        if word in _CLOSED_BY:
            if after_operand:
                return None
            outer.append((value, operator, _CLOSED_BY[word]))
            value, operator = None, ""
        elif word[0] == "*" or word in ("&", "|", ")", "]"):
            if not after_operand or value is None:
                return None
            if word in ("&", "|"):
                operator, after_operand = word, False
            elif word[0] != "*":
                if not outer or outer[-1][2] != word:
                    return None
                before, earlier, _ = outer.pop()
                value, operator = _joined(before, earlier, value), ""
        else:
            if after_operand:
                return None
            value, operator, after_operand = _joined(value, operator, word in features), "", True
    complete = end == len(expression) and after_operand and not outer
    return value if complete else None


def _joined(left: bool | None, operator: str, right: bool) -> bool:
    if left is None:
        return right
    return (left and right) if operator == "&" else (left or right)
