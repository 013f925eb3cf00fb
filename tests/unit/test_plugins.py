"""The loader: built-in plugins, entry points of installed distributions, modules; and plugins that are broken."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastiq.config import Settings
from elastiq.errors import ConfigError
from elastiq.plugins import METHODS, BatchSystem
from elastiq.plugins import loading as plugins
from elastiq.plugins.loading import load
from elastiq.plugins.sandbox import SandboxBatch

ROOT = Path(__file__).parents[2]
GOOD = """
class Batch:
    def __init__(self, settings): self.name = settings.batch_plugin
    def demand(self): return ()
    def workers(self): return ()
    def close(self, worker): raise NotImplementedError
    def reopen(self, worker): pass
    def forget(self, worker): pass
    def check(self): return "here"
def create(settings): return Batch(settings)
"""
CONFIGURATION = """
[elastiq]
batch_plugin = {plugin}
[ec2]
api_url = https://ec2.example.com/
aws_access_key_id = KEY
aws_secret_access_key = SECRET
image_id = ami-00000001
key_name = key
flavour = m1.large
user_data_b64 = IyEvYmluL3NoCg==
"""


class Packages:
    """A directory of installed packages, on the path of this test alone."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def module(self, name: str, text: str) -> None:
        (self.directory / f"{name}.py").write_text(text)

    def install(self, distribution: str, entry_points: str) -> None:
        """Write what pip writes when it installs a wheel."""
        information = self.directory / f"{distribution.replace('-', '_')}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Packages(tmp_path)
    for name in [name for name in sys.modules if name.startswith(("elastiq_toy", "elastiq_site"))]:
        del sys.modules[name]


def problem(name: str) -> str:
    """Return the one line by which the loader refuses `name`."""
    with pytest.raises(ConfigError) as caught:
        load(name, Settings())
    (line,) = caught.value.problems
    assert "\n" not in line
    assert line.startswith("[elastiq] batch_plugin: ")
    return line


def test_a_built_in_plugin(tmp_path: Path) -> None:
    assert isinstance(load("sandbox", Settings(sandbox_spool_dir=tmp_path)), SandboxBatch)


def test_every_method_of_the_protocol_is_asked_for() -> None:
    methods = {name: member for name, member in vars(BatchSystem).items() if callable(member) and name[0] != "_"}
    assert {name: method.__code__.co_argcount - 1 for name, method in methods.items()} == METHODS


def test_an_entry_point_of_an_installed_distribution(packages: Packages) -> None:
    packages.module("elastiq_toy", GOOD)
    packages.install("elastiq-toy", "[elastiq.plugins]\ntoy = elastiq_toy\ntoy2 = elastiq_toy:create\n")
    assert load("toy", Settings(batch_plugin="toy")).check() == "here"
    assert load("toy2", Settings(batch_plugin="toy2")).name == "toy2"  # type: ignore[attr-defined]


