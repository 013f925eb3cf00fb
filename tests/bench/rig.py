"""What the benchmarks run elastiq against: the replayed cloud, and commands that print what HTCondor would."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from elastiq.clock import Clock
from elastiq.config import Settings
from elastiq.core import Core
from elastiq.ec2 import Ec2
from elastiq.plugins.loading import load
from elastiq.plugins.sections import HTCondorOptions
from elastiq.ports import Ports
from elastiq.process.cloud_lanes import CloudLane, CloudLanes
from elastiq.process.lanes import BatchLane, Lane
from elastiq.state import State
from tests.bench.replay import address, instance_id
from tests.unit.fakes import settings_with

DAEMON = Path(__file__).parents[2] / "scripts" / "elastiq-real.py"
CLUSTER = "bench"
IDLE_SECONDS = 100
MIB_PER_KIB = 1 / 1024


class ReplayedCloud:
    """The process that replays EC2's answers."""

    def __init__(self, vms: int, state: str = "running", latency_seconds: float = 0.0, *options: str) -> None:
        command = [sys.executable, "-m", "tests.bench.replay", str(vms), state, str(latency_seconds), *options]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def requests(self, ahead_seconds: float = 0.0) -> dict[str, int]:
        """Return how often each action has been asked for; with a bucket what it counts, after it was told the time."""
        with urllib.request.urlopen(f"{self.url}/{ahead_seconds}") as answer:
            counts: dict[str, int] = json.load(answer)
        return counts

    def __enter__(self) -> ReplayedCloud:
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.communicate()


def write_commands(directory: Path, jobs: int, vms: int, slots: int, *, wants: bool = True) -> Path:
    """Write condor_q and condor_status for so many waiting jobs and static slots; return the directory for PATH.

    Without `wants` the jobs have no Requirements, so that no VM is launched first to learn what it offers.
    """
    counts = [len(range(cpus, jobs, 4)) for cpus in range(4)]
    groups = [_group(cpus, count, wants=wants) for cpus, count in enumerate(counts, 1) if count]
    (directory / "jobs").write_text(json.dumps(groups, indent=1) if groups else "")
    shapes = [f"{number} {number} {1024 * number} 20 undefined undefined\n" for number in range(1, len(groups) + 1)]
    (directory / "evaluated").write_text("".join(shapes))
    ads = [_slot(number, vms, slots) for number in range(slots)]
    (directory / "slots").write_text(json.dumps(ads, indent=1))
    # The plugin asks some VMs for all that they say of themselves.
    of_vms: dict[str, list[dict[str, Any]]] = {}
    for ad in ads:
        of_vms.setdefault(str(ad["Machine"]), []).append(ad)
    (directory / "vms").mkdir()
    for host, its in of_vms.items():
        (directory / "vms" / host).write_text(json.dumps(its, indent=1))
    commands = directory / "bin"
    commands.mkdir()
    total = f"Total for query: {jobs} jobs; 0 completed, 0 removed, {jobs} idle, 0 running, 0 held, 0 suspended"
    scripts = {
        "condor_q": f'case " $* " in *" -totals "*) echo \'{total}\';; '
        f"*\" -jobads:new \"*) exec cat '{directory}/evaluated';; *) exec cat '{directory}/jobs';; esac",
        "condor_status": 'case " $* " in *" -schedd "*) echo head.pool.test;; '
        f"*\" -json -attributes \"*) exec cat '{directory}/slots';; "
        f'*" -json "*) all="$*"; vm=${{all#*Machine == \\"}}; exec cat \'{directory}/vms/\'"${{vm%%\\"*}}";; '
        "*) echo 1;; esac",
        "condor_version": "echo '$CondorVersion: 23.9.6 2024-08-08 BuildID: bench $'",
        "condor_drain": "exit 1",
        "condor_on": "exit 1",
        "condor_config_val": "exit 1",
    }
    for name, script in scripts.items():
        (commands / name).write_text(f"#!/bin/sh\n{script}\n")
        (commands / name).chmod(0o755)
    return commands


