"""What is remembered from pass to pass and across restarts, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from elastiq.model import InstanceState, Shape


class Stage(Enum):
    """Where a VM is in its life, as far as elastiq knows."""

    BOOTING = "booting"
    """Launched; its worker has not joined the batch system yet."""
    WORKING = "working"
    """Its worker has joined."""
    OUT_OF_SIGHT = "out of sight"
    """Its worker had joined, and the batch system does not show it now."""
    UNLISTED = "unlisted"
    """The cloud's listings leave it out."""
    BROKEN = "broken"
    """The cloud says that it is stopped or in error."""
    INTERRUPTED = "interrupted"
    """The cloud has announced that it takes it back."""
    LEAVING = "leaving"
    """Its worker is closed, or was to be, for a termination that the cloud has not accepted yet."""
    GOING = "going"
    """The cloud has accepted its termination."""


@dataclass(frozen=True)
class VmRecord:
    """What elastiq remembers about a VM that it owns, across restarts."""

    id: str
    pool: str = "default"
    token: str = ""
    """Client token of its launch; empty if it came from the original's state file."""
    launched_at: float = 0.0
    """When the cloud said that it had made it, as far as that is known."""
    state: InstanceState = InstanceState.PENDING
    address: str | None = None
    name: str = ""
    type: str = ""
    market: str = ""
    """Of which market it is: as it was asked for, or as the cloud says; empty if nobody has said it."""
    zone: str = ""
    """Subnet or zone that it was asked for in; empty if nobody has chosen."""
    most_micros: int = 0
    """What it was to cost an hour at most when it was asked for, in millionths of the currency; 0: not known."""
    detail: str = ""
    tagged: bool = False
    """True once the cloud has shown elastiq's own tag on it."""
    asked_at: float = 0.0
    """When its launch was asked for, which may have been answered minutes later; 0: not known."""
    counted_from: float = 0.0
    """If it has not joined, and the daemon was restarted since: patience with it is counted from then on."""
    missing_since: float | None = None
    """Since when the cloud's listings have left it out."""
    joined_at: float | None = None
    """When the batch system first showed its worker, or may have, if nobody knows; None: never joined."""
    worker_name: str = ""
    """What the batch system called its worker when it was last seen."""
    at_work: bool = False
    """True if its worker had jobs when it was last seen."""
    work_from: float | None = None
    """When its worker was first seen with jobs after it had none; None: it has none."""
    idle_from: float | None = None
    """When its worker was first seen without jobs after it had some: it has not idled for longer, whatever the batch
    system says. None: it has jobs, or has never had any."""
    lost_since: float | None = None
    """Since when the batch system has not shown a worker that had joined."""
    interrupted_at: float | None = None
    """When it was first seen that the cloud takes it back: its worker says so, or the cloud of one that has ended."""
    requeued_at: float | None = None
    """When its jobs were last asked to be queued again because of that."""
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
    reopen_failed: bool = False
    """True if it could not be reopened, and its termination was not tried since: then that has its turn first."""
    termination_asked_at: float | None = None
    """Since when the cloud owes the answer to its termination. Not kept across restarts."""
    terminated_at: float | None = None
    """When the cloud accepted the termination."""
    goes_because: str = ""
    """Why it is to go, in the words of the first decision, however often its termination is tried."""
    goes_cause: str = ""
    """The token of that reason."""

    @property
    def has_worked(self) -> bool:
        """True if a job was ever seen on it."""
        return self.at_work or self.idle_from is not None

    @property
    def awaited_since(self) -> float:
        """From when on the time that it takes to join is counted."""
        return max(self.launched_at, self.counted_from)

    @cached_property
    def leaving(self) -> bool:
        """True if its worker takes no new job because elastiq wants to terminate it, or may have."""
        return self.closing_at is not None or self.closed or self.doomed or self.terminated_at is not None

    @cached_property
    def works(self) -> bool:
        """True if it is, or is expected to become, a worker that takes jobs."""
        alive = self.state in (InstanceState.PENDING, InstanceState.RUNNING)
        return alive and self.interrupted_at is None and not self.leaving

    @cached_property
    def is_usual(self) -> bool:
        """True of most of thousands: its worker is there, and nothing is the matter with it."""
        to_do = self.termination_asked_at or self.terminate_retry_at or self.reopen_retry_at or self.goes_because
        return self.stage is Stage.WORKING and not to_do

    @property
    def counts(self) -> bool:
        """True if it counts against the quota: all do but those that the cloud says are on their way out."""
        return not (self.terminated_at is not None and self.state is InstanceState.STOPPING)

    @property
    def may_yet_join(self) -> bool:
        """True if it is not known yet how its boot ends."""
        return self.joined_at is None and not self.failed_boot and self.counts

    @property
    def may_reopen(self) -> bool:
        """True unless no job must start there any more, because it is going, or may be."""
        gone = self.doomed or self.terminated_at is not None or self.interrupted_at is not None
        return not gone and self.state is InstanceState.RUNNING

    @property
    def is_awaited(self) -> bool:
        """True while time is counted until it has joined, is in sight or is listed again, or is given up."""
        in_sight = self.joined_at is not None and self.lost_since is None
        if self.terminated_at is not None or (in_sight and not self.doomed):
            return False
        return self.missing_since is not None or not self.leaving

    @cached_property
    def stage(self) -> Stage:
        """Return where it is in its life."""
        if self.terminated_at is not None:
            return Stage.GOING
        if self.leaving:
            return Stage.LEAVING
        if self.missing_since is not None:
            return Stage.UNLISTED
        if not self.works:
            return Stage.BROKEN if self.interrupted_at is None else Stage.INTERRUPTED
        if self.joined_at is None:
            return Stage.BOOTING
        return Stage.WORKING if self.lost_since is None else Stage.OUT_OF_SIGHT


