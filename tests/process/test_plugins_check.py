"""`python -m elastiq.plugins.check` as a program: what it prints and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONG = 120
"""Seconds; a bound against hangs."""

PLUGIN = """
import sys, time
from elastiq.errors import BatchError
class Batch:
    def demand(self): {demand}
    def workers(self): return ()
    def close(self, worker): pass
    def reopen(self, worker): pass
    def forget(self, worker): pass
    def check(self): return "here \\u20ac"
def create(settings): return Batch()
"""


def prepare(directory: Path, demand: str, plugin: str) -> list[str]:
    """Write a plugin and a configuration file, and return the command that tries it."""
    (directory / "site_batch").mkdir()
    (directory / "site_batch" / "toy.py").write_text(plugin.format(demand=demand), encoding="utf-8")
    configuration = directory / "elastiq.conf"
    configuration.write_text(
        "[ec2]\napi_url = https://ec2.example.com/\nimage_id = ami-00000001\n"
        "aws_access_key_id = K\naws_secret_access_key = S\n"
    )
    configuration.chmod(0o600)
    return [sys.executable, "-m", "elastiq.plugins.check", "site_batch.toy", f"--config={configuration}"]


def environment(directory: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{directory}", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}


def run(directory: Path, demand: str, *arguments: str, plugin: str = PLUGIN) -> subprocess.CompletedProcess[str]:
    command = [*prepare(directory, demand, plugin), "--pause-s=0", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=LONG, env=environment(directory))


def test_the_program_on_a_good_plugin(tmp_path: Path) -> None:
    result = run(tmp_path, "return ()")
    assert (result.returncode, result.stderr) == (0, "")
    lines = [line for line in result.stdout.splitlines() if not line.startswith("note")]  # of what took long
    assert lines[0] == "good       load      site_batch.toy.Batch"
    assert lines[1].startswith("good       check     here \\u20ac (")
    assert result.stdout.endswith("\nnothing broken\n")


@pytest.mark.parametrize(
    ("demand", "expected"),
    [
        ("raise ValueError('x\\ny')", "FAILED     demand    raised ValueError"),
        ("sys.exit(0)", "FAILED     demand    raised SystemExit"),
        (
            "raise BatchError('the scheduler is down')",
            "FAILED     demand    the batch system could not be asked: the",
        ),
        ("return None", "FAILED     demand    it is a NoneType, not a tuple"),
        (
            "return ( # no end",
            "FAILED     load      [elastiq] batch_plugin: plugin site_batch.toy cannot be imported: S",
        ),
    ],
)
def test_the_program_on_a_broken_plugin(tmp_path: Path, demand: str, expected: str) -> None:
    result = run(tmp_path, demand)
    assert (result.returncode, result.stderr) == (1, "")
    assert expected in result.stdout
    assert result.stdout.rstrip().endswith(" broken")


def test_the_program_on_a_plugin_that_hangs(tmp_path: Path) -> None:
    # Long enough for what comes before: the import of the plugin, and its check.
    result = run(tmp_path, "time.sleep(600)", "--timeout-s=10")
    assert (result.returncode, result.stderr) == (1, "")
    assert "FAILED     demand    no answer within 10 s" in result.stdout
    assert result.stdout.rstrip().endswith(" broken")


def test_the_program_on_a_plugin_that_is_not_there(tmp_path: Path) -> None:
    result = run(tmp_path, "", plugin="raise RuntimeError('no licence')\n")
    assert (result.returncode, result.stderr) == (1, "")
    assert "cannot be imported: RuntimeError 'no licence'" in result.stdout


@pytest.mark.parametrize("argument", ["--pause-s=-1", "--timeout-s=nan", "--timeout-s=soon", "--close"])
def test_wrong_usage(tmp_path: Path, argument: str) -> None:
    result = run(tmp_path, "return ()", argument)
    assert result.returncode == 2
    assert "usage: python -m elastiq.plugins.check" in result.stderr


def test_a_reader_that_goes_away_keeps_no_worker_closed(tmp_path: Path) -> None:
    plugin = """
import time
from dataclasses import replace
from elastiq.model import Shape, Worker
from elastiq.plugins import Closing
class Batch:
    worker = Worker("node-1", "i-1", None, Shape(1), Shape(1), 0, 5.0)
    def demand(self): {demand}
    def workers(self): return (self.worker,)
    def close(self, worker): self.worker = replace(self.worker, closed=True); return Closing.CLOSED
    def reopen(self, worker):
        self.worker = replace(self.worker, closed=False)
        print("opened", file=open(DIARY, "a"))
    def forget(self, worker): pass
    def check(self): return "here"
def create(settings): return Batch()
""".replace("DIARY", repr(str(tmp_path / "diary")))
    command = prepare(tmp_path, "return ()", plugin)
    line = f"{' '.join(command)} --pause-s=0 --close-idle | head -1; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=LONG, env=environment(tmp_path)
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "diary").read_text() == "opened\n" * 2
