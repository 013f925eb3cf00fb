"""elastiq's loop on recorded jobs: looks when the real one looks, and has the real plan() decide.

A plan for answers that are what they were comes out as it was, until the moment it names itself. So it is made only if
something is other than at the last look.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from elastiq.config import Settings
from elastiq.core import JUST_AFTER_SECONDS
from elastiq.decisions import Decision, End, Kind, Outcome, Plan
from elastiq.memory import Intent, Memory
from elastiq.model import Observation, Offer, Policy, Shape
from elastiq.planning.adaptive import TOGETHER_SECONDS
from elastiq.planning.learning import learn
from elastiq.planning.moments import look_at, wake_at
from elastiq.planning.plan import plan
from elastiq.sim.replay.cluster import Cluster
from elastiq.sim.replay.glance import Shown, Standing, is_plain, is_quiet, remembered
from elastiq.sim.replay.work import Work

STUCK_SECONDS = 30 * 86400.0
"""If no job has started or ended for so long, those that wait will never start."""

LONG_SECONDS = 3600.0
"""A quiet time that is longer is passed over at once."""


@dataclass(frozen=True)
class Rhythm:
    """How often is looked, in seconds."""

    queue_every: float
    vms_every: float
    vms_booting_every: float

    @staticmethod
    def of(settings: Settings) -> Rhythm:
        """Return what the configuration says, as `Core` takes it."""
        options = settings.elastiq
        least = options.sleep_s
        return Rhythm(
            max(options.check_queue_every_s, least),
            max(options.check_vms_every_s, least),
            max(min(options.check_vms_every_s, options.check_vms_in_error_every_s), least),
        )


class Replay:
    """One life of a daemon, until all jobs have ended and all VMs are gone that go."""

    def __init__(
        self, cluster: Cluster, policy: Policy, rhythm: Rhythm, work: Work, *, every_poll: bool = False
    ) -> None:
        """With `every_poll` a plan is made at every look: the same, but slow."""
        self._cluster, self._policy, self._rhythm, self._every_poll = cluster, policy, rhythm, every_poll
        holds = {pool.capacity_key: Shape(work.cores_of(pool.instance_type)) for pool in policy.variants}
        self._memory = Memory(described=holds)
        self._queue_due_at = self._vms_due_at = cluster.now
        self._view = Observation(cluster.now)
        self._demand_at = self._workers_at = self._shown_at = self._instances_at = -math.inf
        self._seen_queue = self._seen_workers = self._seen_vms = self._seen_joined = -1
        self._seen_together = -1, -1
        """What was seen when queue and workers were last looked at in the same moment."""
        self._looks_at_both = policy.is_adaptive
        """Whether the queue is looked at whenever the workers are."""
        self._is_settled = self._is_any_booting = False
        self._is_plain = is_plain(policy, cluster.boot_seconds)
        self._standing: Standing | None = None
        """None: not asked for since the last plan."""
        self._planned_at = -math.inf
        self._wake_at = self._look_at = -math.inf
        self.plans = 0
        """How many were made."""

    def run(self) -> None:
        """Live it."""
        cluster = self._cluster
        while not self._is_over:
            self._pass_over_quiet()
            now = min(self._queue_due_at, self._vms_due_at)
            cluster.run_until(now)
            looks_at_vms = now >= self._vms_due_at
            looks_at_queue = now >= self._queue_due_at or (looks_at_vms and self._looks_at_both)
            if looks_at_vms:
                self._vms_due_at = now + self._vms_pause
            is_news = self._every_poll or self._is_news(now, looks_at_vms=looks_at_vms, looks_at_queue=looks_at_queue)
            if is_news and not self._glance(now, looks_at_vms=looks_at_vms, looks_at_queue=looks_at_queue):
                self._pass(now, looks_at_vms=looks_at_vms, looks_at_queue=looks_at_queue)
            else:
                self._pass_over(now, looks_at_vms=looks_at_vms, looks_at_queue=looks_at_queue)
        cluster.end()

    @property
    def _is_over(self) -> bool:
        cluster = self._cluster
        if cluster.is_done and self._is_settled:
            return cluster.vms <= self._policy.min_vms or (self._wakes_at == math.inf and not self._is_blind)
        return cluster.now - cluster.last_change_at > STUCK_SECONDS and cluster.next_event_at == math.inf

    @property
    def _is_blind(self) -> bool:
        """Whether something has changed since the last look."""
        cluster = self._cluster
        return (self._seen_queue, self._seen_workers, self._seen_vms) != (
            cluster.queue_version,
            cluster.workers_version,
            cluster.vms_version,
        )

    @property
    def _wakes_at(self) -> float:
        return min(self._wake_at, self._look_at)

    def _is_news(self, now: float, *, looks_at_vms: bool, looks_at_queue: bool) -> bool:
        """Return whether a plan may come out differently from the last one."""
        cluster = self._cluster
        if not self._is_settled or now >= self._wake_at:
            return True
        if looks_at_queue and cluster.queue_version != self._seen_queue and (self._view.demand or cluster.has_waiting):
            return True
        if (
            looks_at_vms
            and self._looks_at_both
            and self._seen_together != (cluster.queue_version, cluster.workers_version)
        ):
            return True
        seen = self._seen_workers == cluster.workers_version and self._seen_vms == cluster.vms_version
        # Whether jobs start beside room for them is told by looks at the queue, too.
        is_over = now >= self._look_at and (looks_at_vms or bool(self._view.demand))
        return is_over or (looks_at_vms and not seen)

    def _glance(self, now: float, *, looks_at_vms: bool, looks_at_queue: bool) -> bool:
        """Look, and return whether that was all: no plan would do anything."""
        cluster = self._cluster
        if self._every_poll or now >= self._wake_at:
            return False
        if not looks_at_vms:
            return self._is_plain and self._glance_at_queue(now)
        is_same = (cluster.vms_version, cluster.joined_version) == (self._seen_vms, self._seen_joined)
        if now - self._workers_at < self._rhythm.queue_every:
            return False
        if self._looks_at_both and self._is_plain:
            return self._glance_at_load(now) if is_same and self._is_settled else self._glance_at_news(now)
        if self._looks_at_both or not (is_same and self._is_settled):
            return False
        waits = self._view.demand or (looks_at_queue and cluster.has_waiting)
        if waits or not is_quiet(self._memory):
            return False
        self._memory = remembered(self._memory, cluster.changed, now)
        self._look_at_workers()
        self._look_at = look_at(self._observation(now), self._memory, self._policy)
        return now < self._look_at

    def _glance_at_queue(self, now: float) -> bool:
        """Do so where the policy learns from every look, but not from one at the queue alone: while jobs wait for VMs
        that boot, and after something was done."""
        demand, standing = self._cluster.demand(), self._stands()
        if not standing.is_calm or now - self._workers_at <= TOGETHER_SECONDS:
            return False
        if self._is_settled and now >= self._look_at:
            return False
        shown = Shown.of(self._view.workers or (), self._memory, self._workers_at, self._workers_at - self._shown_at)
        known = standing.watched(demand, self._memory)
        if known is None or not standing.is_enough(demand, shown, known, self._policy):
            return False
        self._memory = known
        if not self._is_settled:
            self._is_settled, seen = True, replace(self._observation(now), demand=demand, demand_age_seconds=0.0)
            self._wake_at = wake_at(seen, self._memory, self._policy)
            self._look_at = look_at(seen, self._memory, self._policy)
        return True

    def _glance_at_load(self, now: float) -> bool:
        """Do so where the policy learns from every look, at the queue and the workers."""
        demand, standing = self._cluster.demand(), self._stands()
        if not standing.is_calm or now >= standing.look_at:
            return False
        memory = standing.after_look(demand, self._cluster, self._memory, self._policy)
        if memory is None:
            return False
        self._memory = memory
        self._look_at_workers()
        self._look_at = standing.next_look_at(demand, self._cluster, memory, self._policy)
        return True

    def _glance_at_news(self, now: float) -> bool:
        """Do so where VMs have come, joined or gone, at the queue, the workers and the VMs."""
        demand, standing = self._cluster.demand(), self._stands()
        told = standing.after_news(demand, self._cluster, self._memory, self._policy) if standing.is_calm else None
        if told is None:
            return False
        self._memory, self._standing = told
        self._look_at_workers()
        self._look_at_instances()
        self._look_at = self._standing.next_look_at(demand, self._cluster, self._memory, self._policy)
        self._wake_at = self._standing.wake_at
        self._is_any_booting = any(record.joined_at is None for record in self._memory.vms.values())
        self._is_settled = True
        return True

    def _stands(self) -> Standing:
        if self._standing is None:
            self._standing = Standing.of(self._memory, self._view.demand or (), self._policy, self._planned_at)
        return self._standing

    def _pass_over(self, now: float, *, looks_at_vms: bool, looks_at_queue: bool) -> None:
        """Do nothing at a look that shows nothing new."""
        if looks_at_vms:
            if now - self._workers_at >= self._rhythm.queue_every:
                self._workers_at = now
            self._instances_at = now
        if looks_at_queue:
            self._look_at_queue()
        self._schedule(now)

    def _pass_over_quiet(self) -> None:
        """Pass over many looks at once if nothing can happen for long."""
        due_at = min(self._queue_due_at, self._vms_due_at)
        until = min(self._cluster.next_event_at, self._wakes_at)
        if self._every_poll or not self._is_settled or self._is_blind or until - due_at < LONG_SECONDS:
            return
        if until == math.inf:
            until = due_at + STUCK_SECONDS
        self._queue_due_at += (until - self._queue_due_at) // self._rhythm.queue_every * self._rhythm.queue_every
        self._vms_due_at += (until - self._vms_due_at) // self._vms_pause * self._vms_pause
        self._workers_at = self._instances_at = max(self._workers_at, self._vms_due_at - self._vms_pause)
        self._demand_at = max(self._demand_at, self._queue_due_at - self._rhythm.queue_every)

    @property
    def _vms_pause(self) -> float:
        return self._rhythm.vms_booting_every if self._is_any_booting else self._rhythm.vms_every

    def _pass(self, now: float, *, looks_at_vms: bool, looks_at_queue: bool) -> None:
        if looks_at_vms:
            if now - self._workers_at >= self._rhythm.queue_every:
                self._look_at_workers()
            self._look_at_instances()
        if looks_at_queue:
            self._look_at_queue()
        made = self._plan(now)
        if any(one.kind is Kind.LAUNCH for one in made.decisions) and self._workers_at < now - self._rhythm.queue_every:
            self._look_at_workers()
            self._look_at_queue()
            made = self._plan(now)
        self._memory, self._standing, self._planned_at = made.memory, None, now
        acts = [one for one in made.decisions if one.kind is not Kind.HOLD]
        if acts:
            self._act(acts, now)
        self._is_any_booting = any(record.joined_at is None for record in self._memory.vms.values())
        self._is_settled = not acts
        self._wake_at, self._look_at = made.wake_at, made.look_at
        self._schedule(now)

    def _schedule(self, now: float) -> None:
        change_at = self._wake_at + JUST_AFTER_SECONDS
        if now < change_at < self._queue_due_at:
            self._queue_due_at = change_at

    def _look_at_queue(self) -> None:
        self._queue_due_at = self._cluster.now + self._rhythm.queue_every
        self._demand_at, self._seen_queue = self._cluster.now, self._cluster.queue_version
        if self._demand_at == self._workers_at:
            self._seen_together = self._seen_queue, self._seen_workers
        demand = self._cluster.demand()
        if demand or self._view.demand != demand:
            self._view = replace(self._view, demand=demand)

    def _look_at_workers(self) -> None:
        cluster = self._cluster
        self._workers_at, self._seen_workers, self._seen_joined = (
            cluster.now,
            cluster.workers_version,
            cluster.joined_version,
        )
        self._view, self._shown_at = replace(self._view, workers=cluster.workers()), cluster.now
        cluster.changed.clear()

    def _look_at_instances(self) -> None:
        self._instances_at, self._seen_vms = self._cluster.now, self._cluster.vms_version
        self._view = replace(self._view, instances=self._cluster.instances(self._policy.cluster))

    def _plan(self, now: float) -> Plan:
        self.plans += 1
        return plan(self._observation(now), self._memory, self._policy)

    def _observation(self, now: float) -> Observation:
        longer = self._workers_at - self._shown_at
        if longer:
            # Looks were passed over since, at which those without a job had been so for longer.
            workers = (
                one if one.idle_seconds is None else replace(one, idle_seconds=one.idle_seconds + longer)
                for one in self._view.workers or ()
            )
            self._view, self._shown_at = replace(self._view, workers=tuple(workers)), self._workers_at
        return replace(
            self._view,
            now=now,
            demand_age_seconds=now - self._demand_at,
            workers_age_seconds=now - self._workers_at,
            instances_age_seconds=now - self._instances_at,
        )

    def _act(self, decisions: list[Decision], now: float) -> None:
        """Do what is decided, and remember it as `Actuator` does where everything is answered at once."""
        for decision in decisions:
            if decision.kind is Kind.REOPEN:
                self._cluster.reopen(decision.instance_id)
                self._memory = learn(self._memory, Outcome(decision, End.DONE), now)
        for decision in decisions:
            if decision.kind is Kind.LAUNCH:
                self._launch(decision, now)
        for decision in decisions:
            if decision.kind is Kind.TERMINATE:
                self._end(decision, now)

    def _launch(self, decision: Decision, now: float) -> None:
        token = f"elastiq-{self._cluster.launched}-{decision.pool}"
        pool = self._policy.pool(decision.pool)
        chosen = decision.walk[0].offer if decision.walk else Offer("", pool.instance_type if pool else "")
        intent = Intent(
            token,
            decision.pool,
            decision.count,
            now,
            chosen.type,
            market=chosen.market,
            zone=chosen.zone,
            at_least=decision.at_least,
        )
        self._memory = replace(self._memory, intents=(*self._memory.intents, intent))
        made = self._cluster.launch(decision.count, token, chosen.type)
        self._memory = learn(self._memory, Outcome(decision, End.DONE, instance_ids=made, token=token), now)

    def _end(self, decision: Decision, now: float) -> None:
        if not self._cluster.close(decision.instance_id):
            self._memory = learn(self._memory, Outcome(decision, End.REFUSED), now)
            return
        record = replace(self._memory.vms[decision.instance_id], closing_at=now, closed=True, doomed=True)
        self._memory = replace(self._memory, vms={**self._memory.vms, record.id: record})
        self._cluster.terminate([decision.instance_id])
        self._memory = learn(self._memory, Outcome(decision, End.DONE), now)
