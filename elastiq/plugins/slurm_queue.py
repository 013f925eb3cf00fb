"""From `squeue` to demand: what waits, and what alike runs. Pure functions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from elastiq.errors import BatchError
from elastiq.model import Demand, Shape
from elastiq.plugins import kit, slurm_gres
from elastiq.plugins.slurm_limits import Cluster, license_counts
from elastiq.plugins.slurm_match import Wants, together
from elastiq.plugins.slurm_parse import NotInSecondsError
from elastiq.text import excerpt

QUEUE_FIELDS = (
    "ArrayJobID",
    "ArrayTaskID",
    "StateCompact",
    "EligibleTime",
    "Reason",
    "HetJobID",
    "NumNodes",
    "tres-alloc",
    "Partition",
    "ReqNodes",
    "Reservation",
    "Licenses",
    "NumTasks",
    "cpus-per-task",
    "MinMemory",
    "MinTmpDisk",
    "tres-per-job",
    "tres-per-node",
    "tres-per-socket",
    "tres-per-task",
    "Feature",
    "OverSubscribe",
)
"""Of `squeue --Format`. Names and comments are left out: nothing depends on them, and users write what they like. From
NumTasks on it is what jobs ask for, which stays the same when they run."""

FIELD_END, RECORD_END = "\x1f", "\x1e"
"""What squeue is told to print behind each field and each job. Texts of people and plugins (reasons, features, types of
gres) may have bars, quotes and new lines in them; one that has even these bytes spoils the record of its own job, since
the next one begins behind the next RECORD_END all the same."""


def queue_format() -> str:
    """Return what squeue is given as `--Format`: each field in full length, and what stands behind it."""
    *names, last = QUEUE_FIELDS
    return "".join(f"{name}:0{FIELD_END}," for name in names) + f"{last}:0{RECORD_END}"


_PART_END = "\x1d"
"""Before each component of a heterogeneous job."""

# The reasons that a further VM may be the answer to, as they begin. "None" is the reason of a job that the scheduler
# has not looked at yet. PartitionConfig and PartitionNodeLimit are said of jobs that need more nodes than there are.
# All others (Dependency, BeginTime, JobHeld..., JobArrayTaskLimit, Licenses, Reservation, Assoc..., QOS...,
# BadConstraints, whatever a plugin or a later Slurm may say) are met by something else than a VM, or never.
REASONS = (
    "None",
    "Resources",
    "Priority",
    "ReqNodeNotAvail",
    "Nodes required for job are DOWN",
    "NodeDown",
    "PartitionConfig",
    "PartitionNodeLimit",
)


def _program(text: str) -> str:
    for number, name in enumerate(QUEUE_FIELDS, 1):
        text = re.sub(rf"\$\b{name}\b(?!-)", f"${number}", text)
    return text.replace("NUMBER_OF_FIELDS", str(len(QUEUE_FIELDS))).replace("REASONS", "|".join(REASONS))


GROUP_JOBS = _program(r"""
BEGIN { FS = "\037"; RS = "\036"; ORS = "\036" }
NR == 1 { print; next }
{ ended = ($0 == "\n") }
ended { next }
NF != NUMBER_OF_FIELDS || $ArrayJobID !~ /^\n[0-9]+$/ || $StateCompact !~ /^[A-Z]+$/ {
  if ($0 ~ /^\n[0-9]+\037/) unread++
  if (example == "") example = substr($0, 1, 200)
  next
}
$EligibleTime ~ /^[0-9][0-9][0-9][0-9]-/ { odd = $EligibleTime; next }
$StateCompact ~ /^(SE|RQ|RF|RH|RD)$/ { next }
{
  id = substr($ArrayJobID, 2)
  het = ($HetJobID ~ /^[1-9]/ ? $HetJobID : "")
  asked = $NumTasks FS $cpus-per-task FS $MinMemory FS $MinTmpDisk FS $tres-per-job FS $tres-per-node
  asked = asked FS $tres-per-socket FS $tres-per-task FS $Feature FS ($OverSubscribe == "NO")
}
$StateCompact != "PD" {
  if ($ArrayTaskID != "N/A") running[id]++
  if (het == "") alike[$Partition FS asked]++
  next
}
$EligibleTime + 0 > now || $Reason ~ /Reserved for maintenance/ { blocked[het]; next }
$ArrayTaskID ~ /%/ { capped[id] }
$Reason !~ /^(REASONS)/ { blocked[het]; next }
{
  if ($ArrayTaskID ~ /^[0-9]+$/) alone[id]++
  group = ($ArrayTaskID ~ /[^0-9]/ && $ArrayTaskID != "N/A" ? id FS $ArrayTaskID : FS)
  group = group FS $NumNodes FS $tres-alloc FS ($ReqNodes ~ /^(N\/A|\(null\))?$/ ? "" : "named") FS $Reservation
  group = group FS $Licenses FS $Partition FS asked
  since = $EligibleTime + 0
  if (het == "") { count[group]++; if (!(group in oldest) || since < oldest[group]) oldest[group] = since; next }
  components[het] = components[het] "\035" group
  if (!(het in het_since) || since < het_since[het]) het_since[het] = since
}
END {
  for (het in components) if (!(het in blocked)) {
    group = components[het]
    count[group]++
    if (!(group in oldest) || het_since[het] < oldest[group]) oldest[group] = het_since[het]
  }
  for (group in count) print "W" FS count[group] FS oldest[group] FS group
  for (array in running) print "R" FS array FS running[array]
  for (array in alone) if (array in capped) print "R" FS array FS alone[array]
  for (asked in alike) print "K" FS alike[asked] FS asked
  if (example != "") print "U" FS (unread ? unread : 1) FS example
  if (odd != "") print "T" FS odd
  if (!ended) print "C"
}
""")
"""Program of awk that makes groups of equal jobs of what `squeue` prints, so that a long queue costs this process
nothing. Its variable `now` is Slurm's time; jobs that are due later are left out, and those that have run and wait for
somebody to release them, which squeue counts among the pending ones by other letters. So are those whose time limit
reaches into a reservation of all nodes, from the moment that it exists: only the end of the reason tells, and Slurm
starts them on no new node either. A task that stands alone, because it was changed or queued again, is a job like any
other, but counts against the cap of its array. A heterogeneous job, whose components are records of their own, is one
job, and none that waits if any of them may not start."""

_HEADER = re.compile(rf"(?:[A-Z_]+{FIELD_END}){{{len(QUEUE_FIELDS) - 1}}}[A-Z_]+")
_NOTHING = ("", "N/A", "(null)")
_TASKS = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10})(?::([0-9]{1,10}))?)?")


@dataclass(frozen=True)
class Part:
    """What a job needs: the whole of it, or a component of a heterogeneous one."""

    shape: Shape
    nodes: int
    """How many machines."""
    partitions: tuple[str, ...]
    wants: Wants
    """But for partitions and their limits."""
    licenses: Mapping[str, int]
    is_exclusive: bool
    asked: str
    """All that it asks for, as GROUP_JOBS puts it together for jobs that wait and for those that run."""


@dataclass(frozen=True)
class Waiting:
    """Waiting jobs that are alike, or what waits of one array."""

    jobs: int
    since: float
    """When the oldest of them became ready to start, by Slurm's clock; 0 if it does not say."""
    array: str
    """Number of the array, or nothing."""
    tasks: str
    """Which tasks of the array wait, such as `1-99:2%4`, or nothing."""
    parts: tuple[Part, ...]
    """One, unless they are heterogeneous."""


