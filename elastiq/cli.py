"""What elastiq-real.py and, through it, elastiqctl do."""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import pwd
import select
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

from elastiq.clock import Clock
from elastiq.config import Settings, defaults
from elastiq.errors import ConfigError, ElastiqError
from elastiq.plugins import loading
from elastiq.process.logs import LOG_FILE
from elastiq.process.pidfile import AlreadyRunningError, find_daemon
from elastiq.state import read_report
from elastiq.text import printable
from elastiq.version import VERSION

log = logging.getLogger(__name__)

OK = 0
FAILED = 1
"""Wrong usage, no daemon to tell about, or a daemon that could not be started or stopped (as the original)."""
BAD_CONFIGURATION = 2
"""The configuration or the plugin cannot be used (as the original)."""

SERVICE_USER = "elastiq"
"""System user that the packages make; the daemon in the background never stays root if there is one."""

START_SECONDS = 60.0
STOP_SECONDS = 30.0
"""The daemon ends within 5 s; more only if a disk hangs."""
KILL_SECONDS = 5.0
_PAUSE_SECONDS = 0.1

SILENT_SECONDS = 180.0
"""A running daemon writes its report every minute."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End with the exit code that the original has for wrong usage."""
        self.exit(FAILED, f"{self.format_usage()}{self.prog}: {message}\n")


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="elastiq-real.py",
        description="Run elastiq in the foreground. See elastiqctl to run it in the background.",
        usage="elastiq-real.py --config=FILE [--logdir=DIRECTORY] [--check] [--version] [--help]",
        allow_abbrev=False,
    )
    parser.add_argument("action", nargs="?", default="run", choices=sorted(_ACTIONS), help=argparse.SUPPRESS)
    parser.add_argument("--config", metavar="FILE", type=_path, help="the configuration file")
    parser.add_argument("--logdir", metavar="DIRECTORY", type=_path, help="log to files there, not to standard error")
    parser.add_argument("--state-dir", type=_path, help=argparse.SUPPRESS)
    parser.add_argument("--user", help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help="check the configuration file, contact nothing, and end")
    parser.add_argument("--version", action="version", version=f"elastiq {VERSION}")
    options = parser.parse_args(arguments)
    if options.config is None:
        parser.error("--config is missing")
    return options


def _path(text: str) -> Path:
    """Return an absolute path: in the background the working directory is another."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return Path(os.path.abspath(text))  # noqa: PTH100 - symbolic links stay what they are


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code."""
    os.umask(0o077)
    options = _arguments(arguments)
    try:
        return _check(options) if options.check else _ACTIONS[options.action](options)
    except ConfigError as error:
        return _refuse(BAD_CONFIGURATION, str(error))
    except (ElastiqError, OSError) as error:
        return _refuse(FAILED, f"elastiq: {error}")
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _refuse(code: int, text: str) -> int:
    print(text, file=sys.stderr)
    return code


def _state_directory(options: argparse.Namespace, settings: Settings) -> Path:
    directory: Path = options.state_dir or settings.elastiq.state_dir or defaults.state_dir()
    return directory


def _check(options: argparse.Namespace) -> int:
    settings = loading.read_settings(options.config)
    loading.load(settings.elastiq.batch_plugin, settings)
    print("\n".join([*settings.warnings, f"{printable(str(options.config))}: the configuration is good"]))
    return OK


def _run(options: argparse.Namespace) -> int:
    from elastiq import daemon  # not for everybody: the client of EC2 takes longest to import

    settings = loading.read_settings(options.config)
    if _service_user() is not None:
        print(
            f"elastiq runs as root now, and what it writes cannot be used later by the user {SERVICE_USER}, "
            "as whom elastiqctl and the service run it",
            file=sys.stderr,
        )
    try:
        daemon.run(settings, _state_directory(options, settings), options.logdir, lambda: None)
    except AlreadyRunningError as error:
        print(error)
        return OK
    return _leave(OK)


