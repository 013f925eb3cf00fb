"""What is seen of the world, as frozen dataclasses. `None` means unknown, `()` means none.

Times called `..._at` are seconds since the epoch as `elastiq.clock.Clock.now()` counts them (the wall clock at the
start of the daemon, moved on by the monotonic clock, so that a step of the wall clock moves nothing).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property

from elastiq.calendars import Calendar, Hours


@dataclass(frozen=True)
class Shape:
    """What one job needs, or what a worker has. None means "not asked" of a job, and "not known" of a worker; 0 is
    nothing at all: a worker with 0 MB of free memory has no room for a job that asks for any."""

    cpus: int = 1
    memory_mb: int | None = None
    disk_mb: int | None = None
    gpus: int | None = 0

    def fits(self, room: Shape) -> bool:
        """Return whether a job of this shape fits into `room`; what of `room` is not known is not checked."""
        return (
            self.cpus <= room.cpus
            and _has(room.memory_mb, self.memory_mb)
            and _has(room.disk_mb, self.disk_mb)
            and _has(room.gpus, self.gpus)
        )


def _has(there_is: int | None, asked: int | None) -> bool:
    return there_is is None or not asked or asked <= there_is


class Eligibility(Enum):
    """Whether a worker could ever run a job."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Judgement:
    """What a plugin answers on jobs and a worker, and why."""

    answer: Eligibility = Eligibility.YES
    reason: str = ""
    """Why not, or what is not known: what the jobs ask for and the worker does not offer, in words, in one line. Empty
    if YES."""


@dataclass(frozen=True)
class Demand:
    """A group of waiting jobs that are alike in all that decides where they may run. Held, dependent and not-yet-due
    jobs are never in it."""

    shape: Shape
    jobs: int
    oldest_wait_seconds: float | None = None
    """How long the oldest of them has waited; None where the batch system does not say it cheaply."""
    vms_per_job: int = 1
    """How many machines each of these jobs needs at the same time; `shape` is what it needs on each."""
    wants: str = ""
    """What else decides where they may run, as a text that the plugin's own `judge` understands; it stays the same as
    long as that does. Empty: nothing else."""
    takes_whole_vms: bool = False
    """True if each of these jobs has its machines for itself, however little it asks for."""
    running: int | None = None
    """How many jobs that are alike in `shape`, `vms_per_job` and `wants` run now; None if that is not known."""
    judgements: Mapping[str, Judgement] = field(default_factory=dict, hash=False)
    """What was judged of these jobs on VMs of each pool, by its name: filled in by elastiq, never by a plugin. What is
    not in it is YES."""
    is_to_come: bool = False
    """True of what runs now, and is taken to wait soon: the planner's own, and never a plugin's."""

    @cached_property
    def key(self) -> str:
        """By what the group is known again, when its jobs are others."""
        shape = self.shape
        sizes = f"{shape.cpus}, {shape.memory_mb}, {shape.disk_mb}, {shape.gpus}, {self.vms_per_job}"
        text = f"({sizes}, {self.takes_whole_vms}) {self.wants}"
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Standing(Enum):
    """What a single job is to elastiq, as the batch system tells it."""

    WAITS = "waits"
    """It is demand: a new worker could run it."""
    HELD = "held"
    """Somebody has to release it."""
    DEPENDS = "depends"
    """Other jobs have to end first."""
    NOT_DUE = "not due"
    """It asks to start later."""
    LIMITED = "limited"
    """A limit keeps it back: licences, a cap of its array or owner, a partition that is down."""
    NOT_ON_WORKERS = "not on workers"
    """It runs on the submit node or in the hands of another manager, never on a worker."""
    ELSEWHERE = "elsewhere"
    """It is for a part of the batch system that elastiq does not serve."""
    BOUND = "bound"
    """It asks for certain machines by name."""
    BLOCKED = "blocked"
    """Something else keeps it back that no VM ends."""
    RUNS = "runs"
    """It has a machine."""
    ENDED = "ended"
    UNKNOWN = "unknown"
    """The batch system does not know it, or no more."""


@dataclass(frozen=True)
class Explanation:
    """What a plugin tells of one job."""

    standing: Standing
    text: str = ""
    """What the batch system says of it, in one line; may be empty."""
    group: Demand | None = None
    """If it WAITS: the Demand that `demand` counts it in, but with this one job alone. Otherwise None."""


