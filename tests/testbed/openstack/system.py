"""The system that the services run in: namespaces of its own over a scratch layer in memory, gone with it.

Nothing of it is outside: not a mount, not a directory, not a port. Connections into it are made by `connect`.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from tests.testbed import namespaces
from tests.testbed.openstack.services import ENVIRONMENT, HOST, SERVICES
from tests.testbed.rootfs import UnavailableError

START_SECONDS = 180.0
"""A bound against hangs."""
LOGS = "/var/log/openstack"

_FIRST_PROCESS = Path(__file__).with_name("first_process.py")
# The scratch layer hides a directory that every root has; nobody else sees that.
_SCRIPT = (
    """
lower=$1 scratch=$2 first_process=$3
umask 022
hostname "$4"
ip link set lo up
"""
    + namespaces.MOUNT_SCRIPT
    + """
: >run/first_process.py
mount --bind "$first_process" run/first_process.py
pivot_root . mnt
umount -l /mnt
cd /
exec /usr/bin/python3 -I /run/first_process.py
"""
)


class System:
    """A Debian made of `layers`, the topmost first, in which services are started and stopped."""

    def __init__(self, layers: Sequence[Path]) -> None:
        self._orders = threading.Lock()
        self._first_process = 0
        arguments = [":".join(map(str, layers)), str(layers[-1] / "mnt"), str(_FIRST_PROCESS), HOST]
        with tempfile.TemporaryFile() as errors:
            self._process = subprocess.Popen(
                ["unshare", *namespaces.NAMESPACES, "sh", "-euc", _SCRIPT, "sh", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
            atexit.register(self.stop)
            assert self._process.stdout
            if self._process.stdout.readline().strip() != b"up":
                self.stop()
                errors.seek(0)
                raise UnavailableError(f"OpenStack's system did not come up: {errors.read().decode().strip()}")
        self._first_process = namespaces.first_process(self._process)

    def stop(self) -> None:
        """End all that runs in it, and it. Does nothing the second time."""
        atexit.unregister(self.stop)
        with suppress(ProcessLookupError):
            if self._first_process and self._process.poll() is None:
                os.kill(self._first_process, 9)  # and the kernel kills all others before that one has ended
        if not self._first_process:
            self._process.kill()
        self._process.wait(timeout=START_SECONDS)
        namespaces.close_pipes(self._process)

    @property
    def root(self) -> Path:
        """Its root directory, as seen from outside."""
        return Path(f"/proc/{self._first_process}/root")

    def run(self, *command: str) -> str:
        """Run a command and return what it wrote. Raise UnavailableError if it fails."""
        result = subprocess.run(
            [*namespaces.enter(self._first_process), *namespaces.clean(*command, environment=ENVIRONMENT)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=START_SECONDS,
        )
        if result.returncode:
            tail = " / ".join(result.stdout.strip().splitlines()[-5:])
            raise UnavailableError(f"in OpenStack's system {' '.join(command)} failed: {tail}")
        return result.stdout

    def connect(self, port: int, timeout_seconds: float | None = None) -> socket.socket:
        """Return a connection to a port of its loopback interface. Raise OSError."""
        with namespaces.entered_network(self._first_process):
            return socket.create_connection(("127.0.0.1", port), timeout_seconds)

    def start(self, names: Iterable[str]) -> None:
        """Start services, and return when all of them listen. Raise UnavailableError."""
        started = tuple(names)
        for name in started:
            service = SERVICES[name]
            environment = {**ENVIRONMENT, **service.environment}
            self._order(name, order="start", command=service.command, environment=environment)
            if name == "mariadb":  # others would wait for it longer than it takes
                self._wait(name)
        for name in started:
            self._wait(name)

    def end(self, names: Iterable[str]) -> None:
        """End services. Raise UnavailableError."""
        for name in names:
            self._order(name, order="stop")

    def logs(self) -> str:
        """Return what the services have said lately, for people to read."""
        texts = []
        for path in sorted((self.root / LOGS.lstrip("/")).glob("*.log")):
            texts.append(f"--- {path.stem}\n{path.read_text(encoding='utf-8', errors='replace')[-1000:]}")
        return "\n".join(texts)

    def _wait(self, name: str) -> None:
        port = SERVICES[name].port
        if port is not None:
            self._order(name, order="wait", port=port, seconds=START_SECONDS)

    def _order(self, name: str, **order: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        with self._orders:
            self._process.stdin.write(json.dumps({"name": name, **order}).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        failure = json.loads(answer) if answer else "its system has ended"
        if failure:
            log = self.root / LOGS.lstrip("/") / f"{name}.log"
            tail = ""
            with suppress(OSError):
                tail = " / ".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:])
            raise UnavailableError(f"OpenStack's {name}: {failure}: {tail}")
