"""What others wrote, made fit to be shown: free of control characters, short where it need not be whole."""

from __future__ import annotations

_SHOWN_CHARACTERS = 40

_EXCERPT_CHARACTERS = 200


def printable(text: str, instead: str = "?") -> str:
    """Return `text` whole, with `instead` of each character that is not printable (line ends are not)."""
    if text.isprintable():
        return text  # as nearly all are
    return "".join(character if character.isprintable() else instead for character in text)


def harmless(text: str) -> str:
    """Return `text` with its line ends, and with "?" for what else is not printable: no terminal obeys it, and UTF-8
    has all of it."""
    return text if text.isprintable() else "\n".join(map(printable, text.split("\n")))


def cut(text: str, most: int) -> str:
    """Return `text`, or its beginning and "..." if it has more than `most` characters."""
    return text if len(text) <= most else text[: most - 3] + "..."


def one_line(text: str, most: int) -> str:
    """Return `text`, which may have many lines, in one of at most `most` characters, with single spaces."""
    return cut(" ".join(printable(text, " ").split()), most)


def shown(text: str) -> str:
    """Return a word of a message, such as a name or a value: short, and each character counts."""
    return cut(printable(text), _SHOWN_CHARACTERS)


def excerpt(text: str) -> str:
    """Return the beginning of an answer that was not understood, in quotes, as Python would write it."""
    return repr(text.strip()[:_EXCERPT_CHARACTERS])


def last_lines(text: str, limit: int) -> str:
    """Return whole lines from the end of `text`, as many as fit into `limit` characters, in one line."""
    end = ""
    for line in reversed([line.strip() for line in text.splitlines() if line.strip()]):
        longer = f"{line} | {end}" if end else line[-limit:]
        if len(longer) > limit:
            break
        end = longer
    return end
