"""The process around the loop, as far as no process is needed to see it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from elastiq.config import Settings
from elastiq.daemon import Daemon
from elastiq.plugins import loading
from elastiq.ports import Cloud
from elastiq.redaction import Redactor
from elastiq.state import State
from tests.unit.fakes import settings_with


class CountingCore:
    def __init__(self, idle_seconds: float = 0.0) -> None:
        self.steps = 0
        self.idle_seconds = idle_seconds

    def step(self) -> None:
        self.steps += 1

    def seconds_to_next_check(self) -> float:
        return self.idle_seconds

    def reconfigure(self, settings: Settings, batch: object, cloud: Cloud) -> None:
        self.cloud = cloud

    def try_again(self) -> None:
        """Nothing was given up."""


@pytest.mark.parametrize(("sleep_s", "longest"), [(5.0, 5.0), (3600.0, 60.0)])
def test_it_sleeps_no_longer_than_until_a_report_is_due(
    sleep_s: float, longest: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, core = Daemon(settings_with(sleep_s=sleep_s), tmp_path, Redactor()), CountingCore(idle_seconds=7200.0)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        process._on_stop(signal.SIGTERM, None)

    monkeypatch.setattr(process, "_sleep", sleep)
    process._loop(core)  # type: ignore[arg-type]
    assert slept == [longest]


def test_a_stop_that_comes_while_the_configuration_is_read_again_begins_no_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It meets lanes and an actuator that are about to be replaced, so that nothing would cut the pass short."""
    process, core = Daemon(Settings(), tmp_path, Redactor()), CountingCore()
    monkeypatch.setattr(process, "_read_configuration", lambda core: process._on_stop(signal.SIGTERM, None))
    process._on_reload(signal.SIGHUP, None)
    process._loop(core)  # type: ignore[arg-type]
    assert core.steps == 0


CONFIGURATION = """
[elastiq]
batch_plugin = slurm
cluster_name = test
[ec2]
image_id = ami-12345678
api_url = https://cloud.example.org
region = nova
"""


@pytest.mark.parametrize(
    ("old", "new", "refused"),
    [
        ("image_id = ami-12345678", "image_id = ami-87654321", {"TagSpecifications"}),
        ("api_url = https://cloud.example.org", "api_url = https://ec2.eu-west-1.amazonaws.com", set()),
        ("region = nova", "region = other", set()),
        ("region = nova", "region = nova\napi_version = 2014-10-01", set()),
    ],
)
def test_another_cloud_is_not_believed_to_refuse_what_the_last_one_did(
    tmp_path: Path, old: str, new: str, refused: set[str]
) -> None:
    """Or launches at AWS would have no tags after a move from OpenStack."""
    file = tmp_path / "elastiq.conf"
    file.write_text(CONFIGURATION)
    settings = loading.read_settings(file)
    process, core = Daemon(settings, tmp_path, Redactor()), CountingCore()
    process._state = state = State(tmp_path, 0.0)
    state.save_refused_features(settings.cloud, frozenset({"TagSpecifications"}))
    file.write_text(CONFIGURATION.replace(old, new))
    process._read_configuration(core)  # type: ignore[arg-type]
    assert core.cloud.refused_features == refused
    state.close()
