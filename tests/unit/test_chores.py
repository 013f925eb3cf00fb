"""Tags, what a cloud refuses, and workers whose VMs died."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from elastiq import chores
from elastiq.errors import BatchError, CloudError, CloudFault, StateError
from elastiq.memory import Departed, Memory, Template, VmRecord
from elastiq.model import Demand, Instance, InstanceState, Pool, Shape, Worker
from elastiq.observer import Reading
from elastiq.planning.matching import match_workers
from elastiq.planning.offers import price_of
from elastiq.planning.prices import priced
from elastiq.state import read_report
from tests.unit.fakes import FakeCloud, settings_with
from tests.unit.rig import SETTINGS, Rig


def test_an_untagged_vm_of_ours_is_tagged_afterwards(rig: Rig) -> None:
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.cloud.vms["i-00000001"] = replace(rig.cloud.vms["i-00000001"], cluster="")
    rig.run(200)
    assert rig.cloud.vms["i-00000001"].cluster == "test"


@pytest.mark.long
@pytest.mark.parametrize("chore", ["tagging", "removing a dead worker"])
def test_a_chore_that_failed_is_over_when_there_is_nothing_left_to_do(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, chore: str
) -> None:
    def fail(*arguments: object) -> None:
        raise BatchError("no right to do so") if "worker" in chore else CloudError("no", CloudFault.CREDENTIALS)

    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all()
    rig.run(60)
    monkeypatch.setattr(rig.cloud, "tag", fail)
    monkeypatch.setattr(rig.batch, "forget", fail)
    (id_,) = rig.cloud.vms
    state = InstanceState.TERMINATED if "worker" in chore else InstanceState.RUNNING
    rig.cloud.vms[id_] = replace(rig.cloud.vms[id_], cluster="", state=state)
    rig.run(100)
    assert (read_report(rig.directory) or {})["last_error"]["text"].startswith(f"{chore} failed: no")
    assert "over_at" not in (read_report(rig.directory) or {})["last_error"]
    rig.cloud.vms[id_] = replace(rig.cloud.vms[id_], state=InstanceState.TERMINATED)
    rig.run(2 * 3600)
    assert "over_at" in (read_report(rig.directory) or {})["last_error"]
    assert "works again" not in caplog.text


def test_what_a_cloud_refuses_is_remembered_of_that_cloud_alone(rig: Rig) -> None:
    refused = frozenset({"TagSpecifications"})
    first = rig.settings.cloud
    rig.cloud.features = refused
    rig.run(60)
    assert rig.state.refused_features(first) == refused
    rig.settings = settings_with(SETTINGS, api_url="https://another.cloud")
    rig.cloud = FakeCloud()
    rig.core.reconfigure(rig.settings, rig.batch, rig.cloud)
    rig.run(60)
    assert rig.state.refused_features(first) == refused, "the other one has refused nothing yet"
    rig.cloud.features = refused
    rig.run(60)
    assert rig.state.refused_features(rig.settings.cloud) == refused
    assert rig.state.refused_features(first) == frozenset()


@pytest.mark.long
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
    assert not any(record.joined_at for record in rig.core.memory.vms.values())
    assert len([call for call, _ in rig.batch.calls if call == "forget"]) == 5


@pytest.mark.long
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
    assert "i-00000001" in rig.core.memory.vms


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
    gone = replace(rig.core.memory.to_forget["i-00000001"], address="10.0.0.5", retry_at=rig.clock.now() + 100)
    rig.core._memory = replace(rig.core.memory, to_forget={"i-00000001": gone})
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
    while not rig.core.memory.to_forget:
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
    assert not rig.core.memory.to_forget


def make_two_die(rig: Rig) -> None:
    rig.wait_for_jobs(8)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(jobs=4)
    rig.run(60)
    rig.cloud.vms = {id_: replace(vm, state=InstanceState.TERMINATED) for id_, vm in rig.cloud.vms.items()}


def test_a_defect_in_forgetting_one_worker_keeps_no_other_one_from_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_two_die(rig)
    forget = rig.batch.forget

    def fail(worker: Worker) -> None:
        if worker.instance_id == "i-00000001":
            raise KeyError("a defect")
        forget(worker)

    monkeypatch.setattr(rig.batch, "forget", fail)
    rig.run(100)
    assert ("forget", "node-i-00000002") in rig.batch.calls
    assert set(rig.core.memory.to_forget) == {"i-00000001"}


def test_a_stop_ends_forgetting(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    make_two_die(rig)
    asked: list[str | None] = []

    def stop(worker: Worker) -> None:
        asked.append(worker.instance_id)
        rig.core.stop()

    monkeypatch.setattr(rig.batch, "forget", stop)
    rig.run(100)
    assert asked == ["i-00000001"]


def test_forgetting_leaves_the_pass_time_for_the_rest(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    make_two_die(rig)
    asked: list[tuple[float, str | None]] = []

    def slow(worker: Worker) -> None:
        asked.append((rig.clock.now(), worker.instance_id))
        rig.clock.time += 6

    monkeypatch.setattr(rig.batch, "forget", slow)
    rig.run(100)
    (first_at, first), (second_at, second) = asked
    assert (first, second) == ("i-00000001", "i-00000002")
    assert second_at - first_at > 6, "one in a pass"


@pytest.mark.parametrize("booting", [1, 5])
def test_a_vm_that_dies_before_its_worker_was_seen_is_forgotten_too(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, booting: int
) -> None:
    """It joined, took a job, and was gone before elastiq looked. Others that boot are no successors of it."""
    forgotten: list[Worker] = []
    monkeypatch.setattr(rig.batch, "forget", forgotten.append)
    rig.wait_for_jobs(4 * booting)
    rig.run(60)
    rig.cloud.vms = {id_: replace(vm, address=f"10.0.0.{id_[-1]}") for id_, vm in rig.cloud.vms.items()}
    rig.run(60)
    rig.cloud.vms["i-00000001"] = replace(rig.cloud.vms["i-00000001"], state=InstanceState.TERMINATED)
    rig.run(600)
    assert forgotten == [Worker("", instance_id="i-00000001", address="10.0.0.1")]


def test_a_vm_that_was_never_seen_and_may_come_back_is_not_forgotten_while_its_worker_is_shown(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[Worker] = []
    monkeypatch.setattr(rig.batch, "forget", forgotten.append)
    rig.wait_for_jobs(4)
    rig.run(60)
    vanished = replace(rig.core.memory.vms["i-00000001"], id="i-1")
    gone = Departed("", vanished.address, rig.clock.now())
    rig.core._memory = replace(rig.core.memory, once_own=("i-1",), to_forget={"i-1": gone})
    rig.batch.joined = {"w1": Worker("w1", instance_id="i-1")}
    rig.run(600)
    assert not forgotten
    rig.batch.joined = {}
    rig.run(600)
    assert [worker.instance_id for worker in forgotten] == ["i-1"]


@pytest.mark.long
def test_a_cloud_that_does_not_say_what_a_vm_holds_is_asked_again_and_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rig = Rig(tmp_path, settings_with(SETTINGS, flavour="m1.small", n_jobs_per_vm=None))
    asked: list[Pool] = []

    def refuse(pool: Pool) -> NoReturn:
        asked.append(pool)
        raise CloudError("it describes no instance types", CloudFault.CONFIGURATION)

    monkeypatch.setattr(rig.cloud, "capacity", refuse)
    rig.run(3 * 3600)
    assert len(asked) >= 3
    assert caplog.text.count("the cloud does not say what a m1.small holds, so workers will: it describes no") == 1


@pytest.mark.long
def test_what_workers_offer_is_asked_of_the_newest_that_is_open_and_whole_and_again_after_a_while(rig: Rig) -> None:
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.join_all(jobs=1)
    first, *others = rig.cloud.alive
    assert others == []
    asked: list[str] = []

    def template(worker: Worker) -> str:
        asked.append(worker.instance_id or "")
        return f"offers of {len(asked) // 3}"

    rig.batch.template = template  # type: ignore[method-assign]
    rig.run(60)
    assert (asked, rig.core.memory.templates["default"].text) == ([first], "offers of 0")
    rig.run(500)
    assert asked == [first]
    rig.run(200)
    assert (asked, rig.core.memory.templates["default"].text) == ([first] * 2, "offers of 0")
    rig.run(600)
    assert rig.core.memory.templates["default"].text == "offers of 1"
    assert rig.batch.joined is not None
    (name,) = rig.batch.joined
    rig.batch.joined[name] = replace(rig.batch.joined[name], hurt=True)
    rig.run(1800)
    assert len(asked) == 3


@pytest.mark.long
def test_what_workers_go_on_to_offer_does_not_grow_old(rig: Rig) -> None:
    """Found by the simulator: a day after it was first seen it was too old for ever, and a VM was launched to learn it
    again and again."""
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.join_all(jobs=1)
    rig.batch.template = lambda worker: "offers"  # type: ignore[method-assign]
    rig.run(3 * 3600)
    assert rig.clock.now() - rig.core.memory.templates["default"].taken_at < 2 * 3600


def test_a_vm_that_goes_at_the_first_look_at_its_worker_tells_what_it_offers() -> None:
    record = VmRecord("i-1", "default", launched_at=100.0, state=InstanceState.RUNNING)
    found = match_workers((Worker("w1", "i-1"),), (record,), 900.0).workers
    assert chores._newest(Memory(vms={"i-1": record}), found, Pool()) == [found["i-1"]]


A, B, NEW = Template("a", "i-1", 100.0), Template("b", "i-2", 200.0), Template("b", "i-1", 300.0)


@pytest.mark.parametrize(
    ("known", "new", "is_newest", "expected"),
    [
        pytest.param((None, None), A, True, (A, None), id="the first"),
        pytest.param((A, None), B, True, (B, A), id="of a newer worker: the other's is believed, too"),
        pytest.param((A, None), NEW, True, (NEW, A), id="the same says otherwise"),
        pytest.param((A, B), NEW, True, (NEW, B), id="the same says otherwise, and another has told something else"),
        pytest.param((A, B), replace(A, taken_at=200.0), True, (A, B), id="nothing is new"),
        pytest.param((A, B), replace(A, taken_at=9000.0), True, (replace(A, taken_at=9000.0), B), id="still the same"),
        pytest.param((A, None), B, False, (A, B), id="of the one before the newest"),
        pytest.param((B, A), replace(B, instance_id="i-3"), False, (B, replace(B, instance_id="i-3")), id="both agree"),
    ],
)
def test_what_another_worker_offers_is_believed_beside_the_newest(
    known: tuple[Template | None, Template | None],
    new: Template,
    is_newest: bool,
    expected: tuple[Template, Template | None],
) -> None:
    """Whoever is root on the newest can have it offer nothing, before and after it has told what it offers."""
    first, second = ({"p": one} if one else {} for one in known)
    after = chores._with_template(Memory(templates=first, second_templates=second), "p", new, is_newest=is_newest)
    assert (after.templates["p"], after.second_templates.get("p")) == expected


@pytest.mark.long
def test_the_two_newest_workers_are_asked_what_they_offer_in_turn(rig: Rig) -> None:
    asked: list[str] = []

    def template(worker: Worker) -> str:
        asked.append(worker.instance_id or "")
        return f"offers of {worker.instance_id}"

    rig.batch.template = template  # type: ignore[method-assign]
    rig.wait_for_jobs(9)
    rig.run(120)
    rig.join_all(jobs=4)
    oldest, older, newest = sorted(rig.cloud.alive)
    rig.run(300)
    assert asked == [newest, older]
    assert rig.core.memory.templates["default"].instance_id == newest
    assert rig.core.memory.second_templates["default"].instance_id == older
    rig.run(600)
    assert sorted(asked) == sorted([newest, older] * 2), "each again after ten minutes"
    assert oldest not in asked


def test_a_worker_that_is_known_by_an_address_which_the_same_look_tells_shows_what_it_offers(rig: Rig) -> None:
    """Found by the simulator: with rare looks its VM went at the next one, and another was launched to learn it."""
    rig.batch.template = lambda worker: f"offers of {worker.name}"  # type: ignore[method-assign]
    now = rig.clock.now()
    memory = Memory(vms={"i-1": VmRecord("i-1", launched_at=now - 100, state=InstanceState.PENDING)})
    reading = Reading(
        workers=(Worker("w1", address="10.0.0.1"),),
        workers_at=now,
        instances=(Instance("i-1", InstanceState.RUNNING, "10.0.0.1"),),
    )
    after = rig.core._chores.learn_templates(memory, reading)
    assert after.templates["default"].text == "offers of w1"


def test_a_template_that_cannot_be_had_is_asked_for_again_a_minute_later(rig: Rig) -> None:
    asked = 0

    def fail(worker: Worker) -> str:
        nonlocal asked
        asked += 1
        raise BatchError("it has left")

    rig.batch.template = fail  # type: ignore[method-assign]
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.join_all(jobs=1)
    rig.run(600)
    assert 8 <= asked <= 11
    assert not rig.core.memory.templates


def advice_of(rig: Rig) -> list[str]:
    said = (read_report(rig.directory) or {})["advice"]
    assert isinstance(said, list)
    return said


@pytest.mark.long
def test_advice_is_shown_as_long_as_it_is_given_and_logged_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.batch.advised = ("jobs are spread: set SECRET and fill",)
    rig.run(100)
    assert (rig.batch.asked_for_advice, advice_of(rig)) == (0, []), "there are no workers that it could matter to"
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.join_all(jobs=4)
    rig.run(3 * 3600)
    assert advice_of(rig) == ["jobs are spread: set SECRET and fill"]
    assert caplog.text.count("advice: jobs are spread") == 1
    assert 3 <= rig.batch.asked_for_advice <= 4
    rig.batch.advised = ()
    rig.run(2 * 3600)
    assert advice_of(rig) == []


@pytest.mark.long
def test_an_idle_time_that_is_shorter_than_a_boot_is_advised_against(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings_with(SETTINGS, idle_for_time_s=60.0))
    rig.wait_for_jobs(4)
    rig.run(200)
    rig.join_all(jobs=4)
    rig.run(3700)
    assert advice_of(rig) == [], "without jobs of several VMs it costs nothing"
    rig.batch.jobs = (Demand(Shape(1), 1, vms_per_job=2),)
    rig.run(3700)
    (advice,) = advice_of(rig)
    assert advice.startswith("idle_for_time_s 60 is less than VMs lately took to boot (")


@pytest.mark.long
def test_advice_that_fails_is_no_fault_and_is_not_believed_for_ever(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.join_all(jobs=4)
    rig.batch.advised = ("jobs are spread",)
    rig.run(200)
    rig.batch.advised = "the negotiator does not answer"
    before = rig.batch.asked_for_advice
    while rig.batch.asked_for_advice == before:
        rig.run(5)
    assert advice_of(rig) == ["jobs are spread"]
    rig.run(10 * 3600)
    assert advice_of(rig) == []
    assert rig.batch.asked_for_advice - before <= 4 + 10, "it is asked in vain hardly more often than otherwise"
    assert (read_report(rig.directory) or {})["last_error"] is None
    assert "the negotiator" not in caplog.text


class Paper:
    """Pages that are written when the test says so."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.asked_at, self.seconds = rig, list[float](), 0.0
        self.since: float | None = None
        self.fault = ""

    def write(self, path: Path) -> bool:
        now = self.rig.clock.now()
        if self.since is None:
            self.asked_at.append(now)
            self.since = now
        if now - self.since < self.seconds:
            return False
        self.since = None
        if self.fault:
            raise StateError(self.fault)
        return True


