"""What decides which jobs a worker of HTCondor could ever run: what jobs want, and templates of workers.

Sizes that jobs ask for (RequestCpus and the like) decide nothing here where a job merely asks that they be there: how
much a VM holds is the planner's to compare.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from elastiq.errors import BatchError
from elastiq.plugins import TEMPLATE_LIMIT, WANTS_LIMIT
from elastiq.plugins.htcondor_classads import Expression, ascii_only, clauses, reachable, read

Ad = Mapping[str, str]
"""Texts of expressions by the attributes' names, in small letters."""

_SIZE_CLAUSE = re.compile(
    r"(?:TARGET\.)?(Cpus|Memory|Disk|GPUs) >= (?:MY\.)?Request\1|(?:MY\.)?Request(\w+) <= (?:TARGET\.)?\2", re.I
)
"""What condor_submit adds for each size."""

NEW_NAME = '"a-worker-that-is-not-there-yet"'
IDENTITIES = frozenset({"name", "machine", "ec2instanceid", "ec2privateip", "myaddress", "addressv1", "startdipaddr"})
"""Attributes that only one worker has so."""

NOW = frozenset(
    {
        "state", "activity", "loadavg", "condorloadavg", "totalloadavg", "totalcondorloadavg", "keyboardidle",
        "consoleidle", "mycurrenttime", "currenttime", "lastheardfrom", "enteredcurrentstate",
        "enteredcurrentactivity", "daemonstarttime", "numdynamicslots", "clockmin", "clockday", "mytype",
        "name", "machine",
    }
)  # fmt: skip
"""What `idle_at` says of a worker."""

_MOMENTARY = frozenset(
    {
        "condorscratchdir", "hardwareaddress", "retirementtimeremaining", "numpids", "daemoncoredutycycle",
        "newdslotnotmatch", "jobpreemptions", "jobrankpreemptions", "jobuserpriopreemptions", "activationrequests",
        "draining", "drainreason", "drainingrequestid", "currentrank", "jobid", "globaljobid", "jobstart",
        "assignedgpus", "cpubusytime", "cpubusy", "cpuisbusy", "daemonlastreconfigtime", "lastbenchmark",
        "lastupdate", "acceptedwhiledraining", "collectorid", "numclaims", "lastperiodiccheckpoint",
        "imagesize", "nextfetchworkdelay",
    }
)  # fmt: skip
_MOMENTARY_BEGINNINGS = (
    *(
        "child",
        "claim",
        "client",
        "lastfetchwork",
        "entered",
        "expectedmachine",
        "lastdrain",
        "monitorself",
        "numdynamicslots",
    ),
    *("preempting", "publicclaim", "recent", "remote", "totaljobrun", "totaltime", "updates", "updatesequence"),
    *("authenticat", "badput", "jobstarts", "pslotrollup", "slotbroken", "brokenslot", "offlinegpus", "stats"),
)


def is_momentary(name: str) -> bool:
    """Return whether the attribute `name` tells of this moment, or of a job: a worker has another soon, or none."""
    return name in NOW or name in _MOMENTARY or name.startswith(_MOMENTARY_BEGINNINGS)


OF_ONE_JOB = frozenset(
    {
        "clusterid", "procid", "globaljobid", "jobstatus", "qdate", "enteredcurrentstatus", "jobstartdate",
        "autoclusterid",
    }
)  # fmt: skip
"""Attributes of which every job has another value, so that by them no jobs are alike."""


def wants_of(attributes: Ad, asked: Collection[str]) -> str:
    """Given a job's attributes, return its `Demand.wants`: its Requirements but for plain sizes, the attributes that
    they refer to, and those that are `asked` by workers, in small letters."""
    requirements = attributes.get("requirements", "true")
    if len(requirements) > WANTS_LIMIT:
        return _too_long(requirements)
    wants = {}
    found = clauses(requirements)
    if found is None:
        wants["requirements"] = requirements
        found = ()
    rest = [clause for clause in found if not _SIZE_CLAUSE.fullmatch(clause.text) and clause.text.lower() != "true"]
    if rest:
        wants["requirements"] = _all_of(rest)
    names = {name for clause in rest for name in clause.my | clause.either} | set(asked)
    for name, text in _with_what_they_mean(names, attributes):
        wants[name] = text
    for name in asked:
        wants.setdefault(name, "undefined")
    text = json.dumps(wants, sort_keys=True, separators=(",", ":")) if wants else ""
    return text if len(text) <= WANTS_LIMIT else _too_long(text)


def _all_of(parts: Sequence[Expression]) -> str:
    return " && ".join(f"({part.text})" for part in parts)


def _with_what_they_mean(names: Iterable[str], attributes: Ad) -> Iterator[tuple[str, str]]:
    todo, seen = sorted(names), set()
    while todo:
        name = todo.pop()
        text = attributes.get(name, "undefined")
        if name in seen or text == "undefined" or name == "requirements":
            continue
        seen.add(name)
        expression = read(text) if len(text) <= WANTS_LIMIT else None
        yield name, expression.text if expression else text
        if expression:
            todo += sorted(expression.my | expression.either)


def _too_long(text: str) -> str:
    return json.dumps({"too long": hashlib.sha256(text.encode()).hexdigest()[:32]})


def referred(attributes: Ad) -> frozenset[str]:
    """Return which attributes of its own a job's Requirements may refer to, directly."""
    text = attributes.get("requirements", "")
    found = (clauses(text) if len(text) <= WANTS_LIMIT else None) or ()
    rest = (clause for clause in found if not _SIZE_CLAUSE.fullmatch(clause.text))
    return frozenset(name for clause in rest for name in clause.my | clause.either)


