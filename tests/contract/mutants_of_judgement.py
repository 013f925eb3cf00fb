"""Broken plugins, for the clauses of the contract on what jobs want, templates, judgements and single jobs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from elastiq.errors import BatchError
from elastiq.model import Demand, Eligibility, Explanation, Judgement, Shape, Standing, Worker
from elastiq.plugins.sandbox import SandboxBatch

from . import test_batch_contract as suite
from .harness import Harness


class ForgetsWhatJobsWant(SandboxBatch):
    def demand(self) -> tuple[Demand, ...]:
        jobs = sum(group.jobs for group in super().demand())
        return (Demand(Shape(1), jobs),) if jobs else ()


class LeavesOutWhatNobodyOffers(SandboxBatch):
    def demand(self) -> tuple[Demand, ...]:
        return tuple(group for group in super().demand() if group.wants != "gpu")


class TakesWholeMachinesForPlaces(SandboxBatch):
    def demand(self) -> tuple[Demand, ...]:
        return tuple(replace(group, takes_whole_vms=False) for group in super().demand())


class CountsWhatWaitsAsRunning(SandboxBatch):
    def demand(self) -> tuple[Demand, ...]:
        return tuple(replace(group, running=(group.running or 0) + group.jobs) for group in super().demand())


class JudgesByHalf(SandboxBatch):
    def __getattribute__(self, name: str) -> object:
        if name == "judge":
            raise AttributeError(name)
        return super().__getattribute__(name)


class ShowsNoTemplate(SandboxBatch):
    def template(self, worker: Worker) -> str:
        super().template(worker)
        return ""


class NamesTheWorker(SandboxBatch):
    def template(self, worker: Worker) -> str:
        return json.dumps({**json.loads(super().template(worker)), "of": worker.instance_id})


class ShowsWhatIsLeft(SandboxBatch):
    """A busy worker offers less."""

    def template(self, worker: Worker) -> str:
        (found,) = (one for one in self.workers() if one.instance_id == worker.instance_id)
        return super().template(worker) if found.jobs == 0 else "busy"

    def judge(self, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        busy = Judgement(Eligibility.NO, "workers are busy")
        return (busy,) * len(wants) if template == "busy" else super().judge(wants, template)


class RemembersTemplatesItself(SandboxBatch):
    """What another process was told means nothing to it."""

    known = ""

    def template(self, worker: Worker) -> str:
        self.known = super().template(worker)
        return "1"

    def judge(self, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        gone = Judgement(Eligibility.UNKNOWN, "no such template")
        return super().judge(wants, self.known) if self.known or not template else (gone,) * len(wants)


class ShowsClosedWorkers(SandboxBatch):
    def template(self, worker: Worker) -> str:
        with self._spool.locked():
            for record, _ in self._found(worker):
                return json.dumps({"offers": record.offers})
        raise BatchError("no such worker")


class ShowsWorkersThatAreNotThere(SandboxBatch):
    def template(self, worker: Worker) -> str:
        found = [one for one in self.workers() if one.instance_id == worker.instance_id]
        return super().template(worker) if found else json.dumps({"offers": []})


class TakesNoAnswerForATemplate(SandboxBatch):
    def template(self, worker: Worker) -> str:
        try:
            return super().template(worker)
        except BatchError:
            return json.dumps({"offers": []})


class Judges(SandboxBatch):
    """Answers otherwise than it knows."""

    def judge(self, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        return tuple(self.change(one, judged, template) for one, judged in zip(wants, super().judge(wants, template)))

    def change(self, wants: str, judged: Judgement, template: str) -> Judgement:
        raise NotImplementedError


class TakesAllJobs(Judges):
    def change(self, wants: str, judged: Judgement, template: str) -> Judgement:
        return Judgement()


class TakesPlainJobsAlone(Judges):
    def change(self, wants: str, judged: Judgement, template: str) -> Judgement:
        return Judgement(Eligibility.NO, "it wants something") if wants else judged


class KnowsNothingWithoutATemplate(Judges):
    def change(self, wants: str, judged: Judgement, template: str) -> Judgement:
        return judged if template else Judgement(Eligibility.UNKNOWN, "no worker was seen yet")


class RefusesWithoutATemplate(Judges):
    def change(self, wants: str, judged: Judgement, template: str) -> Judgement:
        return judged if template or not wants else Judgement(Eligibility.NO, "no worker offers it")


class GivesNoReason(Judges):
    def change(self, wants: str, judged: Judgement, template: str) -> Judgement:
        return replace(judged, reason="")


class IsNeverSure(Judges):
    def change(self, wants: str, judged: Judgement, template: str) -> Judgement:
        return replace(judged, answer=Eligibility.UNKNOWN) if judged.answer is Eligibility.NO else judged


class AnswersEachWantOnce(SandboxBatch):
    def judge(self, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        return super().judge(list(dict.fromkeys(wants)), template)


class AnswersInOrderOfWants(SandboxBatch):
    def judge(self, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        return super().judge(sorted(wants), template)


class BelievesDamagedTemplates(SandboxBatch):
    def judge(self, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        try:
            json.loads(template or "{}")
        except ValueError:
            template = json.dumps({"offers": []})
        return super().judge(wants, template)


class FailsOnDamagedTemplates(SandboxBatch):
    def judge(self, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        if template:
            json.loads(template)
        return super().judge(wants, template)


class Narrows(SandboxBatch):
    """Narrows otherwise than it is told to."""

    def narrowed(self, template: str, jobs: str, offers: str) -> str:
        return super().narrowed(*self.change(template, jobs, offers))

    def change(self, template: str, jobs: str, offers: str) -> tuple[str, str, str]:
        raise NotImplementedError


class TakesJobsThatHaveNotOptedIn(Narrows):
    def change(self, template: str, jobs: str, offers: str) -> tuple[str, str, str]:
        return template, "", offers


class BelievesNoOffers(Narrows):
    def change(self, template: str, jobs: str, offers: str) -> tuple[str, str, str]:
        return template, jobs, ""


class ForgetsWhatWasLearnt(Narrows):
    def change(self, template: str, jobs: str, offers: str) -> tuple[str, str, str]:
        return "", jobs, offers


class ReadsWhateverIsThere(SandboxBatch):
    def narrowed(self, template: str, jobs: str, offers: str) -> str:
        with suppress(BatchError):
            return super().narrowed(template, jobs, offers)
        return template


class PutsEachJobIntoAGroupOfItsOwn(SandboxBatch):
    def explain(self, job: str) -> Explanation:
        told = super().explain(job)
        return replace(told, group=told.group and replace(told.group, wants=f"{told.group.wants} {job}"))


class CallsWhateverIsThereWaiting(SandboxBatch):
    def explain(self, job: str) -> Explanation:
        told = super().explain(job)
        is_there = told.standing is not Standing.UNKNOWN
        return Explanation(Standing.WAITS, told.text, Demand(Shape(1), 1)) if is_there else told


class CallsWhatIsNotThereEnded(SandboxBatch):
    def explain(self, job: str) -> Explanation:
        told = super().explain(job)
        return replace(told, standing=Standing.ENDED) if told.standing is Standing.UNKNOWN else told


MUTANTS_OF_JUDGEMENT: list[tuple[type[SandboxBatch], Callable[[Harness], None]]] = [
    (PutsEachJobIntoAGroupOfItsOwn, suite.test_a_job_that_waits_is_told_to_be_in_its_group),
    (CallsWhateverIsThereWaiting, suite.test_a_job_that_is_no_demand_is_called_what_it_is),
    (CallsWhatIsNotThereEnded, suite.test_a_job_that_is_no_demand_is_called_what_it_is),
    (CallsWhateverIsThereWaiting, suite.test_a_job_that_runs_is_told_to),
    (ForgetsWhatJobsWant, suite.test_jobs_that_ask_for_something_else_are_another_kind),
    (LeavesOutWhatNobodyOffers, suite.test_jobs_that_ask_for_something_else_are_another_kind),
    (TakesWholeMachinesForPlaces, suite.test_a_job_that_takes_a_whole_machine_says_so),
    (CountsWhatWaitsAsRunning, suite.test_jobs_that_run_are_counted_or_not_known),
    (JudgesByHalf, suite.test_it_has_the_methods),
    (KnowsNothingWithoutATemplate, suite.test_plain_jobs_could_run_before_there_is_a_worker),
    (KnowsNothingWithoutATemplate, suite.test_what_no_worker_was_seen_to_offer_is_not_known),
    (RefusesWithoutATemplate, suite.test_what_no_worker_was_seen_to_offer_is_not_known),
    (TakesAllJobs, suite.test_what_no_worker_was_seen_to_offer_is_not_known),
    (ForgetsWhatJobsWant, suite.test_what_no_worker_was_seen_to_offer_is_not_known),
    (TakesAllJobs, suite.test_a_job_that_no_worker_could_run_is_told_from_one_that_it_could),
    (TakesPlainJobsAlone, suite.test_a_job_that_no_worker_could_run_is_told_from_one_that_it_could),
    (IsNeverSure, suite.test_a_job_that_no_worker_could_run_is_told_from_one_that_it_could),
    (GivesNoReason, suite.test_a_job_that_no_worker_could_run_is_told_from_one_that_it_could),
    (AnswersEachWantOnce, suite.test_a_job_that_no_worker_could_run_is_told_from_one_that_it_could),
    (AnswersInOrderOfWants, suite.test_a_job_that_no_worker_could_run_is_told_from_one_that_it_could),
    *(
        (mutant, suite.test_a_pool_takes_certain_jobs_and_says_what_its_workers_offer)
        for mutant in (TakesJobsThatHaveNotOptedIn, BelievesNoOffers, ForgetsWhatWasLearnt, ReadsWhateverIsThere)
    ),
    (ShowsNoTemplate, suite.test_a_template_tells_what_is_offered_not_what_is_in_use),
    (NamesTheWorker, suite.test_a_template_tells_what_is_offered_not_what_is_in_use),
    (ShowsWhatIsLeft, suite.test_a_template_tells_what_is_offered_not_what_is_in_use),
    (RemembersTemplatesItself, suite.test_a_template_tells_what_is_offered_not_what_is_in_use),
    (ShowsClosedWorkers, suite.test_a_template_is_of_an_open_worker_that_is_there),
    (ShowsWorkersThatAreNotThere, suite.test_a_template_is_of_an_open_worker_that_is_there),
    (BelievesDamagedTemplates, suite.test_a_damaged_template_refuses_nothing),
    (FailsOnDamagedTemplates, suite.test_a_damaged_template_refuses_nothing),
    (TakesNoAnswerForATemplate, suite.test_an_unreachable_system_is_an_error_never_nothing),
    (KnowsNothingWithoutATemplate, suite.test_the_check_of_a_live_system_finds_nothing_broken),
]
