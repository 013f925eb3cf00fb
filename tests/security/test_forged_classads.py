"""One ad of any values harms no other ad of the same answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from elastiq.errors import BatchError
from elastiq.plugins.htcondor_parse import parse_machines
from elastiq.plugins.kit import is_name
from tests.unit.plugins.condor import slot

pytestmark = pytest.mark.xdist_group("security")

HONEST = slot(
    Machine="honest", Name="slot1@honest", MyAddress="<10.77.0.99:9618>", State="Claimed", EC2InstanceId="i-9"
)
ATTRIBUTES = [*slot(), "EC2InstanceId", "PartitionableSlot", "NumDynamicSlots", "ec2privateip"]
VALUES = {
    "1 MB": "x" * 1_000_000,
    "controls": "\x1b]0;owned\x07\x1b[2J\n2026-01-01 ERROR forged",
    "half a character": "\ud800",
    "an option": "--all",
    "2^63": 2**63,
    "10^400": 10**400,
    "less than nothing": -(10**18),
    "NaN": float("nan"),
    "infinity": float("inf"),
    "a list": ["x", {"y": None}],
    "an expression": "/Expr(error)/",
    "truth": True,
}


@pytest.mark.parametrize("attribute", ATTRIBUTES)
@pytest.mark.parametrize("value", VALUES.values(), ids=list(VALUES))
def test_an_ad_of_any_values_harms_no_other(value: Any, attribute: str) -> None:
    machines = parse_machines(json.dumps([slot(**{attribute: value}), HONEST]))
    (honest,) = [one.worker for one in machines if one.worker.name == "honest"]
    assert (honest.instance_id, honest.jobs, honest.closed) == ("i-9", 1, False)
    for one in machines:
        assert is_name(one.worker.name) and str(one.worker.address).isprintable()
        assert one.worker.idle_seconds is None or one.worker.idle_seconds >= 0


def test_open_lists_in_lists_make_the_whole_answer_unknown() -> None:
    """docs/security.md says how an administrator sees it, and ends it."""
    text = json.dumps([slot(Cpus=7), HONEST]).replace('"Cpus": 7', f'"Cpus": {"[" * 3000}{"]" * 3000}')
    with pytest.raises(BatchError) as refused:
        parse_machines(text)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 500
