"""Elements, and that nothing of anybody else's becomes one."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from elastiq.report.markup import Markup, joined, tag, text


def test_an_element() -> None:
    made = tag("td", "a < b", tag("br"), class_="count", data_of='"x"', x=3)
    assert made == '<td class="count" data-of="&quot;x&quot;" x="3">a &lt; b<br></td>'


def test_what_was_put_together_as_text_is_text_again() -> None:
    """What would be a hole is seen as a blemish."""
    assert tag("p", f"since {tag('b', 'now')}") == "<p>since &lt;b&gt;now&lt;/b&gt;</p>"
    assert joined("a & ", tag("b", "now")) == "a &amp; <b>now</b>"


def test_control_characters_are_not_shown() -> None:
    assert text("a\x1b[31m\n\x00b") == "a?[31m??b"


class Seen(HTMLParser):
    """What a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@given(st.text(), st.text())
def test_whatever_is_in_a_text_stays_text(words: str, value: str) -> None:
    seen = Seen()
    seen.feed(tag("p", tag("b", words), title=value) + Markup("<hr>"))
    seen.close()
    assert [name for name, _ in seen.elements] == ["p", "b", "hr"]
    assert list(seen.elements[0][1]) == ["title"]
