"""What the trial of a plugin finds in good ones and in broken ones; tests/process runs it as a program."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from elastiq.clock import Clock
from elastiq.errors import BatchError
from elastiq.model import Demand, Eligibility, Judgement, Shape, Worker
from elastiq.plugins import Closing, check
from elastiq.plugins.check import NOT_TRIED, Examiner, Finding, Grade

LONG = 120
"""Seconds; a bound against hangs."""
WORKER = Worker("node-1", "i-1", "10.0.0.1", Shape(4, 8000), Shape(4, 8000), 0, 100.0)


class Hands(Clock):
    """A clock that moves by sleeping alone."""

    at = 1000.0

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


class Toy:
    """A batch system in memory that keeps the contract."""

    def __init__(self) -> None:
        self.clock = Hands()
        self.closed: set[str] = set()
        self.busy: set[str] = set()
        self.names = ["node-1", "node-2"]
        self.hurt = False
        self.calls: list[str] = []

    def demand(self) -> tuple[Demand, ...]:
        return (Demand(Shape(1), 3, 5.0), Demand(Shape(1), 1, None, 2), Demand(Shape(2), 1))

    def workers(self) -> tuple[Worker, ...]:
        return tuple(
            replace(
                WORKER,
                name=name,
                instance_id=f"i-{number}",
                address=f"10.0.0.{number}",
                jobs=int(name in self.busy),
                idle_seconds=None if name in self.busy else self.clock.now() - 500 - number,
                closed=name in self.closed,
                hurt=self.hurt,
            )
            for number, name in enumerate(self.names, 1)
        )

    def _name(self, worker: Worker) -> str:
        return next(one.name for one in self.workers() if one.instance_id == worker.instance_id)

    def close(self, worker: Worker) -> Closing:
        self.calls.append(f"close {worker.name or 'its VM'}")
        name = self._name(worker)
        if name in self.busy:
            return Closing.BUSY
        self.closed.add(name)
        return Closing.CLOSED

    def reopen(self, worker: Worker) -> None:
        self.calls.append(f"reopen {worker.name}")
        self.closed.discard(self._name(worker))

    def forget(self, worker: Worker) -> None:
        self.calls.append("forget")

    def check(self) -> str:
        return "toy 1.0"


class Matching(Toy):
    """One that tells which jobs its workers could run."""

    def demand(self) -> tuple[Demand, ...]:
        return (*super().demand(), Demand(Shape(1), 7, wants="gpu"), Demand(Shape(2), 2, wants="ssd"))

    def template(self, worker: Worker) -> str:
        assert self._name(worker) not in self.closed
        return "offers: ssd"

    def judge(self, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        if not template.startswith("offers: "):
            unknown = Judgement(Eligibility.UNKNOWN, "no worker has been seen yet")
            return tuple(unknown if one else Judgement() for one in wants)
        no = Judgement(Eligibility.NO, "no worker offers it")
        return tuple(no if one and one not in template.split() else Judgement() for one in wants)


def examined(toy: Toy, close_idle: bool = False, timeout_seconds: float = 30.0) -> list[Finding]:
    findings: list[Finding] = []
    examiner = Examiner(toy.clock, timeout_seconds, findings.append)
    examiner.examine(toy, 5.0, close_idle)
    assert examiner.failures == sum(finding.grade is Grade.FAILED for finding in findings)
    return findings


def failures(findings: list[Finding]) -> list[str]:
    return [f"{finding.what}: {finding.text}" for finding in findings if finding.grade is Grade.FAILED]


def said(findings: list[Finding], grade: Grade) -> str:
    return "\n".join(f"{finding.what}: {finding.text}" for finding in findings if finding.grade is grade)


def test_a_good_plugin_is_left_as_it_was() -> None:
    toy = Toy()
    findings = examined(toy)
    assert failures(findings) == []
    assert toy.calls == []
    good = said(findings, Grade.GOOD)
    assert "check: toy 1.0 (" in good
    assert "demand: jobs: 5, in groups: 3 (" in good
    assert "workers: workers: 2, idle: 2, closed: 0, by others: 0 (" in good
    assert "idle times grow as the clock does (workers: 2)" in good
    not_tried = said(findings, Grade.NOT_TRIED)
    assert "close: --close-idle closes" in not_tried
    assert all(what in not_tried for what in NOT_TRIED)
    assert "judge: it judges no jobs: each is taken to run on every worker" in said(findings, Grade.NOTE)


def test_what_waits_is_judged() -> None:
    findings = examined(Matching())
    assert failures(findings) == []
    good = said(findings, Grade.GOOD)
    assert "judge: kinds of jobs, before there is a worker: yes: 0, no: 0, unknown: 2 (" in good
    assert "template: of worker node-1: 11 characters (" in good
    assert "judge: kinds of jobs, by worker node-1: yes: 1, no: 1, unknown: 0 (" in good
    assert "judge: a damaged template does no harm" in good
    notes = said(findings, Grade.NOTE)
    assert "judge: 9 waiting jobs, before there is a worker: unknown: no worker has been seen yet" in notes
    assert "judge: 7 waiting jobs, by worker node-1: no: no worker offers it" in notes


@pytest.mark.parametrize("reason", ["closed", "hurt", "none"])
def test_no_worker_to_take_a_template_of(reason: str) -> None:
    toy = Matching()
    toy.closed = set(toy.names) if reason == "closed" else set()
    toy.hurt = reason == "hurt"
    toy.names = [] if reason == "none" else toy.names
    findings = examined(toy)
    assert failures(findings) == []
    assert "template: no worker is open and whole" in said(findings, Grade.NOT_TRIED)
    assert "before there is a worker: yes: 0, no: 0, unknown: 2" in said(findings, Grade.GOOD)


def test_a_template_of_what_is_only_now_or_only_this_worker_is_told() -> None:
    class Changing(Matching):
        def template(self, worker: Worker) -> str:
            self.calls.append("template")
            return f"offers: ssd, {worker.address}, asked {len(self.calls)} times"

    findings = examined(Changing())
    notes = said(findings, Grade.NOTE)
    assert "template: has 10.0.0.1 in it, which only worker node-1 has" in notes
    assert "template: is another one at once: has it something in it that is only now?" in notes
    assert failures(findings) == []


def test_closing_is_tried_on_the_worker_that_is_idle_for_longest_and_undone() -> None:
    toy = Toy()
    findings = examined(toy, close_idle=True)
    assert failures(findings) == []
    assert toy.calls == ["close node-1", "close node-1", "close its VM", "reopen node-1", "reopen node-1"]
    assert toy.closed == set()
    assert "worker node-1 is closed" in said(findings, Grade.GOOD)
    assert "worker node-1 is open" in said(findings, Grade.GOOD)


def test_a_worker_that_leaves_when_it_is_closed_is_closed() -> None:
    class Leaving(Toy):
        def workers(self) -> tuple[Worker, ...]:
            return tuple(worker for worker in super().workers() if not worker.closed)

        def _name(self, worker: Worker) -> str:
            return str(worker.instance_id).replace("i-", "node-")

    toy = Leaving()
    assert failures(examined(toy, close_idle=True)) == []
    assert toy.closed == set()


@pytest.mark.parametrize("reason", ["busy", "closed", "none"])
def test_no_idle_open_worker(reason: str) -> None:
    toy = Toy()
    toy.busy = set(toy.names) if reason == "busy" else set()
    toy.closed = set(toy.names) if reason == "closed" else set()
    toy.names = [] if reason == "none" else toy.names
    findings = examined(toy, close_idle=True)
    assert failures(findings) == []
    assert "close: no idle open worker" in said(findings, Grade.NOT_TRIED)
    assert toy.calls == []


def test_a_job_that_gets_in_first() -> None:
    class Overtaken(Toy):
        def close(self, worker: Worker) -> Closing:
            self.busy.add("node-1")
            return super().close(worker)

    findings = examined(Overtaken(), close_idle=True)
    assert "a job has just got in on worker node-1" in said(findings, Grade.NOT_TRIED)
    assert "reopen: it was reopened, but" not in said(findings, Grade.FAILED)


def breaks(**methods: Callable[..., Any]) -> Toy:
    return type("Broken", (Toy,), methods)()


def mismatches(**methods: Callable[..., Any]) -> Toy:
    return type("Broken", (Matching,), methods)()


def stays_open(toy: Toy, worker: Worker) -> Closing:
    return Closing.CLOSED


def closes_once(toy: Toy, worker: Worker) -> Closing:
    if toy.closed:
        raise BatchError("it is closed already")
    return Toy.close(toy, worker)


def needs_a_name(toy: Toy, worker: Worker) -> Closing:
    return Toy.close(toy, worker) if worker.name else Closing.BUSY


def raises(error: BaseException) -> Callable[..., Any]:
    def method(*_: object) -> None:
        raise error

    return method


def answers(answer: object) -> Callable[..., Any]:
    return lambda *_: answer


def never_opens(toy: Toy, worker: Worker) -> None:
    pass


def opens_once(toy: Toy, worker: Worker) -> None:
    toy.closed.remove("node-1")


def calls_it_closed_by_other(toy: Toy) -> tuple[Worker, ...]:
    return tuple(replace(worker, closed_by_other=worker.closed) for worker in Toy.workers(toy))


def counts_in_milliseconds(toy: Toy) -> tuple[Worker, ...]:
    return tuple(replace(worker, idle_seconds=1000 * (worker.idle_seconds or 0)) for worker in Toy.workers(toy))


def counts_down(toy: Toy) -> tuple[Worker, ...]:
    return tuple(replace(worker, idle_seconds=9000 - (worker.idle_seconds or 0)) for worker in Toy.workers(toy))


UNREADABLE = "\x1b[31m\nline two"


def judges(answer: Callable[[str, str], Judgement]) -> Toy:
    """Return one that judges each kind of jobs by what it wants and the template."""
    method = {"judge": lambda _, wants, template: tuple(answer(one, template) for one in wants)}
    return type("Broken", (Matching,), method)()


NO = Judgement(Eligibility.NO, "no worker offers it")


@pytest.mark.parametrize(
    ("toy", "expected"),
    [
        (
            breaks(check=raises(BatchError("down\nfor good"))),
            "check: the batch system could not be asked: down for",
        ),
        (breaks(check=raises(KeyError("x"))), "check: raised KeyError"),
        (breaks(check=answers("")), "check: answered"),
        (breaks(check=answers(UNREADABLE)), "check: answered"),
        (breaks(check=answers(None)), "check: answered 'None', not one line of text"),
        (breaks(demand=raises(SystemExit(3))), "demand: raised SystemExit"),
        (breaks(demand=answers(None)), "demand: it is a NoneType, not a tuple"),
        (breaks(demand=answers([])), "demand: it is a list, not a tuple"),
        (breaks(workers=raises(TypeError("x"))), "workers: raised TypeError"),
        (mismatches(judge=raises(KeyError("x"))), "judge: raised KeyError"),
        (mismatches(judge=answers(())), "judge: it is '()', not a tuple of 3"),
        (mismatches(judge=answers(None)), "judge: it is 'None', not a tuple of 3"),
        (mismatches(template=raises(KeyError("x"))), "template: raised KeyError"),
        (mismatches(template=raises(BatchError("gone"))), "template: the batch system could not be asked: gone"),
        (mismatches(template=answers("")), "template: it is empty"),
        (mismatches(template=answers(None)), "template: it is a NoneType, not a text"),
        (
            judges(lambda wants, template: NO),
            "judge: jobs that want nothing are judged no: no worker offers it, before",
        ),
        (
            judges(lambda wants, template: NO if template else Judgement()),
            "judge: jobs that want nothing are judged no: no worker offers it, by worker node-1; no VM would",
        ),
        (
            judges(lambda wants, template: Judgement(Eligibility.UNKNOWN, "no template")),
            "judge: jobs that want nothing are judged unknown: no template, before there is a worker",
        ),
        (
            judges(lambda wants, template: NO if "offers" not in template and wants else Judgement()),
            "judge: by a damaged template jobs are judged no: no worker offers it; unknown is the answer then",
        ),
        (judges(lambda wants, template: Judgement(Eligibility.NO)), "judge: judgement 1 is no with the reason \"''\""),
        (judges(lambda wants, template: [][len(template)]), "judge: raised IndexError"),
        (breaks(workers=answers((None,))), "workers: item 1: it is a NoneType, not a Worker"),
        (breaks(workers=counts_in_milliseconds), "idle_seconds went from 499000.0 to 504000.0 in 5.0 s: is the unit"),
        (breaks(workers=counts_down), "idle_seconds went from 8501.0 to 8496.0: no job can have run since"),
        (breaks(workers=calls_it_closed_by_other), "close: worker node-1 was said to be closed, but is listed as"),
        (breaks(close=stays_open), "close: worker node-1 was said to be closed, but is listed as"),
        (breaks(close=answers("closed")), "close: answered \"'closed'\", which is no Closing"),
        (breaks(close=answers(True)), "close: answered 'True', which is no Closing"),
        (breaks(close=raises(BatchError("no right to"))), "close: the batch system could not be asked: no right to"),
        (breaks(close=closes_once), "close: the batch system could not be asked: it is closed already"),
        (breaks(close=needs_a_name), "close: worker node-1 is closed; closed by its VM alone, the answer is"),
        (
            breaks(reopen=never_opens),
            "reopen: it was reopened, but is not listed as open after 30 s; open worker",
        ),
        (breaks(reopen=opens_once), "reopen: raised KeyError"),
        (breaks(reopen=raises(BatchError("no right"))), "reopen: the batch system could not be asked: no right; open"),
    ],
)
def test_a_broken_plugin(toy: Toy, expected: str) -> None:
    found = failures(examined(toy, close_idle=True))
    assert any(expected in failure for failure in found), found


def test_whatever_close_does_the_worker_is_opened_again() -> None:
    toy = breaks(close=needs_a_name)
    examined(toy, close_idle=True)
    assert toy.calls[-1] == "reopen node-1"
    assert toy.closed == set()


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A method that never answers. No time is up before it is called: the threads of other calls may be slow."""
    called, end = threading.Event(), threading.Event()

    class PatientCall(check._Call):
        def join(self, timeout: float | None = None) -> None:
            while self.is_alive() and not called.is_set():
                super().join(0.01)
            super().join(timeout)

    def method(*_: object) -> None:
        called.set()
        end.wait(LONG)

    monkeypatch.setattr(check, "_Call", PatientCall)
    yield method
    end.set()