@dataclass(frozen=True)
class Departed:
    """The worker of a VM that is gone without elastiq's doing: the batch system may still send jobs there."""

    worker_name: str
    """Empty if elastiq never saw it."""
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
    market: str = ""
    """Empty if none was chosen."""
    zone: str = ""
    """The same of the subnet or zone."""
    most_micros: int = 0
    """What each of its VMs costs an hour at most, in millionths of the currency; 0: not known."""
    unseen_since: float | None = None
    """Since when listings have left out VMs of it that should have turned up by then."""
    counted_from: float = 0.0
    """If the daemon was restarted since: patience with it is counted from then on, for nobody looked before."""
    lookalikes: tuple[str, ...] = ()
    """VMs that may be of it, where the cloud shows neither token nor tag. They count, and nothing is done to them."""
    found: tuple[str, ...] = ()
    """VMs of it that have turned up, whatever became of them since."""
    usual_seconds: float = 0.0
    """How long the cloud took at most, before it was asked for, to answer launches of as many VMs; 0: not known."""
    at_least: int = 1
    """Fewer than so many were not asked for."""
    in_hand: bool = False
    """True while its answer is still to come to this process. Not kept across restarts."""

    @property
    def waiting_since(self) -> float:
        """From when on patience with it is counted."""
        return max(self.requested_at, self.counted_from)

    @property
    def needs_people(self) -> bool:
        """True once all that may be of it are lookalikes: nobody but people can tell whose they are."""
        return bool(self.lookalikes)


@dataclass(frozen=True)
class LaunchTook:
    """How long the cloud took to answer a launch."""

    vms: int
    """How many it launched."""
    seconds: float


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
    useless_births: int = 0
    """VMs since the last one at work whose workers were closed by others before they ran anything, or came hurt."""
    ask: int | None = None
    """How many VMs are asked for at once at most, since the cloud has refused twice as many; None: any number."""
    most: int | None = None
    """How many VMs there were when the cloud gave fewer than a job needs at once; None: that has not happened."""
    most_until: float = 0.0
    """Until when it is not tried again whether the cloud gives more than `most`."""


@dataclass(frozen=True)
class Away:
    """Offers of the cloud that are not asked for a while, since it has refused one for lack of room."""

    until: float = 0.0
    times: int = 1
    """How often in a row."""
    at_least: int = 1
    """So many VMs at once were refused; of fewer nothing is known."""
    reason: str = ""
    """The token of the cause, as in elastiq.decisions."""
    detail: str = ""
    """What the cloud said, in words."""


