"""The child process that counts Grid Engine's jobs, so that the daemon's own size does not grow with their number.

`python -m elastiq.plugins.gridengine_query` prints one JSON document, {"groups": [[parallel environment, slots, hard
requests, jobs, oldest submission], ...]}, or fails. It asks `qstat` for waiting and running jobs, for those with a
start time in the future, which look like any other in the first answer, and for the task limits (-tc) of waiting
arrays.

XML is read as it comes, by expat alone. Document types, and with them entities, are refused.
"""

from __future__ import annotations

import codecs
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import IO, cast
from xml.parsers import expat  # nosec B406 - document types are refused below

MEMORY_REQUESTS = (
    "h_vmem",
    "h_rss",
    "mem",
    "mem_free",
    "mem_total",
    "memory",
    "ram",
    "virtual_free",
    "virtual_total",
)
"""Resources of a job that mean the memory of its machine; h_vmem is what most sites use."""

GPU_REQUESTS = ("gpu", "gpus", "ngpus", "num_gpus")
"""Names that sites give to GPUs; Grid Engine itself has none."""

_KEPT_REQUESTS = frozenset(MEMORY_REQUESTS + GPU_REQUESTS)
_JOB_LIMIT = 300
"""Arrays asked for in one command, whose words may not become too many."""
_TEXT_LIMIT = 4096
_READ_BYTES = 256 * 1024
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9})(?::([0-9]{1,9}))?)?")
_NUMBER = re.compile(r"[0-9]{1,12}")
_WILDCARDS = re.compile(r"[*?\[|!&]")
# Neither allowed in XML nor escaped by qstat, which prints the names that users give to their jobs.
_CONTROL = {code: "?" for code in (*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF)}


class AnswerError(Exception):
    """What qstat printed is no complete list of jobs."""


@dataclass
class Job:
    """One `job_list` of qstat: a job, or tasks of an array that are in the same state."""

    number: str = ""
    state: str = ""
    slots: str = ""
    tasks: str = ""
    submitted: str = ""
    parallel_environment: str = ""
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
        if host and not _WILDCARDS.search(host):
            return True
        hosts = [queue.partition("@")[2] for queue in self.queues]
        return bool(hosts) and all(host and not host.startswith("@") and not _WILDCARDS.search(host) for host in hosts)


class JobReader:
    """Reads the answer of `qstat -xml -r`."""

    root = "job_info"

    def __init__(self, take: Callable[[Job], None]) -> None:
        self._take = take
        self._job: Job | None = None
        self.request = ""

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        if name == "job_list":
            self._job = Job()
        elif name == "requested_pe" and self._job:
            self._job.parallel_environment = attributes.get("name", "")
        elif name == "hard_request":
            self.request = attributes.get("name", "")

    def end(self, name: str, text: str) -> None:
        """An element ends whose text was this."""
        job = self._job
        if not job:
            return
        if name == "job_list":
            if not _NUMBER.fullmatch(job.number) or not _NUMBER.fullmatch(job.slots) or not job.state:
                raise AnswerError(f"a job without number, slots or state: {job.number[:20]!r}")
            self._take(job)
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
        elif name == "hard_request" and (self.request in _KEPT_REQUESTS or self.request == "hostname"):
            job.requests[self.request] = text
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


def read(stream: IO[bytes], reader: JobReader | LimitReader) -> None:
    """Give the XML document of `stream` to `reader`. Raise AnswerError if it is none, or not all of one."""
    parser = expat.ParserCreate()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text: list[str] = []
    roots: list[str] = []

    def begin(name: str, attributes: dict[str, str]) -> None:
        if not roots:
            roots.append(name)
        text.clear()
        reader.begin(name, attributes)

    def end(name: str) -> None:
        reader.end(name, "".join(text).strip()[:_TEXT_LIMIT])
        text.clear()

    def refuse(*_: object) -> None:
        raise AnswerError("a document type, which is not read")

    parser.buffer_text = True
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text.append
    parser.StartDoctypeDeclHandler = refuse
    try:
        while chunk := stream.read(_READ_BYTES):
            parser.Parse(decoder.decode(chunk).translate(_CONTROL), False)
        parser.Parse(decoder.decode(b"", True), True)
    except expat.ExpatError as error:
        raise AnswerError(f"what is no XML: {error}") from error
    # For jobs that ended meanwhile `qstat -j` has another root, without a number or limit in it.
    if roots != [reader.root] and not (roots == ["unknown_jobs"] and isinstance(reader, LimitReader)):
        raise AnswerError(f"a document {roots[0][:40]!r}, not {reader.root}")


