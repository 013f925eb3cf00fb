"""Where an address leads, and what is said of a cloud that cannot be told from somebody else."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

PLAIN_HTTP = (
    "begins with http:// and is not on this machine: everybody on the way can read the user data of the VMs, and "
    "answer as the cloud; give https://"
)
UNVERIFIED = "nobody checks that the cloud is who it says it is; name its authority in ca_bundle"


def is_here(address: str) -> bool:
    """Return whether an address is of this very machine."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
