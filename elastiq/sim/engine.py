"""Virtual time: an event heap, and the Clock that the daemon is given."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random

HOUR, DAY, YEAR = 3600.0, 86400.0, 365.25 * 86400.0


class Engine:
    """True time and what is to happen. One seed gives one history: ties are settled by the order of scheduling."""

    def __init__(self, seed: int, time: float) -> None:
        self.random = Random(seed)  # noqa: S311 (a simulation must be repeatable)
        self.time = time
        self.version = 0
        """Grows with every event, so that one can tell whether the world has changed."""
        self._number = 0
        self._heap: list[tuple[float, int, Callable[[], object]]] = []

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        """Let `action` happen in `seconds`."""
        self._number += 1
        heapq.heappush(self._heap, (self.time + max(0.0, seconds), self._number, action))

    @property
    def next_event_at(self) -> float:
        """When the next event is due."""
        return self._heap[0][0] if self._heap else float("inf")

    def run_until(self, time: float) -> None:
        """Move on to `time` and let everything happen that is due on the way."""
        heap = self._heap
        while heap and heap[0][0] <= time:
            at, _, action = heapq.heappop(heap)
            # An event may itself take time, so that later ones are overdue.
            self.time = max(self.time, at)
            self.version += 1
            action()
        self.time = max(self.time, time)

    def chance(self, probability: float) -> bool:
        """Return True with `probability`."""
        return self.random.random() < probability

    def between(self, low: float, high: float) -> float:
        """Return a number between `low` and `high`."""
        return low + (high - low) * self.random.random()


class SimClock:
    """A clock of one process: the wall clock may be `offset_seconds` wrong, and never steps while the process runs."""

    def __init__(self, engine: Engine, offset_seconds: float = 0.0) -> None:
        self._engine = engine
        self._offset_seconds = offset_seconds

    def now(self) -> float:
        return self._engine.time + self._offset_seconds

    def monotonic_microseconds(self) -> int:
        return int(self._engine.time * 1_000_000)

    def sleep(self, seconds: float) -> None:
        self._engine.run_until(self._engine.time + seconds)
