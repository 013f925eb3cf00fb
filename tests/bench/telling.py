"""What `elastiqctl why`, `history`, `cost` and `page` take, as whole processes beside a state that is made here."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from elastiq.memory import Memory
from elastiq.model import Demand, Observation, Policy, Pool
from elastiq.planning.plan import plan
from elastiq.planning.why import account
from elastiq.report import accounts
from elastiq.state import State, kept
from elastiq.state.archive import ARCHIVE, Archive
from elastiq.state.kept import HOUR_SECONDS, Event, Hour, Life

CONFIGURATION = """
[elastiq]
batch_plugin = {plugin}
state_dir = {state}
waiting_jobs_time_s = 3600
[ec2]
api_url = https://127.0.0.1:1
aws_access_key_id = a
aws_secret_access_key = b
image_id = ami-1
instance_types = m5.large 0.096
{more}
"""

DAY = 86400.0


def configured(home: Path, plugin: str, more: str = "") -> Path:
    """Write a configuration whose state is in `home`, and return it."""
    path = home / "elastiq.conf"
    path.write_text(CONFIGURATION.format(plugin=plugin, state=home / "state", more=more))
    path.chmod(0o600)
    return path


def planned(home: Path, demand: Sequence[Demand]) -> None:
    """Leave a state as the daemon does after its first pass beside these jobs."""
    now = time.time()
    policy = Policy(pools=(Pool("default", 0, None, "m5.large"),), waiting_jobs_time_s=3600.0)
    state = State(home / "state", now)
    made = plan(Observation(now, demand=tuple(demand), workers=(), instances=()), Memory(), policy)
    state.save(made.memory)
    state.save_report({}, accounts.written(account(made, policy, now), str))
    state.close()


def year(home: Path, now: float, vms_a_day: int) -> float:
    """Keep a year of so many VMs a day, with all events and hourly sums that are ever kept; return its size in MB."""
    chance, archive, lives = random.Random(1), Archive(home / "state"), list[Life]()
    for number in range(365 * vms_a_day):
        at = now - 365 * DAY + number * DAY / vms_a_day
        ended, idle_seconds = at + 300 + chance.expovariate(1 / 7000), chance.random() * 200
        id_, is_late = f"i-{chance.getrandbits(68):017x}", now - at < kept.TOLD_SECONDS
        because = "idle for 310 s, more than idle_for_time_s" if is_late else ""
        worker = f"ip-10-0-{number % 250}-{number % 240}.eu-west-1.compute.internal" if is_late else ""
        kind = ("spot", "m5.large", 0.03) if number % 3 else ("on-demand", "m5a.large", 0.096)
        life = Life(id_, "batch", kind[1], at, at + 90, ended, because, kind[0], "", kind[2], at + 100, idle_seconds)
        is_there = ended > now
        lives.append(
            replace(life, ended_at=None if is_there else ended, token="" if is_there else "idle", worker=worker)
        )
        if len(lives) == 20_000:
            archive.add(None, lives, now)
            lives.clear()
    text = "launch 2 VMs of pool batch at on-demand m5.large: 8 jobs lack room for 40 s; launched i-1, i-2"
    events = [
        Event(now - (kept.MOST_EVENTS - number) * 60.0, "launch", "no-room", "batch", text)
        for number in range(kept.MOST_EVENTS)
    ]
    first = now // HOUR_SECONDS * HOUR_SECONDS - 365 * DAY
    hours = [
        Hour(first + number * HOUR_SECONDS, pool, 3600.0, 3600.0, 9e4, 2e5, 600.0, 4e4, 5e4, 2e5, 900.0, 60.0)
        for number in range(365 * 24)
        for pool in ("", "batch")
    ]
    archive.add(None, lives, now, events, hours)
    archive.close()
    return (home / "state" / ARCHIVE).stat().st_size / 1e6


def asked(repetitions: int, configuration: Path, *words: str) -> dict[str, float]:
    """Run the command several times, and return its wall and CPU time, and how much it prints."""
    walls, cpus, printed = [], [], 0
    command = [sys.executable, "-m", "elastiq.cli", *words, f"--config={configuration}"]
    for _ in range(repetitions):
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        printed = len(process.stdout.read())
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode in (0, 1), "1: the daemon does not run"
        walls.append(time.perf_counter() - started)
        cpus.append(used.ru_utime + used.ru_stime)
    assert printed
    return {"wall_ms": 1000 * median(walls), "cpu_ms": 1000 * median(cpus), "printed": printed}
