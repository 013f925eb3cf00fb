"""What looks change that show nothing new but which workers are at work."""

from __future__ import annotations

from dataclasses import replace

from elastiq.memory import Breaker, Intent, Memory, VmRecord, Watch
from elastiq.model import InstanceState, Observation, Policy, Worker
from elastiq.planning.plan import plan
from elastiq.sim.replay.cluster import Machine
from elastiq.sim.replay.glance import is_quiet, remembered


def machine(jobs: int) -> Machine:
    made = Machine(1, 0.0, "t", "", 4)
    made.jobs = jobs
    return made


RECORD = VmRecord(machine(0).id, launched_at=0.0, joined_at=100.0, state=InstanceState.RUNNING, worker_name="w")


def as_a_plan_has_it(memory: Memory, jobs: int, now: float) -> Memory:
    """Return what the real plan() remembers after the same look."""
    worker = Worker("w", RECORD.id, jobs=jobs, idle_seconds=None if jobs else now - 100.0)
    return plan(Observation(now, demand=(), workers=(worker,), instances=None), memory, Policy()).memory


def test_it_is_what_a_plan_would_remember() -> None:
    known = plan(
        Observation(110.0, demand=(), workers=(Worker("w", RECORD.id, idle_seconds=10.0),)),
        Memory(vms={RECORD.id: RECORD}),
        Policy(),
    ).memory
    for number, jobs in enumerate((1, 0, 0, 2, 0)):
        now = 150.0 + 45 * number
        seen = remembered(known, [machine(jobs)], now)
        assert seen.vms == as_a_plan_has_it(known, jobs, now).vms
        known = seen


def test_workers_that_nobody_knows_change_nothing() -> None:
    assert remembered(Memory(), [machine(1)], 5.0) == Memory()


def test_it_is_not_quiet_while_anything_depends_on_who_is_at_work() -> None:
    calm = Memory(vms={RECORD.id: RECORD}, breakers={"default": Breaker()})
    assert is_quiet(calm)
    assert not is_quiet(replace(calm, breakers={"default": Breaker(failed_boots=1)}))
    assert not is_quiet(replace(calm, watched={"k": Watch(1, 1, 0.0)}))
    assert not is_quiet(replace(calm, intents=(Intent("t", "default", 1, 0.0),)))
