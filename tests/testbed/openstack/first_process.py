"""First process of the system that OpenStack runs in: starts its services and ends them, as it is told.

Standard input has an order a line, in JSON, and each is answered by a line on standard output once it is carried out.
It is the power cord, too: at its end (its other end was closed, or whoever held it is dead) this process exits, and the
kernel kills everything in its pid namespace. Runs in the system's own root with nothing but Python.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

LOGS = Path("/var/log/openstack")
_STOP_SECONDS = 30.0
_LOOK_EVERY_SECONDS = 0.1


class Services:
    """The services that run, and the thread that reaps them and all that is orphaned."""

    def __init__(self) -> None:
        self._groups: dict[str, int] = {}
        self._lock = threading.Lock()

    def start(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        with (LOGS / f"{name}.log").open("ab") as log, self._lock:
            # Left alone on purpose: `reap` waits for it like for every other orphan.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
            self._groups[name] = process.pid

    def wait(self, name: str, port: int, seconds: float) -> None:
        """Return as soon as the service listens on `port`. Raise RuntimeError if it has ended, or does not."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if not self._runs(name):
                raise RuntimeError(f"{name} has ended")
            time.sleep(_LOOK_EVERY_SECONDS)
        raise RuntimeError(f"{name} does not listen on port {port} after {seconds:.0f} s")

    def stop(self, name: str) -> None:
        """End the service, by force if it does not by itself."""
        group = self._groups[name]
        deadline = time.monotonic() + _STOP_SECONDS
        _signal(group, signal.SIGTERM)
        while self._runs(name):
            if time.monotonic() > deadline:
                _signal(group, signal.SIGKILL)
            time.sleep(_LOOK_EVERY_SECONDS)

    def reap(self) -> None:
        while True:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                time.sleep(_LOOK_EVERY_SECONDS)

    def _runs(self, name: str) -> bool:
        return _signal(self._groups[name], 0)


def _signal(group: int, number: int) -> bool:
    """Return whether a process of the group was there to be signalled."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _obey(services: Services, order: dict[str, Any]) -> None:
    what = order.pop("order")
    {"start": services.start, "wait": services.wait, "stop": services.stop}[what](**order)


def _listen(orders: queue.Queue[bytes]) -> None:
    for line in sys.stdin.buffer:
        orders.put(line)
    os._exit(0)


def main() -> None:
    """Carry out what comes in."""
    LOGS.mkdir(parents=True, exist_ok=True)
    services = Services()
    orders: queue.Queue[bytes] = queue.Queue()
    for work in (services.reap, lambda: _listen(orders)):
        threading.Thread(target=work, daemon=True).start()
    print("up", flush=True)
    while True:
        failure = ""
        try:
            _obey(services, json.loads(orders.get()))
        except (OSError, RuntimeError) as error:
            failure = str(error)
        print(json.dumps(failure), flush=True)


main()
