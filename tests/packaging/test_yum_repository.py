"""The repository for yum: dnf installs from it, and takes nothing that the releaser has not signed.

This is the dnf and the rpm of Debian 13. What EL 10 has beside them is one package without content here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from elastiq.version import VERSION
from tests.packaging.built import LONG_SECONDS, need
from tests.packaging.keys import repositories, signer
from tests.packaging.roots import System, system
from tests.packaging.test_rpm import INSTALLED, ROOT, SITE, package, query
from tests.testbed.rootfs import UnavailableError

pytestmark = pytest.mark.xdist_group("built")

KEY = "/etc/pki/rpm-gpg/elastiq.asc"
REPOSITORY = f"""\
[elastiq]
name=elastiq
baseurl=file:///srv/yum/{INSTALLED}
gpgkey=file://{KEY}
gpgcheck=1
repo_gpgcheck=1
"""
BASE = """\
[base]
name=the distribution
baseurl=file:///srv/base
gpgcheck=0
"""
SPECIFICATION = """\
Name: distribution
Version: 1
Release: 1
Summary: What the distribution has of all that elastiq needs
License: Apache-2.0
BuildArch: noarch
{provides}
%description
Nothing.
%files
"""
DNF = ("dnf", "--assumeyes", "--setopt=install_weak_deps=0", "--releasever=10")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of a package that provides what elastiq's requires."""
    directory = tmp_path_factory.mktemp("base")
    required = query(package(INSTALLED), "--requires")
    own = [text for text in required if re.match(r"rpmlib\(|config\(|(user|group)\(elastiq", text)]
    provides = "".join(f"Provides: {text.replace('>=', '=')}\n" for text in required if text not in own)
    (directory / "distribution.spec").write_text(SPECIFICATION.format(provides=provides), encoding="utf-8")
    where = [f"--define=_topdir {directory}", f"--define=_rpmdir {directory}", f"--define=_dbpath {directory}/database"]
    subprocess.run(
        ["rpmbuild", "-bb", "--quiet", *where, str(directory / "distribution.spec")], check=True, capture_output=True
    )
    index(directory)
    return directory


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("createrepo_c", "createrepo-c")
    return repositories([package(INSTALLED)], tmp_path_factory.mktemp("signed") / "dist", signer()) / "yum"


@pytest.fixture
def head(repository: Path, base: Path) -> Iterator[System]:
    """A system that trusts the releaser and has the repository at hand, as docs/operations.md says."""
    try:
        with system(ROOT) as running:
            for name, text in {"elastiq": REPOSITORY, "base": BASE}.items():
                path = running.root / "etc/yum.repos.d" / f"{name}.repo"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            (running.root / KEY[1:]).parent.mkdir(parents=True)
            shutil.copy(repository / "elastiq.asc", running.root / KEY[1:])
            shutil.copytree(base, running.root / "srv/base")
            running.run("rpm", "--initdb")
            yield running
    except UnavailableError as reason:
        pytest.skip(str(reason))


def index(directory: Path) -> None:
    need("createrepo_c", "createrepo-c")
    command = ["createrepo_c", "--quiet", "--no-database", "--general-compress-type=gz", str(directory)]
    subprocess.run(command, check=True, capture_output=True, timeout=LONG_SECONDS)


def serve(head: System, repository: Path, spoil: Callable[[Path], object] | None = None) -> None:
    """Have the system find this repository, as it is or spoilt, and have it forget any other."""
    served = head.root / "srv/yum"
    shutil.rmtree(served, ignore_errors=True)
    shutil.copytree(repository, served)
    if spoil:
        spoil(served / INSTALLED)
    head.run("rm", "-rf", "/var/cache/dnf", "/var/lib/dnf")


def list_another(served: Path) -> None:
    """What somebody does who may write to the web server: the package that nobody has signed, and it is listed."""
    shutil.copy(package(INSTALLED), served)
    signature = (served / "repodata/repomd.xml.asc").read_bytes()
    index(served)
    (served / "repodata/repomd.xml.asc").write_bytes(signature)


def change_the_listing(served: Path) -> None:
    listing = next((served / "repodata").glob("*-primary.xml.gz"))
    listing.write_bytes(listing.read_bytes() + b"\0")


def sign_by_nobody(served: Path) -> None:
    (served / "repodata/repomd.xml.asc").unlink()


def sign_by_somebody(served: Path) -> None:
    sign_by_nobody(served)
    signer("somebody").gpg("--armor", "--detach-sign", str(served / "repodata/repomd.xml"))


def change_the_package(served: Path) -> None:
    rpm = next(served.glob("*.rpm"))
    content = bytearray(rpm.read_bytes())
    content[-1000] ^= 1
    rpm.write_bytes(content)


def test_it_is_installed_from_the_repository_and_not_from_a_spoilt_one(head: System, repository: Path) -> None:
    signature = ("GPG signature verification error", "Bad GPG signature")
    for spoil, said, options in (
        (list_another, signature, ()),
        (sign_by_nobody, ("GPG signature is not available",), ()),
        (sign_by_somebody, signature, ()),
        (change_the_listing, ("checksum",), ()),
        # Where the listing is not checked, the package is.
        (list_another, ("is not signed",), ("--setopt=elastiq.repo_gpgcheck=0",)),
        (change_the_package, ("hecksum", "igest", "BAD"), ()),
    ):
        serve(head, repository, spoil)
        told = head.run(*DNF, *options, "install", "elastiq", expect=1)
        assert any(text in told for text in said), (spoil.__name__, told)
        assert "not installed" in head.run("rpm", "--query", "elastiq", expect=1)

    serve(head, repository)
    head.run(*DNF, "install", "elastiq")
    assert head.run("rpm", "--query", "elastiq").strip() == f"elastiq-{VERSION}-1.{INSTALLED}.noarch"
    assert VERSION in head.run("elastiqctl", "--version", environment={"PYTHONPATH": SITE})
