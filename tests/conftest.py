"""What holds for every test."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("random", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same examples everywhere: whether a commit is good must not hang on luck. `make fuzz` looks for what is new.
settings.register_profile("steady", settings.get_profile("random"), derandomize=True, database=None)
settings.load_profile("steady")


MEMORY_DISK = Path("/dev/shm")
ROOM_BYTES = 2 * 1024**3
"""More than ten times what a run of all the tests has at the same time."""


def pytest_configure() -> None:
    """Put the directories of the tests on a memory disk if there is one with room on which programs may run, and
    nobody has said where: half of their time would go into waiting for disks, whose loss of power no test is about.

    What fills a disk mounts one of its own (tests/crash); roots, packages and the testbed's machines, which are
    large, are not in these directories.
    """
    options = os.statvfs(MEMORY_DISK).f_flag if os.access(MEMORY_DISK, os.W_OK | os.X_OK) else os.ST_NOEXEC
    if not options & os.ST_NOEXEC and shutil.disk_usage(MEMORY_DISK).free > ROOM_BYTES and "TMPDIR" not in os.environ:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY_DISK))
    # A shell that starts the tests in the background has SIGINT ignored; what they start must be interruptible.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Let the garbage collector leave alone what stays to the end, which is a million objects."""
    gc.freeze()


@pytest.fixture(autouse=True)
def umask_of_the_process() -> Iterator[None]:
    """Give the process its umask back: a command line that a test runs in this process narrows it for good, and what
    the next tests write could not be read by the users of their machines."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture
def quiet() -> Iterator[None]:
    """Log nothing: where the daemon lives for years its log would only take time."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(before)
