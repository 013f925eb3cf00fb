"""Run commands of the batch system: argument lists, never a shell, and an end that really comes."""

from __future__ import annotations

import atexit
import os
import selectors
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from elastiq.errors import BatchError
from elastiq.text import one_line

OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024
"""More output than this is an error: the daemon has to stay small, and half an answer is no answer. HTCondor tells of
40,000 slots in 25 MB."""

_ERROR_TAIL_BYTES = 4096
_EXCERPT_CHARACTERS = 300
_READ_BYTES = 256 * 1024
_REAP_SECONDS = 1.0
_SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

# Keys of the cloud (AWS_*) and settings of other people's Python must not get through: a list of what may.
_KEPT_VARIABLES = frozenset(
    {
        "HOME", "LOGNAME", "USER", "PATH", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV",
        "CONDOR_CONFIG", "KRB5CCNAME", "X509_USER_PROXY", "X509_CERT_DIR", "SSL_CERT_FILE", "SSL_CERT_DIR",
        "SLURM_CONF", "SGE_ROOT", "SGE_CELL", "SGE_CLUSTER_NAME", "SGE_QMASTER_PORT", "SGE_EXECD_PORT",
        "PBS_CONF_FILE", "PBS_DEFAULT", "PBS_SERVER", "LSF_ENVDIR", "LSF_SERVERDIR", "LSF_BINDIR", "LSF_LIBDIR",
    }
)  # fmt: skip
_KEPT_PREFIXES = ("_CONDOR_", "_condor_")


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    status: int
    """Exit status; negative: the signal that killed it."""
    output: str
    error_output: str
    """The last few kilobytes of what it wrote to standard error."""

    @property
    def ending(self) -> str:
        """Return how it ended if it failed, after its name."""
        return _ending(self.status)

    @property
    def excerpt(self) -> str:
        """What the command said about its failure, in one short line."""
        return one_line(self.error_output, _EXCERPT_CHARACTERS) or one_line(self.output, _EXCERPT_CHARACTERS)


