"""What Grid Engine prints and what it means: recorded from Grid Engine 8.1.9, and garbage."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from elastiq.plugins.gridengine_query import AnswerError, Count, Job, JobReader, LimitReader, read, tasks_of

RECORDED = Path(__file__).parent / "recorded" / "gridengine"
ROOT = Path(__file__).parents[2]
RULES = {"smp": "$pe_slots", "mpi": "$fill_up", "rr": "$round_robin", "two": "2"}
RESOURCES = {
    "slots": Resource("YES", "1"),
    "h_vmem": Resource("YES", "0"),
    "mem_free": Resource("NO", "0"),
    "h_rss": Resource("NO", "0"),
    "ram": Resource("JOB", "0"),
    "gpu": Resource("YES", "0"),
}
FAKE_QSTAT = """#!{python} -IS
import pathlib, sys
kind = "future" if "ha" in sys.argv else "arrays" if "-j" in sys.argv else "jobs"
directory = pathlib.Path({directory!r})
sys.stdout.write((directory / kind).read_text())
status = directory / (kind + "-status")
if status.exists():
    sys.exit("error: commlib error")
"""


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


def jobs_in(text: str | bytes) -> list[Job]:
    found: list[Job] = []
    read(io.BytesIO(text.encode() if isinstance(text, str) else text), JobReader(found.append))
    return found


def job_list(*jobs: str) -> str:
    inner = "".join(f"<job_list>{job}</job_list>" for job in jobs)
    return f"<?xml version='1.0'?><job_info><queue_info></queue_info><job_info>{inner}</job_info></job_info>"


def counted(*jobs: Job, future: tuple[str, ...] = (), limits: dict[str, int] | None = None) -> int:
    count = Count(future)
    for job in jobs:
        count.take(job)
    return sum(group[3] for group in count.groups(limits or {}))  # type: ignore[misc]


def group(environment: str = "", slots: int = 1, jobs: int = 1, **requests: str) -> Group:
    return Group(environment, slots, requests, jobs)


def demand(*groups: Group) -> list[tuple[Shape, int, int]]:
    return [(each.shape, each.jobs, each.vms_per_job) for each in demand_of(groups, RULES, RESOURCES, 0.0)]


def host(state: str = "", used: int = 0, **values: Any) -> Host:
    return Host("ip-10-77-1-1.pool.example", (QueueInstance("all.q", 8, used, 0, state),), **values)


class TestRecordedJobs:
    """3454 runs; 3459 is an array with -tc 4 of which two tasks run; 3461 and 3464 are held, 3463 is not yet due; 3465
    and 3466 ask for a host by name."""

    def count(self) -> Count:
        count = Count(job.number for job in jobs_in(recorded("qstat-future.xml")))
        for job in jobs_in(recorded("qstat.xml")):
            count.take(job)
        return count

    def limits(self) -> dict[str, int]:
        limits = LimitReader()
        read(io.BytesIO(recorded("qstat-arrays.xml").encode()), limits)
        return limits.limits

    def test_limits_of_arrays(self) -> None:
        assert self.count().arrays == ("3459", "3460")
        assert self.limits() == {"3459": 4, "3460": 0, "3464": 0}

    def test_groups(self) -> None:
        when = "2026-11-22T22:52:22"
        assert sorted(self.count().groups(self.limits()), key=repr) == [
            ["", 1, {"gpu": "1"}, 10, when],
            ["", 1, {"h_vmem": "1M"}, 1, "2026-11-22T22:52:23"],
            ["", 1, {}, 4, when],
            ["m*", 3, {}, 1, when],
            ["mpi", 6, {"h_vmem": "512M"}, 1, when],
            ["smp", 3, {"gpu": "1", "h_vmem": "1G"}, 1, "2026-11-22T22:52:17"],
            ["two", 8, {"gpu": "1", "h_vmem": "1G"}, 1, when],
        ]

    def test_jobs_that_ended_meanwhile_have_no_limit(self) -> None:
        limits = LimitReader()
        read(io.BytesIO(recorded("qstat-gone.xml").encode()), limits)
        assert limits.limits == {}

    def test_demand(self) -> None:
        groups = parse_groups(json.dumps({"groups": self.count().groups(self.limits())}))
        found = demand_of(groups, RULES, parse_resources(recorded("complexes")), 4e9)
        assert [(each.shape, each.jobs, each.vms_per_job) for each in found] == [
            (Shape(1, gpus=1), 10, 1),
            (Shape(1), 7, 1),
            (Shape(1, 512), 6, 1),
            (Shape(1, 1), 1, 1),
            (Shape(3, 3072, gpus=3), 1, 1),
            (Shape(2, 2048, gpus=2), 1, 4),
        ]
        assert all(each.oldest_wait_seconds and each.oldest_wait_seconds > 0 for each in found)


class TestJobs:
    @pytest.mark.parametrize("state", ["qw", "Rq", "Rqw"])
    def test_that_wait(self, state: str) -> None:
        assert counted(Job("1", state, "1")) == 1

    @pytest.mark.parametrize(
        "state", ["hqw", "hRq", "hRwq", "Eqw", "EhRqw", "dRq", "r", "t", "Rr", "s", "S", "T", "dr"]
    )
    def test_that_do_not(self, state: str) -> None:
        assert counted(Job("1", state, "1")) == 0

    def test_not_yet_due(self) -> None:
        assert counted(Job("1", "qw", "1"), Job("2", "qw", "1"), future=("1",)) == 1

    def test_limit_counts_tasks_that_run_or_are_suspended(self) -> None:
        running = [Job("1", state, "1", tasks="7") for state in ("r", "s", "t")]
        assert counted(Job("1", "qw", "1", tasks="8-200:1"), *running, limits={"1": 4}) == 1
        assert counted(Job("1", "qw", "1", tasks="8-200:1"), *running, limits={"1": 3}) == 0
        assert counted(Job("1", "qw", "1", tasks="8-200:1"), *running, limits={"1": 0}) == 193

    def test_limit_holds_for_new_and_rescheduled_tasks_together(self) -> None:
        tasks = [Job("1", "qw", "1", tasks="5-9:1"), Job("1", "Rq", "1", tasks="1,3")]
        assert counted(*tasks, limits={"1": 6}) == 6
        assert counted(*tasks) == 7

    @pytest.mark.parametrize(
        ("queues", "bound"),
        [
            (["all.q@node1"], True),
            (["all.q@node1", "b.q@node2"], True),
            (["all.q@node*"], False),
            (["all.q@@workers"], False),
            (["all.q"], False),
            (["all.q@node1", "b.q"], False),
        ],
    )
    def test_bound_to_a_queue_on_a_host(self, queues: list[str], bound: bool) -> None:
        assert counted(Job("1", "qw", "1", queues=queues)) == 1 - bound

    @pytest.mark.parametrize(("name", "bound"), [("node1", True), ("node*", False), ("a|b", False), ("!node1", False)])
    def test_bound_to_a_host(self, name: str, bound: bool) -> None:
        assert counted(Job("1", "qw", "1", requests={"hostname": name})) == 1 - bound

    @pytest.mark.parametrize(
        ("text", "tasks"), [("", 1), ("7", 1), ("3,4", 2), ("1-100:3", 34), ("1-5:1,7,9-20:2", 12), ("2-5", 4)]
    )
    def test_tasks(self, text: str, tasks: int) -> None:
        assert tasks_of(text) == tasks

    @pytest.mark.parametrize("text", ["x", "1-", "5-1:1", "1-5:0", "1,,2", "-3", "1-5:1:1", "9999999999"])
    def test_what_are_no_tasks(self, text: str) -> None:
        with pytest.raises(AnswerError):
            tasks_of(text)


class TestReading:
    def test_names_that_users_give_to_jobs(self) -> None:
        raw = job_list("<JB_job_number>1</JB_job_number><JB_name>@</JB_name><state>qw</state><slots>1</slots>").encode()
        for name in (b"\xff\xfe", b"\x01\x1b[0m", "é".encode("latin-1"), b"%lt;&amp;&gt;", "\uffff".encode()):
            assert [job.number for job in jobs_in(raw.replace(b"@", name))] == ["1"]

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "error: commlib error: got select error\n",
            "<?xml version='1.0'?>\n",
            job_list()[:-5],
            recorded("qstat.xml")[:4000],
            recorded("qhost.xml"),
            "<unknown_jobs></unknown_jobs>",
            job_list("<state>qw</state><slots>1</slots>"),
            job_list("<JB_job_number>1</JB_job_number><slots>1</slots>"),
            job_list("<JB_job_number>1</JB_job_number><state>qw</state>"),
            job_list("<JB_job_number>x</JB_job_number><state>qw</state><slots>1</slots>"),
            job_list("<JB_job_number>1</JB_job_number><state>qw</state><slots>-1</slots>"),
            '<!DOCTYPE job_info [<!ENTITY a "b">]>' + job_list(),
        ],
    )
    def test_what_is_no_complete_list_is_an_error(self, text: str) -> None:
        with pytest.raises(AnswerError):
            jobs_in(text)

    def test_nothing_waits(self) -> None:
        assert jobs_in(job_list()) == []

    @given(st.binary(max_size=200))
    def test_no_bytes_are_taken_for_an_empty_queue(self, garbage: bytes) -> None:
        with pytest.raises(AnswerError):
            jobs_in(garbage)


class TestChild:
    """`python -m elastiq.plugins.gridengine_query` with a qstat that prints files."""

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        script = tmp_path / "qstat"
        script.write_text(FAKE_QSTAT.format(python=sys.executable, directory=str(tmp_path)))
        script.chmod(0o755)
        for name, source in (("future", "qstat-future.xml"), ("jobs", "qstat.xml"), ("arrays", "qstat-arrays.xml")):
            (tmp_path / name).write_text(recorded(source))
        return tmp_path

    def ask(self, directory: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "elastiq.plugins.gridengine_query"],
            env={**os.environ, "PATH": str(directory)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def test_it_answers(self, directory: Path) -> None:
        assert sum(each.jobs for each in parse_groups(self.ask(directory).stdout)) == 19

    @pytest.mark.parametrize("kind", ["future", "jobs", "arrays"])
    def test_every_answer_has_to_be_complete(self, directory: Path, kind: str) -> None:
        (directory / kind).write_text((directory / kind).read_text()[:300])
        result = self.ask(directory)
        assert (result.returncode, result.stdout) == (1, "")
        assert "no XML" in result.stderr

    @pytest.mark.parametrize("kind", ["future", "jobs", "arrays"])
    def test_a_failure_is_one_also_after_a_whole_answer(self, directory: Path, kind: str) -> None:
        (directory / f"{kind}-status").touch()
        result = self.ask(directory)
        assert (result.returncode, result.stdout) == (1, "")
        assert "exit status 1" in result.stderr

    def test_no_qstat(self, directory: Path) -> None:
        (directory / "qstat").unlink()
        result = self.ask(directory)
        assert result.returncode == 1
        assert "qstat was not found" in result.stderr


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
