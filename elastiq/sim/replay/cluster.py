"""A batch system and a cloud without faults, as far as recorded jobs need them: fast, event by event."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Iterable

from elastiq.model import Demand, Instance, InstanceState, Shape, Worker
from elastiq.sim.replay.work import Size, Work


class Machine:
    """A VM, and its worker once that has joined."""

    __slots__ = (
        "closed", "cores", "free", "id", "idle_since", "jobs", "launched_at", "listed", "number", "token", "type"
    )  # fmt: skip

    def __init__(self, number: int, launched_at: float, token: str, type_: str, cores: int) -> None:
        self.number, self.id = number, f"i-{number:08x}"
        self.launched_at, self.token = launched_at, token
        self.type, self.cores = type_, cores
        self.free = 0
        """Cores; 0 until it has joined."""
        self.jobs = 0
        self.idle_since: float | None = None
        """None: it is at work, or has not joined."""
        self.closed = False
        self.listed: Instance | None = None


def _listed(machine: Machine, cluster: str) -> Instance:
    if machine.listed is None or machine.listed.cluster != cluster:
        machine.listed = Instance(
            machine.id,
            InstanceState.RUNNING,
            type=machine.type,
            launched_at=machine.launched_at,
            client_token=machine.token,
            cluster=cluster,
        )
    return machine.listed


class Group:
    """Jobs of one size."""

    __slots__ = ("running", "shape", "size", "waiting")

    def __init__(self, size: Size) -> None:
        self.size, self.shape = size, Shape(size.cores)
        self.waiting: deque[tuple[float, float]] = deque()
        """When each was submitted, and how long it will run."""
        self.running = 0


class Curve:
    """A number of VMs over time, as steps."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.values: list[int] = []

    def step(self, time: float, value: int) -> None:
        """From `time` on it is `value`; times never go back."""
        if self.times and self.times[-1] == time:
            self.times.pop()
            self.values.pop()
        if not self.values or self.values[-1] != value:
            self.times.append(time)
            self.values.append(value)


