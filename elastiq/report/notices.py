"""What people are told of without having asked: what shows it, when, how often at most, and in which words."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import Protocol

from elastiq.decisions import Kind, Plan, Token
from elastiq.errors import StateError
from elastiq.text import one_line
from elastiq.version import VERSION

EVERY_SECONDS = 3600.0
"""Of one kind of event no two notices that it is there come within less."""

AGAIN_SECONDS = 86400.0
"""What lasts is told again after so long, even if nothing new has come."""

OVER_SECONDS = 600.0
"""When nothing of it was seen for so long it is over: a pause of launches ends for each try, and begins anew."""

SIGNS_KEPT = 1000
"""VMs, pools and groups of jobs that are watched at a time; of more nothing is told."""

SHORT_PAUSE_SECONDS = 60.0
"""Launches that pause for no longer are not worth telling: a cloud refuses one now and then."""

LONGEST_TEXT = 1000


@dataclass(frozen=True)
class Sign:
    """What shows that there is something to tell of."""

    event: str
    """One of elastiq.config.notify.EVENTS."""
    after_seconds: float | None = 0.0
    """For how long it must have been so; None: silent_after_s."""


SIGNS: Mapping[Token, Sign] = {
    Token.LAUNCHES_PAUSED: Sign("breaker"),
    Token.TRIAL_BOOTING: Sign("breaker"),
    Token.UNREADABLE: Sign("unreadable", None),
    Token.LOOKALIKE: Sign("unknown-vm"),
    Token.CLAIMED_TWICE: Sign("unknown-vm", 1800.0),
    Token.SHARED_ADDRESS: Sign("unknown-vm", 1800.0),
    Token.NOT_LISTED: Sign("leaked-vm", 1800.0),
    Token.RETRY_LATER: Sign("leaked-vm", 1800.0),
    Token.UNFINISHED: Sign("leaked-vm", 1800.0),
    Token.IN_VAIN: Sign("in-vain"),
    Token.CAP_HOUR: Sign("cap"),
    Token.CAP_DAY: Sign("cap"),
    Token.CAP_MONTH: Sign("cap"),
}
"""By the token of what is held back, or of a verdict on jobs or a VM. A new kind of event is a line here and one in
elastiq.config.notify.EVENTS."""

TITLES: Mapping[str, str] = {
    "breaker": "launches pause",
    "unreadable": "the cluster cannot be read",
    "unknown-vm": "a VM is not known for sure",
    "leaked-vm": "a VM is not gone that should be",
    "in-vain": "jobs do not start",
    "cap": "jobs wait for money",
    "defect": "a pass was given up",
    "test": "this is a test",
}
"""What mails and messages begin with, in elastiq's own words."""


@dataclass(frozen=True)
class Notice:
    """One thing that people are told. All words are elastiq's own, or without secrets and control characters."""

    event: str
    state: str
    """begun, lasts, over or test."""
    at: float
    since: float
    """When it was first seen, in the case of a test the same as `at`."""
    text: str
    """What it is, in one line."""
    times: int = 1
    """How often it has come since the last notice of the kind."""
    token: str = ""
    cluster: str = ""
    host: str = ""

    @property
    def title(self) -> str:
        """Return in a few words what it is, where and of which cluster."""
        what = TITLES.get(self.event, self.event)
        return f"elastiq, cluster {self.cluster}: {'over: ' if self.state == 'over' else ''}{what}"

    @property
    def sentence(self) -> str:
        """Return all of it for people, in one line."""
        since = f"since {_time(self.since)}"
        if self.state == "over":
            since = f"it was so from {_time(self.since)} to {_time(self.at)}"
        often = f", {self.times} times since the last notice of this kind" if self.times > 1 else ""
        where = f" (head node {self.host})" if self.host else ""
        return f"{self.title}: {self.text} ({since}{often}){where}"

    def document(self) -> dict[str, object]:
        """Return it for programs."""
        own = asdict(self)
        return {**own, "title": self.title, "version": VERSION, "at": _time(self.at), "since": _time(self.since)}


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Told:
    """What is remembered of the notices of a kind of event, across restarts."""

    at: float
    """When it was last told that it is there."""
    since: float
    is_on: bool = True
    """False: it was told that it is over."""
    text: str = ""
    token: str = ""


