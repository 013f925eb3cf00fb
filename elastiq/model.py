"""What elastiq knows and decides, as frozen dataclasses. `None` means unknown, `()` means none.

Times called `..._at` are seconds since the epoch as `elastiq.clock.Clock.now()` counts them (the wall clock at the
start of the daemon, moved on by the monotonic clock, so that a step of the wall clock moves nothing).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True)
class Shape:
    """What one job needs, or what a worker has. Zero means "none asked" or "not known"."""

    cpus: int = 1
    memory_mb: int = 0
    disk_mb: int = 0
    gpus: int = 0

    def fits(self, room: Shape) -> bool:
        """Return whether a job of this shape fits into `room`; a dimension that `room` gives as 0 memory or disk
        is not known and not checked."""
        return (
            self.cpus <= room.cpus
            and self.gpus <= room.gpus
            and (not room.memory_mb or self.memory_mb <= room.memory_mb)
            and (not room.disk_mb or self.disk_mb <= room.disk_mb)
        )


@dataclass(frozen=True)
class Demand:
    """A group of waiting jobs of one shape. Held, dependent and not-yet-due jobs are never in it."""

    shape: Shape
    jobs: int
    oldest_wait_seconds: float | None = None
    """How long the oldest of them has waited; None where the batch system does not say it cheaply."""
    vms_per_job: int = 1
    """How many machines each of these jobs needs at the same time; `shape` is what it needs on each."""


@dataclass(frozen=True)
class Worker:
    """A machine that has joined the batch system."""

    name: str
    """What the batch system calls the machine, and what `close` and `reopen` need."""
    instance_id: str | None = None
    """The EC2 instance id that the worker itself advertises."""
    address: str | None = None
    """Its private IPv4 address."""
    capacity: Shape = field(default_factory=Shape)
    free: Shape = field(default_factory=Shape)
    """What a new job could still use. Of a closed worker: what it could use after a reopen."""
    jobs: int = 0
    """Jobs running, starting, ending or with a claim on the machine; 0 means idle."""
    idle_seconds: float | None = None
    """For how long it has had no job, by the batch system's own clock; None while busy or if unknown."""
    closed: bool = False
    """True if the batch system starts no job there until it is reopened."""
    closed_by_other: bool = False
    """True if the batch system says that somebody else closed it: it is neither reopened nor terminated."""


class InstanceState(Enum):
    """Life of a VM, in the words of EC2, plus the `error` that OpenStack adds."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    TERMINATED = "terminated"
    ERROR = "error"

    @property
    def alive(self) -> bool:
        """True while the VM counts against the quota: everything but `terminated`."""
        return self is not InstanceState.TERMINATED


@dataclass(frozen=True)
class Instance:
    """A VM as the cloud lists it: elastiq's own or anybody else's."""

    id: str
    state: InstanceState
    address: str | None = None
    """Its private IPv4 address, as soon as it has one."""
    name: str = ""
    """Its private DNS name, if the cloud gives one."""
    type: str = ""
    launched_at: float | None = None
    """By the cloud's clock."""
    client_token: str = ""
    cluster: str = ""
    """Value of the tag elastiq:cluster; empty if it has none."""
    pool: str = ""
    """Value of the tag elastiq:pool."""
    detail: str = ""
    """Why the cloud says it is in this state (StateReason), if it says so."""
    image_id: str = ""


@dataclass(frozen=True)
class Pool:
    """A kind of VM that elastiq launches, and how many of it there may be."""

    name: str = "default"
    min_vms: int = 0
    max_vms: int | None = None
    """None means unlimited."""
    instance_type: str = ""

    @property
    def capacity_key(self) -> str:
        """Return under what it is kept how much its VMs hold: another type than today's may hold something else."""
        return self.instance_type or self.name


