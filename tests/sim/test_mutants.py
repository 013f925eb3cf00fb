"""Deliberate breaks of the daemon, applied in memory: the simulator must notice each of them, or it proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from elastiq import actuator, chores, core, observer, state
from elastiq.decisions import End, Kind, Outcome
from elastiq.errors import BatchError, CloudError
from elastiq.memory import Breaker, Memory, VmRecord
from elastiq.planning import adaptive, down, fleet, futility, intents, learning, money, patience, tracking
from elastiq.planning import plan as planner
from elastiq.planning.adaptive import Spare
from elastiq.plugins import Closing
from elastiq.report import reporter
from elastiq.sim.engine import DAY
from elastiq.sim.proof.life import Options, live
from elastiq.state import restart

LIVES = 200
"""A break must be noticed within so many lives of LIFE_DAYS."""
LIFE_DAYS = 12.0

Patch = pytest.MonkeyPatch


pytestmark = pytest.mark.usefixtures("quiet")


def closes_nothing(patch: Patch) -> None:
    patch.setattr(actuator.Actuator, "close", lambda self, decision: None)


def takes_busy_for_closed(patch: Patch) -> None:
    def close(self: Any, decision: Any) -> None:
        try:
            self._ports.batch.close(actuator._worker(self.memory.vms[decision.instance_id]))
        except BatchError as error:
            return Outcome(decision, End.FAILED, str(error))  # type: ignore[return-value]
        return None

    patch.setattr(actuator.Actuator, "close", close)


def takes_no_answer_for_closed(patch: Patch) -> None:
    def close(self: Any, decision: Any) -> Any:
        try:
            answer = self._ports.batch.close(actuator._worker(self.memory.vms[decision.instance_id]))
        except BatchError:
            return None
        return Outcome(decision, End.REFUSED, "busy") if answer is Closing.BUSY else None

    patch.setattr(actuator.Actuator, "close", close)


def reopens_what_may_be_going(patch: Patch) -> None:
    patch.setattr(VmRecord, "may_reopen", True)


def keeps_no_intents(patch: Patch) -> None:
    """Neither on disk nor in memory: what a launch without an answer made is unknown unless it has a tag."""
    save = state.State.save

    def without_intents(self: Any, memory: Memory) -> None:
        save(self, replace(memory, intents=()))

    patch.setattr(state.State, "save", without_intents)
    learn = learning._learn_launch
    patch.setattr(
        learning, "_learn_launch", lambda memory, outcome, now: replace(learn(memory, outcome, now), intents=())
    )


def finds_vms_by_record_alone(patch: Patch) -> None:
    patch.setattr(tracking, "_is_own", lambda instance, cluster, tokens, once_own: False)


def tags_nothing(patch: Patch) -> None:
    patch.setattr(chores.Chores, "tag_untagged", lambda self, memory, reading: None)


def looks_for_vms_by_tag_alone(patch: Patch) -> None:
    check = observer.Observer.check_instances
    patch.setattr(observer.Observer, "check_instances", lambda self, memory: check(self, replace(memory, vms={})))


def counts_no_possible_vms(patch: Patch) -> None:
    patch.setattr(fleet.Fleet, "possible", lambda self, pool: 0)


def forgets_vms_that_one_listing_leaves_out(patch: Patch) -> None:
    # Of the daemon alone: the simulator judges it by the patience that it should have.
    patch.setattr(tracking, "patience", SimpleNamespace(**{**vars(patience), "MISSING_GRACE_SECONDS": -1e9}))
    track = tracking._track_instances

    def twice(observation: Any, instances: Any, memory: Any, policy: Any) -> Any:
        memory, departed = track(observation, instances, memory, policy)
        again, more = track(observation, instances, memory, policy)
        return again, departed + more

    patch.setattr(tracking, "_track_instances", twice)


def takes_a_vm_for_gone_whose_worker_is_in_sight(patch: Patch) -> None:
    patch.setattr(tracking, "_in_sight", lambda record, shown, listed_at: False)


def believes_one_answer_without_workers(patch: Patch) -> None:
    """Where listings leave their VMs out, too."""
    patch.setattr(tracking, "_in_sight", lambda record, shown, listed_at: shown is None or record.id in shown)


def forgets_what_a_pass_did_that_a_defect_ended(patch: Patch) -> None:
    act = actuator.Actuator.act

    def forgetful(self: Any, plan: Any, memory: Memory) -> None:
        try:
            act(self, plan, memory)
        except LookupError:
            self.memory = memory
            raise

    patch.setattr(actuator.Actuator, "act", forgetful)


def ignores_the_maximum(patch: Patch) -> None:
    patch.setattr(fleet.Fleet, "quota_left", lambda self, pool: 1)


def takes_every_vm_for_its_own(patch: Patch) -> None:
    patch.setattr(tracking, "_is_own", lambda instance, cluster, tokens, once_own: True)


def takes_any_clusters_tag_for_its_own(patch: Patch) -> None:
    patch.setattr(tracking, "_is_own", lambda instance, cluster, tokens, once_own: bool(instance.cluster))


def ends_what_somebody_else_closed(patch: Patch) -> None:
    patch.setattr(down, "RULES", tuple(rule for rule in down.RULES if rule.__name__ != "_closed_by_other"))


def overlooks_vms_that_look_like_a_lost_launch(patch: Patch) -> None:
    patch.setattr(intents, "_looks_like", lambda instance, intent, policy: False)


def takes_no_answer_for_none(patch: Patch) -> None:
    def attempt(self: Any, what: str, call: Callable[[], Any]) -> Any:
        try:
            return call(), ""
        except (BatchError, CloudError):
            return (), ""

    patch.setattr(reporter.Reporter, "attempt", attempt)


def goes_on_with_the_last_answer(patch: Patch) -> None:
    def attempt(self: Any, what: str, call: Callable[[], Any]) -> Any:
        last = self.__dict__.setdefault("last_answers", {})
        try:
            last[what] = call()
        except (BatchError, CloudError):
            pass
        return last.get(what), ""

    patch.setattr(reporter.Reporter, "attempt", attempt)


def gives_up_lost_workers_at_once(patch: Patch) -> None:
    def impatient(rule: Callable[..., Any]) -> Callable[..., Any]:
        def lost(at: Any, record: Any, worker: Any) -> Any:
            return rule(replace(at, policy=replace(at.policy, lost_worker_time_s=0.0)), record, worker)

        return lost if rule.__name__ == "_worker_lost" else rule

    patch.setattr(down, "RULES", tuple(map(impatient, down.RULES)))


def never_trips(patch: Patch) -> None:
    for module in (tracking, learning):
        patch.setattr(module, "boot_failed", lambda breaker, now, reason: breaker or Breaker())


def tries_with_all_vms_at_once(patch: Patch) -> None:
    patch.setattr(patience, "BOOT_FAILURES_TO_TRIP", 10**9)
    patch.setattr(patience, "BOOT_PAUSES_SECONDS", (0.0,))


def counts_a_vm_that_stays_as_one_failed_boot_after_the_other(patch: Patch) -> None:
    """And waits for it to join before another one is tried."""
    learn = learning.learn

    def forgetful(memory: Memory, outcome: Any, now: float) -> Memory:
        memory = learn(memory, outcome, now)
        vms = {id_: replace(record, failed_boot=False) for id_, record in memory.vms.items()}
        return replace(memory, vms=vms)

    patch.setattr(actuator, "learn", forgetful)


def opens_a_dead_worker_in_every_pass(patch: Patch) -> None:
    learn = learning.learn

    def stubborn(memory: Memory, outcome: Outcome, now: float) -> Memory:
        memory = learn(memory, outcome, now)
        vms = {id_: replace(one, reopen_failed=False, reopen_retry_at=0.0) for id_, one in memory.vms.items()}
        return replace(memory, vms=vms)

    patch.setattr(actuator, "learn", stubborn)


def reads_no_queue_while_the_cloud_is_away(patch: Patch) -> None:
    check = core.Core._check_queue

    def only_with_cloud(self: Any) -> None:
        if self._observer.reading.instances is not None:
            check(self)

    patch.setattr(core.Core, "_check_queue", only_with_cloud)


def lists_no_vms_while_the_batch_system_is_away(patch: Patch) -> None:
    check = core.Core._check_vms

    def only_with_batch(self: Any) -> None:
        self._observer.check_workers()
        if self._observer.reading.workers is None:
            self._vms_due_at = self._clock.now() + self._settings.elastiq.check_queue_every_s
        else:
            check(self)

    patch.setattr(core.Core, "_check_vms", only_with_batch)


def goes_on_when_told_to_stop(patch: Patch) -> None:
    patch.setattr(core.Core, "stop", lambda self: None)


def records_nothing(patch: Patch) -> None:
    patch.setattr(reporter.Reporter, "_outcome", lambda self, outcome: None)


def gives_no_reasons(patch: Patch) -> None:
    plan = planner.plan

    def silent(*arguments: Any) -> Any:
        made = plan(*arguments)
        decisions = tuple(
            decision if decision.kind is Kind.HOLD else replace(decision, reason="") for decision in made.decisions
        )
        return replace(made, decisions=decisions)

    patch.setattr(core, "plan", silent)


def lets_patience_run_while_nobody_looks(patch: Patch) -> None:
    patch.setattr(restart.Absence, "counted_from", lambda self, since: min(since, self.now))


def calls_nothing_in_vain(patch: Patch) -> None:
    patch.setattr(futility, "_is_in_vain", lambda seen, group, fleet, looked_at: False)


def ends_idle_workers_that_jobs_of_several_vms_wait_for(patch: Patch) -> None:
    patch.setattr(down, "held_seconds", lambda *_: -1.0)


def keeps_idle_vms_for_jobs_that_never_come(patch: Patch) -> None:
    patch.setattr(down, "spare_of", lambda pool, memory, policy: Spare(10**6))


def launches_for_jobs_that_never_come(patch: Patch) -> None:
    for module in (adaptive, down):
        patch.setattr(module, "spare_of", lambda pool, memory, policy: Spare(8))


def tries_again_without_a_pause(patch: Patch) -> None:
    patch.setattr(planner, "tried", lambda memory, group, now: memory)


def asks_for_what_no_cap_holds(patch: Patch) -> None:
    patch.setattr(money.Purse, "room", lambda self, pool: 10**9)


def counts_no_possible_vms_in_money(patch: Patch) -> None:
    patch.setattr(money.Purse, "_possible", lambda self, intent: 0)


def forgets_what_vms_have_cost_that_are_gone(patch: Patch) -> None:
    patch.setattr(planner, "paid", lambda before, after, policy, now: after)


def keeps_idle_vms_when_the_money_is_spent(patch: Patch) -> None:
    patch.setattr(down, "_beyond_caps", lambda down, idle, fleet: idle)


UNCLEAR_ENDS = ("terminate: answer lost, done later", "terminate: answer lost, done", "job wants in after the close")
LOST_LAUNCHES = ("launch: answer lost, VMs made", "launch: answer lost, some VMs made")
LISTINGS = ("listing: VMs missing", "listing: empty", "VM crashes")
UNDELETABLE = ("terminate: accepted without effect", "boot: ends in error")
DEAD_WORKERS = ("close: worker hangs after it", "job wants in after the close")
OTHER_ACCOUNT = ("listing: another account's",)
TWO_LIES = ("listing: another account's", "workers: empty answer")
CRASHES = ("restart", "VM crashes")
DEFECTS = ("plugin has a defect", "VM in error while jobs run")
HARMLESS = ("console fails",)
WIDE = ("console fails", "restart")
"""So that jobs which never start, and the like, are all that is the matter."""
BROKEN_IMAGE = ("image broken, no boot ends well",)

MUTANTS: tuple[tuple[int, Callable[[Patch], None], str, tuple[str, ...]], ...] = (
    (1, closes_nothing, "no job killed", ()),
    (1, takes_busy_for_closed, "no job killed", ()),
    (1, takes_no_answer_for_closed, "no job killed", ()),
    (1, reopens_what_may_be_going, "no job killed", UNCLEAR_ENDS),
    (2, keeps_no_intents, "never above max|no VM lost|only its own", ()),
    (2, finds_vms_by_record_alone, "never above max|no VM lost", ()),
    (2, tags_nothing, "no VM lost", ("tagging fails",)),
    (2, overlooks_vms_that_look_like_a_lost_launch, "never above max|no VM lost", LOST_LAUNCHES),
    (2, looks_for_vms_by_tag_alone, "no VM lost", ("tag taken off",)),
    (3, counts_no_possible_vms, "never above max", ()),
    (3, forgets_vms_that_one_listing_leaves_out, "never above max|no job killed", LISTINGS),
    (2, forgets_what_a_pass_did_that_a_defect_ended, "never above max|no VM lost", DEFECTS),
    (3, takes_a_vm_for_gone_whose_worker_is_in_sight, "never above max|no job killed", OTHER_ACCOUNT),
    (1, believes_one_answer_without_workers, "no job killed", TWO_LIES),
    (3, ignores_the_maximum, "never above max", ()),
    (4, takes_every_vm_for_its_own, "only its own", ()),
    (4, takes_any_clusters_tag_for_its_own, "only its own", ()),
    (4, ends_what_somebody_else_closed, "drains left alone", ("administrator drains workers",)),
    (5, takes_no_answer_for_none, "no harm in doubt|never above max|no VM lost|no job killed", ()),
    (5, goes_on_with_the_last_answer, "no harm in doubt", ()),
    (5, gives_up_lost_workers_at_once, "no harm in doubt", ()),
    (5, lets_patience_run_while_nobody_looks, "no harm in doubt", CRASHES),
    (6, never_trips, "broken pool bounded", BROKEN_IMAGE),
    (6, tries_with_all_vms_at_once, "broken pool bounded", BROKEN_IMAGE),
    (6, counts_a_vm_that_stays_as_one_failed_boot_after_the_other, "no job stuck|minimum reached", UNDELETABLE),
    (6, opens_a_dead_worker_in_every_pass, "no VM idle for good|no job stuck", DEAD_WORKERS),
    (7, reads_no_queue_while_the_cloud_is_away, "nothing blocks", ()),
    (7, lists_no_vms_while_the_batch_system_is_away, "nothing blocks", ("batch system outage", "batch system hangs")),
    (7, goes_on_when_told_to_stop, "nothing blocks", ("stopped by a signal",)),
    (8, records_nothing, "reason recorded", ()),
    (8, gives_no_reasons, "reason recorded", ()),
    (9, calls_nothing_in_vain, "no VM in vain", HARMLESS),
    (9, tries_again_without_a_pause, "no VM in vain", HARMLESS),
    (9, ends_idle_workers_that_jobs_of_several_vms_wait_for, "no job stuck", WIDE),
    (9, keeps_idle_vms_for_jobs_that_never_come, "no VM idle for good", WIDE),
    (9, launches_for_jobs_that_never_come, "no VM idle for good", WIDE),
    (10, asks_for_what_no_cap_holds, "never above max_per_hour|nothing at a cap", ()),
    (10, counts_no_possible_vms_in_money, "never above max_per_hour", LOST_LAUNCHES),
    (10, forgets_what_vms_have_cost_that_are_gone, "nothing at a cap", HARMLESS),
    (10, keeps_idle_vms_when_the_money_is_spent, "no idle VM at a cap", HARMLESS),
)
"""Number of the promise, the break, and the invariants that may notice it, and faults (empty: all)."""


def test_every_promise_is_broken_in_two_ways_at_least() -> None:
    promises = [promise for promise, _, _, _ in MUTANTS]
    assert all(promises.count(promise) >= 2 for promise in range(1, 11))


def first_violation(number: int) -> tuple[int, str]:
    """Return in which life that of MUTANTS is noticed, and how; LIVES and nothing if it is not."""
    promise, mutant, _, kinds = MUTANTS[number]
    wide = 1.0 if kinds is WIDE else 0.0
    in_vain = 1.0 if kinds is HARMLESS else 0.0
    options = Options(
        life_seconds=LIFE_DAYS * DAY, kinds=kinds, in_vain=in_vain, wide=wide, adaptive=wide, money=float(promise == 10)
    )
    with Patch.context() as patch:
        mutant(patch)
        for seed in range(LIVES):
            violation = live(seed, options).violation
            if violation:
                return seed, violation
    return LIVES, ""


@pytest.mark.parametrize("number", range(len(MUTANTS)), ids=[row[1].__name__ for row in MUTANTS])
def test_the_simulator_notices(number: int) -> None:
    promise, _, noticed_by, _ = MUTANTS[number]
    seed, violation = first_violation(number)
    assert violation, f"promise {promise} can be broken without a word in {LIVES} lives"
    assert violation.split(":")[0] in noticed_by.split("|"), f"seed {seed}: {violation}"
