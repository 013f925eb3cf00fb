"""From what HTCondor prints to what it means. Pure functions; whatever is no valid answer raises BatchError."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from elastiq.errors import BatchError
from elastiq.model import Demand, Eligibility, Judgement, Shape, Worker
from elastiq.plugins.htcondor_query import SLOT_ATTRIBUTES
from elastiq.plugins.kit import (
    LARGEST,
    amount,
    claimed_twice,
    instance_id,
    ipv4,
    is_name,
    json_document,
    json_items,
    lines,
    total,
)
from elastiq.text import excerpt

_KEPT_ONCE = (str, int)
"""Types of values of ads; a truth value equals a number and is no such, so that neither is taken for the other."""

LAYOUTS_KEPT = 1000
"""Of ads: there is no end of them if somebody makes ads up."""

OWN_DRAIN = "elastiq"
"""How the reason of every drain that elastiq asks for begins."""

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
    drained: bool = False
    """True if it is closed by a drain, as elastiq closes workers."""
    broken: Mapping[str, int] = field(default_factory=dict)
    """How many broken dynamic slots without a job each of its partitionable slots has, by its name."""


def parse_demand(text: str) -> tuple[tuple[Demand, ...], tuple[str, ...]]:
    """Given the JSON of `htcondor_demand`, return the demand, most jobs first, and the names of the schedds.

    What a job does not say counts as one CPU and as nothing else. A job of the parallel universe counts once for each
    slot that it needs at the same time. Raise BatchError if it is anything else, or if no schedd was asked.
    """
    answer = json_document(text, "htcondor_demand")
    try:
        groups, wants, schedds = answer["groups"], answer["wants"], answer["schedds"]
        valid = bool(schedds) and all(isinstance(name, str) for name in (*schedds, *wants))
        demand = _demand(groups, wants) if valid else ()
    except (TypeError, KeyError, AttributeError, ValueError, IndexError) as error:
        raise BatchError(f"htcondor_demand answered what is no list of jobs: {excerpt(text)}") from error
    if not valid:
        raise BatchError(f"htcondor_demand answered what is no list of jobs: {excerpt(text)}")
    return demand, tuple(schedds)


def _demand(groups: Sequence[Any], wants: Sequence[str]) -> tuple[Demand, ...]:
    """Return the groups, each once: numbers that mean the same may have been written in several ways."""
    sums: dict[tuple[Shape, str, bool], list[int]] = {}
    for group in groups:
        key, jobs, running = _group(group, wants)
        counts = sums.setdefault(key, [0, 0])
        counts[0] += jobs
        counts[1] += running
    made = [
        Demand(shape, jobs, wants=text, takes_whole_vms=takes_whole, running=running)
        for (shape, text, takes_whole), (jobs, running) in sums.items()
    ]
    return tuple(sorted(made, key=lambda group: (-group.jobs, str(group.shape), group.wants)))


def _group(group: Sequence[Any], wants: Sequence[str]) -> tuple[tuple[Shape, str, bool], int, int]:
    """Return what tells a group from others, and how many jobs of it wait and run. Raise ValueError if it is none."""
    jobs, running, cpus, memory_mb, disk_mb, gpus, hosts, takes_whole, index = group
    numbers = (cpus, memory_mb, disk_mb, gpus, hosts)
    whole = all(type(number) is int for number in (jobs, running, index)) and type(takes_whole) is bool
    if not whole or not all(number is None or type(number) is int for number in numbers):
        raise ValueError("no numbers")
    if jobs < 1 or running < 0 or index < 0:
        raise ValueError("no counts")
    shape = Shape(_asked(cpus, 1) or 1, _asked(memory_mb), _asked(disk_mb), _asked(gpus) or 0)
    at_once = _asked(hosts, 1) or 1
    return (shape, wants[index], takes_whole), jobs * at_once, running * at_once


def _asked(value: int | None, least: int = 0) -> int | None:
    return value if value is not None and least <= value <= LARGEST else None


def parse_judgements(text: str) -> list[Judgement]:
    """Given the lines of `htcondor_judge`, return the judgements; one that was not written to its end is none.

    Raise BatchError if they are anything else.
    """
    found = []
    *whole, _ = text.split("\n")
    for line in whole:
        try:
            answer, reason = json_document(line, "htcondor_judge")
            found.append(Judgement(Eligibility(answer), str(reason)))
        except (TypeError, ValueError) as error:
            raise BatchError(f"htcondor_judge answered what is no judgement: {excerpt(line)}") from error
    return found


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
    names = sorted({line.strip() for line in lines(text)} - {""})
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
    # Of each slot the names of its attributes, which many share, and their values: a third of a dict for each.
    slots: dict[tuple[str, str], list[tuple[tuple[str, ...], tuple[Any, ...]]]] = {}
    texts: dict[str | int, str | int] = {}
    layouts: dict[tuple[str, ...], tuple[str, ...]] = {}
    places: dict[tuple[str | None, ...], tuple[str, str]] = {}
    is_empty = True
    for ad in json_items(text, "condor_status"):
        if not isinstance(ad, dict):
            raise BatchError("condor_status answered what is no list of slots")
        is_empty = False
        names, values = _spelled_as_known(ad, texts, layouts)
        place = _place(ad if names == tuple(ad) else dict(zip(names, values)), places)
        if place[0]:
            slots.setdefault(place, []).append((names, values))
    if not slots and not is_empty:
        raise BatchError("condor_status answered with slots that name no machine")
    machines = [
        _machine(name, address, [dict(zip(*each)) for each in slots[name, address]]) for name, address in sorted(slots)
    ]
    return _without_doubtful_ids(machines)


def _spelled_as_known(
    ad: Mapping[str, Any], texts: dict[str | int, str | int], layouts: dict[tuple[str, ...], tuple[str, ...]]
) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Return the attributes of an ad, spelled as elsewhere in this file, and their values. Texts and numbers that
    `texts` has are taken from there: slots say mostly the same, and kept once it takes little room. They also have
    mostly the same attributes in the same order: `layouts` has how these are spelled."""
    written = tuple(ad)
    names = layouts.get(written)
    if names is None:
        names = tuple(_ATTRIBUTES.get(key) or _ATTRIBUTES.get(key.lower()) or key for key in written)
        if len(layouts) < LAYOUTS_KEPT:
            layouts[written] = names
    known = texts.setdefault
    return names, tuple([known(value, value) if type(value) in _KEPT_ONCE else value for value in ad.values()])


