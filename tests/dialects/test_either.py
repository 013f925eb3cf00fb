"""What holds for AWS and for OpenStack alike, and what becomes of answers that are broken, late or lost."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from dataclasses import replace

import pytest

from elastiq.ec2 import PAGE_SIZE, Ec2
from elastiq.ec2.bounds import Abandonment
from elastiq.ec2.errors import MAX_MESSAGE_CHARACTERS
from elastiq.ec2.sending import MAX_STUCK_REQUESTS
from elastiq.errors import CloudError, CloudFault
from tests.dialects.conftest import MakeEndpoint
from tests.dialects.rig import (
    IMPATIENT,
    LONG,
    PATIENT,
    POOL,
    REFUSED,
    UNKNOWN_ID,
    USER_DATA,
    asked,
    cloud,
    ids,
    wait_for,
)
from tests.testbed.proxy import Ec2Endpoint
from tests.unit.fakes import settings_with

pytestmark = pytest.mark.xdist_group("dialects")


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
    endpoint.inject("DescribeInstances", after=1, times=99, status=503, code="Unavailable")
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


@pytest.mark.usefixtures("deadlines_begin_when_asked")
def test_a_dripping_answer_ends_at_the_deadline(aws: Ec2Endpoint) -> None:
    aws.make_vms(3, cluster="physics")
    aws.inject("DescribeInstances", times=2, drip_seconds=0.3)
    ec2 = cloud(aws, limits=replace(PATIENT, attempts=1, deadline_seconds=0.5))
    with pytest.raises(CloudError, match="no whole answer within"):
        ec2.list_instances(everything=False)
    aws.clear_faults()
    ec2._sender.limits = PATIENT
    assert len(ec2.list_instances(everything=False)) == 3, "a new connection serves the next call"


@pytest.mark.usefixtures("deadlines_begin_when_asked")
def test_requests_that_hang_for_ever_do_not_pile_up(aws: Ec2Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    # They hang in the name server, say: where there is a connection, it is cut.
    monkeypatch.setattr(Abandonment, "set", threading.Event.set)
    patient = replace(PATIENT, attempts=1)
    ec2 = cloud(aws, limits=patient)
    ec2.list_instances(everything=False)
    ec2._sender.limits = replace(patient, deadline_seconds=0.5)
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
    send = ec2._sender.ask

    def hang_afterwards(*arguments: object, **options: object) -> object:
        try:
            return send(*arguments, **options)  # type: ignore[arg-type]
        finally:
            ec2._sender._stuck = [threading.current_thread()] * MAX_STUCK_REQUESTS

    monkeypatch.setattr(ec2._sender, "ask", hang_afterwards)
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
        settings_with(api_url="http://127.0.0.1:1", aws_access_key_id="a", aws_secret_access_key="b", image_id="ami-1"),
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
    either.inject("TerminateInstances", times=99, status=503, code="Unavailable")
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
    assert len(str(failed.value)) <= MAX_MESSAGE_CHARACTERS
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
