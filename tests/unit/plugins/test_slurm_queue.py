"""Slurm's queue: recorded ones of real daemons, and such as no daemon should give."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.command import run
from elastiq.errors import BatchError
from elastiq.model import Demand, Shape
from elastiq.plugins.slurm_limits import Cluster, Partition, parse_licenses, parse_partitions
from elastiq.plugins.slurm_match import Wants, together
from elastiq.plugins.slurm_queue import (
    FIELD_END,
    GROUP_JOBS,
    QUEUE_FIELDS,
    RECORD_END,
    Counts,
    Part,
    Waiting,
    demand_of,
    parse_queue,
    queue_format,
)

RECORDED = Path(__file__).parent / "recorded" / "slurm"
QUEUE_AT = 1795387242
RECORDED_FIELDS = (
    *("ArrayJobID", "ArrayTaskID", "StateCompact", "NumNodes", "NumTasks", "tres-alloc", "tres-per-job"),
    *("tres-per-node", "tres-per-socket", "tres-per-task", "Partition", "ReqNodes", "Reservation", "EligibleTime"),
    "Reason",
)
"""What the queues were recorded with, with a bar behind each. The column RESERVATION was put in later: `(null)` for a
job without one, as Slurm 24.11 prints it and, after their source, 20.11 and 22.05 do."""
NOTHING_ASKED = {"HetJobID": "0", "OverSubscribe": "OK", "Feature": "(null)", "Licenses": "(null)", "ReqNodes": ""}
HEADER = FIELD_END.join(name.upper().replace("-", "_") for name in QUEUE_FIELDS) + RECORD_END


def recorded(name: str) -> str:
    """Return a recorded queue as squeue would print it for the fields of today."""
    header, *lines = (RECORDED / name).read_text().splitlines()
    assert header.count("|") == len(RECORDED_FIELDS)
    return HEADER + "\n" + "".join(row(dict(zip(RECORDED_FIELDS, line.split("|")))) for line in lines)


def row(values: dict[str, str]) -> str:
    """Return the record of a job, behind HEADER and a new line; what is not said of it is not asked for."""
    return FIELD_END.join(values.get(name, NOTHING_ASKED.get(name, "N/A")) for name in QUEUE_FIELDS) + RECORD_END + "\n"


def grouped(queue: str, now: float = QUEUE_AT) -> str:
    """Return what the plugin's pipeline makes of the output of squeue."""
    return run(["awk", "-v", f"now={now:.0f}", GROUP_JOBS], 10, input_bytes=queue.encode("utf-8", "surrogateescape"))


def demand(
    queue: str, now: float = QUEUE_AT, partitions: tuple[str, ...] = (), cluster: Cluster | None = None
) -> tuple[Demand, ...]:
    waiting, counts = parse_queue(grouped(queue, now))
    return demand_of(waiting, counts, now, partitions, cluster)


def record(**changes: str) -> str:
    """The record of a waiting job."""
    values = {"ArrayJobID": "7", "StateCompact": "PD", "NumNodes": "1", "NumTasks": "1", "cpus-per-task": "1"}
    values.update({"Reservation": "(null)", "MinMemory": "1000M", "MinTmpDisk": "0", "Partition": "batch"})
    values.update({"tres-alloc": "cpu=1,mem=1000M,node=1,billing=1", "Reason": "Resources"})
    values.update({"EligibleTime": str(QUEUE_AT - 60)})
    return row({**values, **{name.replace("_", "-"): text for name, text in changes.items()}})


def queue_of(*records: str) -> str:
    return HEADER + "\n" + "".join(records)


def job(**changes: str) -> str:
    """A queue with one waiting job."""
    return queue_of(record(**changes))


