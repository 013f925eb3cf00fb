"""Clean minimal Debian systems to install packages in: made by debootstrap once, cached, and never written to again.

A `System` is one that runs: namespaces of its own (processes, mounts, host name, and a network that is nothing but a
loopback interface) over a scratch layer in memory, which is gone with it. What it may install lies in its apt cache, so
that it needs no network. It is not a Docker image: no policy-rc.d keeps packages from starting and stopping services.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.testbed import namespaces, rootfs

BOOKWORM, TRIXIE = "bookworm", "trixie"
DEPENDENCIES = ("adduser", "python3-boto3", "python3-daemon", "python3-lockfile")
"""What the package needs of Debian; lies in every root's apt cache and is not installed."""
LONG_SECONDS = 300
"""A bound against hangs."""

_RECIPE_VERSION = 1
"""To be raised when the way of building changes, so that a cached root made by the old one is not used."""

_CONTROL_GROUP_PREFIX = "elastiq-packaging-"
_control_group_numbers = itertools.count(1)

_MOUNT_SCRIPT = (
    """
lower=$1 scratch=$2
umask 022
"""
    + namespaces.MOUNT_SCRIPT
    + """
ip link set lo up
hostname head.example.org
"""
)

_SYSTEM_SCRIPT = (
    _MOUNT_SCRIPT
    + """
pivot_root . mnt
umount -l /mnt
echo up
# Standard input is the power cord: at its end the first process ends, and the kernel kills all others. To wait in the
# shell itself reaps what is orphaned.
exec 3<&0
cat <&3 >/dev/null &
exec <&- >&-
wait
"""
)

_JOIN_CONTROL_GROUP_SCRIPT = """
echo $$ >"$1/cgroup.procs"
shift
exec "$@"
"""

_SYSTEMD_SCRIPT = (
    _MOUNT_SCRIPT
    + """
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
pivot_root . mnt
umount -l /mnt
echo up
exec env -i container=test PATH=/usr/sbin:/usr/bin /lib/systemd/systemd --unit=multi-user.target \\
    <&- >/dev/null 2>&1
"""
)

_WAIT_FOR_SYSTEMD = "until systemctl is-system-running --wait 2>&1 | grep -E 'running|degraded'; do sleep 0.1; done"

_LAYER_SCRIPT = """
base=$1 upper=$2 work=$3 merged=$4
shift 4
mount -t overlay -o "lowerdir=$base,upperdir=$upper,workdir=$work" overlay "$merged"
mount -t proc proc "$merged/proc"
exec chroot "$merged" "$@"
"""


@dataclass(frozen=True)
class Root:
    """A Debian release, with these packages installed and those only in apt's cache."""

    suite: str
    packages: tuple[str, ...] = ()
    downloads: tuple[str, ...] = ()

    def layers(self) -> tuple[Path, ...]:
        """Return the directories that make it up, the topmost first; build what is missing. Raise UnavailableError."""
        rootfs.require_root_on_debian()
        recipe: object = (_RECIPE_VERSION, (self.suite, DEPENDENCIES))
        base = rootfs.cached(f"debian-{self.suite}", recipe, lambda path: _bootstrap(self.suite, path))
        if not self.packages and not self.downloads:
            return (base,)
        recipe = (_RECIPE_VERSION, (base.name, self.packages, self.downloads))
        return (rootfs.cached(f"debian-{self.suite}-layer", recipe, lambda path: self._add(base, path)), base)

    def _add(self, base: Path, upper: Path) -> None:
        commands = ["apt-get -qq update"]
        if self.packages:
            commands.append(f"apt-get -qq install --yes --no-install-recommends {' '.join(self.packages)}")
        if self.downloads:
            commands.append(_download(self.downloads))
        _in_layer(base, upper, commands)


def _download(packages: Sequence[str]) -> str:
    return f"apt-get -qq install --yes --download-only {' '.join(packages)}"


def _bootstrap(suite: str, root: Path) -> None:
    mirror = rootfs.debian_mirror()
    rootfs.run_privately(
        ["debootstrap", "--variant=minbase", suite, str(root), mirror],
        f"debootstrap of {suite} failed (is the network there?)",
    )
    rootfs.write(root / "etc/dpkg/dpkg.cfg.d/fast", "force-unsafe-io\n")
    # Where the packages are kept after they were installed, and where the network is.
    proxy = rootfs.host_proxy()
    rootfs.write(root / "etc/apt/apt.conf.d/99tests", f'{proxy}APT::Keep-Downloaded-Packages "true";\n')
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    rootfs.write(root / "etc/hosts", "127.0.0.1 localhost head.example.org head\n")
    rootfs.write(root / "etc/machine-id", hashlib.sha256(suite.encode()).hexdigest()[:32] + "\n")
    for command in ("apt-get -qq update", "apt-get clean", _download(DEPENDENCIES)):
        rootfs.run_privately(["chroot", str(root), *command.split()], f"{command} in a new {suite} failed", root=root)


