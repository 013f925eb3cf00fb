"""The accounting file of Grid Engine, in which the master notes every job that has ended."""

from __future__ import annotations

import os
import re
from pathlib import Path

from elastiq.command import execute, pipeline, run
from elastiq.errors import BatchError
from elastiq.plugins.kit import Deadline

LAST_HOSTS = '/^#/ { next } NF < 3 { print "?" } { ended[$2] } END { for (host in ended) print host }'
"""Of lines of the accounting file: the hosts on which the jobs ran, and `?` for a line that is cut before the end of
its host. Cut further behind, it tells the host now, and its rest nothing later."""

_READ_LIMIT_BYTES = 64 * 1024 * 1024
"""More of the accounting file than this is not read at once; then every host may have had a job."""


class Accounting:
    """The accounting file, read on from where the last look ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        """File number and size at the last look."""

    def hosts_of_ended_jobs(self, deadline: Deadline) -> frozenset[str] | None:
        """Return the hosts, in small letters, of the jobs that ended since the last look; None if that may be any.

        A file that is not there tells nothing; whoever cannot read it has to look more often.
        """
        status = execute(["stat", "-L", "-c", "%i %s", str(self._path)], deadline.remaining())
        match = re.fullmatch(r"([0-9]{1,20}) ([0-9]{1,20})", status.output.strip())
        if status.status or not match:
            return frozenset()
        before, self._seen = self._seen, (int(match[1]), int(match[2]))
        if before == self._seen:
            return frozenset()
        if before is None:
            return None
        number, size = self._seen
        # Rotated or cut: the end of the old file is lost, and with it who knows which jobs.
        if number != before[0] or size < before[1] or size - before[1] > _READ_LIMIT_BYTES:
            return None
        lines = ["tail", "-c", f"+{before[1] + 1}", str(self._path)]
        try:
            hosts = frozenset(pipeline([lines, ["awk", "-F:", LAST_HOSTS]], deadline.remaining()).lower().split())
        except BatchError:
            return frozenset()  # `check` has said that it cannot be read
        return None if "?" in hosts else hosts

    def used(self, program: str, since: float, deadline: Deadline) -> str:
        """Return what an awk program, to which `since` is given, prints of the file, which begins with the first job
        that ends. Raise BatchError if it cannot be read."""
        if self._is_to_come():
            return ""
        return run(["awk", "-F:", "-v", f"since={since:.0f}", program, str(self._path)], deadline.remaining())

    def description(self) -> str:
        """Return what to say about the file."""
        if os.access(self._path, os.R_OK) or self._is_to_come():
            return f"jobs that end are seen in {self._path}"
        return f"{self._path} CANNOT be read: a job between two looks does not start the idle time over"

    def _is_to_come(self) -> bool:
        return self._path.parent.is_dir() and not self._path.exists()
