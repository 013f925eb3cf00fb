"""Broken plugins, one for each clause of the contract: the suite must notice each of them, or it proves nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from elastiq.clock import Clock
from elastiq.errors import BatchError
from elastiq.model import Demand, Shape, Worker
from elastiq.plugins import BatchSystem, Closing
from elastiq.plugins.sandbox import SandboxBatch

from . import test_batch_contract as suite
from .harness import Harness
from .mutants_of_judgement import MUTANTS_OF_JUDGEMENT
from .sandbox import SandboxHarness

Clause = Callable[[Harness], None]

PATIENCE_SECONDS = 1.5
"""What never comes true with a broken plugin need not be waited for any longer; the sandbox takes milliseconds."""


class CountsFolder(SandboxBatch):
    """Adds the jobs of some folder to the demand."""

    folder = ""

    def demand(self) -> tuple[Demand, ...]:
        with self._spool.locked():
            folders = list(self._spool.directory.glob(self.folder))
        more = sum(len(self._spool.jobs(str(folder))) for folder in folders)
        jobs = sum(group.jobs for group in super().demand()) + more
        return (Demand(Shape(1), jobs),) if jobs else ()


class CountsHeldJobs(CountsFolder):
    folder = "held"


class CountsRunningJobs(CountsFolder):
    folder = "running/*"


class CountsDependentJobs(CountsFolder):
    folder = "queue"

    def demand(self) -> tuple[Demand, ...]:
        jobs = len(self._spool.jobs("queue"))
        return (Demand(Shape(1), jobs),) if jobs else ()


class DoesNotGroup(SandboxBatch):
    def demand(self) -> tuple[Demand, ...]:
        return tuple(replace(group, jobs=1) for group in super().demand() for _ in range(group.jobs))


class ForgetsCancellations(SandboxBatch):
    most = 0

    def demand(self) -> tuple[Demand, ...]:
        self.most = max([self.most, *(group.jobs for group in super().demand())])
        return (Demand(Shape(1), self.most),) if self.most else ()


class AnswersWithLists(SandboxBatch):
    def workers(self) -> tuple[Worker, ...]:
        return list(super().workers())  # type: ignore[return-value]


class KnowsOneWorkerMore(SandboxBatch):
    def workers(self) -> tuple[Worker, ...]:
        return (*super().workers(), Worker("head", None, "127.0.0.2"))


class ListsSlots(SandboxBatch):
    def workers(self) -> tuple[Worker, ...]:
        return tuple(worker for worker in super().workers() for _ in range(2))


class SaysTwoLines(SandboxBatch):
    def check(self) -> str:
        return super().check() + "\n"


class TakesNoAnswerForNoJobs(SandboxBatch):
    def demand(self) -> tuple[Demand, ...]:
        try:
            return super().demand()
        except BatchError:
            return ()


class TakesNoAnswerForNoWorkers(SandboxBatch):
    def workers(self) -> tuple[Worker, ...]:
        try:
            return super().workers()
        except BatchError:
            return ()


class TakesNoAnswerForClosed(SandboxBatch):
    def close(self, worker: Worker) -> Closing:
        try:
            return super().close(worker)
        except BatchError:
            return Closing.CLOSED


class SwallowsTheFailureToReopen(SandboxBatch):
    def reopen(self, worker: Worker) -> None:
        try:
            super().reopen(worker)
        except BatchError:
            pass


class ChecksNothing(SandboxBatch):
    def check(self) -> str:
        return "all is well"


class RaisesOtherErrors(SandboxBatch):
    def workers(self) -> tuple[Worker, ...]:
        try:
            return super().workers()
        except BatchError as error:
            raise OSError("spool") from error


class ChangedWorkers(SandboxBatch):
    """Shows every worker otherwise than it is."""

    def workers(self) -> tuple[Worker, ...]:
        return tuple(self.change(worker) for worker in super().workers())

    def change(self, worker: Worker) -> Worker:
        raise NotImplementedError


class CallsBusyWorkersIdle(ChangedWorkers):
    def change(self, worker: Worker) -> Worker:
        return replace(worker, jobs=0, idle_seconds=worker.idle_seconds or 0.0)


class TellsIdleTimesOfBusyWorkers(ChangedWorkers):
    def change(self, worker: Worker) -> Worker:
        return replace(worker, idle_seconds=worker.idle_seconds or 0.0)


class TellsNoIdleTime(ChangedWorkers):
    def change(self, worker: Worker) -> Worker:
        return replace(worker, idle_seconds=None)


class MeasuresIdleTimesItself(ChangedWorkers):
    """Jobs that come and go between two looks are not noticed."""

    since: float | None = None

    def change(self, worker: Worker) -> Worker:
        self.since = self.since or self._clock.now()
        return replace(worker, jobs=0, idle_seconds=self._clock.now() - self.since)


class TellsIdleTimesInMilliseconds(ChangedWorkers):
    def change(self, worker: Worker) -> Worker:
        return replace(worker, idle_seconds=None if worker.idle_seconds is None else worker.idle_seconds * 1e6)


class CallsBusyWorkersFree(ChangedWorkers):
    def change(self, worker: Worker) -> Worker:
        return replace(worker, free=worker.capacity)


class CallsClosedWorkersFull(ChangedWorkers):
    def change(self, worker: Worker) -> Worker:
        return replace(worker, free=Shape(0)) if worker.closed else worker


class CallsNoWorkerClosed(ChangedWorkers):
    def change(self, worker: Worker) -> Worker:
        return replace(worker, closed=False, closed_by_other=False)


class CallsBusyWorkersClosed(ChangedWorkers):
    def change(self, worker: Worker) -> Worker:
        return replace(worker, closed=worker.closed or worker.jobs > 0)


class TakesEveryCloseForItsOwn(ChangedWorkers):
    def change(self, worker: Worker) -> Worker:
        return replace(worker, closed_by_other=False)


class TakesNoCloseForItsOwn(ChangedWorkers):
    def change(self, worker: Worker) -> Worker:
        return replace(worker, closed_by_other=worker.closed)


class TellsNoAddress(ChangedWorkers):
    def change(self, worker: Worker) -> Worker:
        return replace(worker, address=None)


def close_anyway(batch: SandboxBatch, worker: Worker) -> None:
    batch._spool.closed_mark(worker.instance_id or worker.name).touch()


class OnlySaysClosed(SandboxBatch):
    def close(self, worker: Worker) -> Closing:
        return Closing.CLOSED


class ClosesBusyWorkers(SandboxBatch):
    def close(self, worker: Worker) -> Closing:
        close_anyway(self, worker)
        return Closing.CLOSED


class ClosesBusyWorkersAndSaysBusy(SandboxBatch):
    def close(self, worker: Worker) -> Closing:
        answer = super().close(worker)
        close_anyway(self, worker)
        return answer


class BelievesThePicture(SandboxBatch):
    def close(self, worker: Worker) -> Closing:
        if worker.jobs:
            return Closing.BUSY
        close_anyway(self, worker)
        return Closing.CLOSED


class BelievesThatItIsClosed(SandboxBatch):
    def close(self, worker: Worker) -> Closing:
        return Closing.CLOSED if worker.closed else super().close(worker)


class ClosesOnlyOnce(SandboxBatch):
    def close(self, worker: Worker) -> Closing:
        if any(one.closed for one in self.workers()):
            raise BatchError("closed already")
        return super().close(worker)


class LooksThenCloses(SandboxBatch):
    """Not atomic: a job may come in between."""

    def close(self, worker: Worker) -> Closing:
        if any(one.jobs for one in self.workers()):
            return Closing.BUSY
        # Long enough for it, also on a busy machine.
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._spool.files("queue") and time.monotonic() < deadline:
            time.sleep(0.02)
        close_anyway(self, worker)
        return Closing.CLOSED


class NeedsTheNameToClose(SandboxBatch):
    def close(self, worker: Worker) -> Closing:
        return super().close(worker) if worker.name else Closing.CLOSED


class ClosesOnlyWhatIsListed(SandboxBatch):
    def close(self, worker: Worker) -> Closing:
        if not any(one.instance_id == worker.instance_id for one in self.workers()):
            raise BatchError("no such worker")
        return super().close(worker)


class ClosesByAddress(SandboxBatch):
    def close(self, worker: Worker) -> Closing:
        return super().close(replace(worker, name="", instance_id=None))


class ClosesWhatOthersClosed(SandboxBatch):
    def close(self, worker: Worker) -> Closing:
        if any(one.closed_by_other for one in self.workers()):
            self._spool.closed_mark(worker.instance_id or "").write_text("")
        return super().close(worker)


class OpensWhatOthersClosed(SandboxBatch):
    def reopen(self, worker: Worker) -> None:
        self._spool.closed_mark(worker.instance_id or "").unlink(missing_ok=True)


class NeverOpens(SandboxBatch):
    def reopen(self, worker: Worker) -> None:
        pass


class OpensOnlyOnce(SandboxBatch):
    def reopen(self, worker: Worker) -> None:
        if not any(one.closed for one in self.workers()):
            raise BatchError("open already")
        super().reopen(worker)


class OpensOnlyWhatItClosedItself(SandboxBatch):
    has_closed = False

    def close(self, worker: Worker) -> Closing:
        self.has_closed = self.has_closed or not any(one.closed for one in self.workers())
        return super().close(worker)

    def reopen(self, worker: Worker) -> None:
        if self.has_closed:
            super().reopen(worker)


class ForgetsByName(SandboxBatch):
    def forget(self, worker: Worker) -> None:
        super().forget(replace(worker, instance_id=None))


class ForgetsOnlyWhatItKnows(SandboxBatch):
    def forget(self, worker: Worker) -> None:
        if not any(one.name == worker.name for one in self.workers()):
            raise BatchError("no such worker")
        super().forget(worker)


MUTANTS: list[tuple[type[SandboxBatch], Clause]] = [
    (CountsHeldJobs, suite.test_held_jobs_are_no_demand),
    (CountsRunningJobs, suite.test_a_busy_worker_is_not_idle_and_its_job_no_demand),
    (CountsDependentJobs, suite.test_dependent_jobs_are_no_demand),
    (DoesNotGroup, suite.test_waiting_jobs_are_counted_until_they_are_cancelled),
    (ForgetsCancellations, suite.test_waiting_jobs_are_counted_until_they_are_cancelled),
    (AnswersWithLists, suite.test_an_empty_system_says_that_there_is_nothing),
    (KnowsOneWorkerMore, suite.test_an_empty_system_says_that_there_is_nothing),
    (SaysTwoLines, suite.test_an_empty_system_says_that_there_is_nothing),
    (ListsSlots, suite.test_a_worker_that_joined_is_idle_and_free),
    (TellsNoIdleTime, suite.test_a_worker_that_joined_is_idle_and_free),
    (TellsNoAddress, suite.test_a_worker_that_joined_is_idle_and_free),
    (TakesNoAnswerForNoJobs, suite.test_an_unreachable_system_is_an_error_never_nothing),
    (TakesNoAnswerForNoWorkers, suite.test_an_unreachable_system_is_an_error_never_nothing),
    (TakesNoAnswerForClosed, suite.test_an_unreachable_system_is_an_error_never_nothing),
    (SwallowsTheFailureToReopen, suite.test_an_unreachable_system_is_an_error_never_nothing),
    (ChecksNothing, suite.test_an_unreachable_system_is_an_error_never_nothing),
    (RaisesOtherErrors, suite.test_an_unreachable_system_is_an_error_never_nothing),
    (CallsBusyWorkersIdle, suite.test_a_busy_worker_is_not_idle_and_its_job_no_demand),
    (TellsIdleTimesOfBusyWorkers, suite.test_a_busy_worker_is_not_idle_and_its_job_no_demand),
    (CallsBusyWorkersFree, suite.test_a_busy_worker_is_not_idle_and_its_job_no_demand),
    (CallsBusyWorkersClosed, suite.test_a_busy_worker_is_not_idle_and_its_job_no_demand),
    (MeasuresIdleTimesItself, suite.test_a_short_job_begins_the_idle_time_anew),
    (TellsIdleTimesInMilliseconds, suite.test_a_short_job_begins_the_idle_time_anew),
    (OnlySaysClosed, suite.test_a_closed_worker_starts_nothing_until_it_is_reopened),
    (CallsNoWorkerClosed, suite.test_a_closed_worker_starts_nothing_until_it_is_reopened),
    (ClosesOnlyOnce, suite.test_a_closed_worker_starts_nothing_until_it_is_reopened),
    (NeverOpens, suite.test_a_closed_worker_starts_nothing_until_it_is_reopened),
    (OpensOnlyOnce, suite.test_a_closed_worker_starts_nothing_until_it_is_reopened),
    (CallsClosedWorkersFull, suite.test_a_closed_worker_is_free_after_a_reopen),
    (OpensOnlyWhatItClosedItself, suite.test_what_one_process_closed_the_next_one_opens),
    (ClosesBusyWorkers, suite.test_a_busy_worker_refuses_to_close_and_goes_on),
    (ClosesBusyWorkersAndSaysBusy, suite.test_a_busy_worker_refuses_to_close_and_goes_on),
    (BelievesThePicture, suite.test_a_busy_worker_refuses_to_close_and_goes_on),
    (BelievesThatItIsClosed, suite.test_of_a_worker_only_name_and_vm_are_believed),
    (BelievesThePicture, suite.test_of_a_worker_only_name_and_vm_are_believed),
    (LooksThenCloses, suite.test_close_and_a_new_job_never_both_win),
    (ClosesBusyWorkers, suite.test_close_and_a_new_job_never_both_win),
    (NeedsTheNameToClose, suite.test_a_worker_listed_after_all_is_found_by_its_vm_alone),
    (ClosesOnlyWhatIsListed, suite.test_a_vm_that_never_joined_closes),
    (ClosesByAddress, suite.test_another_vm_of_the_same_name_and_address_is_left_alone),
    (ForgetsByName, suite.test_another_vm_of_the_same_name_and_address_is_left_alone),
    (ForgetsOnlyWhatItKnows, suite.test_a_worker_without_power_goes_and_is_forgotten),
    (OnlySaysClosed, suite.test_the_check_of_a_live_system_finds_nothing_broken),
    (NeverOpens, suite.test_the_check_of_a_live_system_finds_nothing_broken),
    (TakesNoCloseForItsOwn, suite.test_the_check_of_a_live_system_finds_nothing_broken),
    (TellsIdleTimesInMilliseconds, suite.test_the_check_of_a_live_system_finds_nothing_broken),
    (TakesEveryCloseForItsOwn, suite.test_a_worker_closed_by_hand_is_left_to_whoever_did_it),
    (TakesNoCloseForItsOwn, suite.test_a_worker_closed_by_hand_is_left_to_whoever_did_it),
    (ClosesWhatOthersClosed, suite.test_a_worker_closed_by_hand_is_left_to_whoever_did_it),
    (OpensWhatOthersClosed, suite.test_a_worker_closed_by_hand_is_left_to_whoever_did_it),
    *MUTANTS_OF_JUDGEMENT,
]

NEED_NO_WORKER = {
    suite.test_an_empty_system_says_that_there_is_nothing,
    suite.test_waiting_jobs_are_counted_until_they_are_cancelled,
    suite.test_held_jobs_are_no_demand,
    suite.test_it_has_the_methods,
    suite.test_dependent_jobs_are_no_demand,
    suite.test_jobs_that_ask_for_something_else_are_another_kind,
    suite.test_a_job_that_takes_a_whole_machine_says_so,
    suite.test_plain_jobs_could_run_before_there_is_a_worker,
    suite.test_what_no_worker_was_seen_to_offer_is_not_known,
    suite.test_a_job_that_waits_is_told_to_be_in_its_group,
    suite.test_a_job_that_is_no_demand_is_called_what_it_is,
    suite.test_a_vm_that_never_joined_closes,
}


class MutantHarness(SandboxHarness):
    """The sandbox, asked through a plugin that may be broken."""

    def __init__(self, plugin: type[SandboxBatch]) -> None:
        super().__init__()
        self._plugin = plugin

    def reconnect(self) -> BatchSystem:
        return self._plugin(self._spool, Clock())


def keep_clause(plugin: type[SandboxBatch], clause: Clause) -> None:
    """Run one test of the suite on `plugin`; what it raises is why the clause is broken."""
    system = MutantHarness(plugin)
    try:
        system.start()
        if clause not in NEED_NO_WORKER:
            suite.join(system)
        if plugin is not SandboxBatch:
            system.patience_seconds = PATIENCE_SECONDS
            system.short_job_seconds = 0.3  # so that a job that should not have started is seen to run
        clause(system)
    finally:
        system.stop()


def names(value: object) -> str:
    return str(getattr(value, "__name__", value)).removeprefix("test_")


@pytest.mark.parametrize(("mutant", "clause"), MUTANTS, ids=names)
def test_the_suite_notices(mutant: type[SandboxBatch], clause: Clause) -> None:
    with pytest.raises((AssertionError, BatchError, OSError, ValueError, pytest.fail.Exception)):
        keep_clause(mutant, clause)


@pytest.mark.parametrize("clause", sorted({clause for _, clause in MUTANTS}, key=names), ids=names)
def test_the_same_run_is_good_with_the_plugin_as_it_is(clause: Clause) -> None:
    keep_clause(SandboxBatch, clause)


def test_every_clause_has_a_mutant() -> None:
    clauses = {value for name, value in vars(suite).items() if name.startswith("test_")}
    tried = {clause for _, clause in MUTANTS}
    # The sandbox has neither, so that nothing broken can be made of it.
    not_tried = {
        suite.test_no_more_tasks_of_an_array_are_demand_than_may_run,
        suite.test_a_job_on_several_machines_says_how_many,
        suite.test_who_used_a_worker_is_told_while_a_job_runs_and_after_it,
    }
    assert clauses - tried == not_tried
