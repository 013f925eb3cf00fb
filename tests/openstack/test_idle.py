"""What a daemon that has nothing to do costs a real OpenStack and its log, with VMs and without.

ELASTIQ_IDLE_SECONDS says for how long, 3600 by hand; the figures are printed.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from elastiq.config.sections import ElastiqOptions
from tests.openstack.rig import CPUS_PER_VM, Site
from tests.testbed.openstack.cloud import OpenStack
from tests.testbed.openstack.relay import Relay

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("openstack")]

SECONDS = float(os.environ.get("ELASTIQ_IDLE_SECONDS", "120"))
REQUESTS_AN_HOUR, LINES_AN_HOUR = 80, 10
VMS = 3
AS_SHIPPED = {
    name: str(getattr(ElastiqOptions(), name))
    for name in ("sleep_s", "check_queue_every_s", "check_vms_every_s", "check_vms_in_error_every_s")
}


@dataclass
class Idle:
    """A daemon that has nothing to do from now on."""

    site: Site
    relay: Relay

    def __post_init__(self) -> None:
        self._site_lines, self._requests = len(self.site.log().splitlines()), len(self.relay.exchanges)
        self._cpu_seconds = self.site.cpu_seconds()

    def check(self, what: str) -> None:
        """Check what it has cost since."""
        requests = len(self.relay.exchanges) - self._requests
        lines = self.site.log().splitlines()[self._site_lines :]
        cpu_seconds = self.site.cpu_seconds() - self._cpu_seconds
        print(f"\n{what}, in {SECONDS:.0f} s: {requests} requests, {cpu_seconds:.1f} s of CPU, {len(lines)} lines:")
        print("\n".join(lines))
        assert requests <= REQUESTS_AN_HOUR * SECONDS / 3600 + 1
        assert len(lines) <= max(1, LINES_AN_HOUR * SECONDS / 3600)
        assert self.site.lines("WARNING", "ERROR") == []


def test_an_idle_daemon_asks_and_says_little(openstack: OpenStack, tmp_path: Path) -> None:
    relays = [openstack.relay(), openstack.relay()]
    paths = [tmp_path / "with", tmp_path / "without"]
    for path in paths:
        path.mkdir()
    # One whose VMs get no machines, for it has none: the other's VMs are not to become workers of both.
    without = Site(openstack, paths[1])
    with Site(openstack, paths[0]) as site:
        site.start({"api_url": relays[0].url}, **AS_SHIPPED, cluster_name="with", idle_for_time_s="7200")
        without.start({"api_url": relays[1].url}, **AS_SHIPPED, cluster_name="without", idle_for_time_s="7200")
        try:
            site.submit_held(VMS * CPUS_PER_VM)
            site.wait_for(lambda: len(site.jobs_running()) == VMS * CPUS_PER_VM, "all jobs run")
            site.release()
            site.wait_for(lambda: f" 0 busy, {VMS} idle" in "\n".join(site.status()), "it is idle, and says so")
            idle = [Idle(site, relays[0]), Idle(without, relays[1])]
            time.sleep(SECONDS)
            idle[0].check(f"with {VMS} VMs")
            idle[1].check("without VMs")
        finally:
            without.stop()
