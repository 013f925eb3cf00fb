"""What others wrote, made fit to be shown: in one line, short, and free of control characters."""

from __future__ import annotations

from pathlib import Path


def shown(text: str) -> str:
    """Return `text` as it may stand in a message: short and free of control characters."""
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return printable if len(printable) <= 40 else printable[:37] + "..."


def shown_path(path: Path) -> str:
    """Return `path` as it may stand in a message: whole, but free of control characters."""
    return "".join(character if character.isprintable() else "?" for character in str(path))


_EXCERPT_CHARACTERS = 200


def excerpt(text: str) -> str:
    """Return the beginning of a foreign text as it may stand in a message: short, quoted, in one line."""
    return repr(text.strip()[:_EXCERPT_CHARACTERS])
