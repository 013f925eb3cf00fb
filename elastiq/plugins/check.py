"""Tries a batch plugin on a live batch system, for those who write or install one.

`python -m elastiq.plugins.check NAME --config FILE` asks what can be asked without submitting a job, and changes
nothing unless it is told to with --close-idle. It ends with 0 if nothing broke the contract, which is that of
`elastiq.plugins.BatchSystem`, with 1 if something did, and says what it could not try. tests/contract tries the rest.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, TextIO, TypeVar, cast

from elastiq.clock import Clock
from elastiq.errors import BatchError, ConfigError
from elastiq.model import Demand, Eligibility, Judgement, Worker
from elastiq.plugins import ADVISING, MATCHMAKING, Adviser, BatchSystem, Closing, Matchmaker
from elastiq.plugins.faults import (
    advice_faults,
    demand_faults,
    judgement_faults,
    later_faults,
    pairs,
    template_faults,
    workers_faults,
)
from elastiq.plugins.foreign import error_text
from elastiq.plugins.kit import is_same, label
from elastiq.plugins.loading import load, read_settings
from elastiq.text import excerpt, one_line, printable

Answer = TypeVar("Answer")

LONG_SECONDS = 5.0
"""A call that takes longer holds back the other checks of its cycle (ASK_WAIT_SECONDS of elastiq.process.lanes)."""

MOST_FAULTS = 10
"""So many of one answer are told."""

GARBAGE = "\0{[<garbage"
"""A template that no plugin made."""

NOT_TRIED = (
    "that held, dependent, not yet due and capped jobs are left out: submit some and compare",
    "that a busy worker refuses to close, and its job goes on",
    "that a new job and a close never both win",
    "that an unreachable batch system is an error, never nothing",
    "forget: no VM is gone for sure",
)
"""What needs jobs, broken daemons or dead VMs: tests/contract does that."""


class Grade(Enum):
    """What became of one thing that was looked at."""

    GOOD = "good"
    NOTE = "note"
    """Allowed by the contract, but worth knowing."""
    FAILED = "FAILED"
    NOT_TRIED = "not tried"


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    grade: Grade
    what: str
    """The method, or the part of it, that was looked at."""
    text: str


class _Call(threading.Thread):
    """A call in a thread of its own, which can be left to itself."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._function = function
        self.answer: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.answer = self._function()
        except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread, not swallowed
            self.error = error


class BrokenError(Exception):
    """There is no answer to go on with; the text says how the contract was broken."""


