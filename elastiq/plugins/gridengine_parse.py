"""From what Grid Engine prints to what it means. Pure functions; whatever is no valid answer raises BatchError."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from xml.etree.ElementTree import Element  # nosec B405 - only as a type; kit.xml_document reads

from elastiq.errors import BatchError
from elastiq.model import Demand, Shape, Worker
from elastiq.plugins import kit
from elastiq.plugins.gridengine_query import GPU_REQUESTS, MEMORY_REQUESTS
from elastiq.text import excerpt

INSTANCE = "elastiq_instance"
ADDRESS = "elastiq_address"
CLOSED = "elastiq_closed"
"""Complexes in whose values an execution host says which VM it is, and elastiq which queues it closed there."""

NOTHING = "elastiq.nothing"
"""Value of CLOSED where elastiq has opened again what it closed: no queue, but, unlike NONE, surely a value."""

HOST_RESOURCES = (INSTANCE, ADDRESS, CLOSED, "slots", "mem_total", *MEMORY_REQUESTS, *GPU_REQUESTS)
"""What is asked of every execution host."""

_LOAD_VALUES = ("mem_free", "mem_total", "virtual_free", "virtual_total")
"""A machine has them once; they are compared with a job's request, not used up by it."""
_SPREADS = ("$fill_up", "$round_robin")
_QUEUE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,254}")
_SLOTS_LIMIT = 9_999_999


@dataclass(frozen=True)
class Group:
    """Waiting jobs that ask for the same; `oldest` is when the first was submitted (local time), if qstat says so."""

    parallel_environment: str
    slots: int
    requests: Mapping[str, str]
    jobs: int
    oldest: str = ""


@dataclass(frozen=True)
class Resource:
    """A complex: how a request for it counts."""

    consumable: str = "NO"
    default: str = "0"


@dataclass(frozen=True)
class QueueInstance:
    """A queue on a host, with qstat's letters for its state."""

    queue: str
    slots: int
    used: int
    reserved: int
    state: str

    @property
    def disabled(self) -> bool:
        """True if somebody disabled it: it starts nothing until somebody enables it."""
        return "d" in self.state

    @property
    def orphaned(self) -> bool:
        """True if the queue is no longer configured on this host, and only there for the jobs that still run."""
        return "o" in self.state

    @property
    def unknown(self) -> bool:
        """True if the execution daemon of the host has not been heard of for max_unheard."""
        return "u" in self.state

    @property
    def takes_jobs(self) -> bool:
        """True if it could start jobs, once it is enabled."""
        return not set(self.state) & set("uaACDsSEcoP")

    @property
    def jobs(self) -> int:
        """Slots with a job or a claim of an advance reservation."""
        return max(self.used, self.reserved)


@dataclass(frozen=True)
class Host:
    """An execution host. Amounts of consumables are what is left of them."""

    name: str
    queues: tuple[QueueInstance, ...] = ()
    instance_id: str | None = None
    address: str | None = None
    closed_queues: tuple[str, ...] = ()
    """The queues that elastiq closed here."""
    slots_left: int | None = None
    memory_total_mb: int = 0
    memory_left_mb: int | None = None
    gpus_left: int = 0
    reported: bool = True
    """False if its execution daemon has never reported."""

    @property
    def jobs(self) -> int:
        """Slots in use."""
        return sum(queue.jobs for queue in self.queues)

    @property
    def joined(self) -> bool:
        """True if it has queues and is heard of."""
        return self.reported and bool(self.queues) and not all(queue.unknown for queue in self.queues)

    @property
    def may_be_any(self) -> bool:
        """True if jobs may be on it, and it is not known which VM it is."""
        # After a restart of the master a host that has jobs may not have reported yet.
        runs_jobs = bool(self.queues) and (self.reported or bool(self.jobs))
        return runs_jobs and not (self.instance_id or self.address)

    @property
    def closed(self) -> bool:
        """True if none of its queues can start a job until somebody enables it."""
        return bool(self.queues) and all(queue.disabled or queue.orphaned for queue in self.queues)

    @property
    def own_closed(self) -> tuple[str, ...]:
        """The queues here that are disabled, and by elastiq."""
        return tuple(queue.queue for queue in self.queues if queue.disabled and queue.queue in self.closed_queues)

    @property
    def open_queues(self) -> tuple[str, ...]:
        """The queues here that are not disabled."""
        return tuple(queue.queue for queue in self.queues if not queue.disabled and not queue.orphaned)

    @property
    def closed_by_other(self) -> bool:
        """True if it is closed, and elastiq closed none of it."""
        return self.closed and not self.own_closed

    @property
    def swept(self) -> bool:
        """True if elastiq closed it, no job is there, and it is not heard of: its VM was terminated."""
        silent = all(queue.unknown for queue in self.queues)
        return self.closed and len(self.own_closed) == len(self.queues) and silent and not self.jobs

    def worker(self, full: Shape | None = None, idle_seconds: float | None = None) -> Worker:
        """Return what a plugin says of it; `full` is what it had left when no job was on it, if that was ever seen."""
        in_queues = sum(queue.slots for queue in self.queues if not queue.orphaned)
        free_in_queues = sum(max(0, queue.slots - queue.jobs) for queue in self.queues if queue.takes_jobs)
        cpus, free_cpus = in_queues, free_in_queues
        if self.slots_left is not None:
            cpus = min(in_queues, self.slots_left + sum(queue.used for queue in self.queues))
            free_cpus = min(free_in_queues, self.slots_left)
        memory_mb = self.memory_total_mb if self.memory_left_mb is None else self.memory_left_mb
        all_memory_mb, gpus = (full.memory_mb, full.gpus) if full else (self.memory_total_mb, self.gpus_left)
        return Worker(
            name=self.name,
            instance_id=self.instance_id,
            address=self.address,
            capacity=Shape(max(1, cpus), all_memory_mb, 0, gpus),
            free=Shape(free_cpus, memory_mb, 0, self.gpus_left),
            jobs=self.jobs,
            idle_seconds=None if self.jobs else idle_seconds,
            closed=self.closed,
            closed_by_other=self.closed_by_other,
        )


