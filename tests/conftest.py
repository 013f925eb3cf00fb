"""What holds for every test."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let what the tests start be interrupted: a shell that starts them in the background has SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