def test_recorded_queue() -> None:
    """40 tasks of which one runs, at once 3 of 10 (none runs), 2 of an array with gaps (one runs), 20 single jobs,
    three that need GPUs (by node, by task, by job), three of several nodes; five of a certain type of GPU, one that
    names its node, and four that nothing is launched for."""
    groups = demand(recorded("24.11-queue"))
    found = {(group.shape, group.vms_per_job): group.jobs for group in groups if not group.wants}
    assert found == {
        (Shape(4, 500), 1): 39 + 3,
        (Shape(3, 2100), 1): 20,
        (Shape(1, 1000), 1): 1 + 1,
        (Shape(1, 1000, None, 1), 1): 1,
        (Shape(2, 2000, None, 2), 1): 1,
        (Shape(1, 1000, None, 2), 2): 1,
        (Shape(2, 2000), 3): 1 + 1,
        (Shape(3, 3000), 2): 1,
    }
    assert {(group.shape, group.wants): group.jobs for group in groups if group.wants} == {
        (Shape(1, 1000, None, 2), Wants(gres={"gpu:a100": 2}).text()): 5,
        (Shape(1, 1000), Wants(named_nodes=True).text()): 1,
    }


def test_recorded_queue_by_partition() -> None:
    found = {
        (group.shape, group.vms_per_job): group.jobs for group in demand(recorded("24.11-queue"), QUEUE_AT, ("other",))
    }
    assert found == {(Shape(1, 1000, None, 2), 1): 5, (Shape(2, 2000, None, 2), 1): 1}


def test_recorded_oldest_wait() -> None:
    (first, *_) = demand(recorded("24.11-queue"))
    assert first.oldest_wait_seconds == QUEUE_AT - 1795387234


def test_an_empty_queue_has_its_header() -> None:
    assert demand(recorded("24.11-empty-queue")) == ()


def test_ten_thousand_jobs_are_one_line() -> None:
    queue = recorded("24.11-queue")
    (like,) = [line for line in queue.split("\n") if line.startswith(f"39{FIELD_END}")]
    text = grouped(queue + "".join(f"{like.replace('39', str(number), 1)}\n" for number in range(100, 10_100)))
    assert text.count(RECORD_END) < 30
    assert max(group.jobs for group in demand_of(*parse_queue(text), QUEUE_AT)) == 10_020


def test_tasks_that_stand_alone_are_one_line() -> None:
    text = grouped(queue_of(*(record(ArrayTaskID=str(number)) for number in range(1000))))
    assert text.count(RECORD_END) == 2
    assert [group.jobs for group in demand_of(*parse_queue(text), QUEUE_AT)] == [1000]


OLD_VERSIONS = {"20.11": 1795387813, "22.05": 1795387791}
"""Recorded on Slurm 20.11.4 and 22.05.8, and when."""


@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_recorded_queues_of_old_versions(version: str) -> None:
    """The same jobs on both; on the smaller cluster of 22.05 one more waits."""
    found = demand(recorded(f"{version}-queue"), OLD_VERSIONS[version])
    waits_too = {(Shape(4, 3000), 1): 1} if version == "22.05" else {}
    assert {(group.shape, group.vms_per_job): group.jobs for group in found if not group.wants} == {
        (Shape(1, 4000), 1): 2,
        (Shape(2, 2000, None, 2), 1): 1,
        (Shape(3, 3000), 2): 1,
        (Shape(2, 2000), 3): 1,
        **waits_too,
    }
    assert {(group.shape, group.wants) for group in found if group.wants} == {
        (Shape(1, 1000, None, 2), Wants(gres={"gpu:a100": 2}).text()),
        (Shape(4, 4000), Wants(named_nodes=True).text()),
    }


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
    held = {"Reason": "ReqNodeNotAvail, Reserved for maintenance"}
    assert demand(job(**held)) == ()
    assert [
        group.jobs for group in demand(queue_of(record(ArrayTaskID="4-200%4", **held), record(ArrayJobID="8")))
    ] == [1]


def test_a_job_that_is_due_later_does_not_count_whatever_the_reason() -> None:
    assert demand(job(EligibleTime=str(QUEUE_AT + 10), Reason="None")) == ()


@pytest.mark.parametrize("reason", ["None", "Resources", "Priority", "ReqNodeNotAvail, May be reserved for other job"])
def test_jobs_for_nodes_that_no_new_one_can_be_say_so(reason: str) -> None:
    """A reservation's jobs run on its nodes alone; that with FLEX or ANY_NODES a new node would do is not looked at."""
    (named,) = demand(queue_of(record(ReqNodes="node[1-3]", Reason=reason), record(ReqNodes="node7", Reason=reason)))
    assert (named.jobs, named.wants) == (2, Wants(named_nodes=True).text())
    (reserved,) = demand(job(Reservation="exam", Reason=reason))
    assert reserved.wants == Wants(reservation="exam").text()


