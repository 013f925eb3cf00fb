"""What the testbed's own HTTP servers have in common."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class LocalServer(ThreadingHTTPServer):
    """Serves each client in a thread that ends with the process."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """A client that goes away is what many tests are about."""


class QuietHandler(BaseHTTPRequestHandler):
    """Keeps connections, answers at once, and logs nothing: requests are recorded."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Requests are recorded, not logged."""