def test_a_plugin_that_hangs_is_left_alone(hang: Callable[..., None]) -> None:
    toy = breaks(demand=hang)
    findings = examined(toy, close_idle=True, timeout_seconds=0.05)
    assert failures(findings) == ["demand: no answer within 0.05 s; every call needs a deadline of its own"]
    assert "workers: the plugin hangs" in said(findings, Grade.NOT_TRIED)
    assert toy.calls == []


def test_a_plugin_that_hangs_while_a_worker_is_closed(hang: Callable[..., None]) -> None:
    toy = breaks(reopen=hang)
    findings = examined(toy, close_idle=True, timeout_seconds=0.05)
    assert "open worker node-1 by hand if it stays closed" in failures(findings)[-1]


def test_a_slow_plugin_is_told() -> None:
    toy = Toy()
    toy.check = lambda: toy.clock.sleep(6.0) or "slow"  # type: ignore[method-assign, func-returns-value]
    findings = examined(toy)
    assert failures(findings) == []
    assert "check: took 6 s" in said(findings, Grade.NOTE)


def test_workers_that_can_not_be_told_and_stand_still_are_told() -> None:
    toy = breaks(workers=answers((replace(WORKER, instance_id=None, address=None),)))
    notes = said(examined(toy), Grade.NOTE)
    assert "1 of them name neither instance id nor address" in notes
    assert "no idle time grew" in notes


def test_many_faults_are_cut_short() -> None:
    toy = breaks(workers=answers((None,) * 1000))
    found = [failure for failure in failures(examined(toy)) if failure.startswith("workers")]
    assert len(found) == 2 * 11
    assert found[10] == "workers: and 990 more of the kind"


@pytest.mark.parametrize(
    ("advice", "grade", "text"),
    [
        (("fill one after the other",), Grade.NOTE, "advice: fill one after the other"),
        (("two\nlines",), Grade.FAILED, "advice: sentence 1 is \"('two"[:22]),
        (None, Grade.FAILED, "advice: it is a NoneType, not a tuple"),
    ],
)
def test_advice_is_told_and_tried(advice: Any, grade: Grade, text: str) -> None:
    toy = Toy()
    toy.advice = lambda: advice  # type: ignore[attr-defined]
    findings = examined(toy)
    assert text in said(findings, grade)
    assert len(failures(findings)) == (grade is Grade.FAILED)
