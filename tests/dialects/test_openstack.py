"""Ec2 against each line of what was measured of OpenStack."""

from __future__ import annotations

import logging
import math
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from elastiq.errors import CloudError, CloudFault
from elastiq.model import InstanceState
from tests.dialects.conftest import MakeEndpoint
from tests.dialects.rig import (
    IMPATIENT,
    KEYS,
    LONG,
    PATIENT,
    POOL,
    REFUSED,
    UNKNOWN_ID,
    asked,
    cloud,
    ids,
    wait_for,
)
from tests.testbed.proxy import Ec2Endpoint, Vm

pytestmark = pytest.mark.xdist_group("dialects")


def test_openstack_refused_parameters_are_left_out_and_remembered(openstack: Ec2Endpoint) -> None:
    ec2 = cloud(openstack)
    assert len(ec2.launch(POOL, 3, "token-1")) == 3
    assert [(r.operation, r.status) for r in openstack.requests] == [
        # All at once, then the tags alone, the metadata options alone, and what is left.
        ("RunInstances", 500),
        ("DescribeInstances", 200),
        ("RunInstances", 500),
        ("DescribeInstances", 200),
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


def test_openstack_what_a_launch_has_no_time_to_find_out_is_gone_on_with_in_the_next(openstack: Ec2Endpoint) -> None:
    """Each answer takes so long that only one try fits in a launch."""
    ec2 = cloud(openstack, limits=replace(PATIENT, read_seconds=30, launch_seconds=29, launch_seconds_per_vm=0))
    for tries in range(1, 4):
        with pytest.raises(CloudError, match="gone on with in the next launch") as failed:
            ec2.launch(POOL, 3, f"token-{tries}")
        assert failed.value.fault is CloudFault.BUSY
        assert asked(openstack, "RunInstances") == ["RunInstances"] * tries
    assert len(ec2.launch(POOL, 3, "token-4")) == 3
    assert ec2.refused_features == REFUSED
    assert len(openstack.alive()) == 3


def test_openstack_what_was_learnt_is_given_back_at_the_next_start(openstack: Ec2Endpoint) -> None:
    first = cloud(openstack)
    first.launch(POOL, 1, "token-1")
    before = len(openstack.requests)
    cloud(openstack, first.refused_features).launch(POOL, 1, "token-2")
    assert asked(openstack)[before:] == ["RunInstances", "CreateTags"]


def test_openstack_nothing_is_repeated_while_it_can_not_be_looked_up(openstack: Ec2Endpoint) -> None:
    openstack.inject("DescribeInstances", times=99, status=400, code="RequestLimitExceeded")
    with pytest.raises(CloudError) as failed:
        cloud(openstack).launch(POOL, 3, "token-1")
    assert failed.value.uncertain
    assert asked(openstack, "RunInstances") == ["RunInstances"]


@pytest.mark.parametrize(
    ("status", "code", "level"), [(503, "Unavailable", logging.INFO), (403, "UnauthorizedOperation", logging.WARNING)]
)
def test_openstack_failed_tagging_is_no_failed_launch(
    openstack: Ec2Endpoint, caplog: pytest.LogCaptureFixture, status: int, code: str, level: int
) -> None:
    caplog.set_level(logging.INFO)
    openstack.inject("CreateTags", times=99, status=status, code=code)
    ec2 = cloud(openstack, frozenset(REFUSED))
    assert len(ec2.launch(POOL, 2, "token-1")) == 2
    said = [record for record in caplog.records if "2 new VM(s) not tagged yet" in record.getMessage()]
    assert [record.levelno for record in said] == [level]


def test_openstack_has_no_instance_types_and_is_asked_once(openstack: Ec2Endpoint) -> None:
    ec2 = cloud(openstack)
    for _ in range(2):
        with pytest.raises(CloudError, match="it describes no instance types"):
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


@pytest.mark.parametrize(
    ("key", "secret", "status"), [("testing-key", "mistaken", 401), ("mistaken", "testing-secret", 404)]
)
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


def test_openstack_accepts_profiles_and_ids_of_groups_silently(openstack: Ec2Endpoint) -> None:
    ec2 = cloud(openstack, frozenset(REFUSED), instance_profile="worker", security_groups=("sg-0000000a",))
    assert len(ec2.launch(POOL, 1, "token-1")) == 1
    parameters = openstack.operations("RunInstances")[0].parameters
    assert (parameters["IamInstanceProfile.Name"], parameters["SecurityGroupId.1"]) == ("worker", "sg-0000000a")


def test_openstack_refuses_a_group_whose_name_it_does_not_know(openstack: Ec2Endpoint) -> None:
    with pytest.raises(CloudError, match="check security_groups") as failed:
        cloud(openstack, frozenset(REFUSED), security_groups=("no-such-group",)).launch(POOL, 1, "token-1")
    assert failed.value.fault is CloudFault.CONFIGURATION


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
    openstack.inject("CreateTags", times=99, status=503, code="Unavailable")
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
    limits = replace(PATIENT, read_seconds=0.1, launch_seconds=0.1, launch_seconds_per_vm=30)
    ec2 = cloud(openstack, frozenset(REFUSED), limits=limits)
    assert len(ec2.launch(POOL, 4, "token-1")) == 4
    assert asked(openstack, "RunInstances") == ["RunInstances"]


def test_openstack_a_slow_termination_is_waited_for(openstack: Ec2Endpoint) -> None:
    (vm,) = openstack.make_vms(1, cluster="physics")
    openstack.inject("TerminateInstances", answer_delay_seconds=1)
    ec2 = cloud(openstack, limits=replace(PATIENT, read_seconds=0.1))
    assert ec2.terminate([vm.id]) == (vm.id,)
    assert asked(openstack, "TerminateInstances") == ["TerminateInstances"]


def test_openstack_6_an_answer_after_a_repetition_is_completed_by_a_listing(
    openstack: Ec2Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(vm: Vm) -> None:  # the first request, believed to have failed, launches after all
        if len(openstack.vms) == 2:
            openstack.make_vms(2, token="token-1")

    ec2 = cloud(openstack)
    openstack.inject("DescribeInstances", after=3, delay_seconds=1)
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