@dataclass(frozen=True)
class Watch:
    """A group of jobs that waits, from look to look; or has waited in vain until its owners removed it."""

    waiting: int
    """How many of it waited at the last look; 0: all were removed, and what is known is kept for when it comes back."""
    least: int
    """The fewest that waited at any look since `since`."""
    since: float
    """Since when the group has waited without ever being smaller than `least`."""
    rooms: Mapping[str, float] = field(default_factory=dict)
    """VMs whose workers had room for one of these jobs at every look, and since when; a few of them."""
    has_started: bool = False
    """Whether any of its jobs was seen to start since then."""
    witnesses: tuple[str, ...] = ()
    """VMs, also such that are gone, whose workers had room for long enough since then; a few of them."""
    running: int | None = None
    """How many of it ran at the last look; None: not known."""
    fell_at: float | None = None
    """When fewer waited than `waiting` says, until a look at workers tells whether the others have started."""
    unused_since: Mapping[str, float] = field(default_factory=dict)
    """VMs of `rooms` whose room it has not begun to use, and since when. Not kept across restarts."""
    unused_seconds: Mapping[str, float] = field(default_factory=dict)
    """The same of earlier times, between which they had no room for it. Not kept across restarts."""

    @property
    def is_worth_keeping(self) -> bool:
        """True if its jobs have waited beside room, so that time is counted until they are in vain."""
        return bool(self.rooms or self.witnesses)


@dataclass(frozen=True)
class Futility:
    """Jobs of a group that waited beside room for them: that room is no room for them, nor is that of new VMs."""

    jobs: int
    """So many of the group, as far as some of it have started since; otherwise all of it."""
    has_started: bool = False
    """Whether others of the group start."""
    trials: int = 0
    """How often a VM was launched to try since."""
    try_at: float = 0.0
    """From when on one VM is launched to try again."""
    tried_at: float = 0.0
    """When that was done last; before the first time, when they were found to be in vain."""
    fewest: int = 0
    """The fewest of the group that have waited at any look since: none of these starts. 0: not known."""
    fewest_since: float = 0.0
    bar: int = 0
    """If fewer wait, some start that did not for long, unless they were removed; 0: so many that it cannot be told."""
    is_trusted: bool = False
    """Whether a trial has shown that they start: until `try_at` it is only remembered how often that was tried."""


@dataclass(frozen=True)
class Showing:
    """What is known of when VMs of a pool showed what they hold."""

    at: float = 0.0
    """When a worker showed last, about, that it is what `Memory.capacities` says."""
    trials: int = 0
    """How often a VM was launched to see whether it holds more, since that was learnt."""
    try_at: float = 0.0
    """From when on that may be done again."""


@dataclass(frozen=True)
class Template:
    """What decides which jobs VMs of a pool may run, as the batch plugin gave it."""

    text: str = ""
    instance_id: str = ""
    """The VM whose worker it is of; the worker's name, if that does not tell its VM."""
    taken_at: float = 0.0


@dataclass(frozen=True)
class Load:
    """The load of a pool in the period that is not over yet: what runs on its workers and waits for them, in cores."""

    since: float
    """When the period began."""
    cores: float
    """As it was last seen."""
    lowest: float
    risen: float = 0.0
    """How far it rose at most, above its lowest so far."""
    seen_at: float = 0.0
    """Up to when VM-seconds are counted; nothing has changed since."""
    busy_vms: int = 0
    """VMs with jobs, and those that there are anyway."""
    vms: int = 0
    busy_vm_seconds: float = 0.0
    vm_seconds: float = 0.0


@dataclass(frozen=True)
class Rises:
    """How far the load of a pool rose within each of the last periods, in cores, newest last, and what its VMs cost."""

    cores: tuple[float, ...] = ()
    """Empty if it did not rise in any of them."""
    left_over_cores: float = 0.0
    """How many cores VMs launched for the last rise alone would have had left."""
    needed_vm_seconds: float = 0.0
    """What VMs launched for waiting jobs alone would have cost in the last periods, earlier ones counted for less."""
    vm_seconds: float = 0.0
    """What all VMs have cost in these."""


