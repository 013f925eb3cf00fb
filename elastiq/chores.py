"""What is kept in order beside every plan: tags, what a VM holds, what a cloud refuses, workers whose VMs died."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice

from elastiq.clock import Budget
from elastiq.config import Settings
from elastiq.errors import BatchError, CloudError, CloudFault, PendingError, StateError
from elastiq.memory import Departed, Memory, Template, VmRecord
from elastiq.model import Instance, Policy, Pool, Worker
from elastiq.observer import Reading
from elastiq.planning import patience
from elastiq.planning.boots import too_brief_idle_times
from elastiq.planning.matching import match_workers
from elastiq.planning.prices import types_without
from elastiq.ports import Cloud, Ports
from elastiq.report.reporter import Reporter
from elastiq.text import printable

log = logging.getLogger(__name__)

TAG_AFTER_SECONDS = 60.0
"""Tags may show up in listings only some time after the launch."""

CAPACITY_RETRY_SECONDS = 3600.0

PRICES_SECONDS = 3600.0
"""AWS changes its prices on the spot market slowly."""

PRICES_REFUSED_SECONDS = 86400.0
"""So long a cloud that refuses them is not asked for prices again."""

PRICES_LAST_SECONDS = 6 * 3600.0
"""Older ones are not known any more."""

TEMPLATE_SECONDS = 600.0
"""After that a template is taken again even if there is no newer worker: some of what it offers a worker finds out only
some time after it has joined, and workers are configured anew now and then."""

TEMPLATE_NOTED_SECONDS = 3600.0
"""So seldom it is noted that a template is what it was; not noted at all, it would be too old for ever a day later."""

TEMPLATE_PAUSE_SECONDS = 60.0

ADVICE_SECONDS = 3600.0
"""So rarely is the batch system asked what of its configuration costs VM-hours: few ever change it."""

ADVICE_RETRY_SECONDS = (10.0, 60.0, 600.0, ADVICE_SECONDS)
"""An answer that is on its way when it is asked for is fetched by the next try."""

ADVICE_TRIES = 3
"""If it has not told so many times in a row, what it said before is not known to be so any more."""

FORGET_FOR_SECONDS = 3600.0
"""The batch system is told for so long of a worker whose VM is gone; later another VM may well have its address."""

PAGE_SECONDS = 60.0
"""So rarely is the page written: to make it takes most of a second of a core, though not of the loop's."""

BUDGET_SECONDS = 5.0
"""Tagging goes on for so long at most in one pass, and so does forgetting."""


class SpotPrices:
    """What AWS says that VMs cost on the spot market: asked for now and then beside the loop, which waits for nothing
    of it."""

    def __init__(self) -> None:
        self._prices: Mapping[tuple[str, str], float] = {}
        self._told_at = 0.0
        self._due_at = 0.0
        self._asked: tuple[str, tuple[str, ...]] = ("", ())
        """The cloud, and the types, that `_prices` and `_due_at` are of."""
        self._refused_by = ""
        """Of which cloud it was said that it tells no prices."""

    def known(self, settings: Settings, now: float) -> Mapping[tuple[str, str], float]:
        """Return the prices an hour by type and zone, as far as they were told lately of these settings' cloud."""
        is_theirs = settings.takes_spot_prices and self._asked[0] == settings.cloud
        return self._prices if is_theirs and now - self._told_at <= PRICES_LAST_SECONDS else {}

    def look(self, cloud: Cloud, settings: Settings, now: float) -> bool:
        """Ask if it is time to; return whether what is known may be something else now."""
        types = types_without(settings.policy()) if settings.takes_spot_prices else ()
        if not types:
            return False
        if self._asked != (settings.cloud, types):
            self._asked, self._due_at, self._prices = (settings.cloud, types), min(self._due_at, now), {}
        if now < self._due_at:
            return bool(self._prices) and now - self._told_at > PRICES_LAST_SECONDS
        self._due_at = now + PRICES_SECONDS
        try:
            self._prices, self._told_at = cloud.spot_prices(types, now), now
        except CloudError as error:
            if error.fault in (CloudFault.BUSY, CloudFault.PENDING):
                self._due_at = now  # its answer is on its way, or has to wait for another one
                return False
            is_refused = error.fault in (CloudFault.CREDENTIALS, CloudFault.CONFIGURATION)
            is_news = is_refused and self._refused_by != settings.cloud
            text = "what VMs cost on the spot market is not known, so prices on demand stand in: %s"
            log.log(logging.INFO if is_news else logging.DEBUG, text, error)
            if is_refused:
                self._due_at, self._refused_by = now + PRICES_REFUSED_SECONDS, settings.cloud
        return True


