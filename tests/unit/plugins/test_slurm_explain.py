"""What single jobs of Slurm are, by states and reasons."""

from __future__ import annotations

import pytest

from elastiq.errors import BatchError
from elastiq.model import Standing
from elastiq.plugins.slurm_explain import FIELDS, JOB, explain_format, parse_job
from elastiq.plugins.slurm_queue import FIELD_END, RECORD_END

NOW = 1_700_000_000.0
HEADER = FIELD_END.join(FIELDS) + RECORD_END


def answer(*records: tuple[str, str, str], eligible: str = "1699999000") -> str:
    rows = [FIELD_END.join((f"\n{id_}", state, eligible, reason, "batch", "n1")) for id_, state, reason in records]
    return HEADER + "".join(row + RECORD_END for row in rows) + "\n"


@pytest.mark.parametrize(
    ("state", "reason", "standing"),
    [
        ("PD", "None", Standing.WAITS),
        ("PD", "Resources", Standing.WAITS),
        ("PD", "Priority", Standing.WAITS),
        ("PD", "ReqNodeNotAvail, UnavailableNodes:n1", Standing.WAITS),
        ("PD", "ReqNodeNotAvail, Reserved for maintenance", Standing.BLOCKED),
        ("PD", "Nodes required for job are DOWN, DRAINED or reserved", Standing.WAITS),
        ("PD", "PartitionConfig", Standing.WAITS),
        ("PD", "PartitionNodeLimit", Standing.WAITS),
        ("PD", "PartitionDown", Standing.LIMITED),
        ("PD", "PartitionTimeLimit", Standing.LIMITED),
        ("PD", "JobHeldUser", Standing.HELD),
        ("PD", "JobHeldAdmin", Standing.HELD),
        ("PD", "launch failed requeued held", Standing.HELD),
        ("PD", "Dependency", Standing.DEPENDS),
        ("PD", "DependencyNeverSatisfied", Standing.DEPENDS),
        ("PD", "BeginTime", Standing.NOT_DUE),
        ("PD", "Licenses", Standing.LIMITED),
        ("PD", "JobArrayTaskLimit", Standing.LIMITED),
        ("PD", "QOSMaxCpuPerUserLimit", Standing.LIMITED),
        ("PD", "AssocGrpCPUMinutesLimit", Standing.LIMITED),
        ("PD", "MaxJobsPerAccount", Standing.LIMITED),
        ("PD", "Reservation", Standing.BLOCKED),
        ("PD", "BadConstraints", Standing.BLOCKED),
        ("PD", "whatever a later Slurm says", Standing.BLOCKED),
        ("R", "None", Standing.RUNS),
        ("CG", "None", Standing.RUNS),
        ("RH", "None", Standing.HELD),
        ("SE", "None", Standing.HELD),
        ("CD", "None", Standing.ENDED),
        ("OOM", "OutOfMemory", Standing.ENDED),
    ],
)
def test_what_a_job_is(state: str, reason: str, standing: Standing) -> None:
    found = parse_job(answer(("7", state, reason)), NOW)
    assert found is not None
    assert found.standing is standing
    assert (reason if state == "PD" else state) in found.text


def test_a_job_that_may_not_start_yet_is_not_due_whatever_the_reason() -> None:
    found = parse_job(answer(("7", "PD", "None"), eligible="1700000500"), NOW)
    assert found is not None
    assert found.standing is Standing.NOT_DUE


def test_of_an_array_the_task_that_is_nearest_to_a_start_is_told() -> None:
    found = parse_job(answer(("7_1", "CD", "None"), ("7_2", "R", "None"), ("7_[3-9]", "PD", "Priority")), NOW)
    assert found is not None
    assert (found.id, found.standing) == ("7_[3-9]", Standing.WAITS)
    found = parse_job(answer(("7_1", "CD", "None"), ("7_2", "R", "None")), NOW)
    assert found is not None
    assert found.standing is Standing.RUNS


def test_nothing_is_listed() -> None:
    assert parse_job(answer(), NOW) is None


@pytest.mark.parametrize("text", ["", "slurm is away", HEADER, f"{HEADER}\n7{FIELD_END}PD{RECORD_END}\n"])
def test_what_is_no_list_of_jobs(text: str) -> None:
    with pytest.raises(BatchError, match="squeue answered"):
        parse_job(text, NOW)


def test_the_format_has_every_field_in_full_length() -> None:
    assert explain_format().count(":0") == len(FIELDS)


@pytest.mark.parametrize(
    ("text", "is_one"), [("7", True), ("7_3", True), ("7+1", True), ("7.3", False), ("7,8", False), ("-a", False)]
)
def test_names_of_jobs(text: str, is_one: bool) -> None:
    assert bool(JOB.fullmatch(text)) is is_one
