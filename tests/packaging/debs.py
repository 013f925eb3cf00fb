"""The Debian package, built in clean Debian systems once for all tests of a run."""

from __future__ import annotations

import atexit
import functools
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from elastiq.version import VERSION
from tests.packaging.built import clone, git
from tests.packaging.roots import BOOKWORM, DEPENDENCIES, TRIXIE, Root, System, system
from tests.testbed.rootfs import UnavailableError

SUITES = (BOOKWORM, TRIXIE)
NEXT_VERSION = f"{VERSION}+next1"

_BUILD_TOOLS = ("build-essential", "debhelper", "dh-python", "git", "python3-all", "python3-setuptools")
_NEXT_ENTRY = """\
elastiq ({version}) unstable; urgency=medium

  * Something else.

 -- elastiq maintainers <elastiq@example.org>  Mon, 23 Nov 2026 12:00:00 +0000

"""
NEXT_LINE = "# A line of the next version.\n"
"""What the next version has more at the end of its configuration file."""


@dataclass(frozen=True)
class Builds:
    """What was built of the last commit in one Debian release."""

    first: Path
    """The package."""
    again: Path
    """The same, built in another place, at another time, with other habits."""
    next: Path
    """The version after it."""
    lintian: str | None
    """What lintian says of it, or None in a release where it was not asked."""


def builds(suite: str) -> Builds:
    """Return what was built in `suite`; skip the test and say why if that cannot be done here."""
    built = _builds_or_reason(suite)
    if isinstance(built, str):
        pytest.skip(built)
    return built


def plain(suite: str) -> Root:
    """Return the release as debootstrap makes it."""
    return Root(suite)


def with_dependencies(suite: str) -> Root:
    """Return the release with what the package needs."""
    return Root(suite, DEPENDENCIES)


@functools.cache
def _builds_or_reason(suite: str) -> Builds | str:
    """Return what was built, or why nothing was: it is tried but once."""
    try:
        return _builds(suite)
    except UnavailableError as reason:
        return str(reason)


def _builds(suite: str) -> Builds:
    asks_lintian = suite == TRIXIE
    root = Root(suite, (*_BUILD_TOOLS, "lintian") if asks_lintian else _BUILD_TOOLS)
    root.layers()
    with tempfile.TemporaryDirectory(prefix="elastiq-debs-") as name, system(root) as builder:
        checkout = clone(Path(name) / "elastiq")
        (builder.root / "home/other").mkdir()
        first = _build(builder, checkout, "/srv/first")
        again = _build(builder, checkout, "/home/other/again", umask="077", TZ="Pacific/Kiritimati", LC_ALL="C")
        _make_next(checkout)
        following = _build(builder, checkout, "/srv/next")
        lintian = None
        if asks_lintian:
            command = "lintian --allow-root --info --show-overrides --tag-display-limit=0 /srv/first.out/*.deb"
            lintian = builder.run("sh", "-c", f"{command} /srv/first.out/*.dsc", expect=None)
        keep = _keep(suite)
        kept = []
        for number, path in enumerate((first, again, following)):
            kept.append(keep / str(number) / path.name)
            kept[-1].parent.mkdir()
            shutil.copy(builder.root / str(path).lstrip("/"), kept[-1])
    return Builds(*kept, lintian)


def _keep(suite: str) -> Path:
    """Return a directory that is there until the tests end."""
    directory = Path(tempfile.mkdtemp(prefix=f"elastiq-debs-{suite}-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def _build(builder: System, checkout: Path, place: str, umask: str = "022", **environment: str) -> Path:
    """Build the package of the last commit of `checkout` in `place`, and return where it lies in `builder`."""
    shutil.copytree(checkout, builder.root / place.lstrip("/"), symlinks=True)
    command = f"umask {umask}; {place}/tools/build-deb --into {place}.out; ls {place}.out/*.deb"
    return Path(builder.run("sh", "-euc", command, environment=environment).splitlines()[-1])


def _make_next(checkout: Path) -> None:
    changelog, version = checkout / "debian/changelog", checkout / "elastiq/version.py"
    example = checkout / "elastiq.conf.example"
    changelog.write_text(_NEXT_ENTRY.format(version=NEXT_VERSION) + changelog.read_text())
    version.write_text(re.sub('".*"', f'"{NEXT_VERSION}"', version.read_text()))
    example.write_text(example.read_text() + NEXT_LINE)
    git("commit", "--quiet", "--all", "--message=next", within=checkout)