def _leave(code: int) -> NoReturn:
    """End this process at once. A thread may still be in a call that was abandoned, and the end of the interpreter
    is not safe, nor always short, while threads are inside of foreign libraries."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _start(options: argparse.Namespace) -> int:
    """Start the daemon in the background, and return when it runs or is known not to."""
    state_directory = _state_directory(options, loading.read_without_plugin(options.config))
    running = find_daemon(state_directory)
    if running is not None:
        print(AlreadyRunningError(running))
        return OK
    _become_service_user(options, state_directory)
    settings = loading.read_settings(options.config)
    loading.load(settings.elastiq.batch_plugin, settings)
    _open_standard_streams()
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.close(read_end)
        _be_daemon(settings, state_directory, options.logdir, write_end)
    os.close(write_end)
    os.wait()
    for warning in settings.warnings:
        print(warning, file=sys.stderr)
    return _tell_start(_last_words(read_end), options.logdir)


def _open_standard_streams() -> None:
    """Give this process the standard streams that its caller has closed; python-daemon wants to redirect them."""
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115, PTH123
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123


def _be_daemon(settings: Settings, state_directory: Path, log_directory: Path | None, write_end: int) -> NoReturn:
    from elastiq import daemon

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
    _leave(OK)


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
        return _refuse(FAILED, f"elastiq did not start{where}")
    code, text = json.loads(words)
    print(text, file=sys.stderr if code else sys.stdout)
    return int(code)


def _become_service_user(options: argparse.Namespace, state_directory: Path) -> None:
    """As root, go on as the system user elastiq if there is one: never return then, but run this program anew.

    Only directories that are made here are given to that user; what exists is left alone, because whoever may write
    there could otherwise have root give away other files. Running anew leaves nothing of root behind in the process.
    """
    user = _service_user()
    if user is None:
        return
    for directory in (state_directory, options.logdir):
        if directory is not None and not directory.exists():
            _make_directory(directory, user)
    os.environ.update({"HOME": user.pw_dir, "USER": SERVICE_USER, "LOGNAME": SERVICE_USER})
    os.initgroups(SERVICE_USER, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    if not os.access(options.config, os.R_OK):
        raise ConfigError(
            [f"{options.config}: the user {SERVICE_USER} cannot read it; do chown root:{SERVICE_USER} and chmod 0640"]
        )
    command_line = [sys.executable, sys.argv[0], "start", f"--config={options.config}"]
    command_line.append(f"--state-dir={state_directory}")
    if options.logdir is not None:
        command_line.append(f"--logdir={options.logdir}")
    sys.stdout.flush()
    os.execv(sys.executable, command_line)  # noqa: S606


def _make_directory(directory: Path, user: pwd.struct_passwd) -> None:
    """Make a private directory for `user`, and what is missing above it for everybody to pass through."""
    missing = [parent for parent in directory.parents if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir()
        parent.chmod(0o755)
    directory.mkdir(mode=0o700)
    os.chown(directory, user.pw_uid, user.pw_gid)


def _service_user() -> pwd.struct_passwd | None:
    """Return as whom root starts the daemon, or None if it stays who it is."""
    if os.geteuid() != 0:
        return None
    try:
        user = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return None
    return user if user.pw_uid != 0 else None


def _where(options: argparse.Namespace) -> tuple[Path, str]:
    """Return the state directory, and why the configuration file cannot be used: to look and to stop, it need not."""
    try:
        return _state_directory(options, loading.read_without_plugin(options.config)), ""
    except ConfigError as error:
        return options.state_dir or defaults.state_dir(), str(error)


def _stop(options: argparse.Namespace) -> int:
    """End the daemon, and return when it has ended."""
    directory, problem = _where(options)
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
        return _refuse(FAILED, f"elastiq is running, but {directory} does not say as which process")
    _signal(pid, signal.SIGTERM)
    if _has_ended(pid, directory, clock, STOP_SECONDS):
        print(f"elastiq has stopped (pid {pid})")
        return OK
    print(f"elastiq (pid {pid}) has not ended for {STOP_SECONDS:.0f} s and is killed now", file=sys.stderr)
    _signal(pid, signal.SIGKILL)
    if _has_ended(pid, directory, clock, KILL_SECONDS):
        return OK
    return _refuse(FAILED, f"elastiq (pid {pid}) cannot even be killed; its disk may hang")


def _signal(pid: int, number: int) -> None:
    """Send a signal to the daemon, which may have ended since it was found."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _has_ended(pid: int, directory: Path, clock: Clock, seconds: float) -> bool:
    """Return whether process `pid` gave `directory` up within `seconds`; then it lives for an instant at most, which is
    waited for, too: whoever removes its user or its files next wants it gone."""
    until = clock.now() + seconds
    while (held := find_daemon(directory) in (pid, 0)) or (find_daemon(directory) is None and _lives(pid)):
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


