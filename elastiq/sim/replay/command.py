"""The command `simulate`: what recorded jobs would have cost, and how long they would have waited."""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from elastiq.config import Settings
from elastiq.config.convert import duration_text
from elastiq.errors import ConfigError, TraceError
from elastiq.memory import Memory
from elastiq.planning.capacities import capacity_of
from elastiq.sim.replay.figures import Figures
from elastiq.sim.replay.picture import picture
from elastiq.sim.replay.said import lines_of
from elastiq.sim.replay.simulate import BOOT_SECONDS, CORES, Scenario
from elastiq.sim.replay.source import Source, from_history, from_trace
from elastiq.sim.replay.variants import (
    THIS_FILE,
    Read,
    Tried,
    Variant,
    advice,
    changes_of,
    compared,
    front,
    searched,
    table,
    tried,
)
from elastiq.state import read_memory
from elastiq.text import printable

USAGE = (
    "elastiqctl simulate FILE.swf[.gz] | --history TIME [--json] [--boot SECONDS] [--cores N|TYPE=N,...] [--max-vms N] "
    "[--price X] [--set OPTION=VALUE ...] [--compare] [--advise] [--plot FILE.svg]"
)

NOT_OF_DECISIONS = frozenset({"batch_plugin", "log_level", "cluster_name", "state_dir", "metrics_file"})
"""Options of [elastiq] that change nothing of what is simulated."""


