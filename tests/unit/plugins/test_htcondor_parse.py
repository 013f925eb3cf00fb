"""The parsers of the HTCondor plugin, on recorded output and on garbage."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.errors import BatchError
from elastiq.model import Demand, Eligibility, Judgement, Shape, Worker
from elastiq.plugins.htcondor_parse import (
    parse_demand,
    parse_judgements,
    parse_machines,
    parse_schedds,
    parse_total,
    slots_of,
)
from elastiq.plugins.htcondor_query import SLOT_ATTRIBUTES
from tests.unit.plugins.condor import (
    partitionable,
    slot,
)

RECORDED = Path(__file__).parent / "recorded" / "htcondor"
TIMEOUT_SECONDS = 120.0


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


def recorded_workers(name: str) -> dict[str, Worker]:
    return {machine.worker.name.partition(".")[0]: machine.worker for machine in parse_machines(recorded(name))}


def worker_of(*slots: dict[str, Any]) -> Worker:
    (machine,) = parse_machines(json.dumps(slots))
    return machine.worker


class TestMachinesOfARealPool:
    """i-…11 has one partitionable slot, 10.77.0.12 two static ones, 10.77.0.13 one of each."""

    def test_idle(self) -> None:
        workers = recorded_workers("slots-idle.json")
        assert sorted(workers) == ["10-77-0-11", "10-77-0-12", "10-77-0-13"]
        one = workers["10-77-0-11"]
        assert one.instance_id == "i-0000000000000011"
        assert one.address == "10.77.0.11"
        assert (one.capacity.cpus, one.capacity.memory_mb, one.capacity.gpus) == (4, 8192, 0)
        assert one.capacity.disk_mb > 1000
        assert one.free == one.capacity
        assert workers["10-77-0-12"].capacity.cpus == 2
        assert workers["10-77-0-13"].capacity.cpus == 3
        assert workers["10-77-0-13"].address == "10.77.0.13"
        for worker in workers.values():
            assert worker.jobs == 0
            assert not worker.closed
            assert worker.idle_seconds is not None
            assert worker.idle_seconds > 0

    def test_busy(self) -> None:
        workers = recorded_workers("slots-busy.json")
        assert {name: worker.jobs for name, worker in workers.items()} == {
            "10-77-0-11": 1,
            "10-77-0-12": 1,
            "10-77-0-13": 1,
        }
        assert all(worker.idle_seconds is None for worker in workers.values())
        assert workers["10-77-0-11"].free.cpus == 3
        assert workers["10-77-0-11"].capacity.cpus == 4
        assert workers["10-77-0-12"].free.cpus == 1

    def test_drained(self) -> None:
        workers = recorded_workers("slots-drained.json")
        assert {name: worker.closed for name, worker in workers.items()} == {
            "10-77-0-11": True,
            "10-77-0-12": True,
            "10-77-0-13": False,
        }
        assert workers["10-77-0-11"].jobs == 0
        assert workers["10-77-0-11"].free == workers["10-77-0-11"].capacity
        assert workers["10-77-0-12"].free == workers["10-77-0-12"].capacity

    def test_the_bindings_print_the_same(self) -> None:
        assert parse_machines(recorded("slots-busy-bindings.json")) == parse_machines(recorded("slots-busy.json"))


class TestMachines:
    def test_partitionable_slot_is_idle_since_its_last_dynamic_slot_went(self) -> None:
        assert worker_of(partitionable()).idle_seconds == 1_000

    def test_fresh_partitionable_slot_is_idle_since_its_start(self) -> None:
        assert worker_of(partitionable(NumDynamicSlotsTime=None)).idle_seconds == 5_000
        assert worker_of(partitionable(NumDynamicSlotsTime=0)).idle_seconds == 5_000

    @pytest.mark.parametrize("count", [None, "many", -1, 1.5, True])
    def test_partitionable_slot_that_does_not_say_how_many_jobs_it_has_is_busy(self, count: Any) -> None:
        worker = worker_of(partitionable(NumDynamicSlots=count))
        assert worker.jobs == 1
        assert worker.idle_seconds is None

    def test_claimed_partitionable_slot_is_busy(self) -> None:
        assert worker_of(partitionable(State="Claimed")).jobs == 1

    @pytest.mark.parametrize("state", ["Claimed", "Matched", "Preempting", "Backfill", "Delete", "Unheard-of", None, 7])
    def test_state_that_may_be_a_jobs_is_busy(self, state: Any) -> None:
        worker = worker_of(slot(State=state))
        assert worker.jobs == 1
        assert worker.idle_seconds is None
        assert worker.free == Shape(0, 0, 0, 0)

    def test_owner_has_no_job_but_takes_none_either(self) -> None:
        worker = worker_of(slot(State="Owner"))
        assert worker.jobs == 0
        assert worker.idle_seconds == 100
        assert worker.free == Shape(0, 0, 0, 0)

    def test_idle_time_is_that_of_the_slot_that_was_last_busy(self) -> None:
        slots = [slot(Name=f"slot{n}@node1", EnteredCurrentState=9_000 + n) for n in (1, 999, 2)]
        assert worker_of(*slots).idle_seconds == 1

    @pytest.mark.parametrize("now", [None, "soon", -1, 0])
    def test_idle_time_is_unknown_without_the_startds_clock(self, now: Any) -> None:
        assert worker_of(slot(), slot(Name="slot2@node1", MyCurrentTime=now)).idle_seconds is None

    def test_state_entered_in_the_future_is_idle_since_now(self) -> None:
        assert worker_of(slot(EnteredCurrentState=11_000)).idle_seconds == 0

    def test_restart_of_the_startd_restarts_the_idle_time(self) -> None:
        assert worker_of(slot(DaemonStartTime=9_990)).idle_seconds == 10

    def test_sums_of_several_slots(self) -> None:
        worker = worker_of(slot(), slot(Name="slot2@node1", State="Claimed", GPUs=1, TotalSlotGPUs=1))
        assert worker.capacity == Shape(8, 16000, 20, 1)
        assert worker.free == Shape(4, 8000, 10, 0)
        assert worker.jobs == 1

    @pytest.mark.parametrize(
        ("attributes", "free"),
        [
            ({"Memory": 0}, Shape(4, 0, 10, 0)),
            ({"Memory": None}, Shape(4, None, 10, 0)),
            ({"Memory": "/Expr(x)/"}, Shape(4, None, 10, 0)),
            ({"Memory": -1}, Shape(4, None, 10, 0)),
            ({"Memory": True}, Shape(4, None, 10, 0)),
            ({"Disk": 0}, Shape(4, 8000, 0, 0)),
            ({"Disk": 1023}, Shape(4, 8000, 0, 0)),
            ({"Disk": None}, Shape(4, 8000, None, 0)),
            ({"GPUs": None}, Shape(4, 8000, 10, 0)),
            ({"GPUs": "many"}, Shape(4, 8000, 10, None)),
            ({"Cpus": 0}, Shape(0, 8000, 10, 0)),
            ({"Cpus": None}, Shape(0, 8000, 10, 0)),
        ],
    )
    def test_what_is_left_none_or_not_known(self, attributes: dict[str, Any], free: Shape) -> None:
        worker = worker_of(slot(**attributes))
        assert worker.free == free
        assert worker.capacity == Shape(4, 8000, 10, 0)

    @pytest.mark.parametrize("memory_mb", [0, None])
    def test_what_a_slot_has_in_all_none_or_not_known(self, memory_mb: int | None) -> None:
        totals = {"TotalSlotMemory": memory_mb, "TotalSlotGPUs": None}
        assert worker_of(slot(**totals, Memory=None)).capacity == Shape(4, memory_mb, 10, 0)
        assert worker_of(slot(TotalSlotMemory=None, Memory=7)).capacity.memory_mb == 7

    def test_what_one_slot_does_not_tell_is_not_known_of_all(self) -> None:
        worker = worker_of(slot(), slot(Name="slot2@node1", Memory=None))
        assert worker.free == Shape(8, None, 20, 0)

    def test_half_drained_is_not_closed(self) -> None:
        assert not worker_of(slot(State="Drained"), slot(Name="slot2@node1")).closed
        assert worker_of(slot(Draining=True), slot(Name="slot2@node1", State="Drained")).closed

    @pytest.mark.parametrize(
        ("drained", "by_other"),
        [
            ({"Draining": True, "DrainReason": "elastiq: idle"}, False),
            ({"Draining": True, "DrainReason": "by root"}, True),
            ({"Draining": True, "DrainReason": "kernel update, then elastiq"}, True),
            ({"State": "Drained", "DrainReason": "by elastiq"}, True),
            ({"Draining": True}, False),
            ({"Draining": True, "DrainReason": 5}, False),
            ({"DrainReason": "by root"}, False),
        ],
    )
    def test_who_drained(self, drained: dict[str, Any], by_other: bool) -> None:
        worker = worker_of(slot(**drained))
        assert worker.closed_by_other is by_other
        assert worker.closed is ("Draining" in drained or "State" in drained)

    @pytest.mark.parametrize(
        ("attributes", "address"),
        [
            ({"EC2PrivateIp": "10.1.2.3"}, "10.1.2.3"),
            ({"EC2PrivateIp": "unknown"}, "10.77.0.11"),
            ({"MyAddress": None}, None),
            ({"MyAddress": "10.77.0.11:9618"}, None),
            ({"MyAddress": "<10.77.0.11:9618"}, None),
            ({"MyAddress": "<node1:9618>"}, None),
            ({"MyAddress": "<[2001:db8::1]:9618?addrs=[2001-db8--1]-9618+10.77.0.12-9618>"}, "10.77.0.12"),
            ({"MyAddress": "<999.1.1.1:9618>"}, None),
            ({"MyAddress": 5}, None),
        ],
    )
    def test_address(self, attributes: dict[str, Any], address: str | None) -> None:
        assert worker_of(slot(**attributes)).address == address

    def test_attribute_names_know_no_case(self) -> None:
        worker = worker_of(slot(EC2InstanceID="i-1", ec2privateip="10.9.9.9"))
        assert (worker.instance_id, worker.address) == ("i-1", "10.9.9.9")

    @pytest.mark.parametrize("instance_id", ["", "-x", "i 1", 'i"1', "/Expr(Foo)/", "x" * 101, 5.5])
    def test_instance_id_that_is_none(self, instance_id: Any) -> None:
        assert worker_of(slot(EC2InstanceId=instance_id)).instance_id is None

    def test_instance_id_claimed_by_two_machines_is_believed_of_neither(self) -> None:
        one = slot(EC2InstanceId="i-1")
        two = slot(EC2InstanceId="i-1", Machine="node2", MyAddress="<10.77.0.12:9618>")
        assert [machine.worker.instance_id for machine in parse_machines(json.dumps([one, two]))] == [None, None]

    def test_machines_of_one_name_are_kept_apart_by_their_addresses(self) -> None:
        ads = [slot(Machine="localhost"), slot(Machine="localhost", MyAddress="<10.77.0.12:9618>", State="Claimed")]
        machines = parse_machines(json.dumps(ads))
        assert [(machine.worker.address, machine.worker.jobs) for machine in machines] == [
            ("10.77.0.11", 0),
            ("10.77.0.12", 1),
        ]

    def test_name_of_the_slot_names_the_machine_if_need_be(self) -> None:
        assert worker_of(slot(Machine=None)).name == "node1.pool.test"

    def test_ad_without_a_usable_name_is_left_out(self) -> None:
        bad = [slot(Machine=None, Name=None), slot(Machine="-x"), slot(Machine='a" || true'), slot(Machine="a\nb")]
        assert worker_of(slot(), *bad).name == "node1.pool.test"
        with pytest.raises(BatchError, match="name no machine"):
            parse_machines(json.dumps(bad))

    def test_ad_with_a_name_and_nothing_else_is_a_busy_worker(self) -> None:
        worker = worker_of({"Machine": "node1"})
        assert (worker.jobs, worker.idle_seconds, worker.closed, worker.capacity) == (1, None, False, Shape(0))

    @pytest.mark.parametrize(
        "text",
        ["", " ", "null", "{}", "[1]", '{"Machine": "x"}', "Error: communication error", "[{]", "[" * 5000, '["a"]'],
    )
    def test_what_is_no_list_of_ads(self, text: str) -> None:
        with pytest.raises(BatchError):
            parse_machines(text)

    def test_slots_of_one_machine(self) -> None:
        ads = [slot(), slot(Machine="node2"), slot(MyAddress="<10.9.9.9:1>"), {"name": "slot2@NODE1.pool.test"}]
        one, *_ = parse_machines(json.dumps(ads[:1]))
        assert slots_of(json.dumps(ads), one.worker) == ads[:1]

    def test_truncated_answer_at_any_place(self) -> None:
        text = recorded("slots-idle.json").strip()
        for end in range(len(text) - 1):
            with pytest.raises(BatchError):
                parse_machines(text[:end])


def broken(**changes: Any) -> dict[str, Any]:
    """A dynamic slot that was not cleaned up after its job, as 24.x keeps it: what it had is nobody's any more."""
    cut = {"Name": "slot1_3@node1.pool.test", "DynamicSlot": True, "Cpus": 0, "Memory": 0, "Disk": 1024}
    totals = {"TotalSlotCpus": 1, "TotalSlotMemory": 2000, "TotalSlotDisk": 1024}
    said = {"SlotBrokenCode": 1, "SlotBrokenReason": "Could not clean up after job", "EnteredCurrentState": 9_800}
    return slot(**{**cut, **totals, **said, **changes})


