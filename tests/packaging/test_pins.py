"""What tests and tools are installed from is fixed to the byte."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.packaging.built import CHECKOUT, LONG_SECONDS

PINS = CHECKOUT / "tools" / "requirements"
PYTHONS = ("3.11", "3.13")
"""Of Debian 12 and 13."""
EXTRAS = {
    "test.txt": ("htcondor", "package", "sandbox", "test"),
    "sandbox.txt": ("sandbox",),
    "package.txt": ("package",),
}
"""Which extras each file is for."""

_METADATA = """\
from distutils.core import run_setup
import setuptools
read = run_setup("setup.py", stop_after="init")
print(*read.install_requires, sep="\\n")
for extra, texts in read.extras_require.items():
    print(*(f"{text} # {extra}" for text in texts), sep="\\n")
"""


def pinned(name: str, python: str) -> dict[str, tuple[str, int]]:
    """Return version and number of hashes of what the file has for this Python on Linux."""
    environment = {"python_version": python, "python_full_version": f"{python}.2", "sys_platform": "linux"}
    found = {}
    text = (PINS / name).read_text(encoding="utf-8").replace("\\\n", " ")
    for line in filter(None, (line.partition("#")[0].strip() for line in text.splitlines())):
        requirement = Requirement(line.partition(" --hash=")[0].strip())
        if requirement.marker is None or requirement.marker.evaluate(environment):
            (specifier,) = requirement.specifier
            assert specifier.operator == "=="
            assert requirement.name not in found
            found[canonicalize_name(requirement.name)] = (specifier.version, line.count("--hash=sha256:"))
    return found


@functools.cache
def wanted() -> dict[str, list[Requirement]]:
    """Return what setup.py wants, by extra; "" is what it always wants."""
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _METADATA], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout
    by_extra: dict[str, list[Requirement]] = {}
    for line in said.splitlines():
        text, _, extra = line.partition(" # ")
        by_extra.setdefault(extra, []).append(Requirement(text))
    return by_extra


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", EXTRAS)
def test_all_that_setup_py_wants_is_pinned(name: str, python: str) -> None:
    pins = pinned(name, python)
    for extra in ("", *EXTRAS[name]):
        for requirement in wanted()[extra]:
            version, _ = pins[canonicalize_name(requirement.name)]
            assert Version(version) in requirement.specifier, requirement
    # Or elastiq itself could not be installed beside it.
    assert "setuptools" in pins


@pytest.mark.parametrize("name", sorted(path.name for path in PINS.glob("*.txt")))
def test_each_pin_has_its_hashes_and_no_place_where_it_is_from(name: str) -> None:
    text = (PINS / name).read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash=sha256:)", text, re.MULTILINE)
    assert text.splitlines()[1].split() == ["#", "make", "pins"]
    for python in PYTHONS:
        assert all(hashes for _, hashes in pinned(name, python).values())


def test_what_goes_into_the_testbed_is_pinned() -> None:
    pins = (PINS / "testbed.txt").read_text(encoding="utf-8")
    sources = "".join(path.read_text(encoding="utf-8") for path in (CHECKOUT / "tests" / "testbed").rglob("*.py"))
    named = re.findall(r'"([a-z0-9-]+==[0-9.]+)"', sources)
    assert len(named) == pins.count("==")
    for requirement in named:
        assert f"\n{requirement} \\\n    --hash=" in pins


def test_the_makefile_installs_nothing_without_hashes() -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"^INSTALL := \$\(PIP\) --require-hashes --only-binary :all:$", makefile, re.MULTILINE)
    uses = [line for line in makefile.splitlines() if "$(PIP)" in line or "pip install" in line]
    assert [line.partition(" :=")[0] for line in uses] == ["PIP", "INSTALL", "EDITABLE"]
    assert "--no-deps --no-build-isolation" in uses[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment, and beside it the only package that there is."""
    directory = tmp_path_factory.mktemp("pins")
    subprocess.run([sys.executable, "-m", "venv", str(directory / "venv")], check=True, timeout=LONG_SECONDS)
    (directory / "wheels").mkdir()
    files = {
        "trifle.py": b"",
        "trifle-1.dist-info/METADATA": b"Metadata-Version: 2.1\nName: trifle\nVersion: 1\n",
        "trifle-1.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = ["trifle-1.dist-info/RECORD,,"]
    with zipfile.ZipFile(directory / "wheels" / "trifle-1-py3-none-any.whl", "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            rows.append(f"{name},sha256={digest},{len(content)}")
        wheel.writestr("trifle-1.dist-info/RECORD", "\n".join(rows) + "\n")
    return directory


@pytest.mark.parametrize(
    ("hash_", "said"),
    [
        ("0" * 64, "DO NOT MATCH THE HASHES"),
        ("", "Hashes are required"),
        ("right", ""),
    ],
    ids=["wrong", "none", "right"],
)
def test_what_has_another_hash_is_not_installed(place: Path, hash_: str, said: str) -> None:
    if hash_ == "right":
        hash_ = hashlib.sha256((place / "wheels" / "trifle-1-py3-none-any.whl").read_bytes()).hexdigest()
    (place / "pins").mkdir(exist_ok=True)
    pin = f"trifle==1 --hash=sha256:{hash_}\n" if hash_ else "trifle==1\n"
    (place / "pins" / "package.txt").write_text(pin, encoding="utf-8")
    # As `make packages` begins; elastiq itself, which wants setuptools, is left out.
    variables = [f"VENV={place}/venv", f"PINS={place}/pins", "EDITABLE=:"]
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(place),
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(place / "wheels"),
    }
    result = subprocess.run(
        ["make", *variables, f"{place}/venv/.package"],
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONG_SECONDS,
    )
    assert said in result.stdout
    assert (result.returncode == 0) is (not said), result.stdout
    assert (place / "venv" / ".package").exists() is (not said)
    installed = list((place / "venv").rglob("trifle.py"))
    assert bool(installed) is (not said)
