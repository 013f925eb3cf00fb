"""The page of a running daemon, and `elastiqctl top` in a real terminal."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastiq.process.pidfile import find_daemon
from tests.process.conftest import CHECKOUT, LONG, HeadNode


def hang_up(head: HeadNode) -> None:
    pid = find_daemon(head.state)
    assert pid
    os.kill(pid, signal.SIGHUP)


def test_the_page_is_written_where_the_configuration_says_by_now(head: HeadNode) -> None:
    first, second = head.home / "first.html", head.home / "second.html"
    head.configure(page_file=str(first))
    head.ctl("start")
    head.wait_for_file(first, "<h1>test</h1>")
    head.configure(page_file=str(second))
    hang_up(head)
    head.wait_for_file(second, "<h1>test</h1>")
    for path in (first, second):
        assert path.stat().st_mode & 0o777 == 0o644
    head.configure(page_file=str(head.home / "nowhere" / "page.html"))
    hang_up(head)
    head.wait_for("page.html cannot be written: No such file or directory")
    code, output, _ = head.ctl("page")
    assert code == 0
    assert output.startswith("<!doctype html>")
    assert output.rstrip().endswith("</html>")
    code, output, _ = head.ctl("page", "--into", "own.html")
    assert (code, output) == (0, "")
    assert (head.home / "own.html").stat().st_mode & 0o777 == 0o644
    assert head.ctl("stop")[0] == 0


@pytest.mark.parametrize("words", [["--into"], ["--into", ""], ["x"], ["--into", "a", "b"], ["--json"]])
def test_other_words_are_wrong_usage(head: HeadNode, words: list[str]) -> None:
    code, output, errors = head.ctl("page", *words)
    assert (code, output) == (1, "")
    assert errors.startswith("elastiq: usage: elastiqctl page [--into FILE]; not ")
    assert head.ctl("top", *words)[0] == 1


class Terminal:
    """A terminal with `elastiqctl top` in it."""

    def __init__(self, head: HeadNode, **environment: str) -> None:
        self.master, slave = os.openpty()
        self.resize(30, 100)
        self.process = subprocess.Popen(
            ["setsid", "--ctty", str(CHECKOUT / "scripts" / "elastiqctl"), "top"],
            env={**head.environment, "TERM": "xterm", "LC_ALL": "C.UTF-8", **environment},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=head.home,
        )
        os.close(slave)
        self.shown = ""

    def resize(self, rows: int, columns: int) -> None:
        """Give it another size: the kernel tells the programs in it."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_for(self, pattern: str) -> str:
        """Return all that was written since the last time, as soon as that holds the pattern."""
        while not re.search(pattern, self.shown):
            ready, _, _ = select.select([self.master], [], [], LONG)
            assert ready, f"{pattern!r} does not come: {self.shown!r}"
            try:
                self.shown += os.read(self.master, 65536).decode("utf-8", "replace")
            except OSError:  # nobody has the other end any more
                raise AssertionError(f"{pattern!r} has not come: {self.shown!r}") from None
        shown, self.shown = self.shown, ""
        return shown

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def end(self) -> int:
        """Return the exit code, once it has ended."""
        try:
            return self.process.wait(LONG)
        finally:
            self.process.kill()
            os.close(self.master)


@pytest.fixture
def running(head: HeadNode) -> Iterator[HeadNode]:
    assert head.ctl("start")[0] == 0
    while "jobs waiting" not in head.ctl("status")[1]:
        pass  # it is about to report
    yield head
    assert head.ctl("stop")[0] == 0


def test_top_is_live_takes_another_size_and_ends_with_q(running: HeadNode) -> None:
    terminal = Terminal(running)
    shown = terminal.wait_for("q: end")
    assert re.search(r"test.*elastiq is running", shown)
    assert "\x1b[?1049h" in shown, "it takes the terminal"
    assert re.search(r"\x1b\[[0-9;]*3[0-7]m", shown), "it has colours"
    terminal.resize(10, 60)
    shown = terminal.wait_for("q: end")
    assert "\x1b[10;1H" in shown or "\x1b[10d" in shown, "what is last is in the last line now"
    terminal.type("x")
    terminal.type("q")
    terminal.wait_for(re.escape("\x1b[?1049l"))
    assert terminal.end() == 0


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "vt100"}], ids=str)
def test_top_has_no_colours_where_they_are_not_wanted_or_there_are_none(
    running: HeadNode, variables: dict[str, str]
) -> None:
    terminal = Terminal(running, **variables)
    shown = terminal.wait_for("q: end")
    assert not re.search(r"\x1b\[[0-9;]*[34][0-7]m", shown)
    terminal.type("\x03")
    assert terminal.end() == 0


def test_in_a_dumb_terminal_and_without_one_there_is_one_picture(running: HeadNode, tmp_path: Path) -> None:
    terminal = Terminal(running, TERM="dumb")
    shown = terminal.wait_for("workers ")
    assert "\x1b" not in shown
    assert terminal.end() == 0
    code, output, errors = running.ctl("top", TERM="xterm")
    assert (code, errors) == (0, "")
    assert output.startswith("test  elastiq is running")
    assert "\x1b" not in output
