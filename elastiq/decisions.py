"""What is decided, why, and what became of it, as frozen dataclasses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from elastiq.memory import Memory, VmRecord
from elastiq.model import Demand, Offer, Scope


class Token(Enum):
    """Why something is done, or not: one stable name for each cause, and what it means. docs/reasons.md lists them."""

    meaning: str

    __hash__ = object.__hash__  # Enum hashes the name, in Python

    def __new__(cls, value: str, meaning: str) -> Token:
        token = object.__new__(cls)
        token._value_ = value
        token.meaning = meaning
        return token

    # What becomes of waiting jobs.
    UNREADABLE = "unreadable", "The queue, the workers or the VMs cannot be read, so nothing is launched."
    HAS_ROOM = "has-room", "Workers that are present have room; the batch system has not started the jobs yet."
    ROOM_BOOTING = "room-booting", "VMs that are on their way will have room."
    FOREIGN_ROOM = "foreign-room", "A worker that is not elastiq's has room; believed for estimated_vm_deploy_time_s."
    REOPENED = "reopened", "A worker that was closed for a termination is opened again for waiting jobs."
    BELOW_THRESHOLD = "below-threshold", "Fewer jobs lack room than waiting_jobs_threshold."
    WAITING_TIME = "waiting-time", "Jobs lack room, but not yet for waiting_jobs_time_s."
    NO_ROOM = "no-room", "Jobs have lacked room for waiting_jobs_time_s, so VMs are launched."
    BELOW_MINIMUM = "below-minimum", "Fewer VMs than min_vms are at work, so VMs are launched."
    SPARE = "spare", "Less is free than the load rose by lately, so VMs are launched for jobs to come."
    TRIAL = "trial", "The last boots failed, so one VM is launched to try."
    TRIAL_BOOTING = "trial-booting", "The last boots failed, so the VM that is booting must join first."
    LAUNCHES_PAUSED = "launches-paused", "Launches pause after refusals or failed boots."
    QUOTA_FULL = "quota-full", "More VMs are wanted than max_vms leaves."
    CAP_HOUR = "cap-hour", "One VM more would cost more an hour, with all that may exist, than max_per_hour allows."
    CAP_DAY = "cap-day", "What is spent today and what VMs cost at least leaves too little of max_per_day."
    CAP_MONTH = (
        "cap-month",
        "What is spent this month and what VMs cost at least leaves too little of max_per_month.",
    )
    QUOTA_LEAVES_TOO_FEW = "quota-leaves-too-few", "A job of several machines lacks more VMs than max_vms leaves now."
    WIDER_THAN_QUOTA = "wider-than-quota", "A job needs more machines at once than max_vms allows; it is no demand."
    CLOUD_LIMIT = "cloud-limit", "A job needs more machines at once than the cloud has given; tried again a day later."
    LARGER_THAN_VM = "larger-than-vm", "A job asks for more than any VM holds; it is no demand."
    LARGER_THAN_NEW_VM = "larger-than-new-vm", "A job fits workers that are present, but no VM that could be launched."
    NOT_ELIGIBLE = "not-eligible", "A job wants what no VM offers; it is no demand."
    IN_VAIN = "in-vain", "Jobs do not start although there is room for them, so none is launched but for a rare trial."
    TO_LEARN = "to-learn", "It is not known whether a VM could run the jobs, so one is launched to learn it."
    LEARNING = "learning", "It is not known whether a VM could run the jobs; one that is booting will tell."
    # Why a VM goes.
    IDLE = "idle", "It has had no job for longer than idle_for_time_s."
    IN_THE_WAY = "in-the-way", "It is idle, and in the place of a VM for jobs that it does not hold."
    BEYOND_CAP = "beyond-cap", "It is idle, and no money is left for it: max_per_hour, max_per_day or max_per_month."
    UNFINISHED = "unfinished", "Its worker was closed for a termination that has not succeeded yet."
    VM_IN_ERROR = "vm-in-error", "The cloud says that it is in error."
    NEVER_JOINED = "never-joined", "It has not joined the batch system in estimated_vm_deploy_time_s."
    WORKER_LOST = "worker-lost", "Its worker left the batch system and was not back in lost_worker_time_s."
    CLOSED_AND_IDLE = "closed-and-idle", "Its worker is closed, nobody says why, and it has been idle for long."
    CLOSED_AT_BIRTH = "closed-at-birth", "Its worker was closed by others before it ran anything."
    LAUNCHED_IN_VAIN = "launched-in-vain", "It has had no job, and those that it was launched for do not start."
    INTERRUPTED_IDLE = "interrupted-idle", "The cloud has announced that it takes it back, and no job is there."
    # Why a VM stays.
    AT_WORK = "at-work", "Jobs run on its worker, or may: the batch system does not say that it is idle."
    IDLE_YET_SHORT = "idle-yet-short", "It is idle, but not yet for idle_for_time_s."
    KEPT_FOR_JOBS = "kept-for-jobs", "It is idle, and jobs that wait are taken to start there."
    KEPT_AS_SPARE = "kept-as-spare", "It is idle, and kept for jobs to come: the load rose by as much lately."
    KEPT_FOR_MINIMUM = "kept-for-minimum", "It is idle, and kept because of min_vms."
    STILL_BOOTING = "still-booting", "It may yet join the batch system."
    WORKER_OUT_OF_SIGHT = "worker-out-of-sight", "Its worker is given lost_worker_time_s to come back."
    INTERRUPTED = "interrupted", "The cloud has announced that it takes it back; it is no room for jobs any more."
    CLOSED_BY_OTHER = "closed-by-other", "Somebody else closed its worker in the batch system, and may open it again."
    CLOSED_BY_SOMEBODY = "closed-by-somebody", "Its worker is closed, and the batch system does not say by whom."
    NOT_LISTED = "not-listed", "The cloud's listings leave it out; it counts, and nothing is done to it."
    CLAIMED_TWICE = "claimed-twice", "Several workers claim it, so that none of them is known to be idle."
    SHARED_ADDRESS = "shared-address", "Others have its address or name, too, so that no worker is known to be its own."
    UNUSED_ROOM = "unused-room", "Jobs have waited beside its room for longer than a boot takes: it is none for them."
    LOOKALIKE = "lookalike", "It may be of a launch whose answer was lost, but nothing tells whose it is."
    GOING = "going", "The cloud has accepted its termination."
    RETRY_LATER = "retry-later", "The last try to close or terminate it failed; the next one is due later."
    WORLD_UNKNOWN = "world-unknown", "The workers or the VMs cannot be read, so nothing is terminated."
    # What became of a VM that is gone.
    VM_ENDED = "vm-ended", "The cloud says that it has ended, and elastiq did not terminate it."
    VM_VANISHED = "vm-vanished", "Listings have left it out for too long, and elastiq did not terminate it."
    VM_INTERRUPTED = "vm-interrupted", "The cloud has taken it back, as it may with VMs of the spot market."
    ENDED_AFTER_ALL = "ended-after-all", "It is gone after a termination that the cloud had not clearly accepted."
    # What is done to jobs.
    REQUEUED = "requeued", "The cloud ends the VM within a minute, so its jobs are queued again before."
    # Requests without an answer.
    ASKED_AGAIN = "asked-again", "The answer to a launch was lost, so it is asked for again with the same client token."
    ANSWER_TO_COME = "answer-to-come", "The cloud was asked for it, and has not answered yet."
    # What a single job is, or a VM, where `why` is asked.
    JOB_HELD = "job-held", "It is held until somebody releases it; it is no demand."
    JOB_DEPENDS = "job-depends", "It waits until other jobs have ended; it is no demand."
    JOB_NOT_DUE = "job-not-due", "It asks to start later; it is no demand yet."
    JOB_LIMITED = "job-limited", "A limit of the batch system keeps it back, which no VM ends; it is no demand."
    JOB_NOT_ON_WORKERS = "job-not-on-workers", "It never runs on a worker, so it is no demand."
    JOB_ELSEWHERE = "job-elsewhere", "It is for a part of the batch system that elastiq does not serve."
    JOB_BOUND = "job-bound", "It asks for certain machines by name, and a new one is none of them; it is no demand."
    JOB_BLOCKED = "job-blocked", "The batch system keeps it back for a reason that no VM ends; it is no demand."
    JOB_RUNS = "job-runs", "It has a machine."
    JOB_ENDED = "job-ended", "It has ended."
    NO_SUCH_JOB = "no-such-job", "The batch system does not know such a job, or no more."
    NOT_SEEN = "not-seen", "It has come, or may start, only since the daemon last looked at the queue."
    CANNOT_TELL = "cannot-tell", "The batch plugin does not tell of single jobs."
    ENDED_BY_ELASTIQ = "ended-by-elastiq", "It is gone: elastiq terminated it."
    ENDED_BY_OTHERS = "ended-by-others", "It is gone, and elastiq did not terminate it."
    NO_SUCH_VM = "no-such-vm", "Elastiq knows no such VM or worker."
    NOT_RUNNING = "not-running", "The daemon does not run, so nothing is launched and nothing is terminated."
    # How an action ended.
    DONE = "done", "It took effect."
    JOB_GOT_IN = "job-got-in", "A job runs on the worker, so its VM stays."
    DRY_RUN = "dry-run", "The configuration says not to do it."
    BATCH_ERROR = "batch-error", "The batch system could not do it."
    NOT_JOURNALLED = "not-journalled", "It could not be written down first, so it was not begun."
    NOT_ACCEPTED = "not-accepted", "The cloud did not accept the termination of this VM."
    CLOUD_UNREACHABLE = "cloud-unreachable", "The cloud gave no answer, a broken one, or a server error."
    CLOUD_PENDING = "cloud-pending", "The request was sent, and its answer is still to come."
    CLOUD_UNSENT = "cloud-unsent", "The request never left, for there is no connection."
    CLOUD_BUSY = "cloud-busy", "The request was not sent, since the answer to an earlier one is still to come."
    CLOUD_THROTTLED = "cloud-throttled", "The cloud refuses requests for now, because they are too many."
    CLOUD_CAPACITY = "cloud-capacity", "The cloud has no room, or a quota of the cloud is used up."
    CLOUD_CONFIGURATION = "cloud-configuration", "The cloud refuses what the configuration asks for."
    CLOUD_CREDENTIALS = "cloud-credentials", "The keys are missing, wrong, or lack a right."
    CLOUD_JOIN_TOKEN = "cloud-join-token", "Not asked for a VM, since user_data_token_command made no token for it."
    CLOUD_NOT_FOUND = "cloud-not-found", "The cloud does not know the VM any more."


@dataclass(frozen=True)
class Reason:
    """Why: the cause, what it is about, its figures, and all of that in one sentence."""

    token: Token
    text: str
    subject: str = ""
    """What it is about, if there may be several at a time: a VM, a pool, a size of jobs."""
    numbers: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return self.text


class Kind(Enum):
    """What a decision is about."""

    LAUNCH = "launch"
    TERMINATE = "terminate"
    REOPEN = "reopen"
    REQUEUE = "requeue"
    """Have the jobs of a VM queued again that the cloud is about to take back."""
    HOLD = "hold"
    """Nothing is done, and this is why."""


@dataclass(frozen=True)
class Step:
    """One offer that is asked for VMs."""

    offer: Offer
    count: int
    """How many VMs of its type hold all that the launch is for."""


@dataclass(frozen=True)
class Decision:
    """One thing to do, or deliberately not to do, and the reason."""

    kind: Kind
    reason: Reason
    pool: str = "default"
    count: int = 0
    """How many VMs to launch."""
    instance_id: str = ""
    """The VM to terminate or whose worker to reopen."""
    failed_boot: bool = False
    """True for the termination of a VM that never became a worker."""
    at_least: int = 1
    """Fewer VMs than so many are of no use: a job needs them at the same time."""
    trial_of: str = ""
    """The group of jobs, by its key, or the type of VMs, by `Pool.capacity_key`, that the launch is to show something
    of."""
    walk: tuple[Step, ...] = ()
    """The offers of a pool that may be asked, one after the other until there are VMs for all; `count` is that of the
    first. Empty where a pool has one offer."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of some jobs of a group, or of one VM, by a plan, and why."""

    reason: Reason
    group: Demand | None = None
    """The group of waiting jobs as the batch system tells it; None: it is about a VM."""
    jobs: int = 0
    """How many jobs of the group this is about; the verdicts on a group add up to all of them."""
    instance_id: str = ""


