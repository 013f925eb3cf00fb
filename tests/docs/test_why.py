"""The table of docs/why.md: each situation is made here, and `elastiqctl why` gives the token that the page says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from elastiq import questions
from elastiq.config import Settings
from elastiq.decisions import Decision, End, Kind, Outcome, Reason, Token
from elastiq.memory import Breaker, Futility, Memory, VmRecord
from elastiq.model import (
    SPOT,
    Cost,
    Demand,
    Eligibility,
    Explanation,
    InstanceState,
    Judgement,
    Offer,
    Policy,
    Pool,
    Shape,
    Standing,
    Worker,
)
from elastiq.planning.plan import plan
from elastiq.planning.remedies import REMEDIES
from elastiq.planning.why import account
from elastiq.plugins.gridengine_explain import parse_job as parse_gridengine
from elastiq.plugins.htcondor_explain import parse_job as parse_htcondor
from elastiq.plugins.sections import SandboxOptions
from elastiq.plugins.slurm_explain import parse_job as parse_slurm
from elastiq.report import accounts
from elastiq.sandbox.spool import Job, Spool
from elastiq.state import State
from elastiq.state.archive import Archive
from elastiq.state.kept import Life
from tests.docs import telling
from tests.docs.blocks import TOP
from tests.unit.fakes import settings_with
from tests.unit.planning.table import BY_SHAPE, HOLDS_4, NOW, PLAIN, jobs, joined, remember, see, vm, wide, worker

PAGE = (TOP / "docs/why.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| (.+?) \| `([a-z-]+)` \|$", PAGE, re.MULTILINE))
RECORDED = TOP / "tests/unit/plugins/recorded"
VM = "i-00000001"
WAITED: Mapping[str, object] = {"waiting_since": NOW - 100}
NO, UNKNOWN = Judgement(Eligibility.NO, "no HasCVMFS"), Judgement(Eligibility.UNKNOWN, "HasCVMFS")
SHORT = replace(PLAIN, idle_for_time_s=300.0)
ADAPTIVE = replace(BY_SHAPE, is_adaptive=True, idle_for_time_s=60.0)
SMALL = Demand(Shape(1, 1000), 50, running=0)
PRICED = (Pool("default", 0, 5, "m", offers=(Offer(type="m", price=0.1, most_micros=100_000),)),)
AT_ONE_CENT = {
    name: replace(PLAIN, pools=PRICED, cost=Cost(True, "EUR", **{name: 10_000}))
    for name in ("max_per_hour", "max_per_day", "max_per_month")
}


@dataclass(frozen=True)
class Scene:
    """What is seen and remembered when `why` is asked for a job of the first group, or for the first VM."""

    demand: tuple[Demand, ...] | None = ()
    vms: tuple[VmRecord, ...] = ()
    workers: tuple[Worker, ...] | None = ()
    memory: Mapping[str, object] = field(default_factory=dict)
    policy: Policy = PLAIN
    seen: Mapping[str, Any] = field(default_factory=dict)
    asked: str = "7"
    is_running: bool = True


def job(*demand: Demand, **values: Any) -> Scene:
    return Scene(demand or (jobs(8),), **values)


def of_vm(record: VmRecord, *workers: Worker, **values: Any) -> Scene:
    return Scene(vms=(record,), workers=workers, asked=VM, **values)


FOREIGN = Worker("desk", None, "10.9.9.9", Shape(8, 8000), Shape(8, 8000), 0, 5.0)
FULL = worker(1, running=4)
BROKEN_BOOTS = {"default": Breaker(failed_boots=3, trips=1, paused_until=NOW - 1, boot_reason="VM i-9 never joined")}
SCENES: dict[str, Scene] = {
    "the queue, the workers or the VMs cannot be read": job(seen={"instances": None}),
    "a worker has room, and the batch system has not started the job yet": job(
        jobs(2), vms=(joined(1),), workers=(worker(1),)
    ),
    "a VM that boots will have room for it": job(jobs(2), vms=(vm(1),)),
    "a worker that is not elastiq's has room": job(jobs(2), workers=(FOREIGN,)),
    "a worker that was closed for its termination is opened again": job(
        jobs(2), vms=(joined(1, closing_at=NOW - 50, closed=True),), workers=(worker(1, closed=True),), memory=WAITED
    ),
    "fewer jobs than waiting_jobs_threshold lack room": job(
        jobs(2), memory=WAITED, policy=replace(PLAIN, waiting_jobs_threshold=9)
    ),
    "it has lacked room for less than waiting_jobs_time_s": job(memory={"waiting_since": NOW - 10}),
    "a VM is launched for it now": job(memory=WAITED),
    "launches pause after refusals or failed boots": job(
        memory={**WAITED, "breakers": {"default": Breaker(refusals=1, paused_until=NOW + 60, reason="no such image")}}
    ),
    "one VM is launched to try, since the last boots failed": job(memory={**WAITED, "breakers": BROKEN_BOOTS}),
    "the VM that boots after failed boots must join first": job(
        jobs(20), vms=(vm(1),), memory={**WAITED, "breakers": BROKEN_BOOTS}
    ),
    "max_vms leaves no VM for it": job(
        vms=(joined(1),), workers=(FULL,), memory=WAITED, policy=replace(PLAIN, max_vms=1)
    ),
    "max_per_hour leaves too little for a VM": job(memory=WAITED, policy=AT_ONE_CENT["max_per_hour"]),
    "max_per_day leaves too little for a VM": job(memory=WAITED, policy=AT_ONE_CENT["max_per_day"]),
    "max_per_month leaves too little for a VM": job(memory=WAITED, policy=AT_ONE_CENT["max_per_month"]),
    "it needs several machines, and max_vms leaves too few for now": job(
        wide(1, 3, cpus=4),
        vms=(joined(1, type="small"),),
        workers=(worker(1, running=2, cpus=2),),
        memory={**WAITED, "capacities": {"large": Shape(4, 4000)}},
        policy=replace(BY_SHAPE, pools=(Pool(instance_type="large"),), max_vms=3),
    ),
    "it needs more machines than max_vms": job(wide(1, 9), memory=WAITED),
    "it needs more machines than the cloud has given": job(
        wide(1, 5),
        memory={**WAITED, "capacities": HOLDS_4, "breakers": {"default": Breaker(most=3, most_until=NOW + 100)}},
        policy=replace(BY_SHAPE, max_vms=10, pools=(Pool(),)),
    ),
    "no VM holds it": job(jobs(2, cpus=64), memory={**WAITED, "capacities": HOLDS_4}, policy=BY_SHAPE),
    "only a worker that is there holds it, and that is full": job(
        jobs(1, cpus=16),
        workers=(replace(FOREIGN, capacity=Shape(32, 8000), free=Shape(0, 8000), jobs=32, idle_seconds=None),),
        memory={**WAITED, "capacities": HOLDS_4},
        policy=BY_SHAPE,
    ),
    "it wants what no VM offers": job(
        Demand(Shape(), 8, wants="x", judgements={"default": NO}), memory={**WAITED, "capacities": HOLDS_4}
    ),
    "jobs like it do not start although there is room": job(
        SMALL, memory={**WAITED, "futile": {SMALL.key: Futility(50, try_at=NOW + 3500, tried_at=NOW - 100)}}
    ),
    "it is not known whether a VM could run it, so one is launched": job(
        Demand(Shape(), 8, wants="x", judgements={"default": UNKNOWN}), memory=WAITED
    ),
    "it is not known whether a VM could run it, and one that boots will tell": job(
        Demand(Shape(4, 4000), 8, wants="x", judgements={"default": UNKNOWN}),
        vms=(vm(1),),
        memory={**WAITED, "capacities": HOLDS_4},
        policy=BY_SHAPE,
    ),
    "the daemon does not run": job(memory=WAITED, is_running=False),
    "jobs run on it": of_vm(joined(1), worker(1, running=1)),
    "it is idle, but not for idle_for_time_s": of_vm(joined(1), worker(1, idle_seconds=9.0)),
    "it is idle, and jobs that wait are to start there": of_vm(
        joined(1),
        worker(1, idle_seconds=100.0),
        demand=(Demand(Shape(4), 1, vms_per_job=2),),
        memory={"capacities": HOLDS_4},
        policy=ADAPTIVE,
    ),
    "it is idle, and min_vms keeps it": of_vm(
        joined(1), worker(1, idle_seconds=9999.0), policy=replace(PLAIN, min_vms=1)
    ),
    "it boots": of_vm(vm(1)),
    "its worker has left the batch system lately": of_vm(joined(1, lost_since=NOW - 9)),
    "the cloud has announced that it takes it back": of_vm(
        joined(1, market=SPOT), worker(1, running=1, closed=True, interrupted=True)
    ),
    "somebody else closed its worker": of_vm(joined(1), worker(1, closed=True, closed_by_other=True)),
    "its worker is closed, and nobody says by whom": of_vm(joined(1), worker(1, closed=True)),
    "the cloud does not list it": of_vm(joined(1, missing_since=NOW - 20), worker(1), seen={"instances": ()}),
    "two workers claim it": of_vm(joined(1), worker(1, idle_seconds=9999), worker(1, idle_seconds=99, name="old")),
    "another VM has its address": Scene(
        vms=(joined(1, address="10.0.0.5"), joined(2, address="10.0.0.5")),
        workers=(Worker("any", address="10.0.0.5", idle_seconds=5.0),),
        asked=VM,
    ),
    "the cloud ends it": of_vm(joined(1, terminated_at=NOW - 9, doomed=True)),
    "its termination failed and is tried again later": of_vm(
        joined(1, doomed=True, closing_at=NOW - 99, terminate_retry_at=NOW + 9)
    ),
    "the cloud has not answered to its termination": of_vm(
        joined(1, doomed=True, closing_at=NOW - 9, termination_asked_at=NOW - 5)
    ),
    "the workers or the VMs cannot be read": of_vm(joined(1), seen={"workers": None}),
    "it goes, idle for long": of_vm(joined(1), worker(1, idle_seconds=9999.0)),
    "it goes, for it is in the way of a VM that jobs need": of_vm(
        joined(1, type="small"),
        worker(1, idle_seconds=9999),
        demand=(jobs(1, cpus=8),),
        memory=WAITED,
        policy=replace(BY_SHAPE, pools=(Pool("default", 0, None, "large"),), min_vms=1, max_vms=1),
    ),
    "it goes, idle, for the money is spent": of_vm(
        joined(1), worker(1, idle_seconds=9), policy=AT_ONE_CENT["max_per_day"]
    ),
    "it goes, as was begun before": of_vm(joined(1, closing_at=NOW - 9), worker(1)),
    "it goes, in error": of_vm(vm(1, state=InstanceState.ERROR)),
    "it goes, for it never joined": of_vm(vm(1, launched_at=NOW - 601)),
    "it goes, for its worker was away for too long": of_vm(joined(1, lost_since=NOW - 3601)),
    "it goes, closed and idle for very long": of_vm(joined(1), worker(1, idle_seconds=7201, closed=True)),
    "it goes, for others closed it before it ran anything": of_vm(joined(1, failed_boot=True), worker(1, closed=True)),
    "it goes, launched for jobs that do not start": of_vm(
        joined(1, joined_at=NOW - 70, launched_at=NOW - 500),
        worker(1, idle_seconds=70),
        demand=(SMALL,),
        memory={"futile": {SMALL.key: Futility(50, try_at=NOW + 3500, tried_at=NOW - 100)}},
        policy=BY_SHAPE,
    ),
    "it goes, for the cloud takes it back anyway": of_vm(
        joined(1, market=SPOT), worker(1, closed=True, interrupted=True)
    ),
}
"""Whatever the planner decides."""


def recorded(name: str) -> str:
    return (RECORDED / name).read_text(encoding="utf-8")


def of_gridengine(name: str) -> Explanation:
    found = parse_gridengine(recorded(f"gridengine/{name}"))
    assert found is not None
    return Explanation(found.standing(NOW, 0))


def of_htcondor(name: str) -> Explanation:
    found = parse_htcondor(recorded(f"htcondor/{name}"))
    assert found is not None
    return Explanation(found.standing)


def of_slurm(reason: str) -> Explanation:
    header = "\x1f".join("ABCDEF") + "\x1e"
    found = parse_slurm(f"{header}\n7\x1fPD\x1f0\x1f{reason}\x1fbatch\x1f\x1e\n", NOW)
    assert found is not None
    return Explanation(found.standing)


TOLD: dict[str, Callable[[], Explanation]] = {
    "an array runs as many tasks as its cap allows": lambda: of_gridengine("qstat-job-array.xml"),
    "its licences are used up": lambda: of_slurm("Licenses"),
    "it is of the local universe": lambda: of_htcondor("job-local.json"),
    "it is for a partition that elastiq does not serve": lambda: Explanation(Standing.ELSEWHERE),
    "it asks for a machine by its name": lambda: Explanation(Standing.BOUND),
    "its reservation has not begun": lambda: of_slurm("Reservation"),
}
"""Whatever the batch system says that the sandbox has not."""

SPOOL: dict[str, Callable[[Spool], str]] = {
    "it is held": lambda spool: spool.submit(Job("new", ["true"]), held=True).id,
    "it waits for another job": lambda spool: (
        spool.submit(Job("new", ["true"], after=spool.submit(Job("new", ["true"])).id)).id
    ),
    "it asks to start later": lambda spool: spool.submit(Job("new", ["true"], not_before=9e9)).id,
    "it has come since the daemon last looked": lambda spool: spool.submit(Job("new", ["true"])).id,
    "it runs": lambda spool: moved(spool, "running/w"),
    "it has ended": lambda spool: moved(spool, "done"),
    "there is no such job": lambda _: "4711",
}
"""Whatever happens to jobs of the sandbox."""


def moved(spool: Spool, folder: str) -> str:
    one = spool.submit(Job("new", ["true"]))
    (spool.directory / folder).mkdir(exist_ok=True)
    spool.move(one, "queue", folder)
    return one.id


def ended(state: State, archive: Archive, *, by_elastiq: bool) -> None:
    archive.add(None, [Life(VM, "default", "m", NOW - 900, NOW - 800, NOW - 50)], NOW)
    if by_elastiq:
        decision = Decision(Kind.TERMINATE, Reason(Token.IDLE, "idle for 4000 s", VM), instance_id=VM)
        state.record(NOW - 50, decision, Outcome(decision, End.DONE, "terminated"))


GONE: dict[str, Callable[[State, Archive], None]] = {
    "it is gone, and elastiq terminated it": lambda state, archive: ended(state, archive, by_elastiq=True),
    "it is gone, and elastiq did not terminate it": lambda state, archive: ended(state, archive, by_elastiq=False),
    "it is gone, and the cloud says how it ended": lambda state, _: state.record(
        NOW - 50, Decision(Kind.HOLD, Reason(Token.VM_ENDED, f"VM {VM} is gone: spot", VM)), None
    ),
    "it is gone, for the cloud has taken it back": lambda state, _: state.record(
        NOW - 50, Decision(Kind.HOLD, Reason(Token.VM_INTERRUPTED, f"VM {VM} is gone: spot", VM)), None
    ),
    "there is no such VM": lambda *_: None,
}
"""Whatever became of VMs."""

OTHERS = {"the batch plugin cannot tell of single jobs": "cannot-tell"}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    made = State(tmp_path, NOW)
    yield made
    made.close()


def keep(state: State, scene: Scene) -> None:
    """Write what the daemon would after its pass."""
    records = list(scene.vms)
    seen = replace(see(records, demand=scene.demand, workers=scene.workers), **scene.seen)
    made = plan(seen, remember(records, **scene.memory), scene.policy)
    state.save(made.memory)
    state.save_report({}, accounts.written(account(made, scene.policy, NOW), str))


def asked(directory: Path, name: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, is_running: bool) -> Any:
    monkeypatch.setattr(questions, "find_daemon", lambda _: 1 if is_running else None)
    return questions.of_one(name, questions.Known.read(directory), settings)


def tokens(answer: questions.Answer) -> list[str]:
    """Return the tokens, each of which is shown to people as well, with what would change it."""
    told = answer.document["told"]
    assert all(one["remedy"] and one["text"] for one in told)
    assert all(any(line.startswith(one["token"].upper()) for line in answer.lines) for one in told)
    return [one["token"] for one in told]


@pytest.mark.parametrize("name", SCENES)
def test_what_the_planner_decides(name: str, tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = SCENES[name]
    keep(state, scene)
    if scene.asked != VM and scene.demand:
        monkeypatch.setattr(
            telling, "TOLD", [Explanation(Standing.WAITS, "no match", replace(scene.demand[0], jobs=1))]
        )
    settings = settings_with(batch_plugin="tests.docs.telling")
    answer = asked(tmp_path, scene.asked, settings, monkeypatch, scene.is_running)
    assert ROWS[name] in tokens(answer)
    assert answer.is_known
    assert answer.is_whole == scene.is_running


@pytest.mark.parametrize("name", TOLD)
def test_what_batch_systems_say(name: str, tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(state, Scene())
    monkeypatch.setattr(telling, "TOLD", [TOLD[name]()])
    answer = asked(tmp_path, "7", settings_with(batch_plugin="tests.docs.telling"), monkeypatch, is_running=True)
    assert tokens(answer) == [ROWS[name]]


@pytest.mark.parametrize("name", SPOOL)
def test_what_happens_to_jobs(name: str, tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(state, Scene())
    spool = Spool(tmp_path / "spool")
    spool.create()
    number = SPOOL[name](spool)
    settings = replace(settings_with(batch_plugin="sandbox"), plugins=(SandboxOptions(spool_dir=spool.directory),))
    answer = asked(tmp_path, number, settings, monkeypatch, is_running=True)
    assert tokens(answer) == [ROWS[name]]
    assert answer.is_known == (ROWS[name] != "no-such-job")


@pytest.mark.parametrize("name", GONE)
def test_what_became_of_vms(name: str, tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(state, Scene())
    archive = Archive(tmp_path)
    GONE[name](state, archive)
    archive.close()
    answer = asked(tmp_path, VM, settings_with(batch_plugin="tests.docs.telling"), monkeypatch, is_running=True)
    assert tokens(answer)[0] == ROWS[name]
    assert answer.is_known == (ROWS[name] != "no-such-vm")


def test_a_plugin_that_cannot_tell(tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(state, Scene())
    answer = asked(tmp_path, "7", settings_with(batch_plugin="tests.docs.silent"), monkeypatch, is_running=True)
    assert tokens(answer) == [ROWS[next(iter(OTHERS))]]
    assert not answer.is_whole


def test_every_row_is_made_here() -> None:
    assert list(ROWS) == [*SPOOL, *TOLD, *OTHERS, *SCENES, *GONE]
    assert len(ROWS) >= 40


def test_the_page_has_every_token_of_a_job_or_a_vm_or_says_that_it_is_of_the_whole_cluster() -> None:
    whole = {"below-minimum", "spare", "lookalike", "asked-again", "kept-as-spare", "vm-vanished", "ended-after-all"}
    whole |= {"requeued", "unused-room"}
    assert {token.value for token in REMEDIES} == {*ROWS.values(), *whole}


def test_the_daemon_that_has_not_planned_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "find_daemon", lambda _: 1)
    answer = questions.of_all(questions.Known.read(tmp_path))
    assert tokens(answer) == ["not-seen"]
    assert Memory() == questions.Known.read(tmp_path).memory
