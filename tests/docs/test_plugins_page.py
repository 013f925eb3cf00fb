"""docs/plugins.md: its example is a plugin that can be installed, and its commands work. tests/contract runs all of the
contract on the example."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastiq.errors import BatchError
from elastiq.model import Demand, Eligibility, Shape
from tests.contract.example import PAGE, ExampleHarness, example, module

ROOT = Path(__file__).parents[2]
CHECK = "python -m elastiq.plugins.check ants --config /etc/elastiq.conf"
SUITE = "ELASTIQ_HARNESS=my_harness:AntsHarness python -m pytest tests/contract/test_batch_contract.py"
MOST_LINES = 125
"""About a hundred lines was promised, imports and empty ones aside."""
LONG = 600
"""Seconds; a bound against hangs."""


@pytest.fixture
def ants() -> Iterator[ExampleHarness]:
    harness = ExampleHarness()
    try:
        harness.start()
        yield harness
    finally:
        harness.stop()


def run(command: str, directory: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the page with the modules in `directory`."""
    words = [sys.executable if word == "python" else word for word in command.split()]
    return subprocess.run(
        ["env", *words, *more],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LONG,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{directory}", "PYTHONDONTWRITEBYTECODE": "1"},
    )


def install(directory: Path) -> None:
    """Install the example as the page says."""
    (directory / "elastiq_ants.py").write_text(example())
    information = directory / "elastiq_ants-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: elastiq-ants\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[elastiq.plugins]\nants = elastiq_ants\n")


def configuration(directory: Path) -> Path:
    path = directory / "elastiq.conf"
    path.write_text(
        "[elastiq]\nbatch_plugin = ants\n[ec2]\napi_url = https://ec2.example.com/\nimage_id = ami-00000001\n"
        "aws_access_key_id = K\naws_secret_access_key = S\n"
    )
    path.chmod(0o600)
    return path


