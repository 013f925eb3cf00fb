"""The Debian package in clean minimal systems, from apt-get install to purge, with a cloud that it scales."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastiq.version import VERSION
from tests.packaging.cloud import Cloud, cloud, wait_until
from tests.packaging.debs import NEXT_LINE, NEXT_VERSION, SUITES, builds, plain, with_dependencies
from tests.packaging.roots import BOOKWORM, Root, System, system

pytestmark = pytest.mark.xdist_group("debs")

CONFIGURATION = "/etc/elastiq.conf"
SPOOL = "/srv/spool"

INSTALLED = {
    "/etc/default/elastiq": "root:root 644",
    "/etc/elastiq.conf": "root:elastiq 640",
    "/etc/init.d/elastiq": "root:root 755",
    "/usr/bin/elastiq-real.py": "root:root 755",
    "/usr/bin/elastiqctl": "root:root 755",
    "/usr/lib/systemd/system/elastiq.service": "root:root 644",
    "/var/lib/elastiq": "elastiq:elastiq 700",
    "/var/log/elastiq": "elastiq:elastiq 750",
}
STATE = {
    "/var/lib/elastiq/elastiq.db": "elastiq:elastiq 600",
    "/var/lib/elastiq/elastiq.pid": "elastiq:elastiq 600",
    "/var/lib/elastiq/lock": "elastiq:elastiq 600",
    "/var/log/elastiq/elastiq.log": "elastiq:elastiq 600",
}
"""While the daemon runs."""
NOBODY_S_BUSINESS = re.compile(
    r"/(proc|sys|dev|run|tmp|root|var/cache|var/lib/(dpkg|apt|systemd/deb-systemd-helper-[a-z]+)|var/log/apt)(/.*)?"
    r"|/var/log/(dpkg|alternatives)\.log|/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?|/etc/ld\.so\.cache"
    r"|/(etc|var|usr|var/lib|var/log|etc/rc[0-6S]\.d|.*/__pycache__)"
)
"""Where dpkg, apt and adduser keep their own accounts; directories in which something was made and removed again."""


def copy(system: System, package: Path, name: str) -> str:
    """Put `package` into `system`; return how apt-get wants to be told of it."""
    shutil.copy(package, system.root / "root" / name)
    return f"./{name}"


def owners(system: System, paths: dict[str, str]) -> dict[str, str]:
    """Return owner, group and mode of those of `paths` that are there."""
    lines = system.run("stat", "--format=%n %U:%G %a", *paths, expect=None).splitlines()
    return dict(line.split(" ", 1) for line in lines if not line.startswith("stat: "))


def configure(system: System, cloud: Cloud, path: str = CONFIGURATION, user: str = "") -> None:
    """Write a configuration into an existing file as an editor does that keeps its owner and mode."""
    system.run("tee", path, stdin=cloud.configuration(), user=user)


def pid_in(output: str) -> int:
    match = re.search(r"\(pid (\d+)\)", output)
    assert match, output
    return int(match[1])


def wait_for_status(system: System, text: str, user: str = "") -> str:
    found = ""

    def has_come() -> bool:
        nonlocal found
        found = system.run("elastiqctl", "status", user=user, expect=None)
        return text in found

    wait_until(has_come, f"elastiqctl status to say {text!r}", lambda: found)
    return found


def processes(system: System, expression: str) -> str:
    """Return what /proc has of the processes whose command lines match; it must not match itself."""
    return system.run("sh", "-c", f"grep -als '{expression}' /proc/[0-9]*/cmdline || true").strip()


def log(system: System) -> str:
    return (system.root / "var/log/elastiq/elastiq.log").read_text()


@pytest.fixture(params=SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clean(suite: str) -> Iterator[System]:
    """A release as debootstrap makes it."""
    builds(suite)
    with system(plain(suite)) as running:
        yield running


@pytest.fixture
def prepared(suite: str) -> Iterator[System]:
    """A release with what the package needs."""
    builds(suite)
    with system(with_dependencies(suite)) as running:
        yield running


def test_from_installation_to_purge(suite: str, clean: System) -> None:
    built = builds(suite)
    first, following = copy(clean, built.first, "first.deb"), copy(clean, built.next, "next.deb")
    clean.run("apt-get", "install", "--yes", first)
    assert owners(clean, INSTALLED) == INSTALLED
    assert "root" not in clean.run("id", "elastiq")
    assert clean.run("getent", "passwd", "elastiq").split(":")[5] == "/var/lib/elastiq"
    conf = clean.run("elastiqctl", "conf")
    assert re.search(r"^user +elastiq$", conf, re.MULTILINE), conf
    assert re.search(r"^state directory +/var/lib/elastiq$", conf, re.MULTILINE), conf
    # Not configured yet: the installation was well all the same, and what is missing is told.
    assert "image_id" in clean.run("elastiqctl", "start", expect=2)
    assert "elastiq is not running" in clean.run("elastiqctl", "status", expect=1)

    with cloud(clean, "elastiq", SPOOL) as provider:
        configure(clean, provider)
        pid = pid_in(clean.run("elastiqctl", "start"))
        assert clean.run("stat", "--format=%U", f"/proc/{pid}").strip() == "elastiq"
        assert pid_in(clean.run("elastiqctl", "status")) == pid
        assert owners(clean, STATE) == STATE

        provider.submit(seconds=3600)
        wait_until(lambda: len(provider.jobs("running")) == 1, "the job to run on a VM", lambda: log(clean))
        wait_for_status(clean, "1 busy, 0 idle")
        vms = provider.living_vms()
        assert len(vms) == 1

        again = pid_in(clean.run("elastiqctl", "restart").splitlines()[-1])
        assert again != pid
        wait_for_status(clean, "1 busy, 0 idle")
        assert pid_in(clean.run("elastiqctl", "stop")) == again
        assert "elastiq is not running" in clean.run("elastiqctl", "status", expect=1)
        before = pid_in(clean.run("elastiqctl", "start"))

        # An administrator's choice, to be kept.
        clean.run("chmod", "0751", "/var/log/elastiq")
        clean.run("apt-get", "install", "--yes", "-o", "Dpkg::Options::=--force-confold", following)
        status = wait_for_status(clean, "1 busy, 0 idle")
        assert status.startswith(f"elastiq {NEXT_VERSION} is running")
        assert pid_in(status) != before
        assert owners(clean, {CONFIGURATION: "", "/var/log/elastiq": ""}) == {
            CONFIGURATION: "root:elastiq 640",
            "/var/log/elastiq": "elastiq:elastiq 751",
        }
        assert (clean.root / CONFIGURATION[1:]).read_text() == provider.configuration()
        assert NEXT_LINE in (clean.root / "etc/elastiq.conf.dpkg-dist").read_text()
        clean.run("elastiqctl", "stop")
        clean.run("apt-get", "install", "--yes", "--reinstall", following)
        assert "elastiq is not running" in clean.run("elastiqctl", "status", expect=1)
        clean.run("elastiqctl", "start")

        clean.run("apt-get", "remove", "--yes", "elastiq")
        assert not processes(clean, "elastiq-real[.]py")
        kept = {**STATE, CONFIGURATION: "root:elastiq 640"}
        del kept["/var/lib/elastiq/elastiq.pid"]
        assert owners(clean, kept) == kept
        clean.run("id", "elastiq")
        assert provider.living_vms() == vms
        assert len(provider.jobs("running")) == 1

        clean.run("apt-get", "install", "--yes", following)
        clean.run("elastiqctl", "start")
        wait_for_status(clean, "1 busy, 0 idle")
        assert provider.vms().keys() == set(vms)

    # The VMs here are processes of the user elastiq: none may be left, or it would stay, too.
    wait_until(lambda: not processes(clean, "elastiq[.]sandbox[.]worker"), "the VMs to be dead")
    clean.run("apt-get", "purge", "--yes", "elastiq")
    clean.run("rm", "-r", SPOOL)
    left = clean.run("find", "/", "-xdev", "(", "-name", "*elastiq*", "-o", "-nouser", "-o", "-nogroup", ")")
    assert not left
    clean.run("id", "elastiq", expect=1)
    assert "elastiq" not in clean.run("dpkg", "--list")


def test_an_ordinary_user_has_a_daemon_of_his_own(suite: str, prepared: System) -> None:
    prepared.run("dpkg", "--install", copy(prepared, builds(suite).first, "first.deb"))
    prepared.run("useradd", "--create-home", "alice")
    home = "/home/alice"
    conf = prepared.run("elastiqctl", "conf", user="alice")
    assert f"{home}/.elastiq/elastiq.conf" in conf
    assert re.search(r"^user +alice$", conf, re.MULTILINE), conf
    with cloud(prepared, "alice", f"{home}/spool") as provider:
        prepared.run("install", "-d", "-m", "0700", f"{home}/.elastiq", user="alice")
        prepared.run("install", "-m", "0600", "/dev/null", f"{home}/.elastiq/elastiq.conf", user="alice")
        configure(prepared, provider, f"{home}/.elastiq/elastiq.conf", user="alice")
        pid = pid_in(prepared.run("elastiqctl", "start", user="alice"))
        provider.submit(seconds=0.1)
        wait_until(lambda: len(provider.jobs("done")) == 1, "the job to be done on a VM")
        wait_for_status(prepared, "0 busy, 1 idle", user="alice")
        assert len(provider.living_vms()) == 1
        # The service is another daemon.
        assert "elastiq is not running" in prepared.run("elastiqctl", "status", expect=1)
        assert pid_in(prepared.run("elastiqctl", "restart", user="alice").splitlines()[0]) == pid
        prepared.run("elastiqctl", "stop", user="alice")
        prepared.run("apt-get", "purge", "--yes", "elastiq")
        assert (prepared.root / "home/alice/.elastiq/elastiq.db").exists()
    assert not list((prepared.root / "var/log").glob("elastiq*"))


def test_purge_leaves_the_system_as_it_was(suite: str, prepared: System) -> None:
    def everything() -> dict[str, str]:
        lines = prepared.run("find", "/", "-xdev", "-printf", r"%p\t%y %U:%G %m %l\n").splitlines()
        found = dict(line.split("\t") for line in lines)
        return {path: facts for path, facts in found.items() if not NOBODY_S_BUSINESS.fullmatch(path)}

    before = everything()
    accounts = [prepared.run("cat", f"/etc/{name}") for name in ("passwd", "group")]
    prepared.run("dpkg", "--install", copy(prepared, builds(suite).first, "first.deb"))
    with cloud(prepared, "elastiq", SPOOL) as provider:
        configure(prepared, provider)
        prepared.run("elastiqctl", "start")
        wait_for_status(prepared, "jobs waiting")
        prepared.run("apt-get", "purge", "--yes", "elastiq")
    prepared.run("rm", "-r", SPOOL)
    assert everything() == before
    assert [prepared.run("cat", f"/etc/{name}") for name in ("passwd", "group")] == accounts


def test_the_init_script(suite: str, prepared: System) -> None:
    prepared.run("dpkg", "--install", copy(prepared, builds(suite).first, "first.deb"))
    script = "/etc/init.d/elastiq"
    prepared.run(script, "status", expect=3)
    prepared.run(script, "try-restart")
    prepared.run(script, "status", expect=3)
    with cloud(prepared, "elastiq", SPOOL) as provider:
        configure(prepared, provider)
        pid = pid_in(prepared.run(script, "start"))
        assert pid_in(prepared.run(script, "status")) == pid_in(prepared.run("elastiqctl", "status")) == pid
        # Root can read it, the daemon could not.
        prepared.run("chmod", "0600", CONFIGURATION)
        assert CONFIGURATION in prepared.run(script, "restart", expect=2)
        assert pid_in(prepared.run(script, "status")) == pid
        prepared.run("chmod", "0640", CONFIGURATION)
        assert pid_in(prepared.run(script, "try-restart").splitlines()[-1]) != pid
        prepared.run(script, "stop")
        prepared.run(script, "status", expect=3)
    assert "usage: " in prepared.run(script, "begin", expect=2)
    links = prepared.run("sh", "-c", "ls -d /etc/rc?.d/*elastiq")
    assert re.findall(r"rc(.)\.d/(.)", links) == [*(("0", "K"), ("1", "K")), *((n, "S") for n in "2345"), ("6", "K")]


def test_gdebi_brings_what_is_needed() -> None:
    builds(BOOKWORM)
    with system(Root(BOOKWORM, ("gdebi-core",))) as debian:
        debian.run("gdebi", "--non-interactive", copy(debian, builds(BOOKWORM).first, "first.deb"))
        assert owners(debian, INSTALLED) == INSTALLED
        assert VERSION in debian.run("elastiqctl", "conf")
