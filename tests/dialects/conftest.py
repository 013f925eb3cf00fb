"""Endpoints that speak the dialects of EC2, through real HTTP to moto behind a proxy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import ClassVar

import pytest

from tests.dialects.rig import wait_for
from tests.testbed.moto_server import MotoServer
from tests.testbed.proxy import Ec2Endpoint

MakeEndpoint = Callable[..., Ec2Endpoint]


@pytest.fixture(scope="session")
def moto() -> Iterator[MotoServer]:
    with MotoServer() as server:
        yield server


@pytest.fixture
def make_endpoint(moto: MotoServer) -> Iterator[MakeEndpoint]:
    endpoints: list[Ec2Endpoint] = []

    def make(**settings: object) -> Ec2Endpoint:
        endpoints.append(Ec2Endpoint(moto_url=moto.url, **settings))  # type: ignore[arg-type]
        return endpoints[-1]

    yield make
    for endpoint in endpoints:
        endpoint.stop()


@pytest.fixture
def aws(make_endpoint: MakeEndpoint) -> Ec2Endpoint:
    return make_endpoint(dialect="aws")


@pytest.fixture
def openstack(make_endpoint: MakeEndpoint) -> Ec2Endpoint:
    return make_endpoint(dialect="openstack", terminated_listed_seconds=0)


@pytest.fixture(params=["aws", "openstack"])
def either(request: pytest.FixtureRequest, make_endpoint: MakeEndpoint) -> Ec2Endpoint:
    return make_endpoint(dialect=request.param)


class AskedThread(threading.Thread):
    """The thread of a request. Its deadline begins when the endpoint has been asked."""

    endpoint: ClassVar[Ec2Endpoint]

    def start(self) -> None:
        self.asked_before = len(self.endpoint.requests)
        super().start()

    def join(self, timeout: float | None = None) -> None:
        wait_for(lambda: len(self.endpoint.requests) > self.asked_before or not self.is_alive())
        super().join(timeout)


AskedThreading = SimpleNamespace(Thread=AskedThread, Event=threading.Event, Lock=threading.Lock)


@pytest.fixture
def deadlines_begin_when_asked(monkeypatch: pytest.MonkeyPatch, aws: Ec2Endpoint) -> None:
    monkeypatch.setattr(AskedThread, "endpoint", aws, raising=False)
    monkeypatch.setattr("elastiq.ec2.sending.threading", AskedThreading)
