"""The page written beside the loop."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from elastiq.clock import Clock
from elastiq.errors import StateError
from elastiq.process.pages import PageLane, page_lane

LONG = 60.0


def written(pages: PageLane, path: Path) -> int:
    """Wait until it is; return how often that was asked for."""
    tries, until = 1, time.monotonic() + LONG
    while not pages.write(path):
        assert time.monotonic() < until, "it is not written"
        tries += 1
        time.sleep(0.05)
    return tries


@pytest.mark.long
def test_nobody_waits_for_it_and_it_is_written(tmp_path: Path) -> None:
    lane = page_lane(Clock())
    pages = PageLane(tmp_path / "absent.conf", tmp_path / "state", lane)
    assert written(pages, tmp_path / "page.html") > 1
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "elastiq is not running" in text
    (tmp_path / "page.html").unlink()
    written(pages, tmp_path / "page.html")
    assert (tmp_path / "page.html").exists(), "each answer counts once"
    lane.retire()


@pytest.mark.long
def test_why_it_cannot_be_written_is_said(tmp_path: Path) -> None:
    lane = page_lane(Clock())
    path = tmp_path / "nowhere" / "page.html"
    with pytest.raises(StateError) as raised:
        written(PageLane(tmp_path / "absent.conf", tmp_path / "state", lane), path)
    assert str(raised.value) == f"{path} cannot be written: No such file or directory"
    lane.retire()


def test_a_python_that_is_gone_is_an_error_and_no_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    lane = page_lane(Clock())
    with pytest.raises(StateError, match="was not found"):
        written(PageLane(tmp_path / "absent.conf", tmp_path / "state", lane), tmp_path / "page.html")
    lane.retire()
