"""Which jobs pools take on HTCondor, by its own evaluation where its bindings are installed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastiq.errors import BatchError
from elastiq.model import Eligibility, Judgement
from elastiq.plugins import TAKES_ONLY
from elastiq.plugins.htcondor_judge import Bindings, by_commands, judge, kinds_of, one_by_one
from elastiq.plugins.htcondor_matching import Ad, template_of, wants_of
from elastiq.plugins.htcondor_narrowing import narrowed, narrowing_of, refusals
from tests.unit.plugins.test_htcondor_matching import slot

NOW = 1_700_000_000.0
YES, NO, UNKNOWN = Eligibility.YES, Eligibility.NO, Eligibility.UNKNOWN
TEMPLATE = template_of([slot()])
OPT_IN = "MayUseAWS =?= true"
OFFERS = 'HasCVMFS = true, OpSysAndVer = "Debian12", Foo = 7, Slow = false'


@pytest.fixture(scope="module")
def evaluator() -> Bindings:
    return bindings()


def bindings() -> Bindings:
    pytest.importorskip("htcondor2", reason="HTCondor's Python bindings are not installed")
    return Bindings(pytest.importorskip("classad2", reason="HTCondor's Python bindings are not installed"))


def judged(evaluator: Any, text: str, requirements: str = "true", **job: str) -> Judgement:
    narrowing = narrowing_of(text)
    wants = wants_of({"requirements": requirements, **job}, narrowing.asked)
    (found,) = one_by_one([wants], kinds_of(text, NOW), evaluator, lambda seconds: None, narrowing.jobs)
    return found


@pytest.mark.parametrize(
    ("jobs", "job", "is_taken"),
    [
        (OPT_IN, {"mayuseaws": "true"}, True),
        (OPT_IN, {"mayuseaws": "false"}, False),
        (OPT_IN, {}, False),
        ("MayUseAWS", {"mayuseaws": "true"}, True),
        ("MayUseAWS", {}, False),
        ("MY.MayUseAWS is true", {"mayuseaws": "1 == 1"}, True),
        ("(MayUseAWS =?= true) || Grade >= 3", {"grade": "4"}, True),
        ("MayUseAWS =?= true && Grade >= 3", {"mayuseaws": "true"}, False),
        ('Owner == "me"', {"owner": '"ME"'}, True),
        ('"me" == Owner && Project == "x"', {"owner": '"me"', "project": '"x"'}, True),
        ('regexp("^cms", Project)', {"project": '"cms_1"'}, True),
        ("RequestMemory > 1000", {"requestmemory": "2000"}, True),
        ("RequestMemory > 1000", {"requestmemory": "20"}, False),
        # What a slot of the same name offers is none of a job's.
        ("Foo == 7", {}, False),
        ("Foo == 7", {"foo": "3 + 4"}, True),
        ("MayUseAWS", {"mayuseaws": "random(2) >= 0"}, False),
        ("MayUseAWS", {"mayuseaws": "Other", "other": "MayUseAWS"}, False),
        ("1 + \"a\"", {}, False),
        ("true", {}, True),
        ("false", {}, False),
        ("isUndefined(MayUseAWS)", {}, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("template", ["", TEMPLATE])
def test_which_jobs_are_taken(
    evaluator: Bindings, jobs: str, job: dict[str, str], is_taken: bool, template: str
) -> None:
    found = judged(evaluator, narrowed(template, jobs, OFFERS), **job)
    assert found.answer is (YES if is_taken else NO)
    assert found.reason.startswith(TAKES_ONLY if not is_taken else "")


def test_the_reason_names_what_was_asked_for(evaluator: Bindings) -> None:
    found = judged(evaluator, narrowed("", " MayUseAWS=?=true ", ""))
    assert found == Judgement(NO, "the pool takes only jobs with MayUseAWS =?= true")


@pytest.mark.parametrize(
    ("requirements", "before", "answer"),
    [
        ("HasCVMFS", UNKNOWN, YES),
        ("TARGET.HasCVMFS =?= true && OpSysAndVer == \"Debian12\"", UNKNOWN, YES),
        ('OpSysAndVer == "AlmaLinux9"', UNKNOWN, NO),
        ("HasCVMFS =!= true", YES, NO),
        ("Foo > 7", UNKNOWN, NO),
        ("Slow", UNKNOWN, NO),
        ("Slow || HasIt", UNKNOWN, UNKNOWN),
        ("HasIt", UNKNOWN, UNKNOWN),
        ("HasCVMFS && HasIt", UNKNOWN, UNKNOWN),
        ('Arch == "aarch64"', UNKNOWN, UNKNOWN),
        ('Machine == "node7"', NO, NO),
        ("false", NO, NO),
        ("true", YES, YES),
    ],
)  # fmt: skip
def test_what_is_offered_until_a_worker_was_seen(
    evaluator: Bindings, requirements: str, before: Eligibility, answer: Eligibility
) -> None:
    assert judged(evaluator, "", requirements).answer is before
    assert judged(evaluator, narrowed("", "", OFFERS), requirements).answer is answer
    once_seen = judged(evaluator, narrowed(TEMPLATE, "", 'HasIt = true, OpSysAndVer = "AlmaLinux9"'), requirements)
    assert once_seen == judged(evaluator, TEMPLATE, requirements)


def test_what_offers_say_is_the_reason(evaluator: Bindings) -> None:
    found = judged(evaluator, narrowed("", "", OFFERS), 'OpSysAndVer == "AlmaLinux9"')
    assert 'OpSysAndVer is "Debian12"' in found.reason


@pytest.mark.parametrize(
    ("jobs", "problem"),
    [
        ("MayUseAWS = true", "gives an attribute a value; to compare it write == or =?="),
        ("MayUseAWS =?=", "is no ClassAd expression; write one such as MayUseAWS =?= true"),
        ("MayUseAWS true", "is no ClassAd expression"),
        ("x(", "is no ClassAd expression"),
        ("(" * 70 + "1" + ")" * 70, "is no ClassAd expression"),
        ('Owner == "me', "is no ClassAd expression"),
        ("gpu, feature:cloud", "is no ClassAd expression"),
        ("10K > RequestMemory", "is no ClassAd expression"),
        ("[a = 1].a", "is no ClassAd expression"),
        ("\u00e4 == 1", "is no ClassAd expression"),
        ("TARGET.HasCVMFS", "TARGET.hascvmfs is an attribute of workers; name those of jobs alone, without TARGET"),
        ("random(3) > 1", "random() is not evaluated here; do without it"),
        ('eval("true")', "eval() is not evaluated here"),
        ("ClusterId > 7", "clusterid is another one in every job"),
        ("Requirements", "requirements are judged anyway"),
    ],
)
def test_jobs_that_cannot_be_read(jobs: str, problem: str) -> None:
    with pytest.raises(BatchError) as caught:
        narrowed("", jobs, "")
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("offers", "problem"),
    [
        ("HasCVMFS", "is no list of attributes; write NAME = VALUE with commas between"),
        ("HasCVMFS = true,", "is no list of attributes"),
        ("HasCVMFS == true", "is no list of attributes"),
        ("a.b = 1", "is no list of attributes"),
        ('OpSys = "x', "is no list of attributes"),
        ("OpSysAndVer = Debian 12", "'Debian 12' is no value of OpSysAndVer; texts stand in double quotes"),
        ("A = 1 B = 2", "is no value of A"),
        ("A = (", "is no value of A"),
        ("A = random(3)", "random() is not evaluated here"),
        ("A = 1, a = 2", "a is given twice"),
        ("Start = true", "Start says which jobs workers take; for that there is the option jobs"),
        ("Requirements = true", "Requirements says which jobs"),
        ('Machine = "x"', "Machine is not the same on all workers and at all times"),
        ('State = "Unclaimed"', "State is not the same on all workers and at all times"),
        ("A = B, B = A", "attributes refer to themselves"),
    ],
)
def test_offers_that_cannot_be_read(offers: str, problem: str) -> None:
    with pytest.raises(BatchError) as caught:
        narrowed(TEMPLATE, "", offers)
    assert problem in str(caught.value)


@pytest.mark.parametrize("text", ["a\n&& b", "A\r\n=?= true", 'x == "a\\n]\\n[b = 1"', "a == 1 // b"])
def test_nothing_begins_a_line_or_an_ad_of_its_own(text: str) -> None:
    try:
        found = narrowing_of(narrowed("", text, ""))
    except BatchError:
        return
    assert "\n" not in found.jobs
    assert "\r" not in found.jobs


def test_the_same_makes_the_same_text() -> None:
    assert narrowed("", "A  && B", "X=1 ,Y = 2") == narrowed("", "A&&B", "Y = 2, X = 1")
    assert narrowed(TEMPLATE, "A", "X = 1") == narrowed(TEMPLATE, "A", "")
    assert narrowed(TEMPLATE, "A", "") != narrowed("", "A", "")


def test_attributes_of_jobs_that_decide() -> None:
    template = template_of([slot(Start="/Expr(TARGET.Project == 3)/")])
    assert narrowing_of(narrowed(template, "A && MY.B", "")).asked == {"a", "b", "project"}
    assert narrowing_of(template).asked == {"project"}
    assert narrowing_of("").asked == frozenset()


@pytest.mark.parametrize(
    "text", ["x", "[]", "{}", '{"jobs": 1, "offers": {}, "template": ""}', '{"jobs":"x(","offers":{},"template":""}']
)
def test_what_was_not_made_here_is_a_template(text: str) -> None:
    assert narrowing_of(text).template == text
    assert kinds_of(text, NOW) == ()


@pytest.mark.parametrize("wants", ["x", "[]", '{"mayuseaws": 1}', '{"too long": "y"}', '{"too many": "z"}', "{}", ""])
@pytest.mark.parametrize("template", ["", TEMPLATE, "damaged"])
def test_jobs_that_are_not_known_to_be_such_are_not_taken(evaluator: Bindings, wants: str, template: str) -> None:
    (found,) = judge([wants], kinds_of(narrowed(template, OPT_IN, ""), NOW), evaluator, OPT_IN)
    said = f"{TAKES_ONLY} with {OPT_IN}, and whether that is true of these cannot be told"
    assert found == Judgement(NO, said)


def test_a_damaged_template_is_said_of_those_that_are_taken(evaluator: Bindings) -> None:
    found = judged(evaluator, narrowed("damaged", OPT_IN, ""), mayuseaws="true")
    assert found.answer is UNKNOWN
    assert "damaged" in found.reason


class Failing:
    """Evaluates no job whose attribute is bad."""

    def truths(self, jobs: Sequence[Ad], slot: Ad) -> Sequence[tuple[bool, bool]]:
        if any(job.get("a") == "bad" for job in jobs):
            raise BatchError("bad cannot be read")
        return [(job["requirements"] != "A" or job.get("a") == "true", True) for job in jobs]


def test_one_that_cannot_be_evaluated_is_no_others_trouble() -> None:
    wants = [json.dumps({"requirements": "true", "a": value}) for value in ("true", "bad", "false", "true")]
    with pytest.raises(BatchError):
        refusals(wants, "A", Failing().truths)
    for found in (
        list(by_commands(wants, kinds_of("", NOW), Failing(), 100.0, "A")),
        list(one_by_one(wants, kinds_of("", NOW), Failing(), lambda seconds: None, "A")),
    ):
        assert [one.answer for one in found] == [YES, NO, NO, YES]
        assert "cannot be told" in found[1].reason
    late = list(by_commands(wants, kinds_of("", NOW), Failing(), -1.0, "A"))
    assert {one.answer for one in late} == {NO}


CLAUSES = (
    "HasCVMFS", "Foo == 7", "Foo == 8", "HasIt =!= true", 'OpSysAndVer == "Debian12"', "Slow", "!Slow", "MayUseAWS",
    'Machine == "x"', "false", "true", "Memory > 1", "x(", "Grade > Foo", 'regexp("a", Machine)', "RecentJobStarts > 1",
)  # fmt: skip
expressions = st.lists(st.sampled_from(CLAUSES), min_size=1, max_size=3).flatmap(
    lambda parts: st.sampled_from([" && ", " || "]).map(lambda sign: sign.join(parts))
)


@pytest.mark.long
@settings(max_examples=150, deadline=None)
@given(
    requirements=expressions,
    jobs=st.sampled_from(["", OPT_IN, "MayUseAWS || Grade > 2", "true", "false", "Foo == 7"]),
    offers=st.sampled_from(["", OFFERS, "HasIt = true", "Slow = true, Foo = 8"]),
    template=st.sampled_from(["", TEMPLATE, template_of([slot(Start="/Expr(Grade > 1)/")]), "damaged"]),
    job=st.fixed_dictionaries({}, optional={"mayuseaws": st.sampled_from(["true", "false"]), "grade": st.just("3")}),
)
def test_no_no_becomes_a_yes(requirements: str, jobs: str, offers: str, template: str, job: dict[str, str]) -> None:
    evaluator = bindings()
    text = narrowed(template, jobs, offers)
    asked = narrowing_of(text).asked
    (wants,) = {wants_of({"requirements": requirements, **job}, asked)}
    (plain,) = one_by_one([wants], kinds_of(template, NOW), evaluator, lambda seconds: None)
    (found,) = one_by_one([wants], kinds_of(text, NOW), evaluator, lambda seconds: None, narrowing_of(text).jobs)
    assert not (plain.answer is NO and found.answer is not NO)
    if template:
        assert found.answer is NO or found == plain
    if found.answer is NO and plain.answer is YES:
        assert found.reason.startswith(TAKES_ONLY) or (offers and not template)
