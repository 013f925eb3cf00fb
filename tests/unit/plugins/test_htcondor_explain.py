"""What single jobs of HTCondor are, by their ads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from elastiq.errors import BatchError
from elastiq.model import Standing
from elastiq.plugins.htcondor_explain import JOB, constraint, nearer, parse_job

RECORDED = Path(__file__).parent / "recorded" / "htcondor"
AD = {"ClusterId": 7, "ProcId": 3, "JobStatus": 1, "JobUniverse": 5}


@pytest.mark.parametrize(
    ("changes", "standing", "text"),
    [
        ({}, Standing.WAITS, ""),
        ({"LastRejMatchReason": "no match found "}, Standing.WAITS, "no match found "),
        ({"JobStatus": 5, "HoldReason": "disk full"}, Standing.HELD, "disk full"),
        ({"JobStatus": 2, "RemoteHost": "slot1@w1"}, Standing.RUNS, "on slot1@w1"),
        ({"JobStatus": 6}, Standing.RUNS, ""),
        ({"JobStatus": 7}, Standing.RUNS, ""),
        ({"JobStatus": 3}, Standing.ENDED, "removed"),
        ({"JobStatus": 4}, Standing.ENDED, "completed"),
        ({"JobUniverse": 12}, Standing.NOT_ON_WORKERS, "local universe"),
        ({"JobUniverse": 7}, Standing.NOT_ON_WORKERS, "scheduler universe"),
        ({"JobUniverse": 9}, Standing.NOT_ON_WORKERS, "grid universe"),
        ({"JobUniverse": [7]}, Standing.WAITS, ""),
        ({"Managed": "External"}, Standing.NOT_ON_WORKERS, "another manager has it (Managed is External)"),
        ({"JobStatus": "?"}, Standing.BLOCKED, ""),
    ],
)
def test_what_a_job_is(changes: dict[str, Any], standing: Standing, text: str) -> None:
    found = parse_job(json.dumps([{**AD, **changes}]))
    assert found is not None
    assert (found.standing, found.text) == (standing, text)


@pytest.mark.parametrize(
    ("changes", "standing"),
    [
        ({}, Standing.BLOCKED),
        ({"DeferralTime": 1_900_000_000}, Standing.NOT_DUE),
        ({"ConcurrencyLimits": "lic:2"}, Standing.LIMITED),
    ],
)
def test_what_one_is_that_waits_and_is_no_demand(changes: dict[str, Any], standing: Standing) -> None:
    found = parse_job(json.dumps([{**AD, **changes}]))
    assert found is not None
    assert found.standing_if_left_out is standing


def test_a_recorded_one() -> None:
    found = parse_job((RECORDED / "job-local.json").read_text())
    assert found is not None
    assert found.standing is Standing.NOT_ON_WORKERS


@pytest.mark.parametrize("text", ["", "\n", "[\n]\n"])
def test_no_job(text: str) -> None:
    assert parse_job(text) is None


@pytest.mark.parametrize("text", ["no JSON", "{}", "[7]", "[{}]", '[{"ClusterId": 7}]'])
def test_what_is_no_job(text: str) -> None:
    with pytest.raises(BatchError, match="condor_q answered"):
        parse_job(text)


def test_of_a_cluster_the_processes_that_wait_come_first() -> None:
    assert (constraint("7", "3"), constraint("7", None)) == ("ClusterId == 7 && ProcId == 3", "ClusterId == 7")
    found = {status: parse_job(json.dumps([{**AD, "JobStatus": status}])) for status in (1, 2, 5)}
    asked = {status: [text[-1] for text in nearer(one, "7", None)] for status, one in found.items() if one}
    assert asked == {1: [], 2: ["1"], 5: ["1", "2"]}
    alone = parse_job(json.dumps([{**AD, "JobStatus": 5, "TotalSubmitProcs": 1}]))
    assert alone is not None
    assert alone.constraint == "ClusterId == 7 && ProcId == 3"
    assert nearer(alone, "7", None) == nearer(alone, "7", "3") == ()


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("7", (None, "7", None)),
        ("7.0", (None, "7", "0")),
        ("a@b#7.3", ("a@b", "7", "3")),
        ("a.example#7.3#1700000000", ("a.example", "7", "3")),
    ],
)
def test_names_of_jobs(text: str, groups: tuple[str | None, ...]) -> None:
    match = JOB.fullmatch(text)
    assert match is not None
    assert match.groups() == groups


@pytest.mark.parametrize("text", ["", "x", "0", "7.", "7 || true", '"#7', "-7", "7.3.1"])
def test_what_is_no_name_of_a_job(text: str) -> None:
    assert JOB.fullmatch(text) is None
