"""The contract of elastiq.plugins.BatchSystem, and of Matchmaker, tried on live batch systems."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from typing import cast

import pytest

from elastiq.clock import Clock
from elastiq.errors import BatchError
from elastiq.model import Eligibility, Shape, Standing, Worker
from elastiq.plugins import MATCHMAKING, METHODS, TAKES_ONLY, Closing, Narrower
from elastiq.plugins.check import GARBAGE, Examiner, Finding, Grade
from elastiq.plugins.faults import judgement_faults

from .harness import Harness
from .systems import PARAMETERS

NAME, INSTANCE_ID = "worker-1", "i-0123456789abcdef0"
OTHER_INSTANCE_ID = "i-0fedcba9876543210"


@pytest.fixture(params=PARAMETERS)
def system(request: pytest.FixtureRequest) -> Iterator[Harness]:
    harness: Harness = request.param()
    try:
        harness.start()
        yield harness
    finally:
        harness.stop()


@pytest.fixture
def joined(system: Harness) -> Harness:
    """A system with one idle worker."""
    join(system)
    return system


def join(system: Harness) -> None:
    system.join(NAME, INSTANCE_ID, system.address)
    system.worker(INSTANCE_ID)


def remembered(system: Harness) -> Worker:
    """Return the worker as elastiq gives it to the plugin: its last name, and its VM."""
    return Worker(system.worker(INSTANCE_ID).name, INSTANCE_ID, system.address)


def is_idle(system: Harness) -> bool:
    return system.worker(INSTANCE_ID).jobs == 0


def runs(system: Harness, job: str) -> bool:
    """Return whether the plugin shows the worker to be busy with `job`."""
    return not is_idle(system) and system.starts(job) == 1


def test_it_has_the_methods(system: Harness) -> None:
    assert all(callable(getattr(system.batch, method)) for method in METHODS)
    assert len({hasattr(system.batch, method) for method in MATCHMAKING}) == 1, "it has both or neither"


def test_an_empty_system_says_that_there_is_nothing(system: Harness) -> None:
    assert system.demand() == ()
    assert system.workers() == ()
    line = system.batch.check()
    assert line.isprintable()
    assert line


def test_waiting_jobs_are_counted_until_they_are_cancelled(system: Harness) -> None:
    jobs = [system.submit(1) for _ in range(3)]
    system.wait_until(lambda: system.waiting() == 3, "three jobs to wait")
    (demand,) = system.demand()
    assert demand.shape.cpus == 1
    assert demand.vms_per_job == 1
    system.cancel(jobs[0])
    system.wait_until(lambda: system.waiting() == 2, "the cancelled job to go")
    for job in jobs[1:]:
        system.cancel(job)
    system.wait_until(lambda: system.demand() == (), "all jobs to go")


def test_held_jobs_are_no_demand(system: Harness) -> None:
    system.submit(1, held=True)
    system.submit(1)
    system.wait_until(lambda: system.waiting() == 1, "the one job that is not held")
    system.pause(system.settle_seconds)
    assert system.waiting() == 1


def test_dependent_jobs_are_no_demand(system: Harness) -> None:
    first = system.submit(1)
    system.submit(1, after=first)
    system.wait_until(lambda: system.waiting() == 1, "the one job that depends on none")
    system.pause(system.settle_seconds)
    assert system.waiting() == 1


def test_a_job_that_waits_is_told_to_be_in_its_group(system: Harness) -> None:
    job = system.submit(1)
    group = system.group()
    told = system.explained(job)
    assert told.group is not None
    assert (told.standing, told.group.key, told.group.jobs) == (Standing.WAITS, group.key, 1)


def test_a_job_that_is_no_demand_is_called_what_it_is(system: Harness) -> None:
    held = system.submit(1, held=True)
    system.wait_until(lambda: system.explained(held).standing is Standing.HELD, "the job to be held")
    after = system.submit(1, after=held)
    system.wait_until(lambda: system.explained(after).standing is Standing.DEPENDS, "the job to depend on it")
    assert system.demand() == ()
    assert system.explained("987654").standing is Standing.UNKNOWN
    assert system.explained("no job; at all").standing is Standing.UNKNOWN


def test_a_job_that_runs_is_told_to(joined: Harness) -> None:
    job = joined.submit_long()
    joined.wait_until(lambda: joined.explained(job).standing is Standing.RUNS, "the job to run")
    joined.let_end(job)


def test_no_more_tasks_of_an_array_are_demand_than_may_run(system: Harness) -> None:
    system.submit_array(10, 3, 1)
    system.wait_until(lambda: system.waiting() == 3, "three tasks of the array")
    system.pause(system.settle_seconds)
    assert system.waiting() == 3


def test_a_job_on_several_machines_says_how_many(system: Harness) -> None:
    system.submit_wide(3, 1)
    system.wait_until(lambda: system.demand() != (), "the job to wait")
    (demand,) = system.demand()
    assert (demand.jobs, demand.vms_per_job, demand.shape.cpus) == (1, 3, 1)


def test_a_job_that_takes_a_whole_machine_says_so(system: Harness) -> None:
    system.submit_whole(1)
    demand = system.group()
    assert (demand.jobs, demand.vms_per_job, demand.takes_whole_vms) == (1, 1, True)


def test_jobs_that_ask_for_something_else_are_another_kind(system: Harness) -> None:
    system.matchmaker()
    for offered in (True, False, False):
        system.submit_special(1, offered=offered)
    system.submit(1)
    system.wait_until(lambda: system.waiting() == 4, "four jobs to wait")
    groups = {group.wants: group.jobs for group in system.demand()}
    assert sorted(groups.values()) == [1, 1, 2]


def test_jobs_that_run_are_counted_or_not_known(joined: Harness) -> None:
    for _ in range(2):
        joined.submit_long()
    joined.wait_until(
        lambda: [(group.jobs, group.running) for group in joined.demand()] in ([(1, 1)], [(1, None)]),
        "one job to run, and the other to wait beside it",
    )


def test_plain_jobs_could_run_before_there_is_a_worker(system: Harness) -> None:
    system.matchmaker()
    system.submit(1)
    assert system.judged(["", system.group().wants], "") == [Eligibility.YES] * 2


def test_what_no_worker_was_seen_to_offer_is_not_known(system: Harness) -> None:
    system.matchmaker()
    job = system.submit_special(1, offered=False)
    assert system.judged([system.group().wants, ""], "") == [Eligibility.UNKNOWN, Eligibility.YES]
    system.cancel(job)
    system.wait_until(lambda: system.demand() == (), "the job to go")
    system.submit_special(1, offered=True)
    assert system.judged([system.group().wants], "")[0] is not Eligibility.NO


def test_a_pool_takes_certain_jobs_and_says_what_its_workers_offer(joined: Harness) -> None:
    """By `narrowed`, which is called before the jobs are asked for."""
    jobs, offers = joined.special_options()
    narrower = cast("Narrower", joined.batch)
    template = joined.template(remembered(joined))
    first = narrower.narrowed("", jobs, offers)
    joined.submit_long()
    joined.wait_until(lambda: joined.demand() == (), "the worker to be busy")
    joined.submit_special(1, offered=True)
    joined.submit(1)
    joined.wait_until(lambda: joined.waiting() == 2, "two jobs to wait")
    wants = [group.wants for group in joined.demand()]
    assert len(wants) == 2
    for text in (first, narrower.narrowed("", jobs, offers), narrower.narrowed(template, jobs, "")):
        judged = joined.matchmaker().judge(wants, text)
        assert judgement_faults(judged, 2) == []
        assert sorted(one.answer.value for one in judged) == ["no", "yes"]
        assert [one.reason.startswith(TAKES_ONLY) for one in judged if one.reason] == [True]
    assert first == narrower.narrowed("", jobs, offers)
    assert Eligibility.NO not in joined.judged(wants, narrower.narrowed("", "", offers))
    assert joined.judged(wants, narrower.narrowed(template, "", "")) == joined.judged(wants, template)
    for unreadable in (("", "( (", ""), ("", "", ", ,")):
        with pytest.raises(BatchError):
            narrower.narrowed(*unreadable)


def test_a_job_that_no_worker_could_run_is_told_from_one_that_it_could(joined: Harness) -> None:
    worker = remembered(joined)
    template = joined.template(worker)
    impossible = joined.submit_special(0, offered=False)
    wants = joined.group().wants
    joined.pause(joined.settle_seconds)
    assert joined.starts(impossible) == 0
    assert joined.waiting() == 1, "it waits, and is told with what it wants"
    good = Eligibility.YES
    assert joined.judged([wants, "", wants], template) == [Eligibility.NO, good, Eligibility.NO]
    joined.cancel(impossible)
    joined.wait_until(lambda: joined.demand() == (), "the job to go")
    assert joined.close(worker) is Closing.CLOSED
    job = joined.submit_special(0, offered=True)
    assert joined.judged([wants, joined.group().wants, ""], template) == [Eligibility.NO, good, good]
    joined.batch.reopen(worker)
    joined.wait_until(lambda: joined.is_done(job), "the job to run where what it wants is offered")


def test_a_template_tells_what_is_offered_not_what_is_in_use(joined: Harness) -> None:
    worker = remembered(joined)
    template = joined.template(worker)
    assert INSTANCE_ID not in template
    assert joined.address not in template
    first = joined.submit_long()
    joined.wait_until(lambda: runs(joined, first), "the job to start")
    joined.submit_long()
    wants = joined.group().wants
    assert joined.judged(["", wants], joined.template(worker)) == [Eligibility.YES] * 2
    joined.batch = joined.reconnect()
    assert joined.judged(["", wants], template) == [Eligibility.YES] * 2, "it is kept, and used long after"


def test_a_template_is_of_an_open_worker_that_is_there(joined: Harness) -> None:
    worker = remembered(joined)
    assert joined.template(worker)
    assert joined.template(Worker("", INSTANCE_ID, joined.address))
    with pytest.raises(BatchError):
        joined.template(Worker("", OTHER_INSTANCE_ID, joined.other_address))
    assert joined.close(worker) is Closing.CLOSED
    with pytest.raises(BatchError):
        joined.template(worker)


def test_a_damaged_template_refuses_nothing(joined: Harness) -> None:
    template = joined.template(remembered(joined))
    for damaged in ("\0", GARBAGE, "\ud800" * 100, "[" * 100_000, template[::-1] + GARBAGE):
        assert Eligibility.NO not in joined.judged(["", "x" * 100], damaged)
    for length in range(0, len(template), max(1, len(template) // 20)):
        joined.judged(["", "x" * 100], template[:length])
    assert joined.judged([], template) == []


def test_a_worker_that_joined_is_idle_and_free(joined: Harness) -> None:
    worker = joined.worker(INSTANCE_ID)
    assert worker.name
    assert worker.address == joined.address
    assert worker.capacity.cpus == 1
    assert worker.free == worker.capacity
    assert worker.jobs == 0
    assert worker.idle_seconds is not None
    assert not worker.closed
    assert not worker.closed_by_other
    assert len(joined.workers()) == 1


def test_a_busy_worker_is_not_idle_and_its_job_no_demand(joined: Harness) -> None:
    joined.submit(600)
    joined.wait_until(lambda: not is_idle(joined), "the job to start")
    worker = joined.worker(INSTANCE_ID)
    assert worker.idle_seconds is None
    assert worker.free.cpus < worker.capacity.cpus
    assert not worker.closed
    joined.wait_until(lambda: joined.waiting() == 0, "the running job to leave the queue")


def test_a_short_job_begins_the_idle_time_anew(joined: Harness) -> None:
    def idle_seconds() -> float:
        return joined.worker(INSTANCE_ID).idle_seconds or 0.0

    joined.wait_until(lambda: idle_seconds() > joined.settle_seconds, "the idle time to grow")
    before = joined.now()
    job = joined.submit(0)
    joined.wait_until(lambda: joined.is_done(job) and is_idle(joined), "the job to end")
    joined.wait_until(
        lambda: is_idle(joined) and idle_seconds() <= joined.now() - before + joined.rounding_seconds,
        "the idle time to begin anew",
    )


def test_a_closed_worker_starts_nothing_until_it_is_reopened(joined: Harness) -> None:
    worker = remembered(joined)
    assert joined.close(worker) is Closing.CLOSED
    job = joined.submit(0)
    joined.pause(joined.settle_seconds)
    assert joined.starts(job) == 0
    assert joined.waiting() == 1
    assert joined.close(worker) is Closing.CLOSED
    joined.batch.reopen(worker)
    joined.wait_until(lambda: joined.is_done(job), "the job to run after the reopen")
    joined.wait_until(lambda: is_idle(joined), "the job to leave")
    assert not joined.worker(INSTANCE_ID).closed
    joined.batch.reopen(worker)
    assert not joined.worker(INSTANCE_ID).closed


def test_a_closed_worker_is_free_after_a_reopen(joined: Harness) -> None:
    free = joined.worker(INSTANCE_ID).free
    assert joined.close(remembered(joined)) is Closing.CLOSED
    closed = joined.listed(INSTANCE_ID)
    assert closed is None if joined.leaves_when_closed else closed and closed.free == free


def test_what_one_process_closed_the_next_one_opens(joined: Harness) -> None:
    worker = remembered(joined)
    assert joined.close(worker) is Closing.CLOSED
    joined.batch = joined.reconnect()
    assert joined.close(worker) is Closing.CLOSED
    joined.batch.reopen(worker)
    joined.wait_until(lambda: not joined.worker(INSTANCE_ID).closed, "the worker to be open")


def test_a_busy_worker_refuses_to_close_and_goes_on(joined: Harness) -> None:
    picture = remembered(joined)
    first = joined.submit_long()
    joined.wait_until(lambda: runs(joined, first), "the job to start")
    # What elastiq knows of a worker is some time old: only the batch system itself can say what runs there.
    assert joined.close(picture) is Closing.BUSY
    second = joined.submit(0)
    joined.let_end(first)
    joined.wait_until(lambda: joined.is_done(first) and joined.is_done(second), "both jobs to end")
    assert (joined.starts(first), joined.starts(second)) == (1, 1)


def test_of_a_worker_only_name_and_vm_are_believed(joined: Harness) -> None:
    worker = joined.worker(INSTANCE_ID)
    wrong = Worker(worker.name, INSTANCE_ID, joined.address, Shape(64), Shape(0), 5, None, True, True)
    assert joined.close(wrong) is Closing.CLOSED


def test_a_vm_that_never_joined_closes(system: Harness) -> None:
    assert system.batch.close(Worker("", OTHER_INSTANCE_ID, system.other_address)) is Closing.CLOSED


def test_a_worker_listed_after_all_is_found_by_its_vm_alone(joined: Harness) -> None:
    assert joined.close(Worker("", INSTANCE_ID, joined.address)) is Closing.CLOSED


def test_another_vm_of_the_same_name_and_address_is_left_alone(joined: Harness) -> None:
    worker = joined.worker(INSTANCE_ID)
    if not worker.instance_id:
        pytest.skip("this system knows machines by name and address alone")
    earlier = Worker(worker.name, OTHER_INSTANCE_ID, worker.address)
    with suppress(BatchError):
        joined.batch.close(earlier)
    joined.batch.forget(earlier)
    joined.pause(joined.settle_seconds)
    assert not joined.worker(INSTANCE_ID).closed
    job = joined.submit(0)
    joined.wait_until(lambda: joined.is_done(job), "the job to run on the worker that was not meant")


def test_a_worker_closed_by_hand_is_left_to_whoever_did_it(joined: Harness) -> None:
    worker = remembered(joined)
    # That elastiq has closed it before, and opened it again, does not make the next closing elastiq's.
    assert joined.close(worker) is Closing.CLOSED
    joined.batch.reopen(worker)
    joined.wait_until(lambda: not joined.worker(INSTANCE_ID).closed, "the worker to be open again")
    joined.close_by_hand(worker)
    joined.wait_until(lambda: joined.worker(INSTANCE_ID).closed, "the worker to be closed")
    assert joined.worker(INSTANCE_ID).closed_by_other
    for call in (joined.batch.close, joined.batch.reopen):
        with pytest.raises(BatchError):
            call(worker)
        joined.pause(joined.settle_seconds)
        assert joined.worker(INSTANCE_ID).closed_by_other
    joined.open_by_hand(worker)
    joined.wait_until(lambda: not joined.worker(INSTANCE_ID).closed, "the worker to be open")
    assert not joined.worker(INSTANCE_ID).closed_by_other
    assert joined.close(worker) is Closing.CLOSED


def test_a_worker_without_power_goes_and_is_forgotten(joined: Harness) -> None:
    worker = remembered(joined)
    assert joined.close(worker) is Closing.CLOSED
    joined.leave(INSTANCE_ID)
    joined.batch.forget(worker)
    joined.wait_until(lambda: joined.workers() == (), "the dead worker to go")
    joined.batch.forget(worker)
    with suppress(BatchError):
        joined.batch.reopen(worker)
    assert joined.workers() == ()


def test_an_unreachable_system_is_an_error_never_nothing(joined: Harness) -> None:
    worker = remembered(joined)
    joined.hide()
    for call in (
        joined.batch.demand,
        joined.batch.workers,
        *([lambda: joined.template(worker)] if hasattr(joined.batch, "template") else []),
        lambda: joined.batch.close(worker),
        lambda: joined.batch.reopen(worker),
        *([joined.batch.check] if joined.check_asks else []),
    ):
        with pytest.raises(BatchError) as caught:
            call()
        assert str(caught.value)


def test_the_check_of_a_live_system_finds_nothing_broken(joined: Harness) -> None:
    class SystemsClock(Clock):
        now, sleep = staticmethod(joined.now), staticmethod(joined.pause)  # type: ignore[assignment]

    findings: list[Finding] = []
    joined.submit(1, held=True)
    examiner = Examiner(SystemsClock(), joined.patience_seconds, findings.append)
    examiner.examine(joined.batch, joined.settle_seconds, close_idle=True)
    assert [finding for finding in findings if finding.grade is Grade.FAILED] == []
    assert {"close", "reopen"} <= {finding.what for finding in findings if finding.grade is Grade.GOOD}
    assert not joined.worker(INSTANCE_ID).closed


def test_close_and_a_new_job_never_both_win(joined: Harness) -> None:
    chance = random.Random(2)
    for _ in range(joined.race_rounds):
        worker = remembered(joined)
        job = joined.submit(joined.short_job_seconds)
        joined.pause(chance.uniform(0, joined.race_window_seconds))
        answer = joined.batch.close(worker)
        starts = joined.starts(job)
        if answer is Closing.CLOSED and not joined.is_done(job):
            joined.pause(joined.settle_seconds / 4)
            assert (starts, joined.starts(job)) == (0, 0), "a job started on a closed worker"
        if answer is Closing.CLOSED:
            joined.batch.reopen(worker)
        joined.wait_until(lambda job=job: joined.is_done(job), "the job to end")  # type: ignore[misc]
        assert joined.starts(job) == 1


def test_who_used_a_worker_is_told_while_a_job_runs_and_after_it(joined: Harness) -> None:
    (worker,) = joined.workers()
    before = len(joined.usage())
    job = joined.submit_long()
    joined.wait_until(lambda: any(one.end_at is None for one in joined.usage()), "the job to be told")
    (stay,) = [one for one in joined.usage() if one.end_at is None]
    assert stay.worker == worker.name and stay.user and stay.cpus == 1
    joined.let_end(job)
    joined.wait_until(lambda: len(joined.usage()) > before and all(one.end_at for one in joined.usage()), "its end")
    # Not by its beginning: Grid Engine's queue tells when it was sent off, and its accounting when it began.
    ended = max(joined.usage(), key=lambda one: one.begin_at)
    assert (ended.user, ended.worker) == (stay.user, stay.worker) and ended.end_at is not None
    assert ended.end_at >= stay.begin_at