class Examiner:
    """Asks a plugin, tells every finding, and counts what broke the contract."""

    def __init__(self, clock: Clock, timeout_seconds: float, tell: Callable[[Finding], None]) -> None:
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._tell = tell
        self._figures = ""
        self.failures = 0
        self.hangs = False
        """True once a call was left to itself: this process cannot end in the ordinary way then."""

    def load(self, name: str, path: Path) -> BatchSystem | None:
        """Return the plugin `name` as the configuration file at `path` sets it up; None if that cannot be done."""
        try:
            batch: BatchSystem = self._call("load", lambda: load(name, read_settings(path, name)))
        except ConfigError as error:
            for problem in error.problems:
                self._note(Grade.FAILED, "load", problem)
        except BrokenError as error:
            self._note(Grade.FAILED, "load", str(error))
        else:
            self._note(Grade.GOOD, "load", f"{type(batch).__module__}.{type(batch).__qualname__}")
            return batch
        return None

    def examine(self, batch: BatchSystem, pause_seconds: float, close_idle: bool) -> None:
        """Try `batch`, with a pause between the first and the second round of questions."""
        self._try("check", lambda: self._check(batch))
        self._try("demand", lambda: self._demand(batch))
        asked_at = self._clock.now()
        before = self._try("workers", lambda: self._workers(batch))
        if not self.hangs:
            self._clock.sleep(pause_seconds)
        groups = self._try("demand", lambda: self._demand(batch))
        after = self._try("workers", lambda: self._workers(batch))
        if before is not None and after is not None:
            self._compare(before, after, self._clock.now() - asked_at)
        self._match(batch, groups or (), after or ())
        if all(hasattr(batch, method) for method in ADVISING):
            self._try("advice", lambda: self._advise(cast("Adviser", batch)))
        if not close_idle:
            self._note(Grade.NOT_TRIED, "close", "--close-idle closes an idle worker and opens it again")
        elif after is not None:
            self._close_and_reopen(batch, after)
        for what in NOT_TRIED:
            self._note(Grade.NOT_TRIED, "", what)

    def _note(self, grade: Grade, what: str, text: str) -> None:
        self.failures += grade is Grade.FAILED
        self._tell(Finding(grade, what, text))

    def _note_all(self, what: str, faults: Sequence[str]) -> None:
        for fault in faults[:MOST_FAULTS]:
            self._note(Grade.FAILED, what, fault)
        if len(faults) > MOST_FAULTS:
            self._note(Grade.FAILED, what, f"and {len(faults) - MOST_FAULTS} more of the kind")

    def _try(self, what: str, step: Callable[[], Answer]) -> Answer | None:
        """Return what `step` returns, or None if it came to no end; nothing is tried of a plugin that hangs."""
        if self.hangs:
            self._note(Grade.NOT_TRIED, what, "the plugin hangs")
            return None
        try:
            return step()
        except BrokenError as error:
            self._note(Grade.FAILED, what, str(error))
            return None

    def _call(self, name: str, function: Callable[[], Any]) -> Any:
        """Return the answer to one call of the plugin. Raise BrokenError if there is none, ConfigError if that was."""
        call = _Call(function)
        started_at, before = self._clock.now(), resource.getrusage(resource.RUSAGE_SELF)
        call.start()
        call.join(self._timeout_seconds)
        if call.is_alive():
            self.hangs = True
            raise BrokenError(f"no answer within {self._timeout_seconds:g} s; every call needs a deadline of its own")
        seconds, after = self._clock.now() - started_at, resource.getrusage(resource.RUSAGE_SELF)
        cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        grown_mb = (after.ru_maxrss - before.ru_maxrss) / 1024
        self._figures = f" ({seconds:.2f} s; of this process {cpu_seconds:.2f} s, {grown_mb:.1f} MB)"
        if seconds > LONG_SECONDS:
            self._note(Grade.NOTE, name, f"took {seconds:.0f} s: above {LONG_SECONDS:g} s elastiq works on meanwhile")
        if isinstance(call.error, BatchError):
            raise BrokenError(f"the batch system could not be asked: {' '.join(str(call.error).split())}")
        if isinstance(call.error, ConfigError) and name == "load":
            raise call.error
        if call.error is not None:
            raise BrokenError(f"raised {error_text(call.error)}; nothing but BatchError may leave a plugin")
        return call.answer

    def _check(self, batch: BatchSystem) -> None:
        answer = self._call("check", batch.check)
        if not isinstance(answer, str) or not answer.strip() or not answer.isprintable():
            raise BrokenError(f"answered {excerpt(repr(answer))}, not one line of text")
        self._note(Grade.GOOD, "check", answer + self._figures)

    def _demand(self, batch: BatchSystem) -> tuple[Demand, ...] | None:
        answer = self._call("demand", batch.demand)
        figures = self._figures
        faults = demand_faults(answer)
        self._note_all("demand", faults)
        if faults:
            return None
        groups: tuple[Demand, ...] = answer
        jobs = sum(group.jobs for group in groups)
        self._note(Grade.GOOD, "demand", f"jobs: {jobs}, in groups: {len(groups)}{figures}")
        return groups

    def _workers(self, batch: BatchSystem) -> tuple[Worker, ...] | None:
        answer = self._call("workers", batch.workers)
        figures = self._figures
        faults = workers_faults(answer)
        self._note_all("workers", faults)
        if faults:
            return None
        workers: tuple[Worker, ...] = answer
        told = sum(bool(worker.instance_id or worker.address) for worker in workers)
        idle = sum(not worker.jobs for worker in workers)
        closed = sum(worker.closed for worker in workers)
        others = sum(worker.closed_by_other for worker in workers)
        self._note(
            Grade.GOOD,
            "workers",
            f"workers: {len(workers)}, idle: {idle}, closed: {closed}, by others: {others}{figures}",
        )
        if told < len(workers):
            self._note(Grade.NOTE, "workers", f"{len(workers) - told} of them name neither instance id nor address")
        return workers

    def _compare(self, before: Sequence[Worker], after: Sequence[Worker], elapsed_seconds: float) -> None:
        both = [pair for pair in pairs(before, after) if None not in (pair[0].idle_seconds, pair[1].idle_seconds)]
        faults = later_faults(before, after, elapsed_seconds)
        self._note_all("workers", faults)
        if not both:
            self._note(Grade.NOT_TRIED, "workers", "idle times: no worker was idle both times")
        elif all(one.idle_seconds == other.idle_seconds for one, other in both):
            self._note(Grade.NOTE, "workers", "no idle time grew; if --pause-s 900 shows the same, they stand still")
        elif not faults:
            self._note(Grade.GOOD, "workers", f"idle times grow as the clock does (workers: {len(both)})")

    def _match(self, batch: BatchSystem, groups: Sequence[Demand], workers: Sequence[Worker]) -> None:
        """Have what waits judged: before there is a template, by that of an open worker, and by a damaged one."""
        if not all(hasattr(batch, method) for method in MATCHMAKING):
            self._note(Grade.NOTE, "judge", "it judges no jobs: each is taken to run on every worker")
            return
        matchmaker = cast("Matchmaker", batch)
        jobs = Counter({"": 0})
        for group in groups:
            jobs[group.wants] += group.jobs
        self._try("judge", lambda: self._judge(matchmaker, jobs, "", "before there is a worker"))
        worker = next((one for one in workers if not (one.closed or one.hurt)), None)
        if worker is None:
            self._note(Grade.NOT_TRIED, "template", "no worker is open and whole")
            return
        template = self._try("template", lambda: self._template(matchmaker, worker))
        if template is not None:
            self._try("judge", lambda: self._judge(matchmaker, jobs, template, f"by {label(worker)}"))
            self._try("judge", lambda: self._judge_by_garbage(matchmaker, jobs, template))

    def _template(self, batch: Matchmaker, worker: Worker) -> str | None:
        answer = self._call("template", lambda: batch.template(worker))
        figures = self._figures
        faults = template_faults(answer)
        self._note_all("template", faults)
        if faults:
            return None
        template: str = answer
        own = [name for name in (worker.instance_id, worker.address) if name and name in template]
        if own:
            self._note(Grade.NOTE, "template", f"has {own[0]} in it, which only {label(worker)} has")
        if self._call("template", lambda: batch.template(worker)) != template:
            self._note(Grade.NOTE, "template", "is another one at once: has it something in it that is only now?")
        self._note(Grade.GOOD, "template", f"of {label(worker)}: {len(template)} characters{figures}")
        return template

    def _judge(self, batch: Matchmaker, jobs: Counter[str], template: str, when: str) -> None:
        judged = self._judged(batch, jobs, template)
        figures = self._figures
        if judged[0].answer is not Eligibility.YES:
            raise BrokenError(f"jobs that want nothing are judged {_words(judged[0])}, {when}; no VM would be launched")
        counts = Counter(one.answer for one in judged[1:])
        kinds = ", ".join(f"{answer.value}: {counts[answer]}" for answer in Eligibility)
        self._note(Grade.GOOD, "judge", f"kinds of jobs, {when}: {kinds}{figures}")
        told: Counter[str] = Counter()
        for one, count in zip(judged, jobs.values()):
            if one.answer is not Eligibility.YES:
                told[_words(one)] += count
        for text, count in told.most_common(MOST_FAULTS):
            self._note(Grade.NOTE, "judge", f"{count} waiting jobs, {when}: {text}")

    def _judge_by_garbage(self, batch: Matchmaker, jobs: Counter[str], template: str) -> None:
        self._judged(batch, jobs, template[: len(template) // 2])
        no = [one for one in self._judged(batch, jobs, GARBAGE) if one.answer is Eligibility.NO]
        if no:
            raise BrokenError(f"by a damaged template jobs are judged {_words(no[0])}; unknown is the answer then")
        self._note(Grade.GOOD, "judge", "a damaged template does no harm")

    def _judged(self, batch: Matchmaker, jobs: Counter[str], template: str) -> tuple[Judgement, ...]:
        answer = self._call("judge", lambda: batch.judge(tuple(jobs), template))
        faults = judgement_faults(answer, len(jobs))
        if faults:
            raise BrokenError(faults[0])
        judged: tuple[Judgement, ...] = answer
        return judged

    def _advise(self, batch: Adviser) -> None:
        answer = self._call("advice", batch.advice)
        faults = advice_faults(answer)
        self._note_all("advice", faults)
        for one in () if faults else answer:
            self._note(Grade.NOTE, "advice", one)

    def _close_and_reopen(self, batch: BatchSystem, workers: Sequence[Worker]) -> None:
        """Close the worker that has been idle for longest, see that it shows, and open it again whatever happens."""
        idle = [worker for worker in workers if worker.idle_seconds is not None and not worker.closed]
        if not idle:
            self._note(Grade.NOT_TRIED, "close", "no idle open worker")
            return
        worker = max(idle, key=lambda worker: worker.idle_seconds or 0.0)
        try:
            self._try("close", lambda: self._close(batch, worker))
        finally:
            if self.hangs:
                self._note(Grade.FAILED, "reopen", f"the plugin hangs: {label(worker)} may still be closed")
            else:
                self._try("reopen", lambda: self._reopen(batch, worker))

    def _close(self, batch: BatchSystem, worker: Worker) -> None:
        answer = self._call("close", lambda: batch.close(worker))
        if answer is Closing.BUSY:
            self._note(Grade.NOT_TRIED, "close", f"a job has just got in on {label(worker)}")
            return
        if answer is not Closing.CLOSED:
            raise BrokenError(f"answered {excerpt(repr(answer))}, which is no Closing")
        self._note(Grade.GOOD, "close", f"{label(worker)} is closed{self._figures}")
        shown = self._listed(batch, worker)
        if any(not one.closed or one.closed_by_other or one.jobs for one in shown):
            raise BrokenError(f"{label(worker)} was said to be closed, but is listed as {shown[0]}")
        known = [("again", worker)]
        if worker.instance_id or worker.address:
            known.append(("by its VM alone", replace(worker, name="")))
        for how, asked in known:
            answer = self._call("close", lambda asked=asked: batch.close(asked))  # type: ignore[misc]
            if answer is not Closing.CLOSED:
                raise BrokenError(f"{label(worker)} is closed; closed {how}, the answer is {excerpt(repr(answer))}")
        self._note(Grade.GOOD, "close", "a closed worker closes again")

    def _reopen(self, batch: BatchSystem, worker: Worker) -> None:
        """Open `worker` and wait until it is listed so, twice: the second time is no error."""
        by_hand = f"open {label(worker)} by hand if it stays closed"
        try:
            for _ in range(2):
                self._call("reopen", lambda: batch.reopen(worker))
                figures = self._figures
            until = self._clock.now() + self._timeout_seconds
            while not any(not one.closed for one in self._listed(batch, worker)):
                if self._clock.now() > until:
                    raise BrokenError(f"it was reopened, but is not listed as open after {self._timeout_seconds:g} s")
                self._clock.sleep(1.0)
        except BrokenError as error:
            raise BrokenError(f"{error}; {by_hand}") from error
        self._note(Grade.GOOD, "reopen", f"{label(worker)} is open{figures}")

    def _listed(self, batch: BatchSystem, worker: Worker) -> list[Worker]:
        answer = self._call("workers", batch.workers)
        faults = workers_faults(answer)
        if faults:
            raise BrokenError(f"workers: {faults[0]}")
        return [one for one in answer if is_same(one, worker)]


def _words(judgement: Judgement) -> str:
    return f"{judgement.answer.value}: {one_line(judgement.reason, 200)}"


class _Report:
    """Lines of text for people."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def tell(self, finding: Finding) -> None:
        self.say(f"{finding.grade.value:9}  {finding.what:8}  {printable(finding.text)}")

    def say(self, line: str) -> None:
        try:
            print(line, file=self._stream, flush=True)
        except BrokenPipeError:
            # The reader has seen enough (`| head`), but a worker that was closed has to be opened again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine the plugin that the command line names, and return the exit code."""
    options = _arguments(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # no text of a plugin's can break the report
    report = _Report(sys.stdout)
    examiner = Examiner(Clock(), options.timeout_s, report.tell)
    try:
        batch = examiner.load(options.name, options.config)
        if batch is not None:
            examiner.examine(batch, options.pause_s, options.close_idle)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    failures = examiner.failures
    report.say(f"\n{failures} broken" if failures else "\nnothing broken")
    if examiner.hangs:
        os._exit(1)  # the thread that hangs would be waited for, or crash in a foreign library
    return 1 if failures else 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m elastiq.plugins.check",
        description="Try a batch plugin on a live batch system. Submits nothing, and changes nothing by itself.",
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="as in batch_plugin: a plugin's name, or the path of its module")
    parser.add_argument("--config", metavar="FILE", type=Path, required=True, help="elastiq's configuration file")
    parser.add_argument(
        "--close-idle",
        action="store_true",
        help="close the worker that has been idle for longest and open it again; stop elastiq first",
    )
    parser.add_argument(
        "--pause-s", metavar="SECONDS", type=_seconds, default=5.0, help="between the two rounds of questions (5)"
    )
    parser.add_argument(
        "--timeout-s", metavar="SECONDS", type=_seconds, default=120.0, help="how long any call may take (120)"
    )
    return parser.parse_args(arguments)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 86400:
        raise argparse.ArgumentTypeError("must be from 0 to 86400")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
