"""What is asked for is unknown until it is answered; what the tag cannot tell is asked of the whole account."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from elastiq.errors import BatchError, CloudFault, PendingError
from elastiq.memory import Intent, Memory, Template, VmRecord
from elastiq.model import Demand, Eligibility, Instance, Judgement, Pool, Shape
from elastiq.observer import Observer, Reading
from elastiq.ports import Ports
from elastiq.redaction import Redactor
from elastiq.report.reporter import Reporter
from tests.unit.fakes import FakeBatch, FakeClock, FakeCloud, NoState, settings_with
from tests.unit.rig import SETTINGS, Rig


def test_nothing_is_launched_on_what_was_known_before_a_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path, settings_with(SETTINGS, check_queue_every_s=60))

    def fail() -> NoReturn:
        raise KeyError("a defect")

    rig.wait_for_jobs(4)
    rig.run(5)
    monkeypatch.setattr(rig.batch, "demand", fail)
    rig.run(300)
    assert not rig.cloud.launches


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
    assert list(rig.core.memory.vms) == ["i-00000001"]
    assert "forget" not in [call for call, _ in rig.batch.calls]


@pytest.mark.parametrize(
    ("memory", "everything"),
    [
        (Memory(), False),
        (Memory(vms={"i-1": VmRecord("i-1", tagged=True)}), False),
        (Memory(vms={"i-1": VmRecord("i-1")}), True),
        (Memory(vms={"i-1": VmRecord("i-1", tagged=True, missing_since=5.0)}), True),
        (Memory(intents=(Intent("token", "default", 1, 5.0),)), True),
        (Memory(once_own=("i-1",)), True),
    ],
)
def test_the_whole_account_is_listed_where_the_tag_alone_does_not_tell(memory: Memory, everything: bool) -> None:
    asked: list[bool] = []

    class Cloud(FakeCloud):
        def list_instances(self, *, everything: bool) -> tuple[Instance, ...]:
            asked.append(everything)
            return ()

    ports = Ports(FakeClock(), FakeBatch(), Cloud(), NoState())
    observer = Observer(ports, Reporter(ports.clock, ports.state, Redactor()), Reading())
    observer.check_instances(memory)
    assert asked == [everything]
    assert observer.reading.instances == ()


def test_what_fails_is_unknown_with_its_age_and_its_reason(rig: Rig) -> None:
    rig.run(1)
    rig.batch.joined = None
    rig.cloud.fault = CloudFault.UNREACHABLE
    rig.run(300)
    seen = rig.core.reading.observation(rig.clock.now())
    assert seen.demand == ()
    assert (seen.workers, seen.instances) == (None, None)
    assert seen.faults == (
        "worker check failed: the collector does not answer",
        "VM check failed: the cloud is out of order",
    )
    assert seen.workers_age_seconds == rig.clock.now() - rig.core.reading.workers_at


class SlowCloud(FakeCloud):
    """Gives a listing so many seconds after it was asked for."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        super().__init__()
        self.clock, self.seconds = clock, seconds
        self.asked_at: float | None = None
        self.listings = 0
        self.is_everything: set[bool] = set()

    def list_instances(self, *, everything: bool) -> tuple[Instance, ...]:
        if self.asked_at is None:
            self.asked_at = self.clock.now()
            self.is_everything = set()
        self.is_everything.add(everything)
        assert len(self.is_everything) == 1, "another question is no way to get the answer to the first"
        if self.clock.now() - self.asked_at < self.seconds:
            raise PendingError("cloud: the list of VMs has not answered", lambda: ())
        self.asked_at, self.listings = None, self.listings + 1
        return super().list_instances(everything=everything)


@pytest.fixture
def slow_rig(tmp_path: Path) -> Rig:
    rig = Rig(tmp_path, settings_with(SETTINGS, check_vms_every_s=5, check_queue_every_s=5))
    rig.cloud = SlowCloud(rig.clock, 12)
    rig.start()
    return rig


