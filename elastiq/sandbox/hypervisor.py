"""The sandbox's machines: each VM of the EC2 endpoint becomes a process group that runs the VM's user data."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

from elastiq.clock import Clock
from elastiq.errors import CloudError

ACCESS_KEY_ID = "sandbox"
"""The endpoint takes any key and any signature; the key's scope tells it the service and the region."""
REGION = "us-east-1"
TIMEOUT_SECONDS = 60.0
GONE = ("shutting-down", "terminated")


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C and SIGTERM to the end of the block, so that no process is started that nobody knows of."""
    came: list[int] = []
    both = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.signal(number, lambda number, _: came.append(number)) for number in both]
    try:
        yield
    finally:
        for number, handler in zip(both, handlers):
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


@dataclass
class Machine:
    """A VM, as the endpoint lists it, and the process group that it is in truth."""

    id: str
    address: str
    state: str
    seen_at: float
    boots_at: float | None
    """None: it never boots."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def is_gone(self) -> bool:
        """Return whether the endpoint says that it is terminated, or about to be."""
        return self.state in GONE


class Endpoint:
    """Plain EC2 requests without boto3, so that what elastiq did is checked by other code than its own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def instances(self) -> list[tuple[str, str, str]]:
        """Return id, private address and state of every VM, terminated ones included. Raise CloudError."""
        found: list[tuple[str, str, str]] = []
        token = ""
        while True:
            page = {"NextToken": token} if token else {}
            answer = self._ask("DescribeInstances", MaxResults="1000", **page)
            for item in answer.findall("./{*}reservationSet/{*}item/{*}instancesSet/{*}item"):
                texts = [item.findtext(f"{{*}}{name}", "") for name in ("instanceId", "privateIpAddress")]
                found.append((texts[0], texts[1], item.findtext("{*}instanceState/{*}name", "")))
            token = answer.findtext("{*}nextToken", "")
            if not token:
                return found

    def user_data(self, instance_id: str) -> bytes:
        """Return what the VM was launched with. Raise CloudError."""
        answer = self._ask("DescribeInstanceAttribute", InstanceId=instance_id, Attribute="userData")
        return base64.b64decode(answer.findtext("{*}userData/{*}value", ""))

    def statistics(self) -> dict[str, Any]:
        """Return the endpoint's own account (`elastiq.sandbox.endpoint.Statistics`). Raise CloudError."""
        statistics: dict[str, Any] = json.loads(self._send("/sandbox/statistics", None))
        return statistics

    def _ask(self, action: str, **parameters: str) -> ElementTree.Element:
        body = urlencode({"Action": action, "Version": "2016-11-15", **parameters}).encode()
        return ElementTree.fromstring(self._send("/", body))  # noqa: S314 (our own endpoint's answer)

    def _send(self, path: str, body: bytes | None) -> bytes:
        scope = f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY_ID}/20200101/{REGION}/ec2/aws4_request"
        request = urllib.request.Request(self.url + path, body, {"Authorization": scope})  # noqa: S310 (http only)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
                content: bytes = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise CloudError(f"the sandbox's EC2 endpoint does not answer: {error}") from error
        return content


class Hypervisor:
    """Boots what was launched, after a while, and pulls the plug of what was terminated."""

    def __init__(
        self,
        endpoint: Endpoint,
        directory: Path,
        clock: Clock,
        boot_seconds: Sequence[float] = (3.0,),
        duds: Sequence[int] = (),
    ) -> None:
        """Keep each VM's files in `directory`. Boots take `boot_seconds` in turn; the VMs numbered `duds` hang."""
        self._endpoint = endpoint
        self._directory = directory
        self._clock = clock
        self._boot_seconds = boot_seconds
        self._duds = duds
        self.machines: dict[str, Machine] = {}

    def look(self) -> None:
        """See what the endpoint lists, and boot and kill accordingly. Raise CloudError."""
        now = self._clock.now()
        for instance_id, address, state in self._endpoint.instances():
            machine = self.machines.get(instance_id)
            if machine is None:
                number = len(self.machines)
                boots_at = now + self._boot_seconds[number % len(self._boot_seconds)]
                machine = Machine(instance_id, address, state, now, None if number in self._duds else boots_at)
                self.machines[instance_id] = machine
            machine.state = state
            if machine.is_gone:
                self._pull_the_plug(machine)
            elif machine.process is None and machine.boots_at is not None and machine.boots_at <= now:
                self._boot(machine)

    def stop(self) -> None:
        """End every machine."""
        for machine in self.machines.values():
            self._pull_the_plug(machine)

    def _boot(self, machine: Machine) -> None:
        script = self._directory / f"{machine.id}.user-data"
        script.write_bytes(self._endpoint.user_data(machine.id))
        script.chmod(0o700)
        environment = {**os.environ, "INSTANCE_ID": machine.id, "LOCAL_IPV4": machine.address, "PYTHON": sys.executable}
        with (self._directory / f"{machine.id}.console").open("wb") as console, uninterrupted():
            machine.process = subprocess.Popen(
                ["/bin/sh", str(script)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=environment,
                start_new_session=True,
            )

    def _pull_the_plug(self, machine: Machine) -> None:
        if machine.process is not None and machine.process.returncode is None:
            try:
                os.killpg(machine.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            machine.process.wait()
