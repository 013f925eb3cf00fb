"""What a plan says of each group and VM, since when, and until when; tests/docs/test_why.py makes every situation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.decisions import Token
from elastiq.memory import Away, Breaker, Intent, VmRecord
from elastiq.model import ON_DEMAND, SPOT, Demand, Judgement, Offer, Pool, Shape, Worker
from elastiq.planning.plan import plan
from elastiq.planning.why import GROUPS_TOLD, Account, account, vm_told
from elastiq.report import accounts
from tests.unit.planning.table import BY_SHAPE, HOLDS_4, NOW, PLAIN, jobs, joined, remember, see, vm, worker


def told(
    *records: VmRecord, workers: tuple[Worker, ...] = (), demand: tuple[Demand, ...] = (), **memory: object
) -> Account:
    made = plan(see(list(records), demand=demand, workers=workers), remember(list(records), **memory), PLAIN)
    return account(made, PLAIN, NOW)


@pytest.mark.parametrize(
    ("record", "workers", "token", "since", "until"),
    [
        (joined(1), (worker(1, idle_seconds=600.0),), Token.IDLE_YET_SHORT, NOW - 600, NOW + 3000),
        (joined(1, work_from=NOW - 70, at_work=True), (worker(1, running=1),), Token.AT_WORK, NOW - 70, None),
        (vm(1), (), Token.STILL_BOOTING, NOW - 100, NOW + 500),
        (vm(1, counted_from=NOW - 10), (), Token.STILL_BOOTING, NOW - 100, NOW + 590),
        (joined(1, lost_since=NOW - 90), (), Token.WORKER_OUT_OF_SIGHT, NOW - 90, NOW + 3510),
        (joined(1), (worker(1, idle_seconds=60.0, closed=True),), Token.CLOSED_BY_SOMEBODY, NOW - 60, NOW + 7140),
        (
            joined(1, doomed=True, closing_at=NOW - 99, terminate_retry_at=NOW + 9),
            (),
            Token.RETRY_LATER,
            NOW - 99,
            NOW + 9,
        ),
        (joined(1, terminated_at=NOW - 9, doomed=True), (), Token.GOING, NOW - 9, None),
        (joined(1), (worker(1, idle_seconds=4000.0),), Token.IDLE, NOW - 4000, None),
    ],
)
def test_since_when_and_until_when_a_vm_stays(
    record: VmRecord, workers: tuple[Worker, ...], token: Token, since: float, until: float | None
) -> None:
    (one,) = told(record, workers=workers).vms
    assert (one.told.token, one.told.since, one.told.until) == (token.value, since, until)


def test_a_vm_that_has_come_since_the_plan_boots() -> None:
    assert vm_told(vm(1), None, PLAIN, NOW).told.token == Token.STILL_BOOTING.value


def test_the_verdicts_on_a_group_stand_together_and_add_up() -> None:
    found = told(vm(1), demand=(jobs(8),), waiting_since=NOW - 10)
    (group,) = found.groups
    assert {one.token: one.jobs for one in group.told} == {"room-booting": 4, "waiting-time": 4}
    (waiting,) = [one for one in group.told if one.token == "waiting-time"]
    assert waiting.until == NOW + 30
    assert found.waiting_since == NOW - 10


def test_a_pause_says_until_when() -> None:
    breaker = Breaker(refusals=1, paused_until=NOW + 60, reason="no such image")
    found = told(demand=(jobs(8),), waiting_since=NOW - 100, breakers={"default": breaker})
    assert [one.until for one in found.groups[0].told] == [NOW + 60]
    (pool,) = found.pools
    assert (pool.paused_until, pool.pause_reason) == (NOW + 60, "no such image")
    assert [one.token for one in found.holds] == ["launches-paused"]


def test_offers_that_are_put_away_are_told_by_when_they_may_be_asked_again() -> None:
    spot, large = Offer(SPOT, "m5.large", "a"), Offer(ON_DEMAND, "m5.large", "a")
    cheap = Offer(SPOT, "m5a.large", "a")
    policy = replace(PLAIN, pools=(Pool(offers=(spot, large, cheap, spot)), Pool("one", offers=(spot,))))
    away = {
        "spot": Away(NOW + 90, reason="cloud-capacity", detail="no spot"),
        "spot m5a.large a": Away(NOW + 60, at_least=4),
        "on-demand m5.large a": Away(NOW - 1),
    }
    memory = remember([], offers_away=away)
    found = account(plan(see([]), memory, policy), policy, NOW)
    first, one = found.pools
    assert [(told.offer, told.until, told.text) for told in first.away] == [
        ("spot m5.large in a", NOW + 90, "no spot"),
        ("spot m5a.large in a", NOW + 90, "no spot"),
    ]
    assert (first.offers_away, first.offers) == (2, 3)
    assert one.away == (), "launches of a pool with one offer pause instead"
    assert accounts.read(accounts.written(found, str)) == found
    memory = remember([], offers_away={"spot m5a.large a": away["spot m5a.large a"]})
    (told,) = account(plan(see([]), memory, policy), policy, NOW).pools[0].away
    assert (told.offer, told.until, told.at_least) == ("spot m5a.large in a", NOW + 60, 4)


def test_what_counts_against_the_quota_of_a_pool() -> None:
    intents = (Intent("t", "default", 2, NOW - 5),)
    (pool,) = told(joined(1), vm(2), workers=(worker(1),), intents=intents).pools
    assert (pool.vms, pool.vms_booting, pool.booting, pool.vms_asked_for) == (4, 1, ("i-00000002",), 2)


def test_every_pool_has_an_answer_of_its_own() -> None:
    policy = replace(BY_SHAPE, pools=(Pool("plain"), Pool("gpu")))
    group = Demand(Shape(8), 1, wants="x", judgements={"gpu": Judgement()})
    memory = remember([], capacities={"plain": HOLDS_4["default"], "gpu": Shape(16)}, waiting_since=NOW - 100)
    found = account(plan(see([], demand=(group,)), memory, policy), policy, NOW)
    answers = {one.pool: (one.answer, one.reason) for one in found.groups[0].pools}
    assert answers == {"plain": ("no", "a VM holds 4 CPUs, 4000 MB memory"), "gpu": ("yes", "")}


def test_of_very_many_groups_those_with_most_jobs_are_told() -> None:
    demand = tuple(Demand(Shape(1, 1000 + number), 1 + number) for number in range(GROUPS_TOLD + 5))
    found = told(demand=demand)
    assert (len(found.groups), found.groups_left_out) == (GROUPS_TOLD, 5)
    assert min(group.jobs for group in found.groups) == 6
