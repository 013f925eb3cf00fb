"""The only reader of time. Everything else is given a Clock."""

from __future__ import annotations

import os
import select
import signal
import time
import weakref
from typing import Protocol


class Time(Protocol):
    """What those need who only ask what time it is."""

    def now(self) -> float:
        """Return seconds since the epoch, never going back and never jumping."""

    def monotonic_microseconds(self) -> int:
        """Return the system's monotonic clock in microseconds."""


class Clock:
    """Time that a step of the wall clock cannot move.

    `now()` is the wall clock as it stood when the Clock was made, moved on by the monotonic clock: good for facts
    (it is seconds since the epoch) and for durations (it never jumps).
    """

    def __init__(self) -> None:
        self._wall_at_start = time.time()
        self._monotonic_at_start = time.monotonic()
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        weakref.finalize(self, _close, self._read_end, self._write_end).atexit = False

    def now(self) -> float:
        """Return seconds since the epoch, never going back and never jumping."""
        return self._wall_at_start + time.monotonic() - self._monotonic_at_start

    def monotonic_microseconds(self) -> int:
        """Return the system's monotonic clock as systemd wants it: microseconds of CLOCK_MONOTONIC.

        All processes of one boot read the same from it, whatever the wall clock is set to.
        """
        return time.monotonic_ns() // 1000

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`, or after `wake_on_signals` until a signal comes; one that came before the call counts."""
        ready, _, _ = select.select([self._read_end], [], [], max(0.0, seconds))
        if ready:
            os.read(self._read_end, 4096)

    def wake_on_signals(self) -> None:
        """End a `sleep` on every signal that has a handler; for the main thread, and for one clock of the process."""
        # A handler that writes to the pipe would be too late: Python runs none for a signal that comes just before the
        # system call, until that ends.
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)


class Budget:
    """The time for things that are done one after the other: the next one is begun only while some of it is left."""

    def __init__(self, clock: Time, seconds: float) -> None:
        self._clock = clock
        self._ends_at = clock.now() + seconds

    @property
    def is_left(self) -> bool:
        """True while the next one may begin."""
        return self._clock.now() <= self._ends_at


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