def tasks_of(text: str) -> int:
    """Given `1-100:3`, `3,4` or `7`, return how many tasks that are, and 1 for a job that is no array.

    Raise AnswerError if it is something else.
    """
    total = 0
    for part in text.split(",") if text else ("1",):
        match = _RANGE.fullmatch(part.strip())
        if not match:
            raise AnswerError(f"what are no tasks: {text[:40]!r}")
        first = int(match[1])
        last, step = int(match[2] or first), int(match[3] or 1)
        if last < first or not step:
            raise AnswerError(f"what are no tasks: {text[:40]!r}")
        total += (last - first) // step + 1
    return total


class Count:
    """The waiting jobs, in groups."""

    def __init__(self, future: Iterable[str]) -> None:
        self._future = frozenset(future)
        self._groups: Counter[str] = Counter()
        self._oldest: dict[str, str] = {}
        self._running: Counter[str] = Counter()
        self._arrays: dict[str, list[tuple[str, int]]] = {}

    def take(self, job: Job) -> None:
        """Count one job of qstat's answer."""
        if job.runs:
            self._running[job.number] += tasks_of(job.tasks)
            return
        if not job.waits or job.number in self._future or job.is_bound:
            return
        kept = sorted(item for item in job.requests.items() if item[0] in _KEPT_REQUESTS)
        key = json.dumps([job.parallel_environment, int(job.slots), dict(kept)])
        oldest = self._oldest.get(key, "")
        if job.submitted and (not oldest or job.submitted < oldest):
            self._oldest[key] = job.submitted
        if job.tasks:
            self._arrays.setdefault(job.number, []).append((key, tasks_of(job.tasks)))
        else:
            self._groups[key] += 1

    @property
    def arrays(self) -> tuple[str, ...]:
        """The numbers of the arrays with waiting tasks."""
        return tuple(self._arrays)

    def groups(self, limits: dict[str, int]) -> list[list[object]]:
        """Return the groups, of each array no more tasks than its limit leaves beside those that run."""
        groups = self._groups.copy()
        for number, waiting in self._arrays.items():
            limit = limits.get(number, 0)
            room = max(0, limit - self._running[number]) if limit else sum(tasks for _, tasks in waiting)
            for key, tasks in waiting:
                groups[key] += min(tasks, room)
                room -= min(tasks, room)
        return [[*json.loads(key), jobs, self._oldest.get(key, "")] for key, jobs in groups.items() if jobs]


def _ask(options: Sequence[str], reader: JobReader | LimitReader) -> None:
    # In this process's group, so that whoever kills this one kills it, too; its errors go where ours go.
    command = ["qstat", "-xml", *options]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            read(cast(IO[bytes], process.stdout), reader)
        except AnswerError as error:
            process.kill()
            raise AnswerError(f"qstat {' '.join(options)[:60]} answered {error}") from error
    if process.returncode:
        raise AnswerError(f"qstat {' '.join(options)[:60]} failed with exit status {process.returncode}")


def count_jobs() -> list[list[object]]:
    """Return the groups of waiting jobs. Raise AnswerError or OSError if qstat does not answer in full."""
    future: list[str] = []
    _ask(["-u", "*", "-s", "ha"], JobReader(lambda job: future.append(job.number)))
    count = Count(future)
    _ask(["-r", "-u", "*", "-s", "prs"], JobReader(count.take))
    limits = LimitReader()
    for start in range(0, len(count.arrays), _JOB_LIMIT):
        _ask(["-j", ",".join(count.arrays[start : start + _JOB_LIMIT])], limits)
    return count.groups(limits.limits)


def main() -> int:
    """Print the groups on standard output and return the exit status."""
    try:
        answer = {"groups": count_jobs()}
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