@dataclass(frozen=True)
class Memory:
    """All that elastiq remembers from cycle to cycle; written to the state directory whenever it changes."""

    waiting_since: float | None = None
    """Since when more jobs wait than the threshold allows. Not kept across restarts."""
    vms: Mapping[str, VmRecord] = field(default_factory=dict)
    intents: tuple[Intent, ...] = ()
    launches_took: tuple[LaunchTook, ...] = ()
    """Of the last launches that were answered, newest last."""
    breakers: Mapping[str, Breaker] = field(default_factory=dict)
    offers_away: Mapping[str, Away] = field(default_factory=dict)
    """By what is put away, as `elastiq.planning.offers` names it. They are of the cloud, not of a pool."""
    interruptions: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """By offer: how many, in how many VM-hours, both as they counted when; see `elastiq.planning.rates`."""
    capacities: Mapping[str, Shape] = field(default_factory=dict)
    """What a VM of each pool holds, by `Pool.capacity_key`, learnt from its workers."""
    described: Mapping[str, Shape] = field(default_factory=dict)
    """What the cloud says that a VM of each pool holds, by `Pool.capacity_key`; its workers offer less."""
    taught_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Which VMs have shown that others hold what `capacities` says, a few of them, by `Pool.capacity_key`."""
    once_held: Mapping[str, Shape] = field(default_factory=dict)
    """What earlier VMs held, where few have shown less since, as `capacities` says: these may be hurt. By the same."""
    showings: Mapping[str, Showing] = field(default_factory=dict)
    """By `Pool.capacity_key`."""
    doubted_by: Mapping[str, str] = field(default_factory=dict)
    """The VM that holds less than `capacities` says, if one alone does, by `Pool.capacity_key`."""
    watched: Mapping[str, Watch] = field(default_factory=dict)
    """Groups of jobs that wait, by `Demand.key`. Across restarts those are kept beside which there was room."""
    futile: Mapping[str, Futility] = field(default_factory=dict)
    """Groups of jobs, or parts of them, that do not start whatever room there is, by `Demand.key`."""
    templates: Mapping[str, Template] = field(default_factory=dict)
    """Which jobs a VM of each pool may run, by `Pool.capacity_key`, learnt from its newest worker."""
    second_templates: Mapping[str, Template] = field(default_factory=dict)
    """The same, learnt from a worker on another VM: whoever is root on the newest has it say anything."""
    loads: Mapping[str, Load] = field(default_factory=dict)
    """By the names of the pools. Not kept across restarts."""
    rises: Mapping[str, Rises] = field(default_factory=dict)
    """By the names of the pools."""
    boots: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """How many seconds the last VMs of each pool took from launch to joining, newest last, by `Pool.capacity_key`."""
    once_own: tuple[str, ...] = ()
    """Owned VMs that vanished from listings, and client tokens of launches whose VMs never turned up, newest last."""
    to_forget: Mapping[str, Departed] = field(default_factory=dict)
    """Workers that the batch system is still to forget, by the ids of their VMs."""
    spent: Mapping[str, int] = field(default_factory=dict)
    """What VMs that are gone have cost in the last weeks, in millionths; see `elastiq.planning.money`."""
    tokens_shown: bool = False
    """True once the cloud's listings have shown a client token: then no VM without one is elastiq's."""

    @property
    def is_patient(self) -> bool:
        """True while it is waited for something, and time is counted until that is given up."""
        launches = any(not intent.needs_people or intent.unseen_since is not None for intent in self.intents)
        is_watching = any(seen.is_worth_keeping for seen in self.watched.values())
        return launches or is_watching or any(record.is_awaited for record in self.vms.values())

    def found(self, intent: Intent) -> frozenset[str]:
        """Return the ids of the VMs of a launch that have turned up, whatever became of them since."""
        return frozenset(intent.found) | {id_ for id_, record in self.vms.items() if record.token == intent.token}

    def unseen(self, intent: Intent) -> int:
        """Return how many VMs of a launch have not turned up yet."""
        return max(0, intent.count - len(self.found(intent)))
