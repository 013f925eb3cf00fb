"""tools/apt-get beside others that install something."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "apt-get"


def told(tmp_path: Path, script: str) -> subprocess.CompletedProcess[str]:
    for name, text in (("apt-get", script), ("sleep", "echo $1 >> slept")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    return subprocess.run(
        [TOOL, "update"], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("lock", ["/var/lib/apt/lists/lock", "/var/cache/apt/archives/lock"])
def test_it_waits_for_who_has_the_lock(lock: str, tmp_path: Path) -> None:
    """As apt-get 2.6 said it when two tests installed something at a time."""
    text = f"E: Could not get lock {lock}. It is held by process 19552 (apt-get)"
    script = f'[ "$(cat slept | wc -l)" = 2 ] || {{ echo "{text}" >&2; exit 100; }}; echo "$@" "$DEBIAN_FRONTEND"'
    (tmp_path / "slept").touch()
    done = told(tmp_path, script)
    assert (done.returncode, done.stderr) == (0, "-qq -o DPkg::Lock::Timeout=600 update noninteractive\n")


def test_it_does_not_wait_for_ever(tmp_path: Path) -> None:
    done = told(tmp_path, 'echo "E: Could not get lock /var/lib/apt/lists/lock." >&2; exit 100')
    assert done.returncode == 100
    assert "lists/lock" in done.stderr
    assert len((tmp_path / "slept").read_text().splitlines()) == 119


def test_what_else_fails_fails_at_once(tmp_path: Path) -> None:
    done = told(tmp_path, "echo 'E: Unable to locate package' >&2; exit 100")
    assert (done.returncode, done.stderr) == (100, "E: Unable to locate package\n")
    assert not (tmp_path / "slept").exists()
