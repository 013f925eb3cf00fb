"""What only Slurm has: what is hidden from everybody but its own user, reservations, nodes that it drains by itself,
and nodes known by host name."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.harness import PluginOnHead
from tests.testbed.batch import wait_until
from tests.testbed.machines import Network
from tests.testbed.rootfs import JOB_USER
from tests.testbed.slurm_pool import SlurmPool

INSTANCE_ID = "i-00000001"
TASKS = [number for number in range(400) if number % 3]
"""So many gaps that squeue, unasked, would not print the whole list."""


@pytest.mark.real
def test_what_is_hidden_is_seen_through_sudo_as_it_is(testbed_root: None, networks: list[Network]) -> None:
    networks.append(Network())
    batch = SlurmPool(networks[-1], 1, "PrivateData=cloud,jobs,nodes\n")
    batch.start_worker(INSTANCE_ID, "10.77.1.1", batch.substituted_user_data())
    with PluginOnHead(batch) as plugin:
        wait_until(
            lambda: [worker["instance_id"] for worker in plugin.call("workers")] == [INSTANCE_ID], "it joins", 60
        )
        (worker,) = plugin.call("workers")
        # Another time zone or another epoch would be more.
        assert 0 <= worker["idle_seconds"] < 1200
        batch.submit(1, 3600, options=[f"--array={','.join(map(str, TASKS))}"])
        batch.submit(1, 1, options=["--begin=now+1days"])

        def waiting() -> int:
            return sum(group["jobs"] for group in plugin.call("demand"))

        # One of them runs.
        wait_until(lambda: waiting() == len(TASKS) - 1, "the tasks wait", detail=waiting)
        assert all(0 <= group["oldest_wait_seconds"] < 1200 for group in plugin.call("demand"))


@pytest.mark.real
def test_reservations(testbed_root: None, networks: list[Network]) -> None:
    """An idle node in one is not closed; jobs that wait for it can run on no new one, and such that wait for the end of
    a maintenance are no demand."""
    networks.append(Network())
    batch = SlurmPool(networks[-1], 1)
    batch.start_worker(INSTANCE_ID, "10.77.1.1", batch.substituted_user_data())
    batch.wait_joined([INSTANCE_ID])

    def reserve(nodes: str, *words: str, start: str = "now") -> None:
        when = (f"starttime={start}", "duration=60")
        batch.head.run("scontrol", "create", "reservation", "reservationname=exam", *when, f"nodes={nodes}", *words)

    def reasons() -> set[str]:
        return {each["reason"] for each in batch.queue()}

    with PluginOnHead(batch) as plugin:

        def worker() -> dict[str, Any]:
            (only,) = plugin.call("workers")
            return dict(only)

        reserve(INSTANCE_ID, f"users={JOB_USER}")
        wait_until(lambda: worker()["jobs"], "the node is reserved")
        assert plugin.call("close", worker()) == "busy"
        batch.submit(2, 3600, options=["--reservation=exam"])
        wait_until(lambda: reasons() == {"None", "Resources"}, "one task runs and one waits", detail=batch.queue)
        (group,) = plugin.call("demand")
        (judgement,) = plugin.call("judge", [[group["wants"]], ""])
        assert judgement["answer"] == "no"
        assert judgement["reason"] == "reservation exam: a VM that is launched is in no reservation"
        batch.cancel_all()
        batch.wait_all()
        batch.head.run("scontrol", "delete", "reservationname=exam")
        wait_until(lambda: not worker()["jobs"], "the node is free")

        reserve("ALL", "flags=maint", "users=root", start="now+1hour")
        batch.submit(1, 3600, options=["--time=90"])
        held = "ReqNodeNotAvail, Reserved for maintenance"
        wait_until(lambda: reasons() == {held}, "the job is held back", detail=batch.queue)
        assert plugin.call("demand") == []
        in_time = batch.submit(1, 3600, options=["--time=10"])
        wait_until(lambda: batch.busy()[INSTANCE_ID], f"job {in_time}, which ends before, runs", detail=batch.queue)
        batch.cancel_all()
        wait_until(lambda: not worker()["jobs"], "the node is free")
        batch.head.run("scontrol", "delete", "reservationname=exam")

        reserve("ALL", f"users={JOB_USER}", start="now+1hour")
        early = batch.submit(1, 10, options=["--reservation=exam"])
        wait_until(lambda: reasons() == {"Reservation"}, "the job waits for its reservation", detail=batch.queue)
        told = plugin.call("explain", [str(early)])
        assert told["standing"] == "blocked" and "reason Reservation" in told["text"]
        batch.cancel_all()
        wait_until(lambda: not batch.queue(), "the job is gone")
        batch.head.run("scontrol", "delete", "reservationname=exam")

        reserve("ALL", "flags=maint", "users=root")
        batch.submit(1, 3600)
        wait_until(lambda: reasons() == {held}, "the job is held back", detail=batch.queue)
        assert plugin.call("demand") == []
        assert worker()["jobs"] == 0
        assert plugin.call("close", worker()) == "closed"


@pytest.mark.real
def test_what_slurm_drained_stays_drained(testbed_root: None, networks: list[Network]) -> None:
    """Its reason is kept behind elastiq's own, which Slurm prints with who gave it, and reads again as it was given."""
    networks.append(Network())
    batch = SlurmPool(networks[-1], 1)
    batch.start_worker(INSTANCE_ID, "10.77.1.1", batch.substituted_user_data())
    batch.wait_joined([INSTANCE_ID])
    batch.head.run("scontrol", "update", f"nodename={INSTANCE_ID}", "state=drain", "reason=Prolog error")
    with PluginOnHead(batch) as plugin:
        (worker,) = plugin.call("workers")
        assert (worker["closed"], worker["closed_by_other"]) == (True, False)
        for _ in range(2):
            assert plugin.call("close", worker) == "closed"
        assert "elastiq: idle; Prolog error [" in plugin.ask("reopen", worker)["error"]
        (worker,) = plugin.call("workers")
        assert (worker["closed"], worker["closed_by_other"]) == (True, False)


@pytest.mark.real
def test_a_node_is_known_by_the_address_of_its_host(testbed_root: None, networks: list[Network]) -> None:
    """One whose name tells nothing of its VM; and while its host cannot be resolved it may be any."""
    networks.append(Network())
    batch = SlurmPool(networks[-1], 1)
    batch.start_worker("worker3", "10.77.1.1", batch.substituted_user_data())
    batch.wait_joined(["worker3"])
    batch.head.run("sh", "-c", "echo 10.77.1.1 worker3.pool.example worker3 >>/etc/hosts")
    batch.head.run("scontrol", "update", "nodename=worker3", "nodeaddr=worker3")
    never_seen = {"name": "", "instance_id": INSTANCE_ID, "address": "10.77.1.1", "capacity": {}, "free": {}}
    with PluginOnHead(batch) as plugin:
        (worker,) = plugin.call("workers")
        assert (worker["name"], worker["instance_id"], worker["address"]) == ("worker3", None, "10.77.1.1")
        job = batch.submit(1, 3600)
        wait_until(lambda: batch.busy()["worker3"], f"job {job} runs", detail=batch.queue)
        assert plugin.call("close", never_seen) == "busy"
        batch.head.run("sh", "-c", "grep -v worker3 /etc/hosts >/tmp/hosts; cat /tmp/hosts >/etc/hosts")
        said = plugin.ask("close", never_seen)["error"]
        assert "may be worker3, of which Slurm tells neither VM nor IPv4 address" in said
