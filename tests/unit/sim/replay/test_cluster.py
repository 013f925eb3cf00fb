"""The batch system and the cloud of recorded jobs."""

from __future__ import annotations

from elastiq.sim.replay.cluster import Cluster
from elastiq.sim.replay.traces import Job
from elastiq.sim.replay.work import work_of

BOOT = 100.0


def cluster(*jobs: Job, cores: int = 4) -> Cluster:
    return Cluster(work_of(jobs, cores), BOOT, 1000.0)


def test_a_job_starts_as_a_worker_joins_and_leaves_it_idle() -> None:
    world = cluster(Job(5.0, 50.0, 2))
    world.run_until(1000.0)
    (group,) = world.demand()
    assert (group.jobs, group.shape.cpus, group.oldest_wait_seconds, group.running) == (1, 2, 0.0, 0)
    (vm,) = world.launch(1, "token")
    world.run_until(1099.0)
    assert world.workers() == ()
    world.run_until(1110.0)
    (worker,) = world.workers()
    assert (worker.instance_id, worker.jobs, worker.free.cpus, worker.idle_seconds) == (vm, 1, 2, None)
    assert world.demand() == ()
    assert not world.close(vm)
    world.run_until(1160.0)
    (worker,) = world.workers()
    assert (worker.jobs, worker.free.cpus, worker.idle_seconds) == (0, 4, 10.0)
    assert (world.waits, world.is_done) == ([100.0], True)
    assert world.close(vm)
    world.terminate([vm])
    assert (world.workers(), world.instances("c"), world.lives) == ((), (), [(1000.0, 1160.0)])


def test_jobs_fill_one_worker_before_the_next_and_the_oldest_first() -> None:
    world = cluster(*[Job(at, 500.0, 1) for at in (0.0, 101.0, 102.0, 103.0, 104.0, 105.0)])
    world.launch(2, "token")
    world.run_until(1102.0)
    assert [worker.jobs for worker in world.workers()] == [3, 0]
    world.run_until(1105.0)
    assert [worker.jobs for worker in world.workers()] == [4, 2]


def test_a_job_that_does_not_fit_lets_others_pass() -> None:
    world = cluster(Job(0.0, 500.0, 3), Job(1.0, 500.0, 4), Job(2.0, 500.0, 1))
    world.launch(1, "token")
    world.run_until(1100.0)
    (group,) = world.demand()
    assert (group.shape.cpus, group.jobs, group.running) == (4, 1, 0)
    assert sorted(world.waits) == [98.0, 100.0]


def test_a_job_of_two_vms_needs_both() -> None:
    world = cluster(Job(0.0, 500.0, 8))
    world.launch(1, "token")
    world.run_until(1200.0)
    assert [group.vms_per_job for group in world.demand()] == [2]
    world.launch(1, "other")
    world.run_until(1300.0)
    assert (world.demand(), [worker.jobs for worker in world.workers()]) == ((), [1, 1])


def test_a_closed_worker_takes_no_job_until_it_is_reopened() -> None:
    world = cluster(Job(0.0, 10.0, 1), Job(300.0, 10.0, 1))
    (vm,) = world.launch(1, "token")
    world.run_until(1200.0)
    assert world.close(vm)
    assert world.close(vm)
    world.run_until(1300.0)
    assert [(worker.closed, worker.jobs) for worker in world.workers()] == [(True, 0)]
    world.reopen(vm)
    assert [(worker.closed, worker.jobs) for worker in world.workers()] == [(False, 1)]


def test_curves_show_what_is_wanted_and_what_there_is() -> None:
    world = cluster(Job(0.0, 50.0, 8))
    world.run_until(1000.0)
    world.launch(2, "token")
    world.run_until(1200.0)
    assert (world.demand_curve.times, world.demand_curve.values) == ([1000.0, 1150.0], [2, 0])
    assert (world.supply_curve.times, world.supply_curve.values) == ([1000.0, 1100.0], [0, 2])


def test_a_vm_that_goes_before_it_has_joined_never_joins() -> None:
    world = cluster(Job(0.0, 50.0, 1))
    (vm,) = world.launch(1, "token")
    world.run_until(1001.0)
    assert world.close(vm)
    world.terminate([vm])
    world.run_until(1200.0)
    assert world.workers() == ()


def test_cores_are_counted_as_workers_show_them() -> None:
    world = cluster(*(Job(float(number), 40.0 + 30 * number, 1 + number % 3) for number in range(9)))
    world.launch(3, "token")
    for time in range(1000, 1500, 7):
        world.run_until(float(time))
        idle = [worker.name for worker in world.idle_workers()]
        if idle and world.joined == 3 and time > 1150:
            assert world.close(idle[0])
            world.terminate(idle[:1])
        shown = world.workers()
        assert world.free_cores == sum(worker.free.cpus for worker in shown)
        assert world.cores_in_use == sum(worker.capacity.cpus - worker.free.cpus for worker in shown)
        assert {one.name for one in world.idle_workers()} == {one.name for one in shown if one.idle_seconds is not None}
    assert world.joined == 2
