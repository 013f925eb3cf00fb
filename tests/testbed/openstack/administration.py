"""OpenStack's own interfaces, as an administrator uses them: plain HTTP, without its clients."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any

from tests.testbed.openstack.services import KEYSTONE_PORT, PASSWORD
from tests.testbed.openstack.system import System

ADMIN = "admin"
_TIMEOUT_SECONDS = 120.0


class Connection(http.client.HTTPConnection):
    """To a port inside of a system."""

    def __init__(self, system: System, port: int) -> None:
        super().__init__("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
        self._system = system

    def connect(self) -> None:
        self.sock = self._system.connect(self.port, _TIMEOUT_SECONDS)


class RefusedError(Exception):
    """OpenStack's answer was no success."""

    def __init__(self, what: str, status: int) -> None:
        super().__init__(what)
        self.status = status


class Administration:
    """Requests with the rights of `user` in `project`."""

    def __init__(self, system: System, user: str = ADMIN, project: str = ADMIN) -> None:
        self._system = system
        self._user = user
        self._project = project
        self._token = ""

    def ask(self, method: str, port: int, path: str, body: Any = None, **headers: str) -> Any:
        """Return the JSON of the answer, {} if there is none. Raise RefusedError, or OSError."""
        return self._send(method, port, path, body, {"X-Auth-Token": self.token, **headers})[1]

    @property
    def token(self) -> str:
        """A token of keystone with these rights; it outlives every test. Raise RefusedError, or OSError."""
        if not self._token:
            self._token = self._new_token()
        return self._token

    def _new_token(self) -> str:
        domain = {"id": "default"}
        identity = {
            "methods": ["password"],
            "password": {"user": {"name": self._user, "domain": domain, "password": PASSWORD}},
        }
        scope = {"project": {"name": self._project, "domain": domain}}
        body = {"auth": {"identity": identity, "scope": scope}}
        return self._send("POST", KEYSTONE_PORT, "/v3/auth/tokens", body, {})[0]["X-Subject-Token"]

    def _send(
        self, method: str, port: int, path: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[Mapping[str, str], Any]:
        content = body if isinstance(body, (bytes, type(None))) else json.dumps(body)
        connection = Connection(self._system, port)
        try:
            connection.request(method, path, content, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            what = f"{method} {path}: HTTP {answer.status}: {text[:500].decode(errors='replace')}"
            raise RefusedError(what, answer.status)
        return answer.headers, json.loads(text) if text else {}
