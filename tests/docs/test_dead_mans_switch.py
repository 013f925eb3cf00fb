"""The dead man's switch of docs/examples with a fake uptime, fake processes and a power-off that leaves a mark."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "dead-mans-switch.sh"
HOUR = 3600


class Vm:
    """A worker VM in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.proc = directory / "proc"
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self" / "comm").write_text("sh\n")
        self.settings = {
            "PROC": str(self.proc),
            "STATE_DIRECTORY": str(directory / "run"),
            "POWER_OFF": f"touch {directory}/off",
            "PROBE": f"test -e {directory}/head",
            "PATH": os.environ["PATH"],
        }

    def check(self, uptime: float, **settings: str) -> str:
        """Run one check at this uptime and return what it says."""
        (self.proc / "uptime").write_text(f"{uptime:.2f} 12345.67\n")
        return self.run("head.example", **settings)

    def run(self, *arguments: str, **settings: str) -> str:
        done = subprocess.run(
            ["sh", str(SCRIPT), *arguments],
            env={**self.settings, **settings},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode in (0, 2), done.stderr
        return done.stderr

    def silence(self, begin: int, end: int, **settings: str) -> str:
        """Check every ten minutes."""
        return "".join(self.check(uptime, **settings) for uptime in range(begin, end + 1, 600))

    def process(self, number: int, name: str) -> None:
        (self.proc / str(number)).mkdir(exist_ok=True)
        (self.proc / str(number) / "comm").write_text(f"{name}\n")

    @property
    def is_off(self) -> bool:
        return (self.directory / "off").exists()


@pytest.fixture
def vm(tmp_path: Path) -> Vm:
    return Vm(tmp_path)


def test_an_idle_vm_of_a_silent_head_node_goes_after_an_hour(vm: Vm) -> None:
    vm.silence(100, 100 + HOUR - 600)
    assert not vm.is_off
    said = vm.check(100 + HOUR)
    assert vm.is_off
    assert "silent for 3600 s and no job runs here: powering off" in said


def test_a_head_node_that_answers_keeps_it_on_and_starts_the_count_again(vm: Vm) -> None:
    vm.silence(100, 100 + HOUR - 600)
    (vm.directory / "head").touch()
    assert vm.check(100 + HOUR) == ""
    (vm.directory / "head").unlink()
    vm.silence(160 + HOUR, 160 + 2 * HOUR - 600)
    assert not vm.is_off
    vm.check(160 + 2 * HOUR)
    assert vm.is_off


def test_a_running_job_keeps_it_on_until_its_end(vm: Vm) -> None:
    vm.process(77, "condor_starter")
    assert "but a job runs here" in vm.silence(100, 100 + 10 * HOUR)
    assert not vm.is_off
    (vm.proc / "77" / "comm").unlink()
    vm.check(100 + 10 * HOUR + 60)
    assert vm.is_off


@pytest.mark.parametrize(
    ("job_check", "off"), [("exit 1", True), ("true", False), ("exit 3", False), ("nosuch", False)]
)
def test_a_job_check_of_ones_own(vm: Vm, job_check: str, off: bool) -> None:
    vm.silence(100, 100 + HOUR, JOB_CHECK=job_check)
    assert vm.is_off is off


def settings_of(batch_system: str) -> dict[str, str]:
    """Return the settings that the script's head gives for a batch system other than HTCondor."""
    (line,) = re.findall(rf"^#   {batch_system}: +(.*)", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(word.split("=", 1) for word in shlex.split(line))


def test_a_job_of_grid_engine_keeps_it_on(vm: Vm) -> None:
    settings = {**settings_of("Grid Engine"), "WORKER_PROCESS": ""}
    vm.process(77, "sge_shepherd")
    assert "but a job runs here" in vm.silence(100, 100 + HOUR, **settings)
    assert not vm.is_off
    (vm.proc / "77" / "comm").unlink()
    vm.check(100 + HOUR + 60, **settings)
    assert vm.is_off


@pytest.mark.skipif(not shutil.which("pgrep"), reason="pgrep is not here")
def test_a_job_of_slurm_keeps_it_on(vm: Vm) -> None:
    # Beside slurmd there is always "slurmstepd infinity", which is no job.
    job = subprocess.Popen(["slurmstepd: [42.batch]", "1000"], executable=shutil.which("sleep"))
    try:
        said = vm.silence(100, 100 + HOUR, **{**settings_of("Slurm"), "WORKER_PROCESS": ""})
    finally:
        job.kill()
        job.wait()
    assert "but a job runs here" in said
    assert not vm.is_off


def test_the_startd_is_held_still_during_the_last_look_and_a_job_that_got_in_stays(vm: Vm) -> None:
    worker = subprocess.Popen(["sleep", "1000"])
    try:
        vm.process(worker.pid, "condor_startd")
        looks = vm.directory / "looks"
        # A process that gets the signal is stopped when it runs next, which a busy machine may put off.
        job_check = (
            f"test -e {looks} || {{ touch {looks}; exit 1; }}; "
            f"for turn in $(seq 200); do cut -d' ' -f3 /proc/{worker.pid}/stat >{looks}; "
            f"! grep -q T {looks} || exit 0; sleep 0.1; done"
        )
        assert "a job has come" in vm.silence(100, 100 + HOUR, JOB_CHECK=job_check)
        assert not vm.is_off
        assert looks.read_text().split() == ["T"], "stopped while it looked again"
        assert state_of(worker) != "T"
        vm.check(160 + HOUR, JOB_CHECK="exit 1", POWER_OFF="false")
        assert state_of(worker) != "T", "it goes on when powering off has failed"
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()


def state_of(process: subprocess.Popen[bytes]) -> str:
    return Path(f"/proc/{process.pid}/stat").read_text().split()[2]


def test_a_head_node_that_is_back_for_the_last_look_keeps_it_on(vm: Vm) -> None:
    looks = vm.directory / "looks"
    vm.silence(100, 100 + HOUR - 600)
    said = vm.check(100 + HOUR, PROBE=f"echo >>{looks}; test $(wc -l <{looks}) -ge 2")
    assert "is back" in said
    assert not vm.is_off


def test_time_in_which_it_did_not_run_does_not_count(vm: Vm) -> None:
    """A VM that was suspended, or whose cron was: the first failed probe afterwards says little."""
    vm.check(100)
    vm.check(100 + 5 * HOUR)
    assert not vm.is_off
    vm.silence(100 + 5 * HOUR, 100 + 6 * HOUR)
    assert vm.is_off


@pytest.mark.parametrize("state", ["", "garbage", "99999999 99999999", "500 400", "1e9 x", "-5 -5", "12345678901234 5"])
def test_damaged_state_or_that_of_an_earlier_boot_starts_the_count_again(vm: Vm, state: str) -> None:
    (vm.directory / "run").mkdir()
    (vm.directory / "run" / "state").write_text(state)
    vm.check(4 * HOUR)
    assert not vm.is_off
    vm.silence(4 * HOUR, 5 * HOUR)
    assert vm.is_off


@pytest.mark.parametrize(
    "settings",
    [
        {"PROBE": "no-such-command"},
        {"STATE_DIRECTORY": "/proc/nowhere"},
        {"PROBE": "", "PATH": "/nonexistent"},
    ],
)
def test_what_can_not_be_known_keeps_it_on_and_is_said(vm: Vm, settings: dict[str, str]) -> None:
    shell = {"PATH": settings["PATH"]} if "PATH" in settings else {}
    if shell:
        tools = vm.directory / "tools"
        tools.mkdir()
        for tool in ("sh", "mkdir", "mv", "touch"):
            (tools / tool).symlink_to(shutil.which(tool) or "")
        settings = {**settings, "PATH": str(tools)}
    assert "cannot" in vm.silence(100, 100 + 2 * HOUR, **settings)
    assert not vm.is_off


def test_an_unreadable_uptime_keeps_it_on(vm: Vm) -> None:
    (vm.proc / "uptime").write_text("\n")
    assert "cannot read" in vm.run("head.example")


def test_without_a_probe_the_port_of_the_collector_is_tried(vm: Vm) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        vm.settings.update(PROBE="", HEAD_PORT=port)
        for uptime in range(100, 101 + HOUR, 600):
            (vm.proc / "uptime").write_text(f"{uptime}.00 1.00\n")
            vm.run("127.0.0.1")
        assert not vm.is_off
        heard, looked = (vm.directory / "run" / "state").read_text().split()
        assert (heard, looked) == (str(100 + HOUR), str(100 + HOUR))
    # The port that nobody listens on stays taken, so that no other process comes to listen there.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        vm.settings.update(HEAD_PORT=str(taken.getsockname()[1]))
        for uptime in range(100 + HOUR, 101 + 2 * HOUR, 600):
            (vm.proc / "uptime").write_text(f"{uptime}.00 1.00\n")
            vm.run("127.0.0.1")
    assert vm.is_off


def test_state_is_private(vm: Vm) -> None:
    vm.check(100)
    state = vm.directory / "run"
    assert (state.stat().st_mode & 0o777, (state / "state").stat().st_mode & 0o777) == (0o700, 0o600)


def test_the_loop_goes_on_until_the_end(vm: Vm) -> None:
    (vm.proc / "uptime").write_text("5000.00 1.00\n")
    (vm.directory / "run").mkdir()
    (vm.directory / "run" / "state").write_text("4000 4990")
    ticks = f"echo $(($(cut -d. -f1 {vm.proc}/uptime) + 500)).00 1.00 >{vm.proc}/uptime; false"
    vm.run("--loop", "head.example", EVERY_SECONDS="0.01", PROBE=ticks)
    assert vm.is_off


@pytest.mark.parametrize("arguments", [(), ("",), ("a", "b"), ("--loop",)])
def test_wrong_usage(vm: Vm, arguments: tuple[str, ...]) -> None:
    assert vm.run(*arguments).startswith("usage:")


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_it_is_plain_sh(shell: str) -> None:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not here")
    command = [found, "sh"] if shell == "busybox" else [found]
    assert subprocess.run([*command, "-n", str(SCRIPT)]).returncode == 0
