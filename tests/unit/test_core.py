"""The loop with ports that are steered by hand: what it asks, what it does, what it says."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from elastiq.config import Settings
from elastiq.core import Core
from elastiq.errors import BatchError, CloudError, CloudFault, StateError
from elastiq.memory import Breaker
from elastiq.model import Demand, Instance, InstanceState, Pool, Shape, Worker
from elastiq.plugins import Closing
from elastiq.state import State, read_decisions, read_report
from tests.unit.fakes import FakeBatch, FakeClock, FakeCloud

SETTINGS = Settings(n_jobs_per_vm=4, max_vms=5, idle_for_time_s=300, cluster_name="test")


class Rig:
    """A Core on fakes. `run` moves the time on as the daemon's loop does."""

    def __init__(self, directory: Path, settings: Settings = SETTINGS) -> None:
        self.directory = directory
        self.clock, self.batch, self.cloud = FakeClock(), FakeBatch(), FakeCloud()
        self.settings = settings
        self.start()

    def start(self) -> None:
        """Start, or start again after a crash: nothing is told to the old Core."""
        self.state = State(self.directory, self.clock.now())
        self.core = Core(self.settings, self.clock, self.batch, self.cloud, self.state)  # type: ignore[arg-type]

    def run(self, seconds: float) -> None:
        end = self.clock.now() + seconds
        while self.clock.now() < end:
            self.core.step()
            self.clock.time += min(self.settings.sleep_s, max(0.1, self.core.seconds_to_next_check()))

    def wait_for_jobs(self, count: int) -> None:
        self.batch.jobs = (Demand(Shape(), count),) if count else ()

    def join_all(self, jobs: int = 0, idle_seconds: float = 0.0) -> None:
        self.cloud.run()
        for id_ in self.cloud.alive:
            self.batch.join(id_, jobs=jobs, idle_seconds=idle_seconds)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.state.close()


def test_jobs_wait_vms_come_and_idle_vms_go(rig: Rig) -> None:
    rig.wait_for_jobs(40)
    rig.run(60)
    assert rig.cloud.launches == [5]
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=301)
    rig.run(60)
    assert [len(ids) for ids in rig.cloud.terminations] == [5], "one request for all"
    assert not rig.cloud.alive


def test_nobody_is_asked_more_often_than_every_sleep_s(tmp_path: Path) -> None:
    """As in the original, where zero has always meant in every pass."""
    rig = Rig(tmp_path, replace(SETTINGS, check_queue_every_s=0, check_vms_every_s=0, check_vms_in_error_every_s=0))
    rig.run(60)
    asked = [call for call, _ in rig.batch.calls]
    assert asked.count("demand") == asked.count("workers") == 12
    rig.batch.jobs = rig.batch.joined = None
    rig.run(60)
    asked = [call for call, _ in rig.batch.calls]
    assert asked.count("demand") == asked.count("workers") == 24


def test_launch_comes_within_the_waiting_time_and_one_poll(rig: Rig) -> None:
    rig.run(3)
    rig.wait_for_jobs(8)
    began = rig.clock.now()
    while not rig.cloud.launches:
        rig.core.step()
        rig.clock.time += min(rig.settings.sleep_s, max(0.1, rig.core.seconds_to_next_check()))
    assert rig.clock.now() - began <= rig.settings.waiting_jobs_time_s + rig.settings.check_queue_every_s + 0.5


def test_one_worker_check_that_fails_just_before_a_launch_delays_it_by_one_poll(tmp_path: Path) -> None:
    rig = Rig(tmp_path, replace(SETTINGS, check_vms_every_s=600))
    rig.wait_for_jobs(8)
    rig.run(30)
    rig.batch.joined = None
    while ("workers", "") not in rig.batch.calls[2:]:
        rig.run(1)
    rig.batch.joined = {}
    rig.run(rig.settings.check_queue_every_s + 1)
    assert rig.cloud.launches == [2]


