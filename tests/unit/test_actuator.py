"""What is done, in which order, and what is known of it whatever happens meanwhile."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from elastiq.errors import BatchError, CloudError, CloudFault, PendingError, StateError
from elastiq.memory import Breaker, LaunchTook
from elastiq.model import SPOT, Instance, Pool, Worker
from elastiq.plugins import Closing
from elastiq.state import read_decisions
from tests.unit.fakes import FakeCloud, settings_with
from tests.unit.rig import SETTINGS, Rig


def idle_for_long(rig: Rig) -> None:
    """Let a VM come for jobs that are gone by then, and its worker be idle for longer than it may."""
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=301)


@pytest.mark.parametrize("made", [True, False])
def test_where_the_token_is_a_lock_an_unclear_launch_is_settled_by_asking_again(rig: Rig, made: bool) -> None:
    rig.cloud.token_is_lock = True
    rig.wait_for_jobs(40)
    launch = rig.cloud.launch
    rig.cloud.hidden = {f"i-{number:08x}" for number in range(1, 9)}

    def lose_answer(pool: Pool, count: int, token: str, at_least: int = 1) -> tuple[Instance, ...]:
        rig.cloud.launch = launch  # type: ignore[method-assign]
        if made:
            launch(pool, count, token)
        raise CloudError("no answer")

    rig.cloud.launch = lose_answer  # type: ignore[method-assign]
    rig.run(80)
    assert len(rig.cloud.alive) == 5
    assert not rig.core.memory.intents
    assert len(rig.core.memory.vms) == 5


@pytest.mark.parametrize("why_not", ["maximum lowered", "no listing"])
def test_an_unclear_launch_is_not_asked_for_again_beyond_the_maximum_nor_in_doubt(rig: Rig, why_not: str) -> None:
    """Found by the simulator: the maximum was lowered between the two requests."""
    rig.cloud.token_is_lock = True
    rig.wait_for_jobs(40)
    launch = rig.cloud.launch

    def lose_request(pool: Pool, count: int, token: str, at_least: int = 1) -> tuple[Instance, ...]:
        rig.cloud.launch = launch  # type: ignore[method-assign]
        raise CloudError("no answer")

    rig.cloud.launch = lose_request  # type: ignore[method-assign]
    while rig.cloud.launch != launch:
        rig.run(1)
    if why_not == "no listing":

        def fail(**options: bool) -> tuple[Instance, ...]:
            raise CloudError("no answer")

        rig.cloud.list_instances = fail  # type: ignore[method-assign]
        rig.core._vms_due_at = 0.0
    else:
        rig.settings = settings_with(SETTINGS, max_vms=2)
        rig.core.reconfigure(rig.settings, rig.batch, rig.cloud)
    rig.run(60)
    assert not rig.cloud.launches


def test_a_busy_worker_refuses_to_close_and_its_vm_stays(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    idle_for_long(rig)
    close = rig.batch.close

    def job_gets_in_first(worker: object) -> object:
        rig.join_all(jobs=1)
        return close(worker)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.batch, "close", job_gets_in_first)
    rig.run(200)
    assert not rig.cloud.terminations
    assert len(rig.cloud.alive) == 1


def test_nothing_is_terminated_without_a_close(rig: Rig) -> None:
    idle_for_long(rig)
    rig.batch.close_fails = True
    rig.run(300)
    assert not rig.cloud.terminations
    rig.batch.close_fails = False
    rig.run(400)
    assert not rig.cloud.alive


def test_a_refused_termination_is_retried_and_jobs_that_come_meanwhile_reopen_the_worker(rig: Rig) -> None:
    idle_for_long(rig)
    rig.cloud.refuse_terminate = True
    rig.run(100)
    assert 2 <= len(rig.cloud.terminations) <= 6
    rig.wait_for_jobs(2)
    rig.run(30)
    assert "reopen" in [call for call, _ in rig.batch.calls]
    assert rig.cloud.launches == [1]


def test_vms_of_earlier_launches_in_an_answer_are_not_launched_again(rig: Rig) -> None:
    """Seen at an endpoint that puts all its VMs into every answer."""
    launch = rig.cloud.launch

    def all_there_are(pool: Pool, count: int, token: str, at_least: int = 1) -> tuple[Instance, ...]:
        return (*rig.cloud.list_instances(everything=False), *launch(pool, count, token, at_least))

    rig.cloud.launch = all_there_are  # type: ignore[method-assign]
    rig.wait_for_jobs(4)
    rig.run(60)
    first = set(rig.core.memory.vms)
    rig.wait_for_jobs(12)
    rig.run(60)
    launched = [one["detail"] for one in read_decisions(rig.directory, 0) if "launched i-" in one["detail"]]
    assert len(launched) == 2
    assert not any(id_ in launched[1] for id_ in first), launched


def test_that_a_worker_may_be_open_is_on_disk_before_it_is_reopened(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before it could read the answer, the daemon would take it for closed."""
    idle_for_long(rig)
    rig.cloud.refuse_terminate = True
    rig.run(100)
    seen: list[tuple[bool, bool]] = []
    reopen = rig.batch.reopen

    def look(worker: Worker) -> None:
        (record,) = rig.state.load(rig.clock.now()).vms.values()
        seen.append((record.closed, record.reopen_failed))
        reopen(worker)

    monkeypatch.setattr(rig.batch, "reopen", look)
    rig.wait_for_jobs(2)
    rig.run(30)
    assert seen == [(False, True)]
    (record,) = rig.state.load(rig.clock.now()).vms.values()
    assert not record.leaving


