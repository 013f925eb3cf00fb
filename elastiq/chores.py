"""What is to be kept in order beside every plan: tags, what a VM holds, workers whose VMs died."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

from elastiq.clock import Clock
from elastiq.errors import CloudError
from elastiq.memory import Departed, Memory
from elastiq.model import Pool, Worker
from elastiq.observer import Observer
from elastiq.planning import patience
from elastiq.plugins import BatchSystem
from elastiq.ports import Cloud

log = logging.getLogger(__name__)

TAG_AFTER_SECONDS = 60.0
"""Tags may show up in listings only some time after the launch."""

CAPACITY_RETRY_SECONDS = 3600.0

FORGET_FOR_SECONDS = 3600.0
"""The batch system is told for so long of a worker whose VM is gone; later another VM may well have its address."""

BUDGET_SECONDS = 5.0
"""Tagging goes on for so long at most in one pass, and so does forgetting."""


class Chores:
    """Does in each pass what has not succeeded yet. What fails is said, and tried again."""

    def __init__(
        self, clock: Clock, batch: BatchSystem, cloud: Cloud, observer: Observer, pools: Sequence[Pool]
    ) -> None:
        self._clock, self._batch, self._cloud, self._observer = clock, batch, cloud, observer
        self._pools = {pool.name: pool for pool in pools}
        self._capacity_due_at = 0.0

    def tag_untagged(self, memory: Memory) -> None:
        """Tag VMs that the cloud could not tag in the launch, so that they are found again whatever is lost here."""
        began_at = self._clock.now()
        before = began_at - TAG_AFTER_SECONDS
        listed = {instance.id for instance in self._observer.reading.instances or () if instance.state.alive}
        groups: dict[tuple[str, str], list[str]] = {}
        for record in memory.vms.values():
            if record.id in listed and not record.tagged and record.launched_at < before:
                groups.setdefault((record.pool, record.token), []).append(record.id)
        for (pool, token), ids in groups.items():
            if pool in self._pools and self._clock.now() - began_at <= BUDGET_SECONDS:
                self._observer.ask("tagging", lambda: self._cloud.tag(ids, self._pools[pool], token))  # noqa: B023

    def learn_capacity(self, memory: Memory) -> Memory:
        """Return `memory` with what a VM holds where neither its worker nor its type has told it yet."""
        now = self._clock.now()
        if now < self._capacity_due_at:
            return memory
        for pool in self._pools.values():
            if not pool.instance_type or pool.capacity_key in memory.capacities:
                continue
            self._capacity_due_at = now + CAPACITY_RETRY_SECONDS
            try:
                capacity = self._cloud.capacity(pool)
            except CloudError as error:
                log.info("the cloud does not say what a %s holds, so workers will: %s", pool.instance_type, error)
            else:
                memory = replace(memory, capacities={**memory.capacities, pool.capacity_key: capacity})
        return memory

    def forget_departed(self, memory: Memory, pass_began_at: float) -> Iterator[Memory]:
        """Tell the batch system of VMs that died by themselves, so that it sends no more jobs there.

        Of one that listings alone leave out, and that may come back, only if the batch system has not shown its worker
        in this pass: if that is back, it has jobs to lose.

        Yield `memory` after each step: each try is noted before it is made, so that a defect in one stops no other.
        """
        began_at = self._clock.now()
        for id_, gone in memory.to_forget.items():
            now = self._clock.now()
            if self._observer.stopping or now - began_at > BUDGET_SECONDS:
                return
            if now < gone.retry_at:
                continue
            left = {key: other for key, other in memory.to_forget.items() if key != id_}
            if not self._has_successor(id_, gone, memory) and now - gone.gone_at <= FORGET_FOR_SECONDS:
                if id_ in memory.once_own and not self._is_out_of_sight(gone, pass_began_at):
                    continue
                pause = patience.RETRY_SECONDS[min(gone.tries, len(patience.RETRY_SECONDS) - 1)]
                again = replace(gone, tries=gone.tries + 1, retry_at=now + pause)
                memory = replace(memory, to_forget={**left, id_: again})
                yield memory
                if gone.tries and not self._knows_addresses(memory):
                    continue
                worker = Worker(gone.worker_name, instance_id=id_, address=gone.address)
                _, fault = self._observer.ask("removing a dead worker", lambda: self._batch.forget(worker))  # noqa: B023
                if fault:
                    continue
            memory = replace(memory, to_forget=left)
            yield memory

    def _has_successor(self, id_: str, gone: Departed, memory: Memory) -> bool:
        """Return whether a VM has the address or the worker's name of one that is gone, or is it, back again."""
        own = memory.vms
        listed = [instance for instance in self._observer.reading.instances or () if instance.state.alive]
        names = {record.worker_name for record in own.values()}
        addresses = {record.address for record in own.values()} | {one.address for one in listed if one.id != id_}
        return id_ in own or gone.worker_name in names or (gone.address is not None and gone.address in addresses)

    def _is_out_of_sight(self, gone: Departed, since: float) -> bool:
        reading = self._observer.reading
        if reading.workers is None or reading.workers_at < since:
            return False
        return all(worker.name != gone.worker_name for worker in reading.workers)

    def _knows_addresses(self, memory: Memory) -> bool:
        """Return whether a successor would be known: by now there may be one, and batch systems go by address."""
        known = self._observer.reading.instances is not None
        return known and all(record.address for record in memory.vms.values())
