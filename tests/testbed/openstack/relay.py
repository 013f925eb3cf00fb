"""From a port of the host (or of another network) to a service of OpenStack, and back: nothing is changed, everything
is kept, and answers come as late as one likes."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from tests.testbed.openstack.administration import Connection
from tests.testbed.openstack.system import System
from tests.testbed.web import LocalServer, QuietHandler

_ANSWER_SECONDS = 600.0
"""A bound against hangs: on a busy machine OpenStack was seen to take three minutes for six instances."""
_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "server", "date")


@dataclass
class Exchange:
    """A request and its answer."""

    operation: str
    """Of EC2; empty in the requests of others."""
    parameters: dict[str, str]
    at: float
    """Monotonic time."""
    status: int = 0
    """0: no answer yet."""
    content_type: str = ""
    body: str = ""
    took_seconds: float = 0
    """How long OpenStack took, without the delay that was added."""


class Relay:
    """`with Relay(system, port) as relay: relay.url`.

    answer_delay_seconds: operation of EC2, or "*", -> by how much its answers are held back after they took effect.
    May be changed while it runs.
    bind, entering: where to listen; `entering()` is entered while the socket is bound (another network namespace).
    """

    def __init__(
        self,
        system: System,
        port: int,
        *,
        bind: str = "127.0.0.1",
        entering: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.answer_delay_seconds: dict[str, float] = {}
        self.exchanges: list[Exchange] = []
        self.system = system
        self.port = port
        self._closing = threading.Event()
        with entering():
            self._server = _Server((bind, 0), _Handler)
        self._server.relay = self
        self.url = f"http://{bind}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Listen no longer."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def forget(self) -> None:
        """Begin anew: nothing was asked, and nothing is late."""
        self.exchanges.clear()
        self.answer_delay_seconds.clear()

    def operations(self, *names: str) -> list[Exchange]:
        """Return what was asked by these operations of EC2, and what the answers were."""
        return [exchange for exchange in list(self.exchanges) if exchange.operation in names]

    def hold_back(self, operation: str) -> None:
        """Wait for as long as answers of `operation` are to be late, but not longer than the relay lives."""
        self._closing.wait(self.answer_delay_seconds.get(operation, self.answer_delay_seconds.get("*", 0)))


class _Server(LocalServer):
    relay: Relay


class _Handler(QuietHandler):
    server: _Server

    def _pass_on(self) -> None:
        relay = self.server.relay
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        form = self.headers.get_content_type() == "application/x-www-form-urlencoded"
        parameters = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True)) if form else {}
        exchange = Exchange(parameters.get("Action", ""), parameters, time.monotonic())
        relay.exchanges.append(exchange)
        connection = Connection(relay.system, relay.port)
        try:
            connection.connect()
            connection.sock.settimeout(_ANSWER_SECONDS)
            # The headers as they are: what is signed must not change.
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "connection":
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self.close_connection = True
            return
        finally:
            connection.close()
        exchange.took_seconds = time.monotonic() - exchange.at
        relay.hold_back(exchange.operation)
        exchange.content_type = answer.headers.get("Content-Type", "")
        exchange.body = content.decode(errors="replace")
        exchange.status = answer.status
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # whatever the method
            return self._pass_on
        raise AttributeError(name)