def test_a_worker_that_can_not_be_reopened_keeps_no_job_waiting(tmp_path: Path) -> None:
    """Its machine hangs; the first request to terminate it was refused for a moment."""
    rig = Rig(tmp_path, settings_with(SETTINGS, max_vms=1))
    idle_for_long(rig)
    rig.cloud.refuse_terminate = True
    while not rig.cloud.terminations:
        rig.run(1)
    rig.batch.joined = {}
    rig.wait_for_jobs(2)
    while "reopen" not in [call for call, _ in rig.batch.calls]:
        rig.run(1)
        assert len(rig.cloud.terminations) < 9
    rig.cloud.refuse_terminate = False
    rig.run(300)
    assert rig.cloud.launches == [1, 1]


def test_after_an_unclear_termination_the_worker_is_never_reopened(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    idle_for_long(rig)
    rig.cloud.fault = None
    terminate = rig.cloud.terminate

    def lose(ids: list[str]) -> tuple[str, ...]:
        rig.cloud.fault = CloudFault.UNREACHABLE
        try:
            return terminate(ids)
        finally:
            rig.cloud.fault = None

    monkeypatch.setattr(rig.cloud, "terminate", lose)
    rig.run(60)
    rig.wait_for_jobs(4)
    rig.run(60)
    assert "reopen" not in [call for call, _ in rig.batch.calls]


def test_a_vm_that_never_joins_is_replaced_and_its_console_is_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path, settings_with(SETTINGS, min_vms=1, estimated_vm_deploy_time_s=120))
    rig.run(5)
    rig.cloud.run()
    rig.run(200)
    assert rig.cloud.terminations == [("i-00000001",)]
    assert rig.cloud.launches == [1, 1]
    assert "kernel panic" in caplog.text


def test_a_dry_run_launches_and_terminates_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rig = Rig(tmp_path, settings_with(SETTINGS, dry_run_boot_vms=True))
    rig.wait_for_jobs(8)
    rig.run(300)
    assert not rig.cloud.launches
    assert (
        "launch 2 VMs: 8 jobs have found no room for more than 40 s; dry run: not launched (dry_run_boot_vms)"
        in caplog.text
    )
    assert "launches pause" not in caplog.text
    rig.settings = settings_with(SETTINGS, dry_run_shutdown_vms=True)
    rig.start()
    rig.run(60)
    assert rig.cloud.launches == [2]
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=301)
    rig.run(200)
    assert not rig.cloud.terminations
    assert "close" not in [call for call, _ in rig.batch.calls]


