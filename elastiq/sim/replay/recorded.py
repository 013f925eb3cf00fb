"""Jobs out of what the daemon has kept of the queue and the workers.

A look tells how many jobs wait of each kind, and how many jobs and cores are at work on each worker; it names no job.
So jobs are told from what is other than at the look before. More of a kind wait: some were submitted. Fewer wait: some
have started. More cores are in use of a worker: a job has started there, one of those that wait no more, or one that
never waited. Fewer: one has ended. Where jobs must have started and no worker shows it, as many have ended on workers
of which nothing else was to be seen: those of as many cores that have run for longest. All that happened between two
looks counts as if it were in the middle.

Little's law says why that is enough: whichever job is taken for which, the cores that wait and run at any moment are
those that were seen, and the sum of all run times is what was measured.
"""

from __future__ import annotations

import heapq
import statistics
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice

from elastiq.sim.replay.traces import Job
from elastiq.state.archive import Past
from elastiq.state.looks import QUEUE, Kind, Look, Queued, Use

SETTLED_SECONDS = 120.0
"""So long after a job has left the queue, the workers have been looked at again."""

SETTLED_LOOKS = 2.5
"""And after so many times the usual pause between looks at workers."""

UNCERTAIN_SECONDS = 300.0
"""What became other while nothing was seen for long did so at most so long after its beginning, or before its end."""

GAP_SECONDS = 240.0
"""If nothing was seen for longer, that is said."""

SHORTEST_SECONDS = 1.0

WHOLE = 0
"""Instead of the cores of jobs that have their VMs for themselves."""

ENDINGS_TRIED = 200
"""So many combinations of jobs are tried to find those whose cores are free again."""


@dataclass(frozen=True)
class Recorded:
    """Jobs as far as they can be told, in the order in which they were submitted."""

    jobs: tuple[Job, ...]
    begins_at: float
    ends_at: float
    gaps: tuple[tuple[float, float], ...] = ()
    """From when until when nothing was seen of the workers."""
    elsewhere: int = 0
    """Jobs that ran on workers that are not elastiq's; they are left out."""
    cut: int = 0
    """Jobs that had not ended, and of which it is not known how long they run."""
    lives: tuple[tuple[float, float], ...] = ()
    """From when until when each VM of elastiq's was there in that time."""

    @property
    def gap_seconds(self) -> float:
        """For how long nothing was seen."""
        return sum(end - begin for begin, end in self.gaps)


class _Run:
    """A job at work, on one worker or on several."""

    __slots__ = ("began_at", "cores", "is_own", "machines", "submitted_at", "workers")

    def __init__(self, submitted_at: float, began_at: float, cores: int, *, is_own: bool) -> None:
        self.submitted_at, self.began_at, self.cores, self.is_own = submitted_at, began_at, cores, is_own
        self.workers = self.machines = 0
        """On how many it is, and was at most."""


@dataclass
class _Left:
    """A job that waits no more, and has not been seen to start on all its workers."""

    submitted_at: float
    left_at: float
    vms: int
    """On so many more."""
    run: _Run | None = None


@dataclass
class _Over:
    """A job that has ended, on one worker."""

    began_at: float
    ended_at: float
    cores: int
    index: int | None
    """Among the jobs; None: it was elsewhere."""


