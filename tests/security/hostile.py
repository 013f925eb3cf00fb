"""A server on this machine that answers as nobody should, and what it was asked."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Answer = Callable[["Conversation"], None]
GOOD = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
    b"<requestId>1</requestId><reservationSet>%b</reservationSet></DescribeInstancesResponse>"
)


@dataclass
class Conversation:
    """One connection, after a request was read."""

    connection: socket.socket
    server: Server
    request: bytes = b""

    def say(self, data: bytes) -> None:
        """Send bytes as they are; what the client takes is counted."""
        view = memoryview(data)
        while view:
            sent = self.connection.send(view[:65536])
            self.server.sent_bytes += sent
            view = view[sent:]

    def answer(self, body: bytes, headers: bytes = b"", status: bytes = b"200 OK") -> None:
        self.say(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n" % (status, len(body), headers) + body)


@dataclass
class Server:
    """Where it listens, and what came."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    sent_bytes: int = 0
    accepted: int = 0
    """Connections."""
    closing: threading.Event = field(default_factory=threading.Event)
    ended: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Is released once for each connection whose answer has ended, or that the client has closed."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


@contextmanager
def serve(answer: Answer, secure: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Answer each request with `answer`, which may say whatever it likes; by TLS if `secure` says how."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(listening.getsockname()[1])

        def converse(connection: socket.socket) -> None:
            with (
                suppress(OSError),
                secure.wrap_socket(connection, server_side=True) if secure else connection as connection,
            ):
                while request := _request(connection):
                    server.requests.append(request)
                    answer(Conversation(connection, server, request))
            server.ended.release()

        def take() -> None:
            while True:
                try:
                    connection = listening.accept()[0]
                except OSError:
                    return
                server.accepted += 1
                threading.Thread(target=converse, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(60)


def _request(connection: socket.socket) -> bytes:
    """Return a whole request, or nothing if the client is gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        piece = connection.recv(65536)
        if not piece:
            return b""
        body += piece
    return head + b"\r\n\r\n" + body
