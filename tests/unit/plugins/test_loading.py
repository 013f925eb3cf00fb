"""The loader: built-in plugins, entry points of installed distributions, modules; and plugins that are broken."""

from __future__ import annotations

import re
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
from elastiq.plugins.sections import SandboxOptions
from tests.unit.fakes import settings_with
from tests.unit.plugins.packages import BROKEN, GOOD, Packages


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
    assert isinstance(load("sandbox", Settings(plugins=(SandboxOptions(spool_dir=tmp_path),))), SandboxBatch)


def test_every_method_of_the_protocol_is_asked_for() -> None:
    methods = {name: member for name, member in vars(BatchSystem).items() if callable(member) and name[0] != "_"}
    assert {name: method.__code__.co_argcount - 1 for name, method in methods.items()} == METHODS


def test_an_entry_point_of_an_installed_distribution(packages: Packages) -> None:
    packages.module("elastiq_toy", GOOD)
    packages.install("elastiq-toy", "[elastiq.plugins]\ntoy = elastiq_toy\ntoy2 = elastiq_toy:create\n")
    assert load("toy", settings_with(batch_plugin="toy")).check() == "here"
    assert load("toy2", settings_with(batch_plugin="toy2")).name == "toy2"  # type: ignore[attr-defined]


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
