"""What is asked of HTCondor, and the child process that asks through the Python bindings.

`python -m elastiq.plugins.htcondor_query workers|probe SECONDS` prints one JSON document. It is a process of its
own because a C++ library that hangs or crashes must not take the daemon along, and because of its size.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

from elastiq.errors import BatchError
from elastiq.model import Worker
from elastiq.plugins.kit import tell_errors_briefly

SLOT_ATTRIBUTES = (
    "Machine",
    "Name",
    "PartitionableSlot",
    "DynamicSlot",
    "State",
    "Draining",
    "DrainReason",
    "NumDynamicSlots",
    "NumDynamicSlotsTime",
    "Cpus",
    "Memory",
    "Disk",
    "GPUs",
    "TotalSlotCpus",
    "TotalSlotMemory",
    "TotalSlotDisk",
    "TotalSlotGPUs",
    "SlotBrokenCode",
    "SlotBrokenReason",
    "BrokenSlotCpus",
    "BrokenSlotMemory",
    "BrokenSlotDisk",
    "BrokenSlotGPUs",
    "OfflineGPUs",
    "EC2InstanceId",
    "EC2PrivateIp",
    "ElastiqInterruption",
    "MyAddress",
    "MyCurrentTime",
    "EnteredCurrentState",
    "DaemonStartTime",
)

LONGEST = 4000
"""Characters of a value of an ad: what is longer is none that a machine would say of itself. Addresses by way of
several CCB brokers have some 1,000."""

_PLAIN = "(size({0}) <= {1}) =!= false && isList({0}) =!= true && isClassAd({0}) =!= true"

_SHORT = "(size(unparse({0})) <= {1}) =!= false"
"""It is slow where lists are very deep."""

_HARMLESS = " && ".join((_SHORT if name == "OfflineGPUs" else _PLAIN).format(name, LONGEST) for name in SLOT_ATTRIBUTES)

SLOT_CONSTRAINT = (
    f"(DynamicSlot =!= true || SlotBrokenCode =!= undefined || SlotBrokenReason =!= undefined) && {_HARMLESS}"
)
"""Dynamic slots are counted by NumDynamicSlots of the partitionable slot that they were cut from. Broken ones are asked
for: from 24.1 on they may stay when their job is gone (CONTINUE_TO_ADVERTISE_BROKEN_DYNAMIC_SLOTS), and are counted.
Ads whose values are so long that nobody could read the answer are left out: any worker may advertise such (measured:
0.15 s more for 2,000 slots)."""


def perhaps(worker: Worker) -> str:
    """Return a constraint that is met by every ad that may be of `worker`."""
    terms = []
    if worker.name:
        terms.append(f"Machine == {quoted(worker.name)}")
    if worker.instance_id:
        terms.append(f"EC2InstanceId == {quoted(worker.instance_id)}")
    if worker.address:
        listens = quoted(f"<{worker.address}:")
        terms.append(f"EC2PrivateIp == {quoted(worker.address)}")
        terms.append(f"substr(MyAddress, 0, {len(worker.address) + 2}) == {listens}")
    return " || ".join(f"({term}) =?= true" for term in terms) or "false"


def quoted(text: str) -> str:
    """Return `text` as a ClassAd string. Raise BatchError for what no ClassAd string should carry."""
    if not text.isprintable():
        raise BatchError(f"{text[:100]!r} cannot be the name, address or instance id of a worker")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _workers(htcondor2: Any, classad2: Any) -> list[dict[str, Any]]:
    slots = htcondor2.Collector().query(
        htcondor2.AdType.Startd, constraint=SLOT_CONSTRAINT, projection=list(SLOT_ATTRIBUTES)
    )
    if not slots:
        _schedds(htcondor2)
    answer = []
    for slot in slots:
        values = {name: slot.eval(name) for name in SLOT_ATTRIBUTES if name in slot}
        answer.append({name: value for name, value in values.items() if type(value) in (str, int, float, bool)})
    return answer


def _schedds(htcondor2: Any) -> list[Any]:
    schedds = list(htcondor2.Collector().locateAll(htcondor2.DaemonType.Schedd))
    if not schedds:
        raise RuntimeError("the collector knows no schedd: has it just been restarted?")
    return schedds


def _probe(htcondor2: Any, classad2: Any) -> str:
    return " ".join(str(htcondor2.version()).split()[1:2])


QUESTIONS = {"workers": _workers, "probe": _probe}


def main(arguments: list[str]) -> int:
    """Answer one question on standard output and return the exit status; raise whatever the bindings raise."""
    question, seconds = arguments
    signal.alarm(int(float(seconds)) + 1)  # the end of this process, should the daemon die before it
    tell_errors_briefly()
    import classad2  # type: ignore[import-not-found,unused-ignore]
    import htcondor2  # type: ignore[import-not-found,unused-ignore]

    answer = QUESTIONS[question](htcondor2, classad2)
    sys.stdout.write(json.dumps(answer, separators=(",", ":")) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
