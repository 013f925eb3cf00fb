"""The pages: every link leads somewhere, every message that they quote is one of the program's, all files are named."""

from __future__ import annotations

import ast
import re
import string
from dataclasses import fields
from functools import lru_cache
from pathlib import Path

import pytest

from elastiq.config import DOCUMENTED
from elastiq.model import Demand
from elastiq.plugins.sections import SECTIONS as PLUGINS
from elastiq.report.metrics import GAUGES
from tests.docs.blocks import PAGES, TOP, Block, blocks

PACKAGE = TOP / "elastiq"
SOURCES = [
    path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).parts[0] not in ("sim", "sandbox")
]
MESSAGES = [block for page in PAGES for block in blocks(page) if block.language == "log"]
GAP = "…"
"""Stands for what differs from case to case, on the pages and here."""
PERCENT = re.compile(r"%(?:[-+ #0]*\d*(?:\.\d+)?[srdfgx])")
CHARACTERS_PER_TEXT = 10
"""A piece of a message may be put together from several texts of the program, but not from scraps."""


@lru_cache(maxsize=1)
def templates() -> str:
    """Return every text in elastiq's source, with a gap for each value that is put in, one a line."""
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(str(p.value) if isinstance(p, ast.Constant) else GAP for p in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(PERCENT.sub(GAP, node.value))
    return "\n".join(found)


def missing(message: str) -> list[str]:
    """Return the pieces of a message that are not made of texts of the program."""
    pieces = [piece.strip(string.whitespace + string.punctuation) for piece in message.split(GAP)]
    return [piece for piece in pieces if not _is_made_of_texts(piece)]


def _is_made_of_texts(piece: str) -> bool:
    for _ in range(1 + len(piece) // CHARACTERS_PER_TEXT):
        length = next((n for n in range(len(piece), 0, -1) if piece[:n] in templates()), 0)
        piece = piece[length:]
    return not piece


@pytest.mark.parametrize("block", MESSAGES, ids=str)
def test_message_is_one_of_the_program(block: Block) -> None:
    for message in block.text.splitlines():
        assert re.search(r"\w{4}", message), "a message of gaps alone proves nothing"
        assert missing(message) == [], message


def test_a_message_that_nobody_says_is_found_out() -> None:
    assert missing("quetzals never utter this of … VMs") == ["quetzals never utter this of"]


def test_who_may_drain_in_slurm_is_an_administrator() -> None:
    """Slurm lets an operator of slurmdbd make reservations, but neither drain nor delete a node."""
    texts = [path.read_text(encoding="utf-8") for path in (*PAGES, *sorted((TOP / "docs/examples").iterdir()))]
    levels = [level for text in texts for level in re.findall(r"adminlevel=(\w+)", text, re.IGNORECASE)]
    assert set(levels) == {"Administrator"}
    assert len(levels) >= 3


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page.name}: {target}"


def test_the_map_names_every_page_and_the_manual_every_command() -> None:
    index = (TOP / "docs/index.md").read_text(encoding="utf-8")
    for page in (TOP / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, page.name
    usage = re.search(r"usage: elastiqctl (\S+)\"", (TOP / "scripts/elastiqctl").read_text(encoding="utf-8"))
    assert usage
    manual = (TOP / "docs/man/elastiqctl.8").read_text(encoding="utf-8")
    completion = (TOP / "etc/elastiqctl.bash-completion").read_text(encoding="utf-8")
    assert f'"{usage[1].replace("|", " ")}"' in completion
    for command in usage[1].split("|"):
        assert re.search(rf"^\.TP\n\.B {command}$", manual.replace("\\-", "-"), re.MULTILINE), command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_have_these_words(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for command in re.findall(r"`elastiqctl (\w+)`", text):
        words = ("start", "stop", "status", "restart", "check", "retry", "simulate", "log", "conf", "help")
        words += ("why", "plan", "vms", "jobs", "history", "cost", "top", "page")
        assert command in words, command
    names = {option.name for section in (*DOCUMENTED, *PLUGINS) for option in section.options}
    names |= {name for name, _, _ in GAUGES} | {field.name for field in fields(Demand)}
    for name in re.findall(r"`(\w+_s|\w+_vms|n_jobs_per_vm|user_data\w*|image_id|flavour)(?: = [^`]*)?`", text):
        assert name in names, f"{page.name}: {name} is no option"
