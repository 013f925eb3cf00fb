"""The worked examples of docs/money.md, and its files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from elastiq.memory import Intent, Memory, VmRecord
from elastiq.model import Demand, Instance, InstanceState, Observation, Policy, Shape, Worker
from elastiq.planning.plan import plan
from elastiq.plugins.loading import read_without_plugin
from tests.docs.blocks import TOP
from tests.docs.test_decisions import words

PAGE = (TOP / "docs/money.md").read_text(encoding="utf-8")
ROWS = {row[0]: row[1:] for row in re.findall(r"^\| (M\d) \| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)}
FILES = re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL)
NOON = 1_699_963_200.0
"""14 November 2023, 12:00 UTC."""
BIG = Shape(8, 16000)


def policy(directory: Path, caps: str) -> Policy:
    file = directory / "elastiq.conf"
    prices = "instance_types = m5.large 0.096"
    file.write_text(
        f"[ec2]\nimage_id = ami-1\napi_url = https://cloud.example.org\n{prices}\n[quota]\nmax_vms = 200\n[elastiq]\n"
        "n_jobs_per_vm = 4\nidle_for_time_s = 1800\ncluster_name = c\n"
        f"[cost]\ncurrency = EUR\ntimezone = UTC\n{caps}\n"
    )
    return read_without_plugin(file).policy()


def vm(number: int, launched_at: float) -> VmRecord:
    joined = {"joined_at": launched_at + 100, "worker_name": f"w{number}"}
    return VmRecord(f"i-{number:08x}", "default", "", launched_at, InstanceState.RUNNING, type="m5.large", **joined)


def worker(number: int, idle_seconds: float | None) -> Worker:
    free = BIG if idle_seconds is not None else Shape(0, 0)
    jobs = 0 if idle_seconds is not None else 4
    return Worker(f"w{number}", f"i-{number:08x}", None, BIG, free, jobs, idle_seconds)


MIDNIGHT = NOON - 43200
LOST = (Intent("token", "default", 3, NOON - 30, "m5.large"),)
EXAMPLES: dict[str, tuple[Sequence[str], int, Sequence[float], Sequence[float | None], tuple[Intent, ...]]] = {
    "M1": (["20 jobs", "60 s"], 20, [], [], ()),
    "M2": (["120 VMs are busy", "20 jobs"], 20, [NOON - 9000] * 120, [None] * 120, ()),
    "M3": (["3 VMs", "30 s ago", "20 jobs"], 20, [], [], LOST),
    "M4": (["a VM has been busy since midnight", "1 job"], 1, [MIDNIGHT], [None], ()),
    "M5": (["since midnight one VM has been busy", "idle for 5 s"], 0, [MIDNIGHT] * 2, [None, 5.0], ()),
}
"""What its row must say, jobs that wait, when VMs were launched, how long their workers are idle, lost launches."""


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_planner_says_what_the_page_says(name: str, tmp_path: Path) -> None:
    says, jobs, launched, idle, intents = EXAMPLES[name]
    known, told = ROWS[name]
    assert [one for one in says if one not in known] == []
    (cap,) = re.findall(r"`(max_per_\w+ = [0-9.]+)`", known)
    records = {one.id: one for one in (vm(number, at) for number, at in enumerate(launched, 1))}
    memory = Memory(waiting_since=NOON - 60 if jobs else None, vms=records, intents=intents)
    instances = tuple(Instance(one.id, one.state, launched_at=one.launched_at, cluster="c") for one in records.values())
    workers = tuple(worker(number, seconds) for number, seconds in enumerate(idle, 1))
    demand = (Demand(Shape(), jobs),) if jobs else ()
    made = plan(Observation(NOON, demand, workers=workers, instances=instances), memory, policy(tmp_path, cap))
    assert set(re.findall(r"`(.+?)`", told)) <= {words(decision) for decision in made.decisions}


def test_every_row_is_tried() -> None:
    assert set(ROWS) == set(EXAMPLES)


def test_the_files_are_good(tmp_path: Path) -> None:
    caps, hours = FILES
    file = tmp_path / "elastiq.conf"
    rest = "[pool cpu]\n[quota]\nmax_vms = 20\n"
    file.write_text(caps.replace("[ec2]\n", "[ec2]\napi_url = https://cloud.example.org\n") + rest + hours)
    settings = read_without_plugin(file)
    assert settings.warnings == ()
    found = settings.policy()
    assert replace(found.cost, calendar=Policy().cost.calendar).max_per_month == 2_000_000_000
    assert [(one.name, one.pool, one.min_vms, one.max_vms) for one in found.schedules] == [
        ("day", "cpu", 5, None),
        ("night", "", None, 2),
    ]
