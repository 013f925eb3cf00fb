"""Finds batch plugins, built in or of other packages, and makes them."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from importlib import metadata
from typing import Any

from elastiq.config import Settings
from elastiq.errors import ConfigError
from elastiq.plugins import METHODS, BatchSystem
from elastiq.text import excerpt

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
        found = _import(name, f"{__package__}.{name}")
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
