"""Slots as HTCondor shows them, and commands of HTCondor that answer what a test has put in."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FAKE = """#!{python} -IS
import json, os, re, sys
name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
said = sys.stdin.read() if arguments[-1:] == ["-"] else ""
with open({directory!r} + "/asked", "a") as asked:
    asked.write(json.dumps([name, *arguments, *([said] if said else [])]) + "\\n")
with open({directory!r} + "/answers") as answers:
    for number, (pattern, results) in enumerate(json.load(answers)):
        if re.search(pattern, " ".join([name, *arguments])):
            count = {directory!r} + "/count-" + str(number)
            seen = os.path.getsize(count) if os.path.exists(count) else 0
            open(count, "a").write(".")
            status, output, error = results[min(seen, len(results) - 1)]
            sys.stdout.write(output)
            sys.stderr.write(error)
            sys.exit(status)
sys.exit("no answer recorded for " + " ".join([name, *arguments]))
"""

Answer = tuple[int, str, str]
SCHEDDS = ("condor_status -schedd", [(0, "schedd-a@\n", "")])
NONE_RUNNING = ("condor_q .*-totals", [(0, "Total for query: 0 jobs; 0 completed\n", "")])
NO_SLOT: Answer = (0, "", "")
DRAIN_SENT = ("condor_drain -graceful", [(0, "Sent request to drain the startd\n", "")])


class Pool:
    """Commands of HTCondor that answer what a test has put in, in PATH before the real ones."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("q", "status", "drain", "vacate", "on", "advertise", "version", "config_val"):
            script = directory / f"condor_{name}"
            script.write_text(FAKE.format(python=sys.executable, directory=str(directory)))
            script.chmod(0o755)

    def answers(self, *answers: tuple[str, list[Answer]]) -> None:
        """The first pattern that matches the command line answers: its results in turn, the last one for ever."""
        (self.directory / "answers").write_text(json.dumps(answers))

    def asked(self, command: str) -> list[list[str]]:
        lines = (self.directory / "asked").read_text().splitlines() if (self.directory / "asked").exists() else []
        return [asked for asked in map(json.loads, lines) if asked[0] == command]


def slot(**changes: Any) -> dict[str, Any]:
    """A static, idle slot of four CPUs; a change to None takes the attribute away."""
    values = {
        "Machine": "node1.pool.test",
        "Name": "slot1@node1.pool.test",
        "State": "Unclaimed",
        "Cpus": 4,
        "Memory": 8000,
        "Disk": 10240.0,
        "GPUs": 0,
        "TotalSlotCpus": 4,
        "TotalSlotMemory": 8000,
        "TotalSlotDisk": 10240.0,
        "TotalSlotGPUs": 0,
        "MyAddress": "<10.77.0.11:9618?addrs=10.77.0.11-9618&alias=node1>",
        "MyCurrentTime": 10_000,
        "EnteredCurrentState": 9_900,
        "DaemonStartTime": 5_000,
        **changes,
    }
    return {name: value for name, value in values.items() if value is not None}


def partitionable(**changes: Any) -> dict[str, Any]:
    return slot(**{"PartitionableSlot": True, "NumDynamicSlots": 0, "NumDynamicSlotsTime": 9_000, **changes})


def slots(*ads: dict[str, Any]) -> Answer:
    return (0, json.dumps(ads), "")
