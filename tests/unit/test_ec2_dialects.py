"""Ec2 against AWS and against each line of what was measured of OpenStack, through real HTTP to moto behind a proxy."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from elastiq.config import Settings
from elastiq.ec2 import MAX_STUCK_REQUESTS, PAGE_SIZE, Ec2, Limits
from elastiq.errors import CloudError, CloudFault
from elastiq.model import InstanceState, Pool
from tests.testbed.moto_server import MotoServer
from tests.testbed.proxy import Ec2Endpoint, Vm

pytestmark = pytest.mark.xdist_group("dialects")

POOL = Pool(instance_type="m5.large")
USER_DATA = b"#!/bin/sh\nexport PASSWORD=hunter2-hunter2\nexec start-worker\n"
KEYS = {"testing-key": "testing-secret"}
LONG = 120.0
"""Seconds; a bound against hangs."""
PATIENT = Limits(connect_seconds=LONG, read_seconds=LONG, attempts=2, deadline_seconds=2 * LONG)
IMPATIENT = replace(PATIENT, read_seconds=1, launch_seconds_per_vm=0)
"""For an endpoint that says nothing; any other may take longer than that on a slow machine."""
UNKNOWN_ID = "i-0123456789abcdef0"

MakeEndpoint = Callable[..., Ec2Endpoint]


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoServer]:
    with MotoServer() as server:
        yield server


@pytest.fixture
def make_endpoint(moto: MotoServer) -> Iterator[MakeEndpoint]:
    endpoints: list[Ec2Endpoint] = []

    def make(**settings: object) -> Ec2Endpoint:
        endpoints.append(Ec2Endpoint(moto_url=moto.url, **settings))  # type: ignore[arg-type]
        return endpoints[-1]

    yield make
    for endpoint in endpoints:
        endpoint.stop()


@pytest.fixture
def aws(make_endpoint: MakeEndpoint) -> Ec2Endpoint:
    return make_endpoint(dialect="aws")


@pytest.fixture
def openstack(make_endpoint: MakeEndpoint) -> Ec2Endpoint:
    return make_endpoint(dialect="openstack", terminated_listed_seconds=0)


@pytest.fixture(params=["aws", "openstack"])
def either(request: pytest.FixtureRequest, make_endpoint: MakeEndpoint) -> Ec2Endpoint:
    return make_endpoint(dialect=request.param)


def cloud(endpoint: Ec2Endpoint, refused: frozenset[str] = frozenset(), **settings: object) -> Ec2:
    values: dict[str, object] = {
        "api_url": endpoint.url,
        "aws_access_key_id": "testing-key",
        "aws_secret_access_key": "testing-secret",
        "image_id": "ami-12345678",
        "flavour": "m5.large",
        "cluster_name": "physics",
        **settings,
    }
    user_data = values.pop("user_data", USER_DATA)
    limits = values.pop("limits", PATIENT)
    return Ec2(Settings(**values), refused, user_data=user_data, limits=limits)  # type: ignore[arg-type]


def asked(endpoint: Ec2Endpoint, *names: str) -> list[str]:
    return [request.operation for request in endpoint.operations(*names)]


def ids(vms: list[Vm]) -> list[str]:
    return [vm.id for vm in vms]


REFUSED = {"TagSpecifications", "MetadataOptions", "InstanceInitiatedShutdownBehavior"}


# What both dialects share


def test_hundred_vms_need_one_launch_and_one_termination(either: Ec2Endpoint) -> None:
    ec2 = cloud(either, frozenset(REFUSED) if either.dialect == "openstack" else frozenset())
    made = ec2.launch(POOL, 100, "token-1")
    assert len({instance.id for instance in made}) == 100
    assert len(asked(either)) <= 2
    launch = either.operations("RunInstances")[0].parameters
    assert (launch["MinCount"], launch["MaxCount"], launch["ClientToken"]) == ("1", "100", "token-1")
    before = len(either.requests)
    assert set(ec2.terminate([instance.id for instance in made])) == {instance.id for instance in made}
    assert len(either.requests) == before + 1
    assert not either.alive()


def test_new_vms_are_found_by_listing_with_address_token_and_tags(either: Ec2Endpoint) -> None:
    ec2 = cloud(either)
    (made,) = ec2.launch(POOL, 1, "token-1")
    (listed,) = ec2.list_instances(everything=False)
    assert made.id == listed.id
    assert made.address == listed.address == either.vms[made.id].address
    assert (listed.client_token, listed.cluster, listed.pool) == ("token-1", "physics", "default")
    assert listed.launched_at is not None and listed.type == "m5.large"
    assert either.vms[made.id].tags == {
        "elastiq:cluster": "physics",
        "elastiq:pool": "default",
        "elastiq:token": "token-1",
        "Name": "elastiq-default",
    }
    assert either.vms[made.id].user_data == USER_DATA


def test_other_peoples_vms_are_listed_only_when_everything_is_asked(either: Ec2Endpoint) -> None:
    ec2 = cloud(either, cluster_name="phys*")
    either.make_vms(2, cluster="physics")
    either.make_vms(1, cluster="phys*")
    either.make_vms(1)
    assert len(ec2.list_instances(everything=False)) == 1, "a * in the name is no wildcard"
    assert len(ec2.list_instances(everything=True)) == 4


def test_nothing_there_is_an_empty_listing(either: Ec2Endpoint) -> None:
    assert cloud(either).list_instances(everything=False) == ()


def test_all_pages_are_read_and_nothing_twice(make_endpoint: MakeEndpoint) -> None:
    endpoint = make_endpoint(page_size=40)
    endpoint.make_vms(100, cluster="physics")
    endpoint.inject("DescribeInstances", duplicate=True, times=3)
    assert len(cloud(endpoint).list_instances(everything=False)) == 100
    assert len(endpoint.requests) == 3


def test_a_listing_takes_one_request_for_each_full_page(aws: Ec2Endpoint) -> None:
    aws.make_vms(PAGE_SIZE + 1, cluster="physics")
    ec2 = cloud(aws)
    assert len(ec2.list_instances(everything=False)) == PAGE_SIZE + 1
    assert len(aws.requests) == 2
    aws.terminated_listed_seconds = 0
    aws.terminate_from_outside(next(iter(aws.vms)))
    assert len(ec2.list_instances(everything=False)) == PAGE_SIZE
    assert len(aws.requests) == 3


def test_a_failed_second_page_is_no_list(make_endpoint: MakeEndpoint) -> None:
    endpoint = make_endpoint(page_size=5)
    endpoint.make_vms(9, cluster="physics")
    endpoint.inject("DescribeInstances", after=1, times=9, status=503, code="Unavailable")
    with pytest.raises(CloudError) as failed:
        cloud(endpoint).list_instances(everything=False)
    assert failed.value.fault is CloudFault.UNREACHABLE


def test_pages_that_never_end_are_an_error(make_endpoint: MakeEndpoint) -> None:
    endpoint = make_endpoint(page_size=5)
    endpoint.make_vms(9)
    endpoint.inject("DescribeInstances", endless=True, times=1000)
    with pytest.raises(CloudError, match="do not end"):
        cloud(endpoint).list_instances(everything=True)
    assert len(endpoint.requests) < 10


BROKEN_ANSWERS = {
    "cut off but whole by its header": {"cut": 300},
    "cut off": {"truncate": 300},
    "nothing": {"body": ""},
    "a page of a proxy": {"body": "<html><body>Welcome</body></html>"},
    "plain text with keystone down": {"body": "Keystone is down", "status": 500},
    "plain text with 401": {"body": "unauthorized", "status": 401},
    "a reservation without instances": {
        "body": "<DescribeInstancesResponse><reservationSet><item><reservationId>r</reservationId></item>"
        "</reservationSet></DescribeInstancesResponse>"
    },
    "an instance without an id": {
        "body": "<DescribeInstancesResponse><reservationSet><item><instancesSet><item><imageId>a</imageId></item>"
        "</instancesSet></item></reservationSet></DescribeInstancesResponse>"
    },
    "another operation": {"body": "<CreateTagsResponse><return>true</return></CreateTagsResponse>"},
    "500 ConnectFailure": {"status": 500, "code": "ConnectFailure"},
    "no answer": {"lose_answer": True},
    "silence": {"hang_seconds": LONG},
}


@pytest.mark.parametrize("what", BROKEN_ANSWERS.values(), ids=BROKEN_ANSWERS)
def test_a_broken_listing_is_unknown_and_never_empty(aws: Ec2Endpoint, what: dict[str, object]) -> None:
    aws.make_vms(3, cluster="physics")
    aws.inject("DescribeInstances", times=9, **what)
    with pytest.raises(CloudError) as failed:
        cloud(aws, limits=IMPATIENT if "hang_seconds" in what else PATIENT).list_instances(everything=False)
    assert failed.value.fault is CloudFault.UNREACHABLE
    aws.clear_faults()


class AskedThread(threading.Thread):
    """The thread of a request. Its deadline begins when the endpoint has been asked."""

    endpoint: ClassVar[Ec2Endpoint]

    def start(self) -> None:
        self.asked_before = len(self.endpoint.requests)
        super().start()

    def join(self, timeout: float | None = None) -> None:
        wait_for(lambda: len(self.endpoint.requests) > self.asked_before or not self.is_alive())
        super().join(timeout)


@pytest.fixture
def deadlines_begin_when_asked(monkeypatch: pytest.MonkeyPatch, aws: Ec2Endpoint) -> None:
    monkeypatch.setattr(AskedThread, "endpoint", aws, raising=False)
    monkeypatch.setattr("elastiq.ec2.threading", SimpleNamespace(Thread=AskedThread, Event=threading.Event))


@pytest.mark.usefixtures("deadlines_begin_when_asked")
def test_a_dripping_answer_ends_at_the_deadline(aws: Ec2Endpoint) -> None:
    aws.make_vms(3, cluster="physics")
    aws.inject("DescribeInstances", times=2, drip_seconds=0.3)
    ec2 = cloud(aws, limits=replace(PATIENT, attempts=1, deadline_seconds=0.5))
    with pytest.raises(CloudError, match="no whole answer within"):
        ec2.list_instances(everything=False)
    aws.clear_faults()
    ec2._limits = PATIENT
    assert len(ec2.list_instances(everything=False)) == 3, "a new connection serves the next call"


@pytest.mark.usefixtures("deadlines_begin_when_asked")
def test_requests_that_hang_for_ever_do_not_pile_up(aws: Ec2Endpoint) -> None:
    patient = replace(PATIENT, attempts=1)
    ec2 = cloud(aws, limits=patient)
    ec2.list_instances(everything=False)
    ec2._limits = replace(patient, deadline_seconds=0.5)
    aws.inject("DescribeInstances", times=99, drip_seconds=2)
    for _ in range(MAX_STUCK_REQUESTS):
        with pytest.raises(CloudError):
            ec2.list_instances(everything=False)
    for call in (lambda: ec2.list_instances(everything=False), lambda: ec2.launch(POOL, 1, "token-1")):
        with pytest.raises(CloudError, match="not sent") as failed:
            call()
        assert failed.value.fault is CloudFault.UNSENT, "a launch that never left needs no looking for"
    assert len(aws.requests) == 1 + MAX_STUCK_REQUESTS


def test_a_termination_of_which_a_part_was_not_sent_says_what_was_accepted(
    aws: Ec2Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Believed not sent at all, the workers of VMs that go would be opened again."""
    monkeypatch.setattr("elastiq.ec2.IDS_PER_REQUEST", 1)
    vms = aws.make_vms(2)
    ec2 = cloud(aws)
    send = ec2._request

    def hang_afterwards(*arguments: object, **options: object) -> object:
        try:
            return send(*arguments, **options)  # type: ignore[arg-type]
        finally:
            ec2._stuck = [threading.current_thread()] * MAX_STUCK_REQUESTS

    monkeypatch.setattr(ec2, "_request", hang_afterwards)
    assert ec2.terminate(ids(vms)) == (vms[0].id,)


