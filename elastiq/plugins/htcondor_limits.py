"""HTCondor's concurrency limits: how many more of the jobs that name one could start now."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping

UNLIMITED = 2_308_032.0
"""HTCondor's own default."""

_LIMIT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)?)(?::([0-9.]{1,20}))?")


def limits_of(text: str) -> Mapping[str, float]:
    """Given the text of a job's ConcurrencyLimits, return how much it takes of each limit; nothing if that is no plain
    string, which only a match can tell."""
    try:
        value = json.loads(text) if text.startswith('"') else ""
    except ValueError:
        value = ""
    found: Counter[str] = Counter()
    for part in str(value).replace(",", " ").split():
        match = _LIMIT.fullmatch(part)
        if match:
            amount = match[2] or "1"
            found[match[1].lower()] += float(amount) if re.fullmatch(r"\d+(\.\d*)?|\.\d+", amount) else 1.0  # type: ignore[assignment]
    return {name: amount or 1.0 for name, amount in found.items()}


class Limits:
    """What is left of each limit, as the negotiator counts it: by the running jobs, from its configuration."""

    def __init__(self, configuration: Callable[[], Mapping[str, str]]) -> None:
        self._configuration = configuration
        self._values: Mapping[str, str] | None = None
        self._left: dict[str, float] = {}

    def take(self, needed: Mapping[str, float], jobs: int) -> int:
        """Take what `jobs` jobs need of their limits, and return how many of them may run. Running jobs are to be given
        first; there may be more of them than a limit allows today."""
        allowed = jobs
        for name, amount in needed.items():
            left = self._left.setdefault(name, self._most(name))
            allowed = min(allowed, max(0, int(left / amount)))
        for name, amount in needed.items():
            self._left[name] -= amount * allowed
        return allowed

    def _most(self, name: str) -> float:
        if self._values is None:
            self._values = self._configuration()
        scope = name.rpartition(".")[0]
        names = [f"{name}_limit", f"concurrency_limit_default_{scope}", "concurrency_limit_default"]
        for variable in names:
            try:
                return float(self._values[variable])
            except (KeyError, ValueError):
                continue
        return UNLIMITED
