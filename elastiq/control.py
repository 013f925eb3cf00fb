"""Starts and stops the daemon from outside."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from elastiq.clock import Clock
from elastiq.config import Settings
from elastiq.errors import ConfigError, ElastiqError
from elastiq.plugins import loading
from elastiq.process.logs import LOG_FILE
from elastiq.process.pidfile import AlreadyRunningError, find_daemon
from elastiq.process.user import become_service_user

log = logging.getLogger(__name__)

OK = 0
FAILED = 1
"""Wrong usage, no daemon to tell about, or a daemon that could not be started or stopped (as the original)."""
BAD_CONFIGURATION = 2
"""The configuration or the plugin cannot be used (as the original)."""
NO_SUCH = 3
"""There is no such job or VM."""
UNREACHABLE = 4
"""The cloud that was to be checked does not answer."""

START_SECONDS = 60.0
STOP_SECONDS = 30.0
"""The daemon ends within 5 s; more only if a disk hangs."""
KILL_SECONDS = 5.0
_PAUSE_SECONDS = 0.1


def start(configuration: Path, state_directory: Path, log_directory: Path | None) -> int:
    """Start the daemon in the background, and return the exit code when it runs or is known not to.

    Raise ConfigError or StateError.
    """
    running = find_daemon(state_directory)
    if running is not None:
        print(AlreadyRunningError(running))
        return OK
    become_service_user(configuration, state_directory, log_directory)
    settings = loading.read_settings(configuration)
    loading.load(settings.elastiq.batch_plugin, settings)
    _open_standard_streams()
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.close(read_end)
        _be_daemon(settings, state_directory, log_directory, write_end)
    os.close(write_end)
    os.wait()
    for warning in settings.warnings:
        print(warning, file=sys.stderr)
    return _tell_start(_last_words(read_end), log_directory)


def _open_standard_streams() -> None:
    """Give this process the standard streams that its caller has closed; python-daemon wants to redirect them."""
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115, PTH123
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123


def _be_daemon(settings: Settings, state_directory: Path, log_directory: Path | None, write_end: int) -> NoReturn:
    from elastiq import daemon  # not for everybody: the client of EC2 takes longest to import

    told = False

    def tell(code: int, text: str) -> None:
        nonlocal told
        if told:
            log.critical("%s", text)
            return
        told = True
        os.write(write_end, json.dumps([code, text]).encode())
        os.close(write_end)

    with daemon.background(write_end):
        try:
            daemon.run(
                settings, state_directory, log_directory, lambda: tell(OK, f"elastiq has started (pid {os.getpid()})")
            )
        except AlreadyRunningError as error:
            tell(OK, str(error))
        except ConfigError as error:
            tell(BAD_CONFIGURATION, str(error))
        except (ElastiqError, OSError) as error:
            tell(FAILED, f"elastiq: {error}")
    leave(OK)


def _last_words(read_end: int) -> str:
    """Return what the process in the background says when it runs or fails; empty if it says nothing."""
    clock = Clock()
    until = clock.now() + START_SECONDS
    words = b""
    while select.select([read_end], [], [], max(0.0, until - clock.now()))[0]:
        piece = os.read(read_end, 65536)
        if not piece:
            break
        words += piece
    os.close(read_end)
    return words.decode()


def _tell_start(words: str, log_directory: Path | None) -> int:
    if not words:
        where = f"; see {log_directory / LOG_FILE}" if log_directory else ""
        return refuse(FAILED, f"elastiq did not start{where}")
    code, text = json.loads(words)
    print(text, file=sys.stderr if code else sys.stdout)
    return int(code)


def stop(directory: Path, problem: str) -> int:
    """End the daemon of `directory`, and return the exit code when it has ended. `problem` says why the configuration
    does not tell whether that is the right directory."""
    clock = Clock()
    pid = find_daemon(directory)
    until = clock.now() + STOP_SECONDS
    while pid == 0 and clock.now() < until:
        clock.sleep(_PAUSE_SECONDS)
        pid = find_daemon(directory)
    if pid is None:
        if problem:
            print(f"{problem}\nso the daemon was looked for in {directory}", file=sys.stderr)
        print("elastiq is not running")
        return OK
    if pid == 0:
        return refuse(FAILED, f"elastiq is running, but {directory} does not say as which process")
    _signal(pid, signal.SIGTERM)
    if _has_ended(pid, directory, clock, STOP_SECONDS):
        print(f"elastiq has stopped (pid {pid})")
        return OK
    print(f"elastiq (pid {pid}) has not ended for {STOP_SECONDS:.0f} s and is killed now", file=sys.stderr)
    _signal(pid, signal.SIGKILL)
    if _has_ended(pid, directory, clock, KILL_SECONDS):
        return OK
    return refuse(FAILED, f"elastiq (pid {pid}) cannot even be killed; its disk may hang")


def retry(directory: Path, problem: str) -> int:
    """Have the daemon of `directory` try again what it has given up for a while; return the exit code."""
    pid = find_daemon(directory)
    if not pid:
        return refuse(FAILED, f"{problem}\n" * bool(problem) + "elastiq is not running")
    _signal(pid, signal.SIGUSR1)
    print(f"elastiq (pid {pid}) tries again: jobs that did not start, and launches that pause")
    return OK


def _signal(pid: int, number: int) -> None:
    """Send a signal to the daemon, which may have ended since it was found."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _has_ended(pid: int, directory: Path, clock: Clock, seconds: float) -> bool:
    """Return whether process `pid` gave `directory` up within `seconds`; then it lives for an instant at most, which is
    waited for, too: whoever removes its user or its files next wants it gone."""
    until = clock.now() + seconds
    while (held := find_daemon(directory) in (pid, 0)) or _lives(pid):
        if clock.now() > until:
            return not held
        clock.sleep(_PAUSE_SECONDS)
    return True


def _lives(pid: int) -> bool:
    """Return whether there is such a process, and not only what is left of it for its parent."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].strip()[:1]
    except OSError:
        return False
    return state not in "ZX"


def refuse(code: int, text: str) -> int:
    """Say why something was not done; return the exit code."""
    print(text, file=sys.stderr)
    return code


def leave(code: int) -> NoReturn:
    """End this process at once. A thread may still be in a call that was abandoned, and the end of the interpreter
    is not safe, nor always short, while threads are inside of foreign libraries."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
