"""Slurm's nodes: recorded ones of real daemons, and such as no daemon should give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.errors import BatchError
from elastiq.model import Shape, Worker
from elastiq.plugins.slurm_match import Offer
from elastiq.plugins.slurm_parse import NO_ROOM, Node, parse_nodes, parse_server_time

RECORDED = Path(__file__).parent / "recorded" / "slurm"
NODES_AT = 1795387234

NODE = (
    "NodeName=node1 Arch=x86_64 CoresPerSocket=1  CPUAlloc=0 CPUEfctv=4 CPUTot=4 CPULoad=N/A AvailableFeatures=(null) "
    "ActiveFeatures=(null) Gres=(null) NodeAddr=10.0.0.7 NodeHostName=node1 Version=24.11.5 OS=Linux 6.1 #1 SMP  "
    "RealMemory=4000 AllocMem=0 FreeMem=N/A Sockets=4 Boards=1 State=IDLE ThreadsPerCore=1 Partitions=batch "
    "LastBusyTime=1700000000 CfgTRES=cpu=4 AllocTRES= "
)


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


def node(**changes: str) -> str:
    """The line of an idle node; a change to nothing takes the field away."""
    line = NODE
    for name, value in changes.items():
        line = re.sub(rf" {name}=\S*", f" {name}={value}" if value else "", line)
    return line + "\n"


def one_node(answer: str, now: float = 1_700_000_060) -> Node:
    (found,) = parse_nodes(answer, now)
    return found


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
    assert all(found.present for found in nodes.values())
    assert all(found.dynamic for found in nodes.values())
    broken = workers["2"]
    assert (broken.capacity, broken.free, broken.jobs) == (Shape(8, 8000, None, 2), NO_ROOM, 0)
    assert (broken.closed, broken.closed_by_other, broken.hurt) == (True, False, True)
    assert [name for name, worker in workers.items() if worker.hurt] == ["2"]


def test_no_nodes_are_said_in_words() -> None:
    assert parse_nodes(recorded("24.11-no-nodes"), NODES_AT) == ()


def test_recorded_offers_and_odd_texts() -> None:
    """Two nodes that somebody has drained. One's comment has two lines and fields of its own, its reason too."""
    first, second = parse_nodes((RECORDED / "24.11-wishes-nodes").read_text(), 1795814484)
    assert first.offer == Offer(
        ("batch", "drains", "excl", "idle", "off", "short"), ("a", "b"), {"gpu:a100": 2, "nic": 4}, 0, "x86_64", "Linux"
    )
    assert (second.offer.features, second.offer.gres, second.doubt) == (("c",), {"gpu:t4": 1}, "")
    assert second.worker == Worker(
        "i-00000004", "i-00000004", "10.77.1.4", Shape(4, 4000, None, 1), Shape(1, 2900, None, 1), 1, None, True, True
    )
    assert second.reason.startswith("two [root@1795814477]")


OLD_VERSIONS = {"20.11": 1795387813, "22.05": 1795387791}
"""Recorded on Slurm 20.11.4 and 22.05.8, and when."""


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
    assert (idle.capacity, busy.free) == (Shape(32, 512000, None, 2), Shape(28, 448000, None, 1))
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


@pytest.mark.parametrize("state", ["DOWN", "DOWN*+DRAIN", "UNKNOWN", "ERROR"])
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
    assert (worker.capacity, worker.free, worker.closed) == (Shape(4, 4000), NO_ROOM, False)


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


def test_a_node_that_says_that_its_vm_is_taken_back() -> None:
    reason = " Reason=elastiq: spot interruption 2026-11-28T20:17:00Z [root@2026-11-28T20:15:03]\n"
    found = one_node(node(State="MIXED+DRAIN").rstrip("\n") + reason)
    assert (found.worker.interrupted, found.worker.closed, found.worker.closed_by_other) == (True, True, False)
    assert not one_node(node(State="MIXED").rstrip("\n") + reason).worker.interrupted, "somebody has opened it again"
    other = one_node(node(State="MIXED+DRAIN").rstrip("\n") + " Reason=spot interruption\n")
    assert (other.worker.interrupted, other.worker.closed_by_other) == (False, True)


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