@pytest.mark.parametrize(
    ("tasks", "count"),
    [("5", 1), ("1-10", 10), ("0-99:10", 10), ("1,3,5-9:2,20-30", 16), ("1-50000%4", 4), ("1-3%10", 3), ("0-9%1", 1)],
)
def test_tasks_of_arrays(tasks: str, count: int) -> None:
    assert [group.jobs for group in demand(job(ArrayTaskID=tasks))] == [count]


def test_a_cap_counts_the_tasks_that_run() -> None:
    waits, runs = record(ArrayTaskID="4-200%4"), record(ArrayTaskID="1", StateCompact="R")
    assert [group.jobs for group in demand(queue_of(waits, runs, runs, runs))] == [1]
    assert demand(queue_of(waits, *[runs] * 5)) == ()


@pytest.mark.parametrize("state", ["SE", "RQ", "RH", "RD"])
def test_tasks_that_are_held_after_they_ran_do_not_run(state: str) -> None:
    held = record(ArrayTaskID="1", StateCompact=state, Reason="JobHeldUser")
    assert [group.jobs for group in demand(queue_of(record(ArrayTaskID="4-200%4"), *[held] * 4))] == [4]


def test_a_cap_counts_the_tasks_that_wait_alone() -> None:
    """Four tasks ran until their VM died, and wait again, each by itself: still no more than four may run at a time."""

    def jobs(reason: str, tasks: str = "4-200%4") -> list[int]:
        alone = record(ArrayTaskID="3", Reason=reason)
        return [group.jobs for group in demand(queue_of(record(ArrayTaskID=tasks), *[alone] * 4))]

    assert jobs("Resources") == jobs("None") == [4]
    assert jobs("JobHeldUser") == jobs("BeginTime") == [4]
    assert jobs("Resources", "4-200") == [197 + 4]
    assert jobs("Resources", "4-200%6") == [6]


@pytest.mark.parametrize(
    ("changes", "shape", "nodes"),
    [
        ({"tres_alloc": "cpu=64,mem=62.50G,node=1"}, Shape(64, 64000), 1),
        ({"tres_alloc": "cpu=7,mem=1001M,node=2", "NumNodes": "2"}, Shape(4, 501), 2),
        ({"tres_alloc": "cpu=1,node=1"}, Shape(1, None), 1),
        ({"tres_alloc": "cpu=8,mem=1M,node=2,gres/gpu=4", "NumNodes": "2"}, Shape(4, 1, None, 2), 2),
        ({"tres_per_node": "gpu:2"}, Shape(1, 1000, None, 2), 1),
        ({"tres_per_node": "gres:gpu:a100:2,gres:nic:1"}, Shape(1, 1000, None, 2), 1),
        ({"tres_per_node": "gres/gpu:1080ti=2"}, Shape(1, 1000, None, 2), 1),
        ({"tres_per_node": "gres/gpu"}, Shape(1, 1000, None, 1), 1),
        ({"tres_per_node": "gpu:a100"}, Shape(1, 1000, None, 1), 1),
        ({"tres_per_node": "gres/gpu:3090:1"}, Shape(1, 1000, None, 1), 1),
        ({"tres_per_node": "gres:gpu:2080:2"}, Shape(1, 1000, None, 2), 1),
        ({"tres_per_node": "gres/gpu:4090=2"}, Shape(1, 1000, None, 2), 1),
        ({"tres_per_node": "gpu:tesla:4,gpu:3090:2"}, Shape(1, 1000, None, 6), 1),
        ({"tres_per_node": "gres/nogpu:3"}, Shape(1, 1000), 1),
        ({"tres_per_job": "gpu:8", "NumNodes": "4"}, Shape(1, 250, None, 2), 4),
        ({"tres_per_task": "cpu=1,gres/gpu=1", "NumTasks": "6", "NumNodes": "3"}, Shape(1, 334, None, 2), 3),
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
        record(),
        HEADER,
        HEADER.replace(FIELD_END, "|") + "\n",
        job().rstrip(),
        recorded("24.11-queue")[:-40],
        recorded("24.11-queue") + "half of a j",
    ],
)
def test_what_is_no_queue_is_an_error(answer: str) -> None:
    with pytest.raises(BatchError, match="squeue"):
        demand(answer)


