"""The life of one cluster: episodes of work and faults, each followed by calm and a reckoning."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from elastiq.config import Settings
from elastiq.core import Core
from elastiq.memory import Memory
from elastiq.model import InstanceState, Shape
from elastiq.planning import patience
from elastiq.ports import Ports
from elastiq.sim.batch import SimBatch
from elastiq.sim.cloud import SimCloud
from elastiq.sim.engine import Engine, SimClock
from elastiq.sim.proof.book import Book, Killed, Violation
from elastiq.sim.proof.disks import Disk, QuickState, WatchedState
from elastiq.sim.proof.faults import ONE_OFF, PROBABILITIES, Faults
from elastiq.sim.proof.gate import Gate
from elastiq.sim.replay import traces as workload
from elastiq.sim.world import CLUSTER, IMAGE, LARGE, SMALL, START, Ad, Traits, Vm, World
from elastiq.state import DATABASE, State

MOST_JOBS_OF_TRACE = 40

LYING_LISTINGS = ("listing: VMs missing", "listing: empty")
"""Only for minutes: the daemon believes listings that say the same for longer, and has to."""

HOUR, DAY, YEAR = 3600.0, 86400.0, 365.25 * 86400.0

LIFE_SECONDS = 30 * DAY
"""How long one cluster is watched; a life is what one seed gives."""


@dataclass(frozen=True)
class Options:
    """What the caller wants to see."""

    life_seconds: float = LIFE_SECONDS
    dialect: str = ""
    """aws, openstack, or empty for either."""
    real_state: float = 0.1
    """Share of the lives that use the real database."""
    skip: bool = True
    """Pass over time in which nothing can change."""
    prove_skips: bool = False
    """Go step by step through what would be passed over, and fail if anything happens there."""
    kinds: tuple[str, ...] = ()
    """Faults to choose from; empty: all."""
    workload: str = ""
    """File in the Standard Workload Format from which bursts of jobs are taken; empty: jobs are made up."""


@dataclass
class Result:
    """What became of one life."""

    seed: int
    book: Book
    seconds: float = 0.0
    violation: str = ""


def live(seed: int, options: Options | None = None, trace: Callable[[str], None] | None = None) -> Result:
    """Return what became of the cluster of `seed`; `trace` is told all that happens."""
    with tempfile.TemporaryDirectory(prefix="elastiq-sim-", dir=_memory_disk()) as directory:
        life = Life(seed, options or Options(), Path(directory))
        life.world.trace = trace
        result = Result(seed, life.book)
        try:
            life.run()
        except Violation as violation:
            result.violation = f"{violation} (day {(life.engine.time - START) / DAY:.2f})"
        finally:
            life.close()
        result.seconds = life.engine.time - START
        return result


def _memory_disk() -> str | None:
    shared = Path("/dev/shm")  # noqa: S108 (a directory made by mkdtemp in it)
    return str(shared) if shared.is_dir() else None


class Life:
    """One cluster, its daemon, and what befalls them."""

    def __init__(self, seed: int, options: Options, directory: Path) -> None:
        self.options, self.directory = options, directory
        self.book = Book()
        self.engine = Engine(seed, START)
        random = self.engine.random
        self.traits = draw_traits(random, options.dialect)
        self.settings = draw_settings(random, self.traits)
        self.faults = Faults(self.engine, self.book)
        self.world = World(self.engine, self.book, self.faults, self.traits, self.settings)
        self.disk: Disk | None = None if random.random() < options.real_state else Disk()
        self._offset_seconds = 0.0
        self._tokens = 0
        self._restart_wanted = False
        self._opening_tries = 0
        self._calm = True
        self._next_step_at = START
        self._plants: list[Vm] = []
        self._state: WatchedState | None = None
        self._start()

    def close(self) -> None:
        """Leave nothing open."""
        if self._state is not None:
            self._state.close()

    def _start(self) -> None:
        """Start the daemon, or start it again after a crash: it knows only what is in its state directory."""
        world = self.world
        self.gate = Gate(world)
        self.clock = SimClock(self.engine, self._offset_seconds)
        self.batch, self.cloud = SimBatch(world, self.gate), SimCloud(world, self.gate)
        self._state = WatchedState(self._open_state(), world, self.gate)
        self.core = Core(self.settings, Ports(self.clock, self.batch, self.cloud, self._state), self._new_token)
        self.gate.stop = self.core.stop
        world.last_served = set()
        world.offset_seconds = self._offset_seconds
        world.broken_excuse += 1
        self.book.work["starts of the daemon"] += 1

    def _open_state(self) -> State:
        if self.disk is not None:
            return QuickState(self.disk, self.directory)
        state = State(self.directory, self.clock.now())
        state._database.execute("PRAGMA synchronous=OFF")
        return state

    def _new_token(self) -> str:
        self._tokens += 1
        return f"elastiq-{self._tokens:08d}"

    def run(self) -> None:
        """Live through one episode after the other."""
        end = START + self.options.life_seconds
        self._run_until(START + 60.0)
        while self.engine.time < end:
            self._episode()
            self._run_until(self._next_episode_at())

    def _next_episode_at(self) -> float:
        """Return when people come to work again: mostly by day, seldom at a weekend."""
        engine = self.engine
        while True:
            at = engine.time + engine.between(0.2, 2.5) * DAY
            hour, weekday = (at % DAY) / HOUR, int(at // DAY + 3) % 7
            if engine.chance((0.9 if 7 <= hour <= 19 else 0.3) * (1.0 if weekday < 5 else 0.4)):
                return at

    def _episode(self) -> None:
        engine, book = self.engine, self.book
        book.work["episodes"] += 1
        self._calm = False
        chaos_seconds = engine.between(0.3, 2.0) * HOUR
        work_seconds = self._arrivals(chaos_seconds)
        self._plan_faults(chaos_seconds)
        self._run_until(engine.time + chaos_seconds)
        while self.faults.any:
            self._run_until(engine.time + 60.0)
        self._end_faults()
        self._calm = True
        self._run_until(engine.time + 3 * HOUR)
        self._heed_reports()
        self._run_until(engine.time + self._recovery_seconds() + work_seconds)
        self._reckon()

    def _heed_reports(self) -> None:
        """Tag, as the administrator is told to, VMs that may be of a launch whose answer was lost."""
        for intent in self.core.memory.intents:
            for id_ in intent.lookalikes:
                vm = self.world.vms[id_]
                self.book.check("only its own", vm.own, f"{id_} is taken for a VM of elastiq")
                self.book.work["VMs known by their looks"] += 1
                self.engine.after(0.0, lambda vm=vm: vm.give(CLUSTER, "default"))  # type: ignore[misc]

    def _arrivals(self, seconds: float) -> float:
        """Let jobs come in the next `seconds`; return how long one VM would work on them."""
        if self.options.workload:
            return self._arrivals_of_trace(seconds)
        engine, world = self.engine, self.world
        capacity = self.traits.capacity
        total = 0.0
        for _ in range(engine.random.randint(1, 3)):
            cpus = engine.random.choice((1, 1, 1, 2, capacity.cpus))
            memory_mb = engine.random.choice((0, 500, capacity.memory_mb // capacity.cpus * cpus))
            shape = Shape(min(cpus, capacity.cpus), memory_mb)
            if engine.chance(0.04):
                shape = Shape(capacity.cpus + 1, 0)
            held = engine.chance(0.04)
            long = engine.chance(0.05)
            job_seconds = engine.between(6, 40) * HOUR if long else engine.between(60, 1500)
            count = 1 if long else engine.random.randint(1, 12)
            at = engine.between(0, seconds)
            spread = engine.random.choice((0.0, 60.0, 1200.0))
            for _ in range(count):
                one = job_seconds * engine.between(0.8, 1.2)
                engine.after(
                    min(seconds, at + spread * engine.random.random()),
                    lambda shape=shape, one=one, held=held: world.submit(shape, one, held=held),  # type: ignore[misc]
                )
                total += 0.0 if long else one
        return total

    def _arrivals_of_trace(self, seconds: float) -> float:
        """Let up to MOST_JOBS_OF_TRACE jobs come as they came in some hour of the trace."""
        engine, world = self.engine, self.world
        trace = workload.read(self.options.workload)
        first = engine.random.randrange(len(trace))
        began_at = trace[first][0]
        total = 0.0
        for submitted_at, run_seconds, processors in trace[first : first + MOST_JOBS_OF_TRACE]:
            if submitted_at - began_at > seconds:
                break
            shape = Shape(min(processors, self.traits.capacity.cpus))
            engine.after(
                submitted_at - began_at,
                lambda shape=shape, run_seconds=run_seconds: world.submit(shape, run_seconds),  # type: ignore[misc]
            )
            total += run_seconds
        return total

    def _plan_faults(self, seconds: float) -> None:
        engine = self.engine
        kinds = self.options.kinds or (*PROBABILITIES, *ONE_OFF)
        chosen = engine.random.sample(kinds, min(len(kinds), engine.random.randint(0, 6)))
        lies = [kind for kind in chosen if kind in LYING_LISTINGS]
        for kind in chosen:
            if kind in LYING_LISTINGS and kind != lies[0]:
                continue  # listings that lie for longer than the daemon's patience cannot be told from the truth
            at = engine.between(0, seconds * 0.9)
            if kind in ONE_OFF:
                for _ in range(engine.random.randint(1, 2)):
                    engine.after(engine.between(0, seconds), lambda kind=kind: self._befall(kind))  # type: ignore[misc]
                continue
            length = engine.between(5, 240) if kind in LYING_LISTINGS else engine.between(60, 2400)
            if kind == "listing: another account's":
                length = engine.between(900, 7200)
            engine.after(at, lambda kind=kind, length=length: self._begin(kind, length))  # type: ignore[misc]

    def _begin(self, kind: str, seconds: float) -> None:
        self.world.tell("fault", f"{kind} for {seconds:.0f} s")
        if kind.startswith("image broken"):
            self.world.break_image(seconds)
        self.faults.begin(kind, seconds)

    def _end_faults(self) -> None:
        for vm in self._plants:
            self.world.vms.pop(vm.id, None)
        self._plants = []
        self._opening_tries = 0
        for vm in self.world.own():
            # The others stay, through the reckoning and longer: no VM can be got rid of at all times.
            vm.kept = vm.kept and self.engine.chance(0.5)
            # As an event, so that no time is passed over as if nothing had changed.
            if vm.drained:
                self.engine.after(0.0, lambda vm=vm: self.world.open(vm))  # type: ignore[misc]

    def _befall(self, kind: str) -> None:
        engine, world = self.engine, self.world
        own = world.own()
        joined = [vm for vm in own if vm.joined]
        # By what but its tag should the daemon know one of which it has not heard yet?
        known = [vm for vm in own if vm.id in self.core.memory.vms]
        if kind == "foreign VM with an own VM's address":
            vm = world.create(own=False, token="")
            vm.state = engine.random.choice((InstanceState.RUNNING, InstanceState.PENDING, InstanceState.STOPPED))
            vm.address = engine.random.choice(own).address if own else "10.0.0.2"
            vm.name = "elastiq-default"
            vm.cluster, vm.pool = engine.random.choice((("", ""), ("other", "default")))
            self._plants.append(vm)
        elif kind == "collector restarts empty":
            world.restart_collector()
        elif kind == "administrator opens closed workers":
            # Between two passes: whoever opens a worker in the very moment of its termination kills a job himself.
            self._opening_tries = 200
            return
        elif kind == "flavour changed":
            self._change_flavour()
        elif kind == "configuration reload":
            self._reload()
        elif kind == "restart":
            self._restart_wanted = True
        elif kind == "worker listed twice" and joined:
            vm = engine.random.choice(joined)
            ad = Ad(vm, f"old-{vm.id}.pool", *self._ad_keys(vm), engine.time)
            ad.frozen = world.picture(vm)
            world.ads.append(ad)
            engine.after(engine.between(60, 900), lambda: world.drop_ad(ad))
        elif kind == "administrator drains workers" and joined:
            for vm in engine.random.sample(joined, engine.random.randint(1, len(joined))):
                # Whoever opens what is going, as these are in the end, kills a job himself.
                if not vm.end_requested:
                    vm.closed = vm.drained = True
        elif kind in ("spot loss", "VM crashes", "VM stops") and own:
            self._lose(kind, engine.random.choice(joined or own))
        elif kind == "tag taken off" and known:
            engine.random.choice(known).give("", "")
        elif kind == "VM in error while jobs run" and joined:
            engine.random.choice(joined).state = InstanceState.ERROR
        else:
            return
        self.book.faults[kind] += 1
        world.tell("fault", kind)

    def _ad_keys(self, vm: Vm) -> tuple[str | None, str | None]:
        by = self.traits.advertises
        return (vm.id if by == "id" else None, vm.address if by != "name" else None)

    def _lose(self, kind: str, vm: Vm) -> None:
        if vm.state is not InstanceState.RUNNING:
            return
        if kind == "VM stops":
            vm.state = InstanceState.STOPPED
            self.world.lose_worker(vm)
        elif kind == "spot loss":
            vm.detail = "Server.SpotInstanceTermination"
            self.world.gone(vm)
        else:
            # Its kernel hangs: the cloud knows nothing of it.
            self.world.lose_worker(vm)

    def _reload(self) -> None:
        random = self.engine.random
        changed = replace(
            self._reload_wanted or self.settings,
            max_vms=random.randint(max(1, self.settings.min_vms), 6),
            idle_for_time_s=random.choice((300.0, 900.0)),
            waiting_jobs_time_s=random.choice((0.0, 40.0, 120.0)),
        )
        self._reload_wanted = changed

    def _change_flavour(self) -> None:
        """Let people change the type of new VMs, and send jobs that only the larger one holds."""
        engine, world = self.engine, self.world
        wanted = self._reload_wanted or self.settings
        self._reload_wanted = replace(wanted, flavour=SMALL if wanted.flavour == LARGE else LARGE)
        least, most = self.traits.capacity.cpus + 1, world.capacity_of(LARGE).cpus
        for _ in range(engine.random.randint(1, 3)):
            world.submit(Shape(engine.random.randint(least, most)), engine.between(60, 600))

    _reload_wanted: Settings | None = None

    def _recovery_seconds(self) -> float:
        """Return how long the daemon may take to put everything right after the last fault.

        The sum of the longest pauses that it may have to sit out one after the other.
        """
        settings, traits = self.settings, self.traits
        checks = settings.check_queue_every_s + settings.check_vms_every_s
        pauses = (
            patience.BOOT_PAUSES_SECONDS[-1]
            + patience.MISSING_GRACE_SECONDS
            + 2 * patience.RETRY_SECONDS[-1]
            + patience.SETTLE_SECONDS
        )
        life = 2 * settings.estimated_vm_deploy_time_s + settings.lost_worker_time_s + settings.idle_for_time_s
        batch = traits.lease_seconds + traits.ad_lifetime_seconds + traits.advertise_seconds
        return pauses + life + batch + settings.waiting_jobs_time_s + 8 * checks + HOUR

    def _run_until(self, until: float) -> None:
        engine = self.engine
        while engine.time < until:
            if self._next_step_at > until:
                engine.run_until(until)
                return
            if engine.time < self._next_step_at:
                engine.run_until(self._next_step_at)
            self._step()
            pause = max(0.1, self.core.seconds_to_next_check())
            self._next_step_at = engine.time + pause
            if self.options.skip:
                self._skip(until)

    def _step(self) -> None:
        """Let the daemon do one pass, and start it again if it does not survive that."""
        world, gate, state = self.world, self.gate, self._state
        assert state is not None
        if self._opening_tries:
            self._open_closed_workers()
        self._pass_began_at = self.clock.now()
        self.book.work["passes"] += 1
        self.book.work["passes in faults"] += self.faults.any
        self._memory_before: Memory | None = self.core.memory
        if self._reload_wanted is not None:
            self.settings, self._reload_wanted = self._reload_wanted, None
            world.settings = self.settings
            world.broken_excuse += 1
            self.core.reconfigure(self.settings, self.batch, self.cloud)
        state.recorded.clear()
        state.failed = False
        gate.acts = 0
        try:
            self.core.step()
        except Killed as killed:
            world.tell("killed", killed)
            self._restart()
            return
        if gate.stopped or self._restart_wanted:
            self._restart()
            return
        self._check_records(gate, state)

    def _open_closed_workers(self) -> None:
        """Open, as an administrator may, what elastiq has closed; there are few moments at which there is any."""
        self._opening_tries -= 1
        closed = [vm for vm in self.world.own() if vm.closed and not (vm.end_requested or vm.drained)]
        if not closed:
            return
        self._opening_tries = 0
        self.book.faults["administrator opens closed workers"] += 1
        for vm in closed:
            self.world.open(vm)

    def _check_records(self, gate: Gate, state: WatchedState) -> None:
        done = gate.done
        if done:
            if not state.failed:
                for kind, subject in done:
                    reasons = [reason for k, s, reason, well in state.recorded if (k, s) == (kind, subject) and well]
                    self.book.check("reason recorded", any(reasons), f"{kind} {subject} has no recorded reason")
            done.clear()

    def _restart(self) -> None:
        """End the process as it stands; start it again some time later, with whatever befalls its clock and disk."""
        engine, book, world = self.engine, self.book, self.world
        self._restart_wanted = False
        self._memory_before = None
        assert self._state is not None
        self._state.close()
        downtime = engine.random.choice((1.0, 5.0, 60.0, 900.0, 5000.0))
        engine.run_until(engine.time + downtime * engine.between(0.5, 1.5))
        if not self._calm:
            if engine.chance(0.25):
                step = engine.between(0.1, 6) * HOUR
                forward = engine.chance(0.5)
                self._offset_seconds += step if forward else -step
                for vm in world.own():
                    if vm.lost_at is not None:
                        vm.lost_at = min(vm.lost_at, engine.time + self._offset_seconds)
                    # Their launches, journalled by the clock as it was before, cannot be told by time any more.
                    vm.excused = vm.excused or not (vm.cluster or self.traits.shows_tokens)
                book.faults["wall clock goes forward" if forward else "wall clock goes back"] += 1
            if engine.chance(0.1):
                self._damage()
        self._start()
        world.tell("started", f"clock offset {self._offset_seconds:.0f} s")
        self._next_step_at = engine.time

    def _damage(self) -> None:
        self.book.faults["database damaged"] += 1
        if self.disk is not None:
            self.disk = Disk()
            self.disk.damaged_at = self.engine.time + self._offset_seconds
        else:
            (self.directory / DATABASE).write_bytes(b"\0garbage" * 100)
        for vm in self.world.vms.values():
            vm.served_at, vm.recorded = None, False
            vm.lost_at = self.engine.time + self._offset_seconds
            if vm.kept:
                self.world.come_back(vm)
            if vm.own and not vm.cluster:
                vm.excused = True
        self.world.broken_excuse += (self.settings.max_vms or 0) + 6

    def _reckon(self) -> None:
        """See whether everything is in order again."""
        world, check, core = self.world, self.book.check, self.core
        memory = core.memory
        now = self.engine.time
        own = [vm for vm in world.own() if not vm.excused or vm.id in memory.vms]
        for vm in own:
            check("no VM lost", vm.id in memory.vms, f"{vm.id} ({vm.state.value}) is not known")
            check("no VM lost", bool(vm.cluster), f"{vm.id} has no tag by which it could be found again")
        noticed_by = now - 3 * self.settings.check_vms_every_s - 300.0
        for id_ in memory.vms:
            gone_at = world.gone_at.get(id_, now)
            check("no ghost", gone_at > noticed_by, f"{id_} has been gone for {now - gone_at:.0f} s and still counts")
        settings = self.settings
        # elastiq can do no more about a VM that the cloud keeps than to ask for its end again and again.
        grace = patience.TERMINATE_AGAIN_SECONDS + 3 * settings.check_vms_every_s + 60.0
        kept = [vm for vm in own if vm.kept and vm.end_requested and now - vm.end_asked_at <= grace]
        own = [vm for vm in own if vm not in kept]
        slack = settings.check_vms_every_s * 3 + settings.idle_for_time_s + settings.lost_worker_time_s + 1800.0
        idle = [vm for vm in own if not vm.jobs and now - max(vm.idle_since, vm.created_at) > slack]
        check("no VM idle for good", len(idle) <= settings.min_vms, f"idle: {', '.join(vm.id for vm in idle)}")
        working = [vm for vm in own if vm.joined and not vm.closed]
        minimum = min(settings.min_vms, (settings.max_vms or 0) - len(kept))
        check("minimum reached", len(own) >= minimum, f"{len(own)} of {minimum} VMs")
        waiting = [job for job in world.waiting if world.is_feasible(job)]
        if len(waiting) < settings.waiting_jobs_threshold:
            waiting = []
        # One that has idled for long is in the way of jobs that it does not hold.
        in_use = [vm for vm in working if vm not in idle]
        full = settings.max_vms is not None and len(in_use) + len(kept) >= settings.max_vms
        roomy = [] if world.negotiating else working
        stuck = [job for job in waiting if not full or any(world.has_room(job, vm) for vm in roomy)]
        check("no job stuck", not stuck, f"{len(stuck)} of {len(world.waiting)} jobs wait")
        # Those that cannot run any more are taken out by their owners.
        world.waiting = [job for job in world.waiting if world.is_feasible(job)]

    def _quiet_until(self, before: Memory | None) -> float:
        """Return until when the daemon, asked again, would do the same nothing; now, if that is not sure.

        The pass that has just ended changed nothing, and every part of what it saw is as it was: so only an event of
        the world or one of the daemon's own limits can make a difference. If the queue alone is known to be as it was,
        the next look at the VMs ends the quiet.
        """
        engine, core = self.engine, self.core
        memory, reading = core.memory, core.reading
        version = engine.version
        if (
            before is None
            or self.faults.any
            or self.gate.acts
            or self._restart_wanted
            or self._reload_wanted is not None
            or version != self.batch.demand_version
            or None in (reading.demand, reading.workers, reading.instances)
            or memory != before
        ):
            return engine.time
        unclear = any(
            record.leaving or record.missing_since is not None or not record.tagged for record in memory.vms.values()
        )
        ahead = engine.time - self.clock.now()
        known = version == self.batch.workers_version == self.cloud.list_version
        if not known or unclear or memory.intents or memory.to_forget:
            timers = [at for at in self._timers() if at >= self._pass_began_at]
            return min([engine.next_event_at, core.vms_due_at + ahead, *(at + ahead for at in timers)])
        # A limit that was passed after the last look will be noticed at the next one.
        looked_at = min(reading.demand_at, reading.workers_at, reading.instances_at)
        return min([engine.next_event_at, *(at + ahead for at in self._timers() if at >= looked_at)])

    def _skip(self, until: float) -> None:
        """Pass over the time in which nothing can change."""
        moment = min(until, self._quiet_until(self._memory_before))
        if moment <= self._next_step_at:
            return
        if self.options.prove_skips:
            self._prove(moment)
            return
        self.book.work["seconds passed over"] += int(moment - self._next_step_at)
        checks_due_at = self.core.vms_due_at + self.engine.time - self.clock.now()
        # The daemon notices an event some time after it, at a check; a check is on time.
        late = 0.0 if moment == checks_due_at else self.engine.random.random() * self.settings.check_queue_every_s
        self._next_step_at = moment + late
        self.batch.asked_at = self._next_step_at
        self.cloud.listed_at = max(self.cloud.listed_at, self._next_step_at - self.settings.check_vms_every_s)

    def _prove(self, moment: float) -> None:
        """Take every step until `moment` and see that nothing comes of it."""
        engine = self.engine
        while self._next_step_at < moment:
            engine.run_until(self._next_step_at)
            before, version = self.core.memory, engine.version
            self._step()
            if engine.version != version or engine.time >= moment:
                return  # its calls took so long that the quiet was over
            if self.gate.acts or self.core.memory != before:
                raise Violation(f"the simulator would have passed over something at {engine.time}")
            self.book.tested["time passed over is quiet"] += 1
            self._next_step_at = engine.time + max(0.1, self.core.seconds_to_next_check())

    def _timers(self) -> Iterator[float]:
        """Yield every moment at which a plan for the same world may come out differently, by the daemon's clock."""
        core, settings = self.core, self.settings
        memory, reading = core.memory, core.reading
        for record in memory.vms.values():
            yield record.terminate_retry_at
            yield record.reopen_retry_at
            if record.joined_at is None:
                yield record.awaited_since + settings.estimated_vm_deploy_time_s
            if record.lost_since is not None:
                yield record.lost_since + patience.OUT_OF_SIGHT_SECONDS
                yield record.lost_since + settings.lost_worker_time_s
        for worker in reading.workers or ():
            if worker.idle_seconds is not None:
                idle_since = reading.workers_at - worker.idle_seconds
                yield idle_since + settings.idle_for_time_s
                yield idle_since + settings.idle_for_time_s + settings.lost_worker_time_s
        for gone in memory.to_forget.values():
            yield gone.retry_at
        for breaker in memory.breakers.values():
            yield breaker.paused_until
        if memory.waiting_since is not None:
            yield memory.waiting_since + settings.waiting_jobs_time_s
            yield memory.waiting_since + settings.estimated_vm_deploy_time_s