def test_what_stands_behind_a_comment_is_believed_only_where_nothing_else_tells_the_vm() -> None:
    """It may be the end of the comment."""
    line = node().rstrip("\n") + " Comment=x InstanceId=i-01234567 InstanceType=m5.large ReservationName=exam\n"
    assert one_node(line).worker.instance_id == "i-01234567"
    assert one_node(line.replace("AvailableFeatures=(null)", "AvailableFeatures=i-89abcdef")).worker.instance_id == (
        "i-89abcdef"
    )
    assert one_node(line.replace(" ReservationName", " and ReservationName")).worker.instance_id is None


def test_an_instance_id_that_two_nodes_claim_is_nobodys() -> None:
    lines = node(AvailableFeatures="i-01234567") + node(AvailableFeatures="i-01234567").replace("node1", "node2")
    assert [found.worker.instance_id for found in parse_nodes(lines, 1_700_000_060)] == [None, None]


def test_memory_that_is_set_aside_is_for_no_job() -> None:
    aside = node(AllocMem="1000").replace(" State=", " CoreSpecCount=1 MemSpecLimit=500 State=")
    worker = one_node(aside).worker
    assert (worker.capacity.memory_mb, worker.free.memory_mb) == (3500, 2500)


@pytest.mark.parametrize(
    ("changes", "capacity", "free"),
    [
        ({}, Shape(4, 4000), Shape(4, 4000)),
        ({"AllocMem": "4000"}, Shape(4, 4000), Shape(4, 0)),
        ({"AllocMem": "5000"}, Shape(4, 4000), Shape(4, 0)),
        ({"CPUAlloc": "4"}, Shape(4, 4000), Shape(0, 4000)),
        ({"RealMemory": "1"}, Shape(4, None), Shape(4, None)),
        ({"RealMemory": "0"}, Shape(4, None), Shape(4, None)),
        ({"RealMemory": "1", "AllocMem": "1"}, Shape(4, None), Shape(4, None)),
        ({"Gres": "gpu:a100:2"}, Shape(4, 4000, None, 2), Shape(4, 4000, None, 2)),
        ({"Gres": "gpu:a100:2 GresUsed=gpu:a100:2(IDX:0-1)"}, Shape(4, 4000, None, 2), Shape(4, 4000, None, 0)),
    ],
)
def test_none_left_is_not_the_same_as_not_known(changes: dict[str, str], capacity: Shape, free: Shape) -> None:
    """RealMemory=1 is Slurm's default, where nobody has said what there is."""
    worker = one_node(node(**changes)).worker
    assert (worker.capacity, worker.free) == (capacity, free)


def test_what_is_only_this_nodes_is_not_offered() -> None:
    own = node(AvailableFeatures="fast,i-01234567,node1", Gres="gpu:a100:2(S:0),nic:1", Partitions="long,batch")
    assert one_node(own).offer == Offer(
        ("batch", "long"), ("fast",), {"gpu:a100": 2, "nic": 1}, arch="x86_64", os="Linux"
    )


