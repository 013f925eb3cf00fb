"""The daemon's loop, one pass at a time: check what is due, plan, act, record, report."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import replace

from elastiq.actuator import Actuator, DryRunActuator
from elastiq.chores import Chores
from elastiq.clock import Clock
from elastiq.config import Settings
from elastiq.decisions import Kind, Plan
from elastiq.errors import ElastiqError
from elastiq.memory import Breaker, Memory
from elastiq.observer import Observer, Reading
from elastiq.planning import patience
from elastiq.planning.plan import plan
from elastiq.plugins import BatchSystem
from elastiq.ports import Cloud
from elastiq.report.reporter import Reporter
from elastiq.state import State

log = logging.getLogger(__name__)


class Core:
    """Ties the ports together; it decides nothing and never waits on its own."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        batch: BatchSystem,
        cloud: Cloud,
        state: State,
        new_token: Callable[[], str] = lambda: f"elastiq-{uuid.uuid4()}",
    ) -> None:
        """Load what was remembered. Raise StateError if that cannot be read."""
        self._clock, self._state, self._new_token = clock, state, new_token
        self._memory: Memory = state.adopt_legacy(state.load(clock.now()), clock.now())
        self._reporter = Reporter(clock, state)
        self._observer = Observer(clock, batch, cloud, self._reporter, Reading())
        self._last_plan: Plan | None = None
        """The plan of the last pass with a check; None if it was given up, as its figures are not true any more."""
        self.reconfigure(settings, batch, cloud)

    def reconfigure(self, settings: Settings, batch: BatchSystem, cloud: Cloud) -> None:
        """Go on with another configuration and its ports; what is remembered stays, pauses of launches end."""
        self._settings, self._policy, self._cloud = settings, settings.policy(), cloud
        self._features = cloud.refused_features
        self._observer = Observer(self._clock, batch, cloud, self._reporter, self._observer.reading)
        self._chores = Chores(self._clock, batch, cloud, self._observer, self._policy.pools)
        kind = DryRunActuator if settings.dry_run_boot_vms or settings.dry_run_shutdown_vms else Actuator
        self._actuator = kind(self._clock, batch, cloud, self._state, self._policy.pools, self._new_token)
        self._actuator.image_id = self._policy.image_id
        if isinstance(self._actuator, DryRunActuator):
            self._actuator.boot, self._actuator.shutdown = settings.dry_run_boot_vms, settings.dry_run_shutdown_vms
        breakers = {name: replace(breaker, paused_until=0.0) for name, breaker in self._memory.breakers.items()}
        self._memory = replace(self._memory, breakers=breakers)
        self._pause_after_damage()
        self._queue_due_at = self._vms_due_at = 0.0

    def _pause_after_damage(self) -> None:
        """Launch nothing while listings may still leave out VMs of launches that only a lost database knew of."""
        now, damaged_at = self._clock.now(), self._state.damaged_at()
        until = 0.0 if damaged_at is None else min(now, damaged_at) + patience.SETTLE_SECONDS + patience.UNSEEN_SECONDS
        if now >= until:
            return
        reason = "the state database was damaged, and VMs launched just before may not be listed yet"
        paused = {
            pool.name: replace(self._memory.breakers.get(pool.name, Breaker()), paused_until=until, reason=reason)
            for pool in self._policy.pools
        }
        self._memory = replace(self._memory, breakers={**self._memory.breakers, **paused})

    @property
    def memory(self) -> Memory:
        """What is remembered, as of the last pass."""
        return self._memory

    @property
    def reading(self) -> Reading:
        """The last answers of the batch system and the cloud."""
        return self._observer.reading

    @property
    def vms_due_at(self) -> float:
        """When workers and VMs are looked at again."""
        return self._vms_due_at

    def stop(self) -> None:
        """Begin nothing new; safe in a signal handler."""
        self._actuator.stopping = self._observer.stopping = True

    def step(self) -> None:
        """Do one pass. It never raises: what went wrong is logged, shown by `status`, and tried again."""
        try:
            self._pass()
        except ElastiqError as error:
            self._reporter.error("pass", f"this pass was given up: {error}")
        except Exception as error:
            log.exception("this pass was given up because of a defect in elastiq; the next one starts afresh")
            self._reporter.error("defect", f"a defect in elastiq ended a pass: {type(error).__name__}: {error}")

    def seconds_to_next_check(self) -> float:
        """Return after how many seconds something is due again."""
        return max(0.0, min(self._queue_due_at, self._vms_due_at) - self._clock.now())

    def _pass(self) -> None:
        now = self._clock.now()
        checked = False
        if now >= self._vms_due_at:
            self._last_plan, checked = None, True
            self._check_vms()
        if self._clock.now() >= self._queue_due_at:
            self._last_plan, checked = None, True
            self._check_queue()
        if self._actuator.stopping:
            return
        if not checked:
            if self._last_plan is not None:
                self._reporter.report(self._last_plan, self._settings)
            return
        made = self._plan()
        if _launches(made) and self._look_again(now):
            made = self._plan()
        self._state.save(made.memory)
        self._memory = made.memory
        for record in made.departed:
            log.warning("VM %s is gone and elastiq did not terminate it: %s", record.id, record.detail or "no reason")
        for memory in self._chores.forget_departed(self._memory, now):
            self._memory = memory
        try:
            self._actuator.act(made, self._memory)
        finally:
            # Also if a defect ends the pass: what was begun must not be forgotten, nor why.
            self._memory = self._actuator.memory
            self._reporter.cycle(made, self._actuator.outcomes)
        self._state.save(self._memory)
        self._last_plan = made
        self._reporter.report(made, self._settings)
        self._keep_features()
        self._schedule()

    def _look_again(self, pass_began_at: float) -> bool:
        """Make sure that what is about to cost money is decided on fresh facts; return whether anything was asked.

        The queue has to be read after the workers: a job that started in between would count as waiting, and as one
        that leaves no room for others.
        """
        observer, settings = self._observer, self._settings
        if observer.reading.workers_at < pass_began_at - settings.check_queue_every_s:
            observer.check_workers()
            if observer.reading.workers is None:
                self._vms_due_at = min(self._vms_due_at, pass_began_at + settings.check_queue_every_s)
        elif observer.reading.demand_at >= observer.reading.workers_at:
            return False
        self._check_queue()
        return True

    def _plan(self) -> Plan:
        return plan(self._observer.reading.observation(self._clock.now()), self._memory, self._policy)

    def _check_queue(self) -> None:
        self._queue_due_at = self._clock.now() + max(self._settings.check_queue_every_s, self._settings.sleep_s)
        self._observer.check_queue()

    def _check_vms(self) -> None:
        now, settings, observer = self._clock.now(), self._settings, self._observer
        booting = any(record.joined_at is None for record in self._memory.vms.values())
        pause = min(settings.check_vms_every_s, settings.check_vms_in_error_every_s if booting else float("inf"))
        # If they cannot be read, or a defect ends the pass meanwhile, they are asked for again one poll later.
        self._vms_due_at = now + max(min(pause, settings.check_queue_every_s), settings.sleep_s)
        observer.check_workers()
        observer.check_instances(self._memory)
        if observer.reading.instances is not None and observer.reading.workers is not None:
            self._vms_due_at = now + max(pause, settings.sleep_s)
        if observer.reading.instances is not None:
            self._chores.tag_untagged(self._memory)
            if settings.n_jobs_per_vm is None:  # otherwise what a VM holds decides nothing
                self._memory = self._chores.learn_capacity(self._memory)

    def _schedule(self) -> None:
        """See to it that the queue is read again the moment the waiting time is over."""
        if self._memory.waiting_since is not None:
            over_at = self._memory.waiting_since + self._settings.waiting_jobs_time_s + 0.01
            if self._clock.now() < over_at < self._queue_due_at:
                self._queue_due_at = over_at

    def _keep_features(self) -> None:
        """Remember across restarts what the cloud was found to refuse."""
        features = self._cloud.refused_features
        if features != self._features:
            self._state.save_refused_features(self._settings.cloud, features)
            self._features = features


def _launches(made: Plan) -> bool:
    return any(decision.kind is Kind.LAUNCH for decision in made.decisions)
