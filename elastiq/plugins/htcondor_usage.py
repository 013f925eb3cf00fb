"""Who used which machine of an HTCondor pool, by the job history of its schedds. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator

from elastiq.errors import BatchError
from elastiq.model import Usage
from elastiq.plugins.kit import LARGEST, lines
from elastiq.text import excerpt

HISTORY = (
    *("Owner", "LastRemoteHost", "JobCurrentStartDate", "CompletionDate", "EnteredCurrentStatus"),
    *("CpusProvisioned", "RequestCpus"),
)
"""Of jobs that have left the queue; of each, its last run. Those before, that came to nothing, nobody tells at once."""

RUNNING = ("Owner", "RemoteHost", "JobCurrentStartDate", "CpusProvisioned", "RequestCpus")

IS_RUNNING = "JobStatus == 2 && JobUniverse != 7 && JobUniverse != 9 && JobUniverse != 12"

UNDEFINED = "undefined"


def since_constraint(since: float) -> str:
    """Return what the first job meets, of those that have left the queue, the last first, that is of no use any more:
    from it on they are not read. CompletionDate is 0 of jobs that were removed, so it would end too soon."""
    return f"EnteredCurrentStatus < {since:.0f}"


def parse_history(text: str) -> tuple[Usage, ...]:
    """Given what `condor_history -af` prints of HISTORY, return who used what. Raise BatchError if it is none."""
    found = []
    for owner, host, begin, completed, changed, *cpus in _rows(text, len(HISTORY)):
        begin_at, end_at = _time(begin), _time(completed) or _time(changed)
        worker = _machine(host)
        # A job that was removed before it ran has no beginning, and one of several machines names but one.
        if _is_user(owner) and worker and begin_at and end_at and end_at >= begin_at:
            found.append(Usage(owner, worker, begin_at, end_at, _cpus(cpus)))
    return tuple(found)


def parse_running(text: str) -> tuple[Usage, ...]:
    """Given what `condor_q -af` prints of RUNNING, return who uses what. Raise BatchError if it is none."""
    found = []
    for owner, host, begin, *cpus in _rows(text, len(RUNNING)):
        begin_at, worker = _time(begin), _machine(host)
        if _is_user(owner) and worker and begin_at:
            found.append(Usage(owner, worker, begin_at, None, _cpus(cpus)))
    return tuple(found)


def _rows(text: str, columns: int) -> Iterator[list[str]]:
    for line in lines(text):
        row = line.split()
        if not row:
            continue
        if len(row) != columns:
            raise BatchError(f"the job history is not as expected: {excerpt(line)}")
        yield row


def _is_user(owner: str) -> bool:
    return owner != UNDEFINED and owner.isprintable()


def _machine(host: str) -> str:
    """Return the machine of a slot (slot1_2@node-1)."""
    machine = host.rpartition("@")[2]
    return "" if machine in ("", UNDEFINED) or not machine.isprintable() else machine


def _time(text: str) -> float:
    """Return a time; 0 if there is none. Raise BatchError if it is something else."""
    if text == UNDEFINED:
        return 0.0
    if not text.isdecimal() or len(text) > 11:
        raise BatchError(f"the job history is not as expected: {excerpt(text)} is no time")
    return float(text)


def _cpus(texts: list[str]) -> int:
    known = (int(text) for text in texts if text.isdecimal() and 0 < int(text) < LARGEST)
    return next(known, 1)
