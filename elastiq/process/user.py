"""As whom the daemon runs: root starts it as the system user elastiq, if there is one."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

from elastiq.errors import ConfigError

SERVICE_USER = "elastiq"
"""System user that the packages make; the daemon in the background never stays root if there is one."""


def service_user() -> pwd.struct_passwd | None:
    """Return as whom root starts the daemon, or None if it stays who it is."""
    if os.geteuid() != 0:
        return None
    try:
        user = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return None
    return user if user.pw_uid != 0 else None


def become_service_user(configuration: Path, state_directory: Path, log_directory: Path | None) -> None:
    """As root, go on as the system user elastiq if there is one: never return then, but run this program once more.

    Only directories that are made here are given to that user; what exists is left alone, because whoever may write
    there could otherwise have root give away other files. Running it once more leaves nothing of root behind in the
    process.
    """
    user = service_user()
    if user is None:
        return
    for directory in (state_directory, log_directory):
        if directory is not None and not directory.exists():
            _make_directory(directory, user)
    os.environ.update({"HOME": user.pw_dir, "USER": SERVICE_USER, "LOGNAME": SERVICE_USER})
    os.initgroups(SERVICE_USER, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    if not os.access(configuration, os.R_OK):
        raise ConfigError(
            [f"{configuration}: the user {SERVICE_USER} cannot read it; do chown root:{SERVICE_USER} and chmod 0640"]
        )
    command_line = [sys.executable, sys.argv[0], "start", f"--config={configuration}"]
    command_line.append(f"--state-dir={state_directory}")
    if log_directory is not None:
        command_line.append(f"--logdir={log_directory}")
    sys.stdout.flush()
    os.execv(sys.executable, command_line)  # noqa: S606


def _make_directory(directory: Path, user: pwd.struct_passwd) -> None:
    """Make a private directory for `user`, and what is missing above it for everybody to pass through."""
    missing = [parent for parent in directory.parents if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir()
        parent.chmod(0o755)
    directory.mkdir(mode=0o700)
    os.chown(directory, user.pw_uid, user.pw_gid)


def daemon_user() -> str:
    """Return as whom `start` starts the daemon; elastiqctl knows better, and says so, where systemd starts it."""
    user = service_user()
    if user is not None:
        return user.pw_name
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
