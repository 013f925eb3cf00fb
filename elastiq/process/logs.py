"""The daemon's log: private files that rotate, no secret in any of them, and no failure of theirs that matters."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from elastiq.redaction import Redactor
from elastiq.text import harmless

LOG_FILE = "elastiq.log"

ROTATE_AT_BYTES = 1_000_000

ROTATED_FILES = 30

_LINE = "%(asctime)s %(levelname)s %(message)s"

_TIME = "%Y-%m-%d %H:%M:%S%z"

# Their debug messages hold whole requests, with user data and signatures.
_FOREIGN_LOGGERS = ("boto3", "botocore", "s3transfer", "urllib3", "htcondor2")


class _RedactingFormatter(logging.Formatter):
    """Cleans the finished text, exception and traceback included. Only what is logged begins a line: all that follows a
    line end, which may be of others, is set in."""

    def __init__(self, line: str, redactor: Redactor) -> None:
        super().__init__(line, _TIME)
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        return harmless(self._redactor.clean(super().format(record))).replace("\n", "\n  ")


class RotatingLog(logging.Handler):
    """Appends to `elastiq.log` in a directory; at ROTATE_AT_BYTES it becomes `.1`, `.1` becomes `.2`, and so on.

    Unlike logging.handlers.RotatingFileHandler it works with descriptors, because a buffered stream that could not be
    flushed to a full disk cannot be closed either, and never writes again. What cannot be written is left out.
    """

    def __init__(self, directory: Path) -> None:
        """Open the log, making the directory if need be. Raise OSError if it cannot be written."""
        super().__init__()
        self._path = directory / LOG_FILE
        self._descriptor = -1
        self._torn = False
        self._open()
        for old in self._path.parent.glob(f"{LOG_FILE}.*"):
            if old.is_file() and not old.is_symlink():
                _make_private(old)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; on failure forget it."""
        try:
            self._write((self.format(record) + "\n").encode("utf-8", "backslashreplace"))
        except (OSError, TypeError, ValueError, KeyError):
            self.handleError(record)  # says nothing: `start` sees to it

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        super().close()

    def _write(self, data: bytes) -> None:
        if not self._is_in_place():
            self._open()
        size_bytes = os.fstat(self._descriptor).st_size
        if size_bytes and size_bytes + len(data) > ROTATE_AT_BYTES:
            self._rotate()
        if self._torn:
            data = b"\n" + data
        written = os.write(self._descriptor, data)
        self._torn = written < len(data)

    def _is_in_place(self) -> bool:
        """Return whether the open file is still the one that has the name; somebody may have moved or removed it."""
        try:
            return self._descriptor >= 0 and os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def _open(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._path, flags | self._link_flag(), 0o600)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor
        _make_private(self._path)

    def _link_flag(self) -> int:
        """Return what keeps the log from being written elsewhere by way of a link that another user has made; an
        administrator's own may lead to a device."""
        try:
            owner = self._path.lstat().st_uid
        except FileNotFoundError:
            owner = -1
        return 0 if owner in (0, os.geteuid()) else os.O_NOFOLLOW

    def _rotate(self) -> None:
        """Move every file one number up. If that fails the log goes on where it is."""
        try:
            for number in range(ROTATED_FILES - 1, 0, -1):
                old = self._path.with_name(f"{LOG_FILE}.{number}")
                if old.exists():
                    old.replace(self._path.with_name(f"{LOG_FILE}.{number + 1}"))
            self._path.replace(self._path.with_name(f"{LOG_FILE}.1"))
            self._open()
        except OSError:
            pass


def _make_private(path: Path) -> None:
    """Set mode 0600, which an umask may have narrowed and an earlier version widened; devices stay as they are."""
    try:
        if path.is_file():
            path.chmod(0o600)
    except PermissionError:
        pass  # another user's file: whoever may write it may still do so


def start(log_directory: Path | None, level: int, redactor: Redactor) -> None:
    """Send the log to `log_directory`, or to standard error if that is None; replaces what an earlier call set up.

    Raise OSError if the log file cannot be written.
    """
    handler = logging.StreamHandler() if log_directory is None else RotatingLog(log_directory)
    handler.setFormatter(_RedactingFormatter(_LINE, redactor))
    logging.raiseExceptions = False
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    set_level(level)


def set_level(level: int) -> None:
    """Log records of `level` and above; 0 means the usual, which is INFO."""
    level = level or logging.INFO
    logging.getLogger().setLevel(max(level, logging.WARNING))
    logging.getLogger("elastiq").setLevel(level)
    for name in _FOREIGN_LOGGERS:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
