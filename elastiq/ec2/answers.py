"""Answers of EC2, as botocore gives them, in elastiq's own terms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from elastiq.errors import CloudError
from elastiq.model import SPOT, Instance, InstanceState, Shape
from elastiq.redaction import Redactor
from elastiq.text import printable

CLUSTER_TAG = "elastiq:cluster"

POOL_TAG = "elastiq:pool"

TOKEN_TAG = "elastiq:token"  # noqa: S105 (a name, not a secret)

CONSOLE_LINES = 20

LINE_CHARACTERS = 200
"""Of a line of a console, and of what the cloud says of a VM."""

_STATES = {
    "pending": InstanceState.PENDING,
    "running": InstanceState.RUNNING,
    "shutting-down": InstanceState.STOPPING,
    "stopping": InstanceState.STOPPING,
    "stopped": InstanceState.STOPPED,
    "terminated": InstanceState.TERMINATED,
    "error": InstanceState.ERROR,
}


_TAKEN_BACK = ("Server.SpotInstanceTermination", "Server.SpotInstanceShutdown")
"""Codes of StateReason of VMs of the spot market that AWS has ended itself (EC2 API reference, StateReason)."""


def listed(answer: Mapping[str, Any], redactor: Redactor) -> tuple[Instance, ...]:
    """Return the instances of one page. Raise CloudError if it is none: an answer without a list is no empty list."""
    if "Reservations" not in answer:
        raise CloudError("DescribeInstances: the answer has no list of reservations; will be tried again")
    instances = []
    for reservation in answer["Reservations"]:
        if "Instances" not in reservation:
            raise CloudError("DescribeInstances: a reservation has no list of instances; will be tried again")
        instances += [instance_of(item, redactor) for item in reservation["Instances"]]
    return tuple(instances)


def instance_of(item: Mapping[str, Any], redactor: Redactor) -> Instance:
    """Return one instance. Raise CloudError if it has no id."""
    if not item.get("InstanceId"):
        raise CloudError("an answer names a VM without an id; will be tried again")
    tags = {tag.get("Key"): tag.get("Value") or "" for tag in item.get("Tags") or ()}
    reason = item.get("StateReason") or {}
    detail = reason.get("Message") or reason.get("Code") or ""
    # By name, for OpenStack gives a VM in error the code of a pending one. A state that nobody has heard of is alive.
    state = _STATES.get((item.get("State") or {}).get("Name") or "", InstanceState.RUNNING)
    return Instance(
        id=item["InstanceId"],
        state=state,
        address=item.get("PrivateIpAddress") or None,
        name=item.get("PrivateDnsName") or "",
        type=item.get("InstanceType") or "",
        launched_at=_epoch(item.get("LaunchTime") or ""),
        client_token=item.get("ClientToken") or "",
        cluster=tags.get(CLUSTER_TAG, ""),
        pool=tags.get(POOL_TAG, ""),
        detail=detail and printable(redactor.clean(detail, foreign=True), " ")[:LINE_CHARACTERS],
        image_id=item.get("ImageId") or "",
        market=SPOT if item.get("InstanceLifecycle") == SPOT else "",
        interrupted=reason.get("Code") in _TAKEN_BACK,
    )


def _epoch(timestamp: str) -> float | None:
    """Return seconds since the epoch of an ISO 8601 time, or None if it is none."""
    try:
        return datetime.fromisoformat(re.sub(r"(?:\.\d*)?Z?$", "+00:00", timestamp, count=1)).timestamp()
    except ValueError:
        return None


def shape(item: Mapping[str, Any]) -> Shape:
    """Return what a VM of an instance type holds. Raise LookupError if the cloud did not say how many vCPUs."""
    return Shape(
        cpus=int(item["VCpuInfo"]["DefaultVCpus"]),
        memory_mb=int((item.get("MemoryInfo") or {}).get("SizeInMiB") or 0) or None,
        # Without a disk of its own it has one from elsewhere, of any size.
        disk_mb=int((item.get("InstanceStorageInfo") or {}).get("TotalSizeInGB") or 0) * 1000 or None,
        gpus=sum(int(gpu.get("Count") or 0) for gpu in (item.get("GpuInfo") or {}).get("Gpus") or ()),
    )


def console_tail(output: str, redactor: Redactor) -> str:
    """Return the last CONSOLE_LINES lines with anything in them, printable characters only, without secrets."""
    # Cleaned first, since cloud-init prints the commands that it runs, and a long line that is cut matches none.
    without_colours = re.sub(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[@-Z\\-_])", "", redactor.clean(output, foreign=True))
    lines = [printable(line, " ").rstrip()[-LINE_CHARACTERS:] for line in re.split(r"[\r\n]+", without_colours)]
    return "\n".join([line for line in lines if line][-CONSOLE_LINES:])