@pytest.fixture
def paper(rig: Rig, tmp_path: Path) -> Paper:
    rig.settings = settings_with(SETTINGS, page_file=tmp_path / "page.html")
    made = Paper(rig)
    rig.pages = made
    rig.start()
    return made


@pytest.mark.parametrize("seconds", [0.0, 1.0, 30.0, 100.0])
def test_the_page_is_written_once_a_minute_and_nobody_waits(rig: Rig, paper: Paper, seconds: float) -> None:
    paper.seconds = seconds
    rig.run(600)
    pauses = [later - earlier for earlier, later in zip(paper.asked_at, paper.asked_at[1:])]
    assert all(max(60.0, seconds) <= pause < max(60.0, seconds) + 10 for pause in pauses)
    assert len(pauses) >= 600 / (max(60.0, seconds) + 10) - 1
    rig.wait_for_jobs(40)
    rig.run(100)
    assert rig.cloud.launches == [5]


def test_a_page_that_cannot_be_written_is_said_once_and_ended_by_the_next(
    rig: Rig, paper: Paper, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    paper.fault = "the disk is full"
    rig.run(300)
    fault = f"page_file {rig.settings.elastiq.page_file} is not up to date: the disk is full"
    assert caplog.messages.count(fault) == 1
    assert (read_report(rig.directory) or {})["last_error"]["text"] == fault
    paper.fault = ""
    rig.run(100)
    assert "page file works again" in caplog.messages


def test_without_the_option_no_page_is_written_and_none_is_missed(rig: Rig, paper: Paper) -> None:
    paper.fault = "the disk is full"
    rig.run(100)
    rig.settings = settings_with(SETTINGS, page_file=None)
    rig.core.reconfigure(rig.settings, rig.batch, rig.cloud)
    paper.asked_at.clear()
    rig.run(200)
    assert not paper.asked_at
    assert "over_at" in (read_report(rig.directory) or {})["last_error"]


SPOT_TYPES = {"instance_types": ("m5.large 0.1", "m5.xlarge 0.2"), "market": ("spot", "on-demand"), "currency": "USD"}


def spot_prices(rig: Rig) -> list[float | None]:
    (pool,) = rig.core._policy.pools
    return [offer.price for offer in pool.offers if offer.is_spot]


def priced_rig(rig: Rig, **values: object) -> Rig:
    rig.cloud.prices = {("m5.large", "a"): 0.03, ("m5.large", "b"): 0.04}
    rig.settings = settings_with(SETTINGS, **{**SPOT_TYPES, "api_url": "", "region": "us-east-1", **values})
    rig.core.reconfigure(rig.settings, rig.batch, rig.cloud)
    return rig


@pytest.mark.long
def test_spot_prices_are_asked_for_once_an_hour_and_known_over_a_reload(rig: Rig) -> None:
    priced_rig(rig).run(300)
    assert rig.cloud.prices_asked == [("m5.large", "m5.xlarge")]
    assert spot_prices(rig) == [0.04, None]
    rig.core.reconfigure(rig.settings, rig.batch, rig.cloud)
    rig.run(300)
    assert len(rig.cloud.prices_asked) == 1
    assert spot_prices(rig) == [0.04, None]
    rig.cloud.prices = {("m5.large", "a"): 0.05}
    rig.run(3600)
    assert len(rig.cloud.prices_asked) == 2
    assert spot_prices(rig) == [0.05, None]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"currency": "EUR"}, id="another currency"),
        pytest.param({"currency": ""}, id="nobody has said in which currency"),
        pytest.param({"region": "cn-north-1"}, id="another one there"),
        pytest.param({"api_url": "https://cloud.example.org"}, id="not AWS"),
        pytest.param({"market": ("on-demand",)}, id="no spot market"),
    ],
)
def test_where_spot_prices_are_not_asked_for(rig: Rig, values: dict[str, object]) -> None:
    priced_rig(rig, **values).run(120)
    assert rig.cloud.prices_asked == []