@dataclass(frozen=True)
class Policy:
    """The options that decisions depend on, as `Settings.policy()` gives them."""

    pools: tuple[Pool, ...] = (Pool(),)
    min_vms: int = 0
    max_vms: int | None = 3
    n_jobs_per_vm: int | None = None
    """None: by shape where it is known what a VM holds, otherwise DEFAULT_JOBS_PER_VM."""
    waiting_jobs_threshold: int = 0
    waiting_jobs_time_s: float = 40.0
    idle_for_time_s: float = 3600.0
    estimated_vm_deploy_time_s: float = 600.0
    lost_worker_time_s: float = 3600.0
    """A worker that vanished from the batch system is given this long to come back before its VM goes."""
    cluster: str = ""
    """Value of the tag elastiq:cluster of every VM of this cluster."""
    image_id: str = ""
    """Of which image VMs are launched."""


DEFAULT_JOBS_PER_VM = 4
"""The original's n_jobs_per_vm, used where nothing better is known."""


@dataclass(frozen=True)
class VmRecord:
    """What elastiq remembers about a VM that it owns, across restarts."""

    id: str
    pool: str = "default"
    token: str = ""
    """Client token of its launch; empty if it came from the original's state file."""
    launched_at: float = 0.0
    state: InstanceState = InstanceState.PENDING
    address: str | None = None
    name: str = ""
    type: str = ""
    detail: str = ""
    tagged: bool = False
    """True once the cloud has shown elastiq's own tag on it."""
    restarted_at: float = 0.0
    """If it has not joined: when the daemon was last started since its launch; patience with it begins anew then."""
    missing_since: float | None = None
    """Since when the cloud's listings have left it out."""
    joined_at: float | None = None
    """When the batch system first showed its worker, or may have, if nobody knows; None: never joined."""
    worker_name: str = ""
    """What the batch system called its worker when it was last seen."""
    lost_since: float | None = None
    """Since when the batch system has not shown a worker that had joined."""
    closing_at: float | None = None
    """When its worker was asked to close, for a termination; None: open, or opened again."""
    closed: bool = False
    """True if the batch system confirmed the close."""
    failed_boot: bool = False
    """True once the breaker has counted it among the VMs that never became workers."""
    doomed: bool = False
    """True once a termination was sent that may have taken effect: from then on it is never reopened."""
    terminate_tries: int = 0
    """Failed tries in a row to close or terminate it."""
    terminate_retry_at: float = 0.0
    reopen_retry_at: float = 0.0
    """Until then its worker, which could not be reopened, is no room for jobs."""
    terminated_at: float | None = None
    """When the cloud accepted the termination."""

    @property
    def awaited_since(self) -> float:
        """From when on the time that it takes to join is counted."""
        return max(self.launched_at, self.restarted_at)

    @property
    def leaving(self) -> bool:
        """True if its worker takes no new job because elastiq wants to terminate it, or may have."""
        return self.closing_at is not None or self.closed or self.doomed or self.terminated_at is not None


@dataclass(frozen=True)
class Departed:
    """The worker of a VM that is gone without elastiq's doing: the batch system may still send jobs there."""

    worker_name: str
    address: str | None = None
    gone_at: float = 0.0
    tries: int = 0
    """Failed tries to have the batch system forget it."""
    retry_at: float = 0.0


@dataclass(frozen=True)
class Intent:
    """A launch that was, or may have been, asked of the cloud and whose answer is not known for sure."""

    token: str
    pool: str
    count: int
    requested_at: float
    instance_type: str = ""
    """What was asked for; empty if any. The configuration may be another one since."""
    image_id: str = ""
    """Empty if it is not known."""
    unseen_since: float | None = None
    """Since when listings have left out VMs of it that should have turned up by then. Not kept across restarts."""
    restarted_at: float = 0.0
    """When the daemon was last started since; patience with it begins anew then. Not kept across restarts."""
    lookalikes: tuple[str, ...] = ()
    """VMs that may be of it, where the cloud shows neither token nor tag. They count, and nothing is done to them. Not
    kept across restarts."""

    @property
    def waiting_since(self) -> float:
        """From when on patience with it is counted."""
        return max(self.requested_at, self.restarted_at)

    @property
    def needs_people(self) -> bool:
        """True once all that may be of it are lookalikes: nobody but people can tell whose they are."""
        return bool(self.lookalikes) and self.unseen_since is None


