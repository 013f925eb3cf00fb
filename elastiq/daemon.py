"""The process around the loop: its ports, its signals, its service manager, its way into the background."""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType

from daemon import DaemonContext

from elastiq import command
from elastiq.clock import Clock
from elastiq.config import Settings
from elastiq.core import Core
from elastiq.ec2 import Ec2, userdata
from elastiq.errors import BatchError, ElastiqError
from elastiq.plugins import loading
from elastiq.ports import Ports
from elastiq.process import logs
from elastiq.process.cloud_lanes import CloudLane, CloudLanes
from elastiq.process.lanes import ADVICE_WAIT_SECONDS, BatchLane, Lane
from elastiq.process.messenger import Messenger
from elastiq.process.pages import PageLane, page_lane
from elastiq.process.pidfile import PidFile
from elastiq.process.systemd import ServiceManager
from elastiq.redaction import Redactor
from elastiq.report.reporter import REPORT_EVERY_SECONDS
from elastiq.state import State
from elastiq.state.archive import Archive
from elastiq.version import VERSION

log = logging.getLogger(__name__)

SHORTEST_SLEEP_SECONDS = 0.05
MOST_DESCRIPTORS = 4096
"""How many file descriptors the background process may have; it needs a few dozen."""

FIXED_OPTIONS = ("state_dir", "cluster_name")
"""Options that a running daemon cannot change without losing sight of its VMs."""


class Daemon:
    """Runs the loop until SIGTERM, SIGINT or SIGQUIT; SIGHUP reads the configuration again, SIGUSR1 has what was
    given up for a while tried again."""

    def __init__(self, settings: Settings, state_directory: Path, redactor: Redactor) -> None:
        self._settings = settings
        self._state_directory = state_directory
        self._redactor = redactor
        self._clock = Clock()
        self._manager = ServiceManager(os.environ)
        self._lanes: tuple[Lane, ...] = ()
        self._state: State | None = None
        self._core: Core | None = None
        self._messenger: Messenger | None = None
        self._stop_signal = 0
        self._reload = self._try_again = False

    def listen(self) -> None:
        """Take over the signals. A stop that comes early counts, once all is set up."""
        # condor_master ends its daemons by SIGQUIT when they are to go fast.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)
        signal.signal(signal.SIGUSR1, self._on_try_again)
        self._clock.wake_on_signals()

    def run(self, ready: Callable[[], None]) -> None:
        """Set up, call `ready`, and loop. Raise ConfigError or StateError if it cannot be set up."""
        sys.excepthook = _log_crash
        for warning in self._settings.warnings:
            log.warning("%s", warning)
        self._state = state = State(self._state_directory, self._clock.now())
        try:
            batch, cloud = self._ports(self._settings, state.refused_features(self._settings.cloud))
            self._messenger = messenger = _messenger(self._settings, state, self._redactor)
            history = Archive(self._state_directory)
            ports = Ports(self._clock, batch, cloud, state, history, messenger, self._pages())
            self._core = Core(self._settings, ports, redactor=self._redactor)
            log.info(
                "elastiq %s has started: process %d, configuration %s, state in %s, batch system %s, cluster %s",
                VERSION,
                os.getpid(),
                self._settings.path,
                self._state_directory,
                self._settings.elastiq.batch_plugin,
                self._settings.elastiq.cluster_name,
            )
            ready()
            self._manager.tell("READY=1", f"STATUS=elastiq {VERSION}, {self._settings.elastiq.batch_plugin}")
            if not self._stop_signal:
                self._introduce(batch)
            self._loop(self._core)
            self._core.end()
        finally:
            self._manager.tell("STOPPING=1")
            command.end_all()
            state.close()
        log.info("elastiq has stopped on %s", signal.Signals(self._stop_signal).name)

    def _loop(self, core: Core) -> None:
        while not self._stop_signal:
            if self._reload:
                self._reload = False
                self._read_configuration(core)
                continue  # a stop that came meanwhile has not reached what is new
            if self._try_again:
                self._try_again = False
                core.try_again()
                log.info("told to try again: jobs that did not start, and launches that pause, have another try")
            core.step()
            longest = min(self._settings.elastiq.sleep_s, REPORT_EVERY_SECONDS)
            self._sleep(max(SHORTEST_SLEEP_SECONDS, min(longest, core.seconds_to_next_check())))

    def _sleep(self, seconds: float) -> None:
        until = self._clock.now() + seconds
        while not (self._stop_signal or self._reload or self._try_again):
            self._manager.tell("WATCHDOG=1")
            seconds_left = until - self._clock.now()
            if seconds_left <= 0:
                return
            self._clock.sleep(min(seconds_left, self._manager.watchdog_seconds or seconds_left))

    def _introduce(self, batch: BatchLane) -> None:
        try:
            log.info("batch system: %s", batch.check())
        except BatchError as error:
            log.error("the batch system cannot be used yet, elastiq keeps trying: %s", error)

    def _ports(self, settings: Settings, refused_features: frozenset[str]) -> tuple[BatchLane, CloudLane]:
        """Return the two outside systems, each in lanes of its own. Raise ConfigError."""
        user_data, warnings = userdata.rendered(settings)
        _hide_secrets(self._redactor, settings)
        for warning in warnings:
            log.warning("%s", warning)
        name = settings.elastiq.batch_plugin
        batch = loading.load(name, settings)
        cloud = Ec2(settings, refused_features, user_data=user_data, redactor=self._redactor)
        batch_lane, cloud_lanes = Lane("batch system", self._clock), CloudLanes.of(self._clock)
        for lane in self._lanes:
            lane.retire()
        aside = Lane("advice", self._clock, ask_wait_seconds=ADVICE_WAIT_SECONDS)
        self._lanes = (batch_lane, aside, *cloud_lanes.all())
        return BatchLane(batch, batch_lane, aside, name), CloudLane(cloud, cloud_lanes)

    def _pages(self) -> PageLane | None:
        path = self._settings.path
        return None if path is None else PageLane(path, self._state_directory, page_lane(self._clock))

    def _read_configuration(self, core: Core) -> None:
        """Go on with the configuration as the file is now, or stay with the old one and say why."""
        path, state = self._settings.path, self._state
        if path is None or state is None:
            return
        self._manager.tell("RELOADING=1", f"MONOTONIC_USEC={self._clock.monotonic_microseconds()}")
        try:
            read = loading.read_settings(path)
            kept = {name: getattr(self._settings.elastiq, name) for name in FIXED_OPTIONS}
            changed = [name for name, value in kept.items() if getattr(read.elastiq, name) != value]
            settings = replace(read, elastiq=replace(read.elastiq, **kept))
            batch, cloud = self._ports(settings, state.refused_features(settings.cloud))
        except ElastiqError as error:
            for problem in str(error).splitlines():
                log.error("%s", problem)
            log.error("%s is refused; elastiq goes on with what it read before", path)
            self._manager.tell("READY=1", "STATUS=the configuration file has errors, the old one stays in force")
            return
        for name in changed:
            log.warning("%s cannot change while elastiq runs; it will after a restart", name)
        for warning in settings.warnings:
            log.warning("%s", warning)
        self._settings = settings
        logs.set_level(settings.elastiq.log_level)
        core.reconfigure(settings, batch, cloud)
        if self._messenger is not None:
            self._messenger.use(settings.notify)
        log.info("%s was read again and is in force", path)
        self._manager.tell("READY=1", "STATUS=the configuration was read again")

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop_signal = number
        if self._core is not None:
            self._core.stop()
        for lane in self._lanes:
            lane.abandon()

    def _on_reload(self, number: int, frame: FrameType | None) -> None:
        self._reload = True

    def _on_try_again(self, number: int, frame: FrameType | None) -> None:
        self._try_again = True