def test_an_abandoned_call_does_not_hinder_the_next_one_in_another_thread(aws: Ec2Endpoint) -> None:
    aws.make_vms(2, cluster="physics")
    aws.inject("DescribeInstances", hang_seconds=math.inf)
    ec2 = cloud(aws, limits=replace(PATIENT, attempts=1))

    def call() -> None:
        with contextlib.suppress(CloudError):
            ec2.list_instances(everything=False)

    abandoned = threading.Thread(target=call)
    abandoned.start()
    while not aws.requests:
        time.sleep(0.01)
    assert len(ec2.list_instances(everything=False)) == 2
    assert abandoned.is_alive()
    aws.stop()
    abandoned.join()


def test_a_refused_connection_did_nothing() -> None:
    ec2 = Ec2(
        Settings(api_url="http://127.0.0.1:1", aws_access_key_id="a", aws_secret_access_key="b", image_id="ami-1"),
        limits=PATIENT,
    )
    for call in (lambda: ec2.list_instances(everything=True), lambda: ec2.launch(POOL, 1, "t")):
        with pytest.raises(CloudError) as failed:
            call()
        assert failed.value.fault is CloudFault.UNSENT


def test_a_listing_is_repeated_after_a_passing_failure(either: Ec2Endpoint) -> None:
    either.make_vms(2, cluster="physics")
    either.inject("DescribeInstances", status=503, code="Unavailable")
    assert len(cloud(either).list_instances(everything=False)) == 2
    assert len(either.requests) == 2


