"""Slurm's answers: recorded ones of real daemons, and such as no daemon should give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.command import run
from elastiq.errors import BatchError
from elastiq.model import Demand, Shape, Worker
from elastiq.plugins.slurm_parse import (
    GROUP_JOBS,
    QUEUE_FIELDS,
    Node,
    Waiting,
    demand_of,
    parse_nodes,
    parse_queue,
    parse_server_time,
)

RECORDED = Path(__file__).parent / "recorded" / "slurm"
"""The column RESERVATION was put into the queues later: `(null)` for a job without one, as Slurm 24.11 prints it and,
after their source, 20.11 and 22.05 do."""
QUEUE_AT = 1795387242
NODES_AT = 1795387234

NODE = (
    "NodeName=node1 Arch=x86_64 CoresPerSocket=1  CPUAlloc=0 CPUEfctv=4 CPUTot=4 CPULoad=N/A AvailableFeatures=(null) "
    "ActiveFeatures=(null) Gres=(null) NodeAddr=10.0.0.7 NodeHostName=node1 Version=24.11.5 OS=Linux 6.1 #1 SMP  "
    "RealMemory=4000 AllocMem=0 FreeMem=N/A Sockets=4 Boards=1 State=IDLE ThreadsPerCore=1 Partitions=batch "
    "LastBusyTime=1700000000 CfgTRES=cpu=4 AllocTRES= "
)


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


def grouped(queue: str, now: float = QUEUE_AT) -> str:
    """Return what the plugin's pipeline makes of the output of squeue."""
    return run(["awk", "-F|", "-v", f"now={now:.0f}", GROUP_JOBS], 10, input_bytes=queue.encode())


def demand(queue: str, now: float = QUEUE_AT, partitions: tuple[str, ...] = ()) -> tuple[Demand, ...]:
    waiting, running = parse_queue(grouped(queue, now))
    return demand_of(waiting, running, now, partitions)


def job(**changes: str) -> str:
    """A queue with one waiting job."""
    values = dict.fromkeys(QUEUE_FIELDS, "N/A")
    values.update({"ArrayJobID": "7", "StateCompact": "PD", "NumNodes": "1", "NumTasks": "1", "ReqNodes": ""})
    values["Reservation"] = "(null)"
    values.update({"tres-alloc": "cpu=1,mem=1000M,node=1,billing=1", "Partition": "batch", "Reason": "Resources"})
    values.update(
        {"EligibleTime": str(QUEUE_AT - 60), **{name.replace("_", "-"): text for name, text in changes.items()}}
    )
    header = "|".join(name.upper().replace("-", "_") for name in QUEUE_FIELDS)
    return f"{header}|\n{'|'.join(values.values())}|\n"


def node(**changes: str) -> str:
    """The line of an idle node; a change to nothing takes the field away."""
    line = NODE
    for name, value in changes.items():
        line = re.sub(rf" {name}=\S*", f" {name}={value}" if value else "", line)
    return line + "\n"


def one_node(answer: str, now: float = 1_700_000_060) -> Node:
    (found,) = parse_nodes(answer, now)
    return found


def test_recorded_queue() -> None:
    """40 tasks of which one runs, at once 3 of 10 (none runs), 2 of an array with gaps (one runs), 20 single jobs,
    three that need GPUs (by node, by task, by job), three of several nodes; and five that nothing is launched for."""
    found = {(group.shape, group.vms_per_job): group.jobs for group in demand(recorded("24.11-queue"))}
    assert found == {
        (Shape(4, 500), 1): 39 + 3,
        (Shape(3, 2100), 1): 20,
        (Shape(1, 1000), 1): 1 + 1,
        (Shape(1, 1000, 0, 2), 1): 5,
        (Shape(1, 1000, 0, 1), 1): 1,
        (Shape(2, 2000, 0, 2), 1): 1,
        (Shape(1, 1000, 0, 2), 2): 1,
        (Shape(2, 2000), 3): 1 + 1,
        (Shape(3, 3000), 2): 1,
    }


