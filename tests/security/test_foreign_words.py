"""Whatever bytes others put into names, reasons and errors: they make no line of the log, tell no terminal what to do,
make no markup, label or header, and nothing that is written fails because of them.

A plugin of somebody else hands them on as they are here; elastiq's own make them words before.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from elastiq import questions
from elastiq.config.notify import NotifyOptions
from elastiq.errors import BatchError
from elastiq.model import Demand, Eligibility, Judgement, Shape, Worker
from elastiq.process import logs, messenger
from elastiq.redaction import Redactor
from elastiq.report import page
from elastiq.report.notices import Notice
from elastiq.report.now import Now
from elastiq.report.series import Past
from elastiq.report.status import picture
from elastiq.state import read_report
from elastiq.text import harmless
from tests.unit.fakes import settings_with
from tests.unit.rig import SETTINGS, Rig

WORDS = {
    "title and clear": "\x1b]0;owned\x07\x1b[2J\x1b[31m",
    "C1 controls": "\x9b31m\x9d0;owned\x9c",
    "a forged line": "a\n2026-01-01 00:00:00+0000 ERROR forged",
    "returns": "a\r\nBcc: everybody\r\n\r\nforged",
    "a line of Unicode": "a\u2028forged\u2029forged\x85forged\x0bforged\x0cforged",
    "right to left": "\u202egnol\u2066x",
    "NUL": "\x00after",
    "half a character": "\ud800\udc00\udfff",
    "no UTF-8": b"\xff\xfe\xc3(".decode("utf-8", "surrogateescape"),
    "a script": "</script></td><script>alert(1)</script><img src=x onerror=alert(1)>",
    "an attribute": "\" onmouseover='alert(1)' x=\"",
    "a label": 'a"} 1\nforged_metric{x="',
    "a backslash": "a\\",
    "formats": "%s %(name)s {0.__class__} ${jndi:ldap://x}",
    "a mention": "@channel <!everyone> [click](http://evil.example/)",
    "an option": "--help; $(reboot) `reboot` | reboot",
    "a long word": "y" * 1_000_000,
}
LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4} [A-Z]+ |  )")
SAMPLE = re.compile(r'[a-z_]+\{([a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*\} \S+|# (HELP|TYPE) .*')

pytestmark = [
    pytest.mark.xdist_group("security"),
    pytest.mark.parametrize("words", WORDS.values(), ids=list(WORDS)),
]


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    kept = list(root.handlers), root.level, logging.raiseExceptions
    root.handlers.clear()
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers[:], root.level, logging.raiseExceptions = kept


class Failing:
    """What the batch system says when it fails."""

    def __init__(self, words: str) -> None:
        self.words = words

    def __call__(self) -> tuple[Demand, ...]:
        raise BatchError(self.words)


@pytest.fixture
def lived(words: str, tmp_path: Path) -> Rig:
    """A life in which these words are all that others say."""
    logs.start(tmp_path / "log", 0, Redactor())
    rig = Rig(tmp_path / "state", settings_with(SETTINGS, metrics_file=tmp_path / "metrics"))
    rig.batch.jobs = (Demand(Shape(), 3, wants=words),)
    rig.batch.judgements = {words: Judgement(Eligibility.NO, words[:1000])}
    rig.run(60)
    rig.batch.jobs, rig.batch.advised = (Demand(Shape(), 3),), (words[:1000],)
    rig.run(60)
    rig.join_all()
    assert rig.batch.joined
    rig.batch.joined = {
        f"{words}{n}": replace(one, name=f"{words}{n}") for n, one in enumerate(rig.batch.joined.values())
    }
    rig.batch.joined["foreign"] = Worker(words, words, words, jobs=1)
    rig.run(400)
    rig.batch.demand = Failing(words[:1000])  # type: ignore[method-assign]
    rig.run(60)
    return rig


def lines_of(directory: Path) -> list[str]:
    return [line for path in directory.iterdir() for line in path.read_text("utf-8").removesuffix("\n").split("\n")]


def test_the_log(lived: Rig, words: str) -> None:
    lines = lines_of(lived.directory.parent / "log")
    assert any("launch" in line for line in lines)
    assert [line for line in lines if not LINE.match(line) or not line.isprintable()] == []
    assert not any("Traceback" in line for line in lines)
    assert sum(map(len, lines)) < 1_000_000


def test_the_metrics(lived: Rig, words: str) -> None:
    lines = (lived.directory.parent / "metrics").read_bytes().decode().removesuffix("\n").split("\n")
    assert [line for line in lines if not SAMPLE.fullmatch(line)] == []


def test_status_and_answers(lived: Rig, words: str) -> None:
    report = read_report(lived.directory)
    assert report
    shown = picture(report, lived.clock.monotonic_microseconds())
    assert all(line.isprintable() for line in shown)
    known = questions.Known.read(lived.directory)
    for answer in (questions.of_all(known), questions.of_vms(known, lived.settings), questions.of_jobs(known)):
        document = json.dumps(questions.cleaned(answer.document, Redactor().clean))
        assert document.isprintable() and document.encode("ascii")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {tag, *(name for name, _ in attrs)}


def test_the_page(lived: Rig, words: str) -> None:
    clock = lived.clock
    now = Now.read(lived.directory, clock.now(), clock.monotonic_microseconds(), is_running=True)
    made = page.page(now, Past(()), Redactor().clean)
    tags = Tags()
    tags.feed(made.encode().decode())
    assert "title" in tags.found
    assert not tags.found & {"script", "img", "onerror", "onmouseover", "iframe", "a"}


def test_mail_and_webhook(words: str, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sendmail = tmp_path / "sendmail"
    sendmail.write_text(f"#!/bin/sh\ncat >{sent}\n")
    sendmail.chmod(0o755)
    options = NotifyOptions(mail=("root",), sendmail=(str(sendmail),))
    notice = messenger.clean(Notice("trouble", "begins", 0.0, 0.0, words[:1000]), words[:100], "head", Redactor())
    messenger.ways(options)["mail"](notice)
    head = sent.read_bytes().partition(b"\n\n")[0].decode("ascii")
    names = [line.partition(":")[0] for line in head.split("\n") if not line.startswith(" ")]
    assert sorted(names) == sorted(
        ["To", "Subject", "Auto-Submitted", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"]
    )
    said = messenger.chat_text(notice.sentence)
    assert not re.search(r"@\w|\]\(", said)
    said = said.replace("\N{ZERO WIDTH SPACE}", "")
    assert said.isprintable() and "<" not in said


def test_harmless_text_is_utf8_without_controls(words: str) -> None:
    made = harmless(words)
    assert made.encode() and all(line.isprintable() for line in made.split("\n"))
