"""What is sent for an offer, what is seen of its market, and what becomes of it where there is no spot market."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest

from elastiq.clock import Clock
from elastiq.errors import CloudError, CloudFault
from elastiq.model import SPOT, Offer, Pool, Scope
from tests.dialects.rig import cloud
from tests.testbed.proxy import Ec2Endpoint

pytestmark = pytest.mark.xdist_group("dialects")


def at(offer: Offer) -> Pool:
    return Pool().at(offer)


def test_a_spot_vm_is_asked_for_in_its_subnet_and_known_by_its_market(aws: Ec2Endpoint) -> None:
    ec2 = cloud(aws, subnet_id="subnet-of-ec2")
    (made,) = ec2.launch(at(Offer(SPOT, "m5a.large", "subnet-1")), 1, "token-1")
    parameters = aws.requests[0].parameters
    assert parameters["InstanceMarketOptions.MarketType"] == "spot"
    assert parameters["InstanceMarketOptions.SpotOptions.SpotInstanceType"] == "one-time"
    assert "InstanceMarketOptions.SpotOptions.MaxPrice" not in parameters
    assert (parameters["InstanceType"], parameters["SubnetId"]) == ("m5a.large", "subnet-1")
    assert made.market == SPOT
    assert [one.market for one in ec2.list_instances(everything=False)] == [SPOT]
    assert ec2.refused_features == frozenset()


def test_a_vm_on_demand_is_asked_for_in_its_zone_and_no_subnet(aws: Ec2Endpoint) -> None:
    ec2 = cloud(aws, subnet_id="subnet-of-ec2")
    (made,) = ec2.launch(at(Offer(type="m5a.large", zone="us-east-1b")), 1, "token-1")
    parameters = aws.requests[0].parameters
    assert parameters["Placement.AvailabilityZone"] == "us-east-1b"
    assert not [name for name in parameters if name.startswith(("InstanceMarketOptions", "SubnetId"))]
    assert made.market == ""


def test_the_only_offer_of_a_pool_is_sent_without_being_chosen(aws: Ec2Endpoint) -> None:
    pool = Pool(instance_type="m5.large", offers=(Offer(SPOT, "m5.large"),))
    cloud(aws).launch(pool, 1, "token-1")
    assert aws.requests[0].parameters["InstanceMarketOptions.MarketType"] == "spot"


def test_security_groups_by_name_do_not_go_with_subnets(aws: Ec2Endpoint) -> None:
    with pytest.raises(CloudError, match="with subnets, give security_groups by id") as failed:
        cloud(aws, security_groups=("batch",)).launch(at(Offer(type="m5.large", zone="subnet-1")), 1, "token-1")
    assert failed.value.fault is CloudFault.CONFIGURATION
    assert not aws.requests


def test_a_cloud_without_spot_market_serves_on_demand_and_that_is_said_once(
    either: Ec2Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    if either.dialect == "aws":
        message = "The parameter InstanceMarketOptions is not recognized"
        either.refused_parameters = {"InstanceMarketOptions.": (400, "UnknownParameter", message)}
    caplog.set_level(logging.WARNING, "elastiq.ec2")
    ec2 = cloud(either)
    for number in range(4):
        (made,) = ec2.launch(at(Offer(SPOT, "m5.large")), 1, f"token-{number}")
        assert made.market == ""
    assert "InstanceMarketOptions" in ec2.refused_features
    said = [one.getMessage() for one in caplog.records if "InstanceMarketOptions" in one.getMessage()]
    assert said == [
        "this cloud refuses InstanceMarketOptions: VMs that were to be of the spot market are launched on demand from "
        "now on"
    ]
    assert len(either.alive()) == 4


@pytest.mark.parametrize(
    ("code", "scope"),
    [
        ("InsufficientInstanceCapacity", Scope.OFFER),
        ("Unsupported", Scope.OFFER),
        ("UnfulfillableCapacity", Scope.OFFER),
        ("SpotMaxPriceTooLow", Scope.OFFER),
        ("MaxFleetCountExceeded", Scope.OFFER),
        ("VcpuLimitExceeded", Scope.FAMILY),
        ("MaxSpotInstanceCountExceeded", Scope.SPOT),
        ("InsufficientFreeAddressesInSubnet", Scope.ZONE),
        ("InstanceQuotaExceeded", Scope.ACCOUNT),
    ],
)
def test_a_refusal_tells_what_there_is_no_room_for(either: Ec2Endpoint, code: str, scope: Scope) -> None:
    refused: list[Mapping[str, str]] = []

    def full(parameters: Mapping[str, str]) -> str:
        refused.append(parameters)
        return code

    features = frozenset() if either.dialect == "aws" else frozenset({"TagSpecifications", "MetadataOptions"})
    ec2 = cloud(either, features)
    offer = Offer(type="m5.large") if either.dialect == "openstack" else Offer(SPOT, "m5.large", "subnet-1")
    either.full = full
    with pytest.raises(CloudError, match=code) as failed:
        ec2.launch(at(offer), 1, "token-1")
    assert (failed.value.fault, failed.value.scope) == (CloudFault.CAPACITY, scope)
    assert len(refused) == 1
    assert ec2.refused_features == features, "it is no feature that was refused"
    assert not either.alive()


def test_a_quota_of_openstack_is_one_of_the_account(openstack: Ec2Endpoint) -> None:
    openstack.quota = 0
    with pytest.raises(CloudError) as failed:
        cloud(openstack, frozenset({"TagSpecifications", "MetadataOptions"})).launch(Pool(), 1, "token-1")
    assert (failed.value.fault, failed.value.scope) == (CloudFault.CAPACITY, Scope.ACCOUNT)


def test_what_spot_costs_is_told_by_type_and_zone(aws: Ec2Endpoint) -> None:
    """By moto, which has one price for all."""
    found = cloud(aws).spot_prices(("m5.large", "m5.xlarge"), Clock().now())
    assert {type_ for type_, _ in found} == {"m5.large", "m5.xlarge"}
    assert {"us-east-1a", "us-east-1b"} <= {zone for _, zone in found}
    assert set(found.values()) == {0.00001}
    (request,) = aws.operations("DescribeSpotPriceHistory")
    assert request.parameters["StartTime"] == request.parameters["EndTime"]


def test_a_right_to_spot_prices_that_is_missing_is_named(aws: Ec2Endpoint) -> None:
    aws.denied = {"ec2:DescribeSpotPriceHistory"}
    with pytest.raises(CloudError, match="DescribeSpotPriceHistory") as failed:
        cloud(aws).spot_prices(("m5.large",), Clock().now())
    assert failed.value.fault is CloudFault.CREDENTIALS


def test_a_cloud_without_spot_prices_is_asked_once(openstack: Ec2Endpoint) -> None:
    ec2 = cloud(openstack)
    for _ in range(2):
        with pytest.raises(CloudError):
            ec2.spot_prices(("m5.large",), Clock().now())
    assert len(openstack.operations("DescribeSpotPriceHistory")) == 1
    assert "DescribeSpotPriceHistory" in ec2.refused_features