@pytest.mark.parametrize(
    "how", [{"lose_answer": True}, {"hang_seconds": LONG, "after_effect": True}, {"truncate": 200}]
)
def test_a_lost_answer_to_a_launch_is_uncertain_and_found_by_its_token(
    either: Ec2Endpoint, how: dict[str, object]
) -> None:
    refused = frozenset(REFUSED) if either.dialect == "openstack" else frozenset()
    either.inject("RunInstances", **how)
    with pytest.raises(CloudError) as failed:
        cloud(either, refused, limits=IMPATIENT if "hang_seconds" in how else PATIENT).launch(POOL, 3, "token-1")
    assert failed.value.uncertain
    wait_for(lambda: len(either.alive()) == 3)
    assert asked(either, "RunInstances") == ["RunInstances"], "never sent again without a look"
    found = [i for i in cloud(either, refused).list_instances(everything=True) if i.client_token == "token-1"]
    assert len(found) == 3


def test_a_launch_that_answers_with_an_error_after_its_effect_is_uncertain(openstack: Ec2Endpoint) -> None:
    openstack.refused_parameters = {}
    openstack.dialect = "aws"  # a cloud that takes every parameter but breaks once, after the launch
    openstack.inject("RunInstances", status=500, code="UnknownError", after_effect=True)
    with pytest.raises(CloudError) as failed:
        cloud(openstack).launch(POOL, 2, "token-1")
    assert failed.value.uncertain
    assert len(openstack.alive()) == 2