@dataclass(frozen=True)
class Seen:
    """A sign that is there, of one pool, VM or group of jobs."""

    since: float
    at: float
    """When it was seen last."""
    text: str
    token: str
    is_counted: bool = False


Key = tuple[str, str]
"""Event, and what it is about: its token may be another from look to look."""


def signs_of(made: Plan) -> dict[tuple[Token, str], str]:
    """Return what of a plan may be worth telling, by token and what it is about, in words."""
    held = (decision.reason for decision in made.decisions if decision.kind is Kind.HOLD)
    found = {
        (reason.token, reason.subject): str(reason)
        for reason in held
        if reason.token in SIGNS and reason.numbers.get("pause_seconds", math.inf) > SHORT_PAUSE_SECONDS
    }
    for verdict in made.verdicts:
        if verdict.reason.token in SIGNS.keys() - {Token.LAUNCHES_PAUSED} and len(found) < SIGNS_KEPT:
            about = verdict.instance_id or verdict.reason.subject
            words = f"VM {about}: {verdict.reason}" if verdict.instance_id else str(verdict.reason)
            found.setdefault((verdict.reason.token, about), words)
    return found


class Watch:
    """Notes what is there from look to look, and says what is to be told now. It reads no clock and sends nothing."""

    def __init__(self, told: Mapping[str, Told], now: float) -> None:
        """`told` is what was remembered before a restart."""
        self.told = dict(told)
        self._began_at = now
        self._of_before = {event for event, one in told.items() if one.is_on}
        self._seen: dict[Key, Seen] = {}
        self._times: dict[str, int] = {}
        """How often an event has come since its last notice."""

    def note(self, event: str, token: str, subject: str, text: str, now: float, after_seconds: float = 0.0) -> None:
        """Note that something is there. What has been for `after_seconds` counts, once until it is over."""
        self._note((event, subject), token, text, now, after_seconds)

    def happened(self, event: str, token: str, text: str, now: float) -> None:
        """Note what happens at a moment: it counts each time."""
        key = (event, "")
        if key in self._seen:
            self._times[event] = self._times.get(event, 0) + 1
        self._note(key, token, text, now, 0.0)

    def _note(self, key: Key, token: str, text: str, now: float, after_seconds: float) -> None:
        event = key[0]
        before = self._seen.get(key)
        if before is None:
            if len(self._seen) >= SIGNS_KEPT:
                return
            before = Seen(now, now, text, token, self._is_of_before(event, now))
        is_due = now - before.since >= after_seconds
        if is_due and not before.is_counted:
            self._times[event] = self._times.get(event, 0) + 1
        self._seen[key] = Seen(before.since, now, text, token, before.is_counted or is_due)

    def _is_of_before(self, event: str, now: float) -> bool:
        """Return whether a sign is that of which was told before a restart."""
        return event in self._of_before and now - self._began_at < OVER_SECONDS

    def keep(self, now: float, but: Collection[str] = ()) -> None:
        """Take all that was there, `but` these events, for still there: nothing is known of it now."""
        for key, seen in self._seen.items():
            if key[0] not in but:
                self._seen[key] = replace(seen, at=now)

    def due(self, events: Collection[str], now: float) -> list[Notice]:
        """Return what is to be told now, and take it for told."""
        self._seen = {key: seen for key, seen in self._seen.items() if 0 <= now - seen.at < OVER_SECONDS}
        found = [self._due_of(event, now) for event in events]
        return [notice for notice in found if notice is not None]

    def _due_of(self, event: str, now: float) -> Notice | None:
        there = {key: seen for key, seen in self._seen.items() if key[0] == event}
        told, times = self.told.get(event), self._times.get(event, 0)
        if told is not None and now < told.at:  # the clock was set back
            told = self.told[event] = replace(told, at=now)
        if told is not None and told.is_on and not there and now - self._began_at >= OVER_SECONDS:
            self.told[event] = replace(told, is_on=False)
            self._times.pop(event, None)
            return Notice(event, "over", now, told.since, told.text, max(1, times), told.token)
        counted = [seen for seen in there.values() if seen.is_counted]
        quiet_seconds = EVERY_SECONDS if times else AGAIN_SECONDS
        if not counted or (told is not None and now - told.at < quiet_seconds):
            return None
        latest = max(counted, key=lambda seen: seen.since)
        lasts = told is not None and told.is_on
        since = told.since if told is not None and told.is_on else min(seen.since for seen in counted)
        self.told[event] = Told(now, since, True, latest.text, latest.token)
        self._times.pop(event, None)
        return Notice(event, "lasts" if lasts else "begun", now, since, latest.text, max(1, times), latest.token)


