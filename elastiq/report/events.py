"""What happened, as events to be kept: each once, however often a plan comes to the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from elastiq.decisions import Decision, End, Kind, Outcome, Plan, Reason, Token
from elastiq.model import of_pool
from elastiq.state.kept import Event
from elastiq.text import one_line

HOLD_LASTS_SECONDS = 60.0
"""A hold that is back so soon was not over."""

SAME_AGAIN_SECONDS = 3600.0
"""What is tried again and again, and comes to the same, is told so often."""

MOST_WAITING = 10_000
"""So many events wait to be written at most."""

MOST_REFUSED = 1000

TEXT_CHARACTERS = 300

GONE = (Token.VM_ENDED, Token.VM_VANISHED, Token.VM_INTERRUPTED, Token.ENDED_AFTER_ALL)

_ENDS = {
    End.DONE: "done",
    End.PENDING: "asked for",
    End.REFUSED: "not done",
    End.FAILED: "refused",
    End.UNCLEAR: "unclear",
}


class Events:
    """Makes events of plans and outcomes."""

    def __init__(self, clean: Callable[[str], str]) -> None:
        """`clean` takes secrets out: the words of a cloud and a batch system may hold some."""
        self._clean = clean
        self._waiting: list[Event] = []
        self._holds: dict[tuple[str, str], tuple[float, Reason]] = {}
        """Those that last, or may: when they were last in a plan."""
        self._told_at: dict[tuple[object, ...], float] = {}
        """When it was last told that an action came to the same."""

    def process(self, kind: str, text: str, now: float) -> None:
        """Tell of the daemon itself."""
        self._add(now, kind, "", "", text)

    def outcomes(self, outcomes: Iterable[Outcome], now: float) -> None:
        """Tell what became of actions."""
        for outcome in outcomes:
            decision = outcome.decision
            subject = decision.instance_id or decision.pool
            about = (decision.kind, subject, decision.walk[0].offer if decision.walk else None)
            if outcome.end is End.DONE:
                self._told_at = {topic: at for topic, at in self._told_at.items() if topic[:2] != about[:2]}
            elif not self._is_due((*about, outcome.end, outcome.cause), now):
                continue
            token = decision.reason.token if outcome.end in (End.DONE, End.PENDING) else outcome.cause
            self._add(now, decision.kind.value, token.value, subject, _sentence(outcome))

    def _is_due(self, topic: tuple[object, ...], now: float) -> bool:
        if now - self._told_at.get(topic, -SAME_AGAIN_SECONDS) < SAME_AGAIN_SECONDS:
            return False
        if len(self._told_at) >= MOST_REFUSED:
            self._told_at.clear()
        self._told_at[topic] = now
        return True

    def plan(self, made: Plan, now: float) -> None:
        """Tell which VMs are gone, which holds have begun, and which are over."""
        for decision in made.decisions:
            if decision.kind is Kind.HOLD:
                self._hold(decision.reason, now)
        for topic, (seen_at, reason) in list(self._holds.items()):
            if now - seen_at > HOLD_LASTS_SECONDS:
                del self._holds[topic]
                self._add(seen_at, "hold-over", *topic, f"over: {reason}")

    def _hold(self, reason: Reason, now: float) -> None:
        topic = (reason.token.value, reason.subject)
        if reason.token in GONE:
            self._add(now, "gone", *topic, str(reason))
            return
        if topic not in self._holds:
            self._add(now, "hold", *topic, str(reason))
        self._holds[topic] = now, reason

    def _add(self, at: float, kind: str, token: str, subject: str, text: str) -> None:
        text = one_line(self._clean(text), TEXT_CHARACTERS)
        self._waiting.append(Event(at, kind, token, one_line(self._clean(subject), TEXT_CHARACTERS), text))
        del self._waiting[:-MOST_WAITING]

    @property
    def is_any(self) -> bool:
        """Whether any waits to be written."""
        return bool(self._waiting)

    def take(self) -> list[Event]:
        """Return what has come since the last time."""
        taken, self._waiting = self._waiting, []
        return taken


def _sentence(outcome: Outcome) -> str:
    decision = outcome.decision
    return f"{_deed(decision)}: {decision.reason}; {outcome.detail or _ENDS[outcome.end]}"


def _deed(decision: Decision) -> str:
    if decision.kind is not Kind.LAUNCH:
        return f"{decision.kind.value} {'jobs of ' if decision.kind is Kind.REQUEUE else ''}VM {decision.instance_id}"
    offer = decision.walk[0].offer if decision.walk else None
    at = "" if offer is None else " at " + " ".join(filter(None, (offer.market, offer.type, offer.zone)))
    return f"launch {decision.count} VM{'s' if decision.count != 1 else ''}{of_pool(decision.pool)}{at}"
