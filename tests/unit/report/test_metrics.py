"""The file for Prometheus: what is in it, what is left out, who may read it, and that it never stops a pass."""

from __future__ import annotations

import logging
import math
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elastiq.decisions import Decision, End, Kind, Outcome, Plan, Reason, Token, Verdict
from elastiq.errors import CloudFault
from elastiq.memory import Away, Memory, VmRecord
from elastiq.model import Demand, Offer, Policy, Pool, Shape
from elastiq.report import metrics
from elastiq.report.figures import Look, families
from elastiq.report.metrics import Totals
from elastiq.report.tally import Tally
from elastiq.state import read_report
from tests.unit.fakes import settings_with
from tests.unit.rig import SETTINGS, Rig

parser = pytest.importorskip("prometheus_client.parser", reason="pip install '.[test]'")

LOOK = Reason(Token.NO_ROOM, "no room")

REPORT: dict[str, Any] = {
    "cluster": 'a "b"\\c',
    "started_at": 1000.5,
    "updated_at": 2000.0,
    "jobs_waiting": 12,
    "workers_busy": 3,
    "workers_idle": 0,
    "vms_pending": 2,
    "vms_running": 4,
    "vms_leaving": 5,
    "vms_in_error": 6,
    "vms_stopped": 7,
    "vms_asked_for": 8,
    "vms_unconfirmed": 1,
    "min_vms": 0,
    "max_vms": 9,
    "reasons": [{"token": "quota-full", "subject": "default", "numbers": {}}, {"token": "quota-full", "subject": "x"}],
}


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """That of the daemon."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def written(path: Path, cluster: str = "test") -> dict[str, float]:
    """Return the samples of a file by name and the values of their labels but the cluster, which they all have."""
    found = {}
    for family in parser.text_string_to_metric_families(path.read_text()):
        assert family.documentation and family.type in ("gauge", "counter", "histogram")
        for sample in family.samples:
            assert sample.labels.pop("cluster") == cluster
            found[" ".join([sample.name, *sample.labels.values()])] = sample.value
    return found


def samples(directory: Path, totals: Totals | None = None, **changed: object) -> dict[str, float]:
    metrics.write(directory / "elastiq.prom", {**REPORT, **changed}, totals or Totals())
    return written(directory / "elastiq.prom", REPORT["cluster"])


def test_every_figure(tmp_path: Path) -> None:
    assert samples(tmp_path) == {
        "elastiq_jobs_waiting": 12,
        "elastiq_workers busy": 3,
        "elastiq_workers idle": 0,
        "elastiq_vms pending": 2,
        "elastiq_vms running": 4,
        "elastiq_vms leaving": 5,
        "elastiq_vms error": 6,
        "elastiq_vms stopped": 7,
        "elastiq_vms asked_for": 8,
        "elastiq_vms unconfirmed": 1,
        "elastiq_min_vms": 0,
        "elastiq_max_vms": 9,
        "elastiq_start_time_seconds": 1000.5,
        "elastiq_report_time_seconds": 2000,
        "elastiq_held_back quota-full": 1,
        "elastiq_vms_launched_total": 0,
        "elastiq_vms_terminated_total": 0,
        **{f"elastiq_failures_total {kind}": 0 for kind in metrics.FAILURES},
    }


COST = {"cost_per_hour": 0.096, "spent_today": 3.2, "spent_this_month": 41.1}


def test_what_vms_cost_is_told_where_it_is_known(tmp_path: Path) -> None:
    found = samples(tmp_path, **COST)
    assert {name: found[name] for name in found.keys() - samples(tmp_path).keys()} == {
        "elastiq_cost_per_hour": 0.096,
        "elastiq_spent today": 3.2,
        "elastiq_spent this_month": 41.1,
    }


def test_the_page_names_every_metric_with_its_labels(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/monitoring.md").read_text()
    told = dict(re.findall(r"`(elastiq_\w+)((?:\{[^`]*\})?)`", page))
    memory = Memory(
        vms={"i-1": VmRecord("i-1", type="m5.large")},
        offers_away={"spot m5.large": Away(2000, reason="cloud-capacity")},
    )
    verdicts = (Verdict(LOOK, Demand(Shape(), 3), 3), Verdict(LOOK, instance_id="i-1"))
    policy = Policy(pools=(Pool(offers=(Offer("spot", "m5.large"), Offer("on-demand", "m5.large"))),))
    more = families(Look(Plan((), memory, "", verdicts=verdicts), policy, Tally(), 1000))
    metrics.write(tmp_path / "elastiq.prom", {**REPORT, **COST}, Totals(), more)
    found = {}
    for family in parser.text_string_to_metric_families((tmp_path / "elastiq.prom").read_text()):
        labels = [name for name in family.samples[0].labels if name not in ("cluster", "le")]
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = "{" + ",".join(f"{label}=..." for label in labels) + "}" if labels else ""
    assert told == found


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    known = samples(tmp_path)
    found = samples(tmp_path, jobs_waiting=None, workers_idle=None)
    assert known.keys() - found.keys() == {"elastiq_jobs_waiting", "elastiq_workers idle"}
    assert "elastiq_jobs_waiting" not in (tmp_path / "elastiq.prom").read_text()


def test_no_maximum_is_infinite(tmp_path: Path) -> None:
    assert samples(tmp_path, max_vms=None)["elastiq_max_vms"] == math.inf


def test_outcomes_are_counted(tmp_path: Path) -> None:
    totals = Totals()
    launch, terminate = (
        Decision(Kind.LAUNCH, Reason(Token.NO_ROOM, "jobs wait"), count=3),
        Decision(Kind.TERMINATE, Reason(Token.IDLE, "idle"), instance_id="i-1"),
    )
    totals.count(Outcome(launch, End.DONE, instance_ids=("i-1", "i-2")))
    totals.count(Outcome(launch, End.UNCLEAR))
    totals.count(Outcome(launch, End.REFUSED))
    totals.count(Outcome(terminate, End.DONE))
    totals.count(Outcome(terminate, End.FAILED))
    totals.count(Outcome(Decision(Kind.REOPEN, Reason(Token.NO_ROOM, "jobs wait"), instance_id="i-1"), End.DONE))
    found = samples(tmp_path, totals)
    assert (found["elastiq_vms_launched_total"], found["elastiq_vms_terminated_total"]) == (2, 1)
    failed = {name.partition(" ")[2]: value for name, value in found.items() if name.startswith("elastiq_failures")}
    assert {kind for kind, value in failed.items() if value} == {"launch", "terminate"}
    assert failed["launch"] == failed["terminate"] == 1, "a dry run and a busy worker are no failures"


def test_anybody_may_read_it_whatever_the_umask_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "elastiq.prom"
    (tmp_path / "elsewhere").write_text("mine")
    path.with_name("elastiq.prom.tmp").symlink_to(tmp_path / "elsewhere")
    for _ in range(2):
        metrics.write(path, REPORT, Totals())
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert {file.name for file in tmp_path.iterdir()} == {"elastiq.prom", "elsewhere"}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "state", settings_with(SETTINGS, metrics_file=tmp_path / "metrics" / "elastiq.prom"))
    yield made
    made.state.close()


def metrics_file(rig: Rig) -> Path:
    path = rig.settings.elastiq.metrics_file
    assert path
    return path


def test_the_daemon_writes_what_it_reports(rig: Rig) -> None:
    metrics_file(rig).parent.mkdir()
    rig.wait_for_jobs(8)
    rig.run(60)
    rig.batch.joined = None
    rig.run(60)
    report, found = read_report(rig.directory), written(metrics_file(rig))
    assert report
    assert found["elastiq_jobs_waiting"] == report["jobs_waiting"] == 8
    assert found["elastiq_vms pending"] == found["elastiq_vms_launched_total"] == report["vms_pending"] == 2
    assert "elastiq_workers idle" not in found and "elastiq_workers busy" not in found
    assert found["elastiq_failures_total worker check"] > 0
    assert found["elastiq_report_time_seconds"] == report["updated_at"]


def test_it_is_written_every_minute_even_if_nothing_happens(rig: Rig) -> None:
    metrics_file(rig).parent.mkdir()
    rig.run(300)
    assert rig.clock.now() - written(metrics_file(rig))["elastiq_report_time_seconds"] < 80


def test_a_file_that_can_not_be_written_is_said_once_and_stops_nothing(
    rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    reports: list[object] = []
    save = rig.state.save_report
    monkeypatch.setattr(rig.state, "save_report", lambda report, *rest: (reports.append(report), save(report, *rest)))
    fault = f"metrics_file {metrics_file(rig)} cannot be written: No such file or directory"
    rig.run(600)
    assert caplog.messages.count(fault) == 1
    assert len(reports) < 20, "a file that cannot be written is no news in every pass"
    report = read_report(rig.directory)
    assert report and report["last_error"]["text"] == fault
    rig.wait_for_jobs(40)
    rig.run(60)
    assert rig.cloud.launches == [5]
    metrics_file(rig).parent.mkdir()
    rig.run(120)
    assert "metrics file works again" in caplog.messages
    assert written(metrics_file(rig))["elastiq_failures_total metrics file"] > 1


def test_a_directory_in_its_place_is_no_defect(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    metrics_file(rig).mkdir(parents=True)
    rig.run(60)
    assert f"metrics_file {metrics_file(rig)} cannot be written: Is a directory" in caplog.messages
    assert "defect" not in caplog.text


def test_another_file_is_written_as_soon_as_the_configuration_names_it(rig: Rig, tmp_path: Path) -> None:
    metrics_file(rig).parent.mkdir()
    rig.run(61)
    rig.settings = settings_with(rig.settings, metrics_file=tmp_path / "other.prom")
    rig.core.reconfigure(rig.settings, rig.batch, rig.cloud)
    rig.core.step()
    assert written(tmp_path / "other.prom")["elastiq_report_time_seconds"] == rig.clock.now()


def test_a_failed_launch_is_counted(rig: Rig) -> None:
    metrics_file(rig).parent.mkdir()
    rig.run(20)
    rig.wait_for_jobs(8)
    rig.cloud.fault = CloudFault.CAPACITY
    rig.run(120)
    found = written(metrics_file(rig))
    assert found["elastiq_vms_launched_total"] == 0
    assert found["elastiq_failures_total VM check"] > 0