def parse_groups(answer: str) -> tuple[Group, ...]:
    """Given the JSON of gridengine_query, return the groups. Raise BatchError if it is anything else."""
    document = kit.json_document(answer, "qstat")
    groups = document.get("groups") if isinstance(document, dict) else None
    if not isinstance(groups, list):
        raise BatchError("qstat's jobs were counted without a list of groups")
    return tuple(_group(row) for row in groups)


def _group(row: object) -> Group:
    if isinstance(row, list) and len(row) == 5:
        environment, slots, requests, jobs, oldest = row
        if (
            isinstance(environment, str)
            and isinstance(requests, dict)
            and all(isinstance(value, str) for value in requests.values())
            and type(slots) is int
            and type(jobs) is int
            and 0 < jobs <= kit.LARGEST
            and isinstance(oldest, str)
        ):
            return Group(environment, min(max(slots, 1), _SLOTS_LIMIT), requests, jobs, oldest)
    raise BatchError(f"qstat's jobs were counted with what is no group: {excerpt(repr(row))}")


def parse_resources(answer: str) -> dict[str, Resource]:
    """Given the output of `qconf -sc`, return memory and GPU complexes by name.

    Raise BatchError if it is no list of complexes.
    """
    found = {}
    rows = [line.split() for line in answer.splitlines() if line.strip() and not line.startswith("#")]
    for row in rows:
        if len(row) < 8:
            raise BatchError(f"qconf -sc answered what is no complex: {excerpt(' '.join(row))}")
        found[row[0]] = Resource(row[5].upper(), row[6])
    if "slots" not in found:
        raise BatchError("qconf -sc answered without the complex slots, which every Grid Engine has")
    return found


def parse_rule(answer: str, name: str) -> str:
    """Given the output of `qconf -sp NAME`, return the allocation rule. Raise BatchError if there is none."""
    rules: list[str] = re.findall(r"^allocation_rule[ \t]+(\S+)", answer, re.MULTILINE)
    if len(rules) != 1:
        raise BatchError(f"qconf -sp {name} answered without an allocation rule: {excerpt(answer)}")
    return rules[0]


def parse_names(answer: str, who: str) -> tuple[str, ...]:
    """Given a list of names, one a line, return it. Raise BatchError if a line is no name."""
    names = tuple(line.strip() for line in answer.splitlines() if line.strip())
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


def demand_of(
    groups: Iterable[Group], rules: Mapping[str, str], resources: Mapping[str, Resource], now: float
) -> tuple[Demand, ...]:
    """Return the demand of `groups`, most jobs first, given allocation rules by parallel environment.

    Slots that may lie on any machines ($fill_up, $round_robin) count as so many jobs of one CPU. A number of slots that
    the rule can never give out is left out. Raise BatchError if a request is no amount.
    """
    jobs: dict[tuple[Shape, int], int] = {}
    oldest: dict[tuple[Shape, int], str] = {}
    for group in groups:
        found = _shape(group, rules, resources)
        if found:
            shape, machines, parts = found
            key = (shape, machines)
            jobs[key] = jobs.get(key, 0) + group.jobs * parts
            if group.oldest and group.oldest < oldest.get(key, "9"):
                oldest[key] = group.oldest
    ordered = sorted(jobs, key=lambda key: (-jobs[key], key[1], key[0].cpus, key[0].memory_mb, key[0].gpus))
    return tuple(Demand(key[0], jobs[key], _age_seconds(oldest.get(key, ""), now), key[1]) for key in ordered)


def _shape(group: Group, rules: Mapping[str, str], resources: Mapping[str, Resource]) -> tuple[Shape, int, int] | None:
    """Return the shape on one machine, how many machines a job needs at once, and how many such shapes a job is."""
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
    memory_mb = max((_amount_mb(name, group.requests, resources, cpus) for name in MEMORY_REQUESTS), default=0)
    gpus = max((_count(name, group.requests, resources, cpus) for name in GPU_REQUESTS), default=0)
    return Shape(cpus, memory_mb, 0, gpus), machines, parts


