"""Other scalers, as far as they decide when VMs come and go: on the jobs and by the bill of `simulate`.

Each sees all there is at every look, without delay, and its requests succeed.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from dataclasses import dataclass, field

from elastiq.sim.replay.cluster import Cluster
from elastiq.sim.replay.figures import billed_hours
from elastiq.sim.replay.simulate import BEGINS_AT
from elastiq.sim.replay.work import Size, Work

STUCK_SECONDS = 86400.0


@dataclass(frozen=True)
class Result:
    """What came of a scaler."""

    vm_hours: float
    waits: tuple[float, ...]
    never_started: int = 0


@dataclass(frozen=True)
class Original:
    """The original elastiq, after what is known of its behaviour.

    It counts waiting jobs whatever the room, and a VM as pending until `deploy_seconds` after its launch, even if that
    has joined; so such a VM counts twice against the maximum.
    """

    threshold: int = 0
    wait_seconds: float = 40.0
    idle_seconds: float = 3600.0
    jobs_per_vm: int = 4
    deploy_seconds: float = 600.0
    queue_every: float = 15.0
    vms_every: float = 45.0

    def run(self, work: Work, boot_seconds: float) -> Result:
        cluster = Cluster(work, boot_seconds, BEGINS_AT)
        pending: deque[float] = deque()
        queue_at = vms_at = cluster.now
        since: float | None = None
        while not is_over(cluster):
            now = min(queue_at, vms_at)
            cluster.run_until(now)
            while pending and now >= pending[0] + self.deploy_seconds:
                pending.popleft()
            if now >= queue_at:
                queue_at = now + self.queue_every
                jobs = sum(group.jobs for group in cluster.demand()) if cluster.has_waiting else 0
                lacking = jobs - len(pending) * self.jobs_per_vm
                if lacking < max(1, self.threshold):
                    since = None
                elif since is None:
                    since = now
                elif now - since > self.wait_seconds:
                    room = work.max_vms - cluster.joined - len(pending)
                    count = max(0, min(-(-lacking // self.jobs_per_vm), room))
                    cluster.launch(count, "")
                    pending.extend([now] * count)
                    since = None
            if now >= vms_at:
                vms_at = now + self.vms_every
                end_idle(cluster, self.idle_seconds)
            if not cluster.has_waiting:
                queue_at, vms_at = skip(cluster, queue_at, self.queue_every), skip(cluster, vms_at, self.vms_every)
        return result_of(cluster)


@dataclass(frozen=True)
class ClusterAutoscaler:
    """Like cluster-autoscaler: every 10 s jobs without room are packed into VMs on their way and new ones. A VM that
    has been empty for 10 minutes goes, but none within 10 minutes after one was launched."""

    every: float = 10.0
    unneeded_seconds: float = 600.0
    after_launch_seconds: float = 600.0

    def run(self, work: Work, boot_seconds: float) -> Result:
        cluster = Cluster(work, boot_seconds, BEGINS_AT)
        at, launched_at = cluster.now, -math.inf
        while not is_over(cluster):
            cluster.run_until(at)
            if cluster.has_waiting:
                count = min(new_vms(cluster, work), work.max_vms - cluster.vms)
                if count > 0:
                    cluster.launch(count, "")
                    launched_at = at
            if at - launched_at > self.after_launch_seconds:
                end_idle(cluster, self.unneeded_seconds)
            at += self.every
            if not cluster.has_waiting:
                at = skip(cluster, at, self.every)
        return result_of(cluster)


@dataclass
class _Node:
    """A node of Slurm's power saving."""

    free: int
    up_at: float = math.inf
    """When it has booted; infinity: it is powered down."""
    launched_at: float = 0.0
    idle_since: float = 0.0
    waiting: list[tuple[float, float, Size]] = field(default_factory=list)


@dataclass(frozen=True)
class SlurmPowerSaving:
    """Slurm's power saving: the scheduler gives a job its nodes at once, awake ones where it can, and a job whose nodes
    are asleep waits for these to boot, whatever becomes free meanwhile. A node that has idled for SuspendTime goes."""

    suspend_seconds: float = 60.0
    every: float = 30.0

    def run(self, work: Work, boot_seconds: float) -> Result:
        return _SlurmLife(work, boot_seconds, self.suspend_seconds, self.every).live()


