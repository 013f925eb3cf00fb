"""Policies and rivals on recorded jobs, in one run: VM-hours over those of the oracle, and how long jobs waited."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from elastiq.config import Settings
from elastiq.model import Offer, Policy, Pool
from elastiq.sim.replay.figures import percentile
from elastiq.sim.replay.simulate import BOOT_SECONDS, CORES, Scenario
from elastiq.sim.replay.traces import read
from tests.policy.rivals import ClusterAutoscaler, Original, SlurmPowerSaving

EAGERNESS = (0.5, 0.65, 0.75, 0.85, 0.95)

BOOTS = (150.0, 180.0, 210.0)
"""What comes of a trace is 1 % more or less if anything is a little other: the mean of several lies closer."""


def adaptive(eagerness: float) -> Policy:
    return Policy(waiting_jobs_time_s=0.0, idle_for_time_s=60.0, is_adaptive=True, eagerness=eagerness)


SIZES = {"1 core": 1, "2 cores": 2, "4 cores": 4, "8 cores": 8}

OF_SEVERAL_SIZES = Policy(
    (Pool(instance_type="1 core", offers=tuple(Offer(type=type_, most_micros=50 * n) for type_, n in SIZES.items())),),
    waiting_jobs_time_s=0.0,
    idle_for_time_s=300.0,
    is_adaptive=True,
    eagerness=0.95,
)
"""At the same price per core. Beside jobs on small VMs no cores are free to which others could go: so more room is kept
free for those, and for longer."""

ROWS: dict[str, Policy | Original | ClusterAutoscaler | SlurmPowerSaving] = {
    "the original, its defaults": Original(),
    "the original, its sample file": Original(threshold=10, wait_seconds=100.0),
    "like cluster-autoscaler": ClusterAutoscaler(),
    "Slurm's power saving, SuspendTime 300": SlurmPowerSaving(300.0),
    "Slurm's power saving, SuspendTime 60": SlurmPowerSaving(60.0),
    "classic, its defaults": Policy(),
    "classic, at once and for a minute": Policy(waiting_jobs_time_s=0.0, idle_for_time_s=60.0),
    **{f"adaptive, eagerness {eagerness:g}": adaptive(eagerness) for eagerness in EAGERNESS},
    "adaptive, VMs of 1 to 8 cores": OF_SEVERAL_SIZES,
}
"""From the farthest to the nearest."""


@dataclass(frozen=True)
class Cell:
    """What came of a policy on one trace, with one boot time."""

    ratio: float
    mean_wait_seconds: float
    p95_wait_seconds: float
    beyond_boot_seconds: float
    """How much longer than a boot the worst wait was."""
    never_started: int


@lru_cache(maxsize=4)
def oracle_vm_hours(path: str, cores: int) -> float:
    return scenario(path, BOOT_SECONDS, cores).oracle_vm_hours


def scenario(path: str, boot: float, cores: int, sizes: Mapping[str, int] | None = None) -> Scenario:
    return Scenario(read(path), boot, cores, sizes=sizes or {})


def cell(row: str, path: str, boot: float, cores: int = CORES) -> Cell:
    """Return what comes of one policy."""
    decides, oracle = ROWS[row], oracle_vm_hours(path, cores)
    world = scenario(path, boot, cores, SIZES if decides is OF_SEVERAL_SIZES else None)
    if not isinstance(decides, Policy):
        made = decides.run(world.work, boot)
        waits = made.waits
        mean, worst = math.fsum(waits) / max(1, len(waits)), max(waits, default=0.0)
        return Cell(made.vm_hours / oracle, mean, percentile(waits, 0.95), worst - boot, made.never_started)
    # Of the world's own oracle nothing is asked: it would be reckoned anew.
    world.__dict__["oracle_vm_hours"] = oracle
    figures = world.run(Settings(), decides)
    worst = figures.worst_wait_seconds - boot
    return Cell(
        figures.vm_hours / oracle, figures.mean_wait_seconds, figures.p95_wait_seconds, worst, figures.never_started
    )


def mean_of(cells: Sequence[Cell]) -> Cell:
    """Return the geometric mean of the ratios, the mean of the waits, and the worst of the worst."""
    return Cell(
        math.exp(math.fsum(math.log(one.ratio) for one in cells) / len(cells)),
        math.fsum(one.mean_wait_seconds for one in cells) / len(cells),
        math.fsum(one.p95_wait_seconds for one in cells) / len(cells),
        max(one.beyond_boot_seconds for one in cells),
        sum(one.never_started for one in cells),
    )


def lines(paths: Sequence[str], boots: Sequence[float], pool: Executor, of: str = "") -> Iterator[str]:
    """Yield the table, each line as soon as it is known; of those rows alone in whose names `of` is."""
    names = [Path(path).name.removesuffix(".gz").removesuffix(".swf") for path in paths]
    columns = [f"boot {boot:g}" for boot in boots] if len(boots) > 1 else []
    width = max(map(len, ROWS))
    heads = [text.rjust(13) for text in ("all", *columns)] + ["95 %".rjust(5), "worst".rjust(11)]
    yield "  ".join([" " * width, *heads, *(name.rjust(max(13, len(name))) for name in names)])
    asked = {
        row: {(path, boot): pool.submit(cell, row, path, boot) for path in paths for boot in boots}
        for row in ROWS
        if of in row
    }
    for row, futures in asked.items():
        cells = {key: future.result() for key, future in futures.items()}
        every = mean_of([*cells.values()])
        by_boot = [mean_of([cells[path, boot] for path in paths]) for boot in boots] if columns else []
        by_trace = [mean_of([cells[path, boot] for boot in boots]) for path in paths]
        texts = [_text(one).rjust(13) for one in (every, *by_boot)]
        texts += [f"{every.p95_wait_seconds:.0f}".rjust(5), f"boot {every.beyond_boot_seconds:+,.0f}".rjust(11)]
        texts += [_text(one).rjust(max(13, len(name))) for one, name in zip(by_trace, names)]
        stuck = f"  {every.never_started} jobs never start" if every.never_started else ""
        yield "  ".join([row.ljust(width), *texts]) + stuck


def _text(one: Cell) -> str:
    return f"{one.ratio:.3f} @ {one.mean_wait_seconds:.0f}"