def test_without_a_journal_nothing_is_launched(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.wait_for_jobs(8)
    rig.run(30)

    def full(memory: object) -> None:
        raise StateError("disk full")

    monkeypatch.setattr(rig.state, "save", full)
    rig.run(100)
    assert not rig.cloud.launches


def test_a_defect_after_a_launch_makes_no_vm_forgotten(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin installed beside elastiq raises what it must not; tags are put on later."""
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.join_all(idle_seconds=0)
    rig.run(60)
    launch = rig.cloud.launch

    def launch_untagged(pool: Pool, count: int, token: str, at_least: int = 1) -> tuple[Instance, ...]:
        made = launch(pool, count, token)
        rig.cloud.vms.update({vm.id: replace(vm, client_token="", cluster="", pool="") for vm in made})
        rig.join_all(idle_seconds=301)
        return made

    def close(worker: Worker) -> Closing:
        raise KeyError("a defect")

    monkeypatch.setattr(rig.cloud, "launch", launch_untagged)
    monkeypatch.setattr(rig.batch, "close", close)
    rig.join_all(idle_seconds=301)
    rig.wait_for_jobs(8)
    rig.run(120)
    assert "i-00000002" in rig.cloud.vms
    assert set(rig.core.memory.vms) == set(rig.cloud.vms)
    rig.start()
    assert set(rig.core.memory.vms) == set(rig.cloud.vms)


def test_a_disk_that_fills_up_after_the_request_makes_no_vm_forgotten(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the simulator: the pass was given up, and the memory of the launch with it."""
    rig.wait_for_jobs(100)
    launch, save = rig.cloud.launch, rig.state.save

    def full(memory: object) -> None:
        raise StateError("disk full")

    def launch_and_fill(*arguments: object) -> object:
        monkeypatch.setattr(rig.state, "save", full)
        rig.cloud.hidden = {f"i-{number:08x}" for number in range(1, 6)}
        return launch(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.cloud, "launch", launch_and_fill)
    rig.run(60)
    monkeypatch.setattr(rig.cloud, "launch", launch)
    monkeypatch.setattr(rig.state, "save", save)
    rig.run(300)
    assert rig.cloud.launches == [5]


def test_the_console_of_a_vm_is_read_before_its_close_so_that_no_late_worker_has_time_for_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, settings_with(SETTINGS, min_vms=1, estimated_vm_deploy_time_s=120))

    def late(id_: str) -> str:
        rig.join_all(jobs=1)
        return ""

    monkeypatch.setattr(rig.cloud, "console_tail", late)
    rig.run(300)
    assert not rig.cloud.terminations


def test_all_consoles_are_read_before_the_first_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path, settings_with(SETTINGS, min_vms=2, estimated_vm_deploy_time_s=120))
    read: list[str] = []

    def late(id_: str) -> str:
        read.append(id_)
        if len(read) == 2:
            rig.cloud.run()
            rig.batch.join(read[0], jobs=1)
        return ""

    monkeypatch.setattr(rig.cloud, "console_tail", late)
    rig.run(160)
    assert len(read) == 2
    assert rig.cloud.terminations == [(read[1],)]


