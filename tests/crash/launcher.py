"""Runs scripts/elastiq-real.py in this process, which dies at a chosen step.

    ELASTIQ_CRASH='{"step": "launch", "when": "after", ...}' python -m tests.crash.launcher --config=F

The order is JSON in the environment variable ELASTIQ_CRASH, see `Order`. A step is a call of the daemon's, by name; it
can be met "before" the call, "after" it, and where it writes the database in the "middle" of the transaction.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

VARIABLE = "ELASTIQ_CRASH"
SCRIPT = Path(__file__).parents[2] / "scripts" / "elastiq-real.py"

QUICK: dict[str, dict[str, Any]] = {
    # Hours of the daemon's patience in seconds of a test. A VM shows up, and a request takes effect, well within the
    # settling time here as there.
    "elastiq.planning.patience": {
        "SETTLE_SECONDS": 8.0,
        "SETTLE_SECONDS_PER_VM": 0.5,
        "UNSEEN_SECONDS": 2.0,
        "MISSING_GRACE_SECONDS": 4.0,
        "CLOSE_AGAIN_SECONDS": 1.0,
        "TERMINATE_AGAIN_SECONDS": 3.0,
        "RETRY_SECONDS": (0.5, 1.0, 2.0),
        "REFUSAL_PAUSES_SECONDS": (0.3, 0.6, 1.0),
    },
    "elastiq.chores": {"TAG_AFTER_SECONDS": 0.5},
}


@dataclass(frozen=True)
class Order:
    """When to die."""

    step: str = ""
    when: str = ""
    number: int = 1
    """At which time that it is met."""
    signal: int = int(signal.SIGKILL)
    note: str = ""
    """File that is written at the moment of the signal, with the monotonic time."""
    constants: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Module -> name -> value, instead of what the module has."""
    limits: dict[str, float] = field(default_factory=dict)
    """Fields of `elastiq.ec2.Limits`."""
    is_aws: bool = False
    """Whether the daemon takes the endpoint for AWS, where a client token is a lock."""

    def environment(self) -> dict[str, str]:
        """Return it as an environment variable."""
        return {VARIABLE: json.dumps(asdict(self))}


METHODS = {
    # module, class: method -> name of the step
    ("elastiq.ec2", "Ec2"): {
        "launch": "launch",
        "_run_instances": "RunInstances",
        "_launched": "look for a launch",
        "_tag_launched": "tag a launch",
        "tag": "tag",
        "terminate": "terminate",
        "list_instances": "list",
    },
    ("elastiq.plugins.sandbox", "SandboxBatch"): {
        "demand": "demand",
        "workers": "workers",
        "close": "close",
        "reopen": "reopen",
        "forget": "forget",
    },
    ("elastiq.state", "State"): {"record": "record", "save_report": "report"},
}

_saving = threading.local()


def main() -> None:
    """Prepare the process as ordered and be the daemon."""
    words = json.loads(os.environ.pop(VARIABLE, "{}"))
    order = Order(**words)
    for module, values in order.constants.items():
        for name, value in values.items():
            loaded = importlib.import_module(module)
            if not hasattr(loaded, name):
                raise SystemExit(f"{module} has no {name}")
            setattr(loaded, name, tuple(value) if isinstance(value, list) else value)
    lanes = importlib.import_module("elastiq.process.lanes")
    waits = {"ask_wait_seconds": lanes.ASK_WAIT_SECONDS, "act_wait_seconds": lanes.ACT_WAIT_SECONDS}
    lanes.Lane.__init__.__kwdefaults__.update(waits)
    if order.is_aws:
        importlib.import_module("elastiq.config.sections").Ec2Options.is_aws = True
    if order.limits:
        _limit(order.limits)
    if order.step:
        _watch(_Fuse(order))
    sys.argv[0] = str(SCRIPT)
    runpy.run_path(str(SCRIPT), run_name="__main__")


class _Fuse:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._met = 0
        self._lock = threading.Lock()

    def meet(self, step: str, when: str) -> None:
        if (step, when) != (self._order.step, self._order.when):
            return
        with self._lock:
            self._met += 1
            if self._met == self._order.number:
                Path(self._order.note).write_text(str(time.monotonic()))
                os.kill(os.getpid(), self._order.signal)


def _limit(limits: dict[str, float]) -> None:
    ec2 = importlib.import_module("elastiq.ec2")
    original = ec2.Ec2.__init__

    def init(self: Any, *arguments: Any, **named: Any) -> None:
        original(self, *arguments, **{"limits": replace(ec2.Limits(), **limits), **named})

    ec2.Ec2.__init__ = init


def _watch(fuse: _Fuse) -> None:
    for (module, owner_name), methods in METHODS.items():
        owner = getattr(importlib.import_module(module), owner_name)
        for method, step in methods.items():
            setattr(owner, method, _wrapped(fuse, step, getattr(owner, method)))
    state = importlib.import_module("elastiq.state").State
    state.save = _watched_save(fuse, state.save)
    database = importlib.import_module("elastiq.state.database").Database
    database.transaction = _watched_transaction(fuse, database.transaction)


def _wrapped(fuse: _Fuse, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        fuse.meet(step, "before")
        try:
            return function(*arguments, **named)
        finally:
            fuse.meet(step, "after")

    return call


def _watched_save(fuse: _Fuse, function: Callable[..., None]) -> Callable[..., None]:
    def save(self: Any, memory: Any) -> None:
        step = save_step(self._saved, memory)
        fuse.meet(step, "before")
        _saving.step = step
        try:
            function(self, memory)
        finally:
            _saving.step = ""
        fuse.meet(step, "after")

    return save


def _watched_transaction(fuse: _Fuse, function: Callable[..., Any]) -> Callable[..., Any]:
    @contextlib.contextmanager
    def transaction(self: Any) -> Iterator[Any]:
        with function(self) as execute:
            yield execute
            fuse.meet(getattr(_saving, "step", ""), "middle")

    return transaction


def save_step(old: Any, new: Any) -> str:
    """Return what a save is about, by what it changes; "" if it changes nothing of note."""
    before, after = ({intent.token for intent in memory.intents} for memory in (old, new))

    def newly(name: str) -> bool:
        return any(
            getattr(record, name) and (id_ not in old.vms or not getattr(old.vms[id_], name))
            for id_, record in new.vms.items()
        )

    if after - before:
        return "save the intent"
    for name in ("terminated_at", "doomed", "closing_at"):
        if newly(name):
            return f"save {name}"
    if before - after or set(new.vms) - set(old.vms):
        return "save the launch"
    return "save a gone VM" if set(old.vms) - set(new.vms) else ""


if __name__ == "__main__":
    main()
