"""What of the user data may not be shown."""

from __future__ import annotations

import re

SHORTEST_VALUE = 8
"""Shorter values (`yes`, `0755`) are no secret and would garble what is shown."""

_PATH = re.compile(r"~?/[a-z0-9._/-]+")
_PLAIN = re.compile(r"\d+(?:\.\d+){3}(?:[:/]\d+)?|(?:[a-z]+\d{0,3}[._-])*[a-z]+\d{0,3}(?::\d+)?")
"""Addresses, names of hosts, and words: what tells why a VM did not join mostly has one of them."""
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
        rest = line[sign.end() :].strip()
        quoted = re.match(r"(['\"])(.*?)\1", rest)
        values = {quoted[2]} if quoted else {re.split(end, rest)[0].strip() for end in ("['\"]", r"['\"\s;&|<>)]")}
        name = re.split(r"[\s;&|]", line[: sign.start()].rstrip())[-1]
        found |= {value for value in values if len(value) >= SHORTEST_VALUE and not _harmless(name, value)}
    return found


def _harmless(name: str, value: str) -> bool:
    return bool(_PATH.fullmatch(value) or (_PLAIN.fullmatch(value) and not _SECRET_NAME.search(name)))
