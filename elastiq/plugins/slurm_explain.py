"""What a single job of Slurm is, by what `squeue` says of its state and why it waits. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from elastiq.errors import BatchError
from elastiq.model import Standing
from elastiq.plugins.slurm_queue import FIELD_END, REASONS, RECORD_END
from elastiq.text import excerpt

FIELDS = ("JobID", "StateCompact", "EligibleTime", "Reason", "Partition", "NodeList")
"""Of `squeue --Format`."""

JOB = re.compile(r"([1-9][0-9]{0,9})(?:_[0-9]{1,9}|\+[0-9]{1,4})?")
"""A number of a job, or with it that of a task or of a component."""

NO_SUCH_JOB = "Invalid job id"
"""How squeue says that it does not know it."""

_ACTIVE = frozenset({"R", "CF", "CG", "S", "SI", "SO", "ST", "RS"})
_TO_BE_RELEASED = frozenset({"SE", "RQ", "RF", "RH", "RD"})
"""They have run, and somebody has to release them."""

_REASONS: tuple[tuple[str, Standing], ...] = (
    (r"JobHeld|.*\bheld\b", Standing.HELD),
    (r"Dependency", Standing.DEPENDS),
    (r"BeginTime", Standing.NOT_DUE),
    (r".*Reserved for maintenance", Standing.BLOCKED),
    (r"Licenses|Partition(?!Config|NodeLimit)|QOS|Assoc|Job\w*Limit|\w*Max\w*|\w*Grp\w*", Standing.LIMITED),
    ("|".join(REASONS), Standing.WAITS),
)
"""How reasons begin, and what jobs are of which they are said; the first that fits. Others are BLOCKED."""

_NEAREST = (Standing.WAITS, Standing.LIMITED, Standing.RUNS)
"""Of several tasks the one is told of that is nearest to a start."""


@dataclass(frozen=True)
class Found:
    """A job, or tasks of one."""

    id: str
    standing: Standing
    text: str


def explain_format() -> str:
    """Return what squeue is given as `--Format`."""
    *names, last = FIELDS
    return "".join(f"{name}:0{FIELD_END}," for name in names) + f"{last}:0{RECORD_END}"


def parse_job(answer: str, now: float) -> Found | None:
    """Given what squeue prints of one job by FIELDS at Slurm's time `now`, return it, or that of its tasks that is
    nearest to a start; None if nothing is listed. Raise BatchError if it is no list of jobs."""
    header, *records = answer.split(RECORD_END)
    if header.count(FIELD_END) != len(FIELDS) - 1 or records[-1:] != ["\n"]:
        raise BatchError(f"squeue answered what is no list of jobs: {excerpt(answer)}")
    found = [_found(record.split(FIELD_END), now) for record in records[:-1]]
    order = {standing: number for number, standing in enumerate(_NEAREST)}
    return min(found, key=lambda one: order.get(one.standing, len(order)), default=None)


def _found(words: Sequence[str], now: float) -> Found:
    if len(words) != len(FIELDS):
        raise BatchError(f"squeue answered what is no job: {excerpt(' '.join(words))}")
    id_, state, eligible, reason, partition, nodes = (word.strip() for word in words)
    where = f"partition {partition}"
    if state in _ACTIVE:
        return Found(id_, Standing.RUNS, f"state {state} on {nodes or 'no node yet'}, {where}")
    if state in _TO_BE_RELEASED:
        return Found(id_, Standing.HELD, f"state {state}, {where}")
    if state != "PD":
        return Found(id_, Standing.ENDED, f"state {state}, {where}")
    standing = next((one for pattern, one in _REASONS if re.match(pattern, reason)), Standing.BLOCKED)
    if standing is Standing.WAITS and eligible.isdecimal() and int(eligible) > now:
        standing = Standing.NOT_DUE
    return Found(id_, standing, f"pending with reason {reason}, {where}")
