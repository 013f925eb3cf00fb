"""How much of an answer is read: whoever answers in the place of the cloud must not fill the daemon's memory, nor keep
a request going that nobody waits for any more.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from contextvars import ContextVar
from http.client import HTTPException, HTTPResponse
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
    AWSResponse,
)
from botocore.exceptions import HTTPClientError
from urllib3.exceptions import HTTPError

MOST_ANSWER_BYTES = 12_000_000
"""Of one answer. A page of 200 VMs has 1 MB."""

MOST_MARKS = 200_000
"""So many elements and attributes an answer may have: an element of 4 bytes takes up to 400 when it is parsed. AWS
describes a VM by 120 elements and one more network interface by 40, and 1,000 of them in the answer to a launch."""

MOST_INTERIM = 10
"""Interim answers (100 to 199) before the one that counts."""

PIECE_BYTES = 65536


class Abandonment(threading.Event):
    """Is set when nobody waits any more for what a thread asks for, and cuts its connection then: an answer that drips,
    or begins for ever anew, has no end of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._descriptor = -1
        self._lock = threading.Lock()

    def watch(self, connection: socket.socket) -> None:
        """From now on an answer is waited for on this connection."""
        descriptor = os.dup(connection.fileno())  # the number itself may soon be another's
        with self._lock:
            self._close()
            self._descriptor = descriptor
        if self.is_set():
            self.set()

    def set(self) -> None:
        super().set()
        with self._lock, suppress(OSError):
            if self._descriptor >= 0:
                with socket.socket(fileno=os.dup(self._descriptor)) as connection:
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Forget the connection."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


abandonment: ContextVar[Abandonment | None] = ContextVar("abandonment", default=None)
"""Of this thread."""


class _Response(HTTPResponse):
    """Puts an end to those who say "continue" for ever: shutting down a connection does not end what still comes."""

    interim = -1

    def _read_status(self) -> Any:
        self.interim += 1
        if self.interim > MOST_INTERIM:
            raise HTTPException(f"more than {MOST_INTERIM} interim answers")
        return super()._read_status()  # type: ignore[misc]


class _Connection(AWSHTTPConnection):  # type: ignore[misc]
    response_class = _Response

    def getresponse(self, *arguments: Any, **options: Any) -> Any:
        _watch(self.sock)
        return super().getresponse(*arguments, **options)


class _SecureConnection(AWSHTTPSConnection):  # type: ignore[misc]
    response_class = _Response

    def getresponse(self, *arguments: Any, **options: Any) -> Any:
        _watch(self.sock)
        return super().getresponse(*arguments, **options)


class _Pool(AWSHTTPConnectionPool):  # type: ignore[misc]
    ConnectionCls = _Connection


class _SecurePool(AWSHTTPSConnectionPool):  # type: ignore[misc]
    ConnectionCls = _SecureConnection


def _watch(connection: socket.socket | None) -> None:
    waiting = abandonment.get()
    if waiting is not None and connection is not None:
        waiting.watch(connection)


class TooLargeError(ValueError):
    """An answer that is larger than any of the cloud can be."""


class BoundedSession:
    """An HTTP session of botocore's that reads no more than MOST_ANSWER_BYTES of an answer."""

    def __init__(self, session: Any) -> None:
        self._session = session
        vars(session)["_pool_classes_by_scheme"].update(http=_Pool, https=_SecurePool)

    def send(self, request: Any) -> AWSResponse:
        """Send a request and return the whole answer. Raise TooLargeError, or botocore's errors."""
        request.stream_output = True
        answer = self._session.send(request)
        try:
            body = _read(answer.raw)
        except HTTPError as error:
            raise HTTPClientError(error=error) from error
        return AWSResponse(answer.url, answer.status_code, answer.headers, _Whole(body))

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


class _Whole:
    """A body as botocore reads one."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Iterator[bytes]:
        yield self._body


def _read(raw: Any) -> bytes:
    """Return the body as it was sent: what is compressed stays so, and is then no answer of EC2."""
    body = bytearray()
    # Not by its own `stream`: that reads the length of a chunk to the end of its line, however far away it is.
    while piece := raw.read(PIECE_BYTES, decode_content=False):
        body += piece
        if len(body) > MOST_ANSWER_BYTES:
            raw.close()
            raise TooLargeError(f"the answer has more than {MOST_ANSWER_BYTES} bytes")
    raw.release_conn()
    return bytes(body)


def check_marks(body: bytes) -> None:
    """Raise TooLargeError for a document that would take too much memory when it is parsed."""
    if body.count(b"<") - body.count(b"</") + body.count(b"=") > MOST_MARKS:
        raise TooLargeError(f"the answer has more than {MOST_MARKS} elements and attributes")
