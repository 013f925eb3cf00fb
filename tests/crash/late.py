"""A cloud that answers late, in both dialects, and a daemon that is killed meanwhile.

All seconds are a tenth of the real ones, the daemon's patience as the cloud's delays: `SCALE`.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elastiq.planning import patience
from elastiq.process import lanes
from tests.crash.launcher import Order
from tests.crash.rig import Head, Site, head_node

CLUSTER = "late"
SCALE = 0.1
DELAYS_SECONDS = (5.0, 10.0, 30.0, 120.0)
"""Of an answer to a launch or a termination; that of a listing is at most LONGEST_LISTING_SECONDS."""
LONGEST_LISTING_SECONDS = 30.0
WHEN = ("delay_seconds", "answer_delay_seconds")
"""Before the request takes effect, or after it."""
KILLS = (0, 0, 1, 2, 3)
FOREIGN_VMS = 1

_SCALED = {
    patience: (
        "SETTLE_SECONDS",
        "SETTLE_SECONDS_PER_VM",
        "LONGEST_SETTLE_SECONDS",
        "UNSEEN_SECONDS",
        "MISSING_GRACE_SECONDS",
        "CLOSE_AGAIN_SECONDS",
        "TERMINATE_AGAIN_SECONDS",
        "RETRY_SECONDS",
        "REFUSAL_PAUSES_SECONDS",
    ),
    lanes: ("ASK_WAIT_SECONDS", "ACT_WAIT_SECONDS", "OVERTAKE_SECONDS"),
}


def constants() -> dict[str, dict[str, Any]]:
    """Return the daemon's patience, scaled."""
    scaled: dict[str, dict[str, Any]] = {}
    for module, names in _SCALED.items():
        values = {name: getattr(module, name) for name in names}
        scaled[module.__name__] = {
            name: [SCALE * each for each in value] if isinstance(value, tuple) else SCALE * value
            for name, value in values.items()
        }
    return {**scaled, "elastiq.chores": {"TAG_AFTER_SECONDS": 6.0}}


@dataclass
class Run:
    """What became of one."""

    seed: int
    dialect: str = ""
    delays: list[str] = field(default_factory=list)
    kills: int = 0
    launched: int = 0
    seconds: float = 0.0
    failure: str = ""

    def __str__(self) -> str:
        end = f"FAILED: {self.failure}" if self.failure else "well"
        delays = ", ".join(self.delays)
        return f"seed {self.seed}: {self.dialect}; {delays}; {self.kills} kills; {self.seconds:.0f} s; {end}"


def run(seed: int, site: Site) -> Run:
    """Let a queue fill and drain on a cloud that is late, and see that nothing is lost, killed or too much."""
    chance, done, began_at = random.Random(seed), Run(seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="elastiq-late-") as directory:
        try:
            _live(chance, done, site, Path(directory))
        except Exception as error:
            done.failure = f"{error}\n{traceback.format_exc(limit=-3)}"
        finally:
            site.clear()
    done.seconds = time.monotonic() - began_at
    return done


def _live(chance: random.Random, done: Run, site: Site, directory: Path) -> None:
    done.dialect = chance.choice(("aws", "openstack"))
    site.prepare("openstack" if done.dialect == "openstack" else "aws", launch_delay_seconds=0.2)
    foreign = site.cloud.make_vms(FOREIGN_VMS, token="somebody's")
    for operation in ("RunInstances", "RunInstances", "TerminateInstances", "DescribeInstances"):
        seconds = chance.choice(DELAYS_SECONDS)
        if operation == "DescribeInstances":
            seconds = min(seconds, LONGEST_LISTING_SECONDS)
        when, after = chance.choice(WHEN), chance.choice((0, 0, 1, 3))
        times = 20 if operation == "DescribeInstances" else 1
        site.cloud.inject(operation, after=after, times=times, **{when: SCALE * seconds})
        done.delays.append(f"{operation} {seconds:g} s")
    maximum = chance.choice((2, 4, 6))
    with head_node(directory / "head", site, CLUSTER, max_vms=maximum) as head:
        order = Order(constants=constants())
        for _ in range(chance.choice(KILLS)):
            head.submit(chance.randint(1, 2 * maximum), chance.choice((0.2, 2.0)))
            head.start(order)
            time.sleep(chance.uniform(0.5, 8.0))
            head.kill()
            done.kills += 1
        head.submit(chance.randint(1, 2 * maximum), chance.choice((0.2, 2.0)))
        head.start(order)
        head.wait_until_quiet()
        head.stop()
        _check(head, maximum)
        assert {vm.id for vm in foreign} <= {vm.id for vm in site.cloud.alive()}, head.story()
    done.launched = len(site.cloud.vms) - FOREIGN_VMS


def _check(head: Head, maximum: int) -> None:
    cloud, story = head.site.cloud, head.story()
    head.check_jobs()
    assert cloud.max_alive <= maximum + FOREIGN_VMS, f"{cloud.max_alive} VMs of {maximum}\n{story}"
    made = Counter(vm.token for vm in cloud.vms.values())
    asked = {
        request.parameters["ClientToken"]: int(request.parameters["MaxCount"])
        for request in cloud.operations("RunInstances")
    }
    twice = {token: count for token, count in made.items() if count > asked.get(token, count)}
    assert not twice, f"launched more than was asked for: {twice}\n{story}"
    assert not cloud.failures, cloud.failures


def run_many(first_seed: int, runs: int, parallel: int = 6, *, progress: bool = False) -> list[Run]:
    """Do so many, several at a time."""
    here = threading.local()
    sites: list[Site] = []

    def one(seed: int) -> Run:
        if not hasattr(here, "site"):
            here.site = Site()
            sites.append(here.site)
        done = run(seed, here.site)
        if progress:
            print(done, flush=True)
        return done

    with ThreadPoolExecutor(parallel) as pool:
        runs_done = list(pool.map(one, range(first_seed, first_seed + runs)))
    for site in sites:
        site.clear()
        site.cloud.stop()
    return runs_done
