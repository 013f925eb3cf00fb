"""`python -m elastiq.sandbox`: the demonstration, and a small command line for the sandbox's batch system."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from elastiq.errors import ElastiqError
from elastiq.sandbox.spool import Job, Spool
from elastiq.sandbox.worker import offers, positive

DEFAULT_SPOOL = Path.home() / ".elastiq" / "sandbox"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m elastiq.sandbox", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    demo = commands.add_parser("demo", help="watch elastiq scale a cluster up and down (this is the default)")
    demo.add_argument("--plain", action="store_true", help="print lines even on a terminal")
    submit = commands.add_parser("submit", help="submit jobs")
    submit.add_argument("-n", type=int, default=1, dest="count", metavar="N", help="how many")
    submit.add_argument("--seconds", type=float, default=5.0, help="how long each takes")
    submit.add_argument("--cpus", type=positive, default=1)
    submit.add_argument("--memory-mb", type=positive, help="memory that each asks for (default: none)")
    submit.add_argument(
        "--needs", type=offers, default=[], metavar="NAMES", help="what a worker must offer, as gpu,cvmfs"
    )
    submit.add_argument("--whole", action="store_true", help="each has its worker for itself")
    queue = commands.add_parser("queue", help="show jobs and workers")
    for command in (submit, queue):
        command.add_argument("--spool", type=Path, default=DEFAULT_SPOOL, help="spool directory (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        if options.command == "submit":
            asked = {name: getattr(options, name) for name in ("cpus", "memory_mb", "needs", "whole")}
            return _submit(options.spool, options.count, Job("new", ["sleep", f"{options.seconds:g}"], **asked))
        if options.command == "queue":
            return _queue(options.spool)
        return _demo(plain=getattr(options, "plain", False) or not sys.stdout.isatty())
    except ElastiqError as error:
        print(error, file=sys.stderr)
        return 1


def _submit(directory: Path, count: int, job: Job) -> int:
    spool = Spool(directory)
    spool.create()
    jobs = [spool.submit(job) for _ in range(count)]
    print(f"submitted {', '.join(job.id for job in jobs)} to {directory}")
    return 0


def _queue(directory: Path) -> int:
    spool = Spool(directory)
    with spool.locked():
        workers = spool.records()
    for record, jobs in workers:
        doing = ", ".join(job.id for job in jobs) or f"idle for {record.idle_seconds:.0f} s"
        offered = f" and {', '.join(record.offers)}" if record.offers else ""
        mark = " (closed)" if spool.closed_mark(record.key).exists() else ""
        print(f"worker {record.name}: {record.cpus} CPUs{offered}, {doing}{mark}")
    for folder in ("queue", "held", "done"):
        print(f"{folder}: {len(spool.files(folder))} jobs")
    return 0


def _demo(*, plain: bool) -> int:
    missing = [name for name in ("moto", "flask", "rich") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"the demonstration needs {', '.join(missing)}: pip install 'elastiq[sandbox]'", file=sys.stderr)
        return 1
    from rich.console import Console

    from elastiq.sandbox.demo import run
    from elastiq.sandbox.screen import LOWEST, NARROWEST, LiveScreen, PlainScreen

    console = Console()
    small = console.width < NARROWEST or console.height < LOWEST or console.is_dumb_terminal
    return run(PlainScreen() if plain or small else LiveScreen(console))


if __name__ == "__main__":
    sys.exit(main())
