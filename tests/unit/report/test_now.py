"""How things stand, as it is read from a state directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from elastiq.memory import Stage
from elastiq.planning.why import Told
from elastiq.report.now import AT_WORK, IDLE, STAGES, Now, Report
from tests.page.scenes import REPORT, SCENES, USUAL_VMS, usual
from tests.unit.report.test_status import REPORT as DOCUMENT
from tests.unit.rig import SETTINGS, Rig


def test_what_the_daemon_left_is_read(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.wait_for_jobs(8)
    rig.run(100)
    rig.state.close()
    now = Now.read(tmp_path, rig.clock.now(), rig.clock.monotonic_microseconds(), is_running=True)
    assert now.report and now.report.cluster == SETTINGS.elastiq.cluster_name
    assert now.report.jobs_waiting == sum(group.jobs for group in now.told.groups) == 8
    assert now.stages() == {"default": {"booting": 2}}
    assert now.silent_seconds is not None and 0 <= now.silent_seconds < 60
    assert now.state == "elastiq is running" and not now.is_in_trouble
    assert [told.token for _, told in now.verdicts()] == ["room-booting"]


def test_an_empty_directory_is_nothing(tmp_path: Path) -> None:
    now = Now.read(tmp_path, 7.0, 1, is_running=False)
    assert now == Now(7.0, is_running=False)
    assert (now.state, now.is_in_trouble) == ("elastiq is not running", True)
    assert [hold.token for hold in now.holds()] == ["not-running"]
    assert now.holds()[0].remedy == "elastiqctl start"
    assert not now.stages() and not now.verdicts() and now.error is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("document", [None, [], "x", {"started_at": "now"}, {"last_error": 7}, {"advice": 7}])
def test_a_damaged_report_is_none(document: object) -> None:
    assert Report.of(document) is None


def test_a_report_of_another_version_is_read_as_far_as_it_is_known() -> None:
    report = Report.of({**DOCUMENT, "mood": "good"})
    assert report and (report.jobs_waiting, report.max_vms) == (12, 5)
    assert report.last_action and report.last_action.at == 60.0


@pytest.mark.parametrize(
    ("silent", "said"),
    [
        (12.0, "elastiq is running"),
        (200.0, "elastiq is running, but does not report"),
        (None, "elastiq is running, but has not reported since this machine was started"),
    ],
)
def test_silence_is_said(silent: float | None, said: str) -> None:
    now = Now(0.0, is_running=True, silent_seconds=silent, report=REPORT)
    assert now.state == said
    assert now.is_in_trouble == (silent != 12.0)


def test_holds_are_said_once() -> None:
    now, _ = usual()
    hold = Told("quota-full", "no room for more than 5 VMs")
    assert len(replace(now, told=replace(now.told, holds=(hold, hold))).holds()) == 1


def test_every_stage_has_its_place() -> None:
    assert {stage.value for stage in Stage} - {"working"} | {AT_WORK, IDLE} == set(STAGES)
    now, _ = usual()
    assert sum(sum(counts.values()) for counts in now.stages().values()) == len(USUAL_VMS)


def test_the_largest_verdicts_come_first() -> None:
    for scene in SCENES.values():
        jobs = [told.jobs for _, told in scene()[0].verdicts()]
        assert jobs == sorted(jobs, reverse=True)
