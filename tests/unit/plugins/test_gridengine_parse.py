"""The parsers of the Grid Engine plugin, on recorded output and on garbage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from elastiq.errors import BatchError
from elastiq.model import Demand, Shape
from elastiq.plugins.gridengine_parse import (
    Group,
    Host,
    QueueInstance,
    Resource,
    demand_of,
    parse_groups,
    parse_hosts,
    parse_names,
    parse_resources,
    parse_rule,
)

RECORDED = Path(__file__).parent / "recorded" / "gridengine"
RULES = {"smp": "$pe_slots", "mpi": "$fill_up", "rr": "$round_robin", "two": "2"}
RESOURCES = {
    "slots": Resource("YES", "1"),
    "h_vmem": Resource("YES", "0"),
    "mem_free": Resource("NO", "0"),
    "h_rss": Resource("NO", "0"),
    "ram": Resource("JOB", "0"),
    "gpu": Resource("YES", "0"),
}


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


def group(environment: str = "", slots: int = 1, jobs: int = 1, **requests: str) -> Group:
    return Group(environment, slots, requests, jobs)


def demand(*groups: Group) -> list[tuple[Shape, int, int]]:
    return [(each.shape, each.jobs, each.vms_per_job) for each in demand_of(groups, RULES, RESOURCES, 0.0)]


def host(state: str = "", used: int = 0, **values: Any) -> Host:
    return Host("ip-10-77-1-1.pool.example", (QueueInstance("all.q", 8, used, 0, state),), **values)


class TestGroups:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "null",
            "[]",
            "{}",
            '{"groups": {}}',
            '{"groups": [[]]}',
            '{"groups": [["", 1, {}, 0, ""]]}',
            '{"groups": [["", 1, {"h_vmem": 1}, 1, ""]]}',
            '{"groups": [["", true, {}, 1, ""]]}',
            '{"groups": [["", 1, {}, 1e99, ""]]}',
        ],
    )
    def test_garbage(self, text: str) -> None:
        with pytest.raises(BatchError):
            parse_groups(text)


class TestDemand:
    def test_without_a_parallel_environment(self) -> None:
        assert demand(group(jobs=5)) == [(Shape(1), 5, 1)]

    def test_slots_on_one_machine(self) -> None:
        assert demand(group("smp", 4, 2, h_vmem="1.5G", gpu="1")) == [(Shape(4, 6144, gpus=4), 2, 1)]

    @pytest.mark.parametrize("environment", ["mpi", "rr"])
    def test_slots_anywhere(self, environment: str) -> None:
        assert demand(group(environment, 6, 2, h_vmem="1G")) == [(Shape(1, 1024), 12, 1)]

    def test_so_many_slots_on_each_machine(self) -> None:
        assert demand(group("two", 6, 3, h_vmem="1G")) == [(Shape(2, 2048), 3, 3)]

    def test_slots_that_the_rule_never_gives_out(self) -> None:
        assert demand(group("two", 5)) == []

    def test_environment_by_pattern(self) -> None:
        assert demand(group("t*", 4)) == [(Shape(2), 1, 2)]

    def test_environment_that_is_gone_by_now(self) -> None:
        assert demand(group("gone", 4)) == [(Shape(4), 1, 1)]

    def test_memory_of_the_machine_is_asked_for_once(self) -> None:
        assert demand(group("smp", 4, mem_free="2G")) == [(Shape(4, 2048), 1, 1)]

    def test_a_jobs_consumable_is_asked_for_once(self) -> None:
        assert demand(group("smp", 4, ram="3G")) == [(Shape(4, 3072), 1, 1)]

    def test_a_mere_limit_asks_nothing_of_the_machine(self) -> None:
        assert demand(group(h_rss="64G")) == [(Shape(1), 1, 1)]
        assert demand(group(h_vmem="INFINITY")) == [(Shape(1), 1, 1)]

    def test_default_of_a_consumable(self) -> None:
        resources = {**RESOURCES, "h_vmem": Resource("YES", "2G")}
        (only,) = demand_of([group("smp", 2)], RULES, resources, 0.0)
        assert only.shape == Shape(2, 4096)

    def test_small_letters_are_decimal(self) -> None:
        assert demand(group(h_vmem="1048576k")) == [(Shape(1, 1000), 1, 1)]

    @pytest.mark.parametrize(("name", "value"), [("h_vmem", "lots"), ("gpu", "x"), ("gpu", "nan"), ("gpu", "-1")])
    def test_a_request_that_is_no_amount(self, name: str, value: str) -> None:
        with pytest.raises(BatchError):
            demand(group(**{name: value}))

    def test_groups_of_one_shape_become_one(self) -> None:
        groups = [Group("", 1, {}, 2, "2026-11-22T10:00:00"), Group("mpi", 3, {}, 1, "2026-11-22T09:00:00")]
        (only,) = demand_of(groups, RULES, RESOURCES, 4e9)
        (later,) = demand_of(groups[:1], RULES, RESOURCES, 4e9)
        assert only == Demand(Shape(1), 5, only.oldest_wait_seconds)
        assert only.oldest_wait_seconds and later.oldest_wait_seconds
        assert only.oldest_wait_seconds - later.oldest_wait_seconds == 3600

    @pytest.mark.parametrize("when", ["", "yesterday", "2026-13-01T00:00:00"])
    def test_without_a_time(self, when: str) -> None:
        assert demand_of([Group("", 1, {}, 1, when)], {}, {}, 0.0) == (Demand(Shape(1), 1, None),)


class TestRecordedHosts:
    """...-1 runs a job of 2 slots and two tasks of an array, on 4 slots; elastiq closed ...-4, somebody else ...-5."""

    def test_workers(self) -> None:
        busy, own, foreign = (each.worker(None, 5.0) for each in parse_hosts(recorded("qhost.xml")))
        assert (busy.name, busy.instance_id, busy.address) == ("ip-10-77-1-1.pool.example", "i-0001", "10.77.1.1")
        assert (busy.jobs, busy.idle_seconds, busy.closed) == (4, None, False)
        assert (busy.capacity, busy.free) == (Shape(4, 24106, gpus=2), Shape(0, 3072, gpus=2))
        assert (own.jobs, own.idle_seconds, own.closed, own.closed_by_other) == (0, 5.0, True, False)
        assert own.free == own.capacity == Shape(4, 24106)
        assert (foreign.closed, foreign.closed_by_other) == (True, True)

    def test_nobody_has_joined(self) -> None:
        assert parse_hosts("<qhost><host name='global'></host></qhost>") == ()

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "error: commlib error",
            "<qhost></qhost>",
            recorded("qhost.xml")[:2000],
            recorded("qstat.xml"),
            recorded("qhost.xml").replace("'slots_used'>4<", "'slots_used'>many<"),
            recorded("qhost.xml").replace("'slots_used'>4<", "'slots_used'><"),
            recorded("qhost.xml").replace("'state_string'", "'weather'"),
            recorded("qhost.xml").replace("name='slots' dominance='hc'>0.000000", "name='slots' dominance='hc'>nan"),
            recorded("qhost.xml").replace("'ip-10-77-1-1.pool.example'", "'-rf /'"),
            '<!DOCTYPE a [<!ENTITY b "c">]>' + recorded("qhost.xml"),
        ],
    )
    def test_what_is_no_list_of_hosts(self, text: str) -> None:
        with pytest.raises(BatchError):
            parse_hosts(text)

    def test_an_instance_id_that_two_claim_is_nobodys(self) -> None:
        hosts = parse_hosts(recorded("qhost.xml").replace("i-0004", "i-0005"))
        assert [each.instance_id for each in hosts] == ["i-0001", None, None]


class TestHosts:
    @pytest.mark.parametrize("state", ["u", "au", "auo", "du"])
    def test_not_heard_of(self, state: str) -> None:
        assert not host(state).joined

    def test_never_reported_or_without_a_queue(self) -> None:
        assert not host(reported=False).joined
        assert not Host("node").joined
        assert not Host("node").closed

    def test_one_open_queue_is_enough_to_be_open(self) -> None:
        queues = (QueueInstance("a.q", 2, 0, 0, "d"), QueueInstance("b.q", 2, 0, 0, ""))
        assert not Host("node", queues).closed
        assert Host("node", queues).open_queues == ("b.q",)

    def test_what_others_have_disabled_beside_elastiq_is_not_its_own(self) -> None:
        queues = (QueueInstance("a.q", 2, 0, 0, "d"), QueueInstance("b.q", 2, 0, 0, "d"))
        closed = Host("node", queues, closed_queues=("b.q", "c.q"))
        assert (closed.closed, closed.closed_by_other, closed.own_closed) == (True, False, ("b.q",))

    def test_a_mark_on_an_open_queue_means_nothing(self) -> None:
        assert host(closed_queues=("all.q",)).own_closed == ()
        assert not host(closed_queues=("all.q",)).closed

    @pytest.mark.parametrize("state", ["a", "A", "C", "D", "s", "S", "E", "c", "o", "P", "dE"])
    def test_states_that_start_no_job_have_nothing_free(self, state: str) -> None:
        assert host(state).worker().free.cpus == 0

    def test_closed_ones_have_what_they_had_after_a_reopen(self) -> None:
        assert host("d").worker().free.cpus == 8

    def test_slots_of_the_host_bound_those_of_its_queues(self) -> None:
        worker = host(used=1, slots_left=3).worker()
        assert (worker.capacity.cpus, worker.free.cpus) == (4, 3)

    def test_a_reservation_is_a_claim(self) -> None:
        queues = (QueueInstance("all.q", 8, 0, 2, ""),)
        assert Host("node", queues).worker().jobs == 2

    def test_capacity_is_what_was_left_when_no_job_was_there(self) -> None:
        busy = host(used=1, memory_total_mb=8000, memory_left_mb=1000, gpus_left=0)
        assert busy.worker(Shape(8, 7000, 0, 2)).capacity == Shape(8, 7000, 0, 2)
        assert busy.worker().capacity == Shape(8, 8000)


class TestConfiguration:
    def test_resources(self) -> None:
        resources = parse_resources(recorded("complexes"))
        assert resources["h_vmem"] == Resource("YES", "0")
        assert resources["mem_free"].consumable == "NO"
        assert resources["slots"] == Resource("YES", "1")

    @pytest.mark.parametrize("text", ["", "denied: no", "#name\n", "h_vmem h_vmem MEMORY <= YES YES 0 0\n"])
    def test_what_are_no_resources(self, text: str) -> None:
        with pytest.raises(BatchError):
            parse_resources(text)

    def test_rule(self) -> None:
        assert parse_rule(recorded("environment-mpi"), "mpi") == "$fill_up"

    @pytest.mark.parametrize("text", ["", "pe_name mpi\n", "allocation_rule\n"])
    def test_no_rule(self, text: str) -> None:
        with pytest.raises(BatchError):
            parse_rule(text, "mpi")

    def test_names(self) -> None:
        assert parse_names("@workers\nmpi\n\n", "qconf") == ("@workers", "mpi")
        with pytest.raises(BatchError):
            parse_names("no host group defined\n", "qconf")
