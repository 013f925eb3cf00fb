"""The text format 0.0.4 of Prometheus, written by hand: a library is not worth a dependency here."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Sample = tuple[Mapping[str, str], float]


@dataclass(frozen=True)
class Family:
    """One metric: its name, whether it is a gauge, a counter or a histogram, what it means, and its values."""

    name: str
    kind: str
    meaning: str
    samples: Sequence[Sample]
    """Labels and value. Of a histogram `suffixes` says what each is."""
    suffixes: Sequence[str] = ()


def lines(family: Family, always: Mapping[str, str]) -> list[str]:
    """Return the lines of one metric, each sample with the labels `always`; none if nothing is known of it."""
    if not family.samples:
        return []
    meaning = family.meaning.replace("\\", "\\\\").replace("\n", "\\n")
    suffixes = family.suffixes or [""] * len(family.samples)
    return [
        f"# HELP {family.name} {meaning}",
        f"# TYPE {family.name} {family.kind}",
        *(
            f"{family.name}{suffix}{{{_labels({**always, **labels})}}} {_value(value)}"
            for suffix, (labels, value) in zip(suffixes, family.samples)
        ),
    ]


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(_label(*label) for label in labels.items())


def _label(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{name}="{escaped}"'


def _value(value: float) -> str:
    return "+Inf" if value == math.inf else repr(float(value))


@dataclass
class Histogram:
    """How often values were at most so high."""

    limits: Sequence[float]
    counts: list[float] = field(default_factory=list)
    """One more than the limits: the last is of what is higher."""
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0.0] * (len(self.limits) + 1)

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value."""
        self.counts[bisect_left(self.limits, value)] += times
        self.total += value * times


def histograms(name: str, meaning: str, found: Iterable[tuple[Mapping[str, str], Histogram]]) -> Family:
    """Return the metric of some histograms, by their labels."""
    samples: list[Sample] = []
    suffixes: list[str] = []
    for labels, one in found:
        sum_so_far = 0.0
        for limit, count in zip((*one.limits, math.inf), one.counts):
            sum_so_far += count
            samples.append(({**labels, "le": _limit(limit)}, sum_so_far))
        samples += [(labels, one.total), (labels, sum_so_far)]
        suffixes += ["_bucket"] * len(one.counts) + ["_sum", "_count"]
    return Family(name, "histogram", meaning, samples, suffixes)


def _limit(limit: float) -> str:
    return "+Inf" if limit == math.inf else f"{limit:g}"
