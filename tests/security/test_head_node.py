"""Another user of the head node gets the daemon, or root, neither to write nor to end nor to run what is his."""

from __future__ import annotations

import fcntl
import os
import resource
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastiq.clock import Clock
from elastiq.errors import StateError
from elastiq.process import logs
from elastiq.process.pidfile import LOCK_FILE, PID_FILE, PidFile, find_daemon
from elastiq.report.publishing import publish
from tests.process.conftest import CHECKOUT, HeadNode
from tests.process.conftest import head as head  # the fixture

pytestmark = pytest.mark.xdist_group("security")

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two users")


@pytest.fixture
def everybodys(tmp_path: Path) -> Path:
    """A directory as /tmp is."""
    made = tmp_path / "tmp"
    made.mkdir()
    made.chmod(0o1777)
    return made


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file that others want to have written, or its mode changed."""
    made = tmp_path / "victim"
    made.write_text("as it was")
    made.chmod(0o640)
    return made


def is_as_it_was(victim: Path) -> bool:
    return victim.read_text() == "as it was" and stat.S_IMODE(victim.stat().st_mode) == 0o640


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that others want to have ended."""
    process = subprocess.Popen(["/bin/sleep", "600"])
    yield process
    process.kill()
    process.wait()


# What is published.


@pytest.mark.parametrize("name", ["elastiq.prom", "elastiq.prom.tmp"])
@pytest.mark.parametrize("link", ["symbolic", "hard", "dangling"])
def test_what_is_published_is_written_through_no_link(name: str, link: str, everybodys: Path, victim: Path) -> None:
    path = everybodys / name
    if link == "hard":
        os.link(victim, path)
    else:
        path.symlink_to(victim if link == "symbolic" else everybodys / "new")
    publish(everybodys / "elastiq.prom", b"figures")
    assert is_as_it_was(victim)
    assert not (everybodys / "new").exists()
    assert (everybodys / "elastiq.prom").read_bytes() == b"figures"
    assert not (everybodys / "elastiq.prom").is_symlink()


@pytest.mark.parametrize("name", ["page.html.tmp", "page.html"])
@needs_root
def test_a_file_of_somebody_else_is_not_written(name: str) -> None:
    """Nor by a user that is not root, who may remove none of what others have in /tmp."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        Path(directory).chmod(0o1777)
        his = Path(directory, name)
        his.write_text("his")
        his.chmod(0o666)
        child = os.fork()
        if not child:
            code = 1
            try:
                os.setuid(NOBODY)
                publish(Path(directory, "page.html"), b"page")
            except PermissionError:
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert his.read_text() == "his"


# The log.


@pytest.mark.parametrize("mode", [0o777, 0o1777])
@needs_root
def test_the_log_follows_no_link_of_another_user(mode: int, everybodys: Path, victim: Path) -> None:
    everybodys.chmod(mode)
    link = everybodys / logs.LOG_FILE
    link.symlink_to(victim)
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(OSError, match=r"symbolic links|Permission denied"):  # the kernel's own, in a sticky one
        logs.RotatingLog(everybodys)
    assert is_as_it_was(victim)


def test_a_link_of_ones_own_is_followed(everybodys: Path) -> None:
    (everybodys / logs.LOG_FILE).symlink_to(os.devnull)
    logs.RotatingLog(everybodys).close()


def test_old_logs_that_are_links_keep_their_modes(everybodys: Path, victim: Path) -> None:
    (everybodys / f"{logs.LOG_FILE}.1").symlink_to(victim)
    logs.RotatingLog(everybodys).close()
    assert is_as_it_was(victim)


# State, lock and pid file.


@pytest.mark.parametrize("name", [LOCK_FILE, PID_FILE])
@pytest.mark.parametrize("target", ["victim", "new"])
def test_lock_and_pid_file_are_written_through_no_link(name: str, target: str, tmp_path: Path, victim: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / name).symlink_to(tmp_path / target)
    if name == LOCK_FILE:
        with pytest.raises(StateError, match="symbolic links"), PidFile(state, Clock()):
            pass
    else:
        with PidFile(state, Clock()):
            assert not (state / name).is_symlink()
    assert is_as_it_was(victim)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_state_directory_that_anybody_may_write_to_is_refused(mode: int, tmp_path: Path) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(StateError, match=r"anybody may write there.*do chmod o-w"), PidFile(tmp_path, Clock()):
        pass


def lock_held(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_a_lock_that_is_what_another_process_has_open_gets_that_one_no_signal(
    link: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has the state directory could have root end any process that way."""
    from elastiq import control

    monkeypatch.setattr(control, "STOP_SECONDS", 0.2)
    state, log = tmp_path / "state", tmp_path / "syslog"
    state.mkdir(mode=0o700)
    log.write_text("")
    with log.open() as opened:
        process = subprocess.Popen(["/bin/sleep", "600"], stdin=opened)
    if link == "hard":
        os.link(log, state / LOCK_FILE)
    else:
        (state / LOCK_FILE).symlink_to(log)
    (state / PID_FILE).write_text(f"{process.pid}\n")
    held = lock_held(log)
    try:
        if link == "hard":
            assert find_daemon(state) == 0
            assert control.stop(state, "") == control.FAILED
            assert control.retry(state, "") == control.FAILED
        else:
            with pytest.raises(StateError):
                control.stop(state, "")
        assert process.poll() is None
    finally:
        os.close(held)
        process.kill()
        process.wait()