def draw_traits(random: Random, dialect: str) -> Traits:
    """Return a kind of cloud and batch system."""
    cpus = random.choice((1, 2, 4, 8))
    openstack = (dialect or random.choice(("aws", "openstack"))) == "openstack"
    return Traits(
        dialect="openstack" if openstack else "aws",
        capacity=Shape(cpus, cpus * 2000),
        boot_seconds=random.choice((30.0, 90.0, 180.0)),
        run_seconds=random.choice((5.0, 20.0, 60.0)),
        addresses=random.choice((8, 16, 250)),
        advertises=random.choice(("id", "address", "name")),
        exits_when_closed=random.random() < 0.5,
        negotiation_seconds=random.choice((2.0, 20.0, 60.0)),
        ad_lifetime_seconds=random.choice((30.0, 300.0, 900.0)),
        advertise_seconds=random.choice((5.0, 60.0, 300.0)),
        lease_seconds=random.choice((60.0, 600.0, 2400.0)),
        tells_capacity=random.random() < 0.5,
        shows_tokens=not openstack or random.random() < 0.7,
    )


def draw_settings(random: Random, traits: Traits) -> Settings:
    """Return a configuration that people may have, with longer intervals more often than most have."""
    maximum = random.randint(1, 6)
    deploy = random.choice((420.0, 600.0, 1200.0))
    return Settings(
        check_queue_every_s=random.choice((15.0, 60.0, 120.0, 300.0)),
        check_vms_every_s=random.choice((45.0, 180.0, 300.0, 600.0)),
        check_vms_in_error_every_s=random.choice((20.0, 60.0, 120.0)),
        estimated_vm_deploy_time_s=deploy,
        waiting_jobs_threshold=random.choice((0, 0, 0, 1, 3)),
        waiting_jobs_time_s=random.choice((0.0, 40.0, 120.0)),
        n_jobs_per_vm=random.choice((None, None, 1, 4)),
        idle_for_time_s=random.choice((300.0, 900.0, 3600.0)),
        lost_worker_time_s=random.choice((600.0, 1800.0, 3600.0)),
        cluster_name=CLUSTER,
        min_vms=random.choice((0, 0, 0, 1, min(2, maximum))),
        max_vms=maximum,
        flavour=random.choice(("", "sim.small")),
        image_id=IMAGE,
        batch_plugin="simulated",
    )