@pytest.mark.long
@pytest.mark.parametrize("fault", [CloudFault.CREDENTIALS, CloudFault.CONFIGURATION])
def test_spot_prices_that_are_refused_are_named_once_and_not_asked_for_again_that_day(
    rig: Rig, caplog: pytest.LogCaptureFixture, fault: CloudFault
) -> None:
    rig.cloud.refuse_prices = fault
    with caplog.at_level(logging.INFO):
        priced_rig(rig).run(7200)
        rig.core.reconfigure(rig.settings, rig.batch, rig.cloud)
        rig.run(7200)
    assert len(rig.cloud.prices_asked) == 1
    assert spot_prices(rig) == [None, None]
    assert caplog.text.count("ec2:DescribeSpotPriceHistory") == 1


@pytest.mark.long
def test_spot_prices_that_are_old_are_not_known_any_more(rig: Rig) -> None:
    priced_rig(rig).run(60)
    rig.cloud.refuse_prices = CloudFault.UNREACHABLE
    rig.run(4 * 3600)
    assert spot_prices(rig) == [0.04, None]
    rig.run(4 * 3600)
    assert spot_prices(rig) == [None, None]


def test_the_answer_to_spot_prices_is_waited_for_beside_the_loop(rig: Rig) -> None:
    rig.cloud.refuse_prices = CloudFault.PENDING
    priced_rig(rig).run(120)
    asked = len(rig.cloud.prices_asked)
    assert asked > 1
    rig.cloud.refuse_prices = None
    rig.run(60)
    assert len(rig.cloud.prices_asked) == asked + 1
    assert spot_prices(rig) == [0.04, None]


def test_what_a_vm_of_the_spot_market_costs_is_kept_as_it_was_when_it_was_launched() -> None:
    (pool,) = priced(settings_with(**SPOT_TYPES).policy(), {("m5.large", "a"): 0.03}).pools
    assert price_of(VmRecord("i-1", type="m5.large", market="spot"), pool) == 0.03
