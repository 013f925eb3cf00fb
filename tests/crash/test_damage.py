"""A state database that is damaged while the daemon is away, and a disk that fills up while it runs."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.launcher import QUICK, Order
from tests.crash.rig import Head, Site, head_node, wait_until
from tests.testbed.proxy import Dialect

DISK_KIB = 2048
"""The journal takes some hundred KiB in the course of a test, and more if it takes longer."""
MOUNT = 'mkdir -p "$1" && mount -t tmpfs -o size="$2"k,mode=0700 tmpfs "$1" && shift 2 && exec "$@"'


def truncate(database: Path) -> None:
    database.write_bytes(database.read_bytes()[: database.stat().st_size // 3])


def fill_with_garbage(database: Path) -> None:
    database.write_bytes(random.Random(1).randbytes(database.stat().st_size))


def empty(database: Path) -> None:
    database.write_bytes(b"")


def remove(database: Path) -> None:
    database.unlink()


def break_a_record(database: Path) -> None:
    content = database.read_bytes()
    assert b'{"id": "i-' in content
    database.write_bytes(content.replace(b'{"id": "i-', b'{"id": \xff\x00-'))


@pytest.mark.parametrize(
    ("damage", "dialect"),
    [
        (truncate, "aws"),
        (truncate, "openstack"),
        (fill_with_garbage, "openstack"),
        (empty, "aws"),
        (remove, "openstack"),
        (break_a_record, "aws"),
    ],
)
def test_vms_are_found_again_by_their_tags(damage: Callable[[Path], None], dialect: Dialect, tmp_path: Path) -> None:
    with Site() as site:
        site.prepare(dialect)
        with head_node(tmp_path / "head", site, "damage", min_vms=1, max_vms=2) as head:
            head.submit_waiting(2)
            head.start(Order(constants=QUICK))
            wait_until(lambda: len(head.known()) == 2, "two VMs", head.story)
            before = head.known()
            # Untagged VMs could be anybody's.
            tagged = "elastiq:cluster"
            wait_until(lambda: all(tagged in vm.tags for vm in site.alive("damage")), "their tags", head.story)
            head.let_end()
            head.stop()
            database = head.state / "elastiq.db"
            damage(database)
            for suffix in ("-wal", "-shm"):
                database.with_name(database.name + suffix).unlink(missing_ok=True)
            head.submit(3)
            head.start(Order(constants=QUICK))
            wait_until(lambda: head.has_started() and bool(head.known()), "VMs that are known again", head.story)
            assert head.known() & before
            head.wait_until_quiet(minimum=1)
            head.stop()
            head.check_jobs()
            assert site.cloud.max_alive <= 2, head.story()
            log = head.log.read_text()
            aside = list(head.state.glob("elastiq.db.damaged-*"))
            assert ("is damaged" in log) == bool(aside) == (damage not in (empty, remove))


def can_mount() -> str:
    """Return why no file system of its own can be given to a process; "" if it can."""
    if os.getuid() != 0 or not shutil.which("unshare"):
        return "needs root and unshare(1)"
    script = ["unshare", "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    tried = subprocess.run(script, capture_output=True, text=True)
    return f"cannot mount: {tried.stderr.strip()}" if tried.returncode else ""


class SmallDisk:
    """The state directory on a tiny file system that only the daemon has, and that goes with it."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self.prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNT, "sh"]
        self.prefix += [str(head.state), str(DISK_KIB)]

    @property
    def state(self) -> Path:
        """The directory as the daemon sees it."""
        assert self._head.process is not None
        return Path(f"/proc/{self._head.process.pid}/root{self._head.state}")

    def fill(self) -> None:
        with (self.state / "ballast").open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(b"x" * 1024)
            except OSError:
                return

    def empty(self) -> None:
        (self.state / "ballast").unlink()


def test_a_full_disk_launches_nothing_and_the_daemon_recovers(tmp_path: Path) -> None:
    reason = can_mount()
    if reason:
        pytest.skip(reason)
    with Site() as site:
        site.prepare("aws")
        with head_node(tmp_path / "head", site, "full", max_vms=2) as head:
            disk = SmallDisk(head)
            head.start(Order(constants=QUICK), disk.prefix)
            wait_until(lambda: head.has_started() and (disk.state / "elastiq.db").exists(), "the start", head.story)
            disk.fill()
            head.submit(3)
            wait_until(lambda: "disk is full" in head.log.read_text(), "a word on the full disk", head.story)
            listings = len(site.cloud.operations("DescribeInstances"))
            wait_until(
                lambda: len(site.cloud.operations("DescribeInstances")) > listings + 5,
                "more checks of a daemon that goes on",
                head.story,
            )
            assert head.is_running()
            assert site.cloud.operations("RunInstances") == []
            disk.empty()
            wait_until(lambda: head.done() == 3 and not site.alive("full"), "all to be well again", head.story)
            head.stop()
            head.check_jobs()
            assert site.cloud.max_alive <= 2


def test_a_disk_that_fills_up_with_vms_running_costs_no_job(tmp_path: Path) -> None:
    reason = can_mount()
    if reason:
        pytest.skip(reason)
    with Site() as site:
        site.prepare("openstack")
        with head_node(tmp_path / "head", site, "full", max_vms=2) as head:
            disk = SmallDisk(head)
            head.submit_waiting(4)
            head.start(Order(constants=QUICK), disk.prefix)
            wait_until(lambda: len(site.alive("full")) == 2, "VMs", head.story)
            disk.fill()
            head.let_end()
            wait_until(lambda: head.done() == 4, "the jobs to be done", head.story)
            time.sleep(1)
            head.submit(4)
            time.sleep(1)
            assert head.is_running()
            disk.empty()
            wait_until(lambda: head.done() == 8 and not site.alive("full"), "all to be well again", head.story)
            head.stop()
            head.check_jobs()
            assert site.cloud.max_alive <= 2
