"""A batch plugin as elastiq asks it: of whatever version it is, and no judgement that cannot be used.

What the contract came to ask for after 2.0.0 is read here as a plugin of 2.0.0 means it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from elastiq.errors import BatchError, PluginError
from elastiq.model import Demand, Eligibility, Explanation, Judgement, Usage, Worker
from elastiq.plugins import (
    ACCOUNTING,
    ADVICE_LIMIT,
    ADVISING,
    EXPLAINING,
    EXPLANATION_LIMIT,
    MATCHMAKING,
    NARROWING,
    REQUEUING,
    Accountant,
    Adviser,
    BatchSystem,
    Closing,
    Explainer,
    Matchmaker,
    Narrower,
    Requeuer,
)
from elastiq.plugins.faults import (
    advice_faults,
    explanation_faults,
    judgement_faults,
    narrowed_faults,
    template_faults,
    usage_faults,
)
from elastiq.plugins.foreign import run_foreign
from elastiq.text import one_line

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

MOST_QUESTIONS = 100
"""So many are put at most to find those jobs that cannot be judged: one among 2,000 takes 23."""

_REASON_CHARACTERS = 300

_SAID_AT_MOST = 100
"""So many faults of a plugin are told."""


class Adapter:
    """A BatchSystem as a Matchmaker and an Adviser. Without judgements of its own, every worker is taken to run every
    job; without advice it has none.

    Whatever a plugin raises costs the answer to this one question: of everything but BatchError it makes PluginError,
    which is one, with the name of the plugin.
    """

    def __init__(self, batch: BatchSystem, name: str = "") -> None:
        """`name` is what the configuration calls the plugin."""
        self._batch = batch
        self._name = name or f"{type(batch).__module__}.{type(batch).__qualname__}"
        is_matchmaker = all(hasattr(batch, method) for method in MATCHMAKING)
        self._matchmaker = cast("Matchmaker", batch) if is_matchmaker else None
        is_narrower = is_matchmaker and all(hasattr(batch, method) for method in NARROWING)
        self._narrower = cast("Narrower", batch) if is_narrower else None
        is_adviser = all(hasattr(batch, method) for method in ADVISING)
        self._adviser = cast("Adviser", batch) if is_adviser else None
        is_explainer = all(hasattr(batch, method) for method in EXPLAINING)
        self._explainer = cast("Explainer", batch) if is_explainer else None
        is_accountant = all(hasattr(batch, method) for method in ACCOUNTING)
        self._accountant = cast("Accountant", batch) if is_accountant else None
        can_requeue = all(hasattr(batch, method) for method in REQUEUING)
        self._requeuer = cast("Requeuer", batch) if can_requeue else None
        self._said: set[str] = set()

    def demand(self) -> tuple[Demand, ...]:
        return self._run("demand", self._batch.demand)

    def workers(self) -> tuple[Worker, ...]:
        """Return what the plugin does, but None for what it does not know, where 2.0.0 had 0 for that."""
        return self._run("workers", self._workers)

    def _workers(self) -> tuple[Worker, ...]:
        answer = self._batch.workers()
        return tuple(map(_told, answer)) if isinstance(answer, tuple) else answer

    def close(self, worker: Worker) -> Closing:
        return self._run("close", lambda: self._batch.close(worker))

    def reopen(self, worker: Worker) -> None:
        self._run("reopen", lambda: self._batch.reopen(worker))

    def forget(self, worker: Worker) -> None:
        self._run("forget", lambda: self._batch.forget(worker))

    def requeue(self, worker: Worker) -> None:
        """Do what the plugin does. Raise BatchError also if it takes no jobs from workers."""
        requeuer = self._requeuer
        if requeuer is None:
            raise BatchError(f"the batch plugin {self._name} cannot queue jobs again; set on_interruption = drain")
        self._run("requeue", lambda: requeuer.requeue(worker))

    def check(self) -> str:
        return self._run("check", self._batch.check)

    def template(self, worker: Worker) -> str:
        """Return what the plugin does; nothing if it judges no jobs. Raise BatchError also if its answer is none."""
        matchmaker = self._matchmaker
        if matchmaker is None:
            return ""
        answer = self._run("template", lambda: matchmaker.template(worker))
        self._refuse("template", template_faults(answer))
        return answer

    def judge(self, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        """Return what the plugin does, each reason in one line.

        Jobs over which it stumbles are UNKNOWN, and the others are judged all the same, within so many questions.
        Raise BatchError if it stumbles over all of them.
        """
        if self._matchmaker is None:
            return (Judgement(),) * len(wants)
        found = self._judged_apart(self._matchmaker, wants, template)
        errors = [one for one in found if isinstance(one, PluginError)]
        if errors and len(errors) == len(found):
            raise errors[0]
        for error in errors:
            self._say(str(error))
        return tuple(_unknown(one) if isinstance(one, PluginError) else one for one in found)

    def narrowed(self, template: str, jobs: str, offers: str) -> str:
        """Return what the plugin does; `template` if there is nothing to narrow. Raise BatchError also if its answer is
        none, or if it does not read `jobs` and `offers`."""
        narrower = self._narrower
        if not (jobs or offers):
            return template
        if narrower is None:
            raise PluginError(f"the batch plugin {self._name} does not read jobs and offers of pools; leave them out")
        answer = self._run("narrowed", lambda: narrower.narrowed(template, jobs, offers))
        self._refuse("narrowed", narrowed_faults(answer))
        return answer

    def _judged_apart(
        self, matchmaker: Matchmaker, wants: Sequence[str], template: str
    ) -> list[Judgement | PluginError]:
        """Return for each of `wants` what was judged of it, or why that failed, which is found by halves."""
        found: dict[int, Judgement | PluginError] = {}
        parts: deque[range] = deque([range(len(wants))])
        for _ in range(MOST_QUESTIONS):
            if not parts:
                break
            part = parts.popleft()
            try:
                found.update(zip(part, self._judged(matchmaker, wants[part.start : part.stop], template)))
            except PluginError as error:
                found.update(dict.fromkeys(part, error))
                half = len(part) // 2
                parts.extend((part[:half], part[half:]) if half else ())
        return [found[number] for number in range(len(wants))]

    def _judged(self, matchmaker: Matchmaker, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        """Return what the plugin does. Raise BatchError also if its answer is none: half an answer would be believed of
        the wrong jobs."""
        answer = self._run("judge", lambda: matchmaker.judge(wants, template))
        if isinstance(answer, tuple):
            answer = tuple(map(_in_one_line, answer))
        self._refuse("judge", judgement_faults(answer, len(wants)))
        return answer

    def advice(self) -> tuple[str, ...]:
        """Return what the plugin does, each sentence in one line. Raise BatchError also if its answer is none."""
        if self._adviser is None:
            return ()
        answer = self._run("advice", self._adviser.advice)
        if isinstance(answer, tuple):
            answer = tuple(one_line(one, ADVICE_LIMIT) if isinstance(one, str) else one for one in answer)
        self._refuse("advice", advice_faults(answer))
        return answer

    def explain(self, job: str) -> Explanation | None:
        """Return what the plugin does, its text in one line; None if it does not tell of single jobs. Raise BatchError
        also if its answer is none."""
        explainer = self._explainer
        if explainer is None:
            return None
        answer = self._run("explain", lambda: explainer.explain(job))
        if isinstance(answer, Explanation) and isinstance(answer.text, str):
            answer = replace(answer, text=one_line(answer.text, EXPLANATION_LIMIT))
        self._refuse("explain", explanation_faults(answer))
        return answer

    def usage(self, since: float) -> tuple[Usage, ...] | None:
        """Return what the plugin does; None if it does not tell who used which worker. Raise BatchError also if its
        answer cannot be used."""
        accountant = self._accountant
        if accountant is None:
            return None
        answer = self._run("usage", lambda: accountant.usage(since))
        self._refuse("usage", usage_faults(answer))
        return answer

    def _run(self, method: str, call: Callable[[], Answer]) -> Answer:
        refusal = f"batch plugin {self._name} failed in {method}: {{}}; mend the plugin"
        return run_foreign(call, BatchError, lambda error: PluginError(refusal.format(error)))

    def _refuse(self, method: str, faults: Sequence[str]) -> None:
        if faults:
            what = f"what the batch plugin {self._name} answers to {method} cannot be used: {faults[0]}"
            raise BatchError(f"{what}; mend the plugin")

    def _say(self, text: str) -> None:
        if text not in self._said and len(self._said) < _SAID_AT_MOST:
            self._said.add(text)
            log.error("some jobs cannot be judged: %s", text)


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


def _unknown(error: PluginError) -> Judgement:
    return Judgement(Eligibility.UNKNOWN, one_line(str(error), _REASON_CHARACTERS))


def _in_one_line(judgement: Any) -> Any:
    if not isinstance(judgement, Judgement) or not isinstance(judgement.reason, str):
        return judgement
    return replace(judgement, reason=one_line(judgement.reason, _REASON_CHARACTERS))