class _Teller:
    """Tells jobs from looks, in their order."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.gaps: list[tuple[float, float]] = []
        self.elsewhere = self.cut = 0
        self.first_at: float | None = None
        self._waiting: dict[Kind, deque[float]] = defaultdict(deque)
        """When each of them was submitted."""
        self._left: dict[int, deque[_Left]] = defaultdict(deque)
        """By cores on each worker."""
        self._running: dict[str, list[_Run]] = {}
        """By worker, those that began first at the front."""
        self._oldest: dict[int, list[tuple[float, int, str, _Run]]] = defaultdict(list)
        """By cores, those that began first at the front, and such that are over."""
        self._over: deque[_Over] = deque()
        """Those that have ended of late, in that order."""
        self._number = 0
        self._whole_cores = 1
        self._known_at: dict[int, float] = {}
        self._unknown: set[int] = set()
        self._usual_gap_seconds = 0.0

    def seen_until(self, at: float) -> None:
        """Up to then nothing else was to be seen."""
        for of in self._known_at:
            if of not in self._unknown:
                self._known_at[of] = max(at, self._known_at[of])

    def look(self, look: Look) -> None:
        """Take a look into account."""
        if not look.is_known:
            self._unknown.add(look.of)
            return
        self._unknown.discard(look.of)
        # Before a job starts there, or ends: other workers have been seen since.
        self._settle(look.at - max(SETTLED_SECONDS, SETTLED_LOOKS * self._usual_gap_seconds))
        last_at = self._known_at.get(look.of, look.at)
        gap = look.gap_seconds if look.gap_seconds is not None and look.of in self._known_at else look.at - last_at
        gap = max(0.0, gap)
        self._known_at[look.of] = look.at
        half = min(gap / 2, UNCERTAIN_SECONDS)
        if look.of == QUEUE:
            self._queue(look, look.at - half)
        else:
            self.first_at = look.at if self.first_at is None else self.first_at
            if not look.is_all:
                self._usual_gap_seconds = gap
            elif gap > max(GAP_SECONDS, SETTLED_LOOKS * self._usual_gap_seconds):
                self.gaps.append((look.at - gap, look.at))
            self._workers(look, look.at - gap + half, look.at - half)

    def _queue(self, look: Look, at: float) -> None:
        kinds: Mapping[Kind, Queued] = look.kinds
        if look.is_all:
            kinds = {**{kind: Queued(0, None) for kind, known in self._waiting.items() if known}, **kinds}
        for kind, queued in kinds.items():
            known = self._waiting[kind]
            known.extend([at] * (queued.waiting - len(known)))
            while len(known) > queued.waiting:
                self._left[_cores(kind)].append(_Left(known.popleft(), at, kind.vms_per_job))

    def _workers(self, look: Look, ended_at: float, began_at: float) -> None:
        changed = dict(look.uses)
        if look.is_all:
            changed = {**dict.fromkeys([name for name in self._running if name not in changed]), **changed}
        for name, use in changed.items():
            runs = self._running.setdefault(name, [])
            for run in _ended(runs, use):
                self._end(name, run, ended_at)
            if use is None:
                del self._running[name]
        for name, use in changed.items():
            if use is not None:
                self._start_all(name, use, began_at)

    def _start_all(self, name: str, use: Use, at: float) -> None:
        """Have as many jobs start on a worker as are seen there and not known."""
        runs = self._running[name]
        self._whole_cores = max(1, use.capacity)
        count, cores = use.jobs - len(runs), use.cores - sum(run.cores for run in runs)
        if runs and cores and not count:
            # As many jobs, of other sizes: they are taken for the same, so that the load is what was seen.
            runs[-1].cores = max(1, runs[-1].cores + cores)
        for number in range(count, 0, -1):
            wanted = max(1, round(cores / number))
            cores -= wanted
            self._start(name, self._next(wanted, at, use))

    def _start(self, name: str, run: _Run) -> None:
        run.workers += 1
        run.machines += 1
        self._running[name].append(run)
        self._number += 1
        heapq.heappush(self._oldest[run.cores], (run.began_at, self._number, name, run))

    def _next(self, cores: int, at: float, use: Use) -> _Run:
        """Return the job of so many cores that has started."""
        sizes = (cores, WHOLE) if cores == use.capacity else (cores,)
        for left in (self._left[size] for size in sizes):
            if left:
                first = left[0]
                run = first.run or _Run(first.submitted_at, max(at, first.submitted_at), cores, is_own=use.is_own)
                first.run, first.vms = run, first.vms - 1
                if not first.vms:
                    left.popleft()
                return run
        oldest = min(
            (
                known
                for kind, known in self._waiting.items()
                if known and _cores(kind) in sizes and kind.vms_per_job == 1
            ),
            key=lambda known: known[0],
            default=None,
        )
        submitted_at = at if oldest is None else min(oldest.popleft(), at)
        return _Run(submitted_at, at, cores, is_own=use.is_own)

    def _end(self, name: str, run: _Run, at: float) -> None:
        self._running[name].remove(run)
        run.workers -= 1
        if run.workers:
            return
        if run.machines == 1:
            self._over.append(_Over(run.began_at, at, run.cores, len(self.jobs) if run.is_own else None))
        if run.is_own:
            seconds = max(SHORTEST_SECONDS, at - run.began_at)
            self.jobs.append(Job(run.submitted_at, seconds, run.cores * run.machines))
        else:
            self.elsewhere += 1

    def _settle(self, until: float) -> None:
        """Have jobs start in the place of others, where no worker has shown that they did."""
        for cores, left in self._left.items():
            while left and left[0].left_at <= until:
                one = left.popleft()
                if one.run is None and one.vms == 1:
                    self._replace(cores or self._whole_cores, one)
        while self._over and self._over[0].ended_at <= until:
            self._over.popleft()

    def _replace(self, cores: int, one: _Left) -> None:
        """Have a job start where the one has ended that had run for longest then; if there is none, the job was removed
        from the queue, or was too short to be seen."""
        heap = self._oldest[cores]
        while heap and (not heap[0][-1].workers or heap[0][-1].machines > 1 or heap[0][-1].cores != cores):
            heapq.heappop(heap)
        over = min(
            (known for known in self._over if known.cores == cores and known.began_at < one.left_at < known.ended_at),
            key=lambda known: known.began_at,
            default=None,
        )
        if over and not (heap and heap[0][0] < over.began_at):
            self._part(over, one)
        elif heap and heap[0][0] < one.left_at:
            _, _, name, old = heapq.heappop(heap)
            self._end(name, old, one.left_at)
            self._start(name, _Run(one.submitted_at, one.left_at, cores, is_own=old.is_own))

    def _part(self, over: _Over, one: _Left) -> None:
        """Take what looked like a job for two, of which the second one began when `one` left the queue."""
        if over.index is None:
            self.elsewhere += 1
        else:
            first = self.jobs[over.index]
            self.jobs[over.index] = first._replace(seconds=max(SHORTEST_SECONDS, one.left_at - over.began_at))
            self.jobs.append(Job(one.submitted_at, max(SHORTEST_SECONDS, over.ended_at - one.left_at), over.cores))
            over.index = len(self.jobs) - 1
        over.began_at = one.left_at

    def finish(self, at: float) -> None:
        """Nothing was seen any more: what runs ends, and what waits would run for as long as others."""
        self._settle(at)
        for name, runs in self._running.items():
            for run in list(runs):
                self.cut += run.workers == 1
                self._end(name, run, at)
        usual: dict[int, list[float]] = defaultdict(list)
        for job in self.jobs:
            usual[job.processors].append(job.seconds)
        for kind, known in self._waiting.items():
            processors = (_cores(kind) or self._whole_cores) * kind.vms_per_job
            seconds = usual.get(processors) or [job.seconds for job in self.jobs]
            if known and seconds:
                usual[processors] = [statistics.median(seconds)]
                self.cut += len(known)
                self.jobs += [Job(submitted_at, usual[processors][0], processors) for submitted_at in known]


def _cores(kind: Kind) -> int:
    return WHOLE if kind.takes_whole_vms else max(1, kind.cpus)


def _ended(runs: Sequence[_Run], use: Use | None) -> list[_Run]:
    """Return which jobs of a worker have ended, as its use is now: of those whose cores are free again, the oldest."""
    if use is None:
        return list(runs)
    count, cores = len(runs) - use.jobs, sum(run.cores for run in runs) - use.cores
    if count <= 0:
        return []
    tried = islice(combinations(runs, count), ENDINGS_TRIED)
    found = next((some for some in tried if sum(run.cores for run in some) == cores), None)
    return list(found or runs[:count])


def recorded(past: Past) -> Recorded:
    """Return the jobs of what was kept of a time."""
    teller = _Teller()
    until, shift = 0.0, 0.0
    for piece, looks in past.pieces:
        if piece.is_first and piece.written_from + shift < until:
            shift = until - piece.written_from  # the wall clock went back
        for look in looks:
            teller.look(look._replace(at=look.at + shift))
        until = piece.until + shift
        teller.seen_until(until)
    begins_at = until if teller.first_at is None else teller.first_at
    teller.finish(until)
    jobs = sorted(job._replace(submitted_at=max(0.0, job.submitted_at - begins_at)) for job in teller.jobs)
    lives = [
        (max(life.launched_at, begins_at), min(life.ended_at or until, until))
        for life in past.lives
        if life.launched_at < until and (life.ended_at or until) > begins_at
    ]
    return Recorded(
        tuple(jobs),
        begins_at,
        until,
        tuple(teller.gaps),
        teller.elsewhere,
        teller.cut,
        tuple(sorted(lives)),
    )