def run(
    arguments: Sequence[str],
    timeout_seconds: float,
    *,
    input_bytes: bytes | None = None,
    output_limit_bytes: int = OUTPUT_LIMIT_BYTES,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a command and return its standard output; bytes that are not UTF-8 become U+FFFD.

    It runs in the C locale, in a session of its own (but see `share_group`), with a small environment to which
    `environment` is added, and reads `input_bytes` or nothing.

    Raise BatchError if it cannot be started, fails, writes more than `output_limit_bytes`, or has not ended and
    closed its output within `timeout_seconds`; by then its process group has been killed.
    """
    return pipeline(
        [arguments],
        timeout_seconds,
        input_bytes=input_bytes,
        output_limit_bytes=output_limit_bytes,
        environment=environment,
    )


def pipeline(
    commands: Sequence[Sequence[str]],
    timeout_seconds: float,
    *,
    input_bytes: bytes | None = None,
    output_limit_bytes: int = OUTPUT_LIMIT_BYTES,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run commands, each reading what the one before writes, and return what the last one wrote.

    Like `run`; the failure of any of them is an error.
    """
    results = _execute(commands, timeout_seconds, input_bytes, output_limit_bytes, environment)
    failed = [(list(arguments), result) for arguments, result in zip(commands, results) if result.status != 0]
    # A command whose reader died of something is only told so by SIGPIPE: name the culprit first.
    failed.sort(key=lambda item: item[1].status == -signal.SIGPIPE)
    for arguments, result in failed:
        said = result.excerpt
        raise BatchError(f"{arguments[0]} {result.ending}" + (f": {said}" if said else ""))
    return results[-1].output


def execute(
    arguments: Sequence[str],
    timeout_seconds: float,
    *,
    input_bytes: bytes | None = None,
    output_limit_bytes: int = OUTPUT_LIMIT_BYTES,
    environment: Mapping[str, str] | None = None,
) -> Result:
    """Like `run`, for commands whose exit status is an answer: return it instead of raising for it."""
    return _execute([arguments], timeout_seconds, input_bytes, output_limit_bytes, environment)[0]


def end_all() -> None:
    """Kill every command that still runs, and start no other: the daemon stops. Safe from any thread."""
    with _running_lock:
        _stopping.set()
        for process in _running:
            _kill_group(process)


def share_group() -> None:
    """Start every further command in this process' own group, if it leads one: it is itself a command that `run`
    started, and whoever kills its group means what it has started, too."""
    if os.getpgrp() == os.getpid():
        _sharing.set()


_running: set[subprocess.Popen[bytes]] = set()
_running_lock = threading.Lock()
_stopping = threading.Event()
_sharing = threading.Event()
atexit.register(end_all)


def _execute(
    commands: Sequence[Sequence[str]],
    timeout_seconds: float,
    input_bytes: bytes | None,
    output_limit_bytes: int,
    environment: Mapping[str, str] | None,
) -> list[Result]:
    processes: list[subprocess.Popen[bytes]] = []
    try:
        _start(processes, commands, input_bytes, _clean_environment(environment or {}))
        return _Collector(commands, processes, output_limit_bytes).collect(timeout_seconds)
    finally:
        _end(processes)


def _start(
    processes: list[subprocess.Popen[bytes]],
    commands: Sequence[Sequence[str]],
    input_bytes: bytes | None,
    environment: Mapping[str, str],
) -> None:
    """Start all `commands`, connected; whatever was started is in `processes`, even when this raises BatchError."""
    reads_from = _input_file(input_bytes)
    try:
        for arguments in commands:
            with _running_lock:  # so that `end_all` sees every process, or none is started
                if _stopping.is_set():
                    raise BatchError(f"{arguments[0]} was not started: elastiq is stopping")
                process = _popen(arguments, reads_from, environment)
                _running.add(process)
            processes.append(process)
            os.close(reads_from)
            reads_from = -1
            if process.stdout and len(processes) < len(commands):
                # Only the next command may hold this end, or the writer would never see its reader go.
                reads_from = os.dup(process.stdout.fileno())
                process.stdout.close()
    finally:
        if reads_from >= 0:
            os.close(reads_from)


def _popen(arguments: Sequence[str], reads_from: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    name = arguments[0]
    try:
        return subprocess.Popen(
            list(arguments),
            stdin=reads_from,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd="/",
            start_new_session=not _sharing.is_set(),
            bufsize=0,
        )
    except FileNotFoundError as error:
        raise BatchError(f"{name} was not found: is it installed, and in PATH ({environment['PATH']})?") from error
    except PermissionError as error:
        raise BatchError(f"{name} cannot be run: permission denied") from error
    except (OSError, ValueError) as error:
        raise BatchError(f"{name} cannot be run: {error}") from error


def _input_file(input_bytes: bytes | None) -> int:
    if input_bytes is None:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    # A file in memory, not a pipe: nobody has to wait until a command reads it.
    descriptor = os.memfd_create("elastiq-input")
    os.write(descriptor, input_bytes)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


class _Collector:
    """Reads what the commands write until all have closed their output, then waits for their exit."""

    def __init__(
        self, commands: Sequence[Sequence[str]], processes: Sequence[subprocess.Popen[bytes]], limit_bytes: int
    ) -> None:
        self._label = " | ".join(arguments[0] for arguments in commands)
        self._processes = processes
        self._limit_bytes = limit_bytes
        self._output = bytearray()
        self._error_tails = [b""] * len(processes)
        self._expired = threading.Event()
        self._alarm_read, self._alarm_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def collect(self, timeout_seconds: float) -> list[Result]:
        # A timer thread instead of a clock: select cannot be told an end, only a time span.
        timer = threading.Timer(timeout_seconds, self._expire)
        timer.daemon = True
        timer.start()
        try:
            if not (self._read_all() and all(self._wait(process) for process in self._processes)):
                raise BatchError(f"{self._label} gave no complete answer within {timeout_seconds:g} s and was killed")
        finally:
            timer.cancel()
            timer.join()  # it writes to the pipe that is closed next
            os.close(self._alarm_read)
            os.close(self._alarm_write)
        output = self._output.decode("utf-8", "replace")
        self._output.clear()
        last = len(self._processes) - 1
        return [
            Result(process.returncode, output if index == last else "", tail.decode("utf-8", "replace"))
            for index, (process, tail) in enumerate(zip(self._processes, self._error_tails))
        ]

    def _expire(self) -> None:
        self._expired.set()
        os.write(self._alarm_write, b"\0")

    def _read_all(self) -> bool:
        """Read until the end of every output; return False if the time was over first."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._alarm_read, selectors.EVENT_READ)
            for index, process in enumerate(self._processes):
                if process.stderr:
                    selector.register(process.stderr, selectors.EVENT_READ, index)
            if self._processes[-1].stdout:
                selector.register(self._processes[-1].stdout, selectors.EVENT_READ, -1)
            while len(selector.get_map()) > 1:
                for key, _ in selector.select():
                    if key.fd == self._alarm_read:
                        return False
                    chunk = os.read(key.fd, _READ_BYTES)
                    if not chunk:
                        selector.unregister(key.fileobj)
                    elif key.data >= 0:
                        self._error_tails[key.data] = (self._error_tails[key.data] + chunk)[-_ERROR_TAIL_BYTES:]
                    else:
                        self._keep(chunk)
        return True

    def _keep(self, chunk: bytes) -> None:
        if len(self._output) + len(chunk) > self._limit_bytes:
            raise BatchError(f"{self._label} wrote more than {self._limit_bytes} bytes and was killed")
        self._output += chunk

    def _wait(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait for the exit, which normally follows the end of output at once; return False if time is over."""
        pause_seconds = 0.0005
        while process.poll() is None:
            if self._expired.wait(pause_seconds):
                return False
            pause_seconds = min(pause_seconds * 2, 0.05)
        return True


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Kill what still runs, close our ends of the pipes and reap, without ever waiting for long.

    A process that cannot die now (hung in the kernel) is reaped by the subprocess module at a later start.
    """
    with _running_lock:
        for process in processes:
            _kill_group(process)
    for process in processes:
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
        try:
            process.wait(_REAP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
    with _running_lock:
        _running.difference_update(processes)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # Not reaped yet, so its number cannot have been given to another process.
    if process.returncode is None:
        try:
            if _sharing.is_set():
                _end_the_rest_of_the_group()
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # it is gone, or it is another user's now (set-user-id) and ends by itself


def _end_the_rest_of_the_group() -> None:
    """Ask whatever is in this process' own group to end, but not this process: SIGKILL would be its own end."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        os.killpg(0, signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def _clean_environment(added: Mapping[str, str]) -> dict[str, str]:
    environment = {
        name: value for name, value in os.environ.items() if name in _KEPT_VARIABLES or name.startswith(_KEPT_PREFIXES)
    }
    path = [part for part in environment.get("PATH", "").split(":") if part]
    # A daemon started at boot may have a PATH without the directories where batch systems put their commands.
    environment["PATH"] = ":".join(path + [part for part in _SYSTEM_PATH if part not in path])
    environment["LC_ALL"] = "C"
    environment.update(added)
    return environment


def _ending(status: int) -> str:
    if status >= 0:
        return f"failed with exit status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
