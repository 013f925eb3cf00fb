"""What looks change that show nothing new but which workers are at work."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from elastiq.memory import Breaker, Intent, Load, Memory, Rises, VmRecord, Watch
from elastiq.model import Demand, InstanceState, Observation, Policy, Pool, Shape, Worker
from elastiq.planning.plan import plan
from elastiq.planning.tracking import track
from elastiq.sim.replay.cluster import Cluster, Machine
from elastiq.sim.replay.glance import Shown, Standing, is_plain, is_quiet, remembered, tracked
from elastiq.sim.replay.traces import Job
from elastiq.sim.replay.work import work_of


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
    standing = Standing(is_calm=True, cores_of_each=2, booting=2, look_at=math.inf, wake_at=math.inf)
    full = Shown(joined=3, free_cores=0, longest_idle_seconds=-1.0)
    assert standing.is_enough([jobs], full, memory, policy)
    assert not standing.is_enough([replace(jobs, jobs=5)], full, memory, policy), "one has none"
    assert standing.watched([replace(jobs, shape=Shape(3))], memory) is None, "others than the last plan saw"
    assert not standing.is_enough([jobs, jobs], full, memory, policy)
    assert not standing.is_enough([replace(jobs, vms_per_job=2)], full, memory, policy)
    assert not standing.is_enough([jobs], replace(full, free_cores=1), memory, policy), "there may be room on a worker"
    assert standing.is_enough((), full, memory, policy), "all have started, and what boots is not ended"
    assert not standing.is_enough([jobs], full, memory, replace(policy, min_vms=6)), "the minimum is lacking"


def test_a_worker_that_may_go_is_left_to_a_plan() -> None:
    policy = Policy(is_adaptive=True, max_vms=40)
    memory = Memory(capacities={policy.pools[0].capacity_key: Shape(4)})
    standing = Standing(is_calm=True, cores_of_each=0, booting=0, look_at=math.inf, wake_at=math.inf)
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


def launched(world: Cluster, memory: Memory, count: int, token: str) -> Memory:
    made = {
        id_: VmRecord(id_, "default", token, launched_at=world.now, asked_at=world.now)
        for id_ in world.launch(count, token)
    }
    return replace(memory, vms={**memory.vms, **made})


def ended(world: Cluster, memory: Memory, id_: str) -> Memory:
    assert world.close(id_)
    world.terminate([id_])
    record = replace(memory.vms[id_], closing_at=world.now, closed=True, doomed=True, terminated_at=world.now)
    return replace(memory, vms={**memory.vms, id_: record})


def test_vms_that_come_join_and_go_are_tracked_as_all_would_be() -> None:
    """Also those whose jobs begin and end meanwhile; what the others are is known."""
    policy = Policy(is_adaptive=True, cluster="c")
    world = Cluster(work_of([Job(7.0 * n, 60.0 + 40 * n, 1 + n % 3) for n in range(12)], 4), 100.0, 1000.0)
    memory, joined, gone = launched(world, Memory(), 3, "a"), set(), 0
    for time in range(1045, 2400, 45):
        world.run_until(float(time))
        quick = tracked(memory, world, policy)
        seen = Observation(float(time), workers=world.workers(), instances=world.instances("c"))
        memory = track(seen, memory, policy).memory
        assert (quick, list(quick.vms)) == (memory, list(memory.vms))
        world.changed.clear()
        joined |= {record.id for record in memory.vms.values() if record.joined_at is not None}
        if time == 1180:
            memory = launched(world, memory, 2, "b")
        if world.idle and time > 1300:
            memory, gone = ended(world, memory, min(one.id for one in world.idle)), gone + 1
    assert (len(joined), gone) == (5, 5)


def test_what_a_plan_has_to_find_out_is_left_to_it() -> None:
    policy = Policy(is_adaptive=True, cluster="c")
    world = Cluster(work_of([Job(0.0, 500.0, 4), Job(0.0, 500.0, 4)], 4), 100.0, 1000.0)
    world.run_until(1000.0)
    demand, capacities = world.demand(), {policy.pools[0].capacity_key: Shape(4)}
    memory = launched(world, Memory(capacities=capacities), 2, "a")
    standing = Standing.of(memory, demand, policy, world.now)
    world.run_until(1045.0)
    known, stands = standing.after_news(demand, world, memory, policy) or pytest.fail("nothing is to be done")
    assert (stands.booting, known.tokens_shown) == (2, True)
    assert stands.look_at > 1045.0 and stands.wake_at > 1045.0
    (group,) = demand
    assert standing.after_news([replace(group, shape=Shape(2))], world, memory, policy) is None, "of another kind"
    assert standing.after_news([replace(group, jobs=3)], world, memory, policy) is None, "one has no room"
    watched = {group.key: Watch(2, 2, 1000.0)}
    world.run_until(1100.0)
    known, stands = standing.after_news((), world, replace(memory, watched=watched), policy) or pytest.fail("likewise")
    assert (stands.booting, known.watched, known.boots) == (0, {}, {policy.pools[0].capacity_key: (100.0, 100.0)})
    doubted = {group.key: replace(watched[group.key], witnesses=("i-9",))}
    assert standing.after_news((), world, replace(memory, watched=doubted), policy) is None, "were they removed?"


def test_what_waits_is_watched_by_plans_unless_it_is_plain_what_became_of_it() -> None:
    jobs = Demand(Shape(2), 4)
    memory = Memory(watched={jobs.key: Watch(4, 4, 0.0)})
    standing = Standing(is_calm=True, cores_of_each=2, booting=2, look_at=math.inf, wake_at=math.inf)
    assert standing.watched([jobs], memory) is memory
    assert standing.watched((), memory) == replace(memory, watched={}), "all have started"
    assert standing.watched((), Memory(watched={jobs.key: Watch(4, 4, 0.0, witnesses=("i-1",))})) is None
    assert standing.watched((), Memory(watched={jobs.key: Watch(4, 4, 0.0, unused_since={"i-1": 1.0})})) is None
    none_waited = replace(standing, cores_of_each=0)
    assert none_waited.watched([jobs], Memory()) == Memory()
    assert replace(standing, cores_of_each=None).watched([jobs], memory) is None, "others waited, too"


def test_it_is_known_when_what_a_single_vm_has_shown_is_believed() -> None:
    """Though nothing is the matter with that one."""
    policy = Policy(is_adaptive=True)
    memory = Memory(vms={RECORD.id: RECORD}, taught_by={policy.pools[0].capacity_key: (RECORD.id,)})
    assert Standing.of(memory, (), policy, 110.0).wake_at == 400.0