def test_a_stop_while_a_console_is_read_closes_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by the simulator."""
    rig.wait_for_jobs(4)
    monkeypatch.setattr(rig.cloud, "console_tail", lambda id_: rig.core.stop() or "")
    rig.run(rig.settings.elastiq.estimated_vm_deploy_time_s + 200)
    assert "close" not in [call for call, _ in rig.batch.calls]
    assert not rig.core.memory.vms["i-00000001"].leaving


def test_the_console_of_a_failed_boot_is_read_once_and_kept_even_if_its_close_fails(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    monkeypatch.setattr(rig.cloud, "console_tail", lambda id_: read.append(id_) or "no such command")
    rig.batch.close_fails = True
    rig.wait_for_jobs(4)
    rig.run(rig.settings.elastiq.estimated_vm_deploy_time_s + 600)
    assert read == ["i-00000001"]
    assert rig.core.memory.breakers["default"].boot_reason.endswith("its console ends with: no such command")


def test_an_empty_console_is_not_announced(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rig.cloud, "console_tail", lambda _: "")
    caplog.set_level(logging.INFO)
    rig.wait_for_jobs(4)
    rig.run(rig.settings.elastiq.estimated_vm_deploy_time_s + 600)
    assert "it has not joined the batch system" in caplog.text
    assert "console" not in caplog.text


def test_a_dry_run_asks_for_no_console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path)
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.settings = settings_with(rig.settings, dry_run_shutdown_vms=True)
    rig.core.reconfigure(rig.settings, rig.batch, rig.cloud)
    read = []
    monkeypatch.setattr(rig.cloud, "console_tail", lambda id_: read.append(id_) or "")
    rig.run(rig.settings.elastiq.estimated_vm_deploy_time_s + 200)
    assert not read


def test_a_vm_that_never_was_a_worker_is_closed_last(rig: Rig) -> None:
    rig.wait_for_jobs(8)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.cloud.run()
    never, idle = rig.cloud.alive
    rig.batch.join(idle, idle_seconds=0.0)
    while rig.clock.now() - rig.core.memory.vms[never].launched_at < rig.settings.elastiq.estimated_vm_deploy_time_s:
        rig.run(1)
    rig.batch.join(idle, idle_seconds=301.0)
    rig.run(60)
    assert [id_ for call, id_ in rig.batch.calls if call == "close"] == [idle, never]
    assert rig.cloud.terminations == [(idle, never)]


def test_a_worker_that_can_not_be_reopened_keeps_no_other_one_from_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.wait_for_jobs(12)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=301)
    rig.cloud.refuse_terminate = True
    rig.run(60)
    first, *others = sorted(rig.cloud.alive)
    reopen = rig.batch.reopen
    asked: list[tuple[float, str]] = []

    def slow(worker: Worker) -> None:
        asked.append((rig.clock.now(), worker.instance_id or ""))
        rig.clock.time += 6
        if worker.instance_id == first:
            raise BatchError("no answer")
        reopen(worker)
        rig.batch.join(worker.instance_id or "", jobs=4)

    monkeypatch.setattr(rig.batch, "reopen", slow)
    rig.wait_for_jobs(12)
    rig.run(60)
    assert {id_ for _, id_ in asked} >= set(others)
    assert not any(rig.core.memory.vms[id_].leaving for id_ in others)
    times = [at for at, _ in asked]
    assert all(later - earlier > 6 for earlier, later in zip(times, times[1:], strict=False)), "one in a pass"


def test_a_dry_run_settles_no_lost_launch(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.cloud.token_is_lock = rig.cloud.lose_answer = True
    rig.cloud.hidden = {"i-00000001"}
    rig.wait_for_jobs(4)
    while not rig.cloud.launches:
        rig.run(1)
    rig.settings = settings_with(rig.settings, dry_run_boot_vms=True)
    rig.core.reconfigure(rig.settings, rig.batch, rig.cloud)
    with caplog.at_level(logging.INFO):
        rig.run(60)
    assert rig.cloud.launches == [1]
    assert [intent.count for intent in rig.core.memory.intents] == [1]
    (told,) = [record for record in caplog.records if "asked for again" in record.getMessage()]
    assert told.getMessage().endswith("dry run: not launched (dry_run_boot_vms)")
    assert told.levelno == logging.INFO


def test_what_was_begun_is_not_forgotten_when_a_defect_ends_the_closing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the first worker is closed is not known any more; that it may be, is."""
    rig.wait_for_jobs(8)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=301)
    closed: list[str] = []

    def close(worker: Worker) -> Closing:
        if closed:
            raise KeyError("a defect")
        closed.append(worker.name)
        return Closing.CLOSED

    monkeypatch.setattr(rig.batch, "close", close)
    while not closed:
        rig.core.step()
        rig.clock.time += 1
    memory = rig.core.memory
    assert all(record.closing_at for record in memory.vms.values())
    assert not any(record.doomed for record in memory.vms.values())
    rig.start()
    assert {id_: vm.closing_at for id_, vm in rig.core.memory.vms.items()} == {
        id_: vm.closing_at for id_, vm in memory.vms.items()
    }
    assert not rig.cloud.terminations


