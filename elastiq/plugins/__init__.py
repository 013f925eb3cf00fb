"""The contract of a batch plugin, and the loader."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

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


PluginFactory = Callable[..., BatchSystem]
