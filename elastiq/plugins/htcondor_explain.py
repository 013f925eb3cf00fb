"""What a single job of HTCondor is, by its ad. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elastiq.errors import BatchError
from elastiq.model import Standing
from elastiq.plugins.kit import json_document
from elastiq.text import excerpt

ATTRIBUTES = (
    *("ClusterId", "ProcId", "JobStatus", "JobUniverse", "Managed", "HoldReason", "RemoteHost"),
    *("LastRejMatchReason", "DeferralTime", "ConcurrencyLimits", "TotalSubmitProcs"),
)

JOB = re.compile(r"(?:([^\s#\"\\]{1,255})#)?([1-9][0-9]{0,9})(?:\.([0-9]{1,9}))?(?:#[0-9]+)?")
"""A cluster, or a process in it, as condor_q prints them; with the schedd in front, as GlobalJobId has it."""

_STATUSES = {
    2: Standing.RUNS,
    3: Standing.ENDED,
    4: Standing.ENDED,
    5: Standing.HELD,
    6: Standing.RUNS,
    7: Standing.RUNS,
}
"""By JobStatus; 1 is one that waits for whatever."""

_NOT_ON_WORKERS = {7: "scheduler", 9: "grid", 12: "local"}
"""By JobUniverse, as the condition ON_WORKERS of htcondor_demand has it."""


@dataclass(frozen=True)
class Found:
    """A job."""

    constraint: str
    """What it alone meets. In just this form a schedd looks the job up, instead of looking through all that it has."""
    standing: Standing
    """WAITS, unless the ad tells that it is something else."""
    text: str
    has_limits: bool
    """Whether it has concurrency limits."""
    is_deferred: bool
    """Whether it asks for a time to start."""
    is_alone: bool = False
    """Whether its cluster has no other."""

    @property
    def standing_if_left_out(self) -> Standing:
        """Return what it is if it waits, but is not counted as demand."""
        if self.is_deferred:
            return Standing.NOT_DUE
        return Standing.LIMITED if self.has_limits else Standing.BLOCKED


def constraint(cluster: str | int, process: str | None) -> str:
    """Return which jobs are asked for by their number, in the form by which a schedd looks them up."""
    return f"ClusterId == {cluster}" + (f" && ProcId == {process}" if process else "")


def nearer(found: Found, cluster: str, process: str | None) -> tuple[str, ...]:
    """Return what else is asked for after the first job of a cluster was found: others that wait, or else run."""
    if process or found.is_alone or found.standing is Standing.WAITS:
        return ()
    statuses = (1,) if found.standing is Standing.RUNS else (1, 2)
    return tuple(f"{constraint(cluster, None)} && JobStatus == {status}" for status in statuses)


def parse_job(text: str) -> Found | None:
    """Given the output of `condor_q -json -attributes ...` for one job, return it; None if there is none. Raise
    BatchError if it is something else."""
    if not text.strip():
        return None
    ads = json_document(text, "condor_q")
    if ads == []:
        return None
    ad = ads[0] if isinstance(ads, list) else None
    if not isinstance(ad, dict) or not all(type(ad.get(name)) is int for name in ("ClusterId", "ProcId")):
        raise BatchError(f"condor_q answered what is no job: {excerpt(text)}")
    return _found(ad)


def _found(ad: Mapping[str, Any]) -> Found:
    status, universe = ad.get("JobStatus"), ad.get("JobUniverse")
    standing = _STATUSES.get(status, Standing.WAITS) if type(status) is int else Standing.BLOCKED
    texts = {Standing.HELD: ad.get("HoldReason"), Standing.RUNS: _runs_on(ad), Standing.ENDED: _ended(status)}
    text = str(texts.get(standing) or "")
    if standing is Standing.WAITS:
        text = str(ad.get("LastRejMatchReason") or "")
        if type(universe) is int and universe in _NOT_ON_WORKERS:
            standing, text = Standing.NOT_ON_WORKERS, f"{_NOT_ON_WORKERS[universe]} universe"
        elif str(ad.get("Managed", "")).lower() == "external":
            standing, text = Standing.NOT_ON_WORKERS, "another manager has it (Managed is External)"
    own = constraint(ad["ClusterId"], str(ad["ProcId"]))
    is_alone = ad.get("TotalSubmitProcs") == 1
    return Found(own, standing, text, "ConcurrencyLimits" in ad, "DeferralTime" in ad, is_alone)


def _runs_on(ad: Mapping[str, Any]) -> str:
    return f"on {ad['RemoteHost']}" if ad.get("RemoteHost") else ""


def _ended(status: object) -> str:
    return "removed" if status == 3 else "completed"
