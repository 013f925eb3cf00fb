"""Hands notices on by mail, webhook or command: in a thread of its own, by child processes that really end.

Nothing of it is ever waited for by the loop, and what does not arrive is lost but for a line in the log.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Protocol

from elastiq import command
from elastiq.config.notify import NotifyOptions
from elastiq.errors import BatchError, NoticeError
from elastiq.process import post
from elastiq.redaction import Redactor
from elastiq.report.notices import Notice
from elastiq.text import printable

SEND_SECONDS = 10.0
"""How long a notice may take on each way."""

NOTICES_KEPT = 20
"""That wait to be sent, when a receiver is slow; further ones are lost."""

OUTPUT_LIMIT_BYTES = 65536

SAID_CHARACTERS = 200

_PROXIES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "no_proxy", "NO_PROXY")

_ZERO_WIDTH = "\N{ZERO WIDTH SPACE}"


class Facts(Protocol):
    """Where it is kept what was told. `elastiq.state.State` is the real one."""

    def told(self) -> Mapping[str, Mapping[str, object]]:
        """Return what was kept. Raise StateError."""

    def keep_told(self, told: Mapping[str, Mapping[str, object]]) -> None:
        """Keep it. Raise StateError."""


def ways(options: NotifyOptions) -> dict[str, Callable[[Notice], str]]:
    """Return how notices are sent, by name. Each returns what the receiver said, or raises NoticeError."""
    found: dict[str, Callable[[Notice], str]] = {}
    if options.mail:
        found["mail"] = lambda notice: _mail(notice, options)
    if options.address:
        found["webhook"] = lambda notice: _post(notice, options.address)
    if options.command:
        found["command"] = lambda notice: _run(options.command, (json.dumps(_body(notice)) + "\n").encode())
    return found


def _mail(notice: Notice, options: NotifyOptions) -> str:
    message = EmailMessage(policy=SMTP.clone(linesep="\n"))
    message["To"] = ", ".join(options.mail)
    message["Subject"] = printable(notice.title)
    message["Auto-Submitted"] = "auto-generated"  # nobody's holiday answers it
    facts = "".join(f"{name}: {value}\n" for name, value in notice.document().items() if value != "")
    message.set_content(f"{printable(notice.sentence)}\n\n{facts}\nWhat the events mean: elastiq.conf(5), [notify].\n")
    # Addresses cannot begin with -, and come after -- nevertheless.
    return _run([*options.sendmail, "-i", "--", *options.mail], message.as_bytes())


def _post(notice: Notice, address: str) -> str:
    asked = json.dumps({"address": address, "body": _body(notice)})
    proxies = {name: os.environ[name] for name in _PROXIES if name in os.environ}
    # Isolated: neither the working directory nor PYTHONPATH brings modules along.
    program = [sys.executable, "-I", str(Path(post.__file__))]
    try:
        result = command.execute(
            program,
            SEND_SECONDS,
            input_bytes=asked.encode(),
            output_limit_bytes=OUTPUT_LIMIT_BYTES,
            environment=proxies,
        )
    except BatchError as error:
        took_too_long = f"within {SEND_SECONDS:g} s" in str(error)
        raise NoticeError(
            f"the receiver has not answered in {SEND_SECONDS:g} s" if took_too_long else str(error)
        ) from None
    if result.status:
        raise NoticeError(result.output.strip() or result.excerpt or result.ending)
    return result.output.strip()


def _run(arguments: Collection[str], content: bytes) -> str:
    try:
        said = command.run(list(arguments), SEND_SECONDS, input_bytes=content, output_limit_bytes=OUTPUT_LIMIT_BYTES)
    except BatchError as error:
        raise NoticeError(str(error)) from None
    return f"taken{': ' if said.strip() else ''}{said.strip()}"


def _body(notice: Notice) -> dict[str, object]:
    """Return a notice as JSON has it: `text` is what chats show, all else is below a name that none of them knows."""
    return {"text": chat_text(notice.sentence), "elastiq": notice.document()}


def chat_text(text: str) -> str:
    """Return a text that no chat takes for more than that: no mention of everybody, no link under other words."""
    text = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = text.replace("](", f"]{_ZERO_WIDTH}(")
    return re.sub(r"@(?=\w)", f"@{_ZERO_WIDTH}", text)


def try_all(
    options: NotifyOptions, cluster: str, host: str, redactor: Redactor, now: float
) -> Iterable[tuple[str, bool, str]]:
    """Send a test notice in every way, one after the other; say of each whether it was taken, and what was said."""
    text = "it was sent by elastiqctl notify-test, and nothing is wrong"
    notice = clean(Notice("test", "test", now, now, text), cluster, host, redactor)
    for way, send in ways(options).items():
        try:
            is_taken, said = True, send(notice)
        except NoticeError as error:
            is_taken, said = False, str(error)
        yield way, is_taken, redactor.brief(said, SAID_CHARACTERS)


class Messenger:
    """Takes notices from the loop, and sends them one after the other. Used by the loop's thread alone."""

    def __init__(self, options: NotifyOptions, cluster: str, host: str, facts: Facts, redactor: Redactor) -> None:
        self._options, self._cluster, self._host = options, cluster, host
        self._facts, self._redactor = facts, redactor
        self._waiting: Queue[tuple[Notice, NotifyOptions]] = Queue(NOTICES_KEPT)
        self._done: Queue[tuple[str, str]] = Queue(10 * NOTICES_KEPT)
        self._thread: threading.Thread | None = None

    def use(self, options: NotifyOptions) -> None:
        """Go on with another configuration."""
        self._options = options

    @property
    def events(self) -> Collection[str]:
        """The kinds of events that are told of; none if nobody is."""
        return self._options.events if self._options.is_used else ()

    @property
    def silent_after_seconds(self) -> float:
        """What silent_after_s says."""
        return self._options.silent_after_s

    def told(self) -> Mapping[str, Mapping[str, object]]:
        """Return what was kept of notices before a restart. Raise StateError."""
        return self._facts.told()

    def keep(self, told: Mapping[str, Mapping[str, object]]) -> None:
        """Keep it across restarts. Raise StateError."""
        self._facts.keep_told(told)

    def tell(self, notice: Notice) -> None:
        """Have a notice sent in every way that is configured."""
        try:
            self._waiting.put_nowait((clean(notice, self._cluster, self._host, self._redactor), self._options))
        except Full:
            self._note("any way", f"{NOTICES_KEPT} notices are not sent yet, so a further one was left out")
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._send_all, name="notices", daemon=True)
            self._thread.start()

    def faults(self) -> Iterable[tuple[str, str]]:
        """Return what came of notices since the last call: the way, and what went wrong, or ""."""
        found = []
        while True:
            try:
                found.append(self._done.get_nowait())
            except Empty:
                return found

    def _send_all(self) -> None:
        while True:
            notice, options = self._waiting.get()
            for way, send in ways(options).items():
                try:
                    send(notice)
                except NoticeError as error:
                    said = self._redactor.brief(str(error), SAID_CHARACTERS)
                    self._note(way, f"a notice ({notice.event}) could not be sent by {way}: {said}")
                else:
                    self._note(way, "")

    def _note(self, way: str, fault: str) -> None:
        try:
            self._done.put_nowait((way, fault))
        except Full:
            pass  # the loop stands still, and nobody reads what is said


def clean(notice: Notice, cluster: str, host: str, redactor: Redactor) -> Notice:
    """Return a notice as it may leave this machine: whose it is, without secrets, and without control characters."""
    text = printable(redactor.clean(notice.text), " ")
    return Notice(**{**vars(notice), "text": text, "cluster": printable(cluster), "host": printable(host)})
