"""Files that others read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from elastiq.report.publishing import publish


def test_it_is_replaced_whole_and_anybody_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    (tmp_path / "elsewhere").write_text("mine")
    path.with_name("page.html.tmp").symlink_to(tmp_path / "elsewhere")
    for content in (b"one", b"two"):
        publish(path, content)
        assert path.read_bytes() == content
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert {file.name for file in tmp_path.iterdir()} == {"page.html", "elsewhere"}


def test_what_was_there_stays_if_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "page.html").mkdir()
    with pytest.raises(OSError, match="directory"):
        publish(tmp_path / "page.html", b"one")
    with pytest.raises(FileNotFoundError):
        publish(tmp_path / "nowhere" / "page.html", b"one")
