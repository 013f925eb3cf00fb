"""The packages of the last commit, built once for all tests of a run, and checkouts to build others from."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.testbed.rootfs import HOST_APT_GET

CHECKOUT = Path(__file__).resolve().parents[2]
LONG_SECONDS = 600
"""A bound against hangs."""


def packages(kind: str) -> list[Path]:
    """Return the files of this kind, "sdist", "wheel" or "rpm"; skip the test where they cannot be built."""
    if kind == "rpm":
        need("rpmbuild", "rpm")
    return _packages(kind)


@functools.cache
def _packages(kind: str) -> list[Path]:
    return build(source(), _temporary_directory(), [kind])


@functools.cache
def source() -> Path:
    """Return a clean tree of what the packages are built from: the last commit, or this very tree if it is an sdist."""
    directory = _temporary_directory() / "elastiq"
    if (CHECKOUT / ".git").exists():
        return clone(directory)
    ignore = shutil.ignore_patterns(".*cache", ".venv", "__pycache__", "build", "dist")
    shutil.copytree(CHECKOUT, directory, ignore=ignore)
    return directory


def _temporary_directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="elastiq-built-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def build(source: Path, into: Path, kinds: Sequence[str], environment: Mapping[str, str] | None = None) -> list[Path]:
    """Build packages with the tools of the tree `source`; return them, the shortest name first."""
    command = [sys.executable, str(source / "tools" / "build_packages.py"), "--into", str(into), *kinds]
    result = subprocess.run(
        command,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONG_SECONDS,
    )
    assert result.returncode == 0, result.stdout
    return sorted(into.iterdir(), key=lambda path: (len(path.name), path.name))


def clone(directory: Path) -> Path:
    """Make a clean checkout of the last commit; skip the test where there is no repository, as in an sdist."""
    if not (CHECKOUT / ".git").exists():
        pytest.skip("this is not a git checkout")
    git("clone", "--quiet", "--no-hardlinks", str(CHECKOUT), str(directory), within=CHECKOUT)
    return directory


def git(*words: str, within: Path) -> str:
    """Run git for the repository `within`, whoever owns it."""
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "safe.directory=*"]
    return subprocess.run(
        ["git", *who, "-C", str(within), *words], capture_output=True, text=True, check=True, timeout=LONG_SECONDS
    ).stdout


def need(command: str, package: str) -> None:
    """Install a Debian package if this command is missing, or skip the test and say why."""
    if shutil.which(command):
        return
    if not shutil.which("apt-get") or os.geteuid() != 0:
        pytest.skip(f"{command} is missing (Debian: apt-get install {package})")
    for words in (["update"], ["install", "--yes", "--no-install-recommends", package]):
        subprocess.run([HOST_APT_GET, *words], check=True, timeout=LONG_SECONDS)
