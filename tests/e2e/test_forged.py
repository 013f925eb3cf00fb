"""Root on a worker of a real batch system lies to it, to have elastiq harm others: all at once, as nobody would."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e import configurations
from tests.e2e.conftest import PoolMaker
from tests.e2e.harness import ElasticCluster
from tests.testbed.batch import wait_until
from tests.testbed.htcondor_pool import HtcondorPool
from tests.testbed.machines import Machine

ESCAPES = "\\033]0;owned\\007\\033[2J"
OPTIONS = {"idle_for_time_s": "20", "estimated_vm_deploy_time_s": "40", "waiting_jobs_time_s": "1", "max_vms": "6"}


def ad(**attributes: Any) -> str:
    """Return an ad as condor_advertise takes it; a value that begins with = is an expression as it is."""
    said = {"MyType": "Machine", "TargetType": "Job", **attributes}
    lines = []
    for name, value in said.items():
        text = str(value)
        quoted = text[1:] if text.startswith("=") else str(value).lower() if isinstance(value, (bool, int)) else f'"{text}"'
        lines.append(f"{name} = {quoted}")
    return "\n".join(lines) + "\n"


def idle_for_ever(machine: str, name: str, address: str, **attributes: Any) -> str:
    """Return an ad of a slot that has been idle for longer than there are computers."""
    said = {
        "Machine": machine,
        "Name": name,
        "MyAddress": address,
        "StartdIpAddr": address,
        "PartitionableSlot": True,
        "NumDynamicSlots": 0,
        "NumDynamicSlotsTime": 1,
        "DaemonStartTime": 1,
        "MyCurrentTime": "=time()",
        "UpdateSequenceNumber": 99999999,
        "State": "Unclaimed",
        "Activity": "Idle",
        "Cpus": 0,
        "Memory": 0,
    }
    return ad(**{**said, **attributes})


class Liar:
    """Advertises again and again whatever it was told to, with the token of its own VM."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.updates: dict[str, str] = {}
        self.forgotten = ""
        """A constraint: what meets it is taken out of the collector."""
        self.rounds = 0
        self._ended = threading.Event()

    def advertise(self, command: str, ads: Sequence[str]) -> int:
        text = "\n".join(ads)
        return self.machine.run("condor_advertise", "-multiple", command, "-", stdin=text, check=False).returncode

    def go_on(self) -> None:
        while not self._ended.wait(0.5):
            if self.forgotten:
                query = f'MyType = "Query"\nTargetType = "Machine"\nRequirements = {self.forgotten}\n'
                self.advertise("INVALIDATE_STARTD_ADS", [query])
            self.advertise("UPDATE_STARTD_AD", list(self.updates.values()))
            self.rounds += 1

    @contextmanager
    def lying(self) -> Iterator[None]:
        thread = threading.Thread(target=self.go_on)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()


def machine_of(pool: HtcondorPool, instance_id: str) -> Machine:
    return next(one for one in pool.network.machines if one.name == instance_id)


def slot_of(pool: HtcondorPool, instance_id: str) -> Mapping[str, Any]:
    (found,) = pool.slots("-constraint", f'EC2InstanceId == "{instance_id}" && DynamicSlot =!= true')
    return found


NOWHERE = "<10.77.250.250:9618>"


