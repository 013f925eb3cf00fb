"""Launches that go from one offer to the next, while answers are lost and the daemon is killed again and again: never
too many VMs, none lost, and each job runs once.

ELASTIQ_CRASH_KILLS says how many kills, ELASTIQ_CRASH_SEED where to begin.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from elastiq.sandbox.spool import Job
from tests.crash.launcher import QUICK, Order
from tests.crash.rig import Head, Site, head_node, wait_until

KILLS = int(os.environ.get("ELASTIQ_CRASH_KILLS", "20"))
SEED = int(os.environ.get("ELASTIQ_CRASH_SEED", "0"))
MOST = 4

POOL = f"""[pool cpu]
max_vms = {MOST}
instance_types = m5.large 0.1, c5.large 0.2, r5.large
subnets = subnet-1, subnet-2
market = spot, on-demand
"""

CODES = (
    "InsufficientInstanceCapacity",
    "VcpuLimitExceeded",
    "MaxSpotInstanceCountExceeded",
    "InsufficientFreeAddressesInSubnet",
    "Unsupported",
)

HASTY = {
    **QUICK,
    # A launch that was refused while its answer was lost is a failed boot, and three of them pause the pool.
    "elastiq.planning.patience": {
        **QUICK["elastiq.planning.patience"],
        "AWAY_PAUSES_SECONDS": (0.5, 1.0),
        "BOOT_PAUSES_SECONDS": (0.5, 1.0),
    },
}


class Crowd:
    """Says which launches a cloud refuses: most, and others all the time."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.refused = 0

    def __call__(self, _parameters: Mapping[str, str]) -> str:
        if self.random.random() < 0.7:
            self.refused += 1
            return self.random.choice(CODES)
        return ""


def submit(head: Head, count: int, seconds: float) -> None:
    for _ in range(count):
        head.spool.submit(Job("new", ["sleep", str(seconds)]))
        head.submitted += 1


def offers_of(requests: list[Mapping[str, str]]) -> list[tuple[str, str, str]]:
    market = "InstanceMarketOptions.MarketType"
    return [(one.get(market, "on-demand"), one["InstanceType"], one["SubnetId"]) for one in requests]


def test_with_all_offers_refused_but_the_last_all_vms_come_of_that_in_one_walk(tmp_path: Path) -> None:
    with Site() as site:
        site.prepare("aws")
        last = ("on-demand", "r5.large", "subnet-2")
        site.cloud.full = lambda asked: "" if offers_of([asked]) == [last] else "InsufficientInstanceCapacity"
        with head_node(tmp_path / "head", site, "offers") as head:
            head.configure(max_vms=MOST, pools=POOL, idle_for_time_s=1)
            submit(head, MOST, 0.5)
            head.start(Order(constants=QUICK))
            head.wait_until_quiet()
            head.stop()
            head.check_jobs()
            asked = offers_of([one.parameters for one in site.cloud.operations("RunInstances")])
            assert len(asked[:12]) == len(set(asked[:12])) == 12
            assert asked[0] == ("spot", "m5.large", "subnet-1")
            assert asked[11] == last
            assert len(site.cloud.vms) == MOST
            assert len({one.parameters["ClientToken"] for one in site.cloud.operations("RunInstances")}) == len(asked)


@pytest.mark.parametrize("seed", [SEED, SEED + 1])
def test_never_too_many_whatever_is_refused_lost_and_killed(seed: int, tmp_path: Path) -> None:
    random_ = random.Random(seed)
    with Site() as site:
        site.prepare("aws")
        crowd = site.cloud.full = Crowd(seed)
        with head_node(tmp_path / "head", site, "offers") as head:
            head.configure(max_vms=MOST, pools=POOL, idle_for_time_s=1)
            for _ in range(max(1, KILLS // 2)):
                submit(head, 2, 0.2)
                head.start(Order(constants=HASTY))
                wait_until(head.has_started, "the daemon to start", head.story)
                if random_.random() < 0.5:
                    site.cloud.inject("RunInstances", lose_answer=True)
                seen, more = len(site.cloud.requests), random_.randint(1, 20)
                wait_until(lambda: len(site.cloud.requests) >= seen + more, "requests", head.story)  # noqa: B023
                head.kill()
            site.cloud.clear_faults()
            head.start(Order(constants=HASTY))
            head.wait_until_quiet()
            head.stop()
            head.check_jobs()
            assert site.cloud.max_alive <= MOST
            assert not site.alive("offers")
            assert crowd.refused
