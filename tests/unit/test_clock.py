"""The clock gives back what it holds."""

from __future__ import annotations

import os

from elastiq.clock import Clock


def test_clocks_that_are_gone_keep_no_descriptor() -> None:
    """Each new reading of the configuration makes new plugins, and each of them has a clock."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        Clock().wake()
    assert len(os.listdir("/proc/self/fd")) == before
