"""Prometheus and node_exporter as Debian packages them, without an installation: they listen on loopback alone."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.testbed.rootfs import HOST_APT_GET, UnavailableError, cached, require_root_on_debian

PACKAGES = ("prometheus", "prometheus-node-exporter")
LONG = 180.0
"""Seconds; a bound against hangs, nothing that is measured."""

Found = TypeVar("Found")


def tools() -> Path:
    """Return a directory with `usr/bin/prometheus`, `promtool` and `prometheus-node-exporter`, unpacked once.

    Raise UnavailableError.
    """
    require_root_on_debian()
    return cached("monitoring", (1, PACKAGES), _unpack)


def _unpack(directory: Path) -> None:
    for command in (["update"], ["download", *PACKAGES]):
        try:
            subprocess.run([HOST_APT_GET, *command], cwd=directory, check=True, capture_output=True, timeout=600)
        except (OSError, subprocess.SubprocessError) as error:
            raise UnavailableError(f"apt-get cannot download {' '.join(PACKAGES)}: {error}") from error
    for package in directory.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", str(package), str(directory)], check=True, timeout=300)
        package.unlink()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def running(*command: str, log: Path) -> Iterator[None]:
    """Have a program run as long as the block does."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=log.parent)
    try:
        yield
    finally:
        process.terminate()
        process.wait(LONG)


def wait_for(what: str, find: Callable[[], Found | None]) -> Found:
    """Return what `find` returns as soon as it does."""
    trouble: object = "nothing"
    for _ in range(int(LONG * 10)):
        try:
            found = find()
        except (OSError, ValueError) as error:
            trouble = error
        else:
            if found:
                return found
        threading.Event().wait(0.1)
    raise AssertionError(f"no {what}: {trouble}")


class Prometheus:
    """One that runs, asked over HTTP."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}/api/v1"

    def get(self, path: str, **arguments: str) -> Any:
        """Return the data of an answer. Raise OSError if the server refuses the question."""
        address = f"{self._address}/{path}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(address, timeout=LONG) as answer:
            found = json.load(answer)
        assert found["status"] == "success", found
        return found["data"]

    def query(self, expression: str) -> list[Any]:
        """Return the samples of an expression as of now."""
        result: list[Any] = self.get("query", query=expression)["result"]
        return result