def test_a_late_launch_is_said_learnt_and_recorded_as_one_in_time(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rig.cloud.is_late = True
    rig.wait_for_jobs(12)
    rig.run(120)
    assert rig.cloud.launches == []
    assert "3 VMs were asked for 75 s ago, no answer from the cloud yet" in rig.core.last_plan.summary  # type: ignore[union-attr]
    assert "3 asked for of 0..5" in rig.core.last_plan.summary  # type: ignore[union-attr]
    assert [intent.in_hand for intent in rig.core.memory.intents] == [True]
    rig.cloud.is_late = False
    rig.run(20)
    assert list(rig.core.memory.vms) == rig.cloud.alive
    assert not rig.core.memory.intents
    assert rig.cloud.launches == [3]
    assert "launched i-00000001, i-00000002, i-00000003" in caplog.text
    launches = [one for one in read_decisions(rig.directory, 0) if one["kind"] == "launch"]
    assert [one["cause"] for one in launches] == ["cloud-pending", "done"]
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_a_late_refusal_is_told_and_pauses_the_launches(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.cloud.is_late = True
    rig.wait_for_jobs(12)
    rig.run(120)
    rig.cloud.fault, rig.cloud.is_late = CloudFault.CONFIGURATION, False
    rig.core.step()
    assert "the cloud is out of order" in caplog.text
    assert not rig.core.memory.intents
    assert rig.core.memory.breakers["default"].refusals == 1


def test_jobs_do_not_wait_anew_after_a_late_refusal_and_it_is_said_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rig.wait_for_jobs(12)
    for _ in range(4):
        rig.cloud.is_late, rig.cloud.fault = True, None
        while not rig.core.memory.intents:
            rig.run(15)
        rig.run(30)
        rig.cloud.fault, rig.cloud.is_late = CloudFault.CONFIGURATION, False
        rig.core.step()
        assert "launches pause" in rig.core.last_plan.summary  # type: ignore[union-attr]
    lines = [record.getMessage() for record in caplog.records]
    assert sum("; the cloud is out of order" in line and line.startswith("launch") for line in lines) == 1
    assert sum("have found no room for 0 s" in line for line in lines) == 1
    assert len(lines) < 10


def test_vms_that_listings_show_before_the_answer_are_not_made_twice_by_it(rig: Rig) -> None:
    """Neither while they live nor, as ghosts that nobody lists, after their end."""
    answers: list[tuple[Instance, ...]] = []

    def launch(pool: Pool, count: int, token: str, at_least: int = 1) -> tuple[Instance, ...]:
        made = FakeCloud.launch(rig.cloud, pool, count, token)

        def answer() -> tuple[Instance, ...]:
            if not answers:
                raise PendingError("no answer yet", answer)
            return answers[0]

        raise PendingError("no answer yet", lambda: made if answers else answer())

    rig.cloud.launch = launch  # type: ignore[method-assign]
    rig.wait_for_jobs(8)
    rig.run(120)
    assert len(rig.core.memory.vms) == 2
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=4000)
    rig.run(60)
    assert len(rig.cloud.alive) == 2, "none is ended before the cloud has answered"
    rig.cloud.vms.clear()
    rig.batch.joined = {}
    rig.run(1500)
    assert not rig.core.memory.vms
    answers.append(())
    rig.run(20)
    assert not rig.core.memory.vms
    assert not rig.core.memory.intents


@pytest.mark.parametrize("refused", [False, True])
def test_a_late_termination_is_not_asked_for_again_and_learnt_when_it_comes(
    rig: Rig, caplog: pytest.LogCaptureFixture, refused: bool
) -> None:
    rig.wait_for_jobs(8)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=400)
    rig.cloud.is_late = True
    caplog.set_level(logging.INFO)
    rig.run(300)
    closes = [call for call, _ in rig.batch.calls if call == "close"]
    assert len(closes) == 2
    assert {record.termination_asked_at is None for record in rig.core.memory.vms.values()} == {False}
    assert "the termination of VMs i-00000001, i-00000002 was asked for" in rig.core.last_plan.summary  # type: ignore[union-attr]
    rig.cloud.is_late, rig.cloud.refuse_terminate = False, refused
    before = len(caplog.records)
    rig.core.step()
    said = [record.getMessage() for record in caplog.records[before:]]
    assert (said[0] == "terminated, as asked for before: VM i-00000001, i-00000002") is not refused
    assert sum("terminated" in line for line in said) == (2 if refused else 1)
    assert rig.cloud.terminations == [("i-00000001", "i-00000002")]
    vms = rig.core.memory.vms.values()
    assert {record.termination_asked_at for record in vms} == {None}
    assert {record.terminated_at is None for record in vms} == {refused}
    assert ("terminated" in caplog.text) is not refused or "could not be terminated" in caplog.text