def _in_layer(base: Path, upper: Path, commands: Sequence[str]) -> None:
    """Run `commands` in a system whose changes to `base` go into `upper`."""
    work, merged = upper.parent / "work", upper.parent / "merged"
    work.mkdir()
    merged.mkdir()
    script = f"export DEBIAN_FRONTEND=noninteractive\n{chr(10).join(commands)}"
    rootfs.run_privately(
        ["sh", "-euc", _LAYER_SCRIPT, "sh", *map(str, (base, upper, work, merged)), "sh", "-euc", script],
        f"{'; '.join(commands)} failed",
    )


class System:
    """A Debian that runs, as far as one without an init system does."""

    def __init__(self, process: subprocess.Popen[bytes], first: int) -> None:
        self._process = process
        self.first_process = first
        """Its first process, as seen from outside."""

    @property
    def root(self) -> Path:
        """Its root directory, as seen from outside."""
        return Path(f"/proc/{self.first_process}/root")

    def enter(self, *names: str) -> list[str]:
        """Return the words to put before a command of the host so that it runs in these namespaces."""
        return namespaces.enter(self.first_process, *names)

    def run(
        self,
        *command: str,
        user: str = "",
        home: str = "",
        environment: Mapping[str, str] | None = None,
        expect: int | None = 0,
        stdin: str = "",
    ) -> str:
        """Run `command` and return what it wrote. Raise AssertionError with it if it ends otherwise than expected."""
        variables = {"DEBIAN_FRONTEND": "noninteractive", **(environment or {})}
        result = subprocess.run(
            [*self.enter(), *namespaces.clean(*command, user=user, home=home, environment=variables)],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONG_SECONDS,
        )
        if expect is not None and result.returncode != expect:
            raise AssertionError(f"{' '.join(command)}: exit {result.returncode}\n{result.stdout}")
        return result.stdout

    def stop(self) -> None:
        """End all that runs in it, and it."""
        with suppress(ProcessLookupError):
            os.kill(self.first_process, 9)
        self._process.kill()
        self._process.wait(timeout=LONG_SECONDS)
        namespaces.close_pipes(self._process)


@contextmanager
def system(root: Root) -> Iterator[System]:
    """Give a running system that begins as `root` is and has no init system. Raise UnavailableError."""
    enter = ["unshare", *namespaces.NAMESPACES]
    with _scratch() as scratch, _run_system(root, scratch, _SYSTEM_SCRIPT, enter) as running:
        yield running


@contextmanager
def system_with_systemd(root: Root) -> Iterator[System]:
    """Give a running system whose first process is the systemd that `root` has installed. Raise UnavailableError."""
    with _control_group() as group, _scratch() as scratch:
        join = ["sh", "-euc", _JOIN_CONTROL_GROUP_SCRIPT, "sh", str(group)]
        # It has no power cord: the kernel ends it with this process.
        enter = ["setpriv", "--pdeathsig", "KILL", *join, "unshare", "--cgroup", *namespaces.NAMESPACES]
        with _run_system(root, scratch, _SYSTEMD_SCRIPT, enter) as running:
            running.run("sh", "-c", _WAIT_FOR_SYSTEMD)
            yield running


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="elastiq-packaging-") as name:
        yield Path(name)


@contextmanager
def _run_system(root: Root, scratch: Path, script: str, enter: Sequence[str]) -> Iterator[System]:
    lower = ":".join(map(str, root.layers()))
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*enter, "sh", "-euc", script, "sh", lower, str(scratch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        assert process.stdout
        if process.stdout.readline().strip() != b"up":
            process.kill()
            process.wait()
            errors.seek(0)
            raise rootfs.UnavailableError(f"{root} did not come up: {errors.read().decode(errors='replace').strip()}")
    running = System(process, namespaces.first_process(process))
    try:
        yield running
    finally:
        running.stop()


@contextmanager
def _control_group() -> Iterator[Path]:
    """Give a new control group for a systemd to live in, removed afterwards with all that it made below."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    trees = [Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"]
    if not trees:
        raise rootfs.UnavailableError("systemd needs the unified control group hierarchy (cgroup2), not mounted here")
    for left_over in trees[0].glob(f"{_CONTROL_GROUP_PREFIX}*"):
        # That of a maker that lives may be empty because nothing has been started in it yet.
        if not Path("/proc", left_over.name[len(_CONTROL_GROUP_PREFIX) :].partition("-")[0]).exists():
            _try_to_remove(left_over)
    # Each has a name of its own: an earlier one may still be there, because its processes take long to end.
    group = trees[0] / f"{_CONTROL_GROUP_PREFIX}{os.getpid()}-{next(_control_group_numbers)}"
    try:
        group.mkdir()
    except OSError as error:
        raise rootfs.UnavailableError(f"no control group for systemd can be made here: {error}") from error
    try:
        yield group
    finally:
        deadline = time.monotonic() + 60
        while not _try_to_remove(group) and time.monotonic() < deadline:
            time.sleep(0.05)


def _try_to_remove(group: Path) -> bool:
    """Remove the control group and all below it; return False if processes are still in it."""
    for directory, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            os.rmdir(directory)
    return not group.exists()
