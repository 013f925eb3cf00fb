"""What is asked of a plugin of another version, and what is made of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from elastiq.errors import BatchError, PluginError
from elastiq.model import Demand, Eligibility, Explanation, Judgement, Shape, Standing, Worker
from elastiq.plugins import ADVICE_LIMIT, EXPLANATION_LIMIT, METHODS, TEMPLATE_LIMIT, Closing
from elastiq.plugins.adapter import MOST_QUESTIONS, Adapter
from elastiq.ports import Batch
from tests.unit.fakes import FakeBatch

NO = Judgement(Eligibility.NO, "workers do not offer gpu")


class Of200:
    """A plugin of 2.0.0: six methods, and 0 for what it does not know."""

    def __init__(self, *workers: Worker) -> None:
        self.listed = workers
        self.calls: list[str] = []

    def demand(self) -> tuple[Demand, ...]:
        return (Demand(Shape(1, 0), 3),)

    def workers(self) -> tuple[Worker, ...]:
        return self.listed

    def close(self, worker: Worker) -> Closing:
        self.calls.append(f"close {worker.name}")
        return Closing.BUSY

    def reopen(self, worker: Worker) -> None:
        self.calls.append(f"reopen {worker.name}")

    def forget(self, worker: Worker) -> None:
        self.calls.append(f"forget {worker.name}")

    def check(self) -> str:
        return "2.0.0"


class Judging(FakeBatch):
    """Answers what it is told to."""

    def __init__(self, template: object = "like node-1", judged: object = ()) -> None:
        super().__init__()
        self.answers = template, judged

    def template(self, worker: Worker) -> Any:
        return self.answers[0]

    def judge(self, wants: object, template: str) -> Any:
        return self.answers[1]


def test_a_plugin_of_2_0_0_goes_on_as_it_was() -> None:
    plugin, worker = Of200(Worker("w", capacity=Shape(4, 8000))), Worker("w")
    asked: Batch = Adapter(plugin)
    assert (asked.demand(), asked.workers(), asked.check()) == (plugin.demand(), plugin.listed, "2.0.0")
    assert asked.close(worker) is Closing.BUSY
    asked.reopen(worker)
    asked.forget(worker)
    assert plugin.calls == ["close w", "reopen w", "forget w"]
    assert asked.template(worker) == ""
    assert asked.judge(["a", "b"], "of another plugin") == (Judgement(), Judgement())
    assert asked.advice() == ()
    assert Adapter(plugin).explain("1") is None


def test_every_method_is_handed_on() -> None:
    assert METHODS.keys() <= vars(Adapter).keys()


@pytest.mark.parametrize(
    ("capacity", "free", "known_capacity", "known_free"),
    [
        (Shape(4, 0, 0), Shape(4, 0, 0), Shape(4), Shape(4)),
        (Shape(4, 0, 500), Shape(2, 0, 0), Shape(4, None, 500), Shape(2, None, 0)),
        (Shape(4, 8000, 0, 2), Shape(0, 0, 7, 1), Shape(4, 8000, None, 2), Shape(0, 0, None, 1)),
        (Shape(4, 8000), Shape(4, 0), Shape(4, 8000), Shape(4, 0)),
        (Shape(4, 8000, 500, 0), Shape(0, 0, 0, 0), Shape(4, 8000, 500, 0), Shape(0, 0, 0, 0)),
        (Shape(4), Shape(4), Shape(4), Shape(4)),
    ],
)
def test_memory_and_disk_of_which_a_machine_has_none_are_not_known(
    capacity: Shape, free: Shape, known_capacity: Shape, known_free: Shape
) -> None:
    (worker,) = Adapter(Of200(Worker("w", "i-1", None, capacity, free, 1))).workers()
    assert worker == Worker("w", "i-1", None, known_capacity, known_free, 1)


def test_a_job_still_has_room_where_2_0_0_said_nothing_of_memory() -> None:
    """As 0 it would be a machine without memory: no job with memory would ever get a VM."""
    (worker,) = Adapter(Of200(Worker("w", capacity=Shape(4, 0), free=Shape(4, 0)))).workers()
    assert Shape(1, 2000).fits(worker.free)
    assert Shape(1, 2000).fits(worker.capacity)


@pytest.mark.parametrize("answer", [None, [], 7])
def test_what_is_no_answer_is_left_to_others(answer: Any) -> None:
    plugin = Of200()
    plugin.workers = lambda: answer  # type: ignore[method-assign]
    assert Adapter(plugin).workers() == answer


@pytest.mark.parametrize("template", [None, b"x", 7, "", "x" * (TEMPLATE_LIMIT + 1), ["x"]])
def test_no_template(template: object) -> None:
    with pytest.raises(BatchError, match=r"plugin \S+ answers to template cannot be used: .*; mend the plugin"):
        Adapter(Judging(template)).template(Worker("w"))


def test_a_template_is_handed_on_as_it_is() -> None:
    assert Adapter(Judging("a\n\x00b")).template(Worker("w")) == "a\n\x00b"


@pytest.mark.parametrize(
    "judged",
    [
        None,
        (),
        (NO,),
        (NO, NO, NO),
        [NO, NO],
        (NO, None),
        (NO, True),
        (NO, Judgement(Eligibility.NO)),
        (NO, Judgement(Eligibility.UNKNOWN, " \n")),
        (NO, Judgement(Eligibility.YES, "why not")),
        (NO, Judgement("no", "a text")),  # type: ignore[arg-type]
        (NO, Judgement(Eligibility.NO, 7)),  # type: ignore[arg-type]
    ],
)
def test_judgements_that_are_none_are_not_believed_in_part(judged: object) -> None:
    with pytest.raises(BatchError, match=r"plugin \S+ answers to judge cannot be used: .*; mend the plugin"):
        Adapter(Judging(judged=judged)).judge(["a", "b"], "")


def test_reasons_are_for_one_line() -> None:
    odd = Judgement(Eligibility.NO, "no\tmachine\n\x1b[31m has " + "x" * 1000)
    (judged, yes) = Adapter(Judging(judged=(odd, Judgement()))).judge(["a", "b"], "")
    assert judged.reason.startswith("no machine [31m has xxx")
    assert len(judged.reason) == 300
    assert yes == Judgement()


@pytest.mark.parametrize("advice", [None, [], "fill them", ("",), (" ",), (7,), ("good", None)])
def test_no_advice(advice: Any) -> None:
    plugin = FakeBatch()
    plugin.advice = lambda: advice  # type: ignore[method-assign]
    with pytest.raises(BatchError, match=r"plugin \S+ answers to advice cannot be used: .*; mend the plugin"):
        Adapter(plugin).advice()


def test_advice_is_told_a_line_each_of_bounded_length() -> None:
    plugin = FakeBatch()
    plugin.advised = ("set\n this\x1b[2J", "x" * 9999)
    first, second = Adapter(plugin).advice()
    assert first == "set this [2J"
    assert len(second) == ADVICE_LIMIT


ODD = "what nobody thought of"


class Stumbling(FakeBatch):
    """Raises over odd wants."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error
        self.questions = 0

    def judge(self, wants: Sequence[str], template: str) -> Any:
        self.questions += 1
        if any(one.startswith(ODD) for one in wants):
            raise self.error
        return (Judgement(),) * len(wants)