@dataclass(frozen=True)
class Usage:
    """That somebody had a job on a worker for a time."""

    user: str
    worker: str
    """As `Worker.name`."""
    begin_at: float
    """By the batch system's clock."""
    end_at: float | None = None
    """None: it runs."""
    cpus: int = 1
    """How many of the worker's the job had."""


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
    hurt: bool = False
    """True if it has less to offer than its VM holds (a slot that broke, a queue that it lost), so that it tells
    nothing of what others hold."""
    interrupted: bool = False
    """True if it says that the cloud is about to take its VM back."""


class InstanceState(Enum):
    """Life of a VM, in the words of EC2, plus the `error` that OpenStack adds."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    TERMINATED = "terminated"
    ERROR = "error"

    __hash__ = object.__hash__  # Enum hashes the name, in Python: thousands of VMs are counted by state in every pass

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
    market: str = ""
    """SPOT if the cloud says so, otherwise empty."""
    interrupted: bool = False
    """True if the cloud says that it took it back itself, as it may with those of the spot market."""


SPOT, ON_DEMAND = "spot", "on-demand"
"""The markets: spare capacity, which the cloud takes back when it likes, and the usual one."""


class Scope(Enum):
    """What a refusal for lack of room is about: what else would be refused for the same reason."""

    OFFER = "offer"
    """This type in this zone on this market."""
    FAMILY = "family"
    """This market, of all types of the family."""
    SPOT = "spot"
    """All of the spot market."""
    ZONE = "zone"
    """All that would be in this subnet or zone."""
    ACCOUNT = "account"
    """Whatever is asked for."""


@dataclass(frozen=True)
class Offer:
    """One way to get a VM of a pool."""

    market: str = ON_DEMAND
    type: str = ""
    """Empty: the cloud's choice."""
    zone: str = ""
    """Subnet (subnet-...) or availability zone; empty: as [ec2] says, or the cloud's choice."""
    price: float | None = None
    """An hour; None: not known."""
    most_micros: int | None = field(default=None, compare=False)
    """In millionths an hour; None: not known. Spot is never dearer than on demand, whatever it costs now."""
    weight: float = field(default=1.0, compare=False)
    """How many times its price it costs, with what is lost by interruptions."""

    @property
    def is_spot(self) -> bool:
        return self.market == SPOT

    @property
    def family(self) -> str:
        """Return of which family of types it is: m5 of m5.large. AWS's quotas are for families, not for types."""
        return self.type.partition(".")[0]


DEFAULT_POOL = "default"
"""The pool of a configuration that names none."""


@dataclass(frozen=True)
class Pool:
    """A kind of VM that elastiq launches, and how many of it there may be."""

    name: str = DEFAULT_POOL
    min_vms: int = 0
    max_vms: int | None = None
    """None means unlimited."""
    instance_type: str = ""
    image_id: str = ""
    """Of which image its VMs are made."""
    idle_for_time_s: float | None = None
    """How long its VMs may be idle; None: as long as all others."""
    offers: tuple[Offer, ...] = ()
    """In the order in which they are asked. Empty: there is one, which instance_type and [ec2] tell of. Where they are
    of several types, `instance_type` is the first."""
    jobs: str = ""
    """Which jobs it takes, as the batch plugin reads it; empty: all."""
    supposed: str = ""
    """What its workers offer as long as none was seen, as the batch plugin reads it."""
    priority: int = 0
    """The highest is launched first; of equal ones what they cost decides."""
    is_variant: bool = False
    """True if it stands for those VMs of a pool of several types that are of `instance_type`."""

    @property
    def key(self) -> str:
        """Return what tells it from all others, also from those VMs of its pool that are of another type."""
        return f"{self.name} {self.instance_type}" if self.is_variant else self.name

    @property
    def has_choice(self) -> bool:
        """Return whether another offer can be asked where one is refused."""
        return len(self.offers) > 1

    @property
    def variants(self) -> tuple[Pool, ...]:
        """Return it once for each type, for what jobs VMs take depends on that; itself if all are of one type."""
        types = tuple(dict.fromkeys(offer.type for offer in self.offers))
        return tuple(map(self.of_type, types)) if len(types) > 1 else (self,)

    def of_type(self, type_: str) -> Pool:
        """Return what it is for VMs of one of its types."""
        offers = tuple(offer for offer in self.offers if offer.type == type_)
        return replace(self, instance_type=type_, offers=offers, is_variant=True)

    def at(self, offer: Offer) -> Pool:
        """Return it with nothing to choose, as a cloud is asked for VMs of it."""
        return replace(self, instance_type=offer.type, offers=(offer,))

    @property
    def capacity_key(self) -> str:
        """Return under what it is kept what its VMs hold and offer: that of those of another type than today's may be
        something else, and so may that of those of the same type in another pool."""
        if self.name == DEFAULT_POOL:
            return self.instance_type or self.name
        return f"{self.name} {self.instance_type}".rstrip()

    def most_micros(self, type_: str = "") -> int | None:
        """Return what a VM of `type_`, or of the dearest of its types, costs an hour at most, in millionths of the
        currency; None: not known."""
        known = [
            offer.most_micros
            for offer in self.offers
            if offer.most_micros is not None and (not type_ or offer.type == type_)
        ]
        return max(known, default=None)

    def takes(self, type_: str) -> bool:
        """Return whether a VM of `type_` may be one that it launches now; either may not say its type."""
        if not (type_ and self.instance_type) or type_ == self.instance_type:
            return True
        return any(offer.type == type_ for offer in self.offers)


