"""The HTCondor plugin: its parsers on recorded output and on garbage, its conversations with recorded commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.config import Settings
from elastiq.errors import BatchError
from elastiq.model import Demand, Shape, Worker
from elastiq.plugins import Closing
from elastiq.plugins.htcondor import NO_JOB_CHECK, HTCondor
from elastiq.plugins.htcondor_parse import (
    OWN_DRAIN,
    demand_of,
    parse_bindings_groups,
    parse_groups,
    parse_machines,
    parse_schedds,
    parse_total,
)
from elastiq.plugins.htcondor_query import SHAPE_EXPRESSIONS, SLOT_ATTRIBUTES
from elastiq.plugins.loading import load

RECORDED = Path(__file__).parent / "recorded" / "htcondor"
TIMEOUT_SECONDS = 120.0


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


def recorded_workers(name: str) -> dict[str, Worker]:
    return {machine.worker.name.partition(".")[0]: machine.worker for machine in parse_machines(recorded(name))}


def slot(**changes: Any) -> dict[str, Any]:
    """A static, idle slot of four CPUs; a change to None takes the attribute away."""
    values = {
        "Machine": "node1.pool.test",
        "Name": "slot1@node1.pool.test",
        "State": "Unclaimed",
        "Cpus": 4,
        "Memory": 8000,
        "Disk": 10240.0,
        "GPUs": 0,
        "TotalSlotCpus": 4,
        "TotalSlotMemory": 8000,
        "TotalSlotDisk": 10240.0,
        "TotalSlotGPUs": 0,
        "MyAddress": "<10.77.0.11:9618?addrs=10.77.0.11-9618&alias=node1>",
        "MyCurrentTime": 10_000,
        "EnteredCurrentState": 9_900,
        "DaemonStartTime": 5_000,
        **changes,
    }
    return {name: value for name, value in values.items() if value is not None}


def partitionable(**changes: Any) -> dict[str, Any]:
    return slot(**{"PartitionableSlot": True, "NumDynamicSlots": 0, "NumDynamicSlotsTime": 9_000, **changes})


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
        assert worker.free == Shape(0)

    def test_owner_has_no_job_but_takes_none_either(self) -> None:
        worker = worker_of(slot(State="Owner"))
        assert worker.jobs == 0
        assert worker.idle_seconds == 100
        assert worker.free == Shape(0)

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

    def test_truncated_answer_at_any_place(self) -> None:
        text = recorded("slots-idle.json").strip()
        for end in range(len(text) - 1):
            with pytest.raises(BatchError):
                parse_machines(text[:end])


class TestDemand:
    def test_recorded(self) -> None:
        assert demand_of(parse_groups(recorded("waiting-groups.txt"))) == (
            Demand(Shape(1, 1, 1, 0), 12),
            Demand(Shape(1, 0, 0, 0), 2),
            Demand(Shape(2, 3000, 4883, 0), 2),
            Demand(Shape(3, 100, 4883, 1), 2),
            Demand(Shape(3, 100, 4883, 0), 1),
        )

    def test_the_bindings_print_the_same(self) -> None:
        rows, schedds = parse_bindings_groups(recorded("waiting-bindings.json"))
        assert schedds == ("schedd-a@",)
        assert demand_of(rows) == demand_of(parse_groups(recorded("waiting-groups.txt")))

    def test_what_a_job_does_not_say_or_says_wrongly(self) -> None:
        rows = parse_groups("3 undefined error -9223372036854775808 -1 0\n")
        assert demand_of(rows) == (Demand(Shape(1, 0, 0, 0), 3),)

    def test_parallel_job_counts_for_every_slot_that_it_needs(self) -> None:
        assert demand_of([(2, 1, 0, 0, 0, 4), (1, 1, 0, 0, 0, 1)]) == (Demand(Shape(1), 9),)

    @pytest.mark.parametrize(
        "text",
        [
            "All queues are empty\n",
            "      3 1 1 1 0 1\n-- Failed to fetch ads from: <10.77.0.2:37387>\n",
            "3 1 1 1 0\n",
            "3 1 1 1 0 1 1\n",
            "x 1 1 1 0 1\n",
            "-3 1 1 1 0 1\n",
            "3 1 one 1 0 1\n",
            "3 1 1.5 1 0 1\n",
            "\n",
        ],
    )
    def test_what_is_no_list_of_jobs(self, text: str) -> None:
        with pytest.raises(BatchError, match="no list of jobs"):
            parse_groups(text)

    def test_group_of_no_jobs(self) -> None:
        with pytest.raises(BatchError, match="group of 0 jobs"):
            demand_of(parse_groups("0 1 1 1 0 1"))

    @pytest.mark.parametrize(
        "answer",
        [
            "",
            "[]",
            "{}",
            '{"groups": []}',
            '{"groups": [], "schedds": []}',
            '{"groups": [[1]], "schedds": ["a"]}',
            '{"groups": [1], "schedds": ["a"]}',
            '{"groups": [[null,1,1,1,1,1]], "schedds": ["a"]}',
            '{"groups": [[true,1,1,1,1,1]], "schedds": ["a"]}',
            '{"groups": [[1,1,1,1,1,"1"]], "schedds": ["a"]}',
            '{"groups": [], "schedds": [1]}',
            '{"groups": [], "schedds": 1}',
        ],
    )
    def test_what_is_no_answer_of_the_bindings(self, answer: str) -> None:
        with pytest.raises(BatchError):
            parse_bindings_groups(answer)

    def test_truncated_answer_of_the_bindings(self) -> None:
        text = recorded("waiting-bindings.json").strip()
        for end in range(len(text)):
            with pytest.raises(BatchError):
                parse_bindings_groups(text[:end])

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
    parsers: tuple[Callable[[str], Any], ...] = (parse_bindings_groups, parse_total, parse_schedds)
    for parser in parsers:
        try:
            answer = parser(text)
        except BatchError:
            continue
        assert parser is parse_schedds
        assert answer


@given(st.text())
def test_no_line_is_dropped(text: str) -> None:
    try:
        rows = parse_groups(text)
    except BatchError:
        return
    assert len(rows) == len(text.splitlines())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner), max_leaves=3
)
ads = st.dictionaries(st.sampled_from(SLOT_ATTRIBUTES) | st.text(), json_values) | st.builds(
    lambda changes: slot(**changes), st.dictionaries(st.sampled_from(SLOT_ATTRIBUTES), json_values)
)


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
        assert min(worker.capacity.cpus, worker.capacity.memory_mb, worker.free.cpus, worker.free.disk_mb) >= 0
        assert worker.idle_seconds is None or (worker.idle_seconds >= 0 and worker.jobs == 0)


@given(st.text())
def test_no_text_is_taken_for_machines_by_mistake(text: str) -> None:
    try:
        assert parse_machines(text) == ()
    except BatchError:
        return
    assert json.loads(text) == []


FAKE = """#!{python} -IS
import json, os, re, sys
name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
said = sys.stdin.read() if arguments[-1:] == ["-"] else ""
with open({directory!r} + "/asked", "a") as asked:
    asked.write(json.dumps([name, *arguments, *([said] if said else [])]) + "\\n")
