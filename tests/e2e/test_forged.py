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
        quoted = (
            text[1:] if text.startswith("=") else str(value).lower() if isinstance(value, (bool, int)) else f'"{text}"'
        )
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


def jobs_shown(pool: HtcondorPool, *instance_ids: str) -> list[int]:
    return [slot_of(pool, id_)["NumDynamicSlots"] for id_ in instance_ids]


NOWHERE = "<10.77.250.250:9618>"


def junk() -> dict[str, str]:
    """Return ads of workers that are none. Their CPUs are numbers: with NaN, infinity or lists for one that is to be
    shared out, HTCondor 23.9.6 starts no job of anybody any more ("submitter limit exceeded")."""
    deep = "=" + "{" * 400 + "1" + "}" * 400
    values: dict[str, dict[str, Any]] = {
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


def flood() -> list[str]:
    """Return ads of more than elastiq reads of any answer."""
    long = {"EC2InstanceId": "x" * 1_000_000, "DrainReason": "y" * 1_000_000}
    return [idle_for_ever(f"long{number}", f"slot1@long{number}", NOWHERE, **long) for number in range(40)]


def daemon_of(cluster: ElasticCluster) -> str:
    return cluster.elastiqctl("status").stdout.partition("(pid ")[2].partition(")")[0]


def check_that_nothing_is_flooded(cluster: ElasticCluster) -> None:
    """The daemon's memory, its log, and what an administrator's terminal is sent."""
    text = cluster.head.run("cat", f"/proc/{daemon_of(cluster)}/status").stdout
    (most_kb,) = [int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM")]
    log = cluster.log()
    shown = "".join(cluster.elastiqctl(*words).stdout for words in (["status"], ["vms"], ["jobs"]))
    print(f"daemon {most_kb / 1024:.0f} MiB, log {len(log)} characters, shown {len(shown)}")
    assert most_kb < 150 * 1024
    assert len(log) < 1_000_000
    assert "this pass was given up" not in log
    assert [line for line in (log + shown).splitlines() if not line.isprintable()] == []


def running_on(pool: HtcondorPool) -> dict[str, str]:
    """Return by job on which VM it runs; the schedd knows it, whatever workers say."""
    names = {machine.address.replace(".", "-"): machine.name for machine in pool.network.machines}
    text = pool.head.run(
        "condor_q",
        "-allusers",
        "-constraint",
        "JobStatus == 2 && RemoteHost =!= undefined",
        "-af",
        "ClusterId",
        "ProcId",
        "RemoteHost",
    ).stdout
    jobs = (line.split() for line in text.splitlines())
    return {f"{cluster}.{number}": names[host.rpartition("@")[2].split(".")[0]] for cluster, number, host in jobs}


@pytest.mark.real
def test_root_on_a_worker_of_htcondor(make_htcondor: PoolMaker) -> None:
    """On real HTCondor: ads by condor_advertise with the worker's own token, again and again for some minutes."""
    pool = make_htcondor("", "NUM_CPUS = 2\n")
    with ElasticCluster(pool) as cluster:
        cluster.configure(configurations.own(cluster, **OPTIONS))
        first = pool.submit(3, 3600, cpus=2)
        cluster.elastiqctl("start", check=True)
        wait_until(lambda: len(running_on(pool)) == 3, "each job has a VM", detail=pool.queue)
        victim, own, idle = (running_on(pool)[f"{first}.{number}"] for number in range(3))
        # The schedd knows sooner than the ads what runs where.
        wait_until(lambda: jobs_shown(pool, own, idle) == [1, 1], "the workers say so", detail=pool.slots)
        slots = {id_: slot_of(pool, id_) for id_ in (victim, own, idle)}
        pool.head.run("condor_rm", f"{first}.1", f"{first}.2")
        wait_until(lambda: len(running_on(pool)) == 1, "only the victim's job runs", detail=pool.queue)
        wait_until(lambda: jobs_shown(pool, own, idle) == [0, 0], "the other jobs are gone", detail=pool.slots)

        liar = Liar(machine_of(pool, own))
        address = slots[own]["MyAddress"]
        for command in ("UPDATE_SCHEDD_AD", "UPDATE_NEGOTIATOR_AD", "UPDATE_COLLECTOR_AD", "INVALIDATE_SCHEDD_ADS"):
            assert liar.advertise(command, [ad(Name="x", Machine="x", MyAddress=address)]), "its token is for less"
        assert liar.advertise("UPDATE_STARTD_AD", flood()) == 0
        its = {"EC2InstanceId": victim, "EC2PrivateIp": slots[victim]["EC2PrivateIp"]}
        lines = pool.head.run("condor_status", "-long", slots[own]["Name"]).stdout.splitlines()
        honest = {name: value for name, _, value in (line.partition(" = ") for line in lines) if value}

        def itself(**said: str) -> str:
            return "".join(f"{name} = {value}\n" for name, value in {**honest, **said}.items())

        liar.updates = {
            **junk(),
            "itself": itself(State='"Claimed"', Activity='"Busy"'),
            "the victim, idle": idle_for_ever("liar", "slot1@liar", address, **its),
            "another, at work": idle_for_ever("liar2", "slot1@liar2", NOWHERE, EC2InstanceId=idle, State="Claimed"),
        }
        # Its own startd takes every drain, in the name of the victim's, whose ads are not there.
        liar.forgotten = f'Machine == "{slots[victim]["Machine"]}"'
        with liar.lying():
            wait_until(lambda: idle not in cluster.alive(), "the idle VM goes as usual", detail=cluster.asked)
            stays_text = f"terminate VM {victim}: idle for"
            wait_until(lambda: stays_text in cluster.log(), "the victim's VM was to go", detail=cluster.log)
            assert "a job runs there, so it stays" in cluster.log()
            # Now it takes nothing more, and has room for all beside a job of its own.
            liar.machine.run("pkill", "-STOP", "condor_startd")
            room = {
                "Cpus": "1000000",
                "Memory": "1000000000",
                "TotalSlotCpus": "1000000",
                "NumDynamicSlotsTime": "time()",
                "NumDynamicSlots": "1",
            }
            liar.updates["itself"] = itself(**room)
            launched = len(cluster.cloud.operations("RunInstances"))
            wait_until(lambda: any(slot["Cpus"] == 10**6 for slot in pool.slots()), "it has room", detail=pool.slots)
            second = pool.submit(2, 3600, cpus=2)
            no_room = f"VM {own} is taken for no room"
            wait_until(lambda: no_room in cluster.log(), "its room is none", detail=lambda: cluster.log()[-9000:])
            # HTCondor itself goes on offering one of them to the liar, which never answers.
            wait_until(
                lambda: any(running_on(pool).get(f"{second}.{number}", own) != own for number in range(2)),
                "the others' jobs run",
                detail=lambda: (pool.queue(), cluster.log()[-9000:]),
            )
            launches = cluster.cloud.operations("RunInstances")[launched:]
            assert sum(int(one.parameters["MaxCount"]) for one in launches) <= 2
            check_that_nothing_is_flooded(cluster)
        assert victim in cluster.alive()
        assert pool.job_starts()[f"{first}.0"] <= 1
        assert [line for line in pool.evictions() if f"({int(first):03d}.000." in line] == []
        cluster.elastiqctl("stop", check=True)


def templates_kept(cluster: ElasticCluster) -> str:
    """Return what the daemon has put away of what workers offer."""
    read = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchall())"
    which = "SELECT value FROM facts WHERE name LIKE '%templates'"
    found = cluster.head.run("find", "/home", "/var/lib/elastiq", "-name", "elastiq.db", check=False).stdout.split()
    return "".join(cluster.head.run("python3", "-c", read, path, which, check=False).stdout for path in found)


@pytest.mark.real
def test_root_on_the_newest_worker_of_htcondor_has_it_offer_nothing(make_htcondor: PoolMaker) -> None:
    """It says that it is another architecture, and jobs of others get VMs all the same."""
    pool = make_htcondor("", "NUM_CPUS = 2\n")
    with ElasticCluster(pool) as cluster:
        cluster.configure(configurations.own(cluster, **OPTIONS))
        first = pool.submit(1, 3600, cpus=2)
        cluster.elastiqctl("start", check=True)
        wait_until(lambda: len(running_on(pool)) == 1, "the job has a VM", detail=pool.queue)
        own = running_on(pool)[f"{first}.0"]
        wait_until(lambda: "arch" in templates_kept(cluster), "its offers are learnt", detail=cluster.log)
        liar = Liar(machine_of(pool, own))
        lines = pool.head.run("condor_status", "-long", slot_of(pool, own)["Name"]).stdout.splitlines()
        said = {name: value for name, _, value in (line.partition(" = ") for line in lines) if value}
        said.update(Arch='"LIAR"', OpSys='"LIES"')
        liar.updates = {"itself": "".join(f"{name} = {value}\n" for name, value in said.items())}
        liar.machine.run("pkill", "-STOP", "condor_startd")
        with liar.lying():
            wait_until(lambda: slot_of(pool, own)["Arch"] == "LIAR", "it lies", detail=pool.slots)
            cluster.elastiqctl("restart", check=True)
            wait_until(lambda: "LIAR" in templates_kept(cluster), "that is learnt", detail=cluster.log)
            second = pool.submit(2, 3600, cpus=2)
            wait_until(
                lambda: {f"{second}.0", f"{second}.1"} <= running_on(pool).keys(),
                "the others' jobs run",
                detail=lambda: (pool.queue(), cluster.elastiqctl("jobs").stdout, cluster.log()[-4000:]),
            )
        assert pool.job_starts()[f"{first}.0"] <= 1
        cluster.elastiqctl("stop", check=True)
