"""From what Slurm prints of its nodes to workers. Pure functions; whatever is no valid answer raises BatchError."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from elastiq.errors import BatchError
from elastiq.model import Shape, Worker
from elastiq.plugins import kit, slurm_gres
from elastiq.plugins.slurm_match import Offer
from elastiq.text import excerpt

OWN_REASON = "elastiq: "
"""The reasons that elastiq gives begin like this; by them it knows its own drains again."""
_IDLE = f"{OWN_REASON}idle"
_IDLE_BUT_BROKEN = f"{_IDLE}; "
"""Before Slurm's own reason, where it had drained the node already."""

INTERRUPTION = f"{OWN_REASON}spot interruption"
"""How the reason begins that spot-interruption.sh gives on the worker."""

_REASONS_OF_SLURM = (
    "Not responding",
    "Node unexpectedly rebooted",
    "Prolog error",
    "Epilog error",
    "Prolog/Epilog failure",
    "Job env setup error",
    "Duplicate jobid",
    "Kill task failed",
    "batch job complete failure",
    "Low socket*core",
    "Low CPUs",
    "Low RealMemory",
    "Low TmpDisk",
    "gres/",
    "Could not unpack gres data",
)
"""How the reasons begin that Slurm gives when it drains a node by itself. Such a VM is broken, and waits for nobody."""

_NO_NODES = "No nodes in the system"
_SIGNATURE = re.compile(r" \[[^\s\[\]@]+@[^\s\[\]]+\]")
"""After a reason: who gave it, and when."""
_FIELD = re.compile(r"(?:^| )([A-Za-z]+)=(\S*)")
_RECORD = re.compile(r"\n(?=NodeName=\S+ (?:Arch=\S* )?(?:CpuBind=\S* )?(?:CoresPerSocket|CPUAlloc)=)")
"""Between two nodes: a line each, but for texts, which may have several."""
_AFTER_OS = (
    re.compile(r" RealMemory=[0-9]+ AllocMem=[0-9]+ FreeMem=\S+ Sockets=[0-9]+ Boards=[0-9]+(?=\s)"),
    re.compile(r" RealMemory=[0-9]+ AllocMem=[0-9]+(?=\s)"),
)
"""What follows the name of the operating system, which is any text: the first of these that is there."""
_TEXT = re.compile(r" (Reason|Comment|Extra)=")
"""The texts that people write come last, the reason before the others."""
_AFTER_TEXTS = re.compile(r" InstanceId=(\S+)(?: +InstanceType=\S*)?(?: +ReservationName=\S*)?\s*")
_MARKS = "*~#!%$@^-+"
_NODE_FIELDS = ("NodeName", "NodeAddr", "State", "CPUAlloc", "CPUTot", "RealMemory", "AllocMem")
_BASE_STATES = ("IDLE", "MIXED", "ALLOCATED", "DOWN", "ERROR", "UNKNOWN", "FUTURE")
_INSTEAD_OF_IDLE = ("MAINT", "RESERVED", "REBOOT", "PERFCTRS")
"""What Slurm before 21.08 calls a node that is idle, and something else, too; later it says IDLE+MAINTENANCE."""
_MAINTENANCE = frozenset({"MAINT", "MAINTENANCE"})
_RESERVING = _MAINTENANCE | {"RESERVED"}
_INSTANCE_ID = re.compile(r"i-[0-9a-f]{8}(?:[0-9a-f]{9})?")
_SERVER_TIME = re.compile(r"sdiag output at [^\n]*\(([0-9]{9,11})\)")


NO_ROOM = Shape(0, 0, None, 0)
_CLOSING = frozenset({"DRAIN", "FAIL", "INVALID_REG"})
_NO_GRES = ("", "N/A", "(null)")


