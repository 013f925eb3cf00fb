"""What is seen and what is remembered, in short, for tables of decisions."""

from __future__ import annotations

from dataclasses import replace

from elastiq.decisions import Decision, Kind, Plan
from elastiq.memory import Memory, VmRecord
from elastiq.model import Demand, Instance, InstanceState, Observation, Policy, Pool, Shape, Worker

NOW = 1_000_000.0
PLAIN = Policy(pools=(Pool("default", 0, 5),), max_vms=5, n_jobs_per_vm=4, cluster="test")
BY_SHAPE = replace(PLAIN, n_jobs_per_vm=None)
HOLDS_4 = {"default": Shape(4, 4000)}


def jobs(count: int, cpus: int = 1, memory_mb: int | None = None) -> Demand:
    return Demand(Shape(cpus, memory_mb), count)


def vm(number: int, **values: object) -> VmRecord:
    base = VmRecord(f"i-{number:08x}", token=f"t{number}", launched_at=NOW - 100, state=InstanceState.RUNNING)
    return replace(base, **values)


def joined(number: int, **values: object) -> VmRecord:
    return vm(number, **{"joined_at": NOW - 90, "worker_name": f"w{number}", "launched_at": NOW - 10_000, **values})


def worker(number: int, running: int = 0, idle_seconds: float | None = 0.0, cpus: int = 4, **values: object) -> Worker:
    shape = Shape(cpus, 4000)
    free = replace(shape, cpus=cpus - running)
    idle = None if running else idle_seconds
    return replace(Worker(f"w{number}", f"i-{number:08x}", None, shape, free, running, idle), **values)


def see(records: list[VmRecord], *, demand: object = (), workers: object = (), **values: object) -> Observation:
    listed = tuple(
        Instance(record.id, record.state, client_token=record.token, cluster="test", detail=record.detail)
        for record in records
    )
    return replace(Observation(NOW, demand, 0.0, workers, 0.0, listed), **values)  # type: ignore[arg-type]


def remember(records: list[VmRecord], **values: object) -> Memory:
    return replace(Memory(vms={record.id: record for record in records}), **values)


def of(made: Plan, kind: Kind) -> list[Decision]:
    return [decision for decision in made.decisions if decision.kind is kind]


def launched(made: Plan) -> int:
    return sum(decision.count for decision in of(made, Kind.LAUNCH))


def ended(made: Plan) -> list[str]:
    return [decision.instance_id for decision in of(made, Kind.TERMINATE)]


def wide(count: int, machines: int, cpus: int = 1) -> Demand:
    return Demand(Shape(cpus), count, vms_per_job=machines)
