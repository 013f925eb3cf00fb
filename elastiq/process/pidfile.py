"""Who is the daemon of a state directory: a lock proves that it lives, a pid file says which process it is."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from types import TracebackType

import lockfile
from lockfile.pidlockfile import PIDLockFile, read_pid_from_pidfile

from elastiq.clock import Clock
from elastiq.errors import ElastiqError, StateError

LOCK_FILE = "lock"

PID_FILE = "elastiq.pid"

_TRIES = 20

_PAUSE_SECONDS = 0.05

_LOOKERS_SECONDS = 30.0
"""For so long those who only look at the lock may keep it from a daemon that starts."""


class AlreadyRunningError(ElastiqError):
    """Another daemon has the state directory."""

    def __init__(self, pid: int) -> None:
        super().__init__("elastiq is already running" + (f" (pid {pid})" if pid else ""))


class PidFile:
    """Context manager: while it is entered, this process is the one daemon of `directory`.

    The lock goes with the process, however it ends; so a pid file without the lock is stale and safely replaced, even
    if its number is another process's now.
    """

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._file = PIDLockFile(str(directory / PID_FILE))
        self._descriptor = -1

    def __enter__(self) -> PidFile:
        """Raise AlreadyRunningError, or StateError if the directory cannot be used, or anybody may write there."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._directory.stat().st_mode & stat.S_IWOTH:
                what = "anybody may write there, and have elastiq end VMs that it did not launch; do chmod o-w on it"
                raise StateError(f"{self._directory}: {what}")
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._directory / LOCK_FILE, flags, 0o600)
        except OSError as error:
            raise StateError(f"{self._directory}: {error.strerror}; the state directory must be writable") from None
        if not self._lock():
            os.close(self._descriptor)
            raise AlreadyRunningError(find_daemon(self._directory) or 0)
        try:
            self._file.break_lock()
            self._file.acquire(timeout=0)
        except (OSError, lockfile.Error) as error:
            os.close(self._descriptor)
            raise StateError(f"{self._file.path}: {error}; the state directory must be writable") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._file.release()
        except (OSError, UnicodeDecodeError, lockfile.Error):
            pass  # somebody removed it, which is what was wanted, or wrote something else there
        os.close(self._descriptor)

    def _lock(self) -> bool:
        """Return whether no other daemon has the lock. One look is not enough, because `find_daemon` holds it for an
        instant, which is long if a busy machine puts off whoever looks."""
        until = self._clock.now() + _LOOKERS_SECONDS
        tries = 0
        while tries < _TRIES and self._clock.now() < until:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                tries += find_daemon(self._directory) is not None
                self._clock.sleep(_PAUSE_SECONDS)
            else:
                return True
        return False


def find_daemon(directory: Path) -> int | None:
    """Return the process id of the daemon of `directory`, 0 if it is only just starting, None if there is none.

    Raise StateError if that cannot be seen.
    """
    try:
        descriptor = os.open(directory / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{directory / LOCK_FILE}: {error.strerror}; ask as root or as the daemon's user") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = _pid_in(directory / PID_FILE)
        return pid if pid > 0 and _is_locked_by(pid, descriptor) and _has_open(pid, descriptor) else 0
    else:
        return None
    finally:
        os.close(descriptor)


def _pid_in(path: Path) -> int:
    """Return the number in a pid file, 0 if it has none."""
    try:
        return read_pid_from_pidfile(str(path)) or 0
    except UnicodeDecodeError:
        return 0


def _is_locked_by(pid: int, descriptor: int) -> bool:
    """Return whether process `pid` may hold the lock. Whoever may write in the state directory could otherwise make
    the lock a link to what another process has open, and have root end that one."""
    holders = _holders(os.fstat(descriptor).st_ino)
    return not holders or pid in holders  # on some network file systems nobody is said to


def _has_open(pid: int, descriptor: int) -> bool:
    """Return whether process `pid` has the file open that `descriptor` is: the daemon's number may be stale."""
    wanted = os.fstat(descriptor)
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if os.path.samestat(entry.stat(), wanted):
                    return True
            except FileNotFoundError:
                continue  # closed while we looked
    except PermissionError:
        return _has_locked(pid, wanted.st_ino)
    except OSError:
        return False
    return False


def _has_locked(pid: int, inode: int) -> bool:
    """Return whether process `pid` holds the lock, where nobody may look into it: to root in a container the
    descriptors of other users' processes are closed, for want of CAP_SYS_PTRACE.

    Anybody may read the table of locks, which numbers processes as the reader's own namespace does, and unlike the
    owner of the process it cannot take a stale number for the daemon's. Its device is often not what stat tells.
    """
    return pid in _holders(inode)


def _holders(inode: int) -> set[int]:
    """Return which processes the system says to hold a lock on a file of this number."""
    try:
        lines = Path("/proc/locks").read_text("ascii").splitlines()
    except OSError:
        return set()
    # 1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234567 0 EOF
    held = [line.split() for line in lines if " FLOCK " in line and " -> " not in line]
    return {int(words[4]) for words in held if words[5].endswith(f":{inode}") and words[4].isdigit()}