def test_what_a_plugin_may_import_is_there_and_is_all_that_the_example_imports() -> None:
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(elastiq[\w.]*)` \| (.*) \|$", page, re.MULTILINE)
    offered = {module: set(re.findall(r"`(\w+)`", names)) for module, names in rows}
    for name, parts in offered.items():
        assert parts <= set(dir(importlib.import_module(name))), name
    imports = [node for node in ast.walk(ast.parse(example())) if isinstance(node, ast.ImportFrom)]
    used = {(node.module, alias.name) for node in imports for alias in node.names if "elastiq" in str(node.module)}
    assert used <= {(name, part) for name, parts in offered.items() for part in parts} | {("elastiq.plugins", "kit")}


def test_the_example_is_short() -> None:
    lines = [line for line in example().splitlines() if line and not line.startswith(("from ", "import "))]
    assert len(lines) <= MOST_LINES


def test_the_example_is_clean(tmp_path: Path) -> None:
    (tmp_path / "elastiq_ants.py").write_text(example())
    for tool in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy", "--strict"]):
        settings = [f"--config{'-file' if tool[0] == 'mypy' else ''}={ROOT / 'pyproject.toml'}"]
        command = [sys.executable, "-m", *tool, *settings, str(tmp_path / "elastiq_ants.py")]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONG)
        assert result.returncode == 0, result.stdout + result.stderr


def test_the_command_that_tries_it(ants: ExampleHarness, tmp_path: Path) -> None:
    ants.join("host-1", "i-1", "10.0.0.1")
    ants.submit(1, held=True)
    ants.submit_special(1, offered=False)
    install(tmp_path)
    command = CHECK.replace("/etc/elastiq.conf", str(configuration(tmp_path)))
    result = run(command, tmp_path, "--close-idle", "--pause-s=0.1")
    assert (result.returncode, result.stderr) == (0, "")
    assert "check     ANTS 1.0, 1 hosts (" in result.stdout
    assert "good       reopen    worker host-1 is open" in result.stdout
    assert (
        "note       judge     1 waiting jobs, before there is a worker: unknown: no host was seen yet" in result.stdout
    )
    assert "note       judge     1 waiting jobs, by worker host-1: no: hosts do not have the tag gpu" in result.stdout
    assert "nothing broken" in result.stdout


def test_the_command_that_tries_it_on_a_system_that_is_down(ants: ExampleHarness, tmp_path: Path) -> None:
    ants.hide()
    install(tmp_path)
    result = run(CHECK.replace("/etc/elastiq.conf", str(configuration(tmp_path))), tmp_path, "--pause-s=0")
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout.count("FAILED") == 5
    assert "the batch system could not be asked: ants failed with exit status 1: ants: antsd does not" in result.stdout


def test_the_option_of_the_example(tmp_path: Path) -> None:
    install(tmp_path)
    path = configuration(tmp_path)
    (section,) = re.findall(r"^```ini\n(\[ants\]\n.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    command = f"python scripts/elastiq-real.py --config={path} --check"
    good = path.read_text() + section
    path.write_text(good)
    assert run(command, tmp_path).stdout.endswith("the configuration is good\n")
    path.write_text(good.replace("2m", "2h").replace("[ec2]", "[ec2]\nants = 1"))
    result = run(command, tmp_path)
    assert (result.returncode, result.stderr) == (
        2,
        f"{path}:4: [ec2] ants: unknown option; see elastiq.conf(5)\n"
        f"{path}:10: [ants] timeout_s: '2h' is out of range; give 1s to 1h, in seconds or like 90s, 10m, 2h, 1d\n",
    )


def test_the_command_that_runs_the_suite(tmp_path: Path) -> None:
    (tmp_path / "my_harness.py").write_text("from tests.contract.example import ExampleHarness as AntsHarness\n")
    result = run(SUITE, tmp_path, "-vv", "-p", "no:cacheprovider", "-k", "held or never_joined")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "test_held_jobs_are_no_demand[ExampleHarness] PASSED" in result.stdout
    assert "2 passed" in result.stdout


@pytest.mark.parametrize(
    "text",
    [
        "",
        "antsd is busy",
        "null",
        "[]",
        "{}",
        '{"hosts": null, "groups": null}',
        '{"hosts": [1], "groups": [1]}',
        '{"hosts": [{}], "groups": [{}]}',
        '{"groups": [{"jobs": -1, "cpus": 1, "memory": "1G"}], "hosts": [{"name": "-rf", "cpus": 1, "memory": "1G"}]}',
        '{"groups": [{"jobs": 1, "cpus": true, "memory": "1G"}], "hosts": [{"name": "a", "memory": "1G"}]}',
        '{"groups": [{"jobs": 1, "cpus": 1, "memory": "lots"}], "hosts": [{"name": "a", "memory": "lots"}]}',
        '{"groups": [{"jobs": 1, "cpus": 1, "memory": "1G", "running": 0, "tags": ["a b"]}], "hosts": 1}',
    ],
)
def test_the_example_takes_no_garbage(text: str) -> None:
    ants = module()
    for parse in (ants.parse_queue, ants.parse_hosts):
        with pytest.raises(BatchError):
            parse(text)


def test_the_example_reads_what_is_said() -> None:
    ants = module()
    group = '{"jobs": 3, "cpus": 2, "memory": "1.5G", "running": 4, "tags": ["ssd", "gpu"]}'
    said = f'{{"groups": [{group}], "hosts": []}}'
    assert ants.parse_queue(said) == (Demand(Shape(2, 1536), 3, wants="gpu ssd", running=4),)
    assert ants.parse_hosts(said) == ()


@pytest.mark.parametrize(
    ("wants", "template", "answer"),
    [
        ("", "", Eligibility.YES),
        ("", "tags:\n", Eligibility.YES),
        ("ssd", "tags: gpu ssd\n", Eligibility.YES),
        ("gpu ssd", "tags: ssd\n", Eligibility.NO),
        ("ssd", "tags:\n", Eligibility.NO),
        ("ssd", "", Eligibility.UNKNOWN),
        ("ssd", "\0{[", Eligibility.UNKNOWN),
    ],
)
def test_the_example_judges(wants: str, template: str, answer: Eligibility) -> None:
    judgement = module().judgement(wants, template)
    assert judgement.answer is answer
    assert bool(judgement.reason) is (answer is not Eligibility.YES)
