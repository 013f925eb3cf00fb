"""Has the page written beside the loop, by a process of its own: neither its time nor a defect in it is the loop's."""

from __future__ import annotations

from pathlib import Path

from elastiq.clock import Clock
from elastiq.errors import BatchError, StateError
from elastiq.plugins.kit import run_module
from elastiq.process.lanes import GIVE_UP_SECONDS, Lane, LaneBusyError

DEADLINE_SECONDS = 60.0
"""By then the process is killed: the disk may hang."""


def page_lane(clock: Clock) -> Lane:
    """Return a lane in which nobody waits for an answer, and no question overtakes another."""
    return Lane("page", clock, ask_wait_seconds=0.0, overtake_seconds=GIVE_UP_SECONDS)


class PageLane:
    """Pages of one state directory."""

    def __init__(self, configuration: Path, state_directory: Path, lane: Lane) -> None:
        """`configuration` says which secrets are to be hidden, should there be any in what is kept."""
        self._arguments = [f"--config={configuration}", f"--state-dir={state_directory}", "page", "--into"]
        self._lane = lane

    def write(self, path: Path) -> bool:
        """Have it written; return whether it is. Raise StateError if it could not be."""
        command = [*self._arguments, str(path)]
        try:
            self._lane.ask("the page", lambda: run_module("elastiq.cli", command, DEADLINE_SECONDS), str(path))
        except LaneBusyError:
            return False
        except BatchError as error:
            raise StateError(str(error).replace("elastiq: ", "", 1)) from None
        return True
