"""What is asked of HTCondor, and the child process that asks through the Python bindings.

`python -m elastiq.plugins.htcondor_query demand|workers|probe SECONDS` prints one JSON document. It is a process of its
own because a C++ library that hangs or crashes must not take the daemon along, and because of its size.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from typing import Any

WAITING_CONSTRAINT = (
    "JobStatus == 1"
    # Grid, local and scheduler universe: they run on the submit node or elsewhere, never on a worker.
    " && JobUniverse =!= 9 && JobUniverse =!= 12 && JobUniverse =!= 7"
    # In the hands of the job router or another manager: the schedd does not match it.
    ' && Managed =!= "External"'
    # Not yet due: the very condition under which HTCondor itself matches a job with a deferral time or a cron schedule.
    " && (DeferralTime - DeferralPrepTime > time() + ScheddInterval) =!= true"
)
"""Jobs that a new worker could run."""

SHAPE_EXPRESSIONS = (
    "int(RequestCpus)",
    "int(ceiling(RequestMemory))",
    "int(ceiling(RequestDisk / 1024.0))",
    "int(RequestGPUs)",
    "int(MinHosts)",
)
"""CPUs, memory (MB), disk (MB, from KB), GPUs, and how many slots a job of the parallel universe needs. `int` makes
an error of whatever is no number, so that nobody's text gets into the answer."""

JOB_ATTRIBUTES = ("JobStatus", "RequestCpus", "RequestMemory", "RequestDisk", "RequestGPUs", "MinHosts")
"""The schedd groups by these, and adds what their expressions refer to. Without JobStatus it returns no group."""

SLOT_CONSTRAINT = "(DynamicSlot =!= true || SlotBrokenCode =!= undefined || SlotBrokenReason =!= undefined)"
"""Dynamic slots are counted by NumDynamicSlots of the partitionable slot that they were cut from. Broken ones are asked
for: from 24.1 on they may stay when their job is gone (CONTINUE_TO_ADVERTISE_BROKEN_DYNAMIC_SLOTS), and are counted."""

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
    "MyAddress",
    "MyCurrentTime",
    "EnteredCurrentState",
    "DaemonStartTime",
)


def _demand(htcondor2: Any, classad2: Any) -> dict[str, Any]:
    expressions = [classad2.ExprTree(expression) for expression in SHAPE_EXPRESSIONS]
    groups: Counter[tuple[int | None, ...]] = Counter()
    schedds = _schedds(htcondor2)
    for location in schedds:
        rows = htcondor2.Schedd(location).query(
            constraint=WAITING_CONSTRAINT, projection=list(JOB_ATTRIBUTES), opts=htcondor2.QueryOpt.GroupBy
        )
        for row in rows:
            values = (expression.eval(row) for expression in expressions)
            groups[tuple(_number(value) for value in values)] += int(row["JobCount"])
    return {
        "schedds": sorted(str(location["Name"]) for location in schedds),
        "groups": [[count, *shape] for shape, count in groups.items()],
    }


def _number(value: Any) -> int | None:
    # `undefined` and `error` are members of an integer enumeration: 2 and 1, which must not pass for numbers.
    return int(value) if type(value) in (int, float) else None


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


QUESTIONS = {"demand": _demand, "workers": _workers, "probe": _probe}


def _say(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
    print(f"{kind.__name__}: {error}", file=sys.stderr)


def main(arguments: list[str]) -> int:
    """Answer one question on standard output and return the exit status; raise whatever the bindings raise."""
    question, seconds = arguments
    signal.alarm(int(float(seconds)) + 1)  # the end of this process, should the daemon die before it
    sys.excepthook = _say  # whatever the bindings raise becomes part of the daemon's error message
    import classad2  # type: ignore[import-not-found,unused-ignore]
    import htcondor2  # type: ignore[import-not-found,unused-ignore]

    answer = QUESTIONS[question](htcondor2, classad2)
    sys.stdout.write(json.dumps(answer, separators=(",", ":")) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
