"""The child process that counts Grid Engine's jobs, so that the daemon's own size does not grow with their number.

`python -m elastiq.plugins.gridengine_query` prints one JSON document, {"groups": [[parallel environment, slots, hard
requests, queues asked for, jobs, running jobs of the same, oldest submission], ...], "unreadable": number, "example":
text}, or fails. It asks `qstat` for waiting and running jobs, for those with a start time in the future, which look
like any other in the first answer, and for the task limits (-tc) of waiting arrays.

XML is read as it comes, by expat alone, job by job: one that is no XML, for what its owner wrote into it, is left out
and counted. Document types, and with them entities, are refused.
"""

from __future__ import annotations

import codecs
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, cast
from xml.parsers import expat  # nosec B406 - document types are refused below

_JOB_LIMIT = 300
"""Arrays asked for in one command, whose words may not become too many."""
_TEXT_LIMIT = 4096
_READ_BYTES = 256 * 1024
_RECORD_LIMIT = 8 * 1024 * 1024
"""Characters; more without the end of a job is no list of jobs."""
_RECORD, _RECORD_END = "<job_list", "</job_list>"
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9})(?::([0-9]{1,9}))?)?")
_FIRST_SLOTS = re.compile(r"([0-9]{0,9})-?[0-9]{0,9}(?::[0-9]{1,9})?")
_NUMBER = re.compile(r"[0-9]{1,12}")
_OPEN_NAME = re.compile(r"[*?\[!]")
# Neither allowed in XML nor escaped by qstat, which prints the names that users give to their jobs.
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


class AnswerError(Exception):
    """What qstat printed is no complete list of jobs."""


class MalformedError(AnswerError):
    """What qstat printed is no XML, before its end."""


@dataclass
class Job:
    """One `job_list` of qstat: a job, or tasks of an array that are in the same state."""

    number: str = ""
    state: str = ""
    slots: str = ""
    tasks: str = ""
    submitted: str = ""
    parallel_environment: str = ""
    asked_slots: str = ""
    """A number or range, if it asks for a parallel environment."""
    requests: dict[str, str] = field(default_factory=dict)
    queues: list[str] = field(default_factory=list)

    @property
    def waits(self) -> bool:
        """True if it waits for a machine: `qw`, also after a rescheduling (`Rq`); not on hold, in error or deleted."""
        return "q" in self.state and not set(self.state) & set("hEdsSTN")

    @property
    def runs(self) -> bool:
        """True if it has a machine, also while it is sent there or suspended."""
        return "q" not in self.state

    @property
    def is_bound(self) -> bool:
        """True if it asks for certain machines by name: a new one is none of them."""
        host = self.requests.get("hostname", "")
        if host and not _OPEN_NAME.search(host):
            return True
        hosts = [queue.partition("@")[2] for queue in self.queues]
        return bool(hosts) and all(host and host[0] != "@" and not _OPEN_NAME.search(host) for host in hosts)

    @property
    def least_slots(self) -> int:
        """The number of slots that is enough for it to start."""
        first = _FIRST_SLOTS.fullmatch(self.asked_slots.partition(",")[0].strip())
        if not self.asked_slots or not first:
            return int(self.slots)
        return int(first[1] or 1)

    @property
    def kind(self) -> tuple[object, ...]:
        """What it asks for; jobs of one kind are counted together."""
        requests = tuple(sorted(self.requests.items()))
        return self.parallel_environment, self.least_slots, requests, tuple(sorted(self.queues))


class JobReader:
    """Reads the jobs in the answer of `qstat -xml -r`, with or without what is around them."""

    root = "job_info"

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self._job: Job | None = None
        self._request = ""

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        if name == "job_list":
            self._job = Job()
        elif name == "requested_pe" and self._job:
            self._job.parallel_environment = attributes.get("name", "")
        elif name == "hard_request":
            self._request = attributes.get("name", "")

    def end(self, name: str, text: str) -> None:
        """An element ends whose text was this."""
        job = self._job
        if not job:
            return
        if name == "job_list":
            self.jobs.append(job)
            self._job = None
        elif name == "JB_job_number":
            job.number = text
        elif name == "state":
            job.state = text
        elif name == "slots":
            job.slots = text
        elif name == "tasks":
            job.tasks = text
        elif name == "JB_submission_time":
            job.submitted = text
        elif name == "requested_pe":
            job.asked_slots = text
        elif name == "hard_request":
            job.requests[self._request] = text
        elif name == "hard_req_queue":
            job.queues.append(text)


class LimitReader:
    """Reads the answer of `qstat -xml -j`: how many tasks of an array may run at a time, 0 for no limit."""

    root = "detailed_job_info"

    def __init__(self) -> None:
        self.limits: dict[str, int] = {}
        self._number = ""

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""

    def end(self, name: str, text: str) -> None:
        """An element ends whose text was this."""
        if name == "JB_job_number":
            self._number = text
        elif name == "JB_ja_task_concurrency" and _NUMBER.fullmatch(text):
            self.limits[self._number] = int(text)