with open({directory!r} + "/answers") as answers:
    for number, (pattern, results) in enumerate(json.load(answers)):
        if re.search(pattern, " ".join([name, *arguments])):
            count = {directory!r} + "/count-" + str(number)
            seen = os.path.getsize(count) if os.path.exists(count) else 0
            open(count, "a").write(".")
            status, output, error = results[min(seen, len(results) - 1)]
            sys.stdout.write(output)
            sys.stderr.write(error)
            sys.exit(status)
sys.exit("no answer recorded for " + " ".join([name, *arguments]))
"""

Answer = tuple[int, str, str]
SCHEDDS = ("condor_status -schedd", [(0, "schedd-a@\n", "")])
NONE_RUNNING = ("condor_q .*-totals", [(0, "Total for query: 0 jobs; 0 completed\n", "")])
NO_SLOT: Answer = (0, "", "")
DRAIN_SENT = ("condor_drain -graceful", [(0, "Sent request to drain the startd\n", "")])


class Pool:
    """Commands of HTCondor that answer what a test has put in, in PATH before the real ones."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("q", "status", "drain", "on", "advertise", "version"):
            script = directory / f"condor_{name}"
            script.write_text(FAKE.format(python=sys.executable, directory=str(directory)))
            script.chmod(0o755)

    def answers(self, *answers: tuple[str, list[Answer]]) -> None:
        """The first pattern that matches the command line answers: its results in turn, the last one for ever."""
        (self.directory / "answers").write_text(json.dumps(answers))

    def asked(self, command: str) -> list[list[str]]:
        lines = (self.directory / "asked").read_text().splitlines() if (self.directory / "asked").exists() else []
        return [asked for asked in map(json.loads, lines) if asked[0] == command]


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pool:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Pool(tmp_path)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> HTCondor:
    plugin = HTCondor("cli", TIMEOUT_SECONDS)
    # No waiting in tests: every sleep is as long as what the clock then shows.
    passed = [0.0]
    monkeypatch.setattr(plugin._clock, "now", lambda: passed[0])
    monkeypatch.setattr(plugin._clock, "sleep", lambda seconds: passed.__setitem__(0, passed[0] + seconds))
    return plugin


