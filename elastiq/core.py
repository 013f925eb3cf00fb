"""The daemon's loop, one pass at a time: check what is due, plan, act, record, report."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from elastiq.actuator import Actuator, DryRunActuator
from elastiq.clock import Clock
from elastiq.cloud import Cloud
from elastiq.config import Settings
from elastiq.errors import BatchError, CloudError, ElastiqError
from elastiq.model import Breaker, Demand, Departed, Instance, Kind, Memory, Observation, Plan, Worker
from elastiq.planner import plan
from elastiq.plugins import BatchSystem
from elastiq.reporter import Reporter
from elastiq.state import State
from elastiq.tracking import RETRY_SECONDS, SETTLE_SECONDS, UNSEEN_SECONDS

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

CAPACITY_RETRY_SECONDS = 3600.0

FORGET_FOR_SECONDS = 3600.0
"""The batch system is told for so long of a worker whose VM is gone; later another VM may well have its address."""

FORGETTING_BUDGET_SECONDS = 5.0
"""So long at most in one pass."""

TAG_AFTER_SECONDS = 60.0
"""Tags may show up in listings only some time after the launch."""


@dataclass(frozen=True)
class Reading:
    """The last answers of the world, when each was asked for, and what went wrong since."""

    demand: tuple[Demand, ...] | None = None
    demand_at: float = 0.0
    workers: tuple[Worker, ...] | None = None
    workers_at: float = 0.0
    instances: tuple[Instance, ...] | None = None
    instances_at: float = 0.0
    queue_fault: str = ""
    workers_fault: str = ""
    cloud_fault: str = ""

    def observation(self, now: float) -> Observation:
        """Return the reading as one view with ages."""
        faults = tuple(fault for fault in (self.queue_fault, self.workers_fault, self.cloud_fault) if fault)
        return Observation(
            now,
            self.demand,
            now - self.demand_at,
            self.workers,
            now - self.workers_at,
            self.instances,
            now - self.instances_at,
            faults,
        )


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
        """Load what was remembered. Raise StateError if that can not be read."""
        self._clock, self._state, self._new_token = clock, state, new_token
        self._memory: Memory = state.adopt_legacy(state.load(clock.now()), clock.now())
        self._reporter = Reporter(clock, state)
        self._reading = Reading()
        self._features = cloud.refused_features
        self.reconfigure(settings, batch, cloud)

    def reconfigure(self, settings: Settings, batch: BatchSystem, cloud: Cloud) -> None:
        """Go on with another configuration and its ports; what is remembered stays, pauses of launches end."""
        self._settings, self._policy, self._batch, self._cloud = settings, settings.policy(), batch, cloud
        kind = DryRunActuator if settings.dry_run_boot_vms or settings.dry_run_shutdown_vms else Actuator
        self._actuator = kind(self._clock, batch, cloud, self._state, self._policy.pools, self._new_token)
        if isinstance(self._actuator, DryRunActuator):
            self._actuator.boot, self._actuator.shutdown = settings.dry_run_boot_vms, settings.dry_run_shutdown_vms
        breakers = {name: replace(breaker, closed_until=0.0) for name, breaker in self._memory.breakers.items()}
        self._memory = replace(self._memory, breakers=breakers)
        self._pause_after_damage()
        self._queue_due_at = self._vms_due_at = self._capacity_due_at = 0.0

    def _pause_after_damage(self) -> None:
        """Launch nothing while listings may still leave out VMs of launches that only a lost database knew of."""
        now, damaged_at = self._clock.now(), self._state.damaged_at()
        until = 0.0 if damaged_at is None else min(now, damaged_at) + SETTLE_SECONDS + UNSEEN_SECONDS
        if now >= until:
            return
        reason = "the state database was damaged, and VMs launched just before may not be listed yet"
        paused = {
            pool.name: replace(self._memory.breakers.get(pool.name, Breaker()), closed_until=until, reason=reason)
            for pool in self._policy.pools
        }
        self._memory = replace(self._memory, breakers={**self._memory.breakers, **paused})

    def stop(self) -> None:
        """Begin nothing new; safe in a signal handler."""
        self._actuator.stopping = True

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
            self._check_vms()
            checked = True
        if self._clock.now() >= self._queue_due_at:
            self._check_queue()
            checked = True
        if not checked or self._actuator.stopping:
            return
        made = self._plan()
        if _launches(made) and self._reading.workers_at < now - self._settings.check_queue_every_s:
            # What is about to cost money is decided on fresh facts.
            self._check_workers()
            if self._reading.workers is None:
                self._vms_due_at = min(self._vms_due_at, now + self._settings.check_queue_every_s)
            made = self._plan()
        self._state.save(made.memory)
        self._memory = made.memory
        for record in made.departed:
            log.warning("VM %s is gone and elastiq did not terminate it: %s", record.id, record.detail or "no reason")
        self._forget_departed()
        self._memory, outcomes = self._actuator.act(made, self._memory)
        self._reporter.cycle(made, outcomes)
        self._state.save(self._memory)
        self._reporter.report(made, self._settings)
        self._keep_features()
        self._schedule()

    def _plan(self) -> Plan:
        return plan(self._reading.observation(self._clock.now()), self._memory, self._policy)

    def _check_queue(self) -> None:
        now = self._clock.now()
        self._queue_due_at = now + max(self._settings.check_queue_every_s, self._settings.sleep_s)
        demand, fault = self._ask("queue check", self._batch.demand)
        self._reading = replace(self._reading, demand=demand, demand_at=now, queue_fault=fault)

    def _check_vms(self) -> None:
        now = self._clock.now()
        settings = self._settings
        booting = any(record.joined_at is None for record in self._memory.vms.values())
        pause = min(settings.check_vms_every_s, settings.check_vms_in_error_every_s if booting else float("inf"))
        self._check_workers()
        memory = self._memory
        # A listing by tag can not tell a VM that has lost its tag from one that is gone.
        doubtful = any(not record.tagged or record.missing_since is not None for record in memory.vms.values())
        everything = bool(memory.intents or memory.former) or doubtful
        instances, fault = self._ask("VM check", lambda: self._cloud.list_instances(everything=everything))
        self._reading = replace(self._reading, instances=instances, instances_at=now, cloud_fault=fault)
        if instances is None or self._reading.workers is None:
            pause = min(pause, settings.check_queue_every_s)
        self._vms_due_at = now + max(pause, settings.sleep_s)
        if instances is not None:
            self._tag_untagged(now)
            self._learn_capacity(now)

    def _check_workers(self) -> None:
        now = self._clock.now()
        workers, fault = self._ask("worker check", self._batch.workers)
        self._reading = replace(self._reading, workers=workers, workers_at=now, workers_fault=fault)

    def _ask(self, what: str, call: Callable[[], Answer]) -> tuple[Answer | None, str]:
        """Return the answer, or None and why there is none."""
        try:
            answer = call()
        except (BatchError, CloudError) as error:
            fault = f"{what} failed: {error}"
            if not self._actuator.stopping:  # a call that is abandoned to stop is no fault
                self._reporter.error(what, fault)
            return None, fault
        self._reporter.fine(what)
        return answer, ""

    def _tag_untagged(self, now: float) -> None:
        """Tag VMs that the cloud could not tag in the launch, so that they are found again whatever is lost here."""
        listed = {instance.id for instance in self._reading.instances or () if instance.state.alive}
        groups: dict[tuple[str, str], list[str]] = {}
        for record in self._memory.vms.values():
            if record.id in listed and not record.tagged and record.launched_at < now - TAG_AFTER_SECONDS:
                groups.setdefault((record.pool, record.token), []).append(record.id)
        for (pool, token), ids in groups.items():
            if pool in self._actuator.pools:
                self._ask("tagging", lambda: self._cloud.tag(ids, self._actuator.pools[pool], token))  # noqa: B023

    def _learn_capacity(self, now: float) -> None:
        """Ask what a VM holds where that decides how many are launched and no worker has shown it yet."""
        if self._settings.n_jobs_per_vm is not None or now < self._capacity_due_at:
            return
        for pool in self._policy.pools:
            if pool.instance_type and pool.capacity_key not in self._memory.capacities:
                self._capacity_due_at = now + CAPACITY_RETRY_SECONDS
                try:
                    capacities = {**self._memory.capacities, pool.capacity_key: self._cloud.capacity(pool)}
                except CloudError as error:
                    log.info("the cloud does not say what a %s holds, so workers will: %s", pool.instance_type, error)
                else:
                    self._memory = replace(self._memory, capacities=capacities)

    def _forget_departed(self) -> None:
        """Tell the batch system of VMs that died by themselves, so that it sends no more jobs there."""
        began_at = self._clock.now()
        for id_, gone in self._memory.unforgotten.items():
            now = self._clock.now()
            if self._actuator.stopping or now - began_at > FORGETTING_BUDGET_SECONDS:
                return
            if now < gone.retry_at:
                continue
            left = {key: other for key, other in self._memory.unforgotten.items() if key != id_}
            if not self._has_successor(id_, gone) and now - gone.gone_at <= FORGET_FOR_SECONDS:
                worker = Worker(gone.worker_name, instance_id=id_, address=gone.address)
                fault = "not tried"
                if not gone.tries or self._knows_addresses():
                    _, fault = self._ask("removing a dead worker", lambda: self._batch.forget(worker))  # noqa: B023
                if fault:
                    pause = RETRY_SECONDS[min(gone.tries, len(RETRY_SECONDS) - 1)]
                    left[id_] = replace(gone, tries=gone.tries + 1, retry_at=self._clock.now() + pause)
            self._memory = replace(self._memory, unforgotten=left)

    def _has_successor(self, id_: str, gone: Departed) -> bool:
        """Return whether a VM has the address or the worker's name of one that is gone, or is it, back again."""
        own = self._memory.vms
        listed = [instance for instance in self._reading.instances or () if instance.state.alive]
        names = {record.worker_name for record in own.values()}
        addresses = {record.address for record in own.values()} | {one.address for one in listed if one.id != id_}
        return id_ in own or gone.worker_name in names or (gone.address is not None and gone.address in addresses)

    def _knows_addresses(self) -> bool:
        """Return whether a successor would be known: by now there may be one, and batch systems go by address."""
        return self._reading.instances is not None and all(record.address for record in self._memory.vms.values())

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
            self._state.save_refused_features(features)
            self._features = features


def _launches(made: Plan) -> bool:
    return any(decision.kind is Kind.LAUNCH for decision in made.decisions)