@dataclass(frozen=True)
class Breaker:
    """What went wrong with the launches of one pool, and until when it launches nothing."""

    failed_boots: int = 0
    """VMs in a row that ended in error or never joined."""
    trips: int = 0
    """How often in a row failed boots have stopped the launches."""
    refusals: int = 0
    """Launch requests in a row that the cloud refused or did not answer."""
    paused_until: float = 0.0
    reason: str = ""
    """Of the last pause, whether failed boots or a refusal caused it."""
    boot_reason: str = ""
    """What became of the last VM that did not boot."""


@dataclass(frozen=True)
class Memory:
    """All that elastiq remembers from cycle to cycle; written to the state directory whenever it changes."""

    waiting_since: float | None = None
    """Since when more jobs wait than the threshold allows. Not kept across restarts."""
    vms: Mapping[str, VmRecord] = field(default_factory=dict)
    intents: tuple[Intent, ...] = ()
    breakers: Mapping[str, Breaker] = field(default_factory=dict)
    capacities: Mapping[str, Shape] = field(default_factory=dict)
    """What a VM of each pool holds, by `Pool.capacity_key`, learnt from its workers or from the instance type."""
    once_own: tuple[str, ...] = ()
    """Owned VMs that vanished from the listings without a word, and client tokens of launches whose VMs never turned
    up, newest last: known again if they come back."""
    to_forget: Mapping[str, Departed] = field(default_factory=dict)
    """Workers that the batch system is still to forget, by the ids of their VMs."""
    tokens_shown: bool = False
    """True once the cloud's listings have shown a client token: then no VM without one is elastiq's."""


@dataclass(frozen=True)
class Observation:
    """One immutable view of the world. Each part is None if it is not known, and carries its age."""

    now: float
    demand: tuple[Demand, ...] | None = None
    demand_age_seconds: float = 0.0
    workers: tuple[Worker, ...] | None = None
    workers_age_seconds: float = 0.0
    instances: tuple[Instance, ...] | None = None
    instances_age_seconds: float = 0.0
    faults: tuple[str, ...] = ()
    """Why a part is unknown, in words."""


class Kind(Enum):
    """What a decision is about."""

    LAUNCH = "launch"
    TERMINATE = "terminate"
    REOPEN = "reopen"
    HOLD = "hold"
    """Nothing is done, and this is why."""


@dataclass(frozen=True)
class Decision:
    """One thing to do, or deliberately not to do, and the reason in words."""

    kind: Kind
    reason: str
    pool: str = "default"
    count: int = 0
    """How many VMs to launch."""
    instance_id: str = ""
    """The VM to terminate or whose worker to reopen."""
    failed_boot: bool = False
    """True for the termination of a VM that never became a worker."""


@dataclass(frozen=True)
class Figures:
    """The cluster in numbers, for people. None means unknown."""

    jobs_waiting: int | None = None
    workers_busy: int | None = None
    workers_idle: int | None = None
    vms_pending: int = 0
    vms_running: int = 0
    """Owned VMs that are not pending and not gone."""
    vms_unconfirmed: int = 0
    """VMs that count although no listing has shown them for elastiq's own."""


@dataclass(frozen=True)
class Plan:
    """What to do in this cycle, in order, and what to remember."""

    decisions: tuple[Decision, ...]
    memory: Memory
    summary: str
    """The cycle in one sentence: log line, status line and test assertion alike."""
    departed: tuple[VmRecord, ...] = ()
    """VMs that are gone since the last cycle without elastiq having terminated them."""
    figures: Figures = field(default_factory=Figures)
    ask_again: tuple[str, ...] = ()
    """Client tokens of launches without an answer whose VMs are wanted and still within the quota."""


@dataclass(frozen=True)
class Outcome:
    """What became of a decision."""

    decision: Decision
    done: bool
    detail: str = ""
    """What happened, in words."""
    uncertain: bool = False
    """True if it may have taken effect although it failed."""
    refused: bool = False
    """True if nothing was done and that is well: a busy worker refused to close, or this is a dry run."""
    instance_ids: tuple[str, ...] = ()
    """The VMs that were launched."""
    token: str = ""
    """Client token of the launch."""
