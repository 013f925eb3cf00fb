"""Questions by which a cloud tells whether it knows what an option names: images, types, keys, subnets, groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from elastiq.config import Settings
from elastiq.ec2 import requests
from elastiq.errors import CloudError
from elastiq.model import Pool
from elastiq.text import shown


class NotThereError(Exception):
    """The cloud does not know it."""


class ImageStateError(Exception):
    """The cloud knows the image, and launches nothing of it."""


@dataclass(frozen=True)
class Lookup:
    """How it is asked for one kind of thing."""

    about: str
    """The option, as it is called where there is one value."""
    options: tuple[str, ...]
    """All options that may have named it."""
    operation: str
    asked_by: str
    """The parameter that takes a list of names."""
    listed_as: str
    named_by: str
    """The member of what is listed that is the name."""

    def parameters(self, value: str) -> dict[str, Any]:
        """Return the question for one value."""
        return {self.asked_by: [value]}

    def check(self, answer: Mapping[str, Any], value: str) -> None:
        """Given the answer, raise NotThereError if the value is not in it, ImageStateError if it is of no use."""
        found = [one for one in answer.get(self.listed_as) or () if one.get(self.named_by) == value]
        if not found:
            raise NotThereError(f"{self.operation}: the cloud does not know it")
        state = str(found[0].get("State") or "available")
        if self.listed_as == "Images" and state != "available":
            raise ImageStateError(f"{self.operation}: the image is {shown(state)}, not available")


_IMAGE = Lookup("image_id", ("image_id",), "DescribeImages", "ImageIds", "Images", "ImageId")
_TYPE = Lookup(
    "flavour",
    ("flavour", "instance_types"),
    "DescribeInstanceTypes",
    "InstanceTypes",
    "InstanceTypes",
    "InstanceType",
)
_KEY = Lookup("key_name", ("key_name",), "DescribeKeyPairs", "KeyNames", "KeyPairs", "KeyName")
_SUBNET = Lookup("subnet_id", ("subnets", "subnet_id"), "DescribeSubnets", "SubnetIds", "Subnets", "SubnetId")
_ZONE = Lookup("zones", ("zones",), "DescribeAvailabilityZones", "ZoneNames", "AvailabilityZones", "ZoneName")
_GROUP_OPTIONS = ("security_groups",)
_GROUP = Lookup("security_groups", _GROUP_OPTIONS, "DescribeSecurityGroups", "GroupIds", "SecurityGroups", "GroupId")
_GROUP_NAME = Lookup(
    "security_groups", _GROUP_OPTIONS, "DescribeSecurityGroups", "GroupNames", "SecurityGroups", "GroupName"
)


def values_of(settings: Settings, pool: Pool) -> Iterator[tuple[Lookup, str]]:
    """Yield all that launches of a pool name, each once."""
    said = set()
    for one in [pool.at(offer) for offer in pool.offers] or [pool]:
        try:
            launch = requests.required(settings, b"", one, 1, "")
        except CloudError:
            continue  # no request can say it, which is told where it was to be sent
        values = (
            (_IMAGE, launch.get("ImageId")),
            (_TYPE, launch.get("InstanceType")),
            (_KEY, launch.get("KeyName")),
            (_SUBNET, launch.get("SubnetId")),
            (_ZONE, (launch.get("Placement") or {}).get("AvailabilityZone")),
            *((_GROUP, group) for group in launch.get("SecurityGroupIds", ())),
            *((_GROUP_NAME, group) for group in launch.get("SecurityGroups", ())),
        )
        for lookup, value in values:
            if value and (lookup, value) not in said:
                said.add((lookup, value))
                yield lookup, str(value)