def of_pool(name: str) -> str:
    """Return what messages add where they tell of the pool of that name: nothing if the configuration names none."""
    return "" if name == DEFAULT_POOL else f" of pool {name}"


@dataclass(frozen=True)
class Cost:
    """What VMs may cost, in millionths of the currency, as whole numbers so that sums are exact; None: no limit."""

    is_kept: bool = False
    """Whether it is kept what VMs have cost."""
    currency: str = ""
    max_per_hour: int | None = None
    max_per_day: int | None = None
    max_per_month: int | None = None
    calendar: Calendar = field(default_factory=Calendar)
    """When days and months begin."""

    @property
    def is_capped(self) -> bool:
        """Return whether there is any limit."""
        return any(cap is not None for cap in (self.max_per_hour, self.max_per_day, self.max_per_month))

    @property
    def is_capped_by_time(self) -> bool:
        """Return whether there is a limit on what is spent in a day or a month."""
        return self.max_per_day is not None or self.max_per_month is not None


@dataclass(frozen=True)
class Schedule:
    """What holds at some hours of the week, of one pool or of all together."""

    name: str
    hours: Hours
    pool: str = ""
    """Empty: of all pools together."""
    min_vms: int | None = None
    max_vms: int | None = None
    idle_for_time_s: float | None = None


@dataclass(frozen=True)
class Policy:
    """The options that decisions depend on, as `Settings.policy()` gives them."""

    pools: tuple[Pool, ...] = (Pool(),)
    """Those of which VMs are to be launched first come first."""
    min_vms: int = 0
    max_vms: int | None = 3
    n_jobs_per_vm: int | None = None
    """None: by shape where it is known what a VM holds, otherwise DEFAULT_JOBS_PER_VM."""
    waiting_jobs_threshold: int = 0
    waiting_jobs_time_s: float = 40.0
    idle_for_time_s: float = 3600.0
    estimated_vm_deploy_time_s: float = 600.0
    is_adaptive: bool = False
    """True if room is kept free for jobs that have not come yet, as far as the load rose lately."""
    eagerness: float = 0.65
    """How much: for this part of the rises of the load there would have been room."""
    is_paced: bool = False
    """True if the cloud lets only so many VMs a second be launched, as AWS does."""
    lost_worker_time_s: float = 3600.0
    """A worker that vanished from the batch system is given this long to come back before its VM goes."""
    cluster: str = ""
    """Value of the tag elastiq:cluster of every VM of this cluster."""
    requeues_interrupted: bool = True
    """Whether jobs that run on a VM which the cloud is about to take back are queued again shortly before."""
    cost: Cost = field(default_factory=Cost)
    schedules: tuple[Schedule, ...] = ()

    @cached_property
    def variants(self) -> tuple[Pool, ...]:
        """The pools, those of several types once for each type."""
        return tuple(variant for pool in self.pools for variant in pool.variants)

    def pool(self, name: str) -> Pool | None:
        """Return the pool of that name, or None if there is none any more."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> Mapping[str, Pool]:
        return {pool.name: pool for pool in reversed(self.pools)}

    def idle_seconds_of(self, name: str) -> float:
        """Return how long VMs of the pool of that name may be idle."""
        pool = self.pool(name)
        return self.idle_for_time_s if pool is None or pool.idle_for_time_s is None else pool.idle_for_time_s


DEFAULT_JOBS_PER_VM = 4
"""The original's n_jobs_per_vm, used where nothing better is known."""


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
