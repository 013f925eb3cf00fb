"""The state file of the original elastiq: one instance id a line."""

from __future__ import annotations

import logging
from pathlib import Path

from elastiq.memory import VmRecord

log = logging.getLogger(__name__)

LEGACY_FILE = "state"


def read(directory: Path, now: float) -> dict[str, VmRecord] | None:
    """Return the VMs of the original's state file, or None if there is no file that can be read.

    A line that is no instance id is reported and left out. They may have been workers for long, and the original did
    not write down since when.
    """
    path = directory / LEGACY_FILE
    try:
        lines = path.read_text("ascii", "replace").splitlines()
    except (FileNotFoundError, IsADirectoryError):
        return None
    except OSError as error:
        log.warning("%s: %s; the VMs of the original elastiq are not taken over", path, error.strerror)
        return None
    vms = {}
    for number, line in enumerate(lines, 1):
        id_ = line.strip()
        if _is_instance_id(id_):
            vms[id_] = VmRecord(id_, launched_at=now, joined_at=now, lost_since=now)
        elif id_:
            log.warning("%s:%d: not an instance id, left out", path, number)
    return vms


def set_aside(directory: Path, taken_over: int) -> None:
    """Rename the file, which is never changed, so that it is read only once."""
    path = directory / LEGACY_FILE
    path.replace(path.with_name(f"{LEGACY_FILE}.imported"))
    log.info("%s: took over %d VMs of the original elastiq", path, taken_over)


def _is_instance_id(text: str) -> bool:
    body = text[2:]
    return text.startswith("i-") and 8 <= len(body) <= 32 and all(letter in "0123456789abcdef" for letter in body)
