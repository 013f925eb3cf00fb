"""A BatchSystem that keeps the plugin contract on the truth, and its faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from elastiq.errors import BatchError
from elastiq.model import Demand, Eligibility, InstanceState, Judgement, Shape, Worker
from elastiq.plugins import Closing
from elastiq.sim.proof.gate import Answer, Gate
from elastiq.sim.things import Ad, Vm
from elastiq.sim.world import World

NOT_OFFERED, UNREADABLE = "not-offered", "unreadable"
"""First words of what jobs want: known not to be offered once there is a template, and never known."""

HANG_SECONDS = 5.0
"""How long the daemon's lane waits for a batch system that hangs."""


class SimBatch:
    """Implements `elastiq.ports.Batch`; it raises BatchError alone."""

    def __init__(self, world: World, gate: Gate) -> None:
        self._world, self._gate = world, gate
        self.demand_version = self.workers_version = -1
        """Version of the world at the last good answers."""
        self.asked_at = world.engine.time

    def demand(self) -> tuple[Demand, ...]:
        world = self._world
        # A pass that a defect has ended is made up for in time.
        pause = world.engine.time - max(self.asked_at, world.witness.defect_at)
        limit = world.settings.elastiq.check_queue_every_s + 120.0
        world.book.check("nothing blocks", pause <= limit, f"the queue was read {pause:.0f} s after the last time")
        self.asked_at = world.engine.time
        self._world.witness.demand_known = False
        answer = self._gate.pass_through("demand", self._demand)
        self._world.witness.demand_known = True
        return answer

    def workers(self) -> tuple[Worker, ...]:
        self._world.witness.workers_known = False
        self._world.witness.last_served = set()
        answer = self._gate.pass_through("workers", self._workers)
        self._world.witness.workers_known = True
        return answer

    def close(self, worker: Worker) -> Closing:
        return self._gate.pass_through("close", lambda: self._carelessly(lambda: self._close(worker)))

    def reopen(self, worker: Worker) -> None:
        self._gate.pass_through("reopen", lambda: self._carelessly(lambda: self._reopen(worker)))
        self._gate.done.append(("reopen", worker.instance_id or ""))

    def forget(self, worker: Worker) -> None:
        self._gate.pass_through("forget", lambda: self._carelessly(lambda: self._forget(worker)))

    def requeue(self, worker: Worker) -> None:
        self._gate.pass_through("requeue", lambda: self._requeue(worker))

    def check(self) -> str:
        return "simulated"

    def advice(self) -> tuple[str, ...]:
        return ()

    def template(self, worker: Worker) -> str:
        ad = self._ad(worker)
        if self._world.faults.at_work("batch system outage") or ad is None or not ad.vm.takes_jobs:
            raise BatchError("no such open worker")
        return f"like {ad.vm.capacity.cpus}"

    def judge(self, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        """Return what this plugin makes of `wants`, by its first word; the rest only tells groups apart."""
        return tuple(self._judge(one.partition(" ")[0], template) for one in wants)

    def narrowed(self, template: str, jobs: str, offers: str) -> str:
        """Return `template`: its pools take all jobs."""
        return template

    @staticmethod
    def _judge(kind: str, template: str) -> Judgement:
        if kind == NOT_OFFERED and template:
            return Judgement(Eligibility.NO, "no VM offers it")
        if kind in (NOT_OFFERED, UNREADABLE):
            return Judgement(Eligibility.UNKNOWN, "it cannot be told")
        return Judgement()

    def _carelessly(self, act: Callable[[], Answer]) -> Answer:
        """Act as a plugin from outside may: with a defect that shows before the effect, or after it."""
        if not self._world.faults.strikes("plugin has a defect"):
            return act()
        if self._world.engine.chance(0.5):
            act()
        raise self._defect()

    def _defect(self) -> Exception:
        self._world.witness.defect_at = self._world.engine.time
        return LookupError("a defect in the plugin")

    def _trouble(self) -> None:
        faults = self._world.faults
        if not faults.any:
            return
        if faults.strikes("batch system outage"):
            raise BatchError("the scheduler does not answer")
        if faults.strikes("batch system prints garbage"):
            raise BatchError("the scheduler's answer cannot be read")
        if faults.strikes("batch system hangs"):
            engine = self._world.engine
            engine.run_until(engine.time + HANG_SECONDS)
            raise BatchError("the scheduler has not answered for 5 s")

    def _demand(self) -> tuple[Demand, ...]:
        self._trouble()
        world = self._world
        if world.faults.strikes("plugin has a defect"):
            raise self._defect()
        groups = Counter((job.shape, job.wants, len(job.mates)) for job in world.waiting if not job.held)
        world.witness.note_demand(job for job in world.waiting if not job.held)
        running = Counter((job.shape, job.wants, len(job.mates)) for job in world.running.values())
        self.demand_version = world.engine.version
        tells = world.traits.tells_running
        return tuple(
            Demand(
                shape,
                parts // machines,
                vms_per_job=machines,
                wants=wants,
                running=running[shape, wants, machines] // machines if tells else None,
            )
            for (shape, wants, machines), parts in groups.items()
        )

    def _workers(self) -> tuple[Worker, ...]:
        self._trouble()
        world = self._world
        if world.faults.strikes("plugin has a defect"):
            raise self._defect()
        ads = world.ads
        if world.faults.any:
            if world.faults.strikes("workers: empty answer"):
                ads = []
            if world.faults.strikes("workers: ads out of date"):
                self._freeze_some()
        # An ad under an old name that says nothing else is no sight of the VM.
        told = [ad for ad in ads if ad.instance_id or ad.address or ad.name == world.worker_name(ad.vm)]
        world.witness.last_served = {ad.vm.id for ad in told}
        for ad in ads:
            ad.vm.seen.drain_shown = (ad.frozen or world.picture(ad.vm))[-1] and world.witness.can_be_told(ad.vm)
        self.workers_version = world.engine.version
        now = world.engine.time
        return tuple(self._worker(ad, now) for ad in ads)

    def _freeze_some(self) -> None:
        """Let some ads stay as they are for a while, whatever their workers do."""
        world = self._world
        for ad in world.ads:
            if ad.frozen is None and world.engine.chance(0.5):
                ad.frozen = world.picture(ad.vm)
                world.engine.after(world.engine.between(10, 300), lambda ad=ad: self._thaw(ad))  # type: ignore[misc]

    @staticmethod
    def _thaw(ad: Ad) -> None:
        if ad.vm.joined:
            ad.frozen = None

    def _worker(self, ad: Ad, now: float) -> Worker:
        cpus, memory_mb, jobs, idle_since, closed, drained = ad.frozen or self._world.picture(ad.vm)
        interrupted = ad.vm.taken_back and ad.frozen is None
        return Worker(
            ad.name,
            ad.instance_id,
            ad.address,
            ad.vm.capacity,
            Shape(cpus, memory_mb),
            jobs,
            None if idle_since is None else now - idle_since,
            closed or interrupted,
            drained,
            ad.vm.hurt,
            interrupted,
        )

    def _ad(self, worker: Worker) -> Ad | None:
        """Return the ad that a plugin would find: by id where ads have one, else by address, else by name."""
        for ad in self._world.ads:
            if ad.instance_id and worker.instance_id:
                if ad.instance_id == worker.instance_id:
                    return ad
            elif ad.address:
                if ad.address == worker.address:
                    return ad
            elif ad.name == worker.name:
                return ad
        return None

    def _close(self, worker: Worker) -> Closing:
        world, engine, faults = self._world, self._world.engine, self._world.faults
        ad = self._ad(worker)
        vm = ad.vm if ad is not None else world.vms.get(worker.instance_id or "")
        if vm is not None and vm.id in world.witness.last_served:
            vm.seen.wished_gone = True
        self._check_left_alone(vm)
        if faults.any:
            if vm is not None and vm.takes_jobs and faults.strikes("job lands before the close"):
                world.start_on(vm, engine.between(60, 900))
            self._trouble()
            if faults.strikes("close: answer lost, not done"):
                raise BatchError("no answer to the close")
            if vm is not None and vm.takes_jobs and faults.strikes("close: refused"):
                vm.seen.wished_gone = False
                return Closing.BUSY
        answer = self._really_close(ad, vm)
        if answer is Closing.CLOSED and faults.strikes("job wants in after the close"):
            world.submit(Shape(1), engine.between(60, 900))
            world.match()
        if vm is not None and vm.joined and answer is Closing.CLOSED and faults.strikes("close: worker hangs after it"):
            vm.hung = True
            world.lose_worker(vm)
            raise BatchError("no answer to the close")
        if faults.strikes("close: answer lost, done"):
            raise BatchError("no answer to the close")
        return answer

    def _check_left_alone(self, vm: Vm | None) -> None:
        """Measure the request to close or open a worker against what the daemon saw of it last."""
        if vm is None or vm.id not in self._world.witness.last_served:
            return
        touched = vm.seen.drain_shown and vm.drained and not vm.end_requested and vm.state is InstanceState.RUNNING
        self._world.book.check("drains left alone", not touched, f"{vm.id} touched, which an administrator has drained")

    def _really_close(self, ad: Ad | None, vm: Vm | None) -> Closing:
        """Close a worker by the contract: the batch system itself makes sure that no job is and gets there."""
        world = self._world
        if vm is None:
            return Closing.CLOSED
        if ad is not None and not vm.joined and not vm.jobs:
            # Listed, but its machine does not answer any more.
            if world.traits.exits_when_closed:
                raise BatchError("the worker does not answer")
            return Closing.CLOSED
        if vm.drained:
            raise BatchError("an administrator has drained it")
        if vm.jobs:
            vm.seen.wished_gone = False
            return Closing.BUSY
        if not vm.joined:
            vm.seen.found_absent_at = world.engine.time
            return Closing.CLOSED
        vm.closed = True
        if ad is not None and world.traits.exits_when_closed:
            world.ads = [ad for ad in world.ads if ad.vm is not vm]
        return Closing.CLOSED

    def _reopen(self, worker: Worker) -> None:
        world, faults = self._world, self._world.faults
        self._trouble()
        if faults.strikes("reopen: fails"):
            raise BatchError("no answer to the reopening")
        ad = self._ad(worker)
        vm = ad.vm if ad is not None else world.vms.get(worker.instance_id or "")
        if vm is None or not vm.state.alive:
            raise BatchError("no such worker")
        if vm.hung:
            raise BatchError("the worker does not answer")
        self._check_left_alone(vm)
        if vm.drained:
            raise BatchError("an administrator has drained it")
        world.book.check("no job killed", not vm.end_requested, f"{vm.id} opened although its termination was sent")
        vm.seen.wished_gone = False
        world.open(vm)
        if faults.strikes("reopen: answer lost, done"):
            raise BatchError("no answer to the reopening")

    def _requeue(self, worker: Worker) -> None:
        world = self._world
        self._trouble()
        ad = self._ad(worker)
        if ad is None:
            return
        is_taken = ad.vm.taken_back
        world.book.check("no job killed", is_taken, f"{ad.vm.id} was to lose its jobs though nobody takes it back")
        for job in list(ad.vm.jobs.values()) if ad.vm.joined else ():
            world.take_off(job, ad.vm)

    def _forget(self, worker: Worker) -> None:
        world = self._world
        self._trouble()
        if world.faults.strikes("forget fails"):
            raise BatchError("could not be removed")
        ad = self._ad(worker)
        vm = ad.vm if ad is not None else None
        if ad is None or vm is None:
            return
        in_sight = vm.joined and vm.state.alive and world.witness.is_in_sight(vm)
        world.book.check("no harm in doubt", not in_sight, f"{vm.id} forgotten though its worker is in sight")
        # Nobody can know better if cloud and batch system have said for ten minutes that it is gone.
        is_killed = vm.joined and vm.jobs and not vm.seen.given_up
        world.book.check("no job killed", not is_killed, f"{vm.id} forgotten while jobs run there")
        world.drop_ad(ad)
        if vm.joined:
            return
        for job in list(vm.jobs.values()):
            world.requeue(job, job.tries)
