"""docs/sandbox.md: the sandbox works from an empty directory, or none, and `why` tells of its jobs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.docs.blocks import TOP

CONFIGURATION = """
[elastiq]
batch_plugin = sandbox
state_dir = {home}/state
[sandbox]
spool_dir = {home}/spool
[ec2]
api_url = http://127.0.0.1:9/
aws_access_key_id = AKIAIOSFODNN7EXAMPLE
aws_secret_access_key = wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY
image_id = ami-12345678
"""
LONG = 60
"""Seconds; a bound against hangs."""


class Sandbox:
    """A configuration and a directory for the jobs, below `home`."""

    def __init__(self, home: Path) -> None:
        self.home, self.spool = home, str(home / "spool")
        (home / "elastiq.conf").write_text(CONFIGURATION.format(home=home))
        (home / "elastiq.conf").chmod(0o600)
        self.environment = {
            "HOME": str(home),
            "PATH": os.pathsep.join([str(TOP / "scripts"), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(TOP),
            "ELASTIQ_PYTHON": sys.executable,
            "ELASTIQ_CONFIG": str(home / "elastiq.conf"),
            "ELASTIQ_LOGDIR": str(home / "log"),
        }

    def run(self, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            words, env=self.environment, cwd=self.home, capture_output=True, text=True, timeout=LONG, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("is_there", [True, False])
def test_from_an_empty_directory(is_there: bool, tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    if is_there:
        Path(sandbox.spool).mkdir()
    code, output = sandbox.run("elastiqctl", "check")
    assert (code, output) == (0, f"sandbox in {sandbox.spool}: 0 workers, 0 jobs waiting\n")


def test_the_commands_of_the_page(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    submit = ("python3", "-m", "elastiq.sandbox", "submit", "-n", "20", "--seconds", "60", "--spool", sandbox.spool)
    code, output = sandbox.run(*submit)
    assert code == 0, output
    code, output = sandbox.run("python3", "-m", "elastiq.sandbox", "queue", "--spool", sandbox.spool)
    assert (code, output) == (0, "queue: 20 jobs\nheld: 0 jobs\ndone: 0 jobs\n")
    code, output = sandbox.run("elastiqctl", "why", "1")
    assert output.startswith("job 1\nNOT-RUNNING\n")
    assert "20 jobs" not in output, "of the groups nothing was planned yet"
    held = Path(sandbox.spool) / "queue" / "000002.json"
    held.rename(Path(sandbox.spool) / "held" / held.name)
    code, output = sandbox.run("elastiqctl", "why", "2")
    assert (code, output.splitlines()[1]) == (0, "JOB-HELD")
    words = ("python3", "-m", "elastiq.sandbox.worker", "--name", "here", "--cpus", "4", "--spool", sandbox.spool)
    worker = subprocess.Popen(words, env=sandbox.environment, start_new_session=True)
    try:
        deadline = time.monotonic() + LONG
        while "JOB-RUNS" not in (said := sandbox.run("elastiqctl", "why", "1")[1]):
            assert time.monotonic() < deadline, said
            time.sleep(0.2)
    finally:
        os.killpg(worker.pid, 9)
        worker.wait()
