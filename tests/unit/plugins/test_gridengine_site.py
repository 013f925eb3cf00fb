"""What is remembered of Grid Engine's configuration; tests of the plugin try it with changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from elastiq.command import Result
from elastiq.errors import BatchError
from elastiq.plugins.gridengine_parse import Group
from elastiq.plugins.gridengine_site import CONFIGURATION_SECONDS, Site
from elastiq.plugins.kit import Deadline
from tests.unit.fakes import FakeClock

RECORDED = Path(__file__).parent / "recorded" / "gridengine"


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Result]:
    files = {
        "qconf -sc": "complexes-site",
        "qconf -se global": "host-global",
        "qconf -sq *": "queues",
        "qconf -sp mpi": "environment-mpi",
    }
    answers = {command: Result(0, (RECORDED / name).read_text(), "") for command, name in files.items()}
    answers["qconf -spl"] = Result(0, "mpi\n", "")

    def execute(arguments: Sequence[str], *_: Any) -> Result:
        return answers[" ".join(arguments)]

    def run(arguments: Sequence[str], *_: Any) -> str:
        result = execute(arguments)
        if result.status:
            raise BatchError(result.excerpt)
        return result.output

    monkeypatch.setattr("elastiq.plugins.gridengine_site.execute", execute)
    monkeypatch.setattr("elastiq.plugins.gridengine_site.run", run)
    return answers


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def deadline(clock: FakeClock) -> Deadline:
    return Deadline(clock, 1e9, "Grid Engine")


def test_recorded(answers: dict[str, Result], clock: FakeClock, deadline: Deadline) -> None:
    site = Site(clock)
    assert "kind" in site.complexes(deadline).named
    assert site.cluster_wide == {"lic"}
    assert len(site.fingerprint) == 16
    assert site.rules([Group("mpi", 2, {}, 1)], deadline) == {"mpi": "$fill_up"}


def test_it_is_asked_anew_after_a_while(answers: dict[str, Result], clock: FakeClock, deadline: Deadline) -> None:
    site = Site(clock)
    site.complexes(deadline)
    answers["qconf -sc"] = Result(1, "", "commlib error")
    site.complexes(deadline)
    clock.sleep(CONFIGURATION_SECONDS + 1)
    with pytest.raises(BatchError):
        site.complexes(deadline)


def test_a_cluster_without_queues_and_environments(
    answers: dict[str, Result], clock: FakeClock, deadline: Deadline
) -> None:
    answers["qconf -sq *"] = Result(1, "", 'No cluster queue or queue instance matches the phrase "*"')
    answers["qconf -spl"] = Result(1, "", "no parallel environment defined")
    site = Site(clock)
    site.complexes(deadline)
    assert site.fingerprint == ""
    assert site.rules([Group("mpi", 2, {}, 1)], deadline) == {}


def test_silence_is_no_configuration(answers: dict[str, Result], clock: FakeClock, deadline: Deadline) -> None:
    site = Site(clock)
    site.complexes(deadline)
    answers["qconf -spl"] = Result(1, "", "error: commlib error")
    with pytest.raises(BatchError):
        site.rules([Group("mpi", 2, {}, 1)], deadline)