def test_partial_capacity_is_an_answer_and_none_is_a_capacity_error(either: Ec2Endpoint) -> None:
    either.quota = 4
    ec2 = cloud(either)
    assert len(ec2.launch(POOL, 20, "token-1")) == 4
    with pytest.raises(CloudError) as failed:
        ec2.launch(POOL, 1, "token-2")
    assert failed.value.fault is CloudFault.CAPACITY
    assert not failed.value.uncertain
    assert either.max_alive == 4


def test_an_unknown_id_never_keeps_others_from_being_terminated(either: Ec2Endpoint) -> None:
    vms = either.make_vms(3)
    accepted = cloud(either).terminate([vms[0].id, UNKNOWN_ID, vms[1].id, "i-00000001", "garbage", vms[2].id])
    assert set(accepted) == {*ids(vms), UNKNOWN_ID, "i-00000001", "garbage"}
    assert not either.alive()


def test_an_unknown_id_alone_is_gone(either: Ec2Endpoint) -> None:
    assert cloud(either).terminate([UNKNOWN_ID]) == (UNKNOWN_ID,)


def test_a_protected_vm_does_not_block_the_others(either: Ec2Endpoint) -> None:
    vms = either.make_vms(5)
    vms[2].protected = True
    assert set(cloud(either).terminate(ids(vms))) == set(ids(vms)) - {vms[2].id}
    assert ids(either.alive()) == [vms[2].id]
    with pytest.raises(CloudError, match="OperationNotPermitted"):
        cloud(either).terminate([vms[2].id])


def test_a_refusal_that_names_nobody_is_narrowed_down(either: Ec2Endpoint) -> None:
    vms = either.make_vms(4)
    either.inject("TerminateInstances", status=400, code="OperationNotPermitted", message="one of them is locked")
    assert set(cloud(either).terminate(ids(vms))) == set(ids(vms))
    assert not either.alive()


