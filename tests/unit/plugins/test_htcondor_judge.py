"""Whether workers could run jobs, by HTCondor's own evaluation where its bindings are installed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from elastiq.errors import BatchError
from elastiq.model import Eligibility, Judgement
from elastiq.plugins.htcondor_judge import BATCH, Bindings, Commands, by_commands, judge, kinds_of, one_by_one
from elastiq.plugins.htcondor_matching import Ad, asked_of_jobs, template_of, wants_of
from tests.unit.plugins.condor import Pool
from tests.unit.plugins.test_htcondor_matching import SUBMITTED, slot

NOW = 1_700_000_000.0
YES, NO, UNKNOWN = Eligibility.YES, Eligibility.NO, Eligibility.UNKNOWN


@pytest.fixture(scope="module")
def evaluator() -> Bindings:
    pytest.importorskip("htcondor2", reason="HTCondor's Python bindings are not installed")
    return Bindings(pytest.importorskip("classad2", reason="HTCondor's Python bindings are not installed"))


def judged(evaluator: Any, requirements: str, template: str, **job: str) -> Judgement:
    wants = wants_of({"requirements": requirements, **job}, asked_of_jobs(template))
    (answer,) = judge([wants], kinds_of(template, NOW), evaluator)
    return answer


TABLE = [
    (SUBMITTED, YES, "", YES, ""),
    ("true", YES, "", YES, ""),
    ("false", NO, "false is not true of the jobs themselves", NO, ""),
    ("HasCVMFS", NO, "Requirements: HasCVMFS is not advertised by workers like this", UNKNOWN, "HasCVMFS is not known"),
    ("TARGET.HasCVMFS =?= true", NO, "HasCVMFS is not advertised", UNKNOWN, ""),
    (SUBMITTED + " && (HasCVMFS || HasIt)", NO, "HasCVMFS is not advertised", UNKNOWN, ""),
    ("isUndefined(HasCVMFS)", YES, "", YES, ""),
    ("Foo == 7", YES, "", UNKNOWN, ""),
    ("Foo == 8", NO, "Foo == 8 is not met by workers like this (Foo is 7)", UNKNOWN, ""),
    ('TARGET.Arch == "aarch64"', NO, 'Arch is "X86_64"', UNKNOWN, ""),
    ('OpSys == "WINDOWS"', NO, 'OpSys is "LINUX"', UNKNOWN, ""),
    ("OpSysMajorVer >= 9 && OpSysMajorVer < 14", YES, "", UNKNOWN, ""),
    ('versioncmp(split(CondorVersion)[1], "10.0.0") > 0', YES, "", UNKNOWN, ""),
    ('Machine == "node7"', NO, "names a machine, which no new worker is", NO, "names a machine"),
    ('TARGET.Name =?= "slot1@node7"', NO, "names a machine", NO, ""),
    ('EC2InstanceId == "i-00000000000000001"', NO, "names a machine", NO, ""),
    ('stringListMember(TARGET.Machine, "a,b")', NO, "names a machine", NO, ""),
    ('Machine != "node7"', YES, "", YES, ""),
    ('Machine =!= LastRemoteHost && TARGET.Machine != "x"', YES, "", YES, ""),
    ('regexp("^wn-", Machine)', UNKNOWN, "depends on the names of workers", UNKNOWN, ""),
    ('regexp("^wn-", Machine) && HasCVMFS', NO, "HasCVMFS is not advertised", UNKNOWN, ""),
    ('toLower(Machine) == "node7"', NO, "names a machine", NO, ""),
    ('regexp("^X86", Arch) && Machine == "a" || regexp("x", OpSys)', NO, "is not met", UNKNOWN, ""),
    ('stringListMember(split(Machine, ".")[0], "a,b")', UNKNOWN, "depends on the names", UNKNOWN, ""),
    ('!regexp("^wn-", Machine)', YES, "", YES, ""),
    ("TARGET.Memory > 64", YES, "", YES, ""),
    ("TARGET.Memory > 640000", NO, "is not met", YES, ""),
    ("TARGET.Memory >= RequestMemory", YES, "", YES, ""),
    ("TARGET.Memory >= 2 * RequestMemory", NO, "is not met", YES, ""),
    ("TARGET.TotalSlotCpus >= 2 && Cpus == 2", YES, "", UNKNOWN, ""),
    ("TARGET.LoadAvg < 0.3 && KeyboardIdle > 60 && State == \"Unclaimed\"", YES, "", YES, ""),
    ("TARGET.RecentJobStarts > 3", UNKNOWN, "recentjobstarts changes from moment to moment", UNKNOWN, ""),
    ("MY.Colour == \"red\"", YES, "", YES, ""),
    ("MY.Colour == \"blue\"", NO, "not true of the jobs themselves", NO, ""),
    ("1 + \"a\"", NO, "not true", NO, ""),
    ("x(", UNKNOWN, "cannot be read", UNKNOWN, ""),
    ("true && (", UNKNOWN, "cannot be read", UNKNOWN, ""),
    ("LoopA", UNKNOWN, "refer to themselves", UNKNOWN, ""),
    ("Requirements", UNKNOWN, "refer to themselves", UNKNOWN, ""),
    ("random(3) > 5", UNKNOWN, "random() is not evaluated here", UNKNOWN, ""),
    ('userHome("root") == "/root"', UNKNOWN, "userhome() is not evaluated here", UNKNOWN, ""),
    ("nobodyKnows(3)", UNKNOWN, "nobodyknows() is not evaluated here", UNKNOWN, ""),
    ("(" * 70 + "1" + ")" * 70, UNKNOWN, "cannot be read", UNKNOWN, ""),
    ("1 + " * 250_000 + "1", UNKNOWN, "too long to judge", UNKNOWN, ""),
    ("10K > 3", UNKNOWN, "", UNKNOWN, ""),
    ("1 ? 2", UNKNOWN, "", UNKNOWN, ""),
]  # fmt: skip


class TestJobs:
    @pytest.mark.parametrize(
        ("requirements", "answer", "reason", "unlearnt", "why"), TABLE, ids=lambda part: str(part)[:40]
    )
    def test_table(
        self, evaluator: Bindings, requirements: str, answer: Eligibility, reason: str, unlearnt: Eligibility, why: str
    ) -> None:
        job = {"colour": '"red"', "loopa": "LoopB", "loopb": "LoopA", "requestmemory": "20000"}
        for template, expected, said in ((template_of([slot()]), answer, reason), ("", unlearnt, why)):
            wants = wants_of({"requirements": requirements, **job}, ())
            (found,) = one_by_one([wants], kinds_of(template, NOW), evaluator, print)
            assert (found.answer, bool(found.reason)) == (expected, expected is not YES)
            assert said in found.reason
            assert len(found.reason) < 300

    @pytest.mark.parametrize("wants", ["x", "[]", "1", '{"requirements": 1}', '{"too many": "kinds"}', "[" * 9999])
    def test_what_no_jobs_want(self, evaluator: Bindings, wants: str) -> None:
        (found,) = judge([wants], kinds_of(template_of([slot()]), NOW), evaluator)
        assert found.answer is UNKNOWN

    def test_nothing_special(self, evaluator: Bindings) -> None:
        assert judge(["", "{}"], kinds_of("", NOW), evaluator) == (Judgement(), Judgement())

    def test_each_gets_its_own_answer(self, evaluator: Bindings) -> None:
        wants = [wants_of({"requirements": text}, ()) for text in ("Foo == 7", "x(", "Foo == 8", "true", "Foo == 7")]
        found = judge(wants, kinds_of(template_of([slot()]), NOW), evaluator)
        assert [one.answer for one in found] == [YES, UNKNOWN, NO, YES, YES]

    def test_nothing_is_taken_over_from_another_job_or_another_worker(self, evaluator: Bindings) -> None:
        texts = [("Foo == Mine", "7"), ("Foo == Mine", "8"), ("Foo == Mine", "7"), ("Foo != Mine", "7"), ("true", "9")]
        wants = [json.dumps({"requirements": text, "mine": mine}) for text, mine in texts]
        for value, expected in (
            (7, [YES, NO, YES, NO, YES]),
            (8, [NO, YES, NO, YES, YES]),
            (7, [YES, NO, YES, NO, YES]),
        ):
            found = judge(wants, kinds_of(template_of([slot(Foo=value)]), NOW), evaluator)
            assert [one.answer for one in found] == expected

    def test_gpus_of_a_kind(self, evaluator: Bindings) -> None:
        clause = "countMatches(MY.RequireGPUs, TARGET.AvailableGPUs) >= RequestGPUs"
        ad = slot(GPUs=0, TotalSlotGPUs=1, AvailableGPUs="/Expr({ })/", GPUs_GPU_a1={"Capability": 7.5})
        for least, answer in (("7.0", YES), ("8.0", NO)):
            job = {"requestgpus": "1", "requiregpus": f"Capability >= {least}"}
            assert judged(evaluator, clause, template_of([ad]), **job).answer is answer


class TestWorkers:
    @pytest.mark.parametrize(
        ("start", "job", "answer", "reason"),
        [
            ("true", {}, YES, ""),
            ('TARGET.Owner == "me"', {"owner": '"me"'}, YES, ""),
            (
                'TARGET.Owner == "me"',
                {"owner": '"you"'},
                NO,
                "START: workers like this do not accept these jobs: TARGET.Owner",
            ),
            ("WantIt =?= true", {}, NO, "START"),
            ("WantIt =?= true", {"wantit": "true"}, YES, ""),
            ("RequestMemory < 100", {"requestmemory": "50"}, YES, ""),
            ("RequestMemory < 100", {"requestmemory": "500"}, NO, "START"),
            ("LoadAvg < 0.3 && KeyboardIdle > 15 * 60", {}, YES, ""),
            ("(time() - EnteredCurrentActivity) > 60 && SlotID == 1", {}, YES, ""),
            ("TARGET.ProcId == 7", {}, UNKNOWN, "of these jobs it is not known what procid is"),
            ("RecentJobStarts < 5", {}, UNKNOWN, "recentjobstarts changes from moment to moment"),
            ("userHome(TARGET.Owner) == 3", {"owner": '"me"'}, UNKNOWN, "START: cannot be evaluated here"),
            ("StartLoop", {}, UNKNOWN, "START: cannot be evaluated here"),
            ("not an expression(", {}, UNKNOWN, "START: cannot be evaluated here"),
            ("10K > 3", {}, UNKNOWN, "start cannot be read"),
        ],
    )
    def test_which_jobs_they_accept(
        self, evaluator: Bindings, start: str, job: dict[str, str], answer: Eligibility, reason: str
    ) -> None:
        template = template_of([slot(Start=f"/Expr({start})/", StartLoop="/Expr(Start)/")])
        wants = wants_of({"requirements": "true", **job}, asked_of_jobs(template))
        (found,) = one_by_one([wants], kinds_of(template, NOW), evaluator, print)
        assert found.answer is answer
        assert reason in found.reason

    def test_what_cannot_be_read_beside_decides_nothing(self, evaluator: Bindings) -> None:
        template = template_of([slot(Odd="/Expr(10K)/", Odder="/Expr(x()/", MoreOdd="/Expr(a = 1)/")])
        assert judged(evaluator, "Foo == 7", template).answer is YES

    def test_what_was_not_asked_of_the_jobs_yet(self, evaluator: Bindings) -> None:
        kinds = kinds_of(template_of([slot(Start='/Expr(TARGET.Owner == "me")/')]), NOW)
        (found,) = judge(['{"requirements":"true"}'], kinds, evaluator)
        assert found == Judgement(UNKNOWN, "START: of these jobs it is not known what owner is")

    def test_one_of_two_kinds_of_slots_is_enough(self, evaluator: Bindings) -> None:
        template = template_of([slot(), slot(SlotID=2, HasFast=True, Start="/Expr(WantFast =?= true)/")])
        assert judged(evaluator, "HasFast", template, wantfast="true").answer is YES
        assert judged(evaluator, "HasFast", template).answer is NO
        assert judged(evaluator, "true", template).answer is YES

    @pytest.mark.parametrize("template", ["x", "[]", "{}", '[{"a": "1"}]', "null"])
    def test_damaged_template(self, evaluator: Bindings, template: str) -> None:
        assert kinds_of(template, NOW) == ()
        (found,) = judge(['{"requirements":"true"}'], (), evaluator)
        assert found.answer is UNKNOWN
        assert "damaged" in found.reason


class Odd:
    """Evaluates everything as true, but for jobs of which one attribute is bad; each call is written down."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def truths(self, jobs: Sequence[Ad], slot: Ad) -> Sequence[tuple[bool, bool]]:
        self.calls.append(len(jobs))
        if any(job.get("bad") for job in jobs):
            raise BatchError("bad cannot be read")
        return [(True, True)] * len(jobs)


