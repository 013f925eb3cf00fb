"""Defects of the process around the loop, shown by real processes."""

from __future__ import annotations

from tests.defects.conftest import HeadNode
from tests.process import test_elastiqctl as elastiqctl
from tests.process.conftest import SECRET


def test_concurrent_starts(head: HeadNode) -> None:
    """three concurrent starts left two daemons in 2 of 6 trials"""
    elastiqctl.test_three_starts_at_once_make_one_daemon(head)


def test_stale_pid_file_and_start(head: HeadNode) -> None:
    """a stale pid file made `start` say "already running\""""
    head.state.mkdir(mode=0o700)
    (head.state / "elastiq.pid").write_text("1\n")
    code, output, _ = head.ctl("start")
    assert (code, output.partition(" (")[0]) == (0, "elastiq has started")
    assert head.ctl("stop")[0] == 0


def test_stale_pid_file_and_stop(head: HeadNode) -> None:
    """and `stop` kill an innocent process"""
    elastiqctl.test_a_stale_pid_file_hurts_nobody(head, "innocent")


def test_modes_in_background(head: HeadNode) -> None:
    """the pid and log files were mode 0666 in background mode"""
    elastiqctl.test_all_that_it_writes_is_private(head)
    assert head.ctl("stop")[0] == 0


def test_secret_in_the_log(head: HeadNode) -> None:
    """the secret key was logged in clear"""
    head.configure(log_level="debug")
    assert head.ctl("start")[0] == 0
    head.wait_for("VM check failed")
    written = head.wait_for(" DEBUG ")
    assert head.ctl("stop")[0] == 0
    assert SECRET not in written + head.log.read_text()
