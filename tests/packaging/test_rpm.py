"""The rpm: built for each release, checked by rpmlint, installed, upgraded and erased with its scriptlets run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastiq.version import VERSION
from tests.packaging.built import LONG_SECONDS, build, git, need, packages, source
from tests.packaging.roots import BOOKWORM, TRIXIE, Root, System, system
from tests.testbed.rootfs import UnavailableError

pytestmark = pytest.mark.xdist_group("built")

PYTHONS = {"el9": "3.9", "el10": "3.12", "fc43": "3.14"}
INSTALLED = "el10"
"""The release whose package is installed in Debian's root; Python looks for it where PYTHONPATH says."""
SITE = f"/usr/lib/python{PYTHONS[INSTALLED]}/site-packages"
HIGHER = "2.0.1"
ROOT = Root(TRIXIE, ("dnf", "python3-boto3", "python3-daemon", "python3-lockfile", "python3-setuptools", "rpm"))
"""Debian 13 with rpm and dnf, and what elastiq needs of Python."""

FILES = {
    "/etc/elastiq.conf": "-rw-r----- root elastiq",
    "/etc/sysconfig/elastiq": "-rw-r--r-- root root",
    "/usr/bin/elastiq-real.py": "-rwxr-xr-x root root",
    "/usr/bin/elastiqctl": "-rwxr-xr-x root root",
    "/usr/lib/systemd/system/elastiq.service": "-rw-r--r-- root root",
    "/usr/lib/sysusers.d/elastiq.conf": "-rw-r--r-- root root",
    "/usr/share/bash-completion/completions/elastiq-real.py": "lrwxrwxrwx root root",
    "/usr/share/bash-completion/completions/elastiqctl": "-rw-r--r-- root root",
    "/usr/share/doc/elastiq": "drwxr-xr-x root root",
    "/usr/share/doc/elastiq/CHANGELOG.md": "-rw-r--r-- root root",
    "/usr/share/doc/elastiq/README.md": "-rw-r--r-- root root",
    "/usr/share/doc/elastiq/docs": "drwxr-xr-x root root",
    "/usr/share/doc/elastiq/docs/examples": "lrwxrwxrwx root root",
    "/usr/share/doc/elastiq/elastiq.conf.example": "-rw-r--r-- root root",
    "/usr/share/doc/elastiq/examples": "drwxr-xr-x root root",
    "/usr/share/elastiq": "drwxr-xr-x root root",
    "/usr/share/elastiq/elastiq-alerts.yml": "-rw-r--r-- root root",
    "/usr/share/elastiq/elastiq-dashboard.json": "-rw-r--r-- root root",
    "/usr/share/licenses/elastiq": "drwxr-xr-x root root",
    "/usr/share/licenses/elastiq/LICENSE": "-rw-r--r-- root root",
    "/usr/share/man/man5/elastiq.conf.5.gz": "-rw-r--r-- root root",
    "/usr/share/man/man8/elastiq-real.8.gz": "-rw-r--r-- root root",
    "/usr/share/man/man8/elastiq-real.py.8.gz": "-rw-r--r-- root root",
    "/usr/share/man/man8/elastiqctl.8.gz": "-rw-r--r-- root root",
    "/var/lib/elastiq": "drwx------ elastiq elastiq",
    "/var/log/elastiq": "drwxr-x--- elastiq elastiq",
}
"""Every file of the package but Python's modules and the pages of docs/, which are listed by the checkout."""

REQUIREMENTS = {
    "/bin/sh",
    "/usr/bin/python3",
    "config(elastiq)",
    "findutils",
    "python3-boto3 >= 1.26",
    "python3-daemon >= 2.3",
    "python3-lockfile >= 0.12",
    "shadow-utils",
}

CONFIGURATION = """
[elastiq]
batch_plugin = sandbox
[quota]
max_vms = 2
[ec2]
api_url = http://127.0.0.1:9
aws_access_key_id = key
aws_secret_access_key = secret
image_id = ami-12345678
flavour = t2.micro
[sandbox]
spool_dir = /srv/batch
"""


