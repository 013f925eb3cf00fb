"""Which addresses are of this machine."""

from __future__ import annotations

import pytest

from elastiq.config.addresses import is_here


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://127.0.0.1:8788/", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:80/x", True),
        ("http://localhost/x", True),
        ("http://localhost.example.org/", False),
        ("http://192.0.2.1/", False),
        ("http://127.0.0.1.example.org/", False),
        ("http://user@192.0.2.1/127.0.0.1", False),
        ("", False),
    ],
)
def test_is_here(address: str, expected: bool) -> None:
    assert is_here(address) is expected