class TestBrokenSlots:
    def test_without_its_job_it_is_no_job(self) -> None:
        worker = worker_of(partitionable(NumDynamicSlots=1, Cpus=3), broken())
        assert (worker.jobs, worker.idle_seconds, worker.hurt, worker.closed) == (0, 200, True, False)
        assert worker.capacity == Shape(3, 6000, 9, 0)
        assert worker.free.cpus == 3

    def test_beside_jobs(self) -> None:
        worker = worker_of(partitionable(NumDynamicSlots=3), broken(), broken(Name="slot1_4@node1.pool.test"))
        assert (worker.jobs, worker.idle_seconds) == (1, None)

    @pytest.mark.parametrize(
        "changes",
        [
            {"State": "Claimed"},
            {"State": "Preempting"},
            {"State": None},
            {"SlotBrokenCode": None, "SlotBrokenReason": None},
            {"DaemonStartTime": 4_000},
            {"DaemonStartTime": None},
            {"Name": "slot2_3@node1.pool.test"},
            {"Name": "slot1_3@node2.pool.test"},
        ],
        ids=str,
    )
    def test_in_doubt_a_job_is_there(self, changes: dict[str, Any]) -> None:
        worker = worker_of(partitionable(NumDynamicSlots=1), broken(**changes))
        assert (worker.jobs, worker.idle_seconds) == (1, None)

    def test_that_its_partitionable_slot_does_not_count_is_doubt_too(self) -> None:
        assert worker_of(partitionable(NumDynamicSlots=0), broken()).jobs == 1

    def test_alone_it_is_a_job(self) -> None:
        worker = worker_of(broken())
        assert (worker.jobs, worker.capacity.cpus, worker.free.cpus) == (1, 0, 0)

    def test_closed(self) -> None:
        ads = (partitionable(NumDynamicSlots=1, Draining=True), broken(Draining=True, State="Drained"))
        assert (worker_of(*ads).jobs, worker_of(*ads).closed) == (0, True)

    def test_of_each_partitionable_slot(self) -> None:
        second = "slot2@node1.pool.test"
        ads = [partitionable(NumDynamicSlots=1), partitionable(Name=second, NumDynamicSlots=1), broken()]
        (machine,) = parse_machines(json.dumps(ads))
        assert machine.worker.jobs == 1
        assert machine.broken == {"slot1@node1.pool.test": 1}

    def test_static_slot_has_nothing_for_jobs(self) -> None:
        hurt = slot(Name="slot2@node1", Cpus=0, SlotBrokenCode=3, SlotBrokenReason="Could not terminate all")
        worker = worker_of(slot(), hurt)
        assert (worker.jobs, worker.hurt) == (0, True)
        assert worker.capacity == worker.free == Shape(4, 8000, 10, 0)

    def test_one_that_says_that_its_vm_is_taken_back(self) -> None:
        mark = {"ElastiqInterruption": "2026-11-28T20:17:00Z", "State": "Owner"}
        worker = worker_of(partitionable(NumDynamicSlots=1, Cpus=3, **mark))
        assert (worker.interrupted, worker.closed, worker.closed_by_other, worker.jobs) == (True, True, False, 1)
        assert worker.free.cpus == 3, "after the end of START = False"
        assert worker_of(partitionable(State="Owner")).free.cpus == 0
        assert not worker_of(partitionable(elastiqinterruption="")).interrupted
        assert worker_of(partitionable(elastiqinterruption="soon")).interrupted

    @pytest.mark.parametrize(
        ("attributes", "hurt"),
        [
            ({}, False),
            ({"BrokenSlotCpus": 0}, False),
            ({"BrokenSlotCpus": 1}, True),
            ({"BrokenSlotMemory": 100}, True),
            ({"BrokenSlotDisk": 1.5}, True),
            ({"BrokenSlotGPUs": 1}, True),
            ({"OfflineGPUs": ""}, False),
            ({"OfflineGPUs": "GPU-1"}, True),
            ({"SlotBrokenReason": ""}, False),
            ({"SlotBrokenReason": "no"}, True),
        ],
        ids=str,
    )
    def test_what_was_lost_for_good(self, attributes: dict[str, Any], hurt: bool) -> None:
        assert worker_of(partitionable(**attributes)).hurt is hurt