def _group(cpus: int, jobs: int, *, wants: bool) -> dict[str, Any]:
    """Return jobs that are alike as `condor_q -group-by -json` does."""
    requirements = '/Expr((TARGET.Arch == "X86_64") && (TARGET.OpSys == "LINUX") && (TARGET.Cpus >= RequestCpus))/'
    sizes = {"RequestCpus": cpus, "RequestMemory": 1024 * cpus, "RequestDisk": 20480}
    return {"JobCount": jobs, "JobStatus": 1, **({"Requirements": requirements} if wants else {}), **sizes}


def _slot(number: int, vms: int, slots: int) -> dict[str, Any]:
    """Return a slot as `condor_status -json` does; half of the VMs are busy."""
    vm, position = divmod(number, max(1, slots // vms))
    busy = vm % 2 == 0
    host = f"ip-{address(vm).replace('.', '-')}.pool.test"
    return {
        "Name": f"slot{position + 1}@{host}",
        "Machine": host,
        "State": "Claimed" if busy else "Unclaimed",
        "Activity": "Busy" if busy else "Idle",
        "PartitionableSlot": False,
        "Cpus": 1,
        "Memory": 2048,
        "Disk": 20971520,
        "TotalSlotCpus": 1,
        "TotalSlotMemory": 2048,
        "TotalSlotDisk": 20971520,
        "EC2InstanceId": instance_id(vm),
        "EC2PrivateIp": address(vm),
        "MyAddress": f"<{address(vm)}:9618?addrs={address(vm)}-9618&alias={host}&noUDP&sock=startd_1_2>",
        "MyCurrentTime": 1_700_001_000,
        "EnteredCurrentState": 1_700_001_000 - IDLE_SECONDS,
        "DaemonStartTime": 1_700_000_000,
    }


def configuration(
    home: Path, url: str, check_vms_every_s: float | str, *, min_vms: int | str = 0, max_vms: int = 5000
) -> Path:
    """Write a configuration for these commands and a cloud."""
    path = home / "elastiq.conf"
    path.write_text(
        f"[elastiq]\ncluster_name = {CLUSTER}\ncheck_vms_every_s = {check_vms_every_s}\n"
        f"[quota]\nmin_vms = {min_vms}\nmax_vms = {max_vms}\n"
        f"[ec2]\napi_url = {url}\naws_access_key_id = key\naws_secret_access_key = secret\n"
        "image_id = ami-0c55b159cbfafe1f0\nflavour = m5.large\n[htcondor]\nquery = cli\n"
    )
    path.chmod(0o600)
    return path


class MovableClock(Clock):
    """Real time, with jumps."""

    ahead_seconds = 0.0

    def now(self) -> float:
        return super().now() + self.ahead_seconds


class CoreRig:
    """The daemon's loop with its real ports, each in its lane, and the real state directory."""

    def __init__(self, directory: Path, cloud: ReplayedCloud, **options: Any) -> None:
        settings = settings_with(
            Settings(plugins=(HTCondorOptions(query="cli"),)),
            api_url=cloud.url,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            image_id="ami-0c55b159cbfafe1f0",
            cluster_name=CLUSTER,
            **options,
        )
        self.clock = MovableClock()
        batch = BatchLane(load("htcondor", settings), Lane("batch system", self.clock), Lane("advice", self.clock))
        ec2 = CloudLane(Ec2(settings, user_data={"default": b"#!/bin/sh\n" * 200}), CloudLanes.of(self.clock))
        self.state = State(directory, self.clock.now())
        self.core = Core(settings, Ports(self.clock, batch, ec2, self.state))

    def owned(self) -> int:
        """Return how many VMs elastiq has on record."""
        return len(self.state.load(self.clock.now()).vms)


def memory_mib(pid: int | str = "self") -> tuple[float, float]:
    """Return the resident memory of a process, now and at its peak."""
    status = Path(f"/proc/{pid}/status").read_text()
    now, peak = (int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) * MIB_PER_KIB for name in ("VmRSS", "VmHWM"))
    return now, peak


if __name__ == "__main__":
    write_commands(Path(sys.argv[1]), *map(int, sys.argv[2:5]), wants=bool(sys.argv[5]))
