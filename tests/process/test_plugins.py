"""Plugins of other packages in the real program: one that pip installed, and broken ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.plugins.packages import BROKEN, GOOD, Packages

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
