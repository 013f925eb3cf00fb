"""The loader: built-in plugins, entry points of installed distributions, modules; and plugins that are broken."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from elastiq.config import ForPlugin, Settings
from elastiq.errors import ConfigError
from elastiq.model import Worker
from elastiq.plugins import (
    ADVISING,
    EXPLAINING,
    MATCHMAKING,
    METHODS,
    NARROWING,
    Adviser,
    BatchSystem,
    Explainer,
    Matchmaker,
    Narrower,
)
from elastiq.plugins.loading import load, read_settings, read_without_plugin, section_of
from elastiq.plugins.sandbox import SandboxBatch
from elastiq.plugins.sections import SandboxOptions
from tests.unit.fakes import settings_with
from tests.unit.plugins.packages import BROKEN, GOOD, OPTIONS, Packages


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


@pytest.mark.parametrize(
    ("protocol", "names"),
    [
        (BatchSystem, METHODS),
        (Matchmaker, MATCHMAKING),
        (Adviser, ADVISING),
        (Explainer, EXPLAINING),
        (Narrower, NARROWING),
    ],
)
def test_every_method_of_the_protocols_is_asked_for(protocol: type, names: dict[str, int]) -> None:
    methods = {name: member for name, member in vars(protocol).items() if callable(member) and name[0] != "_"}
    assert {name: method.__code__.co_argcount - 1 for name, method in methods.items()} == names


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


JUDGES = """    def template(self, worker): return "x"
    def judge(self, wants, template): return ()
def create"""


def test_a_plugin_may_judge_jobs_or_not(packages: Packages) -> None:
    packages.module("elastiq_toy", GOOD.replace("def create", JUDGES))
    packages.install("elastiq-toy", "[elastiq.plugins]\ntoy = elastiq_toy\n")
    assert load("toy", Settings()).template(Worker("w")) == "x"  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", MATCHMAKING)
def test_a_plugin_that_judges_by_half(packages: Packages, method: str) -> None:
    line = loaded(packages, GOOD.replace("def create", JUDGES.replace(f"def {method}(", f"def x{method}(")))
    assert f"elastiq_site.toy is no plugin for this elastiq: it has no method {method};" in line


def test_a_plugin_that_judges_something_else(packages: Packages) -> None:
    line = loaded(packages, GOOD.replace("def create", JUDGES.replace("(self, wants, template)", "(self, wants)")))
    assert "its method judge does not take wants and a template;" in line


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

    monkeypatch.setattr("importlib.metadata.entry_points", fail)
    assert "plugin toy cannot be looked for in the packages: UnicodeDecodeError" in problem("toy")


IMAGE = "[ec2]\nimage_id = ami-1\napi_url = https://cloud.example.org/\n"


def configured(directory: Path, text: str) -> Path:
    path = directory / "elastiq.conf"
    path.write_text(f"{text}{IMAGE}")
    path.chmod(0o600)
    return path


@pytest.fixture
def toy(packages: Packages) -> Packages:
    """The package of a plugin with options, which offers it as a module and as a function."""
    packages.module("elastiq_toy", GOOD + OPTIONS)
    packages.install("elastiq-toy", "[elastiq.plugins]\ntoy = elastiq_toy\ntoy2 = elastiq_toy:create\n")
    return packages


@pytest.mark.parametrize("name", ["toy", "toy2", "elastiq_toy.batch"])
def test_a_plugin_gets_its_own_section(toy: Packages, tmp_path: Path, name: str) -> None:
    if "." in name:
        (tmp_path / "elastiq_toy.py").unlink()
        (tmp_path / "elastiq_toy").mkdir()
        toy.module("elastiq_toy/batch", GOOD + OPTIONS)
    text = f"[elastiq]\nbatch_plugin = {name}\n[{name}]\ntimeout_s = 2m\nqueues = long, short\ntoken = t0ken\n"
    settings = read_settings(configured(tmp_path, text))
    assert load(name, settings).check() == "asked for 120.0 s: ('long', 'short'), by the key t0ken"
    assert settings.secrets() == ("t0ken",)
    settings = read_settings(configured(tmp_path, f"[elastiq]\nbatch_plugin = {name}\n"))
    assert load(name, settings).check() == "asked for 30.0 s: (), by the key "


def test_its_options_are_checked_like_any_other(toy: Packages, tmp_path: Path) -> None:
    text = "[elastiq]\nbatch_plugin = toy\n[toy]\ntimeout_s = 2h\nqueue = a\nhost = b\nimage_id = c\n[tyo]\n"
    with pytest.raises(ConfigError) as caught:
        read_settings(configured(tmp_path, text))
    assert [problem.rpartition("elastiq.conf:")[2] for problem in caught.value.problems] == [
        "4: [toy] timeout_s: '2h' is out of range; give 1s to 1h, in seconds or like 90s, 10m, 2h, 1d",
        "5: [toy] queue: unknown option, did you mean queues?",
        "6: [toy] host: unknown option; there are timeout_s, queues, token",
        "7: [toy] image_id: unknown option, it belongs into [ec2]",
        "8: [tyo]: unknown section, did you mean [toy]?",
    ]


def test_only_the_chosen_plugin_of_others_may_have_a_section(toy: Packages, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"elastiq\.conf:1: \[toy\]: unknown section; there are \[elastiq\], .*"):
        read_settings(configured(tmp_path, "[toy]\n[slurm]\n"))
    read_settings(configured(tmp_path, "[slurm]\ntimeout_s = 5\n"))
    # The command that tries a plugin reads a file that may have chosen another.
    settings = read_settings(configured(tmp_path, "[toy]\ntimeout_s = 5\n"), "toy")
    assert load("toy", settings).check() == "asked for 5.0 s: (), by the key "


def test_the_section_of_a_plugin_without_options_is_unknown(packages: Packages, tmp_path: Path) -> None:
    packages.module("elastiq_toy", GOOD)
    packages.install("elastiq-toy", "[elastiq.plugins]\ntoy = elastiq_toy\n")
    assert section_of("toy") is None
    with pytest.raises(ConfigError, match=r"3: \[toy\]: unknown section; there are \[elastiq\], "):
        read_settings(configured(tmp_path, "[elastiq]\nbatch_plugin = toy\n[toy]\n"))


def test_a_plugin_that_can_not_be_imported_is_one_problem_among_others(packages: Packages, tmp_path: Path) -> None:
    packages.module("elastiq_toy", "1 / 0\n")
    packages.install("elastiq-toy", "[elastiq.plugins]\ntoy = elastiq_toy\n")
    text = "[elastiq]\nbatch_plugin = toy\nsleep_s = never\n[toy]\ntimeout_s = 5\n"
    with pytest.raises(ConfigError) as caught:
        read_settings(configured(tmp_path, text))
    first, second = caught.value.problems
    assert "elastiq.conf:2: [elastiq] batch_plugin: plugin toy cannot be imported: ZeroDivisionError" in first
    assert "elastiq.conf:3: [elastiq] sleep_s: 'never' is not a time" in second


def test_who_only_looks_imports_nothing_of_others(packages: Packages, tmp_path: Path) -> None:
    packages.module("elastiq_toy", "1 / 0\n")
    packages.install("elastiq-toy", "[elastiq.plugins]\ntoy = elastiq_toy\n")
    path = configured(tmp_path, f"[elastiq]\nbatch_plugin = toy\nstate_dir = {tmp_path}\n[toy]\nanything = 5\n")
    assert read_without_plugin(path).elastiq.state_dir == tmp_path
    path.write_text(path.read_text() + "[tou]\n")
    with pytest.raises(ConfigError, match=r"\[tou\]: unknown section"):
        read_without_plugin(path)


def test_a_plugin_named_as_a_section_of_elastiq_can_have_no_options(packages: Packages) -> None:
    packages.module("elastiq_toy", GOOD + OPTIONS)
    packages.install("elastiq-toy", "[elastiq.plugins]\nquota = elastiq_toy\n")
    with pytest.raises(ConfigError, match=r"plugin quota cannot have options: \[quota\] is a section"):
        section_of("quota")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("class Options: pass", "TypeError 'must be called with a dataclass type or instance'"),
        ("Options = 5", "TypeError 'must be called with a dataclass type or instance'"),
        ("@dataclass\nclass Options:\n    a: int", "TypeError 'Options.a is not declared by elastiq.config.option'"),
        ("@dataclass\nclass Options:\n    a: int = option(1, '')", "TypeError 'Options.a must say the maximum of"),
        (
            "@dataclass\nclass Options:\n    a: str = option('', '')\n    def __post_init__(self): 1 / 0",
            "ZeroDivisionError 'division by zero'",
        ),
    ],
)
def test_options_declared_wrongly(packages: Packages, options: str, told: str) -> None:
    packages.module(
        "elastiq_toy", f"{GOOD}from dataclasses import dataclass\nfrom elastiq.config import option\n{options}\n"
    )
    packages.install("elastiq-toy", "[elastiq.plugins]\ntoy = elastiq_toy\n")
    with pytest.raises(ConfigError) as caught:
        section_of("toy")
    (line,) = caught.value.problems
    assert line.startswith(f"[elastiq] batch_plugin: plugin toy declares its options wrongly: {told}")


NARROWS = JUDGES.replace(
    "def create",
    """    def narrowed(self, template, jobs, offers):
        if "bad" in jobs + offers: raise BatchError("that is bad")
        if "odd" in jobs + offers: return 1 / 0
        return "" if "none" in jobs + offers else "x"