class _SlurmLife:
    def __init__(self, work: Work, boot_seconds: float, suspend_seconds: float, every: float) -> None:
        self.work, self.boot, self.suspend, self.every = work, boot_seconds, suspend_seconds, every
        self.asleep = work.max_vms
        self.awake: list[_Node] = []
        """Oldest first, those that boot as well."""
        self.queue: deque[tuple[float, float, Size]] = deque()
        self.ends: list[tuple[float, int, int, tuple[_Node, ...]]] = []
        self.lives: list[tuple[float, float]] = []
        self.waits: list[float] = []
        self.number = 0

    def live(self) -> Result:
        jobs = deque((job.submitted_at, job.seconds, size) for job, size in self.work.jobs)
        suspend_at = jobs[0][0] if jobs else 0.0
        while jobs or self.ends or self.awake:
            coming = min(jobs[0][0] if jobs else math.inf, self.ends[0][0] if self.ends else math.inf)
            if suspend_at < coming:
                self._suspend(suspend_at)
                suspend_at += self.every
                if all(node.free < self.work.cores for node in self.awake):
                    suspend_at = max(suspend_at, coming)
                continue
            if self.ends and self.ends[0][0] <= coming:
                self._end(coming)
            else:
                self.queue.append(jobs.popleft())
            self._schedule(coming)
        return Result(billed_hours(self.lives), tuple(self.waits), len(self.queue))

    def _end(self, now: float) -> None:
        _, _, cores, nodes = heapq.heappop(self.ends)
        for node in nodes:
            node.free += cores
            if node.free == self.work.cores:
                node.idle_since = now

    def _schedule(self, now: float) -> None:
        left: deque[tuple[float, float, Size]] = deque()
        full: set[Size] = set()
        while self.queue:
            submitted_at, seconds, size = self.queue.popleft()
            nodes = None if size in full else self._nodes(size, now)
            if nodes is None:
                full.add(size)
                left.append((submitted_at, seconds, size))
                continue
            begins_at = max(now, *(node.up_at for node in nodes))
            for node in nodes:
                node.free -= size.cores
            self.waits.append(begins_at - submitted_at)
            self.number += 1
            heapq.heappush(self.ends, (begins_at + seconds, self.number, size.cores, nodes))
        self.queue = left

    def _nodes(self, size: Size, now: float) -> tuple[_Node, ...] | None:
        """Return where a job goes: to the fullest nodes that are up, then those that boot, then those asleep."""
        able = [node for node in self.awake if node.free >= size.cores]
        able.sort(key=lambda node: (node.up_at > now, node.free))
        found = able[: size.vms]
        lacking = size.vms - len(found)
        if lacking > self.asleep:
            return None
        for _ in range(lacking):
            self.asleep -= 1
            node = _Node(self.work.cores, now + self.boot, now, now + self.boot)
            self.awake.append(node)
            found.append(node)
        return tuple(found)

    def _suspend(self, now: float) -> None:
        for node in list(self.awake):
            if node.free == self.work.cores and now - node.idle_since >= self.suspend:
                self.awake.remove(node)
                self.asleep += 1
                self.lives.append((node.launched_at, now))


def new_vms(cluster: Cluster, work: Work) -> int:
    """Return how many VMs waiting jobs need beside those that boot; the largest jobs are packed first."""
    rooms = Counter({work.cores: cluster.vms - cluster.joined})
    rooms.update(worker.free.cpus for worker in cluster.workers() if not worker.closed)
    new = 0
    for group in sorted(cluster.demand(), key=lambda one: -one.shape.cpus):
        for _ in range(group.jobs):
            taken: list[int] = []
            for free in sorted(rooms):
                if free >= group.shape.cpus:
                    taken += [free] * min(rooms[free], group.vms_per_job - len(taken))
            fresh = group.vms_per_job - len(taken)
            if new + fresh > work.max_vms - cluster.vms:
                break
            new += fresh
            for free in taken:
                rooms[free] -= 1
                rooms[free - group.shape.cpus] += 1
            rooms[work.cores - group.shape.cpus] += fresh
    return new


def end_idle(cluster: Cluster, seconds: float) -> None:
    """Terminate the VMs that have idled for longer."""
    idle = [machine.id for machine in list(cluster.idle) if is_idle_for(machine.idle_since, cluster.now, seconds)]
    ending = [id_ for id_ in sorted(idle) if cluster.close(id_)]
    if ending:
        cluster.terminate(ending)


def is_idle_for(since: float | None, now: float, seconds: float) -> bool:
    """Return whether there was no job for longer than `seconds`."""
    return since is not None and now - since > seconds


def is_over(cluster: Cluster) -> bool:
    """Return whether all jobs and VMs are gone, or nothing has happened for a day and nothing is to come."""
    is_stuck = cluster.next_event_at == math.inf and cluster.now - cluster.last_change_at > STUCK_SECONDS
    return is_stuck or (cluster.is_done and not cluster.vms)


def skip(cluster: Cluster, at: float, every: float) -> float:
    """Return when the first look is due that may find something other than the last one did, not before `at`."""
    since = [machine.idle_since for machine in cluster.idle if machine.idle_since is not None]
    if since:
        return at
    event_at = cluster.next_event_at
    return at if event_at <= at or event_at == math.inf else at + math.floor((event_at - at) / every) * every


def result_of(cluster: Cluster) -> Result:
    """Return what has come of a life that is over."""
    cluster.end()
    return Result(billed_hours(cluster.lives), tuple(cluster.waits), cluster.never_started)