class Teller(Protocol):
    """Who hands notices on. `elastiq.process.messenger` is the real one; none of its methods waits."""

    @property
    def events(self) -> Collection[str]:
        """The kinds of events that are told of; none if nobody is."""

    @property
    def silent_after_seconds(self) -> float:
        """What silent_after_s says."""

    def tell(self, notice: Notice) -> None:
        """Hand on a notice, beside the loop."""

    def faults(self) -> Iterable[tuple[str, str]]:
        """Return what came of notices since the last call: how each was to be sent, and why it was not; or ""."""

    def told(self) -> Mapping[str, Mapping[str, object]]:
        """Return what was kept of notices before a restart. Raise StateError."""

    def keep(self, told: Mapping[str, Mapping[str, object]]) -> None:
        """Keep it across restarts. Raise StateError."""


class Reports(Protocol):
    """Where it is said that notices do not arrive."""

    def error(self, topic: str, text: str) -> str:
        """Say a fault of `topic`."""

    def fine(self, topic: str) -> None:
        """Say that it is over."""


class Notices:
    """Looks at what every pass shows, and tells people of it."""

    def __init__(self, teller: Teller | None, reports: Reports, now: float) -> None:
        self._teller, self._reports = teller, reports
        self._watch = Watch(_read(teller), now)
        self._made: Plan | None = None
        self._signs: dict[tuple[Token, str], str] = {}
        self._failed_at: dict[str, float] = {}

    def fault(self, topic: str, text: str, now: float) -> None:
        """Note that a pass was given up."""
        if self._teller is not None:
            self._watch.happened("defect", topic, text, now)

    def look(self, made: Plan | None, now: float) -> None:
        """Tell what of the last plan is to be told; None: there is none, and nothing is known. It never waits."""
        if self._teller is None:
            return
        if made is not None and made is not self._made:
            self._made, self._signs = made, signs_of(made)
        is_unreadable = any(token is Token.UNREADABLE for token, _ in self._signs)
        if made is None:
            self._watch.keep(now, but=("defect",))
        elif is_unreadable:
            self._watch.keep(now, but=("defect", "unreadable"))
        if made is not None:
            for (token, about), text in self._signs.items():
                sign = SIGNS[token]
                after = self._teller.silent_after_seconds if sign.after_seconds is None else sign.after_seconds
                self._watch.note(sign.event, token.value, about, text, now, after)
        self._tell(self._teller, now)

    def _tell(self, teller: Teller, now: float) -> None:
        due = self._watch.due(teller.events, now)
        if due:
            try:
                # First: a notice that comes once more after a restart is worse than one that is lost with the machine.
                teller.keep({event: asdict(told) for event, told in self._watch.told.items()})
            except StateError:
                pass  # the pass that comes next says so; what was told is known until the process ends
        for notice in due:
            teller.tell(replace(notice, text=one_line(notice.text, LONGEST_TEXT)))
        for way, fault in teller.faults():
            topic = f"notice by {way}"
            if not fault:
                self._reports.fine(topic)
                self._failed_at.pop(way, None)
            elif not 0 <= now - self._failed_at.get(way, -EVERY_SECONDS) < EVERY_SECONDS:
                self._failed_at[way] = now
                self._reports.error(topic, fault)


def _read(teller: Teller | None) -> dict[str, Told]:
    if teller is None:
        return {}
    try:
        return {event: Told(**told) for event, told in teller.told().items()}  # type: ignore[arg-type]
    except (StateError, TypeError, AttributeError):
        return {}  # that costs one notice more