def test_jobs_that_start_between_two_looks_count_once(tmp_path: Path) -> None:
    """As waiting when the queue was read, and on a worker that was read later: twice as many VMs were launched."""
    rig = Rig(tmp_path, replace(SETTINGS, check_queue_every_s=600, check_vms_every_s=10, waiting_jobs_time_s=0))
    rig.wait_for_jobs(1)
    rig.run(5)
    rig.join_all()
    rig.run(20)
    rig.core._memory = replace(rig.core._memory, breakers={"default": Breaker(paused_until=rig.clock.now() + 30)})
    rig.wait_for_jobs(8)
    rig.core._queue_due_at = 0.0
    rig.run(15)
    (vm,) = rig.cloud.alive
    rig.batch.join(vm, jobs=4)
    rig.wait_for_jobs(4)
    rig.run(30)
    assert rig.cloud.launches == [1, 1]


def test_the_minimum_is_launched_at_once_and_held_across_restarts(tmp_path: Path) -> None:
    rig = Rig(tmp_path, replace(SETTINGS, min_vms=2))
    rig.run(5)
    assert rig.cloud.launches == [2]
    rig.start()
    rig.run(100)
    assert rig.cloud.launches == [2]


def test_a_lost_answer_is_found_again_and_never_exceeds_the_maximum(rig: Rig) -> None:
    rig.wait_for_jobs(40)
    rig.cloud.lose_answer = True
    rig.cloud.hidden = {f"i-{number:08x}" for number in range(1, 4)}
    rig.run(70)
    assert rig.cloud.launches == [5]
    rig.cloud.hidden = set()
    rig.run(300)
    assert rig.cloud.launches == [5]


@pytest.mark.parametrize("made", [True, False])
def test_where_the_token_is_a_lock_an_unclear_launch_is_settled_by_asking_again(rig: Rig, made: bool) -> None:
    rig.cloud.token_is_lock = True
    rig.wait_for_jobs(40)
    launch = rig.cloud.launch
    rig.cloud.hidden = {f"i-{number:08x}" for number in range(1, 9)}

    def lose_answer(pool: Pool, count: int, token: str) -> tuple[Instance, ...]:
        rig.cloud.launch = launch  # type: ignore[method-assign]
        if made:
            launch(pool, count, token)
        raise CloudError("no answer")

    rig.cloud.launch = lose_answer  # type: ignore[method-assign]
    rig.run(80)
    assert len(rig.cloud.alive) == 5
    assert not rig.core._memory.intents
    assert len(rig.core._memory.vms) == 5


@pytest.mark.parametrize("why_not", ["maximum lowered", "no listing"])
def test_an_unclear_launch_is_not_asked_for_again_beyond_the_maximum_nor_in_doubt(rig: Rig, why_not: str) -> None:
    """Found by the simulator: the maximum was lowered between the two requests."""
    rig.cloud.token_is_lock = True
    rig.wait_for_jobs(40)
    launch = rig.cloud.launch

    def lose_request(pool: Pool, count: int, token: str) -> tuple[Instance, ...]:
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
        rig.settings = replace(SETTINGS, max_vms=2)
        rig.core.reconfigure(rig.settings, rig.batch, rig.cloud)  # type: ignore[arg-type]
    rig.run(60)
    assert not rig.cloud.launches


def test_a_crash_between_request_and_record_loses_no_vm(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.wait_for_jobs(40)
    launch = rig.cloud.launch

    class Killed(BaseException):
        """Nothing in elastiq catches this, as nothing catches a kill -9."""

    def launch_and_die(*arguments: object) -> None:
        launch(*arguments)  # type: ignore[arg-type]
        raise Killed

    monkeypatch.setattr(rig.cloud, "launch", launch_and_die)
    with pytest.raises(Killed):
        rig.run(100)
    monkeypatch.setattr(rig.cloud, "launch", launch)
    rig.start()
    rig.run(300)
    assert rig.cloud.launches == [5]
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=301)
    rig.run(100)
    assert not rig.cloud.alive


def test_a_busy_worker_refuses_to_close_and_its_vm_stays(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=301)
    close = rig.batch.close

    def job_gets_in_first(worker: object) -> object:
        rig.join_all(jobs=1)
        return close(worker)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.batch, "close", job_gets_in_first)
    rig.run(200)
    assert not rig.cloud.terminations
    assert len(rig.cloud.alive) == 1


