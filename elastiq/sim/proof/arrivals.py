"""Which jobs come."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from elastiq.model import Shape
from elastiq.sim.engine import HOUR
from elastiq.sim.replay import traces

if TYPE_CHECKING:
    from elastiq.sim.proof.life import Life

MOST_JOBS_OF_TRACE = 40


class Arrivals:
    """Lets jobs come to a cluster."""

    def __init__(self, life: Life, seed: int) -> None:
        self._life = life
        # A chance of its own, so that the other clusters' lives are what they are without it.
        self._random = Random(f"wide {seed}")  # noqa: S311 (a simulation must be repeatable)
        self._has_wide = self._random.random() < life.options.wide

    def come(self, seconds: float) -> float:
        """Let jobs come in the next `seconds`; return how long one VM would work on them."""
        life = self._life
        if life.options.workload:
            return self._come_as_in_trace(seconds)
        engine, world = life.engine, life.world
        capacity = life.traits.capacity
        total = 0.0
        for _ in range(engine.random.randint(1, 3)):
            cpus = engine.random.choice((1, 1, 1, 2, capacity.cpus))
            memory_mb = engine.random.choice((0, 500, (capacity.memory_mb or 0) // capacity.cpus * cpus))
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
        return total + (self._wide(seconds) if self._has_wide else 0.0)

    def _wide(self, seconds: float) -> float:
        """Let jobs of several VMs come, too."""
        life, random = self._life, self._random
        most = life.settings.quota.max_vms or 0
        total = 0.0
        for _ in range(random.randint(0, 2) if most > 1 else 0):
            machines, shape = random.randint(2, most), Shape(random.randint(1, life.traits.capacity.cpus), 0)
            one = random.uniform(60, 1500)
            life.engine.after(
                random.uniform(0, seconds),
                lambda shape=shape, one=one, machines=machines: life.world.submit_wide(shape, one, machines),  # type: ignore[misc]
            )
            total += machines * one
        return total

    def _come_as_in_trace(self, seconds: float) -> float:
        """Let up to MOST_JOBS_OF_TRACE jobs come as they came in some hour of the trace."""
        life = self._life
        engine, world = life.engine, life.world
        jobs = traces.read(life.options.workload)
        first = engine.random.randrange(len(jobs))
        began_at = jobs[first][0]
        total = 0.0
        for submitted_at, run_seconds, processors in jobs[first : first + MOST_JOBS_OF_TRACE]:
            if submitted_at - began_at > seconds:
                break
            shape = Shape(min(processors, life.traits.capacity.cpus))
            engine.after(
                submitted_at - began_at,
                lambda shape=shape, run_seconds=run_seconds: world.submit(shape, run_seconds),  # type: ignore[misc]
            )
            total += run_seconds
        return total
