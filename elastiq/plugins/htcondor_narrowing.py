"""Which jobs a pool takes on HTCondor, and what its workers are supposed to offer before one was seen.

`jobs` is an expression of the job alone, and evaluated as a clause of its Requirements would be. `offers` are
attributes of slots, as a startd has them in its configuration.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from elastiq.errors import BatchError
from elastiq.model import Eligibility, Judgement
from elastiq.plugins import TAKES_ONLY
from elastiq.plugins.htcondor_classads import Expression, assignments, is_well_formed, reachable, read
from elastiq.plugins.htcondor_matching import IDENTITIES, OF_ONE_JOB, Ad, asked_of_jobs, is_momentary, read_all
from elastiq.text import one_line, shown

SAID_CHARACTERS = 100
"""So much of an expression is told."""

_DECIDES = frozenset({"requirements", "start"})

_BARE = {"mytype": '"Machine"', "requirements": "true"}
"""A slot that offers nothing: whether a pool takes a job depends on the job alone."""

SMALL = {"requestcpus": "1", "requestmemory": "1", "requestdisk": "1"}
"""What a job asks for whose sizes do not matter here."""

Truths = Callable[[Sequence[Ad], Ad], Sequence[tuple[bool, bool]]]
"""`Evaluator.truths` of htcondor_judge."""


@dataclass(frozen=True)
class Narrowing:
    """A template, and what the pool's options add to it."""

    template: str
    jobs: str = ""
    offers: Mapping[str, str] = field(default_factory=dict)
    """By attribute, in small letters; nothing once there is a template."""

    @property
    def asked(self) -> frozenset[str]:
        """Return which attributes of jobs decide whether such workers, and the pool, take them."""
        expression = read(self.jobs) if self.jobs else None
        return asked_of_jobs(self.template) | (_names(expression) if expression else frozenset())


def narrowed(template: str, jobs: str, offers: str) -> str:
    """Return the three as one text. Raise BatchError if `jobs` or `offers` cannot be read."""
    expression, attributes = _jobs(jobs), _offers(offers)
    kept = {} if template else attributes
    document = {"jobs": expression.text if expression else "", "offers": kept, "template": template}
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def narrowing_of(text: str) -> Narrowing:
    """Return what `narrowed` made `text` of. Any other text is a template by itself."""
    try:
        document = json.loads(text)
        template, jobs, offers = document["template"], document["jobs"], document["offers"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return Narrowing(text)
    texts = [template, jobs, *offers.values()] if isinstance(offers, dict) else [None]
    valid = all(isinstance(one, str) for one in texts) and (not jobs or read(jobs) is not None)
    return Narrowing(template, jobs, offers) if valid else Narrowing(text)


def refusals(wants: Sequence[str], jobs: str, truths: Truths) -> list[str]:
    """Return for each of `wants` why a pool that takes only such `jobs` does not take it; nothing if it does.

    Raise BatchError if several were evaluated at a time and one of them cannot be.
    """
    expression = read(jobs)
    if expression is None:
        return [_in_doubt(jobs)] * len(wants)
    ads = [_ad(one, expression) for one in wants]
    told = [ad for ad in ads if ad is not None]
    try:
        found = iter(truths(told, _BARE) if told else ())
    except BatchError:
        if len(told) > 1:
            raise
        return [_in_doubt(jobs)] * len(wants)
    return [_in_doubt(jobs) if ad is None else "" if next(found)[0] else _with(jobs) for ad in ads]


def untold(reason: str, jobs: str) -> Judgement:
    """Return what is to be said of jobs that cannot be judged for this `reason`: not known, but a pool that takes only
    such `jobs` takes none that are not known to be."""
    return Judgement(Eligibility.NO, _in_doubt(jobs)) if jobs else Judgement(Eligibility.UNKNOWN, reason)


def _with(jobs: str) -> str:
    return f"{TAKES_ONLY} with {one_line(jobs, SAID_CHARACTERS)}"


def _in_doubt(jobs: str) -> str:
    return f"{_with(jobs)}, and whether that is true of these cannot be told"


def _ad(wants: str, expression: Expression) -> Ad | None:
    """Return of the job that `wants` stands for what `expression` asks; None if that is not all known."""
    try:
        job = json.loads(wants) if wants else {}
    except (ValueError, RecursionError):
        return None
    if not isinstance(job, dict) or not all(isinstance(text, str) for text in job.values()):
        return None
    names = _names(expression)
    if not names <= set(job):
        return None
    expressions = read_all(job)
    needed = reachable(names, expressions)
    if needed is None or not names <= needed or any(expressions[name].foreign for name in needed):
        return None
    return {**SMALL, **{name: expressions[name].text for name in needed}, "requirements": expression.text}


def _names(expression: Expression) -> frozenset[str]:
    return expression.my | expression.either


def _jobs(text: str) -> Expression | None:
    if not text:
        return None
    expression = read(text) if is_well_formed(text) else None
    if expression is None:
        if assignments(text):
            raise BatchError(f"'{shown(text)}' gives an attribute a value; to compare it write == or =?=")
        raise BatchError(f"'{shown(text)}' is no ClassAd expression; write one such as MayUseAWS =?= true")
    if expression.target:
        name = sorted(expression.target)[0]
        raise BatchError(f"TARGET.{shown(name)} is an attribute of workers; name those of jobs alone, without TARGET")
    _must_be_pure(expression)
    lonely = sorted(_names(expression) & OF_ONE_JOB)
    if lonely:
        raise BatchError(f"{lonely[0]} is another one in every job; choose by an attribute that jobs have in common")
    if "requirements" in _names(expression):
        raise BatchError("requirements are judged anyway; choose by another attribute of the job")
    return expression


def _must_be_pure(expression: Expression) -> None:
    if expression.foreign:
        raise BatchError(f"{sorted(expression.foreign)[0]}() is not evaluated here; do without it")


def _offers(text: str) -> dict[str, str]:
    if not text:
        return {}
    found = assignments(text)
    if found is None:
        example = 'HasCVMFS = true, OpSysAndVer = "Debian12"'
        raise BatchError(f"'{shown(text)}' is no list of attributes; write NAME = VALUE with commas between: {example}")
    offers: dict[str, str] = {}
    for given, value in found:
        name = given.lower()
        expression = read(value) if is_well_formed(value) else None
        if expression is None:
            raise BatchError(f"'{shown(value)}' is no value of {shown(given)}; texts stand in double quotes")
        _must_be_pure(expression)
        if name in offers:
            raise BatchError(f"{shown(given)} is given twice")
        if name in _DECIDES:
            raise BatchError(f"{shown(given)} says which jobs workers take; for that there is the option jobs")
        if name in IDENTITIES or is_momentary(name):
            raise BatchError(f"{shown(given)} is not the same on all workers and at all times; leave it out")
        offers[name] = expression.text
    if reachable(offers, read_all(offers)) is None:
        raise BatchError("attributes refer to themselves")
    return offers
