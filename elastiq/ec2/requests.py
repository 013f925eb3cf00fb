"""What a launch asks for. The daemon sends it, and the check of the cloud sends the very same as a DryRun."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elastiq.config import Settings
from elastiq.ec2 import answers
from elastiq.ec2.features import MARKET, Offered
from elastiq.errors import CloudError, CloudFault
from elastiq.model import SPOT, Pool

_SPOT = {
    "MarketType": SPOT,
    "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
}
"""No MaxPrice: one below the price on demand makes interruptions more frequent, says AWS."""


def required(
    settings: Settings, user_data: bytes, pool: Pool, count: int, token: str, at_least: int = 1
) -> dict[str, Any]:
    """Return what a launch of `count` VMs cannot do without. `user_data` is what they are given.

    Raise CloudError if the configuration asks for what no request can say.
    """
    options = settings.vm_options(pool.name)
    place = next((offer.zone for offer in pool.offers if offer.zone), "")
    subnet = place if place.startswith("subnet-") else "" if place else options.subnet_id
    groups = [group for group in options.security_groups if group.startswith("sg-")]
    group_names = [group for group in options.security_groups if not group.startswith("sg-")]
    if subnet and group_names:
        given = "subnets" if place else "subnet_id"
        raise CloudError(
            f"launch: security group {group_names[0]}: with {given}, give security_groups by id (sg-...)",
            CloudFault.CONFIGURATION,
        )
    profile = options.instance_profile
    wanted: dict[str, Any] = {
        "ImageId": options.image_id,
        "MinCount": at_least,
        "MaxCount": count,
        "ClientToken": token,
        "InstanceType": pool.instance_type or options.flavour,
        "KeyName": options.key_name,
        "UserData": user_data,
        "SecurityGroupIds": groups,
        "SecurityGroups": group_names,
        "SubnetId": subnet,
        "Placement": place and not subnet and {"AvailabilityZone": place},
        "IamInstanceProfile": profile and {"Arn" if profile.startswith("arn:") else "Name": profile},
    }
    return {name: value for name, value in wanted.items() if value}


def offered(settings: Settings, pool: Pool, token: str) -> Offered:
    """Return what a launch asks for beside that, where the cloud takes it; what is refused most often comes first."""
    features: Offered = {
        "TagSpecifications": {
            "TagSpecifications": [{"ResourceType": "instance", "Tags": tags(settings, pool, token)}],
        }
    }
    if any(offer.is_spot for offer in pool.offers):
        features[MARKET] = {MARKET: _SPOT}
    options = settings.vm_options(pool.name)
    metadata = {"HttpTokens": "required", "HttpEndpoint": "enabled"} if options.require_imdsv2 else {}
    hops = {} if options.imdsv2_hop_limit is None else {"HttpPutResponseHopLimit": options.imdsv2_hop_limit}
    if metadata or hops:
        features["MetadataOptions"] = {"MetadataOptions": {**metadata, **hops}}
    # A worker that powers itself off would otherwise stay, stopped, and be paid for.
    features["InstanceInitiatedShutdownBehavior"] = {"InstanceInitiatedShutdownBehavior": "terminate"}
    return features


def tags(settings: Settings, pool: Pool, token: str) -> list[dict[str, str]]:
    """Return the tags of a VM."""
    values = {
        answers.CLUSTER_TAG: settings.elastiq.cluster_name,
        answers.POOL_TAG: pool.name,
        answers.TOKEN_TAG: token,
        "Name": f"elastiq-{pool.name}",
    }
    return [{"Key": key, "Value": value} for key, value in values.items()]


def asked(launch: Mapping[str, Any]) -> str:
    """Return what a launch asks for, by the names of the options that say so."""
    profile = launch.get("IamInstanceProfile") or {}
    values = {
        "image_id": launch.get("ImageId"),
        "flavour": launch.get("InstanceType"),
        "key_name": launch.get("KeyName"),
        "subnet_id": launch.get("SubnetId"),
        "zone": (launch.get("Placement") or {}).get("AvailabilityZone"),
        "market": (launch.get(MARKET) or {}).get("MarketType"),
        "security_groups": ", ".join([*launch.get("SecurityGroupIds", ()), *launch.get("SecurityGroups", ())]),
        "instance_profile": profile.get("Arn") or profile.get("Name"),
    }
    return ", ".join(f"{name} {value}" for name, value in values.items() if value)