def test_one_odd_job_is_no_others_trouble() -> None:
    wants = [
        json.dumps({"requirements": "true", **({"bad": "1"} if number == 5 else {})}) for number in range(BATCH + 3)
    ]
    for found in (
        list(by_commands(wants, kinds_of("", NOW), Odd(), 100.0)),
        list(one_by_one(wants, kinds_of("", NOW), Odd(), print)),
    ):
        assert [number for number, one in enumerate(found) if one.answer is not YES] == [5]
        assert found[5] == Judgement(UNKNOWN, "Requirements: bad cannot be read")


def test_many_are_judged_together_and_no_longer_than_there_is_time() -> None:
    odd = Odd()
    assert list(by_commands(["{}"] * (2 * BATCH), kinds_of("", NOW), odd, 100.0)) == [Judgement()] * (2 * BATCH)
    assert odd.calls == [BATCH, BATCH]
    late = list(by_commands(["{}"] * 3, kinds_of("", NOW), odd, -1.0))
    assert late == [Judgement(UNKNOWN, "Requirements: too many to judge in time")] * 3


class TestCommands:
    ANALYSIS = """

-- Jobads: /tmp/jobs
Analyzing matches for 1 slots
               Autocluster    Matches     Machine     Running     Serving
 JobId        Members/Idle Requirements Rejects Job  Users Job  Other User Available Owner
------------- ------------ ------------ ----------- ----------- ---------- --------- -----
1.0                                   0           0           0          0         0 u
2.0                                   1           0           0          0         1 u
3.0                                   1           1           0          0         0 u
"""
    """What condor_q 23.9.6 printed for a job that does not want the slot, one that fits, and one that START refuses."""

    @pytest.fixture
    def pool(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pool:
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return Pool(tmp_path)

    def test_recorded(self, pool: Pool) -> None:
        pool.answers(("condor_q -analyze:summary -jobads:new .* -slotads:new", [(0, self.ANALYSIS, "")]))
        assert Commands(60.0).truths([{}, {}, {}], {}) == [(False, True), (True, True), (True, False)]

    @pytest.mark.parametrize("answer", [(0, "", ""), (1, "", "x"), (0, "1.0 0 0\n2.0 a b\n3.0 1 1\n", "")])
    def test_what_is_no_analysis(self, pool: Pool, answer: tuple[int, str, str]) -> None:
        pool.answers(("condor_q", [answer]))
        with pytest.raises(BatchError):
            Commands(60.0).truths([{}, {}, {}], {})
