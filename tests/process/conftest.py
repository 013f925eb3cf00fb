"""A head node in a directory: real processes of elastiq that touch nothing outside of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from elastiq.process.pidfile import find_daemon

CHECKOUT = Path(__file__).parents[2]
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"  # the example of the AWS documentation
LONG = 120.0
"""Seconds; a bound against hangs, nothing that is measured."""


class HeadNode:
    """The home directory of somebody who runs elastiq, and the commands."""

    def __init__(self, home: Path, api_url: str) -> None:
        self.home = home
        self.api_url = api_url
        self.config = home / "elastiq.conf"
        self.state = home / "state"
        self.logs = home / "log"
        self.log = self.logs / "elastiq.log"
        self.environment = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(CHECKOUT),
            "ELASTIQ_PYTHON": sys.executable,
            "ELASTIQ_CONFIG": str(self.config),
            "ELASTIQ_LOGDIR": str(self.logs),
            "STANDIN_DIRECTORY": str(home),
        }
        self.configure()

    def configure(self, extra: str = "", **options: str) -> None:
        """Write a good configuration file, with other values of [elastiq] and lines of [ec2]."""
        values = {
            "batch_plugin": "tests.process.standin",
            "state_dir": str(self.state),
            "cluster_name": "test",
            "sleep_s": "0.2",
            "check_queue_every_s": "0.2",
            "check_vms_every_s": "0.2",
            **options,
        }
        lines = "\n".join(f"{name} = {value}" for name, value in values.items())
        self.config.write_text(
            f"[elastiq]\n{lines}\n[ec2]\napi_url = {self.api_url}\nimage_id = ami-12345678\n"
            f"aws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = {SECRET}\n{extra}\n"
        )
        self.config.chmod(0o600)

    def popen(self, program: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start one of the scripts."""
        script = str(CHECKOUT / "scripts" / program)
        command_line = [script, *arguments] if program == "elastiqctl" else [sys.executable, script, *arguments]
        return subprocess.Popen(
            command_line,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.home,
        )

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        """Return exit code and output; that it ends means that nothing in the background holds its streams."""
        try:
            output, errors = process.communicate(timeout=LONG)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert "Traceback" not in output + errors
        return process.returncode, output, errors

    def ctl(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        return self.finish(self.popen("elastiqctl", *arguments, **environment))

    def real(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        return self.finish(self.popen("elastiq-real.py", *arguments, **environment))

    def foreground(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return self.popen("elastiq-real.py", f"--config={self.config}", *arguments, **environment)

    def daemons(self) -> list[int]:
        """Return the processes that have this head node's lock file open."""
        found = set()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                for link in (process / "fd").iterdir():
                    with suppress(OSError):  # a file that is closed meanwhile says nothing of the others
                        if os.readlink(link) == str(self.state / "lock"):
                            found.add(int(process.name))
        return sorted(found)

    def wait_for(self, text: str, times: int = 1) -> str:
        """Return the log as soon as it holds `text` so many times."""
        for _ in range(int(LONG * 20)):
            written = self.log.read_text() if self.log.exists() else ""
            if written.count(text) >= times:
                return written
            threading.Event().wait(0.05)
        raise AssertionError(f"{text!r} is not {times} times in the log:\n{written}")

    def wait_for_file(self, path: Path, text: str) -> None:
        """Return as soon as the file at `path` holds `text`."""
        written = "not there"
        for _ in range(int(LONG * 20)):
            with suppress(FileNotFoundError):
                written = path.read_text()
                if text in written:
                    return
            threading.Event().wait(0.05)
        raise AssertionError(f"{text!r} is not in {path}: {written}")


@pytest.fixture
def silent_cloud() -> Iterator[tuple[str, threading.Event]]:
    """An endpoint that takes connections and never answers; the event says that one has come."""
    asked = threading.Event()
    connections = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            while True:
                try:
                    connections.append(server.accept()[0])
                except OSError:
                    return
                asked.set()

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/", asked
        server.shutdown(socket.SHUT_RDWR)
    thread.join(LONG)
    for connection in connections:
        connection.close()


@pytest.fixture
def head(tmp_path: Path) -> Iterator[HeadNode]:
    """A head node whose cloud refuses every connection; its daemon is ended with the test."""
    made = HeadNode(tmp_path, "http://127.0.0.1:9/")
    yield made
    pid = find_daemon(made.state)
    if pid:
        with suppress(ProcessLookupError):  # it may just have ended by itself
            os.kill(pid, signal.SIGKILL)
