"""The contract of a batch plugin, and the loader.

`python -m elastiq.plugins.check` tries a plugin on a live system by this contract, tests/contract tries all of it, and
docs/plugins.md says how to write one.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from enum import Enum
from importlib import metadata
from typing import Any, Protocol

from elastiq.config import Settings
from elastiq.errors import ConfigError
from elastiq.model import Demand, Worker
from elastiq.plugins.text import excerpt


class Closing(Enum):
    """Answer to `close`."""

    CLOSED = "closed"
    """No job runs there, and from now on none can start there until `reopen`."""
    BUSY = "busy"
    """A job runs there or has just got in. Nothing was changed: further jobs may start there as before."""


class BatchSystem(Protocol):
    """What elastiq needs of a batch system.

    For every method:

    - It raises BatchError alone. The text names what happened, to what, and what to do; it carries no secret.
    - Whoever cannot answer raises. An empty tuple, a zero and False are statements about the batch system: a command
      that failed, was cut short, printed garbage or printed nothing where it prints something never becomes one.
    - It ends within a deadline of its own, well under GIVE_UP_SECONDS of elastiq.lanes, whatever hangs: every command
      runs through elastiq.command, which kills its whole process group then. The deadline is for the whole call.
    - It is called from one thread at a time, not always the same one and hardly ever the main thread. A call that is
      not answered within seconds may be left to itself, and its late answer thrown away.
    - It keeps nothing on disk and relies on nothing that an earlier process knew: what one process has closed, the next
      one closes again and opens.
    - It takes time from a Clock, and never compares the clock of one machine with that of another.

    `create(settings)`, which makes it, asks the batch system nothing; it raises ConfigError if `settings` lack
    something.
    """

    def demand(self) -> tuple[Demand, ...]:
        """Return the waiting jobs that a new worker could run, grouped: one Demand for each shape and `vms_per_job`.

        Jobs that are held, depend on others, are not yet due, are capped by their own array or a limit, or may never
        run on a worker are left out; a running job is none that waits. The tasks of an array count one by one. A job
        that waits only because no machine is large enough is in it: the planner knows what VMs can hold.

        `jobs` is at least 1, `shape.cpus` too. `vms_per_job` is 1 unless a job needs several machines at the same time;
        then `shape` is what it needs on each, and `jobs` counts jobs, not machines. `oldest_wait_seconds` is None where
        it is not to be had cheaply.

        The batch system's own delay before it shows a job is all right. The cost in the daemon's process does not grow
        with the number of jobs: 50,000 of them, all different or all alike, are counted in seconds and megabytes.

        Raise BatchError if the queue cannot be read completely, every queue if there are several.
        """

    def workers(self) -> tuple[Worker, ...]:
        """Return every machine that has joined, elastiq's own or not, busy or idle, open or closed.

        One Worker for a machine, however many slots or queues it has; no two with the same name and address, and no
        instance id twice. One bulk query, whose cost does not grow with the number of jobs.

        - `name` is what `close`, `reopen` and `forget` need to find it again. `instance_id`, or else `address`, says
          which VM it is; None where the batch system does not know it for sure.
        - `capacity` has at least one CPU. `free` is what new jobs could still use of it; of a closed worker, after
          `reopen`.
        - `jobs` counts what is running, starting, ending, suspended or has a claim on the machine. It is never 0 while
          any such thing is there; in doubt it is 1.
        - `idle_seconds` is None while `jobs` is not 0, and else the time since the last job ended there, or since the
          machine joined if it never had one: by the clock of one machine, and never more than the truth. A job that
          came and went between two calls begins it anew.
        - `closed` is True only if no job can start there until somebody reopens it, whoever closed it. Of a closed
          worker that still ends jobs, `jobs` is not 0.
        - `closed_by_other` is True only if `closed` is, and the batch system says that somebody else than elastiq
          closed it. Where that cannot be told it is False.

        A machine whose VM is gone may be listed until `forget`, or until the batch system notices.

        Raise BatchError if the answer is missing, partial or implausible.
        """

    def close(self, worker: Worker) -> Closing:
        """Close `worker` if and only if no job runs there; atomically, by the batch system itself.

        Of `worker` only `name`, `instance_id` and `address` count; the rest is a picture of some time ago. It may have
        left the batch system, or never have joined (then `name` is empty): look anew. If it is listed after all, close
        it like any other. If it is not, return CLOSED if the batch system believes no job to run on it, otherwise BUSY.
        It is never another VM that has got its name or address since.

        CLOSED is said when the close is in force, not when it was asked for, and it holds across restarts of elastiq
        and of the batch system. A closed worker may leave the list of workers if `reopen` brings it back. Closing a
        closed worker returns CLOSED again. After BUSY the worker is as open as before, and its jobs never notice.

        Raise BatchError if neither answer can be given; the worker may then be open or closed. Raise it, too, and leave
        everything alone, if the batch system says that somebody else closed it: they may open it at any moment.
        """

    def reopen(self, worker: Worker) -> None:
        """Undo `close`: when this returns, jobs can start there again.

        Reopening an open worker is no error.

        Raise BatchError if it failed, or if somebody else closed it: then it stays closed. Of a worker that is gone
        both are right.
        """

    def forget(self, worker: Worker) -> None:
        """Remove what the batch system still remembers of a worker whose VM is gone (stale ads, node entries).

        Called when a VM is gone that elastiq did not terminate, so that nothing waits until the batch system notices.
        It is never another VM that has got its name or address since. What elastiq's own terminations leave behind is
        up to `close`.

        Raise BatchError if it failed; an unknown worker is no error.
        """

    def check(self) -> str:
        """Return one line on what was found (version, number of workers, rights). Changes nothing.

        Raise BatchError if it cannot work.
        """


METHODS = {"demand": 0, "workers": 0, "close": 1, "reopen": 1, "forget": 1, "check": 0}
"""The methods of a plugin, and how many arguments each is called with."""

BUILT_IN = ("gridengine", "htcondor", "sandbox", "slurm")

GROUP = "elastiq.plugins"
"""Entry-point group by which other distributions offer plugins."""


def load(name: str, settings: Settings) -> BatchSystem:
    """Return the batch plugin `name`: a built-in one, an entry point of the group, or a module's dotted path.

    A module offers `create(settings) -> BatchSystem`; an entry point names such a module or such a function.
    Raise ConfigError if there is no such plugin, if it cannot be imported or set up, or if it lacks a method.
    """
    create = _factory(name)
    batch = _foreign(name, "cannot be set up", lambda: create(settings))
    problems = _foreign(name, "cannot be used", lambda: _problems(batch))
    if problems:
        raise _problem(f"{name} is no plugin for this elastiq: {', '.join(problems)}; see elastiq.plugins.BatchSystem")
    plugin: BatchSystem = batch
    return plugin


def error_text(error: BaseException) -> str:
    """Return kind, text and place of an error that foreign code raised, in one line."""
    said = traceback.format_exception_only(type(error), error)[-1]  # survives an error that cannot be printed
    kind, _, text = said.strip().partition(": ")
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError):
        place = f" ({error.filename}, line {error.lineno})"
    else:
        place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{kind.rpartition('.')[2]}{f' {excerpt(text)}' if text else ''}{place}"


def _problem(text: str) -> ConfigError:
    return ConfigError([f"[elastiq] batch_plugin: {text}"])


def _foreign(name: str, what: str, action: Callable[[], Any]) -> Any:
    """Return what `action`, which runs a plugin's code, returns. Raise ConfigError whatever it raises, its end of the
    program included."""
    try:
        return action()
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise _problem(f"plugin {name} {what}: {error_text(error)}; mend it, or set another batch_plugin") from error


def _problems(batch: object) -> list[str]:
    """Return what a plugin lacks of METHODS, in words."""
    problems = []
    for method, count in METHODS.items():
        found = getattr(batch, method, None)
        if not callable(found):
            problems.append(f"it has no method {method}")
        elif not _takes(found, count):
            problems.append(f"its method {method} does not take {'one worker' if count else 'no argument'}")
    return problems


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:
        pass  # of some kinds of callable the arguments are not to be known
    return True


def _factory(name: str) -> Callable[[Settings], Any]:
    """Return what makes the plugin `name`. Raise ConfigError if there is nothing that does."""
    if name in BUILT_IN:
        found = _import(name, f"{__name__}.{name}")
    elif "." in name:
        found = _import(name, name)
    else:
        found = _foreign(name, "cannot be imported", _entry_point(name).load)
        if callable(found):
            factory: Callable[[Settings], Any] = found
            return factory
    create = getattr(found, "create", None)
    if not callable(create):
        raise _problem(f"plugin {name} has no create(settings)")
    return create  # type: ignore[no-any-return]


def _import(name: str, module: str) -> Any:
    def load_module() -> Any:
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name and f"{module}.".startswith(f"{error.name}."):
                raise _problem(
                    f"there is no module {excerpt(error.name)}: install the package that has it for {sys.executable}, "
                    "or put its directory on PYTHONPATH"
                ) from error
            raise

    return _foreign(name, "cannot be imported", load_module)


def _entry_point(name: str) -> metadata.EntryPoint:
    """Return the entry point `name`. Raise ConfigError if there is none, or if packages disagree about it."""
    entries: list[metadata.EntryPoint] = _foreign(name, "cannot be looked for in the packages", _entry_points)
    found = {entry.value: entry for entry in entries if entry.name == name}
    if not found:
        names = sorted({*BUILT_IN, *(entry.name for entry in entries)})
        close = get_close_matches(name, names, 1)
        hint = f", did you mean {close[0]}?" if close else f"; there are {', '.join(names)}"
        raise _problem(f"no plugin {name}{hint}")
    if len(found) > 1:
        raise _problem(f"several packages offer a plugin {name} ({', '.join(sorted(found))}); remove all but one")
    return next(iter(found.values()))


def _entry_points() -> list[metadata.EntryPoint]:
    found = metadata.entry_points()
    if hasattr(found, "select"):
        return list(found.select(group=GROUP))
    return list(found.get(GROUP, ()))  # Python 3.9
