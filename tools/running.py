"""What the tools that build packages and repositories share: to run a program, and to have it in the first place."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class BuildError(Exception):
    """Something cannot be built; the text says what and why."""


def run(command: Sequence[str], directory: Path, environment: Mapping[str, str] | None = None) -> str:
    """Return what `command` printed, run in `directory`. Raise BuildError with all it wrote if it fails."""
    result = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    if result.returncode:
        output = re.sub(r"\n{2,}", "\n", (result.stdout + result.stderr).decode(errors="replace")).strip()
        raise BuildError(f"{' '.join(command)} failed with {result.returncode}:\n{output}")
    return result.stdout.decode(errors="replace")


def obstacle(tool: str, package: str) -> str:
    """Return why `tool` is not there, if it is not; where that is possible, install this package of Debian first."""
    if shutil.which(tool):
        return ""
    if not shutil.which("apt-get"):
        return f"{tool} is missing"
    if os.geteuid() != 0:
        return f"{tool} is missing: apt-get install {package}"
    apt_get = str(Path(__file__).parent / "apt-get")
    run([apt_get, "update"], Path("/"))
    run([apt_get, "install", "--yes", "--no-install-recommends", package], Path("/"))
    return ""
