"""Asks the world how it is, and keeps the last answers."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from elastiq.errors import BatchError, PendingError, PluginError
from elastiq.memory import Memory, Template
from elastiq.model import DEFAULT_POOL, Demand, Eligibility, Instance, Judgement, Observation, Pool, Worker
from elastiq.plugins import TAKES_ONLY, Narrower
from elastiq.plugins.foreign import run_foreign
from elastiq.ports import Outside
from elastiq.report.reporter import Reporter

log = logging.getLogger(__name__)

LISTING_USUAL = 2.0
"""A listing may take so many times as long as is usual. Until then the one before counts, with its age; after that
nothing is known: a launch into a cloud that has fallen silent would be in doubt for minutes."""

USUAL_FADES = 0.95
"""With each listing, what an earlier one took counts for so much less: hardly any cloud takes the same time twice."""

LISTING_PATIENCE_SECONDS = 60.0
"""But only if it takes longer than this as well, is that a fault."""

SLOW_LISTING_SECONDS = 5.0
"""A listing that takes longer is worth a word, and another one that takes SLOWER times as long as was said."""

SLOWER = 2.0

JUDGED_WANTS = 2000
"""So many kinds of jobs are judged, those with most jobs first."""

JUDGED_FOR_SECONDS = 600.0
"""Requirements may depend on the time of day, so a judgement is asked for again."""

UNKNOWN_FOR_SECONDS = 60.0

TEMPLATE_LASTS_SECONDS = 86400.0
"""What was learnt of workers is believed for so long after the last of them that showed it is gone."""


@dataclass(frozen=True)
class Listing:
    """A listing that the cloud was asked for and has not given yet."""

    asked_at: float
    everything: bool


@dataclass(frozen=True)
class Reading:
    """The last answers of the world, when each was asked for, and what went wrong since."""

    demand: tuple[Demand, ...] | None = None
    demand_at: float = 0.0
    workers: tuple[Worker, ...] | None = None
    workers_at: float = 0.0
    instances: tuple[Instance, ...] | None = None
    instances_at: float = 0.0
    listing: Listing | None = None
    """What was asked for, if it is still to come."""
    listing_seconds: float = 0.0
    """How long the last listing took to come, or to be looked for again."""
    usual_listing_seconds: float = 0.0
    """How long one takes at most, by the last ones."""
    queue_fault: str = ""
    workers_fault: str = ""
    cloud_fault: str = ""

    def observation(self, now: float) -> Observation:
        """Return the reading as one view with ages."""
        return Observation(
            now,
            demand=self.demand,
            demand_age_seconds=now - self.demand_at,
            workers=self.workers,
            workers_age_seconds=now - self.workers_at,
            instances=self.instances,
            instances_age_seconds=now - self.instances_at,
            faults=tuple(fault for fault in (self.queue_fault, self.workers_fault, self.cloud_fault) if fault),
        )


class Judge:
    """Asks the batch plugin which waiting jobs VMs of a pool could run, and keeps its answers for a while.

    Where two workers of a pool offer different things, what one of them could run VMs of it could. What it does not
    answer, or cannot tell this time, stays as it judged it last, also by an earlier template of the pool; of what it
    has never judged it is not known whether VMs could run it. Jobs that are not judged at all, because
    there are too many kinds or they want nothing, are taken for such that could run.
    """

    def __init__(self, ports: Outside, reporter: Reporter) -> None:
        self._ports, self._reporter = ports, reporter
        self._known: dict[tuple[str, str], tuple[Judgement, float]] = {}
        """By wants and template: what was judged, and until when that is believed."""
        self._texts: dict[Hashable, str] = {}
        """What stood for workers of a pool the last time, by its key, what it takes and is supposed to offer, and the
        place of the worker that it was learnt from."""

    def judged(self, demand: Sequence[Demand], memory: Memory, pools: Sequence[Pool]) -> tuple[Demand, ...]:
        """Return `demand` with what is judged of it for each pool."""
        by_size = sorted({group.wants for group in demand if group.wants}, key=_jobs_by_wants(demand), reverse=True)
        wants = by_size[:JUDGED_WANTS]
        now = self._ports.clock.now()
        texts = {pool: tuple(self._texts_of(pool, texts_known(memory, pool, now))) for pool in pools}
        each = [((*_narrowing(pool), place), text) for pool in pools for place, text in enumerate(texts[pool])]
        earlier = {text: self._texts.get(place, text) for place, text in each}
        picky = {text for pool in pools for text in texts[pool] if pool.jobs}
        for text, before in earlier.items():
            # A pool that takes certain jobs may refuse even such that want nothing.
            kinds, otherwise = ((*wants, ""), _NOT_TOLD) if text in picky else (wants, None)
            due = [one for one in kinds if self._known.get((one, text), _NEVER)[1] <= now]
            self._ask(due, text, before, now, otherwise)
        self._texts = dict(each)
        current = {(one, text) for one in (*wants, "") for text in earlier}
        self._known = {key: known for key, known in self._known.items() if key in current}
        by_pool = [(pool, texts[pool]) for pool in pools]
        return tuple(
            replace(group, judgements=found) if found else group for group, found in self._of_each(demand, by_pool)
        )

    def _texts_of(self, pool: Pool, templates: Iterable[str]) -> Iterator[str]:
        """Yield what stands for workers of `pool`: nothing if it takes certain jobs, and which cannot be told now."""
        what = f"reading which jobs pool {pool.name} takes"
        for template in templates:
            text, _ = self._reporter.attempt(what, lambda: text_for(self._ports.batch, pool, template))  # noqa: B023
            if text is not None or not pool.jobs:
                yield template if text is None else text

    def _of_each(
        self, demand: Sequence[Demand], by_pool: Sequence[tuple[Pool, Sequence[str]]]
    ) -> Iterator[tuple[Demand, Mapping[str, Judgement]]]:
        for group in demand:
            told = ((pool, (self._known.get((group.wants, text)) for text in texts)) for pool, texts in by_pool)
            found = ((pool, as_taken(pool, best(one[0] for one in known if one))) for pool, known in told)
            yield group, {pool.key: judgement for pool, judgement in found if judgement is not None}

    def _ask(self, wants: Sequence[str], text: str, before: str, now: float, otherwise: Judgement | None) -> None:
        """Have `wants` judged by `text`; what is neither judged now nor was by `before` is `otherwise`, or unknown."""
        if not wants:
            return
        found, fault = self._reporter.attempt("judging jobs", lambda: self._judge(wants, text))
        for one, judgement in zip(wants, (None,) * len(wants) if found is None else found):
            last = self._last(one, text, before)
            if judgement is None:
                self._known[one, text] = last or otherwise or Judgement(Eligibility.UNKNOWN, fault), now
            elif judgement.answer is Eligibility.UNKNOWN:
                is_same = (one, text) in self._known and last is not None
                self._known[one, text] = (last if is_same and last else judgement), now + UNKNOWN_FOR_SECONDS
            else:
                self._known[one, text] = judgement, now + JUDGED_FOR_SECONDS

    def _judge(self, wants: Sequence[str], text: str) -> tuple[Judgement, ...]:
        """Return what the plugin does. Raise BatchError whatever it raises: that costs the answer, not the pass."""
        return run_foreign(lambda: self._ports.batch.judge(wants, text), BatchError, PluginError)

    def _last(self, wants: str, text: str, before: str) -> Judgement | None:
        """Return what was judged of `wants` last, by the template `text` or else by the one before it."""
        known = self._known.get((wants, text)) or self._known.get((wants, before))
        is_told = known is not None and known[0].answer is not Eligibility.UNKNOWN and known[0] != _NOT_TOLD
        return known[0] if known is not None and is_told else None


def text_for(batch: Narrower, pool: Pool, template: str) -> str:
    """Return what stands for workers of `pool` in a question to `judge`, `template` being what is known of them. Raise
    BatchError if the plugin cannot read which jobs the pool takes."""
    return batch.narrowed(template, pool.jobs, pool.supposed) if pool.jobs or pool.supposed else template


_BETTER = (Eligibility.NO, Eligibility.UNKNOWN, Eligibility.YES)


def best(judgements: Iterable[Judgement]) -> Judgement | None:
    """Return what holds for jobs of which workers on several VMs of a pool tell different things; None if none does."""
    return max(judgements, key=lambda one: _BETTER.index(one.answer), default=None)


def as_taken(pool: Pool, judgement: Judgement | None) -> Judgement | None:
    """Return `judgement` as it is told of `pool`. A pool that takes certain jobs takes none that was not judged."""
    if judgement is None:
        return as_taken(pool, _NOT_TOLD) if pool.jobs else None
    if pool.name == DEFAULT_POOL or not judgement.reason.startswith(TAKES_ONLY):
        return judgement
    return replace(judgement, reason=f"pool {pool.name}{judgement.reason[len('the pool') :]}")


def _narrowing(pool: Pool) -> tuple[str, str, str]:
    return pool.key, pool.jobs, pool.supposed


_NOT_TOLD = Judgement(Eligibility.NO, f"{TAKES_ONLY} of a kind, and it cannot be told now whether these are such")


def texts_known(memory: Memory, pool: Pool, now: float) -> tuple[str, ...]:
    """Return what is known of the workers of `pool`, of the newest and of another one if that tells something else;
    nothing if that is old, and no VM there to say it again: whoever makes images and workers may have changed them."""
    template = memory.templates.get(pool.capacity_key, Template())
    is_there = any(record.pool == pool.name and record.joined_at is not None for record in memory.vms.values())
    if not is_there and now - template.taken_at > TEMPLATE_LASTS_SECONDS:
        return ("",)
    second = memory.second_templates.get(pool.capacity_key, template)
    is_lasting = now - second.taken_at <= TEMPLATE_LASTS_SECONDS
    return tuple(dict.fromkeys((template.text, second.text) if is_lasting else (template.text,)))


_NEVER = (Judgement(), 0.0)


def _jobs_by_wants(demand: Sequence[Demand]) -> Callable[[str], tuple[int, str]]:
    jobs: Counter[str] = Counter()
    for group in demand:
        jobs[group.wants] += group.jobs
    return lambda wants: (jobs[wants], wants)


class Observer:
    """Puts the questions of the loop to the batch system and the cloud. None of them changes anything there.

    What is asked for is unknown until it is answered, even if a defect of a plugin ends the pass meanwhile.
    """

    def __init__(self, ports: Outside, reporter: Reporter, reading: Reading) -> None:
        self._ports, self._reporter = ports, reporter
        self.reading = reading
        self._judge = Judge(ports, reporter)
        self._slowest_said = 0.0

    def check_queue(self, memory: Memory, pools: Sequence[Pool]) -> None:
        """Ask what waits, and which of it VMs of each pool could run."""
        now = self._ports.clock.now()
        self.reading = replace(self.reading, demand=None)
        demand, fault = self._reporter.attempt("queue check", self._ports.batch.demand)
        if demand:
            demand = self._judge.judged(demand, memory, pools)
        self.reading = replace(self.reading, demand=demand, demand_at=now, queue_fault=fault)

    def check_workers(self) -> None:
        """Ask which workers there are."""
        now = self._ports.clock.now()
        self.reading = replace(self.reading, workers=None)
        workers, fault = self._reporter.attempt("worker check", self._ports.batch.workers)
        self.reading = replace(self.reading, workers=workers, workers_at=now, workers_fault=fault)

    def check_instances(self, memory: Memory) -> None:
        """Ask which VMs there are; those of the whole account only where the tag alone does not tell."""
        now, before = self._ports.clock.now(), self.reading
        # A listing by tag cannot tell a VM that has lost its tag from one that is gone.
        doubtful = any(not record.tagged or record.missing_since is not None for record in memory.vms.values())
        everything = bool(memory.intents or memory.once_own) or doubtful
        listing = before.listing or Listing(now, everything)
        self.reading = replace(before, instances=None, listing=listing)
        ask = self._ports.cloud.list_instances
        try:
            instances, fault = self._reporter.attempt("VM check", lambda: ask(everything=listing.everything))
        except PendingError as pending:
            silent_seconds = self._ports.clock.now() - listing.asked_at
            usual_seconds = LISTING_USUAL * before.usual_listing_seconds
            fault = str(pending)
            if silent_seconds > max(LISTING_PATIENCE_SECONDS, usual_seconds):
                fault = self._reporter.error("VM check", f"VM check failed: {pending}")
            known = before.instances if silent_seconds <= usual_seconds else None
            self.reading = replace(self.reading, instances=known, cloud_fault=fault)
            return
        answered = replace(self.reading, instances=instances, instances_at=listing.asked_at, listing=None)
        self.reading = replace(answered, cloud_fault=fault)
        if not fault:
            seconds = self._ports.clock.now() - listing.asked_at
            # What took longer than a minute was an outage, unless it goes on to take as long.
            before_seconds = min(before.usual_listing_seconds, LISTING_PATIENCE_SECONDS)
            usual_seconds = max(seconds, USUAL_FADES * before_seconds)
            self.reading = replace(self.reading, listing_seconds=seconds, usual_listing_seconds=usual_seconds)
            if seconds > max(SLOW_LISTING_SECONDS, SLOWER * self._slowest_said):
                self._slowest_said = seconds
                log.info("the cloud takes %.0f s to list its VMs; it is asked so much the less often", seconds)
