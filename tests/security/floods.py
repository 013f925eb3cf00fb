"""Answers of a cloud that are without measure, without end, or none."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from elastiq.ec2.bounds import MOST_MARKS
from tests.security.hostile import GOOD, Answer, Conversation

MEGABYTE = b"x" * 1_000_000
ENTITY = b'<!DOCTYPE x [<!ENTITY a "%b">%b]>'


def listed(*vms: bytes) -> bytes:
    return GOOD % (b"<item><instancesSet>" + b"".join(vms) + b"</instancesSet></item>")


def vm(id_: bytes, more: bytes = b"") -> bytes:
    return b"<item><instanceId>%b</instanceId><instanceState><name>running</name></instanceState>%b</item>" % (
        id_,
        more,
    )


def bombs() -> bytes:
    deeper = b"".join(b'<!ENTITY %c "%b">' % (b"bcdefghi"[n], b"&%c;" % b"abcdefgh"[n] * 10) for n in range(8))
    return ENTITY % (b"lol" * 10, deeper)


def without_end(head: bytes, piece: bytes = MEGABYTE) -> Answer:
    """Return who says `head` and then 1 GB, piece by piece."""

    def answer(said: Conversation) -> None:
        said.say(head)
        for _ in range(1000):
            said.say(piece)

    return answer


def many_headers(said: Conversation) -> None:
    said.say(b"HTTP/1.1 200 OK\r\n")
    for number in range(10_000_000):
        said.say(b"X-%d: y\r\n" % number)


def beginning_anew(said: Conversation) -> None:
    while not said.server.closing.is_set():
        said.say(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
FLOODS = {
    "1 GB as announced": without_end(OK + b"Content-Length: 1000000000\r\n\r\n"),
    "1 GB in chunks": without_end(CHUNKED, b"f4240\r\n" + MEGABYTE + b"\r\n"),
    "1 GB without a length": without_end(OK + b"Connection: close\r\n\r\n"),
    "a chunk length of 1 GB": without_end(CHUNKED),
    "a header of 1 GB": without_end(OK + b"X-Long: "),
    "endless headers": many_headers,
    "a status line of 1 GB": without_end(b""),
    "100 Continue for ever": beginning_anew,
}

DOCUMENTS = {
    "a billion laughs": (bombs() + listed(vm(b"i-1", b"<imageId>&i;</imageId>")), "DescribeInstances"),
    "laughs between comments": (b"<!--a-->" + bombs() + b"<!--b-->" + listed(vm(b"i-&i;")).partition(b"\n")[2], ""),
    "an entity that is a file": (
        b'<!--a--><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><!--b-->'
        + listed(vm(b"&a;")).partition(b"\n")[2],
        "",
    ),
    "comments for an expression to go astray in": (b"<!---->" * 280 + b"x", "plain text"),
    "elements without end": (listed(b"<a>" * 200_000), ""),
    "millions of elements": (listed(b"<item/>" * (MOST_MARKS + 1)), f"more than {MOST_MARKS} elements"),
    "millions of attributes": (
        listed(b"<a " + b" ".join(b'a%d=""' % number for number in range(MOST_MARKS)) + b"/>"),
        f"more than {MOST_MARKS} elements and attributes",
    ),
    "no bytes of XML": (bytes(range(256)) * 10, ""),
    "12 MB that do not end": (listed(vm(b"i-" + b"1" * 11_900_000))[:-10], ""),
    "12 MB of nothing": (b" " * 11_900_000, ""),
    "UTF-16": (listed(vm(b"i-1")).decode().encode("utf-16"), ""),
}


def pages(token: Callable[[int], bytes]) -> Answer:
    number = itertools.count(1)

    def answer(said: Conversation) -> None:
        n = next(number)
        vms = [vm(b"i-%d-%d" % (n, one)) for one in range(2_000)]
        said.answer(listed(*vms).replace(b"</Desc", b"<nextToken>%b</nextToken></Desc" % token(n)))

    return answer


def dripping(head: bytes) -> Answer:
    """Return who says `head` and then one character after the other."""

    def answer(said: Conversation) -> None:
        said.say(head)
        while not said.server.closing.wait(0.01):
            said.say(b" ")

    return answer


def silent(said: Conversation) -> None:
    said.connection.recv(1)


SLOW = {
    "a body that drips": dripping(OK + b"Content-Length: 1000000\r\n\r\n"),
    "headers that drip": dripping(OK + b"X-Slow: "),
    "silence": silent,
}