def demand(*groups: Any, wants: Any = ("w", "v"), schedds: Any = ("a",)) -> str:
    return json.dumps({"groups": groups, "wants": wants, "schedds": schedds})


ONE = [3, 2, 1, 100, 5, None, 1, False, 0]


class TestDemand:
    def test_groups(self) -> None:
        found, schedds = parse_demand(demand(ONE, [9, 0, 2, 200, 0, 1, 1, True, 1]))
        assert schedds == ("a",)
        assert found == (
            Demand(Shape(2, 200, 0, 1), 9, wants="v", takes_whole_vms=True, running=0),
            Demand(Shape(1, 100, 5, 0), 3, wants="w", running=2),
        )

    def test_what_a_job_does_not_say_or_says_wrongly(self) -> None:
        ((unsaid, none), _) = parse_demand(
            demand([3, 0, None, None, -(2**63), None, None, False, 0], [2, 0, 0, 0, 0, 0, 0, False, 0])
        )
        assert unsaid == Demand(Shape(1), 3, wants="w", running=0)
        assert none == Demand(Shape(1, 0, 0, 0), 2, wants="w", running=0)

    def test_what_means_the_same_is_one_group(self) -> None:
        ((group,), _) = parse_demand(demand(ONE, [2, 1, 1, 100, 5, 0, None, False, 0]))
        assert (group.jobs, group.running) == (5, 3)

    def test_parallel_job_counts_for_every_slot_that_it_needs(self) -> None:
        ((group,), _) = parse_demand(demand([2, 1, 1, 0, 0, 0, 4, False, 0], [1, 0, 1, 0, 0, 0, 1, False, 0]))
        assert (group.jobs, group.running) == (9, 4)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "{}",
            "All queues are empty",
            demand(ONE, schedds=()),
            demand(ONE, schedds=[1]),
            demand(ONE, schedds=1),
            demand(ONE, wants=[]),
            demand(ONE, wants=[1]),
            demand(1),
            demand(ONE[:-1]),
            demand([*ONE, 1]),
            demand([0, *ONE[1:]]),
            demand([None, *ONE[1:]]),
            demand([True, *ONE[1:]]),
            demand([1, -1, *ONE[2:]]),
            demand([1, 1, "1", *ONE[3:]]),
            demand([*ONE[:-1], -1]),
            demand([*ONE[:-1], 7]),
            demand([*ONE[:-2], None, 0]),
        ],
    )
    def test_what_is_no_list_of_jobs(self, text: str) -> None:
        with pytest.raises(BatchError, match=r"no list of jobs|no JSON"):
            parse_demand(text)

    def test_truncated_answer(self) -> None:
        text = demand(ONE)
        for end in range(len(text)):
            with pytest.raises(BatchError):
                parse_demand(text[:end])


