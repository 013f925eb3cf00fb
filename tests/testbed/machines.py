"""Machines of the testbed: namespaces on one switch, each with its own address, root, processes and console.

Nothing of it is visible from outside: the switch is a bridge in a network namespace of its own, cables are made from
there, mounts are private, and every machine dies with the process that made it (see machine_init.py), however that
one ends. Only a directory of logs can be left behind; the next start removes it.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.testbed import namespaces
from tests.testbed.rootfs import rootfs

SWITCH_ADDRESS = "10.77.0.1"
HEAD_ADDRESS = "10.77.0.10"
DOMAIN = "pool.example"
CHECKOUT = "/opt/elastiq"
"""Where a machine sees the checkout, read only."""

_INIT = Path(__file__).with_name("machine_init.py")
_CHECKOUT_ON_HOST = Path(__file__).resolve().parents[2]
_DIRECTORY_PREFIX = "elastiq-testbed-"

_SWITCH_SCRIPT = """
ip link set lo up
# Without a fixed address it would change its own with the machines that come and go, and be lost to the others.
ip link add bridge0 address "$2" type bridge
ip addr add "$1/16" dev bridge0
ip link set bridge0 up
echo up
read -r _
"""

_MACHINE_SCRIPT = (
    """
lower=$1 directory=$2 checkout=$3 init=$4 address=$5 name=$6 metadata=$7
scratch=$directory/node
umask 022
hostname "$name"
echo ready
read -r _
ip link set lo up
test -z "$metadata" || ip addr add 169.254.169.254/32 dev lo
ip addr add "$address/16" dev eth0
ip link set eth0 up
"""
    + namespaces.MOUNT_SCRIPT
    + """
