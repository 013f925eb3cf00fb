"""What is posted, and what is said of receivers that refuse, hang, redirect, or are not whom they say they are."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastiq.process import post
from tests.unit.process.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


def test_it_posts_json_and_returns_the_answer(receiver: Receiver) -> None:
    assert post.post(receiver.url, {"text": "x <y>"}) == (True, "answered 200: ok")
    (got,) = receiver.got
    assert json.loads(got.body) == {"text": "x <y>"}
    assert got.headers["Content-Type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize("status", [204, 400, 404, 429, 500])
def test_what_is_refused_is_said_with_the_answer(receiver: Receiver, status: int) -> None:
    receiver.status, receiver.answer = status, b"no\nservice" if status != 204 else b""
    said = f"answered {status}" + (": no service" if status != 204 else "")
    assert post.post(receiver.url, {}) == (status == 204, said)


def test_a_redirection_is_not_followed(receiver: Receiver) -> None:
    receiver.status, receiver.location = 302, receiver.url
    is_taken, said = post.post(receiver.url, {})
    assert not is_taken and said.startswith("answered 302") and len(receiver.got) == 1


def test_one_that_takes_no_connection(receiver: Receiver) -> None:
    receiver.close()
    is_taken, said = post.post(receiver.url, {})
    assert not is_taken and said == "no answer: [Errno 111] Connection refused"


@pytest.mark.long
def test_one_that_is_silent(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post, "SILENCE_SECONDS", 0.2)
    receiver.hangs = True
    is_taken, said = post.post(receiver.url, {})
    assert not is_taken and "timed out" in said


def test_what_is_no_http(receiver: Receiver) -> None:
    receiver.raw = b"220 mail.example.org ESMTP\r\n\r\n"
    is_taken, said = post.post(receiver.url, {})
    assert not is_taken and said.startswith("no answer that can be read: BadStatusLine")


def test_a_refusal_that_ends_too_soon(receiver: Receiver) -> None:
    receiver.raw = b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n"
    is_taken, said = post.post(receiver.url, {})
    assert not is_taken and said.startswith("no answer that can be read: IncompleteRead")


@pytest.mark.long
def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    more = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *more], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Receiver(context) as receiver:
        is_taken, said = post.post(receiver.url, {})
        assert not is_taken and "CERTIFICATE_VERIFY_FAILED" in said and not receiver.got
        assert run(receiver.url, SSL_CERT_FILE=str(certificate)) == (0, "answered 200: ok\n")


def run(address: str, **environment: str) -> tuple[int, str]:
    """Run it as the messenger does."""
    asked = json.dumps({"address": address, "body": {"text": "x"}})
    program = [sys.executable, "-I", post.__file__]
    found = subprocess.run(program, input=asked, capture_output=True, text=True, env=environment, timeout=300)
    assert not found.stderr
    return found.returncode, found.stdout


def test_as_a_program(receiver: Receiver) -> None:
    assert run(receiver.url) == (0, "answered 200: ok\n")
    receiver.status = 500
    assert run(receiver.url) == (1, "answered 500: ok\n")
