"""What is counted: each VM-second once, each boot once, each job once, as far as it was seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.decisions import Decision, End, Figures, Kind, Outcome, Plan, Reason, Step, Token, Verdict
from elastiq.memory import Memory, VmRecord
from elastiq.model import Demand, InstanceState, Offer, Policy, Pool, Shape
from elastiq.report.exposition import Histogram
from elastiq.report.tally import ARRIVALS_FOLLOWED, OTHER, Arrivals, Rate, Tally

SPOT = Offer("spot", "m5.large", "a", 0.06)
ON_DEMAND = Offer("on-demand", "m5.large", "a", 0.12)
POLICY = Policy(pools=(Pool("p", offers=(SPOT, ON_DEMAND), instance_type="m5.large"), Pool("q")))
BOOTING = VmRecord("i-1", "p", launched_at=100, state=InstanceState.PENDING, type="m5.large", market="spot")
WORKING = replace(BOOTING, state=InstanceState.RUNNING, joined_at=160, worker_name="w")


def plan_of(*records: VmRecord, waiting: dict[int, int] | None = None, unreadable: bool = False) -> Plan:
    """Return a plan with these VMs, and so many jobs of each size."""
    groups = [Demand(Shape(cpus), jobs) for cpus, jobs in (waiting or {}).items()]
    verdicts = tuple(Verdict(Reason(Token.NO_ROOM, "no room"), group, group.jobs) for group in groups)
    holds = (Decision(Kind.HOLD, Reason(Token.UNREADABLE, "unreadable")),) if unreadable else ()
    memory = Memory(vms={record.id: record for record in records})
    return Plan(holds, memory, "", figures=Figures(jobs_waiting=sum((waiting or {}).values())), verdicts=verdicts)


def test_seconds_and_money_of_a_life() -> None:
    tally = Tally()
    tally.look(plan_of(), POLICY, 90)
    tally.look(plan_of(BOOTING), POLICY, 105)
    tally.look(plan_of(WORKING), POLICY, 165)
    busy = plan_of(replace(WORKING, at_work=True))
    tally.look(busy, POLICY, 200)
    for now in range(205, 3805, 5):
        tally.look(busy, POLICY, now)
    tally.look(plan_of(replace(WORKING, closing_at=3800)), POLICY, 3800)
    tally.look(plan_of(replace(WORKING, closing_at=3800, terminated_at=3810)), POLICY, 3810)
    tally.look(plan_of(), POLICY, 5000)
    works = {rate.work: seconds for rate, seconds in tally.vm_seconds.items()}
    assert works == {"booting": 65, "idle": 35, "busy": 3600, "other": 10}
    assert tally.cost == {("p", "spot"): pytest.approx(0.06 * 3710 / 3600)}
    assert not tally.unpriced_seconds


def test_vms_without_a_price_or_a_pool_are_told_apart() -> None:
    tally = Tally()
    vms = (replace(WORKING, pool="q"), replace(WORKING, id="i-2", pool="gone", market=""))
    tally.look(plan_of(*vms), POLICY, 1000)
    tally.look(plan_of(*vms), POLICY, 1010)
    assert tally.unpriced_seconds == {("q", "spot"): 10, (OTHER, "on-demand"): 10}
    assert set(tally.vm_seconds) == {Rate("q", "spot", "idle"), Rate(OTHER, "on-demand", "idle")}


def test_a_clock_that_was_set_back_takes_nothing_away() -> None:
    tally = Tally()
    for now in (1000, 1010, 500, 510):
        tally.look(plan_of(WORKING), POLICY, now)
    assert sum(tally.vm_seconds.values()) == 20


def test_broken_vms_are_not_paid_for() -> None:
    tally = Tally()
    for now in (1000, 1010):
        tally.look(plan_of(replace(WORKING, state=InstanceState.ERROR)), POLICY, now)
    assert not tally.vm_seconds


def test_a_boot_is_seen_once_and_none_of_before() -> None:
    tally = Tally()
    early = replace(WORKING, id="i-0", launched_at=1)
    tally.look(plan_of(early), POLICY, 90)
    tally.look(plan_of(early, BOOTING), POLICY, 105)
    for now in (165, 170):
        tally.look(plan_of(early, WORKING), POLICY, now)
    tally.look(plan_of(early, replace(WORKING, lost_since=175)), POLICY, 175)
    tally.look(plan_of(early, WORKING), POLICY, 180)
    assert tally.boots["p"].total == 60 and sum(tally.boots["p"].counts) == 1


def test_waits_of_jobs_that_come_and_go() -> None:
    tally = Tally()
    tally.look(plan_of(waiting={1: 5}), POLICY, 0)
    tally.look(plan_of(waiting={1: 7, 2: 1}), POLICY, 100)
    tally.look(plan_of(waiting={1: 1, 2: 1}), POLICY, 130)
    assert (tally.waits.total, sum(tally.waits.counts)) == (30, 1), "five were there before the daemon"
    tally.look(plan_of(waiting={1: 0}, unreadable=True), POLICY, 150)
    assert sum(tally.waits.counts) == 1, "who waits is not known"
    tally.look(plan_of(), POLICY, 200)
    assert (tally.waits.total, sum(tally.waits.counts)) == (30 + 100 + 100, 3)


def test_the_same_plan_counts_jobs_once() -> None:
    tally, made = Tally(), plan_of(waiting={1: 3})
    tally.look(plan_of(), POLICY, 0)
    for now in (10, 15, 20):
        tally.look(made, POLICY, now)
    tally.look(plan_of(), POLICY, 40)
    assert (tally.waits.total, sum(tally.waits.counts)) == (90, 3)


def test_arrivals_are_bounded_and_no_job_is_lost() -> None:
    made, waits = Arrivals(), Histogram((1e9,))
    for at in range(ARRIVALS_FOLLOWED * 3):
        made.come(float(at), 2)
    assert len(made.known) == ARRIVALS_FOLLOWED
    made.go(made.jobs, 1000.0, waits)
    assert sum(waits.counts) == ARRIVALS_FOLLOWED * 6 and not made.known and made.jobs == 0


def test_outcomes_by_offer_and_token() -> None:
    tally = Tally()
    launch = Decision(Kind.LAUNCH, Reason(Token.NO_ROOM, ""), "p", 2, walk=(Step(SPOT, 2), Step(ON_DEMAND, 2)))
    tally.count(Outcome(launch, End.DONE, instance_ids=("i-1", "i-2")))
    tally.count(Outcome(replace(launch, walk=()), End.DONE, instance_ids=("i-3",)))
    tally.count(Outcome(launch, End.FAILED, cause=Token.CLOUD_CAPACITY))
    tally.count(Outcome(launch, End.UNCLEAR, cause=Token.CLOUD_UNREACHABLE))
    tally.count(Outcome(launch, End.REFUSED, cause=Token.DRY_RUN))
    gone = Decision(Kind.TERMINATE, Reason(Token.NEVER_JOINED, ""), "p", instance_id="i-1", failed_boot=True)
    tally.count(Outcome(gone, End.DONE))
    tally.count(Outcome(gone, End.PENDING))
    assert tally.launched == {("p", SPOT): 2, ("p", None): 1}
    assert tally.refused == {("p", Token.CLOUD_CAPACITY): 1, ("p", Token.CLOUD_UNREACHABLE): 1}
    assert tally.terminated == {("p", Token.NEVER_JOINED): 1} and tally.failed_boots == {"p": 1}
