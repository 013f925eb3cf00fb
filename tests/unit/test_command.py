"""The command runner against real processes: every way in which a command can misbehave."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from elastiq import command
from elastiq.command import execute, pipeline, run
from elastiq.errors import BatchError
from tests.unit.ends import PATIENCE_SECONDS, wait_until_gone

SHORT_SECONDS = 0.3


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.fixture
def no_deadline_before(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let deadlines begin to run when files are there with a whole line: commands may be slow to get that far."""

    def begin(*paths: Path) -> None:
        class PatientTimer(threading.Timer):
            def run(self) -> None:
                until = time.monotonic() + PATIENCE_SECONDS
                while time.monotonic() < until and not self.finished.wait(0.01):
                    if all(path.exists() and path.read_text().endswith("\n") for path in paths):
                        break
                super().run()

        monkeypatch.setattr(threading, "Timer", PatientTimer)

    return begin


def test_output_is_returned() -> None:
    assert run(["printf", "%s|", "a b", "$HOME", ";id"], PATIENCE_SECONDS) == "a b|$HOME|;id|"


def test_input_is_given_and_is_empty_otherwise() -> None:
    assert run(["cat"], PATIENCE_SECONDS, input_bytes=b"one\ntwo\n") == "one\ntwo\n"
    assert run(["cat"], PATIENCE_SECONDS) == ""


def test_large_input_that_nobody_reads_blocks_nothing() -> None:
    assert run(["true"], PATIENCE_SECONDS, input_bytes=b"x" * 1_000_000) == ""


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert run(["printf", r"a\377\000b"], PATIENCE_SECONDS) == "a\ufffd\0b"


def test_exit_status_is_an_error_with_what_the_command_said() -> None:
    with pytest.raises(BatchError) as caught:
        run(python("import sys; print('no\\n\\x1b[31mschedd', file=sys.stderr); sys.exit(3)"), PATIENCE_SECONDS)
    assert str(caught.value) == f"{sys.executable} failed with exit status 3: no [31mschedd"


def test_excerpt_is_short() -> None:
    with pytest.raises(BatchError) as caught:
        run(python("import sys; print('x' * 100000, file=sys.stderr); sys.exit(1)"), PATIENCE_SECONDS)
    assert len(str(caught.value)) < 500


def test_death_by_signal_is_named() -> None:
    with pytest.raises(BatchError, match="was killed by SIGSEGV"):
        run(python("import os; os.kill(os.getpid(), 11)"), PATIENCE_SECONDS)


def test_missing_command() -> None:
    with pytest.raises(BatchError, match="elastiq-no-such-command was not found: is it installed"):
        run(["elastiq-no-such-command"], PATIENCE_SECONDS)


def test_command_that_is_not_executable(tmp_path: Path) -> None:
    script = tmp_path / "condor_q"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(BatchError, match="permission denied"):
        run([str(script)], PATIENCE_SECONDS)


def test_command_in_a_format_that_the_kernel_does_not_know(tmp_path: Path) -> None:
    script = tmp_path / "condor_q"
    script.write_bytes(b"\0\1\2")
    script.chmod(0o755)
    with pytest.raises(BatchError, match="cannot be run"):
        run([str(script)], PATIENCE_SECONDS)


@pytest.mark.parametrize("argument", ["a\0b", "\ud800", "x" * 200_000])
def test_argument_that_can_not_be_passed(argument: str) -> None:
    with pytest.raises(BatchError, match="cannot be run"):
        run(["echo", argument], PATIENCE_SECONDS)


def test_locale_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("CONDOR_CONFIG", "/pool/condor_config")
    monkeypatch.setenv("_CONDOR_COLLECTOR_HOST", "head")
    monkeypatch.setenv("PATH", "/usr/bin:/opt/pool/bin")
    seen = dict(line.split("=", 1) for line in run(["env"], PATIENCE_SECONDS, environment={"MORE": "1"}).splitlines())
    assert seen["LC_ALL"] == "C"
    assert seen["CONDOR_CONFIG"] == "/pool/condor_config"
    assert seen["_CONDOR_COLLECTOR_HOST"] == "head"
    assert seen["MORE"] == "1"
    assert seen["PATH"].startswith("/usr/bin:/opt/pool/bin:")
    assert "/usr/sbin" in seen["PATH"].split(":")
    assert not {"LANG", "AWS_SECRET_ACCESS_KEY"} & set(seen)


