"""The unit under a real systemd, the rights that it has, and elastiqctl beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.packaging.cloud import cloud, wait_until
from tests.packaging.debs import NEXT_VERSION, SUITES, builds
from tests.packaging.roots import DEPENDENCIES, Root, System, system_with_systemd
from tests.packaging.test_deb_install import (
    CONFIGURATION,
    INSTALLED,
    STATE,
    configure,
    copy,
    owners,
    pid_in,
    wait_for_status,
)
from tests.testbed.rootfs import UnavailableError

pytestmark = pytest.mark.xdist_group("debs")

MOST_EXPOSURE = 2.0
SPOOL = "/var/lib/elastiq/spool"
"""The service may write nowhere else."""
KEEP = ("-o", "Dpkg::Options::=--force-confold")
UNIT = "/usr/lib/systemd/system/elastiq.service"


@pytest.fixture(params=SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def head(suite: str) -> Iterator[System]:
    """A head node with systemd and the package, not configured."""
    built = builds(suite)
    try:
        with system_with_systemd(Root(suite, (*DEPENDENCIES, "man-db", "systemd", "systemd-sysv"))) as running:
            running.run("apt-get", "install", "--yes", copy(running, built.first, "first.deb"))
            yield running
    except UnavailableError as reason:
        pytest.skip(str(reason))


def show(head: System, *properties: str) -> str:
    """Return what systemd knows of the service, a line for each of these properties in the order of their names."""
    words = [f"--property={name}" for name in properties]
    return head.run("systemctl", "show", "--value", *words, "elastiq.service").strip()


def journal(head: System) -> str:
    """Return what the journal has of the service so far: it may be late."""
    return head.run("journalctl", "--unit=elastiq", "--output=cat", "--no-pager")


def main_pid(head: System) -> int:
    return int(show(head, "MainPID"))


def test_the_unit_has_no_fault_and_few_rights(head: System) -> None:
    assert not head.run("systemd-analyze", "verify", UNIT)
    said = head.run("systemd-analyze", "security", "--no-pager", "--offline=true", UNIT)
    exposure = re.search(r"Overall exposure level for elastiq.service: ([0-9.]+)", said)
    assert exposure, said
    print(f"exposure {exposure[1]}")
    assert float(exposure[1]) <= MOST_EXPOSURE


def test_the_life_of_the_service(suite: str, head: System) -> None:
    assert head.run("systemctl", "is-enabled", "elastiq").strip() == "enabled"
    assert head.run("systemctl", "is-active", "elastiq", expect=3).strip() == "inactive"
    assert "elastiq is not running" in head.run("elastiqctl", "status", expect=1)
    with cloud(head, "elastiq", SPOOL) as provider:
        configure(head, provider)
        pid = pid_in(head.run("elastiqctl", "start"))
        assert pid == main_pid(head)
        assert pid_in(head.run("elastiqctl", "status")) == pid
        assert f"already running (pid {pid})" in head.run("elastiqctl", "start")
        assert owners(head, {**INSTALLED, **STATE}) == {**INSTALLED, **STATE}

        provider.submit(seconds=3600)
        wait_for_status(head, "1 busy, 0 idle")
        vms = provider.living_vms()
        assert len(vms) == 1

        head.run(
            "sh", "-c", f"sed 's/^max_vms.*/max_vms = 2/' {CONFIGURATION} >/tmp/new && cat /tmp/new >{CONFIGURATION}"
        )
        head.run("systemctl", "reload", "elastiq")
        wait_for_status(head, "of 0..2")
        assert main_pid(head) == pid

        words = head.run("elastiqctl", "restart").splitlines()
        assert words[0] == f"elastiq has stopped (pid {pid})"
        pid = pid_in(words[1])
        assert pid == main_pid(head)
        wait_for_status(head, "1 busy, 0 idle")

        head.run("apt-get", "install", "--yes", *KEEP, copy(head, builds(suite).next, "next.deb"))
        status = wait_for_status(head, f"elastiq {NEXT_VERSION} is running")
        assert pid_in(status) == main_pid(head) != pid
        wait_for_status(head, "1 busy, 0 idle")

        stopped = head.run("elastiqctl", "stop")
        assert pid_in(stopped) == pid_in(status)
        assert show(head, "ActiveState", "Result") == "success\ninactive"
        assert head.run("elastiqctl", "stop").strip() == "elastiq is not running"
        head.run("elastiqctl", "start")

        head.run("apt-get", "purge", "--yes", "elastiq")
        listed = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "elastiq*"]
        wait_until(lambda: not head.run(*listed), "the unit to be forgotten", lambda: head.run(*listed))
        assert provider.living_vms() == vms
    assert not head.run("find", "/", "-xdev", "(", "-name", "*elastiq*", "-o", "-nouser", ")")


def test_it_comes_back_when_it_hangs_or_is_killed(head: System) -> None:
    # Long enough for a daemon on a busy machine.
    drop_in = "[Service]\nWatchdogSec=20s\nRestartSec=100ms\n"
    place = "/etc/systemd/system/elastiq.service.d"
    head.run("mkdir", place)
    head.run("tee", f"{place}/quick.conf", stdin=drop_in)
    head.run("systemctl", "daemon-reload")
    with cloud(head, "elastiq", SPOOL) as provider:
        configure(head, provider)
        first = pid_in(head.run("elastiqctl", "start"))
        head.run("sh", "-c", f"kill -KILL {first}")
        second = wait_for_another(head, first)
        head.run("sh", "-c", f"kill -STOP {second}")
        third = wait_for_another(head, second)
        assert pid_in(wait_for_status(head, "VMs ")) == third
        assert show(head, "NRestarts") == "2"
        wait_until(lambda: "Watchdog timeout" in journal(head), "systemd to say why", lambda: journal(head))


def wait_for_another(head: System, pid: int) -> int:
    """Return the number of the process that systemd runs in place of `pid`, as soon as it is ready."""
    wait_until(
        lambda: main_pid(head) not in (0, pid) and show(head, "ActiveState") == "active",
        "the service to come back",
        lambda: head.run("systemctl", "status", "--no-pager", "elastiq", expect=None),
    )
    return main_pid(head)


def test_a_bad_configuration_is_told_and_not_tried_again(head: System) -> None:
    assert "image_id" in head.run("elastiqctl", "start", expect=2)
    head.run("systemctl", "start", "elastiq", expect=1)
    assert show(head, "ActiveState", "ExecMainStatus", "NRestarts").split() == ["0", "2", "failed"]
    wait_until(lambda: "image_id" in journal(head), "the journal to have it", lambda: journal(head))
    with cloud(head, "elastiq", SPOOL) as provider:
        configure(head, provider)
        head.run("chmod", "0600", CONFIGURATION)
        told = head.run("elastiqctl", "start", expect=2)
        assert CONFIGURATION in told and "elastiq did not start" in told, told
        # A service that failed starts all the same, and what may be mended is told as it is without systemd.
        head.run("chmod", "0644", CONFIGURATION)
        words = head.run("elastiqctl", "start")
        assert CONFIGURATION in words.splitlines()[0] and "good" not in words, words
        pid = pid_in(words)
        (head.root / CONFIGURATION[1:]).write_text("[elastiq]\nsleep_s = soon\n")
        assert "sleep_s" in head.run("elastiqctl", "restart", expect=2)
        # Root can read it, the daemon could not.
        configure(head, provider)
        head.run("chmod", "0600", CONFIGURATION)
        assert CONFIGURATION in head.run("elastiqctl", "restart", expect=2)
        assert main_pid(head) == pid


def test_an_upgrade_leaves_a_daemon_alone_that_could_not_start_again(suite: str, head: System) -> None:
    with cloud(head, "elastiq", SPOOL) as provider:
        configure(head, provider)
        pid = pid_in(head.run("elastiqctl", "start"))
        (head.root / CONFIGURATION[1:]).write_text("[elastiq]\nsleep_s = soon\n")
        said = head.run("apt-get", "install", "--yes", *KEEP, copy(head, builds(suite).next, "next.deb"))
        assert "sleep_s" in said and "elastiq was not restarted" in said, said
        assert main_pid(head) == pid


def test_elastiqctl_leaves_the_service_alone_where_somebody_wants_another_daemon(head: System) -> None:
    with cloud(head, "elastiq", SPOOL) as provider:
        configure(head, provider)
        own = {"ELASTIQ_CONFIG": CONFIGURATION, "ELASTIQ_LOGDIR": "/var/log/elastiq"}
        pid = pid_in(head.run("elastiqctl", "start", environment=own))
        assert main_pid(head) == 0
        assert f"already running (pid {pid})" in head.run("elastiqctl", "start")
        # Without these words it is the one daemon of the system, however it was started.
        assert pid_in(head.run("elastiqctl", "stop")) == pid
        assert pid_in(head.run("elastiqctl", "start")) == main_pid(head)
        assert pid_in(head.run("elastiqctl", "status", environment=own)) == main_pid(head)
        head.run("useradd", "--create-home", "alice")
        assert "elastiq is not running" in head.run("elastiqctl", "status", user="alice", expect=1)


def test_the_environment_script_is_one_for_both(head: System) -> None:
    script = "export GREETING='good day'\nOTHER=$(echo computed)\n"
    (head.root / "etc/default/elastiq").write_text(script)
    with cloud(head, "elastiq", SPOOL) as provider:
        configure(head, provider)
        for own in ({}, {"ELASTIQ_CONFIG": CONFIGURATION}):
            pid = pid_in(head.run("elastiqctl", "start", environment=own))
            variables = head.run("cat", f"/proc/{pid}/environ").split("\0")
            assert {"GREETING=good day", "OTHER=computed"} <= set(variables)
            head.run("elastiqctl", "stop")


def test_the_service_of_another_user(head: System) -> None:
    """As docs/tutorial-slurm.md has it run: by the user slurm, whose home is elsewhere."""
    head.run("useradd", "--system", "--home-dir", "/nonexistent", "--groups", "elastiq", "scheduler")
    place = "/etc/systemd/system/elastiq.service.d"
    head.run("mkdir", place)
    head.run("tee", f"{place}/user.conf", stdin="[Service]\nUser=scheduler\n")
    head.run("systemctl", "daemon-reload")
    with cloud(head, "scheduler", SPOOL) as provider:
        configure(head, provider)
        pid = pid_in(head.run("elastiqctl", "start"))
        assert head.run("stat", "--format=%U", f"/proc/{pid}").strip() == "scheduler"
        assert head.run("elastiqctl", "conf").split()[-2:] == ["user", "scheduler"]
        assert pid_in(wait_for_status(head, "jobs waiting")) == pid == main_pid(head)
        assert f"has stopped (pid {pid})" in head.run("elastiqctl", "stop")


def test_what_the_service_is_kept_from(head: System) -> None:
    """The rights that count are taken away in truth, and those that the batch systems' commands need are there."""
    with cloud(head, "elastiq", SPOOL) as provider:
        configure(head, provider)
        pid = pid_in(head.run("elastiqctl", "start"))
        status = head.run("cat", f"/proc/{pid}/status")
        for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
            assert line in status
        inside = ["nsenter", f"--target={pid}", "--mount", "--", "setpriv", "--reuid=elastiq", "--regid=elastiq"]
        inside += ["--init-groups", "sh", "-c"]
        for place in ("/etc", "/usr", "/srv", "/home", "/var/lib", "/var/tmp/../lib"):
            head.run(*inside, f"touch {place}/x", expect=1)
        head.run(*inside, "touch /var/lib/elastiq/x /var/log/elastiq/x /tmp/x")
        assert not (head.root / "tmp/x").exists()
        assert head.run(*inside, "ls /root /home", expect=2)
        assert show(head, "UMask") == "0077"