def test_recorded_queue_by_partition() -> None:
    found = {
        (group.shape, group.vms_per_job): group.jobs for group in demand(recorded("24.11-queue"), QUEUE_AT, ("other",))
    }
    assert found == {(Shape(1, 1000, 0, 2), 1): 5, (Shape(2, 2000, 0, 2), 1): 1}


def test_recorded_oldest_wait() -> None:
    (first, *_) = demand(recorded("24.11-queue"))
    assert first.oldest_wait_seconds == QUEUE_AT - 1795387234


def test_an_empty_queue_has_its_header() -> None:
    assert demand(recorded("24.11-empty-queue")) == ()


def test_ten_thousand_jobs_are_one_line() -> None:
    queue = recorded("24.11-queue")
    (like,) = [line for line in queue.splitlines() if line.startswith("39|")]
    text = grouped(queue + "".join(f"{like.replace('39', str(number), 1)}\n" for number in range(100, 10_100)))
    assert len(text.splitlines()) < 30
    assert max(group.jobs for group in demand_of(*parse_queue(text), QUEUE_AT)) == 10_020


def test_tasks_that_stand_alone_are_one_line() -> None:
    lines = [job(ArrayTaskID=str(number)).splitlines() for number in range(1000)]
    text = grouped("\n".join([lines[0][0], *(line for _, line in lines)]) + "\n")
    assert len(text.splitlines()) == 2
    assert [group.jobs for group in demand_of(*parse_queue(text), QUEUE_AT)] == [1000]


def test_recorded_nodes() -> None:
    nodes = {found.worker.name[-1]: found for found in parse_nodes(recorded("24.11-nodes"), NODES_AT)}
    workers = {name: found.worker for name, found in nodes.items()}
    capacity = Shape(4, 4000)
    assert workers["0"] == Worker(
        "i-0123456789abcdef0", "i-0123456789abcdef0", "10.77.1.1", capacity, Shape(1, 1000), jobs=1
    )
    suspended = workers["1"]
    assert (suspended.jobs, suspended.idle_seconds) == (1, None)
    own, other = workers["3"], workers["4"]
    assert (own.free, own.jobs, own.idle_seconds, own.closed, own.closed_by_other) == (capacity, 0, 8.0, True, False)
    assert (other.jobs, other.closed, other.closed_by_other) == (0, True, True)
    assert nodes["3"].drained_by_elastiq
    assert not nodes["4"].drained_by_elastiq
    assert [name for name, found in nodes.items() if not found.present] == ["2"]
    assert all(found.dynamic for found in nodes.values())
    assert (workers["2"].capacity, workers["2"].closed_by_other) == (Shape(8, 8000, 0, 2), False)


def test_no_nodes_are_said_in_words() -> None:
    assert parse_nodes(recorded("24.11-no-nodes"), NODES_AT) == ()


OLD_VERSIONS = {"20.11": 1795387813, "22.05": 1795387791}
"""Recorded on Slurm 20.11.4 and 22.05.8, and when."""


@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_recorded_queues_of_old_versions(version: str) -> None:
    """The same jobs on both; on the smaller cluster of 22.05 one more waits."""
    found = demand(recorded(f"{version}-queue"), OLD_VERSIONS[version])
    waits_too = {(Shape(4, 3000), 1): 1} if version == "22.05" else {}
    assert {(group.shape, group.vms_per_job): group.jobs for group in found} == {
        (Shape(1, 4000), 1): 2,
        (Shape(1, 1000, 0, 2), 1): 1,
        (Shape(2, 2000, 0, 2), 1): 1,
        (Shape(3, 3000), 2): 1,
        (Shape(2, 2000), 3): 1,
        **waits_too,
    }


def test_recorded_nodes_of_old_versions() -> None:
    first, second = (found.worker for found in parse_nodes(recorded("20.11-nodes"), OLD_VERSIONS["20.11"]))
    assert (first.name, first.instance_id, first.address) == ("node1", None, "10.99.0.1")
    assert (first.free, first.jobs, second.free) == (Shape(0, 0), 1, Shape(0, 1000))
    (dynamic,) = parse_nodes(recorded("22.05-nodes"), OLD_VERSIONS["22.05"])
    assert (dynamic.worker.instance_id, dynamic.worker.free, dynamic.dynamic) == ("i-00000001", Shape(1, 1000), True)


