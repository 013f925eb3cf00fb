"""The memory as a daemon that starts has to see it: nobody looked while there was none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from elastiq.memory import Intent, Memory, Template, VmRecord, Watch
from elastiq.planning import patience

SHORT_ABSENCE_SECONDS = 60.0
"""A daemon that was away for longer gives back some of the patience that it has used up, second for second: the batch
system may have been away as well, and what joined meanwhile is not in sight again at once."""


@dataclass(frozen=True)
class Absence:
    """The time before `now` in which no daemon looked."""

    now: float
    present_at: float | None
    """When one last did; None: not known. Later than `now`: the wall clock went back, and nobody knows for how long."""

    def counted_from(self, since: float) -> float:
        """Return from when on patience is counted that began at `since`, so that the absence does not count."""
        if self.present_at is None or self.present_at > self.now:
            return self.now
        away_seconds = self.now - self.present_at
        return self.now - _used_seconds(self.present_at, since, max(0.0, away_seconds - SHORT_ABSENCE_SECONDS))

    def watched_from(self, since: float) -> float:
        """Return the same of jobs that wait beside room: a batch system that was away as well needs a cycle to start
        them, however long it was. To give back more would be never to tell, where a daemon is away again and again."""
        if self.present_at is None or self.present_at > self.now:
            return self.now
        is_long = self.now - self.present_at > SHORT_ABSENCE_SECONDS
        return self.now - _used_seconds(self.present_at, since, patience.SHORTEST_FUTILE_SECONDS if is_long else 0.0)


def _used_seconds(present_at: float, since: float, given_back_seconds: float) -> float:
    return max(0.0, present_at - since - given_back_seconds)


def after_restart(memory: Memory, now: float, present_at: float | None) -> Memory:
    """Return `memory` as a daemon that starts `now` has to see it.

    Patience goes on where it stood when a daemon was last `present_at` work: what happened since nobody saw, and the
    wall clock may have gone forward. Times later than `now` (it went back) become `now`. Answers that the cloud owed to
    another process do not come any more. Whoever restarts the daemon has probably mended something, so that no pause of
    launches goes on.
    """
    absence = Absence(now, present_at)
    vms = {id_: _vm(_not_after(record, now), absence) for id_, record in memory.vms.items()}
    intents = tuple(_intent(intent, absence) for intent in memory.intents)
    breakers = {
        name: replace(breaker, paused_until=0.0, most_until=min(breaker.most_until, now + patience.CLOUD_LIMIT_SECONDS))
        for name, breaker in memory.breakers.items()
    }
    to_forget = {
        id_: replace(gone, gone_at=min(gone.gone_at, now), retry_at=0.0) for id_, gone in memory.to_forget.items()
    }
    shared: dict[tuple[tuple[str, float], ...], Mapping[str, float]] = {}
    watched = {key: _watch(seen, absence, shared) for key, seen in memory.watched.items()}
    memory = replace(memory, vms=vms, intents=intents, breakers=breakers, to_forget=to_forget, watched=watched)
    return _with_trials_in_sight(_with_offers_in_sight(memory, now), now)


def _with_offers_in_sight(memory: Memory, now: float) -> Memory:
    """Return `memory` with no offer put away for longer than if it were refused now: the wall clock may have gone
    back. A cloud has no more room than before for that a daemon was restarted."""
    latest = now + patience.AWAY_PAUSES_SECONDS[-1]
    return replace(
        memory,
        offers_away={key: replace(one, until=min(one.until, latest)) for key, one in memory.offers_away.items()},
        interruptions={key: (*seen[:2], min(seen[2], now)) for key, seen in memory.interruptions.items()},
    )


def _with_trials_in_sight(memory: Memory, now: float) -> Memory:
    """Return `memory` with nothing later than `now`, and no trial later than if it were planned now."""
    latest = now + patience.TRIAL_PAUSES_SECONDS[-1]
    return replace(
        memory,
        futile={
            key: replace(one, try_at=min(one.try_at, latest), tried_at=min(one.tried_at, now))
            for key, one in memory.futile.items()
        },
        showings={
            key: replace(one, at=min(one.at, now), try_at=min(one.try_at, latest))
            for key, one in memory.showings.items()
        },
        templates=_taken_by(memory.templates, now),
        second_templates=_taken_by(memory.second_templates, now),
    )


def _taken_by(templates: Mapping[str, Template], now: float) -> Mapping[str, Template]:
    return {key: replace(one, taken_at=min(one.taken_at, now)) for key, one in templates.items()}


def _not_after(record: VmRecord, now: float) -> VmRecord:
    values = {
        field.name: now
        for field in fields(record)
        if field.name.endswith(("_at", "_since", "_from")) and (getattr(record, field.name) or 0.0) > now
    }
    if "launched_at" in values and record.joined_at is None:
        # Nobody knows how old it is, and it may have been a worker for long: it gets the patience of a lost one.
        values.update(joined_at=now, lost_since=now)
    return replace(record, **values) if values else record  # type: ignore[arg-type]


def _vm(record: VmRecord, absence: Absence) -> VmRecord:
    if record.termination_asked_at is not None:
        record = replace(record, termination_asked_at=None)
    if record.joined_at is None:
        record = replace(record, counted_from=absence.counted_from(record.awaited_since))
    if record.lost_since is None and record.missing_since is None:
        return record
    return replace(
        record,
        lost_since=None if record.lost_since is None else absence.counted_from(record.lost_since),
        missing_since=None if record.missing_since is None else absence.counted_from(record.missing_since),
    )


def _watch(seen: Watch, absence: Absence, shared: dict[tuple[tuple[str, float], ...], Mapping[str, float]]) -> Watch:
    """Return what is known of a group after a restart; what several groups watch is `shared` by them."""
    rooms: Mapping[str, float] = {id_: absence.watched_from(since) for id_, since in seen.rooms.items()}
    rooms = shared.setdefault(tuple(rooms.items()), rooms)
    return replace(seen, since=absence.watched_from(seen.since), rooms=rooms)


def _intent(intent: Intent, absence: Absence) -> Intent:
    return replace(
        intent,
        requested_at=min(intent.requested_at, absence.now),
        counted_from=absence.counted_from(intent.waiting_since),
        in_hand=False,
        unseen_since=None if intent.unseen_since is None else absence.counted_from(intent.unseen_since),
    )
