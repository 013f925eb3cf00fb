"""docs/reasons.md lists every token with its meaning, and every token is somewhere used."""

from __future__ import annotations

import re

import pytest

from elastiq.decisions import Token
from elastiq.errors import CloudFault
from tests.docs.blocks import TOP

PAGE = (TOP / "docs/reasons.md").read_text(encoding="utf-8")
CODE = "\n".join(
    path.read_text(encoding="utf-8")
    for path in (TOP / "elastiq").rglob("*.py")
    if path != TOP / "elastiq/decisions.py" and "sim" not in path.relative_to(TOP).parts
)


def test_the_table_lists_every_token_with_its_meaning() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| [^|]+ \| (.+) \|$", PAGE, re.MULTILINE)
    assert rows == [(token.value, token.meaning) for token in Token]


@pytest.mark.parametrize("token", Token, ids=lambda token: token.value)
def test_every_token_is_used(token: Token) -> None:
    of_cloud = {f"CLOUD_{fault.name}" for fault in CloudFault}
    assert token.name in of_cloud or token is Token.DONE or f"Token.{token.name}" in CODE


def test_every_fault_of_a_cloud_has_a_token() -> None:
    assert {f"CLOUD_{fault.name}" for fault in CloudFault} <= {token.name for token in Token}
