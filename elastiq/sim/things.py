"""What the truth is made of: jobs, VMs, ads of workers, and the traits of a cloud and a batch system."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Optional

from elastiq.model import InstanceState, Shape

CLUSTER = "sim"
IMAGE = "ami-sim"
TAKEN_BACK = "Server.SpotInstanceTermination"
"""What AWS says of a VM that it has taken back."""
SMALL, LARGE = "sim.small", "sim.large"
"""Types of VMs; the second holds twice as much."""

START = 1_700_000_000.0
"""A Tuesday, 22:13:20 UTC."""


@dataclass(frozen=True)
class Traits:
    """What kind of cloud and batch system a cluster has; fixed for its life."""

    dialect: str = "aws"
    """aws or openstack."""
    capacity: Shape = field(default_factory=lambda: Shape(4, 8000))
    boot_seconds: float = 120.0
    run_seconds: float = 20.0
    addresses: int = 12
    """So few that dead VMs' addresses are soon used again."""
    advertises: str = "id"
    """By what a worker's ad tells its VM: id, address or name."""
    exits_when_closed: bool = False
    """A closed worker leaves the batch system (condor_drain -exit-on-completion) instead of being listed as closed."""
    negotiation_seconds: float = 20.0
    ad_lifetime_seconds: float = 900.0
    advertise_seconds: float = 300.0
    lease_seconds: float = 2400.0
    tells_capacity: bool = True
    shows_tokens: bool = True
    """Whether listings show client tokens; where they do not, tags are put on after the launch alone."""

    @property
    def tells_running(self) -> bool:
        """Whether the batch system says how many jobs run of each group that waits."""
        return self.advertises == "id"


class Fate(Enum):
    """How the boot of a VM ends."""

    JOINS = "joins"
    NEVER_JOINS = "never joins"
    ERROR = "error"
    STAYS_PENDING = "stays pending"


class Job:
    """A job of the batch system."""

    __slots__ = (
        "done",
        "held",
        "is_hopeless",
        "mates",
        "number",
        "seconds",
        "shape",
        "started_at",
        "submitted_at",
        "tries",
        "vm",
        "wants",
    )

    def __init__(self, number: int, shape: Shape, seconds: float, submitted_at: float) -> None:
        self.number, self.shape, self.seconds, self.submitted_at = number, shape, seconds, submitted_at
        self.wants = ""
        """What decides where it runs but its shape, as the plugin says it: see `SimBatch.judge`."""
        self.is_hopeless = False
        """The batch system never starts it, whatever room there is."""
        self.mates: tuple[Job, ...] = (self,)
        """Those that start at the same moment, each on a VM of its own: the parts of a job of several VMs."""
        self.started_at: float | None = None
        """When it was first started."""
        self.vm: Vm | None = None
        """Where the batch system believes it to run."""
        self.done = self.held = False
        self.tries = 0


ABSENT_SECONDS = 10.0
"""So soon a termination must follow the close of a VM that has no worker yet."""


class Seen:
    """What the daemon may know of a VM, and what it has been told to leave alone."""

    __slots__ = (
        "drain_shown",
        "excused",
        "found_absent_at",
        "given_up",
        "joins_at_own_risk",
        "listed",
        "listed_at",
        "lost_at",
        "offset_seconds",
        "recorded",
        "served_at",
        "shown_address",
        "wished_gone",
    )

    def __init__(self, created_at: float) -> None:
        self.listed = True
        """Whether the last good listing showed it, if there has been one since it was made."""
        self.listed_at = created_at
        """When a good listing last showed it."""
        self.recorded = False
        """The daemon has its id on disk, or had it."""
        self.given_up = False
        """For long neither listings nor the batch system have shown it: all that is known says that it is gone."""
        self.lost_at: float | None = None
        """When the daemon lost its records of it, by the daemon's clock, if no listing has shown it since."""
        self.drain_shown = False
        """The daemon has seen that an administrator closed its worker."""
        self.found_absent_at = -ABSENT_SECONDS
        """When a close last found no worker of it: nothing can keep one from joining after all."""
        self.joins_at_own_risk = False
        """The daemon asked for its end at once after such a close, and so before anybody could know of its jobs."""
        self.offset_seconds = 0.0
        """How wrong the daemon's clock was at its launch."""
        self.excused = False
        """elastiq cannot know it any more: it has no tag, and the database was damaged."""
        self.wished_gone = False
        """The daemon decided to terminate it when it could see its worker, or after due patience."""
        self.served_at: float | None = None
        """When the daemon last saw its worker, could tell its VM, and had that on disk."""
        self.shown_address = False
        """Whether the cloud has told the daemon its address and name."""


