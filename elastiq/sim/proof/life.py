"""The life of one cluster: episodes of work and faults, each followed by calm and a reckoning."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from elastiq.config import Settings
from elastiq.core import Core
from elastiq.memory import Memory
from elastiq.ports import Ports
from elastiq.sim.batch import SimBatch
from elastiq.sim.cloud import SimCloud
from elastiq.sim.engine import DAY, HOUR, Engine, SimClock
from elastiq.sim.proof.arrivals import Arrivals
from elastiq.sim.proof.book import Book, Killed, Violation
from elastiq.sim.proof.crowd import Crowd, made_of_offers
from elastiq.sim.proof.disks import Disk, QuickState, WatchedState
from elastiq.sim.proof.draw import draw_settings, draw_traits, made_adaptive
from elastiq.sim.proof.faults import Faults
from elastiq.sim.proof.gate import Gate
from elastiq.sim.proof.reckoning import Reckoning
from elastiq.sim.proof.skipping import Skipping
from elastiq.sim.proof.till import Till, made_of_money
from elastiq.sim.proof.trouble import Trouble
from elastiq.sim.proof.vain import Vain
from elastiq.sim.things import CLUSTER, START, Vm
from elastiq.sim.world import World
from elastiq.state import State

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
    in_vain: float = 0.25
    """Share of the lives in which jobs never start, workers are of no use, or the cloud gives nothing."""
    adaptive: float = 0.0
    """Share of the lives with the policy adaptive."""
    wide: float = 0.0
    """Share of the lives in which jobs of several VMs come, too."""
    offers: float = 0.0
    """Share of the lives with several types, zones and markets, whose room comes and goes."""
    money: float = 0.0
    """Share of the lives with prices, caps in money and schedules."""
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
        of_policy = Random(f"policy {seed}")  # noqa: S311 (a simulation must be repeatable)
        if of_policy.random() < options.adaptive:
            self.settings = made_adaptive(self.settings, of_policy)
        of_offers = Random(f"offers {seed}")  # noqa: S311
        has_offers = of_offers.random() < options.offers
        if has_offers:
            self.settings = made_of_offers(self.settings, of_offers)
        of_money = Random(f"money {seed}")  # noqa: S311
        has_money = of_money.random() < options.money
        if has_money:
            self.settings = made_of_money(self.settings, of_money)
        self.faults = Faults(self.engine, self.book)
        self.world = World(self.engine, self.book, self.faults, self.traits, self.settings)
        self.world.crowd = Crowd(self.engine, self.book, seed) if has_offers else None
        self.world.till = Till(self.world) if has_money else None
        self.disk: Disk | None = None if random.random() < options.real_state else Disk()
        self.offset_seconds = 0.0
        """How wrong the daemon's clock is."""
        self._tokens = 0
        self.arrivals, self.trouble = Arrivals(self, seed), Trouble(self)
        self.reckoning, self.skipping, self.vain = Reckoning(self), Skipping(self), Vain(self, seed)
        self.restart_wanted = False
        self.reload_wanted: Settings | None = None
        self.opening_tries = 0
        """How often it is still looked for closed workers that an administrator could open."""
        self.memory_before: Memory | None = None
        self.calm = True
        self.next_step_at = START
        self.plants: list[Vm] = []
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
        self.clock = SimClock(self.engine, self.offset_seconds)
        self.batch, self.cloud = SimBatch(world, self.gate), SimCloud(world, self.gate)
        self._state = WatchedState(self._open_state(), world, self.gate)
        self.core = Core(self.settings, Ports(self.clock, self.batch, self.cloud, self._state), self._new_token)
        self.gate.stop = self.core.stop
        world.witness.last_served = set()
        world.witness.offset_seconds = self.offset_seconds
        world.witness.broken_excuse += 1
        self.book.work["starts of the daemon"] += 1

    def _open_state(self) -> State | QuickState:
        if self.disk is not None:
            return QuickState(self.disk)
        return State(self.directory, self.clock.now(), is_durable=False)

    def _new_token(self) -> str:
        self._tokens += 1
        return f"elastiq-{self._tokens:08d}"

    def run(self) -> None:
        """Live through one episode after the other."""
        end = START + self.options.life_seconds
        self.run_until(START + 60.0)
        while self.engine.time < end:
            self._episode()
            self.run_until(self._next_episode_at())

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
        self.calm = False
        self.vain.end()
        chaos_seconds = engine.between(0.3, 2.0) * HOUR
        work_seconds = self.arrivals.come(chaos_seconds)
        self.trouble.plan(chaos_seconds)
        if self.world.crowd is not None:
            self.world.crowd.come(chaos_seconds)
        self.vain.plan(chaos_seconds)
        self.run_until(engine.time + chaos_seconds)
        while self.faults.any:
            self.run_until(engine.time + 60.0)
        self.trouble.end()
        self.calm = True
        self.run_until(engine.time + 3 * HOUR)
        self._heed_reports()
        seconds = self.reckoning.recovery_seconds() + work_seconds
        self.run_until(engine.time + seconds)
        while (until := self._last_change_at() + seconds) > engine.time:
            self.run_until(until)
        self.reckoning.reckon()
        self.vain.watch()

    def _last_change_at(self) -> float:
        """Return when jobs that wait may last have become such that can start: a trial has shown it, or, of jobs of
        several VMs, another job has left a VM."""
        is_wide = any(len(job.mates) > 1 for job in self.world.waiting)
        return max(self.vain.shown_at(), self.world.last_left_at if is_wide else 0.0)

    def _heed_reports(self) -> None:
        """Tag, as the administrator is told to, VMs that may be of a launch whose answer was lost."""
        for intent in self.core.memory.intents:
            for id_ in intent.lookalikes:
                vm = self.world.vms[id_]
                self.book.check("only its own", vm.own, f"{id_} is taken for a VM of elastiq")
                self.book.work["VMs known by their looks"] += 1
                self.engine.after(0.0, lambda vm=vm: vm.give(CLUSTER, "default"))  # type: ignore[misc]

    def run_until(self, until: float) -> None:
        engine = self.engine
        while engine.time < until:
            if self.next_step_at > until:
                engine.run_until(until)
                return
            if engine.time < self.next_step_at:
                engine.run_until(self.next_step_at)
            self.step()
            pause = max(0.1, self.core.seconds_to_next_check())
            self.next_step_at = engine.time + pause
            if self.options.skip:
                self.skipping.skip(until)

    def step(self) -> None:
        """Let the daemon do one pass, and start it again if it does not survive that."""
        world, gate, state = self.world, self.gate, self._state
        assert state is not None
        if world.till is not None:
            world.till.watch(self.core.last_plan, is_calm=self.calm and not self.faults.any)
        if self.opening_tries:
            self.trouble.open_closed_workers()
        self.pass_began_at = self.clock.now()
        self.book.work["passes"] += 1
        self.book.work["passes in faults"] += self.faults.any
        self.memory_before = self.core.memory
        if self.reload_wanted is not None:
            self.settings, self.reload_wanted = self.reload_wanted, None
            world.settings = self.settings
            world.witness.broken_excuse += 1
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
        if gate.stopped or self.restart_wanted:
            self._restart()
            return
        self._check_records(gate, state)

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
        self.restart_wanted = False
        self.memory_before = None
        assert self._state is not None
        self._state.close()
        downtime = engine.random.choice((1.0, 5.0, 60.0, 900.0, 5000.0))
        engine.run_until(engine.time + downtime * engine.between(0.5, 1.5))
        if not self.calm:
            if engine.chance(0.25):
                if world.till is not None:
                    world.till.lose_count()
                step = engine.between(0.1, 6) * HOUR
                forward = engine.chance(0.5)
                self.offset_seconds += step if forward else -step
                for vm in world.own():
                    if vm.seen.lost_at is not None:
                        vm.seen.lost_at = min(vm.seen.lost_at, engine.time + self.offset_seconds)
                    # Their launches, journalled by the clock as it was before, cannot be told by time any more.
                    vm.seen.excused = vm.seen.excused or not (vm.cluster or self.traits.shows_tokens)
                book.faults["wall clock goes forward" if forward else "wall clock goes back"] += 1
            if engine.chance(0.1):
                if world.till is not None:
                    world.till.lose_count()
                self.trouble.damage()
        self._start()
        world.tell("started", f"clock offset {self.offset_seconds:.0f} s")
        self.next_step_at = engine.time
