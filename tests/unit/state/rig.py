"""A memory with something of everything, and what comes back of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from elastiq.memory import Breaker, Departed, Intent, LaunchTook, Memory, Showing, Template, VmRecord
from elastiq.model import InstanceState, Shape
from elastiq.state import State

NOW = 1_000_000.0
MEMORY = Memory(
    vms={
        "i-1": VmRecord("i-1", "default", "t1", NOW - 5, InstanceState.RUNNING, "10.0.0.1", joined_at=NOW - 1),
        "i-2": VmRecord("i-2", doomed=True, terminate_tries=3),
    },
    intents=(Intent("t2", "default", 4, NOW, instance_type="m1.small", image_id="ami-1"),),
    tokens_shown=True,
    launches_took=(LaunchTook(2, 9.5), LaunchTook(1, 240.0)),
    breakers={"default": Breaker(3, 1, 0, 0.0, "did not join")},
    capacities={"default": Shape(4, 8000, 20_000, 1), "small": Shape(2)},
    once_held={"default": Shape(8, 16000, 20_000, 1)},
    showings={"default": Showing(NOW - 9, 2, NOW + 60)},
    templates={"default": Template("like node-1", "i-1", NOW - 60)},
    second_templates={"default": Template("like node-2", "i-2", NOW - 90)},
    once_own=("i-0",),
    to_forget={"i-00": Departed("w0", "10.0.0.9", NOW - 5, 2)},
)


def reopen(directory: Path, now: float = NOW) -> Memory:
    state = State(directory, now)
    try:
        return state.load(now)
    finally:
        state.close()


def restarted(memory: Memory, now: float = NOW) -> Memory:
    """What comes back if nobody knows when a daemon was last at work."""
    vms = {id_: vm if vm.joined_at else replace(vm, counted_from=now) for id_, vm in memory.vms.items()}
    return replace(memory, vms=vms, intents=tuple(replace(intent, counted_from=now) for intent in memory.intents))