def test_nodes_with_gpus() -> None:
    """Written after what is published of 23.11, not recorded."""
    idle, busy = (found.worker for found in parse_nodes(recorded("23.11-nodes.not-run-here"), 1_700_000_060))
    assert (idle.jobs, busy.jobs, idle.idle_seconds) == (0, 1, 60.0)
    assert (idle.capacity, busy.free) == (Shape(32, 512000, 0, 2), Shape(28, 448000, 0, 1))
    assert (idle.address, busy.address) == ("10.0.0.1", None)


@pytest.mark.parametrize(
    ("gres", "used", "gpus", "free"),
    [
        ("gpu:3090:4(S:0-1)", "gpu:3090:1(IDX:0)", 4, 3),
        ("gpu:6000:8(IDX:0-7)", "gpu:6000:8(IDX:0,2-7)", 8, 0),
        ("gpu:a100:no_consume:2", "gpu:a100:0(IDX:N/A)", 2, 2),
        ("gpu:tesla:4,gpu:3090:2,nic:1", "(null)", 6, 6),
    ],
)
def test_gpus_whose_type_is_all_digits_are_counted(gres: str, used: str, gpus: int, free: int) -> None:
    """Found with the names of cards that people have: a node of four 3090s had no GPU."""
    line = (
        "NodeName=n1 CPUAlloc=1 CPUEfctv=8 CPUTot=8 NodeAddr=10.0.0.7 OS=Linux RealMemory=60000 AllocMem=1000 "
        f"State=MIXED+DYNAMIC_NORM Partitions=batch LastBusyTime=1700000000 Gres={gres} GresUsed={used}\n"
    )
    (node,) = parse_nodes(line, 1_700_000_060)
    assert (node.worker.capacity.gpus, node.worker.free.gpus) == (gpus, free)


@pytest.mark.parametrize(
    "reason",
    [
        "None",
        "Resources",
        "Priority",
        "ReqNodeNotAvail, May be reserved for other job",
        "ReqNodeNotAvail(Unavailable:i-0123456789abcdef0)",
        "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
        "PartitionConfig",
        "PartitionNodeLimit",
    ],
)
def test_reasons_that_count(reason: str) -> None:
    assert [group.jobs for group in demand(job(Reason=reason))] == [1]


@pytest.mark.parametrize(
    "reason",
    [
        "Dependency",
        "DependencyNeverSatisfied",
        "BeginTime",
        "JobHeldUser",
        "JobHeldAdmin",
        "JobArrayTaskLimit",
        "Licenses",
        "Reservation",
        "BadConstraints",
        "AssocGrpCpuLimit",
        "QOSMaxJobsPerUserLimit",
        "PartitionDown",
        "SomethingOfTomorrow",
        "",
    ],
)
def test_reasons_that_do_not_count(reason: str) -> None:
    assert demand(job(Reason=reason)) == ()


def test_a_job_that_waits_for_the_end_of_a_maintenance_does_not_count() -> None:
    """Said on Slurm 24.11 where a reservation has all nodes: it starts no job on nodes that join meanwhile either."""
    assert demand(job(Reason="ReqNodeNotAvail, Reserved for maintenance")) == ()
    queue = job(ArrayTaskID="4-200%4", Reason="ReqNodeNotAvail, Reserved for maintenance")
    other = job(ArrayJobID="8").splitlines()[1]
    assert [group.jobs for group in demand(queue + f"{other}\n")] == [1]


def test_a_job_that_is_due_later_does_not_count_whatever_the_reason() -> None:
    assert demand(job(EligibleTime=str(QUEUE_AT + 10), Reason="None")) == ()


def test_a_job_for_certain_nodes_does_not_count() -> None:
    assert demand(job(ReqNodes="node[1-3]")) == ()


