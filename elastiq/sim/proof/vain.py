"""Jobs that never start, workers that are of no use and a cloud that gives nothing: none of that may cost much."""

from __future__ import annotations

from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING

from elastiq.memory import Futility
from elastiq.model import Demand, Shape
from elastiq.planning import patience
from elastiq.planning.futility import TRUSTED_SECONDS
from elastiq.sim.batch import NOT_OFFERED, UNREADABLE
from elastiq.sim.engine import HOUR
from elastiq.sim.proof.faults import IN_VAIN
from elastiq.sim.things import Job, Vm

if TYPE_CHECKING:
    from elastiq.sim.proof.life import Life

GROUPS_AT_ONCE = 20

HIDDEN = 2
"""Workers of a life that are hurt and do not say so."""

Group = tuple[Shape, str]
"""By what a batch system tells jobs apart: shape, and what they want."""


class Vain:
    """Brings these upon some clusters, and watches that no VM is launched in vain while nothing else is the matter.

    Its chance is its own, so that the other clusters' lives are what they are without it.
    """

    def __init__(self, life: Life, seed: int) -> None:
        self._life = life
        self._random = Random(f"in vain {seed}")  # noqa: S311 (a simulation must be repeatable)
        self._is_due = self._random.random() < life.options.in_vain and life.world.till is None
        self._hurts_at_most: dict[str, float] = {}
        self._hidden = 0
        """How many workers were hurt without saying so."""
        self._closes_until = 0.0
        self._comes_again = False
        self._groups: set[Group] = set()
        self._watched_since: float | None = None
        self._births: list[Vm] = []
        self._number = 0
        life.world.on_birth, life.world.on_joining = self._born, self._joined

    def plan(self, seconds: float) -> None:
        """Choose what befalls the cluster in the next `seconds`, and when."""
        if not self._is_due:
            return
        for kind in self._random.sample(IN_VAIN, self._random.randint(1, 2)):
            self._life.engine.after(self._random.uniform(0, seconds), lambda kind=kind: self._befall(kind))  # type: ignore[misc]

    def _befall(self, kind: str) -> None:
        life, random = self._life, self._random
        now, seconds = life.engine.time, random.uniform(600, 3600)
        life.faults.note(kind)
        life.world.tell("fault", kind)
        if kind == "hurt worker that says so" or kind == "hurt worker that hides it":
            self._hurts_at_most[kind] = now + seconds
        elif kind == "workers closed at birth":
            self._closes_until = now + seconds
        elif kind == "cloud gives all or nothing":
            life.world.gives_at_most = random.randint(0, life.settings.quota.max_vms or 0)
            life.engine.after(seconds, self._give_again)
        elif kind == "jobs that never start come and go":
            self._comes_again = True
            self._come(self._group(""))
        else:
            wants = {"jobs for what no VM offers": NOT_OFFERED, "jobs of which nobody can tell": UNREADABLE}
            many = GROUPS_AT_ONCE if kind == "twenty groups that never start" else 1
            for _ in range(many):
                self._submit(self._group(wants.get(kind, "plain")), random.choice((1, 5, 40)))

    def _give_again(self) -> None:
        self._life.world.gives_at_most = None

    def _group(self, kind: str) -> Group:
        self._number += 1
        cpus = self._random.randint(1, self._life.traits.capacity.cpus)
        # Where the plugin sees nothing that tells them apart, they wait in one group with jobs that start.
        is_alike = kind == "plain" and self._random.random() < 0.3
        return Shape(cpus, 0), "" if is_alike else f"{kind} {self._number}"

    def _submit(self, group: Group, jobs: int) -> None:
        self._groups.add(group)
        for _ in range(jobs):
            self._life.world.submit(group[0], HOUR, wants=group[1], is_hopeless=True)

    def _come(self, group: Group) -> None:
        if self._comes_again:
            self._submit(group, 20)
            self._life.engine.after(HOUR / 2, lambda: self._go(group))

    def _go(self, group: Group) -> None:
        world = self._life.world
        world.waiting = [job for job in world.waiting if not (job.is_hopeless and (job.shape, job.wants) == group)]
        self._life.engine.after(HOUR / 2, lambda: self._come(group))

    def _joined(self, vm: Vm) -> None:
        if self._life.engine.time < self._closes_until:
            vm.closed = True

    def _born(self, vm: Vm) -> None:
        now = self._life.engine.time
        for kind, until in list(self._hurts_at_most.items()):
            if now < until and vm.capacity.cpus > 1:
                # Two in turn, no more: what several say is what VMs hold, for all that anybody can tell.
                if kind == "hurt worker that says so" or self._hidden:
                    del self._hurts_at_most[kind]
                cpus, vm.hurt = self._random.randint(1, vm.capacity.cpus - 1), kind == "hurt worker that says so"
                if vm.hurt or self._hidden < HIDDEN:
                    vm.lose(cpus)
                self._hidden += not vm.hurt
        if self._watched_since is not None and not self._life.world.witness.good_jobs_wait:
            self._births.append(vm)

    def watch(self) -> None:
        """Begin to count: everything is in order, so what is launched now for jobs that never start is in vain."""
        self._watched_since, self._births = self._life.engine.time, []

    def end(self) -> None:
        """See how much was launched in vain; those jobs are taken out by their owners."""
        life, since = self._life, self._watched_since
        world = life.world
        if since is not None and self._groups:
            # Also what no VM offers is tried again once a day: whoever makes their image may have put it in.
            limit = len(self._groups) * _most_trials(life.engine.time - since)
            hours = sum(world.gone_at.get(vm.id, life.engine.time) - vm.created_at for vm in self._births) / HOUR
            what = f"{len(self._births)} VMs of {hours:.1f} h in {(life.engine.time - since) / HOUR:.1f} h"
            text = f"{what}, for {len(self._groups)} groups of jobs that never start; at most {limit} expected"
            life.book.check("no VM in vain", len(self._births) <= limit, text)
        self._watched_since, self._groups, self._comes_again = None, set(), False
        world.waiting = [job for job in world.waiting if not job.is_hopeless]

    def waits_for_a_trial(self, job: Job) -> bool:
        """Return whether `job` never starts, or is alike, for all that the batch system tells, with jobs that did not
        start beside room for them: nobody can tell then that it would, until a trial is due."""
        futile = self._futility(job)
        if job.is_hopeless:
            return True
        return futile is not None and not futile.is_trusted and self._life.clock.now() <= futile.try_at

    def shown_at(self) -> float:
        """Return when a trial has shown last that jobs start of which some still wait; 0: none has."""
        life = self._life
        ages = [
            life.clock.now() - (futile.try_at - TRUSTED_SECONDS)
            for job in life.world.waiting
            if (futile := self._futility(job)) is not None and futile.is_trusted and not job.is_hopeless
        ]
        return life.engine.time - min(ages) if ages else 0.0

    def _futility(self, job: Job) -> Futility | None:
        group = Demand(job.shape, 1, vms_per_job=len(job.mates), wants=job.wants)
        return self._life.core.memory.futile.get(group.key)


def _most_trials(seconds: float) -> int:
    """Return how many VMs a group may cost in `seconds`, however many trials there were before."""
    return 1 + sum(total <= seconds for total in accumulate(patience.TRIAL_PAUSES_SECONDS))