def test_nothing_is_terminated_without_a_close(rig: Rig) -> None:
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=301)
    rig.batch.close_fails = True
    rig.run(300)
    assert not rig.cloud.terminations
    rig.batch.close_fails = False
    rig.run(400)
    assert not rig.cloud.alive


def test_a_refused_termination_is_retried_and_jobs_that_come_meanwhile_reopen_the_worker(rig: Rig) -> None:
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=301)
    rig.cloud.refuse_terminate = True
    rig.run(100)
    assert 2 <= len(rig.cloud.terminations) <= 6
    rig.wait_for_jobs(2)
    rig.run(30)
    assert "reopen" in [call for call, _ in rig.batch.calls]
    assert rig.cloud.launches == [1]


def test_a_worker_that_can_not_be_reopened_keeps_no_job_waiting(tmp_path: Path) -> None:
    """Its machine hangs; the first request to terminate it was refused for a moment."""
    rig = Rig(tmp_path, replace(SETTINGS, max_vms=1))
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=301)
    rig.cloud.refuse_terminate = True
    while not rig.cloud.terminations:
        rig.run(1)
    rig.cloud.refuse_terminate = False
    rig.batch.joined = {}
    rig.wait_for_jobs(2)
    rig.run(300)
    assert "reopen" in [call for call, _ in rig.batch.calls]
    assert rig.cloud.launches == [1, 1]


def test_after_an_unclear_termination_the_worker_is_never_reopened(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=301)
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
    rig = Rig(tmp_path, replace(SETTINGS, min_vms=1, estimated_vm_deploy_time_s=120))
    rig.run(5)
    rig.cloud.run()
    rig.run(200)
    assert rig.cloud.terminations == [("i-00000001",)]
    assert rig.cloud.launches == [1, 1]
    assert "kernel panic" in caplog.text


def test_a_broken_image_costs_little(tmp_path: Path) -> None:
    rig = Rig(tmp_path, replace(SETTINGS, estimated_vm_deploy_time_s=60))
    rig.wait_for_jobs(100)
    rig.run(6 * 3600)
    assert len(rig.cloud.vms) <= 5 + 6 * 3600 / 1800 + 3


def test_status_shows_the_end_of_the_console_while_launches_pause(tmp_path: Path) -> None:
    rig = Rig(tmp_path, replace(SETTINGS, estimated_vm_deploy_time_s=60))
    rig.cloud.console_tail = lambda instance_id: "much before\n" * 50 + "\nroot not found\nkernel panic\n"  # type: ignore
    rig.wait_for_jobs(100)
    rig.run(300)
    report = read_report(tmp_path)
    assert report is not None
    (hold,) = [hold for hold in report["holds"] if "launches pause" in hold]
    assert hold.endswith("much before | root not found | kernel panic")
    assert len(hold) < 500


def test_a_vm_in_error_is_terminated_and_replaced_soon(tmp_path: Path) -> None:
    rig = Rig(tmp_path, replace(SETTINGS, min_vms=1))
    rig.run(5)
    rig.cloud.vms["i-00000001"] = replace(rig.cloud.vms["i-00000001"], state=InstanceState.ERROR)
    rig.run(rig.settings.check_vms_in_error_every_s + 45)
    assert rig.cloud.launches == [1, 1]


def test_a_broken_vm_that_the_cloud_does_not_get_rid_of_stops_nothing(rig: Rig) -> None:
    """OpenStack accepts the termination of a VM in error again and again, and keeps some of them for ever."""
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.cloud.vms["i-00000001"] = replace(rig.cloud.vms["i-00000001"], state=InstanceState.ERROR)
    rig.cloud.terminate = tuple  # type: ignore[assignment]
    rig.run(3600)
    assert rig.core._memory.breakers["default"].failed_boots == 1, "it failed only once"
    rig.wait_for_jobs(8)
    rig.run(60)
    assert rig.cloud.launches == [1, 2]


