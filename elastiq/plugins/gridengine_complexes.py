"""Complexes of Grid Engine: what requests and values of them mean. Pure functions.

Which of them are memory, disk and GPUs of a machine is told by type and use, not by a list of names. A consumable is
used up by jobs; a load value such as mem_free is only compared with what a job asks for; a queue's limit such as an
h_vmem that is no consumable asks nothing of the machine.

**Of several complexes that mean memory** a job counts with the largest amount that it asks of any consumable, or else
of any load value, and a host with the least that is left of any that waiting jobs count with: what is taken to fit does
fit. What a host has in all is the most of any, so that no job is taken for one that can never run; one that asks for
too much of another is found out by `judge`, for then amounts are in `wants`. Disk and GPUs likewise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from elastiq.errors import BatchError
from elastiq.plugins import kit
from elastiq.text import excerpt

INSTANCE = "elastiq_instance"
ADDRESS = "elastiq_address"
CLOSED = "elastiq_closed"
"""Complexes in whose values an execution host says which VM it is, and elastiq which queues it closed there."""

QUEUE_LIMITS = frozenset(
    f"{hardness}_{what}" for hardness in "sh" for what in ("rt", "cpu", "fsize", "data", "stack", "core", "rss", "vmem")
)
"""Complexes that every queue has a value of: what a job of it may use."""

TOTALS = {"mem_free": "mem_total", "virtual_free": "virtual_total", "swap_free": "swap_total"}
"""Load values that jobs of others make smaller, and those that say how much there is without them."""

_NO_MEMORY = re.compile(r"swap|scratch|tmp|temp|disk|fsize|core|ssd|nvme|spool|gpu|cuda", re.IGNORECASE)
_DISK = re.compile(r"scratch|tmp|temp|disk|fsize|ssd|nvme|spool", re.IGNORECASE)
_GPU = re.compile(r"gpu|cuda", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?(?:[0-9]{1,15}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})")
_MEMORY = re.compile(r"([-+]?[0-9]{1,15}(?:\.[0-9]{0,9})?)([kKmMgGtT]?)")
_UNITS = {"": 1, "k": 10**3, "K": 2**10, "m": 10**6, "M": 2**20, "g": 10**9, "G": 2**30, "t": 10**12, "T": 2**40}
_TRUTHS = {"TRUE": 1.0, "T": 1.0, "FALSE": 0.0, "F": 0.0}
_MB = 1024 * 1024
_NUMERIC = frozenset({"INT", "LONG", "DOUBLE", "MEMORY", "TIME", "BOOL"})


@dataclass(frozen=True)
class Resource:
    """A complex: how a request for it counts, and is compared with what is offered."""

    consumable: str = "NO"
    default: str = "0"
    type: str = "INT"
    relation: str = "<="
    requestable: str = "YES"

    @property
    def is_consumable(self) -> bool:
        """True if jobs use it up."""
        return self.consumable != "NO"

    @property
    def is_number(self) -> bool:
        """True if its values are compared as numbers."""
        return self.type in _NUMERIC

    @property
    def is_exclusive(self) -> bool:
        """True if a job that asks for it gets a machine for itself."""
        return self.relation == "EXCL"


@dataclass(frozen=True)
class Asked:
    """What a job asks of one machine; None: nothing."""

    memory_mb: int | None = None
    disk_mb: int | None = None
    gpus: int = 0
    whole_machine: bool = False


@dataclass(frozen=True)
class Complexes:
    """All complexes by name, and which of them say what a machine has."""

    named: Mapping[str, Resource] = field(default_factory=dict)

    @cached_property
    def memory(self) -> frozenset[str]:
        """Those that are memory of a machine, used up or compared with its load."""
        return self._sizes(lambda name: not _NO_MEMORY.search(name))

    @cached_property
    def disk(self) -> frozenset[str]:
        """Those that are disk of a machine."""
        return self._sizes(lambda name: bool(_DISK.search(name)))

    @cached_property
    def gpus(self) -> frozenset[str]:
        """Those that count the GPUs of a machine."""
        numbers = (name for name, one in self.named.items() if one.type in ("INT", "DOUBLE") and one.is_consumable)
        return frozenset(name for name in numbers if _GPU.search(name))

    @cached_property
    def exclusive(self) -> frozenset[str]:
        """Those with which a job asks for a machine for itself."""
        return frozenset(name for name, one in self.named.items() if one.is_exclusive)

    @cached_property
    def consumables(self) -> frozenset[str]:
        """Those that jobs use up."""
        return frozenset(name for name, one in self.named.items() if one.is_consumable)

    @cached_property
    def counted(self) -> frozenset[str]:
        """Those that say what a machine has left."""
        return self.memory | self.disk | self.gpus | self.exclusive

    @cached_property
    def given(self) -> frozenset[str]:
        """Those of them that jobs use up without asking."""
        return frozenset(name for name in self.counted & self.consumables if is_given(name, self))

    @cached_property
    def crowded(self) -> frozenset[str]:
        """Consumables that share a dimension with others, so that a shape does not tell how much of which."""
        kinds = (names & self.consumables for names in (self.memory, self.disk, self.gpus))
        return frozenset(name for names in kinds if len(names) > 1 for name in names)

    @cached_property
    def told_by_shape(self) -> frozenset[str]:
        """Consumables of which a shape tells all: how much of which."""
        return (self.counted & self.consumables) - self.crowded

    def without(self, names: Collection[str]) -> Complexes:
        """Return all but `names`."""
        return Complexes({name: one for name, one in self.named.items() if name not in names}) if names else self

    def _sizes(self, is_kind: Callable[[str], bool]) -> frozenset[str]:
        sizes = (name for name, one in self.named.items() if one.type == "MEMORY" and _is_left(name, one))
        return frozenset(name for name in sizes if is_kind(name))


def parse_complexes(answer: str) -> Complexes:
    """Given the output of `qconf -sc`, return the complexes. Raise BatchError if it is no list of them."""
    found = {}
    rows = [line.split() for line in kit.lines(answer) if line.strip() and not line.startswith("#")]
    for row in rows:
        if len(row) < 8:
            raise BatchError(f"qconf -sc answered what is no complex: {excerpt(' '.join(row))}")
        name, _, kind, relation, requestable, consumable, default = row[:7]
        found[name] = Resource(consumable.upper(), default, kind.upper(), relation.upper(), requestable.upper())
    if "slots" not in found:
        raise BatchError("qconf -sc answered without the complex slots, which every Grid Engine has")
    return Complexes(found)


def _is_left(name: str, resource: Resource) -> bool:
    # What is the same for all jobs (mem_total) is compared by `judge`.
    is_load = resource.relation in ("<=", "<") and name not in QUEUE_LIMITS and not name.endswith("_total")
    return resource.is_consumable or is_load


def number(text: str, kind: str) -> float | None:
    """Return a value of a complex of type `kind` as a number (bytes, seconds, 1 for true), or None if it is none."""
    word = text.strip()
    if word.upper() == "INFINITY":
        return float("inf")
    if kind == "BOOL" and word.upper() in _TRUTHS:
        return _TRUTHS[word.upper()]
    if kind == "MEMORY":
        match = _MEMORY.fullmatch(word)
        return float(match[1]) * _UNITS[match[2]] if match else None
    if kind == "TIME" and ":" in word:
        parts = word.split(":")
        if len(parts) > 3 or not all(re.fullmatch(r"[0-9]{0,9}", part) for part in parts):
            return None
        seconds = 0
        for part in parts:
            seconds = seconds * 60 + int(part or 0)
        return float(seconds)
    return float(word) if _NUMBER.fullmatch(word) else None


def megabytes(size_bytes: float, *, up: bool) -> int:
    """Return bytes in MB: what a job asks for is rounded up, what there is down."""
    if size_bytes <= 0:
        return 0
    return int(min(-(-size_bytes // _MB) if up else size_bytes // _MB, kit.LARGEST))


def amount_of(name: str, asked: Mapping[str, str], resource: Resource, slots: int) -> float:
    """Return how much of it a job with so many slots in one place asks for or, of a consumable, gets by default.

    Raise BatchError if that is no amount.
    """
    value = asked.get(name, resource.default if resource.is_consumable else "0")
    amount = number(value, resource.type)
    if amount is None:
        if value.upper() == "NONE":
            return 0.0
        raise BatchError(f"a request for {name} is no amount: {excerpt(value)}")
    # JOB is once for the job; HOST, which relatives have, once on each host.
    return max(0.0, amount * slots if resource.consumable == "YES" else amount)


def is_given(name: str, complexes: Complexes) -> bool:
    """Return whether every job uses some of the consumable `name`, also without asking."""
    return amount_of(name, {}, complexes.named[name], 1) > 0


def deciding(requests: Collection[str], complexes: Complexes) -> frozenset[str]:
    """Return which complexes say how much memory, disk and GPUs a job with these requests needs: consumables or else,
    for each of these, load values."""
    names = complexes.counted.intersection(requests) | complexes.given
    if not names or names <= complexes.consumables:
        return names - complexes.exclusive
    found: frozenset[str] = frozenset()
    for kind in (complexes.memory, complexes.disk, complexes.gpus):
        found |= (names & kind & complexes.consumables) or (names & kind)
    return found


def asked_of(requests: Mapping[str, str], complexes: Complexes, slots: int) -> Asked:
    """Return what a job asks of a machine on which it has so many slots. Raise BatchError if a request is no amount."""
    names = deciding(requests, complexes) | (complexes.exclusive & requests.keys())
    amounts = {name: amount_of(name, requests, complexes.named[name], slots) for name in names}

    def most(kind: frozenset[str]) -> float:
        # Without end is what a limit is, not what a machine has.
        return max((amounts[name] for name in kind & names if 0 < amounts[name] < float("inf")), default=0.0)

    return Asked(
        megabytes(most(complexes.memory), up=True) or None,
        megabytes(most(complexes.disk), up=True) or None,
        int(min(-(-most(complexes.gpus) // 1), kit.LARGEST)),
        any(amounts[name] for name in names & complexes.exclusive),
    )