class NotInSecondsError(BatchError):
    """Slurm told times as people read them: so it does everywhere then."""

    def __init__(self, who: str, time: str) -> None:
        super().__init__(
            f"{who} told a time as {excerpt(time)}, not in seconds: let sudo pass on how it shall answer, by "
            'Defaults:elastiq env_keep += "SLURM_TIME_FORMAT SLURM_BITSTR_LEN" in sudoers'
        )


@dataclass(frozen=True)
class Node:
    """A worker, and what is not a worker's: nodes that are down."""

    worker: Worker
    present: bool
    """True if it is registered and answers, or did so a moment ago."""
    dynamic: bool
    """True if it registered itself and can be deleted."""
    down: bool
    reason: str
    host: str = ""
    """The name that NodeAddr has in place of an address, if it can be looked up."""
    offer: Offer = field(default_factory=Offer)
    doubt: str = ""
    """Why it cannot be read, if so. It is a worker all the same, and has a job for all that is known: one that were
    left out would be taken for lost, and its VM with its jobs for one that may go."""

    @property
    def may_be_any(self) -> bool:
        """True if jobs may be on it, and it is not known which VM it is."""
        return not (self.down or self.worker.instance_id or self.worker.address)

    @property
    def drained_by_elastiq(self) -> bool:
        """True if it is drained, by elastiq."""
        return self.worker.closed and self.reason.startswith(OWN_REASON)

    @property
    def drained_by_slurm(self) -> bool:
        """True if Slurm has drained it by itself, whether or not elastiq has, too, since."""
        if self.drained_by_elastiq:
            return self.reason.startswith(_IDLE_BUT_BROKEN)
        return self.worker.closed and not self.worker.closed_by_other

    @property
    def reason_to_close(self) -> str:
        """The reason to drain it with. It keeps Slurm's own, so that the node is not brought back later."""
        if not self.drained_by_slurm:
            return _IDLE
        return _IDLE_BUT_BROKEN + (_SIGNATURE.split(self.reason)[0].strip() or "drained by Slurm")


def parse_server_time(answer: str) -> float:
    """Given the output of `sdiag`, return slurmctld's time. Raise BatchError if it does not say it."""
    match = _SERVER_TIME.search(answer[:1000])
    if not match:
        raise BatchError(f"sdiag did not tell Slurm's time: {excerpt(answer)}")
    return float(match[1])


def parse_nodes(answer: str, now: float) -> tuple[Node, ...]:
    """Given the output of `scontrol --oneliner --details show node` with times in seconds, return the nodes.

    Nodes that do not exist (FUTURE, powered down) are left out. `now` is Slurm's time. Raise BatchError if it is
    anything else, or nothing of it can be read: where there are no nodes, scontrol says so.
    """
    listed = answer.strip()
    if listed == _NO_NODES:
        return ()
    if not listed or not answer.endswith("\n"):
        raise BatchError(f"scontrol answered what is no list of nodes: {excerpt(answer)}")
    records = [_record(text) for text in _RECORD.split(listed)]
    nodes = [node for node in (_node_or_doubt(record, now) for record in records) if node]
    if nodes and all(node.doubt for node in nodes):
        raise BatchError(nodes[0].doubt)
    doubtful = kit.claimed_twice(node.worker.instance_id for node in nodes)
    return tuple(
        replace(node, worker=replace(node.worker, instance_id=None)) if node.worker.instance_id in doubtful else node
        for node in nodes
    )


def with_addresses(nodes: Iterable[Node], addresses: Mapping[str, str]) -> tuple[Node, ...]:
    """Return `nodes`, those whose host is in `addresses`, by names in small letters, with its address."""
    return tuple(
        replace(node, worker=replace(node.worker, address=addresses[node.host.lower()]))
        if node.host.lower() in addresses
        else node
        for node in nodes
    )


@dataclass(frozen=True)
class _Record:
    """What is said of a node."""

    fields: Mapping[str, str]
    reason: str
    ambiguous: bool
    """True if a text imitates the fields so well that they cannot be told from it."""


