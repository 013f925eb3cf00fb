"""The command line: what status shows, who starts the daemon, how stop ends one that does not listen."""

from __future__ import annotations

import errno
import os
import pwd
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from elastiq import cli
from elastiq.clock import Clock
from elastiq.errors import ConfigError
from elastiq.process.pidfile import PID_FILE, PidFile, find_daemon
from elastiq.state import State

REPORT: dict[str, Any] = {
    "pid": 4711,
    "version": "2.0.0",
    "started_at": 0.0,
    "monotonic_microseconds": 1_000_000_000,
    "jobs_waiting": 12,
    "workers_busy": 3,
    "workers_idle": 1,
    "vms_pending": 2,
    "vms_running": 4,
    "min_vms": 0,
    "max_vms": 5,
    "last_action": {"at": 60.0, "text": "launch 2 VMs: 12 jobs wait; launched i-1, i-2"},
    "last_error": None,
    "holds": ["no room for more than 5 VMs"],
}


@pytest.fixture(autouse=True)
def utc() -> Iterator[None]:
    """UTC, and the mask that `main` sets taken back."""
    mask = os.umask(0o022)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()
    os.umask(mask)


def test_the_picture_of_vms_whose_launch_was_not_answered() -> None:
    picture = cli._picture({**REPORT, "vms_unconfirmed": 3}, 1_001_000_000)
    assert "  VMs           2 pending, 4 running, 3 unconfirmed of 0..5" in picture


def test_the_picture() -> None:
    assert "\n".join(cli._picture(REPORT, 1_001_000_000)) == (
        "elastiq 2.0.0 is running (pid 4711) since 1970-01-01 00:00:00+0000\n"
        "  jobs waiting  12\n"
        "  workers       3 busy, 1 idle\n"
        "  VMs           2 pending, 4 running of 0..5\n"
        "  last action   1970-01-01 00:01:00+0000: launch 2 VMs: 12 jobs wait; launched i-1, i-2\n"
        "  last error    none\n"
        "  holding back  no room for more than 5 VMs"
    )


def test_the_picture_tells_unknown_from_none_and_names_silence() -> None:
    report = {**REPORT, "jobs_waiting": None, "workers_busy": 0, "workers_idle": None, "max_vms": None}
    text = "\n".join(cli._picture(report, 2_000_000_000))
    assert "jobs waiting  unknown" in text
    assert "0 busy, unknown idle" in text
    assert "of 0..unlimited" in text
    assert "it has not reported for 1000 s; see the log" in text


