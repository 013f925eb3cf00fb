"""Situations of many VMs and groups of jobs, for plan() alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from elastiq.decisions import Plan
from elastiq.memory import Memory, VmRecord
from elastiq.model import (
    Demand,
    Eligibility,
    Instance,
    InstanceState,
    Judgement,
    Observation,
    Policy,
    Pool,
    Shape,
    Worker,
)
from elastiq.planning.plan import plan

NOW = 1_000_000.0
JOBS_PER_GROUP = 100
CPUS = 8
MEMORY_MB = 32_000
POOLS = ("small", "large", "gpu")


def _shape(number: int) -> Shape:
    """Return one of as many shapes as there are numbers, up to 10,000."""
    return Shape(1 + number % CPUS, 500 + 3 * number, 20_000, 0)


def _alike(number: int) -> Demand:
    return Demand(Shape(1 + number % 4, 1000 * (1 + number % 4)), JOBS_PER_GROUP, 60.0 + number, wants=f"of {number}")


def _of_many_shapes(number: int) -> Demand:
    return Demand(_shape(number), JOBS_PER_GROUP, 60.0 + number)


def _in_parts(number: int) -> Demand:
    """Return jobs that VMs of some pools could run, of some could not, and of some it is not known."""
    answers = (Eligibility.YES, Eligibility.NO, Eligibility.UNKNOWN)
    judgements = {
        pool: Judgement(answers[(number + place) % 3], "asks for what is not there") for place, pool in enumerate(POOLS)
    }
    return replace(_alike(number), judgements=judgements)


def _wide(number: int) -> Demand:
    return replace(_alike(number), vms_per_job=1 + number % 5, jobs=5, takes_whole_vms=number % 7 == 0)


def _full(_vm: int) -> int:
    return 0


def _half_free(vm: int) -> int:
    return (0, 1, 4, CPUS)[vm % 4]


KINDS: dict[str, tuple[Callable[[int], int], Callable[[int], Demand]]] = {
    "all full": (_full, _alike),
    "half free": (_half_free, _alike),
    "many shapes": (_half_free, _of_many_shapes),
    "eligible in parts": (_half_free, _in_parts),
    "several machines a job": (_half_free, _wide),
}
"""How many CPUs a VM has free, and which jobs a group has, by its number."""


class Situation:
    """A cluster of so many VMs and groups, of one of KINDS, in which jobs have waited for long."""

    def __init__(self, kind: str, vms: int, groups: int, max_vms: int) -> None:
        free, group = KINDS[kind]
        names = POOLS if kind == "eligible in parts" else POOLS[:1]
        pools = tuple(Pool(name, instance_type=f"type-{name}") for name in names)
        self._policy = Policy(pools, max_vms=max_vms, cluster="bench")
        self._demand = tuple(group(number) for number in range(groups))
        self._workers = tuple(_worker(number, free(number)) for number in range(vms))
        self._instances = tuple(_instance(number, names[number % len(names)]) for number in range(vms))
        records = {one.id: VmRecord(one.id, one.pool, launched_at=NOW - 9000.0) for one in self._instances}
        self._memory = Memory(vms=records)
        self._now = NOW
        for _ in range(2):
            self.decide(self.look(60.0))

    def look(self, later_seconds: float = 15.0) -> Observation:
        """Return answers of the world so much later, which say the same as before and are objects of their own."""
        self._now += later_seconds
        demand, workers = tuple(map(replace, self._demand)), tuple(map(replace, self._workers))
        return Observation(self._now, demand, 0.0, workers, 0.0, self._instances)

    def decide(self, seen: Observation) -> Plan:
        """Make a plan, and remember what it says is to be remembered."""
        made = plan(seen, self._memory, self._policy)
        self._memory = made.memory
        return made


def _worker(number: int, free_cpus: int) -> Worker:
    free = Shape(free_cpus, free_cpus * MEMORY_MB // CPUS, None, 0)
    jobs = CPUS - free_cpus
    idle = None if jobs else 100.0
    return Worker(f"worker-{number}", f"i-{number:017x}", None, Shape(CPUS, MEMORY_MB, None, 0), free, jobs, idle)


def _instance(number: int, pool: str) -> Instance:
    address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return Instance(
        f"i-{number:017x}",
        InstanceState.RUNNING,
        address,
        f"ip-{address.replace('.', '-')}.internal",
        f"type-{pool}",
        NOW - 9000.0,
        f"token-{number // 100}",
        "bench",
        pool,
    )
