"""What is said in the log, in the last decisions, and in the report that `status` shows."""

from __future__ import annotations

import json
import logging
import sqlite3
from pathlib import Path
from typing import NoReturn

import pytest

from elastiq.errors import BatchError, CloudError, CloudFault, PendingError, StateError
from elastiq.model import Pool
from elastiq.redaction import Redactor
from elastiq.report.reporter import Reporter
from elastiq.state import read_report
from tests.unit.fakes import FakeClock, NoState, settings_with
from tests.unit.leaks import LEAKS, leaked, redactor
from tests.unit.rig import SETTINGS, Rig


def test_status_shows_the_end_of_the_console_while_launches_pause(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings_with(SETTINGS, estimated_vm_deploy_time_s=60))
    rig.cloud.console_tail = lambda instance_id: "much before\n" * 50 + "\nroot not found\nkernel panic\n"  # type: ignore
    rig.wait_for_jobs(100)
    rig.run(300)
    report = read_report(tmp_path)
    assert report is not None
    (hold,) = [hold for hold in report["holds"] if "launches pause" in hold]
    assert hold.endswith("much before | root not found | kernel panic")
    assert len(hold) < 500


def test_everything_done_and_left_has_a_reason_in_log_report_and_database(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rig.wait_for_jobs(100)
    rig.run(100)
    report = read_report(rig.directory)
    assert report is not None
    assert report["last_action"]["text"].startswith("launch 5 VMs: 100 jobs have found no room for more than 40 s")
    assert report["holds"] == ["80 jobs have found no room for more than 40 s, but all of max_vms 5 are in use"]
    assert (report["jobs_waiting"], report["vms_pending"], report["max_vms"]) == (100, 5, 5)
    assert "launch 5 VMs" in caplog.text


def test_every_minute_is_reported_however_seldom_anything_is_checked(tmp_path: Path) -> None:
    """`status` and alarms take a daemon without a report for one that hangs."""
    rig = Rig(tmp_path, settings_with(SETTINGS, check_queue_every_s=3600, check_vms_every_s=3600))
    rig.run(1)
    for _ in range(10):
        rig.run(300)
        report = read_report(tmp_path)
        assert report and rig.clock.now() - report["updated_at"] <= 60 + rig.settings.elastiq.sleep_s
        assert report["monotonic_microseconds"] == int(report["updated_at"] * 1_000_000)
    assert len(rig.batch.calls) == 2, "nobody was asked for that"


def test_the_same_fault_is_logged_once_and_its_end_is_said(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rig.cloud.fault = CloudFault.UNREACHABLE
    rig.run(300)
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [
        "VM check failed: the cloud is out of order"
    ]
    rig.cloud.fault = None
    rig.run(60)
    assert "VM check works again" in caplog.text


def test_half_a_fault_is_told_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rig.batch.joined = None
    rig.run(300)
    assert caplog.text.count("the workers cannot be read") == 1


def test_a_vm_that_listings_leave_out_is_told_at_once_and_when_it_is_given_up(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.wait_for_jobs(4)
    rig.run(60)
    (id_,) = rig.cloud.alive
    rig.wait_for_jobs(0)
    rig.run(20)
    rig.cloud.hidden = {id_}
    caplog.set_level(logging.INFO)
    rig.run(400)
    assert caplog.text.count(f"the cloud has not listed VM {id_} for 0 s; it counts for 600 s more") == 1
    assert caplog.text.count("not listed") == 1
    (hold,) = (read_report(rig.directory) or {})["holds"]
    assert f"the cloud has not listed VM {id_} for 3" in hold
    rig.run(300)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert f"VM {id_} is gone and elastiq did not terminate it: the cloud has not listed it for 6" in warnings[0]
    assert caplog.text.count("is gone") == 1


def test_another_vm_is_news_also_if_its_id_differs_in_digits_alone(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.wait_for_jobs(8)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all()
    caplog.set_level(logging.INFO)
    for id_ in sorted(rig.cloud.alive):
        rig.cloud.hidden = {id_}
        rig.run(60)
        assert f"the cloud has not listed VM {id_}" in caplog.text


def last_error(rig: Rig) -> dict[str, object]:
    return (read_report(rig.directory) or {})["last_error"]  # type: ignore[no-any-return]


def test_status_says_since_when_a_fault_is_over(rig: Rig) -> None:
    rig.cloud.fault = CloudFault.UNREACHABLE
    rig.run(60)
    assert "over_at" not in last_error(rig)
    rig.batch.jobs = None
    rig.run(30)
    rig.batch.jobs = ()
    rig.run(30)
    assert "VM check failed" in str(last_error(rig)["text"]), "the one that is not over, whichever was the last"
    rig.cloud.fault = None
    over_at = rig.clock.now()
    rig.run(60)
    assert "VM check failed" in str(last_error(rig)["text"])
    assert 0 <= float(str(last_error(rig)["over_at"])) - over_at <= 30


def test_an_action_that_failed_is_over_when_it_succeeds_or_is_not_wanted_any_more(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    for succeeds in (False, True):
        rig.run(30)
        rig.wait_for_jobs(4)
        rig.cloud.refuse_launch = CloudFault.CAPACITY
        rig.run(80)
        assert "over_at" not in last_error(rig)
        rig.cloud.refuse_launch = None
        if not succeeds:
            rig.wait_for_jobs(0)
        rig.run(60)
        assert "over_at" in last_error(rig)
        assert bool(rig.cloud.launches) is succeeds
    assert len([one for one in caplog.records if one.levelno == logging.ERROR]) == 2, "the second is news again"


def test_a_launch_without_an_answer_is_no_fault_any_more_once_its_vms_are_found(rig: Rig) -> None:
    rig.wait_for_jobs(4)
    rig.cloud.lose_answer = True
    rig.run(45)
    assert "launch 1 VM" in str(last_error(rig)["text"])
    rig.run(60)
    assert "over_at" in last_error(rig)


def test_a_pass_that_was_given_up_is_over_with_the_next_good_one(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise StateError("disk full")

    rig.run(5)
    with monkeypatch.context() as patch:
        patch.setattr(rig.state, "save", full)
        rig.run(30)
    rig.run(30)
    assert "this pass was given up: disk full" in str(last_error(rig)["text"])
    assert "over_at" in last_error(rig)


def test_the_first_reason_stays_with_a_vm_until_it_is_gone(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=301)
    (id_,) = rig.cloud.alive
    rig.cloud.refuse_terminate = True
    rig.run(25)
    (record,) = rig.core.memory.vms.values()
    assert record.goes_because == "idle for 301 s, more than idle_for_time_s 300"
    assert "idle for 301 s, more than idle_for_time_s 300; retried; could not be terminated" in caplog.text
    rig.start()
    rig.cloud.refuse_terminate = False
    rig.run(600)
    assert not rig.cloud.alive
    action = (read_report(rig.directory) or {})["last_action"]["text"]
    assert action == f"terminate VM {id_}: idle for 301 s, more than idle_for_time_s 300; retried; terminated"


def test_a_full_disk_keeps_no_outcome_out_of_the_log(
    rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.wait_for_jobs(12)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=301)

    def full(*arguments: object) -> None:
        raise StateError("disk full")

    monkeypatch.setattr(rig.state, "record", full)
    with caplog.at_level(logging.INFO):
        rig.run(60)
    told = [record.getMessage() for record in caplog.records if "idle for" in record.getMessage()]
    assert len([text for text in told if text.startswith("terminate VM")]) == 3


def test_a_call_that_is_abandoned_because_the_daemon_ends_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    reporter = Reporter(FakeClock(), NoState(), Redactor())

    def fail() -> NoReturn:
        raise BatchError("the daemon is to end")

    assert reporter.attempt("queue check", lambda: 5) == (5, "")
    reporter.stop()
    assert reporter.attempt("queue check", fail) == (None, "queue check failed: the daemon is to end")
    assert not caplog.records


@pytest.mark.parametrize("text", LEAKS.values(), ids=LEAKS)
def test_no_secret_of_a_batch_error_gets_into_report_decisions_or_metrics(tmp_path: Path, text: str) -> None:
    metrics_file = tmp_path / "elastiq.prom"
    rig = Rig(tmp_path / "state", settings_with(SETTINGS, metrics_file=metrics_file, min_vms=1), redactor())

    def fail(*_: object) -> None:
        raise BatchError(f"condor_drain: {text}")

    rig.run(30)
    rig.join_all(idle_seconds=0)
    rig.run(60)
    reports = []
    for name in ("close", "demand", "workers"):
        setattr(rig.batch, name, fail)
        if name == "close":
            rig.core.reconfigure(settings_with(rig.settings, min_vms=0), rig.batch, rig.cloud)  # type: ignore[arg-type]
            rig.join_all(idle_seconds=301)
        rig.run(200)
        reports.append(json.dumps(read_report(tmp_path / "state"), ensure_ascii=False))
    rows = sqlite3.connect(tmp_path / "state" / "elastiq.db").execute("SELECT * FROM decisions").fetchall()
    decisions = "\n".join(str(value) for row in rows for value in row)
    for reason in ("its worker could not be closed, so it stays", "queue check failed", "worker check failed"):
        assert f"{reason}: condor_drain: " in decisions
    for reason, report in (("queue check failed", reports[1]), ("worker check failed", reports[2])):
        assert f"{reason}: condor_drain: " in report
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 1
    for shown in (*reports, decisions, *(data.decode("utf-8", "replace") for data in files)):
        assert not leaked(shown)


@pytest.mark.long
@pytest.mark.parametrize("late", [False, True])
def test_a_refusal_that_lasts_is_told_once_however_often_it_is_tried(
    rig: Rig, caplog: pytest.LogCaptureFixture, late: bool
) -> None:
    """A quota of the cloud may be full for days. OpenStack takes its time to say so, so that each try is first asked
    for, then refused."""
    caplog.set_level(logging.INFO)
    refusal = CloudError("Quota exceeded for instances; raise the quota", CloudFault.CAPACITY)

    def answer() -> NoReturn:
        raise refusal

    def refuse(pool: Pool, count: int, token: str, at_least: int = 1) -> NoReturn:
        tries.append(count)
        if late:
            raise PendingError("not in 8 s", answer)
        raise refusal

    tries: list[int] = []
    rig.cloud.launch = refuse  # type: ignore[method-assign]
    rig.wait_for_jobs(8)
    rig.run(600)
    assert len(tries) >= 4
    errors = len([one for one in caplog.records if one.levelno >= logging.ERROR])
    assert errors <= 2, "one more where fewer at a time are tried"
    before = len(caplog.records)
    rig.run(2 * 3600)
    assert len(tries) >= 20
    assert len(caplog.records) == before
    del rig.cloud.launch  # type: ignore[attr-defined]
    rig.run(400)
    assert "launched i-00000001" in caplog.text
    rig.cloud.launch = refuse  # type: ignore[method-assign]
    rig.wait_for_jobs(16)
    rig.run(400)
    assert len([one for one in caplog.records if one.levelno >= logging.ERROR]) > errors, "another time"
