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


@pytest.mark.parametrize("pair", ["[]", '{"x":}'])
@pytest.mark.parametrize("attribute", ["Cpus", "Name", "Machine", "Whatever"])
def test_lists_in_lists_in_an_ad_harm_no_other(attribute: str, pair: str) -> None:
    """They are deeper than JSON is read; the ad is read without that attribute."""
    deep = pair[:-1] * 100_000 + "7" + pair[-1] * 100_000
    text = json.dumps([slot(**{attribute: "deep"}), HONEST]).replace('"deep"', deep)
    workers = {one.worker.name: one.worker for one in parse_machines(text)}
    assert workers["honest"].jobs == 1
    assert len(workers) == (1 if attribute == "Machine" else 2), "what names no machine is nobody's"


@pytest.mark.parametrize("end", ["", "]", "]]]]", '"', "\\"])
def test_an_answer_that_ends_within_such_lists_is_no_answer(end: str) -> None:
    text = json.dumps([HONEST])[:-1] + ',{"Cpus": ' + "[" * 100_000 + end
    with pytest.raises(BatchError) as refused:
        parse_machines(text)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 500