def test_a_slow_listing_is_used_with_its_age_and_is_no_fault(slow_rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    slow_rig.wait_for_jobs(12)
    slow_rig.run(7)
    assert "the VMs cannot be read" in slow_rig.core.last_plan.summary  # type: ignore[union-attr]
    assert "has not answered" in slow_rig.core.last_plan.summary  # type: ignore[union-attr]
    slow_rig.run(600)
    reading, now = slow_rig.core.reading, slow_rig.clock.now()
    assert reading.instances is not None
    assert 12 <= now - reading.instances_at <= 12 + 3 * 12 + 5
    assert [record.message for record in caplog.records if record.levelno > logging.INFO] == []
    assert caplog.text.count("s to list its VMs") == 1
    assert slow_rig.cloud.launches == [3]


def test_a_cloud_that_is_slow_now_and_then_is_no_news_each_time(
    slow_rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """Seen on OpenStack on a busy machine: nothing was wanted, and each longer listing had two lines in the log."""
    caplog.set_level(logging.INFO)
    cloud = slow_rig.cloud
    assert isinstance(cloud, SlowCloud)
    for number in range(60):
        cloud.seconds = 19 if number % 10 == 9 else 4
        before = cloud.listings
        while cloud.listings == before:
            slow_rig.run(1)
        if number == 9:
            caplog.clear()
    assert caplog.messages == []
    cloud.seconds = 1000
    slow_rig.run(100)
    assert slow_rig.core.reading.instances is None, "silence is noticed all the same"


def test_a_slow_cloud_is_asked_less_often(slow_rig: Rig) -> None:
    slow_rig.run(600)
    assert isinstance(slow_rig.cloud, SlowCloud)
    assert slow_rig.cloud.listings <= 600 / (3 * 12)


def test_jobs_get_vms_within_two_passes_of_the_first_listing(slow_rig: Rig) -> None:
    slow_rig.run(40)
    slow_rig.settings = settings_with(slow_rig.settings, waiting_jobs_time_s=0)
    slow_rig.core.reconfigure(slow_rig.settings, slow_rig.batch, slow_rig.cloud)
    slow_rig.wait_for_jobs(12)
    slow_rig.run(10)
    assert slow_rig.cloud.launches == [3]


def test_a_cloud_that_does_not_answer_at_all_is_a_fault_after_a_minute(
    slow_rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    slow_rig.run(60)
    assert isinstance(slow_rig.cloud, SlowCloud)
    slow_rig.cloud.seconds = 10_000
    slow_rig.run(30)
    slow_rig.wait_for_jobs(12)
    slow_rig.run(200)
    assert slow_rig.core.reading.instances is None
    assert "VM check failed: cloud: the list of VMs has not answered" in caplog.text
    launches = slow_rig.cloud.launches
    slow_rig.cloud.seconds = 12
    slow_rig.run(60)
    assert slow_rig.core.reading.instances is not None
    assert slow_rig.cloud.launches == [3] or launches == [3]


def test_nothing_is_launched_into_a_cloud_that_has_fallen_silent(tmp_path: Path) -> None:
    """The launch would be in doubt for minutes, and the jobs would wait for it longer than the silence lasts."""
    rig = Rig(tmp_path)
    cloud = SlowCloud(rig.clock, 0)
    rig.cloud = cloud
    rig.start()
    rig.run(60)
    cloud.seconds = 40
    rig.core._vms_due_at = 0.0
    rig.run(5)
    rig.wait_for_jobs(12)
    while cloud.asked_at is not None:
        assert not cloud.launches
        rig.run(1)
    rig.run(60)
    assert cloud.launches == [3]


def test_a_listing_that_began_before_a_launch_takes_none_of_its_vms_for_missing(slow_rig: Rig) -> None:
    slow_rig.run(40)
    slow_rig.wait_for_jobs(12)
    for _ in range(60):
        slow_rig.run(1)
        assert not [record for record in slow_rig.core.memory.vms.values() if record.missing_since is not None]
    assert len(slow_rig.core.memory.vms) == 3


def watcher(rig: Rig) -> Observer:
    ports = Ports(rig.clock, rig.batch, rig.cloud, NoState())
    return Observer(ports, Reporter(ports.clock, ports.state, Redactor()), Reading())


def judged(rig: Rig, memory: Memory, wants: tuple[str, ...] = ("gpu",)) -> list[dict[str, str]]:
    """Return what is judged of jobs that want this, after a queue check."""
    rig.batch.jobs = tuple(Demand(Shape(), 4, wants=one) for one in wants)
    rig.batch.judgements = {"gpu": Judgement(Eligibility.NO, "no GPU")}
    observer = watcher(rig)
    observer.check_queue(memory, rig.settings.policy().pools)
    return [
        {name: one.answer.value for name, one in group.judgements.items()} for group in observer.reading.demand or ()
    ]


@pytest.mark.parametrize(
    ("template", "vms", "asked"),
    [
        pytest.param(None, {}, "", id="nothing is known"),
        pytest.param(Template("seen", "i-1", 1_000_000.0 - 3600), {}, "seen", id="seen an hour ago"),
        pytest.param(Template("seen", "i-1", 1_000_000.0 - 90_000), {}, "", id="seen long ago"),
        pytest.param(
            Template("seen", "i-1", 1_000_000.0 - 90_000),
            {"i-1": VmRecord("i-1", joined_at=5.0)},
            "seen",
            id="seen long ago, and still there",
        ),
    ],
)
def test_jobs_are_judged_by_what_is_known_of_workers(
    rig: Rig, template: Template | None, vms: dict[str, VmRecord], asked: str
) -> None:
    memory = Memory(vms=vms, templates={"default": template} if template else {})
    assert judged(rig, memory, ("gpu", "", "plain")) == [{"default": "no"}, {}, {"default": "yes"}]
    assert [what for call, what in rig.batch.calls if call == "judge"] == [asked]


def test_a_judgement_is_believed_for_a_while(rig: Rig) -> None:
    observer = watcher(rig)
    rig.batch.jobs = (Demand(Shape(), 4, wants="gpu"),)
    for seconds in (0, 15, 15, 600):
        rig.clock.time += seconds
        observer.check_queue(Memory(), rig.settings.policy().pools)
    assert [call for call, _ in rig.batch.calls].count("judge") == 2


def no_answer(wants: object, template: str) -> NoReturn:
    raise BatchError("the child process was ended by SIGKILL")


def cannot_tell(wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
    return (Judgement(Eligibility.UNKNOWN, "what evaluates it crashed"),) * len(wants)


@pytest.mark.parametrize("fails", [no_answer, cannot_tell])
@pytest.mark.parametrize("answer", [Eligibility.YES, Eligibility.NO])
def test_a_judge_that_fails_changes_nothing_of_what_was_judged(rig: Rig, answer: Eligibility, fails: object) -> None:
    observer, pools = watcher(rig), rig.settings.policy().pools
    rig.batch.jobs = (Demand(Shape(), 4, wants="gpu"), Demand(Shape(), 4, wants="plain"))
    rig.batch.judgements = {"gpu": Judgement(answer, "" if answer is Eligibility.YES else "no GPU")}
    observer.check_queue(Memory(), pools)
    rig.batch.judge = fails  # type: ignore[method-assign, assignment]
    for _ in range(3):
        rig.clock.time += 700
        observer.check_queue(Memory(), pools)
        gpu, plain = observer.reading.demand or ()
        assert gpu.judgements["default"].answer is answer
        assert plain.judgements["default"].answer is Eligibility.YES


def test_what_a_judge_that_fails_has_never_judged_is_not_known(rig: Rig) -> None:
    """A child process that died was taken for "yes": 40 VMs came for jobs that none of them could run."""
    observer, pools = watcher(rig), rig.settings.policy().pools
    rig.batch.jobs = (Demand(Shape(), 4, wants="gpu"),)
    judge, rig.batch.judge = rig.batch.judge, no_answer  # type: ignore[method-assign]
    observer.check_queue(Memory(), pools)
    (group,) = observer.reading.demand or ()
    assert group.judgements["default"].answer is Eligibility.UNKNOWN
    assert "SIGKILL" in group.judgements["default"].reason
    rig.batch.judge = judge  # type: ignore[method-assign]
    observer.check_queue(Memory(), pools)
    (group,) = observer.reading.demand or ()
    assert group.judgements["default"].answer is Eligibility.YES, "it is asked again at the next check"


def test_a_judge_that_fails_by_a_new_template_leaves_what_it_judged_by_the_one_before(rig: Rig) -> None:
    observer, pools = watcher(rig), rig.settings.policy().pools
    rig.batch.jobs = (Demand(Shape(), 4, wants="gpu"),)
    rig.batch.judgements = {"gpu": Judgement(Eligibility.NO, "no GPU")}
    there = {"i-1": VmRecord("i-1", joined_at=5.0)}
    observer.check_queue(Memory(vms=there, templates={"default": Template("old")}), pools)
    rig.batch.judge = no_answer  # type: ignore[method-assign]
    for _ in range(2):
        observer.check_queue(Memory(vms=there, templates={"default": Template("new")}), pools)
        (group,) = observer.reading.demand or ()
        assert group.judgements["default"].answer is Eligibility.NO


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (Eligibility.NO, Eligibility.YES, Eligibility.YES),
        (Eligibility.NO, Eligibility.UNKNOWN, Eligibility.UNKNOWN),
        (Eligibility.YES, Eligibility.NO, Eligibility.YES),
        (Eligibility.NO, Eligibility.NO, Eligibility.NO),
        (Eligibility.NO, None, Eligibility.NO),
    ],
)
def test_what_one_of_two_workers_could_run_vms_of_their_pool_could(
    rig: Rig, first: Eligibility, second: Eligibility | None, expected: Eligibility
) -> None:
    """The newest may be in the hands of whoever runs jobs there: that it offers nothing must keep nobody waiting."""
    told = {"first": first, "second": second or Eligibility.YES}
    rig.batch.jobs = (Demand(Shape(), 4, wants="gpu"),)

    def judge(wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        return tuple(Judgement(told[template], template) for _ in wants)

    rig.batch.judge = judge  # type: ignore[method-assign]
    now = rig.clock.now()
    templates = {name: Template(name, f"i-{name}", now - 60) for name in told}
    memory = Memory(
        templates={"default": templates["first"]},
        second_templates={"default": replace(templates["second"], taken_at=now - 60 if second else now - 90_000)},
    )
    observer = watcher(rig)
    observer.check_queue(memory, rig.settings.policy().pools)
    (group,) = observer.reading.demand or ()
    assert group.judgements["default"].answer is expected


def picky(rig: Rig, jobs: str = "those", supposed: str = "") -> tuple[Pool, ...]:
    """Return a pool that takes only such jobs, and one that takes all."""
    rig.batch.jobs = tuple(Demand(Shape(), 4, wants=one) for one in ("gpu", ""))
    return (Pool("cpu", jobs=jobs, supposed=supposed), Pool("any"))


def answers(observer: Observer, pools: Sequence[Pool], memory: Memory | None = None) -> list[dict[str, str]]:
    observer.check_queue(memory or Memory(), pools)
    demand = observer.reading.demand or ()
    return [{name: one.answer.value for name, one in group.judgements.items()} for group in demand]


def test_a_pool_that_takes_certain_jobs_has_all_of_them_judged(rig: Rig) -> None:
    """Even those that want nothing."""
    pools, observer = picky(rig), watcher(rig)
    rig.batch.judgements = {"": Judgement(Eligibility.NO, "the pool takes only jobs with x")}
    assert answers(observer, pools) == [{"cpu": "yes", "any": "yes"}, {"cpu": "no"}]
    (_, plain) = observer.reading.demand or ()
    assert plain.judgements["cpu"].reason == "pool cpu takes only jobs with x"
    assert sorted(what for call, what in rig.batch.calls if call == "judge") == ["", " for those with "]


def test_a_change_of_what_a_pool_takes_holds_at_the_next_check(rig: Rig) -> None:
    observer = watcher(rig)
    answers(observer, picky(rig))
    answers(observer, picky(rig, "others"))
    answers(observer, picky(rig, "others", "cvmfs"))
    asked = [what for call, what in rig.batch.calls if call == "judge" and what]
    assert asked == [" for those with ", " for others with ", " for others with cvmfs"]


@pytest.mark.parametrize("fails", [no_answer, None])
def test_jobs_of_which_it_is_not_known_whether_they_are_taken_are_not(rig: Rig, fails: object) -> None:
    pools, observer = picky(rig, "those" if fails else "unreadable"), watcher(rig)
    judge = rig.batch.judge
    if fails:
        rig.batch.judge = fails  # type: ignore[method-assign, assignment]
    found = answers(observer, pools)
    assert [one["cpu"] for one in found] == ["no", "no"]
    (group, _) = observer.reading.demand or ()
    assert group.judgements["cpu"].reason.startswith("pool cpu takes only jobs of a kind, and it cannot be told now")
    rig.batch.judge = judge  # type: ignore[method-assign]
    assert [one["cpu"] for one in answers(observer, picky(rig))] == ["yes", "yes"]


def test_an_answer_that_is_not_known_is_no_doubt_about_the_option(rig: Rig) -> None:
    pools, observer = picky(rig), watcher(rig)
    rig.batch.judge = no_answer  # type: ignore[method-assign, assignment]
    answers(observer, pools)
    rig.batch.judge = cannot_tell  # type: ignore[method-assign]
    assert answers(observer, pools) == [{"cpu": "unknown", "any": "unknown"}, {"cpu": "unknown"}]


def test_what_was_judged_before_a_change_is_not_believed_after_it(rig: Rig) -> None:
    observer = watcher(rig)
    assert answers(observer, picky(rig))[0]["cpu"] == "yes"
    rig.batch.judge = no_answer  # type: ignore[method-assign, assignment]
    assert answers(observer, picky(rig, "others"))[0]["cpu"] == "no"


def test_templates_stay_as_they_were_learnt(rig: Rig) -> None:
    memory = Memory(vms={"i-1": VmRecord("i-1", "cpu", joined_at=5.0)}, templates={"cpu": Template("seen")})
    answers(watcher(rig), picky(rig), memory)
    assert ("judge", "seen for those with ") in rig.batch.calls
    assert memory.templates == {"cpu": Template("seen")}
