"""What the sandbox's endpoint adds to moto: MaxCount, client tokens, and an account of what it saw."""

from __future__ import annotations

from io import BytesIO
from urllib.parse import parse_qs, urlencode

import pytest

pytest.importorskip("moto", reason="the demonstration needs moto: pip install -e '.[sandbox]'")
pytest.importorskip("flask", reason="the demonstration needs flask: pip install -e '.[sandbox]'")

from elastiq.clock import Clock
from elastiq.sandbox.endpoint import STATISTICS_PATH, WellBehaved


class Moto:
    """Launches MinCount VMs each time it is asked, as moto does."""

    def __init__(self) -> None:
        self.vms = 0
        self.status = "200 OK"

    def __call__(self, environ, start_response):  # type: ignore[no-untyped-def]
        form = parse_qs(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode())
        start_response(self.status, [("Content-Type", "text/xml")])
        ids = []
        for _ in range(int(form.get("MinCount", ["0"])[0])):
            ids.append(f"<instanceId>i-{self.vms:04x}</instanceId>")
            self.vms += 1
        return ["".join(ids).encode()]


def ask(app: WellBehaved, path: str = "/", **parameters: str) -> tuple[str, bytes]:
    body = urlencode(parameters).encode()
    statuses: list[str] = []
    environ = {"PATH_INFO": path, "CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body)}
    content = b"".join(app(environ, lambda status, _headers: statuses.append(status)))
    return statuses[0], content


@pytest.fixture
def moto() -> Moto:
    return Moto()


@pytest.fixture
def app(moto: Moto) -> WellBehaved:
    return WellBehaved(moto, Clock())


def test_as_many_vms_as_max_count_are_made(app: WellBehaved, moto: Moto) -> None:
    ask(app, Action="RunInstances", MinCount="1", MaxCount="4")
    assert moto.vms == 4
    assert app.statistics.most_vms == 4


def test_a_repeated_client_token_launches_nothing(app: WellBehaved, moto: Moto) -> None:
    first = ask(app, Action="RunInstances", MinCount="1", MaxCount="2", ClientToken="a")
    assert ask(app, Action="RunInstances", MinCount="1", MaxCount="2", ClientToken="a") == first
    assert moto.vms == 2
    ask(app, Action="RunInstances", MinCount="1", MaxCount="1", ClientToken="b")
    assert moto.vms == 3


def test_a_refused_launch_does_not_use_up_its_token(app: WellBehaved, moto: Moto) -> None:
    moto.status = "400 Bad Request"
    ask(app, Action="RunInstances", MinCount="0", MaxCount="0", ClientToken="a")
    moto.status = "200 OK"
    ask(app, Action="RunInstances", MinCount="1", MaxCount="2", ClientToken="a")
    assert app.statistics.most_vms == 2


def test_what_was_seen_is_accounted_for(app: WellBehaved) -> None:
    ask(app, Action="RunInstances", MinCount="1", MaxCount="3")
    ask(app, Action="TerminateInstances", **{"InstanceId.1": "i-0000", "InstanceId.2": "i-ffff"})
    ask(app, Action="RunInstances", MinCount="1", MaxCount="1")
    statistics = app.statistics
    assert statistics.requests == {"RunInstances": 2, "TerminateInstances": 1}
    assert (len(statistics.launched_at), list(statistics.terminated_at), statistics.most_vms) == (4, ["i-0000"], 3)
    status, content = ask(app, STATISTICS_PATH)
    assert status == "200 OK"
    assert b'"most_vms": 3' in content
