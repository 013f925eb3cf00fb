"""A batch plugin as elastiq asks it: of whatever version it is, and no judgement that cannot be used.

What the contract came to ask for after 2.0.0 is read here as a plugin of 2.0.0 means it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from elastiq.errors import BatchError
from elastiq.model import Demand, Judgement, Worker
from elastiq.plugins import ADVICE_LIMIT, ADVISING, MATCHMAKING, Adviser, BatchSystem, Closing, Matchmaker
from elastiq.plugins.faults import advice_faults, judgement_faults, template_faults
from elastiq.text import one_line

_REASON_CHARACTERS = 300


class Adapter:
    """A BatchSystem as a Matchmaker and an Adviser. Without judgements of its own, every worker is taken to run every
    job; without advice it has none."""

    def __init__(self, batch: BatchSystem) -> None:
        self._batch = batch
        is_matchmaker = all(hasattr(batch, method) for method in MATCHMAKING)
        self._matchmaker = cast("Matchmaker", batch) if is_matchmaker else None
        is_adviser = all(hasattr(batch, method) for method in ADVISING)
        self._adviser = cast("Adviser", batch) if is_adviser else None

    def demand(self) -> tuple[Demand, ...]:
        return self._batch.demand()

    def workers(self) -> tuple[Worker, ...]:
        """Return what the plugin does, but None for what it does not know, where 2.0.0 had 0 for that."""
        answer = self._batch.workers()
        return tuple(map(_told, answer)) if isinstance(answer, tuple) else answer

    def close(self, worker: Worker) -> Closing:
        return self._batch.close(worker)

    def reopen(self, worker: Worker) -> None:
        self._batch.reopen(worker)

    def forget(self, worker: Worker) -> None:
        self._batch.forget(worker)

    def check(self) -> str:
        return self._batch.check()

    def template(self, worker: Worker) -> str:
        """Return what the plugin does; nothing if it judges no jobs. Raise BatchError also if its answer is none."""
        if self._matchmaker is None:
            return ""
        answer = self._matchmaker.template(worker)
        _refuse("template", template_faults(answer))
        return answer

    def judge(self, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        """Return what the plugin does, each reason in one line. Raise BatchError also if its answer is none: half an
        answer would be believed of the wrong jobs."""
        if self._matchmaker is None:
            return (Judgement(),) * len(wants)
        answer = self._matchmaker.judge(wants, template)
        if isinstance(answer, tuple):
            answer = tuple(map(_in_one_line, answer))
        _refuse("judge", judgement_faults(answer, len(wants)))
        return answer

    def advice(self) -> tuple[str, ...]:
        """Return what the plugin does, each sentence in one line. Raise BatchError also if its answer is none."""
        if self._adviser is None:
            return ()
        answer = self._adviser.advice()
        if isinstance(answer, tuple):
            answer = tuple(one_line(one, ADVICE_LIMIT) if isinstance(one, str) else one for one in answer)
        _refuse("advice", advice_faults(answer))
        return answer


def _told(worker: Worker) -> Worker:
    capacity, free = worker.capacity, worker.free
    if capacity.memory_mb != 0 and capacity.disk_mb != 0:
        return worker
    # No machine has no memory: it was not known, and what is left of it neither.
    memory = (capacity.memory_mb, free.memory_mb) if capacity.memory_mb else (None, None)
    disk = (capacity.disk_mb, free.disk_mb) if capacity.disk_mb else (None, None)
    return replace(
        worker,
        capacity=replace(capacity, memory_mb=memory[0], disk_mb=disk[0]),
        free=replace(free, memory_mb=memory[1], disk_mb=disk[1]),
    )


def _in_one_line(judgement: Any) -> Any:
    if not isinstance(judgement, Judgement) or not isinstance(judgement.reason, str):
        return judgement
    return replace(judgement, reason=one_line(judgement.reason, _REASON_CHARACTERS))


def _refuse(method: str, faults: Sequence[str]) -> None:
    if faults:
        raise BatchError(f"what the batch plugin answers to {method} cannot be used: {faults[0]}; mend the plugin")
