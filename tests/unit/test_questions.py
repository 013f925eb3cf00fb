"""What is found out beside a daemon: nothing of it is disturbed, and no secret is shown. tests/docs/test_why.py has the
situations."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from elastiq import cli, questions
from elastiq.decisions import Decision, End, Kind, Outcome, Reason, Token
from elastiq.memory import Memory, VmRecord
from elastiq.model import Demand, Explanation, Judgement, Shape, Standing
from elastiq.process.pidfile import PidFile
from elastiq.questions import Known
from elastiq.redaction import Redactor
from elastiq.state import DATABASE, read_memory
from elastiq.state.archive import Archive
from elastiq.state.kept import Life
from tests.docs import telling
from tests.unit.fakes import FakeClock, settings_with
from tests.unit.rig import SETTINGS, Rig

NOW = 1_790_000_000.0
TELLING = settings_with(SETTINGS, batch_plugin="tests.docs.telling")


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    rig = Rig(tmp_path / "state")
    monkeypatch.setattr(questions, "Clock", lambda: FakeClock(rig.clock.now()))
    monkeypatch.setattr(questions, "find_daemon", lambda _: 1)
    return rig


def told(answer: questions.Answer) -> list[str]:
    return [one["token"] for one in answer.document["told"]]


def test_a_plan_is_only_made(rig: Rig) -> None:
    rig.wait_for_jobs(20)
    rig.run(60)
    rig.join_all(jobs=4)
    rig.run(60)
    rig.batch.calls.clear()
    files = [path for path in rig.directory.iterdir() if not path.name.endswith("-shm")]  # has sqlite's own locks
    before = {path: path.read_bytes() for path in files}
    vms = dict(rig.cloud.vms)
    rig.wait_for_jobs(40)
    answer = questions.planned(Known.read(rig.directory), SETTINGS, rig.batch, rig.cloud, Redactor())
    assert answer.is_whole
    assert answer.lines[0] == answer.document["summary"]
    assert "40 waiting" in answer.lines[0]
    assert {call for call, _ in rig.batch.calls} <= {"demand", "workers", "judge"}
    assert {path: path.read_bytes() for path in files} == before
    assert rig.cloud.vms == vms
    assert json.dumps(answer.document)


def test_a_plan_says_what_would_be_done(rig: Rig) -> None:
    rig.wait_for_jobs(8)
    rig.run(10)
    rig.clock.time += 100
    answer = questions.planned(Known.read(rig.directory), SETTINGS, rig.batch, rig.cloud, Redactor())
    assert [(one["kind"], one["count"], one["token"]) for one in answer.document["decisions"]] == [
        ("launch", 2, "no-room")
    ]
    assert any(line.startswith("would launch 2 VMs: 8 jobs have found no room") for line in answer.lines)
    assert not rig.cloud.vms


def test_a_plan_beside_a_cloud_or_a_queue_that_cannot_be_read(rig: Rig) -> None:
    rig.run(10)
    rig.batch.jobs = None
    answer = questions.planned(Known.read(rig.directory), SETTINGS, rig.batch, rig.cloud, Redactor())
    assert not answer.is_whole
    assert Token.UNREADABLE.value in [one["token"] for one in answer.document["holds"]]


def test_vms_are_found_by_id_by_worker_and_by_address(rig: Rig) -> None:
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.join_all(jobs=4)
    rig.wait_for_jobs(0)
    rig.run(60)
    (record,) = (read_memory(rig.directory) or rig.core.memory).vms.values()
    known = Known.read(rig.directory)
    for name in (record.id, record.worker_name, *filter(None, [record.address])):
        assert told(questions.of_one(name, known, TELLING)) == ["at-work"]
    vms = questions.of_vms(known, SETTINGS)
    assert [vm["id"] for vm in vms.document["vms"]] == [record.id]
    assert record.id in vms.lines[1]


def test_a_vm_says_what_it_has_cost_and_what_it_cost_idle(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life("i-1", "default", "m", NOW - 7200, NOW - 7000, price=0.5, idle_seconds=600.0, idle_since=NOW - 1200)
    rig.run(10)
    archive = Archive(rig.directory)
    archive.add(None, [life, replace(life, id="i-2", ended_at=NOW - 3600, idle_since=None)], NOW)
    monkeypatch.setattr(questions, "Clock", lambda: FakeClock(NOW))
    known = replace(
        Known.read(rig.directory), now=NOW, memory=Memory(vms={"i-1": VmRecord("i-1", launched_at=NOW - 7200)})
    )
    there = questions.of_one("i-1", known, SETTINGS).document
    assert (there["price"], there["cost"], there["idle_seconds"], there["idle_cost"]) == (0.5, 1.0, 1800.0, 0.25)
    assert there["told"][0]["token"] == "still-booting"
    gone = questions.of_one("i-2", known, SETTINGS)
    assert (gone.document["cost"], gone.document["idle_cost"]) == (0.5, pytest.approx(0.083333))
    assert any(line.startswith("  cost         0.5000, at 0.5 an hour for 60 min") for line in gone.lines), gone.lines
    # Nobody knows what became of it since the daemon wrote last.
    down = replace(known, is_running=False, now=NOW + 3600)
    assert questions.of_one("i-1", down, SETTINGS).document["cost"] == 1.0


def test_a_vm_that_was_launched_after_the_last_plan_is_told(rig: Rig) -> None:
    rig.run(10)
    known = Known.read(rig.directory)
    rig.wait_for_jobs(4)
    rig.run(60)
    (id_,) = rig.cloud.alive
    known = replace(known, memory=rig.core.memory)
    assert told(questions.of_one(id_, known, TELLING)) == ["still-booting"]


def test_jobs_and_their_groups(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    group = Demand(Shape(2, 500), 7, wants="gpu")
    rig.batch.jobs = (group, Demand(Shape(), 1))
    rig.run(10)
    known = Known.read(rig.directory)
    assert [one["jobs"] for one in questions.of_jobs(known).document["groups"]] == [7, 1]
    assert questions.of_all(known).is_whole
    monkeypatch.setattr(telling, "TOLD", [Explanation(Standing.WAITS, "no match", replace(group, jobs=1))])
    answer = questions.of_one("7", known, TELLING)
    assert told(answer) == ["waiting-time"]
    assert answer.document["group"]["jobs"] == 7
    assert answer.document["pools"][0]["name"] == "default"


def test_a_job_of_no_group_yet_is_judged_as_the_daemon_would(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.run(10)
    monkeypatch.setattr(telling, "TOLD", [Explanation(Standing.WAITS, "", Demand(Shape(), 1, wants="gpu"))])
    asked: list[tuple[tuple[str, ...], str]] = []

    def judge(_: object, wants: tuple[str, ...], template: str) -> tuple[Judgement, ...]:
        asked.append((wants, template))
        return (Judgement(),) * len(wants)

    monkeypatch.setattr(telling.Telling, "judge", judge)
    answer = questions.of_one("7", Known.read(rig.directory), TELLING)
    assert told(answer) == ["not-seen"]
    assert asked == [(("gpu",), "")]
    assert [one["answer"] for one in answer.document["group"]["pools"]] == ["yes"]


def test_beside_a_queue_that_the_daemon_could_not_read_that_is_why(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.batch.jobs = None
    rig.run(10)
    monkeypatch.setattr(telling, "TOLD", [Explanation(Standing.WAITS, "", Demand(Shape(), 1))])
    answer = questions.of_one("7", Known.read(rig.directory), TELLING)
    assert told(answer) == ["unreadable"]
    assert "the scheduler does not answer" in answer.document["told"][0]["text"]


def test_a_number_of_a_job_that_a_sentence_on_a_vm_has_is_no_vm(rig: Rig) -> None:
    rig.run(10)
    idle = Decision(Kind.TERMINATE, Reason(Token.IDLE, "idle for 4000 s", "i-1"), instance_id="i-1")
    rig.state.record(1.0, idle, Outcome(idle, End.DONE, "terminated"))
    known = Known.read(rig.directory)
    assert told(questions.of_one("4000", known, TELLING)) == ["no-such-job"]
    assert told(questions.of_one("i-1", known, TELLING))[0] == "ended-by-elastiq"
    assert told(questions.of_one("i-12", known, TELLING)) == ["no-such-vm"]


def test_without_a_daemon_that_is_said_first(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.wait_for_jobs(4)
    rig.run(60)
    monkeypatch.setattr(questions, "find_daemon", lambda _: None)
    known = Known.read(rig.directory)
    for answer in (questions.of_all(known), questions.of_jobs(known), questions.of_vms(known, SETTINGS)):
        assert told(answer) == ["not-running"]
        assert not answer.is_whole


def test_damage_to_the_account_is_none_to_the_rest(rig: Rig) -> None:
    rig.wait_for_jobs(4)
    rig.run(60)
    with rig.state.database.transaction():
        rig.state.database.put("account", {"at": "noon"})
    known = Known.read(rig.directory)
    assert told(questions.of_all(known)) == ["not-seen"]
    assert len(questions.of_vms(known, SETTINGS).document["vms"]) == 1


CONFIGURATION = """
[elastiq]
batch_plugin = {plugin}
state_dir = {directory}
[ec2]
api_url = https://cloud.example
aws_access_key_id = a
aws_secret_access_key = very-secret-key
image_id = ami-1
flavour = m5.large
"""


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "elastiq.conf"
    path.write_text(CONFIGURATION.format(plugin="tests.docs.telling", directory=tmp_path / "state"))
    path.chmod(0o600)
    (tmp_path / "state").mkdir()
    return path


def test_exit_codes(configuration: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    option = f"--config={configuration}"
    monkeypatch.setattr(telling, "TOLD", [Explanation(Standing.HELD, "by key very-secret-key")])
    assert cli.main(["why", "7", option]) == 0
    output = capsys.readouterr().out
    assert output.startswith("job 7\nJOB-HELD\n")
    assert "very-secret-key" not in output
    assert cli.main(["why", "7", "--json", option]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["told"][0]["token"] == "job-held"
    assert "very-secret-key" not in json.dumps(document)
    monkeypatch.setattr(telling, "TOLD", [])
    assert cli.main(["why", "7", option]) == 3
    assert cli.main(["why", "i-0123456789abcdef0", option]) == 3
    assert cli.main(["why", option]) == 1, "the daemon does not run"
    assert cli.main(["vms", option]) == cli.main(["jobs", option]) == 1
    configuration.write_text("[elastiq]\nno_such_option = 1\n")
    assert cli.main(["why", "7", option]) == 2


@pytest.mark.parametrize("words", [["why", "7", "8"], ["why", "--all"], ["why", ""], ["vms", "i-1"], ["plan", "now"]])
def test_wrong_usage(words: list[str], configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*words, f"--config={configuration}"]) == 1
    assert f"usage: elastiqctl {words[0]}" in capsys.readouterr().err


def test_a_daemon_that_has_just_started_has_planned_nothing(
    configuration: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with PidFile(tmp_path / "state", FakeClock()):
        assert cli.main(["why", f"--config={configuration}"]) == 1
    assert "has not made a plan yet" in capsys.readouterr().out
    assert not (tmp_path / "state" / DATABASE).exists(), "to ask makes nothing"


def test_a_batch_system_that_does_not_answer(
    configuration: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explain(_: object, job: str) -> Explanation:
        raise ValueError("no scheduler")

    monkeypatch.setattr(telling.Telling, "explain", explain)
    assert cli.main(["why", "7", f"--config={configuration}"]) == 1
    assert "failed in explain: ValueError" in capsys.readouterr().err
