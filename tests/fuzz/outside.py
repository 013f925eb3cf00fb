"""What others say of names, errors, addresses and consoles, and what a receiver of notices answers."""

from __future__ import annotations

import io
from unittest import mock

from elastiq import text
from elastiq.plugins import kit
from elastiq.process import messenger, post
from elastiq.redaction import Redactor
from tests.fuzz.checks import Target

SECRET = "correct-horse-battery-staple"


class Connection:
    """Stands in for a socket: whatever is sent is taken, and this is the answer."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def makefile(self, *_: object, **__: object) -> io.BytesIO:
        return io.BytesIO(self.answer)

    def sendall(self, *_: object) -> None:
        pass

    def settimeout(self, *_: object) -> None:
        pass

    def setsockopt(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass


def webhook(data: bytes) -> None:
    """All that a webhook answers, from its status line on."""
    with (
        mock.patch("socket.create_connection", lambda *_, **__: Connection(data)),
        mock.patch("ssl.create_default_context"),  # takes longer than all else
    ):
        is_taken, said = post.post("http://127.0.0.1:9/", {"text": "t"})
    assert said
    assert len(said) < 10 * post.LONGEST_ANSWER_BYTES
    assert not is_taken or said.startswith("answered 2")


def words(data: bytes) -> None:
    """Words of others, on their way to a line, a chat, and past the redactor."""
    said = data.decode("utf-8", "surrogatepass" if b"\xed" in data else "replace") if _is_text(data) else repr(data)
    redactor = Redactor()
    redactor.add([SECRET], [data, SECRET.encode()])
    assert SECRET not in redactor.clean(f"{said} {SECRET} {said}")
    assert text.one_line(said, 200).isprintable()
    assert len(text.one_line(said, 200)) <= 200
    assert text.printable(said).isprintable()
    text.excerpt(said)
    assert "<!" not in messenger.chat_text(said)
    answered = said.splitlines()
    kit.addresses(said, answered[:3])
    for read in (kit.instance_id, kit.ipv4, kit.is_name, kit.local_time):
        read(said)


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


TARGETS: dict[str, Target] = {target.__name__: target for target in (webhook, words)}

SEEDS: dict[str, tuple[bytes, ...]] = {
    "webhook": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:8/\r\n\r\n",
        b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
    ),
    "words": (b"a name", b"10.0.0.1 STREAM node1.example.org", "\x1b[31m\u202eevil <!everyone>".encode()),
}
