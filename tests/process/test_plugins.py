"""Plugins of other packages in the real program: one that pip installed, and broken ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from elastiq.process.pidfile import find_daemon
from tests.process.conftest import HeadNode
from tests.unit.plugins.packages import BROKEN, GOOD, OPTIONS, Packages

ROOT = Path(__file__).parents[2]
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


def check_configuration(directory: Path, plugin: str, site: Path, more: str = "") -> subprocess.CompletedProcess[str]:
    configuration = directory / "elastiq.conf"
    configuration.write_text(CONFIGURATION.format(plugin=plugin) + more)
    configuration.chmod(0o600)
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "elastiq-real.py"), f"--config={configuration}", "--check"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"},
    )


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
        f"{tmp_path}/elastiq.conf:3: [elastiq] batch_plugin: no plugin tow, did you mean toy?\n"
    )


@pytest.mark.parametrize("case", ["syntax", "raise", "exit", "unprintable"])
def test_the_program_refuses_a_broken_plugin_in_one_line(tmp_path: Path, case: str) -> None:
    packages = Packages(tmp_path)
    packages.module("elastiq_toy", BROKEN[case][0])
    packages.install("elastiq-toy", "[elastiq.plugins]\ntoy = elastiq_toy\n")
    result = check_configuration(tmp_path, "toy", tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    where = f"{tmp_path}/elastiq.conf:3: "
    assert result.stderr.startswith(f"{where}[elastiq] batch_plugin: plugin toy cannot be imported: ")
    assert len(result.stderr.splitlines()) == 1


def test_the_program_knows_the_options_of_an_installed_plugin(tmp_path: Path) -> None:
    packages = Packages(tmp_path)
    packages.module("elastiq_toy", GOOD + OPTIONS)
    packages.install("elastiq-toy", "[elastiq.plugins]\ntoy = elastiq_toy\n")
    result = check_configuration(tmp_path, "toy", tmp_path, "[toy]\ntimeout_s = 2m\nqueues = long, short\n")
    assert (result.returncode, result.stderr) == (0, "")
    where = f"{tmp_path}/elastiq.conf"
    result = check_configuration(tmp_path, "toy", tmp_path, "[toy]\ntimeout = 2m\ntimeout_s = 2d\n")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        f"{where}:13: [toy] timeout: unknown option, did you mean timeout_s?\n"
        f"{where}:14: [toy] timeout_s: '2d' is out of range; give 1s to 1h, in seconds or like 90s, 10m, 2h, 1d\n"
    )
    result = check_configuration(tmp_path, "toy", tmp_path, "[toy]\nqueues = none\n")
    assert (result.returncode, result.stderr) == (2, "[toy] queues: there is no queue none\n")


def test_the_daemon_reads_the_options_of_a_plugin_again(head: HeadNode) -> None:
    site = head.home / "site"
    site.mkdir()
    packages = Packages(site)
    packages.module("elastiq_toy", GOOD + OPTIONS)
    packages.install("elastiq-toy", "[elastiq.plugins]\ntoy = elastiq_toy\n")
    head.environment["PYTHONPATH"] += f":{site}"
    head.configure("[toy]\ntimeout_s = 2m\ntoken = t0ken-t0ken", batch_plugin="toy")
    assert head.ctl("start")[0] == 0
    head.wait_for("batch system: asked for 120.0 s: (), by the key ")
    pid = find_daemon(head.state)
    assert pid
    head.configure("[toy]\ntimeout_s = 2d", batch_plugin="toy")
    os.kill(pid, signal.SIGHUP)
    head.wait_for("[toy] timeout_s: '2d' is out of range; give 1s to 1h")
    head.configure("[toy]\nqueues = none", batch_plugin="toy")
    os.kill(pid, signal.SIGHUP)
    head.wait_for("[toy] queues: there is no queue none")
    head.configure("[toy]\nqueues = long", batch_plugin="toy")
    os.kill(pid, signal.SIGHUP)
    written = head.wait_for("was read again and is in force")
    assert "t0ken" not in written, "it is a secret"
    # To look and to stop, nothing of the plugin is needed.
    (site / "elastiq_toy.py").write_text("1 / 0\n")
    assert head.ctl("status")[1].startswith("elastiq ")
    assert head.ctl("stop")[0] == 0
