"""`elastiqctl top` where there is no terminal; tests/process/test_top.py has it in one."""

from __future__ import annotations

import io
import sys

import pytest

from elastiq import top
from tests.page.scenes import usual
from tests.unit.fakes import FakeClock


@pytest.mark.parametrize("environment", [{}, {"TERM": "dumb"}, {"TERM": "xterm"}, {"TERM": "no-such-terminal"}])
def test_without_a_terminal_one_picture_is_printed(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    top.show(usual, str, FakeClock(), environment)
    shown = capsys.readouterr().out
    assert shown.startswith("physics.example.org  elastiq is running")
    assert "quota-full" in shown
    assert "\x1b" not in shown


def test_where_the_encoding_has_no_blocks_the_picture_is_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    into = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(into, "ascii"))
    top.show(usual, str, FakeClock(), {})
    sys.stdout.flush()
    assert b"#" * 24 in into.getvalue()
