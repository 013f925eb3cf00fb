"""The root file system of every machine in the testbed: Debian trixie with HTCondor, Slurm and Grid Engine, built
once and cached. Nothing of them starts by itself.

It is also what a head node installed by apt looks like: Python 3.13, boto3, python-daemon, lockfile and the bindings of
HTCondor 23.9 come from Debian. The newer bindings of the package index lie in BINDINGS, outside of Python's path.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

BINDINGS = "/opt/htcondor-bindings"
"""Where in the root the newer htcondor2 bindings lie: put it on PYTHONPATH to use them."""
PINS = Path(__file__).parents[2] / "tools" / "requirements" / "testbed.txt"
"""Versions and hashes of what does not come from Debian."""
JOB_USER = "alice"
"""The unprivileged user that submits jobs and that jobs run as."""
JOB_USER_ID = 1001
SERVICE_USER = "elastiq"
"""The user that a package of elastiq makes."""

_RECIPE_VERSION = 1
"""To be raised when `_build` changes, so that a cached root made by the old one is not used."""
_SUITE = "trixie"
_PACKAGES = (
    "htcondor",
    "slurmctld",
    "slurmd",
    "slurm-client",
    "slurm-wlm-basic-plugins",
    "munge",
    "gridengine-master",
    "gridengine-exec",
    "gridengine-client",
    "python3-boto3",
    "python3-daemon",
    "python3-lockfile",
    "curl",
    "iproute2",
    "procps",
    "sudo",
)
HOST_APT_GET = str(Path(__file__).parents[2] / "tools" / "apt-get")
"""Waits for others who install something: another build, or the machine's own upgrades."""
_HOST_TOOLS = {"debootstrap": "debootstrap", "ip": "iproute2", "unshare": "util-linux", "nsenter": "util-linux"}
_BINDINGS_REQUIREMENT = "htcondor==25.14.1"
_BUILD_TIMEOUT_SECONDS = 1200


class UnavailableError(Exception):
    """The testbed cannot run here; the text says why, and tests skip with it."""


def rootfs() -> Path:
    """Return the directory of the root file system; build it first if there is none. Raise UnavailableError."""
    require_root_on_debian()
    return cached("rootfs", (_RECIPE_VERSION, _SUITE, _PACKAGES, _BINDINGS_REQUIREMENT), _build)


def cached(name: str, recipe: object, build: Callable[[Path], None]) -> Path:
    """Return the directory that `build` fills, made at most once for each `recipe`. Raise UnavailableError."""
    cache = cache_directory()
    directory = cache / f"{name}-{hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]}"
    if directory.is_dir():
        return directory
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if directory.is_dir():
            return directory
        install_host_tools()
        for left_over in cache.glob(f"{name}-building-*"):
            shutil.rmtree(left_over)
        for is_last_try in (False, True):  # what is downloaded from others may fail once
            building = Path(tempfile.mkdtemp(prefix=f"{name}-building-", dir=cache))
            try:
                made = building / "root"
                made.mkdir(mode=0o755)  # or packages could not act as users of their own
                build(made)
                made.rename(directory)
                break
            except UnavailableError:
                if is_last_try:
                    raise
            finally:
                shutil.rmtree(building, ignore_errors=True)
    return directory


def cache_directory() -> Path:
    """Return where big things are kept between runs."""
    return Path(os.environ.get("ELASTIQ_CACHE") or "~/.cache/elastiq").expanduser()


def require_root_on_debian() -> None:
    """Raise UnavailableError if the testbed cannot run here."""
    if os.geteuid() != 0:
        raise UnavailableError("the testbed needs root (network namespaces, chroot)")
    if platform.system() != "Linux" or not shutil.which("apt-get"):
        raise UnavailableError("the testbed needs Debian or Ubuntu (debootstrap, apt-get)")
    probe = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, text=True, timeout=300
    )
    if probe.returncode:
        raise UnavailableError(f"the testbed cannot make namespaces here: {probe.stderr.strip()}")
    if "overlay" not in Path("/proc/filesystems").read_text(encoding="ascii"):
        subprocess.run(["modprobe", "overlay"], capture_output=True, timeout=300)
        if "overlay" not in Path("/proc/filesystems").read_text(encoding="ascii"):
            raise UnavailableError("the testbed needs overlayfs in the kernel")


def install_host_tools() -> None:
    """Install what makes roots. Raise UnavailableError."""
    missing = sorted({package for tool, package in _HOST_TOOLS.items() if not shutil.which(tool)})
    if not missing:
        return
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        _run([HOST_APT_GET, *command], f"apt-get cannot install {' '.join(missing)}")


def _build(root: Path) -> None:
    install_debian(root, _SUITE, _PACKAGES)
    for name, options in ((JOB_USER, ["--uid", str(JOB_USER_ID)]), (SERVICE_USER, ["--system"])):
        _run(
            ["chroot", str(root), "useradd", *options, "--create-home", "--shell", "/bin/sh", name],
            f"user {name} could not be added",
        )
    # A name look-up that waits for a DNS server nobody runs makes HTCondor hang without a word.
    write(root / "etc/resolv.conf", "")
    write(root / "etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\n")
    _install_bindings(root)