def template_of(slots: Sequence[Mapping[str, Any]]) -> str:
    """Given the ads of one machine's slots as JSON, return the template of its slots that jobs match.

    Raise BatchError if there is none that is whole.
    """
    kept: list[Ad] = []
    for slot in slots:
        named = {str(name).lower(): value for name, value in slot.items()}
        is_hurt = "slotbrokencode" in named or "slotbrokenreason" in named
        if named.get("draining") is True or named.get("dynamicslot") is True or is_hurt:
            continue
        ad = _cleaned(named)
        if ad not in kept:
            kept.append(ad)
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    if not kept or len(text) > TEMPLATE_LIMIT:
        what = "advertises no slot that is open and whole" if not kept else "advertises too much to be kept"
        raise BatchError(f"the worker {what}, so it does not tell what others like it may run")
    return text


def _cleaned(slot: Mapping[str, Any]) -> Ad:
    own = _own_words(slot)
    ad: dict[str, str] = {}
    for name, value in slot.items():
        text = text_of(value)
        if name in IDENTITIES or (isinstance(value, str) and any(word in value.lower() for word in own)):
            ad[name] = NEW_NAME
        elif text is not None and not is_momentary(name):
            ad[name] = text
    for name in [name for name in ad if name.startswith("totalslot")]:
        resource = name[len("totalslot") :]
        if resource in ad:
            ad[resource] = ad[name]
    devices = sorted(name for name in ad if re.fullmatch(r"gpus_gpu_\w+", name))
    if devices:
        ad["availablegpus"] = "{" + ", ".join(devices) + "}"
    if "withinresourcelimits" in ad:
        ad["withinresourcelimits"] = "true"  # that there is enough
    ad.setdefault("requirements", ad.get("start", "true"))
    return ad


def _own_words(slot: Mapping[str, Any]) -> list[str]:
    """Return by what a text names this very machine."""
    machine = str(slot.get("machine", "")).lower()
    listens = re.match(r"<([\d.]+):", str(slot.get("myaddress", "")))
    words = [machine, str(slot.get("ec2instanceid", "")).lower(), str(slot.get("ec2privateip", "")).lower()]
    return [word for word in (*words, listens[1] if listens else "") if len(word) > 4]


def text_of(value: Any) -> str | None:
    """Return the expression that a value of an ad in JSON stands for; None if it does not tell."""
    if isinstance(value, str):
        inner = re.fullmatch(r"/Expr\((.*)\)/", value, re.DOTALL)
        return inner[1] if inner else quoted(value)
    if isinstance(value, (bool, int, float)) or value is None:
        return "undefined" if value is None else json.dumps(value)
    if isinstance(value, list):
        items = [text_of(item) for item in value]
        return None if None in items else "{" + ", ".join(map(str, items)) + "}"
    if isinstance(value, dict):
        pairs = [f"{name} = {text_of(item)}" for name, item in value.items()]
        return "[" + "; ".join(pairs) + "]"
    return None


def quoted(text: str) -> str:
    """Return `text` as a string of the ClassAd language."""
    escaped = _ESCAPED.sub(lambda match: _ESCAPES.get(match[0], f"\\{ord(match[0]):03o}"), text)
    return f'"{ascii_only(escaped)}"'


_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f]')
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def new_classad(ad: Ad) -> str:
    """Return `ad` as condor_q reads it from a file."""
    return "[\n" + "".join(f"{name} = {text};\n" for name, text in ad.items()) + "]\n"


def ads_of(template: str) -> tuple[Ad, ...] | None:
    """Return the ads of a template, or None if it is damaged or another version's."""
    try:
        ads = json.loads(template)
    except (ValueError, RecursionError):
        return None
    valid = isinstance(ads, list) and all(
        isinstance(ad, dict) and "requirements" in ad and all(isinstance(text, str) for text in ad.values())
        for ad in ads
    )
    return tuple(ads) if valid and ads else None


def asked_of_jobs(template: str) -> frozenset[str]:
    """Return which attributes of jobs decide whether workers like `template` accept them; none if it is damaged."""
    return frozenset(name for ad in ads_of(template) or () for name in asked_by(ad)) - OF_ONE_JOB


def asked_by(ad: Ad) -> frozenset[str]:
    """Return which attributes of jobs the Requirements of the slot `ad` refer to."""
    expressions = read_all(ad)
    names = reachable(["requirements"], expressions) or frozenset()
    parts = [expressions[name] for name in names]
    return frozenset(
        name
        for part in parts
        for name in part.target | {one for one in part.either if one not in ad and one not in NOW}
    )


def read_all(ad: Ad) -> dict[str, Expression]:
    found = {name: read(text) for name, text in ad.items()}
    return {name: expression for name, expression in found.items() if expression}


def idle_at(instant: float) -> dict[str, str]:
    """Return what an idle worker, up since the day before, says of an instant (seconds since the epoch)."""
    now = int(instant)
    local = time.localtime(now)
    ad = dict.fromkeys(NOW, str(now - 86_400))
    ad |= dict.fromkeys(("mycurrenttime", "currenttime", "lastheardfrom"), str(now))
    ad |= dict.fromkeys(("loadavg", "condorloadavg", "totalloadavg", "totalcondorloadavg"), "0.0")
    ad |= dict.fromkeys(("keyboardidle", "consoleidle"), "86400")
    ad |= dict.fromkeys(("name", "machine"), NEW_NAME)
    day = str((local.tm_wday + 1) % 7)
    return ad | {
        "state": '"Unclaimed"',
        "activity": '"Idle"',
        "mytype": '"Machine"',
        "numdynamicslots": "0",
        "clockmin": str(local.tm_hour * 60 + local.tm_min),
        "clockday": day,
    }
