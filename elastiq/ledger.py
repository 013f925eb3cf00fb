"""What `elastiqctl history` and `cost` find out, beside the daemon: from what it has kept, and nothing is changed.

Only for the users the batch system is asked as well.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from elastiq.calendars import Calendar
from elastiq.errors import BatchError, ElastiqError
from elastiq.model import Cost, Usage
from elastiq.plugins.adapter import Adapter
from elastiq.process.pidfile import find_daemon
from elastiq.report import cost, past
from elastiq.report.past import Document
from elastiq.report.periods import days, moment, since_of
from elastiq.state.past import (
    Hours,
    Source,
    read_events,
    read_first_launch,
    read_hours,
    read_life,
    read_lives,
    read_parted,
)
from elastiq.text import printable

HISTORY_SINCE, COST_SINCE = "1d", "30d"

FOREVER = 1e12
"""After all times."""

MOST_GAPS = 20


@dataclass(frozen=True)
class Asked:
    """What was asked for."""

    since: float
    vm: str = ""
    by: str = ""
    form: str = ""
    """json, csv, or empty: for people."""


@dataclass(frozen=True)
class Answer:
    """What was found out."""

    document: Document
    lines: list[str]
    notes: tuple[str, ...] = ()
    """What people have to know of it, and programs find in the document."""
    is_known: bool = True
    is_whole: bool = True


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise ElastiqError."""
        raise ElastiqError(f"{self.format_usage().strip()}: {printable(message)}")


def asked(action: str, words: Sequence[str], now: float, calendar: Calendar) -> Asked:
    """Return what the words after `history` or `cost` ask for, with dates as `calendar` has them. Raise ElastiqError if
    they are no such."""
    parser = _Parser(prog=f"elastiqctl {action}", add_help=False, allow_abbrev=False)
    parser.add_argument("--since", default=HISTORY_SINCE if action == "history" else COST_SINCE)
    if action == "history":
        parser.add_argument("--vm", default="")
    else:
        parser.add_argument("--by", choices=cost.WAYS, default="")
    form = parser.add_mutually_exclusive_group()
    for name in ("json", "csv"):
        form.add_argument(f"--{name}", action="store_const", const=name, dest="form", default="")
    options = parser.parse_args(words)
    is_of_one = action == "history" and options.vm and "--since" not in " ".join(words)
    since = 0.0 if is_of_one else since_of(options.since, now, calendar)
    return Asked(since, getattr(options, "vm", ""), getattr(options, "by", ""), options.form)


def seen_until(directory: Path, now: float, *, is_running: bool) -> float:
    """Return up to when it is known which VMs there are: now, or when a daemon that is down wrote last."""
    if is_running:
        return now
    written_to = read_hours(directory, now, now, of_pools=False).written_to
    return now if written_to is None else min(written_to, now)


def history(directory: Path, question: Asked, now: float) -> Answer:
    """Return what happened, and which VMs there were. Raise StateError if it cannot be seen whether the daemon runs."""
    until = seen_until(directory, now, is_running=find_daemon(directory) is not None)
    lives = read_lives(directory, FOREVER if question.vm else question.since, FOREVER)
    events = read_events(directory, question.since, FOREVER)
    kept, told, is_known = lives.lives, events.events, True
    if question.vm:
        one = read_life(directory, question.vm)
        kept = () if one is None else (one,)
        told = tuple(event for event in told if event.subject == question.vm or question.vm in event.text)
        is_known = bool(kept or told)
    document = past.history_document(kept, told, until)
    hours = read_hours(directory, question.since, until, of_pools=False)
    frame = _frame(question, until, hours, lives, events)
    notes = _notes(directory, frame, lives)
    if question.form == "csv":
        lines = past.comma_separated(past.HISTORY_COLUMNS, past.history_rows(document))
    else:
        lines = past.history_lines(document, until)
    document.update(frame)
    return Answer(document, lines, notes, is_known, not (lives.damage or events.damage or hours.damage))


def costs(directory: Path, question: Asked, now: float, told: Cost, batch: Adapter | None = None) -> Answer:
    """Return what VMs have cost, in the days and the currency that are told. By user it is asked `batch`. Raise
    BatchError if that does not tell, StateError if it cannot be seen whether the daemon runs."""
    is_running = find_daemon(directory) is not None
    since, until = question.since, seen_until(directory, now, is_running=is_running)
    hours = read_hours(directory, since, until, of_pools=False)
    lines, vms, source = _sums(directory, question, until, told.calendar, batch)
    document = past.cost_document(question.by, lines, vms)
    frame = _frame(question, until, hours, source)
    notes = _notes(directory, frame, source)
    if question.form == "csv":
        text = past.comma_separated((document["by"], *past.COST_COLUMNS), past.cost_rows(document))
    else:
        text = past.cost_lines(document, told.currency)
    document.update(frame, currency=told.currency)
    return Answer(document, text, notes, is_whole=not (source.damage or hours.damage))


def _sums(
    directory: Path, question: Asked, until: float, calendar: Calendar, batch: Adapter | None
) -> tuple[Mapping[str, cost.Line], int, Source]:
    """Return the sums that are asked for, of how many VMs they are, and how they are to be taken."""
    since = question.since
    if question.by == "user":
        kept = read_lives(directory, since, until)
        return cost.by_user(kept.lives, _used(batch, since), since, until), len(kept.lives), kept
    if question.by == "day":
        first = read_first_launch(directory, since)
        of_days = days(max(since, until if first is None else first), until, calendar)
        parted = read_parted(directory, [(begin, end) for _, begin, end in of_days])
        return cost.by_day(parted.lives, of_days, parted.whole), parted.vms, parted
    parted = read_parted(directory, [(since, until)])
    return cost.by_property(question.by, parted.lives, since, until, parted.whole), parted.vms, parted


def _used(batch: Adapter | None, since: float) -> tuple[Usage, ...]:
    found = None if batch is None else batch.usage(since)
    if found is None:
        raise BatchError("the batch plugin does not tell who used which worker, so nothing can be said by user")
    return found


def _frame(question: Asked, until: float, hours: Hours, *sources: Source) -> Document:
    return {
        "since": question.since,
        "until": until,
        "gaps": [list(gap) for gap in hours.gaps(question.since, until)],
        "damage": [source.damage for source in (*sources, hours) if source.damage],
    }


def _notes(directory: Path, frame: Document, source: Source) -> tuple[str, ...]:
    if not source.is_there:
        return (f"nothing was kept in {directory} so far: a daemon that runs keeps it",)
    notes = list(dict.fromkeys(frame["damage"]))
    gaps, until = frame["gaps"], frame["until"]
    notes += [
        f"nobody looked from {moment(begin)} to {moment(end)}, or in a part of it" for begin, end in gaps[:MOST_GAPS]
    ]
    if len(gaps) > MOST_GAPS:
        notes.append(f"... and at {len(gaps) - MOST_GAPS} times more")
    if find_daemon(directory) is None:
        notes.append(f"the daemon does not run: VMs that were there then are counted until {moment(until)}")
    return tuple(notes)