@dataclass(frozen=True)
class Counts:
    """What else the list of jobs tells."""

    running: Mapping[str, int] = field(default_factory=dict)
    """By the number of an array, how many of its tasks run, or wait alone, and so leave less of its cap."""
    alike: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """How many jobs run, by partition and `Part.asked`."""
    unread: int = 0
    """How many jobs cannot be read, and are in nothing else."""
    example: str = ""
    """Of what cannot be read."""


def parse_queue(answer: str) -> tuple[tuple[Waiting, ...], Counts]:
    """Given what GROUP_JOBS makes of `squeue --Format QUEUE_FIELDS`, return what waits, and what else is to be known.

    Raise BatchError if it is no list of jobs, or half of one: an empty queue, too, has its header. A job that cannot be
    read is left out and counted.
    """
    header, *records = answer.split(RECORD_END)
    if not _HEADER.fullmatch(header) or records[-1:] != [""]:
        raise BatchError(f"squeue answered what is no list of jobs: {excerpt(answer)}")
    waiting = []
    running: Counter[str] = Counter()
    alike: Counter[tuple[str, str]] = Counter()
    unread, example = 0, ""
    for record in records[:-1]:
        kind, *words = record.split(FIELD_END, 3)
        if kind == "W" and len(words) == 3:
            jobs = kit.count(words[0], "squeue")
            try:
                waiting.append(_waiting(jobs, float(kit.count(words[1], "squeue")), words[2]))
            except BatchError as error:
                unread, example = unread + jobs, example or str(error)
        elif kind == "R" and len(words) == 2:
            running[words[0]] += kit.count(words[1], "squeue")
        elif kind == "K" and len(words) == 3:
            alike[words[1], words[2]] += kit.count(words[0], "squeue")
        elif kind == "U" and len(words) >= 2:
            unread += kit.count(words[0], "squeue")
            example = example or f"squeue answered what is no job: {excerpt(words[1])}"
        elif kind == "T" and words:
            raise NotInSecondsError("squeue", words[0])
        else:
            raise BatchError(f"squeue answered what is no list of jobs, or half of one: {excerpt(record)}")
    return tuple(waiting), Counts(running, alike, unread, example)


