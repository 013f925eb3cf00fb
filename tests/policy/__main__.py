"""Policies and rivals beside one another: `python -m tests.policy [TRACE.swf[.gz] ...] [--boots 150,180,210]`.

First a table of VM-hours over those with the future known @ mean wait in seconds, on recorded jobs; then what the
adaptive policy makes of loads that were made to fool it, beside launching for waiting jobs alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.policy.shapes import HEAD, Beside, beside, shapes
from tests.policy.table import BOOTS, lines

TOP = Path(__file__).parents[2]
SHARED = TOP.parent / "shared" / "traces"
MADE = Path(__file__).parent / "made.swf"

HOW_TO_GET_ONE = f"""\
No trace is given, and none lies in {os.path.relpath(SHARED, TOP)}: these are made jobs, tests/policy/{MADE.name}.
Jobs of your own say more: make policy TRACES="a.swf b.swf.gz". The Parallel Workloads Archive has recorded ones of many
clusters in this format (look for LCG-2005-1); what batch systems record can be written in it too, docs/simulate.md says
which of its columns are read."""


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.policy")
    parser.add_argument("traces", nargs="*", metavar="TRACE.swf[.gz]")
    parser.add_argument("--boots", default=",".join(f"{boot:g}" for boot in BOOTS), help="boot times, in seconds")
    parser.add_argument("--rows", default="", help="only policies with this in their names")
    parser.add_argument("--no-shapes", action="store_true", help="recorded jobs alone")
    parser.add_argument("--no-traces", action="store_true", help="made loads alone")
    options = parser.parse_args(words)
    faults = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        if not options.no_traces:
            boots = [float(text) for text in options.boots.split(",")]
            for line in lines(traces_of(options.traces), boots, pool, options.rows):
                print(line, flush=True)
        if not options.no_shapes:
            faults = _show(pool.map(beside, shapes()))
    return 1 if faults else 0


def traces_of(given: Sequence[str]) -> list[str]:
    """Return the traces to take; where none are given, and none lie beside the project, say so."""
    found = list(given) or sorted(str(path) for path in SHARED.glob("*.swf*"))
    if not found:
        print(HOW_TO_GET_ONE, flush=True)
        return [str(MADE)]
    return found


def _show(found: Iterable[Beside]) -> int:
    """Print what came of the shapes; return in how many more is wrong than may be."""
    widths = (52, 6, 8, 6, 11, 11)
    faults = 0
    print(f"\n{_row(HEAD, widths)}")
    for one in found:
        print(_row(one.cells(), widths), flush=True)
        faults += bool(one.faults())
    print(f"{faults} of the shapes cost or wait more than they may." if faults else "All shapes hold.")
    return faults


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.ljust(width) if not at else cell.rjust(width) for at, (cell, width) in enumerate(zip(cells, widths))
    )
    return "  ".join([first, *others, *cells[len(widths) :]]).rstrip()


if __name__ == "__main__":
    sys.exit(main())
