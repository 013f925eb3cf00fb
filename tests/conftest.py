"""What holds for every test."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

settings.register_profile("random", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same examples everywhere: whether a commit is good must not hang on luck. `make fuzz` looks for what is new.
settings.register_profile("steady", settings.get_profile("random"), derandomize=True, database=None)
settings.load_profile("steady")


def pytest_configure() -> None:
    """Let what the tests start be interrupted: a shell that starts them in the background has SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