def _waiting(jobs: int, since: float, text: str) -> Waiting:
    """Raise BatchError if that cannot be read."""
    if text.startswith(_PART_END):  # a component of a heterogeneous job is never an array
        parts = text.split(_PART_END)[1:]
        return Waiting(jobs, since, "", "", tuple(_part(part.split(FIELD_END)[2:]) for part in parts))
    array, tasks, *words = [*text.split(FIELD_END), ""]
    waiting = Waiting(jobs, since, array, tasks, (_part(words[:-1]),))
    if array:
        _tasks(waiting, {})
    return waiting


_PART_FIELDS = 16


def _part(words: Sequence[str]) -> Part:
    if len(words) != _PART_FIELDS:
        raise BatchError(f"squeue answered what is no job: {excerpt(' '.join(words))}")
    nodes, resources, named, reservation, licenses, partition, *asked = words
    tasks, _, memory, tmp, *per, constraint, exclusive = asked
    machines = max(1, kit.count(nodes, "squeue"))
    gres = _gres(per, machines, max(1, kit.count(tasks, "squeue")))
    wants = Wants(
        named_nodes=bool(named),
        reservation="" if reservation in _NOTHING else reservation,
        constraint="" if constraint in _NOTHING else constraint,
        gres={kind: count for kind, count in gres.items() if kind != "gpu"},
        tmp_mb=0 if tmp in _NOTHING else kit.size_mb(tmp, "squeue"),
    )
    return Part(
        _shape(resources, memory, slurm_gres.total(gres, "gpu"), machines),
        machines,
        tuple(partition.split(",")),
        wants,
        {} if licenses in _NOTHING else license_counts(licenses),
        exclusive == "1",
        FIELD_END.join(asked),
    )


def _shape(resources: str, memory: str, gpus: int, machines: int) -> Shape:
    """Return what a job needs on each of its machines.

    `resources` (such as `cpu=6,mem=6000M,node=3,billing=6`) is for the whole job; only where Slurm keeps accounts of
    GPUs it has them, otherwise they are in what was asked for each job, node, socket or task. With 0 as its `memory` a
    job has asked for none, or for all that its nodes have: how much `resources` say then is that of some node.
    """
    found = dict(re.findall(r"([a-z/]+)=([^,]*)", resources))
    if "cpu" not in found:
        raise BatchError(f"squeue answered what are no resources: {excerpt(resources)}")
    cpus = kit.count(found["cpu"], "squeue")
    memory_mb = kit.size_mb(found["mem"], "squeue") if found.get("mem") and memory != "0" else 0
    counted = kit.count(found["gres/gpu"], "squeue") if "gres/gpu" in found else 0
    return Shape(_each(cpus, machines) or 1, _each(memory_mb, machines) or None, None, _each(counted, machines) or gpus)


def _gres(per: Sequence[str], machines: int, tasks: int) -> Mapping[str, int]:
    """Return what a job needs on each of its machines, by what it asks for in all, on a node, a socket and a task."""
    for_job, for_node, for_socket, for_task = map(slurm_gres.parse, per)
    kinds = {*for_job, *for_node, *for_socket, *for_task}
    return {
        kind: for_node[kind]
        or _each(for_job[kind], machines)
        or for_socket[kind]
        or _each(for_task[kind] * tasks, machines)
        for kind in sorted(kinds)
    }


