"""Which jobs a pool takes on Slurm, and what its nodes are supposed to offer before one was seen. Pure functions.

`jobs` names partitions, and features with feature: before each; a job that is in one of the partitions, or whose
--constraint names one of the features, is taken. `offers` names features, gres:NAME:NUMBER and partition:NAME.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from elastiq.errors import BatchError
from elastiq.model import Eligibility, Judgement
from elastiq.plugins import TAKES_ONLY, slurm_gres, slurm_match
from elastiq.plugins.slurm_constraints import features_in
from elastiq.plugins.slurm_match import Offer, Wants, parts_of
from elastiq.text import one_line, shown

_NAME = re.compile(r"[^\s,:;|&()\[\]*=\"']+")
_PREFIXES = ("feature", "partition", "gres")
_SAID_CHARACTERS = 150


@dataclass(frozen=True)
class Taken:
    """The jobs that a pool takes: all, if it names none."""

    partitions: frozenset[str] = frozenset()
    features: frozenset[str] = frozenset()

    @property
    def is_all(self) -> bool:
        return not (self.partitions or self.features)

    def takes(self, wants: Wants) -> bool:
        """Return whether a job, or a component of one, is such."""
        named = features_in(wants.constraint) if wants.constraint else ()
        return bool(self.partitions.intersection(wants.submitted) or self.features.intersection(named))

    @property
    def refusal(self) -> str:
        """Return why it does not take the others."""
        parts = [f"of partition {name}" for name in sorted(self.partitions)]
        parts += [f"with feature {name}" for name in sorted(self.features)]
        return one_line(f"{TAKES_ONLY} {' or '.join(parts)}", _SAID_CHARACTERS)


def narrowed(template: str, jobs: str, offers: str) -> str:
    """Return the three as one text. Raise BatchError if `jobs` or `offers` cannot be read."""
    taken_of(jobs)
    _supposed(offers)
    return json.dumps({"jobs": jobs, "offers": "" if template else offers, "template": template}, sort_keys=True)


def judge(wants: Sequence[str], text: str) -> tuple[Judgement, ...]:
    """Return for each of `wants` whether a node as `text`, a template or what `narrowed` made of one, tells could ever
    run such jobs: `Matchmaker.judge`."""
    template, taken, supposed = _read(text)
    judged = slurm_match.judge(wants, template, supposed)
    if taken.is_all:
        return judged
    refused = Judgement(Eligibility.NO, taken.refusal)
    return tuple(found if _is_taken(one, taken) else refused for one, found in zip(wants, judged))


def _is_taken(text: str, taken: Taken) -> bool:
    """Return whether a job is taken; not if that cannot be told. Of a heterogeneous one a component is enough."""
    try:
        return any(map(taken.takes, parts_of(text))) if text else False
    except ValueError:
        return False


def _read(text: str) -> tuple[str, Taken, Offer | None]:
    """Return the template in `text`, which jobs are taken, and what is supposed where there is no template."""
    try:
        document = json.loads(text)
        template, jobs, offers = (document[name] for name in ("template", "jobs", "offers"))
        if not isinstance(template, str):
            raise TypeError
        return template, taken_of(jobs), None if template else _supposed(offers)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, BatchError):
        return text, Taken(), None


def taken_of(jobs: str) -> Taken:
    """Return which jobs the option `jobs` names. Raise BatchError if it cannot be read."""
    partitions, features = set(), set()
    words = _words(jobs)
    for word in words:
        prefix, colon, name = word.partition(":")
        if colon and prefix == "feature":
            features.add(_named(name, word))
        elif colon and prefix == "partition":
            partitions.add(_named(name, word))
        elif colon:
            raise BatchError(_no_prefix(word, prefix, _PREFIXES[:2]))
        elif word != "*":
            partitions.add(_named(word, word))
    return Taken() if "*" in words else Taken(frozenset(partitions), frozenset(features))


def _supposed(offers: str) -> Offer:
    features, partitions, gres = [], [], []
    for word in _words(offers):
        prefix, colon, name = word.partition(":")
        if colon and prefix == "gres":
            parts = [_named(part, word) for part in name.split(":")]
            gres.append(":".join(parts))
        elif colon and prefix == "partition":
            partitions.append(_named(name, word))
        elif colon and prefix != "feature":
            raise BatchError(_no_prefix(word, prefix, _PREFIXES))
        else:
            features.append(_named(name if colon else word, word))
    return Offer(tuple(partitions), tuple(features), dict(slurm_gres.parse(",".join(gres))))


def _words(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",")) if text else ()
    if not all(words):
        raise BatchError(f"'{shown(text)}' has a comma without a name before or after it")
    return words


def _named(name: str, word: str) -> str:
    if not _NAME.fullmatch(name):
        raise BatchError(f"'{shown(word)}' is no name; put commas between names")
    return name


def _no_prefix(word: str, prefix: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(prefix.lower(), known, n=1)
    hint = f"did you mean {close[0]}:?" if close else f"there are {', '.join(f'{one}:' for one in known)}"
    return f"'{shown(word)}': {shown(prefix)}: is not known, {hint}"
