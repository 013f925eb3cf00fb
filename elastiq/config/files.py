"""Reads files that the configuration names, and the configuration itself."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from elastiq.text import printable


@dataclass(frozen=True)
class FileContent:
    """The value of an option that names a file: what the file holds, and whom it is open to."""

    content: bytes = field(repr=False)
    path: Path
    mode: int


def read_named(path: Path, limit: int) -> FileContent:
    """Return what a file holds that an option names. Raise ValueError, with its name, as `read_limited`."""
    try:
        content, status = read_limited(path, limit)
        return FileContent(content, path, status.st_mode)
    except ValueError as error:
        raise ValueError(f"{printable(str(path))} {error}") from None


def read_limited(path: Path, limit: int) -> tuple[bytes, os.stat_result]:
    """Return the content of a regular file, and its status. Never waits: not at a pipe, not at a device.

    Raise ValueError, with the reason in words, if it is no readable regular file or is longer than `limit` bytes.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("is not a regular file")
            content = file.read(limit + 1) or b""  # None where reading would wait, as in /proc/kmsg
    except OSError as error:
        raise ValueError(f"cannot be read: {os.strerror(error.errno or 0)}") from None
    if len(content) > limit:
        raise ValueError(f"is longer than {limit} bytes")
    return content, status


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
