"""What the user data of the VMs is told about the head node, and how it gets there."""

from __future__ import annotations

import fcntl
import ipaddress
import re
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from elastiq.config import Settings

_PROBES = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses kept for documentation (RFC 5737, RFC 3849): outside every real network, so that the way to them is the
default route. Nothing is ever sent there."""

_SIOCGIFADDR = 0x8915
"""Request for the IPv4 address of an interface (netdevice(7))."""


@dataclass(frozen=True)
class HeadNode:
    """Addresses and name under which the VMs find the head node; empty where it has none."""

    ipv4: str = ""
    ipv6: str = ""
    fqdn: str = ""


def render(user_data: bytes, ipv4: str, ipv6: str, fqdn: str) -> bytes:
    """Return `user_data` with every %ipv4%, %ipv6% and %fqdn% replaced, and all else as it was.

    It need not be text. A replacement is not looked into again.
    """
    values = {b"ipv4": ipv4, b"ipv6": ipv6, b"fqdn": fqdn}
    return re.sub(rb"%(ipv4|ipv6|fqdn)%", lambda match: values[match.group(1)].encode("utf-8"), user_data)


def rendered(settings: Settings) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Return the user data of `settings` as the VMs of each pool get it, and what to warn of.

    The section [substitute] goes before what is found out about this machine. What is not known becomes nothing, with
    a warning.
    """
    found = head_node_addresses()
    values = {
        "ipv4": settings.substitute.ipv4 or found.ipv4,
        "ipv6": settings.substitute.ipv6 or found.ipv6,
        "fqdn": settings.substitute.fqdn or found.fqdn,
    }
    warnings = tuple(
        f"the user data has %{name}% in it, but this machine has none; it becomes nothing. "
        f"Set {name} in the section [substitute] if the VMs need it"
        for name, value in values.items()
        if not value and any(f"%{name}%".encode() in pool.vm.user_data for pool in settings.pools)
    )
    return {pool.name: render(pool.vm.user_data, **values) for pool in settings.pools}, warnings


def head_node_addresses() -> HeadNode:
    """Return this machine's own main addresses, by its default route, and its full name.

    Without a default route: those of the first network interface that has one. Neither name server nor network is
    asked, so that it ends at once; a name that /etc/hosts knows in full is taken from there.
    """
    ipv4, ipv6 = (_source_address(family, probe) for family, probe in _PROBES)
    return HeadNode(
        ipv4 or _first_interface_ipv4(),
        ipv6 or _first_ipv6(_text_of("/proc/net/if_inet6")),
        _full_name(socket.gethostname(), _text_of("/etc/hosts")),
    )


def _first_interface_ipv4() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for _, name in sorted(socket.if_nameindex()):
            try:
                answer = fcntl.ioctl(udp.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # this interface has no IPv4 address
            address = ipaddress.IPv4Address(answer[20:24])
            if not address.is_loopback:
                return str(address)
    return ""


def _first_ipv6(interfaces: str) -> str:
    """Return the first address of global scope in the text of /proc/net/if_inet6; empty if there is none."""
    for line in interfaces.splitlines():
        columns = line.split()
        if len(columns) == 6 and columns[3] == "00":
            return str(ipaddress.IPv6Address(bytes.fromhex(columns[0])))
    return ""


def _source_address(family: int, probe: str) -> str:
    """Return the address from which this machine would send to `probe`; connecting a UDP socket sends nothing."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as udp:
            udp.connect((probe, 9))
            return str(udp.getsockname()[0])
    except OSError:
        return ""


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _full_name(host_name: str, hosts: str) -> str:
    """Return the full name of the machine called `host_name`, by the text of its hosts file (hosts(5))."""
    if "." in host_name:
        return host_name
    for line in hosts.splitlines():
        names = line.split("#", 1)[0].split()[1:]
        if host_name in names:
            full = next((name for name in names if name.startswith(f"{host_name}.")), "")
            if full:
                return full
    return host_name
