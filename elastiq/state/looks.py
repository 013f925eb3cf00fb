"""What each look at the queue and the workers showed, as lines of JSON that say only what is other than before.

    [seconds since the beginning, seconds since the last look that showed anything, 0 the queue or 1 the workers,
     whether this is all there is, what is other]

What is other is null where nothing is known any more; otherwise a list. Of the queue: [cpus, memory_mb, gpus, VMs a
job, whether it takes whole VMs, waiting, running], with 0 waiting where none waits any more. Of the workers: [number]
of one that is gone, [number, cores in use, jobs], and of one that is new the cores it has, whether its VM is elastiq's
own, and what is left of its name: enough to know it again. Nothing here names a user or a job.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

QUEUE, WORKERS = 0, 1

LARGEST = 10**12
"""No count, size, time or number of a worker comes near it."""


class Kind(NamedTuple):
    """What jobs need that are counted together: None and 0 are as in `Shape`; memory is that or less."""

    cpus: int
    memory_mb: int | None
    gpus: int | None
    vms_per_job: int = 1
    takes_whole_vms: bool = False


class Use(NamedTuple):
    """What is in use of a worker."""

    cores: int
    jobs: int
    capacity: int
    """Cores that it has."""
    is_own: bool
    """Whether its VM is elastiq's."""


class Queued(NamedTuple):
    """How many jobs of a kind there are."""

    waiting: int
    running: int | None
    """None: not known."""


class Look(NamedTuple):
    """What a look showed that was other than before."""

    at: float
    gap_seconds: float | None
    """Since the last look that showed anything; None: not known."""
    of: int
    """QUEUE or WORKERS."""
    is_all: bool
    """Whether there is nothing but what is named here."""
    is_known: bool = True
    """False: from now on it is not known."""
    kinds: Mapping[Kind, Queued] = {}
    """Of a look at the queue."""
    uses: Mapping[str, Use | None] = {}
    """Of a look at the workers, by what tells them apart; None instead of a Use: it is gone."""


class Pen:
    """Writes looks down, in pieces; those since a beginning make sense together."""

    def __init__(self) -> None:
        self._begins_at = 0.0
        self._kinds: Mapping[Kind, Queued] | None = None
        self._uses: Mapping[str, Use] | None = None
        self._numbers: dict[str, int] = {}
        self._next_number = 0
        self._known_at: dict[int, float] = {}
        self._unknown = {QUEUE: False, WORKERS: False}
        """Whether that is written already."""
        self._lines: list[str] = []
        self.characters = 0
        """How much is written and not taken."""

    def begin(self, at: float) -> None:
        """Begin anew: the next looks are written whole."""
        self._begins_at = at
        self._kinds = self._uses = None
        self._numbers, self._next_number = {}, 0
        self._unknown = {QUEUE: False, WORKERS: False}
        self._lines, self.characters = [], 0

    def queue(self, at: float, kinds: Mapping[Kind, Queued] | None) -> None:
        """Write what a look at the queue showed; None: nothing."""
        before = self._kinds
        self._kinds = kinds
        if kinds is None:
            self._write_unknown(at, QUEUE)
            return
        known = before or {}
        items: list[list[Any]] = [[*kind, *found] for kind, found in kinds.items() if known.get(kind) != found]
        items += [[*kind, 0, None] for kind in known if kind not in kinds]
        self._write_known(at, QUEUE, items, is_all=before is None)

    def workers(self, at: float, uses: Mapping[str, Use] | None) -> None:
        """Write what a look at the workers showed; None: nothing."""
        before = self._uses
        self._uses = uses
        if uses is None:
            self._numbers = {}
            self._write_unknown(at, WORKERS)
            return
        known = before or {}
        items: list[list[Any]] = [[self._numbers.pop(name)] for name in known if name not in uses]
        for name, use in uses.items():
            old = known.get(name)
            if old is use or old == use:
                continue
            if old is not None and old[2:] == use[2:]:
                items.append([self._numbers[name], use.cores, use.jobs])
                continue
            if old is not None:
                items.append([self._numbers[name]])
            self._next_number += 1
            self._numbers[name] = self._next_number
            items.append([self._next_number, *use[:3], int(use.is_own), digest(name)])
        self._write_known(at, WORKERS, items, is_all=before is None)

    def _write_known(self, at: float, of: int, items: list[list[Any]], *, is_all: bool) -> None:
        gap = at - self._known_at[of] if of in self._known_at else None
        self._known_at[of], self._unknown[of] = at, False
        if items or is_all:
            self._write([at - self._begins_at, gap, of, int(is_all), items])

    def _write_unknown(self, at: float, of: int) -> None:
        if not self._unknown[of]:
            self._unknown[of] = True
            self._write([at - self._begins_at, None, of, 0, None])

    def _write(self, line: list[Any]) -> None:
        line[:2] = [None if seconds is None else round(seconds, 1) for seconds in line[:2]]
        text = json.dumps(line, separators=(",", ":"))
        self._lines.append(text)
        self.characters += len(text) + 1

    def take(self) -> str:
        """Return what was written since the last time, a line each."""
        text = "".join(f"{line}\n" for line in self._lines)
        self._lines, self.characters = [], 0
        return text


