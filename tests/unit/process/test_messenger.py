"""How notices leave: by whom, in which form, never for longer than allowed, and with nothing in them that harms."""

from __future__ import annotations

import email
import email.policy
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from elastiq import command
from elastiq.config.notify import NotifyOptions
from elastiq.process import messenger
from elastiq.process.messenger import Messenger, chat_text, try_all
from elastiq.redaction import HIDDEN, Redactor
from elastiq.report.notices import Notice
from tests.unit.process.receiver import Receiver

NOTICE = Notice("breaker", "begun", 7200, 3600, "launches pause", 2, "launches-paused")
LONG = 300.0
"""Seconds; a bound against hangs, nothing that is measured."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


class Facts:
    def __init__(self) -> None:
        self.kept: Mapping[str, Mapping[str, object]] = {}

    def told(self) -> Mapping[str, Mapping[str, object]]:
        return self.kept

    def keep_told(self, told: Mapping[str, Mapping[str, object]]) -> None:
        self.kept = told


def made(options: NotifyOptions, *secrets: str) -> Messenger:
    redactor = Redactor()
    redactor.add((*options.secrets(), *secrets), [])
    return Messenger(options, "c1", "head", Facts(), redactor)


def outcomes(sender: Messenger, count: int = 1) -> list[tuple[str, str]]:
    """Return what came of so many notices, as soon as it is known."""
    found: list[tuple[str, str]] = []
    for _ in range(int(LONG * 100)):
        found += sender.faults()
        if len(found) >= count:
            return found
        threading.Event().wait(0.01)
    raise AssertionError(f"only {found}")


def program(path: Path, text: str) -> tuple[str, ...]:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return (str(path),)


def recording(directory: Path) -> tuple[str, ...]:
    """Return a program that keeps its arguments and what it reads, as sendmail would take it."""
    return program(
        directory / "record", f'for one in "$@"; do echo "$one"; done >{directory}/arguments; cat >{directory}/input'
    )


def test_a_webhook_gets_text_and_all_else_below_one_name(receiver: Receiver) -> None:
    sender = made(NotifyOptions(webhook=receiver.url))
    sender.tell(NOTICE)
    assert outcomes(sender) == [("webhook", "")]
    body = json.loads(receiver.got[0].body)
    assert set(body) == {"text", "elastiq"}
    assert body["text"].startswith("elastiq, cluster c1: launches pause: launches pause (since 1970-01-01T01:00:00Z, 2")
    told = {name: body["elastiq"][name] for name in ("event", "state", "times", "token", "cluster", "host")}
    assert told == {
        "event": "breaker",
        "state": "begun",
        "times": 2,
        "token": "launches-paused",
        "cluster": "c1",
        "host": "head",
    }


@pytest.mark.long
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"hangs": True}, "the receiver has not answered in 1 s"),
        ({"drips": True}, "the receiver has not answered in 1 s"),
        ({"status": 500, "answer": b"broken"}, "answered 500: broken"),
        ({"status": 302, "location": "http://127.0.0.1:1/"}, "answered 302: ok"),
    ],
    ids=str,
)
def test_a_receiver_that_misbehaves_is_named_and_left(
    receiver: Receiver, what: Mapping[str, object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messenger, "SEND_SECONDS", 1.0 if "1 s" in said else 300.0)
    vars(receiver).update(what)
    sender = made(NotifyOptions(webhook=receiver.url))
    sender.tell(NOTICE)
    assert outcomes(sender) == [("webhook", f"a notice (breaker) could not be sent by webhook: {said}")]


def test_one_that_is_not_there(receiver: Receiver) -> None:
    receiver.close()
    sender = made(NotifyOptions(webhook=receiver.url))
    sender.tell(NOTICE)
    ((_, said),) = outcomes(sender)
    assert said.endswith("no answer: [Errno 111] Connection refused")


@pytest.mark.long
def test_the_loop_never_waits_and_what_is_too_much_is_left_out(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messenger, "NOTICES_KEPT", 3)
    receiver.hangs = True
    sender = made(NotifyOptions(webhook=receiver.url))
    for _ in range(3 + 2):
        sender.tell(NOTICE)
    assert ("any way", "3 notices are not sent yet, so a further one was left out") in sender.faults()
    receiver.over.set()
    outcomes(sender, 3)


def test_one_way_that_fails_keeps_no_other_from_being_gone(tmp_path: Path, receiver: Receiver) -> None:
    receiver.status = 403
    options = NotifyOptions(
        mail=("root",),
        sendmail=program(tmp_path / "sendmail", "echo no such user >&2; exit 67"),
        webhook=receiver.url,
        command=recording(tmp_path),
    )
    sender = made(options)
    sender.tell(NOTICE)
    assert outcomes(sender, 3) == [
        (
            "mail",
            "a notice (breaker) could not be sent by mail: "
            f"{tmp_path}/sendmail failed with exit status 67: no such user",
        ),
        ("webhook", "a notice (breaker) could not be sent by webhook: answered 403: ok"),
        ("command", ""),
    ]
    assert json.loads((tmp_path / "input").read_text())["elastiq"]["event"] == "breaker"


def test_a_mail(tmp_path: Path) -> None:
    sender = made(NotifyOptions(mail=("admin@example.org", "root"), sendmail=recording(tmp_path)))
    sender.tell(NOTICE)
    assert outcomes(sender) == [("mail", "")]
    assert (tmp_path / "arguments").read_text().split() == ["-i", "--", "admin@example.org", "root"]
    mail = email.message_from_bytes((tmp_path / "input").read_bytes(), policy=email.policy.default)
    assert mail["To"] == "admin@example.org, root" and mail["Auto-Submitted"] == "auto-generated"
    assert mail["Subject"] == "elastiq, cluster c1: launches pause"
    assert "launches pause (since 1970-01-01T01:00:00Z" in mail.get_content()


NASTY = (
    "x\r\nBcc: all@example.org\r\n\r\n.\r\nFrom: me <!channel> @channel @all [here](http://evil.example) $(id) `id`"
    "\x1b[31m\u2028\x00"
)


def test_what_others_wrote_is_text_and_nothing_else(tmp_path: Path, receiver: Receiver) -> None:
    command_ = program(tmp_path / "both", f"cat >{tmp_path}/both.json")
    options = NotifyOptions(
        mail=("root",), sendmail=recording(tmp_path), webhook=receiver.url, command=(*command_, "$(id)", "`id`")
    )
    sender = made(options)
    sender.tell(Notice("in-vain", "begun", 1, 1, NASTY))
    assert outcomes(sender, 3) == [("mail", ""), ("webhook", ""), ("command", "")]
    mail = email.message_from_bytes((tmp_path / "input").read_bytes(), policy=email.policy.default)
    assert set(mail.keys()) == {
        "To", "Subject", "Auto-Submitted", "Content-Type", "Content-Transfer-Encoding", "MIME-Version",
    }  # fmt: skip
    text = json.loads(receiver.got[0].body)["text"]
    assert text.isprintable() or set(text) - set(filter(str.isprintable, text)) == {"\N{ZERO WIDTH SPACE}"}
    assert "&lt;!channel&gt;" in text and "@channel" not in text and "](" not in text
    assert "Bcc" in json.loads((tmp_path / "both.json").read_text())["elastiq"]["text"]


def test_chat_text_leaves_plain_words_alone() -> None:
    plain = "20 jobs have found no room for more than 40 s, but launches pause for 300 s more: it has not joined"
    assert chat_text(plain) == plain


def test_the_address_is_shown_nowhere(receiver: Receiver, tmp_path: Path) -> None:
    receiver.status, receiver.answer = 404, f"no hook {receiver.url} a1b2c3d4e5f6".encode()
    options = NotifyOptions(webhook=receiver.url, command=recording(tmp_path))
    sender = made(options, "the-secret-key")
    sender.tell(Notice("breaker", "begun", 1, 1, f"refused with the-secret-key at {receiver.url}"))
    ((_, said), _) = outcomes(sender, 2)
    text = said + (tmp_path / "input").read_text()
    assert "a1b2c3d4e5f6" not in text and "the-secret-key" not in text and HIDDEN in text
    assert "a1b2c3d4e5f6" not in receiver.got[0].body.decode()
    assert "a1b2c3d4e5f6" not in repr(options)


def test_a_test_notice_says_what_was_answered(receiver: Receiver, tmp_path: Path) -> None:
    options = NotifyOptions(
        mail=("root",), sendmail=program(tmp_path / "sendmail", "exit 75"), webhook=receiver.url, command=("/bin/cat",)
    )
    found = {way: (is_taken, said) for way, is_taken, said in try_all(options, "c1", "head", Redactor(), 7200)}
    assert found["mail"] == (False, f"{tmp_path}/sendmail failed with exit status 75")
    assert found["webhook"] == (True, "answered 200: ok")
    assert found["command"][0] and found["command"][1].startswith(
        'taken: {"text": "elastiq, cluster c1: this is a test'
    )


def test_nobody_is_told_of_anything_unless_somebody_is_named() -> None:
    assert made(NotifyOptions()).events == ()
    sender = made(NotifyOptions(mail=("root",)))
    assert "breaker" in sender.events
    sender.use(NotifyOptions())
    assert sender.events == ()


def test_what_was_told_is_kept() -> None:
    sender = made(NotifyOptions())
    sender.keep({"breaker": {"at": 1.0}})
    assert sender.told() == {"breaker": {"at": 1.0}}


def test_a_receiver_that_hangs_does_not_outlive_the_daemon(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver.hangs = True
    sender = made(NotifyOptions(webhook=receiver.url))
    sender.tell(NOTICE)
    wait_for(lambda: receiver.got)
    with command._running_lock:
        for process in command._running:
            command._kill_group(process)
    ((_, said),) = outcomes(sender)
    assert "SIGKILL" in said


def wait_for(condition: Callable[[], Iterable[object]]) -> None:
    for _ in range(int(LONG * 100)):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("in vain")