def junk() -> dict[str, str]:
    """Return ads of workers that are none. Their CPUs are numbers: with NaN, infinity or lists for one that is to be
    shared out, HTCondor 23.9.6 starts no job of anybody any more ("submitter limit exceeded")."""
    deep = "=" + "{" * 400 + "1" + "}" * 400
    values: dict[str, dict[str, Any]] = {
        "one megabyte": {"EC2InstanceId": "x" * 1_000_000, "DrainReason": "y" * 1_000_000},
        "escapes": {"EC2InstanceId": ESCAPES, "EC2PrivateIp": ESCAPES, "DrainReason": ESCAPES, "Draining": True},
        "lists in lists": dict.fromkeys(("TotalSlotCpus", "EC2InstanceId", "DrainReason"), deep),
        "numbers that are none": {"TotalSlotCpus": '=real("NaN")', "NumDynamicSlotsTime": '=real("INF")'},
        "an expression": {"EC2InstanceId": "=error", "State": "=TARGET.Nowhere", "NumDynamicSlots": -(2**62)},
    }
    found = {
        what: idle_for_ever(f"junk{number}", f"slot1@junk{number}", NOWHERE, **said)
        for number, (what, said) in enumerate(values.items())
    }
    for number in range(500):
        name = f"many{number}"
        found[name] = idle_for_ever(name, f"slot1@{name}", NOWHERE, EC2InstanceId=f"i-{number:017x}")
    return found


@pytest.mark.real
def test_root_on_a_worker_of_htcondor(make_htcondor: PoolMaker) -> None:
    pool = make_htcondor("", "NUM_CPUS = 2\n")
    with ElasticCluster(pool) as cluster:
        cluster.configure(configurations.own(cluster, **OPTIONS))
        first = pool.submit(3, 3600, cpus=2)
        cluster.elastiqctl("start", check=True)
        wait_until(lambda: len(pool.busy()) == 3, "each job has a VM", detail=pool.queue)
        hosts = {}
        for line in pool.head.run("condor_q", "-allusers", "-af", "ProcId", "RemoteHost").stdout.splitlines():
            number, host = line.split()
            hosts[int(number)] = next(
                one["EC2InstanceId"] for one in pool.slots() if one["Machine"] == host.rpartition("@")[2]
            )
        victim, own, idle = hosts[0], hosts[1], hosts[2]
        slots = {id_: slot_of(pool, id_) for id_ in (victim, own, idle)}
        pool.head.run("condor_rm", f"{first}.1", f"{first}.2")
        wait_until(lambda: set(pool.busy()) == {victim}, "only the victim's job runs", detail=pool.queue)

        liar = Liar(machine_of(pool, own))
        address = slots[own]["MyAddress"]
        for command in ("UPDATE_SCHEDD_AD", "UPDATE_NEGOTIATOR_AD", "UPDATE_COLLECTOR_AD", "INVALIDATE_SCHEDD_ADS"):
            assert liar.advertise(command, [ad(Name="x", Machine="x", MyAddress=address)]), "its token is for less"
        its = {"EC2InstanceId": victim, "EC2PrivateIp": slots[victim]["EC2PrivateIp"]}
        room = {"Cpus": 10**6, "Memory": 10**9, "TotalSlotCpus": 10**6, "NumDynamicSlotsTime": "=time()"}
        liar.updates = {
            **junk(),
            "the victim, idle": idle_for_ever("liar", "slot1@liar", address, **its),
            "its own VM": idle_for_ever(
                slots[own]["Machine"], slots[own]["Name"], address, EC2InstanceId=own, **{**room}
            ),
            "another, at work": idle_for_ever(
                "liar2", "slot1@liar2", address, EC2InstanceId=idle, State="Claimed", Activity="Busy"
            ),
        }
        liar.forgotten = f'Machine == "{slots[victim]["Machine"]}"'
        with liar.lying():
            wait_until(lambda: liar.rounds > 0, "it lies")
            wait_until(lambda: idle not in cluster.alive(), "the idle VM goes as usual", 100, detail=cluster.asked)
            wait_until(lambda: f"VM {victim}" in cluster.log(), "the victim's VM was to go", detail=cluster.log)
            second = pool.submit(2, 3600, cpus=2)
            wait_until(
                lambda: sum(job["ClusterId"] == int(second) and job["JobStatus"] == 2 for job in pool.queue()) == 2,
                "the others' jobs run",
                detail=pool.queue,
            )
        assert victim in cluster.alive()
        assert pool.evictions() == []
        assert pool.job_starts()[f"{first}.0"] == 1
        print(cluster.log()[-6000:])