@pytest.mark.parametrize("reason", ["None", "Resources", "Priority", "ReqNodeNotAvail, May be reserved for other job"])
def test_a_job_in_a_reservation_does_not_count(reason: str) -> None:
    """It runs on the nodes of the reservation alone; that with FLEX or ANY_NODES a new node would do is not looked
    at."""
    assert demand(job(Reservation="exam", Reason=reason)) == ()


@pytest.mark.parametrize(
    ("tasks", "count"),
    [("5", 1), ("1-10", 10), ("0-99:10", 10), ("1,3,5-9:2,20-30", 16), ("1-50000%4", 4), ("1-3%10", 3), ("0-9%1", 1)],
)
def test_tasks_of_arrays(tasks: str, count: int) -> None:
    assert [group.jobs for group in demand(job(ArrayTaskID=tasks))] == [count]


def test_a_cap_counts_the_tasks_that_run() -> None:
    queue = job(ArrayTaskID="4-200%4")
    running = queue.splitlines()[1].replace("4-200%4", "1").replace("|PD|", "|R|")
    assert [group.jobs for group in demand(queue + f"{running}\n{running}\n{running}\n")] == [1]
    assert demand(queue + f"{running}\n" * 5) == ()


@pytest.mark.parametrize("state", ["SE", "RQ", "RH", "RD"])
def test_tasks_that_are_held_after_they_ran_do_not_run(state: str) -> None:
    queue = job(ArrayTaskID="4-200%4")
    held = job(ArrayTaskID="1", StateCompact=state, Reason="JobHeldUser").splitlines()[1]
    assert [group.jobs for group in demand(queue + f"{held}\n" * 4)] == [4]


def test_a_cap_counts_the_tasks_that_wait_alone() -> None:
    """Four tasks ran until their VM died, and wait again, each by itself: still no more than four may run at a time."""
    queue = job(ArrayTaskID="4-200%4")

    def jobs(reason: str, queue: str = queue) -> list[int]:
        alone = job(ArrayTaskID="3", Reason=reason).splitlines()[1]
        return [group.jobs for group in demand(queue + f"{alone}\n" * 4)]

    assert jobs("Resources") == jobs("None") == [4]
    assert jobs("JobHeldUser") == jobs("BeginTime") == [4]
    assert jobs("Resources", job(ArrayTaskID="4-200")) == [197 + 4]
    assert jobs("Resources", job(ArrayTaskID="4-200%6")) == [6]


@pytest.mark.parametrize("tasks", ["0-99...", "a", "1-", "-1", "1-10%", "1-10%x"])
def test_tasks_that_can_not_be_counted_are_an_error(tasks: str) -> None:
    with pytest.raises(BatchError, match="squeue"):
        demand(job(ArrayTaskID=tasks))


