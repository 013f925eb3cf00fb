"""A cloud for a system in a root: an EC2 endpoint on its loopback interface, and VMs that are processes in it.

Run as a program in the system's network it serves until its standard input ends, and answers each line there with the
VMs that it has.
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from elastiq.clock import Clock
from elastiq.errors import CloudError
from elastiq.sandbox.hypervisor import GONE, Endpoint, Hypervisor
from tests.packaging.roots import System

CHECKOUT = Path(__file__).resolve().parents[2]
LONG_SECONDS = 300
"""A bound against hangs."""

_CONFIGURATION = """\
[elastiq]
batch_plugin = sandbox
cluster_name = test
sleep_s = 0.5
check_queue_every_s = 1
check_vms_every_s = 1
check_vms_in_error_every_s = 1
waiting_jobs_time_s = 1
[quota]
max_vms = 3
[ec2]
api_url = {url}
region = us-east-1
aws_access_key_id = sandbox-key
aws_secret_access_key = not-checked-here
image_id = ami-03cf127a
flavour = c5.large
user_data_b64 = {user_data}
[sandbox]
spool_dir = {spool}
"""

_USER_DATA = """\
#!/bin/sh
exec nsenter --target={process} --mount --uts --ipc --net --pid --root --wd \\
  setpriv --reuid={user} --regid={user} --init-groups \\
  python3 -m elastiq.sandbox.worker --spool={spool} --name=$INSTANCE_ID --instance-id=$INSTANCE_ID \\
  --address=$LOCAL_IPV4 --cpus=2 --memory-mb=4096
"""


class Cloud:
    """The endpoint and its VMs, and a batch system of the sandbox that `user` owns."""

    def __init__(self, system: System, process: subprocess.Popen[str], user: str, spool: str) -> None:
        self._system = system
        self._process = process
        self._user = user
        self.spool = spool
        assert process.stdout
        self._url = process.stdout.readline().strip()

    def configuration(self) -> str:
        """Return a configuration file for it."""
        data = _USER_DATA.format(process=self._system.first_process, user=self._user, spool=self.spool)
        encoded = base64.b64encode(data.encode()).decode()
        return _CONFIGURATION.format(url=self._url, user_data=encoded, spool=self.spool)

    def vms(self) -> dict[str, str]:
        """Return the state of every VM that there ever was, by its id."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found: dict[str, str] = json.loads(self._process.stdout.readline())
        return found

    def living_vms(self) -> list[str]:
        return [instance_id for instance_id, state in self.vms().items() if state not in GONE]

    def submit(self, seconds: float) -> None:
        """Submit a job that takes so long."""
        command = ["python3", "-m", "elastiq.sandbox", "submit", f"--seconds={seconds}", f"--spool={self.spool}"]
        self._system.run(*command, user=self._user, home="/")

    def jobs(self, folder: str) -> list[str]:
        """Return the jobs in this folder of the batch system."""
        directory = self._system.root / self.spool.lstrip("/") / folder
        return sorted(path.stem for path in directory.rglob("*.json") if not path.name.startswith("."))


@contextmanager
def cloud(system: System, user: str, spool: str) -> Iterator[Cloud]:
    """Give a cloud in the network of `system`, and a directory for the batch system that belongs to `user`."""
    system.run("install", "-d", "-m", "0700", "-o", user, "-g", user, spool)
    with tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen(
            [*system.enter("net"), sys.executable, "-m", "tests.packaging.cloud", directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=CHECKOUT,
        )
        try:
            yield Cloud(system, process, user, spool)
        finally:
            assert process.stdin and process.stdout
            process.stdin.close()
            process.wait(LONG_SECONDS)
            process.stdout.close()


def wait_until(condition: Callable[[], bool], what: str, tell: Callable[[], str] = str) -> None:
    """Wait for `condition`. Raise AssertionError with `what` and what `tell` says if it does not come."""
    deadline = time.monotonic() + LONG_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {LONG_SECONDS} s in vain: {what}\n{tell()}")
        time.sleep(0.2)


def _serve(directory: Path) -> None:
    endpoint = subprocess.Popen(
        [sys.executable, "-m", "elastiq.sandbox.endpoint"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert endpoint.stdout
    url = endpoint.stdout.readline().strip()
    hypervisor = Hypervisor(Endpoint(url), directory, Clock(), boot_seconds=(0.5,))
    print(url, flush=True)
    try:
        while True:
            asked = bool(select.select([0], [], [], 0.3)[0])
            if asked and not os.read(0, 4096):
                return
            # On a busy machine the endpoint's first answer takes long; the next look sees the same.
            with suppress(CloudError):
                hypervisor.look()
            if asked:
                print(json.dumps({vm.id: vm.state for vm in hypervisor.machines.values()}), flush=True)
    finally:
        hypervisor.stop()
        endpoint.kill()
        endpoint.wait()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
