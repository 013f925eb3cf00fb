#!/usr/bin/env python3
"""Build sdist, wheel, deb and rpm of the last commit; the same commit gives the same bytes, wherever and whenever.

Beside them come a bill of materials (`sbom`) and checksums (`sums`) of what the same run has built, the latter signed
if there is a key. Run by `make packages`, with the Python of a virtual environment that has the extra `package`. What
the deb and the rpm need is installed by apt-get when this runs as root on Debian. Elsewhere it says what it left out;
that is an error only for what was asked for by name.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import signing
from bill_of_materials import bill_of_materials
from running import BuildError, obstacle, run

SOURCE = Path(__file__).resolve().parent.parent
PACKAGES = ("sdist", "wheel", "deb", "rpm")
KINDS = (*PACKAGES, "sbom", "sums")
RELEASES = {".el9": "3.9", ".el10": "3.12", ".fc43": "3.14"}
"""Which releases an rpm is made for: the tag in its name, and the Python of the release."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the packages of the last commit.")
    parser.add_argument("--into", metavar="DIRECTORY", type=Path, default=SOURCE / "dist", help="default: dist")
    parser.add_argument("kinds", metavar="KIND", nargs="*", help=f"{', '.join(KINDS)}; default: all")
    signing.add_option(parser)
    options = parser.parse_args()
    unknown = sorted(set(options.kinds) - set(KINDS))
    if unknown:
        parser.error(f"unknown kind {', '.join(unknown)}; there are {', '.join(KINDS)}")
    if options.kinds and not set(options.kinds) & set(PACKAGES):
        parser.error(f"{' and '.join(options.kinds)} of which packages? Name them, too")
    os.umask(0o022)
    options.into.mkdir(parents=True, exist_ok=True)
    try:
        if options.key:
            signing.check(options.key)
        left_out = _build(options.into.resolve(), set(options.kinds or KINDS), options.key)
    except BuildError as error:
        print(f"build_packages: {error}", file=sys.stderr)
        return 1
    for text in left_out:
        print(f"build_packages: {text}", file=sys.stderr)
    return 1 if left_out and options.kinds else 0


def _build(into: Path, kinds: set[str], key: str) -> list[str]:
    """Put packages of these kinds into a directory; return what was left out, and why. Raise BuildError."""
    left_out = []
    with tempfile.TemporaryDirectory(prefix="elastiq-packages-") as name:
        work = Path(name)
        epoch = _export(work / "tree")
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        sdist = _sdist(work, epoch, environment)
        source = work / "source" / sdist.name[: -len(".tar.gz")]
        with tarfile.open(sdist) as tar:
            _unpack(tar, source.parent)
        files = [sdist] if "sdist" in kinds else []
        if "wheel" in kinds:
            files.append(_wheel(source, work / "wheel", environment))
        if files:
            check = [sys.executable, "-m", "twine", "--no-color", "check", "--strict"]
            run([*check, *map(str, files)], work, environment)
        for kind, obstacle_of, build in (("deb", _deb_obstacle, _deb), ("rpm", _rpm_obstacle, _rpm)):
            if kind in kinds:
                why = obstacle_of()
                if why:
                    left_out.append(f"no {kind} was built: {why}")
                else:
                    files += build(sdist, source, work / kind, environment)
        if "sbom" in kinds:
            version = sdist.name[len("elastiq-") : -len(".tar.gz")]
            bill = work / f"elastiq-{version}.cdx.json"
            bill.write_text(bill_of_materials(files, work / "tree", version, epoch), encoding="utf-8")
            files.append(bill)
        for path in files:
            shutil.copy(path, into / path.name)
            print(into / path.name)
        if "sums" in kinds:
            _sum_up([into / path.name for path in files], into, key)
    return left_out


def _sum_up(files: list[Path], into: Path, key: str) -> None:
    sums = signing.write_sums(files, into)
    print(sums)
    signature = signing.sign(sums, key)
    if key:
        print(signature)
    else:
        print(f"build_packages: {sums.name} is not signed: no key was given ({signing.VARIABLE})", file=sys.stderr)