@pytest.mark.parametrize(
    ("changes", "shape", "nodes"),
    [
        ({"tres_alloc": "cpu=64,mem=62.50G,node=1"}, Shape(64, 64000), 1),
        ({"tres_alloc": "cpu=7,mem=1001M,node=2", "NumNodes": "2"}, Shape(4, 501), 2),
        ({"tres_alloc": "cpu=1,node=1"}, Shape(1, 0), 1),
        ({"tres_alloc": "cpu=8,mem=1M,node=2,gres/gpu=4", "NumNodes": "2"}, Shape(4, 1, 0, 2), 2),
        ({"tres_per_node": "gpu:2"}, Shape(1, 1000, 0, 2), 1),
        ({"tres_per_node": "gres:gpu:a100:2,gres:nic:1"}, Shape(1, 1000, 0, 2), 1),
        ({"tres_per_node": "gres/gpu:1080ti=2"}, Shape(1, 1000, 0, 2), 1),
        ({"tres_per_node": "gres/gpu"}, Shape(1, 1000, 0, 1), 1),
        ({"tres_per_node": "gpu:a100"}, Shape(1, 1000, 0, 1), 1),
        ({"tres_per_node": "gres/gpu:3090:1"}, Shape(1, 1000, 0, 1), 1),
        ({"tres_per_node": "gres:gpu:2080:2"}, Shape(1, 1000, 0, 2), 1),
        ({"tres_per_node": "gres/gpu:4090=2"}, Shape(1, 1000, 0, 2), 1),
        ({"tres_per_node": "gpu:tesla:4,gpu:3090:2"}, Shape(1, 1000, 0, 6), 1),
        ({"tres_per_node": "gres/nogpu:3"}, Shape(1, 1000), 1),
        ({"tres_per_job": "gpu:8", "NumNodes": "4"}, Shape(1, 250, 0, 2), 4),
        ({"tres_per_task": "cpu=1,gres/gpu=1", "NumTasks": "6", "NumNodes": "3"}, Shape(1, 334, 0, 2), 3),
    ],
)
def test_shapes(changes: dict[str, str], shape: Shape, nodes: int) -> None:
    (group,) = demand(job(**changes))
    assert (group.shape, group.vms_per_job) == (shape, nodes)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "\n",
        "slurm_load_jobs error: Unable to contact slurm controller\n",
        job().partition("\n")[2],
        job().replace("|PD|", "|", 1),
        job(tres_alloc=""),
        job(tres_alloc="cpu=x"),
        job(NumNodes=""),
        recorded("24.11-queue")[:-40],
        recorded("24.11-queue") + "half of a j",
    ],
)
def test_what_is_no_queue_is_an_error(answer: str) -> None:
    with pytest.raises(BatchError, match="squeue"):
        demand(answer)


@pytest.mark.parametrize(
    ("changes", "jobs"),
    [
        ({}, 0),
        ({"State": "MIXED"}, 1),
        ({"State": "ALLOCATED"}, 1),
        ({"State": "IDLE+COMPLETING"}, 1),
        ({"State": "IDLE*+DRAIN"}, 0),
        ({"State": "IDLE+PLANNED"}, 0),
        ({"CPUAlloc": "1"}, 1),
        ({"AllocMem": "1"}, 1),
    ],
)
def test_jobs(changes: dict[str, str], jobs: int) -> None:
    worker = one_node(node(**changes)).worker
    assert worker.jobs == jobs
    assert worker.idle_seconds == (None if jobs else 60.0)


@pytest.mark.parametrize("state", ["FUTURE", "IDLE+CLOUD+POWERED_DOWN", "IDLE~+CLOUD+POWER", "IDLE+POWERING_DOWN"])
def test_nodes_that_do_not_exist(state: str) -> None:
    assert parse_nodes(node(State=state), 1_700_000_060) == ()


@pytest.mark.parametrize("state", ["DOWN", "DOWN*+DRAIN", "UNKNOWN", "ERROR", "IDLE+DRAIN+INVALID_REG"])
def test_nodes_that_do_not_work_are_no_workers(state: str) -> None:
    assert not one_node(node(State=state)).present


@pytest.mark.parametrize("state", ["MAINT", "MAINT*+DRAIN", "RESERVED", "REBOOT", "REBOOT^", "PERFCTRS+CLOUD"])
def test_words_of_slurm_20_11_for_idle_nodes(state: str) -> None:
    """Written after its source (node_state_string), not recorded: an idle node in a reservation is not called IDLE."""
    found = one_node(node(State=state))
    idle = (1, None) if state == "RESERVED" else (0, 60.0)
    assert (found.present, (found.worker.jobs, found.worker.idle_seconds)) == (True, idle)
    assert found.worker.closed == ("DRAIN" in state)


