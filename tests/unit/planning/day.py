"""A day in a loop around plan() and learn(): a cloud with a quota, and workers on which some jobs never start."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from elastiq.decisions import Decision, End, Kind, Outcome, Plan
from elastiq.memory import Intent, Memory
from elastiq.model import Demand, Instance, InstanceState, Observation, Policy, Shape, Worker
from elastiq.planning.learning import learn
from elastiq.planning.plan import plan

STEP_SECONDS, BOOT_SECONDS, START = 60.0, 120.0, 10_000.0


@dataclass
class Day:
    """What the world is like, and what has come of it."""

    policy: Policy
    holds: Shape
    quota: int = 10**6
    all_or_nothing: bool = False
    """The cloud refuses a request of which it cannot give all."""
    closed: bool = False
    """The batch system closes every worker as soon as it has joined."""
    memory: Memory = field(default_factory=Memory)
    now: float = START
    launched: int = 0
    refused: int = 0
    vm_seconds: float = 0.0
    plans: list[Plan] = field(default_factory=list)
    vms: dict[str, tuple[float, bool]] = field(default_factory=dict)
    """When each VM was made, and whether it is gone."""
    busy: dict[str, int] = field(default_factory=dict)
    """Jobs on VMs."""
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def vm_hours(self) -> float:
        return self.vm_seconds / 3600

    def joined(self) -> list[str]:
        """Return the VMs whose workers are there."""
        return [id_ for id_, (born, gone) in self.vms.items() if not gone and self.now - born > BOOT_SECONDS]

    def run(self, hours: float, demand: Callable[[Day], Sequence[Demand]]) -> Day:
        """Let so much time pass; `demand` says what waits, and may start jobs by `busy`."""
        until = self.now + hours * 3600
        while self.now < until:
            self._step(tuple(demand(self)))
            self.now += STEP_SECONDS
        return self

    def _step(self, demand: tuple[Demand, ...]) -> None:
        instances = tuple(self._instance(id_) for id_ in self.vms)
        self.vm_seconds += STEP_SECONDS * sum(not gone for _, gone in self.vms.values())
        workers = tuple(self._worker(id_) for id_ in self.joined())
        planned = plan(Observation(self.now, demand, 0, workers, 0, instances, 0), self.memory, self.policy)
        self.plans = [planned]
        self.memory = planned.memory
        self.vms = {id_: times for id_, times in self.vms.items() if not times[1]}
        for decision in planned.decisions:
            if decision.kind is Kind.LAUNCH:
                self._launch(decision)
            elif decision.kind is Kind.TERMINATE:
                self.vms[decision.instance_id] = (self.vms[decision.instance_id][0], True)
                self.memory = learn(self.memory, Outcome(decision, End.DONE), self.now)

    def _instance(self, id_: str) -> Instance:
        born, gone = self.vms[id_]
        state = InstanceState.TERMINATED if gone else InstanceState.RUNNING
        return Instance(id_, state, launched_at=born, client_token=id_, cluster="c", pool="default")

    def _worker(self, id_: str) -> Worker:
        jobs = self.busy.get(id_, 0)
        idle_seconds = None if jobs else self.now - self.vms[id_][0] - BOOT_SECONDS
        free = replace(self.holds, cpus=max(0, self.holds.cpus - jobs))
        return Worker(id_, id_, None, self.holds, free, jobs, idle_seconds, self.closed)

    def _launch(self, decision: Decision) -> None:
        token = f"t{next(self.numbers)}"
        intent = Intent(token, decision.pool, decision.count, self.now, at_least=decision.at_least)
        self.memory = replace(self.memory, intents=(*self.memory.intents, intent))
        room = self.quota - sum(not gone for _, gone in self.vms.values())
        given = min(decision.count, room) if not self.all_or_nothing else decision.count * (decision.count <= room)
        ids = tuple(f"i-{next(self.numbers):08x}" for _ in range(given))
        self.vms.update({id_: (self.now, False) for id_ in ids})
        self.launched += given
        self.refused += not given
        end = End.DONE if given else End.FAILED
        self.memory = learn(self.memory, Outcome(decision, end, "quota", ids, token), self.now)
