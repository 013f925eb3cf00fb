"""How things stand, by what the daemon has left in its state: what the page and `elastiqctl top` show of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elastiq.planning import remedies
from elastiq.planning.why import Account, GroupTold, Told, VmTold
from elastiq.report import accounts
from elastiq.report.status import SILENT_SECONDS, without_error
from elastiq.state import read_account, read_report
from elastiq.state.records import from_dict

AT_WORK, IDLE = "at work", "idle"
STAGES = ("booting", AT_WORK, IDLE, "out of sight", "unlisted", "broken", "interrupted", "leaving", "going")
"""As `elastiq.memory.Stage` has them; of those that are workers, at work and idle apart."""


@dataclass(frozen=True)
class Happened:
    """Something that was done, or went wrong."""

    at: float = 0.0
    text: str = ""
    over_at: float | None = None
    """From when on it was over; None: it is not."""


@dataclass(frozen=True)
class Report:
    """The daemon's last report. None means unknown; of `max_vms`, unlimited."""

    version: str = ""
    cluster: str = ""
    batch_plugin: str = ""
    started_at: float = 0.0
    updated_at: float = 0.0
    monotonic_microseconds: int = 0
    summary: str = ""
    currency: str = ""
    """Of the prices; empty: not said."""
    jobs_waiting: int | None = None
    workers_busy: int | None = None
    workers_idle: int | None = None
    min_vms: int = 0
    max_vms: int | None = None
    vms_unconfirmed: int = 0
    last_action: Happened | None = None
    last_error: Happened | None = None
    advice: tuple[str, ...] = ()

    @staticmethod
    def of(document: object) -> Report | None:
        """Return what the daemon wrote, or None if that is not what it is."""
        if not isinstance(document, Mapping):
            return None
        try:
            return from_dict(Report, document, last_action=_happened, last_error=_happened, advice=_texts)
        except (TypeError, ValueError, AttributeError):
            return None


def _happened(value: Any) -> Happened | None:
    return None if value is None else from_dict(Happened, value)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in value)


@dataclass(frozen=True)
class Hold:
    """Something that keeps jobs waiting or VMs from going, and what would change it."""

    token: str
    text: str
    remedy: str


@dataclass(frozen=True)
class Now:
    """How things stand at a moment."""

    at: float
    is_running: bool
    silent_seconds: float | None = None
    """How long ago the daemon has reported, whatever the wall clock does; None: in another boot, or not known."""
    report: Report | None = None
    """None: there is none that can be read."""
    told: Account = field(default_factory=lambda: Account(0.0))
    """What the last plan says; of the time 0: there is none."""

    @staticmethod
    def read(directory: Path, at: float, monotonic_microseconds: int, *, is_running: bool) -> Now:
        """Return what is in a state directory. Change nothing."""
        report = Report.of(read_report(directory))
        silent = None if report is None else (monotonic_microseconds - report.monotonic_microseconds) / 1_000_000
        told = accounts.read(read_account(directory)) or Account(0.0)
        return Now(at, is_running, silent if silent is not None and silent >= 0 else None, report, told)

    @property
    def is_silent(self) -> bool:
        """True if a daemon that runs has not reported for too long."""
        return self.is_running and (self.silent_seconds is None or self.silent_seconds > SILENT_SECONDS)

    @property
    def error(self) -> Happened | None:
        """Return the last error, if it is not over."""
        error = self.report.last_error if self.report else None
        return error if error is not None and error.over_at is None else None

    def without_error(self, told: str) -> str:
        """Return a sentence without the words of the last error, if that is not over: it is shown by itself."""
        return told if self.error is None else without_error(told, self.error.text, "see the error above")

    @property
    def is_in_trouble(self) -> bool:
        """True if somebody should look."""
        return not self.is_running or self.is_silent or self.error is not None

    @property
    def state(self) -> str:
        """Return in one sentence whether the daemon runs, and since when not."""
        if not self.is_running:
            return "elastiq is not running"
        if self.report is None:
            return "elastiq is running and has not reported yet"
        if self.silent_seconds is None:
            return "elastiq is running, but has not reported since this machine was started"
        return "elastiq is running, but does not report" if self.is_silent else "elastiq is running"

    def holds(self) -> list[Hold]:
        """Return what holds things back, and what to do about each: what has to be known before all else first."""
        found: dict[str, str] = {}
        if not self.is_running:
            reason = remedies.not_running()
            found[str(reason)] = reason.token.value
        for told in self.told.holds:
            found.setdefault(told.text, told.token)
        return [Hold(token, text, remedies.remedy(token)) for text, token in found.items()]

    def stages(self) -> dict[str, Counter[str]]:
        """Return how many VMs of each pool are in each stage, as STAGES calls them; pools without VMs as well."""
        found: dict[str, Counter[str]] = {pool.name: Counter() for pool in self.told.pools}
        for vm in self.told.vms:
            found.setdefault(vm.pool, Counter())[stage_of(vm)] += 1
        return found

    def verdicts(self) -> list[tuple[GroupTold, Told]]:
        """Return every verdict on a group of waiting jobs, those on most jobs first."""
        each = [(group, told) for group in self.told.groups for told in group.told]
        return sorted(each, key=lambda pair: -pair[1].jobs)


def stage_of(vm: VmTold) -> str:
    """Return where a VM is in its life; of a worker, whether it is idle."""
    if vm.stage != "working":
        return vm.stage
    return AT_WORK if vm.idle_since is None else IDLE