@pytest.mark.parametrize(
    ("state", "reason", "jobs"),
    [
        ("IDLE+DYNAMIC_NORM+RESERVED", "", 1),
        ("RESERVED", "", 1),
        ("IDLE+DRAIN+RESERVED", "Kill task failed", 0),
        ("IDLE+DRAIN+RESERVED", "elastiq: idle", 0),
        ("IDLE+RESERVED", "elastiq: idle", 1),
        ("IDLE+DYNAMIC_NORM+MAINTENANCE+RESERVED+PLANNED", "", 0),
        ("MAINT", "", 0),
        ("DOWN+RESERVED", "Not responding", 0),
    ],
)
def test_a_reservation_claims_its_idle_nodes(state: str, reason: str, jobs: int) -> None:
    """Its jobs run nowhere else; but one for maintenance has none, and what is drained starts none."""
    line = node(State=state).rstrip("\n") + f" Reason={reason} [root@2026-11-22T22:00:00] ReservationName=exam\n"
    worker = one_node(line).worker
    assert (worker.jobs, worker.idle_seconds) == (jobs, None if jobs else 60.0)


@pytest.mark.parametrize("state", ["MAINT", "RESERVED", "IDLE+RESERVED", "IDLE+MAINTENANCE+RESERVED", "MIXED+RESERVED"])
def test_what_a_reservation_holds_is_not_free(state: str) -> None:
    worker = one_node(node(State=state)).worker
    assert (worker.capacity, worker.free, worker.closed) == (Shape(4, 4000), Shape(0), False)


def test_a_node_that_somebody_lets_fail_is_closed() -> None:
    """By `scontrol update state=fail`: it starts no more jobs until it is resumed, just as one that is drained."""
    failing = one_node(node(State="IDLE+FAIL").rstrip("\n") + " Reason=new disk [root@2026-11-22T22:00:00]\n")
    assert (failing.worker.closed, failing.worker.closed_by_other) == (True, True)
    assert not failing.drained_by_elastiq


def test_reasons_of_a_drain() -> None:
    def drained(reason: str) -> tuple[bool, bool]:
        found = one_node(node(State="IDLE+DRAIN").rstrip("\n") + f" Reason={reason} [root@2026-11-22T22:00:00]\n")
        return found.drained_by_elastiq, found.worker.closed_by_other

    assert drained("elastiq: idle") == (True, False)
    assert drained("not by elastiq: idle") == (False, True)
    assert drained("") == (False, True)
    assert drained("NHC: disk") == (False, True)
    assert drained("no: Kill task failed") == (False, True)
    open_again = one_node(node().rstrip("\n") + " Reason=elastiq: idle [slurm@2026-11-22T22:00:00]\n")
    assert (open_again.worker.closed, open_again.drained_by_elastiq) == (False, False)


@pytest.mark.parametrize(
    "reason",
    [
        "Kill task failed",
        "Prolog error",
        "Epilog error",
        "Job env setup error",
        "Prolog/Epilog failure",
        "Duplicate jobid",
        "Could not unpack gres data",
        "batch job complete failure",
        "Not responding",
        "Node unexpectedly rebooted",
        "Low RealMemory (reported:900 < 100.00% of configured:1000)",
        "Low socket*core*thread count, Low CPUs",
        "gres/gpu count reported lower than configured (0 < 1)",
    ],
)
def test_what_slurm_drains_is_drained_by_nobody(reason: str) -> None:
    """Texts of its source, not recorded: nobody will come back to resume such a VM."""
    line = node(State="IDLE+DRAIN").rstrip("\n") + f" Reason={reason} [slurm@2026-11-22T22:00:00]\n"
    found = one_node(line)
    assert (found.worker.closed, found.worker.closed_by_other, found.drained_by_elastiq) == (True, False, False)


def test_what_people_write_is_not_taken_for_slurms_words() -> None:
    comment = " Comment=x State=DOWN CPUAlloc=9 NodeAddr=10.9.9.9 Reason=gone NodeName=other\n"
    found = one_node(node().rstrip("\n") + comment)
    assert found.worker == one_node(node()).worker
    assert found.present


@pytest.mark.parametrize("comment", ["a\nb", "a\n\nb\r\n", "a\x85b\u2028c\x0cd\x1ce", "a\n State=DOWN NodeName=x"])
def test_a_comment_of_several_lines_is_one_nodes(comment: str) -> None:
    """Slurm 24.11 makes one line of a reason, but not of a comment or of what is in Extra."""
    line = node().rstrip("\n") + f" Comment={comment}\n"
    first, second = parse_nodes(line + node().replace("=node1", "=node2"), 1_700_000_060)
    assert (first.worker, second.worker.name) == (one_node(node()).worker, "node2")


