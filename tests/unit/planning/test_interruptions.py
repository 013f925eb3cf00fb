"""VMs that the cloud takes back: no room, no failed boot, a new VM at once, and jobs that wait again in time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.decisions import End, Kind, Outcome, Token
from elastiq.memory import Breaker, Stage, VmRecord
from elastiq.model import SPOT, Instance, InstanceState, Observation, Policy, Pool, Shape
from elastiq.planning import patience
from elastiq.planning.learning import learn
from elastiq.planning.plan import plan
from tests.unit.planning import table
from tests.unit.planning.table import (
    BY_SHAPE,
    HOLDS_4,
    NOW,
    PLAIN,
    ended,
    jobs,
    launched,
    of,
    remember,
    see,
    vm,
    worker,
)

EAGER = replace(BY_SHAPE, waiting_jobs_time_s=0.0)
DRAIN = replace(EAGER, requeues_interrupted=False)
LONG_WAITING = NOW - 1000
DUE = patience.REQUEUE_AFTER_SECONDS
TAKEN = {"closed": True, "interrupted": True}


def joined(number: int, **values: object) -> VmRecord:
    """Return a VM of the spot market: no other is taken back."""
    return table.joined(number, **{"market": SPOT, **values})


def tokens(made: object, id_: str) -> list[Token]:
    return [one.reason.token for one in made.verdicts if one.instance_id == id_]  # type: ignore[attr-defined]


def after(records: list, seconds: float, workers: object, policy: Policy = EAGER) -> object:
    """Return the plan so long after the notice was first seen."""
    told = [replace(record, interrupted_at=NOW - seconds) for record in records]
    return plan(see(told, workers=workers), remember(told, capacities=HOLDS_4), policy)


def test_what_the_worker_says_is_remembered_and_forgotten_if_it_is_taken_back() -> None:
    record = joined(1)
    told = plan(see([record], workers=(worker(1, running=1, **TAKEN),)), remember([record]), PLAIN).memory
    (known,) = told.vms.values()
    assert (known.interrupted_at, known.stage, known.works, known.may_reopen) == (NOW, Stage.INTERRUPTED, False, False)
    seen = replace(see([known], workers=(worker(1, running=1, **TAKEN),)), now=NOW + 9)
    assert plan(seen, told, PLAIN).memory.vms[known.id].interrupted_at == NOW, "it is counted from the first time"
    (again,) = plan(see([known], workers=(worker(1, running=1),)), told, PLAIN).memory.vms.values()
    assert (again.interrupted_at, again.stage) == (None, Stage.WORKING)


def test_of_a_vm_on_demand_nobody_is_believed_that_the_cloud_takes_it_back() -> None:
    """Whoever is root on a worker may say so, and somebody else's jobs would be taken off."""
    record = joined(1, market="")
    made = plan(see([record], workers=(worker(1, running=1, **TAKEN),)), remember([record]), EAGER)
    (known,) = made.memory.vms.values()
    assert known.interrupted_at is None
    later = replace(see([known], workers=(worker(1, running=1, **TAKEN),)), now=NOW + DUE + 1)
    assert not of(plan(later, made.memory, EAGER), Kind.REQUEUE)


def test_it_is_no_room_and_does_not_count_toward_the_minimum() -> None:
    waiting = jobs(2)
    for facts, expected in (({}, 0), (TAKEN, 1)):
        seen = see([joined(1)], demand=(waiting,), workers=(worker(1, running=1, **facts),))
        remembered = remember([joined(1)], capacities=HOLDS_4, waiting_since=LONG_WAITING)
        assert launched(plan(seen, remembered, EAGER)) == expected
    two = [joined(1), joined(2)]
    minimum = replace(PLAIN, min_vms=1)
    workers = (worker(1, idle_seconds=9999), worker(2, running=1, **TAKEN))
    assert not ended(plan(see(two, workers=workers), remember(two), minimum))


def test_another_one_is_asked_for_while_its_jobs_run_once_and_of_its_own_pool() -> None:
    pools = (Pool("a", 0, 5), Pool("b", 0, 5))
    policy = replace(EAGER, pools=pools)
    record = joined(1, pool="b")
    seen = see([record], workers=(worker(1, running=3, **TAKEN),))
    known = {"a": Shape(8), "b": Shape(4)}
    made = plan(seen, remember([record], capacities=known, waiting_since=LONG_WAITING), policy)
    (launch,) = of(made, Kind.LAUNCH)
    assert (launch.pool, launch.count) == ("b", 1)
    assert not [one for one in made.verdicts if one.group is not None], "nobody waits yet"
    assert made.figures.jobs_waiting == 0
    both = [*made.memory.vms.values(), vm(2, pool="b")]
    again = plan(see(both, workers=seen.workers), replace(made.memory, vms={one.id: one for one in both}), policy)
    assert not launched(again)


def test_no_other_one_is_asked_for_where_its_jobs_have_room() -> None:
    two = [joined(1), joined(2)]
    workers = (worker(1, running=3, **TAKEN), worker(2))
    assert not launched(plan(see(two, workers=workers), remember(two, capacities=HOLDS_4), EAGER))


def test_its_jobs_raise_no_load() -> None:
    adaptive = replace(EAGER, is_adaptive=True)
    record = joined(1)
    calm = plan(see([record], workers=(worker(1, running=3),)), remember([record], capacities=HOLDS_4), adaptive)
    told = plan(see([record], workers=(worker(1, running=3, **TAKEN),)), calm.memory, adaptive)
    assert told.memory.loads["default"].risen == calm.memory.loads["default"].risen


