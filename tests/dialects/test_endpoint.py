"""The endpoint that speaks the dialects is under control itself."""

from __future__ import annotations

import json
import urllib.request

import pytest

from tests.dialects.conftest import MakeEndpoint
from tests.dialects.rig import (
    LONG,
    POOL,
    cloud,
    wait_for,
)
from tests.testbed.proxy import Ec2Endpoint

pytestmark = pytest.mark.xdist_group("dialects")


def test_the_endpoint_is_controlled_over_http(aws: Ec2Endpoint) -> None:
    order = json.dumps({"inject": {"operation": "DescribeInstances", "empty": True}, "set": {"quota": 1}}).encode()
    with urllib.request.urlopen(f"{aws.url}/_control", order, timeout=LONG) as answer:
        assert json.load(answer)["alive"] == 0
    ec2 = cloud(aws)
    assert len(ec2.launch(POOL, 2, "token-1")) == 1
    assert ec2.list_instances(everything=False) == ()
    with urllib.request.urlopen(f"{aws.url}/_control", timeout=LONG) as answer:
        report = json.load(answer)
    assert report["max_alive"] == 1
    assert [request["operation"] for request in report["requests"]] == ["RunInstances", "DescribeInstances"]


def test_the_endpoint_hands_out_addresses_again_and_calls_back_in_order(make_endpoint: MakeEndpoint) -> None:
    calls: list[tuple[str, str]] = []
    endpoint = make_endpoint(
        addresses=["10.77.1.1", "10.77.1.2"],
        on_running=lambda vm: calls.append(("running", vm.address)),
        on_terminated=lambda vm: calls.append(("terminated", vm.address)),
    )
    ec2 = cloud(endpoint)
    made = ec2.launch(POOL, 5, "token-1")
    assert [i.address for i in made] == ["10.77.1.1", "10.77.1.2"]
    wait_for(lambda: len(calls) == 2)
    ec2.terminate([made[0].id])
    assert ec2.launch(POOL, 1, "token-2")[0].address == "10.77.1.1"
    wait_for(lambda: len(calls) == 4)
    assert set(calls[:2]) == {("running", "10.77.1.1"), ("running", "10.77.1.2")}
    assert ("terminated", "10.77.1.1") in calls[2:]
