"""Names and places that depend on the machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.config import defaults
from tests.unit.config.rig import IMAGE, OPTIONS, loaded


def test_cluster_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(tmp_path, f"[elastiq]\ncluster_name = atlas.prod\n{IMAGE}").elastiq.cluster_name == "atlas.prod"
    monkeypatch.setattr("elastiq.config.defaults.socket.gethostname", lambda: "Head.Example.org")
    assert loaded(tmp_path, IMAGE).elastiq.cluster_name == "head.example.org"


def test_cluster_name_without_domain_is_made_unique() -> None:
    assert defaults.cluster_name_of("head.example.org", "1") == defaults.cluster_name_of("head.example.org", "2")
    assert (
        defaults.cluster_name_of("head", "1")
        == defaults.cluster_name_of("head", "1")
        != defaults.cluster_name_of("head", "2")
    )
    assert defaults.cluster_name_of("head", "1").startswith("head-")
    assert defaults.cluster_name_of("localhost.localdomain", "1").startswith("localhost.localdomain-")
    assert defaults.cluster_name_of("head", "") == "head"


@given(st.text(), st.text())
def test_default_cluster_name_is_always_a_good_one(host_name: str, machine_id: str) -> None:
    option = next(option for option in OPTIONS if option.name == "cluster_name")
    name = defaults.cluster_name_of(host_name, machine_id)
    assert re.fullmatch(option.pattern, name)


def test_default_state_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("elastiq.config.defaults.os.geteuid", lambda: 0)
    assert defaults.state_dir() == Path("/var/lib/elastiq")
    monkeypatch.setattr("elastiq.config.defaults.os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert defaults.state_dir() == tmp_path / ".elastiq"
    # Of another service, in which elastiq runs.
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/other")
    assert defaults.state_dir() == tmp_path / ".elastiq"
    # The unit of the package, run as another user (docs/tutorial-slurm.md).
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/elastiq")
    assert defaults.state_dir() == Path("/var/lib/elastiq")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("HOME", "/var/lib/elastiq")
    assert defaults.state_dir() == Path("/var/lib/elastiq")