def digest(name: str) -> str:
    """Return what is kept of the name of a worker: enough to know it again."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:10]


class Glass:
    """Reads what a pen has written."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[str, int, bool]] = {}
        """What tells a worker, how many cores it has, and whether it is elastiq's own, by its number."""

    def begin(self) -> None:
        """What comes next was written from a beginning on."""
        self._names = {}

    def read(self, text: str, begins_at: float) -> Iterator[Look]:
        """Yield the looks that were written; those of `text` belong to a beginning at `begins_at`.

        A line that is not whole, or none at all, raises ValueError: what comes after it would be wrong.
        """
        for line in text.splitlines(keepends=True):
            try:
                if not line.endswith("\n"):
                    raise ValueError("it is not whole")
                yield self._look(json.loads(line), begins_at)
            except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
                raise ValueError(f"not a look: {error}") from None

    def _look(self, line: Any, begins_at: float) -> Look:
        seconds, gap, of, is_all, items = line
        at = begins_at + _number(seconds)
        gap = None if gap is None else _number(gap)
        if of not in (QUEUE, WORKERS):
            raise ValueError("of what?")
        if items is None:
            return Look(at, gap, of, is_all=False, is_known=False)
        if of == QUEUE:
            return Look(at, gap, of, bool(is_all), kinds=dict(map(_queued, items)))
        if is_all:
            self._names = {}
        uses: dict[str, Use | None] = {}
        for item in items:
            name, use = self._use([_count(value) for value in item[:5]], item[5:])
            uses[name] = use
        return Look(at, gap, of, bool(is_all), uses=uses)

    def _use(self, values: list[int], name: list[Any]) -> tuple[str, Use | None]:
        number = values[0]
        if len(values) == 5:
            if not isinstance(name[0], str):
                raise TypeError("a name that is no text")
            self._names[number] = name[0], values[3], bool(values[4])
        text, capacity, is_own = self._names[number]
        if len(values) == 1:
            del self._names[number]
            return text, None
        return text, Use(values[1], values[2], capacity, is_own)


def _queued(item: Any) -> tuple[Kind, Queued]:
    cpus, memory_mb, gpus, vms, takes_whole, waiting, running = item
    kind = Kind(_count(cpus), _maybe(memory_mb), _maybe(gpus), _count(vms), bool(takes_whole))
    return kind, Queued(_count(waiting), _maybe(running))


def _maybe(value: Any) -> int | None:
    return None if value is None else _count(value)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < LARGEST:
        raise ValueError("no count")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not -LARGEST < value < LARGEST:
        raise ValueError("no number")
    return float(value)
