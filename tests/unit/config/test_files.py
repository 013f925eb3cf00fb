"""Files that the configuration names are read whole, or it is said why not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from elastiq.config.files import read_limited, read_named


def test_a_file_is_read_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    path.chmod(0o640)
    found = read_named(path, 7)
    assert (found.content, found.path, found.mode & 0o777) == (b"content", path, 0o640)
    assert "content" not in repr(found).replace("FileContent", "")


def test_what_is_too_long_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345678")
    with pytest.raises(ValueError, match=f"{path} is longer than 7 bytes"):
        read_named(path, 7)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="is not a regular file"):
        read_limited(tmp_path / "pipe", 7)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read_limited(tmp_path / "none", 7)
