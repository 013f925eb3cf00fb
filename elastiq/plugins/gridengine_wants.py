"""What Grid Engine's jobs want beside their shape, as a text, and whether workers could run them. Pure functions.

A worker runs a job if one of its queues does: one that the job asks for, in a host group that it asks for, with its
parallel environment, with every complex that it asks for offered by queue, host or the whole cluster and fitting at
each of them that has it, and with no complex that a job has to ask for (FORCED) and this one does not.

Access lists, projects, calendars, resource quotas, checkpointing and reservations are not looked at: whom they keep
waiting waits for something else than a worker, and what that costs is found out by the planner.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from elastiq.model import Eligibility, Judgement
from elastiq.plugins import WANTS_LIMIT
from elastiq.plugins.gridengine_complexes import QUEUE_LIMITS, TOTALS, Complexes, Resource, number
from elastiq.text import shown

VERSION = 1
"""Of templates; those of others are not understood."""

_OPEN_NAME = re.compile(r"[*?\[!]")
_TOKEN = re.compile(r"[!|&()]|[^!|&() ]+")
_NESTING_LIMIT = 50
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
}
_TOO_LONG = "too long"


@dataclass(frozen=True)
class Queue:
    """A queue as it is on workers of a kind."""

    environments: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    """By complex: its limits, and what it offers."""
    types: str = ""


@dataclass(frozen=True)
class Template:
    """What decides which jobs workers of a kind run."""

    queues: Mapping[str, Queue]
    groups: tuple[str, ...] = ()
    """The host groups that they are in, each with its @."""
    values: Mapping[str, str] = field(default_factory=dict)
    """By complex: what the host offers, and what its load always says."""
    loads: tuple[str, ...] = ()
    """Complexes of which the load says sometimes this, sometimes that."""
    everywhere: Mapping[str, str] = field(default_factory=dict)
    """By complex: what the cluster as a whole offers."""
    complexes: Mapping[str, Resource] = field(default_factory=dict)
    site: str = ""
    """Changes whenever somebody changes the queues of the cluster."""


def wants_of(environment: str, queues: Sequence[str], requests: Mapping[str, str], complexes: Complexes) -> str:
    """Return what jobs want beside their shape, as a text for `judge`; empty if that is nothing.

    Of what the shape counts alone only the name is in it, so that amounts make no kinds of jobs of their own.
    """
    told = complexes.told_by_shape
    counted = {name: "" if name in told else requests[name] for name in requests if name in complexes.counted}
    others = {name: value for name, value in requests.items() if name not in complexes.counted}
    parts = {"m": counted, "l": others, "pe": environment, "q": sorted(queues)}
    text = json.dumps({key: part for key, part in parts.items() if part}, sort_keys=True, separators=(",", ":"))
    if len(text) > WANTS_LIMIT:
        return json.dumps({_TOO_LONG: True})
    return "" if text == "{}" else text


def to_text(template: Template) -> str:
    """Return `template` as a text that `judge` understands."""
    document = {
        "version": VERSION,
        "queues": {name: [queue.environments, queue.values, queue.types] for name, queue in template.queues.items()},
        "groups": template.groups,
        "values": template.values,
        "loads": template.loads,
        "everywhere": template.everywhere,
        "complexes": {
            name: [one.consumable, one.type, one.relation, one.requestable] for name, one in template.complexes.items()
        },
        "site": template.site,
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def _template(text: str) -> Template | None:
    """Return the template that `text` is, or None if it is none of this version."""
    try:
        document = json.loads(text)
        if document["version"] != VERSION:
            return None
        return Template(
            {
                name: Queue(_texts(environments), _values(values), _text(types))
                for name, (environments, values, types) in document["queues"].items()
            },
            _texts(document["groups"]),
            _values(document["values"]),
            _texts(document["loads"]),
            _values(document["everywhere"]),
            {
                name: Resource(_text(consumable), "0", _text(kind), _text(relation), _text(requestable))
                for name, (consumable, kind, relation, requestable) in document["complexes"].items()
            },
            _text(document["site"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(_text(one) for one in value)


def _values(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError
    return {name: _text(one) for name, one in value.items()}


@dataclass(frozen=True)
class Wants:
    """What jobs want, of a text."""

    environment: str = ""
    queues: tuple[str, ...] = ()
    counted: Mapping[str, str] = field(default_factory=dict)
    """Requests for what the shape counts; some without the amount."""
    others: Mapping[str, str] = field(default_factory=dict)

    @property
    def requests(self) -> Mapping[str, str]:
        """All of them."""
        return {**self.counted, **self.others}

    @property
    def hosts(self) -> tuple[str, ...]:
        """The machines that it asks for by name, if it takes no other."""
        host = self.others.get("hostname", "")
        if host and not _OPEN_NAME.search(host):
            return (host,)
        hosts = [queue.partition("@")[2] for queue in self.queues]
        named = bool(hosts) and all(host and host[0] != "@" and not _OPEN_NAME.search(host) for host in hosts)
        return tuple(dict.fromkeys(hosts)) if named else ()


def parsed(text: str) -> Wants | None:
    """Return what `text` stands for, or None if it cannot be read."""
    if not text:
        return Wants()
    try:
        document = json.loads(text)
        if _TOO_LONG in document:
            return None
        queues, counted = _texts(document.get("q", [])), _values(document.get("m", {}))
        return Wants(_text(document.get("pe", "")), queues, counted, _values(document.get("l", {})))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


@dataclass(frozen=True)
class Supposed:
    """What workers are said to offer, beside what nobody knows."""

    queues: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    """By complex."""
    complexes: Mapping[str, Resource] = field(default_factory=dict)
    """What these are, as far as it is known."""


def judged(
    wants: Sequence[str],
    template_text: str,
    site: str,
    supposed: Supposed | None = None,
    complexes: Mapping[str, Resource] | None = None,
) -> tuple[Judgement, ...]:
    """Return for each of `wants` whether workers like those of the template could run such jobs; without a template,
    such that offer what is `supposed`.

    `site` is that of the cluster as it is now, empty if it is not known: what a template of another one denies may have
    become possible since. `complexes` are those of the cluster, as far as they are known.
    """
    template = _template(template_text) if template_text else None
    without = replace(supposed or Supposed(), complexes=complexes or {})
    return tuple(_judged(one, template_text, template, site, without) for one in wants)


def _judged(text: str, template_text: str, template: Template | None, site: str, supposed: Supposed) -> Judgement:
    wants = parsed(text)
    if wants is None:
        return Judgement(Eligibility.UNKNOWN, "they ask for more than can be compared")
    if wants.hosts:
        hosts = shown(", ".join(wants.hosts))
        return Judgement(Eligibility.NO, f"host {hosts}: a new worker is another one")
    if not template_text:
        return _without_template(wants, supposed)
    if template is None:
        reason = "what is remembered of workers is damaged or another version's"
        return Judgement() if wants == Wants() else Judgement(Eligibility.UNKNOWN, reason)
    reason = _refusal(wants, template)
    if not reason:
        return Judgement()
    if site and template.site != site:
        return Judgement(Eligibility.UNKNOWN, f"{reason}; but the queues have changed since a worker was looked at")
    return Judgement(Eligibility.NO, reason)


def _without_template(wants: Wants, supposed: Supposed) -> Judgement:
    in_one = any(_names_queue(queue, one) for queue in wants.queues if "@" not in queue for one in supposed.queues)
    unknown = [] if in_one else [f"queue {shown(queue)}" for queue in wants.queues]
    for name, asked in wants.others.items():
        offered = supposed.values.get(name)
        meets = None if offered is None else _meets_perhaps(asked, offered, supposed.complexes.get(name))
        if offered is not None and meets is False:
            return Judgement(Eligibility.NO, _less(name, asked, offered))
        is_elsewhere = name in QUEUE_LIMITS or name == "hostname" or _is_of_queue(name, asked, supposed)
        if meets is None and not is_elsewhere:
            unknown.append(f"complex {shown(name)}")
    if not unknown:
        return Judgement()
    return Judgement(Eligibility.UNKNOWN, f"{', '.join(unknown[:3])}: no worker has been seen yet that would tell")


def _less(name: str, asked: str, offered: str) -> str:
    return f"complex {shown(name)}: {shown(asked)} is asked for, workers like this have {shown(offered)}"


def _is_of_queue(name: str, asked: str, supposed: Supposed) -> bool:
    return name == "qname" and any(matches(asked, queue, "STRING") for queue in supposed.queues)


def _meets_perhaps(asked: str, offered: str, resource: Resource | None) -> bool | None:
    """Return whether what is offered is enough; None if it is not known how the two are compared."""
    if resource is None:
        return True if asked.lower() == offered.lower() else None
    return _meets(asked, offered, resource)


def takes_queue(wants: Wants, queue: str) -> bool:
    """Return whether jobs could run in `queue`, as far as that is for them to say."""
    asked = wants.others.get("qname", "*")
    is_listed = not wants.queues or any(_names_queue(one.partition("@")[0], queue) for one in wants.queues)
    return is_listed and matches(asked, queue, "STRING")


def _names_queue(asked: str, queue: str) -> bool:
    """Return whether a job that asks for a queue by this name takes `queue`; without a name it takes any."""
    return not asked or matches(asked, queue, "STRING")


def _refusal(wants: Wants, template: Template) -> str:
    """Return why no queue of the template takes such jobs; empty if one does."""
    queues = [name for name in template.queues if _is_asked_for(name, wants, template)]
    if not queues:
        asked = ", ".join(wants.queues)
        there = ", ".join(sorted(template.queues)) or "no queue"
        groups = f" and groups {', '.join(template.groups)}" if "@@" in asked and template.groups else ""
        return f"queue {shown(asked)}: workers like this are only in {shown(there)}{shown(groups)}"
    reasons = [_refusal_of(name, wants, template) for name in queues]
    return "" if "" in reasons else reasons[0]


def _is_asked_for(queue: str, wants: Wants, template: Template) -> bool:
    if not wants.queues:
        return True
    for asked in wants.queues:
        name, _, host = asked.partition("@")
        if not _names_queue(name, queue):
            continue
        # By name a new worker is none; by a pattern it may be any.
        if not host or (host[0] != "@" and _OPEN_NAME.search(host)):
            return True
        if host[0] == "@" and any(matches(host, group, "HOST") for group in template.groups):
            return True
    return False


def _refusal_of(name: str, wants: Wants, template: Template) -> str:
    queue = template.queues[name]
    asked = wants.environment
    if asked and not any(matches(asked, environment, "STRING") for environment in queue.environments):
        there = ", ".join(queue.environments) or "none"
        return f"parallel environment {shown(asked)}: queue {name} of workers like this has {shown(there)}"
    if not asked and queue.types and not {"BATCH", "INTERACTIVE"} & set(re.findall(r"[A-Z]+", queue.types)):
        return f"queue {name} of workers like this takes parallel jobs alone"
    requests = wants.requests
    for request, value in requests.items():
        reason = _missing(request, value, name, template)
        if reason:
            return reason
    for offered in (*queue.values, *template.values):
        one = template.complexes.get(offered)
        if one and one.requestable == "FORCED" and offered not in requests:
            return f"workers like this take only jobs that ask for complex {offered}"
    return ""


def _missing(name: str, asked: str, queue: str, template: Template) -> str:
    """Return why a request is not met; empty if it is, or nobody can tell."""
    resource = template.complexes.get(name)
    if name in ("hostname", "slots"):
        return ""  # names are not known before, and slots are counted by the shape
    levels = (template.queues[queue].values, template.values, template.everywhere)
    offers = [queue] if name == "qname" else [values[name] for values in levels if name in values]
    if not offers and name in TOTALS and TOTALS[name] in template.values:
        offers = [template.values[TOTALS[name]]]
    if not offers and (name in template.loads or name in QUEUE_LIMITS):
        return ""
    if not offers or resource is None:
        return f"complex {shown(name)} is not offered by workers like this"
    for offered in offers if asked else ():
        if not _meets(asked, offered, resource):
            return _less(name, asked, offered)
    return ""


def _meets(asked: str, offered: str, resource: Resource) -> bool:
    if resource.is_exclusive:
        return True
    if not resource.is_number:
        return matches(asked, offered, resource.type) is (resource.relation != "!=")
    wanted, there = number(asked, resource.type), number(offered, resource.type)
    if wanted is None or there is None:
        return True
    return _COMPARE.get(resource.relation, _COMPARE["<="])(wanted, there)


def matches(expression: str, value: str, kind: str) -> bool:
    """Return whether `value` is what `expression` of Grid Engine means: patterns, joined by `|`, `&`, `!` and
    parentheses. CSTRING and HOST ignore case. What is no expression matches nothing, as in Grid Engine."""
    if kind in ("CSTRING", "HOST"):
        expression, value = expression.lower(), value.lower()
    tokens = _TOKEN.findall(expression)
    try:
        found, rest = _either(tokens, value, 0)
    except _NoExpressionError:
        return False
    return found and not rest


class _NoExpressionError(Exception):
    """It does not end, or begins with an operator."""


def _either(tokens: list[str], value: str, depth: int) -> tuple[bool, list[str]]:
    found, rest = _both(tokens, value, depth)
    while rest and rest[0] == "|":
        other, rest = _both(rest[1:], value, depth)
        found = found or other
    return found, rest


def _both(tokens: list[str], value: str, depth: int) -> tuple[bool, list[str]]:
    found, rest = _simple(tokens, value, depth)
    while rest and rest[0] == "&":
        other, rest = _simple(rest[1:], value, depth)
        found = found and other
    return found, rest


def _simple(tokens: list[str], value: str, depth: int) -> tuple[bool, list[str]]:
    if not tokens or tokens[0] in ("|", "&", ")") or depth > _NESTING_LIMIT:
        raise _NoExpressionError
    first, rest = tokens[0], tokens[1:]
    if first == "!":
        found, rest = _simple(rest, value, depth + 1)
        return not found, rest
    if first == "(":
        found, rest = _either(rest, value, depth + 1)
        if not rest or rest[0] != ")":
            raise _NoExpressionError
        return found, rest[1:]
    return fnmatchcase(value, first.replace("[^", "[!")), rest