def slots(*ads: dict[str, Any]) -> Answer:
    return (0, json.dumps(ads), "")


NODE = Worker("node1.pool.test", "i-1", "10.77.0.11")
STARTD = slot()["Name"]


class TestDemandByCommands:
    def test_all_schedds_are_asked(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(
            ("condor_status -schedd", [(0, "schedd-a@\nschedd-b@\n", "")]),
            ("schedd-a@", [(0, "1 100 5 undefined 1\n" * 3 + "2 100 5 undefined 1\n", "")]),
            ("schedd-b@", [(0, "1 100 5 0 1\n" * 2, "")]),
        )
        assert plugin.demand() == (Demand(Shape(1, 100, 5, 0), 5), Demand(Shape(2, 100, 5, 0), 1))
        asked = pool.asked("condor_q")
        assert [words[words.index("-name") + 1] for words in asked] == ["schedd-a@", "schedd-b@"]
        assert all("-allusers" in words and words[-5:] == list(SHAPE_EXPRESSIONS) for words in asked)

    def test_none_is_believed_if_the_schedd_says_so(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, NONE_RUNNING, ("condor_q", [NO_SLOT]))
        assert plugin.demand() == ()

    def test_silence_is_not_none(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, ("condor_q", [NO_SLOT]))
        with pytest.raises(BatchError, match="did not say how many"):
            plugin.demand()

    def test_silence_about_jobs_that_are_counted(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, ("-totals", [(0, recorded("totals-some.txt"), "")]), ("condor_q", [NO_SLOT]))
        with pytest.raises(BatchError, match="counts waiting jobs"):
            plugin.demand()

    def test_no_schedd_is_not_none(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_status", [NO_SLOT]), ("condor_q", [(0, "All queues are empty\n", "")]))
        with pytest.raises(BatchError, match="knows no schedd"):
            plugin.demand()

    def test_one_schedd_that_fails_makes_all_unknown(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(
            ("condor_status -schedd", [(0, "schedd-a@\nschedd-b@\n", "")]),
            ("schedd-a@", [(0, "1 100 5 0 1\n", "")]),
            ("schedd-b@", [(1, "", recorded("failed-to-fetch.txt"))]),
        )
        with pytest.raises(BatchError, match="Failed to fetch ads from"):
            plugin.demand()

    def test_error_text_with_exit_status_0(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, ("condor_q", [(0, "All queues are empty\n", "")]))
        with pytest.raises(BatchError, match="no list of jobs"):
            plugin.demand()

    def test_collector_that_can_not_be_reached(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(TestCheck.VERSION, ("condor_status", [(1, "", "Error: communication error")]))
        for question in (plugin.demand, plugin.workers, plugin.check, lambda: plugin.close(NODE)):
            with pytest.raises(BatchError, match="communication error"):
                question()

    def test_missing_commands(self, plugin: HTCondor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("elastiq.command._SYSTEM_PATH", (str(tmp_path),))
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(BatchError, match="condor_status was not found"):
            plugin.demand()


class TestWorkersByCommands:
    def test_no_worker_is_believed_of_a_collector_that_knows_a_schedd(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, ("condor_status", [NO_SLOT]))
        assert plugin.workers() == ()

    def test_no_worker_is_not_believed_of_a_collector_that_knows_nothing(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_status", [NO_SLOT]))
        with pytest.raises(BatchError, match="knows no schedd"):
            plugin.workers()

    def test_recorded(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_status", [(0, recorded("slots-busy.json"), "")]))
        assert len(plugin.workers()) == 3


class TestClose:
    def test_drain_with_the_startds_own_check(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, DRAIN_SENT, ("condor_status", [slots(slot()), slots(slot()), NO_SLOT]))
        assert plugin.close(NODE) is Closing.CLOSED
        (asked,) = pool.asked("condor_drain")
        assert asked[asked.index("-check") + 1] == NO_JOB_CHECK
        assert {"-graceful", "-exit-on-completion"} < set(asked)
        assert asked[asked.index("-reason") + 1].startswith(OWN_DRAIN)
        assert asked[-1] == STARTD

    def test_drained_ad_is_as_good_as_none(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(DRAIN_SENT, ("condor_status", [slots(slot()), slots(slot(State="Drained"))]))
        assert plugin.close(NODE) is Closing.CLOSED

    def test_busy_worker_is_left_alone(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_status", [slots(partitionable(NumDynamicSlots=1))]))
        assert plugin.close(NODE) is Closing.BUSY
        assert not pool.asked("condor_drain")

    def test_job_that_got_in_first(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(
            ("condor_drain", [(1, "", recorded("drain-refused.txt"))]), ("condor_status", [slots(partitionable())])
        )
        assert plugin.close(NODE) is Closing.BUSY
        assert len(pool.asked("condor_drain")) == 1

    def test_missing_right(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_drain", [(1, "", recorded("drain-denied.txt"))]), ("condor_status", [slots(slot())]))
        with pytest.raises(BatchError, match="Failed to start DRAIN_JOBS command"):
            plugin.close(NODE)

    def test_accepted_drain_that_never_shows(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(DRAIN_SENT, ("condor_status", [slots(slot())]))
        with pytest.raises(BatchError, match="still shows it open"):
            plugin.close(NODE)

    def test_job_on_a_drained_worker_is_not_closed(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(DRAIN_SENT, ("condor_status", [slots(slot()), slots(slot(Draining=True, State="Claimed"))]))
        with pytest.raises(BatchError, match="still shows it open"):
            plugin.close(NODE)

    def test_closed_worker_is_closed(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_status", [slots(slot(State="Drained"))]))
        assert plugin.close(NODE) is Closing.CLOSED
        assert not pool.asked("condor_drain")

    def test_worker_drained_by_somebody_else_is_left_alone(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_status", [slots(slot(Draining=True, State="Drained", DrainReason="kernel update"))]))
        for call in (plugin.close, plugin.reopen):
            with pytest.raises(BatchError, match=r"worker node1\.pool\.test is drained by somebody else"):
                call(NODE)
        assert not pool.asked("condor_drain")

    def test_old_condor_drain_that_takes_no_reason(self, pool: Pool, plugin: HTCondor) -> None:
        refused = ("condor_drain .*-reason", [(2, "", "ERROR: unexpected argument: -reason\n")])
        pool.answers(SCHEDDS, refused, DRAIN_SENT, ("condor_status", [slots(slot()), NO_SLOT, slots(slot()), NO_SLOT]))
        assert [plugin.close(NODE), plugin.close(NODE)] == [Closing.CLOSED] * 2
        asked = pool.asked("condor_drain")
        assert ["-reason" in words for words in asked] == [True, False, False]
        assert all(words[words.index("-check") + 1] == NO_JOB_CHECK and words[-1] == STARTD for words in asked)

    def test_worker_without_a_name_of_its_startd(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_status", [slots(slot(Name=None))]))
        with pytest.raises(BatchError, match="advertises 0 startds"):
            plugin.close(NODE)

    def test_other_vm_of_the_same_address_is_not_drained(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, NONE_RUNNING, ("condor_status", [slots(slot(EC2InstanceId="i-2"))]))
        assert plugin.close(NODE) is Closing.CLOSED
        assert not pool.asked("condor_drain")

    def test_worker_that_was_unlisted_but_is_there(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, DRAIN_SENT, ("condor_status", [slots(slot()), NO_SLOT]))
        assert plugin.close(Worker("", "i-1", "10.77.0.11")) is Closing.CLOSED
        assert pool.asked("condor_drain")

    def test_machine_with_two_startds(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_status", [slots(slot(), slot(Name="slot2@node1", MyAddress="<10.77.0.11:9999>"))]))
        with pytest.raises(BatchError, match="advertises 2 startds"):
            plugin.close(NODE)
        assert not pool.asked("condor_drain")

    def test_unlisted_worker_with_a_running_job(self, pool: Pool, plugin: HTCondor) -> None:
        running: tuple[str, list[Answer]] = ("condor_q .*-totals", [(0, recorded("totals-some.txt"), "")])
        pool.answers(SCHEDDS, running, ("condor_status", [NO_SLOT]))
        assert plugin.close(NODE) is Closing.BUSY

    def test_unlisted_worker_without_a_job(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, NONE_RUNNING, ("condor_status", [NO_SLOT]))
        assert plugin.close(NODE) is Closing.CLOSED
        (asked,) = pool.asked("condor_q")
        constraint = asked[asked.index("-constraint") + 1]
        assert '"node1.pool.test"' in constraint
        assert '"<10.77.0.11:"' in constraint

    @pytest.mark.parametrize(
        "answer",
        [(0, "", ""), (1, "", "timeout"), (0, "All queues are empty\n", "")],
        ids=["silent", "failed", "empty"],
    )
    def test_unlisted_worker_of_which_the_schedd_says_nothing(
        self, pool: Pool, plugin: HTCondor, answer: Answer
    ) -> None:
        pool.answers(SCHEDDS, ("condor_q", [answer]), ("condor_status", [NO_SLOT]))
        with pytest.raises(BatchError):
            plugin.close(NODE)

    def test_unlisted_worker_while_a_schedd_is_missing(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(
            ("condor_status -schedd", [(0, "schedd-a@\nschedd-b@\n", ""), (0, "schedd-a@\n", "")]),
            NONE_RUNNING,
            ("condor_", [NO_SLOT]),
        )
        assert plugin.demand() == ()
        with pytest.raises(BatchError, match="schedd-b@, which may run jobs there, does not answer"):
            plugin.close(NODE)

    def test_vm_that_never_had_an_address(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, ("condor_status", [NO_SLOT]))
        assert plugin.close(Worker("", "i-1")) is Closing.CLOSED

    def test_vm_of_which_nothing_is_known(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, ("condor_status", [NO_SLOT]))
        assert plugin.close(Worker("")) is Closing.CLOSED

    def test_names_are_quoted(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, NONE_RUNNING, ("condor_status", [NO_SLOT]))
        assert plugin.close(Worker('x" || true || "\\')) is Closing.CLOSED
        (asked,) = pool.asked("condor_q")
        assert '== "x\\" || true || \\"\\\\")' in asked[asked.index("-constraint") + 1]

    def test_names_that_no_string_can_carry(self, pool: Pool, plugin: HTCondor) -> None:
        with pytest.raises(BatchError, match="cannot be the name"):
            plugin.close(Worker("a\nb"))


class TestReopen:
    def test_open_worker(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_status", [slots(slot())]))
        plugin.reopen(NODE)
        assert not pool.asked("condor_on")
        assert not pool.asked("condor_drain")

    def test_startd_that_has_ended_is_started(self, pool: Pool, plugin: HTCondor) -> None:
        # The first request is forgotten by a master whose startd has not ended yet.
        pool.answers(SCHEDDS, ("condor_on", [NO_SLOT]), ("condor_status", [NO_SLOT, NO_SLOT, slots(slot())]))
        plugin.reopen(NODE)
        assert pool.asked("condor_on") == [["condor_on", "-daemon", "startd", "node1.pool.test"]] * 2

    def test_drain_is_cancelled(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_drain", [NO_SLOT]), ("condor_status", [slots(slot(State="Drained")), slots(slot())]))
        plugin.reopen(NODE)
        assert pool.asked("condor_drain") == [["condor_drain", "-cancel", STARTD]]

    def test_name_is_found_by_the_master(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(
            SCHEDDS,
            ("condor_status -master", [(0, "node1.pool.test\n", "")]),
            ("condor_on", [NO_SLOT]),
            ("condor_status", [NO_SLOT, slots(slot())]),
        )
        plugin.reopen(Worker("", "i-1", "10.77.0.11"))
        assert pool.asked("condor_on")[0][-1] == "node1.pool.test"

    def test_worker_that_stays_closed(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, ("condor_on", [(1, "", "Can't find address for master")]), ("condor_status", [NO_SLOT]))
        with pytest.raises(BatchError, match="cannot be opened again: Can't find address for master"):
            plugin.reopen(NODE)

    def test_worker_that_is_gone(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, ("condor_status", [NO_SLOT]))
        with pytest.raises(BatchError, match="condor_master is not in the collector"):
            plugin.reopen(Worker("", "i-1"))


class TestForget:
    def test_ads_are_invalidated_but_not_those_of_the_next_vm(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_advertise", [NO_SLOT]))
        plugin.forget(NODE)
        asked = pool.asked("condor_advertise")
        assert [words[1] for words in asked] == ["INVALIDATE_STARTD_ADS", "INVALIDATE_MASTER_ADS"]
        for words in asked:
            assert 'EC2InstanceId =?= "i-1" || EC2InstanceId =?= undefined' in words[-1]
            assert '"<10.77.0.11:"' in words[-1]

    def test_failure(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_advertise", [(1, "", "ERROR: can't connect")]))
        with pytest.raises(BatchError, match="can't connect"):
            plugin.forget(NODE)


class TestCheck:
    VERSION = ("condor_version", [(0, "$CondorVersion: 23.9.6 2026-07-12 PackageID: 23.9.6 $\n", "")])

    @pytest.mark.parametrize(
        ("probe", "said"),
        [("drain-refused.txt", "may drain them"), ("drain-denied.txt", "may NOT drain them: Attempt to send DRAIN")],
    )
    def test_one_line(self, pool: Pool, plugin: HTCondor, probe: str, said: str) -> None:
        pool.answers(
            self.VERSION,
            SCHEDDS,
            ("condor_drain -graceful -check false", [(1, "", recorded(probe))]),
            ("condor_status", [slots(slot())]),
        )
        line = plugin.check()
        assert line.startswith("HTCondor 23.9.6, asked by commands, schedds: schedd-a@, 1 workers, ")
        assert said in line
        assert "\n" not in line

    def test_empty_pool(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(self.VERSION, SCHEDDS, ("condor_status", [NO_SLOT]))
        assert "right to drain not known yet" in plugin.check()


BINDINGS = """
import os
class QueryOpt: GroupBy = object()
class AdType: Startd = object()
class DaemonType: Schedd = object()
def version(): return "$CondorVersion: 24.0.1 2026-01-01 $"
class Ad(dict):
    def eval(self, name): return self[name]
class Collector:
    def locateAll(self, kind): return [Ad(Name=name) for name in os.environ["_CONDOR_TEST_SCHEDDS"].split()]
    def query(self, kind, constraint, projection): return [Ad({"Machine": "node1", "Cpus": 2})] * SLOTS
class Schedd:
    def __init__(self, ad): self.name = ad["Name"]
    def query(self, constraint, projection, opts):
        if self.name == "crash": os.abort()
        if self.name == "hang": import time; time.sleep(1000)
        if self.name == "fail": raise RuntimeError("Failed to fetch ads from schedd")
        return [Ad(JobCount=3, RequestCpus=2)]
"""
CLASSADS = """
import enum
class Value(enum.IntEnum): Error = 1; Undefined = 2
class ExprTree:
    def __init__(self, text): self.text = text
    def eval(self, row): return row["RequestCpus"] if "Cpus" in self.text else Value.Undefined
"""


class TestBindings:
    """The child process, with a stand-in for the bindings; tests/e2e has the real ones."""

    @pytest.fixture
    def bound(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., HTCondor]:
        def make(schedds: str, slots: int = 1, timeout_seconds: float = TIMEOUT_SECONDS) -> HTCondor:
            (tmp_path / "htcondor2.py").write_text(BINDINGS.replace("SLOTS", str(slots)))
            (tmp_path / "classad2.py").write_text(CLASSADS)
            monkeypatch.setenv("PYTHONPATH", str(tmp_path))
            monkeypatch.setenv("_CONDOR_TEST_SCHEDDS", schedds)
            return HTCondor("auto", timeout_seconds)

        return make

    def test_demand_of_all_schedds(self, bound: Callable[..., HTCondor]) -> None:
        plugin = bound("a b")
        assert plugin.demand() == (Demand(Shape(2, 0, 0, 0), 6),)
        assert plugin._known_schedds == {"a", "b"}

    def test_workers(self, bound: Callable[..., HTCondor]) -> None:
        (worker,) = bound("a").workers()
        assert (worker.name, worker.capacity.cpus) == ("node1", 2)
        assert bound("a", slots=0).workers() == ()

    def test_no_schedd(self, bound: Callable[..., HTCondor]) -> None:
        with pytest.raises(BatchError, match="knows no schedd"):
            bound("").demand()
        with pytest.raises(BatchError, match="knows no schedd"):
            bound("", slots=0).workers()

    def test_one_schedd_fails(self, bound: Callable[..., HTCondor]) -> None:
        with pytest.raises(BatchError, match="RuntimeError: Failed to fetch ads from schedd"):
            bound("a fail").demand()

    def test_library_crashes(self, bound: Callable[..., HTCondor]) -> None:
        with pytest.raises(BatchError, match="killed by SIGABRT"):
            bound("crash").demand()

    def test_library_hangs(self, bound: Callable[..., HTCondor]) -> None:
        plugin = bound("hang", timeout_seconds=2.0)
        with pytest.raises(BatchError, match=r"gave no complete answer"):
            plugin.demand()

    def test_child_ends_by_itself_if_the_daemon_dies(self, bound: Callable[..., HTCondor], tmp_path: Path) -> None:
        bound("hang")
        root = Path(__file__).parents[2]
        result = subprocess.run(
            [sys.executable, "-m", "elastiq.plugins.htcondor_query", "demand", "0"],
            env={**os.environ, "PYTHONPATH": f"{root}:{tmp_path}"},
            timeout=TIMEOUT_SECONDS,
        )
        assert result.returncode == -14

    def test_auto_falls_back_to_commands(self, bound: Callable[..., HTCondor], pool: Pool, tmp_path: Path) -> None:
        plugin = bound("a")
        (tmp_path / "htcondor2.py").write_text("raise ImportError('libcondor_utils.so')")
        pool.answers(SCHEDDS, ("condor_q", [(0, "1 1 1 0 1\n", "")]))
        assert plugin.demand() == (Demand(Shape(1, 1, 1, 0), 1),)

    def test_bindings_that_were_asked_for_must_be_there(self, bound: Callable[..., HTCondor], tmp_path: Path) -> None:
        bound("a")
        (tmp_path / "htcondor2.py").write_text("raise ImportError('libcondor_utils.so')")
        with pytest.raises(BatchError, match="ImportError: libcondor_utils"):
            HTCondor("bindings", TIMEOUT_SECONDS).demand()


def test_the_loader_finds_it() -> None:
    assert isinstance(load("htcondor", Settings()), HTCondor)