class _Document:
    """An XML document on its way to a reader."""

    def __init__(self, reader: JobReader | LimitReader) -> None:
        self.roots: list[str] = []
        self._reader = reader
        self._text: list[str] = []
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        parser.StartDoctypeDeclHandler = self._refuse

    def feed(self, text: str) -> None:
        """Read on. Raise MalformedError if that is no XML."""
        try:
            self._parser.Parse(text, False)
        except expat.ExpatError as error:
            raise MalformedError(f"what is no XML: {error}") from error

    def end(self) -> None:
        """Raise AnswerError if there should be more."""
        try:
            self._parser.Parse("", True)
        except expat.ExpatError as error:
            raise AnswerError(f"what is no XML: {error}") from error

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        if not self.roots:
            self.roots.append(name)
        self._text.clear()
        self._reader.begin(name, attributes)

    def _end(self, name: str) -> None:
        self._reader.end(name, "".join(self._text).strip()[:_TEXT_LIMIT])
        self._text.clear()

    def _refuse(self, *_: object) -> None:
        raise AnswerError("a document type, which is not read")


class Unreadable:
    """The jobs that could not be read, and what was wrong with the first of them."""

    def __init__(self) -> None:
        self.jobs = 0
        self.example = ""

    def add(self, text: str, why: str) -> None:
        """Count one more."""
        self.jobs += 1
        if not self.example:
            number = re.search(r"<JB_job_number>\s*([0-9]{1,12})\s*<", text)
            self.example = f"job {number[1] if number else 'without a number'}: {why}"


def read_jobs(stream: IO[bytes], take: Callable[[Job], None]) -> Unreadable:
    """Give each job of the list in `stream` to `take`, and return which were left out: those that are no XML, that lack
    something, or of which `take` raises AnswerError. Raise AnswerError if it is no whole list, or none can be read."""
    frame, unreadable, taken = _Document(JobReader()), Unreadable(), 0
    for between, records in _pieces(stream):
        frame.feed(between)
        for job, record in _jobs(records):
            try:
                if isinstance(job, AnswerError):
                    raise job
                if not _NUMBER.fullmatch(job.number) or not _NUMBER.fullmatch(job.slots) or not job.state:
                    raise AnswerError("it has no number, slots or state")
                take(job)
                taken += 1
            except AnswerError as error:
                unreadable.add(record, str(error))
    frame.end()
    if frame.roots != [JobReader.root]:
        raise AnswerError(f"a document {frame.roots[0][:40]!r}, not {JobReader.root}")
    if unreadable.jobs and not taken:
        raise AnswerError(f"no job that can be read: {unreadable.example}")
    return unreadable


def _pieces(stream: IO[bytes]) -> Iterator[tuple[str, list[str]]]:
    """Take the text of `stream` apart: what is around jobs, and the jobs that came with it."""
    rest = ""
    for text in _texts(stream):
        *ended, rest = (rest + text).split(_RECORD_END)
        around, records = [], []
        for part in ended:
            before, begins, record = part.partition(_RECORD)
            around.append(before if begins else "")
            records.append(begins + record + _RECORD_END)
        if len(rest) > _RECORD_LIMIT:
            raise AnswerError("what is no list of jobs")
        yield "".join(around), records
    yield rest, []


