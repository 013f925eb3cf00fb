"""Listings without the parts that nobody reads: nothing else may get lost, and a broken answer must stay broken."""

from __future__ import annotations

from elastiq.ec2.client import _without_unread_parts


def test_unread_parts_go_and_all_else_stays() -> None:
    listing = (
        b"<a><item><networkInterfaceSet><item><privateIpAddress>10.0.0.1</privateIpAddress></item>"
        b"</networkInterfaceSet><privateIpAddress>10.0.0.2</privateIpAddress></item>"
        b"<item><networkInterfaceSet/><metadataOptions>\n <state>applied</state>\n</metadataOptions>"
        b"<instanceId>i-2</instanceId></item></a>"
    )
    assert _without_unread_parts(listing) == (
        b"<a><item><privateIpAddress>10.0.0.2</privateIpAddress></item>"
        b"<item><networkInterfaceSet/><instanceId>i-2</instanceId></item></a>"
    )


def test_an_answer_that_ends_within_a_part_keeps_its_broken_end() -> None:
    whole = b"<item><blockDeviceMapping>x</blockDeviceMapping></item>"
    assert _without_unread_parts(whole + b"<item><blockDeviceMapping>y") == (
        b"<item></item><item><blockDeviceMapping>y"
    )


def test_an_empty_answer_stays_empty() -> None:
    assert _without_unread_parts(b"") == b""