def test_times_that_are_not_in_seconds_are_an_error() -> None:
    """As sudo makes them that does not let through how squeue shall write."""
    several = queue_of(*[record(EligibleTime="2026-11-22T22:39:42")] * 2)
    assert grouped(several).count(RECORD_END) == 2
    with pytest.raises(BatchError, match=r"squeue.*env_keep.*SLURM_TIME_FORMAT SLURM_BITSTR_LEN"):
        demand(several)


ODD = [
    "a\nb",
    "a|b",
    "'\"`$(x)\\",
    "\x00",
    "\udcff\udcfe",
    FIELD_END,
    RECORD_END,
    f"{RECORD_END}\n",
    "\x1d",
    "%s%n",
    "é" * 5000,
]
"""What no text of a job may do harm with; the last ones would end a field or a record."""


@pytest.mark.long  # a process for each of some 180 texts
@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("name", [name for name in QUEUE_FIELDS if name != "EligibleTime"])
def test_an_odd_job_hides_no_other(name: str, text: str) -> None:
    """A new line or a bar in one job's reason, which plugins may set, once was the end of the queue check."""
    odd = record(**{"ArrayJobID": "6", name.replace("-", "_"): text})
    for queue in (queue_of(odd, record()), queue_of(record(), odd), queue_of(odd, record(), odd)):
        waiting, counts = parse_queue(grouped(queue))
        plain = [group for group in demand_of(waiting, counts, QUEUE_AT) if not group.wants]
        assert sum(group.jobs for group in plain) >= 1
        assert counts.unread <= 2
        assert bool(counts.example) == bool(counts.unread)


@pytest.mark.parametrize(
    "changes",
    [
        {"tres_alloc": ""},
        {"tres_alloc": "cpu=x"},
        {"NumNodes": ""},
        {"NumNodes": "1|2"},
        {"StateCompact": "pd?"},
        {"ArrayTaskID": "0-99..."},
        {"ArrayTaskID": "1-"},
        {"ArrayTaskID": "1-10%"},
        {"ArrayTaskID": "1-10%x"},
        {"Feature": f"a{FIELD_END}b"},
        {"Reason": f"Resources{RECORD_END}x"},
        {"MinTmpDisk": "much"},
    ],
)
def test_a_job_that_cannot_be_read_costs_itself_alone(changes: dict[str, str]) -> None:
    odd = record(**{"ArrayJobID": "6", **changes})
    waiting, counts = parse_queue(grouped(queue_of(*[record()] * 3, odd, odd)))
    assert [group.jobs for group in demand_of(waiting, counts, QUEUE_AT)] == [3]
    assert counts.unread == 2
    assert counts.example.startswith("squeue answered")
    assert demand(queue_of(odd)) == ()


@given(st.text())
def test_no_text_makes_the_parser_raise_anything_else(text: str) -> None:
    for answer in (
        text,
        f"{HEADER}{text}{RECORD_END}",
        f"{HEADER}W{FIELD_END}1{FIELD_END}2{FIELD_END}{text}{RECORD_END}",
    ):
        try:
            parse_queue(answer)
        except BatchError:
            pass


@given(st.text(alphabet="0123456789-:,%", max_size=20))
def test_no_list_of_tasks_raises_anything_else(tasks: str) -> None:
    part = Part(Shape(), 1, ("batch",), Wants(), {}, False, "")
    try:
        assert all(found.jobs > 0 for found in demand_of([Waiting(1, 0, "7", tasks, (part,))], Counts(), 0))
    except BatchError:
        pass


WISHES_AT = 1795814484
CLUSTER = Cluster(
    parse_partitions((RECORDED / "24.11-partitions").read_text()),
    parse_licenses((RECORDED / "24.11-licenses").read_text()),
    shares_memory=True,
)


