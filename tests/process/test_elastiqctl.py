"""elastiqctl and the daemon in the background."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from elastiq.process.pidfile import find_daemon
from elastiq.version import VERSION
from tests.process.conftest import CHECKOUT, LONG, SECRET, HeadNode


def test_the_life_of_a_daemon(head: HeadNode) -> None:
    assert head.ctl("status")[:2] == (1, "elastiq is not running\n")
    code, output, _ = head.ctl("start")
    pid = find_daemon(head.state)
    assert (code, output) == (0, f"elastiq has started (pid {pid})\n")
    head.wait_for("workers 0 busy")
    lines = ("jobs waiting  0", "workers       0 busy, 0 idle", "0 pending, 0 running of 0..3", "last error ")
    for _ in range(20):
        # The report comes an instant after the line in the log, and what was not answered in time is unknown in it.
        code, output, _ = head.ctl("status")
        assert code == 0
        if all(line in output for line in lines):
            break
        threading.Event().wait(1)
    for line in (f"is running (pid {pid}) since ", *lines):
        assert line in output
    assert head.ctl("start")[:2] == (0, f"elastiq is already running (pid {pid})\n")
    assert head.daemons() == [pid]
    assert head.ctl("stop")[:2] == (0, f"elastiq has stopped (pid {pid})\n")
    assert head.daemons() == []
    assert head.ctl("stop")[:2] == (0, "elastiq is not running\n")
    assert head.ctl("status")[:2] == (1, "elastiq is not running\n")
    assert "elastiq has stopped on SIGTERM" in head.log.read_text()


def test_restart_makes_a_new_daemon(head: HeadNode) -> None:
    assert head.ctl("restart")[0] == 0
    first = find_daemon(head.state)
    assert head.ctl("restart")[0] == 0
    assert head.daemons() == [find_daemon(head.state)] != [first]


def test_its_threads_share_their_memory_unless_told_otherwise(head: HeadNode) -> None:
    for said, expected in (({}, b"1"), ({"MALLOC_ARENA_MAX": "3"}, b"3")):
        assert head.ctl("restart", **said)[0] == 0
        environment = Path(f"/proc/{find_daemon(head.state)}/environ").read_bytes().split(b"\0")
        assert b"MALLOC_ARENA_MAX=" + expected in environment


def test_restart_with_a_bad_file_leaves_the_daemon_alone(head: HeadNode) -> None:
    head.ctl("start")
    pid = find_daemon(head.state)
    head.configure(sleep_s="soon")
    code, _, errors = head.ctl("restart")
    assert code == 2
    assert "sleep_s" in errors
    head.configure()
    assert head.daemons() == [pid]


def test_retry_has_the_daemon_try_again(head: HeadNode) -> None:
    assert head.ctl("retry") == (1, "", "elastiq is not running\n")
    head.ctl("start")
    head.wait_for("workers 0 busy")
    pid = find_daemon(head.state)
    code, output, _ = head.ctl("retry")
    assert (code, output) == (0, f"elastiq (pid {pid}) tries again: jobs that did not start, and launches that pause\n")
    head.wait_for("told to try again")
    assert head.daemons() == [pid]
    assert head.ctl("stop")[0] == 0


USAGE = (
    "usage: elastiqctl start|stop|status|restart|check|retry|why|plan|vms|jobs|history|cost|top|page|"
    "notify-test|simulate|log|conf|help\n"
)


@pytest.mark.parametrize("arguments", [(), ("begin",), ("start", "now"), ("help", "why"), ("--version", "1")])
def test_wrong_usage(head: HeadNode, arguments: tuple[str, ...]) -> None:
    assert head.ctl(*arguments) == (1, "", USAGE)


@pytest.mark.parametrize("argument", ["help", "--help", "-h"])
def test_help(head: HeadNode, argument: str) -> None:
    code, output, errors = head.ctl(argument)
    assert (code, errors) == (0, "")
    assert output.startswith(USAGE)
    for word in USAGE.split()[2].split("|"):
        assert re.search(rf"^  .*\b{word}\b", output, re.MULTILINE), word


def test_version(head: HeadNode) -> None:
    head.config.unlink()
    assert head.ctl("--version") == (0, f"elastiq {VERSION}\n", "")


def test_questions_beside_a_daemon(head: HeadNode) -> None:
    code, output, _ = head.ctl("why")
    assert (code, output.partition("\n")[0]) == (1, "NOT-RUNNING")
    head.ctl("start")
    head.wait_for("workers 0 busy")
    for _ in range(20):
        code, output, errors = head.ctl("why")
        if code == 0:
            break
        threading.Event().wait(1)
    assert (code, errors) == (0, "")
    assert "no jobs wait" in output
    assert head.ctl("why", "i-0123456789abcdef0")[0] == 3
    code, output, _ = head.ctl("why", "4711")
    assert (code, output.splitlines()[:2]) == (1, ["job 4711", "CANNOT-TELL"]), "this plugin has no such method"
    assert head.ctl("why", "4711", "4712")[0] == 1
    assert head.ctl("vms") == (0, "VM  POOL  STAGE  WORKER  AGE  IDLE  VERDICT\n", "")
    assert json.loads(head.ctl("jobs", "--json")[1])["groups"] == []
    document = json.loads(head.ctl("history", "--json")[1])
    assert (document["vms"], document["damage"]) == ([], [])
    code, output, _ = head.ctl("history", "--since", "1h")
    assert code == 0 and output.startswith("no VM was there in that time\n")
    assert head.ctl("history", "--vm", "i-0123456789abcdef0")[0] == 3
    assert head.ctl("cost", "--csv")[1].splitlines()[0].startswith("all,vms,vm_hours,boot_hours,")
    code, output, errors = head.ctl("cost", "--by", "user")
    assert (code, output) == (1, "") and "does not tell who used which worker" in errors
    code, output, errors = head.ctl("cost", "--since", "yesterday")
    assert (code, output) == (1, "") and errors.startswith("elastiq: --since: 'yesterday' is no time; give 90s")
    pid, before = find_daemon(head.state), head.log.read_text()
    code, output, errors = head.ctl("plan")
    assert (code, errors) == (1, ""), "no cloud answers here"
    assert output.startswith("jobs 0 waiting; workers 0 busy, 0 idle; VMs 0 pending, 0 running of 0..3: the VMs cannot")
    assert head.daemons() == [pid]
    assert head.log.read_text().startswith(before)
    head.ctl("stop")


def test_conf(head: HeadNode) -> None:
    code, output, _ = head.ctl("conf")
    assert code == 0
    found = {line[:17].strip(): line[17:] for line in output.splitlines()}
    assert sys.executable in found["python"]
    assert str(CHECKOUT / "elastiq") in found["elastiq"]
    assert found["configuration"] == f"{head.config} (good)"
    assert found["log directory"] == str(head.logs)
    assert found["state directory"] == str(head.state)
    assert found["user"]
    head.config.unlink()
    code, output, _ = head.ctl("conf")
    assert code == 0
    assert f"{head.config} (cannot be used" in output


def test_three_starts_at_once_make_one_daemon(head: HeadNode) -> None:
    for _ in range(6):
        starts = [head.popen("elastiqctl", "start") for _ in range(3)]
        ends = [head.finish(process) for process in starts]
        assert [code for code, _, _ in ends] == [0, 0, 0]
        said = sorted(output.partition(" (")[0].strip() for _, output, _ in ends)
        assert said == ["elastiq has started", "elastiq is already running", "elastiq is already running"]
        assert len(head.daemons()) == 1
        assert head.ctl("stop")[0] == 0
        assert head.daemons() == []


@pytest.mark.parametrize("content", ["", "garbage\n", "-1\n", "0\n", "999999999\n", "innocent"])
def test_a_stale_pid_file_hurts_nobody(head: HeadNode, content: str) -> None:
    innocent = subprocess.Popen(["sleep", "1000"])
    try:
        head.state.mkdir(mode=0o700)
        pid_file = head.state / "elastiq.pid"
        pid_file.write_text(f"{innocent.pid}\n" if content == "innocent" else content)
        assert head.ctl("status")[0] == 1
        assert head.ctl("stop")[:2] == (0, "elastiq is not running\n")
        assert head.ctl("start")[0] == 0
        assert pid_file.read_text() == f"{find_daemon(head.state)}\n"
        assert head.ctl("stop")[0] == 0
        assert innocent.poll() is None
        assert not pid_file.exists()
    finally:
        innocent.kill()
        innocent.wait()


def test_a_pid_file_changed_under_a_running_daemon_hurts_nobody(head: HeadNode) -> None:
    head.ctl("start")
    pid = find_daemon(head.state)
    innocent = subprocess.Popen(["sleep", "1000"])
    try:
        (head.state / "elastiq.pid").write_text(f"{innocent.pid}\n")
        assert head.ctl("status")[0] == 0
        assert head.ctl("start")[1] == "elastiq is already running\n"
        assert innocent.poll() is None
        (head.state / "elastiq.pid").write_text(f"{pid}\n")
        assert head.ctl("stop")[0] == 0
    finally:
        innocent.kill()
        innocent.wait()


def test_after_a_kill_it_starts_again(head: HeadNode) -> None:
    head.ctl("start")
    pid = find_daemon(head.state)
    assert pid
    os.kill(pid, signal.SIGKILL)
    while find_daemon(head.state) is not None:
        threading.Event().wait(0.05)
    assert head.ctl("status")[0] == 1
    assert head.ctl("start")[0] == 0


def test_all_that_it_writes_is_private(head: HeadNode) -> None:
    before = os.umask(0)
    try:
        head.ctl("start")
        head.wait_for("workers 0 busy")
        head.ctl("status")
    finally:
        os.umask(before)
    written = [*head.state.rglob("*"), *head.logs.rglob("*"), head.state, head.logs]
    assert {path.name for path in written} >= {"elastiq.db", "elastiq.pid", "lock", "elastiq.log"}
    for path in written:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_no_secret_in_the_log(head: HeadNode) -> None:
    script = head.home / "user-data"
    script.write_text("#!/bin/sh\necho very-private-token\n")
    head.configure(f"user_data_file = {script}", log_level="debug")
    (head.home / "fail").write_text(f"cannot sign with {SECRET}: echo very-private-token")
    head.ctl("start")
    head.wait_for("(hidden)", 2)
    (head.home / "fail").unlink()
    head.wait_for(" DEBUG ")
    head.ctl("stop")
    written = head.log.read_text()
    assert SECRET not in written
    assert "very-private-token" not in written


def test_start_says_why_it_failed(head: HeadNode) -> None:
    head.state.write_text("in the way")
    code, _, errors = head.ctl("start")
    assert code == 1
    assert errors.startswith("elastiq: ")
    assert str(head.state) in errors
    head.state.unlink()
    head.logs.write_text("in the way")
    code, _, errors = head.ctl("start")
    assert code == 1
    assert str(head.logs) in errors
    head.logs.unlink()
    head.configure(batch_plugin="tests.process.absent")
    code, _, errors = head.ctl("start")
    assert code == 2
    assert "tests.process.absent" in errors
    assert head.daemons() == []


def test_start_works_with_its_streams_closed(head: HeadNode) -> None:
    script = CHECKOUT / "scripts" / "elastiqctl"
    ended = subprocess.run(
        ["sh", "-c", f"exec {script} start <&- >&- 2>&-"], env=head.environment, timeout=LONG, check=False
    )
    assert ended.returncode == 0
    assert len(head.daemons()) == 1


USER_SCRIPT = """
set -e
test "$(id -u)" != 0
$CTL start
$CTL status
$CTL conf
echo nonsense > ~/.elastiq/elastiq.conf
$CTL status
$CTL stop
ls -ld ~/.elastiq
"""


def test_the_paths_of_a_user(head: HeadNode) -> None:
    own = head.home / ".elastiq"
    own.mkdir(mode=0o755)
    head.configure(state_dir="")
    head.config.rename(own / "elastiq.conf")
    command_line = ["sh", "-c", USER_SCRIPT]
    if os.geteuid() == 0:
        command_line = ["unshare", "--user", "--map-user=1000", "--map-group=1000", *command_line]
        if not shutil.which("unshare") or subprocess.run([*command_line[:4], "true"], check=False).returncode:
            pytest.skip("this machine lets nobody be another user in a user namespace (unshare --map-user)")
    environment = {**head.environment, "CTL": str(CHECKOUT / "scripts" / "elastiqctl")}
    del environment["ELASTIQ_CONFIG"], environment["ELASTIQ_LOGDIR"]
    ended = subprocess.run(
        command_line,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert f"{own / 'elastiq.conf'} (good)" in ended.stdout
    assert f"log directory    {own / 'log'}\n" in ended.stdout
    assert f"state directory  {own}\n" in ended.stdout
    assert "drwx------" in ended.stdout
    assert "nonsense" in (own / "elastiq.conf").read_text()
    assert "has stopped" in (own / "log" / "elastiq.log").read_text()


def test_the_first_environment_script_counts(head: HeadNode) -> None:
    del head.environment["ELASTIQ_CONFIG"]
    elsewhere = head.home / "else where.conf"
    head.config.rename(elsewhere)
    (head.home / ".elastiq.default").write_text(f'ELASTIQ_CONFIG="{elsewhere}"\n')
    assert f"{elsewhere} (good)" in head.ctl("conf")[1]


def test_a_symbolic_link_to_the_script_finds_the_program(head: HeadNode) -> None:
    link = head.home / "ctl"
    link.symlink_to(CHECKOUT / "scripts" / "elastiqctl")
    ended = subprocess.run([link, "conf"], env=head.environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_nothing_is_imported_from_the_working_directory(head: HeadNode) -> None:
    for name in ("elastiq", "boto3", "daemon", "json"):
        (head.home / f"{name}.py").write_text("raise SystemExit('imported from the working directory')")
    assert head.ctl("conf")[0] == 0


def test_log_follows_from_before_the_first_line_and_over_rotation(head: HeadNode) -> None:
    follower = head.popen("elastiqctl", "log")
    assert follower.stdout and follower.stderr
    try:
        said = follower.stderr.readline()
        assert said.startswith(f"there is no {head.log} yet, for elastiq has not been started; it is followed")
        head.ctl("start")
        assert any("has started" in line for line in iter(follower.stdout.readline, ""))
        head.log.rename(head.logs / "elastiq.log.1")
        head.ctl("stop")
        assert any("has stopped" in line for line in iter(follower.stdout.readline, ""))
    finally:
        follower.send_signal(signal.SIGINT)
        follower.communicate(timeout=LONG)


def test_check_of_a_link_in_the_state_directory(head: HeadNode) -> None:
    """A pid file that is a link is replaced, not written through."""
    victim = head.home / "victim"
    victim.write_text("precious")
    head.state.mkdir(mode=0o700)
    (head.state / "elastiq.pid").symlink_to(victim)
    assert head.ctl("start")[0] == 0
    assert victim.read_text() == "precious"
    assert not Path(head.state / "elastiq.pid").is_symlink()


def test_simulate_takes_words_of_its_own(head: HeadNode, tmp_path: Path) -> None:
    trace = tmp_path / "two jobs.swf"
    trace.write_text("1 0 -1 60 1\n2 5 -1 60 1\n")
    code, out, err = head.ctl("simulate", str(trace), "--set", "idle_for_time_s=60")
    assert (code, err) == (0, "")
    assert out.startswith("two jobs.swf: 2 jobs in 5 s\n")


def test_check_asks_the_cloud_if_it_is_told_to(head: HeadNode) -> None:
    """Nobody answers there."""
    code, output, errors = head.ctl("check", "--cloud")
    assert (code, errors) == (4, "")
    first, last = output.splitlines()
    assert first.startswith("cannot be checked  DescribeInstances: EndpointConnectionError: ")
    assert last == f"{head.config}: the cloud does not answer, so nothing can be checked"
    code, output, errors = head.ctl("check", "--cloud", "--json")
    assert (code, json.loads(output)["result"], errors) == (4, "unreachable", "")
    for wrong in (("check", "--json"), ("check", "--clod"), ("check", "--cloud", "x"), ("status", "--cloud")):
        code, _, errors = head.ctl(*wrong)
        assert code == 1
        assert errors.startswith("usage: elastiqctl ")
