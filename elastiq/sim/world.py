"""The truth: which VMs exist, which jobs run where, and what the promises are measured against."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Optional

from elastiq.config import Settings
from elastiq.model import InstanceState, Shape
from elastiq.planning import patience
from elastiq.sim.engine import Engine
from elastiq.sim.proof.book import Book
from elastiq.sim.proof.faults import Faults

CLUSTER = "sim"
IMAGE = "ami-sim"
SMALL, LARGE = "sim.small", "sim.large"
"""Types of VMs; the second holds twice as much."""

START = 1_700_000_000.0
"""A Tuesday, 22:13:20 UTC."""


@dataclass(frozen=True)
class Traits:
    """What kind of cloud and batch system a cluster has; fixed for its life."""

    dialect: str = "aws"
    """aws or openstack."""
    capacity: Shape = field(default_factory=lambda: Shape(4, 8000))
    boot_seconds: float = 120.0
    run_seconds: float = 20.0
    addresses: int = 12
    """So few that dead VMs' addresses are soon used again."""
    advertises: str = "id"
    """By what a worker's ad tells its VM: id, address or name."""
    exits_when_closed: bool = False
    """A closed worker leaves the batch system (condor_drain -exit-on-completion) instead of being listed as closed."""
    negotiation_seconds: float = 20.0
    ad_lifetime_seconds: float = 900.0
    advertise_seconds: float = 300.0
    lease_seconds: float = 2400.0
    tells_capacity: bool = True
    shows_tokens: bool = True
    """Whether listings show client tokens; where they do not, tags are put on after the launch alone."""


class Fate(Enum):
    """How the boot of a VM ends."""

    JOINS = "joins"
    NEVER_JOINS = "never joins"
    ERROR = "error"
    STAYS_PENDING = "stays pending"


class Job:
    """A job of the batch system."""

    __slots__ = ("done", "held", "number", "seconds", "shape", "submitted_at", "tries", "vm")

    def __init__(self, number: int, shape: Shape, seconds: float, submitted_at: float) -> None:
        self.number, self.shape, self.seconds, self.submitted_at = number, shape, seconds, submitted_at
        self.vm: Vm | None = None
        """Where the batch system believes it to run."""
        self.done = self.held = False
        self.tries = 0


ABSENT_SECONDS = 10.0
"""So soon a termination must follow the close of a VM that has no worker yet."""


class Vm:
    """A VM as it really is."""

    __slots__ = (
        "address",
        "capacity",
        "closed",
        "cluster",
        "created_at",
        "detail",
        "drain_shown",
        "drained",
        "end_asked_at",
        "end_requested",
        "excused",
        "found_absent_at",
        "free_cpus",
        "free_memory_mb",
        "given_up",
        "hung",
        "id",
        "idle_since",
        "jobs",
        "joined",
        "joins_at_own_risk",
        "kept",
        "listed",
        "listed_at",
        "lost_at",
        "name",
        "offset_seconds",
        "own",
        "pool",
        "recorded",
        "served_at",
        "shown_address",
        "shown_alive_until",
        "state",
        "tags_visible_at",
        "token",
        "type",
        "visible_at",
        "wished_gone",
    )

    def __init__(self, id_: str, own: bool, token: str, created_at: float, capacity: Shape) -> None:
        self.id, self.own, self.token, self.created_at = id_, own, token, created_at
        self.capacity, self.type = capacity, SMALL
        self.cluster = self.pool = self.detail = self.name = ""
        self.address: str | None = None
        self.state = InstanceState.PENDING
        self.listed = True
        """Whether the last good listing showed it, if there has been one since it was made."""
        self.listed_at = created_at
        """When a good listing last showed it."""
        self.recorded = False
        """The daemon has its id on disk, or had it."""
        self.given_up = False
        """For long neither listings nor the batch system have shown it: all that is known says that it is gone."""
        self.lost_at: float | None = None
        """When the daemon lost its records of it, by the daemon's clock, if no listing has shown it since."""
        self.visible_at = self.tags_visible_at = created_at
        self.shown_alive_until = 0.0
        """Until when listings show it as running although it is gone."""
        self.joined = False
        """Its worker runs: a job can start there unless it is closed."""
        self.closed = False
        self.hung = False
        """Its worker does not answer any more, and cannot be opened."""
        self.drained = False
        """An administrator has closed it."""
        self.drain_shown = False
        """The daemon has seen that."""
        self.end_requested = False
        self.end_asked_at = created_at
        """When the daemon last asked for its end."""
        self.found_absent_at = -ABSENT_SECONDS
        """When a close last found no worker of it: nothing can keep one from joining after all."""
        self.joins_at_own_risk = False
        """The daemon asked for its end at once after such a close, and so before anybody could know of its jobs."""
        self.kept = False
        """The cloud accepts requests to terminate it, and forgets them."""
        self.offset_seconds = 0.0
        """How wrong the daemon's clock was at its launch."""
        self.excused = False
        """elastiq cannot know it any more: it has no tag, and the database was damaged."""
        self.wished_gone = False
        """The daemon decided to terminate it when it could see its worker, or after due patience."""
        self.jobs: dict[int, Job] = {}
        self.idle_since = created_at
        self.free_cpus, self.free_memory_mb = capacity.cpus, capacity.memory_mb
        self.served_at: float | None = None
        """When the daemon last saw its worker, could tell its VM, and had that on disk."""
        self.shown_address = False
        """Whether the cloud has told the daemon its address and name."""

    def give(self, cluster: str, pool: str) -> None:
        """Tag it."""
        self.cluster, self.pool = cluster, pool

    @property
    def exists(self) -> bool:
        """Return whether it counts against the quota."""
        return self.state.alive and self.state is not InstanceState.STOPPING

    @property
    def takes_jobs(self) -> bool:
        """Return whether a job can start there."""
        return self.joined and not self.closed and self.state is InstanceState.RUNNING


