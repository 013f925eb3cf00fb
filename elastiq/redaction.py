"""What of the user data may not be shown."""

from __future__ import annotations

import re

SHORTEST_VALUE = 8
"""Shorter values (`yes`, `0755`) are no secret and would garble what is shown."""

LONGEST_NAME, LONGEST_VALUE = 100, 1000
"""Of longer ones no more is looked at; the line as a whole is hidden, whatever its length."""

_PATH = r"~?/[A-Za-z0-9._/-]+"
_HOST = r"(?:(?:[A-Za-z]+\d{0,3}|\d{1,4})[._-])*(?:[A-Za-z]+\d{0,3}|\d{1,4})"
_IPV6 = r"[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}"
_HARMLESS = re.compile(rf"(?:https?://)?(?:{_HOST}|{_IPV6}|\[{_IPV6}\])(?::\d{{1,5}}|/\d{{1,3}})?(?:/|{_PATH})?")
"""Words, names of hosts, addresses: what tells why a VM did not join mostly has one of them."""
_SECRET_NAME = re.compile(r"pass|pw|secret|token|key|cred|auth", re.IGNORECASE)


def secret_texts(user_data: bytes, shortest_line: int) -> set[str]:
    """Return the lines from `shortest_line` characters on, and the values that are given in them.

    A shell that traces what it does (`set -x`) shows a value in other quotes than the line has, or in another line.
    """
    lines = {line.strip() for line in user_data.decode("utf-8", "replace").splitlines()}
    # What a comment says is common words; nothing ever shows them apart from their line.
    values = {value for line in lines if not line.startswith("#") for value in _values(line)}
    return {line for line in lines if len(line) >= shortest_line} | values


def _values(line: str) -> set[str]:
    """Return what stands right of `=` or `: `, up to the end of its quotes, of its word or of the line."""
    found = set()
    for sign in re.finditer(r"=|: ", line):
        rest = line[sign.end() : sign.end() + LONGEST_VALUE].strip()
        quoted = re.match(r"(['\"])(.*?)\1", rest)
        ends = ("['\"]", r"['\"\s;&|<>)]")
        values = {quoted[2]} if quoted else {re.split(end, rest, maxsplit=1)[0].strip() for end in ends}
        name = re.split(r"[\s;&|]", line[max(0, sign.start() - LONGEST_NAME) : sign.start()].rstrip())[-1]
        found |= {value for value in values if len(value) >= SHORTEST_VALUE and not _harmless(name, value)}
    return found


def _harmless(name: str, value: str) -> bool:
    return bool(re.fullmatch(_PATH, value) or (_HARMLESS.fullmatch(value) and not _SECRET_NAME.search(name)))
