"""Dataclasses as JSON and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from elastiq.memory import Intent, VmRecord
from elastiq.model import InstanceState
from elastiq.state.records import from_dict, to_json

RECORD = VmRecord("i-1", launched_at=5.0, state=InstanceState.RUNNING, address="10.0.0.1", joined_at=7)
INTENT = Intent("t", "default", 2, 5.0, unseen_since=6.0)


def test_what_is_written_is_read() -> None:
    values = json.loads(to_json(RECORD))
    assert values["state"] == "running"
    assert from_dict(VmRecord, values, state=InstanceState) == RECORD


def test_a_launch_that_is_written_is_read() -> None:
    values = json.loads(to_json(INTENT))
    assert from_dict(Intent, values, found=tuple, lookalikes=tuple) == INTENT


def test_fields_of_other_versions_are_left_out() -> None:
    assert from_dict(Intent, {"token": "t", "pool": "p", "count": 1, "requested_at": 5.0, "of_tomorrow": 1}).pool == "p"


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"id": None},
        {"id": 5},
        {"id": "i-1", "closed": 1},
        {"id": "i-1", "launched_at": "5"},
        {"id": "i-1", "launched_at": None},
        {"id": "i-1", "launched_at": True},
        {"id": "i-1", "joined_at": float("nan")},
        {"id": "i-1", "joined_at": float("inf")},
        {"id": "i-1", "terminate_tries": 10**15},
        {"id": "i-1", "terminate_tries": 1.5},
        {"id": "i-1", "state": "asleep"},
    ],
)
def test_a_value_that_cannot_be_is_an_error(values: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        from_dict(VmRecord, values, state=InstanceState)
