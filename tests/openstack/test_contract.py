"""What elastiq.ports.Cloud promises, at moto as AWS, at moto in the dialect of OpenStack, and at a real OpenStack."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from elastiq.ec2 import Ec2
from elastiq.errors import CloudError, CloudFault
from elastiq.model import Instance, InstanceState, Pool
from tests.testbed.openstack.cloud import OpenStack
from tests.testbed.proxy import Ec2Endpoint
from tests.unit.fakes import settings_with

pytestmark = pytest.mark.xdist_group("openstack")

LONG = 300.0
"""Seconds; a bound against hangs."""
ALIVE = (InstanceState.PENDING, InstanceState.RUNNING)
UNKNOWN_ID = "i-0000000a"


@dataclass
class Account:
    """An account that is empty at first."""

    settings: dict[str, object]
    pool: Pool
    count: Callable[[], int]
    """How many VMs there are in truth."""
    set_quota: Callable[[int], object]

    def cloud(self, **settings: object) -> Ec2:
        """Return elastiq's side of it."""
        values = {"cluster_name": "physics", **self.settings, **settings}
        return Ec2(settings_with(**values), user_data={"default": b"#!/bin/sh\nexport PASSWORD=hunter2-hunter2\n"})


def _on_moto(dialect: str) -> Iterator[Account]:
    with Ec2Endpoint(dialect=dialect, terminated_listed_seconds=0) as endpoint:  # type: ignore[arg-type]
        endpoint.known = {"ImageId": {"ami-12345678"}}
        yield Account(
            {
                "api_url": endpoint.url,
                "aws_access_key_id": "testing-key",
                "aws_secret_access_key": "testing-secret",
                "image_id": "ami-12345678",
            },
            Pool(instance_type="m5.large"),
            lambda: len(endpoint.alive()),
            lambda quota: setattr(endpoint, "quota", quota),
        )


@pytest.fixture(params=["aws", "openstack", pytest.param("real", marks=pytest.mark.real)])
def account(request: pytest.FixtureRequest) -> Iterator[Account]:
    if request.param != "real":
        yield from _on_moto(request.param)
        return
    openstack: OpenStack = request.getfixturevalue("openstack")
    known = openstack.facts
    yield Account(
        {
            "api_url": openstack.url,
            "aws_access_key_id": known.access_key,
            "aws_secret_access_key": known.secret_key,
            "image_id": known.image_id,
        },
        Pool(instance_type=known.flavours[0]),
        lambda: len(openstack.servers()),
        openstack.set_quota,
    )


def test_vms_are_launched_listed_and_terminated(account: Account) -> None:
    cloud = account.cloud()
    assert cloud.list_instances(everything=False) == ()
    made = cloud.launch(account.pool, 3, "token-1")
    assert len({instance.id for instance in made}) == account.count() == 3
    running = _wait_for(cloud, lambda found: [i.state for i in found] == [InstanceState.RUNNING] * 3)
    assert {instance.id for instance in running} == {instance.id for instance in made}
    assert {(i.client_token, i.cluster, i.pool) for i in running} == {("token-1", "physics", account.pool.name)}
    assert len({i.address for i in running} - {""}) == 3
    assert {i.type for i in running} == {account.pool.instance_type}
    assert all(i.launched_at is not None for i in running)
    assert cloud.list_instances(everything=True) == running
    ids = [instance.id for instance in made]
    assert set(cloud.terminate([ids[0], UNKNOWN_ID, *ids[1:]])) == {*ids, UNKNOWN_ID}, "gone is well"
    _wait_for(cloud, lambda found: not [i for i in found if i.state in ALIVE])
    assert account.count() == 0
    assert set(cloud.terminate(ids)) == set(ids)


def test_what_the_cloud_refuses_is_learnt_once_and_launches_nothing_twice(account: Account) -> None:
    cloud = account.cloud(require_imdsv2=True)
    assert len(cloud.launch(account.pool, 1, "token-1")) == 1
    refused = cloud.refused_features
    assert len(cloud.launch(account.pool, 1, "token-2")) == 1
    assert cloud.refused_features == refused
    assert account.count() == 2


def test_vms_of_other_clusters_are_listed_only_when_everything_is_asked(account: Account) -> None:
    account.cloud(cluster_name="chemistry").launch(account.pool, 1, "token-1")
    mine = account.cloud()
    assert mine.list_instances(everything=False) == ()
    assert [instance.cluster for instance in mine.list_instances(everything=True)] == ["chemistry"]


def test_fewer_than_asked_for_is_an_answer_and_none_is_an_error_of_capacity(account: Account) -> None:
    account.set_quota(2)
    cloud = account.cloud()
    assert len(cloud.launch(account.pool, 6, "token-1")) == 2
    with pytest.raises(CloudError) as failed:
        cloud.launch(account.pool, 1, "token-2")
    assert (failed.value.fault, failed.value.uncertain) == (CloudFault.CAPACITY, False)
    assert account.count() == 2


def test_a_wrong_image_is_an_error_of_configuration_that_names_it(account: Account) -> None:
    with pytest.raises(CloudError, match="image_id") as failed:
        account.cloud(image_id="ami-0000000a").launch(account.pool, 1, "token-1")
    assert (failed.value.fault, failed.value.uncertain) == (CloudFault.CONFIGURATION, False)
    assert account.count() == 0


def test_consoles_and_sizes_are_told_or_refused_in_words(account: Account) -> None:
    cloud = account.cloud()
    (made,) = cloud.launch(account.pool, 1, "token-1")
    _wait_for(cloud, lambda found: [i.state for i in found] == [InstanceState.RUNNING])
    assert "hunter2" not in cloud.console_tail(made.id)
    try:
        assert cloud.capacity(account.pool).cpus == 2
    except CloudError as error:
        assert error.fault is not CloudFault.UNREACHABLE
    with pytest.raises(CloudError) as failed:
        cloud.console_tail(UNKNOWN_ID)
    assert failed.value.fault is CloudFault.NOT_FOUND


def _wait_for(cloud: Ec2, condition: Callable[[tuple[Instance, ...]], bool]) -> tuple[Instance, ...]:
    deadline = time.monotonic() + LONG
    while True:
        found = cloud.list_instances(everything=False)
        if condition(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