def _record(text: str) -> _Record:
    """Raise BatchError if it is not a node that is spoken of, or more than one."""
    head, named, rest = text.partition(" OS=")
    found = ([match.start() for match in pattern.finditer(rest)] for pattern in _AFTER_OS if named)
    starts = next((places for places in found if places), [])
    tail = rest[starts[0] :] if starts else ("" if named else head)
    first = _TEXT.search(tail)
    facts = (head if named else "") + (tail[: first.start()] if first else tail)
    if not text.startswith("NodeName=") or "\n" in facts.strip():
        raise BatchError(f"scontrol answered what is no list of nodes: {excerpt(text)}")
    fields: dict[str, str] = {}
    for name, value in _FIELD.findall(facts):
        fields.setdefault(name, value)
    last = _AFTER_TEXTS.search(tail, first.start()) if first else None
    if last and last.end() == len(tail):
        fields["InstanceIdBehindTexts"] = last[1]
    if named:
        fields["OS"] = rest.split(maxsplit=1)[0] if rest[:1].strip() else ""
    reason = tail[first.end() :].partition("\n")[0] if first and first[1] == "Reason" else ""
    return _Record(fields, reason, ambiguous=bool(named) and len(starts) != 1)


def _node_or_doubt(record: _Record, now: float) -> Node | None:
    """Raise BatchError if not even its name is to be known, or times are not in seconds."""
    name = kit.name(record.fields["NodeName"], "scontrol")
    try:
        if record.ambiguous:
            raise BatchError(f"scontrol answered what is no node, or several in one: {name}")
        return _node(name, record.fields, record.reason, now)
    except NotInSecondsError:
        raise
    except BatchError as error:
        address = kit.ipv4(record.fields.get("NodeAddr"))
        worker = Worker(name, _instance_id(name, {}), address, Shape(), NO_ROOM, jobs=1)
        return Node(worker, True, False, False, "", doubt=f"node {name} cannot be read: {error}")


def _node(name: str, fields: Mapping[str, str], reason: str, now: float) -> Node | None:
    missing = [word for word in _NODE_FIELDS if word not in fields]
    if missing:
        raise BatchError(f"scontrol did not tell {', '.join(missing)} of it")
    state, *flags = (word.rstrip(_MARKS) for word in fields["State"].split("+"))
    if state in _INSTEAD_OF_IDLE:
        state, flags = "IDLE", [state, *flags]
    if state not in _BASE_STATES:
        raise BatchError(f"scontrol answered with a node in state {excerpt(fields['State'])}")
    busy = _is_busy(state, flags, fields)
    asleep = bool({"POWERED_DOWN", "POWERING_DOWN", "POWER", "POWERED_OFF"}.intersection(flags))
    if state == "FUTURE" or (asleep and not busy):
        return None
    host = fields["NodeAddr"]
    address = kit.ipv4(host)
    # A node that has registered with less than is configured starts no job, whether or not it is drained for that.
    closed = bool(_CLOSING.intersection(flags))
    by_slurm = "INVALID_REG" in flags or reason.startswith((_IDLE_BUT_BROKEN, *_REASONS_OF_SLURM))
    # The jobs of a reservation run on its nodes alone, so an idle one is waited for, unless it can start none of them;
    # but a reservation for maintenance has no jobs.
    claimed = state == "IDLE" and not closed and "RESERVED" in flags and not _MAINTENANCE.intersection(flags)
    capacity, free = _shapes(fields)
    if _RESERVING.intersection(flags) or (closed and by_slurm):
        free = NO_ROOM  # only for the jobs of the reservation; for none, since it is not opened again
    return Node(
        worker=Worker(
            name=name,
            instance_id=_instance_id(name, fields),
            address=address,
            capacity=capacity,
            free=free,
            jobs=int(busy or claimed),
            idle_seconds=None if busy or claimed else _idle_seconds(fields, now),
            closed=closed,
            closed_by_other=closed and not by_slurm and not reason.startswith(OWN_REASON),
            interrupted=closed and reason.startswith(INTERRUPTION),
            hurt=(closed and by_slurm) or "FAIL" in flags or fields.get("GresDrain", "") not in _NO_GRES,
        ),
        present=state not in ("DOWN", "UNKNOWN", "ERROR"),
        dynamic="DYNAMIC_NORM" in flags,
        down=state == "DOWN",
        reason=reason,
        host=host if not address and kit.is_name(host) else "",
        offer=_offer(name, fields),
    )