def test_a_failed_termination_is_an_error(either: Ec2Endpoint) -> None:
    vms = either.make_vms(2)
    either.inject("TerminateInstances", times=9, status=503, code="Unavailable")
    with pytest.raises(CloudError) as failed:
        cloud(either).terminate(ids(vms))
    assert failed.value.fault is CloudFault.UNREACHABLE
    assert len(either.alive()) == 2


def test_terminating_nothing_asks_nothing(aws: Ec2Endpoint) -> None:
    assert cloud(aws).terminate([]) == ()
    assert not aws.requests


def test_tagging_survives_an_unknown_id(either: Ec2Endpoint) -> None:
    vms = either.make_vms(2)
    cloud(either).tag([vms[0].id, UNKNOWN_ID, vms[1].id], POOL, "token-1")
    assert all(vm.tags["elastiq:cluster"] == "physics" for vm in vms)


def test_user_data_too_long_is_never_shown(either: Ec2Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    user_data = b"#!/bin/sh\nexport PASSWORD=hunter2-hunter2\n" * 2000
    ec2 = cloud(either, frozenset(REFUSED) if either.dialect == "openstack" else frozenset(), user_data=user_data)
    with pytest.raises(CloudError) as failed:
        ec2.launch(POOL, 1, "token-1")
    assert failed.value.fault is CloudFault.CONFIGURATION
    shown = str(failed.value) + caplog.text
    assert len(str(failed.value)) <= 300
    for secret in ("hunter2", "IyEvYmlu", "ZXhwb3J0", "testing-secret"):
        assert secret not in shown


def test_keys_and_user_data_stay_out_of_the_log(either: Ec2Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ec2 = cloud(either)
    made = ec2.launch(POOL, 1, "token-1")
    ec2.list_instances(everything=False)
    ec2.terminate([made[0].id])
    for secret in ("testing-secret", "testing-key", "IyEvYmlu", "hunter2"):
        assert secret not in caplog.text


# AWS


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
        (503, "RequestLimitExceeded", CloudFault.THROTTLED),
        (500, "InsufficientInstanceCapacity", CloudFault.CAPACITY),
        (400, "MaxSpotInstanceCountExceeded", CloudFault.CAPACITY),
        (400, "SpotMaxPriceTooLow", CloudFault.CAPACITY),
        (400, "InstanceLimitExceeded", CloudFault.CAPACITY),
        (400, "VcpuLimitExceeded", CloudFault.CAPACITY),
        (400, "Unsupported", CloudFault.CAPACITY),
        (403, "UnauthorizedOperation", CloudFault.CREDENTIALS),
        (400, "InvalidKeyPair.NotFound", CloudFault.CONFIGURATION),
        (503, "Unavailable", CloudFault.UNREACHABLE),
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


def test_aws_capacity_comes_from_the_instance_type_and_is_asked_once(aws: Ec2Endpoint) -> None:
    ec2 = cloud(aws)
    shape = ec2.capacity(Pool(instance_type="g4dn.12xlarge"))
    assert (shape.cpus, shape.memory_mb, shape.disk_mb, shape.gpus) == (48, 196608, 900000, 4)
    assert ec2.capacity(Pool(instance_type="g4dn.12xlarge")) == shape
    assert ec2.capacity(Pool(instance_type="m5.large")).disk_mb == 0
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
    assert tail.splitlines() == ["booted", "+ [...]", "no route to host"]


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
    assert ec2.refused_features == REFUSED


def test_a_lasting_500_teaches_nothing(aws: Ec2Endpoint) -> None:
    ec2 = cloud(aws)
    for number in range(3):
        aws.inject("RunInstances", status=500, code="UnknownError", times=2)
        with pytest.raises(CloudError):
            ec2.launch(POOL, 1, f"token-{number}")
    assert ec2.refused_features == frozenset()


# OpenStack, line by line: the table


def test_openstack_refused_parameters_are_left_out_and_remembered(openstack: Ec2Endpoint) -> None:
    ec2 = cloud(openstack)
    assert len(ec2.launch(POOL, 3, "token-1")) == 3
    assert [(r.operation, r.status) for r in openstack.requests] == [
        ("RunInstances", 500),
        ("DescribeInstances", 200),
        ("RunInstances", 200),
        ("DescribeInstances", 200),
        ("CreateTags", 200),
    ]
    assert openstack.operations("DescribeInstances")[0].parameters["Filter.1.Name"] == "client-token"
    assert ec2.refused_features == REFUSED
    before = len(openstack.requests)
    ec2.launch(POOL, 2, "token-2")
    assert asked(openstack)[before:] == ["RunInstances", "CreateTags"]
    assert len(openstack.alive()) == 5


def test_openstack_what_was_learnt_is_given_back_at_the_next_start(openstack: Ec2Endpoint) -> None:
    first = cloud(openstack)
    first.launch(POOL, 1, "token-1")
    before = len(openstack.requests)
    cloud(openstack, first.refused_features).launch(POOL, 1, "token-2")
    assert asked(openstack)[before:] == ["RunInstances", "CreateTags"]


def test_openstack_nothing_is_repeated_while_it_can_not_be_looked_up(openstack: Ec2Endpoint) -> None:
    openstack.inject("DescribeInstances", times=9, status=400, code="RequestLimitExceeded")
    with pytest.raises(CloudError) as failed:
        cloud(openstack).launch(POOL, 3, "token-1")
    assert failed.value.uncertain
    assert asked(openstack, "RunInstances") == ["RunInstances"]


def test_openstack_failed_tagging_is_no_failed_launch(openstack: Ec2Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    openstack.inject("CreateTags", times=9, status=503, code="Unavailable")
    ec2 = cloud(openstack, frozenset(REFUSED))
    assert len(ec2.launch(POOL, 2, "token-1")) == 2
    assert "2 new VM(s) not tagged yet" in caplog.text


def test_openstack_has_no_instance_types_and_is_asked_once(openstack: Ec2Endpoint) -> None:
    ec2 = cloud(openstack)
    for _ in range(2):
        with pytest.raises(CloudError):
            ec2.capacity(POOL)
    assert asked(openstack) == ["DescribeInstanceTypes"]
    assert ec2.refused_features == {"DescribeInstanceTypes"}


def test_openstack_quota(openstack: Ec2Endpoint) -> None:
    openstack.quota = 8
    openstack.make_vms(8)
    with pytest.raises(CloudError, match="Quota exceeded for instances") as failed:
        cloud(openstack, frozenset(REFUSED)).launch(POOL, 1, "token-1")
    assert failed.value.fault is CloudFault.CAPACITY
    assert not failed.value.uncertain


@pytest.mark.parametrize(("key", "secret", "status"), [("testing-key", "wrong", 401), ("wrong", "testing-secret", 404)])
def test_openstack_wrong_keys(make_endpoint: MakeEndpoint, key: str, secret: str, status: int) -> None:
    endpoint = make_endpoint(dialect="openstack", keys=KEYS)
    ec2 = cloud(endpoint, aws_access_key_id=key, aws_secret_access_key=secret)
    for call in (
        lambda: ec2.list_instances(everything=False),
        lambda: ec2.launch(POOL, 1, "token-1"),
        lambda: ec2.terminate([UNKNOWN_ID]),
    ):
        with pytest.raises(CloudError, match=rf"AuthFailure \(HTTP {status}\)") as failed:
            call()
        assert failed.value.fault is CloudFault.CREDENTIALS
        assert secret not in str(failed.value)
    assert cloud(endpoint).list_instances(everything=False) == ()


def test_rotated_keys_are_read_again(
    make_endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    endpoint = make_endpoint(dialect="openstack", keys=KEYS)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    credentials = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    credentials.write_text("[default]\naws_access_key_id = testing-key\naws_secret_access_key = withdrawn\n")
    ec2 = cloud(endpoint, frozenset(REFUSED), aws_access_key_id="", aws_secret_access_key="")
    for call in (lambda: ec2.list_instances(everything=False), lambda: ec2.launch(POOL, 1, "token-1")):
        with pytest.raises(CloudError, match="AuthFailure"):
            call()
    credentials.write_text("[default]\naws_access_key_id = testing-key\naws_secret_access_key = testing-secret\n")
    assert ec2.list_instances(everything=False) == ()


@pytest.mark.parametrize(
    ("parameter", "settings"),
    [
        ("ImageId", {"image_id": "ami-bad"}),
        ("InstanceType", {}),
        ("SubnetId", {"subnet_id": "subnet-bad"}),
        ("KeyName", {"key_name": "bad"}),
    ],
)
def test_wrong_settings_are_configuration_errors(
    either: Ec2Endpoint, parameter: str, settings: dict[str, object]
) -> None:
    either.known = {parameter: {"something-else"}}
    with pytest.raises(CloudError) as failed:
        cloud(either, **settings).launch(POOL, 1, "token-1")
    assert failed.value.fault is CloudFault.CONFIGURATION
    assert not either.vms


def test_openstack_pages_of_five(openstack: Ec2Endpoint) -> None:
    openstack.page_size = 5
    openstack.make_vms(12)
    assert len(cloud(openstack).list_instances(everything=True)) == 12


def test_openstack_accepts_profiles_and_groups_silently(openstack: Ec2Endpoint) -> None:
    ec2 = cloud(openstack, frozenset(REFUSED), instance_profile="worker", security_groups=("no-such-group",))
    assert len(ec2.launch(POOL, 1, "token-1")) == 1
    parameters = openstack.operations("RunInstances")[0].parameters
    assert (parameters["IamInstanceProfile.Name"], parameters["SecurityGroup.1"]) == ("worker", "no-such-group")


# OpenStack, line by line: the list


def test_openstack_1_a_failed_vm_is_in_error_although_its_code_is_that_of_a_pending_one(openstack: Ec2Endpoint) -> None:
    openstack.failing_launches = 1
    ec2 = cloud(openstack)
    ec2.launch(POOL, 2, "token-1")
    broken, good = sorted(ec2.list_instances(everything=False), key=lambda i: i.state is not InstanceState.ERROR)
    assert (broken.state, good.state) == (InstanceState.ERROR, InstanceState.RUNNING)
    assert broken.state.alive
    assert broken.address
    assert ec2.console_tail(broken.id) == ""
    assert ec2.terminate([broken.id]) == (broken.id,)
    assert [i.id for i in ec2.list_instances(everything=False)] == [good.id]


def test_openstack_2_there_is_no_terminated_state(openstack: Ec2Endpoint) -> None:
    openstack.terminated_listed_seconds = math.inf
    ec2 = cloud(openstack)
    (made,) = ec2.launch(POOL, 1, "token-1")
    assert ec2.terminate([made.id]) == (made.id,)
    assert ec2.list_instances(everything=False)[0].state is InstanceState.RUNNING, "it is believed to live until gone"
    openstack.terminated_listed_seconds = 0
    assert ec2.list_instances(everything=False) == ()
    assert ec2.terminate([made.id]) == (made.id,), "gone is well"
    with pytest.raises(CloudError) as failed:
        ec2.console_tail(made.id)
    assert failed.value.fault is CloudFault.NOT_FOUND


def test_openstack_3_many_unknown_ids_leave_out_one_after_the_other(openstack: Ec2Endpoint) -> None:
    vms = openstack.make_vms(4)
    gone = ["i-0000000a", "i-0000000b", "i-0000000c"]
    accepted = cloud(openstack).terminate([*gone, *ids(vms)])
    assert set(accepted) == {*gone, *ids(vms)}
    assert not openstack.alive()


def test_openstack_4_untagged_vms_are_known_by_their_token(openstack: Ec2Endpoint) -> None:
    openstack.inject("CreateTags", times=9, status=503, code="Unavailable")
    ec2 = cloud(openstack, frozenset(REFUSED))
    (made,) = ec2.launch(POOL, 1, "token-1")
    (listed,) = ec2.list_instances(everything=True)
    assert (listed.id, listed.client_token, listed.cluster) == (made.id, "token-1", "")
    openstack.clear_faults()
    ec2.tag([made.id], POOL, "token-1")
    assert ec2.list_instances(everything=False)[0].pool == "default"


def test_openstack_5_a_token_is_a_look_up_until_its_vm_is_gone(openstack: Ec2Endpoint) -> None:
    ec2 = cloud(openstack, frozenset(REFUSED))
    (first,) = ec2.launch(POOL, 1, "token-1")
    assert [i.id for i in ec2.launch(POOL, 2, "token-1")] == [first.id]
    ec2.terminate([first.id])
    (second,) = ec2.launch(POOL, 1, "token-1")
    assert second.id != first.id


def test_openstack_5_two_concurrent_launches_make_two_vms_and_both_are_found(
    openstack: Ec2Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Neither makes a VM before the other has looked for one.
    both = threading.Barrier(2)
    openstack.launch_seconds_per_vm = 1
    monkeypatch.setattr(openstack, "wait", lambda seconds: both.wait(LONG) if seconds else None)
    ec2 = cloud(openstack, frozenset(REFUSED))
    threads = [threading.Thread(target=ec2.launch, args=(POOL, 1, "token-1")) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([i for i in ec2.list_instances(everything=True) if i.client_token == "token-1"]) == 2


def test_openstack_6_a_serial_launch_is_given_time_for_each_vm(openstack: Ec2Endpoint) -> None:
    openstack.launch_seconds_per_vm = 0.2
    limits = replace(PATIENT, read_seconds=0.1, launch_seconds_per_vm=30)
    ec2 = cloud(openstack, frozenset(REFUSED), limits=limits)
    assert len(ec2.launch(POOL, 4, "token-1")) == 4
    assert asked(openstack, "RunInstances") == ["RunInstances"]


def test_openstack_6_an_answer_after_a_repetition_is_completed_by_a_listing(
    openstack: Ec2Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(vm: Vm) -> None:  # the first request, believed to have failed, launches after all
        if len(openstack.vms) == 2:
            openstack.make_vms(2, token="token-1")

    ec2 = cloud(openstack)
    openstack.inject("DescribeInstances", after=1, delay_seconds=1)
    openstack.on_running = late

    def wait(seconds: float) -> None:
        if seconds:
            wait_for(lambda: len(openstack.vms) == 4)

    monkeypatch.setattr(openstack, "wait", wait)
    made = ec2.launch(POOL, 2, "token-1")
    assert len(openstack.vms) == 4
    assert {i.id for i in made} == set(openstack.vms)
    assert all(vm.tags for vm in openstack.vms.values())


def test_openstack_7_a_launch_over_quota_leaves_nothing(openstack: Ec2Endpoint) -> None:
    openstack.quota, openstack.launch_seconds_per_vm = 0, 0.1
    with pytest.raises(CloudError) as failed:
        cloud(openstack, frozenset(REFUSED)).launch(POOL, 10, "token-1")
    assert failed.value.fault is CloudFault.CAPACITY
    assert not openstack.vms


def test_openstack_8_a_stuck_vm_stays_pending_and_can_be_terminated(openstack: Ec2Endpoint) -> None:
    openstack.launch_delay_seconds = math.inf
    ec2 = cloud(openstack)
    (made,) = ec2.launch(POOL, 1, "token-1")
    assert ec2.list_instances(everything=False)[0].state is InstanceState.PENDING
    assert ec2.terminate([made.id]) == (made.id,)
    assert ec2.list_instances(everything=False) == ()


@pytest.mark.parametrize(
    "outage",
    [{"status": 500, "code": "ConnectFailure"}, {"hang_seconds": LONG}, {"status": 500, "body": "Keystone is down"}],
    ids=["ConnectFailure", "read timeout", "plain text"],
)
def test_openstack_9_outages_are_uncertain_and_teach_nothing(openstack: Ec2Endpoint, outage: dict[str, object]) -> None:
    openstack.inject("*", times=99, **outage)
    ec2 = cloud(openstack, limits=IMPATIENT if "hang_seconds" in outage else PATIENT)
    for call in (
        lambda: ec2.launch(POOL, 1, "token-1"),
        lambda: ec2.list_instances(everything=False),
        lambda: ec2.terminate([UNKNOWN_ID]),
    ):
        with pytest.raises(CloudError) as failed:
            call()
        assert failed.value.uncertain
    assert ec2.refused_features == frozenset()
    wait_for(lambda: bool(asked(openstack, "RunInstances")))
    assert asked(openstack, "RunInstances") == ["RunInstances"]
    openstack.clear_faults()


def test_openstack_10_short_ids_and_empty_fields(openstack: Ec2Endpoint) -> None:
    openstack.failing_launches = 1
    ec2 = cloud(openstack)
    ec2.launch(POOL, 2, "token-1")
    listed = ec2.list_instances(everything=False)
    assert [len(i.id) for i in listed] == [10, 10]
    assert set(ec2.terminate([i.id for i in listed])) == {i.id for i in listed}


# The endpoint itself


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


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
