"""A cloud or a batch system that hangs for long delays no check of the other one, and work goes on when it is back.

ELASTIQ_CRASH_HANG_SECONDS says for how long they hang; 600 is the full length. The daemon has all its real deadlines.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.crash.rig import Head, Site, head_node, wait_until

pytestmark = pytest.mark.xdist_group("hangs")

HANG_SECONDS = float(os.environ.get("ELASTIQ_CRASH_HANG_SECONDS", "40"))
CHECK_QUEUE_SECONDS = 2.0
CHECK_VMS_SECONDS = 3.0
LATE_SECONDS = 10.0 if HANG_SECONDS >= 600 else 22.0
"""No check may be later than this while the other system hangs: ten seconds at the full length, which is run alone.
Beside other tests they come ten seconds apart, too, and a busy machine adds to that; checks that waited for the other
system would come after 30 s, two deadlines of the plugin's command, or after the hang."""
COMMAND_SECONDS = 15.0
"""The deadline of the plugin's command."""
POLL_SECONDS = 15.0
"""The shipped interval of the checks; those of the test are shorter."""


@dataclass(frozen=True)
class Hang:
    """What was seen."""

    longest_gap_seconds: float
    """Between two checks of the system that did not hang."""
    checks: int
    scale_up_seconds: float
    """From the end of the hang to the first launch."""


class HungCloud:
    """Takes requests and says nothing, until it is back: then what hung is cut off, or stays silent for ever."""

    def __init__(self, site: Site, *, silent_for_ever: bool) -> None:
        self._back = threading.Event()
        self._closing = site.cloud._closing
        self._silent_for_ever = silent_for_ever
        site.cloud.plug = self._plug

    def _plug(self, _operation: str, moment: str) -> None:
        if moment == "before" and not self._back.is_set():
            self._back.wait()
            if self._silent_for_ever:
                self._closing.wait()
            raise ConnectionError

    def come_back(self) -> None:
        self._back.set()


class HungBatch:
    """Lets the plugin's calls hang: until it is back, or in a command that never ends."""

    def __init__(self, head: Head, way: str) -> None:
        self._spool = head.spool.directory
        (self._spool / "hang").write_text(f"{way} {COMMAND_SECONDS}")

    def come_back(self) -> None:
        (self._spool / "hang").unlink()

    def end_orphans(self) -> None:
        """Kill what the command left behind on purpose."""
        path = self._spool / "hung"
        for line in path.read_text().split() if path.exists() else ():
            try:
                if "sleep" in Path(f"/proc/{line}/comm").read_text():
                    os.kill(int(line), signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                continue


def queue_checks(head: Head) -> list[float]:
    lines = (head.spool.directory / "calls").read_text().splitlines()
    return [float(line.split()[0]) for line in lines if line.endswith(" demand")]


def vm_checks(head: Head) -> list[float]:
    return [request.at for request in head.site.cloud.operations("DescribeInstances")]


def new_head(directory: Path, site: Site, **options: object) -> object:
    return head_node(
        directory,
        site,
        "hang",
        batch_plugin="tests.crash.plugin",
        sleep_s=1,
        check_queue_every_s=CHECK_QUEUE_SECONDS,
        check_vms_every_s=CHECK_VMS_SECONDS,
        check_vms_in_error_every_s=CHECK_VMS_SECONDS,
        **options,
    )


def watch(head: Head, checks: Callable[[Head], list[float]], hang: HungCloud | HungBatch) -> Hang:
    """Let it hang for HANG_SECONDS, submit jobs meanwhile, and see what the daemon does, then and afterwards."""
    began = time.monotonic()
    time.sleep(HANG_SECONDS / 2)
    head.submit(2)
    time.sleep(HANG_SECONDS / 2)
    ended = time.monotonic()
    hang.come_back()
    seen = [at for at in checks(head) if at > began]
    times = [began, *[at for at in seen if at < ended], ended]
    gaps = [later - earlier for earlier, later in zip(times, times[1:])]

    def launches() -> list[float]:
        # Those of the hang itself come to nothing.
        return [request.at for request in head.site.cloud.operations("RunInstances") if request.at > ended]

    wait_until(lambda: bool(launches()), "the first launch", head.story)
    assert head.is_running()
    head.wait_until_quiet()
    head.stop()
    head.check_jobs()
    return Hang(max(gaps), len(seen), launches()[0] - ended)


def hang_cloud(directory: Path, *, silent_for_ever: bool) -> Hang:
    with Site() as site:
        site.prepare("aws")
        with new_head(directory, site, max_vms=2) as head:
            head.start()
            wait_until(lambda: len(vm_checks(head)) > 1, "VM checks", head.story)
            return watch(head, queue_checks, HungCloud(site, silent_for_ever=silent_for_ever))


def hang_batch(directory: Path, way: str) -> Hang:
    with Site() as site:
        site.prepare("openstack")
        with new_head(directory, site, max_vms=2) as head:
            head.start()
            wait_until(lambda: len(vm_checks(head)) > 1, "VM checks", head.story)
            hang = HungBatch(head, way)
            try:
                return watch(head, vm_checks, hang)
            finally:
                hang.end_orphans()


SCENARIOS: dict[str, tuple[Callable[[Path], Hang], float]] = {
    # name: (what to do, interval of the other system's checks)
    "cloud": (lambda path: hang_cloud(path, silent_for_ever=False), CHECK_QUEUE_SECONDS),
    "cloud, old connections for ever": (lambda path: hang_cloud(path, silent_for_ever=True), CHECK_QUEUE_SECONDS),
    "batch system": (lambda path: hang_batch(path, "silent"), CHECK_VMS_SECONDS),
    "batch system, its command for ever": (lambda path: hang_batch(path, "command"), CHECK_VMS_SECONDS),
}


@pytest.fixture(scope="module")
def hangs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Hang]]]:
    """All scenarios at the same time, for they are mostly waiting."""
    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        yield {name: pool.submit(run, tmp_path_factory.mktemp("hang") / "head") for name, (run, _) in SCENARIOS.items()}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_other_system_is_checked_and_work_goes_on(name: str, hangs: dict[str, Future[Hang]]) -> None:
    _, interval = SCENARIOS[name]
    hang = hangs[name].result()
    print(f"{name} hung for {HANG_SECONDS:g} s: {hang}")
    assert hang.longest_gap_seconds <= interval + LATE_SECONDS
    # The default of check_queue_every_s, after which both systems are asked again while one is silent.
    assert hang.scale_up_seconds <= POLL_SECONDS


@pytest.mark.parametrize("what", ["cloud", "silent", "command"])
def test_sigterm_ends_the_daemon_while_a_system_hangs(what: str, tmp_path: Path) -> None:
    with Site() as site:
        site.prepare("aws")
        with new_head(tmp_path / "head", site) as head:
            if what == "cloud":
                HungCloud(site, silent_for_ever=True)
                head.start()
                wait_until(lambda: bool(vm_checks(head)), "a VM check that hangs", head.story)
                head.stop()
                return
            hang = HungBatch(head, what)
            head.start()
            calls = head.spool.directory / "calls"
            wait_until(lambda: calls.exists() and head.has_started(), "a call that hangs", head.story)
            try:
                head.stop()
            finally:
                hang.end_orphans()