def _each(amount: int, machines: int) -> int:
    return -(-amount // machines)


def demand_of(
    waiting: Iterable[Waiting],
    counts: Counts,
    now: float,
    partitions: Collection[str] = (),
    cluster: Cluster | None = None,
    asked: Collection[str] = (),
) -> tuple[Demand, ...]:
    """Return the demand that a further VM can meet, or could if it were of another kind, most jobs first; only of
    `partitions`, if any are given. `now` is Slurm's time. Which of the partitions `asked` for a job is in is part of
    what it wants.

    A heterogeneous job is one job on as many machines as all its components have, each as large as the largest of them
    and such that it could run any: its components start together or not at all, on nodes of their own, and a launch for
    a part of them would be in vain. What fits only VMs of several kinds is therefore not launched for.
    """
    known = cluster or Cluster()
    left = dict(known.licenses)
    found: dict[tuple[object, ...], Demand] = {}
    running: dict[tuple[object, ...], set[tuple[str, str]]] = {}
    for group in sorted(waiting, key=lambda group: (group.since, group.array, group.parts[0].asked)):
        one = _demand(group, known, asked)
        if one is None or not _is_of(group, partitions):
            continue
        jobs = _tasks(group, counts.running) if group.array else group.jobs
        jobs = _licensed(group, jobs, left)
        if jobs < 1:
            continue
        age = max(0.0, now - group.since) if group.since else None
        key = (one.shape, one.vms_per_job, one.wants, one.takes_whole_vms)
        running.setdefault(key, set()).update(
            (partition, part.asked) for part in group.parts for partition in part.partitions
        )
        before = found.get(key)
        ages = [each for each in (age, before.oldest_wait_seconds if before else None) if each is not None]
        jobs += before.jobs if before else 0
        alike = None if len(group.parts) > 1 else sum(counts.alike.get(kind, 0) for kind in running[key])
        found[key] = replace(one, jobs=jobs, oldest_wait_seconds=max(ages, default=None), running=alike)
    return tuple(sorted(found.values(), key=lambda one: (-one.jobs, one.vms_per_job, str(one.shape), one.wants)))


def _licensed(group: Waiting, jobs: int, left: dict[str, int]) -> int:
    """Return for how many of the `jobs` of `group` there are licences, and take these from those that are `left`."""
    needed: dict[str, int] = {}
    for part in group.parts:
        for name in left.keys() & part.licenses.keys():
            needed[name] = needed.get(name, 0) + part.licenses[name]
    jobs = min([jobs, *(left[name] // count for name, count in needed.items())])
    left.update({name: left[name] - jobs * count for name, count in needed.items()})
    return jobs


def _is_of(group: Waiting, partitions: Collection[str]) -> bool:
    return not partitions or all(set(partitions).intersection(part.partitions) for part in group.parts)


def _demand(group: Waiting, cluster: Cluster, asked: Collection[str]) -> Demand | None:
    """Return what a job of `group` needs, as a Demand of one job; None if a partition has to be opened for it."""
    wants = [_wants(part, cluster) for part in group.parts]
    if None in wants:
        return None
    submitted = [tuple(sorted(set(asked).intersection(part.partitions))) for part in group.parts]
    texts = [replace(one, submitted=names).text() for one, names in zip(wants, submitted) if one]
    shapes = [part.shape for part in group.parts]
    return Demand(
        kit.largest(shapes),
        1,
        vms_per_job=sum(part.nodes for part in group.parts),
        wants=texts[0] if len(texts) == 1 else together(texts),
        takes_whole_vms=any(_takes_whole_vms(part, cluster) for part in group.parts),
    )


def _wants(part: Part, cluster: Cluster) -> Wants | None:
    """Return what decides where `part` may run; None if that has to wait for a partition that is down."""
    never = cluster.refusal(part.partitions, part.shape, part.nodes)
    if never:
        return replace(part.wants, never=never)
    names = [name for name in cluster.start(part.partitions) if not cluster.refusal([name], part.shape, part.nodes)]
    if not names:
        return None
    known = [cluster.partitions.get(name) for name in names]
    if any(one is None or one.has_all_nodes for one in known):
        return part.wants
    usual = len(cluster.partitions) == 1 or any(one is not None and one.is_default for one in known)
    return replace(part.wants, partitions=tuple(sorted(names)), usual=usual)


def _takes_whole_vms(part: Part, cluster: Cluster) -> bool:
    """Return whether nobody else gets anything of the nodes of a job: that has asked for it, or for all memory."""
    partitions = [cluster.partitions.get(name) for name in part.partitions]
    return (
        part.is_exclusive
        or cluster.whole_nodes
        or (cluster.shares_memory and part.shape.memory_mb is None)
        or all(one is not None and one.is_exclusive for one in partitions)
    )


def _tasks(group: Waiting, running: Mapping[str, int]) -> int:
    """Return how many waiting tasks of an array may start: no more than its cap allows beside those that run. Raise
    BatchError if that cannot be read."""
    tasks, capped, cap = group.tasks.partition("%")
    count = 0
    for part in tasks.split(","):
        match = _TASKS.fullmatch(part)
        if not match:
            raise BatchError(f"squeue answered what are no tasks of an array: {excerpt(group.tasks)}")
        first = int(match[1])
        last = int(match[2] or first)
        count += max(0, (last - first) // (int(match[3] or 1) or 1) + 1)
    if capped:
        count = min(count, max(0, kit.count(cap, "squeue") - running.get(group.array, 0)))
    return count
