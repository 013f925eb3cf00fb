"""What VMs have cost: their lives, parted into boot, work and idle, and added up by day, pool, market, type or user."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from elastiq.model import ON_DEMAND, Usage
from elastiq.state.kept import Life, Whole

WAYS = ("day", "pool", "market", "type", "user")

BOOT, IDLE, UNKNOWN = "(boot)", "(idle)", "(unknown)"
"""Instead of a user: what nobody used, and what nobody knows."""


@dataclass
class Line:
    """A sum."""

    boot_seconds: float = 0.0
    work_seconds: float = 0.0
    idle_seconds: float = 0.0
    unknown_seconds: float = 0.0
    """It is not known whether it worked or idled."""
    unpriced_seconds: float = 0.0
    """Of all these, those without a price."""
    money: float = 0.0
    """Of the others."""
    vms: int = 0
    """Of whose lives it has a part."""

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.boot_seconds + self.work_seconds + self.idle_seconds + self.unknown_seconds

    def add(self, kind: str, seconds: float, price: float | None) -> None:
        """Add a part of the life of a VM."""
        setattr(self, kind, getattr(self, kind) + seconds)
        if price is None:
            self.unpriced_seconds += seconds
        else:
            self.money += seconds / 3600 * price

    def add_whole(self, whole: Whole) -> None:
        """Add lives of VMs."""
        self.vms += whole.vms
        for kind in _KINDS:
            self.add(kind, getattr(whole, kind), whole.price)

    def take(self, other: Line) -> None:
        """Add another sum."""
        self.vms += other.vms
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_KINDS = ("boot_seconds", "work_seconds", "idle_seconds", "unknown_seconds")
_SUMS = (*_KINDS, "unpriced_seconds", "money")


def parts(life: Life, until: float) -> Iterator[tuple[str, float, float, float]]:
    """Yield the parts of a life up to `until`, or to its end if that was before: a field of Line, begin, end, and which
    share of that time is of that kind. When a VM idled in between is not kept, only for how long."""
    end = until if life.ended_at is None else min(life.ended_at, until)
    begin = min(life.launched_at, end)
    joined = end if life.joined_at is None else min(max(life.joined_at, begin), end)
    if joined > begin:
        yield "boot_seconds", begin, joined, 1.0
    if end <= joined:
        return
    if life.idle_seconds is None:
        yield "unknown_seconds", joined, end, 1.0
        return
    idle_from = end if life.idle_since is None else min(max(life.idle_since, joined), end)
    # Of a life that went on after `until` all of it was seen, and the idle part is spread over that.
    seen = idle_from if life.ended_at is None else max(life.ended_at, idle_from)
    if idle_from > joined:
        share = min(1.0, max(0.0, life.idle_seconds / (seen - joined)))
        yield "idle_seconds", joined, idle_from, share
        yield "work_seconds", joined, idle_from, 1.0 - share
    if end > idle_from:
        yield "idle_seconds", idle_from, end, 1.0


def by_day(
    lives: Iterable[Life], days: Sequence[tuple[str, float, float]], whole: Iterable[tuple[int, Whole]] = ()
) -> dict[str, Line]:
    """Return the sums of days, as `periods.days` gives them, of lives and of those within one of the days."""
    lines = {name: Line() for name, _, _ in days}
    for place, sums in whole:
        lines[days[place][0]].add_whole(sums)
    begins = [begin for _, begin, _ in days]
    found: dict[tuple[str, str, float | None], float] = defaultdict(float)
    for life in lives if days else ():
        met = set()
        time: tuple[float, float] | None = None
        for kind, first, last, share in parts(life, days[-1][2]):
            # Work and idle time are of the same time, as a rule.
            if time != (first, last):
                time, within = (first, last), _within(first, last, days, max(0, bisect_right(begins, first) - 1))
            for name, seconds in within if share else ():
                found[name, kind, life.price] += seconds * share
                met.add(name)
        for name in met:
            lines[name].vms += 1
    for (name, kind, price), seconds in found.items():
        lines[name].add(kind, seconds, price)
    return lines


def _within(first: float, last: float, days: Sequence[tuple[str, float, float]], place: int) -> list[tuple[str, float]]:
    """Return for how long a time is within each of the days from that at `place` on."""
    found = []
    while place < len(days) and days[place][1] < last:
        name, begin, end = days[place]
        seconds = _common(first, last, begin, end)
        if seconds:
            found.append((name, seconds))
        place += 1
    return found


def _common(first: float, last: float, begin: float, end: float) -> float:
    """Return for how long two times are the same."""
    return max(0.0, (last if last < end else end) - (first if first > begin else begin))


def by_property(
    way: str, lives: Iterable[Life], since: float, until: float, whole: Iterable[tuple[int, Whole]] = ()
) -> dict[str, Line]:
    """Return the sums by pool, market or type, of lives and of those within that time; all of it for any other way."""
    lines: dict[str, Line] = defaultdict(Line)
    for _, sums in whole:
        lines[_name(way, sums)].add_whole(sums)
    for life in lives:
        line = lines[_name(way, life)]
        line.vms += 1
        for kind, first, last, share in parts(life, until):
            seconds = _common(first, last, since, until) * share
            if seconds:
                line.add(kind, seconds, life.price)
    return {name: lines[name] for name in sorted(lines)}


def _name(way: str, life: Life | Whole) -> str:
    if way == "pool":
        return life.pool
    if way == "market":
        return life.market or ON_DEMAND
    return (life.type or UNKNOWN) if way == "type" else ""


def by_user(lives: Iterable[Life], used: Iterable[Usage], since: float, until: float) -> dict[str, Line]:
    """Return the sums of users. What elastiq saw a VM at work goes to those who had jobs there, by their CPU-seconds;
    as far as nobody is known to have had any, it is unknown."""
    of_worker: dict[str, list[Usage]] = defaultdict(list)
    for one in used:
        of_worker[one.worker].append(one)
    lines: dict[str, Line] = defaultdict(Line)
    for life in lives:
        totals = dict.fromkeys(_KINDS, 0.0)
        for kind, first, last, share in parts(life, until):
            totals[kind] += _common(first, last, since, until) * share
        begin = max(since, life.launched_at if life.joined_at is None else life.joined_at)
        end = until if life.ended_at is None else min(until, life.ended_at)
        jobs = of_worker.get(life.worker, []) if life.worker else []
        shares, covered = _shares(jobs, begin, end)
        # Of a life of which it is not kept when it idled, the jobs alone tell.
        worked = totals["work_seconds"] + totals["unknown_seconds"]
        known = min(worked, covered)
        pieces = [(BOOT, "boot_seconds", totals["boot_seconds"]), (IDLE, "idle_seconds", totals["idle_seconds"])]
        pieces += [(user, "work_seconds", known * share) for user, share in shares.items()]
        pieces.append((UNKNOWN, "unknown_seconds", worked - known))
        for name, kind, seconds in pieces:
            if seconds > 0:
                lines[name].add(kind, seconds, life.price)
                lines[name].vms += 1
    return {name: lines[name] for name in sorted(lines)}


def _shares(jobs: Sequence[Usage], begin: float, end: float) -> tuple[Mapping[str, float], float]:
    """Return the share of each user in the CPU-seconds of a time, and for how much of it there was any job."""
    weights: dict[str, float] = defaultdict(float)
    spans = []
    for job in jobs:
        first, last = max(job.begin_at, begin), min(end if job.end_at is None else job.end_at, end)
        if last > first:
            weights[job.user] += (last - first) * max(job.cpus, 1)
            spans.append((first, last))
    covered, reached = 0.0, begin
    for first, last in sorted(spans):
        covered += max(0.0, last - max(first, reached))
        reached = max(reached, last)
    whole = sum(weights.values())
    return {user: weight / whole for user, weight in weights.items()}, covered


def total(lines: Iterable[Line], vms: int) -> Line:
    """Return the sum of sums, of so many VMs: one may be in several."""
    found = Line()
    for line in lines:
        found.take(line)
    found.vms = vms
    return found
