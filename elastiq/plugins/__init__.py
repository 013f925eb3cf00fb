"""The contract of a batch plugin, and the loader."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from difflib import get_close_matches
from enum import Enum
from importlib import metadata
from typing import Protocol

from elastiq.config import Settings
from elastiq.errors import ConfigError
from elastiq.model import Demand, Worker


class Closing(Enum):
    """Answer to `close`."""

    CLOSED = "closed"
    """No job runs there, and from now on none can start there until `reopen`."""
    BUSY = "busy"
    """A job runs there or has just got in. Nothing was changed."""


class BatchSystem(Protocol):
    """What elastiq needs of a batch system. Every method ends within its own deadline and raises BatchError alone.

    Whoever can not answer raises: an empty tuple is the statement that there is nothing.
    """

    def demand(self) -> tuple[Demand, ...]:
        """Return the waiting jobs that a new worker could run, grouped by shape.

        Jobs that are held, depend on others, are not yet due, are capped by their own array or may never run on a
        worker are left out. Cost must not grow with the number of jobs in the daemon's own process.

        Raise BatchError if the queue can not be read completely.
        """

    def workers(self) -> tuple[Worker, ...]:
        """Return every machine that has joined, elastiq's own or not, busy or idle, open or closed.

        One bulk query. Raise BatchError if the answer is missing, partial or implausible.
        """

    def close(self, worker: Worker) -> Closing:
        """Close `worker` if and only if no job runs there; atomically, by the batch system itself.

        `worker` may have left the batch system, or never have joined (then `name` is empty, and it is known by
        `instance_id` and `address` only): look anew. If it is listed after all, close it like any other. If it is
        not, return CLOSED if the batch system believes no job to run on it, otherwise BUSY. Closing a closed worker
        returns CLOSED again.

        Raise BatchError if neither answer can be given; the worker may then be open or closed.
        """

    def reopen(self, worker: Worker) -> None:
        """Undo `close`. Raise BatchError if it failed; reopening an open worker is no error."""

    def forget(self, worker: Worker) -> None:
        """Remove what the batch system still remembers of a worker whose VM is gone (stale ads, node entries).

        Called after the termination was accepted. Raise BatchError if it failed; an unknown worker is no error.
        """

    def check(self) -> str:
        """Return one line on what was found (version, schedds, rights). Raise BatchError if it can not work."""


BUILT_IN = ("htcondor", "sandbox")

GROUP = "elastiq.plugins"
"""Entry-point group by which other distributions offer plugins."""


def load(name: str, settings: Settings) -> BatchSystem:
    """Return the batch plugin `name`: a built-in one, an entry point of the group, or a module's dotted path.

    The module or entry point offers `create(settings) -> BatchSystem`.
    Raise ConfigError if there is no such plugin, or if it can not be imported or set up.
    """
    try:
        create = _factory(name)
    except (ImportError, SyntaxError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError([f"[elastiq] batch_plugin: {name} can not be imported: {error}"]) from error
    batch = create(settings)
    missing = [method for method in METHODS if not callable(getattr(batch, method, None))]
    if missing:
        raise ConfigError([f"[elastiq] batch_plugin: {name} lacks {', '.join(missing)}"])
    return batch


METHODS = ("demand", "workers", "close", "reopen", "forget", "check")


def _factory(name: str) -> Callable[[Settings], BatchSystem]:
    module = name
    if name in BUILT_IN:
        module = f"{__name__}.{name}"
    elif "." not in name:
        entries = {entry.name: entry for entry in _entry_points()}
        if name not in entries:
            close = get_close_matches(name, [*BUILT_IN, *entries], 1)
            hint = f", did you mean {close[0]}?" if close else f"; there are {', '.join([*BUILT_IN, *entries])}"
            raise ConfigError([f"[elastiq] batch_plugin: no plugin {name}{hint}"])
        loaded = entries[name].load()
        return getattr(loaded, "create", loaded)  # type: ignore[no-any-return]
    create = getattr(importlib.import_module(module), "create", None)
    if not callable(create):
        raise ConfigError([f"[elastiq] batch_plugin: module {module} has no create(settings)"])
    return create  # type: ignore[no-any-return]


def _entry_points() -> list[metadata.EntryPoint]:
    found = metadata.entry_points()
    if hasattr(found, "select"):
        return list(found.select(group=GROUP))
    return list(found.get(GROUP, ()))  # Python 3.9
