"""What decides which jobs workers run, from what qconf prints. Pure functions; whatever is no valid answer raises
BatchError."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence

from elastiq.errors import BatchError
from elastiq.plugins import kit
from elastiq.plugins.gridengine_complexes import ADDRESS, CLOSED, INSTANCE, Complexes
from elastiq.plugins.gridengine_wants import Queue, Template
from elastiq.text import excerpt

_OWN = frozenset({INSTANCE, ADDRESS, CLOSED})
_ALWAYS_SAME = re.compile(r"arch|num_proc|m_(?:core|socket|thread|topology)|(?:mem|swap|virtual)_total")
"""Load values that are the machine's and not the moment's."""

_NO_VALUE = frozenset({"NONE", "INFINITY", "UNDEFINED", ""})
_NO_OFFER = frozenset({"slots", "hostname", "qname", "processors", "priority"})
"""What qconf says of a queue, under the name of a complex that the shape or the name answers."""


def parse_object(answer: str, who: str, key: str) -> dict[str, str]:
    """Given what `qconf` shows of one host or queue, return its attributes. Raise BatchError if it lacks `key`."""
    found = {}
    for line in kit.lines(_joined(answer)):
        name, _, value = line.strip().partition(" ")
        if name and not name.startswith("#"):
            found[name] = value.strip()
    if key not in found:
        raise BatchError(f"{who} answered without {key}: {excerpt(answer)}")
    return found


def parse_values(text: str) -> dict[str, str]:
    """Given a list such as `slots=4, h_vmem=8G` or `NONE`, return the values by complex."""
    words = (word.partition("=") for word in re.split(r"[,\s]+", text) if word)
    return {name: value for name, equals, value in words if equals and name}


def template_of(
    host: str, queues: Mapping[str, str], groups: Sequence[str], everywhere: str, complexes: Complexes, site: str
) -> Template:
    """Return the template of a host, given what qconf shows of it, of its queue instances by queue, and of the cluster
    as a whole (`global`). Raise BatchError if an answer is none."""
    shown = parse_object(host, "qconf -se", "complex_values")
    loads = parse_values(shown.get("load_values", ""))
    own = {name: value for name, value in parse_values(shown["complex_values"]).items() if name not in _OWN}
    values = {name: value for name, value in loads.items() if _ALWAYS_SAME.fullmatch(name)} | own
    return Template(
        queues={name: _queue(answer, complexes) for name, answer in queues.items()},
        groups=tuple(sorted(groups)),
        values={name: value for name, value in values.items() if name != "slots"},
        loads=tuple(sorted(set(loads) - set(values))),
        everywhere=parse_values(parse_object(everywhere, "qconf -se global", "complex_values")["complex_values"]),
        complexes=complexes.named,
        site=site,
    )


def _queue(answer: str, complexes: Complexes) -> Queue:
    shown = parse_object(answer, "qconf -sq", "qname")
    values = {
        name: value
        for name, value in shown.items()
        if name in complexes.named and name not in _NO_OFFER and value.upper() not in _NO_VALUE
    }
    values |= parse_values(shown.get("complex_values", ""))
    environments = [name for name in re.split(r"[,\s]+", shown.get("pe_list", "")) if name.upper() not in _NO_VALUE]
    return Queue(tuple(sorted(environments)), values, shown.get("qtype", ""))


def site_of(queues: str, everywhere: str, complexes: str) -> str:
    """Given what qconf shows of all queues, the cluster as a whole and the complexes, return a word that changes
    whenever one of them is changed, and not when a host comes or goes."""
    lines = [line for line in kit.lines(_joined(queues)) if not line.startswith("slots ")]
    kept = (" ".join(_without_hosts(line)) for line in lines)
    offers = parse_object(everywhere, "qconf -se global", "complex_values")["complex_values"]
    text = "\n".join((*kept, offers, complexes))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def _without_hosts(line: str) -> Iterable[str]:
    words = line.split()
    if words[:1] == ["hostlist"]:
        return (word for word in re.split(r"[,\s]+", line) if word.startswith("@") or word == "hostlist")
    # Settings for single hosts: [node7=...].
    return re.sub(r",?\s*\[[^@\[\]][^\[\]]*\]", "", line).split()


def _joined(text: str) -> str:
    return re.sub(r"\\\n\s*", "", text)