@pytest.mark.parametrize(
    ("changes", "instance_id"),
    [
        ({}, None),
        ({"AvailableFeatures": "ec2,i-0123456789abcdef0"}, "i-0123456789abcdef0"),
        ({"AvailableFeatures": "i-01234567", "Version": "24.11.5 InstanceId=3f1e-77"}, "3f1e-77"),
        ({"AvailableFeatures": "intel,i-0123"}, None),
    ],
)
def test_instance_ids(changes: dict[str, str], instance_id: str | None) -> None:
    assert one_node(node(**changes)).worker.instance_id == instance_id


def test_an_instance_id_that_two_nodes_claim_is_nobodys() -> None:
    lines = node(AvailableFeatures="i-01234567") + node(AvailableFeatures="i-01234567").replace("node1", "node2")
    assert [found.worker.instance_id for found in parse_nodes(lines, 1_700_000_060)] == [None, None]


def test_memory_that_is_set_aside_is_for_no_job() -> None:
    aside = node(AllocMem="1000").replace(" State=", " CoreSpecCount=1 MemSpecLimit=500 State=")
    worker = one_node(aside).worker
    assert (worker.capacity.memory_mb, worker.free.memory_mb) == (3500, 2500)


def test_memory_that_nobody_has_set_is_not_known() -> None:
    assert one_node(node(RealMemory="1")).worker.capacity.memory_mb == 0


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "\n",
        "No nodes",
        "scontrol: error\n",
        NODE,
        node(State=""),
        node(State="DANCING"),
        node(CPUTot=""),
        node(CPUAlloc="many"),
        node() + "NodeName=node2 Arch=x86\n",
        node().replace("NodeName=node1", "NodeName=-x"),
        node().replace("NodeName=node1", "NodeName=node[1-3]"),
        "a\n" + node(),
        node() + "No nodes in the system",
    ],
)
def test_what_is_no_list_of_nodes_is_an_error(answer: str) -> None:
    with pytest.raises(BatchError, match="scontrol"):
        parse_nodes(answer, 1_700_000_060)


def test_times_that_are_not_in_seconds_are_an_error() -> None:
    """As sudo makes them that does not let through how squeue and scontrol shall write."""
    several = job(EligibleTime="2026-11-22T22:39:42") + job(EligibleTime="2026-11-22T22:39:42").partition("\n")[2]
    assert len(grouped(several).splitlines()) == 2
    for read in (lambda: demand(several), lambda: parse_nodes(node(LastBusyTime="2026-11-22T22:39:42"), NODES_AT)):
        with pytest.raises(BatchError, match=r"env_keep.*SLURM_TIME_FORMAT SLURM_BITSTR_LEN"):
            read()
    assert one_node(node(LastBusyTime="Unknown")).worker.idle_seconds is None


def test_server_time() -> None:
    text = "***\nsdiag output at Sun Nov 22 22:40:42 2026 (1795387242)\nData since      Sun Nov 22 (1795387225)\n"
    assert parse_server_time(text) == 1795387242
    with pytest.raises(BatchError, match="sdiag"):
        parse_server_time("sdiag: nothing\n")


@given(st.text())
def test_no_text_makes_the_parsers_raise_anything_else(text: str) -> None:
    for parse in (parse_queue, lambda answer: parse_nodes(answer, 0), parse_server_time):
        for answer in (text, f"{node()}{text}\n", f"{job().splitlines()[0]}\n{text}\n"):
            try:
                parse(answer)
            except BatchError:
                pass


@given(st.text(alphabet="0123456789-:,%", max_size=20))
def test_no_list_of_tasks_raises_anything_else(tasks: str) -> None:
    group = Waiting(1, 0, "7", tasks, Shape(), 1, ("batch",), False, "Resources")
    try:
        assert all(found.jobs > 0 for found in demand_of([group], {}, 0))
    except BatchError:
        pass
