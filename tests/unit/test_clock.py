"""The clock gives back what it holds, and a signal ends its sleep whenever it comes."""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
from collections.abc import Iterator
from functools import partial
from operator import methodcaller
from typing import Any

import pytest

from elastiq.clock import Budget, Clock
from tests.unit.fakes import FakeClock


def test_clocks_that_are_gone_keep_no_descriptor() -> None:
    """Each new reading of the configuration makes new plugins, and each of them has a clock."""
    gc.collect()  # what earlier tests have left may close its own meanwhile
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        Clock().sleep(0)
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """The signals that were handled."""
    numbers: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: numbers.append(number))
    try:
        yield numbers
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_that_comes_just_before_a_sleep_ends_it(handled: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Python runs no handler between two functions that C calls, as it runs none on the way into select."""
    answers: list[Any] = []
    raise_signal = partial(ctypes.CDLL(None)["raise"], int(signal.SIGUSR1))
    real_select = select.select

    def select_after_a_signal(*arguments: Any) -> Any:
        calls = [raise_signal, partial(len, handled), partial(real_select, *arguments)]
        answers.extend(map(methodcaller("__call__"), calls))
        return answers[-1]

    clock = Clock()
    clock.wake_on_signals()
    with monkeypatch.context() as patch:
        patch.setattr(select, "select", select_after_a_signal)
        clock.sleep(20)
    _, handled_before_select, (readable, _, _) = answers
    assert handled_before_select == 0
    assert readable
    assert handled == [signal.SIGUSR1]


def test_a_budget_lets_begin_what_is_in_time_and_a_call_that_takes_long_ends_it() -> None:
    clock = FakeClock()
    budget = Budget(clock, 5)
    begun = []
    for seconds in (2, 2, 9, 1):
        if budget.is_left:
            begun.append(seconds)
            clock.time += seconds
    assert begun == [2, 2, 9]
