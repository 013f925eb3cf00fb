"""What looks change that show nothing new but which workers are at work."""

from __future__ import annotations

import math
from dataclasses import replace

from elastiq.memory import Breaker, Intent, Load, Memory, Rises, VmRecord, Watch
from elastiq.model import Demand, InstanceState, Observation, Policy, Pool, Shape, Worker
from elastiq.planning.plan import plan
from elastiq.sim.replay.cluster import Machine
from elastiq.sim.replay.glance import Shown, Standing, is_plain, is_quiet, remembered


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


def test_where_types_or_caps_have_a_say_looks_are_left_to_plans() -> None:
    adaptive = Policy(is_adaptive=True)
    assert is_plain(adaptive, boot_seconds=180.0)
    for other in (
        replace(adaptive, is_adaptive=False),
        replace(adaptive, n_jobs_per_vm=2),
        replace(adaptive, pools=(Pool("a"), Pool("b"))),
        replace(adaptive, cost=replace(adaptive.cost, max_per_hour=1)),
    ):
        assert not is_plain(other, boot_seconds=180.0)
    assert not is_plain(adaptive, boot_seconds=adaptive.estimated_vm_deploy_time_s)


def test_what_is_under_way_is_left_to_a_plan() -> None:
    policy = Policy(is_adaptive=True)
    booting = VmRecord("i-2", launched_at=0.0, state=InstanceState.RUNNING)
    lost = replace(RECORD, lost_since=5.0)

    def standing(*records: VmRecord, **others: object) -> Standing:
        memory = Memory(vms={record.id: record for record in records}, **others)  # type: ignore[arg-type]
        return Standing.of(memory, (), policy, 10.0)

    assert standing(RECORD, booting).is_calm and standing(RECORD, booting).booting == 1
    assert not standing(lost).is_calm
    assert not standing(RECORD, waiting_since=3.0).is_calm
    assert not standing(RECORD, watched={"k": Watch(1, 1, 0.0, rooms={RECORD.id: 1.0})}).is_calm
    assert not standing(RECORD, intents=(Intent("t", "default", 1, 0.0),)).is_calm


def test_jobs_that_wait_have_room_on_vms_that_boot_or_a_plan_is_made() -> None:
    policy = Policy(is_adaptive=True)
    memory = Memory(capacities={policy.pools[0].capacity_key: Shape(4)})
    jobs = Demand(Shape(2), 4)
    standing = Standing(is_calm=True, cores_of_each=2, booting=2, look_at=math.inf)
    full = Shown(joined=3, free_cores=0, longest_idle_seconds=-1.0)
    assert standing.is_enough([jobs], full, memory, policy)
    assert not standing.is_enough([replace(jobs, jobs=5)], full, memory, policy), "one has none"
    assert not standing.is_enough([replace(jobs, shape=Shape(3))], full, memory, policy), (
        "others than the last plan saw"
    )
    assert not standing.is_enough([jobs, jobs], full, memory, policy)
    assert not standing.is_enough([replace(jobs, vms_per_job=2)], full, memory, policy)
    assert not standing.is_enough([jobs], replace(full, free_cores=1), memory, policy), "there may be room on a worker"
    assert not standing.is_enough((), full, memory, policy), "all have started"
    assert not standing.is_enough([jobs], full, memory, replace(policy, min_vms=6)), "the minimum is lacking"


def test_a_worker_that_may_go_is_left_to_a_plan() -> None:
    policy = Policy(is_adaptive=True, max_vms=40)
    memory = Memory(capacities={policy.pools[0].capacity_key: Shape(4)})
    standing = Standing(is_calm=True, cores_of_each=0, booting=0, look_at=math.inf)
    idle = Shown(joined=1, free_cores=4, longest_idle_seconds=policy.idle_for_time_s + 1)
    assert not standing.is_enough((), idle, memory, policy)
    assert standing.is_enough((), replace(idle, longest_idle_seconds=policy.idle_for_time_s), memory, policy)
    assert standing.is_enough((), idle, memory, replace(policy, min_vms=1))
    load = Load(0.0, 0.0, 0.0, 1.0, 0.0, 0, 1)
    rising = replace(memory, loads={"default": load}, rises={"default": Rises((4.0,) * 12, 0.0, 1e6, 0.0)})
    assert standing.is_enough((), idle, rising, policy), "it is kept for jobs to come"
    assert not standing.is_enough((), replace(idle, free_cores=0), rising, policy), "as much is to be free"


def test_workers_of_vms_that_are_going_are_not_shown() -> None:
    gone = replace(RECORD, id="i-2", terminated_at=90.0)
    memory = Memory(vms={RECORD.id: RECORD, gone.id: gone})
    shown = [Worker(id_, id_, capacity=Shape(4), free=Shape(4), idle_seconds=30.0) for id_ in (RECORD.id, "i-2", "i-3")]
    assert Shown.of(shown, memory, 200.0, 5.0) == Shown(joined=1, free_cores=4, longest_idle_seconds=35.0)
    worked = replace(memory, vms={RECORD.id: replace(RECORD, at_work=False, idle_from=180.0)})
    assert Shown.of(shown, worked, 200.0, 5.0).longest_idle_seconds == 20.0, "since a look has shown it"
