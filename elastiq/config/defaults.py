"""What stands in for options that nobody has given, and depends on the machine."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from pathlib import Path

from elastiq.errors import ConfigError


def state_dir() -> Path:
    """Return where the state is kept if the file does not say: as the original, by who runs elastiq.

    The service may run as any user, and root looks for its state in the system's directory, which systemd has made.
    Raise ConfigError if the user has no home directory.
    """
    system = Path("/var/lib/elastiq")
    if os.environ.get("STATE_DIRECTORY") == str(system):
        return system
    try:
        return system if os.geteuid() == 0 or Path.home() == system else Path.home() / ".elastiq"
    except RuntimeError:
        raise ConfigError(["your user has no home directory; set state_dir in the section [elastiq]"]) from None


def cluster_name() -> str:
    """Return the name of the cluster whose head node this machine is."""
    try:
        machine_id = Path("/etc/machine-id").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        machine_id = ""
    return cluster_name_of(socket.gethostname(), machine_id)


def cluster_name_of(host_name: str, machine_id: str) -> str:
    """Return the name of the cluster whose head node is called `host_name`: the same after every restart.

    No name server is asked: its answer may change or not come. A name without a domain may well be that of two head
    nodes in one account, which would then take each other's VMs for their own: so the machine id is worked in, hashed
    as machine-id(5) asks for.
    """
    name = re.sub(r"[^a-z0-9._-]", "-", host_name.lower()).strip(".-_") or "head"
    if "." in name and not name.startswith("localhost") and not name.endswith(".localdomain"):
        return name[:128]
    if not machine_id:
        return name[:100]
    return f"{name[:100]}-{hashlib.sha256(f'elastiq {machine_id}'.encode()).hexdigest()[:8]}"