def test_a_dead_cloud_does_not_stop_the_queue_check_nor_a_dead_scheduler_the_vm_check(rig: Rig) -> None:
    rig.cloud.fault = CloudFault.UNREACHABLE
    rig.run(100)
    assert len([call for call, _ in rig.batch.calls if call == "demand"]) >= 6
    rig.cloud.fault = None
    rig.batch.jobs = rig.batch.joined = None
    listings = []
    listing = rig.cloud.list_instances
    rig.cloud.list_instances = lambda **options: listings.append(1) or listing(**options)  # type: ignore
    rig.run(100)
    assert len(listings) >= 2


def test_a_restart_while_the_scheduler_is_down_terminates_nothing(rig: Rig) -> None:
    rig.wait_for_jobs(12)
    rig.run(60)
    rig.join_all(jobs=4)
    rig.wait_for_jobs(0)
    rig.run(60)
    rig.batch.jobs = rig.batch.joined = None
    rig.start()
    rig.run(3 * 3600)
    assert not rig.cloud.terminations
    assert len(rig.cloud.alive) == 3


def test_booting_vms_outlive_a_reboot_of_the_head_node(rig: Rig) -> None:
    """They join while nobody looks, and a collector that is new is told of them only by and by."""
    rig.wait_for_jobs(12)
    rig.run(60)
    rig.cloud.run()
    rig.clock.time += 700
    rig.start()
    rig.run(300)
    assert not rig.cloud.terminations
    rig.join_all(jobs=4)
    rig.wait_for_jobs(0)
    rig.run(3600)
    assert not rig.cloud.terminations
    assert not rig.core._memory.breakers["default"].failed_boots


def test_a_vm_that_does_not_join_after_a_restart_is_ended_all_the_same(rig: Rig) -> None:
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.start()
    rig.run(700)
    assert rig.cloud.terminations == [("i-00000001",)]


def test_an_empty_collector_terminates_nothing_for_an_hour_and_no_running_job_ever(rig: Rig) -> None:
    rig.wait_for_jobs(8)
    rig.run(60)
    rig.join_all(jobs=4)
    rig.wait_for_jobs(0)
    rig.run(60)
    rig.batch.joined = {}
    rig.batch.lingering_jobs = {"i-00000001"}
    rig.run(3500)
    assert not rig.cloud.terminations
    rig.run(600)
    assert rig.cloud.terminations == [("i-00000002",)]


def test_a_dry_run_launches_and_terminates_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rig = Rig(tmp_path, replace(SETTINGS, dry_run_boot_vms=True))
    rig.wait_for_jobs(8)
    rig.run(300)
    assert not rig.cloud.launches
    assert (
        "launch 2 VMs: 8 jobs have found no room for more than 40 s; dry run: not launched (dry_run_boot_vms)"
        in caplog.text
    )
    assert "launches pause" not in caplog.text
    rig.settings = replace(SETTINGS, dry_run_shutdown_vms=True)
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
    rig = Rig(tmp_path, replace(SETTINGS, check_queue_every_s=3600, check_vms_every_s=3600))
    rig.run(1)
    for _ in range(10):
        rig.run(300)
        report = read_report(tmp_path)
        assert report and rig.clock.now() - report["updated_at"] <= 60 + rig.settings.sleep_s
        assert report["monotonic_microseconds"] == int(report["updated_at"] * 1_000_000)
    assert len(rig.batch.calls) == 2, "nobody was asked for that"


def test_figures_of_a_pass_that_was_given_up_are_not_reported_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, replace(SETTINGS, check_queue_every_s=120, check_vms_every_s=120))
    rig.run(10)
    before = read_report(tmp_path)
    monkeypatch.setattr("elastiq.core.plan", lambda *_: 1 / 0)
    rig.clock.time += 120
    rig.run(100)
    assert read_report(tmp_path) == before


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


