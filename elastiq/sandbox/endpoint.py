"""The sandbox's cloud: moto's EC2 on a free port of the loopback interface, made to behave where moto does not.

moto 5.2.5 launches MinCount VMs whatever MaxCount says, and launches again when a ClientToken is repeated; real clouds
do neither. `python -m elastiq.sandbox.endpoint` prints its URL and serves until its standard input ends.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from elastiq.clock import Clock

STATISTICS_PATH = "/sandbox/statistics"

Answer = tuple[str, list[tuple[str, str]], bytes]
"""Status, headers, body."""


@dataclass
class Statistics:
    """What the cloud saw; the demonstration's summary is made from it, not from what elastiq says of itself."""

    requests: dict[str, int] = field(default_factory=dict)
    launched_at: dict[str, float] = field(default_factory=dict)
    terminated_at: dict[str, float] = field(default_factory=dict)
    most_vms: int = 0

    def launched(self, ids: Iterable[str], now: float) -> None:
        """Count VMs as made."""
        for id_ in ids:
            self.launched_at.setdefault(id_, now)
        self.most_vms = max(self.most_vms, len(self.launched_at) - len(self.terminated_at))

    def terminated(self, ids: Iterable[str], now: float) -> None:
        """Count VMs as gone."""
        for id_ in ids:
            if id_ in self.launched_at:
                self.terminated_at.setdefault(id_, now)


class WellBehaved:
    """WSGI layer before moto: MaxCount, client tokens, and a count of what was asked."""

    def __init__(self, moto: Callable[..., Iterable[bytes]], clock: Clock) -> None:
        self._moto = moto
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: dict[str, Answer] = {}
        self.statistics = Statistics()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        with self._lock:
            if environ.get("PATH_INFO") == STATISTICS_PATH:
                text = json.dumps(asdict(self.statistics)).encode()
                status, headers, content = "200 OK", [("Content-Type", "application/json")], text
            else:
                status, headers, content = self._answer(environ, body)
        start_response(status, headers)
        return [content]

    def _answer(self, environ: dict[str, Any], body: bytes) -> Answer:
        form = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
        action, token = form.get("Action", ""), form.get("ClientToken", "")
        self.statistics.requests[action] = self.statistics.requests.get(action, 0) + 1
        if action == "RunInstances":
            if token in self._answers:
                return self._answers[token]
            maximum = int(form.get("MaxCount", "1"))
            body = re.sub(rb"(^|&)MinCount=\d+", rb"\g<1>MinCount=%d" % maximum, body)
        answer = self._ask_moto(environ, body)
        if answer[0].startswith("200"):
            if action == "RunInstances":
                ids = re.findall(r"<instanceId>(i-[0-9a-f]+)</instanceId>", answer[2].decode())
                self.statistics.launched(ids, self._clock.now())
                if token:
                    self._answers[token] = answer
            elif action == "TerminateInstances":
                ids = [value for name, value in form.items() if name.startswith("InstanceId.")]
                self.statistics.terminated(ids, self._clock.now())
        return answer

    def _ask_moto(self, environ: dict[str, Any], body: bytes) -> Answer:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> Callable[[bytes], None]:
            started.append((status, headers))
            return lambda _: None

        environ = {**environ, "wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        content = b"".join(self._moto(environ, start_response))
        status, headers = started[-1]
        return status, headers, content


class QuietHandler(MotoRequestHandler):
    """Logs no request."""

    def log(self, *_: object) -> None:
        """Say nothing."""


def main() -> int:
    """Serve until standard input ends, so that the endpoint never outlives who started it."""
    app = WellBehaved(DomainDispatcherApplication(create_backend_app), Clock())
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=QuietHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    try:
        sys.stdin.read()
    except KeyboardInterrupt:
        pass
    server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
