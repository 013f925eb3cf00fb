"""HTML and SVG out of elements: whatever is not markup already is text, and is escaped."""

from __future__ import annotations

from html import escape

from elastiq.text import printable

EMPTY = frozenset({"meta", "br"})
"""Elements without an end."""


class Markup(str):
    """What was made by `tag` or `joined`, or is written in the source: it is not escaped again."""

    __slots__ = ()


def text(words: str) -> Markup:
    """Return words of anybody as markup that shows them."""
    return Markup(escape(printable(words)))


def joined(*parts: str) -> Markup:
    """Return parts one after the other; those that are no markup are escaped."""
    return Markup("".join(part if isinstance(part, Markup) else text(part) for part in parts))


def tag(name: str, /, *parts: str, **attributes: str | float) -> Markup:
    """Return an element. An attribute `class_` is called class, `aria_label` aria-label; their values are escaped."""
    words = "".join(f' {key.rstrip("_").replace("_", "-")}="{text(str(value))}"' for key, value in attributes.items())
    return Markup(f"<{name}{words}>") if name in EMPTY else Markup(f"<{name}{words}>{joined(*parts)}</{name}>")