class Chores:
    """Does in each pass what has not succeeded yet. What fails is said, and tried again."""

    def __init__(self, settings: Settings, ports: Ports, reporter: Reporter) -> None:
        self._settings, self._ports, self._reporter = settings, ports, reporter
        policy = settings.policy()
        self._pools, self._variants = {pool.name: pool for pool in policy.pools}, policy.variants
        self._features = ports.cloud.refused_features
        self._capacity_due_at = 0.0
        self._unsized: set[str] = set()
        """Types of which it was said that the cloud does not tell what they hold."""
        self._templates_due_at: dict[str, dict[str, float]] = {}
        """When the plugin is next asked for the template of each of the newest workers, by the key of the pool."""
        self._advice_due_at = 0.0
        self._advice_failures = 0
        self._are_any_wide = False
        """Whether a job of several VMs was seen: others do not lose VMs that wait for each other."""
        self._page_due_at = 0.0
        self._page_asked_at: float | None = None
        self._stopping = False

    def stop(self) -> None:
        """Begin nothing more: the daemon is to end."""
        self._stopping = True

    def tag_untagged(self, memory: Memory, reading: Reading) -> None:
        """Tag VMs that the cloud could not tag in the launch, so that they are found again whatever is lost here."""
        cloud, budget = self._ports.cloud, Budget(self._ports.clock, BUDGET_SECONDS)
        before = self._ports.clock.now() - TAG_AFTER_SECONDS
        listed = {instance.id for instance in _alive(reading)}
        groups: dict[tuple[str, str], list[str]] = {}
        for record in memory.vms.values():
            if record.id in listed and not record.tagged and record.launched_at < before:
                groups.setdefault((record.pool, record.token), []).append(record.id)
        if not groups:
            self._reporter.over("tagging")
        for (name, token), ids in groups.items():
            pool = self._pools.get(name)
            if pool is None or not budget.is_left:
                continue
            with suppress(PendingError):  # a listing will show whether it was done
                self._reporter.attempt("tagging", lambda: cloud.tag(ids, pool, token))  # noqa: B023

    def learn_capacity(self, memory: Memory) -> Memory:
        """Return `memory` with what a VM holds by its type, where the cloud has not been asked yet."""
        now = self._ports.clock.now()
        if self._settings.elastiq.n_jobs_per_vm is not None or now < self._capacity_due_at:
            return memory  # with n_jobs_per_vm, what a VM holds decides nothing
        for pool in self._variants:
            if not pool.instance_type or pool.capacity_key in memory.described:
                continue
            self._capacity_due_at = now + CAPACITY_RETRY_SECONDS
            try:
                capacity = self._ports.cloud.capacity(pool)
            except CloudError as error:
                if error.fault in (CloudFault.BUSY, CloudFault.PENDING):
                    self._capacity_due_at = 0.0
                    continue
                is_news = pool.instance_type not in self._unsized
                self._unsized.add(pool.instance_type)
                text = "the cloud does not say what a %s holds, so workers will: %s"
                log.log(logging.INFO if is_news else logging.DEBUG, text, pool.instance_type, error)
            else:
                memory = replace(memory, described={**memory.described, pool.capacity_key: capacity})
        return memory

    def learn_templates(self, memory: Memory, reading: Reading) -> Memory:
        """Return `memory` with what decides which jobs a VM of each pool may run: from its two newest workers that are
        open and whole, again and again, for the next VMs may be made of another image."""
        now = self._ports.clock.now()
        listed = {instance.id: instance for instance in reading.instances or ()}
        records = [_as_listed(record, listed.get(record.id)) for record in memory.vms.values()]
        workers = match_workers(reading.workers or (), records, reading.workers_at).workers
        for pool in self._variants:
            newest = {one.instance_id or one.name: one for one in _newest(memory, workers, pool)}
            before = self._templates_due_at.get(pool.key, {})
            due_at = self._templates_due_at[pool.key] = {name: before.get(name, 0.0) for name in newest}
            for name, worker in newest.items():
                if now < due_at[name]:
                    continue
                text, fault = self._reporter.attempt("template", lambda: self._ports.batch.template(worker))  # noqa: B023
                is_told = bool(text) and not fault
                due_at[name] = now + (TEMPLATE_SECONDS if is_told else TEMPLATE_PAUSE_SECONDS)
                if is_told:
                    template = Template(text or "", name, now)
                    is_newest = worker is next(iter(newest.values()))
                    memory = _with_template(memory, pool.capacity_key, template, is_newest=is_newest)
        return memory

    def take_advice(self, reading: Reading, memory: Memory, policy: Policy) -> None:
        """Have it said what of the configuration, the batch system's or elastiq's, costs VM-hours, as soon as there are
        workers that it matters to. That it cannot be told is no fault: nothing depends on it."""
        now = self._ports.clock.now()
        self._are_any_wide = self._are_any_wide or any(group.vms_per_job > 1 for group in reading.demand or ())
        if not reading.workers or now < self._advice_due_at:
            return
        own = too_brief_idle_times(memory, policy) if self._are_any_wide else ()
        try:
            advice = self._ports.batch.advice()
        except BatchError as error:
            self._advice_due_at = now + patience.pause_seconds(ADVICE_RETRY_SECONDS, self._advice_failures)
            self._advice_failures += 1
            log.debug("no advice: %s", error)
            if self._advice_failures == ADVICE_TRIES:
                self._reporter.advise(own)
        else:
            self._advice_due_at, self._advice_failures = now + ADVICE_SECONDS, 0
            self._reporter.advise((*advice, *own))

    def write_page(self) -> None:
        """Have the page written where the configuration says, at most once a minute. Nobody waits for it."""
        path, pages, now = self._settings.elastiq.page_file, self._ports.pages, self._ports.clock.now()
        if path is None or pages is None:
            self._reporter.over("page file")
            return
        # What was asked for in an earlier pass may be done by now, and the next one be due.
        while now >= self._page_due_at:
            self._page_asked_at = now if self._page_asked_at is None else self._page_asked_at
            try:
                if not pages.write(path):
                    return
            except StateError as error:
                self._reporter.error("page file", f"page_file {printable(str(path))} is not up to date: {error}")
            else:
                self._reporter.fine("page file")
            self._page_due_at, self._page_asked_at = self._page_asked_at + PAGE_SECONDS, None

    def keep_features(self) -> None:
        """Remember across restarts what the cloud was found to refuse. Raise StateError."""
        features = self._ports.cloud.refused_features
        if features != self._features:
            self._ports.state.save_refused_features(self._settings.cloud, features)
            self._features = features

    def forget_departed(self, memory: Memory, reading: Reading, pass_began_at: float) -> Iterator[Memory]:
        """Tell the batch system of VMs that died by themselves, so that it sends no more jobs there.

        Of one that listings alone leave out, and that may come back, only if the batch system has not shown its worker
        in this pass: if that is back, it has jobs to lose.

        Yield `memory` after each step: each try is noted before it is made, so that a defect in one stops no other.
        """
        batch, budget = self._ports.batch, Budget(self._ports.clock, BUDGET_SECONDS)
        if not memory.to_forget:
            self._reporter.over("removing a dead worker")
        for id_, gone in memory.to_forget.items():
            if self._stopping or not budget.is_left:
                return
            now = self._ports.clock.now()
            if now < gone.retry_at:
                continue
            left = {key: other for key, other in memory.to_forget.items() if key != id_}
            if not _has_successor(id_, gone, memory, reading) and now - gone.gone_at <= FORGET_FOR_SECONDS:
                if id_ in memory.once_own and not _is_out_of_sight(id_, gone, reading, pass_began_at):
                    continue
                pause = patience.pause_seconds(patience.RETRY_SECONDS, gone.tries)
                again = replace(gone, tries=gone.tries + 1, retry_at=now + pause)
                memory = replace(memory, to_forget={**left, id_: again})
                yield memory
                if gone.tries and not _shows_successors(memory, reading):
                    continue
                worker = Worker(gone.worker_name, instance_id=id_, address=gone.address)
                _, fault = self._reporter.attempt("removing a dead worker", lambda: batch.forget(worker))  # noqa: B023
                if fault:
                    continue
            memory = replace(memory, to_forget=left)
            yield memory


