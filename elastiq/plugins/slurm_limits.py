"""What Slurm lets jobs do at all: partitions, licences, and how it shares nodes out. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from elastiq.errors import BatchError
from elastiq.model import Shape
from elastiq.plugins import kit
from elastiq.text import excerpt

_FIELD = re.compile(r"(?:^| )([A-Za-z]+)=(\S*)")
_UNLIMITED = ("", "UNLIMITED", "INFINITE", "0", "N/A")
_NO_LICENSES = "No licenses configured in Slurm."
_NO_PARTITIONS = "No partitions in the system"
_STARTS_JOBS = ("UP", "DRAIN")
"""A partition that drains takes no new jobs, but starts those that it has."""


@dataclass(frozen=True)
class Partition:
    """What a partition lets its jobs do. None is no limit."""

    starts_jobs: bool = True
    is_default: bool = False
    has_all_nodes: bool = False
    is_exclusive: bool = False
    """True if each of its jobs gets whole nodes."""
    spreads_jobs: bool = False
    """True if each of its jobs goes to the nodes that are least loaded."""
    max_nodes: int | None = None
    max_cpus_per_node: int | None = None
    max_memory_mb_per_node: int | None = None

    def refusal(self, shape: Shape, nodes: int) -> str:
        """Return why it never starts a job that needs `shape` on so many nodes, or nothing."""
        for asked, most, what in (
            (nodes, self.max_nodes, "nodes a job"),
            (shape.cpus, self.max_cpus_per_node, "CPUs on a node"),
            (shape.memory_mb or 0, self.max_memory_mb_per_node, "MB of memory on a node"),
        ):
            if most is not None and asked > most:
                return f"at most {most} {what}, and {asked} are asked for"
        return ""


@dataclass(frozen=True)
class Cluster:
    """What decides about all jobs. Nothing is limited by what is not known."""

    partitions: Mapping[str, Partition] = field(default_factory=dict)
    licenses: Mapping[str, int] = field(default_factory=dict)
    """How many are free of each."""
    shares_memory: bool = False
    """True if memory is given out to jobs, so that a job that asks for none gets all that its nodes have."""
    whole_nodes: bool = False
    """True if every job gets whole nodes."""

    def refusal(self, names: Sequence[str], shape: Shape, nodes: int) -> str:
        """Return why none of the partitions `names` would ever start such a job, or nothing."""
        reasons = [
            f"partition {name}: {self.partitions.get(name, Partition()).refusal(shape, nodes)}"
            for name in names
            if self.partitions.get(name, Partition()).refusal(shape, nodes)
        ]
        return "; ".join(reasons) if len(reasons) == len(names) else ""

    def start(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return those of the partitions `names` that start jobs now."""
        return tuple(name for name in names if self.partitions.get(name, Partition()).starts_jobs)


def parse_sharing(answer: str) -> Cluster:
    """Given the output of `scontrol show config`, return how nodes are shared out; of partitions and licences it tells
    nothing."""
    values = dict(re.findall(r"^(SelectType|SelectTypeParameters)\s*=\s*(\S+)", answer, re.MULTILINE))
    linear = values.get("SelectType", "").endswith("/linear")
    memory = "MEMORY" in values.get("SelectTypeParameters", "").upper()
    return Cluster(shares_memory=memory and not linear, whole_nodes=linear)


def parse_partitions(answer: str) -> Mapping[str, Partition]:
    """Given the output of `scontrol --oneliner --all show partition`, return the partitions by name.

    Raise BatchError if it is anything else. A limit that cannot be read is none.
    """
    lines = [line for line in kit.lines(answer) if line.strip()]
    if [line.strip() for line in lines] == [_NO_PARTITIONS]:
        return {}
    found: dict[str, Partition] = {}
    for line in lines:
        fields: dict[str, str] = {}
        for name, value in _FIELD.findall(line):
            fields.setdefault(name, value)
        if line.startswith("PartitionName=") and fields["PartitionName"] and fields.get("State"):
            found[fields["PartitionName"]] = _partition(fields)
    if not found:
        raise BatchError(f"scontrol answered what is no list of partitions: {excerpt(answer)}")
    return found


def _partition(fields: Mapping[str, str]) -> Partition:
    return Partition(
        starts_jobs=fields["State"] in _STARTS_JOBS,
        is_default=fields.get("Default") == "YES",
        has_all_nodes="ALL" in (fields.get("Nodes"), fields.get("NodeSets")),
        is_exclusive=fields.get("OverSubscribe") == "EXCLUSIVE",
        spreads_jobs=fields.get("LLN") == "YES",
        max_nodes=_limit(fields, "MaxNodes"),
        max_cpus_per_node=_limit(fields, "MaxCPUsPerNode"),
        max_memory_mb_per_node=_limit(fields, "MaxMemPerNode"),
    )


def _limit(fields: Mapping[str, str], name: str) -> int | None:
    value = fields.get(name, "")
    return int(value) if value not in _UNLIMITED and re.fullmatch("[0-9]{1,12}", value) else None


def parse_licenses(answer: str) -> Mapping[str, int]:
    """Given the output of `scontrol --oneliner show licenses`, return how many of each are free for any job.

    Raise BatchError if it is anything else.
    """
    lines = [line for line in kit.lines(answer) if line.strip()]
    if [line.strip() for line in lines] == [_NO_LICENSES]:
        return {}
    found: dict[str, int] = {}
    for line in lines:
        fields = dict(_FIELD.findall(line))
        if not fields.get("LicenseName") or "Total" not in fields or "Used" not in fields:
            raise BatchError(f"scontrol answered what are no licences: {excerpt(line)}")
        taken = kit.count(fields["Used"], "scontrol") + kit.count(fields.get("Reserved", "0"), "scontrol")
        found[fields["LicenseName"]] = max(0, kit.count(fields["Total"], "scontrol") - taken)
    return found


def license_counts(text: str) -> Mapping[str, int]:
    """Return how many of each licence a job needs at least that asks for `text`, such as `fluent:2,ansys@server`.

    Of those that it may have instead of each other (`a|b`) nothing is said.
    """
    counts: dict[str, int] = {}
    for entry in text.split(",") if "|" not in text else ():
        name, _, count = entry.strip().replace("=", ":").partition(":")
        if name and (not count or re.fullmatch("[0-9]{1,9}", count)):
            counts[name] = counts.get(name, 0) + int(count or 1)
    return {name: count for name, count in counts.items() if count}
