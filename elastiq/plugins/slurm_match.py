"""Which jobs a worker of Slurm's could run: what jobs want, what workers offer, and both compared. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from elastiq.errors import BatchError
from elastiq.model import Eligibility, Judgement
from elastiq.plugins import TEMPLATE_LIMIT, WANTS_LIMIT, slurm_gres
from elastiq.plugins.slurm_constraints import features_in, is_met
from elastiq.text import cut, printable

_SHOWN_CHARACTERS = 100
_YES = Judgement()
_NO_TEMPLATE = "no worker has shown yet what it offers"
_DAMAGED = "what is remembered of earlier workers cannot be read"


@dataclass(frozen=True)
class Wants:
    """What decides where a job runs, but for the shape. Empty values want nothing."""

    never: str = ""
    """Why no worker ever gets such a job, in words."""
    named_nodes: bool = False
    """True if it wants certain nodes, by name. Which ones does not matter: a VM that is launched gets a name of its
    own."""
    reservation: str = ""
    """Whose nodes it wants. A node that joins is in no reservation; that with FLEX or ANY_NODES its jobs run also
    elsewhere is not looked at."""
    constraint: str = ""
    gres: Mapping[str, int] = field(default_factory=dict)
    """On each node. GPUs of any type are not in it: the shape has them."""
    partitions: tuple[str, ...] = ()
    """Of which the node must be in one; none if one of them has all nodes."""
    usual: bool = False
    """True if one of `partitions` is the default one, or the only one of the cluster."""
    tmp_mb: int = 0
    submitted: tuple[str, ...] = ()
    """Of those partitions by which pools take jobs, the ones that it is in."""

    def text(self) -> str:
        """Return it as a text: the same for the same, nothing if nothing is wanted."""
        values = {name: value for name, value in vars(self).items() if value}
        return _limited(values) if values else ""


def together(wants: Sequence[str]) -> str:
    """Return as one what is wanted by the components of a heterogeneous job, all of which a worker must be fit for."""
    kinds = sorted({one for one in wants if one})
    return _limited({"components": [json.loads(one) for one in kinds]}) if kinds else ""


def _limited(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return text if len(text) <= WANTS_LIMIT else '{"too_long":true}'


@dataclass(frozen=True)
class Offer:
    """What a node offers to jobs, as its template has it."""

    partitions: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    gres: Mapping[str, int] = field(default_factory=dict)
    tmp_mb: int = 0
    arch: str = ""
    os: str = ""

    def text(self) -> str:
        """Return it as the text of a template. Raise BatchError if that is too long."""
        text = json.dumps(vars(self), sort_keys=True, separators=(",", ":"))
        if len(text) > TEMPLATE_LIMIT:
            raise BatchError(f"what the node offers has {len(text)} characters, more than {TEMPLATE_LIMIT}")
        return text


def judge(wants: Sequence[str], template: str, supposed: Offer | None = None) -> tuple[Judgement, ...]:
    """Return for each of `wants` whether a node like `template` could ever run such jobs: `Matchmaker.judge`. Without a
    template nodes offer what is `supposed`, and nobody knows what else."""
    offer = _offer(template)
    missing = _NO_TEMPLATE if not template else _DAMAGED
    return tuple(_judgement(one, offer, missing, supposed or Offer()) for one in wants)


def parts_of(text: str) -> list[Wants]:
    """Return what is wanted by each component of jobs, which are of one unless they are heterogeneous. Raise ValueError
    if `text` cannot be read."""
    try:
        values = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is damaged") from error
    components = values.get("components") if isinstance(values, dict) else None
    return [_checked(Wants, part) for part in (components if isinstance(components, list) else [values])]


def _judgement(text: str, offer: Offer | None, missing: str, supposed: Offer) -> Judgement:
    if not text:
        return _YES
    try:
        parts = parts_of(text)
    except ValueError:
        return Judgement(Eligibility.UNKNOWN, "what the jobs want cannot be read, or is too long")
    found = [judgement for part in parts for judgement in _judgements(part, offer, missing, supposed)]
    refused = [judgement for judgement in found if judgement.answer is Eligibility.NO]
    unknown = [judgement for judgement in found if judgement.answer is Eligibility.UNKNOWN]
    first = (refused + unknown + [_YES])[0]
    if len(parts) > 1 and first.reason:
        return Judgement(first.answer, f"a component of a heterogeneous job: {first.reason}")
    return first


def _judgements(wants: Wants, offer: Offer | None, missing: str, supposed: Offer) -> Iterator[Judgement]:
    """Yield all that keeps jobs from workers, or may do so."""
    for reason in _refusals_everywhere(wants):
        yield Judgement(Eligibility.NO, reason)
    # Of what is supposed there is so much, and no more; nothing is said of all else.
    counted = {_gres_title(kind) for kind in wants.gres if _has_kind(kind, supposed.gres)}
    for what, lacks in _comparisons(wants, offer or supposed, is_known=offer is not None):
        if offer is None and lacks != "" and what not in counted:
            yield Judgement(Eligibility.UNKNOWN, f"{what}: {missing}")
        elif lacks is None:
            yield Judgement(Eligibility.UNKNOWN, f"{what}: that cannot be read")
        elif lacks:
            yield Judgement(Eligibility.NO, f"{what}: {lacks}")


def _refusals_everywhere(wants: Wants) -> Iterator[str]:
    if wants.never:
        yield wants.never
    if wants.named_nodes:
        yield "certain nodes are asked for by name, and a VM that is launched gets a name of its own"
    if wants.reservation:
        yield f"reservation {_shown(wants.reservation)}: a VM that is launched is in no reservation"


def _comparisons(wants: Wants, known: Offer, *, is_known: bool) -> Iterator[tuple[str, str | None]]:
    """Yield what is asked for that not every worker has, and what the offer `known` lacks of it: nothing, or None if
    that is not to be known. What is merely supposed may be more."""
    if wants.constraint:
        met = is_met(wants.constraint, known.features)
        absent = [feature for feature in features_in(wants.constraint) if feature not in known.features]
        plural = "s" if len(absent) > 1 else ""
        lacks = f"no worker like this has the feature{plural} {_shown(', '.join(absent))}"
        yield f"constraint {_shown(wants.constraint)}", None if met is None else "" if met else lacks
    for kind, count in sorted(wants.gres.items()):
        yield _gres_title(kind), slurm_gres.lacking(kind, count, known.gres)
    if wants.partitions and (is_known or not wants.usual):
        names = _shown(", ".join(wants.partitions))
        theirs = f"only in {_shown(', '.join(known.partitions))}" if known.partitions else "in none"
        is_in = set(wants.partitions).intersection(known.partitions)
        yield f"partition {names}", "" if is_in else f"workers like this are {theirs}"
    if wants.tmp_mb:
        lacks = f"workers like this have {known.tmp_mb} MB" if known.tmp_mb < wants.tmp_mb else ""
        yield f"{wants.tmp_mb} MB of temporary disk space", lacks


def _gres_title(kind: str) -> str:
    return f"gres {_shown(kind)}"


def _has_kind(kind: str, gres: Mapping[str, int]) -> bool:
    return kind in gres or (":" not in kind and slurm_gres.total(gres, kind) > 0)


def _shown(text: str) -> str:
    return cut(printable(text), _SHOWN_CHARACTERS)


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: type(value) is int and value >= 0,
    "tuple[str, ...]": lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
    "Mapping[str, int]": lambda value: isinstance(value, dict) and all(map(_CHECKS["int"], value.values())),
}

_Kind = TypeVar("_Kind", Wants, Offer)


def _checked(kind: type[_Kind], document: object) -> _Kind:
    """Return the `kind` that `document`, of JSON, is. Raise ValueError if it is none."""
    types = {one.name: str(one.type) for one in fields(kind)}
    if not isinstance(document, dict) or not all(
        name in types and _CHECKS[types[name]](value) for name, value in document.items()
    ):
        raise ValueError("it is damaged, or of another version")
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in document.items()
    }
    return kind(**values)


def _offer(template: str) -> Offer | None:
    """Return what `template` says, or None if it is damaged, or there is none."""
    try:
        return _checked(Offer, json.loads(template))
    except (ValueError, RecursionError):
        return None