@pytest.mark.parametrize("pid", ["sleeper", "1", "-1", "0", "99999999999999999999", "1\n2", "\x00", "½"])
def test_a_pid_file_that_lies_gets_nobody_a_signal(
    pid: str, tmp_path: Path, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from elastiq import control

    monkeypatch.setattr(control, "STOP_SECONDS", 0.2)
    sent = []
    monkeypatch.setattr(control.os, "kill", lambda *signalled: sent.append(signalled))
    (tmp_path / LOCK_FILE).touch()
    (tmp_path / PID_FILE).write_text(str(sleeper.pid) if pid == "sleeper" else pid)
    held = lock_held(tmp_path / LOCK_FILE)
    try:
        control.stop(tmp_path, "")
    except StateError:
        pass
    finally:
        os.close(held)
    assert sent == []


def test_the_real_daemon_is_found_all_the_same(tmp_path: Path) -> None:
    with PidFile(tmp_path, Clock()):
        assert find_daemon(tmp_path) == os.getpid()


# What root runs.


@pytest.fixture
def as_root(head: HeadNode) -> HeadNode:
    (head.home / ".elastiq.default").write_text('echo sourced >>"$HOME/sourced"\n')
    return head


@needs_root
@pytest.mark.parametrize("whose", ["file", "directory", "link"])
def test_root_runs_no_environment_script_of_another_user(whose: str, as_root: HeadNode) -> None:
    script = as_root.home / ".elastiq.default"
    if whose == "link":
        script.rename(as_root.home / "roots")
        script.symlink_to("roots")
    os.chown(as_root.home if whose == "directory" else script, NOBODY, NOBODY, follow_symlinks=False)
    code, _, errors = as_root.ctl("conf")
    assert code == 0
    assert "is left out: HOME is not root's" in errors
    assert not (as_root.home / "sourced").exists()


def test_ones_own_environment_script_is_run(as_root: HeadNode) -> None:
    assert as_root.ctl("conf")[0] == 0
    assert (as_root.home / "sourced").exists()


def test_the_service_takes_no_variable_of_whoever_starts_it() -> None:
    text = (CHECKOUT / "etc" / "elastiq.init").read_text()
    assert "unset HOME ELASTIQ_CONFIG ELASTIQ_LOGDIR ELASTIQ_PYTHON" in text


# Memory.


LIMITS = (
    "import resource, sys; sys.path.insert(0, sys.argv[1]); from elastiq.daemon import keep_no_core\n"
    "hard = int(sys.argv[2]); resource.setrlimit(resource.RLIMIT_CORE, (0, hard)); keep_no_core()\n"
    "print(*resource.getrlimit(resource.RLIMIT_CORE))\n"
)


@pytest.mark.parametrize(("hard", "left"), [(-1, "1 1"), (0, "0 0"), (1, "1 1")])
def test_the_memory_of_the_daemon_goes_into_no_core(hard: int, left: str) -> None:
    if hard not in (0, 1) and resource.getrlimit(resource.RLIMIT_CORE)[1] != resource.RLIM_INFINITY:
        pytest.skip("the limit on core files cannot be raised here")
    ended = subprocess.run(
        [sys.executable, "-c", LIMITS, str(CHECKOUT), str(hard)], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.strip() == left


def test_neither_in_the_background_nor_as_a_service(head: HeadNode) -> None:
    assert "LimitCORE=1\n" in (CHECKOUT / "etc" / "elastiq.service").read_text()
    assert head.ctl("start")[0] == 0
    limits = Path(f"/proc/{find_daemon(head.state)}/limits").read_text()
    core = next(line.split() for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core[4] in ("0", "1") and core[5] in ("0", "1")
    head.ctl("stop")


@needs_root
def test_the_environment_of_the_daemon_is_not_for_others(head: HeadNode) -> None:
    assert head.ctl("start", AWS_SECRET_ACCESS_KEY="canary")[0] == 0
    pid = find_daemon(head.state)
    assert b"canary" in Path(f"/proc/{pid}/environ").read_bytes()
    for name in ("environ", "mem", "maps", "fd"):
        looked = subprocess.run(
            ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "ls", "-l", f"/proc/{pid}/{name}"]
            if name == "fd"
            else ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "cat", f"/proc/{pid}/{name}"],
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert b"canary" not in looked.stdout
        assert looked.returncode != 0, name
    head.ctl("stop")
