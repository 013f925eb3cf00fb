"""What a single job of Grid Engine is, by what `qstat -xml -j` says of it. Pure functions.

Whether a job is held is in no field of that answer: `qstat -s h` lists those that are, of its owner.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element  # nosec B405 - only kit.xml_document reads texts

from elastiq.errors import BatchError
from elastiq.model import Standing
from elastiq.plugins import kit
from elastiq.plugins.gridengine_parse import Group
from elastiq.plugins.gridengine_query import AnswerError, Job, ranges_of
from elastiq.text import excerpt

JOB = re.compile(r"([1-9][0-9]{0,9})(?:\.([1-9][0-9]{0,8}))?")
"""A number of a job, or with it that of a task."""

_ACTIVE = 0x40 | 0x80
"""Of JAT_status: it is sent to a host, or runs there."""

_MOST_MESSAGES = 3


@dataclass(frozen=True)
class Found:
    """A job or an array."""

    job: Job
    owner: str
    tasks: int
    """How many it has; 1 if it is no array."""
    active: int
    """How many of them have a machine."""
    broken: int
    """How many of them are in error."""
    at_once: int
    """How many may run at a time; 0: any number."""
    start_at: float
    """When it asks to start; 0: at once."""
    after: tuple[str, ...]
    """Jobs that have to end first."""
    text: str
    """What Grid Engine says of it: its error, or why its scheduler has not started it."""
    numbers: tuple[range, ...] = ()
    """Of its tasks."""
    known: Mapping[int, Standing] = field(default_factory=dict)
    """What tasks are that have a machine, or are in error."""

    @property
    def group(self) -> Group:
        """Return it as one waiting job that asks for what it asks for."""
        one = self.job
        return Group(one.parallel_environment, one.least_slots, one.requests, 1, "", tuple(sorted(one.queues)))

    def standing(self, now: float, held: int) -> Standing:
        """Return what it is at the master's time `now`, if so many of its tasks are held: what is nearest to a start.
        WAITS if nothing of it all keeps it back."""
        if self.active + self.broken >= self.tasks:
            return Standing.RUNS if self.active else Standing.HELD
        if self.start_at > now:
            return Standing.NOT_DUE
        if self.after:
            return Standing.DEPENDS
        if held and held + self.active + self.broken >= self.tasks:
            return Standing.HELD
        if self.job.is_bound:
            return Standing.BOUND
        return Standing.LIMITED if self.at_once and self.active >= self.at_once else Standing.WAITS

    def standing_of(self, task: int, now: float, waiting: Iterable[range], held: Iterable[range]) -> Standing:
        """Return what one of its tasks is, if those that wait and those that are held are listed with these numbers."""
        if not _has(self.numbers, task):
            return Standing.UNKNOWN
        if task in self.known:
            return self.known[task]
        if _has(held, task):
            # Whatever else keeps the job back is said first.
            return self.standing(now, self.tasks)
        return self.standing(now, 0) if _has(waiting, task) else Standing.ENDED


def _has(ranges: Iterable[range], task: int) -> bool:
    return any(task in one for one in ranges)


def parse_job(answer: str) -> Found | None:
    """Given the output of `qstat -xml -j NUMBER`, return the job; None if there is none. Raise BatchError if it is
    something else."""
    root = kit.xml_document(answer, "qstat")
    if root.tag == "unknown_jobs":
        return None
    elements = root.findall("djob_info/element")
    if root.tag != "detailed_job_info" or len(elements) != 1:
        raise BatchError(f"qstat answered what is no job: {excerpt(answer)}")
    one = elements[0]
    states = [kit.count(state, "qstat") for state in _texts(one, "JB_ja_tasks/*/JAT_status")]
    tasks = one.findall("JB_ja_tasks/*")
    errors = [task for task in tasks if task.find("JAT_message_list") is not None]
    numbers = tuple(map(_numbers, one.findall("JB_ja_structure/*")))
    said = _texts(one, ".//QIM_message") or _texts(root, "messages/element/SME_message_list/*/MES_message")
    return Found(
        _job(one),
        _text(one, "JB_owner"),
        sum(map(len, numbers)) or 1,
        sum(bool(state & _ACTIVE) for state in states),
        len(errors),
        kit.count(_text(one, "JB_ja_task_concurrency") or "0", "qstat"),
        float(kit.count(_text(one, "JB_execution_time") or "0", "qstat")),
        tuple(_texts(one, "JB_jid_predecessor_list/*/*")),
        "; ".join(dict.fromkeys(said[:_MOST_MESSAGES])),
        numbers,
        _known(tasks),
    )


def _known(tasks: Iterable[Element]) -> Mapping[int, Standing]:
    found = {}
    for task in tasks:
        number = kit.count(_text(task, "JAT_task_number") or "0", "qstat")
        if task.find("JAT_message_list") is not None:
            found[number] = Standing.HELD
        elif kit.count(_text(task, "JAT_status") or "0", "qstat") & _ACTIVE:
            found[number] = Standing.RUNS
    return found


def _job(one: Element) -> Job:
    requests = {
        _text(request, "CE_name"): _text(request, "CE_stringval") for request in one.findall("JB_hard_resource_list/*")
    }
    slots = _text(one, "JB_pe_range/ranges/RN_min") or "1"
    return Job(
        number=_text(one, "JB_job_number"),
        slots=str(kit.count(slots, "qstat")),
        parallel_environment=_text(one, "JB_pe"),
        asked_slots=slots if _text(one, "JB_pe") else "",
        requests=requests,
        queues=_texts(one, "JB_hard_queue_list/*/QR_name"),
    )


def _numbers(structure: Element) -> range:
    first, last, step = (kit.count(_text(structure, name) or "1", "qstat") for name in ("RN_min", "RN_max", "RN_step"))
    return range(first, max(first, last) + 1, max(1, step))


def parse_listed(answer: str, number: str) -> list[range]:
    """Given the output of `qstat -xml -s h -u OWNER`, return which tasks of job `number` are held; with `-s p` which
    wait. Raise BatchError if it is no list of jobs."""
    root = kit.xml_document(answer, "qstat")
    if root.tag != "job_info":
        raise BatchError(f"qstat answered what is no list of jobs: {excerpt(answer)}")
    listed = [one for one in root.iter("job_list") if _text(one, "JB_job_number") == number]
    try:
        return [numbers for one in listed for numbers in ranges_of(_text(one, "tasks"))]
    except AnswerError as error:
        raise BatchError(f"qstat answered {error}") from error


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _texts(element: Element, path: str) -> list[str]:
    return [text for text in ((found.text or "").strip() for found in element.findall(path)) if text]