def install_debian(root: Path, suite: str, packages: Sequence[str]) -> None:
    """Make `root` a minimal Debian with `packages`, of which nothing starts by itself. Raise UnavailableError."""
    mirror = debian_mirror()
    run_privately(
        ["debootstrap", "--variant=minbase", suite, str(root), mirror],
        f"debootstrap of {suite} failed (is the network there?)",
    )
    write(root / "usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
    write(root / "etc/dpkg/dpkg.cfg.d/testbed", "force-unsafe-io\npath-exclude /usr/share/doc/*\n")
    write(root / "etc/apt/apt.conf.d/99testbed", host_proxy())
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    shutil.copy("/etc/hosts", root / "etc/hosts")
    apt_get = ["chroot", str(root), "apt-get", "-qq"]
    run_privately([*apt_get, "update"], "apt-get update in the new root failed", root=root)
    run_privately(
        [*apt_get, "install", "--yes", "--no-install-recommends", *packages],
        f"apt-get install {' '.join(packages)} in the new root failed",
        root=root,
    )
    run_privately([*apt_get, "clean"], "apt-get clean in the new root failed", root=root)


def _install_bindings(root: Path) -> None:
    machine = platform.machine()
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in (17, 28, 34, 39)]
    pip_install(
        root / BINDINGS.lstrip("/"),
        _BINDINGS_REQUIREMENT,
        ["--only-binary=:all:", "--python-version", "3.13", "--implementation", "cp", "--abi", "cp313", *platforms],
    )


def pip_install(directory: Path, requirement: str, options: Sequence[str]) -> None:
    """Put a package of the index that this machine's pip uses, alone, into `directory`, if it has one of the hashes in
    PINS. Raise UnavailableError."""
    pin = re.search(rf"^{re.escape(requirement)} .*(\n    .*)+", PINS.read_text(encoding="utf-8"), re.MULTILINE)
    if not pin:
        raise UnavailableError(f"{PINS.name} has no hashes of {requirement}: name it in {PINS.stem}.in, and make pins")
    quiet = ("--quiet", "--disable-pip-version-check", "--require-hashes")
    where = ("--no-deps", "--target", str(directory))
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
        pins.write(pin[0])
        pins.flush()
        command = [sys.executable, "-m", "pip", "install", *quiet, *where, *options, "--requirement", pins.name]
        _run(command, f"pip cannot download {requirement}")


def debian_mirror() -> str:
    """Return the mirror that this machine's apt uses for Debian's main archive, or $ELASTIQ_DEBIAN_MIRROR."""
    if os.environ.get("ELASTIQ_DEBIAN_MIRROR"):
        return os.environ["ELASTIQ_DEBIAN_MIRROR"]
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)', Path("/etc/os-release").read_text(encoding="utf-8"), re.MULTILINE))
    code_name = release.get("VERSION_CODENAME", "")
    for uri, suites in _apt_sources():
        if release.get("ID") == "debian" and code_name in suites:
            return uri
    raise UnavailableError("no Debian mirror in this machine's apt sources; set ELASTIQ_DEBIAN_MIRROR")


def _apt_sources() -> list[tuple[str, list[str]]]:
    sources = []
    directory = Path("/etc/apt/sources.list.d")
    for path in [Path("/etc/apt/sources.list"), *sorted(directory.glob("*.list"))]:
        with suppress(FileNotFoundError):
            for line in path.read_text(encoding="utf-8").splitlines():
                match = re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+(.*\bmain\b)", line)
                if match:
                    sources.append((match[1], [match[2]]))
    for path in sorted(directory.glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text(encoding="utf-8")):
            fields = dict(re.findall(r"^(URIs|Suites|Components):\s*(.+)$", stanza, re.MULTILINE))
            if "main" in fields.get("Components", "").split():
                sources += [(uri, fields.get("Suites", "").split()) for uri in fields.get("URIs", "").split()]
    return sources


def host_proxy() -> str:
    """Return the lines of apt's configuration by which this machine reaches the mirror."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True, timeout=300).stdout
    return "".join(f"{line}\n" for line in dump.splitlines() if re.match(r"Acquire::https?::Proxy", line))


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file of a root, with the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def run_privately(command: list[str], failure: str, root: Path | None = None) -> None:
    """Run `command` in mount and pid namespaces of its own, so that neither mounts nor processes outlive it.
    Raise UnavailableError with `failure` if it fails."""
    prepare = 'mount -t proc proc "$1/proc"; shift; exec "$@"' if root else 'shift; exec "$@"'
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C",
        "DEBIAN_FRONTEND": "noninteractive",
        **{name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")},
    }
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    _run([*namespaces, "sh", "-ec", prepare, "sh", str(root), *command], failure, environment)


def _run(command: list[str], failure: str, environment: dict[str, str] | None = None) -> None:
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            timeout=_BUILD_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{failure}: {error}") from error
    if result.returncode:
        tail = " / ".join(result.stdout.strip().splitlines()[-5:])
        raise UnavailableError(f"{failure}: {tail}")
