"""What is in the Debian package, whoever builds it, and that lintian has nothing to say."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from elastiq.version import VERSION
from tests.packaging.debs import SUITES, builds
from tests.packaging.roots import TRIXIE

pytestmark = pytest.mark.xdist_group("debs")

CHECKOUT = Path(__file__).resolve().parents[2]

FILES = {
    "./etc/default/elastiq": "-rw-r--r--",
    "./etc/elastiq.conf": "-rw-r-----",
    "./etc/init.d/elastiq": "-rwxr-xr-x",
    "./usr/bin/elastiq-real.py": "-rwxr-xr-x",
    "./usr/bin/elastiqctl": "-rwxr-xr-x",
    "./usr/lib/systemd/system/elastiq.service": "-rw-r--r--",
    "./usr/share/bash-completion/completions/elastiq-real.py": "lrwxrwxrwx",
    "./usr/share/bash-completion/completions/elastiqctl": "-rw-r--r--",
    "./usr/share/doc/elastiq/CHANGELOG.md": "-rw-r--r--",
    "./usr/share/doc/elastiq/README.md": "-rw-r--r--",
    "./usr/share/doc/elastiq/changelog.gz": "-rw-r--r--",
    "./usr/share/doc/elastiq/copyright": "-rw-r--r--",
    "./usr/share/doc/elastiq/docs/examples": "lrwxrwxrwx",
    "./usr/share/doc/elastiq/elastiq.conf.example": "-rw-r--r--",
    "./usr/share/elastiq/elastiq-alerts.yml": "-rw-r--r--",
    "./usr/share/elastiq/elastiq-dashboard.json": "-rw-r--r--",
    "./usr/share/lintian/overrides/elastiq": "-rw-r--r--",
    "./usr/share/man/man5/elastiq.conf.5.gz": "-rw-r--r--",
    "./usr/share/man/man8/elastiq-real.8.gz": "-rw-r--r--",
    "./usr/share/man/man8/elastiq-real.py.8.gz": "lrwxrwxrwx",
    "./usr/share/man/man8/elastiqctl.8.gz": "-rw-r--r--",
    "./var/lib/elastiq/": "drwx------",
    "./var/log/elastiq/": "drwxr-x---",
}
"""Mode of everything but directories of the usual mode, what `_python_files` names, and documents."""
_DOCUMENT = re.compile(r"\./usr/share/doc/elastiq/(docs/[a-z0-9-]+\.md|examples/[a-z0-9-]+\.(conf|sh))")
_PACKAGE = "./usr/lib/python3/dist-packages/"


def _listing(package: Path) -> dict[str, str]:
    """Return the mode of each file; all belong to root."""
    lines = subprocess.run(
        ["dpkg-deb", "--contents", str(package)], capture_output=True, text=True, check=True, timeout=60
    ).stdout.splitlines()
    modes = {}
    for line in lines:
        mode, owner, _, _, _, path = line.split(maxsplit=5)
        assert owner == "root/root", line
        modes[path.partition(" -> ")[0]] = mode
    return modes


def _python_files() -> set[str]:
    """Return the modules of the last commit, and the metadata that setuptools writes."""
    command = ["git", "-c", f"safe.directory={CHECKOUT}", "ls-tree", "-r", "--name-only", "HEAD", "elastiq"]
    listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=60).stdout
    metadata = [f"elastiq-{VERSION}.egg-info/{name}" for name in ("PKG-INFO", "requires.txt", "top_level.txt")]
    metadata.append(f"elastiq-{VERSION}.egg-info/dependency_links.txt")
    return {_PACKAGE + name for name in [*listed.splitlines(), *metadata]}


@pytest.mark.parametrize("suite", SUITES)
def test_contents_and_modes(suite: str) -> None:
    modes = _listing(builds(suite).first)
    rest = dict(modes)
    for path in _python_files():
        assert rest.pop(path) == "-rw-r--r--", path
    for path in list(rest):
        if path not in FILES and path.endswith("/"):
            assert rest.pop(path) == "drwxr-xr-x", path
        elif path not in FILES and _DOCUMENT.fullmatch(path):
            assert rest.pop(path) == ("-rwxr-xr-x" if path.endswith("dead-mans-switch.sh") else "-rw-r--r--"), path
    assert rest == FILES


@pytest.mark.parametrize("suite", SUITES)
def test_links_between_documents_lead_somewhere(suite: str) -> None:
    files = set(_listing(builds(suite).first))
    checked = 0
    for page in (CHECKOUT / "README.md", CHECKOUT / "CHANGELOG.md", *(CHECKOUT / "docs").glob("*.md")):
        assert f"./usr/share/doc/elastiq/{page.relative_to(CHECKOUT)}" in files
        for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8")):
            target = os.path.relpath(page.parent / link, CHECKOUT).replace("docs/examples", "examples")
            path = f"./usr/share/doc/elastiq/{target}"
            assert path in files or f"{path}/" in files, f"{page.name}: {link}"
            checked += 1
    assert checked


@pytest.mark.parametrize("suite", SUITES)
def test_the_same_commit_gives_the_same_package(suite: str) -> None:
    built = builds(suite)
    assert built.first.read_bytes() == built.again.read_bytes()


def test_both_releases_build_a_package_of_the_same_contents() -> None:
    first, second = (_listing(builds(suite).first) for suite in SUITES)
    assert first == second


@pytest.mark.parametrize("suite", SUITES)
def test_what_it_depends_on_is_the_distribution_s(suite: str) -> None:
    fields = subprocess.run(
        ["dpkg-deb", "--field", str(builds(suite).first), "Depends"], capture_output=True, text=True, check=True
    ).stdout
    assert {word.split()[0] for word in fields.strip().split(", ")} == {
        "adduser",
        "python3-boto3",
        "python3-daemon",
        "python3-lockfile",
        "python3:any",
    }
    # An older one would be taken as it is, and fail later. Those of Debian 12, as setup.py has them.
    for name, version in (("boto3", "1.26"), ("daemon", "2.3"), ("lockfile", "1:0.12")):
        assert f"python3-{name} (>= {version})" in fields


def test_lintian_finds_no_error_and_no_warning() -> None:
    said = builds(TRIXIE).lintian
    assert said is not None
    assert not re.findall(r"^[EW]: .*", said, re.MULTILINE), said
    # The table of the overrides that are in use: an override that is not needed any more is one too many.
    assert len(re.findall(r"^O: .*", said, re.MULTILINE)) == 4, said


def test_every_override_has_its_reason() -> None:
    before = ""
    for line in (CHECKOUT / "debian/elastiq.lintian-overrides").read_text().splitlines():
        assert line.startswith("#") or before.startswith(("#", "elastiq: non-standard-dir-perm")), line
        before = line
