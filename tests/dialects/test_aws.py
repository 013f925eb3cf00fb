"""Ec2 against AWS, and against clouds that refuse a part of what AWS takes."""

from __future__ import annotations

import math

import pytest

from elastiq.errors import CloudError, CloudFault
from elastiq.model import InstanceState, Pool
from tests.dialects.conftest import MakeEndpoint
from tests.dialects.rig import (
    POOL,
    REFUSED,
    asked,
    cloud,
)
from tests.testbed.proxy import Ec2Endpoint

pytestmark = pytest.mark.xdist_group("dialects")


def test_aws_everything_goes_with_the_launch(aws: Ec2Endpoint) -> None:
    ec2 = cloud(
        aws,
        key_name="007",
        security_groups=("sg-12345678",),
        subnet_id="subnet-1",
        instance_profile="arn:aws:iam::1:instance-profile/x",
    )
    ec2.launch(Pool("big", instance_type="m5.large"), 2, "token-1")
    (request,) = aws.requests
    parameters = request.parameters
    assert parameters["MetadataOptions.HttpTokens"] == "required"
    assert parameters["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert parameters["TagSpecification.1.ResourceType"] == "instance"
    assert parameters["KeyName"] == "007"
    assert parameters["SecurityGroupId.1"] == "sg-12345678"
    assert parameters["SubnetId"] == "subnet-1"
    assert parameters["IamInstanceProfile.Arn"] == "arn:aws:iam::1:instance-profile/x"
    assert ec2.refused_features == frozenset()


def test_aws_what_is_not_set_is_not_sent(aws: Ec2Endpoint) -> None:
    cloud(aws, require_imdsv2=False, flavour="", user_data=b"").launch(Pool(), 1, "token-1")
    sent = {name.split(".")[0] for name in aws.requests[0].parameters}
    needed = {"Action", "Version", "ImageId", "MinCount", "MaxCount", "ClientToken"}
    assert sent == needed | {"TagSpecification", "InstanceInitiatedShutdownBehavior"}


def test_aws_a_repeated_token_launches_nothing_new(aws: Ec2Endpoint) -> None:
    ec2 = cloud(aws)
    first = ec2.launch(POOL, 3, "token-1")
    assert {i.id for i in ec2.launch(POOL, 3, "token-1")} == {i.id for i in first}
    assert aws.max_alive == 3


def test_aws_a_token_used_otherwise_is_uncertain(aws: Ec2Endpoint) -> None:
    ec2 = cloud(aws)
    ec2.launch(POOL, 3, "token-1")
    with pytest.raises(CloudError, match="IdempotentParameterMismatch") as failed:
        ec2.launch(POOL, 2, "token-1")
    assert failed.value.uncertain
    assert aws.max_alive == 3


def test_aws_a_fresh_vm_missing_from_the_listing_is_in_the_answer(make_endpoint: MakeEndpoint) -> None:
    endpoint = make_endpoint(visible_after_seconds=math.inf)
    ec2 = cloud(endpoint)
    (made,) = ec2.launch(POOL, 1, "token-1")
    assert ec2.list_instances(everything=False) == ()
    endpoint.visible_after_seconds = 0
    assert [i.id for i in ec2.list_instances(everything=False)] == [made.id]


def test_aws_terminated_vms_stay_listed(aws: Ec2Endpoint) -> None:
    ec2 = cloud(aws)
    (made,) = ec2.launch(POOL, 1, "token-1")
    ec2.terminate([made.id])
    (listed,) = ec2.list_instances(everything=False)
    assert listed.state is InstanceState.TERMINATED
    assert not listed.state.alive
    assert listed.detail == "shut down"


def test_aws_pending_then_running(make_endpoint: MakeEndpoint) -> None:
    endpoint = make_endpoint(launch_delay_seconds=math.inf)
    ec2 = cloud(endpoint)
    assert ec2.launch(POOL, 1, "token-1")[0].state is InstanceState.PENDING
    (vm,) = endpoint.alive()
    vm.running_at = 0
    assert ec2.list_instances(everything=False)[0].state is InstanceState.RUNNING


@pytest.mark.parametrize(
    ("status", "code", "fault"),
    [
        (500, "InsufficientInstanceCapacity", CloudFault.CAPACITY),
        (400, "MaxSpotInstanceCountExceeded", CloudFault.CAPACITY),
        (400, "SpotMaxPriceTooLow", CloudFault.CAPACITY),
        (400, "InstanceLimitExceeded", CloudFault.CAPACITY),
        (400, "VcpuLimitExceeded", CloudFault.CAPACITY),
        (400, "Unsupported", CloudFault.CAPACITY),
        (403, "UnauthorizedOperation", CloudFault.CREDENTIALS),
        (400, "InvalidKeyPair.NotFound", CloudFault.CONFIGURATION),
        (500, "InternalError", CloudFault.UNREACHABLE),
    ],
)
def test_aws_a_refused_launch_is_sent_once(aws: Ec2Endpoint, status: int, code: str, fault: CloudFault) -> None:
    aws.inject("RunInstances", status=status, code=code, message="no")
    ec2 = cloud(aws)
    with pytest.raises(CloudError, match=code) as failed:
        ec2.launch(POOL, 2, "token-1")
    assert failed.value.fault is fault
    assert asked(aws) == ["RunInstances"]
    assert ec2.refused_features == frozenset()


@pytest.mark.parametrize(("status", "code"), [(503, "RequestLimitExceeded"), (400, "Throttling"), (503, "SlowDown")])
def test_a_throttled_launch_launches_a_moment_later(either: Ec2Endpoint, status: int, code: str) -> None:
    either.inject("RunInstances", status=status, code=code, times=3)
    ec2 = cloud(either, frozenset(REFUSED))
    assert len(ec2.launch(POOL, 2, "token-1")) == 2
    assert asked(either, "RunInstances") == ["RunInstances"] * 4
    assert not asked(either, "DescribeInstances"), "it was refused, so nothing was made"
    assert either.max_alive == 2


@pytest.mark.parametrize("what", [{"code": "Unavailable"}, {"body": "<html>503 Service Unavailable</html>"}])
@pytest.mark.parametrize("launched", [False, True])
def test_a_busy_cloud_is_asked_again_but_not_before_a_look_where_that_could_launch_twice(
    either: Ec2Endpoint, monkeypatch: pytest.MonkeyPatch, what: dict[str, str], launched: bool
) -> None:
    is_aws = either.dialect == "aws"
    monkeypatch.setattr("elastiq.config.sections.Ec2Options.is_aws", is_aws)
    either.inject("RunInstances", status=503, after_effect=launched, **what)
    ec2 = cloud(either, frozenset(REFUSED))
    if launched and not is_aws:
        with pytest.raises(CloudError, match="failed and launched VMs nevertheless") as failed:
            ec2.launch(POOL, 2, "token-1")
        assert failed.value.uncertain
    else:
        assert len(ec2.launch(POOL, 2, "token-1")) == 2
    assert either.max_alive == 2
    assert asked(either)[:2] == ["RunInstances", "RunInstances" if is_aws else "DescribeInstances"]


def test_a_launch_that_stays_throttled_is_refused_and_not_in_doubt(either: Ec2Endpoint) -> None:
    either.inject("RunInstances", status=503, code="RequestLimitExceeded", times=99)
    with pytest.raises(CloudError) as failed:
        cloud(either, frozenset(REFUSED)).launch(POOL, 2, "token-1")
    assert failed.value.fault is CloudFault.THROTTLED
    assert 10 < len(asked(either)) < 60


def test_aws_capacity_comes_from_the_instance_type_and_is_asked_once(aws: Ec2Endpoint) -> None:
    ec2 = cloud(aws)
    shape = ec2.capacity(Pool(instance_type="g4dn.12xlarge"))
    assert (shape.cpus, shape.memory_mb, shape.disk_mb, shape.gpus) == (48, 196608, 900000, 4)
    assert ec2.capacity(Pool(instance_type="g4dn.12xlarge")) == shape
    assert ec2.capacity(Pool(instance_type="m5.large")).disk_mb is None
    assert len(aws.requests) == 2
    with pytest.raises(CloudError):
        ec2.capacity(Pool(instance_type="no.such"))


def test_aws_the_console_is_shown_without_control_characters(aws: Ec2Endpoint) -> None:
    aws.console = lambda _vm: "first\n" * 30 + "\x1b[1;31mred\x1b[0m \x07bell\r\nlast \xff\n\n"
    (vm,) = aws.make_vms(1)
    lines = cloud(aws).console_tail(vm.id).splitlines()
    assert lines[-2:] == ["red  bell", "last ÿ"]
    assert len(lines) == 20


def test_the_console_shows_no_user_data(aws: Ec2Endpoint) -> None:
    """cloud-init prints the commands that it runs; status and decisions have the end of the console, too."""
    (vm,) = aws.make_vms(1)
    command = f"join-pool --token=t0ps3cret {'x ' * 200}--now"
    aws.console = lambda _vm: f"booted\n+ {command}\nno route to host\n"
    tail = cloud(aws, user_data=f"#!/bin/sh\n{command}\n".encode()).console_tail(vm.id)
    assert tail.splitlines() == ["booted", "+ (hidden)", "no route to host"]


def test_a_vm_without_console_has_none(aws: Ec2Endpoint) -> None:
    aws.console = lambda _vm: None
    (vm,) = aws.make_vms(1)
    assert cloud(aws).console_tail(vm.id) == ""


@pytest.mark.parametrize(
    ("parameter", "feature", "code", "message"),
    [
        ("MetadataOptions.", "MetadataOptions", "UnknownParameter", "The parameter MetadataOptions is not recognized"),
        ("TagSpecification.", "TagSpecifications", "InvalidParameter", "tag_specifications is no parameter"),
    ],
)
def test_a_parameter_refused_by_name_is_left_out_alone(
    aws: Ec2Endpoint, parameter: str, feature: str, code: str, message: str
) -> None:
    aws.refused_parameters = {parameter: (400, code, message)}
    ec2 = cloud(aws)
    assert len(ec2.launch(POOL, 2, "token-1")) == 2
    assert ec2.refused_features == {feature}
    assert all(vm.tags["elastiq:cluster"] == "physics" for vm in aws.alive())
    refused = len(aws.requests)
    ec2.launch(POOL, 2, "token-2")
    assert "RunInstances" in asked(aws)[refused:]
    assert all(request.status == 200 for request in aws.requests[refused:])


@pytest.mark.parametrize("message", ["Invalid parameter", "MaxResults is not supported"])
def test_a_cloud_without_paging_or_filters_is_served(aws: Ec2Endpoint, message: str) -> None:
    aws.make_vms(2, cluster="physics")
    aws.refused_parameters = {"MaxResults": (400, "InvalidParameterValue", message)}
    ec2 = cloud(aws)
    assert len(ec2.list_instances(everything=False)) == 2
    assert ec2.refused_features == {"MaxResults"}
    aws.refused_parameters["Filter."] = (400, "InvalidParameterValue", "The filter is invalid")
    aws.make_vms(1)
    assert len(ec2.list_instances(everything=False)) == 3
    assert ec2.refused_features == {"MaxResults", "Filter:tag"}
    before = len(aws.requests)
    ec2.list_instances(everything=False)
    assert len(aws.requests) == before + 1


@pytest.mark.parametrize("required", [True, False])
def test_the_hop_limit_of_the_metadata_is_asked_for_if_it_is_given(aws: Ec2Endpoint, required: bool) -> None:
    cloud(aws, require_imdsv2=required, imdsv2_hop_limit=2).launch(POOL, 1, "token-1")
    cloud(aws, require_imdsv2=required).launch(POOL, 1, "token-2")
    with_limit, without = (request.parameters for request in aws.operations("RunInstances"))
    assert with_limit["MetadataOptions.HttpPutResponseHopLimit"] == "2"
    assert ("MetadataOptions.HttpTokens" in with_limit) is required
    assert "MetadataOptions.HttpPutResponseHopLimit" not in without


def test_a_passing_500_teaches_nothing_until_it_happens_in_the_next_launch(aws: Ec2Endpoint) -> None:
    ec2 = cloud(aws)
    aws.inject("RunInstances", status=500, code="UnknownError")
    assert len(ec2.launch(POOL, 1, "token-1")) == 1
    assert ec2.refused_features == frozenset()
    assert len(ec2.launch(POOL, 1, "token-2")) == 1
    assert "MetadataOptions.HttpTokens" in aws.operations("RunInstances")[-1].parameters
    aws.inject("RunInstances", status=500, code="UnknownError")
    ec2.launch(POOL, 1, "token-3")
    assert ec2.refused_features == frozenset(), "it took all of them in between"
    aws.inject("RunInstances", status=500, code="UnknownError")
    ec2.launch(POOL, 1, "token-4")
    assert ec2.refused_features == {"InstanceInitiatedShutdownBehavior"}


def test_a_lasting_500_teaches_nothing(aws: Ec2Endpoint) -> None:
    ec2 = cloud(aws)
    for number in range(3):
        aws.inject("RunInstances", status=500, code="UnknownError", times=99)
        with pytest.raises(CloudError) as failed:
            ec2.launch(POOL, 1, f"token-{number}")
        assert failed.value.uncertain
        aws.clear_faults()
    assert len(aws.operations("RunInstances")) <= 3 * 5
    assert ec2.refused_features == frozenset()