def keep_no_core() -> None:
    """Have the kernel write this process's memory, which holds keys and user data, into no core file, and hand it to no
    program either: a limit of 0 bytes keeps it from files alone, one of 1 byte from both (core(5))."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard != 0:
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def run(settings: Settings, state_directory: Path, log_directory: Path | None, ready: Callable[[], None]) -> None:
    """Be the daemon of `state_directory` in this process until a signal ends it.

    Raise AlreadyRunningError, ConfigError, StateError, or OSError if the log cannot be written.
    """
    keep_no_core()
    redactor = Redactor()
    _hide_secrets(redactor, settings)
    process = Daemon(settings, state_directory, redactor)
    # Before the pid file tells others whom to signal.
    process.listen()
    with PidFile(state_directory, Clock()):
        logs.start(log_directory, settings.elastiq.log_level, redactor)
        process.run(ready)


def background(keep_open: int) -> DaemonContext:
    """Return the context that takes this process into the background; of its descriptors only `keep_open` stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > MOST_DESCRIPTORS:
        # python-daemon closes every descriptor there could be, one by one: with a limit of 2^30 that takes minutes.
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, MOST_DESCRIPTORS), MOST_DESCRIPTORS))
    return DaemonContext(
        detach_process=True,
        umask=0o077,
        prevent_core=False,  # see keep_no_core
        files_preserve=[keep_open],
        signal_map={signal.SIGTTIN: None, signal.SIGTTOU: None, signal.SIGTSTP: None},
    )


def _hide_secrets(redactor: Redactor, settings: Settings) -> None:
    """Hide secrets and user data as the file has them; what the user data becomes for the VMs, Ec2 hides."""
    redactor.add(settings.secrets(), [pool.vm.user_data for pool in settings.pools])


def _messenger(settings: Settings, state: State, redactor: Redactor) -> Messenger:
    return Messenger(settings.notify, settings.elastiq.cluster_name, socket.gethostname(), state, redactor)


def _log_crash(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    log.critical("elastiq ends because of a defect in it", exc_info=(kind, error, traceback))
