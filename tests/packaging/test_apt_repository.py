"""The repository for apt: clean Debian systems install from it, and take nothing that the releaser has not signed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from elastiq.version import VERSION
from tests.packaging.built import need
from tests.packaging.debs import SUITES, builds, with_dependencies
from tests.packaging.keys import repositories, signer
from tests.packaging.roots import System, system

pytestmark = pytest.mark.xdist_group("debs")

KEY = "/etc/apt/keyrings/elastiq.asc"
LIST = "/etc/apt/sources.list.d/elastiq.list"
# Debian's own lists are there already, and its servers are not.
UPDATE = (
    "apt-get",
    "--option=Dir::Etc::SourceList=/etc/apt/sources.list.d/elastiq.list",
    "--option=Dir::Etc::SourceParts=-",
    "--option=APT::Get::List-Cleanup=0",
    "update",
)


@pytest.fixture(params=SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def repository(suite: str, tmp_path: Path) -> Path:
    need("apt-ftparchive", "apt-utils")
    return repositories([builds(suite).first], tmp_path / "dist", signer()) / "apt"


@pytest.fixture
def head(suite: str, repository: Path) -> Iterator[System]:
    """A system that trusts the releaser and has the repository at hand, as docs/operations.md says."""
    with system(with_dependencies(suite)) as running:
        (running.root / KEY[1:]).parent.mkdir(exist_ok=True)
        shutil.copy(repository / "elastiq.asc", running.root / KEY[1:])
        (running.root / LIST[1:]).write_text(f"deb [signed-by={KEY}] file:/srv/apt stable main\n", encoding="utf-8")
        yield running


def serve(head: System, repository: Path, spoil: Callable[[Path], object] | None = None) -> Path:
    """Have the system find this repository, as it is or spoilt, and have it forget any other."""
    served = head.root / "srv/apt"
    shutil.rmtree(served, ignore_errors=True)
    shutil.copytree(repository, served)
    if spoil:
        spoil(served)
    head.run("sh", "-c", "rm -f /var/lib/apt/lists/_srv_apt*")
    return served


def add_a_stranger(served: Path) -> None:
    """What somebody does who may write to the web server: another package under this name, and it is listed."""
    for listing in (served / "dists/stable/main/binary-all").iterdir():
        listing.unlink()
    pool = next((served / "pool").rglob("*.deb"))
    listing = served / "dists/stable/main/binary-all/Packages"
    text = f"Package: elastiq\nArchitecture: all\nVersion: 99\nFilename: {pool.relative_to(served)}\nSize: 1\n"
    listing.write_text(text, encoding="utf-8")


def change_the_release(served: Path) -> None:
    release = served / "dists/stable/InRelease"
    release.write_text(
        release.read_text(encoding="utf-8").replace("Label: elastiq", "Label: Elastiq"), encoding="utf-8"
    )


def sign_by_nobody(served: Path) -> None:
    (served / "dists/stable/InRelease").unlink()
    (served / "dists/stable/Release.gpg").unlink()


def sign_by_somebody(served: Path) -> None:
    somebody, release = signer("somebody"), served / "dists/stable"
    (release / "Release.gpg").unlink()
    (release / "InRelease").unlink()
    somebody.gpg("--clearsign", "--output", str(release / "InRelease"), str(release / "Release"))


def change_the_package(served: Path) -> None:
    deb = next((served / "pool").rglob("*.deb"))
    content = bytearray(deb.read_bytes())
    content[len(content) // 2] ^= 1
    deb.write_bytes(content)


def test_it_is_installed_from_the_repository_and_not_from_a_spoilt_one(head: System, repository: Path) -> None:
    for spoil, said in (
        (add_a_stranger, ("unexpected size", "Hash Sum mismatch")),
        (change_the_release, ("is not signed",)),
        (sign_by_nobody, ("is not signed",)),
        (sign_by_somebody, ("is not signed",)),
    ):
        serve(head, repository, spoil)
        told = head.run(*UPDATE, expect=100)
        assert any(text in told for text in said), (spoil.__name__, told)
        assert "Unable to locate package elastiq" in head.run("apt-get", "install", "--yes", "elastiq", expect=100)

    serve(head, repository, change_the_package)
    head.run(*UPDATE)
    told = head.run("apt-get", "install", "--yes", "elastiq", expect=100)
    assert "Hash Sum mismatch" in told, told
    assert "Status: install ok installed" not in head.run("dpkg", "--status", "elastiq", expect=None)

    serve(head, repository)
    told = head.run(*UPDATE)
    assert "\nW:" not in told and "\nN:" not in told, told
    head.run("apt-get", "install", "--yes", "elastiq")
    assert VERSION in head.run("elastiqctl", "--version")


def test_open_an_old_repository_is_taken_by_who_knows_no_newer_one(head: System, repository: Path) -> None:
    """docs/security.md says so: its signature is good for ever."""
    release = serve(head, repository) / "dists/stable"
    old = re.sub(
        "^Date: .*$", "Date: Thu, 01 Jan 2026 00:00:00 UTC", (release / "Release").read_text(), flags=re.MULTILINE
    )
    (release / "Release").write_text(old, encoding="utf-8")
    (release / "InRelease").unlink()
    signer().gpg("--clearsign", "--output", str(release / "InRelease"), str(release / "Release"))
    head.run(*UPDATE)
    told = head.run("apt-cache", "policy", "elastiq")
    assert f"Candidate: {VERSION}" in told, "if it is refused now, say so in docs/security.md"
