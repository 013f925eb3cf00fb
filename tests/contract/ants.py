"""An imitation of ANTS, the batch system of docs/plugins.md: `ants.py STATE-FILE COMMAND ...`.

Nothing runs: whenever somebody asks, what must have happened since the last time is worked out.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

HOST_IS_BUSY = 3


def advance(state: dict[str, Any], now: float) -> None:
    """End what has run for long enough, and start what finds an open host, in the right order."""
    at = state["at"]
    while True:
        for job in state["jobs"]:
            host = next((one for one in state["hosts"] if takes(one, state) and {*job["tags"]} <= {*one["tags"]}), None)
            if host and is_eligible(job, state):
                job.update(
                    state="runs", host=host["name"], starts=job["starts"] + 1, ends=max(at, job["at"]) + job["takes"]
                )
        ending = sorted((job for job in state["jobs"] if job["state"] == "runs"), key=lambda job: job["ends"])
        if not ending or ending[0]["ends"] > now:
            break
        job, at = ending[0], ending[0]["ends"]
        job["state"] = "done"
        host_of(state, job["host"])["idle_since"] = at
    state["at"] = now


def takes(host: dict[str, Any], state: dict[str, Any]) -> bool:
    return host["state"] == "open" and host["alive"] and not jobs_on(host, state)


def jobs_on(host: dict[str, Any], state: dict[str, Any]) -> int:
    return sum(job["state"] == "runs" and job["host"] == host["name"] for job in state["jobs"])


def is_eligible(job: dict[str, Any], state: dict[str, Any]) -> bool:
    done = {other["id"] for other in state["jobs"] if other["state"] == "done"}
    return job["state"] == "waits" and not job["held"] and (not job["after"] or job["after"] in done)


def host_of(state: dict[str, Any], name: str) -> dict[str, Any]:
    found = [host for host in state["hosts"] if host["name"] == name]
    if not found:
        sys.exit(f"ants: no host {name}")
    return found[0]


def queue(state: dict[str, Any]) -> None:
    kinds: dict[tuple[str, ...], dict[str, Any]] = {}
    for job in state["jobs"]:
        group = kinds.setdefault((*job["tags"],), {"tags": job["tags"], "jobs": 0, "running": 0})
        group["jobs"] += is_eligible(job, state)
        group["running"] += job["state"] == "runs"
    print(json.dumps({"groups": [{**group, "cpus": 1, "memory": "100M"} for group in kinds.values() if group["jobs"]]}))


def hosts(state: dict[str, Any]) -> None:
    shown = [
        {
            **{key: host[key] for key in ("name", "instance", "address", "state", "reason")},
            "cpus": 1,
            "free_cpus": 1 - jobs_on(host, state),
            "memory": "2G",
            "jobs": jobs_on(host, state),
            "idle": state["at"] - host["idle_since"],
        }
        for host in state["hosts"]
    ]
    print(json.dumps({"hosts": shown}))


def tags(state: dict[str, Any], name: str) -> None:
    print("tags:", *host_of(state, name)["tags"])


def close(state: dict[str, Any], *arguments: str) -> None:
    *options, name = arguments
    host = host_of(state, name)
    if "--if-idle" in options and jobs_on(host, state):
        sys.exit(HOST_IS_BUSY)
    host.update(state="closed", reason=options[options.index("--reason") + 1])


def open_(state: dict[str, Any], name: str) -> None:
    host_of(state, name).update(state="open", reason="")


def remove(state: dict[str, Any], name: str) -> None:
    state["hosts"].remove(host_of(state, name))


def version(state: dict[str, Any]) -> None:
    print("1.0")


def join(state: dict[str, Any], name: str, instance: str, address: str) -> None:
    host = {"name": name, "instance": instance, "address": address, "state": "open", "reason": "", "alive": True}
    state["hosts"].append({**host, "tags": ["ssd", "x86"], "idle_since": state["at"]})


def leave(state: dict[str, Any], instance: str) -> None:
    next(host for host in state["hosts"] if host["instance"] == instance)["alive"] = False


def submit(state: dict[str, Any], seconds: str, held: str, after: str, *tags: str) -> None:
    job = {"id": str(len(state["jobs"]) + 1), "state": "waits", "held": bool(held), "after": after, "starts": 0}
    state["jobs"].append({**job, "at": state["at"], "takes": float(seconds), "tags": tags, "host": ""})
    print(job["id"])


def cancel(state: dict[str, Any], id_: str) -> None:
    state["jobs"][int(id_) - 1]["state"] = "cancelled"


def end(state: dict[str, Any], id_: str) -> None:
    state["jobs"][int(id_) - 1]["ends"] = state["at"]


def job(state: dict[str, Any], id_: str) -> None:
    print(json.dumps(state["jobs"][int(id_) - 1]))


COMMANDS: dict[str, Callable[..., None]] = {
    function.__name__.rstrip("_"): function
    for function in (queue, hosts, tags, close, open_, remove, version, join, leave, submit, cancel, end, job)
}


def main(path: str, command: str, *arguments: str) -> None:
    if not os.path.exists(path):
        sys.exit("ants: antsd does not answer")
    with open(path, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        state = json.load(file)
        advance(state, time.time())
        COMMANDS[command](state, *arguments)
        advance(state, time.time())
        file.seek(0)
        file.truncate()
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    main(*sys.argv[1:])
