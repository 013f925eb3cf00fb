"""Ec2 on an endpoint, and how long the tests wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from elastiq.clock import Clock
from elastiq.ec2 import Ec2, Limits
from elastiq.model import Pool
from tests.testbed.proxy import Ec2Endpoint, Vm
from tests.unit.fakes import settings_with

POOL = Pool(instance_type="m5.large")
USER_DATA = b"#!/bin/sh\nexport PASSWORD=hunter2-hunter2\nexec start-worker\n"
KEYS = {"testing-key": "testing-secret"}
LONG = 120.0
"""Seconds; a bound against hangs."""
PATIENT = Limits(connect_seconds=LONG, read_seconds=LONG, attempts=2, deadline_seconds=2 * LONG)
IMPATIENT = replace(PATIENT, read_seconds=1, terminate_seconds=1, launch_seconds=1, launch_seconds_per_vm=0)
"""For an endpoint that says nothing; any other may take longer than that on a slow machine."""
UNKNOWN_ID = "i-0123456789abcdef0"


def cloud(endpoint: Ec2Endpoint, refused: frozenset[str] = frozenset(), **settings: object) -> Ec2:
    values: dict[str, object] = {
        "api_url": endpoint.url,
        "aws_access_key_id": "testing-key",
        "aws_secret_access_key": "testing-secret",
        "image_id": "ami-12345678",
        "flavour": "m5.large",
        "cluster_name": "physics",
        **settings,
    }
    user_data = values.pop("user_data", USER_DATA)
    limits = values.pop("limits", PATIENT)
    return Ec2(
        settings_with(**values),
        refused,
        user_data={"default": user_data},  # type: ignore[dict-item]
        limits=limits,  # type: ignore[arg-type]
        clock=HastyClock(),
    )


class HastyClock(Clock):
    """Pauses between tries pass at once, and yet count."""

    def __init__(self) -> None:
        super().__init__()
        self.slept = 0.0

    def now(self) -> float:
        return super().now() + self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


def asked(endpoint: Ec2Endpoint, *names: str) -> list[str]:
    return [request.operation for request in endpoint.operations(*names)]


def ids(vms: list[Vm]) -> list[str]:
    return [vm.id for vm in vms]


REFUSED = {"TagSpecifications", "MetadataOptions"}
"""By OpenStack."""


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
