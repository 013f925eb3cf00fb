"""`python -m elastiq.sim --years 200`: many clusters, each from a seed of its own, and a table of what they met."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
from collections.abc import Iterator
from functools import partial

from elastiq.clock import Clock
from elastiq.sim.engine import DAY, YEAR
from elastiq.sim.proof.book import INVARIANTS, Book
from elastiq.sim.proof.crowd import NO_ROOM
from elastiq.sim.proof.faults import AT_RESTART, IN_VAIN, ONE_OFF, PROBABILITIES
from elastiq.sim.proof.life import LIFE_SECONDS, Options, Result, live

VIOLATIONS_SHOWN = 20
PROGRESS_SECONDS = 15.0


def main(arguments: list[str] | None = None) -> int:
    """Simulate as told; return 0 if every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m elastiq.sim", description=__doc__)
    parser.add_argument("--years", type=float, default=10.0, help="cluster-years to simulate (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed; each 30 days of a cluster take one")
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count(), help="default: all processors")
    parser.add_argument("--dialect", choices=("aws", "openstack"), default="", help="default: both")
    parser.add_argument("--replay", type=int, metavar="SEED", help="live through one seed and say all that happens")
    parser.add_argument("--adaptive", type=float, default=0.5, help="share of clusters with that policy (default 0.5)")
    parser.add_argument("--wide", type=float, default=0.2, help="share with jobs of several VMs, too (default 0.2)")
    parser.add_argument("--offers", type=float, default=0.0, help="share with several types and zones (default 0)")
    parser.add_argument("--money", type=float, default=0.0, help="share with caps in money, schedules (default 0)")
    parser.add_argument("--every-step", action="store_true", help="pass over no time in which nothing can change")
    parser.add_argument(
        "--trace", metavar="FILE", default="", help="take the jobs from a Standard Workload Format file"
    )
    chosen = parser.parse_args(arguments)
    options = Options(
        dialect=chosen.dialect,
        skip=not chosen.every_step,
        adaptive=chosen.adaptive,
        wide=chosen.wide,
        offers=chosen.offers,
        money=chosen.money,
        workload=chosen.trace,
    )
    if chosen.replay is not None:
        return _replay(chosen.replay, options)
    return _many(chosen.seed, chosen.years, max(1, chosen.processes), options)


def _replay(seed: int, options: Options) -> int:
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    result = live(seed, options, print)
    print(f"seed {seed}: {result.violation or 'every promise was kept'}")
    return 1 if result.violation else 0


def _many(first_seed: int, years: float, processes: int, options: Options) -> int:
    clock = Clock()
    began_at = said_at = clock.now()
    lives = max(1, round(years * YEAR / LIFE_SECONDS))
    book, failures, seconds = Book(), [], 0.0
    for number, result in enumerate(_lives(range(first_seed, first_seed + lives), processes, options), 1):
        book.add(result.book)
        seconds += result.seconds
        if result.violation:
            failures.append(result)
            print(f"VIOLATION, seed {result.seed}: {result.violation}", flush=True)
        if clock.now() - said_at > PROGRESS_SECONDS:
            said_at = clock.now()
            print(
                f"{number} of {lives} lives, {seconds / YEAR:.1f} cluster-years, {said_at - began_at:.0f} s", flush=True
            )
        if len(failures) >= VIOLATIONS_SHOWN:
            print("too many violations, given up")
            break
    _print_table(book, seconds, clock.now() - began_at, processes)
    print(f"\nviolations: {len(failures)}")
    for failed in failures:
        print(f"  python -m elastiq.sim --replay {failed.seed}    # {failed.violation}")
    return 1 if failures else 0


def _lives(seeds: range, processes: int, options: Options) -> Iterator[Result]:
    if processes == 1:
        logging.disable(logging.CRITICAL)
        yield from map(partial(live, options=options), seeds)
        return
    with multiprocessing.Pool(processes, logging.disable, (logging.CRITICAL,)) as pool:
        yield from pool.imap(partial(live, options=options), seeds, chunksize=4)


def _print_table(book: Book, seconds: float, wall_seconds: float, processes: int) -> None:
    print("\nfaults injected")
    for kind in (*PROBABILITIES, *ONE_OFF, *IN_VAIN, *AT_RESTART, NO_ROOM):
        print(f"  {book.faults[kind]:>12,}  {kind}")
    print("\ninvariants tested")
    for name, meaning in INVARIANTS.items():
        print(f"  {book.tested[name]:>12,}  {name}: {meaning}")
    work = book.work
    print("\nwork")
    for name in (
        "episodes",
        "jobs",
        "jobs done",
        "VMs",
        "VM-seconds",
        "VM-seconds of VMs without a job",
        "launches asked for again",
        "VMs known by their looks",
        "terminations",
        "starts of the daemon",
        "passes",
    ):
        print(f"  {work[name]:>12,}  {name}")
    years, passed_over = seconds / YEAR, work["seconds passed over"] / max(1.0, seconds)
    minutes = wall_seconds / 60
    print(
        f"\n{years:.1f} cluster-years in {minutes:.1f} min: {years / minutes:.1f} a minute on {processes} processes."
        f"\n{passed_over:.1%} of that time was passed over, because nothing could have changed in it: no event was due"
        f"\nin the world, no limit of the daemon's own ran out, and its last pass on the same answers changed nothing."
        f"\nThe rest was {work['passes'] / max(1.0, seconds / DAY):.0f} passes of Core.step() a day of a cluster."
    )


if __name__ == "__main__":
    sys.exit(main())
