"""The service manager that started the daemon, if there is one."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping


class ServiceManager:
    """Tells systemd how the daemon is, by the protocol of sd_notify(3); without systemd it does nothing."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Take what systemd says out of `environment`, so that no child speaks for the daemon."""
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        watched = environment.pop("WATCHDOG_PID", "") or str(os.getpid())
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_seconds: float | None = None
        """How often to call `tell("WATCHDOG=1")` at least; None: never. Half of what systemd grants."""
        if microseconds.isdigit() and int(microseconds) and watched == str(os.getpid()):
            self.watchdog_seconds = int(microseconds) / 2_000_000

    def tell(self, *lines: str) -> None:
        """Send a message. A manager that is away or busy must not hold up the daemon: then it is lost."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.setblocking(False)
                channel.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            pass
