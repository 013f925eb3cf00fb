"""A batch plugin that tells of every job what a test says, and, by another name, one that cannot tell."""

from __future__ import annotations

from collections.abc import Sequence

from elastiq.config import Settings
from elastiq.model import Demand, Explanation, Judgement, Standing, Worker
from elastiq.plugins import Closing

TOLD: list[Explanation] = []


class Silent:
    """Has what a plugin must have."""

    def demand(self) -> tuple[Demand, ...]:
        return ()

    def workers(self) -> tuple[Worker, ...]:
        return ()

    def close(self, worker: Worker) -> Closing:
        raise NotImplementedError

    def reopen(self, worker: Worker) -> None:
        raise NotImplementedError

    def forget(self, worker: Worker) -> None:
        raise NotImplementedError

    def check(self) -> str:
        return "here"


class Telling(Silent):
    """Tells what TOLD says last."""

    def template(self, worker: Worker) -> str:
        raise NotImplementedError

    def judge(self, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        return (Judgement(),) * len(wants)

    def explain(self, job: str) -> Explanation:
        return TOLD[-1] if TOLD else Explanation(Standing.UNKNOWN)


def create(settings: Settings) -> Silent:
    return Telling()
