"""From what Slurm prints to what it means. Pure functions; whatever is no valid answer raises BatchError."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from elastiq.errors import BatchError
from elastiq.model import Demand, Shape, Worker
from elastiq.plugins import kit
from elastiq.text import excerpt

QUEUE_FIELDS = (
    "ArrayJobID",
    "ArrayTaskID",
    "StateCompact",
    "NumNodes",
    "NumTasks",
    "tres-alloc",
    "tres-per-job",
    "tres-per-node",
    "tres-per-socket",
    "tres-per-task",
    "Partition",
    "ReqNodes",
    "Reservation",
    "EligibleTime",
    "Reason",
)
"""Of `squeue --Format`. None of them can contain a vertical bar, whatever a user calls a job."""

GROUP_JOBS = r"""
NR == 1 { print; next }
NF != 16 { print "?|" $0; next }
$14 !~ /^([0-9]+|N\/A|Unknown)$/ { odd = $14; next }
$3 ~ /^(SE|RQ|RF|RH|RD)$/ { next }
$3 != "PD" { if ($2 != "N/A") running[$1]++; next }
$14 + 0 > now { next }
$15 ~ /Reserved for maintenance/ { next }
{
  reason = $15
  sub(/[,(].*/, "", reason)
  if ($2 ~ /%/) capped[$1] = 1
  if ($2 ~ /^[0-9]+$/) alone[$1 "|" reason]++
  group = ($2 ~ /[^0-9]/ && $2 != "N/A" ? $1 "|" $2 : "|")
  for (field = 4; field <= 13; field++) group = group "|" $field
  group = group "|" reason
  count[group]++
  if (!(group in since) || $14 + 0 < since[group]) since[group] = $14 + 0
}
END {
  for (group in count) print "W|" count[group] "|" since[group] "|" group
  for (array in running) print "R|" array "|" running[array]
  for (task in alone) if (substr(task, 1, index(task, "|") - 1) in capped) print "A|" task "|" alone[task]
  if (odd != "") print "T|" odd
}
"""
"""Program of awk that makes groups of equal jobs of the lines of `squeue`, so that a long queue costs this process
nothing. Its variable `now` is Slurm's time; jobs that are due later are left out, and those that have run and wait for
somebody to release them, which squeue counts among the pending ones by other letters. So are those whose time limit
reaches into a reservation of all nodes, from the moment that it exists: only the end of the reason tells, and Slurm
starts them on no new node either. A task that stands alone, because it was changed or queued again, is a job like any
other, but counts against the cap of its array."""

_HEADER = re.compile(rf"(?:[A-Z_]+\|){{{len(QUEUE_FIELDS)}}}")
_GROUP_FIELDS = 16
# The reasons that a further VM may be the answer to, as they begin. "None" is the reason of a job that the scheduler
# has not looked at yet. PartitionConfig and PartitionNodeLimit are said of jobs that need more nodes than there are.
# All others (Dependency, BeginTime, JobHeld..., JobArrayTaskLimit, Licenses, Reservation, Assoc..., QOS...,
# BadConstraints and whatever a later Slurm may say) are met by something else than a VM, or never.
_REASONS = (
    "None",
    "Resources",
    "Priority",
    "ReqNodeNotAvail",
    "Nodes required for job are DOWN",
    "NodeDown",
    "PartitionConfig",
    "PartitionNodeLimit",
)
_NOTHING = ("", "N/A", "(null)")
_TASKS = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10})(?::([0-9]{1,10}))?)?")

OWN_REASON = "elastiq: "
"""The reasons that elastiq gives begin like this; by them it knows its own drains again."""
_IDLE = f"{OWN_REASON}idle"
_IDLE_BUT_BROKEN = f"{_IDLE}; "
"""Before Slurm's own reason, where it had drained the node already."""

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
_REASON = re.compile(r" Reason=(.*)")
_MARKS = "*~#!%$@^-+"
_NODE_FIELDS = ("NodeName", "NodeAddr", "State", "CPUAlloc", "CPUTot", "RealMemory", "AllocMem")
_BASE_STATES = ("IDLE", "MIXED", "ALLOCATED", "DOWN", "ERROR", "UNKNOWN", "FUTURE")
_INSTEAD_OF_IDLE = ("MAINT", "RESERVED", "REBOOT", "PERFCTRS")
"""What Slurm before 21.08 calls a node that is idle, and something else, too; later it says IDLE+MAINTENANCE."""
_MAINTENANCE = frozenset({"MAINT", "MAINTENANCE"})
_RESERVING = _MAINTENANCE | {"RESERVED"}
_INSTANCE_ID = re.compile(r"i-[0-9a-f]{8}(?:[0-9a-f]{9})?")
_SERVER_TIME = re.compile(r"sdiag output at [^\n]*\(([0-9]{9,11})\)")


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
    shape: Shape
    nodes: int
    partitions: tuple[str, ...]
    wants_nodes: bool
    """True if the jobs want to run on certain nodes only, which they or their reservation name. It is True, too, for a
    reservation with FLEX or ANY_NODES, whose jobs run also elsewhere: these flags are not looked at."""
    reason: str


@dataclass(frozen=True)
class Node:
    """A worker, and what is not a worker's: nodes that are down, or that have not registered properly."""

    worker: Worker
    present: bool
    """True if it is registered and answers, or did so a moment ago."""
    dynamic: bool
    """True if it registered itself and can be deleted."""
    down: bool
    reason: str
    host: str = ""
    """The name that NodeAddr has in place of an address, if it can be looked up."""

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


def parse_queue(answer: str) -> tuple[tuple[Waiting, ...], Mapping[str, int]]:
    """Given what GROUP_JOBS makes of `squeue --Format QUEUE_FIELDS`, return what waits, and by the number of each array
    how many of its tasks run, or wait alone, and so leave less of its cap.

    Raise BatchError if it is anything else: an empty queue, too, has its header.
    """
    lines = answer.splitlines()
    if not lines or not _HEADER.fullmatch(lines[0]):
        raise BatchError(f"squeue answered what is no list of jobs: {excerpt(answer)}")
    waiting = []
    running: defaultdict[str, int] = defaultdict(int)
    for line in lines[1:]:
        words = line.split("|")
        if words[0] == "R" and len(words) == 3:
            running[words[1]] += kit.count(words[2], "squeue")
        elif words[0] == "A" and len(words) == 4:
            running[words[1]] += kit.count(words[3], "squeue") if words[2].startswith(_REASONS) else 0
        elif words[0] == "W" and len(words) == _GROUP_FIELDS:
            waiting.append(_waiting(words[1:]))
        elif words[0] == "T":
            raise _not_in_seconds("squeue", line[2:])
        else:
            raise BatchError(f"squeue answered what is no job: {excerpt(line)}")
    return tuple(waiting), running


def _not_in_seconds(who: str, time: str) -> BatchError:
    return BatchError(
        f"{who} told a time as {excerpt(time)}, not in seconds: let sudo pass on how it shall answer, by "
        'Defaults:elastiq env_keep += "SLURM_TIME_FORMAT SLURM_BITSTR_LEN" in sudoers'
    )


def _waiting(words: Sequence[str]) -> Waiting:
    jobs, since, array, tasks, nodes, task_count, resources, *per, partition, wanted, reservation, reason = words
    machines = max(1, kit.count(nodes, "squeue"))
    return Waiting(
        jobs=kit.count(jobs, "squeue"),
        since=float(kit.count(since, "squeue")),
        array=array,
        tasks=tasks,
        shape=_shape(resources, per, machines, max(1, kit.count(task_count, "squeue"))),
        nodes=machines,
        partitions=tuple(partition.split(",")),
        wants_nodes=wanted not in _NOTHING or reservation not in _NOTHING,
        reason=reason,
    )


def _shape(resources: str, per: Sequence[str], machines: int, tasks: int) -> Shape:
    """Return what a job needs on each of its machines.

    `resources` (such as `cpu=6,mem=6000M,node=3,billing=6`) is for the whole job; only where Slurm keeps accounts of
    GPUs it has them, otherwise they are in what was asked for each job, node, socket or task.
    """
    found = dict(re.findall(r"([a-z/]+)=([^,]*)", resources))
    if "cpu" not in found:
        raise BatchError(f"squeue answered what are no resources: {excerpt(resources)}")
    cpus = kit.count(found["cpu"], "squeue")
    memory_mb = kit.size_mb(found["mem"], "squeue") if found.get("mem") else 0
    gpus = kit.count(found["gres/gpu"], "squeue") if "gres/gpu" in found else 0
    if not gpus:
        for_job, for_node, for_socket, for_task = map(_gpus, per)
        gpus = for_job or for_node * machines or for_socket * machines or for_task * tasks
    return Shape(_each(cpus, machines) or 1, _each(memory_mb, machines), 0, _each(gpus, machines))


def _each(amount: int, machines: int) -> int:
    return -(-amount // machines)


def _gpus(asked: str) -> int:
    """Return the GPUs in a list of resources such as `gres/gpu:a100:2,cpu=1`, in the spelling of any version."""
    gpus = 0
    for entry in re.sub(r"\([^)]*\)", "", asked).split(","):
        name, *rest = re.split("[:=/]", re.sub("^gres[:/]", "", entry.strip()))
        words = [word for word in rest if word != "no_consume"]
        if name == "gpu":
            # A type may be all digits (3090), so the count is what stands last.
            gpus += int(words[-1]) if words and re.fullmatch("[0-9]{1,9}", words[-1]) else 1
    return gpus


def demand_of(
    waiting: Iterable[Waiting], running: Mapping[str, int], now: float, partitions: Collection[str] = ()
) -> tuple[Demand, ...]:
    """Return the demand that a further VM can meet, most jobs first; only of `partitions`, if any are given.

    `now` is Slurm's time. Raise BatchError if it is not to be known how many tasks of an array wait.
    """
    jobs: defaultdict[tuple[Shape, int], int] = defaultdict(int)
    oldest: dict[tuple[Shape, int], float] = {}
    for group in waiting:
        if not group.reason.startswith(_REASONS) or group.wants_nodes:
            continue
        if partitions and not set(partitions).intersection(group.partitions):
            continue
        count = _tasks(group, running) if group.array else group.jobs
        if count < 1:
            continue
        key = (group.shape, group.nodes)
        jobs[key] += count
        if group.since:
            oldest[key] = min(group.since, oldest.get(key, group.since))
    ordered = sorted(jobs.items(), key=lambda item: (-item[1], item[0][1], item[0][0].cpus, item[0][0].memory_mb))
    return tuple(
        Demand(shape, count, max(0.0, now - oldest[shape, nodes]) if (shape, nodes) in oldest else None, nodes)
        for (shape, nodes), count in ordered
    )


def _tasks(group: Waiting, running: Mapping[str, int]) -> int:
    """Return how many waiting tasks of an array may start: no more than its cap allows beside those that run."""
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


def parse_server_time(answer: str) -> float:
    """Given the output of `sdiag`, return slurmctld's time. Raise BatchError if it does not say it."""
    match = _SERVER_TIME.search(answer[:1000])
    if not match:
        raise BatchError(f"sdiag did not tell Slurm's time: {excerpt(answer)}")
    return float(match[1])


def parse_nodes(answer: str, now: float) -> tuple[Node, ...]:
    """Given the output of `scontrol --oneliner --details show node` with times in seconds, return the nodes.

    Nodes that do not exist (FUTURE, powered down) are left out. `now` is Slurm's time. Raise BatchError if it is
    anything else: where there are no nodes, scontrol says so.
    """
    listed = answer.strip()
    if listed == _NO_NODES:
        return ()
    if not listed or not answer.endswith("\n"):
        raise BatchError(f"scontrol answered what is no list of nodes: {excerpt(answer)}")
    # A line each, but for comments, which may have several.
    nodes = [node for node in (_node(record, now) for record in re.split(r"\n(?=NodeName=)", listed)) if node]
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


def _node(record: str, now: float) -> Node | None:
    fields: dict[str, str] = {}
    for name, value in _FIELD.findall(record):
        fields.setdefault(name, value)  # texts that people write come last
    missing = [name for name in _NODE_FIELDS if name not in fields]
    if missing or not record.startswith("NodeName="):
        raise BatchError(f"scontrol answered what is no node: {excerpt(record)}")
    state, *flags = (word.rstrip(_MARKS) for word in fields["State"].split("+"))
    if state in _INSTEAD_OF_IDLE:
        state, flags = "IDLE", [state, *flags]
    if state not in _BASE_STATES:
        raise BatchError(f"scontrol answered with a node in state {excerpt(fields['State'])}")
    busy = _is_busy(state, flags, fields)
    asleep = bool({"POWERED_DOWN", "POWERING_DOWN", "POWER", "POWERED_OFF"}.intersection(flags))
    if state == "FUTURE" or (asleep and not busy):
        return None
    name = kit.name(fields["NodeName"], "scontrol")
    host = fields["NodeAddr"]
    address = kit.ipv4(host)
    reason = _REASON.search(record)
    why = reason[1] if reason else ""
    closed = "DRAIN" in flags or "FAIL" in flags
    # The jobs of a reservation run on its nodes alone, so an idle one is waited for, unless it can start none of them;
    # but a reservation for maintenance has no jobs.
    claimed = state == "IDLE" and not closed and "RESERVED" in flags and not _MAINTENANCE.intersection(flags)
    capacity, free = _shapes(fields)
    if _RESERVING.intersection(flags):
        free = Shape(0)  # only for the jobs of the reservation
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
            # A bad registration is closed by Slurm itself, whatever the reason.
            closed_by_other=(
                closed and not why.startswith((OWN_REASON, *_REASONS_OF_SLURM)) and "INVALID_REG" not in flags
            ),
        ),
        present=state not in ("DOWN", "UNKNOWN", "ERROR") and "INVALID_REG" not in flags,
        dynamic="DYNAMIC_NORM" in flags,
        down=state == "DOWN",
        reason=why,
        host=host if not address and kit.is_name(host) else "",
    )