_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End with the exit code of wrong usage."""
        self.exit(1, f"usage: {USAGE}\nelastiq simulate: {message}\n")


@dataclass(frozen=True)
class Machines:
    """On what the jobs run, and where that is known from, in words."""

    boot_seconds: float
    boot_from: str
    cores: int
    """Of each VM; where there are several sizes, of those in the middle, by which others are measured."""
    cores_from: str
    sizes: Mapping[str, int]
    """How many cores VMs of each type have; empty where all have the same."""

    @property
    def cores_text(self) -> str:
        several = sorted({*self.sizes.values()}) or [self.cores]
        return " and ".join(filter(None, (", ".join(map(str, several[:-1])), str(several[-1]))))


def run(words: Sequence[str], read: Read, state_directory: Callable[[Settings], Path]) -> None:
    """Do what the words after `simulate` say, and print it.

    `state_directory` is of the daemon of these settings. Raise ConfigError if an option cannot be, TraceError if the
    trace, or the history, cannot be used.
    """
    options = _arguments(words)
    changes = [] if options.compare else [change for text in options.set for change in changes_of(text)]
    settings = read(changes)
    directory = state_directory(settings)
    source = from_trace(options.trace) if options.history is None else from_history(directory, options.history)
    machines = _machines(options, settings, read_memory(directory))
    _check_boot(machines, settings)
    if source.record and options.max_vms is None:
        options.max_vms, options.max_vms_from = settings.quota.max_vms, "as configured"
    scenario = Scenario(source.jobs, machines.boot_seconds, machines.cores, options.max_vms, machines.sizes)
    others = (compared(options.set) if options.compare else []) + (searched() if options.advise else [])
    present = Variant(THIS_FILE if not changes else "as set", tuple(changes))
    variants = _once([present, *others])
    found = tried(variants, read, scenario, _tell if others else lambda _: None)
    if options.plot:
        _draw(options.plot, picture(found[0].figures, source.name))
    if options.json:
        print(json.dumps(_object(found, options, source), indent=2))
    else:
        span_seconds = source.jobs[-1].submitted_at - source.jobs[0].submitted_at
        known_from = _known_from(machines, options)
        print("\n".join([*lines_of(found[0].figures, source.name, span_seconds, known_from), *source.lines()]))
        cost = _cost(found[0].figures, options.price)
        if cost is not None:
            print(f"  cost        {cost:,.2f}")
        print("\n".join(_more(found, options)), end="\n" if others else "")


def _once(variants: Sequence[Variant]) -> list[Variant]:
    """Return `variants` without those whose changes are among them already."""
    return [
        one for number, one in enumerate(variants) if one.changes not in [other.changes for other in variants[:number]]
    ]


def _tell(name: str) -> None:
    """Say what is being tried, to those who wait for it."""
    if sys.stderr.isatty():
        print(f"trying {name} ...", file=sys.stderr)


def _draw(path: str, drawn: str) -> None:
    try:
        Path(path).write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise TraceError(f"{printable(path)}: cannot be written: {error.strerror or error}") from None


def _object(found: Sequence[Tried], options: argparse.Namespace, source: Source) -> dict[str, Any]:
    """Return what `--json` prints."""
    made = as_json(found[0], source.trace, options.price)
    made["history"] = source.history

    def named(several: Sequence[Tried]) -> list[dict[str, Any]]:
        return [{"name": one.variant.name, **as_json(one, source.trace, options.price)} for one in several]

    if options.compare:
        made["compared"] = named(_compared(found, options))
    if options.advise:
        made["front"], made["advice"] = named(front(found)), advice(found[0], found)
    return made


def _compared(found: Sequence[Tried], options: argparse.Namespace) -> list[Tried]:
    """Return what is to be set beside one another: not all that was tried for advice."""
    changes = [variant.changes for variant in compared(options.set)]
    return [found[0], *(one for one in found[1:] if one.variant.changes in changes)]


def _more(found: Sequence[Tried], options: argparse.Namespace) -> list[str]:
    """Return the lines on other variants."""
    lines = []
    if options.compare:
        lines += ["", *table(_compared(found, options))]
    if options.advise:
        lines += ["", "Nothing that was tried is as cheap as one of these and lets jobs wait for less long:"]
        lines += [*table(front(found)), "", advice(found[0], found)]
    return lines


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="elastiqctl simulate",
        usage=USAGE,
        description="Run the jobs of a trace as the daemon would with this configuration. Nothing is contacted.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "trace", metavar="FILE", nargs="?", help="jobs in the Standard Workload Format, which gzip may have packed"
    )
    parser.add_argument(
        "--history", metavar="TIME", type=_past, help="the jobs of the last TIME (30d, 12h) that the daemon has kept"
    )
    parser.add_argument("--price", metavar="X", type=_price, help="of one VM for an hour")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--boot", metavar="SECONDS", type=_seconds, help="from the launch of a VM until it joins")
    parser.add_argument("--cores", metavar="N|TYPE=N,...", type=_cores_given, help="cores of each VM, or by type")
    parser.add_argument("--max-vms", metavar="N", type=_count, help="default: what holds all jobs if none waits")
    parser.add_argument(
        "--set",
        metavar="OPTION=VALUE",
        action="append",
        default=[],
        help="instead of what the file says; may be repeated",
    )
    parser.add_argument("--compare", action="store_true", help="policies, and each --set, beside one another")
    parser.add_argument("--advise", action="store_true", help="try many options, and say what to set")
    parser.add_argument("--plot", metavar="FILE.svg", help="draw demand and capacity over time")
    parser.set_defaults(max_vms_from="as given")
    options = parser.parse_args(words)
    if (options.trace is None) == (options.history is None):
        parser.error("give a trace, or --history TIME")
    return options


def _past(text: str) -> float:
    number, unit = text[:-1], text[-1:].lower()
    if unit not in _UNITS or not (number.isascii() and number.isdigit() and 1 <= len(number) <= 6 and int(number)):
        raise argparse.ArgumentTypeError(f"'{printable(text)}' is no time; write it like 30d, 12h or 90m")
    return int(number) * _UNITS[unit]


def _price(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1e6:
        raise argparse.ArgumentTypeError(f"'{printable(text)}' is no price; give 0 to 1000000, for a VM and an hour")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 7 * 86400:
        raise argparse.ArgumentTypeError(f"'{printable(text)}' is no time; give 0 to 604800, in seconds")
    return value


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 6 and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"'{printable(text)}' is no number; give 1 to 999999")
    return int(text)


def _machines(options: argparse.Namespace, settings: Settings, memory: Memory | None) -> Machines:
    boot, cores = options.boot, options.cores
    boots, boots_from = ([], "") if memory is None else _boots(memory, settings)
    given = cores if isinstance(cores, int) else None
    known = None if memory is None else _cores(memory, settings)
    sizes = _sizes(cores, memory, settings)
    middle = sorted(sizes.values())[len(sizes) // 2] if sizes else None
    return Machines(
        boot if boot is not None else statistics.median(boots) if boots else BOOT_SECONDS,
        "as given" if boot is not None else boots_from if boots else "assumed",
        given or (middle if len(sizes) > 1 or isinstance(cores, dict) else known) or CORES,
        "as given" if cores else "as the daemon has learnt" if known else "assumed",
        sizes if len(sizes) > 1 else {},
    )


def _sizes(given: int | Mapping[str, int] | None, memory: Memory | None, settings: Settings) -> dict[str, int]:
    """Return how many cores VMs of each type have: as given, as the daemon has learnt, or as is assumed. Raise
    ConfigError if a type is given that there is not."""
    pools = settings.policy().variants
    types = list(dict.fromkeys(pool.instance_type for pool in pools))
    if isinstance(given, int):
        return dict.fromkeys(types, given)
    for type_ in given or ():
        if type_ not in types:
            known = ", ".join(filter(None, types)) or "none"
            raise ConfigError([f"--cores: no pool has VMs of type {printable(type_)}; the types are: {known}"])
    learnt = {} if memory is None else {pool.instance_type: capacity_of(memory, pool) for pool in pools}
    found = {type_: shape.cpus for type_, shape in learnt.items() if shape is not None and shape.cpus > 0}
    return {type_: (given or {}).get(type_) or found.get(type_, CORES) for type_ in types}


def _boots(memory: Memory, settings: Settings) -> tuple[list[float], str]:
    """Return how long VMs took to join: the last of the pools that are configured, or else those that there are."""
    learnt = [seconds for pool in settings.policy().pools for seconds in memory.boots.get(pool.capacity_key, ())]
    if learnt:
        return learnt, "as learnt"
    present = [
        record.joined_at - record.launched_at
        for record in memory.vms.values()
        if record.joined_at is not None and record.token and record.joined_at > record.launched_at
    ]
    return present, "as the VMs that there are"


def _cores(memory: Memory, settings: Settings) -> int | None:
    keys = [pool.capacity_key for pool in settings.policy().pools]
    shapes = [known[key] for key in keys for known in (memory.capacities, memory.described) if key in known]
    return next((shape.cpus for shape in shapes if shape.cpus > 0), None)


def _check_boot(machines: Machines, settings: Settings) -> None:
    patience_seconds = settings.elastiq.estimated_vm_deploy_time_s
    if machines.boot_seconds >= patience_seconds:
        patience = duration_text(patience_seconds)
        boot = duration_text(machines.boot_seconds)
        raise ConfigError(
            [
                f"[elastiq] estimated_vm_deploy_time_s: VMs that boot for {boot} would be terminated after {patience}, "
                "before they join; set it higher, or give another --boot"
            ]
        )


def _cores_given(text: str) -> int | dict[str, int]:
    """Return how many cores VMs have: all, or those of each type."""
    if "=" not in text:
        return _count(text)
    entries = [entry.rpartition("=") for entry in text.split(",")]
    if any(not type_.strip() for type_, _, _ in entries):
        raise argparse.ArgumentTypeError(f"'{printable(text)}' names no type; write it like m5.large=2,m5.xlarge=4")
    return {type_.strip(): _count(number.strip()) for type_, _, number in entries}


def _known_from(machines: Machines, options: argparse.Namespace) -> str:
    quota = options.max_vms_from if options.max_vms else "which hold all jobs if none waits"
    return (
        f"VMs of {machines.cores_text} cores ({machines.cores_from}) that boot for "
        f"{machines.boot_seconds:.0f} s ({machines.boot_from}), at most {{max_vms}} ({quota})"
    )


def options_of(settings: Settings, max_vms: int) -> dict[str, Any]:
    """Return the options on which the result depends."""
    used = {name: value for name, value in asdict(settings.elastiq).items() if name not in NOT_OF_DECISIONS}
    return {**used, "min_vms": min(settings.quota.min_vms, max_vms), "max_vms": max_vms}


def policy_of(settings: Settings) -> str:
    """Return the name of the policy that decides."""
    return "adaptive" if getattr(settings.policy(), "is_adaptive", False) else "classic"


def _cost(figures: Figures, price: float | None) -> float | None:
    """Return what all VMs cost: by `price`, or else by the prices in the file; None: neither is known."""
    price = figures.price if price is None else price
    return None if price is None else figures.vm_hours * price


def as_json(one: Tried, trace: str | None, price: float | None) -> dict[str, Any]:
    """Return the figures of one life, and on what they depend; `price` is of one VM for an hour."""
    figures, settings = one.figures, one.settings
    return {
        "trace": trace,
        "policy": policy_of(settings),
        "options": options_of(settings, figures.max_vms),
        "boot_seconds": figures.boot_seconds,
        "cores_per_vm": figures.cores_per_vm,
        "types": [asdict(of_type) for of_type in figures.of_types],
        "max_vms": figures.max_vms,
        "jobs": figures.jobs,
        "left_out": figures.left_out,
        "never_started": figures.never_started,
        "vms": figures.vms,
        "vm_hours": figures.vm_hours,
        "oracle_vm_hours": figures.oracle_vm_hours,
        "ratio": figures.ratio,
        "cost": _cost(figures, price),
        "mean_wait_seconds": figures.mean_wait_seconds,
        "p95_wait_seconds": figures.p95_wait_seconds,
        "worst_wait_seconds": figures.worst_wait_seconds,
        **asdict(figures.elasticity),
    }
