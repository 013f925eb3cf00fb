"""What is told, when, how often at most, and that nothing of it is in the way of a pass."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from elastiq.config.notify import EVENTS
from elastiq.core import Core
from elastiq.decisions import Decision, Kind, Plan, Reason, Token, Verdict
from elastiq.errors import CloudFault, StateError
from elastiq.memory import Memory
from elastiq.ports import Ports
from elastiq.report.notices import (
    AGAIN_SECONDS,
    EVERY_SECONDS,
    OVER_SECONDS,
    SIGNS,
    TITLES,
    Notice,
    Told,
    Watch,
    signs_of,
)
from tests.unit.rig import SETTINGS, Rig

HOUR = EVERY_SECONDS
ALL = tuple(EVENTS)


def test_every_event_has_a_title_and_something_that_shows_it() -> None:
    assert {*(sign.event for sign in SIGNS.values()), "defect"} == set(EVENTS) == TITLES.keys() - {"test"}


def told(watch: Watch, now: float) -> list[str]:
    return [f"{notice.event} {notice.state} {notice.times}" for notice in watch.due(ALL, now)]


def test_it_is_told_once_and_when_it_is_over() -> None:
    watch = Watch({}, 0)
    for now in range(0, 3000, 100):
        watch.note("breaker", "launches-paused", "default", "launches pause", now)
        assert told(watch, now) == (["breaker begun 1"] if now == 0 else [])
    assert told(watch, 2900 + OVER_SECONDS - 1) == []
    assert told(watch, 2900 + OVER_SECONDS) == ["breaker over 1"]
    assert told(watch, 9900) == []


def test_within_an_hour_it_is_counted_and_not_told() -> None:
    watch = Watch({}, 0)
    for number in range(10):
        watch.note("in-vain", "in-vain", f"group {number}", "jobs do not start", 60 * number)
        assert told(watch, 60 * number) == (["in-vain begun 1"] if number == 0 else [])
    for now in range(600, 3600, 300):
        watch.note("in-vain", "in-vain", "group 0", "jobs do not start", now)
        assert told(watch, now) == []
    watch.note("in-vain", "in-vain", "group 0", "jobs do not start", HOUR)
    assert told(watch, HOUR) == ["in-vain lasts 9"]


def test_what_comes_and_goes_is_told_once_an_hour_at_most() -> None:
    watch, notices = Watch({}, 0), []
    for round_ in range(24):
        now = round_ * 900
        watch.note("breaker", "launches-paused", "default", "launches pause", now)
        notices += watch.due(ALL, now)
        notices += watch.due(ALL, now + OVER_SECONDS)
    begun = [notice.at for notice in notices if notice.state != "over"]
    assert len(begun) == 6 and all(late - early >= HOUR for early, late in zip(begun, begun[1:]))
    assert sum(notice.state == "over" for notice in notices) == 6
    assert [notice.times for notice in notices if notice.state == "begun"] == [1, 4, 4, 4, 4, 4]


def test_what_lasts_is_told_again_after_a_day() -> None:
    watch, notices = Watch({}, 0), []
    for now in range(0, int(AGAIN_SECONDS * 2.5), 300):
        watch.note("unreadable", "unreadable", "the queue", "it cannot be read", now)
        notices += [f"{one.state} {one.at:g} {one.since:g}" for one in watch.due(ALL, now)]
    assert notices == ["begun 0 0", "lasts 86400 0", "lasts 172800 0"]


def test_what_is_over_before_its_time_is_not_told() -> None:
    watch = Watch({}, 0)
    for now in (0, 300, 600):
        watch.note("leaked-vm", "retry-later", "i-1", "it stays", now, after_seconds=1800)
        assert told(watch, now) == []
    assert told(watch, 5000) == []
    for now in range(6000, 8100, 300):
        watch.note("leaked-vm", "retry-later", "i-1", "it stays", now, after_seconds=1800)
        assert told(watch, now) == (["leaked-vm begun 1"] if now == 7800 else [])


def test_an_event_that_nobody_wants_is_not_told() -> None:
    watch = Watch({}, 0)
    watch.note("breaker", "launches-paused", "default", "launches pause", 0)
    assert not watch.due(("defect",), 0)


def test_defects_are_counted_each_time() -> None:
    watch = Watch({}, 0)
    for now in range(0, 3601, 60):
        watch.happened("defect", "defect", f"defect {now}", now)
        assert told(watch, now) == {0: ["defect begun 1"], 3600: ["defect lasts 60"]}.get(now, [])


@pytest.mark.parametrize("is_there", [True, False])
def test_after_a_restart_it_is_not_told_again(is_there: bool) -> None:
    watch = Watch({"breaker": Told(at=100, since=50, text="launches pause")}, 1000)
    found = []
    for now in range(1000, 5000, 100):
        if is_there:
            watch.note("breaker", "launches-paused", "default", "launches pause", now)
        found += told(watch, now)
    assert found == ([] if is_there else ["breaker over 1"])


def test_a_clock_that_was_set_back_keeps_nothing_from_being_told_for_longer_than_an_hour() -> None:
    watch = Watch({"breaker": Told(at=1e9, since=1e9, is_on=False)}, 1000)
    found = []
    for now in range(1000, 6000, 100):
        watch.note("breaker", "launches-paused", "default", "launches pause", now)
        found += told(watch, now)
    assert found == ["breaker begun 1"]


def test_what_is_not_known_is_not_over() -> None:
    watch = Watch({}, 0)
    watch.note("breaker", "launches-paused", "default", "launches pause", 0)
    assert told(watch, 0)
    for now in range(0, 3000, 100):
        watch.keep(now)
        assert told(watch, now) == []


def plan_of(*reasons: Reason, vms: Mapping[str, Reason] | None = None) -> Plan:
    verdicts = tuple(Verdict(reason, instance_id=id_) for id_, reason in (vms or {}).items())
    return Plan(tuple(Decision(Kind.HOLD, reason) for reason in reasons), Memory(), "", verdicts=verdicts)


@pytest.mark.parametrize(("seconds", "is_worth"), [(15, False), (60, False), (120, True), (300, True)])
def test_a_short_pause_of_launches_is_not_worth_telling(seconds: float, is_worth: bool) -> None:
    reason = Reason(Token.LAUNCHES_PAUSED, "launches pause", "default", {"pause_seconds": seconds})
    assert bool(signs_of(plan_of(reason))) is is_worth


def test_what_a_plan_shows() -> None:
    made = plan_of(
        Reason(Token.UNREADABLE, "the queue cannot be read", "the queue"),
        Reason(Token.QUOTA_FULL, "all are in use"),
        Reason(Token.CAP_DAY, "max_per_day 5.00 is reached", "cpu"),
        vms={"i-1": Reason(Token.LOOKALIKE, "may be of a launch"), "i-2": Reason(Token.AT_WORK, "works")},
    )
    assert signs_of(made) == {
        (Token.UNREADABLE, "the queue"): "the queue cannot be read",
        (Token.CAP_DAY, "cpu"): "max_per_day 5.00 is reached",
        (Token.LOOKALIKE, "i-1"): "VM i-1: may be of a launch",
    }
    assert SIGNS[Token.CAP_DAY].event == "cap"


def test_a_notice_in_words_and_for_programs() -> None:
    notice = Notice("breaker", "begun", 7200, 3600, "launches pause", 3, "launches-paused", "c1", "head")
    assert notice.sentence == (
        "elastiq, cluster c1: launches pause: launches pause (since 1970-01-01T01:00:00Z, 3 times since the last "
        "notice of this kind) (head node head)"
    )
    assert json.loads(json.dumps(notice.document()))["at"] == "1970-01-01T02:00:00Z"


class Phone:
    """A teller that keeps what it is told."""

    def __init__(self) -> None:
        self.events, self.silent_after_seconds = ALL, 900.0
        self.notices: list[Notice] = []
        self.kept: Mapping[str, Mapping[str, object]] = {}
        self.broken: list[tuple[str, str]] = []
        self.disk_is_full = False

    def tell(self, notice: Notice) -> None:
        self.notices.append(notice)

    def faults(self) -> Iterable[tuple[str, str]]:
        found, self.broken = self.broken, []
        return found

    def told(self) -> Mapping[str, Mapping[str, object]]:
        return self.kept

    def keep(self, told: Mapping[str, Mapping[str, object]]) -> None:
        if self.disk_is_full:
            raise StateError("disk full")
        self.kept = json.loads(json.dumps(told))


@pytest.fixture
def phone() -> Phone:
    return Phone()


@pytest.fixture
def rig(tmp_path: Path, phone: Phone) -> Iterable[Rig]:
    made = Rig(tmp_path, SETTINGS)
    with_phone(made, phone)
    yield made
    made.state.close()


def with_phone(rig: Rig, phone: Phone) -> None:
    ports = Ports(rig.clock, rig.batch, rig.cloud, rig.state, teller=phone)
    rig.core = Core(rig.settings, ports)


def kinds(phone: Phone) -> list[str]:
    return [f"{notice.event} {notice.state}" for notice in phone.notices]


@pytest.mark.long
def test_a_cloud_that_refuses_for_long_is_told_once_and_when_it_gives_again(rig: Rig, phone: Phone) -> None:
    rig.run(60)
    rig.wait_for_jobs(8)
    rig.cloud.refuse_launch = CloudFault.CAPACITY
    rig.run(60)
    assert kinds(phone) == [], "a refusal or two are usual"
    rig.run(7200)
    assert kinds(phone) == ["breaker begun"]
    assert phone.notices[0].token == "launches-paused" and "pause for" in phone.notices[0].text
    rig.cloud.refuse_launch = None
    rig.run(320)
    rig.join_all(jobs=4)
    rig.run(900)
    assert kinds(phone) == ["breaker begun", "breaker over"]


def test_a_queue_that_cannot_be_read_is_told_after_silent_after_s_and_a_restart_tells_nothing_anew(
    rig: Rig, phone: Phone
) -> None:
    rig.run(60)
    rig.batch.jobs = None
    rig.run(840)
    assert kinds(phone) == []
    rig.run(120)
    assert kinds(phone) == ["unreadable begun"]
    with_phone(rig, phone)
    rig.run(1800)
    assert kinds(phone) == ["unreadable begun"]
    rig.batch.jobs = ()
    rig.run(700)
    assert kinds(phone) == ["unreadable begun", "unreadable over"]


@pytest.mark.long
def test_a_defect_is_told_although_no_pass_comes_to_its_end(
    rig: Rig, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.core, "_pass", lambda: 1 / 0)
    rig.run(300)
    assert kinds(phone) == ["defect begun"]
    assert phone.notices[0].text == "a defect in elastiq ended a pass: ZeroDivisionError: division by zero"


def test_a_full_disk_keeps_no_notice_back(rig: Rig, phone: Phone) -> None:
    phone.disk_is_full = True
    rig.batch.jobs = None
    rig.run(7200)
    assert kinds(phone) == ["unreadable begun"]


def test_a_receiver_that_refuses_costs_one_line_an_hour(
    rig: Rig, phone: Phone, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(60):
        phone.broken = [("webhook", "a notice could not be sent by webhook: answered 500")]
        rig.run(60)
    assert len([line for line in caplog.messages if "answered 500" in line]) == 1
    rig.run(60)
    phone.broken = [("webhook", "")]
    rig.run(10)
    assert "last_error" not in caplog.text


def test_nobody_is_asked_for_anything_without_a_teller(rig: Rig) -> None:
    rig.start()
    rig.batch.jobs = None
    rig.run(1000)