def slots_of(text: str, worker: Worker) -> list[Mapping[str, Any]]:
    """Given slot ads as `parse_machines` takes them, return those of `worker`, which it returned."""
    ads: list[Mapping[str, Any]] = json_document(text, "condor_status")
    named = [({key.lower(): value for key, value in ad.items()}, ad) for ad in ads]
    return [
        ad
        for low, ad in named
        if _name({"Machine": low.get("machine"), "Name": low.get("name")}) == worker.name
        and (_address(_spelled(low)) or None) == worker.address
    ]


def _spelled(slot: Mapping[str, Any]) -> Mapping[str, Any]:
    return {_ATTRIBUTES.get(key, key): value for key, value in slot.items()}


def _place(slot: Mapping[str, Any], known: dict[tuple[str | None, ...], tuple[str, str]]) -> tuple[str, str]:
    """Return name and address of the machine of a slot. Two VMs from one image may both call themselves "localhost":
    the address keeps them apart. `known` has what was found for others that say the same."""
    said = slot.get
    machine = said("Machine")
    if not (machine is None or isinstance(machine, str)):
        return "", ""
    # Slots have names of their own, which count only where the machine's is not there.
    called = (machine, str(said("Name", "")) if machine is None else "")
    where = (*called, str(said("EC2PrivateIp", "")), str(said("MyAddress", "")))
    place = known.get(where)
    if place is None:
        place = known[where] = (_name(slot), _address(slot) or "")
    return place


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
    drained = all(slot.get("Draining") is True or slot.get("State") == "Drained" for slot in slots)
    # spot-interruption.sh sets it on all slots, with START = False: one ad more in another's name is no notice.
    interrupted = all(slot.get("ElastiqInterruption") for slot in slots)
    idle_seconds = None if jobs else _least([_idle_seconds(slot) for slot in slots])
    worker = Worker(
        name=name,
        instance_id=instance_id(ids.pop()) if len(ids) == 1 else None,
        address=address or None,
        capacity=_less(total([_capacity(slot) for slot in whole]), total([_shape(slot, "TotalSlot") for slot in cut])),
        free=total([_shape(slot, "") for slot in whole if _takes_jobs(slot, interrupted=interrupted)]),
        jobs=jobs,
        idle_seconds=idle_seconds,
        closed=drained or interrupted,
        closed_by_other=drained and any(_drained_by_other(slot) for slot in slots),
        hurt=any(_is_hurt(slot) for slot in slots),
        interrupted=interrupted,
    )
    startds: dict[str, str] = {}
    for slot in whole:
        slot_name = slot.get("Name")
        if isinstance(slot_name, str) and _SLOT_NAME.fullmatch(slot_name):
            startd = _sinful(slot)
            startds[startd] = min(slot_name, startds.get(startd, slot_name))
    return Machine(worker, tuple(sorted(startds.values())), drained, dict(broken))


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
    found: Counter[str] = Counter()
    if not any(map(_is_broken, slots)):
        return found  # as nearly always
    started = {str(slot.get("Name")): slot.get("DaemonStartTime") for slot in slots}
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


def _takes_jobs(slot: Mapping[str, Any], *, interrupted: bool) -> bool:
    # Without START = False, which goes with an interruption, one that is Owner by it would take jobs.
    states = ("Unclaimed", "Drained", "Owner") if interrupted else ("Unclaimed", "Drained")
    return slot.get("State") in states and not _is_broken(slot)


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
    said = slot.get
    disk_kb = _whole(said(prefix + "Disk", said("Disk")))
    return Shape(
        _whole(said(prefix + "Cpus", said("Cpus"))) or 0,
        _whole(said(prefix + "Memory", said("Memory"))),
        None if disk_kb is None else disk_kb // 1024,
        _whole(said(prefix + "GPUs", said("GPUs", 0))),
    )


def _whole(value: object) -> int | None:
    known = amount(value)
    return None if known is None else int(known)


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