def test_the_ids_of_the_originals_state_file_are_taken_over(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("i-0123456789abcdef0\ngarbage\n\ni-00000001\n")
    rig = Rig(tmp_path)
    rig.cloud.launch(rig.settings.policy().pools[0], 1, "original's own")
    rig.join_all(idle_seconds=301)
    rig.run(100)
    assert rig.cloud.terminations == [("i-00000001",)]
    assert (tmp_path / "state.imported").read_text().count("\n") == 4


def test_a_vm_of_nobody_is_left_alone_even_with_our_workers_address(rig: Rig) -> None:
    rig.cloud.launch(rig.settings.policy().pools[0], 1, "foreign")
    rig.cloud.vms["i-00000001"] = replace(rig.cloud.vms["i-00000001"], cluster="", address="10.0.0.9")
    rig.join_all(idle_seconds=99_999)
    rig.run(2000)
    assert not rig.cloud.terminations


def test_an_untagged_vm_of_ours_is_tagged_afterwards(rig: Rig) -> None:
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.cloud.vms["i-00000001"] = replace(rig.cloud.vms["i-00000001"], cluster="")
    rig.run(200)
    assert rig.cloud.vms["i-00000001"].cluster == "test"


def test_a_reload_changes_the_limits_between_passes(rig: Rig) -> None:
    rig.wait_for_jobs(100)
    rig.run(60)
    rig.settings = replace(SETTINGS, max_vms=7)
    rig.core.reconfigure(rig.settings, rig.batch, rig.cloud)  # type: ignore[arg-type]
    rig.run(60)
    assert rig.cloud.launches == [5, 2]


def test_what_a_cloud_refuses_is_remembered_of_that_cloud_alone(rig: Rig) -> None:
    refused = frozenset({"TagSpecifications"})
    first = rig.settings.cloud
    rig.cloud.features = refused
    rig.run(60)
    assert rig.state.refused_features(first) == refused
    rig.settings = replace(SETTINGS, api_url="https://another.cloud")
    rig.cloud = FakeCloud()
    rig.core.reconfigure(rig.settings, rig.batch, rig.cloud)  # type: ignore[arg-type]
    rig.run(60)
    assert rig.state.refused_features(first) == refused, "the other one has refused nothing yet"
    rig.cloud.features = refused
    rig.run(60)
    assert rig.state.refused_features(rig.settings.cloud) == refused
    assert rig.state.refused_features(first) == frozenset()


@pytest.mark.parametrize("how", ["reload", "restart"])
@pytest.mark.parametrize("old_vm_stays", [True, False])
def test_another_flavour_holds_jobs_that_were_too_large_for_the_one_before(
    tmp_path: Path, how: str, old_vm_stays: bool
) -> None:
    rig = Rig(tmp_path, replace(SETTINGS, n_jobs_per_vm=None, flavour="small"))
    rig.wait_for_jobs(1)
    rig.run(60)
    rig.cloud.vms = {id_: replace(vm, type="small") for id_, vm in rig.cloud.vms.items()}
    rig.join_all(jobs=4)
    rig.batch.jobs = (Demand(Shape(8), 1),)
    rig.run(200)
    assert rig.cloud.launches == [1], "it can never run"
    if not old_vm_stays:
        rig.batch.joined = {}
        rig.cloud.vms = {id_: replace(vm, state=InstanceState.TERMINATED) for id_, vm in rig.cloud.vms.items()}
    rig.settings = replace(rig.settings, flavour="large")
    if how == "reload":
        rig.core.reconfigure(rig.settings, rig.batch, rig.cloud)  # type: ignore[arg-type]
    else:
        rig.start()
    rig.run(200)
    assert rig.cloud.launches == [1, 1]


def test_a_defect_ends_a_pass_not_the_daemon(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.batch.demand = lambda: 1 / 0  # type: ignore
    rig.run(60)
    assert "defect in elastiq" in caplog.text
    rig.batch = FakeBatch()
    rig.core.reconfigure(rig.settings, rig.batch, rig.cloud)  # type: ignore[arg-type]
    rig.wait_for_jobs(4)
    rig.run(60)
    assert rig.cloud.launches == [1]


def test_nothing_is_launched_on_what_was_known_before_a_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path, replace(SETTINGS, check_queue_every_s=60))

    def fail() -> NoReturn:
        raise KeyError("a defect")

    rig.wait_for_jobs(4)
    rig.run(5)
    monkeypatch.setattr(rig.batch, "demand", fail)
    rig.run(300)
    assert not rig.cloud.launches


def test_a_defect_in_a_check_makes_nobody_asked_without_pause(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fail() -> NoReturn:
        asked.append(rig.clock.now())
        raise KeyError("a defect")

    monkeypatch.setattr(rig.batch, "workers", fail)
    rig.run(600)
    assert len(asked) <= 600 / rig.settings.check_queue_every_s + 1
    assert len([call for call, _ in rig.batch.calls if call == "demand"]) >= 600 / rig.settings.check_queue_every_s - 1


def test_what_was_done_before_a_defect_in_the_same_pass_is_recorded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.join_all(idle_seconds=0)
    rig.run(60)

    def close(worker: Worker) -> Closing:
        raise KeyError("a defect")

    monkeypatch.setattr(rig.batch, "close", close)
    rig.join_all(jobs=4, idle_seconds=0)
    rig.cloud.vms["i-00000001"] = replace(rig.cloud.vms["i-00000001"], state=InstanceState.ERROR)
    before = len(read_decisions(rig.directory, 0))
    rig.wait_for_jobs(8)
    rig.run(120)
    kinds = [row["kind"] for row in read_decisions(rig.directory, 0)[before:]]
    assert kinds.count("launch") == len(rig.cloud.launches) - 1


def test_a_defect_after_a_launch_makes_no_vm_forgotten(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin installed beside elastiq raises what it must not; tags are put on later."""
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.join_all(idle_seconds=0)
    rig.run(60)
    launch = rig.cloud.launch

    def launch_untagged(pool: Pool, count: int, token: str) -> tuple[Instance, ...]:
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
    assert set(rig.core._memory.vms) == set(rig.cloud.vms)
    rig.start()
    assert set(rig.core._memory.vms) == set(rig.cloud.vms)


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


def test_a_vm_that_has_lost_its_tag_is_still_known_and_its_job_left_alone(rig: Rig) -> None:
    """Listings are asked for by tag, and so they leave it out."""
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(jobs=4)
    rig.run(200)

    def by_tag(*, everything: bool) -> tuple[Instance, ...]:
        return tuple(vm for vm in rig.cloud.vms.values() if everything or vm.cluster)

    rig.cloud.list_instances = by_tag  # type: ignore[method-assign]
    rig.cloud.vms = {id_: replace(vm, cluster="", client_token="") for id_, vm in rig.cloud.vms.items()}
    rig.cloud.tag = lambda *arguments: None  # type: ignore[method-assign]
    rig.run(3600)
    assert list(rig.core._memory.vms) == ["i-00000001"]
    assert "forget" not in [call for call, _ in rig.batch.calls]


@pytest.mark.parametrize("jobs", [4, 0])
def test_a_worker_that_is_there_is_not_forgotten_whatever_the_cloud_leaves_out(rig: Rig, jobs: int) -> None:
    """Slurm and Grid Engine end the jobs of a node that is forgotten. A wrong region shows no VM at all."""
    rig.wait_for_jobs(20)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(jobs=jobs)
    rig.run(200)
    rig.cloud.hidden = set(rig.cloud.vms)
    rig.join_all(jobs=jobs, idle_seconds=5000.0)
    rig.wait_for_jobs(20)
    rig.run(2 * 3600)
    assert rig.cloud.launches == [5]
    assert not rig.cloud.terminations
    assert {call for call, _ in rig.batch.calls} == {"demand", "workers"}
    report = read_report(rig.directory)
    assert report is not None
    assert any("i-00000001" in hold and "check region" in hold for hold in report["holds"])
    rig.batch.joined = {}
    rig.run(800)
    assert not any(record.joined_at for record in rig.core._memory.vms.values())
    assert len([call for call, _ in rig.batch.calls if call == "forget"]) == 5


def test_one_answer_without_workers_makes_no_vm_forgotten_that_the_cloud_leaves_out(rig: Rig) -> None:
    """Nor do two wrong answers at once: a collector that has just started, and another region."""
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(jobs=4)
    rig.run(200)
    rig.cloud.hidden = set(rig.cloud.vms)
    rig.run(3600)
    workers, rig.batch.joined = rig.batch.joined, {}
    rig.run(500)
    rig.batch.joined = workers
    rig.run(3600)
    assert ("forget", "node-i-00000001") not in rig.batch.calls
    assert "i-00000001" in rig.core._memory.vms


def test_a_dead_vm_is_not_forgotten_by_the_name_of_its_successor(rig: Rig) -> None:
    """Found by the simulator: the successor had got the address, and the batch system was told that it was gone."""
    rig.wait_for_jobs(8)
    rig.run(60)
    rig.join_all(jobs=1)
    for id_, vm in rig.cloud.vms.items():
        rig.cloud.vms[id_] = replace(vm, address="10.0.0.9")
    rig.run(60)
    rig.cloud.vms["i-00000001"] = replace(rig.cloud.vms["i-00000001"], state=InstanceState.TERMINATED)
    rig.run(60)
    assert "forget" not in [call for call, _ in rig.batch.calls]
    rig.cloud.vms["i-00000002"] = replace(rig.cloud.vms["i-00000002"], state=InstanceState.TERMINATED)
    rig.run(60)
    assert ("forget", "node-i-00000002") in rig.batch.calls


def die_while_the_batch_system_can_not_forget(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> str:
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(jobs=4)
    rig.run(60)
    (dead,) = rig.cloud.alive

    def fail(worker: Worker) -> None:
        raise BatchError("the scheduler does not answer")

    monkeypatch.setattr(rig.batch, "forget", fail)
    rig.cloud.vms[dead] = replace(rig.cloud.vms[dead], state=InstanceState.TERMINATED)
    rig.run(60)
    monkeypatch.undo()
    return f"node-{dead}"


@pytest.mark.parametrize("restart", [False, True])
def test_a_dead_worker_is_forgotten_when_the_batch_system_is_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, restart: bool
) -> None:
    """Grid Engine takes the job of a dead host for running until somebody says otherwise."""
    dead = die_while_the_batch_system_can_not_forget(rig, monkeypatch)
    if restart:
        rig.start()
    rig.run(600)
    assert rig.batch.calls.count(("forget", dead)) == 1


def test_a_crash_before_a_dead_worker_is_forgotten_makes_no_difference(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(worker: Worker) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rig.batch, "forget", crash)
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(jobs=4)
    rig.run(60)
    rig.cloud.vms["i-00000001"] = replace(rig.cloud.vms["i-00000001"], state=InstanceState.TERMINATED)
    with pytest.raises(KeyboardInterrupt):
        rig.run(60)
    monkeypatch.undo()
    rig.start()
    rig.run(60)
    assert ("forget", "node-i-00000001") in rig.batch.calls


@pytest.mark.parametrize("address", ["10.0.0.5", None])
def test_a_dead_worker_is_not_forgotten_late_by_what_may_be_its_successors_address(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    """The batch system may know its workers by address alone."""
    dead = die_while_the_batch_system_can_not_forget(rig, monkeypatch)
    gone = replace(rig.core._memory.to_forget["i-00000001"], address="10.0.0.5", retry_at=rig.clock.now() + 100)
    rig.core._memory = replace(rig.core._memory, to_forget={"i-00000001": gone})
    rig.wait_for_jobs(4)
    while len(rig.cloud.vms) < 2:
        rig.run(1)
    rig.cloud.vms["i-00000002"] = replace(rig.cloud.vms["i-00000002"], address=address)
    rig.run(400)
    assert ("forget", dead) not in rig.batch.calls


def test_a_vm_that_comes_back_is_not_forgotten(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = die_while_the_batch_system_can_not_forget(rig, monkeypatch)
    rig.cloud.vms["i-00000001"] = replace(rig.cloud.vms["i-00000001"], state=InstanceState.RUNNING)
    rig.run(600)
    assert ("forget", dead) not in rig.batch.calls


def test_a_worker_that_is_back_is_not_forgotten_though_listings_still_leave_out_its_vm(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(jobs=4)
    rig.run(60)

    def fail(worker: Worker) -> None:
        raise BatchError("the scheduler does not answer")

    monkeypatch.setattr(rig.batch, "forget", fail)
    rig.cloud.hidden = set(rig.cloud.vms)
    workers, rig.batch.joined = rig.batch.joined, {}
    while not rig.core._memory.to_forget:
        rig.run(1)
    monkeypatch.undo()
    rig.batch.joined = workers
    rig.run(1200)
    assert ("forget", "node-i-00000001") not in rig.batch.calls


def test_a_worker_that_can_not_be_forgotten_for_an_hour_is_left_to_the_batch_system(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_while_the_batch_system_can_not_forget(rig, monkeypatch)
    rig.batch.jobs = rig.batch.joined = None
    rig.cloud.fault = CloudFault.UNREACHABLE
    rig.run(3700)
    assert not rig.core._memory.to_forget


def test_after_a_damaged_database_launches_wait_until_all_vms_must_be_listed(rig: Rig) -> None:
    """Found by the simulator: VMs that were not listed yet, and that nobody remembered, were launched once more."""
    rig.wait_for_jobs(100)
    rig.run(60)
    assert rig.cloud.launches == [5]
    rig.cloud.hidden = set(rig.cloud.alive)
    rig.state.close()
    (rig.directory / "elastiq.db").write_bytes(b"garbage" * 1000)
    rig.start()
    rig.run(90)
    rig.state.close()
    rig.start()
    rig.run(200)
    assert rig.cloud.launches == [5]
    assert "the state database was damaged" in (read_report(rig.directory) or {})["holds"][-1]
    rig.cloud.hidden = set()
    rig.cloud.vms = {}
    rig.run(400)
    assert rig.cloud.launches == [5, 5]


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


def test_the_console_of_a_vm_is_read_before_its_close_so_that_no_late_worker_has_time_for_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, replace(SETTINGS, min_vms=1, estimated_vm_deploy_time_s=120))

    def late(id_: str) -> str:
        rig.join_all(jobs=1)
        return ""

    monkeypatch.setattr(rig.cloud, "console_tail", late)
    rig.run(300)
    assert not rig.cloud.terminations


def test_all_consoles_are_read_before_the_first_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path, replace(SETTINGS, min_vms=2, estimated_vm_deploy_time_s=120))
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
    rig.run(rig.settings.estimated_vm_deploy_time_s + 200)
    assert "close" not in [call for call, _ in rig.batch.calls]
    assert not rig.core._memory.vms["i-00000001"].leaving


def test_the_console_of_a_failed_boot_is_read_once_and_kept_even_if_its_close_fails(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    monkeypatch.setattr(rig.cloud, "console_tail", lambda id_: read.append(id_) or "no such command")
    rig.batch.close_fails = True
    rig.wait_for_jobs(4)
    rig.run(rig.settings.estimated_vm_deploy_time_s + 600)
    assert read == ["i-00000001"]
    assert rig.core._memory.breakers["default"].boot_reason.endswith("its console ends with: no such command")


def test_a_dry_run_asks_for_no_console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path)
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.settings = replace(rig.settings, dry_run_shutdown_vms=True)
    rig.core.reconfigure(rig.settings, rig.batch, rig.cloud)  # type: ignore[arg-type]
    read = []
    monkeypatch.setattr(rig.cloud, "console_tail", lambda id_: read.append(id_) or "")
    rig.run(rig.settings.estimated_vm_deploy_time_s + 200)
    assert not read


def test_a_vm_that_never_was_a_worker_is_closed_last(rig: Rig) -> None:
    rig.wait_for_jobs(8)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.cloud.run()
    never, idle = rig.cloud.alive
    rig.batch.join(idle, idle_seconds=0.0)
    while rig.clock.now() - rig.core._memory.vms[never].launched_at < rig.settings.estimated_vm_deploy_time_s:
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
    assert not any(rig.core._memory.vms[id_].leaving for id_ in others)
    times = [at for at, _ in asked]
    assert all(later - earlier > 6 for earlier, later in zip(times, times[1:], strict=False)), "one in a pass"