def test_empty_path_still_finds_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATH")
    assert run(["echo", "x"], PATIENCE_SECONDS) == "x\n"


def test_command_runs_in_its_own_session_and_inherits_no_file() -> None:
    with open(os.devnull) as kept_open:
        os.set_inheritable(kept_open.fileno(), True)
        code = "import os; print(os.getsid(0) == os.getpid(), os.listdir('/proc/self/fd'))"
        seen = run(python(code), PATIENCE_SECONDS)
        session, descriptors = seen.split(" ", 1)
        assert session == "True"
        assert f"'{kept_open.fileno()}'" not in descriptors or kept_open.fileno() == 3


@pytest.mark.long
def test_deadline_kills_the_whole_group(tmp_path: Path, no_deadline_before: Callable[..., None]) -> None:
    pids = tmp_path / "pids"
    no_deadline_before(pids)
    with pytest.raises(BatchError, match=r"gave no complete answer within 0\.3 s and was killed"):
        run(["sh", "-c", f"trap '' TERM; sleep 1000 & echo $! $$ > {pids}; wait; sleep 1000"], SHORT_SECONDS)
    assert all(wait_until_gone(int(pid)) for pid in pids.read_text().split())


@pytest.mark.long
def test_grandchild_outside_the_group_that_holds_the_pipe_does_not_hold_us(
    tmp_path: Path, no_deadline_before: Callable[..., None]
) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        f"    open({str(pid_file)!r}, 'w').write(f'{{os.getpid()}}\\n')\n"
        "    time.sleep(1000)\n"
        f"while not os.path.exists({str(pid_file)!r}) or not os.path.getsize({str(pid_file)!r}): time.sleep(0.01)\n"
        "print('half an answer', flush=True)\n"
    )
    no_deadline_before(pid_file)
    try:
        with pytest.raises(BatchError, match="gave no complete answer"):
            run(python(code), 1.0)
    finally:
        os.kill(int(pid_file.read_text()), signal.SIGKILL)


@pytest.mark.long
def test_command_that_closes_its_output_and_goes_on() -> None:
    with pytest.raises(BatchError, match="gave no complete answer"):
        run(["sh", "-c", "echo done; exec sleep 1000 >&- 2>&-"], SHORT_SECONDS)


def test_too_much_output_is_an_error_and_no_shorter_answer() -> None:
    with pytest.raises(BatchError, match="wrote more than 1000 bytes"):
        run(["yes"], PATIENCE_SECONDS, output_limit_bytes=1000)
    assert len(run(["head", "-c", "1000", "/dev/zero"], PATIENCE_SECONDS, output_limit_bytes=1000)) == 1000


@pytest.mark.long
def test_endless_error_output_takes_no_memory_and_ends() -> None:
    with pytest.raises(BatchError, match="gave no complete answer"):
        run(["sh", "-c", "exec yes >&2"], SHORT_SECONDS)


def test_execute_returns_the_status() -> None:
    result = execute(["sh", "-c", "echo out; echo err >&2; exit 7"], PATIENCE_SECONDS)
    assert (result.status, result.output, result.error_output, result.excerpt) == (7, "out\n", "err\n", "err")


def test_pipeline_connects() -> None:
    output = pipeline([["printf", r"b\na\nb\n"], ["sort"], ["uniq", "-c"]], PATIENCE_SECONDS)
    assert output.split() == ["1", "a", "2", "b"]


def test_pipeline_carries_more_than_a_pipe_holds() -> None:
    assert pipeline([["seq", "200000"], ["cat"], ["wc", "-l"]], PATIENCE_SECONDS).strip() == "200000"


@pytest.mark.parametrize("position", [0, 1, 2])
def test_failure_of_any_stage_is_an_error(position: int) -> None:
    commands: list[list[str]] = [["seq", "10"], ["cat"], ["cat"]]
    commands[position] = ["sh", "-c", f"cat >/dev/null; echo 'stage {position} broke' >&2; exit 5"]
    with pytest.raises(BatchError, match=f"sh failed with exit status 5: stage {position} broke"):
        pipeline(commands, PATIENCE_SECONDS)


