"""In what an answer of a batch plugin breaks the contract, whatever the answer is. An empty list: it keeps it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields

from elastiq.model import Demand, Eligibility, Explanation, Judgement, Shape, Standing, Usage, Worker
from elastiq.plugins import ADVICE_LIMIT, EXPLANATION_LIMIT, TEMPLATE_LIMIT, WANTS_LIMIT
from elastiq.plugins.kit import LARGEST, ipv4, is_same, label
from elastiq.text import excerpt

LONGEST_IDLE_SECONDS = 10 * 365 * 86400.0
"""More than that is a time of day that was taken for a time span."""

REPORT_LAG_SECONDS = 900.0
"""For so long workers may report nothing new; then their idle times grow in steps of that size (HTCondor's default
CLASSAD_LIFETIME)."""

SLACK_SECONDS = 2.0
"""Idle times may be rounded to whole seconds, twice."""


def demand_faults(answer: object) -> list[str]:
    """Return in what an answer of `demand` breaks the contract, whatever it is; nothing if it keeps it."""
    if not isinstance(answer, tuple):
        return [f"it is a {type(answer).__name__}, not a tuple"]
    faults = [f"group {number}: {fault}" for number, group in enumerate(answer, 1) for fault in _group_faults(group)]
    kinds = Counter(
        (group.shape, group.vms_per_job, group.wants, group.takes_whole_vms)
        for group in answer
        if isinstance(group, Demand) and not faults
    )
    return faults + [f"{shape} is in {times} groups" for (shape, *_), times in kinds.items() if times > 1]


def _group_faults(group: object) -> list[str]:
    if not isinstance(group, Demand):
        return [f"it is a {type(group).__name__}, not a Demand"]
    faults = _shape_faults("shape", group.shape)
    faults += [] if _is_count(group.jobs, 1) else [f"jobs is {group.jobs!r}, not a number from 1"]
    faults += [] if isinstance(group.takes_whole_vms, bool) else ["takes_whole_vms is neither True nor False"]
    faults += [] if _is_count(group.vms_per_job, 1) else [f"vms_per_job is {group.vms_per_job!r}, not a number from 1"]
    if group.oldest_wait_seconds is not None and not _is_span(group.oldest_wait_seconds):
        faults.append(f"oldest_wait_seconds is {group.oldest_wait_seconds!r}, no time span")
    if group.running is not None and not _is_count(group.running, 0):
        faults.append(f"running is {group.running!r}, neither a number from 0 nor None")
    if not isinstance(group.wants, str) or len(group.wants) > WANTS_LIMIT:
        faults.append(f"wants is {excerpt(repr(group.wants))}, no text of at most {WANTS_LIMIT} characters")
    return faults


def workers_faults(answer: object) -> list[str]:
    """Return in what an answer of `workers` breaks the contract, whatever it is; nothing if it keeps it."""
    if not isinstance(answer, tuple):
        return [f"it is a {type(answer).__name__}, not a tuple"]
    faults = []
    for number, worker in enumerate(answer, 1):
        who = label(worker) if isinstance(worker, Worker) else f"item {number}"
        faults += [f"{who}: {fault}" for fault in _worker_faults(worker)]
    if faults:
        return faults
    places = Counter((worker.name, worker.address) for worker in answer)
    ids = Counter(worker.instance_id for worker in answer if worker.instance_id)
    return [
        *(f"{times} workers are called {name} at {address}" for (name, address), times in places.items() if times > 1),
        *(f"{times} workers have the instance id {id_}" for id_, times in ids.items() if times > 1),
    ]


def _worker_faults(worker: object) -> list[str]:
    if not isinstance(worker, Worker):
        return [f"it is a {type(worker).__name__}, not a Worker"]
    faults = _shape_faults("capacity", worker.capacity) + _shape_faults("free", worker.free, least_cpus=0)
    if not (isinstance(worker.name, str) and worker.name and worker.name.isprintable()):
        faults.append(f"name is {excerpt(repr(worker.name))}, no name")
    if worker.instance_id is not None and not (isinstance(worker.instance_id, str) and worker.instance_id):
        faults.append(f"instance_id is {worker.instance_id!r}, neither an id nor None")
    if worker.address is not None and ipv4(worker.address) is None:
        faults.append(f"address is {worker.address!r}, neither an IPv4 address nor None")
    faults += [
        f"{name} is {getattr(worker, name)!r}, neither True nor False"
        for name in ("closed", "closed_by_other", "hurt", "interrupted")
        if type(getattr(worker, name)) is not bool
    ]
    if not _is_count(worker.jobs, 0):
        faults.append(f"jobs is {worker.jobs!r}, not a number from 0")
    if worker.idle_seconds is not None and not _is_span(worker.idle_seconds):
        faults.append(f"idle_seconds is {worker.idle_seconds!r}, no time span")
    return faults or _worker_contradictions(worker)


def _worker_contradictions(worker: Worker) -> list[str]:
    """Return what cannot all be true of a worker whose fields are valid each by itself."""
    faults = []
    for field in fields(Shape):
        free, capacity = getattr(worker.free, field.name), getattr(worker.capacity, field.name)
        if capacity == 0 and field.name.endswith("_mb"):
            faults.append(f"capacity.{field.name} is 0, which no machine has: what is not known is None")
        elif None not in (free, capacity) and free > capacity:
            faults.append(f"{free} {field.name} are free of {capacity}")
    if worker.jobs and worker.idle_seconds is not None:
        faults.append(f"it has {worker.jobs} jobs and has been idle for {worker.idle_seconds:.0f} s")
    if worker.closed_by_other and not worker.closed:
        faults.append("closed_by_other is True, but closed is not")
    if worker.interrupted and not worker.closed:
        faults.append("interrupted is True, but closed is not")
    return faults


def _shape_faults(name: str, shape: object, least_cpus: int = 1) -> list[str]:
    if not isinstance(shape, Shape):
        return [f"{name} is a {type(shape).__name__}, not a Shape"]
    return [
        f"{name}.{field.name} is {getattr(shape, field.name)!r}, not a number from {least}"
        for field in fields(Shape)
        for least in (least_cpus if field.name == "cpus" else 0,)
        if not (_is_count(getattr(shape, field.name), least) or _is_unknown(getattr(shape, field.name), field.name))
    ]


def _is_unknown(value: object, name: str) -> bool:
    return value is None and name != "cpus"


def _is_count(value: object, least: int) -> bool:
    return type(value) is int and least <= value <= LARGEST


def _is_span(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value < LONGEST_IDLE_SECONDS  # type: ignore[arg-type, operator]


def template_faults(answer: object) -> list[str]:
    """Return in what an answer of `template` breaks the contract, whatever it is; nothing if it keeps it."""
    if not isinstance(answer, str):
        return [f"it is a {type(answer).__name__}, not a text"]
    if len(answer) > TEMPLATE_LIMIT:
        return [f"it has {len(answer)} characters, more than {TEMPLATE_LIMIT}"]
    return [] if answer else ["it is empty, which means that there is none"]


def narrowed_faults(answer: object) -> list[str]:
    """Return in what an answer of `narrowed` breaks the contract, whatever it is; nothing if it keeps it."""
    if not isinstance(answer, str):
        return [f"it is a {type(answer).__name__}, not a text"]
    return [] if answer else ["it is empty, as if there were nothing to narrow"]


def judgement_faults(answer: object, asked: int) -> list[str]:
    """Return in what an answer of `judge` to so many wants breaks the contract; nothing if it keeps it."""
    if not isinstance(answer, tuple) or len(answer) != asked:
        return [f"it is {excerpt(repr(answer))}, not a tuple of {asked}"]
    faults = []
    for number, one in enumerate(answer, 1):
        if not isinstance(one, Judgement) or not isinstance(one.answer, Eligibility):
            faults.append(f"judgement {number} is {excerpt(repr(one))}, not a Judgement")
        elif (
            not isinstance(one.reason, str)
            or bool(one.reason) == (one.answer is Eligibility.YES)
            or not one.reason.isprintable()
        ):
            faults.append(f"judgement {number} is {one.answer.value} with the reason {excerpt(repr(one.reason))}")
    return faults


def advice_faults(answer: object) -> list[str]:
    """Return in what an answer of `advice` breaks the contract, whatever it is; nothing if it keeps it."""
    if not isinstance(answer, tuple):
        return [f"it is a {type(answer).__name__}, not a tuple"]
    return [
        f"sentence {number} is {excerpt(repr(one))}, no line of at most {ADVICE_LIMIT} characters"
        for number, one in enumerate(answer, 1)
        if not isinstance(one, str) or not one.strip() or not one.isprintable() or len(one) > ADVICE_LIMIT
    ]


def explanation_faults(answer: object) -> list[str]:
    """Return in what an answer of `explain` breaks the contract, whatever it is; nothing if it keeps it."""
    if not isinstance(answer, Explanation) or not isinstance(answer.standing, Standing):
        return [f"it is {excerpt(repr(answer))}, not an Explanation"]
    faults = []
    text = answer.text
    if not isinstance(text, str) or len(text) > EXPLANATION_LIMIT or not text.isprintable():
        faults.append(f"its text is {excerpt(repr(text))}, no line of at most {EXPLANATION_LIMIT} characters")
    if (answer.group is not None) != (answer.standing is Standing.WAITS):
        faults.append(f"{answer.standing.value}, but in {'no' if answer.group is None else 'a'} group")
    elif answer.group is not None:
        faults += [f"its group: {fault}" for fault in _group_faults(answer.group)]
    return faults


def usage_faults(answer: object) -> list[str]:
    """Return in what an answer of `usage` breaks the contract, whatever it is; nothing if it keeps it."""
    if not isinstance(answer, tuple):
        return [f"it is a {type(answer).__name__}, not a tuple"]
    return [f"stay {number}: {fault}" for number, one in enumerate(answer, 1) for fault in _stay_faults(one)]


def _stay_faults(stay: object) -> list[str]:
    if not isinstance(stay, Usage):
        return [f"it is {excerpt(repr(stay))}, no Usage"]
    faults = []
    for name in ("user", "worker"):
        text = getattr(stay, name)
        if not isinstance(text, str) or not text or not text.isprintable():
            faults.append(f"its {name} is {excerpt(repr(text))}")
    if not _is_time(stay.begin_at) or not (stay.end_at is None or _is_time(stay.end_at)):
        faults.append(f"it is from {excerpt(repr(stay.begin_at))} to {excerpt(repr(stay.end_at))}")
    elif stay.end_at is not None and stay.end_at < stay.begin_at:
        faults.append("it ends before it begins")
    if type(stay.cpus) is not int or stay.cpus < 0:
        faults.append(f"it has {excerpt(repr(stay.cpus))} CPUs")
    return faults


def _is_time(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def later_faults(before: Sequence[Worker], after: Sequence[Worker], elapsed_seconds: float) -> list[str]:
    """Given two valid answers of `workers`, at most `elapsed_seconds` from before the first to after the second, return
    the idle times that cannot both be true."""
    faults = []
    for one, other in pairs(before, after):
        if one.idle_seconds is None or other.idle_seconds is None:
            continue
        grown = other.idle_seconds - one.idle_seconds
        said = f"{label(one)}: idle_seconds went from {one.idle_seconds:.1f} to {other.idle_seconds:.1f}"
        if grown > elapsed_seconds + REPORT_LAG_SECONDS:
            faults.append(f"{said} in {elapsed_seconds:.1f} s: is the unit wrong, or are they two machines' clocks?")
        # A job that came and went in between starts the idle time over: then it is shorter than the time between.
        if grown < -SLACK_SECONDS and other.idle_seconds > elapsed_seconds + SLACK_SECONDS:
            faults.append(f"{said}: no job can have run since")
    return faults


def pairs(before: Sequence[Worker], after: Sequence[Worker]) -> list[tuple[Worker, Worker]]:
    """Return those who are in both answers of `workers`, as they were before and after."""
    return [(one, other) for one in before for other in after if is_same(one, other)]