def create""",
)

GIVEN = (ForPlugin("elastiq.conf:7: [ec2] jobs", "{}"), ForPlugin("elastiq.conf:9: [pool a] offers", offers="{}"))


def settings_giving(text: str) -> Settings:
    return Settings(for_plugin=tuple(replace(one, jobs=one.jobs and text, offers=one.offers and text) for one in GIVEN))


@pytest.mark.parametrize(
    ("methods", "text", "expected"),
    [
        (NARROWS, "good", ""),
        (NARROWS, "bad", "that is bad"),
        (NARROWS, "odd", "the plugin elastiq_site.toy fails over it: ZeroDivisionError"),
        (NARROWS, "none", "what the plugin elastiq_site.toy makes of it cannot be used: it is empty"),
        (JUDGES, "good", "the plugin elastiq_site.toy does not read this; remove the line"),
        ("def create", "good", "the plugin elastiq_site.toy does not read this; remove the line"),
    ],
)
def test_what_pools_take_is_read_by_the_plugin(packages: Packages, methods: str, text: str, expected: str) -> None:
    (packages.directory / "elastiq_site").mkdir()
    module = "from elastiq.errors import BatchError\n" + GOOD.replace("def create", methods)
    (packages.directory / "elastiq_site" / "toy.py").write_text(module)
    if not expected:
        assert load("elastiq_site.toy", settings_giving(text)).check() == "here"
        return
    with pytest.raises(ConfigError) as caught:
        load("elastiq_site.toy", settings_giving(text))
    assert [one.startswith(given.place) for one, given in zip(caught.value.problems, GIVEN)] == [True, True]
    assert all(expected in one and "\n" not in one for one in caught.value.problems)


def test_a_plugin_that_narrows_something_else(packages: Packages) -> None:
    line = loaded(packages, GOOD.replace("def create", NARROWS.replace("template, jobs, offers)", "jobs)")))
    assert "its method narrowed does not take a template, jobs and offers;" in line
