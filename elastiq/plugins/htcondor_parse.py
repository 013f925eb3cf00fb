"""From what HTCondor prints to what it means. Pure functions; whatever is no valid answer raises BatchError."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from elastiq.errors import BatchError
from elastiq.model import Demand, Shape, Worker
from elastiq.plugins.htcondor_query import SLOT_ATTRIBUTES
from elastiq.plugins.kit import LARGEST, amount, claimed_twice, instance_id, ipv4, is_name, json_document, total
from elastiq.text import excerpt

OWN_DRAIN = "elastiq"
"""How the reason of every drain that elastiq asks for begins."""

_SHAPE_FIELDS = 5
_SCHEDD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,254}")
_SLOT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+-]{0,299}")
_SINFUL = re.compile(r"<(\[[0-9A-Fa-f:.]+\]|[^\s<>\[\]:?]+):\d+(\?[^\s<>]*)?>")
_ADVERTISED = re.compile(r"[?&]addrs=([^&>]+)")
_DYNAMIC = re.compile(r"(?<=\d)_\d+(?=@|$)")
_LOST = ("BrokenSlotCpus", "BrokenSlotMemory", "BrokenSlotDisk", "BrokenSlotGPUs")
_TOTAL = re.compile(r"Total for query: (\d+) jobs;")
# Names of attributes know no case, and those that the worker's configuration adds come in the case written there.
_ATTRIBUTES = {written: name for name in SLOT_ATTRIBUTES for written in (name, name.lower())}
# Owner: the machine's owner has it, and no job runs. Every other state but these three may be a job's:
# Claimed (Claimed/Idle too), Matched, Preempting, Backfill, and what a later HTCondor may call it.
_FREE_STATES = ("Unclaimed", "Owner", "Drained")


@dataclass(frozen=True)
class Machine:
    """A worker, and for each startd that it consists of (nearly always one) the name of one of its slots.

    By name, not by address: the tools then ask the collector for the right to command that startd. A worker that has
    only a token of the pool, not its signing key, could not check ours.
    """

    worker: Worker
    startds: tuple[str, ...] = ()
    broken: Mapping[str, int] = field(default_factory=dict)
    """How many broken dynamic slots without a job each of its partitionable slots has, by its name."""


def parse_groups(text: str) -> tuple[tuple[int | None, ...], ...]:
    """Given the lines of `condor_q -af SHAPE_EXPRESSIONS`, each once after its count, return rows of count and values.

    A value that is undefined or an error is None. Raise BatchError if any line is something else.
    """
    rows = []
    for line in text.splitlines():
        words = line.split()
        if len(words) != 1 + _SHAPE_FIELDS or not words[0].isdecimal():
            raise BatchError(f"condor_q answered what is no list of jobs: {excerpt(line)}")
        rows.append((int(words[0]), *(_printed_number(word, line) for word in words[1:])))
    return tuple(rows)


def _printed_number(word: str, line: str) -> int | None:
    if word in ("undefined", "error"):
        return None
    if not re.fullmatch(r"-?[0-9]{1,19}", word):
        raise BatchError(f"condor_q answered what is no list of jobs: {excerpt(line)}")
    return int(word)


def parse_bindings_groups(text: str) -> tuple[tuple[tuple[int | None, ...], ...], tuple[str, ...]]:
    """Given the JSON of `htcondor_query demand`, return the rows as `parse_groups` does and the names of the schedds.

    Raise BatchError if it is anything else, or if no schedd was asked.
    """
    answer = json_document(text, "the htcondor bindings")
    try:
        groups, schedds = answer["groups"], answer["schedds"]
        if not (isinstance(groups, list) and isinstance(schedds, list)):
            raise TypeError("no lists")
        rows = tuple(tuple(row) for row in groups)
    except (TypeError, KeyError, AttributeError) as error:
        raise BatchError("the htcondor bindings answered what is no list of jobs") from error
    valid = all(
        len(row) == 1 + _SHAPE_FIELDS and type(row[0]) is int and all(type(n) in (int, type(None)) for n in row[1:])
        for row in rows
    )
    if not valid or not schedds or not all(isinstance(name, str) for name in schedds):
        raise BatchError("the htcondor bindings answered what is no list of jobs")
    return rows, tuple(schedds)


def demand_of(rows: Iterable[Sequence[int | None]]) -> tuple[Demand, ...]:
    """Given rows of a count and SHAPE_EXPRESSIONS, return the demand, most jobs first.

    What a job does not say counts as one CPU and as nothing else. A job of the parallel universe counts once for each
    slot that it needs at the same time. Raise BatchError if a count is not positive.
    """
    jobs: Counter[Shape] = Counter()
    for count, cpus, memory_mb, disk_mb, gpus, hosts in rows:
        if count is None or count < 1:
            raise BatchError(f"HTCondor answered with a group of {count} jobs")
        shape = Shape(_asked(cpus, 1) or 1, _asked(memory_mb), _asked(disk_mb), _asked(gpus) or 0)
        jobs[shape] += count * (_asked(hosts, 1) or 1)
    ordered = sorted(jobs.items(), key=lambda item: (-item[1], str(item[0])))
    return tuple(Demand(shape, count) for shape, count in ordered)


def _asked(value: int | None, least: int = 0) -> int | None:
    return value if value is not None and least <= value <= LARGEST else None


def parse_total(text: str) -> int:
    """Given the output of `condor_q -name SCHEDD -totals -constraint C`, return how many jobs meet C.

    Raise BatchError if the schedd has not said so in words: silence is no zero.
    """
    totals = _TOTAL.findall(text)
    if len(totals) != 1 or len(totals[0]) > 12:
        raise BatchError("condor_q -totals did not say how many jobs there are")
    return int(totals[0])


def parse_schedds(text: str) -> tuple[str, ...]:
    """Given the output of `condor_status -schedd -af Name`, return the names.

    Raise BatchError if there is none: then nobody can say what waits. (`condor_q -global` says "All queues are empty"
    and exits with 0 in this case.)
    """
    names = sorted({line.strip() for line in text.splitlines()} - {""})
    if not names:
        raise BatchError("the collector knows no schedd: is one running, or has the collector just been restarted?")
    for name in names:
        if not _SCHEDD.fullmatch(name):
            raise BatchError(f"condor_status answered what is no name of a schedd: {excerpt(name)}")
    return tuple(names)


def parse_machines(text: str) -> tuple[Machine, ...]:
    """Given slot ads as a JSON list, return the machines they belong to, by name.

    A slot without a usable machine name is left out; such an ad cannot be closed, nor can it be anybody's VM for sure.
    Raise BatchError if it is no list of ads, or not one ad is usable.
    """
    answer = json_document(text, "condor_status")
    if not isinstance(answer, list) or not all(isinstance(ad, dict) for ad in answer):
        raise BatchError("condor_status answered what is no list of slots")
    slots: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for ad in answer:
        slot = {_ATTRIBUTES.get(key) or _ATTRIBUTES.get(key.lower(), key): value for key, value in ad.items()}
        name = _name(slot)
        if name:
            # Two VMs from one image may both call themselves "localhost": the address keeps them apart.
            slots.setdefault((name, _address(slot) or ""), []).append(slot)
    if answer and not slots:
        raise BatchError("condor_status answered with slots that name no machine")
    machines = [_machine(name, address, slots[name, address]) for name, address in sorted(slots)]
    return _without_doubtful_ids(machines)


def _name(slot: Mapping[str, Any]) -> str:
    machine = slot.get("Machine")
    if machine is None:
        machine = str(slot.get("Name", "")).rpartition("@")[2]
    return str(machine) if is_name(machine) else ""


def _address(slot: Mapping[str, Any]) -> str | None:
    """Return the IPv4 address that the worker advertises, or else the one at which its startd listens."""
    candidates = [str(slot.get("EC2PrivateIp", ""))]
    sinful = _sinful(slot)
    if sinful:
        candidates.append(sinful[1:].partition(":")[0])
        advertised = _ADVERTISED.search(sinful)
        if advertised:
            candidates += [part.rpartition("-")[0] for part in advertised[1].split("+")]
    return next(filter(None, map(ipv4, candidates)), None)


def _sinful(slot: Mapping[str, Any]) -> str:
    sinful = slot.get("MyAddress")
    return sinful if isinstance(sinful, str) and len(sinful) < 2000 and _SINFUL.fullmatch(sinful) else ""


def _machine(name: str, address: str, slots: Sequence[Mapping[str, Any]]) -> Machine:
    ids = {str(slot["EC2InstanceId"]) for slot in slots if "EC2InstanceId" in slot}
    whole = [slot for slot in slots if slot.get("DynamicSlot") is not True]
    broken = _broken_without_job(slots)
    cut = [slot for slot in slots if slot.get("DynamicSlot") is True]
    # A broken slot that a job still has is counted by its partitionable slot.
    jobs = sum(_jobs(slot, broken) for slot in whole) if whole else len(cut)
    closed = all(slot.get("Draining") is True or slot.get("State") == "Drained" for slot in slots)
    idle_seconds = None if jobs else _least([_idle_seconds(slot) for slot in slots])
    worker = Worker(
        name=name,
        instance_id=instance_id(ids.pop()) if len(ids) == 1 else None,
        address=address or None,
        capacity=_less(total([_capacity(slot) for slot in whole]), total([_shape(slot, "TotalSlot") for slot in cut])),
        free=total([_shape(slot, "") for slot in whole if _takes_jobs(slot)]),
        jobs=jobs,
        idle_seconds=idle_seconds,
        closed=closed,
        closed_by_other=closed and any(_drained_by_other(slot) for slot in slots),
        hurt=any(_is_hurt(slot) for slot in slots),
    )
    startds: dict[str, str] = {}
    for slot in whole:
        slot_name = slot.get("Name")
        if isinstance(slot_name, str) and _SLOT_NAME.fullmatch(slot_name):
            startd = _sinful(slot)
            startds[startd] = min(slot_name, startds.get(startd, slot_name))
    return Machine(worker, tuple(sorted(startds.values())), dict(broken))


def _jobs(slot: Mapping[str, Any], broken: Mapping[str, int]) -> int:
    own = int(slot.get("State") not in _FREE_STATES)
    if slot.get("PartitionableSlot") is not True:
        return own
    # It stays Unclaimed/Idle while jobs run in the dynamic slots cut from it.
    dynamic = slot.get("NumDynamicSlots")
    empty = broken.get(str(slot.get("Name")), 0)
    return own + (dynamic - empty if type(dynamic) is int and empty <= dynamic < LARGEST else 1)


def _broken_without_job(slots: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """Return how many dynamic slots of each partitionable slot, by its name, HTCondor says to be broken and to have no
    job. They are so for good: until the startd is started again, whose slots are others then."""
    started = {str(slot.get("Name")): slot.get("DaemonStartTime") for slot in slots}
    found: Counter[str] = Counter()
    for slot in slots:
        parent = _DYNAMIC.sub("", str(slot.get("Name")), count=1)
        is_current = started.get(parent) is not None and slot.get("DaemonStartTime") == started[parent]
        is_empty = slot.get("State") in ("Unclaimed", "Drained")
        if slot.get("DynamicSlot") is True and _is_broken(slot) and is_empty and is_current:
            found[parent] += 1
    return found


def _is_broken(slot: Mapping[str, Any]) -> bool:
    return slot.get("SlotBrokenCode") is not None or bool(slot.get("SlotBrokenReason"))


def _is_hurt(slot: Mapping[str, Any]) -> bool:
    """Return whether the slot is broken, or has lost something to a broken one that is gone, or a GPU."""
    return _is_broken(slot) or bool(slot.get("OfflineGPUs")) or any(slot.get(name) for name in _LOST)


def _takes_jobs(slot: Mapping[str, Any]) -> bool:
    return slot.get("State") in ("Unclaimed", "Drained") and not _is_broken(slot)


def _drained_by_other(slot: Mapping[str, Any]) -> bool:
    """Return whether the slot says so: a condor_drain without a reason gives "by USER" as one (measured with 23.9.6).

    Where HTCondor is too old for reasons it cannot be told, nor does any slot tell of condor_off.
    """
    reason = slot.get("DrainReason")
    return isinstance(reason, str) and not reason.startswith(OWN_DRAIN)


def _idle_seconds(slot: Mapping[str, Any]) -> float | None:
    """Return for how long no job has been on the slot, all by the startd's own clock.

    A partitionable slot: since the last dynamic slot went, or since the start; its state knows nothing of jobs.
    Others: since they became unclaimed. Not EnteredCurrentActivity: the benchmarks of idle slots move it.
    """
    partitionable = slot.get("PartitionableSlot") is True
    now = _instant(slot, "MyCurrentTime")
    since = [_instant(slot, "NumDynamicSlotsTime" if partitionable else "EnteredCurrentState")]
    since.append(_instant(slot, "DaemonStartTime"))
    known = [instant for instant in since if instant is not None]
    if now is None or not known:
        return None
    return max(0.0, now - max(known))


def _instant(slot: Mapping[str, Any], name: str) -> float | None:
    return amount(slot.get(name)) or None


def _least(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return min(known) if len(known) == len(values) else None


def _capacity(slot: Mapping[str, Any]) -> Shape:
    return Shape(0, 0, 0, 0) if _is_broken(slot) else _shape(slot, "TotalSlot")


def _shape(slot: Mapping[str, Any], prefix: str) -> Shape:
    """Return what the slot says of itself. Only what is there can be 0; without any word of GPUs there are none."""

    def number(name: str) -> int | None:
        known = amount(slot.get(prefix + name, slot.get(name, 0 if name == "GPUs" else None)))
        return None if known is None else int(known)

    disk_kb = number("Disk")
    return Shape(number("Cpus") or 0, number("Memory"), None if disk_kb is None else disk_kb // 1024, number("GPUs"))


def _less(whole: Shape, lost: Shape) -> Shape:
    def rest(there_was: int | None, is_lost: int | None) -> int | None:
        return None if there_was is None else max(0, there_was - (is_lost or 0))

    return Shape(
        max(0, whole.cpus - lost.cpus),
        rest(whole.memory_mb, lost.memory_mb),
        rest(whole.disk_mb, lost.disk_mb),
        rest(whole.gpus, lost.gpus),
    )


def _without_doubtful_ids(machines: Sequence[Machine]) -> tuple[Machine, ...]:
    """Return the machines; where several of different addresses claim one instance id (it came with their image, say),
    none of them is believed, and their addresses have to tell."""
    doubtful = claimed_twice(machine.worker.instance_id for machine in machines)
    return tuple(
        replace(machine, worker=replace(machine.worker, instance_id=None))
        if machine.worker.instance_id in doubtful
        else machine
        for machine in machines
    )