class TestJudgements:
    def test_lines(self) -> None:
        assert parse_judgements('["no", "why"]\n["yes", ""]\n') == [Judgement(Eligibility.NO, "why"), Judgement()]
        assert parse_judgements("") == []

    def test_one_that_was_not_written_to_its_end_is_none(self) -> None:
        assert parse_judgements('["yes", ""]\n["no", "wh') == [Judgement()]

    @pytest.mark.parametrize("text", ["x\n", "{}\n", '["maybe", ""]\n', '["no"]\n', "1\n"])
    def test_what_is_none(self, text: str) -> None:
        with pytest.raises(BatchError):
            parse_judgements(text)


class TestTotals:
    def test_total(self) -> None:
        assert parse_total(recorded("totals-none.txt")) == 0
        assert parse_total(recorded("totals-some.txt")) == 23

    @pytest.mark.parametrize("name", ["all-queues-are-empty.txt", "failed-to-fetch.txt"])
    def test_total_that_no_schedd_has_said(self, name: str) -> None:
        with pytest.raises(BatchError, match="did not say"):
            parse_total(recorded(name))

    def test_schedds(self) -> None:
        assert parse_schedds("schedd-b@\nnode1.pool.test\nschedd-b@\n") == ("node1.pool.test", "schedd-b@")
        for text in ("", "\n", "-debug", "Error: no", "Error no", recorded("all-queues-are-empty.txt")):
            with pytest.raises(BatchError):
                parse_schedds(text)