EMPTY_ROOT_SCRIPT = """
lower=$1 scratch=$2 package=$3
shift 3
mount -t tmpfs -o mode=0755 tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay -o "lowerdir=$lower,upperdir=$scratch/upper,workdir=$scratch/work" overlay "$scratch/root"
mount -t proc proc "$scratch/root/proc"
there() {
  rpm --root="$scratch/root" --dbpath=/var/lib/rpm "$@"
}
echo == installing
there --initdb
there --install --nodeps "$package"
there --verify --nodeps elastiq
echo == files
chroot "$scratch/root" stat --format="%n	%A %U %G" "$@"
echo == user
chroot "$scratch/root" getent passwd elastiq
echo == erasing
there --erase elastiq
there --query --all
echo == left
for file; do
  test ! -e "$scratch/root$file" || echo "$file"
done
"""
"""Install and erase a package by the host's rpm in a scratch copy of a root; the file names follow."""


def package(release: str) -> Path:
    (path,) = [path for path in packages("rpm") if path.name == f"elastiq-{VERSION}-1.{release}.noarch.rpm"]
    return path


def query(path: Path, *words: str) -> list[str]:
    result = subprocess.run(["rpm", "-qp", *words, str(path)], capture_output=True, text=True, timeout=LONG_SECONDS)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def table(path: Path) -> dict[str, str]:
    """Return mode, owner and group of each file in a package."""
    return {
        name: f"{mode} {owner} {group}"
        for name, mode, owner, group in (
            line.split("\t")
            for line in query(
                path, "--qf", "[%{FILENAMES}\\t%{FILEMODES:perms}\\t%{FILEUSERNAME}\\t%{FILEGROUPNAME}\\n]"
            )
        )
    }


def expected_table(site: str) -> dict[str, str]:
    file, directory = "-rw-r--r-- root root", "drwxr-xr-x root root"
    expected = dict(FILES)
    for page in sorted((source() / "docs").glob("*.md")):
        expected[f"/usr/share/doc/elastiq/docs/{page.name}"] = file
    for example in sorted((source() / "docs/examples").iterdir()):
        expected[f"/usr/share/doc/elastiq/examples/{example.name}"] = file
    for module in sorted((source() / "elastiq").rglob("*.py")):
        name = module.relative_to(source())
        expected[f"{site}/{name}"] = file
        expected[f"{site}/{name.parent}"] = directory
    return expected


def without_metadata(files: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in files.items() if not re.search(rf"/elastiq-{VERSION}\.(egg|dist)-info", name)}


@pytest.mark.parametrize("release", PYTHONS)
def test_files_with_modes_and_owners(release: str) -> None:
    files = table(package(release))
    expected = expected_table(f"/usr/lib/python{PYTHONS[release]}/site-packages")
    assert without_metadata(files) == expected
    metadata = set(files) - set(expected)
    assert any(name.endswith("/PKG-INFO") for name in metadata)


@pytest.mark.parametrize("release", PYTHONS)
def test_requirements_and_configuration_files(release: str) -> None:
    required = set(query(package(release), "--requires"))
    assert f"python(abi) = {PYTHONS[release]}" in required
    distribution_only = {text for text in required if not text.startswith(("rpmlib(", "python(abi)"))}
    # rpm 4.19 and later let a file's owner be required and provided.
    without_users = {
        re.sub(r" = .*", "", text) for text in distribution_only if not text.startswith(("user(", "group("))
    }
    assert without_users == REQUIREMENTS
    assert set(query(package(release), "--configfiles")) == {"/etc/elastiq.conf", "/etc/sysconfig/elastiq"}
    scripts = "\n".join(query(package(release), "--scripts"))
    for part in ("install-system-units", "remove-system-units", "elastiqctl restart", "useradd --system"):
        assert part in scripts


def test_shebang_is_the_distributions_python(tmp_path: Path) -> None:
    archive = subprocess.run(["rpm2cpio", str(package(INSTALLED))], capture_output=True, check=True).stdout
    need("cpio", "cpio")
    subprocess.run(["cpio", "-id", "--quiet"], input=archive, cwd=tmp_path, check=True)
    program = (tmp_path / "usr/bin/elastiq-real.py").read_text(encoding="utf-8")
    assert program.startswith("#!/usr/bin/python3 -s\n")
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.suffix != ".gz":
            assert str(source()).encode() not in path.read_bytes(), path


