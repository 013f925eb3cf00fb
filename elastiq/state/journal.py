"""The memory in the database: VMs, launches without an answer, breakers, and what else is known."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from typing import Any

from elastiq.memory import (
    Away,
    Breaker,
    Departed,
    Futility,
    Intent,
    LaunchTook,
    Memory,
    Rises,
    Showing,
    Template,
    VmRecord,
    Watch,
)
from elastiq.model import InstanceState, Shape
from elastiq.state.database import Database, malformed
from elastiq.state.records import LARGEST_NUMBER, from_dict, to_json


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
        presence(facts.get("present_at"))
        return Memory(
            vms={record.id: record for record in vms},
            intents=tuple(from_dict(Intent, launch, found=_texts, lookalikes=_texts) for launch in launches),
            launches_took=tuple(_took(value) for value in facts.get("launches_took", ())),
            breakers={name: from_dict(Breaker, value) for name, value in facts.get("breakers", {}).items()},
            boots={name: _numbers(value) for name, value in facts.get("boots", {}).items()},
            offers_away={name: from_dict(Away, value) for name, value in facts.get("offers_away", {}).items()},
            interruptions={name: _seen(value) for name, value in facts.get("interruptions", {}).items()},
            capacities={name: _capacity(value) for name, value in facts.get("capacities", {}).items()},
            described={name: from_dict(Shape, value) for name, value in facts.get("described", {}).items()},
            doubted_by={name: _texts([value])[0] for name, value in facts.get("doubted_by", {}).items()},
            once_held={name: from_dict(Shape, value) for name, value in facts.get("once_held", {}).items()},
            showings={name: from_dict(Showing, value) for name, value in facts.get("showings", {}).items()},
            futile={name: from_dict(Futility, value) for name, value in facts.get("futile", {}).items()},
            rises={name: from_dict(Rises, value, cores=_numbers) for name, value in facts.get("rises", {}).items()},
            taught_by={name: _texts(value) for name, value in facts.get("taught_by", {}).items()},
            templates=_templates(facts.get("templates", {})),
            second_templates=_templates(facts.get("second_templates", {})),
            watched={name: _watch(value) for name, value in facts.get("watched", {}).items()},
            once_own=tuple(once_own),
            to_forget={name: from_dict(Departed, value) for name, value in facts.get("to_forget", {}).items()},
            spent={name: _micros(name, value) for name, value in sorted(facts.get("spent", {}).items())},
            tokens_shown=bool(facts.get("tokens_shown", False)),
        )


_FACTS = (
    "boots",
    "breakers",
    "capacities",
    "described",
    "doubted_by",
    "futile",
    "interruptions",
    "launches_took",
    "offers_away",
    "once_held",
    "once_own",
    "rises",
    "second_templates",
    "showings",
    "spent",
    "taught_by",
    "templates",
    "to_forget",
    "tokens_shown",
)


def write(database: Database, memory: Memory, old: Memory, present_at: float | None) -> None:
    """Write what has changed since `old`, in one transaction, with when a daemon was last at work: patience is counted
    up to then. Raise StateError if it is not safely on disk."""
    changed = [record for id_, record in memory.vms.items() if old.vms.get(id_) != record]
    gone = [id_ for id_ in old.vms if id_ not in memory.vms]
    facts = {name: getattr(memory, name) for name in _FACTS if getattr(memory, name) != getattr(old, name)}
    if memory.watched is not old.watched and kept_watches(memory) != kept_watches(old):
        facts["watched"] = kept_watches(memory)
    if not (changed or gone or facts or memory.intents != old.intents):
        return
    with database.transaction() as execute:
        for record in changed:
            execute("INSERT OR REPLACE INTO vms VALUES (?, ?)", (record.id, to_json(record)))
        for id_ in gone:
            execute("DELETE FROM vms WHERE id = ?", (id_,))
        if memory.intents != old.intents:
            execute("DELETE FROM launches", ())
            for intent in memory.intents:
                execute("INSERT INTO launches VALUES (?, ?)", (intent.token, to_json(intent)))
        for name, value in facts.items():
            database.put(name, _plain(value))
        if present_at is not None:
            database.put("present_at", present_at)


def _capacity(saved: Mapping[str, Any]) -> Shape:
    """Return what a VM holds, as saved. Until 2.0 what was not known was 0."""
    shape = from_dict(Shape, saved)
    return replace(shape, memory_mb=shape.memory_mb or None, disk_mb=shape.disk_mb or None)


def kept_watches(memory: Memory) -> dict[str, Watch]:
    """Return what is kept across restarts of the groups that are watched: without room nothing has been learnt yet, and
    how many wait and run is another number at every look."""
    return {
        name: replace(
            seen,
            waiting=min(seen.waiting, seen.least),
            running=None,
            fell_at=None,
            unused_since={},
            unused_seconds={},
        )
        for name, seen in memory.watched.items()
        if seen.is_worth_keeping
    }


def _watch(saved: Mapping[str, Any]) -> Watch:
    """Return a group that was watched, as saved. Raise TypeError or ValueError if it cannot be that."""
    seen = from_dict(Watch, saved, witnesses=_texts)
    _numbers(list(seen.rooms.values()))
    return seen


def _numbers(saved: Any) -> tuple[float, ...]:
    """Return numbers as saved. Raise TypeError or ValueError if they cannot be that."""
    if not all(type(number) in (int, float) for number in saved):
        raise TypeError("not all of them are numbers")
    if not all(0 <= number < LARGEST_NUMBER for number in saved):
        raise ValueError("not all of them are numbers that can be")
    return tuple(float(number) for number in saved)


def _seen(saved: Any) -> tuple[float, ...]:
    """Return what is known of the interruptions of an offer, as saved. Raise TypeError or ValueError if it cannot be
    that."""
    times, hours, counted_at = _numbers(saved)
    return times, hours, counted_at


def _micros(quarter: str, saved: Any) -> int:
    """Return what was spent in a quarter of an hour, as saved. Raise TypeError or ValueError if it cannot be that."""
    if type(saved) is not int:
        raise TypeError("what was spent is no whole number")
    if not (quarter.isdecimal() and 0 <= saved < LARGEST_NUMBER):
        raise ValueError("what was spent is no amount that can be")
    return saved


def _took(saved: Mapping[str, Any]) -> LaunchTook:
    """Return how long a launch took, as saved. Raise TypeError or ValueError if it cannot be that."""
    took = from_dict(LaunchTook, saved)
    if took.vms < 1 or took.seconds < 0:
        raise ValueError("a launch took no time that can be")
    return took


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: vars(item) if is_dataclass(item) else item for name, item in value.items()}
    if isinstance(value, tuple):
        return [vars(item) if is_dataclass(item) else item for item in value]
    return value


def refused_features(saved: Any) -> tuple[str, frozenset[str]]:
    """Return a cloud and what it refuses, as saved. Raise TypeError or KeyError if it cannot be that."""
    if saved is None:
        return "", frozenset()
    of, features = saved["of"], saved["features"]
    if not all(isinstance(text, str) for text in (of, *features)):
        raise TypeError("refused_features is no list of texts")
    return of, frozenset(features)


def presence(saved: Any) -> float | None:
    """Return when a daemon was last at work, as saved. Raise TypeError or ValueError if it cannot be that."""
    if saved is None:
        return None
    if type(saved) not in (float, int):
        raise TypeError("present_at is no time")
    if not abs(saved) < LARGEST_NUMBER:
        raise ValueError("present_at is no time that can be")
    return float(saved)


def _templates(saved: Any) -> Mapping[str, Template]:
    return {name: from_dict(Template, value) for name, value in saved.items()}


def _texts(saved: Any) -> tuple[str, ...]:
    if not (isinstance(saved, list) and all(isinstance(text, str) for text in saved)):
        raise TypeError("what is no list of texts")
    return tuple(saved)
