"""The line that the plugin's advice has in it makes jobs fill one worker before the next, and ends the advice."""

from __future__ import annotations

import re
import time

import pytest

from tests.e2e.conftest import PoolMaker
from tests.e2e.harness import PluginOnHead
from tests.testbed.batch import BatchTestbed, wait_until
from tests.testbed.gridengine_pool import GridEnginePool
from tests.testbed.machines import Network
from tests.testbed.slurm_pool import SlurmPool

WORKERS, CPUS, JOBS = 4, 4, 8
PACKED = [4, 4]

_FOUR = "SLOT_TYPE_1 =\nNUM_SLOTS_TYPE_1 =\nNUM_SLOTS = 4\n"
_STATIC = "NUM_SLOTS = 4\nNUM_SLOTS_TYPE_1 = 4\nSLOT_TYPE_1 = 25%\nSLOT_TYPE_1_PARTITIONABLE = False\n"
SLOTS = {"divided": "", "several": _FOUR, "static": _STATIC}
"""Ways in which a worker offers four CPUs to four jobs."""


def join(batch: BatchTestbed) -> None:
    """Have four workers of four CPUs join."""
    ids = [f"i-{number:08x}" for number in range(1, WORKERS + 1)]
    for number, instance_id in enumerate(ids, 1):
        batch.start_worker(instance_id, f"10.77.1.{number}", batch.substituted_user_data())
    batch.wait_joined(ids)


def land(batch: BatchTestbed) -> list[int]:
    """Run eight jobs of one CPU, and return how many each worker got that got any, most first."""
    batch.submit(JOBS, 3600)
    wait_until(lambda: sum(batch.busy().values()) == JOBS, "all jobs run", detail=batch.queue)
    placed = sorted(batch.busy().values(), reverse=True)
    batch.cancel_all()
    batch.wait_all()
    return placed


def advice(plugin: PluginOnHead) -> str:
    """Return the only sentence of advice."""
    (said,) = plugin.call("advice")
    return str(said)


def line_of(said: str, pattern: str) -> str:
    """Return the line to set that `said` has in it."""
    found = re.search(pattern, said)
    assert found, said
    return found[1]


def wait_until_quiet(plugin: PluginOnHead) -> None:
    """Wait until there is no advice."""
    wait_until(lambda: plugin.call("advice") == [], "there is no advice", detail=lambda: plugin.call("advice"))


@pytest.mark.real
@pytest.mark.parametrize("slots", SLOTS)
def test_htcondor(make_htcondor: PoolMaker, slots: str) -> None:
    pool = make_htcondor("NEGOTIATOR_DEPTH_FIRST = False\n", f"NUM_CPUS = {CPUS}\n{SLOTS[slots]}")
    with PluginOnHead(pool) as plugin:
        assert plugin.call("advice") == [], "no worker is there"
        join(pool)
        all_slots = WORKERS if slots == "divided" else WORKERS * CPUS
        wait_until(lambda: len(pool.slots()) == all_slots, "every slot is advertised", detail=pool.slots)
        line = line_of(advice(plugin), r"put (NEGOTIATOR_\w+ = .*) into the configuration of the central manager")
        assert len(land(pool)) > 2
        script = 'printf "%s\\n" "$1" >/etc/condor/config.d/95-advice.conf; condor_reconfig'
        pool.head.run("sh", "-euc", script, "sh", line)
        wait_until_quiet(plugin)
        is_free = 'State == "Unclaimed" && (PartitionableSlot =!= true || NumDynamicSlots == 0)'
        wait_until(lambda: len(pool.slots("-constraint", is_free)) == all_slots, "all slots are free", 120, pool.slots)
        assert land(pool) == PACKED


@pytest.mark.real
@pytest.mark.parametrize("where", ["cluster", "partition"])
def test_slurm(testbed_root: None, networks: list[Network], where: str) -> None:
    networks.append(Network())
    batch = SlurmPool(networks[-1], CPUS)
    join(batch)

    def edit(beginning: str, change: str) -> None:
        batch.head.run("sed", "-i", "-e", f"/^{beginning}/{change}", "/etc/slurm/slurm.conf")

    with PluginOnHead(batch) as plugin:
        assert plugin.call("advice") == []
        if where == "cluster":
            edit("SelectTypeParameters=", "s/$/,CR_LLN/")
            batch.restart_master()
            line = line_of(advice(plugin), r"put (SelectTypeParameters=\S+) into slurm.conf, and restart slurmctld")
        else:
            edit("PartitionName=batch ", "s/$/ LLN=YES/")
            batch.head.run("scontrol", "reconfigure")
            wait_until(lambda: plugin.call("advice"), "there is advice")
            line = line_of(advice(plugin), r"put (LLN=NO) into its line .*PartitionName=batch .*scontrol reconfigure")
        batch.wait_joined(f"i-{number:08x}" for number in range(1, WORKERS + 1))
        assert len(land(batch)) > 2
        if where == "cluster":
            edit("SelectTypeParameters=", f"s/.*/{line}/")
            batch.restart_master()
        else:
            edit("PartitionName=batch ", f"s/LLN=YES/{line}/")
            batch.head.run("scontrol", "reconfigure")
        wait_until_quiet(plugin)
        batch.wait_joined(f"i-{number:08x}" for number in range(1, WORKERS + 1))
        assert land(batch) == PACKED


@pytest.mark.real
def test_gridengine(testbed_root: None, networks: list[Network]) -> None:
    networks.append(Network())
    batch = GridEnginePool(networks[-1], CPUS)
    join(batch)

    def configure(words: list[str]) -> None:
        changes = "".join(f" -e 's/^{name} .*/{name} {value}/'" for name, value in zip(words[::2], words[1::2]))
        batch.head.run("sh", "-euc", f"qconf -ssconf | sed{changes} >/tmp/scheduler; qconf -Msconf /tmp/scheduler")
        time.sleep(5)  # the scheduler begins its next run with it

    with PluginOnHead(batch) as plugin:
        assert plugin.call("advice") == []
        configure(["load_formula", "np_load_avg", "job_load_adjustments", "np_load_avg=0.50"])
        line = line_of(advice(plugin), "run qconf -msconf and set (queue_sort_method .*)")
        assert len(land(batch)) > 2
        configure(line.replace(",", "").split())
        wait_until_quiet(plugin)
        assert land(batch) == PACKED