def _offer(name: str, fields: Mapping[str, str]) -> Offer:
    """Return what any node like this offers to jobs: no name, and no id of its VM."""
    own = {name, fields.get("NodeHostName"), fields.get("InstanceId"), "(null)", ""}
    features = {word for word in fields.get("AvailableFeatures", "").split(",") if not _INSTANCE_ID.fullmatch(word)}
    tmp = fields.get("TmpDisk", "")
    return Offer(
        partitions=tuple(sorted({*fields.get("Partitions", "").split(",")} - {""})),
        features=tuple(sorted(features - own)),
        gres=dict(sorted(slurm_gres.parse(fields.get("Gres", "")).items())),
        tmp_mb=int(tmp) if re.fullmatch("[0-9]{1,12}", tmp) else 0,
        arch=fields.get("Arch", ""),
        os=fields.get("OS", ""),
    )


def _is_busy(state: str, flags: Collection[str], fields: Mapping[str, str]) -> bool:
    """Return whether any job is there, suspended ones included: these have no CPUs, but the state and the memory."""
    allocated = kit.count(fields["CPUAlloc"], "scontrol") or kit.count(fields["AllocMem"], "scontrol")
    return state in ("MIXED", "ALLOCATED") or "COMPLETING" in flags or bool(allocated)


def _shapes(fields: Mapping[str, str]) -> tuple[Shape, Shape]:
    """Return what a node has, and what of it is free."""
    cpus = kit.count(fields.get("CPUEfctv", fields["CPUTot"]), "scontrol")
    gpus, used = (slurm_gres.total(slurm_gres.parse(fields.get(name, "")), "gpu") for name in ("Gres", "GresUsed"))
    memory_mb = memory_left_mb = None
    configured_mb = kit.count(fields["RealMemory"], "scontrol")
    if configured_mb > 1:  # Slurm's default, where nobody has said it
        set_aside_mb = kit.count(fields.get("MemSpecLimit", "0"), "scontrol")  # never for jobs
        memory_mb = max(1, configured_mb - set_aside_mb)
        memory_left_mb = max(0, configured_mb - set_aside_mb - kit.count(fields["AllocMem"], "scontrol"))
    free = Shape(max(0, cpus - kit.count(fields["CPUAlloc"], "scontrol")), memory_left_mb, None, max(0, gpus - used))
    return Shape(max(1, cpus), memory_mb, None, gpus), free


def _idle_seconds(fields: Mapping[str, str], now: float) -> float | None:
    """Return for how long it has had no job, or since it registered; None from Slurm before 21.08."""
    since = fields.get("LastBusyTime", "")
    if re.match(r"[0-9]{4}-", since):
        raise NotInSecondsError("scontrol", since)
    return max(0.0, now - int(since)) if re.fullmatch(r"[0-9]{9,11}", since) else None


def _instance_id(name: str, fields: Mapping[str, str]) -> str | None:
    """Return the id of the node's VM: what slurmd was told by --instance-id, a feature that is one, or its name.

    What stands behind a comment may be the end of it, so there it counts only where nothing else tells an id.
    """
    told = kit.instance_id(fields.get("InstanceId"))
    candidates = [*fields.get("AvailableFeatures", "").split(","), name]
    found = next((word for word in candidates if _INSTANCE_ID.fullmatch(word)), None)
    return told or found or kit.instance_id(fields.get("InstanceIdBehindTexts"))
