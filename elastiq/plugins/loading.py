"""Finds batch plugins, built in or of other packages, reads the configuration with their sections, and makes them."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from elastiq import config
from elastiq.config import ForPlugin, Section, Settings
from elastiq.errors import BatchError, ConfigError
from elastiq.plugins import MATCHMAKING, METHODS, NARROWING, BatchSystem
from elastiq.plugins.faults import narrowed_faults
from elastiq.plugins.foreign import run_foreign
from elastiq.plugins.sections import SECTIONS
from elastiq.text import excerpt, one_line

if TYPE_CHECKING:
    from importlib import metadata

BUILT_IN = frozenset(section.name for section in SECTIONS)

GROUP = "elastiq.plugins"
"""Entry-point group by which other distributions offer plugins."""


_PROBLEM_CHARACTERS = 300


class Offer(NamedTuple):
    """What a plugin offers to whoever runs it."""

    create: Callable[[Settings], Any]
    options: type[Any] | None
    """The dataclass that declares its options, if it has any."""


def read_settings(path: Path, name: str = "") -> Settings:
    """Read and check the configuration file at `path`, the section of the plugin that it chooses included, and the
    section of the plugin `name`. Both plugins are imported, but for built-in ones. Raise ConfigError.
    """
    section = section_of(name) if name and name not in BUILT_IN else None
    return config.load(path, (*SECTIONS, section) if section else SECTIONS, section_of)


def read_without_plugin(path: Path, changes: Sequence[str] = ()) -> Settings:
    """Do the same, but import no code of others, and let the section of such a plugin pass. Raise ConfigError.

    `changes` are taken instead of what the file says, as `config.load` takes them."""
    return config.load(path, SECTIONS, changes=changes)


def section_of(name: str) -> Section | None:
    """Return the section of a plugin that is not built in: named as the plugin, and declared by its dataclass Options.

    Return None if it has no options. Raise ConfigError if it cannot be imported, or declares them wrongly.
    """
    declared = _offer(name).options
    if declared is None:
        return None
    if name in [section.name for section in config.SECTIONS]:
        raise _problem(f"plugin {name} cannot have options: [{name}] is a section of elastiq itself; rename the plugin")
    section = Section(name, declared)
    _foreign(name, "declares its options wrongly", lambda: (section.options, declared()))
    return section


def load(name: str, settings: Settings) -> BatchSystem:
    """Return the batch plugin `name`: a built-in one, an entry point of the group, or a module's dotted path.

    A module offers `create(settings) -> BatchSystem`; an entry point names such a module or such a function. Beside it
    may stand a dataclass `Options`, which declares what `settings.of(Options)` returns.
    Raise ConfigError if there is no such plugin, if it cannot be imported or set up, if it lacks a method, or if it
    does not read which jobs pools take and what their workers offer.
    """
    create = _offer(name).create
    batch = _foreign(name, "cannot be set up", lambda: create(settings))
    problems = _foreign(name, "cannot be used", lambda: _problems(batch))
    if problems:
        raise _problem(f"{name} is no plugin for this elastiq: {', '.join(problems)}; see elastiq.plugins.BatchSystem")
    unread = [problem for given in settings.for_plugin if (problem := _unread(name, batch, given))]
    if unread:
        raise ConfigError(unread)
    plugin: BatchSystem = batch
    return plugin


def _unread(name: str, batch: Any, given: ForPlugin) -> str:
    """Return what keeps the plugin from reading a value that is left to it; nothing if it does."""
    if not hasattr(batch, "narrowed"):
        return f"{given.place}: the plugin {name} does not read this; remove the line"
    try:
        answer = run_foreign(
            lambda: batch.narrowed("", given.jobs, given.offers),
            BatchError,
            lambda error: BatchError(f"the plugin {name} fails over it: {error}; mend the plugin"),
        )
    except BatchError as error:
        return f"{given.place}: {one_line(str(error), _PROBLEM_CHARACTERS)}"
    faults = narrowed_faults(answer)
    return f"{given.place}: what the plugin {name} makes of it cannot be used: {faults[0]}" if faults else ""


def _problem(text: str) -> ConfigError:
    return ConfigError([f"[elastiq] batch_plugin: {text}"])


def _foreign(name: str, what: str, action: Callable[[], Any]) -> Any:
    """Return what `action`, which runs a plugin's code, returns. Raise ConfigError whatever it raises, its end of the
    program included."""
    refusal = "plugin {} {}: {}; mend it, or set another batch_plugin"
    return run_foreign(action, ConfigError, lambda error: _problem(refusal.format(name, what, error)))


def _problems(batch: object) -> list[str]:
    """Return what a plugin lacks of METHODS, in words."""
    problems = []
    has_any = any(hasattr(batch, method) for method in MATCHMAKING)
    narrowing = NARROWING if hasattr(batch, "narrowed") else {}
    matchmaking = MATCHMAKING if has_any or narrowing else {}
    for method, count in {**METHODS, **matchmaking, **narrowing}.items():
        found = getattr(batch, method, None)
        if not callable(found):
            problems.append(f"it has no method {method}")
        elif not _takes(found, count):
            problems.append(f"its method {method} does not take {_ARGUMENTS[count]}")
    return problems


_ARGUMENTS = ("no argument", "one worker", "wants and a template", "a template, jobs and offers")


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:
        pass  # of some kinds of callable the arguments are not to be known
    return True


def _offer(name: str) -> Offer:
    """Return what the plugin `name` offers. Raise ConfigError if there is none that can be made."""
    if name in BUILT_IN or "." in name:
        module = _import(name, f"{__package__}.{name}" if name in BUILT_IN else name)
        create = getattr(module, "create", None)
    else:
        entry = _entry_point(name)
        found = _foreign(name, "cannot be imported", entry.load)
        module = sys.modules.get(entry.value.partition(":")[0].strip(), found)
        create = found if callable(found) else getattr(found, "create", None)
    if not callable(create):
        raise _problem(f"plugin {name} has no create(settings)")
    return Offer(create, getattr(module, "Options", None))


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
    from importlib import metadata  # not for everybody: a tenth of what a command takes to start

    found = metadata.entry_points()
    if hasattr(found, "select"):
        return list(found.select(group=GROUP))
    return list(found.get(GROUP, ()))  # Python 3.9