Picture = tuple[int, int, int, Optional[float], bool, bool]
"""Free CPUs, free memory, jobs, idle since, closed, drained by an administrator."""


class Ad:
    """What the batch system lists of a worker: the truth, or a picture of it that is out of date."""

    __slots__ = ("address", "frozen", "instance_id", "listed_at", "name", "vm")

    def __init__(self, vm: Vm, name: str, instance_id: str | None, address: str | None, listed_at: float) -> None:
        self.vm, self.name, self.instance_id, self.address = vm, name, instance_id, address
        self.listed_at = listed_at
        self.frozen: Picture | None = None
        """Its picture of some time ago, or the last one of a VM that is gone."""


class World:
    """Moves VMs and jobs, and notices broken promises."""

    def __init__(self, engine: Engine, book: Book, faults: Faults, traits: Traits, settings: Settings) -> None:
        self.engine, self.book, self.faults, self.traits = engine, book, faults, traits
        self.settings = settings
        """Those in force in the daemon."""
        self.vms: dict[str, Vm] = {}
        """All that the cloud may still list."""
        self.gone_at: dict[str, float] = {}
        self.ads: list[Ad] = []
        self.waiting: list[Job] = []
        self.running: dict[int, Job] = {}
        self.launches: list[float] = []
        self.coming: dict[str, int] = {}
        """VMs that the cloud is about to make after a launch whose answer was lost, by client token."""
        self.requests: dict[str, list[Vm]] = {}
        """What launches have made, by client token."""
        self.broken_since: float | None = None
        self.broken_excuse = 0
        self.last_served: set[str] = set()
        """VMs whose workers were in the last answer to the daemon."""
        self.offset_seconds = 0.0
        """How wrong the daemon's clock is."""
        self.workers_known = False
        """Whether that answer was a good one."""
        self.demand_known = False
        """Whether the last answer of the queue was."""
        self.defect_at = 0.0
        """When a defect of the plugin last ended a pass."""
        self.trace: Callable[[str], None] | None = None
        self._vm_number = self._job_number = 0
        self.negotiating = False
        """Whether the batch system is about to look for matches."""

    def tell(self, what: str, answer: object) -> None:
        """Say what happens, if a trace is wanted."""
        if self.trace is not None:
            self.trace(f"{self.engine.time - START:12.1f} {what}: {answer}")

    def own(self) -> list[Vm]:
        """Return the VMs launched by elastiq that count."""
        return [vm for vm in self.vms.values() if vm.own and vm.exists]

    def counts(self, vm: Vm) -> bool:
        """Return whether the daemon can know that this VM is there."""
        if vm.excused or not vm.exists:
            return False
        if vm.lost_at is not None:
            return (
                self.engine.time + self.offset_seconds - vm.lost_at <= patience.SETTLE_SECONDS + patience.UNSEEN_SECONDS
            )
        # A VM that the cloud has agreed to end, and does not list any more, is gone for all that anybody can tell.
        return vm.listed or not (vm.kept or vm.given_up)

    def note_listed(self, vm: Vm) -> None:
        """Note that a good listing shows this VM."""
        vm.listed, vm.listed_at, vm.lost_at, vm.given_up = True, self.engine.time, None, False

    def note_unlisted(self, vm: Vm) -> None:
        """Note that a good listing leaves this VM out, and what the daemon may make of that."""
        now = self.engine.time
        vm.listed = False
        if vm.kept and vm.end_requested:
            self.come_back(vm)
        unlisted_seconds = now - vm.listed_at
        if not vm.recorded:
            # Of a launch whose answer was lost: its worker could be anybody's.
            vm.given_up = unlisted_seconds > patience.UNSEEN_SECONDS
            vm.excused = vm.excused or (vm.given_up and not (vm.cluster or self.traits.shows_tokens))
            return
        lately = vm.served_at is not None and now - vm.served_at <= patience.MISSING_GRACE_SECONDS
        # A closed worker may be shown for a while when its VM is gone.
        is_seen = self.is_in_sight(vm) or (lately and not vm.closed)
        vm.given_up = vm.given_up or (unlisted_seconds > patience.MISSING_GRACE_SECONDS and not is_seen)

    def is_in_sight(self, vm: Vm) -> bool:
        """Return whether the last answer of the batch system showed its worker at work."""
        return vm.id in self.last_served and self.can_be_told(vm) and not vm.closed

    def come_back(self, vm: Vm) -> None:
        """Let a VM that the cloud keeps be as new to the daemon, which has to take it for gone or has lost its records.

        Nobody can know then of a termination of which the cloud itself knows nothing.
        """
        vm.end_requested = False
        vm.excused = vm.excused or not vm.cluster

    def capacity_of(self, type_: str) -> Shape:
        """Return what a VM of a type holds."""
        capacity = self.traits.capacity
        return Shape(2 * capacity.cpus, 2 * capacity.memory_mb) if type_ == LARGE else capacity

    def is_feasible(self, job: Job) -> bool:
        """Return whether a VM as they are launched now can run `job`."""
        return not job.held and job.shape.fits(self.capacity_of(self.settings.flavour))

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
            vm.offset_seconds = self.offset_seconds
            self._note_launch()
            self._boot(vm)
        return vm

    def _note_launch(self) -> None:
        now = self.engine.time
        self.launches = [at for at in self.launches if at > now - 3600.0] + [now]
        if self.broken_since is None:
            return
        during = sum(at >= self.broken_since for at in self.launches)
        limit = (self.settings.max_vms or 0) + 6 + self.broken_excuse
        self.book.check("broken pool bounded", during <= limit, f"{during} VMs in an hour, at most {limit} expected")

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
                seconds = self.settings.estimated_vm_deploy_time_s * engine.between(0.9, 1.3)
            engine.after(run_seconds + seconds, lambda: self.join(vm))

    def _give_address(self, vm: Vm) -> None:
        taken = {other.address for other in self.vms.values() if other.exists}
        free = [number for number in range(2, 2 + self.traits.addresses) if f"10.0.0.{number}" not in taken]
        number = self.engine.random.choice(free) if free else 100 + len(self.vms)
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

    def submit(self, shape: Shape, seconds: float, *, held: bool = False) -> Job:
        """Put a job into the queue."""
        self._job_number += 1
        job = Job(self._job_number, shape, seconds, self.engine.time)
        job.held = held
        self.waiting.append(job)
        self.book.work["jobs"] += 1
        self.negotiate_soon()
        return job

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
        for job in self.waiting:
            vm = None if job.held else next((vm for vm in open_vms if self._fits(job, vm)), None)
            if vm is None:
                left.append(job)
            else:
                self._begin(job, vm)
        self.waiting = left

    @staticmethod
    def _fits(job: Job, vm: Vm) -> bool:
        return job.shape.cpus <= vm.free_cpus and job.shape.memory_mb <= vm.free_memory_mb

    def start_on(self, vm: Vm, seconds: float) -> bool:
        """Submit a small job and start it on `vm` at once, if that can be."""
        if not (vm.takes_jobs and vm.free_cpus >= 1):
            return False
        job = self.submit(Shape(1), seconds)
        self.waiting.remove(job)
        self._begin(job, vm)
        return True

    def _begin(self, job: Job, vm: Vm) -> None:
        job.vm = vm
        job.tries += 1
        vm.jobs[job.number] = job
        vm.free_cpus -= job.shape.cpus
        vm.free_memory_mb -= job.shape.memory_mb
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
        vm.free_cpus += job.shape.cpus
        vm.free_memory_mb += job.shape.memory_mb
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
        job.vm = None
        self.running.pop(job.number, None)
        self.waiting.append(job)
        self.negotiate_soon()

    def gone(self, vm: Vm) -> None:
        """End a VM, by whomever. On AWS it is listed as terminated for an hour, on OpenStack it vanishes."""
        if not vm.state.alive:
            return
        engine = self.engine
        if vm.end_requested and vm.jobs and not vm.joins_at_own_risk:
            numbers = ", ".join(str(number) for number in vm.jobs)
            self.book.check("no job killed", False, f"jobs {numbers} ran on {vm.id} when its termination took effect")
        was_running = vm.state is InstanceState.RUNNING
        vm.state = InstanceState.TERMINATED
        self.gone_at[vm.id] = engine.time
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

    def break_image(self, seconds: float) -> None:
        """From now on, for `seconds`, no boot ends well; what boots already may still do so."""
        if all(vm.joined for vm in self.own()):
            self.broken_since, self.broken_excuse = self.engine.time, 0
            self.engine.after(seconds, self._mend_image)

    def _mend_image(self) -> None:
        self.broken_since = None

    def open(self, vm: Vm) -> None:
        """Let the worker of `vm` take jobs again."""
        vm.closed = vm.drained = vm.drain_shown = False
        if vm.joined and not any(ad.vm is vm for ad in self.ads):
            self.engine.after(self.engine.between(1, 10), lambda: self.advertise(vm))
            self.engine.after(11, self.negotiate_soon)
        self.negotiate_soon()

    def check_patience(self, vm: Vm) -> None:
        """Check that a worker which went out of sight was given the time to come back."""
        if vm.wished_gone or vm.state is InstanceState.ERROR:
            return
        if vm.served_at is None:
            self._check_look(vm)
            return
        unseen = self.engine.time - vm.served_at
        limit = self.settings.lost_worker_time_s
        self.book.check(
            "no harm in doubt",
            vm.id in self.last_served or unseen >= limit - 1.0,
            f"{vm.id} terminated though its worker was out of sight for {unseen:.0f} s only",
        )
        vm.wished_gone = True

    def can_be_told(self, vm: Vm) -> bool:
        """Return whether the daemon can tell the VM of a worker that it sees.

        Without an id it needs the address, and a worker that has been idle for longer than its VM seems to exist is
        taken for an earlier VM's: so it seems if the wall clock went back between launch and joining.
        """
        if self.traits.advertises == "id":
            return True
        seems_old = self.engine.time + self.offset_seconds - vm.created_at - vm.offset_seconds
        idle_seconds = 0.0 if vm.jobs else self.engine.time - vm.idle_since
        plausible = vm.served_at is not None or idle_seconds <= seems_old + patience.STALE_WORKER_SLACK_SECONDS
        return vm.shown_address and plausible

    def _check_look(self, vm: Vm) -> None:
        """Check that the daemon looked for a worker lately before it took it for one that never joined."""
        if self.faults.any or vm.id in self.last_served or not vm.joined:
            return
        there = [self.engine.time - ad.listed_at for ad in self.ads if ad.vm is vm and ad.frozen is None]
        unnoticed = max(there, default=0.0)
        what = f"{vm.id} terminated unseen after it had been a worker for {unnoticed:.0f} s"
        self.book.check("no harm in doubt", unnoticed < 60.0, what)

    def commit(self, recorded: Iterable[str], served: set[str]) -> None:
        """Note that the daemon knows these VMs, has seen these workers, and has that on disk."""
        for id_ in recorded:
            if id_ in self.vms:
                self.vms[id_].recorded = True
        for id_ in served:
            vm = self.vms.get(id_)
            if vm is not None and vm.exists and self.can_be_told(vm):
                vm.served_at = self.engine.time


def _nothing() -> None:
    """Only mark a moment at which a listing changes."""
