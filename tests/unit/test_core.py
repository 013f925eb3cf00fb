"""The loop with ports that are steered by hand: when it asks, what comes of it, what it survives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from elastiq.errors import CloudFault
from elastiq.memory import Breaker
from elastiq.model import SPOT, Demand, InstanceState, Shape, Worker
from elastiq.plugins import Closing
from elastiq.state import read_decisions, read_report
from tests.unit.fakes import FakeBatch, settings_with
from tests.unit.rig import SETTINGS, Rig


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
    rig = Rig(
        tmp_path, settings_with(SETTINGS, check_queue_every_s=0, check_vms_every_s=0, check_vms_in_error_every_s=0)
    )
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
        rig.clock.time += min(rig.settings.elastiq.sleep_s, max(0.1, rig.core.seconds_to_next_check()))
    assert (
        rig.clock.now() - began
        <= rig.settings.elastiq.waiting_jobs_time_s + rig.settings.elastiq.check_queue_every_s + 0.5
    )


def test_one_worker_check_that_fails_just_before_a_launch_delays_it_by_one_poll(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings_with(SETTINGS, check_vms_every_s=600))
    rig.wait_for_jobs(8)
    rig.run(30)
    rig.batch.joined = None
    while ("workers", "") not in rig.batch.calls[2:]:
        rig.run(1)
    rig.batch.joined = {}
    rig.run(rig.settings.elastiq.check_queue_every_s + 1)
    assert rig.cloud.launches == [2]


@pytest.mark.long
def test_a_slow_poll_of_the_queue_shows_too_beside_which_room_jobs_wait(tmp_path: Path) -> None:
    """Found by the simulator: idle for long at the first look, a VM went before the queue was read again, and nobody
    knew that it had stood beside jobs that do not start: the next one came."""
    rig = Rig(tmp_path, settings_with(SETTINGS, check_queue_every_s=300, check_vms_every_s=600, n_jobs_per_vm=None))
    rig.wait_for_jobs(1)
    for _ in range(24):
        rig.run(600)
        rig.batch.joined = {}
        rig.join_all(idle_seconds=400)
    assert len(rig.cloud.launches) <= 4


def test_a_look_at_workers_before_a_launch_tells_too_what_they_offer(tmp_path: Path) -> None:
    """Found by the simulator: with rare checks of VMs its VM went before the next one, and another was launched to
    learn it, 43 times a night."""
    rig = Rig(tmp_path, settings_with(SETTINGS, check_vms_every_s=600))
    rig.batch.template = lambda worker: f"offers of {worker.name}"  # type: ignore[method-assign]
    rig.wait_for_jobs(4)
    while not rig.cloud.launches:
        rig.run(1)
    rig.run(60)
    rig.join_all(idle_seconds=50)
    rig.wait_for_jobs(16)
    rig.run(120)
    assert rig.core.memory.templates["default"].text.startswith("offers of ")


def test_jobs_that_start_between_two_looks_count_once(tmp_path: Path) -> None:
    """As waiting when the queue was read, and on a worker that was read later: twice as many VMs were launched."""
    rig = Rig(tmp_path, settings_with(SETTINGS, check_queue_every_s=600, check_vms_every_s=10, waiting_jobs_time_s=0))
    rig.wait_for_jobs(1)
    rig.run(5)
    rig.join_all()
    rig.run(20)
    rig.core._memory = replace(rig.core.memory, breakers={"default": Breaker(paused_until=rig.clock.now() + 30)})
    rig.wait_for_jobs(8)
    rig.core._queue_due_at = 0.0
    rig.run(15)
    (vm,) = rig.cloud.alive
    rig.batch.join(vm, jobs=4)
    rig.wait_for_jobs(4)
    rig.run(30)
    assert rig.cloud.launches == [1, 1]


def test_the_minimum_is_launched_at_once_and_held_across_restarts(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings_with(SETTINGS, min_vms=2))
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


@pytest.mark.long
def test_a_broken_image_costs_little(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings_with(SETTINGS, estimated_vm_deploy_time_s=60))
    rig.wait_for_jobs(100)
    rig.run(6 * 3600)
    assert len(rig.cloud.vms) <= 5 + 6 * 3600 / 1800 + 3


def test_a_vm_in_error_is_terminated_and_replaced_soon(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings_with(SETTINGS, min_vms=1))
    rig.run(5)
    rig.cloud.vms["i-00000001"] = replace(rig.cloud.vms["i-00000001"], state=InstanceState.ERROR)
    rig.run(rig.settings.elastiq.check_vms_in_error_every_s + 45)
    assert rig.cloud.launches == [1, 1]


def test_a_broken_vm_that_the_cloud_does_not_get_rid_of_stops_nothing(rig: Rig) -> None:
    """OpenStack accepts the termination of a VM in error again and again, and keeps some of them for ever."""
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.cloud.vms["i-00000001"] = replace(rig.cloud.vms["i-00000001"], state=InstanceState.ERROR)
    rig.cloud.terminate = tuple  # type: ignore[assignment]
    rig.run(3600)
    assert rig.core.memory.breakers["default"].failed_boots == 1, "it failed only once"
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


@pytest.mark.long
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
    assert not rig.core.memory.breakers["default"].failed_boots


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


def test_figures_of_a_pass_that_was_given_up_are_not_reported_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, settings_with(SETTINGS, check_queue_every_s=120, check_vms_every_s=120))
    rig.run(10)
    before = read_report(tmp_path)
    monkeypatch.setattr("elastiq.core.plan", lambda *_: 1 / 0)
    rig.clock.time += 120
    rig.run(100)
    assert read_report(tmp_path) == before


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


def test_a_reload_changes_the_limits_between_passes(rig: Rig) -> None:
    rig.wait_for_jobs(100)
    rig.run(60)
    rig.settings = settings_with(SETTINGS, max_vms=7)
    rig.core.reconfigure(rig.settings, rig.batch, rig.cloud)
    rig.run(60)
    assert rig.cloud.launches == [5, 2]


@pytest.mark.parametrize("how", ["reload", "restart"])
@pytest.mark.parametrize("old_vm_stays", [True, False])
def test_another_flavour_holds_jobs_that_were_too_large_for_the_one_before(
    tmp_path: Path, how: str, old_vm_stays: bool
) -> None:
    rig = Rig(tmp_path, settings_with(SETTINGS, n_jobs_per_vm=None, flavour="small"))
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
    rig.settings = settings_with(rig.settings, flavour="large")
    if how == "reload":
        rig.core.reconfigure(rig.settings, rig.batch, rig.cloud)
    else:
        rig.start()
    rig.run(200)
    assert rig.cloud.launches == [1, 1]


def test_a_defect_ends_a_pass_not_the_daemon(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.batch.demand = lambda: 1 / 0  # type: ignore
    rig.run(60)
    assert "defect in elastiq" in caplog.text
    rig.batch = FakeBatch()
    rig.core.reconfigure(rig.settings, rig.batch, rig.cloud)
    rig.wait_for_jobs(4)
    rig.run(60)
    assert rig.cloud.launches == [1]


def test_a_defect_in_a_check_makes_nobody_asked_without_pause(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fail() -> NoReturn:
        asked.append(rig.clock.now())
        raise KeyError("a defect")

    monkeypatch.setattr(rig.batch, "workers", fail)
    rig.run(600)
    assert len(asked) <= 600 / rig.settings.elastiq.check_queue_every_s + 1
    assert (
        len([call for call, _ in rig.batch.calls if call == "demand"])
        >= 600 / rig.settings.elastiq.check_queue_every_s - 1
    )


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


@pytest.mark.parametrize("by", ["retry", "reload"])
def test_what_was_in_vain_is_remembered_over_a_restart_and_ended_by_hand(tmp_path: Path, by: str) -> None:
    rig = Rig(tmp_path, settings_with(SETTINGS, idle_for_time_s=3600))
    rig.wait_for_jobs(8)
    rig.run(60)
    launches = len(rig.cloud.launches)
    rig.join_all(idle_seconds=0)
    for idle_seconds in range(0, 420, 15):
        rig.join_all(idle_seconds=idle_seconds)
        rig.run(15)
    assert rig.core.memory.futile
    rig.start()
    assert rig.core.memory.futile
    rig.run(600)
    assert len(rig.cloud.launches) == launches
    if by == "retry":
        rig.core.try_again()
    else:
        rig.core.reconfigure(rig.settings, rig.batch, rig.cloud)
    assert not rig.core.memory.futile
    rig.run(60)
    assert len(rig.cloud.launches) == launches + 1


def test_workers_that_a_pass_has_no_time_to_close_are_closed_in_the_next_ones_at_once(tmp_path: Path) -> None:
    """Found by the simulator: with a queue check every five minutes each of them cost that much more."""
    options = {"check_queue_every_s": 300, "check_vms_every_s": 600, "max_vms": 20, "min_vms": 0}
    rig = Rig(tmp_path, settings_with(SETTINGS, **options))
    rig.wait_for_jobs(80)
    rig.run(400)
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=99_999)
    close = rig.batch.close

    def slowly(worker: Worker) -> Closing:
        rig.clock.time += 1
        return close(worker)

    rig.batch.close = slowly  # type: ignore[method-assign]
    while not rig.cloud.terminations:
        rig.run(1)
    rig.run(60)
    assert sum(map(len, rig.cloud.terminations)) == 20


@pytest.mark.parametrize("error", [KeyError("Odd"), TypeError("no number"), RecursionError("too deep"), SystemExit(2)])
def test_a_defect_of_a_plugin_in_judging_costs_that_answer_and_never_the_pass(
    error: BaseException, rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended every pass: no VM was launched, and none that was idle ended."""

    def judge(wants: Sequence[str], template: str) -> NoReturn:
        raise error

    monkeypatch.setattr(rig.batch, "judge", judge)
    rig.batch.jobs = (Demand(Shape(), 4), Demand(Shape(), 4, wants="odd"))
    rig.run(600)
    assert rig.cloud.launches, "others are served, and one VM is launched to learn from"
    assert "ended a pass" not in caplog.text
    assert caplog.text.count(f"judging jobs failed: {type(error).__name__}") == 1
    assert rig.core.last_plan is not None


@pytest.mark.parametrize(("market", "times"), [(SPOT, range(12, 17)), ("", range(4, 5))])
def test_workers_that_may_say_that_they_are_taken_back_are_looked_at_as_often_as_the_queue(
    rig: Rig, market: str, times: range
) -> None:
    """AWS says it two minutes before."""
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(jobs=1)
    for id_, vm in rig.cloud.vms.items():
        rig.cloud.vms[id_] = replace(vm, market=market)
    rig.run(100)
    before = len([call for call, _ in rig.batch.calls if call == "workers"])
    rig.run(180)
    assert len([call for call, _ in rig.batch.calls if call == "workers"]) - before in times
