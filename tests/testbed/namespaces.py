"""What every system that the tests run in namespaces of its own is made of, on the testbed and in tests/packaging."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

NAMESPACES = ("--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child")
"""For unshare: everything of its own; it ends with the process that made it."""

MOUNT_SCRIPT = """
mount -t tmpfs -o mode=0755 tmpfs "$scratch"
cd "$scratch"
mkdir upper work merged
mount -t overlay -o "lowerdir=$lower,upperdir=upper,workdir=work" overlay merged
cd merged
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t tmpfs -o mode=0755 tmpfs run
mkdir -m 1777 run/lock
mount -t tmpfs -o mode=0755 tmpfs dev
mkdir -m 1777 dev/shm dev/pts
for device in null zero full random urandom tty; do
  : >dev/$device
  mount --bind /dev/$device dev/$device
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
"""
"""Goes into a root directory made of `$lower` and a layer in memory at `$scratch`; `pivot_root` is left to do."""

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

_CLONE_NEWNET = 0x40000000


def first_process(maker: subprocess.Popen[bytes]) -> int:
    """Return the first process of the system that `maker`, an unshare that has said that it is up, has made; as seen
    from outside."""
    return int(Path(f"/proc/{maker.pid}/task/{maker.pid}/children").read_text().split()[0])


def enter(process: int, *namespaces: str) -> list[str]:
    """Return the words to put before a command so that it runs in these namespaces of `process`, by default in all."""
    names = namespaces or ("mount", "uts", "ipc", "net", "pid", "root", "wd")
    return ["nsenter", f"--target={process}", *(f"--{name}" for name in names)]


@contextmanager
def entered_network(process: int) -> Iterator[None]:
    """Let the calling thread, and threads and processes that it starts, see the network of `process` in place of the
    host's. A socket that is made meanwhile stays in there."""
    set_namespace = ctypes.CDLL(None, use_errno=True).setns
    with open("/proc/thread-self/ns/net") as before, open(f"/proc/{process}/ns/net") as inside:
        if set_namespace(inside.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        try:
            yield
        finally:
            set_namespace(before.fileno(), _CLONE_NEWNET)


def clean(*command: str, user: str = "", home: str = "", environment: Mapping[str, str] | None = None) -> list[str]:
    """Return `command` with a clean environment, as `user` if given."""
    home = home or (f"/home/{user}" if user else "/root")
    variables = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": home, "USER": user or "root", **(environment or {})}
    become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
    return [*become, "env", "-i", f"--chdir={home}", *(f"{k}={v}" for k, v in variables.items()), *command]


def close_pipes(process: subprocess.Popen[bytes]) -> None:
    """Close our ends of the pipes of a process that has ended."""
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with suppress(BrokenPipeError):
                pipe.close()
