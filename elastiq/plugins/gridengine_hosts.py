"""Execution hosts of Grid Engine, from what qhost prints to workers. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from xml.etree.ElementTree import Element  # nosec B405 - only as a type; kit.xml_document reads

from elastiq.errors import BatchError
from elastiq.model import Shape, Worker
from elastiq.plugins import kit
from elastiq.plugins.gridengine_complexes import (
    ADDRESS,
    CLOSED,
    INSTANCE,
    TOTALS,
    Complexes,
    Resource,
    megabytes,
    number,
)
from elastiq.text import excerpt

NOTHING = "elastiq.nothing"
"""Value of CLOSED where elastiq has opened again what it closed: no queue, but, unlike NONE, surely a value."""

INTERRUPTION = "elastiq.interruption"
"""Value of CLOSED where spot-interruption.sh has disabled all queues of its host: no queue either."""

_QUEUE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,254}")
_SLOTS_LIMIT = 9_999_999


def host_resources(complexes: Complexes) -> tuple[str, ...]:
    """Return which complexes are asked of every host."""
    return (INSTANCE, ADDRESS, CLOSED, "slots", *dict.fromkeys((*TOTALS.values(), *sorted(complexes.counted))))


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
    """An execution host. By complex, what is left there of memory and disk (MB) and GPUs, or its load says of it."""

    name: str
    queues: tuple[QueueInstance, ...] = ()
    instance_id: str | None = None
    address: str | None = None
    closed_queues: tuple[str, ...] = ()
    """The queues that elastiq closed here."""
    slots_left: int | None = None
    memory_mb: Mapping[str, int] = field(default_factory=dict)
    disk_mb: Mapping[str, int] = field(default_factory=dict)
    gpus: Mapping[str, int] = field(default_factory=dict)
    consumables: frozenset[str] = frozenset()
    """Those of these complexes that jobs use up."""
    totals_mb: Mapping[str, int] = field(default_factory=dict)
    """By complex, what there is in all, as its load says."""
    used_exclusively: bool = False
    """True if a job has it for itself."""
    reported: bool = True
    """False if its execution daemon has never reported."""
    unreadable: str = ""
    """What is wrong with what qhost says of it; then no more than its name and perhaps its VM is known."""

    @property
    def offered(self) -> frozenset[str]:
        """The complexes of memory, disk and GPUs that it has a value of."""
        return frozenset((*self.memory_mb, *self.disk_mb, *self.gpus))

    @property
    def jobs(self) -> int:
        """Slots in use; in doubt one."""
        return 1 if self.unreadable else sum(queue.jobs for queue in self.queues)

    @property
    def joined(self) -> bool:
        """True if it has queues and is heard of, or nobody can tell."""
        if self.unreadable:
            return True
        return self.reported and bool(self.queues) and not all(queue.unknown for queue in self.queues)

    @property
    def may_be_any(self) -> bool:
        """True if jobs may be on it, and it is not known which VM it is."""
        # After a restart of the master a host that has jobs may not have reported yet.
        runs_jobs = bool(self.unreadable) or (bool(self.queues) and (self.reported or bool(self.jobs)))
        return runs_jobs and not (self.instance_id or self.address)

    @property
    def closed(self) -> bool:
        """True if none of its queues can start a job until somebody enables it."""
        return bool(self.queues) and all(queue.disabled or queue.orphaned for queue in self.queues)

    @property
    def is_marked(self) -> bool:
        """True if it says that the cloud is about to take its VM back."""
        return INTERRUPTION in self.closed_queues

    @property
    def own_closed(self) -> tuple[str, ...]:
        """The queues here that are disabled, and by elastiq or the script that goes with it."""
        here = [queue.queue for queue in self.queues if queue.disabled]
        return tuple(queue for queue in here if queue in self.closed_queues or self.is_marked)

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

    @property
    def hurt(self) -> bool:
        """True if a queue that should be here is not in order: in error, not configured here any more, ambiguous."""
        return bool(self.unreadable) or any(set(queue.state) & set("Eoc") for queue in self.queues)

    def worker(
        self,
        full: Host | None = None,
        idle_seconds: float | None = None,
        asked: Collection[str] = (),
        *,
        lost_queues: bool = False,
    ) -> Worker:
        """Return what a plugin says of it.

        `full` is the host as it was when no job was on it, None if it was never seen so: then it is not known what it
        holds of what jobs use up. `asked` are the complexes that waiting jobs count with: these decide what is left.
        """
        return Worker(
            name=self.name,
            instance_id=self.instance_id,
            address=self.address,
            capacity=self._capacity(full if self.jobs else self, asked),
            free=self._free(asked),
            jobs=self.jobs,
            idle_seconds=None if self.jobs else idle_seconds,
            closed=self.closed,
            closed_by_other=self.closed_by_other,
            hurt=self.hurt or lost_queues,
            interrupted=self.closed and self.is_marked,
        )

    def _free(self, asked: Collection[str]) -> Shape:
        if self.unreadable or self.used_exclusively:
            return Shape(0, None, None, None)
        cpus = sum(max(0, queue.slots - queue.jobs) for queue in self.queues if self._starts_jobs_in(queue))
        cpus = cpus if self.slots_left is None else min(cpus, self.slots_left)
        memory_mb = self._least(self.memory_mb, asked)
        gpus = self._least(self.gpus, asked) if set(self.gpus) & set(asked) else max(self.gpus.values(), default=0)
        memory_mb = self.totals_mb.get("mem_total") if memory_mb is None else memory_mb
        return Shape(cpus, memory_mb, self._least(self.disk_mb, asked), gpus)

    def _starts_jobs_in(self, queue: QueueInstance) -> bool:
        """Return whether jobs can start in `queue`; if the host is closed: once it is reopened."""
        opened = set(self.own_closed or self.closed_queues or (queue.queue,)) if self.closed else set()
        return queue.takes_jobs and (not queue.disabled or queue.queue in opened)

    def _capacity(self, full: Host | None, asked: Collection[str]) -> Shape:
        if self.unreadable:
            return Shape(1, None, None, None)
        cpus = sum(queue.slots for queue in self.queues if not queue.orphaned)
        if self.slots_left is not None:
            cpus = min(cpus, self.slots_left + sum(queue.used for queue in self.queues))
        memory_mb = self._most(self.memory_mb, full.memory_mb if full else {}, asked)
        if not set(self.memory_mb) & (self.consumables | set(asked)):
            memory_mb = self.totals_mb.get("mem_total")
        gpus = self._most(self.gpus, full.gpus if full else {}, asked) if self.gpus else 0
        return Shape(max(1, cpus), memory_mb, self._most(self.disk_mb, full.disk_mb if full else {}, asked), gpus)

    def _least(self, left: Mapping[str, int], asked: Collection[str]) -> int | None:
        """Return the least that is left of what jobs ask for or else, of what they use up; None if there is neither."""
        names = [name for name in left if name in asked] or [name for name in left if name in self.consumables]
        return min((left[name] for name in names), default=None)

    def _most(self, left: Mapping[str, int], full: Mapping[str, int], asked: Collection[str]) -> int | None:
        """Return the most that there ever is of what jobs use up and of the load values that they ask for; None if that
        of what they use up is not known."""
        consumed = [name for name in left if name in self.consumables]
        loads = [name for name in left if name in asked and name not in self.consumables]
        if any(name not in full for name in consumed):
            return None
        known = [full.get(name, self.totals_mb.get(TOTALS.get(name, ""))) for name in loads]
        return max((*(full[name] for name in consumed), *(size for size in known if size is not None)), default=None)


def parse_hosts(answer: str, complexes: Complexes) -> tuple[Host, ...]:
    """Given the output of `qhost -xml -q -F ...`, return the execution hosts, by name.

    A host of which qhost says what cannot be read is there as one that is `unreadable`: left out, it would seem to have
    gone with its jobs. Raise BatchError if it is no whole list of hosts, or one has no name. It always has the pseudo
    host `global`: without it, it is no answer, and where that cannot be read, another may have been lost in it.
    """
    elements = _elements(answer)
    if isinstance(elements.get("global", ""), str):
        raise BatchError(f"qhost answered what is no list of hosts: {excerpt(answer)}")
    hosts = [_host(kit.name(name, "qhost"), elements[name], complexes) for name in sorted(elements) if name != "global"]
    doubtful = kit.claimed_twice(host.instance_id for host in hosts)
    return tuple(replace(host, instance_id=None) if host.instance_id in doubtful else host for host in hosts)


def parse_global(answer: str, names: Iterable[str]) -> dict[str, float]:
    """Given the output of `qhost -xml -F ...`, return what the whole cluster has left of each of the consumables
    `names` that it limits as a whole. Raise BatchError if it does not say that."""
    element = _elements(answer).get("global")
    if element is None or isinstance(element, str):
        raise BatchError(f"qhost answered what is no list of hosts: {excerpt(answer)}")
    left = {}
    for name, (_, value) in _values(element).items():
        if name in names:
            amount = number(value, "MEMORY")
            if amount is None:
                raise BatchError(f"qhost answered what is no amount of {name}: {excerpt(value)}")
            left[name] = max(0.0, amount)
    return left


_HOST = re.compile(r"<host\s+name=(['\"])(.*?)\1.*?(?:</host>|(?=<host\s))", re.DOTALL)
"""A host as far as its end, or as the next one where that is lost."""


def _elements(answer: str) -> dict[str, Element | str]:
    """Return the hosts by name; what of a host is no XML is there as what is wrong with it."""
    try:
        root = kit.xml_document(answer, "qhost")
    except BatchError:
        kit.xml_document(_HOST.sub("", answer), "qhost")
        return _by_name((match[2], _alone(match[0])) for match in _HOST.finditer(answer))
    return _by_name((element.get("name", ""), element) for element in root.iter("host")) if root.tag == "qhost" else {}


def _by_name(hosts: Iterable[tuple[str, Element | str]]) -> dict[str, Element | str]:
    found: dict[str, Element | str] = {}
    for name, host in hosts:
        found[name] = "qhost shows it twice" if name in found else host
    return found


def _alone(text: str) -> Element | str:
    try:
        return kit.xml_document(text, "qhost")
    except BatchError as error:
        return str(error)


def _values(element: Element) -> dict[str, tuple[str, str]]:
    return {
        value.get("name", ""): (value.get("dominance", ""), (value.text or "").strip())
        for value in element.findall("resourcevalue")
    }


def _host(name: str, element: Element | str, complexes: Complexes) -> Host:
    if isinstance(element, str):
        return Host(name, unreadable=element)
    values = _values(element)
    identity = Host(
        name=name,
        instance_id=kit.instance_id(values.get(INSTANCE, ("", ""))[1]),
        address=kit.ipv4(values.get(ADDRESS, ("", ""))[1]),
    )
    try:
        return _read(identity, element, values, complexes)
    except BatchError as error:
        return replace(identity, unreadable=str(error))


def _read(identity: Host, element: Element, values: Mapping[str, tuple[str, str]], complexes: Complexes) -> Host:
    shown = {value.get("name", ""): (value.text or "").strip() for value in element.findall("hostvalue")}
    if not shown:
        raise BatchError("qhost says nothing of it")
    named = complexes.named
    # What the whole cluster has left is nothing that the host has.
    own = {name: value for name, (level, value) in values.items() if name in named and not level.startswith("g")}
    known = {name: _amount(value, named[name]) for name, value in own.items()}
    left = {name: amount for name, amount in known.items() if amount is not None}
    closed = values.get(CLOSED, ("", ""))[1].split(":")
    slots = values.get("slots", ("", ""))
    return replace(
        identity,
        queues=tuple(_queue(queue, identity.name) for queue in element.findall("queue")),
        closed_queues=tuple(queue for queue in closed if queue not in ("", NOTHING)),
        slots_left=_whole(slots[1]) if slots[0].endswith("c") else None,
        memory_mb={name: _mb(left[name]) for name in complexes.memory & left.keys()},
        disk_mb={name: _mb(left[name]) for name in complexes.disk & left.keys()},
        gpus={name: int(left[name]) for name in complexes.gpus & left.keys()},
        consumables=frozenset(complexes.consumables & left.keys()),
        totals_mb={name: _mb(left[name]) for name in TOTALS.values() if name in left},
        used_exclusively=any(not left[name] for name in complexes.exclusive & left.keys()),
        reported=shown.get("num_proc", "-") != "-",
    )


def _mb(size_bytes: float) -> int:
    return megabytes(size_bytes, up=False)


def _amount(value: str, resource: Resource) -> float | None:
    """Return an amount, never below nothing: a consumable may have been overdrawn by a change of its configuration."""
    amount = number(value, resource.type)
    if amount is None:
        return None
    return min(max(amount, 0.0), float(kit.LARGEST) * 1024 * 1024)


def _queue(element: Element, host: str) -> QueueInstance:
    values = {value.get("name", ""): (value.text or "").strip() for value in element.findall("queuevalue")}
    name = element.get("name", "")
    if not _QUEUE.fullmatch(name) or "state_string" not in values:
        raise BatchError(f"qhost answered what is no queue of host {host}: {excerpt(name)}")
    used, slots = (kit.count(values.get(key, ""), "qhost") for key in ("slots_used", "slots"))
    reserved = kit.count(values.get("slots_resv", "0"), "qhost")
    return QueueInstance(name, slots, used, reserved, values["state_string"])


def _whole(value: str) -> int:
    amount = number(value, "INT")
    if amount is None:
        raise BatchError(f"qhost answered what is no number: {excerpt(value)}")
    return int(min(max(amount, 0.0), _SLOTS_LIMIT))
