"""A receiver of webhooks on loopback, that can be told to misbehave."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import cast


@dataclass
class Got:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class Receiver:
    """Used with `with`; `got` has what was posted."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.status, self.answer, self.location, self.raw = 200, b"ok", "", b""
        self.hangs = self.drips = False
        """Whether it never answers, or one byte after the other."""
        self.got: list[Got] = []
        self.over = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.receiver = self
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self._server.server_port}/hooks/a1b2c3d4e5f6"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._is_open = True

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.over.set()
        if self._is_open:
            self._is_open = False
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


class _Server(ThreadingHTTPServer):
    receiver: Receiver
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go are usual here."""


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        receiver = cast(_Server, self.server).receiver
        body = self.rfile.read(int(self.headers["Content-Length"]))
        receiver.got.append(Got(self.path, dict(self.headers), body))
        if receiver.hangs:
            receiver.over.wait(300)
        if receiver.raw:
            cast(socket.socket, self.connection).sendall(receiver.raw)
            return
        self.send_response(receiver.status)
        if receiver.location:
            self.send_header("Location", receiver.location)
        self.end_headers()
        while receiver.drips and not receiver.over.wait(0.05):
            self.wfile.write(b".")
        self.wfile.write(receiver.answer)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""
