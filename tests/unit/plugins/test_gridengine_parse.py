"""The parsers of the Grid Engine plugin, on recorded output and on garbage."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastiq.errors import BatchError
from elastiq.model import Demand, Shape
from elastiq.plugins.gridengine_complexes import Complexes, Resource
from elastiq.plugins.gridengine_parse import (
    Group,
    deciding_of,
    demand_of,
    limited,
    parse_jobs,
    parse_names,
    parse_rule,
)

RECORDED = Path(__file__).parent / "recorded" / "gridengine"
RULES = {"smp": "$pe_slots", "mpi": "$fill_up", "rr": "$round_robin", "two": "2"}
COMPLEXES = Complexes(
    {
        "slots": Resource("YES", "1"),
        "h_vmem": Resource("YES", type="MEMORY"),
        "mem_free": Resource(type="MEMORY"),
        "h_rss": Resource(type="MEMORY"),
        "ram": Resource("JOB", type="MEMORY"),
        "scratch": Resource("YES", type="MEMORY"),
        "gpu": Resource("YES"),
        "excl": Resource("YES", type="BOOL", relation="EXCL"),
        "lic": Resource("YES"),
        "token": Resource("JOB"),
    }
)


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


def group(environment: str = "", slots: int = 1, jobs: int = 1, **requests: str) -> Group:
    return Group(environment, slots, requests, jobs)


def demand(*groups: Group) -> list[tuple[Shape, int, int]]:
    found, faults = demand_of(groups, RULES, COMPLEXES, 0.0)
    assert faults == ()
    return [(each.shape, each.jobs, each.vms_per_job) for each in found]


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
            '{"groups": [["", 1, {}, [], 0, 0, ""]]}',
            '{"groups": [["", 1, {"h_vmem": 1}, [], 1, 0, ""]]}',
            '{"groups": [["", 1, {}, [1], 1, 0, ""]]}',
            '{"groups": [["", true, {}, [], 1, 0, ""]]}',
            '{"groups": [["", 1, {}, [], 1e99, 0, ""]]}',
            '{"groups": [["", 1, {}, [], 1, -1, ""]]}',
            '{"groups": [], "unreadable": "no"}',
            '{"groups": [], "unreadable": 1, "example": 1}',
        ],
    )
    def test_garbage(self, text: str) -> None:
        with pytest.raises(BatchError):
            parse_jobs(text)


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
        complexes = Complexes({**COMPLEXES.named, "h_vmem": Resource("YES", "2G", "MEMORY")})
        (only,), _ = demand_of([group("smp", 2)], RULES, complexes, 0.0)
        assert only.shape == Shape(2, 4096)

    def test_small_letters_are_decimal(self) -> None:
        assert demand(group(h_vmem="1048576k")) == [(Shape(1, 1000), 1, 1)]

    @pytest.mark.parametrize(("name", "value"), [("h_vmem", "lots"), ("gpu", "x"), ("gpu", "nan"), ("h_vmem", "1Q")])
    def test_a_request_that_is_no_amount_costs_its_group(self, name: str, value: str) -> None:
        found, faults = demand_of([group(**{name: value}), group(jobs=3)], RULES, COMPLEXES, 0.0)
        assert [each.jobs for each in found] == [3]
        assert len(faults) == 1
        assert name in faults[0]

    @pytest.mark.parametrize("value", ["0", "-1", "0G"])
    def test_nothing_is_asked_for(self, value: str) -> None:
        assert demand(group(h_vmem=value, gpu="0")) == [(Shape(1), 1, 1)]

    def test_disk_is_not_memory(self) -> None:
        assert demand(group(scratch="1G", h_vmem="2G")) == [(Shape(1, 2048, 1024), 1, 1)]

    def test_a_job_that_wants_a_machine_for_itself(self) -> None:
        (only, other), _ = demand_of([group(excl="TRUE"), group(excl="0")], RULES, COMPLEXES, 0.0)
        assert [only.takes_whole_vms, other.takes_whole_vms] == [False, True]

    def test_of_two_kinds_of_memory_the_larger_counts_and_what_is_used_up_before_a_load_value(self) -> None:
        assert demand(group(h_vmem="1G", ram="3G")) == [(Shape(1, 3072), 1, 1)]
        assert demand(group(h_vmem="1G", mem_free="9G")) == [(Shape(1, 1024), 1, 1)]
        assert deciding_of([group(h_vmem="1G", mem_free="9G"), group(ram="1G")], COMPLEXES) == {"h_vmem", "ram"}
        assert deciding_of([group(mem_free="9G")], COMPLEXES) == {"mem_free"}

    def test_what_no_machine_limits_asks_nothing(self) -> None:
        (only,), _ = demand_of(
            [group(h_vmem="9G", lic="1")], {}, COMPLEXES, 0.0, cluster_wide=["lic"], unlimited=["h_vmem"]
        )
        assert only.shape == Shape(1)
        assert only.wants == '{"l":{"h_vmem":"9G"}}'

    def test_groups_of_one_kind_become_one(self) -> None:
        groups = [
            Group("", 1, {"h_vmem": "1024M"}, 2, "2026-11-22T10:00:00", running=1),
            Group("", 1, {"h_vmem": "1G"}, 3, "2026-11-22T09:00:00", running=2),
        ]
        ((only,), _), ((later,), _) = (
            demand_of(some, RULES, COMPLEXES.without(["ram"]), 4e9) for some in (groups, groups[:1])
        )
        assert only == Demand(Shape(1, 1024), 5, only.oldest_wait_seconds, wants='{"m":{"h_vmem":""}}', running=3)
        assert only.oldest_wait_seconds and later.oldest_wait_seconds
        assert only.oldest_wait_seconds - later.oldest_wait_seconds == 3600

    def test_jobs_that_want_something_else_are_another_group(self) -> None:
        groups = [group(), Group("", 1, {}, 1, queues=("long.q",)), group("mpi", 1), group(kind="fast")]
        found, _ = demand_of(groups, RULES, COMPLEXES, 0.0)
        assert len({each.wants for each in found}) == len(found) == 4

    @pytest.mark.parametrize("when", ["", "yesterday", "2026-13-01T00:00:00"])
    def test_without_a_time(self, when: str) -> None:
        assert demand_of([Group("", 1, {}, 1, when)], {}, Complexes(), 0.0)[0] == (
            Demand(Shape(1), 1, None, running=0),
        )


class TestLimited:
    """Consumables of the whole cluster."""

    def jobs(self, left: float, *groups: Group) -> list[int]:
        return [each.jobs for each in limited(groups, {"lic": left}, COMPLEXES)]

    @pytest.mark.parametrize(("left", "jobs"), [(0, []), (1, [1]), (3, [3]), (99, [10])])
    def test_no_more_jobs_than_are_left(self, left: int, jobs: list[int]) -> None:
        assert self.jobs(left, group(jobs=10, lic="1")) == jobs

    def test_others_are_not_concerned(self) -> None:
        assert self.jobs(0, group(jobs=10), group(jobs=3, lic="1"), group(jobs=4, lic="0")) == [10, 4]

    def test_each_slot_takes_one_or_the_job(self) -> None:
        assert self.jobs(9, group("smp", 4, 10, lic="1")) == [2]
        assert [each.jobs for each in limited([group("smp", 4, 10, token="1")], {"token": 9}, COMPLEXES)] == [9]

    def test_who_has_waited_longest_comes_first(self) -> None:
        later, earlier = (Group("", 1, {"lic": "1", "h_rt": when}, 4, when) for when in ("2026-11-23", "2026-11-22"))
        assert self.jobs(5, later, earlier) == [1, 4]
        assert self.jobs(4, later, earlier) == [4]

    def test_those_that_take_some_without_asking(self) -> None:
        complexes = Complexes({"lic": Resource("YES", "2")})
        assert [each.jobs for each in limited([group(jobs=9)], {"lic": 5}, complexes)] == [2]

    def test_a_request_that_is_no_amount_is_left_to_who_says_so(self) -> None:
        assert self.jobs(1, group(jobs=7, lic="x")) == [7]


class TestConfiguration:
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
