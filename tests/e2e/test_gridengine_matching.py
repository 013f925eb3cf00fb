"""Which jobs a real Grid Engine starts on a worker, beside what the plugin says of them: requests of all kinds, memory
and licences that are used up, a queue that is lost, and a daemon that launches nothing for a queue without workers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from tests.e2e import configurations
from tests.e2e.harness import ElasticCluster, PluginOnHead, stays
from tests.e2e.systems import BatchMaker, on
from tests.testbed.batch import wait_until
from tests.testbed.gridengine_pool import GridEnginePool

CPUS = 32
WATCHED_SECONDS = 12.0
"""Some rounds of the scheduler."""

SITE = """
set -e
work=$(mktemp -d)
qconf -sc | grep -v '^#' >"$work/complexes"
cat >>"$work/complexes" <<END
ram ram MEMORY <= YES YES 0 0
tape tape INT <= YES YES 0 0
licence licence INT <= YES YES 0 0
kind kind RESTRING == YES NO NONE 0
place place CSTRING == YES NO NONE 0
level level INT <= YES NO 0 0
needs needs BOOL == FORCED NO 0 0
END
qconf -Mc "$work/complexes"
qconf -mattr exechost complex_values licence=2 global
queue() {
  qconf -sq all.q | sed -e "s/^qname .*/qname $1/" -e "s/^hostlist .*/hostlist $2/" -e "s/^pe_list .*/pe_list $3/" \
    -e 's/^slots .*/slots 20/' -e 's/^h_rt .*/h_rt 1:00:00/' >"$work/$1"
  qconf -Aq "$work/$1"
}
printf 'group_name @odd\\nhostlist NONE\\n' >"$work/group"
qconf -Ahgrp "$work/group"
qconf -sp smp | sed 's/^pe_name .*/pe_name lost/' >"$work/lost"
qconf -Ap "$work/lost"
queue odd.q @odd NONE
queue none.q "$(hostname -f)" lost  # no execution daemon is there
qconf -mattr queue complex_values needs=TRUE odd.q
"""
OFFER = f"slots={CPUS},ram=8G,tape=3,kind=fast,place=North,level=5"
REQUESTS: tuple[tuple[str, ...], ...] = (
    (),
    ("-q", "all.q"),
    ("-q", "a*"),
    ("-q", "none.q|all.q"),
    ("-q", "none.q"),
    ("-q", "none.q,all.q"),
    ("-q", "odd.q"),
    ("-q", "odd.q", "-l", "needs=TRUE"),
    ("-q", "odd.q", "-l", "needs=FALSE"),
    ("-q", "odd.q", "-l", "needs=TRUE,h_rt=1:00:01"),
    ("-q", "odd.q", "-l", "needs=TRUE,h_rt=3600"),
    ("-q", "odd.q", "-l", "needs=TRUE", "-pe", "smp", "1"),
    ("-l", "needs=TRUE"),
    ("-q", "all.q@@workers"),
    ("-q", "*@@wor*"),
    ("-q", "all.q@@odd"),
    ("-l", "q=all.q"),
    ("-l", "q=none.q"),
    ("-pe", "smp", "2"),
    ("-pe", "m*", "2"),
    ("-pe", "lo*", "2"),
    ("-l", "kind=fast"),
    ("-l", "kind=FAST"),
    ("-l", "kind=f*&!slow"),
    ("-l", "kind=!fast"),
    ("-l", "kind=(slow|fa?t)"),
    ("-l", "kind=slow|[^a]ast"),
    ("-l", "place=nORTH"),
    ("-l", "place=south"),
    ("-l", "level=5"),
    ("-l", "level=6"),
    ("-l", "tape=1"),
    ("-l", "tape=4"),
    ("-l", "ram=1G"),
    ("-l", "lane=slow"),
    ("-l", "arch=lx*"),
    ("-l", "arch=sol*"),
    ("-l", "num_proc=99"),
    ("-l", "mem_total=1M"),
    ("-l", "mem_total=900G"),
    ("-l", "mem_free=1M"),
)


def make_site(batch: GridEnginePool) -> None:
    batch.head.run("sh", "-c", SITE)


def add_to_odd_queue(batch: GridEnginePool, name: str) -> None:
    batch.head.run("qconf", "-aattr", "hostgroup", "hostlist", name, "@odd")


def shapes(demand: Iterable[dict[str, Any]]) -> list[tuple[int, Any]]:
    return sorted((group["jobs"], group["shape"]["memory_mb"]) for group in demand)


@pytest.mark.real
@on("gridengine")
def test_what_is_judged_is_what_happens(make_batch: BatchMaker) -> None:
    batch = make_batch(CPUS)
    assert isinstance(batch, GridEnginePool)
    make_site(batch)
    batch.start_worker("i-1", "10.77.1.1", batch.substituted_user_data(), offer=OFFER)
    batch.wait_joined({"i-1"})
    with PluginOnHead(batch) as plugin:
        (worker,) = plugin.call("workers")
        add_to_odd_queue(batch, worker["name"])
        template = plugin.call("template", worker)
        assert worker["name"] not in template
        batch.head.run("qmod", "-d", "*")
        wants = [wanted(batch, plugin, request) for request in REQUESTS]
        said = {
            request: str(found["answer"])
            for request, found in zip(REQUESTS, plugin.call("judge", [wants, template]), strict=True)
        }
        batch.head.run("qmod", "-e", "*")
        jobs = {batch.submit(1, 600, options=request): request for request in REQUESTS}
        wait_until(lambda: len(running(batch)) >= 20, "jobs run", detail=batch.queue)
        stays(lambda: True, WATCHED_SECONDS, "the rest is tried")
        started = running(batch)
        happened = {request: "yes" if job in started else "no" for job, request in jobs.items()}
        assert said == happened


def wanted(batch: GridEnginePool, plugin: PluginOnHead, request: tuple[str, ...]) -> str:
    """Return what the plugin says that a job wants, which waits because all queues are disabled."""
    job = batch.submit(1, 600, options=request)
    (group,) = plugin.call("demand")
    batch.head.run("qdel", job)
    return str(group["wants"])


def running(batch: GridEnginePool) -> set[str]:
    return {each["job"] for each in batch.queue() if each["state"] in ("r", "t")}


@pytest.mark.real
@on("gridengine")
def test_what_is_used_up_is_no_room_and_no_demand(make_batch: BatchMaker) -> None:
    batch = make_batch(4)
    assert isinstance(batch, GridEnginePool)
    make_site(batch)
    # As a consumable it ends every job that does not ask for it.
    limit = (
        "qconf -sc | sed 's/^h_vmem .*/h_vmem h_vmem MEMORY <= YES YES 0 0/' >/tmp/complexes; qconf -Mc /tmp/complexes"
    )
    batch.head.run("sh", "-c", limit)
    batch.start_worker("i-1", "10.77.1.1", batch.substituted_user_data(), offer="slots=4,h_vmem=4G")
    batch.wait_joined({"i-1"})
    with PluginOnHead(batch) as plugin:
        (idle,) = plugin.call("workers")
        assert (idle["free"]["memory_mb"], idle["capacity"]["memory_mb"], idle["hurt"]) == (4096, 4096, False)
        # All of the memory, but one of four slots.
        batch.submit(1, 3600, options=["-l", "h_vmem=4G,licence=1"])
        wait_until(lambda: batch.busy() == {"i-1": 1}, "it runs", detail=batch.queue)
        batch.submit(3, 3600, options=["-l", "h_vmem=2G"])
        licensed = batch.submit(5, 3600, options=["-l", "h_vmem=1G,licence=1"])
        wait_until(lambda: len(plugin.call("demand")) == 2, "jobs wait", detail=lambda: plugin.call("demand"))
        assert shapes(plugin.call("demand")) == [(1, 1024), (3, 2048)], "one licence of two is left"
        (busy,) = plugin.call("workers")
        assert (busy["free"]["cpus"], busy["free"]["memory_mb"], busy["capacity"]["memory_mb"]) == (3, 0, 4096)
        batch.head.run("qconf", "-mattr", "exechost", "complex_values", "licence=1", "global")
        wait_until(lambda: shapes(plugin.call("demand")) == [(3, 2048)], "none is left", detail=batch.queue)
        assert plugin.call("explain", [str(licensed)])["standing"] == "limited"
        batch.cancel_all()
        wait_until(lambda: not batch.queue(), "all is over")
        # A queue that is taken away while a job is in it.
        add_to_odd_queue(batch, idle["name"])
        batch.submit(1, 3600, options=["-l", "h_vmem=1G,needs=TRUE", "-q", "odd.q"])
        wait_until(lambda: batch.busy() == {"i-1": 1}, "it runs", detail=batch.queue)
        assert not plugin.call("workers")[0]["hurt"]
        batch.head.run("qconf", "-dattr", "hostgroup", "hostlist", idle["name"], "@odd")
        batch.head.run("qmod", "-d", "all.q")
        (orphaned,) = plugin.call("workers")
        assert (orphaned["hurt"], orphaned["jobs"], orphaned["closed"]) == (True, 1, True)
        batch.head.run("qmod", "-e", "all.q")
        assert "others are not like it" in plugin.ask("template", orphaned)["error"]


@pytest.mark.real
@on("gridengine")
def test_jobs_for_a_queue_without_workers_cost_no_more_than_to_find_out(make_batch: BatchMaker) -> None:
    batch = make_batch(2)
    assert isinstance(batch, GridEnginePool)
    make_site(batch)
    batch.head.run(
        "sh", "-c", "qconf -sc | sed 's/^h_vmem .*/h_vmem h_vmem MEMORY <= YES NO 0 0/' >/tmp/c; qconf -Mc /tmp/c"
    )
    with ElasticCluster(batch) as cluster:
        cluster.configure(configurations.own(cluster, max_vms="4", waiting_jobs_time_s="1", idle_for_time_s="8"))
        batch.submit(20, 1, options=["-q", "none.q"])
        cluster.elastiqctl("start", check=True)
        wait_until(lambda: cluster.alive(), "a VM is launched to find out", detail=cluster.log)
        wait_until(lambda: not cluster.alive(), "it is gone again", detail=cluster.log)
        stays(lambda: not cluster.alive(), WATCHED_SECONDS, "nothing more is launched")
        assert "workers like this are only in all.q" in cluster.log() + cluster.elastiqctl("status").stdout
        job = batch.submit(2, 1)
        wait_until(lambda: not batch.is_unfinished(job), "jobs of other queues run", detail=cluster.log)
        wait_until(lambda: not cluster.alive(), "idle VMs are gone", detail=cluster.asked)
        cluster.elastiqctl("stop", check=True)
        launches = [int(one.parameters["MaxCount"]) for one in cluster.cloud.operations("RunInstances")]
        # A second one if a queue check falls between the first worker and what is learnt from it.
        assert launches in ([1, 1], [1, 1, 1])
