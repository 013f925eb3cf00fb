"""A cloud that only replays: EC2 answers rendered beforehand, from a process of its own, so that its cost is nobody's.

`python -m tests.bench.replay VMS STATE LATENCY_SECONDS [--bucket]` prints its port and serves until its standard input
ends.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import Template
from urllib.parse import parse_qs

ITEM = Template((Path(__file__).parent / "instance.xml").read_text("ascii"))
"""An instance as AWS lists it, 5 kB, in a reservation of its own."""

CODES = {"pending": 0, "running": 16}
TYPE_ANSWER = (
    "<DescribeInstanceTypesResponse><instanceTypeSet><item><instanceType>m5.large</instanceType>"
    "<vCpuInfo><defaultVCpus>4</defaultVCpus></vCpuInfo><memoryInfo><sizeInMiB>8192</sizeInMiB></memoryInfo>"
    "</item></instanceTypeSet></DescribeInstanceTypesResponse>"
)


def instance_id(number: int) -> str:
    return f"i-{number:017x}"


def address(number: int) -> str:
    return f"10.77.{number // 250}.{number % 250 + 1}"


def render(number: int, state: str, token: str, launched_at: float) -> str:
    return ITEM.substitute(
        hex=f"{number:017x}",
        id=instance_id(number),
        code=CODES[state],
        state=state,
        token=token,
        address=address(number),
        name=f"ip-{address(number).replace('.', '-')}.ec2.internal",
        launched=time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(launched_at)),
    )


class Bucket:
    """AWS's bucket for launches, in the time of whoever launches: so many seconds ahead of the machine's clock."""

    def __init__(self, size: float, per_second: float) -> None:
        self._size, self._per_second = size, per_second
        self._left, self._at = size, time.time()
        self.ahead_seconds = 0.0
        self.counts = Counter(launched=0, refused=0, lost=0)
        """VMs launched, requests refused, and VMs that since then could have been launched, but the bucket was full."""

    def take(self, vms: int) -> bool:
        now = time.time() + self.ahead_seconds
        left, self._at = self._left + self._per_second * (now - self._at), now
        self._left = min(self._size, left)
        if self.counts["launched"]:
            self.counts["lost"] += round(left - self._left)
        if vms > self._left:
            self.counts["refused"] += 1
            return False
        self._left -= vms
        self.counts["launched"] += vms
        return True


THROTTLED = (
    "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>Request limit exceeded.</Message></Error>"
    "</Errors><RequestID>r</RequestID></Response>"
)


class Replay:
    """The instances, and how often each action was asked for."""

    def __init__(self, vms: int, state: str, latency_seconds: float) -> None:
        self.latency_seconds = latency_seconds
        self.requests: Counter[str] = Counter()
        self.bucket: Bucket | None = None
        self._lock = threading.Lock()
        age_seconds = 1000 if state == "running" else 0
        self._items = [render(number, state, f"earlier-{number}", time.time() - age_seconds) for number in range(vms)]
        self._page(0, 1000)

    def answer(self, parameters: dict[str, list[str]]) -> bytes | None:
        """Return an answer; None: refused for now."""
        action = parameters["Action"][0]
        with self._lock:
            self.requests[action] += 1
            time.sleep(self.latency_seconds)
            if action == "DescribeInstances":
                size = int(parameters.get("MaxResults", ["1000000"])[0])
                return self._page(int(parameters.get("NextToken", ["0"])[0]), size)
            if action == "RunInstances":
                count = int(parameters["MaxCount"][0])
                is_refused = self.bucket is not None and not self.bucket.take(count)
                return None if is_refused else self._launch(count, parameters["ClientToken"][0])
            if action == "DescribeInstanceTypes":
                return TYPE_ANSWER.encode()
            return f"<{action}Response><return>true</return></{action}Response>".encode()

    @lru_cache(maxsize=64)  # noqa: B019 (there is one, and it lives as long as the process)
    def _page(self, first: int, size: int) -> bytes:
        items = "".join(self._items[first : first + size])
        more = f"<nextToken>{first + size}</nextToken>" if first + size < len(self._items) else ""
        body = f"<requestId>r</requestId><reservationSet>{items}</reservationSet>{more}"
        return f"<DescribeInstancesResponse>{body}</DescribeInstancesResponse>".encode()

    def _launch(self, count: int, token: str) -> bytes:
        first = len(self._items)
        made = [render(first + number, "pending", token, time.time()) for number in range(count)]
        self._items += made
        self._page.cache_clear()
        inner = "".join(item.split("<instancesSet>", 1)[1].rsplit("</instancesSet>", 1)[0] for item in made)
        body = f"<requestId>r</requestId><reservationId>r-1</reservationId><instancesSet>{inner}</instancesSet>"
        return f"<RunInstancesResponse>{body}</RunInstancesResponse>".encode()


class Handler(BaseHTTPRequestHandler):
    """POST is EC2; GET tells the counts of requests; with a bucket its counts, after it is told in its path by how many
    seconds the time of whoever asks is ahead."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    replay: Replay

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        answer = self.replay.answer(parse_qs(body))
        self._send(THROTTLED.encode() if answer is None else answer, 503 if answer is None else 200)

    def do_GET(self) -> None:
        counts, bucket = self.replay.requests, self.replay.bucket
        if bucket is not None:
            counts, bucket.ahead_seconds = bucket.counts, float(self.path.strip("/"))
        self._send(json.dumps(counts).encode())

    def _send(self, content: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("vms", type=int)
    parser.add_argument("state", choices=CODES)
    parser.add_argument("latency_seconds", type=float)
    parser.add_argument("--bucket", action="store_true", help="launch no faster than AWS lets VMs be launched")
    arguments = parser.parse_args()
    Handler.replay = Replay(arguments.vms, arguments.state, arguments.latency_seconds)
    if arguments.bucket:
        Handler.replay.bucket = Bucket(1000, 2.0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
