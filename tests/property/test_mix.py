"""What VMs cost that plan() launches, beside the cheapest that hold the same jobs: found exactly, by HiGHS."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from random import Random

import highspy

from elastiq.decisions import Kind, Plan
from elastiq.memory import Memory
from elastiq.model import Demand, Observation, Offer, Policy, Pool, Shape
from elastiq.planning.plan import plan

CASES = 400
NOW = 1_000_000.0
MICROS = 1_000_000


class Case:
    """Jobs of a few kinds, and types of VMs with prices, as chance has them: per core and GB about as at AWS, and with
    a GPU three times as dear."""

    def __init__(self, seed: int) -> None:
        random = Random(f"mix {seed}")
        self.types: dict[str, tuple[Shape, int]] = {}
        for number in range(random.randint(2, 5)):
            cpus, gb_per_core = random.choice((1, 2, 4, 8, 16)), random.choice((2, 4, 8))
            gpus = random.choice((0, 0, 0, 1))
            price = cpus * (0.02 + 0.004 * gb_per_core) * random.uniform(0.8, 1.25) * (3 if gpus else 1)
            holds = Shape(cpus, cpus * gb_per_core * 1000, None, gpus)
            self.types[f"type-{number}"] = holds, round(price * MICROS)
        able = [shape for shape, _ in self.types.values()]
        drawn = [_jobs(random) for _ in range(random.randint(1, 3))]
        self.demand = tuple(one for one in drawn if any(one.shape.fits(shape) for shape in able))

    def policy(self, pools: int = 1) -> Policy:
        """Return a configuration with these types: in one pool, or in several of the same priority."""
        offers = [Offer(type=type_, most_micros=price) for type_, (_, price) in self.types.items()]
        parts = [offers[first::pools] for first in range(pools) if offers[first::pools]]
        found = (
            Pool(f"pool-{number}", instance_type=part[0].type, offers=tuple(part)) for number, part in enumerate(parts)
        )
        return Policy(tuple(found), max_vms=None, waiting_jobs_time_s=0.0)

    def plan(self, policy: Policy) -> Plan:
        holds = {pool.capacity_key: self.types[pool.instance_type][0] for pool in policy.variants}
        memory = Memory(waiting_since=NOW - 100, capacities=holds)
        return plan(Observation(NOW, self.demand, workers=(), instances=()), memory, policy)

    def price(self, policy: Policy, made: Plan) -> int:
        """Return what the VMs cost an hour that are launched."""
        launches = [one for one in made.decisions if one.kind is Kind.LAUNCH]
        types = [
            one.walk[0].offer.type if one.walk else (policy.pool(one.pool) or Pool()).instance_type for one in launches
        ]
        return sum(one.count * self.types[type_][1] for one, type_ in zip(launches, types))

    def least(self) -> int:
        """Return what the cheapest VMs cost an hour that hold all jobs: each may hold any set of them that fits, and of
        these sets as many are taken as hold all, for the least money."""
        solver = highspy.Highs()
        solver.setOptionValue("output_flag", False)
        solver.setOptionValue("mip_rel_gap", 0.0)
        rows: list[tuple[list[int], list[int]]] = [([], []) for _ in self.demand]
        column = 0
        for shape, price in self.types.values():
            for jobs in _full(self.demand, shape):
                solver.addVar(0, highspy.kHighsInf)
                solver.changeColCost(column, price)
                solver.changeColIntegrality(column, highspy.HighsVarType.kInteger)
                for (columns, counts), count in zip(rows, jobs):
                    if count:
                        columns.append(column)
                        counts.append(count)
                column += 1
        for group, (columns, counts) in zip(self.demand, rows):
            solver.addRow(group.jobs, highspy.kHighsInf, len(columns), columns, counts)
        solver.run()
        assert solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
        return round(solver.getInfo().objective_function_value)


def _jobs(random: Random) -> Demand:
    cpus, gb_per_core = random.choice((1, 1, 1, 2, 3, 4, 8)), random.choice((0.5, 2, 3, 6))
    gpus = random.choice((0, 0, 0, 0, 1))
    return Demand(Shape(cpus, int(cpus * gb_per_core * 1000), None, gpus), random.choice((1, 2, 3, 5, 8, 13, 20)))


def _full(demand: Sequence[Demand], shape: Shape) -> Iterator[tuple[int, ...]]:
    """Yield how many jobs of each kind a VM holds at the same time, if it has room for none of the last kind more."""
    if not demand:
        yield ()
        return
    first, *others = demand
    free = [first.jobs, shape.cpus // first.shape.cpus]
    free += [(shape.memory_mb or 0) // first.shape.memory_mb] if first.shape.memory_mb else []
    free += [(shape.gpus or 0) // first.shape.gpus] if first.shape.gpus else []
    for count in range(min(free) if not others else 0, min(free) + 1):
        left = Shape(
            shape.cpus - count * first.shape.cpus,
            (shape.memory_mb or 0) - count * (first.shape.memory_mb or 0),
            None,
            (shape.gpus or 0) - count * (first.shape.gpus or 0),
        )
        yield from ((count, *rest) for rest in _full(others, left))


def _ratios(pools: int, seeds: range) -> list[float]:
    found = []
    for case in (one for one in map(Case, seeds) if one.demand):
        policy = case.policy(pools)
        made = case.plan(policy)
        assert sum(verdict.jobs for verdict in made.verdicts) == sum(group.jobs for group in case.demand)
        found.append(case.price(policy, made) / case.least())
    return found


def _check(ratios: Sequence[float]) -> None:
    print(f"{len(ratios)} cases: {math.fsum(ratios) / len(ratios):.4f} on average, {max(ratios):.3f} at most")
    assert min(ratios) >= 1 - 1e-6, "all jobs have room"
    assert math.fsum(ratios) / len(ratios) <= 1.005
    assert max(ratios) <= 1.05


def test_vms_of_one_pool_cost_hardly_more_than_the_cheapest() -> None:
    _check(_ratios(1, range(CASES)))


def test_so_do_vms_of_several_pools_of_one_priority() -> None:
    _check(_ratios(2, range(CASES, CASES + CASES // 2)))
