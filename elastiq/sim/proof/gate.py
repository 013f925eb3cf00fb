"""Stands before every port: here calls take time, and processes are killed or told to stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from elastiq.errors import ElastiqError
from elastiq.sim.proof.book import Killed
from elastiq.sim.world import World

Answer = TypeVar("Answer")

ACTS = ("launch", "terminate", "close", "reopen")


class Gate:
    """Counts the calls of one process of the daemon."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.calls = 0
        self.kill_at = 0
        """Kill at this call (counting from 1), before its effect if `kill_before`."""
        self.kill_before = True
        self.stop: Callable[[], None] | None = None
        """What a signal to stop calls; None once it was called."""
        self.stopped = False
        self.dead = False
        """Whether the process was killed: what it does on its way out, it did not do."""
        self.acts = 0
        """Acts since it was last set to 0."""
        self.done: list[tuple[str, str]] = []
        """Kind and subject of acts that were answered well, until they are looked for in the records."""

    def pass_through(self, name: str, effect: Callable[[], Answer]) -> Answer:
        """Return what `effect` returns, or let the process end before or after it."""
        world = self._world
        self.calls += 1
        if name in ACTS:
            self.acts += 1
            if name != "terminate":
                # What was closed may still be terminated: nobody else would open those workers again.
                world.book.check("nothing blocks", not self.stopped, f"{name} begun after the daemon was told to stop")
        if self.calls == self.kill_at and self.kill_before:
            raise self._killed(f"before {name}")
        if world.faults.any:
            if world.faults.strikes("killed before a call"):
                raise self._killed(f"before {name}")
            if self.stop is not None and name != "state.save" and world.faults.strikes("stopped by a signal"):
                self.stop()
                self.stop, self.stopped = None, True
        if not name.startswith("state"):
            world.engine.run_until(world.engine.time + world.engine.random.random())
        try:
            answer = effect()
            world.tell(name, answer)
        except ElastiqError as error:
            world.tell(name, error)
            raise
        finally:
            if self.calls == self.kill_at and not self.kill_before:
                raise self._killed(f"after {name}")
        if world.faults.any and world.faults.strikes("killed after a call"):
            raise self._killed(f"after {name}")
        return answer

    def _killed(self, where: str) -> Killed:
        self.dead = True
        return Killed(where)