@pytest.mark.parametrize(
    ("changes", "reason", "closed_by_other", "hurt"),
    [
        ({"State": "IDLE+DRAIN"}, "elastiq: idle", False, False),
        ({"State": "IDLE+DRAIN"}, "new disk", True, False),
        ({"State": "IDLE+DRAIN"}, "Low RealMemory (reported:900 < 100.00% of configured:1000)", False, True),
        ({"State": "IDLE+DRAIN"}, "Kill task failed", False, True),
        ({"State": "IDLE+DRAIN"}, "elastiq: idle; Kill task failed", False, True),
        ({"State": "IDLE+DRAIN+INVALID_REG"}, "elastiq: idle", False, True),
        ({"State": "IDLE+INVALID_REG"}, "", False, True),
        ({"State": "IDLE+FAIL"}, "new disk", True, True),
    ],
)
def test_what_slurm_has_closed_is_told_from_what_others_closed(
    changes: dict[str, str], reason: str, closed_by_other: bool, hurt: bool
) -> None:
    """A node that registers with less than is configured is closed by Slurm before it runs anything."""
    found = one_node(node(**changes).rstrip("\n") + f" Reason={reason} [slurm@1700000000]\n")
    worker = found.worker
    assert found.present
    assert (worker.closed, worker.closed_by_other, worker.hurt) == (True, closed_by_other, hurt)
    assert (worker.free == NO_ROOM) == (hurt and not closed_by_other)


def test_a_node_with_broken_gpus_is_hurt() -> None:
    assert one_node(node(Gres="gpu:2 GresDrain=gpu:1")).worker.hurt
    assert not one_node(node(Gres="gpu:2 GresDrain=N/A")).worker.hurt


ODD_SYSTEMS = [
    "a\nb",
    "x State=DOWN CPUAlloc=9",
    "Reason=elastiq: idle",
    "x Comment=y InstanceId=i-01234567",
    "",
    "\x00|'\"",
]


@pytest.mark.parametrize("system", ODD_SYSTEMS)
def test_the_name_of_an_operating_system_is_any_text(system: str) -> None:
    line = node().replace("OS=Linux 6.1 #1 SMP ", f"OS={system} ")
    first, second = parse_nodes(line + node().replace("=node1", "=node2"), 1_700_000_060)
    assert (first.worker, first.reason, second.worker.name) == (one_node(node()).worker, "", "node2")


FORGED = "x RealMemory=9 AllocMem=9 FreeMem=9 Sockets=9 Boards=9 State=DOWN"


@pytest.mark.parametrize(
    "line",
    [
        node(State=""),
        node(State="DANCING"),
        node(CPUTot=""),
        node(CPUAlloc="many"),
        node(RealMemory="x"),
        node().replace("OS=Linux", f"OS={FORGED}"),
        node().rstrip("\n") + f" Comment={FORGED} \n",
    ],
)
def test_a_node_that_cannot_be_read_is_a_worker_with_a_job(line: str) -> None:
    """One that were left out would be taken for lost, and its VM, with its jobs, be terminated in the end."""
    first, second = parse_nodes(line + node().replace("=node1", "=node2"), 1_700_000_060)
    assert (first.worker.name, first.worker.address, first.worker.free.cpus) == ("node1", "10.0.0.7", 0)
    assert (first.worker.jobs, first.worker.idle_seconds, first.worker.closed) == (1, None, False)
    assert first.present
    assert first.doubt.startswith("node node1 cannot be read: scontrol ")
    assert (second.worker.jobs, second.doubt) == (0, "")


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
    with pytest.raises(BatchError, match=r"scontrol.*env_keep.*SLURM_TIME_FORMAT SLURM_BITSTR_LEN"):
        parse_nodes(node() + node(LastBusyTime="2026-11-22T22:39:42"), NODES_AT)
    assert one_node(node(LastBusyTime="Unknown")).worker.idle_seconds is None


def test_server_time() -> None:
    text = "***\nsdiag output at Sun Nov 22 22:40:42 2026 (1795387242)\nData since      Sun Nov 22 (1795387225)\n"
    assert parse_server_time(text) == 1795387242
    with pytest.raises(BatchError, match="sdiag"):
        parse_server_time("sdiag: nothing\n")


@pytest.mark.long
@given(st.text())
def test_no_text_makes_the_parsers_raise_anything_else(text: str) -> None:
    for parse in (lambda answer: parse_nodes(answer, 0), parse_server_time):
        for answer in (text, f"{node()}{text}\n", f"{node()}NodeName=x CPUAlloc={text}\n"):
            try:
                parse(answer)
            except BatchError:
                pass
