"""Throw-away keys of a releaser, and what is signed by them: a release, repositories."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.packaging.built import LONG_SECONDS, build, need, source


@dataclass(frozen=True)
class Signer:
    """Whoever has a key."""

    home: Path
    """Where gpg keeps it."""
    address: str

    @property
    def environment(self) -> dict[str, str]:
        """What makes programs use this key."""
        return {**os.environ, "GNUPGHOME": str(self.home), "ELASTIQ_SIGNING_KEY": self.address}

    def gpg(self, *words: str, expect: int = 0) -> str:
        """Return what gpg says, run as this person."""
        return _run(["gpg", "--batch", *words], self.environment, expect)


@functools.cache
def signer(name: str = "releaser") -> Signer:
    """Return who has the key of this name, the same for all tests of a run."""
    need("gpg", "gnupg")
    # Not below pytest's directory: the path of the agent's socket would be too long.
    home = Path(tempfile.mkdtemp(prefix="elastiq-key-"))
    made = Signer(home, f"{name}@example.org")
    atexit.register(_forget, made)
    made.gpg("--quiet", "--passphrase", "", "--quick-generate-key", made.address, "rsa3072", "sign", "never")
    return made


def _forget(signer: Signer) -> None:
    subprocess.run(["gpgconf", "--kill", "all"], env=signer.environment, timeout=LONG_SECONDS)
    shutil.rmtree(signer.home, ignore_errors=True)


@functools.cache
def release_kinds() -> tuple[str, ...]:
    """Return what a release has, as far as it can be built here."""
    need("rpmbuild", "rpm")
    has_deb = os.geteuid() == 0 and (source() / "tools" / "build-deb").exists() and shutil.which("apt-get")
    return ("sdist", "wheel", "rpm", *(["deb"] if has_deb else []), "sbom", "sums")


@functools.cache
def release() -> Path:
    """Return a directory with a signed release of the last commit, built once for all tests of a run."""
    directory = Path(tempfile.mkdtemp(prefix="elastiq-release-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    habits = {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "USER": "somebody", "PYTHONHASHSEED": "1"}
    build(source(), directory, release_kinds(), {**signer().environment, **habits})
    return directory


def repositories(packages: Sequence[Path], directory: Path, by: Signer) -> Path:
    """Return a new directory with the repositories of these packages."""
    directory.mkdir()
    for path in packages:
        shutil.copy(path, directory)
    names = sorted(path.name for path in packages)
    sums = subprocess.run(["sha256sum", *names], cwd=directory, capture_output=True, text=True, check=True).stdout
    (directory / "SHA256SUMS").write_text(sums, encoding="utf-8")
    _run([sys.executable, str(source() / "tools" / "build_repositories.py"), "--of", str(directory)], by.environment, 0)
    return directory


def _run(command: list[str], environment: dict[str, str], expect: int) -> str:
    result = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONG_SECONDS,
    )
    assert result.returncode == expect, result.stdout
    return result.stdout
