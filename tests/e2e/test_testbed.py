"""The testbed itself: it says why it cannot run, and leaves nothing behind, however its maker ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.testbed import rootfs
from tests.testbed.batch import wait_until
from tests.testbed.machines import Network

MAKER = """
import sys
from tests.testbed.machines import Network
network = Network()
machine = network.start("some", "10.77.0.20", script="#!/bin/sh\\nexec sleep 600\\n")
print(machine.pid, network.directory, flush=True)
sys.stdin.read()
"""


def host_state() -> tuple[str, set[str]]:
    """Return the host's mounts and its network interfaces."""
    return Path("/proc/self/mounts").read_text(encoding="utf-8"), set(os.listdir("/sys/class/net"))


def test_says_why_it_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(rootfs.UnavailableError, match="needs root"):
        rootfs.rootfs()


def test_says_that_it_is_for_debian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(rootfs.shutil, "which", lambda tool: None)
    with pytest.raises(rootfs.UnavailableError, match="needs Debian"):
        rootfs.rootfs()


@pytest.mark.real
def test_nothing_is_left_of_a_maker_that_was_killed(
    testbed_root: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Or any other test that starts a network would remove what is left before it is looked for here.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = host_state()
    maker = subprocess.Popen(
        [sys.executable, "-c", MAKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=checkout(),
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert maker.stdout
    init, directory = maker.stdout.readline().split()
    assert Path(f"/proc/{init}").exists()
    assert host_state() == before
    maker.kill()
    maker.communicate()
    wait_until(lambda: not Path(f"/proc/{init}").exists(), "the machine is dead")
    assert Path(directory).exists()
    with Network():
        assert not Path(directory).exists()
    assert host_state() == before


@pytest.mark.real
def test_what_is_written_on_a_machine_can_be_read_there_whatever_the_umask_of_the_tests(testbed_root: None) -> None:
    """elastiq's own command line narrows it, and tests run that in their process: once daemons could not read their
    configuration then, and workers whose VMs had died were never forgotten."""
    os.umask(0o077)
    with Network() as network:
        machine = network.start("some", "10.77.0.20", script="#!/bin/sh\nexec sleep 600\n")
        machine.run("sh", "-c", "echo text >/tmp/file")
        assert machine.run("stat", "--format=%a", "/tmp/file").stdout == "644\n"


@pytest.mark.real
def test_an_address_is_good_again_at_once_for_another_machine(testbed_root: None) -> None:
    with Network() as network:
        head = network.start("head", "10.77.0.10")
        for number in range(3):
            vm = network.start(f"vm{number}", "10.77.1.1", script="#!/bin/sh\nexec python3 -m http.server 80\n")
            own = json.loads(vm.run("ip", "-json", "link", "show", "eth0").stdout)[0]["address"]
            remembered = json.loads(head.run("ip", "-json", "neigh", "show", "10.77.1.1").stdout)
            assert [each["lladdr"] for each in remembered] == ([own] if number else [])
            question = ["curl", "-s", "--retry", "240", "--retry-connrefused", "--retry-delay", "1"]
            head.run(*question, "--connect-timeout", "20", "http://10.77.1.1/")
            network.remove(f"vm{number}")


def checkout() -> Path:
    """Return the directory that `tests` can be imported from."""
    return Path(__file__).resolve().parents[2]