def _amount_mb(name: str, asked: Mapping[str, str], resources: Mapping[str, Resource], slots: int) -> int:
    """Return what a request means for the memory of one machine. h_vmem and the like that are no consumables only
    limit a job, and ask nothing of the machine."""
    resource = resources.get(name)
    if not resource:
        return 0
    consumed = resource.consumable != "NO"
    value = asked.get(name) or (resource.default if consumed else "")
    if not value or not (consumed or name in _LOAD_VALUES) or value.upper() in ("NONE", "INFINITY"):
        return 0
    size = kit.size_mb(value, f"qstat ({name})", unit="B", small_is_decimal=True)
    return size * slots if resource.consumable == "YES" else size


def _count(name: str, asked: Mapping[str, str], resources: Mapping[str, Resource], slots: int) -> int:
    resource = resources.get(name)
    value = asked.get(name) or (resource.default if resource and resource.consumable != "NO" else "0")
    try:
        number = int(float(value))
    except (ValueError, OverflowError):
        raise BatchError(f"qstat answered what is no number of {name}: {excerpt(value)}") from None
    if not 0 <= number <= kit.LARGEST:
        raise BatchError(f"qstat answered what is no number of {name}: {excerpt(value)}")
    return number * slots if resource and resource.consumable == "YES" else number


def _age_seconds(submitted: str, now: float) -> float | None:
    try:
        # In the time zone of the commands, which is this process's own.
        return max(0.0, now - time.mktime(time.strptime(submitted[:19], "%Y-%m-%dT%H:%M:%S")))
    except (ValueError, OverflowError):
        return None


def parse_hosts(answer: str) -> tuple[Host, ...]:
    """Given the output of `qhost -xml -q -F ...`, return the execution hosts, by name.

    Raise BatchError if it is no list of hosts. It always has the pseudo host `global`: without it, it is no answer.
    """
    root = kit.xml_document(answer, "qhost")
    elements = {element.get("name", ""): element for element in root.iter("host")}
    if root.tag != "qhost" or "global" not in elements:
        raise BatchError(f"qhost answered what is no list of hosts: {excerpt(answer)}")
    hosts = [_host(kit.name(name, "qhost"), elements[name]) for name in sorted(elements) if name != "global"]
    doubtful = kit.claimed_twice(host.instance_id for host in hosts)
    return tuple(replace(host, instance_id=None) if host.instance_id in doubtful else host for host in hosts)


def _host(name: str, element: Element) -> Host:
    values = {value.get("name", ""): (value.text or "").strip() for value in element.findall("hostvalue")}
    resources: dict[str, tuple[str, str]] = {}
    for value in element.findall("resourcevalue"):
        resources[value.get("name", "")] = (value.get("dominance", ""), (value.text or "").strip())
    consumed = {name: value for name, (dominance, value) in resources.items() if dominance.endswith("c")}
    closed = resources.get(CLOSED, ("", ""))[1].split(":")
    memories = [_left_mb(consumed[name]) for name in MEMORY_REQUESTS if name in consumed]
    return Host(
        name=name,
        queues=tuple(_queue(queue, name) for queue in element.findall("queue")),
        instance_id=kit.instance_id(resources.get(INSTANCE, ("", ""))[1]),
        address=kit.ipv4(resources.get(ADDRESS, ("", ""))[1]),
        closed_queues=tuple(queue for queue in closed if queue not in ("", NOTHING)),
        slots_left=_whole(consumed["slots"]) if "slots" in consumed else None,
        memory_total_mb=_left_mb(resources["mem_total"][1]) if "mem_total" in resources else 0,
        memory_left_mb=min(memories) if memories else None,
        gpus_left=max((_whole(consumed[name]) for name in GPU_REQUESTS if name in consumed), default=0),
        reported=values.get("num_proc", "-") != "-",
    )


def _queue(element: Element, host: str) -> QueueInstance:
    values = {value.get("name", ""): (value.text or "").strip() for value in element.findall("queuevalue")}
    name = element.get("name", "")
    if not _QUEUE.fullmatch(name) or "state_string" not in values:
        raise BatchError(f"qhost answered what is no queue of host {host}: {excerpt(name)}")
    used, slots = (kit.count(values.get(key, ""), "qhost") for key in ("slots_used", "slots"))
    reserved = kit.count(values.get("slots_resv", "0"), "qhost")
    return QueueInstance(name, slots, used, reserved, values["state_string"])


def _left_mb(value: str) -> int:
    # A consumable may have been overdrawn by a change of the configuration.
    return 0 if value.startswith("-") else kit.size_mb(value, "qhost", unit="B", small_is_decimal=True)


def _whole(value: str) -> int:
    try:
        number = int(float(value))
    except (ValueError, OverflowError):
        raise BatchError(f"qhost answered what is no number: {excerpt(value)}") from None
    return min(max(number, 0), _SLOTS_LIMIT)