@pytest.mark.parametrize("error", [KeyError("Odd"), TypeError("x"), RecursionError(), SystemExit(1)])
@pytest.mark.parametrize("odd", [[0], [1999], [7, 1500]])
def test_jobs_over_which_a_plugin_stumbles_are_unknown_and_the_others_judged(
    odd: list[int], error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = Stumbling(error)
    wants = [f"{ODD} {number}" if number in odd else str(number) for number in range(2000)]
    asked = Adapter(plugin, "acme")
    for _ in range(2):
        judged = asked.judge(wants, "")
        assert [number for number, one in enumerate(judged) if one.answer is not Eligibility.YES] == odd
        assert all(judged[number].answer is Eligibility.UNKNOWN and "acme" in judged[number].reason for number in odd)
    assert len(caplog.messages) == 1, "once"
    assert "acme" in caplog.text


def test_a_plugin_that_stumbles_often_is_not_asked_for_ever() -> None:
    plugin = Stumbling(KeyError("Odd"))
    with pytest.raises(BatchError):
        Adapter(plugin).judge([ODD if number % 2 else "good" for number in range(2000)], "")
    assert plugin.questions == MOST_QUESTIONS


def test_a_plugin_that_stumbles_over_everything_has_no_answer() -> None:
    with pytest.raises(BatchError, match=r"batch plugin .*Stumbling failed in judge: KeyError"):
        Adapter(Stumbling(KeyError("Odd"))).judge([ODD, ODD], "")


@pytest.mark.parametrize("method", ["demand", "workers", "close", "reopen", "forget", "check", "template", "advice"])
@pytest.mark.parametrize("error", [KeyError("Odd"), SystemExit(0), AttributeError("None")])
def test_whatever_a_plugin_raises_costs_its_answer_alone(method: str, error: BaseException) -> None:
    def fail(*_: object) -> None:
        raise error

    plugin = Judging()
    setattr(plugin, method, fail)
    arguments = (Worker("w"),) if method in ("close", "reopen", "forget", "template") else ()
    with pytest.raises(PluginError, match=f"batch plugin acme failed in {method}: {type(error).__name__}"):
        getattr(Adapter(plugin, "acme"), method)(*arguments)


def test_what_the_contract_allows_is_handed_on_as_it_is() -> None:
    def fail() -> None:
        raise BatchError("the scheduler does not answer")

    plugin = FakeBatch()
    plugin.demand = fail  # type: ignore[method-assign, assignment]
    with pytest.raises(BatchError, match=r"^the scheduler does not answer$"):
        Adapter(plugin).demand()


class Explaining(FakeBatch):
    """Answers what it is told to."""

    def __init__(self, told: object) -> None:
        super().__init__()
        self.told = told

    def explain(self, job: str) -> Any:
        if isinstance(self.told, Exception):
            raise self.told
        return self.told


def test_what_is_told_of_a_job_is_one_line() -> None:
    told = Explanation(Standing.HELD, "held by\nits owner " + "x" * EXPLANATION_LIMIT)
    answer = Adapter(Explaining(told)).explain("7")
    assert answer is not None
    assert answer.standing is Standing.HELD
    assert answer.text.startswith("held by its owner x")
    assert len(answer.text) == EXPLANATION_LIMIT


@pytest.mark.parametrize("told", [None, "held", Explanation(Standing.WAITS), ValueError("no such thing")])
def test_what_is_no_explanation_is_refused(told: object) -> None:
    with pytest.raises(BatchError, match=r"explain.*; mend the plugin"):
        Adapter(Explaining(told)).explain("7")


class Narrowing(Judging):
    """Makes what it is told to of jobs and offers."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer

    def narrowed(self, template: str, jobs: str, offers: str) -> Any:
        return self.answer


def test_what_a_pool_takes() -> None:
    assert Adapter(Narrowing("x")).narrowed("like it", "jobs", "") == "x"
    assert Adapter(Narrowing("x")).narrowed("like it", "", "") == "like it", "there is nothing to narrow"
    assert Adapter(Of200()).narrowed("", "", "") == ""
    with pytest.raises(BatchError, match="does not read jobs and offers of pools"):
        Adapter(Of200()).narrowed("", "jobs", "")


@pytest.mark.parametrize("answer", [None, "", b"x", 7, ["x"]])
def test_what_stands_for_no_pool(answer: object) -> None:
    with pytest.raises(BatchError, match=r"plugin \S+ answers to narrowed cannot be used: .*; mend the plugin"):
        Adapter(Narrowing(answer)).narrowed("", "jobs", "")


def test_a_plugin_that_takes_no_jobs_from_workers_says_so_and_what_to_set() -> None:
    with pytest.raises(BatchError, match="cannot queue jobs again; set on_interruption = drain"):
        Adapter(Of200(), "old").requeue(Worker("w1"))
    batch = FakeBatch()
    Adapter(batch).requeue(Worker("w1"))
    assert batch.calls == [("requeue", "w1")]
