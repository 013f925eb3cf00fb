"""From what Grid Engine prints of jobs to what it means. Pure functions; what is no valid answer raises BatchError."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from elastiq.errors import BatchError
from elastiq.model import Demand, Shape
from elastiq.plugins import kit
from elastiq.plugins.gridengine_complexes import Complexes, amount_of, asked_of, deciding
from elastiq.plugins.gridengine_wants import wants_of
from elastiq.text import excerpt

_SPREADS = ("$fill_up", "$round_robin")
_SLOTS_LIMIT = 9_999_999


@dataclass(frozen=True)
class Group:
    """Waiting jobs that ask for the same; `oldest` is when the first was submitted (local time), if qstat says so."""

    parallel_environment: str
    slots: int
    requests: Mapping[str, str]
    jobs: int
    oldest: str = ""
    queues: tuple[str, ...] = ()
    """The queues, queues on hosts and so on that it asks for; it may run in any of them."""
    running: int = 0


@dataclass(frozen=True)
class Jobs:
    """What the child process counted."""

    groups: tuple[Group, ...]
    unreadable: int = 0
    example: str = ""
    """What is wrong with the first job that could not be read."""


def parse_jobs(answer: str) -> Jobs:
    """Given the JSON of gridengine_query, return what it says. Raise BatchError if it is anything else."""
    document = kit.json_document(answer, "qstat")
    groups = document.get("groups") if isinstance(document, dict) else None
    if not isinstance(groups, list):
        raise BatchError("qstat's jobs were counted without a list of groups")
    unreadable, example = document.get("unreadable", 0), document.get("example", "")
    if type(unreadable) is not int or not isinstance(example, str):
        raise BatchError("qstat's jobs were counted without a number of those that cannot be read")
    return Jobs(tuple(_group(row) for row in groups), unreadable, example)


def _group(row: object) -> Group:
    if isinstance(row, list) and len(row) == 7:
        environment, slots, requests, queues, jobs, running, oldest = row
        if (
            isinstance(environment, str)
            and isinstance(requests, dict)
            and isinstance(queues, list)
            and all(isinstance(value, str) for value in (*requests.values(), *queues))
            and type(slots) is int
            and type(jobs) is int
            and 0 < jobs <= kit.LARGEST
            and type(running) is int
            and 0 <= running <= kit.LARGEST
            and isinstance(oldest, str)
        ):
            slots = min(max(slots, 1), _SLOTS_LIMIT)
            return Group(environment, slots, requests, jobs, oldest, tuple(queues), running)
    raise BatchError(f"qstat's jobs were counted with what is no group: {excerpt(repr(row))}")


def parse_rule(answer: str, name: str) -> str:
    """Given the output of `qconf -sp NAME`, return the allocation rule. Raise BatchError if there is none."""
    rules: list[str] = re.findall(r"^allocation_rule[ \t]+(\S+)", answer, re.MULTILINE)
    if len(rules) != 1:
        raise BatchError(f"qconf -sp {name} answered without an allocation rule: {excerpt(answer)}")
    return rules[0]


def parse_names(answer: str, who: str) -> tuple[str, ...]:
    """Given a list of names, one a line, return it. Raise BatchError if a line is no name."""
    names = tuple(line.strip() for line in kit.lines(answer) if line.strip())
    for name in names:
        if not re.fullmatch(r"@?[A-Za-z0-9_][A-Za-z0-9_.+-]{0,254}", name):
            raise BatchError(f"{who} answered what is no name: {excerpt(name)}")
    return names


def rule_of(pattern: str, rules: Mapping[str, str]) -> str | None:
    """Return the allocation rule of the first parallel environment whose name `pattern` matches, or None."""
    for name in sorted(rules):
        if fnmatchcase(name, pattern):
            return rules[name]
    return None


def limited(groups: Sequence[Group], left: Mapping[str, float], complexes: Complexes) -> tuple[Group, ...]:
    """Return `groups` with no more jobs than what is `left` of consumables of the whole cluster is enough for, those
    that have waited longest first. A job that waits for such a licence is helped by no VM.

    A group whose request is no amount is returned as it is.
    """
    if not left:
        return tuple(groups)
    rest, allowed = dict(left), {}
    for group in sorted(groups, key=lambda group: (not group.oldest, group.oldest)):
        try:
            takes = {name: amount_of(name, group.requests, complexes.named[name], group.slots) for name in rest}
        except BatchError:
            continue
        may_start = min((int(rest[name] // amount) for name, amount in takes.items() if amount), default=group.jobs)
        jobs = allowed[group_key(group)] = min(group.jobs, may_start)
        for name, amount in takes.items():
            rest[name] -= amount * jobs
    counted = (replace(group, jobs=allowed.get(group_key(group), group.jobs)) for group in groups)
    return tuple(group for group in counted if group.jobs)


def group_key(group: Group) -> tuple[object, ...]:
    """Return what tells `group` from all others of one answer."""
    return group.parallel_environment, group.slots, tuple(sorted(group.requests.items())), group.queues


def deciding_of(groups: Iterable[Group], complexes: Complexes) -> frozenset[str]:
    """Return the complexes that decide how much memory, disk and GPUs jobs of `groups` need."""
    return frozenset(name for group in groups for name in deciding(group.requests, complexes))


def demand_of(
    groups: Iterable[Group],
    rules: Mapping[str, str],
    complexes: Complexes,
    now: float,
    *,
    cluster_wide: Collection[str] = (),
    unlimited: Collection[str] = (),
) -> tuple[tuple[Demand, ...], tuple[str, ...]]:
    """Return the demand of `groups`, most jobs first, given allocation rules by parallel environment, and what is wrong
    with those that were left out because a request of theirs is no amount.

    Slots that may lie on any machines ($fill_up, $round_robin) count as so many jobs of one CPU. A number of slots that
    the rule can never give out is left out. Of `cluster_wide`, consumables of the cluster as a whole, no machine has
    any, and `unlimited` are consumables that no machine limits.
    """
    found: dict[tuple[Shape, int, str, bool], Demand] = {}
    oldest: dict[tuple[Shape, int, str, bool], str] = {}
    faults = []
    own = complexes.without({*cluster_wide, *unlimited})
    for group in groups:
        try:
            demand = _demand(group, rules, own, cluster_wide)
        except BatchError as error:
            faults.append(str(error))
            continue
        if demand is None:
            continue
        key = (demand.shape, demand.vms_per_job, demand.wants, demand.takes_whole_vms)
        known = found.get(key)
        if known:
            running = (demand.running or 0) + (known.running or 0)
            demand = replace(demand, jobs=demand.jobs + known.jobs, running=running)
        found[key] = demand
        if group.oldest and group.oldest < oldest.get(key, "9"):
            oldest[key] = group.oldest
    ages = {when: _age_seconds(when, now) for when in oldest.values()}
    dated = [replace(one, oldest_wait_seconds=ages.get(oldest.get(key, ""))) for key, one in found.items()]
    return tuple(sorted(dated, key=_order)), tuple(faults)


def _order(demand: Demand) -> tuple[object, ...]:
    shape = demand.shape
    amounts = (shape.memory_mb or 0, shape.disk_mb or 0, shape.gpus or 0)
    return -demand.jobs, demand.vms_per_job, shape.cpus, amounts, demand.wants, demand.takes_whole_vms


def _demand(
    group: Group, rules: Mapping[str, str], complexes: Complexes, cluster_wide: Collection[str]
) -> Demand | None:
    cpus, machines, parts = 1, 1, 1
    if group.parallel_environment:
        rule = rule_of(group.parallel_environment, rules)
        if rule in _SPREADS:
            parts = group.slots
        elif rule and rule.isdecimal():
            cpus = int(rule)
            if not cpus or group.slots % cpus:
                return None
            machines = group.slots // cpus
        else:
            # $pe_slots, and an environment that is gone by now.
            cpus = group.slots
    requests = {name: value for name, value in group.requests.items() if name not in cluster_wide}
    asked = asked_of(requests, complexes, cpus)
    return Demand(
        Shape(cpus, asked.memory_mb, asked.disk_mb, asked.gpus),
        group.jobs * parts,
        vms_per_job=machines,
        wants=wants_of(group.parallel_environment, group.queues, requests, complexes),
        takes_whole_vms=asked.whole_machine,
        running=group.running * parts,
    )


def _age_seconds(submitted: str, now: float) -> float | None:
    try:
        # In the time zone of the commands, which is this process's own.
        return max(0.0, now - time.mktime(time.strptime(submitted[:19], "%Y-%m-%dT%H:%M:%S")))
    except (ValueError, OverflowError):
        return None
