"""Kill the daemon many times: `python -m tests.crash --kills 200`; once more as it failed: `--seed 17`.

With `--late 100` a cloud is late, so many times."""

from __future__ import annotations

import argparse
import signal
import sys

from tests.crash.episode import failures, run_episode, run_episodes, table
from tests.crash.late import run_many
from tests.crash.rig import Site


def main() -> int:
    """Run as the command line says; return 1 if anything was lost, killed or too much."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seed", type=int, help="only this episode")
    parser.add_argument("--signal", choices=("SIGKILL", "SIGTERM"), default="SIGKILL")
    parser.add_argument("--parallel", type=int, default=6)
    parser.add_argument("--late", type=int, default=0, metavar="RUNS", help="runs with a cloud that answers late")
    options = parser.parse_args()
    if options.late:
        first, runs = (options.first_seed, options.late) if options.seed is None else (options.seed, 1)
        return 1 if any(run.failure for run in run_many(first, runs, options.parallel, progress=True)) else 0
    number = signal.Signals[options.signal]
    if options.seed is not None:
        with Site() as site:
            reports = [run_episode(options.seed, site, number)]
    else:
        reports = run_episodes(options.first_seed, options.kills, number, options.parallel, progress=True)
    print(table(reports))
    print(failures(reports), file=sys.stderr)
    return 1 if any(report.failure for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
