"""What the user data is told about the head node."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.ec2 import userdata
from elastiq.ec2.userdata import HeadNode, head_node_addresses, render, rendered
from tests.unit.fakes import settings_with


@pytest.mark.parametrize(
    ("text", "result"),
    [
        (b"", b""),
        (b"head=%ipv4% %ipv4%\n%ipv6%,%fqdn%", b"head=10.0.0.1 10.0.0.1\nfd00::1,head.example.org"),
        (b"%ipv4%%ipv4%", b"10.0.0.110.0.0.1"),
        (b"%%ipv4%%", b"%10.0.0.1%"),
        (b"%ipv4 %ipv4%", b"%ipv4 10.0.0.1"),
        (b"100% of %ipv4", b"100% of %ipv4"),
        (b"date +%Y%m%d; ${x%ipv4}", b"date +%Y%m%d; ${x%ipv4}"),
        (b"%IPV4% %ipv5% %hostname%", b"%IPV4% %ipv5% %hostname%"),
        (b"\xff\x00%fqdn%\xfe", b"\xff\x00head.example.org\xfe"),
        (b"\x1f\x8b\x08%", b"\x1f\x8b\x08%"),
    ],
)
def test_render(text: bytes, result: bytes) -> None:
    assert render(text, "10.0.0.1", "fd00::1", "head.example.org") == result


def test_what_was_put_in_is_not_looked_into() -> None:
    assert render(b"%ipv4% %fqdn%", "%fqdn%", "", "\\1 \\g<0>") == b"%fqdn% \\1 \\g<0>"


@given(st.binary())
def test_bytes_without_placeholders_stay(content: bytes) -> None:
    if not any(name in content for name in (b"%ipv4%", b"%ipv6%", b"%fqdn%")):
        assert render(content, "a", "b", "c") == content


@given(st.lists(st.sampled_from([b"%ipv4%", b"%ipv6%", b"%fqdn%", b"text", b"\xff", b"\n"])))
def test_every_placeholder_goes(parts: list[bytes]) -> None:
    values = {b"%ipv4%": b"4", b"%ipv6%": b"6", b"%fqdn%": b"name"}
    assert render(b"".join(parts), "4", "6", "name") == b"".join(values.get(part, part) for part in parts)


def test_section_substitute_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(userdata, "head_node_addresses", lambda: HeadNode("10.0.0.1", "fd00::1", "head.example.org"))
    text = b"%ipv4% %ipv6% %fqdn%"
    assert rendered(settings_with(user_data_file=text)) == ({"default": b"10.0.0.1 fd00::1 head.example.org"}, ())
    made = settings_with(user_data_file=text, ipv4="10.9.9.9", ipv6="fd00::9", fqdn="alias")
    assert rendered(made) == ({"default": b"10.9.9.9 fd00::9 alias"}, ())


def test_what_is_not_known_is_warned_of_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(userdata, "head_node_addresses", lambda: HeadNode("10.0.0.1", "", "head"))
    assert rendered(settings_with(user_data_file=b"%ipv4%")) == ({"default": b"10.0.0.1"}, ())
    content, warnings = rendered(settings_with(user_data_file=b"<%ipv6%>"))
    assert content == {"default": b"<>"}
    assert warnings == (
        "the user data has %ipv6% in it, but this machine has none; it becomes nothing. Set ipv6 in the section "
        "[substitute] if the VMs need it",
    )


def test_addresses_of_this_machine_are_addresses() -> None:
    found = head_node_addresses()
    if found.ipv4:
        assert not ipaddress.IPv4Address(found.ipv4).is_loopback
    if found.ipv6:
        assert not ipaddress.IPv6Address(found.ipv6).is_loopback
    assert found.fqdn.split(".")[0] == socket.gethostname().split(".")[0]


def test_addresses_are_found_without_name_server_and_default_route(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a name server was asked")

    for name in ("getfqdn", "gethostbyname", "getaddrinfo", "gethostbyaddr"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(userdata, "_source_address", lambda family, probe: "")
    head_node_addresses()


def test_first_ipv6_leaves_out_loopback_and_link() -> None:
    interfaces = (
        "00000000000000000000000000000001 01 80 10 80       lo\n"
        "fe800000000000000000000000000002 02 40 20 80     eth0\n"
        "fd000000000000000000000000000002 02 40 00 80     eth0\n"
    )
    assert userdata._first_ipv6(interfaces) == "fd00::2"
    assert userdata._first_ipv6("") == ""


@pytest.mark.parametrize(
    ("host_name", "hosts", "full"),
    [
        ("head.example.org", "", "head.example.org"),
        ("head", "", "head"),
        ("head", "127.0.1.1 head.example.org head # this one\n", "head.example.org"),
        ("head", "10.0.0.1 head head.example.org\n", "head.example.org"),
        ("head", "127.0.0.1 localhost\n# 10.0.0.1 head.old.org head\n", "head"),
        ("head", "10.0.0.1 header.example.org header\n", "head"),
        ("head", "10.0.0.1 head.\n\n", "head"),
        ("head", "127.0.0.1 head localhost\n10.0.0.1 head.example.org head\n", "head.example.org"),
    ],
)
def test_full_name(host_name: str, hosts: str, full: str) -> None:
    assert userdata._full_name(host_name, hosts) == full
