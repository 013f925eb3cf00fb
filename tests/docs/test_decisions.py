"""The worked examples of docs/decisions.md: the planner, asked with their numbers, says just what the page says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from elastiq.decisions import Decision, Kind
from elastiq.memory import Breaker, Intent, Memory, VmRecord, Watch
from elastiq.model import Demand, Instance, InstanceState, Observation, Policy, Shape, Worker
from elastiq.planning import patience
from elastiq.planning.plan import plan
from tests.docs.blocks import TOP

PAGE = (TOP / "docs/decisions.md").read_text(encoding="utf-8")
ROWS = {row[0]: row[1:] for row in re.findall(r"^\| (\w+) \| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)}
NOW = 100_000.0
POLICY = Policy(max_vms=10, cluster="c")
FOUR = replace(POLICY, n_jobs_per_vm=4)
BIG = Shape(8, 16000)
NEVER_JOINED = "it has not joined the batch system in 600 s (estimated_vm_deploy_time_s)"


def vm(number: int, age: float = 9000.0, state: InstanceState = InstanceState.RUNNING) -> VmRecord:
    id_ = f"i-{number:08x}"
    joined = {"joined_at": NOW - age + 100, "worker_name": f"w{number}"} if age > 2000 else {}
    return VmRecord(id_, launched_at=NOW - age, state=state, tagged=True, **joined)


def worker(number: int, **facts: object) -> Worker:
    return Worker(f"w{number}", instance_id=f"i-{number:08x}", capacity=BIG, **facts)


@dataclass(frozen=True)
class Example:
    """An example, and what its row must say for its numbers to be these."""

    says: Sequence[str]
    jobs: int = 0
    shape: Shape = field(default_factory=Shape)
    waited: float = 60.0
    vms: Sequence[VmRecord] = ()
    workers: Sequence[Worker] = ()
    policy: Policy = POLICY
    memory: Mapping[str, object] = field(default_factory=dict)
    cloud_answers: bool = True


KNOWN = {"capacities": {"default": BIG}}
IDLE = [worker(number, free=BIG, idle_seconds=s) for number, s in ((1, 4000.0), (2, 3700.0), (3, 100.0))]
EXAMPLES = {
    "A1": Example(["`n_jobs_per_vm = 4`", "20 jobs", "60 s"], 20, policy=FOUR),
    "A2": Example(["the same", "15 s"], 20, waited=15, policy=FOUR),
    "A3": Example(
        ["`n_jobs_per_vm = 4`", "`waiting_jobs_threshold = 10`", "9 jobs", "60 s"],
        9,
        policy=replace(FOUR, waiting_jobs_threshold=10),
    ),
    "A4": Example(
        ["`n_jobs_per_vm = 4`", "20 jobs", "60 s", "2 VMs are booting"],
        20,
        vms=[vm(number, 120, InstanceState.PENDING) for number in (1, 2)],
        policy=FOUR,
    ),
    "B1": Example(
        ["8 CPUs and 16000 MB", "12 jobs of 1 CPU and 4000 MB", "60 s"], 12, Shape(1, 4000), policy=POLICY, memory=KNOWN
    ),
    "B2": Example(["8 CPUs and 16000 MB", "2 jobs ask for 64 CPUs"], 2, Shape(64), memory=KNOWN),
    "B3": Example(
        ["6 jobs of 1 CPU and 2000 MB", "runs 2 jobs", "6 CPUs and 12000 MB"],
        6,
        Shape(1, 2000),
        vms=[vm(1)],
        workers=[worker(1, free=Shape(6, 12000), jobs=2)],
        memory=KNOWN,
    ),
    "B4": Example(
        ["40 jobs of 1 CPU", "360 s", "2 idle workers"],
        40,
        waited=360,
        vms=[vm(1), vm(2)],
        workers=[worker(number, free=BIG, idle_seconds=360.0) for number in (1, 2)],
        memory={
            **KNOWN,
            "watched": {
                Demand(Shape(), 40).key: Watch(40, 40, NOW - 360, {f"i-{n:08x}": NOW - 360 for n in (1, 2)}),
            },
        },
    ),
    "C1": Example(["`max_vms = 3`", "20 jobs", "60 s"], 20, policy=replace(FOUR, max_vms=3)),
    "C2": Example(
        ["the same", "3 VMs", "30 s ago"],
        20,
        policy=replace(FOUR, max_vms=3),
        memory={"intents": (Intent("token", "default", 3, NOW - 30),)},
    ),
    "D1": Example(
        ["`min_vms = 2`", "3 workers", "4000 s, 3700 s and 100 s"],
        vms=[vm(number) for number in (1, 2, 3)],
        workers=IDLE,
        policy=replace(POLICY, min_vms=2),
    ),
    "D2": Example(["2 jobs", "60 s", "closed 100 s ago"], 2, vms=[replace(vm(1), closing_at=NOW - 100, closed=True)]),
    "E1": Example(["700 s ago"], vms=[vm(1, 700)]),
    "E2": Example(
        ["last 3 VMs", "60 s of the pause of 300 s", "20 jobs", "for 60 s"],
        20,
        memory={
            "breakers": {"default": Breaker(3, 1, paused_until=NOW - 60 + 300, reason=f"VM i-00000001: {NEVER_JOINED}")}
        },
    ),
    "F1": Example(["20 jobs", "60 s"], 20, cloud_answers=False),
}


def words(decision: Decision) -> str:
    if decision.kind is Kind.HOLD:
        return str(decision.reason)
    if decision.kind is Kind.LAUNCH:
        return f"launch {decision.count} VM{'s' if decision.count > 1 else ''}: {decision.reason}"
    return f"{decision.kind.value} VM {decision.instance_id}: {decision.reason}"


def test_every_row_is_an_example() -> None:
    assert list(ROWS) == list(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str) -> None:
    example = EXAMPLES[name]
    situation, said = ROWS[name]
    assert [fact for fact in example.says if fact not in situation] == []
    instances = tuple(
        Instance(record.id, record.state, launched_at=record.launched_at, cluster="c") for record in example.vms
    )
    observation = Observation(
        NOW,
        demand=(Demand(example.shape, example.jobs),) if example.jobs else (),
        workers=tuple(example.workers),
        instances=instances if example.cloud_answers else None,
        faults=() if example.cloud_answers else ("VM check failed: DescribeInstances: ...",),
    )
    memory = Memory(
        waiting_since=NOW - example.waited if example.jobs else None,
        vms={record.id: record for record in example.vms},
        **example.memory,
    )
    decisions = plan(observation, memory, example.policy).decisions
    assert [words(decision) for decision in decisions] == re.findall(r"`(.+?)`", said)


def test_constants_that_the_page_names() -> None:
    assert (patience.FUTILE_SECONDS, patience.CLOSED_AT_BIRTH_SECONDS) == (300, 600)
    hours = [seconds / 3600 for seconds in patience.TRIAL_PAUSES_SECONDS]
    assert hours == [1, 2, 4, 8, 16, 24]
    assert (patience.BOOT_FAILURES_TO_TRIP, patience.BOOT_PAUSES_SECONDS) == (3, (300, 600, 1200, 1800))
    assert patience.REFUSAL_PAUSES_SECONDS == (15, 30, 60, 120, 300)
    assert (
        patience.MISSING_GRACE_SECONDS,
        patience.SETTLE_SECONDS,
        patience.SETTLE_SECONDS_PER_VM,
        patience.SETTLE_USUAL,
        patience.LAUNCHES_REMEMBERED,
        patience.LONGEST_SETTLE_SECONDS,
        patience.UNSEEN_SECONDS,
    ) == (600, 120, 5, 3, 20, 900, 300)
    defaults = {
        name: getattr(POLICY, name)
        for name in (
            "min_vms",
            "max_vms",
            "waiting_jobs_threshold",
            "waiting_jobs_time_s",
            "idle_for_time_s",
            "estimated_vm_deploy_time_s",
        )
    }
    for name, value in defaults.items():
        assert f"`{name} = {value:g}`" in PAGE
