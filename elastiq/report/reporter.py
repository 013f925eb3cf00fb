"""Says what elastiq does and why: to the log, to the last decisions, and to the report that `status` shows."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from elastiq.clock import Time
from elastiq.config import Settings
from elastiq.decisions import Decision, End, Kind, Outcome, Plan, Token
from elastiq.errors import BatchError, CloudError, CloudFault, PendingError, StateError
from elastiq.model import Policy, of_pool
from elastiq.planning.why import account
from elastiq.redaction import Redactor
from elastiq.report import accounts, metrics, spending
from elastiq.report.figures import Look, families
from elastiq.report.tally import Tally
from elastiq.text import harmless, printable
from elastiq.version import VERSION

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

REPORT_EVERY_SECONDS = 60.0

HOLDS_SAID = 10

TOPICS_KEPT = 1000

LEVELS = {
    End.DONE: logging.INFO,
    End.REFUSED: logging.INFO,
    End.PENDING: logging.INFO,
    End.UNCLEAR: logging.WARNING,
    End.FAILED: logging.ERROR,
}


class Records(Protocol):
    """Where it is kept what was said. Every method raises StateError alone."""

    def record(self, at: float, decision: Decision, outcome: Outcome | None) -> None:
        """Add a decision and what became of it to the last decisions."""

    def save_report(self, report: Mapping[str, object], account: Mapping[str, object] | None = None) -> None:
        """Write what `elastiqctl status` shows, and what `why` answers from; None: that is as it was."""


class Reporter:
    """Says everything once: a sentence that differs from the last one on its topic in numbers alone is no news."""

    def __init__(self, clock: Time, records: Records, redactor: Redactor) -> None:
        """`redactor` cleans all that is recorded or shown: the batch system's own words may hold secrets."""
        self._clock, self._records, self._redactor = clock, records, redactor
        self._started_at = clock.now()
        self._said: dict[str, str] = {}
        self._last_action: dict[str, object] | None = None
        self._errors: dict[str, dict[str, object]] = {}
        """By topic, those that are not over, the latest at the end."""
        self._said_of_trouble: set[str] = set()
        """The sentences on whole passes since something went wrong that is not over."""
        self._last_over: dict[str, object] | None = None
        """The latest of those that are over."""
        self._advice: tuple[str, ...] = ()
        self._totals = metrics.Totals()
        self._tally = Tally()
        self._settled: tuple[Settings, Policy] | None = None
        """The settings that were used last, and what decisions depend on of them."""
        self._plan: Plan | None = None
        self._plan_at = 0.0
        """The last plan, and when it was made."""
        self._accounted: int | None = None
        self._account_due_at = 0.0
        self._reported = ""
        self._report_due_at = 0.0
        self._stopping = False

    def clean(self, text: str) -> str:
        """Return a text without secrets, and without what a terminal obeys or a database refuses."""
        return harmless(self._redactor.clean(text))

    def stop(self) -> None:
        """Take what is not answered from now on for no fault: it is abandoned, because the daemon is to end."""
        self._stopping = True

    def attempt(self, what: str, call: Callable[[], Answer]) -> tuple[Answer | None, str]:
        """Return what `call` returns, or None and why there is no answer; say that, and when it works again.

        Raise PendingError if the answer is still to come.
        """
        try:
            answer = call()
        except PendingError:
            raise
        except (BatchError, CloudError) as error:
            fault = f"{what} failed: {error}"
            is_postponed = isinstance(error, CloudError) and error.fault is CloudFault.BUSY
            if not (self._stopping or is_postponed):
                self.error(what, fault)
            return None, fault
        self.fine(what)
        return answer, ""

    def error(self, topic: str, text: str) -> str:
        """Log a fault of `topic` the first time, and keep it for `status`; return it without secrets."""
        text = self.clean(text)
        self._keep_error(topic, text)
        self._totals.failed[topic] += 1
        if self._is_news(topic, text):
            log.error("%s", text)
        return text

    def fine(self, topic: str) -> None:
        """Log that `topic` works again, if it did not."""
        if self._said.get(topic):
            log.info("%s works again", topic)
        self.over(topic)

    def over(self, topic: str) -> None:
        """Take a fault of `topic`, if there was one, for over, because it works or is not needed any more."""
        self._said.pop(topic, None)
        self._end_error(topic)

    def _end_error(self, topic: str) -> None:
        error = self._errors.pop(topic, None)
        if error is not None:
            self._last_over = {**error, "over_at": self._clock.now()}

    def _keep_error(self, topic: str, text: str) -> None:
        self._errors.pop(topic, None)
        self._errors[topic] = {"at": self._clock.now(), "text": text}

    def advise(self, advice: Iterable[str]) -> None:
        """Show `advice`, which is all that there is, in place of what there was; log what of it is news."""
        self._advice = tuple(map(self.clean, advice))
        topics = {f"advice {text}": text for text in self._advice}
        for topic in [topic for topic in self._said if topic.startswith("advice ") and topic not in topics]:
            del self._said[topic]
        for topic, text in topics.items():
            if self._is_news(topic, text):
                log.warning("advice: %s", text)

    @property
    def _last_error(self) -> dict[str, object] | None:
        """The last one that is not over; otherwise the last one."""
        return next(reversed(self._errors.values())) if self._errors else self._last_over

    def outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Log what was done, and keep it for later questions. Raise StateError.

        Terminations whose line has been written when they were asked for have one more together.
        """
        unrecorded: StateError | None = None
        confirmed: list[str] = []
        for outcome in outcomes:
            decision = outcome.decision
            is_told = outcome.end is End.DONE and f"asked {_topic(decision)}" in self._said
            if is_told and decision.kind is Kind.TERMINATE:
                confirmed.append(decision.instance_id)
            try:
                self._outcome(outcome)
            except StateError as error:
                unrecorded = error  # the log still tells of the rest
        if confirmed:
            log.info("terminated, as asked for before: VM %s", ", ".join(confirmed))
        if unrecorded is not None:
            raise unrecorded

    def cycle(self, made: Plan) -> None:
        """Log what is left, and why; keep it for later questions. Raise StateError."""
        self._end_errors(made)
        holds = [decision for decision in made.decisions if decision.kind is Kind.HOLD]
        topics = {f"hold {one.reason.token.value} {one.reason.subject}": one for one in holds[:HOLDS_SAID]}
        for topic in [topic for topic in self._said if topic.startswith("hold ") and topic not in topics]:
            del self._said[topic]
        # The name of a VM may be all that is new, and it may be of digits alone.
        news = self._is_news("summary", made.summary)
        for topic, decision in topics.items():
            if self._is_news(topic, str(decision.reason)):
                self._record(decision, None)
                news = news or str(decision.reason) in made.summary
        news = news and not self._is_said_of_trouble(made.summary)
        log.log(logging.INFO if news else logging.DEBUG, "%s", made.summary)
        if len(self._said) > TOPICS_KEPT:
            self._said.clear()

    def _is_said_of_trouble(self, summary: str) -> bool:
        """Return whether the same was said before in the trouble that lasts: what is refused is tried again and again,
        and each try goes through the same sentences."""
        if not self._errors:
            self._said_of_trouble.clear()
            return False
        gist = _gist(summary)
        is_said = gist in self._said_of_trouble
        self._said_of_trouble.add(gist)
        return is_said

    def _end_errors(self, made: Plan) -> None:
        """Take faults of actions for over that a plan does not want any more."""
        if any(decision.reason.token is Token.UNREADABLE for decision in made.decisions):
            return  # what is wanted is not known
        wanted = {_topic(decision) for decision in made.decisions}
        wanted |= {f"{Kind.LAUNCH.value} {intent.pool}" for intent in made.memory.intents}
        for record in made.memory.vms.values():
            if record.leaving:
                wanted |= {f"{kind.value} {record.id}" for kind in (Kind.TERMINATE, Kind.REOPEN)}
            if record.requeued_at is not None:
                wanted.add(f"{Kind.REQUEUE.value} {record.id}")  # asked again after a pause
        actions = tuple(f"{kind.value} " for kind in Kind)
        for topic in [topic for topic in self._errors if topic.startswith(actions) and topic not in wanted]:
            self.over(topic)

    def _outcome(self, outcome: Outcome) -> None:
        decision = outcome.decision
        text = self.clean(f"{_deed(decision)}: {decision.reason}; {outcome.detail}")
        topic = _topic(decision)
        is_pending = outcome.end is End.PENDING
        # Of its own, or the refusal of each try would be news again.
        news = self._is_news(f"asked {topic}" if is_pending else _offered(decision), text) or outcome.end is End.DONE
        self._totals.count(outcome)
        self._tally.count(outcome)
        is_told = False
        if outcome.end is End.DONE:
            is_told = self._said.pop(f"asked {topic}", None) is not None and decision.kind is Kind.TERMINATE
            self._last_action = {"at": self._clock.now(), "text": text}
            for refused in [one for one in self._said if one.startswith(f"{topic} at ")]:
                del self._said[refused]
        if outcome.end in (End.DONE, End.REFUSED):
            self._end_error(topic)  # but what was said of it stays said: a dry run comes to the same in every pass
        elif not is_pending:
            self._keep_error(topic, text)
        if news:
            if not is_told:
                is_gone_on = outcome.end is End.FAILED and len(decision.walk) > 1
                log.log(logging.WARNING if is_gone_on else LEVELS[outcome.end], "%s", text)
            self._record(decision, outcome)

    def _record(self, decision: Decision, outcome: Outcome | None) -> None:
        clean = replace(decision, reason=replace(decision.reason, text=self.clean(str(decision.reason))))
        became = outcome and replace(outcome, decision=clean, detail=self.clean(outcome.detail))
        self._records.record(self._clock.now(), clean, became)

    def _is_news(self, topic: str, text: str) -> bool:
        gist = _gist(text)
        if self._said.get(topic) == gist:
            return False
        self._said[topic] = gist
        return True

    def report(self, made: Plan, settings: Settings) -> None:
        """Write what `elastiqctl status` shows, and metrics, when it is news and every minute. Raise StateError."""
        now = self._clock.now()
        if made is not self._plan:
            self._plan, self._plan_at = made, now
        if settings.elastiq.metrics_file is not None:
            self._tally.look(made, self._policy(settings), now)
        reasons = [decision.reason for decision in made.decisions if decision.kind is Kind.HOLD]
        figures = made.figures
        report: dict[str, object] = {
            "pid": os.getpid(),
            "version": VERSION,
            "started_at": self._started_at,
            "batch_plugin": settings.elastiq.batch_plugin,
            "cluster": settings.elastiq.cluster_name,
            "summary": self.clean(made.summary),
            "jobs_waiting": figures.jobs_waiting,
            "workers_busy": figures.workers_busy,
            "workers_idle": figures.workers_idle,
            "vms_pending": figures.vms_pending,
            "vms_running": figures.vms_running,
            "vms_leaving": figures.vms_leaving,
            "vms_in_error": figures.vms_in_error,
            "vms_stopped": figures.vms_stopped,
            "vms_asked_for": figures.vms_asked_for,
            "vms_unconfirmed": figures.vms_unconfirmed,
            "unconfirmed_until": figures.unconfirmed_until,
            "vms_of_pools": dict(figures.vms_of_pools),
            **spending.reported(figures.cost),
            "min_vms": settings.quota.min_vms,
            "max_vms": settings.quota.max_vms,
            "last_action": self._last_action,
            "last_error": self._last_error,
            "advice": [*settings.ec2.cautions, *self._advice],
            "holds": [self.clean(str(reason)) for reason in reasons],
            "reasons": [
                {"token": reason.token.value, "subject": self.clean(reason.subject), "numbers": dict(reason.numbers)}
                for reason in reasons
            ],
        }
        if f"{settings.elastiq.metrics_file} {report}" != self._reported or now >= self._report_due_at:
            self._write(report, settings)
        # A pass that has come this far had no fault.
        self.fine("pass")
        self.fine("defect")

    def _policy(self, settings: Settings) -> Policy:
        if self._settled is None or self._settled[0] is not settings:
            self._settled = settings, settings.policy()
        return self._settled[1]

    def _write(self, report: dict[str, object], settings: Settings) -> None:
        """Write a report, for people and for metrics. Raise StateError."""
        now, metrics_file = self._clock.now(), settings.elastiq.metrics_file
        self._write_metrics(metrics_file, {**report, "updated_at": now}, settings)
        # If that failed it is the last error, and must be no news to the next pass.
        report["last_error"] = self._last_error
        self._reported, self._report_due_at = f"{metrics_file} {report}", now + REPORT_EVERY_SECONDS
        # The time that `status` counts from: the wall clock may be set while the daemon runs.
        stamps = {"updated_at": now, "monotonic_microseconds": self._clock.monotonic_microseconds()}
        self._records.save_report({**report, **stamps}, self._account(settings, now))

    def _account(self, settings: Settings, now: float) -> dict[str, object] | None:
        """Return what the last plan says of each group and VM; None if that was written within a minute, and nothing is
        another since but figures. It is as long as there are VMs and groups."""
        made = self._plan
        if made is None:
            return None
        verdicts = ((one.group and one.group.key, one.jobs, one.instance_id, one.reason.token) for one in made.verdicts)
        gist = hash(tuple(verdicts))
        if gist == self._accounted and now < self._account_due_at:
            return None
        told = account(made, self._policy(settings), self._plan_at)
        self._accounted, self._account_due_at = gist, now + REPORT_EVERY_SECONDS
        return accounts.written(told, self.clean)

    def _write_metrics(self, path: Path | None, report: Mapping[str, Any], settings: Settings) -> None:
        made = self._plan
        if path is None or made is None:
            return
        more = families(Look(made, self._policy(settings), self._tally, self._clock.now()))
        try:
            metrics.write(path, report, self._totals, more)
        except OSError as error:
            self.error("metrics file", f"metrics_file {printable(str(path))} cannot be written: {error.strerror}")
        else:
            self.fine("metrics file")


def _gist(text: str) -> str:
    return re.sub(r"[0-9.]+", "", text)


def _topic(decision: Decision) -> str:
    """Return what an action is about, of which there may be several tries."""
    if decision.reason.token is Token.LAUNCHES_PAUSED:
        return f"{Kind.LAUNCH.value} {decision.reason.subject}"
    return f"{decision.kind.value} {decision.instance_id or decision.pool}"


def _offered(decision: Decision) -> str:
    """Return the same, with the offer that was asked."""
    offer = decision.walk[0].offer if decision.walk else None
    return _topic(decision) if offer is None else f"{_topic(decision)} at {offer.market} {offer.type} {offer.zone}"


def _deed(decision: Decision) -> str:
    if decision.kind is Kind.LAUNCH:
        return f"launch {decision.count} VM{'s' if decision.count != 1 else ''}{of_pool(decision.pool)}"
    return f"{decision.kind.value} {'jobs of ' if decision.kind is Kind.REQUEUE else ''}VM {decision.instance_id}"
