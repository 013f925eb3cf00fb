"""The memory in the database: VMs, launches without an answer, breakers, and what else is known."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from elastiq.memory import Breaker, Departed, Intent, Memory, VmRecord
from elastiq.model import InstanceState, Shape
from elastiq.state.database import Database, malformed
from elastiq.state.records import from_dict, to_json

NOT_KEPT = frozenset({"unseen_since", "restarted_at", "lookalikes", "in_hand"})
"""Of a launch: what is found out again after a restart."""

NOT_KEPT_OF_VM = frozenset({"termination_asked_at"})


def read(database: sqlite3.Connection) -> Memory:
    """Return what was saved last. Raise sqlite3.DatabaseError if it cannot be that."""
    with malformed():
        facts = {name: json.loads(value) for name, value in database.execute("SELECT name, value FROM facts")}
        vms = [
            from_dict(VmRecord, json.loads(text), state=InstanceState)
            for (text,) in database.execute("SELECT record FROM vms")
        ]
        launches = [json.loads(text) for (text,) in database.execute("SELECT record FROM launches ORDER BY rowid")]
        once_own = facts.get("once_own", ())
        if not all(isinstance(text, str) for text in once_own):
            raise TypeError("once_own is no list of texts")
        refused_features(facts.get("refused_features"))
        return Memory(
            vms={record.id: record for record in vms},
            intents=tuple(from_dict(Intent, launch) for launch in launches),
            breakers={name: from_dict(Breaker, value) for name, value in facts.get("breakers", {}).items()},
            capacities={name: from_dict(Shape, value) for name, value in facts.get("capacities", {}).items()},
            once_own=tuple(once_own),
            to_forget={name: from_dict(Departed, value) for name, value in facts.get("to_forget", {}).items()},
            tokens_shown=bool(facts.get("tokens_shown", False)),
        )


def write(database: Database, memory: Memory, old: Memory) -> None:
    """Write what has changed since `old`, in one transaction. Raise StateError if it is not safely on disk."""
    changed = [record for id_, record in memory.vms.items() if old.vms.get(id_) != record]
    gone = [id_ for id_ in old.vms if id_ not in memory.vms]
    facts = {
        name: getattr(memory, name)
        for name in ("breakers", "capacities", "once_own", "to_forget", "tokens_shown")
        if getattr(memory, name) != getattr(old, name)
    }
    if not (changed or gone or facts or memory.intents != old.intents):
        return
    with database.transaction() as execute:
        for record in changed:
            execute("INSERT OR REPLACE INTO vms VALUES (?, ?)", (record.id, to_json(record, without=NOT_KEPT_OF_VM)))
        for id_ in gone:
            execute("DELETE FROM vms WHERE id = ?", (id_,))
        if memory.intents != old.intents:
            execute("DELETE FROM launches", ())
            for intent in memory.intents:
                execute("INSERT INTO launches VALUES (?, ?)", (intent.token, to_json(intent, without=NOT_KEPT)))
        for name, value in facts.items():
            database.put(name, _plain(value))


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: asdict(item) for name, item in value.items()}
    return value


def refused_features(saved: Any) -> tuple[str, frozenset[str]]:
    """Return a cloud and what it refuses, as saved. Raise TypeError or KeyError if it cannot be that."""
    if saved is None:
        return "", frozenset()
    of, features = saved["of"], saved["features"]
    if not all(isinstance(text, str) for text in (of, *features)):
        raise TypeError("refused_features is no list of texts")
    return of, frozenset(features)


def after_restart(memory: Memory, now: float) -> Memory:
    """Return `memory` as a daemon that starts `now` has to see it.

    Times later than `now` (the wall clock went back) become `now`. Patience with what is out of sight begins afresh:
    nobody looked while the daemon was down, and the wall clock may have gone forward. Whoever restarts the daemon has
    probably mended something, so that no pause of launches goes on.
    """
    vms = {id_: _patient(_not_after(record, now), now) for id_, record in memory.vms.items()}
    intents = tuple(
        replace(intent, requested_at=min(intent.requested_at, now), restarted_at=now) for intent in memory.intents
    )
    breakers = {name: replace(breaker, paused_until=0.0) for name, breaker in memory.breakers.items()}
    to_forget = {
        id_: replace(gone, gone_at=min(gone.gone_at, now), retry_at=0.0) for id_, gone in memory.to_forget.items()
    }
    return replace(memory, vms=vms, intents=intents, breakers=breakers, to_forget=to_forget)


def _not_after(record: VmRecord, now: float) -> VmRecord:
    values = {
        field.name: now
        for field in fields(record)
        if field.name.endswith(("_at", "_since")) and (getattr(record, field.name) or 0.0) > now
    }
    if "launched_at" in values and record.joined_at is None:
        # Nobody knows how old it is, and it may have been a worker for long: it gets the patience of a lost one.
        values.update(joined_at=now, lost_since=now)
    return replace(record, **values) if values else record  # type: ignore[arg-type]


def _patient(record: VmRecord, now: float) -> VmRecord:
    if record.joined_at is None:
        record = replace(record, restarted_at=now)
    if record.lost_since is None and record.missing_since is None:
        return record
    lost_since = None if record.lost_since is None else now
    return replace(record, lost_since=lost_since, missing_since=None if record.missing_since is None else now)