def test_recorded_wishes() -> None:
    """40 jobs of all kinds on a cluster whose two nodes, with the features a and b and with c, somebody has drained."""
    found = demand((RECORDED / "24.11-wishes-queue").read_bytes().decode(), WISHES_AT, cluster=CLUSTER)
    plain, small = Shape(1, 1000), Shape(1, 1000, None, 1)
    kinds = {(group.shape, group.vms_per_job, group.wants, group.takes_whole_vms): group for group in found}
    assert {kind: group.jobs for kind, group in kinds.items() if kind[2]} == {
        (plain, 1, Wants(constraint="a&b").text(), False): 1,
        (plain, 1, Wants(constraint="a|c").text(), False): 1,
        (plain, 2, Wants(constraint="[a|c]").text(), False): 1,
        (plain, 2, Wants(constraint="[a*1&c*1]").text(), False): 1,
        (plain, 1, Wants(constraint="(a&b)|c").text(), False): 1,
        (plain, 1, Wants(partitions=("onlyc",)).text(), False): 1,
        (plain, 1, Wants(named_nodes=True).text(), False): 1,
        (plain, 1, Wants(gres={"nic": 2}).text(), False): 1,
        (small, 1, Wants(gres={"gpu:a100": 1}).text(), False): 1,
        (small, 1, Wants(gres={"gpu:t4": 1}).text(), False): 1,
        (Shape(1, 1000, None, 2), 1, Wants(gres={"gpu:a100": 2}).text(), False): 1,
        (Shape(2, 2000, None, 2), 1, Wants(gres={"gpu:a100": 2}).text(), False): 1,
        (Shape(2, 100, None, 1), 3, together([Wants(gres={"gpu:t4": 1}).text()]), False): 1,
    }
    # Of four jobs that want licences one could run; 1 + 4 of 20 tasks + 1 by its partition take whole nodes.
    assert {kind: group.jobs for kind, group in kinds.items() if not kind[2]} == {
        (plain, 1, "", False): 5,
        (plain, 1, "", True): 1 + 4 + 1,
        (Shape(1, None), 1, "", True): 1,
        (small, 1, "", False): 1,
        (Shape(1, 500, None, 1), 1, "", False): 1,
        (plain, 2, "", False): 1,
        (plain, 3, "", False): 1,
    }
    assert kinds[plain, 1, Wants(constraint="a&b").text(), False].running == 1
    assert kinds[plain, 1, "", False].running == 0
    assert kinds[Shape(2, 100, None, 1), 3, together([Wants(gres={"gpu:t4": 1}).text()]), False].running is None


@pytest.mark.parametrize(
    ("changes", "cluster", "whole"),
    [
        ({}, CLUSTER, False),
        ({"OverSubscribe": "NO"}, CLUSTER, True),
        ({"OverSubscribe": "USER"}, CLUSTER, False),
        ({"OverSubscribe": "YES"}, CLUSTER, False),
        ({"Partition": "excl"}, CLUSTER, True),
        ({"Partition": "excl,batch"}, CLUSTER, False),
        ({"MinMemory": "0"}, CLUSTER, True),
        ({"MinMemory": "0"}, Cluster(), False),
        ({"tres_alloc": "cpu=1,node=1", "MinMemory": "N/A"}, CLUSTER, True),
        ({}, Cluster(whole_nodes=True), True),
    ],
)
def test_jobs_that_take_whole_nodes(changes: dict[str, str], cluster: Cluster, whole: bool) -> None:
    """One that asks for no memory, or for all by --mem=0, waits for a node whose memory nobody uses, and gets it all;
    what squeue says of its memory is that of some node, perhaps of one that is larger than any VM."""
    (group,) = demand(job(**changes), cluster=cluster)
    assert group.takes_whole_vms == whole
    assert (group.shape.memory_mb is None) == ("MinMemory" in changes)


def test_licenses_that_are_used_up_are_no_demand() -> None:
    """Slurm calls the first of the jobs Licenses, and the others that wait behind it something else."""
    oldest = record(Licenses="fluent:2,ansys:1", EligibleTime=str(QUEUE_AT - 99))
    queue = queue_of(*[oldest] * 20, *[record(Licenses="fluent")] * 20, record())
    for free, jobs in (
        ({"fluent": 0}, 1),
        ({"fluent": 7}, 3 + 1 + 1),
        ({"fluent": 100, "ansys": 2}, 2 + 20 + 1),
        ({}, 41),
    ):
        assert sum(group.jobs for group in demand(queue, cluster=Cluster(licenses=free))) == jobs
    parts = [record(ArrayJobID=str(number), HetJobID="6", Licenses="fluent") for number in (6, 7)]
    both = queue_of(*parts, record(Licenses="fluent"), record())
    for count, jobs in ((1, 2), (2, 2), (3, 3)):
        found = demand(both, cluster=Cluster(licenses={"fluent": count}))
        assert sum(group.jobs for group in found) == jobs
    either = queue_of(*[record(Licenses="fluent|ansys")] * 5)
    assert [group.jobs for group in demand(either, cluster=Cluster(licenses={"fluent": 0, "ansys": 0}))] == [5]


