"""The whole daemon beside a batch system or a cloud that answers without measure: what it takes, and how late it is."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.bench.rig import DAEMON, ReplayedCloud, configuration, memory_mib, write_commands
from tests.security.floods import DOCUMENTS, FLOODS, SLOW, listed, pages, vm
from tests.security.hostile import Answer, serve

WATCHDOG_SECONDS = 1.0
"""So often the loop is asked to say that it lives."""

BESIDE = 4
"""Daemons at a time."""


def _prints(name: str, command: str) -> Callable[[Path], None]:
    return lambda commands: (commands / name).write_text(f"#!/bin/sh\n{command}\n") and None


def _slots(ads: list[dict[str, Any]]) -> Callable[[Path], None]:
    return lambda commands: (commands.parent / "slots").write_text(json.dumps(ads)) and None


def _groups(count: int) -> Callable[[Path], None]:
    sizes = {"RequestCpus": 1, "RequestDisk": 1}
    groups = [{"JobCount": 50, "JobStatus": 1, "RequestMemory": 1000 + number, **sizes} for number in range(count)]

    def write(commands: Path) -> None:
        (commands.parent / "jobs").write_text(json.dumps(groups))
        shapes = (f"{number} 1 {1000 + number} 1 undefined undefined\n" for number in range(1, count + 1))
        (commands.parent / "evaluated").write_text("".join(shapes))

    return write


def _ad(name: str, **more: Any) -> dict[str, Any]:
    cores = {"Cpus": 10**6, "TotalSlotCpus": 10**6, "Memory": 10**9, "PartitionableSlot": True}
    return {"Name": f"slot1@{name}", "Machine": name, "State": "Unclaimed", "Activity": "Idle", **cores, **more}


BATCH: dict[str, Callable[[Path], None]] = {
    "condor_status prints for ever": _prints("condor_status", 'exec yes \'{"Name": "slot1@x"},\''),
    "condor_q prints for ever": _prints("condor_q", "exec yes '{\"JobCount\": 1},'"),
    "condor_q prints errors for ever": _prints("condor_q", "exec yes 'cannot do that' >&2"),
    "condor_status prints one line for ever": _prints("condor_status", "exec tr '\\0' x < /dev/zero"),
    "condor_q hangs": _prints("condor_q", "exec sleep 100000"),
    "40 ads of 2 MB": _slots([_ad(f"long{n}", EC2InstanceId="x" * 10**6, DrainReason="y" * 10**6) for n in range(40)]),
    "20,000 workers that are none": _slots([_ad(f"many{n}", EC2InstanceId=f"i-{n:017x}") for n in range(20_000)]),
    "ads of escape sequences": _slots([_ad(f"\x1b]0;{n}\x07\n", EC2PrivateIp="\x9b31m" * 100) for n in range(1000)]),
    "1,000,000 jobs in 20,000 groups": _groups(20_000),
}

CLOUD: dict[str, Answer] = {
    **FLOODS,
    **SLOW,
    **{what: lambda to, document=document: to.answer(document) for what, (document, _) in DOCUMENTS.items()},
    "a listing that grows for ever": pages(lambda number: b"page-%d" % number),
    "one VM 20,000 times": lambda to: to.answer(listed(vm(b"i-0123456789abcdef0") * 20_000)),
}


def lived_beside_floods(seconds: float) -> dict[str, Any]:
    """Let the daemon live beside each of them for so many seconds."""
    with ThreadPoolExecutor(BESIDE) as pool:
        runs = {what: pool.submit(_beside_batch, flood, seconds) for what, flood in BATCH.items()}
        runs |= {what: pool.submit(_beside_cloud, answer, seconds) for what, answer in CLOUD.items()}
        found = {what: run.result() for what, run in runs.items()}
    for what, figures in found.items():
        print(what, *(f"{name} {value:.1f}" for name, value in figures.items()), sep="; ", file=sys.stderr)
    worst = {name: max(found, key=lambda what: found[what][name]) for name in ("peak_mib", "late_seconds", "log_kb")}
    return {"floods": len(found), **{name: (what, found[what][name]) for name, what in worst.items()}}


def _beside_batch(flood: Callable[[Path], None], seconds: float) -> dict[str, float]:
    with ReplayedCloud(1) as cloud:
        return _lived(cloud.url, flood, seconds)


def _beside_cloud(answer: Answer, seconds: float) -> dict[str, float]:
    with serve(answer) as server:
        return _lived(server.url, lambda commands: None, seconds)


def _lived(url: str, flood: Callable[[Path], None], seconds: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="elastiq-flood-") as name, _manager(Path(name) / "notify") as told:
        home = Path(name)
        flood(write_commands(home, 4, 1, 1))
        command = [sys.executable, str(DAEMON), f"--config={configuration(home, url, check_vms_every_s=5, max_vms=5)}"]
        command += [f"--logdir={home / 'log'}", f"--state-dir={home / 'state'}"]
        environment = {
            **os.environ,
            "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
            "NOTIFY_SOCKET": str(home / "notify"),
            "WATCHDOG_USEC": f"{2_000_000 * WATCHDOG_SECONDS:.0f}",
        }
        process = subprocess.Popen(command, env=environment)
        try:
            time.sleep(seconds)
            assert process.poll() is None, "the daemon lives"
            _, peak_mib = memory_mib(process.pid)
            asked = time.monotonic()
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(60)
        assert status == 0, f"the daemon ended with {status}"
        moments = [*told, asked]
        late = max(after - before for before, after in zip(moments, moments[1:])) - WATCHDOG_SECONDS
        log_kb = sum(path.stat().st_size for path in (home / "log").iterdir()) / 1000
        return {"peak_mib": peak_mib, "late_seconds": max(0.0, late), "log_kb": log_kb}


@contextlib.contextmanager
def _manager(path: Path) -> Iterator[list[float]]:
    """Yield when the daemon says that it lives, as it does to systemd."""
    told: list[float] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(path))

        def listen() -> None:
            while message := channel.recv(4096):
                if b"WATCHDOG=1" in message.split(b"\n"):
                    told.append(time.monotonic())

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield told
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(path))
        thread.join()
