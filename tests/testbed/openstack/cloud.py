"""A real OpenStack with its EC2 interface: nova with a hypervisor that only pretends, everything else as it is.

    with OpenStack() as cloud:
        ...  # a client of cloud.url with cloud.facts.access_key, cloud.facts.secret_key
        cloud.set_quota(2)
        assert [server.status for server in cloud.servers()] == ["ACTIVE", "ACTIVE"]

It begins as the set-up has left it, and what happens in it is gone with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

from tests.testbed.openstack import set_up
from tests.testbed.openstack.administration import Administration, RefusedError
from tests.testbed.openstack.relay import Relay
from tests.testbed.openstack.services import EC2_PORT, KEYSTONE_PORT, NOVA_PORT, SERVICES
from tests.testbed.openstack.system import START_SECONDS, System
from tests.testbed.rootfs import UnavailableError

REGION = set_up.REGION
_LOOK_EVERY_SECONDS = 0.3


@dataclass(frozen=True)
class Server:
    """An instance as nova itself sees it."""

    id: str
    """Of nova, not of EC2."""
    status: str
    address: str


class OpenStack:
    """Raises UnavailableError where it cannot be."""

    def __init__(self) -> None:
        layers = set_up.layers()
        self.facts = set_up.facts(layers[0])
        self._resources = ExitStack()
        self.system = System(layers)
        self._resources.callback(self.system.stop)
        self._admin = Administration(self.system)
        try:
            self.system.start(SERVICES)
            self._wait_until_ready()
            self.ec2 = self.relay(EC2_PORT)
            self.keystone_url = self.relay(KEYSTONE_PORT).url
            self.nova_url = self.relay(NOVA_PORT).url
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> OpenStack:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End everything. Does nothing the second time."""
        self._resources.close()

    @property
    def url(self) -> str:
        """The EC2 endpoint, for clients on this machine."""
        return self.ec2.url

    def client(self) -> Any:
        """Return boto3's client with the project's keys."""
        return set_up.ec2_client(self.url, self.facts.access_key, self.facts.secret_key)

    def relay(
        self,
        port: int = EC2_PORT,
        *,
        bind: str = "127.0.0.1",
        entering: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> Relay:
        """Give another way in, which ends with this cloud: in another network, or to have answers come late."""
        return self._resources.enter_context(Relay(self.system, port, bind=bind, entering=entering))

    def set_quota(self, instances: int = set_up.QUOTA) -> None:
        """Let the project have so many instances."""
        path = f"/v2.1/os-quota-sets/{self.facts.project_id}"
        self._admin.ask("PUT", NOVA_PORT, path, {"quota_set": {"instances": instances, "force": True}})

    def servers(self) -> list[Server]:
        """Return all instances that there are, of whatever project."""
        answer = self._admin.ask("GET", NOVA_PORT, "/v2.1/servers/detail?all_tenants=1")
        return [
            Server(
                server["id"],
                server["status"],
                next((port["addr"] for ports in server["addresses"].values() for port in ports), ""),
            )
            for server in answer["servers"]
        ]

    def remove_servers(self) -> None:
        """Delete all instances, and wait until they are gone."""
        deadline = time.monotonic() + START_SECONDS
        asked: set[str] = set()
        while True:
            servers = self.servers()
            if not servers:
                return
            for server in servers:
                if server.id not in asked:
                    self._delete(server.id)
                    asked.add(server.id)
            assert time.monotonic() < deadline, f"not gone: {servers}"
            time.sleep(_LOOK_EVERY_SECONDS)

    def _delete(self, server_id: str) -> None:
        try:
            self._admin.ask("DELETE", NOVA_PORT, f"/v2.1/servers/{server_id}")
        except RefusedError as error:
            if error.status != 404:  # somebody else may have been faster
                raise

    def stop_keystone(self) -> None:
        """Let nobody be told who is who."""
        self.system.end(["keystone"])

    def start_keystone(self) -> None:
        """Undo `stop_keystone`."""
        self.system.start(["keystone"])

    def logs(self) -> str:
        """Return what the services have said lately, for people to read."""
        return self.system.logs()

    def _wait_until_ready(self) -> None:
        """Services that listen on no port are up when they have reported: then a launch succeeds."""
        started = {"nova-conductor", "nova-scheduler", "nova-compute"}
        reported: dict[str, str] = {}
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                services = self._admin.ask("GET", NOVA_PORT, "/v2.1/os-services")["services"]
            except (OSError, RefusedError) as error:
                missing = str(error)
            else:
                for service in services:
                    reported.setdefault(service["binary"], service["updated_at"])
                missing = " ".join(
                    sorted(started - {s["binary"] for s in services if s["updated_at"] != reported[s["binary"]]})
                )
                if not missing:
                    return
            if time.monotonic() > deadline:
                raise UnavailableError(f"OpenStack is not up after {START_SECONDS:.0f} s: {missing}\n{self.logs()}")
            time.sleep(_LOOK_EVERY_SECONDS)
