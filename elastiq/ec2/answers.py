"""Answers of EC2, as botocore gives them, in elastiq's own terms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from elastiq.errors import CloudError
from elastiq.model import SPOT, Instance, InstanceState, Shape
from elastiq.redaction import Redactor
from elastiq.text import cut, printable, shown

CLUSTER_TAG = "elastiq:cluster"

POOL_TAG = "elastiq:pool"

TOKEN_TAG = "elastiq:token"  # noqa: S105 (a name, not a secret)

CONSOLE_LINES = 20

CONSOLE_CHARACTERS = 256_000
"""Of a console, from its end; AWS keeps 64 KB."""

LINE_CHARACTERS = 200
"""Of a line of a console, and of what the cloud says of a VM."""

WORD_CHARACTERS = 256
"""Of a name, type, token or tag; AWS takes no more for any of them."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}")
"""Of a VM: i-0123456789abcdef0, or a UUID where others speak EC2. It goes into requests and into every message."""

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
    """Return one instance. Raise CloudError if it has no id, or what cannot be one."""
    id_ = item.get("InstanceId")
    if not id_:
        raise CloudError("an answer names a VM without an id; will be tried again")
    if not _ID.fullmatch(id_):
        raise CloudError(f"an answer names a VM {shown(redactor.clean(id_))!r}, which is no id; will be tried again")
    tags = {tag.get("Key"): tag.get("Value") or "" for tag in item.get("Tags") or ()}
    reason = item.get("StateReason") or {}
    detail = reason.get("Message") or reason.get("Code") or ""
    # By name, for OpenStack gives a VM in error the code of a pending one. A state that nobody has heard of is alive.
    state = _STATES.get((item.get("State") or {}).get("Name") or "", InstanceState.RUNNING)
    return Instance(
        id=id_,
        state=state,
        address=_word(item.get("PrivateIpAddress")) or None,
        name=_word(item.get("PrivateDnsName")),
        type=_word(item.get("InstanceType")),
        launched_at=_epoch(item.get("LaunchTime") or ""),
        client_token=_word(item.get("ClientToken")),
        cluster=_word(tags.get(CLUSTER_TAG)),
        pool=_word(tags.get(POOL_TAG)),
        detail=detail and printable(redactor.clean(detail, foreign=True), " ")[:LINE_CHARACTERS],
        image_id=_word(item.get("ImageId")),
        market=SPOT if item.get("InstanceLifecycle") == SPOT else "",
        interrupted=reason.get("Code") in _TAKEN_BACK,
    )


def _word(text: str | None) -> str:
    """Return what the cloud calls something, fit to be kept and shown. What had to be changed is no name of ours."""
    return cut(printable(text or ""), WORD_CHARACTERS)


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
    output = output[-CONSOLE_CHARACTERS:]
    # Cleaned first, since cloud-init prints the commands that it runs, and a long line that is cut matches none.
    without_colours = re.sub(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[@-Z\\-_])", "", redactor.clean(output, foreign=True))
    lines = [printable(line, " ").rstrip()[-LINE_CHARACTERS:] for line in re.split(r"[\r\n]+", without_colours)]
    return "\n".join([line for line in lines if line][-CONSOLE_LINES:])
