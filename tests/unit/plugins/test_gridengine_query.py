"""The child process that reads the job list of Grid Engine, on recorded lists and on garbage."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.model import Shape
from elastiq.plugins.gridengine_complexes import parse_complexes
from elastiq.plugins.gridengine_parse import demand_of, parse_jobs
from elastiq.plugins.gridengine_query import (
    AnswerError,
    Count,
    Job,
    LimitReader,
    read_jobs,
    read_limits,
    tasks_of,
)

RECORDED = Path(__file__).parent / "recorded" / "gridengine"
ROOT = Path(__file__).parents[3]
RULES = {"smp": "$pe_slots", "mpi": "$fill_up", "rr": "$round_robin", "two": "2"}
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
    read_jobs(io.BytesIO(text.encode() if isinstance(text, str) else text), found.append)
    return found


def job_list(*jobs: str) -> str:
    inner = "".join(f"<job_list>{job}</job_list>" for job in jobs)
    return f"<?xml version='1.0'?><job_info><queue_info></queue_info><job_info>{inner}</job_info></job_info>"


def counted(*jobs: Job, future: tuple[str, ...] = (), limits: dict[str, int] | None = None) -> int:
    count = Count(future)
    for job in jobs:
        count.take(job)
    return sum(group[4] for group in count.groups(limits or {}))  # type: ignore[misc]


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
        read_limits(io.BytesIO(recorded("qstat-arrays.xml").encode()), limits)
        return limits.limits

    def test_limits_of_arrays(self) -> None:
        assert self.count().arrays == ("3459", "3460")
        assert self.limits() == {"3459": 4, "3460": 0, "3464": 0}

    def test_groups(self) -> None:
        when = "2026-11-22T22:52:22"
        assert sorted(self.count().groups(self.limits()), key=repr) == [
            ["", 1, {"gpu": "1"}, (), 10, 0, when],
            ["", 1, {"h_vmem": "1M"}, (), 1, 0, "2026-11-22T22:52:23"],
            ["", 1, {}, ("all.q@ip-10-77-1-*",), 1, 0, when],
            ["", 1, {}, (), 3, 2, when],
            ["m*", 3, {}, (), 1, 0, when],
            ["mpi", 6, {"h_vmem": "512M"}, (), 1, 0, when],
            ["smp", 3, {"gpu": "1", "h_vmem": "1G"}, (), 1, 0, "2026-11-22T22:52:17"],
            ["two", 8, {"gpu": "1", "h_vmem": "1G"}, (), 1, 0, when],
        ]

    def test_jobs_that_ended_meanwhile_have_no_limit(self) -> None:
        limits = LimitReader()
        read_limits(io.BytesIO(recorded("qstat-gone.xml").encode()), limits)
        assert limits.limits == {}

    def test_demand(self) -> None:
        jobs = parse_jobs(json.dumps({"groups": self.count().groups(self.limits())}))
        found, _ = demand_of(jobs.groups, RULES, parse_complexes(recorded("complexes")), 4e9)
        assert [(each.shape, each.jobs, each.vms_per_job) for each in found] == [
            (Shape(1, gpus=1), 10, 1),
            (Shape(1, 512), 6, 1),
            (Shape(1), 3, 1),
            (Shape(1), 3, 1),
            (Shape(1), 1, 1),
            (Shape(1, 1), 1, 1),
            (Shape(3, 3072, gpus=3), 1, 1),
            (Shape(2, 2048, gpus=2), 1, 4),
        ]
        assert all(each.oldest_wait_seconds and each.oldest_wait_seconds > 0 for each in found)


class TestRecordedWants:
    """Recorded where complexes-site was: jobs that ask for a queue, a licence, a range of slots and for what hosts
    offer; one asks for a host by name."""

    def test_groups(self) -> None:
        count = Count([])
        assert read_jobs(io.BytesIO(recorded("qstat-wants.xml").encode()), count.take).jobs == 0
        assert sorted((row[:6] for row in count.groups({})), key=repr) == [
            ["", 1, {"h_vmem": "50M", "kind": "f*&!slow"}, (), 1, 0],
            ["", 1, {"h_vmem": "50M", "lic": "2"}, (), 1, 0],
            ["", 1, {"h_vmem": "50M"}, ("long.q",), 1, 0],
            ["", 1, {"h_vmem": "50M"}, (), 8, 1],
            ["smp", 2, {"h_vmem": "50M"}, (), 1, 0],
        ]


class TestOddJobs:
    """Of a real Grid Engine: names, accounts, contexts and requests with every kind of byte that it takes."""

    def test_recorded_ones_are_read(self) -> None:
        raw = (RECORDED / "qstat-odd.xml").read_bytes()
        found: list[Job] = []
        assert read_jobs(io.BytesIO(raw), found.append).jobs == 0
        assert len(found) == raw.count(b"<job_list") == 38
        assert {job.requests["tag"] for job in found if "tag" in job.requests} >= {"a&b", "x]]>y", "q'u\"ote", "a\x7fb"}

    def test_limits_of_recorded_ones_are_read(self) -> None:
        limits = LimitReader()
        read_limits(io.BytesIO((RECORDED / "qstat-odd-arrays.xml").read_bytes()), limits)
        assert len(limits.limits) == 4

    @pytest.mark.parametrize(
        "odd",
        [
            "<JB_name>a & b</JB_name>",
            "<JB_name>a < b</JB_name>",
            "<JB_name>]]></JB_name>",
            "<JB_name>&#1;</JB_name>",
            "<JB_name>&unknown;</JB_name>",
            "<JB_name><job_list></JB_name>",
            "<JB_name></job_list></JB_name>",
            "<JB_name></JB_owner>",
            "<!DOCTYPE a>",
            "<state></state>",
            "<slots>-1</slots>",
            "<JB_job_number>x</JB_job_number>",
            "<tasks>1-</tasks>",
        ],
    )
    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_one_costs_itself_alone(self, odd: str, place: int) -> None:
        jobs = [f"<JB_job_number>{number}</JB_job_number><state>qw</state><slots>1</slots>" for number in (11, 12)]
        jobs.insert(place, f"<JB_job_number>666</JB_job_number><state>qw</state><slots>1</slots>{odd}")
        count = Count([])
        unreadable = read_jobs(io.BytesIO(job_list(*jobs).encode()), count.take)
        assert unreadable.jobs >= 1
        assert unreadable.example.startswith("job 666: ") or "JB_job_number" in odd
        assert sum(row[4] for row in count.groups({})) == 2  # type: ignore[misc]

    def test_if_none_can_be_read_that_is_no_empty_queue(self) -> None:
        with pytest.raises(AnswerError, match="no job that can be read"):
            jobs_in(job_list("<JB_job_number>1</JB_job_number><state>qw</state>"))

    def test_half_a_list_is_none(self) -> None:
        raw = (RECORDED / "qstat-odd.xml").read_bytes()
        for length in range(0, len(raw) - 20, 501):
            with pytest.raises(AnswerError):
                jobs_in(raw[:length])

    def test_what_never_ends_is_no_list(self) -> None:
        with pytest.raises(AnswerError):
            jobs_in(job_list()[:60] + "<a>" * 3_000_000)


class TestJobs:
    @pytest.mark.parametrize(
        ("asked", "slots"), [("", 7), ("4", 4), ("2,3", 2), ("2-8", 2), ("-8", 1), ("8-", 8), ("2-8:2,16", 2), ("x", 7)]
    )
    def test_as_few_slots_as_are_enough(self, asked: str, slots: int) -> None:
        assert Job("1", "qw", "7", asked_slots=asked).least_slots == slots

    def test_running_jobs_of_the_same_kind(self) -> None:
        count = Count([])
        for job in (
            Job("1", "qw", "1"),
            Job("2", "r", "1"),
            Job("3", "t", "1", tasks="1-5"),
            Job("4", "r", "1", requests={"a": "1"}),
        ):
            count.take(job)
        assert count.groups({}) == [["", 1, {}, (), 1, 6, ""]]

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

    @pytest.mark.parametrize(("name", "bound"), [("node1", True), ("node*", False), ("a|b", True), ("!node1", False)])
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
        assert sum(each.jobs for each in parse_jobs(self.ask(directory).stdout).groups) == 19

    @pytest.mark.parametrize("kind", ["future", "jobs", "arrays"])
    def test_every_answer_has_to_be_complete(self, directory: Path, kind: str) -> None:
        (directory / kind).write_text((directory / kind).read_text()[:300])
        result = self.ask(directory)
        assert (result.returncode, result.stdout) == (1, "")
        assert "no XML" in result.stderr

    def test_an_array_whose_limit_cannot_be_read_costs_itself(self, directory: Path) -> None:
        text = recorded("qstat-arrays.xml")
        (directory / "arrays").write_text(text.replace("<JB_owner>alice", "<JB_owner>a&b"))
        answer = parse_jobs(self.ask(directory).stdout)
        # The fake answers for all arrays, whichever is asked for.
        assert answer.unreadable == 2
        assert answer.example.startswith("job 3459: ")
        assert sum(each.jobs for each in answer.groups) == 7

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