def _texts(stream: IO[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while chunk := stream.read(_READ_BYTES):
        yield _NO_XML.sub("?", decoder.decode(chunk))
    yield decoder.decode(b"", True)


def _jobs(records: Sequence[str]) -> Iterator[tuple[Job | AnswerError, str]]:
    """Read all at once, and if that fails one by one."""
    found = _parsed("".join(records))
    if not isinstance(found, AnswerError) and len(found) == len(records):
        yield from zip(found, records)
        return
    for record in records:
        alone = _parsed(record)
        if isinstance(alone, AnswerError):
            yield alone, record
        else:
            yield (alone[0] if len(alone) == 1 else AnswerError(f"it is {len(alone)} jobs")), record


def _parsed(records: str) -> list[Job] | AnswerError:
    reader = JobReader()
    document = _Document(reader)
    try:
        document.feed(f"<jobs>{records}</jobs>")
        document.end()
    except AnswerError as error:
        return error
    return reader.jobs


def read_limits(stream: IO[bytes], reader: LimitReader) -> None:
    """Give the XML document of `stream` to `reader`. Raise AnswerError if it is none, or not all of one."""
    document = _Document(reader)
    for text in _texts(stream):
        document.feed(text)
    document.end()
    # For jobs that ended meanwhile `qstat -j` has another root, without a number or limit in it.
    if document.roots not in ([reader.root], ["unknown_jobs"]):
        raise AnswerError(f"a document {document.roots[0][:40]!r}, not {reader.root}")


def tasks_of(text: str) -> int:
    """Given `1-100:3`, `3,4` or `7`, return how many tasks that are, and 1 for a job that is no array.

    Raise AnswerError if it is something else.
    """
    return sum(map(len, ranges_of(text)))


def ranges_of(text: str) -> list[range]:
    """Given the same, return the numbers of the tasks. Raise AnswerError if it is something else."""
    found = []
    for part in text.split(",") if text else ("1",):
        match = _RANGE.fullmatch(part.strip())
        if not match:
            raise AnswerError(f"what are no tasks: {text[:40]!r}")
        first = int(match[1])
        last, step = int(match[2] or first), int(match[3] or 1)
        if last < first or not step:
            raise AnswerError(f"what are no tasks: {text[:40]!r}")
        found.append(range(first, last + 1, step))
    return found


class Count:
    """The waiting jobs, in groups."""

    def __init__(self, future: Iterable[str]) -> None:
        self._future = frozenset(future)
        self._groups: Counter[tuple[object, ...]] = Counter()
        self._oldest: dict[tuple[object, ...], str] = {}
        self._running: Counter[str] = Counter()
        self._running_kinds: Counter[tuple[object, ...]] = Counter()
        self._arrays: dict[str, list[tuple[tuple[object, ...], int]]] = {}

    def take(self, job: Job) -> None:
        """Count one job of qstat's answer. Raise AnswerError if its tasks are none."""
        tasks = tasks_of(job.tasks)
        if job.runs:
            self._running[job.number] += tasks
            self._running_kinds[job.kind] += tasks
            return
        if not job.waits or job.number in self._future or job.is_bound:
            return
        kind = job.kind
        oldest = self._oldest.get(kind, "")
        if job.submitted and (not oldest or job.submitted < oldest):
            self._oldest[kind] = job.submitted
        if job.tasks:
            self._arrays.setdefault(job.number, []).append((kind, tasks))
        else:
            self._groups[kind] += 1

    @property
    def arrays(self) -> tuple[str, ...]:
        """The numbers of the arrays with waiting tasks."""
        return tuple(self._arrays)

    def leave_out(self, number: str) -> None:
        """Count an array no longer."""
        self._arrays.pop(number, None)

    def groups(self, limits: dict[str, int]) -> list[list[object]]:
        """Return the groups, of each array no more tasks than its limit leaves beside those that run."""
        groups = self._groups.copy()
        for number, waiting in self._arrays.items():
            limit = limits.get(number, 0)
            room = max(0, limit - self._running[number]) if limit else sum(tasks for _, tasks in waiting)
            for kind, tasks in waiting:
                groups[kind] += min(tasks, room)
                room -= min(tasks, room)
        return [self._row(kind, jobs) for kind, jobs in groups.items() if jobs]

    def _row(self, kind: tuple[object, ...], jobs: int) -> list[object]:
        environment, slots, requests, queues = kind
        asked = dict(cast("tuple[tuple[str, str], ...]", requests))
        return [environment, slots, asked, queues, jobs, self._running_kinds[kind], self._oldest.get(kind, "")]


def _ask(options: Sequence[str], read: Callable[[IO[bytes]], object]) -> None:
    # In this process's group, so that whoever kills this one kills it, too; its errors go where ours go.
    command = ["qstat", "-xml", *options]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            read(cast(IO[bytes], process.stdout))
        except AnswerError as error:
            process.kill()
            raise type(error)(f"qstat {' '.join(options)[:60]} answered {error}") from error
    if process.returncode:
        raise AnswerError(f"qstat {' '.join(options)[:60]} failed with exit status {process.returncode}")


def _ask_limits(numbers: Sequence[str], limits: LimitReader, unreadable: Callable[[str, str], None]) -> None:
    """Ask for the limits of all these arrays, and if that is no XML of each by itself."""
    try:
        _ask(["-j", ",".join(numbers)], lambda stream: read_limits(stream, limits))
    except MalformedError as error:
        if len(numbers) == 1:
            unreadable(numbers[0], str(error))
            return
        for number in numbers:
            _ask_limits([number], limits, unreadable)


def count_jobs() -> dict[str, object]:
    """Return the groups of waiting jobs. Raise AnswerError or OSError if qstat does not answer in full."""
    future: list[str] = []
    _ask(["-u", "*", "-s", "ha"], lambda stream: read_jobs(stream, lambda job: future.append(job.number)))
    count, unreadable = Count(future), Unreadable()

    def read(stream: IO[bytes]) -> None:
        found = read_jobs(stream, count.take)
        unreadable.jobs, unreadable.example = found.jobs, found.example

    def leave_out(number: str, why: str) -> None:
        unreadable.add(f"<JB_job_number>{number}<", why)
        count.leave_out(number)

    _ask(["-r", "-u", "*", "-s", "prs"], read)
    limits, arrays = LimitReader(), count.arrays
    for start in range(0, len(arrays), _JOB_LIMIT):
        _ask_limits(arrays[start : start + _JOB_LIMIT], limits, leave_out)
    return {"groups": count.groups(limits.limits), "unreadable": unreadable.jobs, "example": unreadable.example}


def main() -> int:
    """Print the groups on standard output and return the exit status."""
    try:
        answer = count_jobs()
    except FileNotFoundError:
        print("qstat was not found: is it installed, and in PATH?", file=sys.stderr)
        return 1
    except (AnswerError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    sys.stdout.write(json.dumps(answer, separators=(",", ":")) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
