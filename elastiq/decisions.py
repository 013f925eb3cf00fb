"""What is decided, why, and what became of it, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from elastiq.memory import Memory, VmRecord


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


class End(Enum):
    """How an action ended."""

    DONE = "done"
    """It took effect."""
    REFUSED = "refused"
    """Nothing was done, and that is well: a busy worker refused to close, or this is a dry run."""
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