class Vm:
    """A VM as it really is."""

    __slots__ = (
        "address",
        "capacity",
        "closed",
        "cluster",
        "created_at",
        "detail",
        "drained",
        "end_asked_at",
        "end_requested",
        "free_cpus",
        "free_memory_mb",
        "has_worked",
        "hung",
        "hurt",
        "id",
        "idle_since",
        "jobs",
        "joined",
        "kept",
        "name",
        "own",
        "pool",
        "seen",
        "shown_alive_until",
        "state",
        "tags_visible_at",
        "taken_back",
        "token",
        "type",
        "visible_at",
    )

    def __init__(self, id_: str, own: bool, token: str, created_at: float, capacity: Shape) -> None:
        self.id, self.own, self.token, self.created_at = id_, own, token, created_at
        self.capacity, self.type = capacity, SMALL
        self.cluster = self.pool = self.detail = self.name = ""
        self.address: str | None = None
        self.state = InstanceState.PENDING
        self.visible_at = self.tags_visible_at = created_at
        self.shown_alive_until = 0.0
        """Until when listings show it as running although it is gone."""
        self.joined = False
        """Its worker runs: a job can start there unless it is closed."""
        self.closed = False
        self.hung = False
        """Its worker does not answer any more, and cannot be opened."""
        self.drained = False
        """An administrator has closed it."""
        self.taken_back = False
        """Its worker has closed itself, because the cloud has announced to it that it ends the VM."""
        self.end_requested = False
        self.end_asked_at = created_at
        """When the daemon last asked for its end."""
        self.kept = False
        """The cloud accepts requests to terminate it, and forgets them."""
        self.jobs: dict[int, Job] = {}
        self.has_worked = False
        """A job has been started on it."""
        self.hurt = False
        """Its worker says that it offers less than its VM holds."""
        self.idle_since = created_at
        self.free_cpus, self.free_memory_mb = capacity.cpus, capacity.memory_mb or 0
        self.seen = Seen(created_at)

    def lose(self, cpus: int) -> None:
        """Offer so many CPUs less from now on, and the memory that goes with them."""
        share = cpus / self.capacity.cpus
        memory_mb = int((self.capacity.memory_mb or 0) * (1 - share))
        self.capacity = Shape(self.capacity.cpus - cpus, memory_mb)
        self.free_cpus, self.free_memory_mb = self.capacity.cpus, memory_mb

    def give(self, cluster: str, pool: str) -> None:
        """Tag it."""
        self.cluster, self.pool = cluster, pool

    @property
    def exists(self) -> bool:
        """Return whether it counts against the quota."""
        return self.state.alive and self.state is not InstanceState.STOPPING

    @property
    def takes_jobs(self) -> bool:
        """Return whether a job can start there."""
        return self.joined and not (self.closed or self.taken_back) and self.state is InstanceState.RUNNING


Picture = tuple[int, int, int, Optional[float], bool, bool]
"""Free CPUs, free memory, jobs, idle since, closed, drained by an administrator."""


class Ad:
    """What the batch system lists of a worker: the truth, or a picture of it that is out of date."""

    __slots__ = ("address", "frozen", "instance_id", "listed_at", "name", "vm")

    def __init__(self, vm: Vm, name: str, instance_id: str | None, address: str | None, listed_at: float) -> None:
        self.vm, self.name, self.instance_id, self.address = vm, name, instance_id, address
        self.listed_at = listed_at
        self.frozen: Picture | None = None
        """Its picture of some time ago, or the last one of a VM that is gone."""