def _export(tree: Path) -> int:
    """Write the last commit into `tree`, or this very tree where it is no checkout; return the time of it."""
    if (SOURCE / ".git").exists():
        if not shutil.which("git"):
            raise BuildError("git is missing: apt-get install git")
        git = ["git", "-c", f"safe.directory={SOURCE}", "-C", str(SOURCE)]
        archive = subprocess.run([*git, "archive", "--format=tar", "HEAD"], capture_output=True)
        if archive.returncode:
            raise BuildError(f"git archive failed: {archive.stderr.decode(errors='replace').strip()}")
        if subprocess.run([*git, "status", "--porcelain"], capture_output=True).stdout.strip():
            print("build_packages: what is not committed is not in the packages", file=sys.stderr)
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            _unpack(tar, tree)
        shown = subprocess.run([*git, "show", "-s", "--format=%ct", "HEAD"], capture_output=True, text=True, check=True)
        return int(shown.stdout)
    # What setuptools wrote into the sdist it writes again.
    generated = shutil.ignore_patterns(".venv", "dist", "build", "*.egg-info", "setup.cfg", "PKG-INFO", "__pycache__")
    shutil.copytree(SOURCE, tree, symlinks=True, ignore=generated)
    # An sdist gives all its files the time of the commit.
    return int(os.environ.get("SOURCE_DATE_EPOCH") or (SOURCE / "setup.py").stat().st_mtime)


def _sdist(work: Path, epoch: int, environment: dict[str, str]) -> Path:
    made = work / "made"
    _python_build("--sdist", work / "tree", made, environment)
    (path,) = made.glob("*.tar.gz")
    sdist = work / path.name
    _repack(path, sdist, epoch)
    os.utime(sdist, (epoch, epoch))
    return sdist


def _repack(source: Path, target: Path, epoch: int) -> None:
    """Copy a tar.gz with its members sorted, and nothing in it of the machine and the time it was packed."""
    with (
        tarfile.open(source) as tar,
        target.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=epoch) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as copy,
    ):
        for member in sorted(tar.getmembers(), key=lambda member: member.name):
            member.uid = member.gid = 0
            member.uname = member.gname = "root"
            member.mtime = epoch
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            copy.addfile(member, tar.extractfile(member) if member.isfile() else None)


def _unpack(tar: tarfile.TarFile, into: Path) -> None:
    into.mkdir()
    # Just made by git or by setuptools from these sources. Python from 3.12 on wants to be told.
    tar.extraction_filter = lambda member, _: member
    tar.extractall(into)


def _wheel(source: Path, into: Path, environment: dict[str, str]) -> Path:
    _python_build("--wheel", source, into, environment)
    (path,) = into.glob("*.whl")
    return path


def _python_build(kind: str, source: Path, into: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", kind, "--outdir", str(into), str(source)]
    run(command, source.parent, environment)


def _deb_obstacle() -> str:
    """Return why tools/build-deb cannot work here, which installs its tools by itself where it may."""
    if not shutil.which("apt-get"):
        return "this is not Debian"
    if os.geteuid() == 0:
        return ""
    if shutil.which("dpkg-checkbuilddeps"):
        return subprocess.run(["dpkg-checkbuilddeps"], cwd=SOURCE, capture_output=True, text=True).stderr.strip()
    return "dpkg-buildpackage is missing: apt-get install dpkg-dev"


def _deb(sdist: Path, source: Path, work: Path, environment: dict[str, str]) -> list[Path]:
    run([str(source / "tools" / "build-deb"), "--into", str(work)], source, environment)
    return sorted(path for path in work.iterdir() if path.suffix in (".deb", ".dsc", ".xz"))


def _rpm_obstacle() -> str:
    return obstacle("rpmbuild", "rpm")


def _rpm(sdist: Path, source: Path, work: Path, environment: dict[str, str]) -> list[Path]:
    """Build the source package, and for each release the package that rpmbuild would make there of it."""
    common = {
        "_buildhost": "localhost",
        "_binary_payload": "w9.gzdio",
        "_source_payload": "w9.gzdio",
        "use_source_date_epoch_as_buildtime": "1",
        "clamp_mtime_to_source_date_epoch": "1",
        "build_mtime_policy": "clamp_to_source_date_epoch",
    }
    # A source package carries the specification with every macro expanded: the same directory must have the same name.
    here = "/proc/self/cwd"
    steps = [("-bs", {"_topdir": f"{here}/{work.name}", "_sourcedir": here, "_dbpath": f"{here}/database"})]
    for release, python in RELEASES.items():
        macros = {"dist": release, "python3_version": python, "__python3": sys.executable}
        where = {"_topdir": work, "_sourcedir": sdist.parent, "_dbpath": sdist.parent / "database"}
        steps.append(("-bb", {**{name: str(path) for name, path in where.items()}, **macros}))
    for what, macros in steps:
        defines = [word for name, value in {**common, **macros}.items() for word in ("--define", f"{name} {value}")]
        # What the build needs comes from other packages than rpm's, so that its database knows nothing of it.
        command = ["rpmbuild", "--quiet", "--nodeps", *defines, what, str(source / "rpm" / "elastiq.spec")]
        run(command, sdist.parent, environment)
    return sorted(work.glob("*RPMS/**/*.rpm"))


if __name__ == "__main__":
    sys.exit(main())
