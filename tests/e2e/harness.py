"""A whole cluster for one test: a batch system's head node with elastiq on it, and a cloud whose VMs are machines."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from tests.testbed import namespaces
from tests.testbed.batch import BatchTestbed
from tests.testbed.machines import CHECKOUT, SWITCH_ADDRESS
from tests.testbed.proxy import Ec2Endpoint, Vm
from tests.testbed.rootfs import SERVICE_USER

KEYS = {"ACCESS-KEY": "SECRET/KEY%with=all"}
IMAGE_ID = "ami-12345678"

Node = TypeVar("Node", bound="HeadNode")


class HeadNode:
    """`elastiqctl` runs on the head node of `batch` as `user`; `ec2` says where VMs are launched, as in [ec2]."""

    def __init__(self, batch: BatchTestbed, ec2: Mapping[str, str], *, user: str = SERVICE_USER) -> None:
        self.batch = batch
        self.ec2 = ec2
        self.head = batch.head
        self.user = user
        home = f"/home/{user}/.elastiq"
        self.configuration_path, self.log_directory = (
            (f"{home}/elastiq.conf", f"{home}/log") if user else ("/etc/elastiq.conf", "/var/log/elastiq")
        )

    def __enter__(self: Node) -> Node:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error:
            print(f"--- elastiq's log on the head node\n{self.log()[-30000:]}")
        with suppress(AssertionError, subprocess.TimeoutExpired):
            self.elastiqctl("stop")

    def elastiqctl(self, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run scripts/elastiqctl of the checkout on the head node."""
        return self.head.run(
            f"{CHECKOUT}/scripts/elastiqctl",
            *arguments,
            user=self.user,
            check=check,
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the daemon in the middle of what it does, and let it go on."""
        pid = self._pid()
        self.head.run("kill", "-STOP", pid)
        try:
            yield
        finally:
            self.head.run("kill", "-CONT", pid)

    def hang_up(self) -> None:
        """Have the daemon read its configuration again."""
        self.head.run("kill", "-HUP", self._pid())

    def _pid(self) -> str:
        return self.elastiqctl("status").stdout.partition("(pid ")[2].partition(")")[0]

    def configure(self, text: str) -> None:
        """Write the configuration file."""
        self._write(self.configuration_path, text)

    def write_user_data(self, text: str) -> None:
        """Write the file user-data.sh beside the configuration file."""
        self._write(str(Path(self.configuration_path).with_name("user-data.sh")), text)

    def _write(self, path: str, text: str) -> None:
        # Written by root and, as a package leaves it, readable by the user that the daemon runs as.
        script = 'umask 027; mkdir -p "$(dirname "$1")"; cat >"$1"; chgrp "$2" "$1"'
        self.head.run("sh", "-c", script, "sh", path, SERVICE_USER, user=self.user, stdin=text)

    def log(self) -> str:
        """Return the daemon's logs."""
        script = 'cat "$1"/*'
        return self.head.run("sh", "-c", script, "sh", self.log_directory, check=False).stdout


class ElasticCluster(HeadNode):
    """A head node with a cloud of its own: what elastiq launches there becomes machines on the testbed."""

    def __init__(
        self,
        batch: BatchTestbed,
        *,
        user: str = SERVICE_USER,
        user_data_of: Callable[[Vm], str | bytes] = lambda vm: vm.user_data,
        machine_of: Callable[[Vm], Mapping[str, str]] = lambda _: {},
    ) -> None:
        """`machine_of` says what else the batch system's `start_worker` is to know of a VM: what it has in it."""
        self._user_data_of, self._machine_of = user_data_of, machine_of
        self.cloud = Ec2Endpoint(
            bind=SWITCH_ADDRESS,
            entering=batch.network.entered,
            keys=KEYS,
            launch_delay_seconds=0.5,
            addresses=[f"10.77.1.{number}" for number in range(1, 200)],
            on_running=self._on_running,
            on_terminated=lambda vm: batch.network.remove(vm.id),
            console=lambda vm: batch.network.console(vm.id),
        )
        key, secret = next(iter(KEYS.items()))
        ec2 = {
            "api_url": self.cloud.url,
            "region": "us-east-1",
            "aws_access_key_id": key,
            "aws_secret_access_key": secret,
            "image_id": IMAGE_ID,
        }
        super().__init__(batch, ec2, user=user)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error:
            print("--- what the cloud was asked\n" + "\n".join(self.asked()))
            print(f"--- what callbacks of the cloud raised\n{self.cloud.failures}")
        super().__exit__(kind, error, trace)
        self.cloud.stop()

    def asked(self) -> list[str]:
        """Return the changing requests that the cloud got, one line each, for people to read."""
        lines = []
        for request in self.cloud.operations("RunInstances", "TerminateInstances", "CreateTags"):
            what = request.numbered("InstanceId") or request.parameters.get("MaxCount", "")
            lines.append(f"{request.at:.1f} {request.operation} {what} -> {request.status}")
        return lines

    def alive(self) -> set[str]:
        """Return the ids of the VMs that the cloud counts as pending or running."""
        return {vm.id for vm in self.cloud.alive()}

    def _on_running(self, vm: Vm) -> None:
        self.batch.start_worker(vm.id, vm.address, self._user_data_of(vm), **self._machine_of(vm))


class PluginOnHead:
    """The real batch plugin in a process on the head node."""

    def __init__(
        self,
        batch: BatchTestbed,
        query: str = "auto",
        environment: Mapping[str, str] | None = None,
        user: str = SERVICE_USER,
    ) -> None:
        variables = {**(environment or {})}
        variables["PYTHONPATH"] = ":".join(filter(None, [CHECKOUT, variables.get("PYTHONPATH", "")]))
        options = {**batch.options, **({"query": query} if batch.plugin == "htcondor" else {})}
        command = ["python3", f"{CHECKOUT}/tests/e2e/plugin_on_head.py", batch.plugin, json.dumps(options)]
        self._process = subprocess.Popen(
            [*batch.head.enter, *namespaces.clean(*command, user=user, environment=variables)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> PluginOnHead:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=300)

    def call(self, method: str, asked: Mapping[str, Any] | list[Any] | None = None) -> Any:
        """Call `method` of the plugin, for a worker or with other arguments, and return its answer: dataclasses as
        dictionaries, members of an Enum as their values."""
        answer = self.ask(method, asked)
        assert "error" not in answer, f"{method} of the plugin failed: {answer['error']}"
        return answer["answer"]

    def ask(self, method: str, asked: Mapping[str, Any] | list[Any] | None = None) -> dict[str, Any]:
        """Call `method` of the plugin and return its `answer`, or the `error` as which it raised BatchError."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([method, asked]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the plugin's process on the head node is gone while asked for {method}; see its error above"
        said: dict[str, Any] = json.loads(line)
        return said


def stays(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Watch for `seconds` that `condition` goes on holding."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"no longer: {what}"
        time.sleep(0.2)