@given(st.text())
def test_no_text_is_taken_for_jobs_by_mistake(text: str) -> None:
    parsers: tuple[Callable[[str], Any], ...] = (parse_demand, parse_total, parse_schedds)
    for parser in parsers:
        try:
            answer = parser(text)
        except BatchError:
            continue
        assert parser is parse_schedds
        assert answer


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner), max_leaves=3
)
ads = st.dictionaries(st.sampled_from(SLOT_ATTRIBUTES) | st.text(), json_values) | st.builds(
    lambda changes: slot(**changes), st.dictionaries(st.sampled_from(SLOT_ATTRIBUTES), json_values)
)


@pytest.mark.long
@given(st.lists(ads) | json_values)
def test_every_answer_is_an_error_or_valid(answer: Any) -> None:
    try:
        machines = parse_machines(json.dumps(answer))
    except BatchError:
        return
    assert isinstance(answer, list)
    assert bool(machines) == bool(answer)
    for machine in machines:
        worker = machine.worker
        assert worker.name
        assert worker.jobs >= 0
        for shape in (worker.capacity, worker.free):
            assert min(number for number in astuple(shape) if number is not None) >= 0
        assert worker.idle_seconds is None or (worker.idle_seconds >= 0 and worker.jobs == 0)


@given(st.text())
def test_no_text_is_taken_for_machines_by_mistake(text: str) -> None:
    try:
        assert parse_machines(text) == ()
    except BatchError:
        return
    assert json.loads(text) == []
