"""The sdist and the wheel: what is in them, and that what pip makes of them works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from elastiq.version import VERSION
from tests.packaging.built import LONG_SECONDS, build, git, packages, source

pytestmark = pytest.mark.xdist_group("built")

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
spool_dir = {directory}
"""


def members(sdist: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(sdist) as tar:
        return {member.name.partition("/")[2]: member for member in tar.getmembers()}


def metadata() -> Message:
    with zipfile.ZipFile(packages("wheel")[0]) as wheel:
        return message_from_bytes(wheel.read(f"elastiq-{VERSION}.dist-info/METADATA"))


def test_sdist_holds_every_file_of_the_commit() -> None:
    if not (source() / ".git").exists():
        pytest.skip("this is not a git checkout")
    committed = set(git("ls-files", within=source()).split("\n")) - {""}
    (sdist,) = packages("sdist")
    assert sdist.name == f"elastiq-{VERSION}.tar.gz"
    packed = {name for name, member in members(sdist).items() if member.isfile()}
    generated = {name for name in packed if name.startswith("elastiq.egg-info/")} | {"PKG-INFO", "setup.cfg"}
    assert packed - generated == committed


def test_sdist_says_nothing_of_the_machine_that_made_it() -> None:
    (sdist,) = packages("sdist")
    all_members = members(sdist).values()
    assert {(member.uid, member.gid, member.uname, member.gname) for member in all_members} == {(0, 0, "root", "root")}
    assert {member.mode for member in all_members} == {0o644, 0o755}
    assert len({member.mtime for member in all_members}) == 1


def test_packages_from_the_sdist_are_those_from_the_checkout(tmp_path: Path) -> None:
    (sdist,) = packages("sdist")
    with tarfile.open(sdist) as tar:
        tar.extraction_filter = lambda member, _: member
        tar.extractall(tmp_path)
    (made, wheel) = build(tmp_path / f"elastiq-{VERSION}", tmp_path / "made", ["sdist", "wheel"])
    assert made.read_bytes() == sdist.read_bytes()
    assert wheel.read_bytes() == packages("wheel")[0].read_bytes()


def test_wheel_holds_the_package_and_its_pages() -> None:
    (path,) = packages("wheel")
    assert path.name == f"elastiq-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(path) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    modules = {str(file.relative_to(source())) for file in (source() / "elastiq").rglob("*.py")}
    data = f"elastiq-{VERSION}.data"
    assert {name for name in names if name.startswith("elastiq/")} == modules
    assert {name for name in names if not name.startswith("elastiq/")} == {
        f"{data}/scripts/elastiqctl",
        f"{data}/scripts/elastiq-real.py",
        f"{data}/data/share/man/man5/elastiq.conf.5",
        f"{data}/data/share/man/man8/elastiqctl.8",
        f"{data}/data/share/man/man8/elastiq-real.8",
        f"{data}/data/share/doc/elastiq/elastiq.conf.example",
        f"{data}/data/share/elastiq/elastiq-alerts.yml",
        f"{data}/data/share/elastiq/elastiq-dashboard.json",
    }


def test_metadata_of_the_distribution() -> None:
    facts = metadata()
    required = [text for text in facts.get_all("Requires-Dist") or [] if "extra ==" not in text]
    assert sorted(required) == ["boto3>=1.26", "lockfile>=0.12", "python-daemon>=2.3"]
    assert {"htcondor", "sandbox", "test"} <= set(facts.get_all("Provides-Extra") or [])
    assert (facts["Name"], facts["Version"], facts["Requires-Python"]) == ("elastiq", VERSION, ">=3.9")
    assert facts["License"] == "Apache-2.0"
    assert facts["Description-Content-Type"] == "text/markdown"
    assert facts.get_payload() == (source() / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with nothing in it but the wheel and what it requires."""
    directory = tmp_path_factory.mktemp("installed") / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True, timeout=LONG_SECONDS)
    install = [str(directory / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    result = subprocess.run([*install, str(packages("wheel")[0])], capture_output=True, text=True, timeout=LONG_SECONDS)
    assert result.returncode == 0, result.stderr
    return directory


def run(environment: Path, home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    variables = {
        "PATH": f"{environment}/bin:/usr/bin:/bin",
        "HOME": str(home),
        "ELASTIQ_CONFIG": str(home / "elastiq.conf"),
        "ELASTIQ_LOGDIR": str(home / "log"),
    }
    return subprocess.run(command, env=variables, cwd=home, capture_output=True, text=True, timeout=LONG_SECONDS)


def test_commands_of_the_wheel_work(environment: Path, tmp_path: Path) -> None:
    configuration = tmp_path / "elastiq.conf"
    configuration.write_text(CONFIGURATION.format(directory=tmp_path / "batch"), encoding="utf-8")
    configuration.chmod(0o600)
    checked = run(environment, tmp_path, "elastiq-real.py", f"--config={configuration}", "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    told = run(environment, tmp_path, "elastiqctl", "conf")
    assert told.returncode == 0, told.stderr
    assert f"{VERSION} ({environment}/lib/" in told.stdout
    assert f"({environment}/bin/python3)" in told.stdout
    assert f"{configuration} (good)" in told.stdout
    assert run(environment, tmp_path, "elastiqctl", "status").returncode == 1


def test_wheel_leaves_no_requirement_open(environment: Path) -> None:
    checked = subprocess.run([str(environment / "bin" / "pip"), "check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("words", [["--collect-only", "tests"], ["tests/unit/test_layout.py"]])
def test_tests_run_in_the_sdist(words: list[str], tmp_path: Path) -> None:
    with tarfile.open(packages("sdist")[0]) as tar:
        tar.extraction_filter = lambda member, _: member
        tar.extractall(tmp_path)
    tree = tmp_path / f"elastiq-{VERSION}"
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        timeout=LONG_SECONDS,
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(("kinds", "code"), [([], 0), (["rpm"], 1)])
def test_what_can_not_be_built_here_is_said(kinds: list[str], code: int, tmp_path: Path) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("env", "git", "gzip", "sh", "tar"):
        found = shutil.which(name)
        if found:
            (commands / name).symlink_to(found)
    into = tmp_path / "dist"
    result = subprocess.run(
        [sys.executable, str(source() / "tools" / "build_packages.py"), "--into", str(into), *kinds],
        env={**os.environ, "PATH": str(commands)},
        capture_output=True,
        text=True,
        timeout=LONG_SECONDS,
    )
    assert result.returncode == code, result.stderr
    assert "no rpm was built: rpmbuild is missing" in result.stderr
    made = {path.suffix for path in into.iterdir()}
    assert made == (set() if kinds else {".gz", ".whl", ".json", ""})


def test_a_checkout_without_git_says_what_to_install(tmp_path: Path) -> None:
    shutil.copytree(source() / "tools", tmp_path / "tools")
    (tmp_path / ".git").mkdir()
    program = str(tmp_path / "tools" / "build_packages.py")
    result = subprocess.run(
        [sys.executable, program, "sdist"],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=LONG_SECONDS,
    )
    assert (result.returncode, result.stderr) == (1, "build_packages: git is missing: apt-get install git\n")
