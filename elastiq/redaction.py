"""What may not be shown, and the one that takes it out: keys, user data, and what looks like either."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Iterable
from itertools import islice
from urllib.parse import quote

from elastiq.text import one_line

HIDDEN = "(hidden)"
"""What is shown in place of a secret."""

SHORTEST_LINE = 8
"""Shorter lines of user data (`fi`, `exit 0`) are no secret and would garble the words of elastiq itself."""

SHORTEST_FOREIGN_LINE = 6
"""The same where only others speak: a cloud that refuses a request, the console of a VM."""

SHORTEST_KEY = 8
"""Shorter keys are not hidden: where `a` is a key, every other word would be garbled, and so would say what it is. The
check of the configuration warns of them."""

SHORTEST_VALUE = 8
"""Shorter values (`yes`, `0755`) are no secret and would garble what is shown."""

LONGEST_NAME, LONGEST_VALUE = 100, 1000
"""Of longer ones no more is looked at; the line as a whole is hidden, whatever its length."""

PASSING_KEPT = 100
"""So many secrets that are of use for a while only are hidden; the oldest are forgotten."""

_PLACES_HIDDEN = 16
"""Where a passing secret stands in the user data: so many places are looked at."""

_AROUND_BYTES = 30
"""Before and behind it, in the base64 of what it stands in: a longer piece is hidden whatever it is (see _BLOB)."""

_PLACEHOLDER = "%join_token%"
"""A value of the user data that is none, and that messages speak of."""

_PATH = r"~?/[A-Za-z0-9._/-]+"
_HOST = r"(?:(?:[A-Za-z]+\d{0,3}|\d{1,4})[._-])*(?:[A-Za-z]+\d{0,3}|\d{1,4})"
_IPV6 = r"[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}"
_HARMLESS = re.compile(rf"(?:https?://)?(?:{_HOST}|{_IPV6}|\[{_IPV6}\])(?::\d{{1,5}}|/\d{{1,3}})?(?:/|{_PATH})?")
"""Words, names of hosts, addresses: what tells why a VM did not join mostly has one of them."""
_SECRET_NAME = re.compile(r"pass|pw|secret|token|key|cred|auth", re.IGNORECASE)


_PART = re.compile(r"[A-Za-z0-9+/]{10,}={0,2}")
"""What may be a part of a key, or of the user data in base64: messages are cut, and lines end."""

_BLOB = re.compile(r"[A-Za-z0-9+/=_-]{40,}")
_LONGEST_READABLE = 200
_READABLE = re.compile(
    r"[A-Za-z0-9]{0,8}|[a-z]{0,30}(?:[A-Z][a-z]+){0,5}\d{0,6}|[A-Z]{1,30}\d{0,6}|[a-z]{0,4}[0-9a-f]{1,17}"
)
"""The pieces of a path, of a name or of an id; encoded bytes have digits and capitals in the middle."""

_ACCESS_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b")
_USER_IN_URL = re.compile(r"//[^/@\s]*@")

_MARKS = re.compile(r"(?:{0}\W*?)+{0}".format(re.escape(HIDDEN)))

_LONGEST_WITHOUT_ECHO = 2000
_ECHO_SHOWN = 80
"""A cloud that refuses a request may echo its parameters: OpenStack sends back the whole user data. So much is shown of
a text of more than _LONGEST_WITHOUT_ECHO characters."""


class Redactor:
    """Takes secrets out of text. The daemon has one, at two doors: what is logged, and what is recorded or shown
    (report, decisions, metrics). What the cloud says goes through it on its way in as well.

    It may be used in several threads.
    """

    def __init__(self) -> None:
        self._longest_first: tuple[str, ...] = ()
        self._foreign_lines: tuple[str, ...] = ()
        self._wholes: tuple[str, ...] = ()
        """What is hidden in part, too."""
        self._passing_lock = threading.Lock()
        self._passing: tuple[tuple[frozenset[str], frozenset[str]], ...] = ()
        """Of each passing secret what is hidden, and what of it in part, too; the oldest first."""
        self._passing_longest_first: tuple[str, ...] = ()
        self._passing_wholes = ""
        """All of the latter, a line each: one search is faster than hundreds."""

    def add(self, keys: Iterable[str], user_data: Iterable[bytes]) -> None:
        """From now on hide `keys` and the base64 form of each `user_data`, also in part, and its lines and values; but
        no keys shorter than SHORTEST_KEY.
        """
        secrets, short, wholes = set(self._longest_first), set(self._foreign_lines), set(self._wholes)
        for key in (key for key in keys if len(key) >= SHORTEST_KEY):
            coded = base64.b64encode(key.encode()).decode()
            secrets |= {key, quote(key, safe=""), coded}
            wholes |= {key, coded}
        for data in filter(None, user_data):
            coded = base64.b64encode(data).decode()
            secrets.add(quote(coded, safe=""))
            wholes.add(coded)
            for text in secret_texts(data, SHORTEST_FOREIGN_LINE):
                # An exception often shows a value as Python would write it, a request one as it is in an address.
                spelled = {text, repr(text)[1:-1], repr(text.encode())[2:-1], quote(text, safe="")}
                if len(text) < SHORTEST_LINE:
                    short |= spelled
                else:
                    secrets |= spelled
        self._longest_first = tuple(sorted(secrets, key=len, reverse=True))
        self._foreign_lines = tuple(sorted(short, key=len, reverse=True))
        self._wholes = tuple(wholes)

    def add_passing(self, key: str, user_data: bytes = b"") -> None:
        """Hide `key` until PASSING_KEPT others have come, also in part, and as it is in the base64 form of `user_data`;
        but no key shorter than SHORTEST_KEY.
        """
        if len(key) < SHORTEST_KEY:
            return
        coded = base64.b64encode(key.encode()).decode()
        spelled = frozenset({key, coded, quote(key, safe=""), repr(key)[1:-1]})
        found = re.finditer(re.escape(key.encode()), user_data)
        wholes = frozenset(
            {key, coded, *(_coded_around(user_data, place.span()) for place in islice(found, _PLACES_HIDDEN))}
        )
        with self._passing_lock:
            self._passing = (*self._passing, (spelled, wholes))[-PASSING_KEPT:]
            texts = {text for one, _ in self._passing for text in one}
            self._passing_longest_first = tuple(sorted(texts, key=len, reverse=True))
            self._passing_wholes = "\n".join({whole for _, some in self._passing for whole in some})

    def clean(self, text: str, *, foreign: bool = False) -> str:
        """Return `text` without the secrets, encoded blobs, access keys, and users and passwords in addresses.

        If `foreign`, none of it is elastiq's own, and shorter lines of the user data go as well.
        """
        # Passing ones first: a part of one may be something that is hidden for ever.
        for secret in (*self._passing_longest_first, *self._longest_first, *(self._foreign_lines if foreign else ())):
            if secret in text:
                text = text.replace(secret, HIDDEN)
        text = _PART.sub(self._without_part, text)
        text = _BLOB.sub(_without_blob, text)
        text = _ACCESS_KEY_ID.sub(HIDDEN, text)
        return _USER_IN_URL.sub("//", text)

    def brief(self, text: str, most: int) -> str:
        """Return a foreign text, clean, in one line of at most `most` characters; of a long one only the beginning,
        for it may echo what was sent.
        """
        if len(text) > _LONGEST_WITHOUT_ECHO:
            most = min(most, _ECHO_SHOWN)
        return one_line(_MARKS.sub(HIDDEN, self.clean(text, foreign=True)), most)

    def _without_part(self, run: re.Match[str]) -> str:
        part = run.group().rstrip("=")
        return HIDDEN if any(part in whole for whole in (*self._wholes, self._passing_wholes)) else run.group()


def _coded_around(data: bytes, span: tuple[int, int]) -> str:
    """Return the base64 form of a piece of `data` and of what is around it, as it is within the form of all of it."""
    start, end = max(0, span[0] - _AROUND_BYTES) // 3 * 3, -(-(span[1] + _AROUND_BYTES) // 3) * 3
    return base64.b64encode(data[start:end]).decode()


def _without_blob(run: re.Match[str]) -> str:
    # Without lists of pieces: a cloud may send millions of them.
    text = run.group()
    is_short = len(text) - sum(map(text.count, "+/=_-")) <= _LONGEST_READABLE
    readable = is_short and all(_READABLE.fullmatch(piece.group()) for piece in re.finditer("[^+/=_-]+", text))
    return text if readable else HIDDEN


def secret_texts(user_data: bytes, shortest_line: int) -> set[str]:
    """Return the lines from `shortest_line` characters on, and the values that are given in them.

    A shell that traces what it does (`set -x`) shows a value in other quotes than the line has, or in another line.
    """
    lines = {line.strip() for line in user_data.decode("utf-8", "replace").splitlines()}
    # What a comment says is common words; nothing ever shows them apart from their line.
    values = {value for line in lines if not line.startswith("#") for value in _values(line)}
    return ({line for line in lines if len(line) >= shortest_line} | values) - {_PLACEHOLDER}


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
