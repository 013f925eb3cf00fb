"""Commands, the bindings of this HTCondor and the newest bindings: all see the same demand and the same workers."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.e2e.conftest import PoolMaker
from tests.e2e.harness import PluginOnHead
from tests.testbed.batch import wait_until
from tests.testbed.htcondor_pool import BINDINGS_ENVIRONMENT, HtcondorPool

STATIC_SLOTS = "NUM_SLOTS = 2\nNUM_SLOTS_TYPE_1 = 2\nSLOT_TYPE_1 = 50%\nSLOT_TYPE_1_PARTITIONABLE = False\n"
SECOND_SCHEDD = """
SCHEDD2 = $(SCHEDD)
SCHEDD2_ARGS = -local-name schedd2
schedd2.SCHEDD_NAME = second@
schedd2.SCHEDD_LOG = $(LOG)/SecondSchedLog
schedd2.SPOOL = $(LOG)
schedd2.HISTORY = $(LOG)/second-history
schedd2.SCHEDD_ADDRESS_FILE = $(LOG)/second-address
schedd2.SCHEDD_DAEMON_AD_FILE = $(LOG)/second-ad
DAEMON_LIST = $(DAEMON_LIST) SCHEDD2
DC_DAEMON_LIST = + SCHEDD2
"""


def _second_schedd(pool: HtcondorPool) -> str:
    names: list[str] = []

    def is_there() -> bool:
        names[:] = pool.head.run("condor_status", "-schedd", "-af", "Name").stdout.split()
        return len(names) == 2

    wait_until(is_there, "both schedds are listed", detail=lambda: names)
    return next(name for name in names if name.startswith("second"))


def _sorted_demand(demand: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted(
        (((*group["shape"].values(), group["wants"], group["running"]), group["jobs"]) for group in demand),
        key=str,
    )


def _submit_a_mix(pool: HtcondorPool) -> None:
    pool.submit(3, 600)
    pool.submit(2, 600, cpus=2, memory_mb=100)
    pool.submit(4, 600, cpus=64, memory_mb=2000)
    pool.submit(2, 600, cpus=64, memory_mb=1000)
    pool.submit(5, 600, cpus=64, extra="hold = true")
    pool.submit(1, 600, cpus=64, extra="deferral_time = (CurrentTime + 86400)")
    pool.submit(1, 600, extra="universe = scheduler\nrequirements = false")
    pool.submit(3, 600, cpus=32, memory_mb=500, schedd=_second_schedd(pool))


@pytest.mark.real
def test_all_ways_to_ask_see_the_same(make_htcondor: PoolMaker) -> None:
    pool = make_htcondor(head_configuration=SECOND_SCHEDD)
    user_data = pool.substituted_user_data()
    pool.start_worker("i-00000001", "10.77.1.1", user_data, "NUM_CPUS = 8\n")
    pool.start_worker("i-00000002", "10.77.1.2", user_data, "NUM_CPUS = 4\n" + STATIC_SLOTS)
    pool.start_worker("i-00000003", "10.77.1.3", user_data, "NUM_CPUS = 1\n")
    pool.wait_joined({"i-00000001", "i-00000002", "i-00000003"})
    _submit_a_mix(pool)
    wait_until(lambda: sum(job["JobStatus"] == 2 for job in pool.queue()) == 5, "five jobs run", detail=pool.queue)
    wait_until(
        lambda: sum(slot.get("NumDynamicSlots", 0) + (slot["State"] == "Claimed") for slot in pool.slots()) >= 5,
        "the collector knows it",
        detail=pool.slots,
    )
    pool.start_worker("i-00000004", "10.77.1.4", user_data, "NUM_CPUS = 2\n")
    ids = {f"i-0000000{number}" for number in range(1, 5)}
    pool.wait_joined(ids)
    views = {}
    asked_at = time.monotonic()
    for name, query, environment in (
        ("commands", "cli", {}),
        ("bindings", "bindings", {}),
        ("newest bindings", "bindings", BINDINGS_ENVIRONMENT),
    ):
        with PluginOnHead(pool, query, environment) as plugin:
            views[name] = (plugin.call("demand"), plugin.call("workers"))
    asked_for_seconds = time.monotonic() - asked_at
    demand, workers = views["commands"]
    print(f"\n{_sorted_demand(demand)}")
    for worker in workers:
        print(worker)
    assert sorted(jobs for _, jobs in _sorted_demand(demand)) == [2, 3, 4]
    assert {worker["instance_id"] for worker in workers} == ids
    assert {worker["address"] for worker in workers} == {f"10.77.1.{number}" for number in range(1, 5)}
    assert [worker["instance_id"] for worker in workers if not worker["jobs"]] == ["i-00000004"]
    assert sum(worker["jobs"] for worker in workers) == 5
    assert all((worker["idle_seconds"] is None) == bool(worker["jobs"]) for worker in workers)
    for name in ("bindings", "newest bindings"):
        other_demand, other_workers = views[name]
        assert _sorted_demand(other_demand) == _sorted_demand(demand), name
        for worker, other in zip(workers, other_workers):
            idle, other_idle = worker.pop("idle_seconds"), other.pop("idle_seconds")
            assert other == worker, name
            assert (idle is None) == (other_idle is None)
            assert idle is None or abs(idle - other_idle) < 30 + asked_for_seconds
            worker["idle_seconds"] = idle
