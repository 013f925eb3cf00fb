"""A cloud whose VMs are worker processes, and head nodes: processes of elastiq that the tests kill and start again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from elastiq.sandbox.spool import Job, Spool
from tests.crash.launcher import Order
from tests.testbed.proxy import Dialect, Ec2Endpoint, Fault, Vm

CHECKOUT = Path(__file__).parents[2]
PATIENCE_SECONDS = 180.0
"""A bound against hangs, on a busy machine as well."""
STOP_SECONDS = 5.0
"""What the daemon promises for its end after SIGTERM."""
SLACK_SECONDS = 40.0
"""What a busy machine may add. A call to a system that hangs would hold up the end for longer."""


class CloudWithPlug(Ec2Endpoint):
    """The endpoint, which can also call somebody at the moment when a request has come in, or has taken effect."""

    def __init__(self, **settings: Any) -> None:
        self.plug: Callable[[str, str], object] | None = None
        """Called with the operation and "before" or "after"."""
        super().__init__(**settings)

    def answer(self, parameters: dict[str, str], fault: Fault | None = None) -> tuple[int, str]:
        """Let the request take effect, between the two calls."""
        operation = parameters.get("Action", "")
        if self.plug:
            self.plug(operation, "before")
        answer = super().answer(parameters, fault)
        if self.plug:
            self.plug(operation, "after")
        return answer


class Site:
    """One cloud account. Its VMs run a worker each, in the batch system that their user data names."""

    def __init__(self) -> None:
        self.cloud = CloudWithPlug(on_running=self._boot, on_terminated=self._pull_the_plug)
        self._machines: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
        self.cloud.stop()

    def clear(self) -> None:
        """End all VMs and forget that they were ever there."""
        cloud = self.cloud
        cloud.plug = None
        cloud.clear_faults()
        with cloud._lock:
            for vm in cloud.alive():
                cloud.terminate_from_outside(vm.id)
        wait_until(lambda: all(vm.ended or not vm.announced for vm in list(cloud.vms.values())), "VMs to end")
        with cloud._lock:
            cloud.vms.clear()
            cloud.requests.clear()
            cloud.alive_history.clear()
            cloud.failures.clear()
            cloud.max_alive = 0
        for machine in self._machines.values():
            _kill_group(machine)
        self._machines.clear()

    def prepare(self, dialect: Dialect, **settings: Any) -> None:
        """Be an empty account of `dialect`; `settings` are the endpoint's."""
        self.clear()
        usual = {
            "launch_delay_seconds": 0.1,
            "launch_seconds_per_vm": 0.0,
            "visible_after_seconds": 0.0,
            "terminated_listed_seconds": 3600.0 if dialect == "aws" else 1.0,
        }
        for name, value in {"dialect": dialect, **usual, **settings}.items():
            setattr(self.cloud, name, value)

    def alive(self, cluster: str) -> list[Vm]:
        """Return the living VMs that were launched for `cluster`, whatever became of their tags."""
        mark = f"cluster={cluster};".encode()
        return [vm for vm in self.cloud.alive() if mark in vm.user_data]

    def _boot(self, vm: Vm) -> None:
        words = dict(word.split("=", 1) for word in vm.user_data.decode().strip("\n;").split(";") if "=" in word)
        if "spool" not in words:
            return
        command = [sys.executable, "-m", "elastiq.sandbox.worker", f"--spool={words['spool']}", f"--name={vm.id}"]
        command += [f"--instance-id={vm.id}", f"--address={vm.address}", "--look-every-s=0.05"]
        command += [f"--{name}={words[name]}" for name in ("cpus", "offers") if name in words]
        self._machines[vm.id] = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _pull_the_plug(self, vm: Vm) -> None:
        if vm.id in self._machines:
            _kill_group(self._machines[vm.id])