def _alive(reading: Reading) -> list[Instance]:
    return [instance for instance in reading.instances or () if instance.state.alive]


def _as_listed(record: VmRecord, instance: Instance | None) -> VmRecord:
    """Return a VM with its address and name, which the listing of this very pass may be the first to tell."""
    if instance is None or (record.address and record.name):
        return record
    return replace(record, address=record.address or instance.address, name=record.name or instance.name)


def _newest(memory: Memory, workers: Mapping[str, Worker], pool: Pool) -> list[Worker]:
    """Return the two workers that joined last of those that show what VMs of `pool` are like now, the last one first.

    Two, for whoever is root on one of them can have it offer nothing: jobs of others would get no VM.
    """
    records = (
        record
        for record in memory.vms.values()
        if record.pool == pool.name and pool.takes(record.type) and record.works
    )
    # One that is seen for the first time counts too: its VM may go in this very pass.
    in_turn = sorted(records, key=lambda record: (record.launched_at, record.id), reverse=True)
    found = (workers[record.id] for record in in_turn if record.id in workers)
    return list(islice((worker for worker in found if not (worker.closed or worker.hurt)), 2))


def _with_template(memory: Memory, key: str, new: Template, *, is_newest: bool) -> Memory:
    """Return `memory` after the newest worker of a pool, or the one before it, gave its template."""
    first, second = memory.templates.get(key), memory.second_templates.get(key)
    if not is_newest:
        known = memory.second_templates
        return memory if _is_noted(second, new) else replace(memory, second_templates={**known, key: new})
    if _is_noted(first, new):
        return memory
    if first is not None and first.text != new.text and (second is None or first.instance_id != new.instance_id):
        # What a worker said before counts too, until another one has told.
        memory = replace(memory, second_templates={**memory.second_templates, key: first})
    return replace(memory, templates={**memory.templates, key: new})


def _is_noted(known: Template | None, new: Template) -> bool:
    return known is not None and known.text == new.text and new.taken_at - known.taken_at < TEMPLATE_NOTED_SECONDS


def _has_successor(id_: str, gone: Departed, memory: Memory, reading: Reading) -> bool:
    """Return whether a VM has the address or the worker's name of one that is gone, or is it, back again."""
    own = memory.vms.values()
    addresses = {record.address for record in own} | {one.address for one in _alive(reading) if one.id != id_}
    names = {record.worker_name for record in own if record.worker_name}
    return id_ in memory.vms or gone.worker_name in names or (gone.address is not None and gone.address in addresses)


def _shows_successors(memory: Memory, reading: Reading) -> bool:
    """Return whether a successor would be known: by now there may be one, and batch systems go by address."""
    return reading.instances is not None and all(record.address for record in memory.vms.values())


def _is_out_of_sight(id_: str, gone: Departed, reading: Reading, since: float) -> bool:
    if reading.workers is None or reading.workers_at < since:
        return False
    shown = (worker.name == gone.worker_name or worker.instance_id == id_ for worker in reading.workers)
    return not any(shown)