@pytest.mark.parametrize("step_seconds", [-86400.0, 0.0, 86400.0])
@pytest.mark.parametrize(("silent_seconds", "said"), [(5, False), (500, True)])
def test_a_step_of_the_wall_clock_hides_no_silence_and_makes_none(
    step_seconds: float,
    silent_seconds: int,
    said: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    # The clock of the process that looks as well: no second may pass between the report and the look.
    now_microseconds = clock.monotonic_microseconds()
    monkeypatch.setattr(Clock, "monotonic_microseconds", lambda _: now_microseconds)
    with PidFile(tmp_path, clock):
        state = State(tmp_path, clock.now())
        state.save_report(
            {
                **REPORT,
                "pid": os.getpid(),
                "updated_at": clock.now() - silent_seconds + step_seconds,
                "monotonic_microseconds": now_microseconds - silent_seconds * 1_000_000,
            }
        )
        state.close()
        assert cli.main(["status", f"--config={tmp_path / 'absent'}", f"--state-dir={tmp_path}"]) == 0
    assert (f"has not reported for {silent_seconds} s" in capsys.readouterr().out) == said


def test_a_report_of_before_a_reboot_is_not_the_daemons() -> None:
    """In a container it often has the same number again."""
    assert "it has not reported since this machine was started" in "\n".join(cli._picture(REPORT, 60_000_000))


def test_a_report_of_another_version_is_shown_as_far_as_it_goes() -> None:
    assert "jobs waiting  unknown" in "\n".join(cli._picture({}, 0))


STUBBORN = """
import signal, sys
from pathlib import Path
from elastiq.clock import Clock
from elastiq.process.pidfile import PidFile
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with PidFile(Path(sys.argv[1]), Clock()):
    print("here", flush=True)
    signal.pause()
"""


def test_stop_kills_what_does_not_listen_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "STOP_SECONDS", 0.2)
    monkeypatch.setattr(cli, "KILL_SECONDS", 60.0)
    with subprocess.Popen([sys.executable, "-c", STUBBORN, tmp_path], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert find_daemon(tmp_path) == process.pid
        code = cli.main(["stop", f"--config={tmp_path / 'absent'}", f"--state-dir={tmp_path}"])
        assert code == 0
        assert process.wait() == -9
    assert "is killed now" in capsys.readouterr().err


def test_stop_of_what_has_ended_since_it_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    found = iter([process.pid])
    monkeypatch.setattr(cli, "find_daemon", lambda _: next(found, None))
    assert cli.main(["stop", f"--config={tmp_path / 'absent'}", f"--state-dir={tmp_path}"]) == 0
    assert capsys.readouterr().out == f"elastiq has stopped (pid {process.pid})\n"


SLOW_TO_LEAVE = """
import signal, sys, time
from pathlib import Path
from elastiq.clock import Clock
from elastiq.process.pidfile import PidFile
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
with PidFile(Path(sys.argv[1]), Clock()):
    print("here", flush=True)
    signal.sigwait([signal.SIGTERM])
time.sleep(2)
"""


def test_stop_waits_for_the_end_of_the_process(tmp_path: Path) -> None:
    """Whoever removes its user next wants it gone; what is left of it for its parent is none."""
    with subprocess.Popen([sys.executable, "-c", SLOW_TO_LEAVE, tmp_path], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert cli.main(["stop", f"--config={tmp_path / 'absent'}", f"--state-dir={tmp_path}"]) == 0
        assert process.poll() == 0


def test_conf_names_the_user_that_systemd_has_for_the_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["conf", f"--config={tmp_path / 'absent'}", "--user=slurm"]) == 0
    assert f"{'user':16} slurm\n" in capsys.readouterr().out


@pytest.mark.parametrize("stale", [False, True])
def test_the_daemon_is_found_where_root_may_not_look_into_processes(
    stale: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container, which takes CAP_SYS_PTRACE from root."""
    stat = Path.stat

    def refuse(path: Path, **options: Any) -> os.stat_result:
        if str(path).startswith("/proc/"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, **options)

    with PidFile(tmp_path, Clock()):
        if stale:
            (tmp_path / PID_FILE).write_text(f"{os.getppid()}\n")
        monkeypatch.setattr(Path, "stat", refuse)
        assert find_daemon(tmp_path) == (0 if stale else os.getpid()), "another process is never the daemon"


class Root:
    """Root, as far as cli can tell; writes down what it does instead of doing it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, user: SimpleNamespace | None, readable: bool = True) -> None:
        self.done: list[tuple[Any, ...]] = []
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(os, "access", lambda path, mode: readable)
        for name in ("initgroups", "setgid", "setuid", "execv", "chown"):
            monkeypatch.setattr(os, name, lambda *arguments, name=name: self.done.append((name, *arguments)))
        for name in ("HOME", "USER", "LOGNAME"):
            monkeypatch.setenv(name, "root")

        def getpwnam(name: str) -> SimpleNamespace:
            if user is None:
                raise KeyError(name)
            return user

        monkeypatch.setattr(pwd, "getpwnam", getpwnam)


USER = SimpleNamespace(pw_name="elastiq", pw_uid=990, pw_gid=980, pw_dir="/var/lib/elastiq")


def options(tmp_path: Path) -> Any:
    return SimpleNamespace(config=tmp_path / "c", logdir=tmp_path / "a" / "log")


def test_root_goes_on_as_the_system_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Root(monkeypatch, USER)
    state = tmp_path / "state"
    state.mkdir()
    cli._become_service_user(options(tmp_path), state)
    log = tmp_path / "a" / "log"
    names = [step[0] for step in root.done]
    assert names == ["chown", "initgroups", "setgid", "setuid", "execv"], "groups go first, the program last"
    assert root.done[0] == ("chown", log, 990, 980), "what exists is left alone"
    assert root.done[1:4] == [("initgroups", "elastiq", 980), ("setgid", 980), ("setuid", 990)]
    assert root.done[4][2][2:] == ["start", f"--config={tmp_path / 'c'}", f"--state-dir={state}", f"--logdir={log}"]
    assert os.environ["HOME"] == "/var/lib/elastiq"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755
    assert log.stat().st_mode & 0o777 == 0o700


def test_a_file_that_the_system_user_can_not_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Root(monkeypatch, USER, readable=False)
    with pytest.raises(ConfigError, match="the user elastiq cannot read it; do chown root:elastiq"):
        cli._become_service_user(options(tmp_path), tmp_path)
    assert "execv" not in [step[0] for step in root.done]


@pytest.mark.parametrize("user", [None, SimpleNamespace(pw_uid=0)])
def test_root_stays_root_without_the_system_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: SimpleNamespace | None
) -> None:
    root = Root(monkeypatch, user)
    cli._become_service_user(options(tmp_path), tmp_path)
    assert root.done == []
