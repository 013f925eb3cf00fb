"""elastiq-real.py: exit codes, signals, and what it tells the service manager."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from elastiq.process.pidfile import find_daemon
from tests.process.conftest import CHECKOUT, LONG, HeadNode


def test_usage(head: HeadNode) -> None:
    code, output, errors = head.real()
    assert (code, output) == (1, "")
    assert "--config is missing" in errors
    assert head.real("--confg=x")[0] == 1
    assert head.real("--config=")[0] == 1
    assert head.real(f"--config={head.config}", "dance")[0] == 1
    code, output, errors = head.real("--help")
    assert (code, errors) == (0, "")
    assert "--logdir" in output
    code, output, _ = head.real("--version")
    assert code == 0
    assert output.startswith("elastiq ")


@pytest.mark.parametrize("more", [(), ("--check",)])
def test_a_bad_configuration_is_told_in_full(head: HeadNode, more: tuple[str, ...]) -> None:
    head.configure("keyname = x", check_queue_every_s="often", waiting_jobs_treshold="3")
    code, output, errors = head.real(f"--config={head.config}", *more)
    assert (code, output) == (2, "")
    for word in ("check_queue_every_s", "did you mean waiting_jobs_threshold?", "did you mean key_name?"):
        assert word in errors
    assert not head.state.exists()


@pytest.mark.parametrize("more", [(), ("--check",)])
def test_an_unreadable_configuration(head: HeadNode, more: tuple[str, ...]) -> None:
    absent = head.home / "absent.conf"
    code, _, errors = head.real("--config", str(absent), *more)
    assert code == 2
    assert str(absent) in errors
    assert head.real(f"--config={head.home}", *more)[0] == 2


@pytest.mark.parametrize("more", [(), ("--check",)])
@pytest.mark.parametrize("plugin", ["htcondr", "tests.process.absent", "tests.process.test_foreground"])
def test_a_missing_plugin(head: HeadNode, plugin: str, more: tuple[str, ...]) -> None:
    head.configure(batch_plugin=plugin)
    code, _, errors = head.real(f"--config={head.config}", *more)
    assert code == 2
    assert plugin in errors


def test_check_of_a_good_file_says_so_and_touches_nothing(head: HeadNode) -> None:
    code, output, errors = head.real(f"--config={head.config}", "--check")
    assert (code, errors) == (0, "")
    assert str(head.config) in output
    assert "good" in output
    assert not head.state.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=lambda number: number.name)
def test_without_a_log_directory_it_logs_to_standard_error(head: HeadNode, number: signal.Signals) -> None:
    process = head.foreground()
    assert process.stderr
    assert "has started" in process.stderr.readline()
    process.send_signal(number)
    code, output, errors = head.finish(process)
    assert (code, output) == (0, "")
    assert f"has stopped on {number.name}" in errors
    assert not head.logs.exists()


def test_a_second_one_says_that_it_runs_already(head: HeadNode) -> None:
    process = head.foreground(f"--logdir={head.logs}")
    head.wait_for("has started")
    assert head.real(f"--config={head.config}")[:2] == (0, f"elastiq is already running (pid {process.pid})\n")
    assert head.ctl("start")[:2] == (0, f"elastiq is already running (pid {process.pid})\n")
    assert head.ctl("stop")[0] == 0
    assert head.finish(process)[0] == 0


def test_sigterm_ends_it_while_the_cloud_hangs(head: HeadNode, silent_cloud: tuple[str, threading.Event]) -> None:
    head.api_url, asked = silent_cloud
    head.configure()
    process = head.foreground(f"--logdir={head.logs}")
    assert asked.wait(LONG)
    process.terminate()
    # The call itself would hang for a minute and a half.
    assert process.wait(timeout=60) == 0
    head.finish(process)
    assert find_daemon(head.state) is None


def test_sigterm_ends_it_while_the_batch_system_hangs(head: HeadNode) -> None:
    (head.home / "hang").touch()
    process = head.foreground(f"--logdir={head.logs}")
    while not (head.home / "hanging").exists():
        assert process.poll() is None
        threading.Event().wait(0.05)
    process.terminate()
    # The call itself never ends.
    assert head.finish(process)[0] == 0


def test_a_silent_cloud_does_not_stop_the_queue_check(
    head: HeadNode, silent_cloud: tuple[str, threading.Event]
) -> None:
    head.api_url, _ = silent_cloud
    head.configure()
    head.ctl("start")
    head.wait_for("cloud: the list of VMs has not answered for ")
    (head.home / "fail").write_text("the queue is looked at")
    head.wait_for("the queue is looked at")
    assert head.ctl("stop")[0] == 0


def test_a_hanging_batch_system_does_not_stop_the_vm_check(head: HeadNode) -> None:
    (head.home / "hang").touch()
    head.ctl("start")
    head.wait_for("queue check failed: batch system: the queue check has not answered for ")
    head.wait_for("VM check failed: DescribeInstances")
    assert head.ctl("stop")[0] == 0


def hang_up(head: HeadNode) -> None:
    pid = find_daemon(head.state)
    assert pid
    os.kill(pid, signal.SIGHUP)


def test_sighup_reads_the_configuration_again(head: HeadNode) -> None:
    head.ctl("start")
    head.wait_for("0 running of 0..3")
    head.configure("[quota]\nmax_vms = 7\n", log_level="debug")
    hang_up(head)
    head.wait_for("was read again and is in force")
    head.wait_for("0 running of 0..7")
    assert head.ctl("stop")[0] == 0


def test_a_bad_file_is_refused_and_the_old_one_stays(head: HeadNode) -> None:
    head.ctl("start")
    pid = find_daemon(head.state)
    good = head.config.read_text()
    head.config.write_text(good + "[quota]\nmax_vms = many\n")
    hang_up(head)
    written = head.wait_for("is refused; elastiq goes on with what it read before")
    assert "max_vms" in written
    head.configure(batch_plugin="tests.process.absent")
    hang_up(head)
    head.wait_for("is refused", 2)
    head.config.unlink()
    hang_up(head)
    head.wait_for("is refused", 3)
    head.config.write_text(good)
    hang_up(head)
    head.wait_for("was read again and is in force")
    assert find_daemon(head.state) == pid


def test_metrics_are_written_where_the_configuration_says_by_now(head: HeadNode) -> None:
    first, second = head.home / "first.prom", head.home / "second.prom"
    figure = 'elastiq_jobs_waiting{cluster="test"} 0.0\n'
    head.configure(metrics_file=str(first))
    head.ctl("start")
    head.wait_for_file(first, figure)
    head.configure(metrics_file=str(second))
    hang_up(head)
    head.wait_for_file(second, figure)
    for path in (first, second):
        assert path.stat().st_mode & 0o777 == 0o644
    assert head.ctl("stop")[0] == 0


def test_what_can_not_change_at_run_time_is_named(head: HeadNode) -> None:
    head.ctl("start")
    head.configure(state_dir=str(head.home / "other"), cluster_name="other")
    hang_up(head)
    written = head.wait_for("is in force")
    assert "state_dir cannot change while elastiq runs" in written
    assert "cluster_name cannot change while elastiq runs" in written
    assert not (head.home / "other").exists()
    head.configure()


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(head: HeadNode, abstract: bool) -> None:
    # A socket holds ten messages and loses what is more: those of the watchdog are to be few while nobody reads.
    head.configure(sleep_s="60", check_queue_every_s="60", check_vms_every_s="60")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"@elastiq-test-{os.getpid()}" if abstract else str(head.home / "notify")
        manager.bind("\0" + name[1:] if abstract else name)
        manager.settimeout(LONG)
        process = head.foreground(f"--logdir={head.logs}", NOTIFY_SOCKET=name, WATCHDOG_USEC="6000000")
        assert manager.recv(4096).decode().startswith("READY=1\nSTATUS=")
        assert manager.recv(4096) == b"WATCHDOG=1"
        manager.settimeout(45)  # it comes in the sleep of a minute as well, not only in every pass
        assert manager.recv(4096) == b"WATCHDOG=1"
        manager.settimeout(LONG)
        sent_at = time.monotonic_ns() // 1000
        process.send_signal(signal.SIGHUP)
        reloading, told_at = next(
            message for message in iter(lambda: manager.recv(4096), b"") if message != b"WATCHDOG=1"
        ).split(b"\nMONOTONIC_USEC=")
        assert reloading == b"RELOADING=1"
        assert sent_at <= int(told_at) <= time.monotonic_ns() // 1000
        assert manager.recv(4096).startswith(b"READY=1")
        head.wait_for("stand-in, NOTIFY_SOCKET not set")
        process.terminate()
        assert set(iter(lambda: manager.recv(4096), b"STOPPING=1")) <= {b"WATCHDOG=1"}
        assert head.finish(process)[0] == 0


def test_a_full_disk_for_the_log_does_not_end_it(head: HeadNode) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this machine has no /dev/full")
    head.logs.mkdir()
    head.log.symlink_to("/dev/full")
    process = head.foreground(f"--logdir={head.logs}")
    while find_daemon(head.state) != process.pid:
        assert process.poll() is None
        threading.Event().wait(0.05)
    process.send_signal(signal.SIGHUP)
    process.terminate()
    assert head.finish(process)[0] == 0


def test_it_works_by_way_of_python_dash_m(head: HeadNode) -> None:
    ended = subprocess.run(
        [head.environment["ELASTIQ_PYTHON"], "-m", "elastiq.cli", f"--config={head.config}", "--check"],
        env=head.environment,
        cwd=CHECKOUT,
        check=False,
        capture_output=True,
    )
    assert ended.returncode == 0