def _is_busy(state: str, flags: Collection[str], fields: Mapping[str, str]) -> bool:
    """Return whether any job is there, suspended ones included: these have no CPUs, but the state and the memory."""
    allocated = kit.count(fields["CPUAlloc"], "scontrol") or kit.count(fields["AllocMem"], "scontrol")
    return state in ("MIXED", "ALLOCATED") or "COMPLETING" in flags or bool(allocated)


def _shapes(fields: Mapping[str, str]) -> tuple[Shape, Shape]:
    """Return what a node has, and what of it is free."""
    cpus = kit.count(fields.get("CPUEfctv", fields["CPUTot"]), "scontrol")
    memory_mb = kit.count(fields["RealMemory"], "scontrol")
    if memory_mb <= 1:
        memory_mb = 0  # Slurm's default, where nobody has said it
    memory_mb = max(0, memory_mb - kit.count(fields.get("MemSpecLimit", "0"), "scontrol"))  # never for jobs
    gpus = _gpus(fields.get("Gres", ""))
    free = Shape(
        max(0, cpus - kit.count(fields["CPUAlloc"], "scontrol")),
        max(0, memory_mb - kit.count(fields["AllocMem"], "scontrol")),
        0,
        max(0, gpus - _gpus(fields.get("GresUsed", ""))),
    )
    return Shape(max(1, cpus), memory_mb, 0, gpus), free


def _idle_seconds(fields: Mapping[str, str], now: float) -> float | None:
    """Return for how long it has had no job, or since it registered; None from Slurm before 21.08."""
    since = fields.get("LastBusyTime", "")
    if re.match(r"[0-9]{4}-", since):
        raise _not_in_seconds("scontrol", since)
    return max(0.0, now - int(since)) if re.fullmatch(r"[0-9]{9,11}", since) else None


def _instance_id(name: str, fields: Mapping[str, str]) -> str | None:
    """Return the id of the node's VM: what slurmd was told by --instance-id, a feature that is one, or its name."""
    told = kit.instance_id(fields.get("InstanceId"))
    if told:
        return told
    candidates = [*fields.get("AvailableFeatures", "").split(","), name]
    return next((word for word in candidates if _INSTANCE_ID.fullmatch(word)), None)
