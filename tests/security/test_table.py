"""The table of attacks in docs/security.md names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
ROWS = re.findall(r"^\| (.+) \| (.+) \| `(.+)` \|$", (TOP / "docs" / "security.md").read_text(), re.MULTILINE)


def test_the_table_is_read() -> None:
    lines = [line for line in (TOP / "docs" / "security.md").read_text().splitlines() if line.startswith("| ")]
    assert len(ROWS) == len([line for line in lines if not line.startswith("| attack ")]) > 40


@pytest.mark.parametrize("test", sorted({test for _, _, test in ROWS}))
def test_each_test_of_the_table_is_there(test: str) -> None:
    path, _, name = test.partition("::")
    assert re.search(rf"^ *def {name}\(", (TOP / path).read_text(), re.MULTILINE), test


def test_what_is_open_says_what_to_do() -> None:
    for attack, happens, _ in ROWS:
        if "**open**" in happens:
            assert re.search(r"status|systemctl|[Nn]othing but", happens), attack