mkdir -p opt/elastiq var/log/testbed mnt
mount --bind "$checkout" opt/elastiq
mount -o remount,bind,ro opt/elastiq
mount --bind "$directory/log" var/log/testbed
: >run/init.py
mount --bind "$init" run/init.py
pivot_root . mnt
umount -l /mnt
exec /usr/bin/python3 -I /run/init.py
"""
)


class Machine:
    """One machine: a process that holds its namespaces, and ways to look into it."""

    def __init__(self, name: str, address: str, process: subprocess.Popen[bytes], init: int, log: Path) -> None:
        self.name = name
        self.address = address
        self.pid = init
        """Of the machine's first process, as seen from outside."""
        self.log_directory = log
        """What the machine has as /var/log/testbed; stays readable after its end."""
        self._process = process

    @property
    def enter(self) -> list[str]:
        """The words to put before a command so that it runs on this machine as root."""
        return namespaces.enter(self.pid)

    def run(
        self,
        *command: str,
        user: str = "",
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
        check: bool = True,
        timeout_seconds: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        """Run `command` here and return what it did. Raise AssertionError with its output if `check` and it failed."""
        result = subprocess.run(
            [*self.enter, *namespaces.clean(*command, user=user, environment=environment)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            umask=0o022,
        )
        if check and result.returncode:
            raise AssertionError(
                f"on {self.name}: {' '.join(command)}: exit {result.returncode}\n{result.stdout}{result.stderr}"
            )
        return result

    @property
    def alive(self) -> bool:
        """True until the machine's plug is pulled."""
        return self._process.poll() is None

    def pull_plug(self) -> None:
        """Kill everything on the machine at once, and with it its network interface."""
        if self.alive:  # or the number may be another process's by now
            with suppress(ProcessLookupError):
                os.kill(self.pid, 9)
        self._process.wait(timeout=300)
        namespaces.close_pipes(self._process)


class Network:
    """A switch and the machines on it."""

    def __init__(self) -> None:
        self._root = rootfs()
        _remove_left_overs()
        self.directory = Path(tempfile.mkdtemp(prefix=_DIRECTORY_PREFIX))
        new_lock = self.directory / "new-lock"
        self._lock = _hold(new_lock)
        new_lock.rename(self.directory / "lock")  # never seen without being held
        self._machines: dict[str, Machine] = {}
        self._mutex = threading.Lock()
        self._ports = 0
        self._switch = _start(
            ["unshare", "--net", "sh", "-euc", _SWITCH_SCRIPT, "sh", SWITCH_ADDRESS, _hardware(SWITCH_ADDRESS)],
            self.directory / "errors",
        )
        _expect(self._switch, b"up", self.directory / "errors")
        atexit.register(self.stop)

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def machines(self) -> list[Machine]:
        """The machines whose plug has not been pulled by `Network`."""
        with self._mutex:
            return list(self._machines.values())

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let the calling thread, and threads and processes that it starts, see the switch's network in place of the
        host's: servers bound to SWITCH_ADDRESS are seen by the machines and by nobody else."""
        with namespaces.entered_network(self._switch.pid):
            yield

    def start(
        self,
        name: str,
        address: str,
        *,
        script: str = "",
        metadata: Mapping[str, str] | None = None,
        files: Sequence[tuple[str, str, int]] = (),
    ) -> Machine:
        """Start a machine and return as soon as its `script` (its user data, run as root) has been started.

        `metadata` is what its instance metadata service knows, path to text; `files` (path, text, mode) are written
        before anything else, as if they were in its image.
        """
        directory = self.directory / name
        (directory / "log").mkdir(parents=True)
        (directory / "node").mkdir()
        log = directory / "log"
        log.chmod(0o777)
        arguments = [self._root, directory, _CHECKOUT_ON_HOST, _INIT, address, name, "yes" if metadata else ""]
        process = _start(
            ["unshare", *namespaces.NAMESPACES, "sh", "-euc", _MACHINE_SCRIPT, "sh", *map(str, arguments)],
            directory / "errors",
        )
        try:
            _expect(process, b"ready", directory / "errors")
            init = namespaces.first_process(process)
            self._plug_in(init, address)
            task = {"files": [*_hosts(name, address), *files], "metadata": dict(metadata or {}), "script": script}
            assert process.stdin
            process.stdin.write(b"plugged in\n" + json.dumps(task).encode() + b"\n")
            process.stdin.flush()
            _expect(process, b"up", directory / "errors")
        except BaseException:
            process.kill()
            process.wait()
            raise
        machine = Machine(name, address, process, init, log)
        with self._mutex:
            self._machines[name] = machine
        return machine

    def remove(self, name: str) -> None:
        """Pull the plug of the machine `name`; nothing if there is none."""
        with self._mutex:
            machine = self._machines.pop(name, None)
        if machine:
            machine.pull_plug()

    def console(self, name: str) -> str:
        """Return what the user data of the machine `name` has written, also after its end."""
        path = self.directory / name / "log" / "console"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def stop(self) -> None:
        """End everything. Does nothing the second time."""
        atexit.unregister(self.stop)
        for machine in self.machines:
            self.remove(machine.name)
        if self._switch.poll() is None:
            self._switch.kill()
            self._switch.wait(timeout=300)
        shutil.rmtree(self.directory, ignore_errors=True)
        with suppress(OSError):
            os.close(self._lock)

    def _plug_in(self, init: int, address: str) -> None:
        with self._mutex:
            self._ports += 1
            port = f"port{self._ports}"
        enter = [*namespaces.enter(self._switch.pid, "net"), "ip", "link"]
        for words in (
            ["add", port, "type", "veth", "peer", "name", "eth0", "address", _hardware(address), "netns", str(init)],
            ["set", port, "master", "bridge0", "up"],
        ):
            subprocess.run([*enter, *words], check=True, capture_output=True, timeout=300)


def _hardware(address: str) -> str:
    """Return the hardware address that goes with `address`: nobody remembers another one of an earlier machine."""
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def _hosts(name: str, address: str) -> list[tuple[str, str, int]]:
    own = f"{address} {name}.{DOMAIN} {name}\n"
    head = f"{HEAD_ADDRESS} head.{DOMAIN} head\n"
    text = "127.0.0.1 localhost\n" + (own if address == HEAD_ADDRESS else own + head)
    return [("/etc/hosts", text, 0o644), ("/etc/hostname", f"{name}\n", 0o644)]


def _start(command: list[str], errors: Path) -> subprocess.Popen[bytes]:
    with errors.open("wb") as stderr:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True
        )


def _expect(process: subprocess.Popen[bytes], word: bytes, errors: Path) -> None:
    assert process.stdout
    if process.stdout.readline().strip() != word:
        process.kill()
        process.wait()
        raise RuntimeError(f"namespaces of the testbed did not come up: {errors.read_text(errors='replace').strip()}")


def _hold(path: Path) -> int:
    lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise
    return lock


def _remove_left_overs() -> None:
    for lock_path in Path(tempfile.gettempdir()).glob(f"{_DIRECTORY_PREFIX}*/lock"):
        with suppress(OSError):
            os.close(_hold(lock_path))
            shutil.rmtree(lock_path.parent, ignore_errors=True)