def test_partitions_decide() -> None:
    def wants(partitions: str, **changes: str) -> list[str]:
        return [group.wants for group in demand(job(Partition=partitions, **changes), cluster=cluster)]

    cluster = Cluster(
        {
            "some": Partition(is_default=True),
            "more": Partition(),
            "all": Partition(has_all_nodes=True),
            "off": Partition(starts_jobs=False),
            "short": Partition(max_nodes=2),
        }
    )
    assert wants("all") == wants("all,more") == wants("gone") == [""]
    assert wants("more") == wants("more,off") == [Wants(partitions=("more",)).text()]
    assert wants("some,more") == [Wants(partitions=("more", "some"), usual=True).text()]
    assert wants("off") == []
    assert wants("short,off", NumNodes="3") == []
    (refused,) = wants("short", NumNodes="3")
    assert refused == Wants(never="partition short: at most 2 nodes a job, and 3 are asked for").text()
    cluster = Cluster({"only": Partition()})
    assert wants("only") == [Wants(partitions=("only",), usual=True).text()]


def test_jobs_that_run_are_counted_with_those_that_are_alike() -> None:
    """By what they asked for: what they got may be more."""
    alike = record(Partition="batch,long", Feature="fast", OverSubscribe="NO")
    got = {"StateCompact": "R", "Feature": "fast", "OverSubscribe": "NO", "tres_alloc": "cpu=8,mem=9000M,node=1"}
    queue = queue_of(
        alike,
        *[record(Partition="batch", **got)] * 3,
        *[record(Partition="long", **{**got, "StateCompact": "CF"})] * 2,
        record(Partition="other", **got),
        record(StateCompact="R"),
        record(ArrayJobID="9", ArrayTaskID="1-5", Feature="slow"),
        record(ArrayJobID="10", ArrayTaskID="1-5", Feature="slow"),
        *[record(ArrayJobID="9", ArrayTaskID="6", StateCompact="R", Feature="slow")] * 4,
    )
    assert {group.wants: group.running for group in demand(queue)} == {
        Wants(constraint="fast").text(): 5,
        Wants(constraint="slow").text(): 4,
    }


def test_a_heterogeneous_job_is_one_of_all_its_machines_or_none() -> None:
    parts = [
        {"NumNodes": "2", "tres_alloc": "cpu=8,mem=2000M,node=2", "HetJobID": "6"},
        {"tres_per_node": "gres/gpu:a100:1", "tres_alloc": "cpu=1,mem=9000M,node=1", "HetJobID": "6"},
    ]
    first, second = (record(ArrayJobID=str(number), **part) for number, part in enumerate(parts, 6))
    (group,) = demand(queue_of(first, record(ArrayJobID="20", StateCompact="R"), second))
    assert (group.jobs, group.vms_per_job, group.shape) == (1, 3, Shape(4, 9000, None, 1))
    assert group.wants == together([Wants(gres={"gpu:a100": 1}).text()])
    assert group.oldest_wait_seconds == 60
    others = [record(ArrayJobID=str(n), **{**part, "HetJobID": "8"}) for n, part in enumerate(parts, 8)]
    assert [group.jobs for group in demand(queue_of(first, *others, second))] == [2]
    for blocked in ({"Reason": "JobHeldUser"}, {"EligibleTime": str(QUEUE_AT + 9)}, {"Partition": "off"}):
        held = record(ArrayJobID="7", **{**parts[1], **blocked})
        assert demand(queue_of(first, held), cluster=CLUSTER) == ()
        assert [group.jobs for group in demand(queue_of(first, held, *others), cluster=CLUSTER)] == [1]


def test_the_format_names_each_field_in_full_length() -> None:
    assert queue_format().startswith(f"ArrayJobID:0{FIELD_END},ArrayTaskID:0{FIELD_END},StateCompact:0")
    assert queue_format().endswith(f",OverSubscribe:0{RECORD_END}")