def _status(options: argparse.Namespace) -> int:
    directory, problem = _where(options)
    if problem:
        print(f"{problem}\nso the daemon is looked for in {directory}", file=sys.stderr)
    pid = find_daemon(directory)
    if pid is None:
        print("elastiq is not running")
        return FAILED
    report = read_report(directory)
    if report is None or (pid and report.get("pid") != pid):
        print(f"elastiq is running (pid {pid or 'not known yet'}); it has not reported yet")
        return OK
    print("\n".join(_picture(report, Clock().monotonic_microseconds())))
    return OK


def _picture(report: dict[str, Any], monotonic_microseconds: int) -> list[str]:
    """Return the report of a running daemon for people, line by line, as at that time of the monotonic clock."""
    try:
        return _lines(report, monotonic_microseconds)
    except (TypeError, ValueError, AttributeError, ArithmeticError, OSError):
        return [f"elastiq is running, but its last report cannot be read; see the log: {str(report)[:200]}"]


def _lines(report: dict[str, Any], monotonic_microseconds: int) -> list[str]:
    lines = [
        f"elastiq {report.get('version')} is running (pid {report.get('pid')}) since {_time(report, 'started_at')}"
    ]
    age_seconds = (monotonic_microseconds - int(report.get("monotonic_microseconds") or 0)) / 1_000_000
    if age_seconds < 0:
        # Of another boot, in which the daemon had the same number, as is usual in containers.
        lines.append("  but it has not reported since this machine was started; see the log")
    elif age_seconds > SILENT_SECONDS:
        lines.append(f"  but it has not reported for {age_seconds:.0f} s; see the log")
    facts = {
        "jobs waiting": _number(report.get("jobs_waiting")),
        "workers": f"{_number(report.get('workers_busy'))} busy, {_number(report.get('workers_idle'))} idle",
        "VMs": _vms(report),
        "last action": _event(report.get("last_action")),
        "last error": _event(report.get("last_error")),
    }
    for hold in report.get("holds") or []:
        lines.append(f"  holding back  {hold}")
    lines[1:1] = [f"  {name:13} {text}" for name, text in facts.items()]
    return lines


def _vms(report: dict[str, Any]) -> str:
    at_most = report.get("max_vms")
    unconfirmed = report.get("vms_unconfirmed")
    counts = [
        f"{_number(report.get('vms_pending'))} pending",
        f"{_number(report.get('vms_running'))} running",
        *([f"{unconfirmed} unconfirmed"] if unconfirmed else []),
    ]
    limits = f"{_number(report.get('min_vms'))}..{'unlimited' if at_most is None else at_most}"
    return f"{', '.join(counts)} of {limits}"


def _number(value: object) -> str:
    return "unknown" if value is None else str(value)


def _event(event: dict[str, Any] | None) -> str:
    return f"{_time(event, 'at')}: {event.get('text')}" if event else "none"


def _time(facts: dict[str, Any], name: str) -> str:
    at = datetime.fromtimestamp(float(facts.get(name) or 0), timezone.utc)
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S%z")


def _conf(options: argparse.Namespace) -> int:
    directory, problem = _where(options)
    facts = {
        "python": f"{platform.python_version()} ({sys.executable})",
        "elastiq": f"{VERSION} ({Path(__file__).parent})",
        "configuration": f"{options.config} ({'cannot be used, see --check' if problem else 'good'})",
        "log directory": str(options.logdir or "none: standard error"),
        "state directory": str(directory),
        "user": options.user or _daemon_user(),
    }
    for name, text in facts.items():
        print(f"{name:16} {text}")
    return OK


def _daemon_user() -> str:
    """Return as whom `start` starts the daemon; elastiqctl knows better, and says so, where systemd starts it."""
    user = _service_user()
    if user is not None:
        return user.pw_name
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


_ACTIONS = {"run": _run, "start": _start, "stop": _stop, "status": _status, "conf": _conf}


if __name__ == "__main__":
    sys.exit(main())