class Cluster:
    """The truth: which jobs wait and run, which VMs there are, and what happens next.

    Jobs start in the order in which they were submitted, except that a job which does not fit lets others pass. A job
    goes to the fullest VM with room for it, the oldest of several.
    """

    def __init__(self, work: Work, boot_seconds: float, begins_at: float) -> None:
        """The first job is submitted at `begins_at`."""
        self.now = begins_at
        self._work, self.boot_seconds = work, boot_seconds
        first_at = work.jobs[0][0].submitted_at if work.jobs else 0.0
        self._shift = begins_at - first_at
        self._next = 0
        self._events: list[tuple[float, int, Group | None, tuple[Machine, ...]]] = []
        """Ends of jobs, and workers that join (without a group), with a number that keeps their order."""
        self._order = 0
        self._groups: dict[Size, Group] = {}
        self._waiting: list[Group] = []
        self._machines: dict[str, Machine] = {}
        self._joined: dict[str, Machine] = {}
        self._with_room: list[list[int]] = [[] for _ in range(work.largest + 1)]
        """The numbers of open workers, by how many of their cores are free."""
        self._shapes = tuple(map(Shape, range(work.largest + 1)))
        self._by_number: dict[int, Machine] = {}
        self._launched = 0
        self.queue_version = self.workers_version = self.vms_version = 0
        """Each grows whenever another answer of that kind is due."""
        self.joined_version = 0
        """Grows whenever a worker comes, goes, is closed or opened."""
        self.changed: set[Machine] = set()
        """VMs that were launched, whose workers joined, or on which jobs began or ended; whoever looks at them empties
        it."""
        self.idle: set[Machine] = set()
        """Workers without a job."""
        self._shown: dict[str, Worker] = {}
        """Workers as they were when they were last looked at, and those that have joined since."""
        self._instances: tuple[int, str, tuple[Instance, ...]] | None = None
        self.waits: list[float] = []
        """Of each job that has started, in seconds."""
        self.lives_of: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        """By type, of each VM that is gone, when it was launched and when it was terminated."""
        self.last_end_at = self.last_change_at = begins_at
        """When the last job ended, and when the last one started or ended."""
        self._wanted_cores = self._joined_cores = 0
        self.free_cores = 0
        """On workers."""
        self.demand_curve, self.supply_curve = Curve(), Curve()
        """VMs that hold all jobs which wait or run, and workers; where there are several sizes, as many as have their
        cores."""
        self._count()

    @property
    def is_done(self) -> bool:
        """Whether all jobs have ended."""
        return self._next == len(self._work.jobs) and not self._wanted_cores

    @property
    def vms(self) -> int:
        """How many VMs there are."""
        return len(self._machines)

    @property
    def joined(self) -> int:
        """How many workers there are."""
        return len(self._joined)

    @property
    def cores_in_use(self) -> int:
        """On workers."""
        return self._joined_cores - self.free_cores

    @property
    def lives(self) -> list[tuple[float, float]]:
        """Of each VM that is gone, when it was launched and when it was terminated."""
        return [life for lives in self.lives_of.values() for life in lives]

    @property
    def has_waiting(self) -> bool:
        """Whether any job waits."""
        return bool(self._waiting)

    @property
    def launched(self) -> int:
        """How many VMs there have been."""
        return self._launched

    @property
    def never_started(self) -> int:
        """How many jobs wait."""
        return sum(len(group.waiting) for group in self._waiting)

    @property
    def next_event_at(self) -> float:
        """When something happens next by itself; infinity: never."""
        submitted_at = math.inf
        if self._next < len(self._work.jobs):
            submitted_at = self._work.jobs[self._next][0].submitted_at + self._shift
        return min(submitted_at, self._events[0][0] if self._events else math.inf)

    def run_until(self, time: float) -> None:
        """Let everything happen that is due until `time`."""
        jobs, events = self._work.jobs, self._events
        while True:
            submitted_at = jobs[self._next][0].submitted_at + self._shift if self._next < len(jobs) else math.inf
            if events and events[0][0] <= min(time, submitted_at):
                self._happen(*heapq.heappop(events))
            elif submitted_at <= time:
                self._submit(submitted_at)
            else:
                break
        self.now = time

    def _happen(self, time: float, _order: int, group: Group | None, machines: tuple[Machine, ...]) -> None:
        self.now = time
        if group is None:
            self._join(machines[0])
        else:
            for machine in machines:
                self._change(machine, machine.free + group.size.cores, machine.jobs - 1)
            group.running -= 1
            self._wanted_cores -= group.size.all_cores
            if group.waiting:
                self.queue_version += 1
            self.last_end_at = self.last_change_at = time
        self._start_waiting()
        self._count()

    def _submit(self, time: float) -> None:
        self.now = time
        job, size = self._work.jobs[self._next]
        self._next += 1
        group = self._groups.get(size)
        if group is None:
            group = self._groups[size] = Group(size)
        self._wanted_cores += size.all_cores
        # Others wait because there is no room for them, and that has not changed.
        if group.waiting or not self._start(group, time, job.seconds):
            if not group.waiting:
                self._waiting.append(group)
            group.waiting.append((time, job.seconds))
            self.queue_version += 1
        self._count()

    def _count(self) -> None:
        self.demand_curve.step(self.now, -(-self._wanted_cores // self._work.cores))
        self.supply_curve.step(self.now, -(-self._joined_cores // self._work.cores))

    def _start_waiting(self) -> None:
        candidates = list(self._waiting)
        while candidates:
            group = min(candidates, key=lambda one: one.waiting[0][0])
            submitted_at, seconds = group.waiting[0]
            if not self._start(group, submitted_at, seconds):
                candidates.remove(group)
                continue
            group.waiting.popleft()
            self.queue_version += 1
            if not group.waiting:
                candidates.remove(group)
                self._waiting.remove(group)

    def _start(self, group: Group, submitted_at: float, seconds: float) -> bool:
        """Start a job if there is room for it, and return whether there was."""
        machines = self._room_for(group.size)
        if machines is None:
            return False
        for machine in machines:
            self._change(machine, machine.free - group.size.cores, machine.jobs + 1)
        group.running += 1
        self._order += 1
        heapq.heappush(self._events, (self.now + seconds, self._order, group, machines))
        self.waits.append(self.now - submitted_at)
        self.last_change_at = self.now
        return True

    def _room_for(self, size: Size) -> tuple[Machine, ...] | None:
        found: list[Machine] = []
        for numbers in self._with_room[size.cores :]:
            found += [self._by_number[number] for number in numbers[: size.vms - len(found)]]
            if len(found) == size.vms:
                return tuple(found)
        return None

    def _change(self, machine: Machine, free: int, jobs: int) -> None:
        self._leave_room(machine)
        self.free_cores += free - machine.free
        machine.free, machine.jobs = free, jobs
        machine.idle_since = None if jobs else self.now
        insort(self._with_room[free], machine.number)
        self.changed.add(machine)
        if jobs:
            self.idle.discard(machine)
        else:
            self.idle.add(machine)
        self.workers_version += 1

    def _leave_room(self, machine: Machine) -> None:
        numbers = self._with_room[machine.free]
        del numbers[bisect_left(numbers, machine.number)]

    def _join(self, machine: Machine) -> None:
        if machine.id not in self._machines:
            return
        machine.free, machine.idle_since = machine.cores, self.now
        self._joined[machine.id] = machine
        self._shown[machine.id] = self._worker(machine)
        self._joined_cores += machine.cores
        self.free_cores += machine.cores
        self.idle.add(machine)
        insort(self._with_room[machine.free], machine.number)
        self.changed.add(machine)
        self.workers_version += 1
        self.joined_version += 1

    def demand(self) -> tuple[Demand, ...]:
        """Return the jobs that wait."""
        return tuple(
            Demand(
                group.shape,
                len(group.waiting),
                oldest_wait_seconds=self.now - group.waiting[0][0],
                vms_per_job=group.size.vms,
                running=group.running,
            )
            for group in self._waiting
        )

    def workers(self) -> tuple[Worker, ...]:
        """Return the workers."""
        # Those that are at work, and were so before, are shown as they were.
        self._shown.update((one.id, self._worker(one)) for one in self.changed | self.idle if one.id in self._joined)
        return tuple(self._shown.values())

    def idle_workers(self) -> tuple[Worker, ...]:
        """Return those without a job."""
        return tuple(map(self._worker, self.idle))

    def changed_workers(self) -> tuple[Worker, ...]:
        """Return those among `changed`."""
        return tuple(self._worker(machine) for machine in self.changed if machine.id in self._joined)

    def changed_instances(self, cluster: str) -> tuple[Instance, ...]:
        """Return the VMs among `changed`, tagged with the name of the cluster."""
        return tuple(_listed(machine, cluster) for machine in self.changed)

    def _worker(self, machine: Machine) -> Worker:
        since = machine.idle_since
        return Worker(
            machine.id,
            instance_id=machine.id,
            capacity=self._shapes[machine.cores],
            free=self._shapes[machine.free],
            jobs=machine.jobs,
            idle_seconds=None if since is None else self.now - since,
            closed=machine.closed,
        )

    def instances(self, cluster: str) -> tuple[Instance, ...]:
        """Return the VMs, tagged with the name of the cluster."""
        if self._instances is None or self._instances[:2] != (self.vms_version, cluster):
            listed = tuple(_listed(one, cluster) for one in self._machines.values())
            self._instances = self.vms_version, cluster, listed
        return self._instances[2]

    def launch(self, count: int, token: str, type_: str = "") -> tuple[str, ...]:
        """Launch VMs, and return their ids."""
        made = []
        for _ in range(count):
            self._launched += 1
            machine = Machine(self._launched, self.now, token, type_, self._work.cores_of(type_))
            self._machines[machine.id] = self._by_number[machine.number] = machine
            self.changed.add(machine)
            self._order += 1
            heapq.heappush(self._events, (self.now + self.boot_seconds, self._order, None, (machine,)))
            made.append(machine.id)
        self.vms_version += 1
        return tuple(made)

    def close(self, instance_id: str) -> bool:
        """Close the worker of a VM unless a job runs there; return whether it is closed."""
        machine = self._machines[instance_id]
        if machine.jobs:
            return False
        if not machine.closed and machine.id in self._joined:
            self._leave_room(machine)
            machine.closed = True
            self.workers_version += 1
            self.joined_version += 1
        return True

    def reopen(self, instance_id: str) -> None:
        """Open the worker of a VM again."""
        machine = self._machines[instance_id]
        if machine.closed:
            machine.closed = False
            insort(self._with_room[machine.free], machine.number)
            self.workers_version += 1
            self.joined_version += 1
            self._start_waiting()

    def terminate(self, instance_ids: Iterable[str]) -> None:
        """Terminate VMs whose workers are closed."""
        for id_ in instance_ids:
            machine = self._machines.pop(id_)
            if self._joined.pop(id_, None) is not None:
                del self._shown[id_]
                self._joined_cores -= machine.cores
                self.free_cores -= machine.free
            self.idle.discard(machine)
            self.changed.discard(machine)
            del self._by_number[machine.number]
            self.lives_of[machine.type].append((machine.launched_at, self.now))
        self.vms_version += 1
        self.workers_version += 1
        self.joined_version += 1
        self._count()

    def end(self) -> None:
        """End the VMs that are left when all is over: with the last job, since they would stay for ever."""
        for machine in self._machines.values():
            self.lives_of[machine.type].append((machine.launched_at, max(machine.launched_at, self.last_end_at)))