def test_the_stage_that_broke_is_named_not_the_one_that_lost_its_reader() -> None:
    with pytest.raises(BatchError, match="sh failed with exit status 9"):
        pipeline([["yes"], ["sh", "-c", "exit 9"], ["cat"]], PATIENCE_SECONDS)


def test_missing_stage_leaves_no_other_stage_behind() -> None:
    with pytest.raises(BatchError, match="elastiq-no-such-command was not found"):
        pipeline([["sleep", "1000"], ["elastiq-no-such-command"]], PATIENCE_SECONDS)
    assert not command._running


@pytest.mark.long
def test_deadline_of_a_pipeline_kills_every_stage(tmp_path: Path, no_deadline_before: Callable[..., None]) -> None:
    no_deadline_before(*(tmp_path / str(index) for index in range(3)))
    stages = [["sh", "-c", f"echo $$ > {tmp_path}/{index}; exec sleep 1000"] for index in range(3)]
    with pytest.raises(BatchError, match=r"sh \| sh \| sh gave no complete answer"):
        pipeline(stages, SHORT_SECONDS)
    assert all(wait_until_gone(int((tmp_path / str(index)).read_text())) for index in range(3))


@pytest.mark.long
def test_no_descriptor_is_lost() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    run(["true"], PATIENCE_SECONDS)
    gc.collect()  # what earlier tests have left may close its own meanwhile
    before = descriptors()
    for _ in range(5):
        pipeline([["seq", "10"], ["cat"]], PATIENCE_SECONDS, input_bytes=b"x")
        for broken in (["false"], ["elastiq-no-such-command"]):
            with pytest.raises(BatchError):
                pipeline([["seq", "10"], broken, ["cat"]], PATIENCE_SECONDS)
        with pytest.raises(BatchError):
            run(["sleep", "1000"], 0.05)
    assert descriptors() <= before


def test_end_all_ends_a_running_command_and_starts_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_stopping", threading.Event())
    errors: list[str] = []

    def work() -> None:
        with pytest.raises(BatchError) as caught:
            run(["sleep", "1000"], 1000)
        errors.append(str(caught.value))

    thread = threading.Thread(target=work)
    thread.start()
    while not command._running:
        thread.join(0.01)
    command.end_all()
    thread.join(PATIENCE_SECONDS)
    assert errors == ["sleep was killed by SIGKILL"]
    with pytest.raises(BatchError, match="elastiq is stopping"):
        run(["true"], PATIENCE_SECONDS)


def test_end_of_the_interpreter_leaves_no_child(tmp_path: Path) -> None:
    code = (
        "import threading\n"
        "from elastiq.command import run\n"
        f"work = lambda: run(['sh', '-c', 'echo $$ > {tmp_path}/pid; exec sleep 1000'], 1000)\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "import os, time\n"
        f"while not os.path.exists('{tmp_path}/pid') or not os.path.getsize('{tmp_path}/pid'): time.sleep(0.01)\n"
    )
    root = str(Path(command.__file__).parent.parent)
    subprocess.run(python(code), timeout=PATIENCE_SECONDS, check=True, env={**os.environ, "PYTHONPATH": root})
    assert wait_until_gone(int((tmp_path / "pid").read_text()))


def test_many_threads_at_once() -> None:
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(run(["echo", str(n)], PATIENCE_SECONDS).strip()))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert sorted(answers, key=int) == [str(n) for n in range(20)]


SHARING = """
import sys
from elastiq.command import run, share_group
share_group()
print(run([sys.executable, "-c", "import os; print(os.getpgrp())"], 1000).strip())
"""


@pytest.mark.parametrize("leads", [True, False])
def test_only_who_leads_a_group_shares_it(leads: bool) -> None:
    root = str(Path(command.__file__).parent.parent)
    with subprocess.Popen(
        python(SHARING), stdout=subprocess.PIPE, start_new_session=leads, env={**os.environ, "PYTHONPATH": root}
    ) as process:
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert (int(said) == process.pid) is leads, "whoever started it in a group of others means them by that group"
