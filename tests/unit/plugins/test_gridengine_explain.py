"""What single jobs of Grid Engine are, from answers of a real one (Son of Grid Engine 8.1.9, Debian 12)."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastiq.errors import BatchError
from elastiq.model import Standing
from elastiq.plugins.gridengine_explain import JOB, Found, parse_job, parse_listed

RECORDED = Path(__file__).parent / "recorded" / "gridengine"
HELD = (RECORDED / "qstat-held.xml").read_text()
NOW = 1_795_871_400.0
"""A while after the jobs were submitted."""


def job(name: str) -> Found:
    found = parse_job((RECORDED / f"qstat-job-{name}.xml").read_text())
    assert found is not None
    return found


def held(found: Found) -> int:
    return sum(map(len, parse_listed(HELD, found.job.number)))


@pytest.mark.parametrize(
    ("name", "standing"),
    [
        ("plain", Standing.WAITS),
        ("parallel", Standing.WAITS),
        ("held", Standing.HELD),
        ("operator-held", Standing.HELD),
        ("dependent", Standing.DEPENDS),
        ("later", Standing.NOT_DUE),
        ("array", Standing.LIMITED),
        ("error", Standing.HELD),
        ("running", Standing.RUNS),
    ],
)
def test_what_a_job_is(name: str, standing: Standing) -> None:
    found = job(name)
    assert found.standing(NOW, held(found)) is standing


def test_what_a_job_asks_for_is_what_the_list_of_jobs_says() -> None:
    plain, parallel, held = job("plain").group, job("parallel").group, job("operator-held").group
    assert (plain.parallel_environment, plain.slots, plain.requests) == ("", 1, {"h_vmem": "1G"})
    assert (parallel.parallel_environment, parallel.slots, parallel.jobs) == ("smp", 2, 1)
    assert (held.requests, held.queues) == ({"h_vmem": "1G"}, ("all.q",)), "what it would only like is left out"


def test_what_is_said_of_a_job() -> None:
    assert "can't open output file" in job("error").text
    assert "cannot run in PE" in job("parallel").text
    assert job("held").text == "Job is in hold state"


def test_a_job_is_due_when_its_time_has_come() -> None:
    later = job("later")
    assert later.start_at == 1_893_456_000
    assert later.standing(1_893_456_001.0, 0) is Standing.WAITS


def test_a_job_on_a_machine_of_its_own_choice() -> None:
    found = job("plain")
    found.job.requests["hostname"] = "node7"
    assert found.standing(NOW, 0) is Standing.BOUND


def test_an_array_of_which_a_part_is_held_still_waits() -> None:
    array = job("array")
    assert (array.tasks, array.active, array.at_once) == (10, 1, 1)
    assert Found(**{**vars(array), "at_once": 0}).standing(NOW, 3) is Standing.WAITS
    assert Found(**{**vars(array), "at_once": 0}).standing(NOW, 9) is Standing.HELD


@pytest.mark.parametrize(
    ("task", "waiting", "held", "standing"),
    [
        (1, [], [], Standing.RUNS),
        (2, [range(2, 11)], [], Standing.LIMITED),
        (3, [range(2, 11)], [range(3, 5)], Standing.HELD),
        (2, [range(4, 11)], [], Standing.ENDED),
        (11, [range(2, 11)], [], Standing.UNKNOWN),
        (0, [range(2, 11)], [], Standing.UNKNOWN),
    ],
)
def test_a_task_is_told_of_by_itself(task: int, waiting: list[range], held: list[range], standing: Standing) -> None:
    array = job("array")
    assert array.numbers == (range(1, 11),)
    assert array.standing_of(task, NOW, waiting, held) is standing


def test_a_task_in_error_is_told_so() -> None:
    broken = job("error")
    assert set(broken.known.values()) == {Standing.HELD}
    (task,) = broken.known
    assert broken.standing_of(task, NOW, [], []) is Standing.HELD


def test_which_tasks_are_listed() -> None:
    text = HELD.replace("<slots>", "<tasks>2-6:2,9</tasks><slots>", 1)
    number = text.partition("<JB_job_number>")[2].partition("<")[0]
    assert parse_listed(text, number) == [range(2, 7, 2), range(9, 10)]
    assert parse_listed(HELD, "987") == []


def test_a_job_that_is_not_there() -> None:
    assert parse_job((RECORDED / "qstat-no-such-job.xml").read_text()) is None


@pytest.mark.parametrize("answer", ["", "no XML", "<job_info/>", "<detailed_job_info/>"])
def test_what_is_no_job(answer: str) -> None:
    with pytest.raises(BatchError, match="qstat answered"):
        parse_job(answer)


@pytest.mark.parametrize("answer", ["", "<unknown_jobs/>", HELD.replace("<slots>", "<tasks>x</tasks><slots>")])
def test_what_is_no_list_of_held_jobs(answer: str) -> None:
    with pytest.raises(BatchError, match="qstat answered"):
        parse_listed(answer, "4")


@pytest.mark.parametrize(
    ("text", "is_one"), [("7", True), ("7.3", True), ("7.0", False), ("0", False), ("7;ls", False), ("-j", False)]
)
def test_names_of_jobs(text: str, is_one: bool) -> None:
    assert bool(JOB.fullmatch(text)) is is_one
