"""First process of a testbed machine; runs in the machine's own namespaces and root with nothing but Python.

Reads one line of JSON from standard input. Then the same pipe is the machine's power cord: at its end (its other end
was closed, or whoever held it is dead) this process exits, and the kernel kills everything in its pid namespace.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

_METADATA_ADDRESS = ("169.254.169.254", 80)
_TOKEN_HEADER = "X-aws-ec2-metadata-token"
_TOKEN = "testbed-session"
LATER = Path("/run/metadata")
"""What the service knows beside what it was started with: a file for each path."""


class MetadataHandler(http.server.BaseHTTPRequestHandler):
    """The part of EC2's instance metadata service, version 2, that user data asks for."""

    documents: dict[str, str]

    def do_PUT(self) -> None:
        if self.path == "/latest/api/token" and self.headers.get(_TOKEN_HEADER + "-ttl-seconds"):
            self._answer(200, _TOKEN)
        else:
            self._answer(400, "")

    def do_GET(self) -> None:
        if self.headers.get(_TOKEN_HEADER) != _TOKEN:
            self._answer(401, "")
        elif self.path in self.documents:
            self._answer(200, self.documents[self.path])
        elif LATER.joinpath(self.path.lstrip("/")).is_file():
            self._answer(200, LATER.joinpath(self.path.lstrip("/")).read_text(encoding="utf-8"))
        else:
            self._answer(404, "")

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def _serve_metadata(documents: dict[str, str]) -> None:
    handler = type("Handler", (MetadataHandler,), {"documents": documents})
    server = http.server.ThreadingHTTPServer(_METADATA_ADDRESS, handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def _die_with_the_cord() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def main() -> None:
    """Set the machine up as told, start its user data, and reap what dies."""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1) or sys.exit(1)
    task = json.loads(line)
    threading.Thread(target=_die_with_the_cord, daemon=True).start()
    for path, text, mode in task["files"]:
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)
    if task["metadata"]:
        _serve_metadata(task["metadata"])
    if task["script"]:
        script = Path("/run/user-data")
        script.write_text(task["script"], encoding="utf-8")
        script.chmod(0o700)
        with open("/var/log/testbed/console", "ab") as console:
            # Left alone on purpose: the loop below reaps it like every other orphan.
            subprocess.Popen([str(script)], stdin=subprocess.DEVNULL, stdout=console, stderr=console, cwd="/")
    print("up", flush=True)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(0.1)


main()