@pytest.mark.parametrize(
    ("seconds", "policy", "requeued"),
    [
        pytest.param(DUE - 1, EAGER, None, id="not yet"),
        pytest.param(DUE, EAGER, True, id="shortly before the end"),
        pytest.param(DUE, DRAIN, None, id="they run on if the file says so"),
        pytest.param(patience.INTERRUPTION_SECONDS + 1, EAGER, None, id="it has not come after all"),
    ],
)
def test_what_still_runs_is_queued_again_shortly_before_the_end(
    seconds: float, policy: Policy, requeued: bool | None
) -> None:
    made = after([joined(1)], seconds, (worker(1, running=1, **TAKEN),), policy)
    assert bool(of(made, Kind.REQUEUE)) is bool(requeued)  # type: ignore[arg-type]
    assert not ended(made)  # type: ignore[arg-type]


def test_only_of_a_worker_that_says_so_now_and_has_jobs() -> None:
    for workers in ((), None, (worker(1, running=1),), (worker(1, **TAKEN),)):
        assert not of(after([joined(1)], DUE, workers), Kind.REQUEUE)  # type: ignore[arg-type]


def test_it_is_asked_again_after_a_while_until_no_job_is_left() -> None:
    record = joined(1, interrupted_at=NOW - DUE)
    seen = see([record], workers=(worker(1, running=1, **TAKEN),))
    (decision,) = of(plan(seen, remember([record]), EAGER), Kind.REQUEUE)
    for end in (End.DONE, End.FAILED):
        memory = learn(remember([record]), Outcome(decision, end), NOW)
        assert not of(plan(seen, memory, EAGER), Kind.REQUEUE)
        assert not launched(plan(seen, memory, EAGER)), "from now on they are demand by themselves"
        assert plan(seen, memory, EAGER).wake_at <= NOW + patience.REQUEUE_AGAIN_SECONDS
        later = replace(seen, now=NOW + patience.REQUEUE_AGAIN_SECONDS)
        assert of(plan(later, memory, EAGER), Kind.REQUEUE)


def test_the_moment_is_known() -> None:
    record = joined(1, interrupted_at=NOW - 20)
    made = plan(see([record], workers=(worker(1, running=1, **TAKEN),)), remember([record]), PLAIN)
    assert made.wake_at == NOW - 20 + DUE


def test_it_goes_as_soon_as_no_job_is_there_whatever_the_minimum() -> None:
    made = after([joined(1)], 5, (worker(1, **TAKEN),), replace(EAGER, min_vms=1))
    (decision,) = of(made, Kind.TERMINATE)  # type: ignore[arg-type]
    assert (decision.reason.token, decision.failed_boot) == (Token.INTERRUPTED_IDLE, False)


def test_it_is_said_of_the_vm_and_once_of_all() -> None:
    made = after([joined(1)], 5, (worker(1, running=1, **TAKEN),))
    assert tokens(made, "i-00000001") == [Token.INTERRUPTED]
    (hold,) = [one for one in of(made, Kind.HOLD) if one.reason.token is Token.INTERRUPTED]  # type: ignore[arg-type]
    assert str(hold.reason) == (
        "the cloud has announced that it takes VM i-00000001 back: it is no room, "
        "and what runs there counts as one job that waits"
    )
    assert tokens(after([joined(1)], 5, ()), "i-00000001") == [Token.INTERRUPTED]


def taken_back(record: object, state: InstanceState) -> Observation:
    gone = Instance(record.id, state, detail="Server.SpotInstanceTermination", market=SPOT, interrupted=True)  # type: ignore[attr-defined]
    return see([], instances=(gone,))


@pytest.mark.parametrize("record", [vm(1), joined(1)], ids=["booting", "joined"])
def test_one_that_the_cloud_has_ended_is_no_failed_boot_and_told_as_what_it_is(record: object) -> None:
    memory = remember([record], breakers={"default": Breaker(failed_boots=2)})  # type: ignore[list-item]
    made = plan(taken_back(record, InstanceState.TERMINATED), memory, PLAIN)
    assert made.memory.breakers["default"].failed_boots == 2
    (hold,) = of(made, Kind.HOLD)
    assert hold.reason.token is Token.VM_INTERRUPTED
    assert str(hold.reason).startswith("VM i-00000001 is gone because the cloud has taken it back: the cloud says that")
    assert made.departed


def test_one_that_vanishes_after_its_notice_is_no_failed_boot_either() -> None:
    long_ago = NOW - patience.MISSING_GRACE_SECONDS - 1
    record = vm(1, interrupted_at=long_ago, missing_since=long_ago)
    made = plan(see([]), remember([record]), PLAIN)
    assert not made.memory.breakers
    assert [one.reason.token for one in of(made, Kind.HOLD)] == [Token.VM_INTERRUPTED]


def test_while_the_cloud_ends_it_it_is_known_as_interrupted() -> None:
    record = joined(1)
    made = plan(taken_back(record, InstanceState.STOPPING), remember([record]), PLAIN)
    assert made.memory.vms[record.id].stage is Stage.INTERRUPTED


def test_a_worker_closed_by_its_notice_is_not_taken_for_one_that_was_closed_at_birth() -> None:
    record = joined(1, joined_at=NOW - 5000, interrupted_at=NOW - 1000)
    seen = see([record], workers=(worker(1, idle_seconds=5000, **TAKEN),))
    made = plan(seen, remember([record]), PLAIN)
    assert not made.memory.breakers.get("default", Breaker()).failed_boots
