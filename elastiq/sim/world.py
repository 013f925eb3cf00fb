"""The truth: which VMs exist, which jobs run where."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import count, islice

from elastiq.config import Settings
from elastiq.model import InstanceState, Shape
from elastiq.sim.engine import Engine
from elastiq.sim.proof.book import Book
from elastiq.sim.proof.crowd import Crowd
from elastiq.sim.proof.faults import Faults
from elastiq.sim.proof.till import Till
from elastiq.sim.proof.witness import Witness
from elastiq.sim.things import LARGE, SMALL, START, Ad, Fate, Job, Picture, Traits, Vm


class World:
    """Moves VMs and jobs, and notices broken promises."""

    def __init__(self, engine: Engine, book: Book, faults: Faults, traits: Traits, settings: Settings) -> None:
        self.engine, self.book, self.faults, self.traits = engine, book, faults, traits
        self.settings = settings
        """Those in force in the daemon."""
        self.witness = Witness(engine, book, faults, traits, lambda: self.settings)
        self.vms: dict[str, Vm] = {}
        """All that the cloud may still list."""
        self.gone_at: dict[str, float] = {}
        self.ads: list[Ad] = []
        self.waiting: list[Job] = []
        self.running: dict[int, Job] = {}
        self.coming: dict[str, int] = {}
        """VMs that the cloud is about to make after a launch whose answer was lost, by client token."""
        self.requests: dict[str, list[Vm]] = {}
        """What launches have made, by client token."""
        self.on_birth: Callable[[Vm], None] | None = None
        """Told of each VM that elastiq has launched."""
        self.on_joining: Callable[[Vm], None] | None = None
        """Told of each worker that joins."""
        self.till: Till | None = None
        """Counts what VMs cost, where there are caps in money."""
        self.gives_at_most: int | None = None
        """So many VMs the cloud gives, and nothing of a request that goes beyond; None: as many as are asked for."""
        self.crowd: Crowd | None = None
        """Which offers have no room; None: there is one offer."""
        self.trace: Callable[[str], None] | None = None
        self._vm_number = self._job_number = 0
        self.last_left_at = 0.0
        """When a job last left a VM, done or not."""
        self.negotiating = False
        """Whether the batch system is about to look for matches."""

    def tell(self, what: str, answer: object) -> None:
        """Say what happens, if a trace is wanted."""
        if self.trace is not None:
            self.trace(f"{self.engine.time - START:12.1f} {what}: {answer}")

    def own(self) -> list[Vm]:
        """Return the VMs launched by elastiq that count."""
        return [vm for vm in self.vms.values() if vm.own and vm.exists]

    def capacity_of(self, type_: str) -> Shape:
        """Return what a VM of a type holds."""
        capacity = self.traits.capacity
        return Shape(2 * capacity.cpus, 2 * (capacity.memory_mb or 0)) if type_ == LARGE else capacity

    def is_feasible(self, job: Job) -> bool:
        """Return whether a VM as they are launched now can run `job`."""
        is_within_quota = len(job.mates) <= (self.settings.quota.max_vms or math.inf)
        types = [pool.instance_type for pool in self.settings.policy().variants]
        return not job.held and is_within_quota and any(job.shape.fits(self.capacity_of(type_)) for type_ in types)

    def create(self, *, own: bool, token: str, type_: str = SMALL) -> Vm:
        """Make a VM in the cloud and settle its fate."""
        engine = self.engine
        self._vm_number += 1
        digits = 8 if self.traits.dialect == "openstack" else 17
        vm = Vm(f"i-{self._vm_number:0{digits}x}", own, token, engine.time, self.capacity_of(type_))
        vm.type = type_
        self.vms[vm.id] = vm
        if self.faults.strikes("listing: fresh VMs missing"):
            vm.visible_at = engine.time + engine.between(5, 90)
            engine.after(vm.visible_at - engine.time, _nothing)
        if own:
            vm.seen.offset_seconds = self.witness.offset_seconds
            self.witness.note_launch()
            self._boot(vm)
            if self.on_birth is not None:
                self.on_birth(vm)
        return vm

    def _boot(self, vm: Vm) -> None:
        engine, faults, traits = self.engine, self.faults, self.traits
        engine.after(engine.between(1, 10), lambda: self._give_address(vm))
        fate = Fate.JOINS
        if faults.strikes("image broken, no boot ends well"):
            fate = Fate.NEVER_JOINS if engine.chance(0.6) else Fate.ERROR
        elif faults.strikes("boot: never joins"):
            fate = Fate.NEVER_JOINS
        elif faults.strikes("boot: ends in error"):
            fate = Fate.ERROR
        elif faults.strikes("boot: stays pending"):
            fate = Fate.STAYS_PENDING
        if fate is Fate.STAYS_PENDING:
            return
        run_seconds = traits.run_seconds * engine.between(0.5, 1.5)
        if fate is Fate.ERROR:
            engine.after(run_seconds, lambda: self._fail(vm))
            return
        engine.after(run_seconds, lambda: self._run(vm))
        if fate is Fate.JOINS:
            seconds = traits.boot_seconds * engine.between(0.7, 1.3)
            if faults.strikes("boot: joins late"):
                seconds = self.settings.elastiq.estimated_vm_deploy_time_s * engine.between(0.9, 1.3)
            engine.after(run_seconds + seconds, lambda: self.join(vm))

    def _give_address(self, vm: Vm) -> None:
        taken = {other.address for other in self.vms.values() if other.exists}
        free = [number for number in range(2, 2 + self.traits.addresses) if f"10.0.0.{number}" not in taken]
        # No cloud gives an address twice in a network, however many VMs that cannot be got rid of have one.
        spare = (number for number in count(100 + len(self.vms)) if f"10.0.0.{number}" not in taken)
        number = self.engine.random.choice(free) if free else next(spare)
        vm.address = f"10.0.0.{number}"
        vm.name = f"ip-10-0-0-{number}.sim" if self.traits.dialect == "aws" else f"server-{vm.id[-4:]}"

    def _run(self, vm: Vm) -> None:
        if vm.state is InstanceState.PENDING:
            vm.state = InstanceState.RUNNING

    def _fail(self, vm: Vm) -> None:
        if vm.state is not InstanceState.PENDING:
            return
        vm.detail = "no valid host was found"
        if self.traits.dialect == "openstack":
            vm.state = InstanceState.ERROR
        else:
            self.gone(vm)

    def worker_name(self, vm: Vm) -> str:
        """Return what the batch system calls the worker on `vm`."""
        if self.traits.advertises == "name":
            return vm.name.split(".")[0] + ".pool"
        return (vm.address or vm.id).replace(".", "-") + ".pool"

    def join(self, vm: Vm) -> None:
        """Let the worker of `vm` start, or start again."""
        if vm.state is not InstanceState.RUNNING or vm.joined:
            return
        vm.joined = True
        vm.idle_since = self.engine.time
        if self.on_joining is not None:
            self.on_joining(vm)
        self.advertise(vm)
        self.negotiate_soon()

    def advertise(self, vm: Vm) -> None:
        """Put the ad of a living worker into the collector; it takes the place of an earlier one of its name."""
        if not vm.joined or any(ad.vm is vm and ad.frozen is None for ad in self.ads):
            return
        name = self.worker_name(vm)
        self.ads = [ad for ad in self.ads if ad.name != name]
        by, now = self.traits.advertises, self.engine.time
        self.ads.append(Ad(vm, name, vm.id if by == "id" else None, vm.address if by != "name" else None, now))

    def picture(self, vm: Vm) -> Picture:
        """Return what an ad of `vm` says now."""
        return (
            vm.free_cpus,
            vm.free_memory_mb,
            len(vm.jobs),
            None if vm.jobs else vm.idle_since,
            vm.closed,
            vm.drained,
        )

    def submit(
        self, shape: Shape, seconds: float, *, held: bool = False, wants: str = "", is_hopeless: bool = False
    ) -> Job:
        """Put a job into the queue."""
        self._job_number += 1
        job = Job(self._job_number, shape, seconds, self.engine.time)
        job.held, job.wants, job.is_hopeless = held, wants, is_hopeless
        self.waiting.append(job)
        self.book.work["jobs"] += 1
        self.negotiate_soon()
        return job

    def submit_wide(self, shape: Shape, seconds: float, machines: int) -> None:
        """Put a job into the queue that runs on so many VMs at once; a part whose VM dies waits on its own again."""
        mates = tuple(self.submit(shape, seconds) for _ in range(machines))
        for job in mates:
            job.mates = mates

    def negotiate_soon(self) -> None:
        """Let the batch system look for matches after its pause."""
        if self.waiting and not self.negotiating:
            self.negotiating = True
            self.engine.after(self.traits.negotiation_seconds * self.engine.random.random(), self._negotiate)

    def _negotiate(self) -> None:
        self.negotiating = False
        self.match()

    def match(self) -> None:
        """Start every waiting job for which a listed, open worker has room."""
        open_vms = [ad.vm for ad in self.ads if ad.vm.takes_jobs]
        if not open_vms or not self.waiting:
            return
        left = []
        without_room: set[Shape] = set()  # room only shrinks here, so one job of a shape tells of all the others
        for job in self.waiting:
            if job.number in self.running:
                continue
            may_start = not (job.held or job.is_hopeless) and job.shape not in without_room
            vms = tuple(islice((vm for vm in open_vms if self._fits(job, vm)), len(job.mates))) if may_start else ()
            if len(vms) < len(job.mates):
                left.append(job)
                if may_start and not vms:
                    without_room.add(job.shape)
            else:
                for mate, vm in zip(job.mates, vms):
                    self._begin(mate, vm)
        self.waiting = left

    @staticmethod
    def _fits(job: Job, vm: Vm) -> bool:
        return job.shape.cpus <= vm.free_cpus and (job.shape.memory_mb or 0) <= vm.free_memory_mb

    def start_on(self, vm: Vm, seconds: float) -> bool:
        """Submit a small job and start it on `vm` at once, if that can be."""
        if not (vm.takes_jobs and vm.free_cpus >= 1):
            return False
        job = self.submit(Shape(1), seconds)
        self.waiting.remove(job)
        self._begin(job, vm)
        return True

    def _begin(self, job: Job, vm: Vm) -> None:
        job.vm, vm.has_worked = vm, True
        if job.started_at is None:
            job.started_at = self.engine.time
        job.tries += 1
        vm.jobs[job.number] = job
        vm.free_cpus -= job.shape.cpus
        vm.free_memory_mb -= job.shape.memory_mb or 0
        self.running[job.number] = job
        tries = job.tries
        self.engine.after(job.seconds, lambda: self._finish(job, vm, tries))

    def _finish(self, job: Job, vm: Vm, tries: int) -> None:
        if job.done or job.tries != tries or job.vm is not vm or not vm.joined:
            return
        job.done = True
        self.book.work["jobs done"] += 1
        self.running.pop(job.number, None)
        self._leave(job, vm)
        self.negotiate_soon()

    def _leave(self, job: Job, vm: Vm) -> None:
        if vm.jobs.pop(job.number, None) is None:
            return
        self.last_left_at = self.engine.time
        vm.free_cpus += job.shape.cpus
        vm.free_memory_mb += job.shape.memory_mb or 0
        if not vm.jobs:
            vm.idle_since = self.engine.time

    def lose_worker(self, vm: Vm) -> None:
        """Let the worker of `vm` die without a word: its ad and its jobs' claims stay for a while."""
        if not vm.joined:
            return
        for ad in self.ads:
            if ad.vm is vm:
                ad.frozen = ad.frozen or self.picture(vm)
                self.engine.after(self.traits.ad_lifetime_seconds, lambda ad=ad: self.drop_ad(ad))  # type: ignore[misc]
        vm.joined = False
        for job in list(vm.jobs.values()):
            tries = job.tries
            self.engine.after(
                self.traits.lease_seconds,
                lambda job=job, tries=tries: self.requeue(job, tries),  # type: ignore[misc]
            )

    def drop_ad(self, ad: Ad) -> None:
        """Take an ad out of the collector."""
        if ad in self.ads:
            self.ads.remove(ad)

    def requeue(self, job: Job, tries: int) -> None:
        """Put a job whose VM died back into the queue."""
        if job.done or job.tries != tries or job.vm is None or job.vm.joined:
            return
        self._leave(job, job.vm)
        job.vm, job.mates = None, (job,)
        self.running.pop(job.number, None)
        self.waiting.append(job)
        self.negotiate_soon()

    def take_off(self, job: Job, vm: Vm) -> None:
        """Put a job that runs back into the queue, since the cloud is about to end its VM."""
        self._leave(job, vm)
        job.vm, job.mates = None, (job,)
        self.running.pop(job.number, None)
        self.waiting.append(job)
        self.book.work["jobs queued again in time"] += 1
        self.negotiate_soon()

    def gone(self, vm: Vm) -> None:
        """End a VM, by whomever. On AWS it is listed as terminated for an hour, on OpenStack it vanishes."""
        if not vm.state.alive:
            return
        engine = self.engine
        if vm.end_requested and vm.jobs and not vm.seen.joins_at_own_risk:
            numbers = ", ".join(str(number) for number in vm.jobs)
            self.book.check("no job killed", False, f"jobs {numbers} ran on {vm.id} when its termination took effect")
        was_running = vm.state is InstanceState.RUNNING
        vm.state = InstanceState.TERMINATED
        self.gone_at[vm.id] = engine.time
        if vm.own:
            seconds = round(engine.time - vm.created_at)
            self.book.work["VM-seconds"] += seconds
            self.book.work["VM-seconds of VMs without a job"] += 0 if vm.has_worked else seconds
        if vm.closed and not vm.jobs:
            # Its worker was taken off cleanly before.
            self.ads = [ad for ad in self.ads if ad.vm is not vm]
            vm.joined = False
        self.lose_worker(vm)
        if was_running and self.faults.strikes("listing: dead VMs still running"):
            vm.shown_alive_until = engine.time + engine.between(5, 120)
            engine.after(vm.shown_alive_until - engine.time, _nothing)
        if self.traits.dialect == "openstack" and not vm.shown_alive_until:
            del self.vms[vm.id]
        else:
            engine.after(3600.0, lambda: self.vms.pop(vm.id, None))

    def end(self, vm: Vm) -> None:
        """Let a termination that elastiq asked for take effect."""
        if not vm.state.alive or vm.state is InstanceState.STOPPING:
            return
        if self.traits.dialect == "openstack":
            self.engine.after(1.0, lambda: self.gone(vm))
            return
        vm.state = InstanceState.STOPPING
        self.engine.after(self.engine.between(5, 60), lambda: self.gone(vm))

    def has_room(self, job: Job, vm: Vm) -> bool:
        """Return whether `job` could start on `vm` now."""
        return vm.takes_jobs and self._fits(job, vm)

    def restart_collector(self) -> None:
        """Forget every ad; living workers send theirs again, each in its own time."""
        ads, self.ads = self.ads, []
        for vm in {ad.vm.id: ad.vm for ad in ads if ad.vm.joined}.values():
            exited = vm.closed and self.traits.exits_when_closed
            if not exited:
                seconds = self.traits.advertise_seconds * self.engine.random.random()
                self.engine.after(seconds, lambda vm=vm: self._advertise_again(vm))  # type: ignore[misc]

    def _advertise_again(self, vm: Vm) -> None:
        if not (vm.closed and self.traits.exits_when_closed):
            self.advertise(vm)
            self.negotiate_soon()

    def open(self, vm: Vm) -> None:
        """Let the worker of `vm` take jobs again."""
        vm.closed = vm.drained = vm.seen.drain_shown = False
        if vm.joined and not any(ad.vm is vm for ad in self.ads):
            self.engine.after(self.engine.between(1, 10), lambda: self.advertise(vm))
            self.engine.after(11, self.negotiate_soon)
        self.negotiate_soon()


def _nothing() -> None:
    """Only mark a moment at which a listing changes."""
