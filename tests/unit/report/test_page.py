"""The page: what is on it, and that nothing of anybody else's becomes a part of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from elastiq.planning.remedies import remedy
from elastiq.report.charts import Layer
from elastiq.report.now import Now
from elastiq.report.page import EVENTS_MOST, POLICY, ROWS_MOST, page
from elastiq.report.series import Past
from tests.page.scenes import SCENES, trouble, usual
from tests.unit.report.test_markup import Seen

MOST_BYTES = 300_000


def seen(made: str) -> Seen:
    parser = Seen()
    parser.feed(made)
    parser.close()
    return parser


@pytest.mark.parametrize("name", SCENES)
def test_the_page_is_small_whole_and_needs_nothing(name: str) -> None:
    made = page(*SCENES[name]())
    assert len(made.encode()) <= MOST_BYTES
    parts = seen(made)
    names = Counter(tag for tag, _ in parts.elements)
    assert names["h1"] == names["main"] == 1
    assert not {"script", "link", "img", "iframe", "object", "form", "a"} & set(names)
    assert not re.search(r"https?://|\bon\w+=", made)
    meta = {one.get("http-equiv"): one.get("content") for tag, one in parts.elements if tag == "meta"}
    assert meta["Content-Security-Policy"] == POLICY
    assert ("html", {"lang": "en"}) in parts.elements
    ids = [one["id"] for _, one in parts.elements if "id" in one]
    assert len(ids) == len(set(ids))
    used = " ".join(str(one["aria-labelledby"]) for _, one in parts.elements if "aria-labelledby" in one).split()
    assert set(used) <= set(ids)


def test_what_is_not_there_is_not_shown() -> None:
    made = page(Now(7.0, is_running=False), Past())
    assert "elastiq is not running." in made
    assert "elastiqctl start" in made
    assert not re.search("VMs by stage|Jobs that wait|The last|Newest", made)


def test_the_usual_page_says_what_is() -> None:
    made = page(*usual())
    words = "".join(seen(made).words)
    assert "physics.example.orgelastiq is running, since 20" in words
    assert re.search(r"Jobs waiting127Workers busy24Workers idle3VMs33 of at most 50", words)
    assert "all pools5243133" in words, "booting, at work, idle, going, all"
    assert "127 jobs in 2 groups" in words
    assert re.search(r"112.*quota-full.*8.*room-booting.*7.*waiting-time", words)
    for title in ("The last day", "The last month", "Demand and capacity", "Waiting jobs", "Newest events"):
        assert title in words


def test_trouble_comes_first() -> None:
    words = "".join(seen(page(*trouble())).words)
    assert "elastiq is running, but does not report; it has last reported" in words
    assert words.index("Error, last 20") < words.index("held back") < words.index("VMs by stage")
    assert "To change it: mend what cannot be read" in words
    assert "Jobs waitingunknown" in words
    assert "Some of what was cannot be read" in words


def test_what_is_too_much_is_counted() -> None:
    now, past = SCENES["large"]()
    words = "".join(seen(page(now, past)).words)
    left_out = sum(len(group.told) for group in now.told.groups) - ROWS_MOST + now.told.groups_left_out
    assert f"and {left_out:,} more, of fewer jobs" in words
    assert page(now, past).count('class="when"') == EVENTS_MOST


def test_secrets_go_out_of_every_text_of_others() -> None:
    now, past = _with(trouble(), "SECRET", OWN)
    assert "SECRET" in page(now, past)
    assert "SECRET" not in page(now, past, lambda text: text.replace("SECRET", "(hidden)"))


KEPT = frozenset({"stage", "key"})
"""By which things are told apart. All else is taken for a text of others here."""

OWN = frozenset({*KEPT, "token", "version", "kind", "name"})
"""And what elastiq itself says."""


def _with(value: Any, words: str, kept: Collection[str] = KEPT) -> Any:
    """Return the same with these words in every text."""
    if isinstance(value, str):
        return words
    if isinstance(value, tuple):
        return tuple(_with(one, words, kept) for one in value)
    if is_dataclass(value) and not isinstance(value, (type, Layer)):
        values = {one.name: getattr(value, one.name) for one in fields(value)}
        return replace(value, **{name: _with(one, words, kept) for name, one in values.items() if name not in kept})
    return value


STRANGE = ("<script>", "</style>", '" onload="x', "'", "&lt;", "]]>", "<!--", "\x00<b>", "</title><svg/onload=x>")


@pytest.mark.long
@settings(max_examples=40, deadline=None)
@given(st.one_of(st.text(min_size=1), st.sampled_from(STRANGE)))
def test_whatever_stands_in_any_text_the_page_has_the_same_elements(words: str) -> None:
    assume(not remedy(words))  # which would be one more sentence
    assert _shape(words) == _shape("calm")


def _shape(words: str) -> list[tuple[str, list[str]]]:
    """Return the elements of a page, with the names of their attributes."""
    return [(tag, list(one)) for tag, one in seen(page(*_with(trouble(), words))).elements]


@pytest.mark.long
@pytest.mark.parametrize("words", ["long word " * 500, "\u20ac" * 5000, "<&>" * 2000])
def test_it_is_small_however_long_the_sentences_are(words: str) -> None:
    assert len(page(*_with(SCENES["large"](), words, OWN)).encode()) <= MOST_BYTES