def test_rpmlint_has_nothing_to_say() -> None:
    files = packages("rpm")
    need("rpmlint", "rpmlint")
    configuration = source() / "rpm" / "rpmlint.toml"
    result = subprocess.run(
        ["rpmlint", "--config", str(configuration), *map(str, files), str(source() / "rpm" / "elastiq.spec")],
        capture_output=True,
        text=True,
        timeout=LONG_SECONDS,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r" 0 errors, 0 warnings", result.stdout), result.stdout


def test_branch_for_el_and_fedora_gives_the_same_files(tmp_path: Path) -> None:
    (archive,) = packages("sdist")
    packages("rpm")
    shutil.copy(archive, tmp_path)
    python = "{}.{}".format(*sys.version_info)
    directories = {"_topdir": tmp_path / "rpm", "_sourcedir": tmp_path, "_dbpath": tmp_path / "database"}
    macros = {**directories, "__python3": sys.executable, "python3_version": python}
    defines = [f"--define={name} {value}" for name, value in macros.items()]
    load = f"--load={Path(__file__).with_name('el9.macros')}"
    command = ["rpmbuild", "--nodeps", load, *defines, "-bb", str(source() / "rpm" / "elastiq.spec")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=LONG_SECONDS)
    assert result.returncode == 0, result.stdout + result.stderr
    (native,) = (tmp_path / "rpm").rglob("*.rpm")
    assert without_metadata(table(native)) == expected_table(f"/usr/lib/python{python}/site-packages")
    scripts = "\n".join(query(native, "--scripts"))
    for macro in ("systemd-post", "systemd-preun"):
        assert f"{macro} elastiq.service" in scripts
    assert "compileall" not in scripts