@dataclass(frozen=True)
class CostFigures:
    """What VMs cost, in millionths of the currency."""

    currency: str
    per_hour: int
    """All that may exist, together."""
    today: int
    this_month: int
    max_per_hour: int | None = None
    max_per_day: int | None = None
    max_per_month: int | None = None


@dataclass(frozen=True)
class Figures:
    """The cluster in numbers, for people. None means unknown."""

    jobs_waiting: int | None = None
    workers_busy: int | None = None
    workers_idle: int | None = None
    vms_pending: int = 0
    vms_running: int = 0
    vms_leaving: int = 0
    """VMs that are on their way out, but still count."""
    vms_in_error: int = 0
    vms_stopped: int = 0
    vms_asked_for: int = 0
    """VMs of launches that the cloud has not answered yet, as far as no listing has shown them."""
    vms_unconfirmed: int = 0
    """VMs that count although no listing has shown them for elastiq's own."""
    unconfirmed_until: float | None = None
    """Until when these count at most, if listings go on leaving them out; None: until people have decided."""
    vms_of_pools: Mapping[str, int] = field(default_factory=dict, hash=False)
    """How many VMs count, by the names of the pools, where the configuration names pools."""
    cost: CostFigures | None = None
    """None: the configuration has no section [cost]."""


@dataclass(frozen=True)
class Plan:
    """What to do in this cycle, in order, and what to remember."""

    decisions: tuple[Decision, ...]
    memory: Memory
    summary: str
    """The cycle in one sentence: log line, status line and test assertion alike."""
    departed: tuple[VmRecord, ...] = ()
    """VMs that are gone since the last cycle without elastiq having terminated them; their detail says how."""
    figures: Figures = field(default_factory=Figures)
    ask_again: tuple[str, ...] = ()
    """Client tokens of launches without an answer whose VMs are wanted and still within the quota."""
    verdicts: tuple[Verdict, ...] = ()
    """On every group of waiting jobs, then on every VM of elastiq."""
    wake_at: float = math.inf
    """From when on the same answers of the world give another plan, by time alone."""
    look_at: float = math.inf
    """From when on a new look at a world that is still the same would give another plan."""


class End(Enum):
    """How an action ended."""

    DONE = "done"
    """It took effect."""
    REFUSED = "refused"
    """Nothing was done, and that is well: a busy worker refused to close, or this is a dry run."""
    PENDING = "pending"
    """It was asked for, and the answer is still to come."""
    FAILED = "failed"
    """It had no effect."""
    UNCLEAR = "unclear"
    """It failed, but may have taken effect."""


@dataclass(frozen=True)
class Outcome:
    """What became of a decision."""

    decision: Decision
    end: End
    detail: str = ""
    """What happened, in words."""
    instance_ids: tuple[str, ...] = ()
    """The VMs that were launched."""
    token: str = ""
    """Client token of the launch."""
    cause: Token = Token.DONE
    """Why it ended so."""
    scope: Scope = Scope.ACCOUNT
    """Of a launch that was refused for lack of room: what that is about."""