def test_a_wheel_that_pip_installed(tmp_path: Path) -> None:
    """Built and installed by the very tools that an author uses, and loaded by the real program."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "elastiq_toy.py").write_text(GOOD)
    (project / "setup.py").write_text(
        "from setuptools import setup\nsetup(name='elastiq-toy', version='1.0', py_modules=['elastiq_toy'], "
        "entry_points={'elastiq.plugins': ['toy = elastiq_toy']})\n"
    )
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-build-isolation", "--no-deps"]
    built = subprocess.run([*command, f"--target={target}", str(project)], capture_output=True, text=True)
    if built.returncode:
        pytest.skip(f"pip cannot build a wheel here: {built.stderr.strip()[-300:]}")
    result = check_configuration(tmp_path, "toy", target)
    assert (result.returncode, result.stderr) == (0, "")
    assert "the configuration is good" in result.stdout
    assert check_configuration(tmp_path, "tow", target).stderr == (
        "[elastiq] batch_plugin: no plugin tow, did you mean toy?\n"
    )


def test_a_module_path(packages: Packages) -> None:
    package = packages.directory / "elastiq_site"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "batch.py").write_text(GOOD)
    assert load("elastiq_site.batch", Settings()).check() == "here"


def test_no_such_plugin(packages: Packages) -> None:
    packages.install("elastiq-toy", "[elastiq.plugins]\ntoy = elastiq_toy\n")
    assert "no plugin htcondr, did you mean htcondor?" in problem("htcondr")
    assert "no plugin tooy, did you mean toy?" in problem("tooy")
    assert "no plugin lsf; there are gridengine, htcondor, sandbox, slurm, toy" in problem("lsf")


def test_no_such_module() -> None:
    line = problem("no_such_package.batch")
    assert "there is no module 'no_such_package': install the package that has it for " in line
    assert "elastiq.nonsense" in problem("elastiq.nonsense")


@pytest.mark.parametrize("name", ["..", ".x", "x.", "a..b", "a b.c", "a/b.c", "\0.x"])
def test_names_that_no_module_can_have(name: str) -> None:
    problem(name)


BROKEN = {
    "syntax": ("def create(:\n", r"SyntaxError .*\(.*toy\.py, line 1\)"),
    "import": ("import no_such_library\n", r"ModuleNotFoundError .*no_such_library.*toy\.py, line 1\)"),
    "name": ("\nimport os\nfrom os import nonsense\n", r"ImportError .*nonsense.*toy\.py, line 3\)"),
    "raise": ("class Odd(Exception): pass\nraise Odd('two\\nlines')\n", r"Odd .*toy\.py, line 2\)"),
    "exit": ("import sys\nsys.exit('no')\n", r"SystemExit 'no' .*toy\.py, line 2\)"),
    "unprintable": (
        "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd()\n",
        r"Odd .*toy\.py, line 3\)",
    ),
    "long": ("raise ValueError('x' * 100_000)\n", r"ValueError 'x{100,200}' \("),
    "recursion": ("def f(): f()\nf()\n", r"RecursionError"),
    "assertion": ("assert 1 == 2\n", r"AssertionError \("),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("way", ["entry point", "module"])
def test_a_plugin_that_can_not_be_imported(packages: Packages, case: str, way: str) -> None:
    text, expected = BROKEN[case]
    (packages.directory / "elastiq_site").mkdir()
    (packages.directory / "elastiq_site" / "toy.py").write_text(text)
    packages.install("elastiq-toy", "[elastiq.plugins]\ntoy = elastiq_site.toy\n")
    name = "toy" if way == "entry point" else "elastiq_site.toy"
    line = problem(name)
    assert f"plugin {name} cannot be imported: " in line
    assert re.search(expected, line), line
    assert line.endswith("; mend it, or set another batch_plugin")
    assert len(line) < 1000


def loaded(packages: Packages, text: str) -> str:
    (packages.directory / "elastiq_site").mkdir()
    (packages.directory / "elastiq_site" / "toy.py").write_text(text)
    return problem("elastiq_site.toy")


def test_a_plugin_whose_create_raises(packages: Packages) -> None:
    line = loaded(packages, "def create(settings): raise KeyError('LSF_ENVDIR')\n")
    assert "plugin elastiq_site.toy cannot be set up: KeyError " in line
    assert "LSF_ENVDIR" in line


def test_problems_that_a_plugin_itself_finds_in_the_configuration_are_handed_on(packages: Packages) -> None:
    text = (
        "from elastiq.errors import ConfigError\n"
        "def create(settings): raise ConfigError(['[elastiq] batch_plugin: LSF_ENVDIR is not set'])\n"
    )
    assert loaded(packages, text) == "[elastiq] batch_plugin: LSF_ENVDIR is not set"


def test_a_module_without_create(packages: Packages) -> None:
    assert "plugin elastiq_site.toy has no create(settings)" in loaded(packages, "create = 5\n")


def test_an_entry_point_whose_object_is_not_there(packages: Packages) -> None:
    packages.module("elastiq_toy", GOOD)
    packages.install("elastiq-toy", "[elastiq.plugins]\ntoy = elastiq_toy:make\n")
    assert "plugin toy cannot be imported: AttributeError" in problem("toy")


@pytest.mark.parametrize("method", METHODS)
def test_a_plugin_that_lacks_a_method(packages: Packages, method: str) -> None:
    line = loaded(packages, GOOD.replace(f"def {method}(", f"def x{method}("))
    assert f"elastiq_site.toy is no plugin for this elastiq: it has no method {method};" in line


def test_a_plugin_whose_methods_take_something_else(packages: Packages) -> None:
    text = GOOD.replace("def close(self, worker)", "def close(self)").replace("def demand(self)", "def demand(self, q)")
    line = loaded(packages, text)
    assert "its method demand does not take no argument, its method close does not take one worker" in line


def test_a_plugin_that_lacks_everything(packages: Packages) -> None:
    line = loaded(packages, "def create(settings): return None\n")
    assert all(f"it has no method {method}" in line for method in METHODS)


def test_a_plugin_that_fails_when_it_is_looked_at(packages: Packages) -> None:
    text = GOOD.replace("    def demand(self)", "    @property\n    def demand(self)").replace(
        "return ()", "return 1 / 0", 1
    )
    assert "cannot be used: ZeroDivisionError" in loaded(packages, text)


def test_two_distributions_that_offer_the_same_name(packages: Packages) -> None:
    packages.module("elastiq_toy", GOOD)
    packages.install("elastiq-toy", "[elastiq.plugins]\ntoy = elastiq_toy\n")
    packages.install("other-toy", "[elastiq.plugins]\ntoy = other_toy\n")
    assert "several packages offer a plugin toy (elastiq_toy, other_toy)" in problem("toy")


def test_a_distribution_that_is_found_twice_is_no_conflict(packages: Packages) -> None:
    packages.module("elastiq_toy", GOOD)
    for name in ("elastiq-toy", "elastiq-toy-copy"):
        packages.install(name, "[elastiq.plugins]\ntoy = elastiq_toy\n")
    assert load("toy", Settings()).check() == "here"


def test_entry_points_that_can_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    monkeypatch.setattr(plugins.metadata, "entry_points", fail)
    assert "plugin toy cannot be looked for in the packages: UnicodeDecodeError" in problem("toy")


def check_configuration(directory: Path, plugin: str, site: Path) -> subprocess.CompletedProcess[str]:
    configuration = directory / "elastiq.conf"
    configuration.write_text(CONFIGURATION.format(plugin=plugin))
    configuration.chmod(0o600)
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "elastiq-real.py"), f"--config={configuration}", "--check"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"},
    )


@pytest.mark.parametrize("case", ["syntax", "raise", "exit", "unprintable"])
def test_the_program_refuses_a_broken_plugin_in_one_line(packages: Packages, tmp_path: Path, case: str) -> None:
    packages.module("elastiq_toy", BROKEN[case][0])
    packages.install("elastiq-toy", "[elastiq.plugins]\ntoy = elastiq_toy\n")
    result = check_configuration(tmp_path, "toy", tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("[elastiq] batch_plugin: plugin toy cannot be imported: ")
    assert len(result.stderr.splitlines()) == 1
