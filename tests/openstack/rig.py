"""A head node whose VMs are at a real OpenStack: the daemon, a batch system in a directory, a worker for each VM."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from elastiq.report.status import picture
from elastiq.sandbox.spool import Job, Spool
from elastiq.state import read_report
from tests.testbed.openstack.cloud import REGION, OpenStack

CHECKOUT = Path(__file__).parents[2]
PATIENCE_SECONDS = float(os.environ.get("ELASTIQ_OPENSTACK_PATIENCE_SECONDS", "1500"))
"""A bound against hangs."""
CPUS_PER_VM = 2


class Hypervisor:
    """`with Hypervisor(openstack, boot)`: a machine for each VM that runs, for nova's own hypervisor only pretends.

    `boot` is given id and address of a VM, and returns what pulls its plug.
    """

    def __init__(self, openstack: OpenStack, boot: Callable[[str, str], Callable[[], object]]) -> None:
        self._openstack = openstack
        self._boot = boot
        self._machines: dict[str, Callable[[], object]] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.most_vms = 0
        """That there ever were at the same time, looked at each second."""

    def __enter__(self) -> Hypervisor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        for pull_plug in self._machines.values():
            pull_plug()

    def _run(self) -> None:
        client = self._openstack.client()
        while not self._closing.wait(1):
            with suppress(ClientError, BotoCoreError, ResponseParserError):
                reservations = client.describe_instances()["Reservations"]
                found = {vm["InstanceId"]: vm for reservation in reservations for vm in reservation["Instances"]}
                self.most_vms = max(self.most_vms, len(found))
                for gone in self._machines.keys() - found.keys():
                    self._machines.pop(gone)()
                for name, vm in found.items():
                    if vm["State"]["Name"] == "running" and name not in self._machines:
                        self._machines[name] = self._boot(name, vm.get("PrivateIpAddress", ""))


class Site:
    """`with Site(openstack, directory) as site`: the daemon runs from `start` on, and everything ends with the block.

    The workers of VMs are processes of this machine, for the hypervisor runs nothing.
    """

    def __init__(self, openstack: OpenStack, directory: Path) -> None:
        self._openstack = openstack
        self._directory = directory
        self._spool = Spool(directory / "spool")
        self._spool.create()
        self._daemon: subprocess.Popen[bytes] | None = None
        self._hypervisor = Hypervisor(openstack, self._start_worker)
        self._held = directory / "held"

    def __enter__(self) -> Site:
        self._hypervisor.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        print(f"--- elastiq's log\n{self.log()[-20000:]}")  # shown if the test fails
        self.release()
        self._hypervisor.__exit__()

    @property
    def most_vms(self) -> int:
        """How many VMs there ever were at the same time, looked at each second."""
        return self._hypervisor.most_vms

    def start(self, ec2: Mapping[str, str] | None = None, **elastiq: str) -> None:
        """Start the daemon with these options instead of good ones."""
        known = self._openstack.facts
        sections = {
            "elastiq": {
                "batch_plugin": "sandbox",
                "cluster_name": "physics",
                "state_dir": str(self._directory / "state"),
                "sleep_s": "0.5",
                "check_queue_every_s": "1",
                "check_vms_every_s": "2",
                "waiting_jobs_time_s": "1",
                "idle_for_time_s": "5",
                "n_jobs_per_vm": str(CPUS_PER_VM),
                **elastiq,
            },
            "quota": {"min_vms": "0", "max_vms": "6"},
            "ec2": {
                "api_url": self._openstack.url,
                "region": REGION,
                "image_id": known.image_id,
                "flavour": known.flavours[0],
                "key_name": known.key_name,
                "aws_access_key_id": known.access_key,
                "aws_secret_access_key": known.secret_key,
                **(ec2 or {}),
            },
            "sandbox": {"spool_dir": str(self._spool.directory)},
        }
        path = self._directory / "elastiq.conf"
        path.write_text(
            "".join(f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in o.items()) for name, o in sections.items())
        )
        path.chmod(0o600)
        command = [sys.executable, CHECKOUT / "scripts/elastiq-real.py", f"--config={path}"]
        self._daemon = subprocess.Popen(
            [*map(str, command), f"--logdir={self._directory / 'log'}"],
            cwd=self._directory,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(CHECKOUT), "HOME": str(self._directory)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        """End the daemon as its users do. Does nothing if it does not run."""
        if self._daemon is not None:
            self._daemon.send_signal(signal.SIGTERM)
            self._daemon.wait(PATIENCE_SECONDS)
            self._daemon = None

    def cpu_seconds(self) -> float:
        """Return what CPU time the daemon and its children that have ended have had."""
        assert self._daemon is not None
        fields = Path(f"/proc/{self._daemon.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def forget(self) -> None:
        """Take away state, logs and jobs of a daemon that was stopped."""
        for name in ("state", "log", "spool"):
            shutil.rmtree(self._directory / name, ignore_errors=True)
        self._spool.create()

    def submit(self, count: int, seconds: float) -> None:
        """Put jobs into the queue."""
        for _ in range(count):
            self._spool.submit(Job("new", ["sleep", str(seconds)]))

    def submit_held(self, count: int) -> None:
        """Put jobs into the queue that last until `release`."""
        self._held.touch()
        for _ in range(count):
            self._spool.submit(Job("new", ["sh", "-c", 'while [ -e "$1" ]; do sleep 0.5; done', "sh", str(self._held)]))

    def release(self) -> None:
        """Let held jobs end."""
        self._held.unlink(missing_ok=True)

    def status(self) -> list[str]:
        """Return what `elastiqctl status` shows; nothing before the first report."""
        report = read_report(self._directory / "state")
        return picture(report, int(report["monotonic_microseconds"])) if report else []

    def jobs_running(self) -> list[Job]:
        """Return the jobs that run."""
        folders = (self._spool.directory / "running").iterdir()
        return [job for folder in folders for job in self._spool.jobs(f"running/{folder.name}")]

    def jobs_done(self) -> list[Job]:
        """Return the jobs that are over."""
        return self._spool.jobs("done")

    def log(self) -> str:
        """Return what the daemon has logged."""
        return "".join(path.read_text() for path in sorted((self._directory / "log").glob("*.log")))

    def lines(self, *levels: str) -> list[str]:
        """Return the lines of the log with one of these levels."""
        return [line for line in self.log().splitlines() if re.search(rf"\b({'|'.join(levels)})\b", line)]

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Wait until `condition` holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"not in {PATIENCE_SECONDS:.0f} s: {what}"
            time.sleep(0.2)

    def _start_worker(self, name: str, address: str) -> Callable[[], object]:
        command = [sys.executable, "-m", "elastiq.sandbox.worker", f"--spool={self._spool.directory}"]
        command += [f"--name={name}", f"--instance-id={name}", f"--address={address}", f"--cpus={CPUS_PER_VM}"]
        worker = subprocess.Popen(command, cwd=CHECKOUT, start_new_session=True)
        return lambda: _kill(worker)


def _kill(worker: subprocess.Popen[bytes]) -> None:
    if worker.poll() is None:
        with suppress(ProcessLookupError):
            worker.kill()
    worker.wait()
