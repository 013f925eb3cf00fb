"""Checksums, and signatures by the key of whoever makes a release."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from running import BuildError, run

VARIABLE = "ELASTIQ_SIGNING_KEY"
SUMS = "SHA256SUMS"


def add_option(parser: argparse.ArgumentParser) -> None:
    """Have the command line take the key."""
    parser.add_argument(
        "--sign",
        metavar="KEY",
        dest="key",
        default=os.environ.get(VARIABLE, ""),
        help=f"sign with this key of gpg's, named by fingerprint or address; default: ${VARIABLE}",
    )


def check(key: str) -> None:
    """Raise BuildError if gpg cannot sign with `key`: better at once than after all has been built."""
    if not shutil.which("gpg"):
        raise BuildError("gpg is missing, so nothing can be signed: apt-get install gnupg")
    try:
        run(["gpg", "--batch", "--list-secret-keys", key], Path("/"))
    except BuildError as error:
        raise BuildError(
            f"gpg has no secret key {key} to sign with; gpg --list-secret-keys shows those it has"
        ) from error


def write_sums(files: Iterable[Path], into: Path) -> Path:
    """Write the file that `sha256sum --check` reads beside these files."""
    lines = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    sums = into / SUMS
    sums.write_text("".join(sorted(lines, key=lambda line: line.split("  ", 1)[1])), encoding="utf-8")
    return sums


def sign(path: Path, key: str) -> Path:
    """Write the detached signature of a file beside it. Without a key remove what is there from before."""
    signature = path.with_name(f"{path.name}.asc")
    signature.unlink(missing_ok=True)
    if key:
        _gpg(key, "--armor", "--detach-sign", "--output", str(signature), str(path))
    return signature


def sign_inside(path: Path, key: str, signed: Path) -> None:
    """Write a text together with its signature."""
    signed.unlink(missing_ok=True)
    _gpg(key, "--clearsign", "--output", str(signed), str(path))


def export(key: str, path: Path) -> None:
    """Write the public part of the key, for those who check."""
    path.unlink(missing_ok=True)
    run(
        ["gpg", "--batch", "--armor", "--export-options", "export-minimal", "--output", str(path), "--export", key],
        Path("/"),
    )


def _gpg(key: str, *words: str) -> None:
    # The time of a signature is the only thing in a repository that is not of the commit.
    run(["gpg", "--batch", "--digest-algo", "SHA512", "--local-user", key, *words], Path("/"))
