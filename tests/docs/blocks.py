"""The blocks of code in the documentation, and what is written above each about who runs it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parents[2]
PAGES = (TOP / "README.md", *sorted((TOP / "docs").rglob("*.md")))
SHELL = ("", "sh", "bash")
"""Languages of fences whose content is commands; an indented block always is."""
ANNOTATION = re.compile(r"<!-- (run|needs): (.+) -->")


@dataclass(frozen=True)
class Block:
    """A block of code on a page."""

    page: str
    line: int
    kind: str
    """`run`, `needs`, or empty if nothing is written above it."""
    by: str
    """Who runs it, or what it needs."""
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(path: Path) -> list[Block]:
    """Return the fenced and the indented blocks of a page, from its top down."""
    page = str(path.relative_to(TOP))
    lines = path.read_text(encoding="utf-8").splitlines()
    found = []
    number = 0
    while number < len(lines):
        start, line = number, lines[number]
        number += 1
        fence = re.match(r"(```+)(\w*)\s*$", line)
        if fence:
            end = lines.index(fence[1], number)
            text, language = lines[number:end], fence[2]
            number = end + 1
        elif line.startswith("    ") and not lines[start - 1].strip() and not _in_list(lines[:start]):
            while number < len(lines) and (lines[number].startswith("    ") or not lines[number].strip()):
                number += 1
            text, language = [line[4:] for line in lines[start:number]], ""
        else:
            continue
        above = next((line for line in reversed(lines[:start]) if line.strip()), "")
        said = ANNOTATION.fullmatch(above)
        kind, by = (said[1], said[2]) if said else ("", "")
        found.append(Block(page, start + 1, kind, by, language, "\n".join(text).rstrip() + "\n"))
    return found


def _in_list(before: list[str]) -> bool:
    """Return whether what is indented after these lines goes on with the item of a list."""
    above = next((line for line in reversed(before) if line.strip() and not line.startswith("  ")), "")
    return bool(re.match(r"([-*]|\d+\.) ", above))


def commands(block: Block) -> list[str]:
    """Return the commands of a block, one by one, without comments."""
    joined = re.sub(r"\\\n\s*", "", block.text)
    lines = (re.sub(r"(^|\s+)#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]