def test_nothing_is_said_to_be_done_that_waits_for_the_answer_to_another_request(rig: Rig) -> None:
    rig.wait_for_jobs(8)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=400)
    rig.batch.join("i-00000002", idle_seconds=0)
    rig.cloud.is_late = True
    rig.run(40)
    rig.batch.join("i-00000002", idle_seconds=400)
    rig.run(40)
    made = rig.core.last_plan
    assert made is not None
    assert "terminate" not in made.summary.replace("the termination of VM i-00000001 was", "")
    assert "i-00000002" not in made.summary
    assert "goes once the cloud has answered to those before" in "".join(str(one.reason) for one in made.verdicts)


def test_a_reload_does_not_lose_a_late_answer(rig: Rig) -> None:
    rig.cloud.is_late = True
    rig.wait_for_jobs(12)
    rig.run(90)
    rig.core.reconfigure(settings_with(SETTINGS, max_vms=7), rig.batch, rig.cloud)
    rig.cloud.is_late = False
    rig.run(20)
    assert len(rig.core.memory.vms) == 3
    assert not rig.core.memory.intents


def test_a_launch_without_an_answer_is_unclear_to_the_next_process(rig: Rig) -> None:
    rig.cloud.is_late = True
    rig.wait_for_jobs(12)
    rig.run(90)
    rig.start()
    (intent,) = rig.core.memory.intents
    assert not intent.in_hand
    rig.cloud.is_late = False
    rig.run(700)
    assert len(rig.cloud.alive) == 3
    assert list(rig.core.memory.vms) == rig.cloud.alive