class Head:
    """A head node: a state directory, a batch system, and the daemon's process while there is one."""

    def __init__(self, directory: Path, site: Site, cluster: str, **options: object) -> None:
        self.directory = directory
        self.site = site
        self.cluster = cluster
        self.state = directory / "state"
        self.log = directory / "log" / "elastiq.log"
        self.note = directory / "note"
        self._may_end = directory / "may-end"
        self.spool = Spool(directory / "spool")
        self.submitted = 0
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True)
        self.spool.create()
        (directory / "user-data").write_text(self.user_data())
        self.configure(**options)

    def user_data(self, more: str = "") -> str:
        """Return what makes a VM a worker of this cluster; `more`, such as "cpus=4", says of what kind."""
        return f"cluster={self.cluster};spool={self.spool.directory};{more};\n"

    def configure(self, *, pools: str = "", **options: object) -> None:
        """Write the configuration: these options of [elastiq] and [quota], and the sections of its pools."""
        values: dict[str, object] = {
            "batch_plugin": "sandbox",
            "state_dir": self.state,
            "cluster_name": self.cluster,
            "sleep_s": 0.1,
            "check_queue_every_s": 0.2,
            "check_vms_every_s": 0.3,
            "check_vms_in_error_every_s": 0.3,
            "waiting_jobs_time_s": 0,
            "idle_for_time_s": 0.5,
            "n_jobs_per_vm": 1,
            **options,
        }
        values = {name: value for name, value in values.items() if value is not None}
        quota = {name: values.pop(name) for name in ("min_vms", "max_vms") if name in values}
        sections = {
            "elastiq": values,
            "quota": quota,
            "ec2": {
                "api_url": self.site.cloud.url,
                "region": "us-east-1",
                "image_id": "ami-12345678",
                "flavour": "m5.large",
                "aws_access_key_id": "AKIAIOSFODNN7EXAMPLE",
                "aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                "user_data_file": self.directory / "user-data",
            },
            "sandbox": {"spool_dir": self.spool.directory},
        }
        lines = []
        for section, entries in sections.items():
            lines += [f"[{section}]", *(f"{name} = {value}" for name, value in entries.items())]
        self.configuration = self.directory / "elastiq.conf"
        self.configuration.write_text("\n".join(lines) + "\n" + pools)
        self.configuration.chmod(0o600)

    def start(self, order: Order | None = None, prefix: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start the daemon as ordered, by way of the command `prefix`."""
        order = order or Order()
        self.note.unlink(missing_ok=True)
        environment = {
            "HOME": str(self.directory),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(CHECKOUT),
            **order.environment(),
        }
        command = [*prefix, sys.executable, "-m", "tests.crash.launcher", f"--config={self.configuration}"]
        with (self.directory / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [*command, f"--logdir={self.log.parent}"],
                cwd=CHECKOUT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        return self.process

    def is_running(self) -> bool:
        """Return whether the daemon's process lives."""
        return self.process is not None and self.process.poll() is None

    def has_started(self) -> bool:
        """Return whether the daemon says that it has started; by then it listens to signals."""
        assert self.process is not None
        return self.log.exists() and f"process {self.process.pid}," in self.log.read_text()

    def kill(self) -> None:
        """End the daemon as a power failure would, if it lives."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """End the daemon with SIGTERM and see that it ends well and soon."""
        assert self.process is not None
        self.process.terminate()
        self.check_stopped()

    def check_stopped(self) -> None:
        """See that the daemon, which was sent SIGTERM, ends soon and with exit code 0."""
        assert self.process is not None
        try:
            code = self.process.wait(STOP_SECONDS + SLACK_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"still there {STOP_SECONDS + SLACK_SECONDS:g} s after SIGTERM\n{self.story()}"
            ) from None
        assert code == 0, f"exit code {code} after SIGTERM\n{self.story()}"

    def submit(self, jobs: int, seconds: float = 0.3) -> None:
        """Submit jobs that take `seconds`."""
        self._submit(jobs, ["sleep", str(seconds)])

    def submit_waiting(self, jobs: int) -> None:
        """Submit jobs that run until `let_end`: what is to be seen while they run is not missed on a busy machine."""
        self._submit(jobs, ["sh", "-c", f"until test -e {self._may_end}; do sleep 0.1; done"])

    def let_end(self) -> None:
        """Let all jobs of `submit_waiting` end."""
        self._may_end.touch()

    def _submit(self, jobs: int, command: list[str]) -> None:
        for _ in range(jobs):
            self.spool.submit(Job("new", command))
        self.submitted += jobs

    def done(self) -> int:
        """Return how many jobs are done."""
        return len(self.spool.files("done"))

    def known(self) -> set[str]:
        """Return the ids of the VMs in the state database, those whose termination was accepted left out."""
        return {
            row["id"] for row in map(json.loads, self._column("SELECT record FROM vms")) if not row["terminated_at"]
        }

    def open_intents(self) -> int:
        """Return how many launches have an unknown outcome, by the state database."""
        return len(self._column("SELECT token FROM launches"))

    def _column(self, query: str) -> list[Any]:
        path = self.state / "elastiq.db"
        if not path.exists():
            return []
        with contextlib.closing(
            sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=PATIENCE_SECONDS)
        ) as database:
            try:
                return [row[0] for row in database.execute(query)]
            except sqlite3.OperationalError as error:
                if any(words in str(error) for words in ("no such table", "unable to open", "decode")):
                    return []
                raise

    def is_quiet(self, minimum: int = 0) -> bool:
        """Return whether all jobs are done, just the minimum of VMs lives, and the daemon knows these and no others."""
        return (
            self.done() == self.submitted
            and len(self.site.alive(self.cluster)) == minimum
            and self.known() == {vm.id for vm in self.site.alive(self.cluster)}
            and self.open_intents() == 0
        )

    def wait_until_quiet(self, minimum: int = 0) -> None:
        """Wait for that with the daemon running, and having looked at least once."""
        asked_at = time.monotonic()

        def is_quiet() -> bool:
            assert self.process is not None
            assert self.is_running(), f"the daemon ended by itself: {self.process.returncode}\n{self.story()}"
            return self.has_started() and self._was_told_vms(asked_at) and self.is_quiet(minimum)

        wait_until(is_quiet, f"{self.cluster} to be quiet", self.story)

    def _was_told_vms(self, since: float) -> bool:
        listings = self.site.cloud.operations("DescribeInstances")
        return any(request.at > since and request.status == 200 for request in listings)

    def check_jobs(self) -> None:
        """See that each job was started once and ended well: none lost its VM."""
        jobs = self.spool.jobs("done")
        assert len(jobs) == self.submitted, f"{len(jobs)} of {self.submitted} jobs are done\n{self.story()}"
        bad = [job for job in jobs if job.starts != 1 or job.exit_code != 0]
        assert not bad, f"jobs that were started again or failed: {bad}\n{self.story()}"

    def story(self) -> str:
        """Return what happened, for whoever looks for the cause of a failure."""
        alive = {vm.id: vm.tags for vm in self.site.alive(self.cluster)}
        requests = [
            f"{request.at:.2f} {request.operation} {request.status}"
            for request in self.site.cloud.operations()
            if request.operation != "DescribeInstances" or request.status != 200
        ]
        log = self.log.read_text().splitlines() if self.log.exists() else []
        parts = [
            f"monotonic time {time.monotonic():.2f}; done {self.done()} of {self.submitted}; alive {alive}",
            f"known {self.known()}; open intents {self.open_intents()}; most alive {self.site.cloud.max_alive}",
            f"queue {self.spool.jobs('queue')}",
            f"endpoint: {requests[-40:]} {self.site.cloud.failures}",
            *log[-60:],
            (self.directory / "output").read_text()[-3000:] if (self.directory / "output").exists() else "",
        ]
        return "\n".join(parts)


@contextlib.contextmanager
def head_node(directory: Path, site: Site, cluster: str, **options: object) -> Iterator[Head]:
    """Give a Head whose daemon does not outlive the block."""
    head = Head(directory, site, cluster, **options)
    try:
        yield head
    finally:
        head.kill()


def wait_until(
    condition: Callable[[], bool],
    what: str,
    story: Callable[[], str] = str,
    patience_seconds: float = PATIENCE_SECONDS,
) -> None:
    """Wait for `condition`; after so long in vain the test has failed."""
    deadline = time.monotonic() + patience_seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience_seconds:g} s in vain for {what}\n{story()}"
        threading.Event().wait(0.05)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
