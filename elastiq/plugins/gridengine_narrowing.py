"""Which jobs a pool takes on Grid Engine, and what its workers are supposed to offer before one was seen. Pure.

`jobs` names queues: a job is taken that could run in one of them, because it asks for it or for no queue at all.
`offers` names complexes as `qsub -l` does (`gpu_type=a100,bigmem`), and queues with `qname=`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from elastiq.errors import BatchError
from elastiq.model import Eligibility, Judgement
from elastiq.plugins import TAKES_ONLY
from elastiq.plugins.gridengine_complexes import Resource
from elastiq.plugins.gridengine_wants import Supposed, judged, parsed, takes_queue
from elastiq.text import one_line, shown

_QUEUE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_COMPLEX = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_VALUE = re.compile(r"[^\s,=\"']+")
_SAID_CHARACTERS = 150


def narrowed(template: str, jobs: str, offers: str) -> str:
    """Return the three as one text. Raise BatchError if `jobs` or `offers` cannot be read."""
    _queues(jobs)
    _supposed(offers)
    return json.dumps({"jobs": jobs, "offers": "" if template else offers, "template": template}, sort_keys=True)


def judge(
    wants: Sequence[str], text: str, site: str, complexes: Mapping[str, Resource] | None = None
) -> tuple[Judgement, ...]:
    """Return for each of `wants` whether workers as `text`, a template or what `narrowed` made of one, tells could ever
    run such jobs. `site` is as for `judged`, and `complexes` as far as they are known."""
    template, queues, supposed = _read(text)
    found = judged(wants, template, site, supposed, complexes)
    if not queues:
        return found
    refused = Judgement(Eligibility.NO, one_line(f"{TAKES_ONLY} for queue {' or '.join(queues)}", _SAID_CHARACTERS))
    return tuple(judgement if _is_taken(one, queues) else refused for one, judgement in zip(wants, found))


def _is_taken(text: str, queues: Sequence[str]) -> bool:
    """Return whether a job could run in one of `queues`; not if that cannot be told."""
    wants = parsed(text)
    return wants is not None and any(takes_queue(wants, queue) for queue in queues)


def _read(text: str) -> tuple[str, tuple[str, ...], Supposed | None]:
    """Return the template in `text`, the queues by which jobs are taken, and what is supposed without a template."""
    try:
        document = json.loads(text)
        template, jobs, offers = (document[name] for name in ("template", "jobs", "offers"))
        if not isinstance(template, str):
            raise TypeError
        return template, _queues(jobs), None if template else _supposed(offers)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, BatchError):
        return text, (), None


def _queues(jobs: str) -> tuple[str, ...]:
    """Return the queues that the option `jobs` names; none if it names all."""
    words = _words(jobs)
    for word in words:
        if word != "*" and not _QUEUE.fullmatch(word):
            raise BatchError(f"'{shown(word)}' is no name of a queue; put commas between names, as in cloud.q, gpu.q")
    return () if "*" in words else words


def _supposed(offers: str) -> Supposed:
    queues, values = [], {}
    for word in _words(offers):
        name, equals, value = (part.strip() for part in word.partition("="))
        if not _COMPLEX.fullmatch(name) or (equals and not _VALUE.fullmatch(value)):
            raise BatchError(f"'{shown(word)}' is no complex; write NAME=VALUE as after qsub -l, with commas between")
        if name == "hostname":
            raise BatchError("hostname is another one on every worker; leave it out")
        if name == "qname":
            if not _QUEUE.fullmatch(value):
                raise BatchError(f"'{shown(word)}' names no queue; write qname=NAME")
            queues.append(value)
            continue
        if name in values:
            raise BatchError(f"{shown(name)} is given twice")
        values[name] = value or "TRUE"
    return Supposed(tuple(queues), values)


def _words(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",")) if text else ()
    if not all(words):
        raise BatchError(f"'{shown(text)}' has a comma without a name before or after it")
    return words
