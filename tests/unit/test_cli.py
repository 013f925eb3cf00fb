"""The command line: what status shows, who starts the daemon, how stop ends one that does not listen."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from elastiq import cli
from elastiq.clock import Clock
from elastiq.process.pidfile import PID_FILE, PidFile, find_daemon
from elastiq.state import State
from tests.unit.report.test_status import REPORT


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


def options(tmp_path: Path, state: Path) -> tuple[Path, Path, Path]:
    return tmp_path / "c", state, tmp_path / "a" / "log"


PLUGIN = """
from elastiq.errors import BatchError
class Batch:
    def __init__(self, advice): self.told = advice
    def check(self):
        if self.told == "gone": raise BatchError("no scheduler answers")
        return "Toy 1.0, 3 workers"
    def advice(self):
        if self.told == "silent": raise BatchError("the scheduler does not say")
        return (self.told,) if self.told else ()
    def demand(self): return ()
    def workers(self): return ()
    def close(self, worker): raise NotImplementedError
    def reopen(self, worker): pass
    def forget(self, worker): pass
def create(settings): return Batch(%r)
"""


@pytest.mark.parametrize(
    ("told", "code", "output", "error"),
    [
        ("", 0, "Toy 1.0, 3 workers\n", ""),
        ("set fill = yes", 0, "Toy 1.0, 3 workers\nadvice: set fill = yes\n", ""),
        (
            "silent",
            0,
            "Toy 1.0, 3 workers\nhow jobs are placed cannot be told: the scheduler does not say\n",
            "",
        ),
        ("gone", 1, "", "elastiq: no scheduler answers\n"),
    ],
)
def test_check_asks_the_batch_system(
    told: str,
    code: int,
    output: str,
    error: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    package = tmp_path / "toybatch"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "plugin.py").write_text(PLUGIN % told)
    configuration = tmp_path / "elastiq.conf"
    configuration.write_text(
        "[elastiq]\nbatch_plugin = toybatch.plugin\n[ec2]\napi_url = https://cloud.example\n"
        "aws_access_key_id = a\naws_secret_access_key = b\nimage_id = ami-1\nflavour = m5.large\n"
    )
    configuration.chmod(0o600)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("sys.modules", {name: one for name, one in sys.modules.items() if "toybatch" not in name})
    assert cli.main(["check", f"--config={configuration}"]) == code
    assert tuple(capsys.readouterr()) == (output, error)
