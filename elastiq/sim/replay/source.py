"""Where the jobs come from that are run: a trace, or what the daemon has kept of its own queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elastiq.errors import TraceError
from elastiq.sim.replay import traces
from elastiq.sim.replay.figures import billed_hours
from elastiq.sim.replay.recorded import Recorded, recorded
from elastiq.sim.replay.said import hours_text, time_text
from elastiq.sim.replay.traces import Job
from elastiq.state.archive import ARCHIVE, read_past
from elastiq.text import printable


@dataclass(frozen=True)
class Source:
    """Jobs, and what they are called."""

    name: str
    jobs: Sequence[Job]
    trace: str | None = None
    """The file as it was given; None: they come from the history."""
    record: Recorded | None = None
    damage: str = ""
    """What of the history cannot be read, in words."""

    @property
    def history(self) -> dict[str, Any] | None:
        """What is said of the history in JSON."""
        record = self.record
        if record is None:
            return None
        return {
            "begins_at": record.begins_at,
            "ends_at": record.ends_at,
            "gaps": [list(gap) for gap in record.gaps],
            "gap_seconds": record.gap_seconds,
            "damage": self.damage or None,
            "elsewhere": record.elsewhere,
            "cut": record.cut,
            "vms": len(record.lives),
            "vm_hours": billed_hours(record.lives),
        }

    def lines(self) -> list[str]:
        """Return what is said of the history to people."""
        record = self.record
        if record is None:
            return []
        hours = hours_text(billed_hours(record.lives))
        lines = [f"  in truth    {hours} VM-hours in that time, of {len(record.lives):,} VMs"]
        if record.gaps:
            lines.append(f"  gaps        nothing was seen for {time_text(record.gap_seconds)}, in {len(record.gaps):,}")
        if record.elsewhere:
            lines.append(f"  elsewhere   {record.elsewhere:,} jobs ran on workers that are not elastiq's")
        if self.damage:
            lines.append(f"  damage      {printable(self.damage)}")
        return lines


def from_trace(path: str) -> Source:
    """Return the jobs of a trace. Raise TraceError if it cannot be used."""
    name = printable(path)
    try:
        jobs = traces.read(path)
    except ValueError as error:
        raise TraceError(printable(str(error))) from None
    except OSError as error:
        raise TraceError(f"{name}: cannot be read: {error.strerror or error}") from None
    if not jobs:
        raise TraceError(f"{name}: has no job that ran")
    return Source(printable(Path(path).name), jobs, trace=name)


def from_history(directory: Path, seconds: float) -> Source:
    """Return the jobs of the last `seconds` that the daemon of a state directory has kept. Raise TraceError."""
    past = read_past(directory, seconds)
    where = printable(str(directory / ARCHIVE))
    if past is None:
        raise TraceError(f"{where}: there is none; a daemon that runs keeps it, from its first hour on")
    record = recorded(past)
    if not record.jobs:
        damage = f"; {printable(past.damage)}" if past.damage else ""
        raise TraceError(f"{where}: no job was at work in that time{damage}")
    return Source(f"history of {time_text(record.ends_at - record.begins_at)}", record.jobs, None, record, past.damage)
