#!/usr/bin/env python3
"""Make signed repositories for apt and for yum of the packages that `make packages` has built.

Run by `make repositories`. What is made is to be copied as it is to a web server: `apt/` has what apt-get wants of a
repository with the suite "stable", and `yum/` a repository for each release that there is an rpm for. Nothing is made
without a key, since nobody should install from a repository that is not signed. The tools of both worlds do the work;
as root on Debian they are installed first. Elsewhere it says what it left out.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import signing
from running import BuildError, obstacle, run

SOURCE = Path(__file__).resolve().parent.parent
SUITE, COMPONENT = "stable", "main"
KEY_FILE = "elastiq.asc"


def main() -> int:
    parser = argparse.ArgumentParser(description="Make repositories of the packages that were built last.")
    parser.add_argument("--of", metavar="DIRECTORY", type=Path, default=SOURCE / "dist", help="default: dist")
    parser.add_argument("--into", metavar="DIRECTORY", type=Path, help="default: where the packages are")
    signing.add_option(parser)
    options = parser.parse_args()
    os.umask(0o022)
    into = (options.into or options.of).resolve()
    try:
        if not options.key:
            raise BuildError(f"a repository has to be signed: name a key of gpg's with --sign or {signing.VARIABLE}")
        signing.check(options.key)
        left_out = _build(_packages(options.of.resolve()), into, options.key)
    except BuildError as error:
        print(f"build_repositories: {error}", file=sys.stderr)
        return 1
    for text in left_out:
        print(f"build_repositories: {text}", file=sys.stderr)
    return 0


def _packages(directory: Path) -> list[Path]:
    """Return what the checksums name. Raise BuildError if something is not what was built."""
    sums = directory / signing.SUMS
    if not sums.exists():
        raise BuildError(f"{sums} is missing: run make packages first")
    paths = []
    for line in sums.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        path = directory / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise BuildError(f"{path} is not what {signing.SUMS} says: run make packages again")
        paths.append(path)
    return paths


def _build(packages: Sequence[Path], into: Path, key: str) -> list[str]:
    """Put the repositories into a directory; return what was left out, and why. Raise BuildError."""
    left_out = []
    into.mkdir(parents=True, exist_ok=True)
    for name, suffix, tools, build in (
        ("apt", ".deb", {"apt-ftparchive": "apt-utils"}, _apt),
        ("yum", ".noarch.rpm", {"createrepo_c": "createrepo-c", "rpmsign": "rpm"}, _yum),
    ):
        files = [path for path in packages if path.name.endswith(suffix)]
        obstacles = [text for text in (obstacle(tool, package) for tool, package in tools.items()) if text]
        if not files:
            obstacles.insert(0, f"there is no {suffix[1:]}")
        if obstacles:
            left_out.append(f"no repository for {name} was made: {'; '.join(obstacles)}")
            continue
        # Whatever fails, there is never half a repository.
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=into) as work:
            made = Path(work) / name
            made.mkdir()
            build(files, made, key)
            signing.export(key, made / KEY_FILE)
            shutil.rmtree(into / name, ignore_errors=True)
            made.rename(into / name)
        print(into / name)
    return left_out


def _apt(packages: Sequence[Path], repository: Path, key: str) -> None:
    pool = repository / "pool" / COMPONENT / "e" / "elastiq"
    pool.mkdir(parents=True)
    for path in packages:
        shutil.copy(path, pool)
    suite = repository / "dists" / SUITE
    listing = suite / COMPONENT / "binary-all" / "Packages"
    listing.parent.mkdir(parents=True)
    listing.write_text(run(["apt-ftparchive", "packages", "pool"], repository), encoding="utf-8")
    listing.with_name("Packages.gz").write_bytes(gzip.compress(listing.read_bytes(), mtime=0))
    fields = {"Origin": "elastiq", "Label": "elastiq", "Suite": SUITE, "Codename": SUITE, "Components": COMPONENT}
    # Nothing in it depends on the kind of machine, and apt-get looks for that on all of them.
    fields["Architectures"] = "all"
    options = [f"--option=APT::FTPArchive::Release::{name}={value}" for name, value in fields.items()]
    release = suite / "Release"
    release.write_text(run(["apt-ftparchive", *options, "release", str(suite)], repository), encoding="utf-8")
    signing.sign(release, key).rename(suite / "Release.gpg")
    signing.sign_inside(release, key, suite / "InRelease")


def _yum(packages: Sequence[Path], repository: Path, key: str) -> None:
    # Debian's rpm looks for gpg2.
    sign = ["rpmsign", "--define", f"_gpg_name {key}", "--define", f"__gpg {shutil.which('gpg')}", "--addsign"]
    for path in packages:
        release = re.fullmatch(r".+\.([a-z0-9]+)\.noarch\.rpm", path.name)
        if not release:
            raise BuildError(f"{path.name} does not say which release it is for")
        directory = repository / release[1]
        directory.mkdir(exist_ok=True)
        # A copy: the package itself has the same bytes whoever builds it.
        shutil.copy(path, directory)
        run([*sign, path.name], directory)
    for directory in sorted(repository.iterdir()):
        run(["createrepo_c", "--quiet", "--no-database", "--general-compress-type=gz", "."], directory)
        signing.sign(directory / "repodata" / "repomd.xml", key)


if __name__ == "__main__":
    sys.exit(main())