def test_a_launch_that_never_left_is_no_failure_of_the_cloud(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.cloud.fault = None
    launch = rig.cloud.launch

    def left_out(pool: Pool, count: int, token: str, at_least: int = 1) -> tuple[Instance, ...]:
        rig.cloud.launch = launch  # type: ignore[method-assign]
        raise CloudError("cloud: launching 3 VMs was left out", CloudFault.BUSY)

    rig.cloud.launch = left_out  # type: ignore[method-assign]
    rig.wait_for_jobs(12)
    rig.run(90)
    assert rig.cloud.launches == [3]
    assert not rig.core.memory.breakers.get("default", Breaker()).refusals
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_fewer_vms_than_asked_for_are_called_so(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    launch = rig.cloud.launch
    rig.cloud.launch = lambda pool, count, token, at_least=1: launch(pool, 1, token)  # type: ignore[method-assign]
    rig.wait_for_jobs(16)
    rig.run(60)
    assert "launched i-00000001 (1 of 4: the cloud gave no more and named no cause)" in caplog.text


def test_an_answer_that_never_comes_is_not_waited_for_for_ever(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("elastiq.actuator.IN_HAND_SECONDS", 600)
    rig.cloud.is_late = True
    rig.wait_for_jobs(12)
    rig.run(700)
    assert [intent.in_hand for intent in rig.core.memory.intents] == [False]
    assert "it is no longer waited for" in caplog.text


def test_a_launch_whose_answer_is_lost_waits_for_as_long_as_the_cloud_is_known_to_take(rig: Rig) -> None:
    rig.core._memory = replace(rig.core.memory, launches_took=(LaunchTook(1, 100.0),))
    rig.wait_for_jobs(40)

    def lose_answer(pool: Pool, count: int, token: str, at_least: int = 1) -> tuple[Instance, ...]:
        raise CloudError("no answer")

    rig.cloud.launch = lose_answer  # type: ignore[method-assign]
    while not rig.core.memory.intents:
        rig.run(1)
    (intent,) = rig.core.memory.intents
    rig.start()
    assert [known.usual_seconds for known in rig.core.memory.intents] == [100.0 * intent.count]


def taken_back(rig: Rig, jobs: int) -> None:
    """Let the workers say that the cloud takes their VMs back, which are of the spot market."""
    assert rig.batch.joined is not None
    rig.cloud.vms = {id_: replace(vm, market=SPOT) for id_, vm in rig.cloud.vms.items()}
    rig.join_all(jobs=jobs)
    for name, worker in rig.batch.joined.items():
        rig.batch.joined[name] = replace(worker, closed=True, interrupted=True)


def requeued(rig: Rig) -> int:
    return len([call for call, _ in rig.batch.calls if call == "requeue"])


def test_jobs_of_a_vm_that_is_taken_back_are_queued_again_in_time_and_it_goes_once_it_is_empty(rig: Rig) -> None:
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(jobs=1)
    rig.run(60)
    (first,) = rig.cloud.alive
    taken_back(rig, jobs=1)
    rig.run(45)
    assert not requeued(rig)
    rig.run(60)
    assert 1 <= requeued(rig) <= 5
    assert not rig.cloud.terminations
    taken_back(rig, jobs=0)
    rig.run(60)
    assert first not in rig.cloud.alive


@pytest.mark.parametrize("option", ["on_interruption", "dry_run_shutdown_vms"])
def test_jobs_of_a_vm_that_is_taken_back_are_left_alone_if_the_file_says_so(rig: Rig, option: str) -> None:
    rig.settings = settings_with(SETTINGS, **{option: "drain" if option == "on_interruption" else True})
    rig.core.reconfigure(rig.settings, rig.batch, rig.cloud)
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    taken_back(rig, jobs=1)
    rig.run(200)
    assert not requeued(rig)


def test_what_cannot_be_queued_again_is_told_and_tried_again(rig: Rig) -> None:
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    taken_back(rig, jobs=1)
    rig.batch.close_fails = True
    rig.run(120)
    assert requeued(rig) > 1
    told = [one for one in read_decisions(rig.directory, 0) if one["kind"] == "requeue"]
    assert len(told) == 1, "each further try is no news"


def test_where_there_is_no_time_for_all_the_others_have_their_turn_in_the_next_passes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cloud may take all VMs back at once."""
    rig.wait_for_jobs(20)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(jobs=1)
    rig.run(30)
    requeue = rig.batch.requeue

    def slow(worker: Worker) -> None:
        rig.clock.time += 6.0
        requeue(worker)

    monkeypatch.setattr(rig.batch, "requeue", slow)
    taken_back(rig, jobs=1)
    while not requeued(rig):
        rig.run(1)
    rig.run(10)
    assert len({name for call, name in rig.batch.calls if call == "requeue"}) == 5
