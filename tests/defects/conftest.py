"""What the tests of more than one paragraph need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elastiq.ec2 import Ec2, Limits
from tests.process.conftest import HeadNode, head, silent_cloud
from tests.testbed.moto_server import MotoServer
from tests.testbed.proxy import Ec2Endpoint
from tests.unit.fakes import settings_with
from tests.unit.rig import SETTINGS, Rig

__all__ = ["HeadNode", "head", "silent_cloud"]

IMAGE = "ami-12345678"


class RigOnEc2(Rig):
    """A Core on a fake batch system and the real client of EC2, which talks to a real endpoint."""

    def __init__(self, directory: Path, endpoint: Ec2Endpoint, **settings: object) -> None:
        self.endpoint = endpoint
        values: dict[str, object] = {
            "api_url": endpoint.url,
            "aws_access_key_id": "testing-key",
            "aws_secret_access_key": "testing-secret",
            "image_id": IMAGE,
            **settings,
        }
        super().__init__(directory, settings_with(SETTINGS, **values))

    def start(self) -> None:
        # The endpoint never hangs; on a busy machine it may take long.
        limits = Limits(connect_seconds=60, read_seconds=60, attempts=2, deadline_seconds=300)
        self.cloud = Ec2(self.settings, limits=limits)  # type: ignore[assignment]
        super().start()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.state.close()


@pytest.fixture(scope="session")
def moto() -> Iterator[MotoServer]:
    with MotoServer() as server:
        yield server


@pytest.fixture
def endpoint(moto: MotoServer) -> Iterator[Ec2Endpoint]:
    with Ec2Endpoint(moto_url=moto.url, launch_delay_seconds=0) as made:
        yield made