@pytest.fixture(scope="module")
def higher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of a higher version, with another default configuration."""
    directory = tmp_path_factory.mktemp("higher")
    packages("rpm")
    tree = directory / "elastiq"
    shutil.copytree(source(), tree, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("rpm/elastiq.spec", "elastiq/version.py"):
        path = tree / name
        path.write_text(path.read_text(encoding="utf-8").replace(VERSION, HIGHER), encoding="utf-8")
    with (tree / "elastiq.conf.example").open("a", encoding="utf-8") as example:
        example.write("# of a higher version\n")
    if (tree / ".git").exists():
        git("commit", "--quiet", "--all", "--message=higher", within=tree)
    for path in build(tree, directory / "dist", ["rpm"]):
        if f".{INSTALLED}." in path.name:
            return path
    raise AssertionError("no package of a higher version was built")


@pytest.fixture
def debian() -> Iterator[System]:
    packages("rpm")
    try:
        with system(ROOT) as running:
            yield running
    except UnavailableError as reason:
        pytest.skip(str(reason))


def bring(running: System, *files: Path) -> None:
    for path in files:
        shutil.copy(path, running.root / "root" / path.name)


def owners(running: System, *names: str) -> dict[str, str]:
    lines = running.run("stat", "--format=%n\t%A %U %G", *names).splitlines()
    return dict(line.split("\t") for line in lines)


def rpm(running: System, *words: str) -> str:
    return running.run("rpm", "--dbpath=/var/lib/rpm", *words, environment={"PYTHONPATH": SITE})


def test_install_into_an_empty_root(tmp_path: Path) -> None:
    """The host's rpm works on a directory where nothing but Debian's base is; Python is not."""
    path = package(INSTALLED)
    try:
        layers = Root(BOOKWORM).layers()
    except UnavailableError as reason:
        pytest.skip(str(reason))
    files = table(path)
    words = ["sh", "-euc", EMPTY_ROOT_SCRIPT, "sh", ":".join(map(str, layers)), str(tmp_path), str(path), *files]
    result = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONG_SECONDS,
    )
    assert result.returncode == 0, result.stdout
    # Debian's rpm says each time that it should not be used on Debian.
    said = "\n".join(line for line in result.stdout.splitlines() if not line.startswith("rpm: "))
    parts = {part.partition("\n")[0]: part.splitlines()[1:] for part in said.split("== ")[1:]}
    assert parts["installing"] == []
    assert dict(line.split("\t") for line in parts["files"]) == files
    assert parts["user"][0].split(":")[4:] == ["elastiq daemon", "/var/lib/elastiq", "/sbin/nologin"]
    assert parts["erasing"] == []
    assert parts["left"] == []


def test_install_start_upgrade_and_erase(debian: System, higher: Path) -> None:
    path = package(INSTALLED)
    bring(debian, path, higher)
    python = {"PYTHONPATH": SITE}
    rpm(debian, "--initdb")
    assert rpm(debian, "-i", "--nodeps", f"/root/{path.name}") == ""
    files = table(path)
    assert owners(debian, *files) == files

    (debian.root / "etc/elastiq.conf").write_text(CONFIGURATION, encoding="utf-8")
    debian.run("install", "-d", "-o", "elastiq", "-m", "0700", "/srv/batch")
    told = debian.run("elastiqctl", "conf", environment=python)
    assert f"{VERSION} ({SITE}/elastiq)" in told
    assert "/etc/elastiq.conf (good)" in told
    debian.run("elastiqctl", "start", environment=python)
    first = pid(debian)

    assert rpm(debian, "-U", "--nodeps", f"/root/{higher.name}").count("warning:") == 1
    assert "# of a higher version" in (debian.root / "etc/elastiq.conf.rpmnew").read_text(encoding="utf-8")
    assert (debian.root / "etc/elastiq.conf").read_text(encoding="utf-8") == CONFIGURATION
    assert owners(debian, "/etc/elastiq.conf") == {"/etc/elastiq.conf": FILES["/etc/elastiq.conf"]}
    assert pid(debian) != first
    deadline = time.monotonic() + LONG_SECONDS
    while f"elastiq {HIGHER} is running" not in debian.run("elastiqctl", "status", environment=python):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    state = sorted(path.name for path in (debian.root / "var/lib/elastiq").iterdir())
    assert state

    rpm(debian, "-e", "--nodeps", "elastiq")
    assert (debian.root / "etc/elastiq.conf.rpmsave").read_text(encoding="utf-8") == CONFIGURATION
    assert owners(debian, "/etc/elastiq.conf.rpmsave") == {"/etc/elastiq.conf.rpmsave": FILES["/etc/elastiq.conf"]}
    assert set(state) & {path.name for path in (debian.root / "var/lib/elastiq").iterdir()}
    assert "elastiq.log" in {path.name for path in (debian.root / "var/log/elastiq").iterdir()}
    assert "elastiq-real.py" not in debian.run("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    debian.run("getent", "passwd", "elastiq")
    kept = {"/var/lib/elastiq", "/var/log/elastiq"}
    for name in set(files) - kept:
        assert not os.path.lexists(f"{debian.root}{name}"), name
    assert not os.path.lexists(f"{debian.root}{SITE}/elastiq")


def test_rpm_that_reads_the_sysusers_file_makes_the_user_by_it(debian: System) -> None:
    """EL 10 and Fedora have such an rpm. So has Debian 13: 4.20, which builds the package from the sdist, too."""
    (archive,) = packages("sdist")
    bring(debian, archive)
    defines = ["--define=_topdir /root/rpm", "--define=dist .fc43", "--define=python3_version 3.14"]
    debian.run("rpmbuild", "-tb", "--nodeps", *defines, f"/root/{archive.name}")
    (built,) = (debian.root / "root/rpm/RPMS").rglob("*.rpm")
    assert without_metadata(table(built)) == expected_table("/usr/lib/python3.14/site-packages")
    provided = {text.partition(" ")[0] for text in query(built, "--provides")}
    assert {"user(elastiq)", "group(elastiq)"} <= provided
    rpm(debian, "--initdb")
    inside = f"/root/rpm/RPMS/noarch/{built.name}"
    rpm(debian, "-i", "--nodeps", "--nopre", inside)
    user = debian.run("getent", "passwd", "elastiq").strip().split(":")
    assert user[4:] == ["elastiq daemon", "/var/lib/elastiq", "/sbin/nologin"]
    assert owners(debian, "/var/lib/elastiq") == {"/var/lib/elastiq": FILES["/var/lib/elastiq"]}


def pid(running: System) -> int:
    status = running.run("elastiqctl", "status", environment={"PYTHONPATH": SITE})
    found = re.search(r"is running \(pid (\d+)", status)
    assert found, status
    return int(found[1])
