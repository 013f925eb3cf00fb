"""A worker whose root lies: it may keep or lose its own VM, and costs others no job, no VM, and one boot at most."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest

from elastiq.decisions import Kind
from elastiq.model import ON_DEMAND, SPOT, Demand, Policy, Shape, Worker
from elastiq.planning.plan import plan
from tests.unit.fakes import settings_with
from tests.unit.planning.table import NOW, joined, of, remember, see, worker
from tests.unit.rig import SETTINGS, Rig

pytestmark = pytest.mark.xdist_group("security")

BOOT_SECONDS = SETTINGS.elastiq.estimated_vm_deploy_time_s
HUGE = Shape(10**6, 10**9, 10**9, 10**3)
NOTHING = Shape(0, 0, 0, 0)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Two VMs at work; the root of one of them is the attacker's."""
    made = Rig(tmp_path, settings_with(SETTINGS, n_jobs_per_vm=4))
    made.wait_for_jobs(8)
    made.run(60)
    made.wait_for_jobs(0)
    made.join_all(jobs=4)
    assert len(made.cloud.alive) == 2
    made.run(60)
    return made


def lie(rig: Rig, *, name: str = "", **said: object) -> Worker:
    """Have the second VM's worker say so, or another that it makes up."""
    assert rig.batch.joined
    own = f"node-{list(rig.cloud.vms)[1]}"
    told = replace(rig.batch.joined[own], **{"name": name or own, **said})  # type: ignore[arg-type]
    rig.batch.joined[name or own] = told
    return told


IDLE = {"jobs": 0, "idle_seconds": 1e6, "free": Shape(4, 4000)}
ENDLESS = [1e6, 1e308, math.inf, 0.0, -1.0]


@pytest.mark.parametrize("idle_seconds", ENDLESS)
@pytest.mark.parametrize("by", ["id", "address", "name"])
def test_the_vm_of_another_user_whose_job_runs_is_never_ended(by: str, idle_seconds: float, rig: Rig) -> None:
    victim = rig.cloud.alive[0]
    rig.cloud.vms = {n: replace(vm, address=f"10.0.0.{n[-1]}") for n, vm in rig.cloud.vms.items()}
    rig.run(60)
    said = {**IDLE, "idle_seconds": idle_seconds, "instance_id": None}
    if by == "id":
        said["instance_id"] = victim
    elif by == "address":
        said["address"] = rig.cloud.vms[victim].address
    lie(rig, name=f"NODE-{victim}" if by == "name" else "liar", **said)
    rig.run(2 * 3600)
    assert victim not in [id_ for ids in rig.cloud.terminations for id_ in ids]
    assert ("close", victim) not in rig.batch.calls or not rig.cloud.terminations


def test_two_that_claim_one_vm_are_named_and_the_others_go_as_usual(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    victim, own = rig.cloud.alive
    assert rig.batch.joined
    rig.batch.join(victim, idle_seconds=1e6)
    lie(rig, name="liar", instance_id=victim, jobs=1)
    rig.batch.join(own, idle_seconds=1e6)
    rig.run(3600)
    assert rig.cloud.alive == [victim], "which is held back, and said"
    assert "liar of the batch system all claim" in caplog.text or "all claim" in caplog.text


SHAPES = {"10^6 CPUs": HUGE, "nothing": NOTHING, "less than that": Shape(-1, -1, -1, -1)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize("name", ["", "made-up"], ids=["its own VM", "a worker that is none"])
def test_room_that_is_none_holds_others_up_for_one_boot(name: str, shape: Shape, rig: Rig) -> None:
    launched = len(rig.cloud.launches)
    rig.wait_for_jobs(4)
    for age in range(0, int(BOOT_SECONDS) + 120, 15):
        lie(
            rig,
            name=name,
            jobs=0,
            idle_seconds=float(age),
            capacity=shape,
            free=shape,
            **({"instance_id": None} if name else {}),
        )
        rig.run(15)
        if len(rig.cloud.launches) > launched:
            return
    raise AssertionError(str(rig.cloud.launches))


def test_room_under_ever_new_names_holds_others_up_for_one_boot(rig: Rig) -> None:
    launched = len(rig.cloud.launches)
    rig.wait_for_jobs(4)
    assert rig.batch.joined
    for number in range(int(BOOT_SECONDS + 120) // 15):
        rig.batch.joined.pop(f"liar-{number - 1}", None)
        rig.batch.joined[f"liar-{number}"] = Worker(f"liar-{number}", None, None, HUGE, HUGE, idle_seconds=0.0)
        rig.run(15)
    assert len(rig.cloud.launches) > launched


JUST_IDLE = {"jobs": 0, "idle_seconds": 0.0, "capacity": HUGE, "free": HUGE}
FULL = {**JUST_IDLE, "jobs": 4, "idle_seconds": None, "free": NOTHING}
WAYS = {"just idle": [JUST_IDLE], "full now and then": [JUST_IDLE, JUST_IDLE, FULL]}


@pytest.mark.parametrize("ways", WAYS.values(), ids=list(WAYS))
def test_a_vm_that_always_has_just_become_idle_holds_others_up_for_one_boot(
    ways: list[dict[str, object]], rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """It looks like one whose jobs are short, but none of those that wait begins."""
    caplog.set_level(logging.INFO)
    rig.batch.jobs = (Demand(Shape(), 4, running=0),)
    room_seconds = 0
    for number in range(240):
        said = ways[number % len(ways)]
        lie(rig, **said)
        rig.run(15)
        room_seconds += 15 * (said is JUST_IDLE)
        if len(rig.cloud.launches) > 1:
            break
    assert room_seconds < BOOT_SECONDS + 120
    own = list(rig.cloud.vms)[1]
    assert f"VM {own} is taken for no room for 4 waiting jobs any more" in caplog.text


def test_the_next_jobs_of_others_are_not_held_up_again(rig: Rig) -> None:
    rig.wait_for_jobs(4)
    for age in range(0, int(BOOT_SECONDS) + 120, 15):
        lie(rig, **JUST_IDLE)
        rig.run(15)
        if age == 15:
            assert len(rig.cloud.launches) == 1
    assert len(rig.cloud.launches) == 2
    rig.cloud.run()
    new = rig.cloud.alive[-1]
    rig.batch.join(new, jobs=4)
    rig.wait_for_jobs(0)
    rig.run(600)
    rig.wait_for_jobs(4)
    rig.run(120)
    assert len(rig.cloud.launches) == 3


def test_huge_vms_are_not_learnt_from_one_that_lies(rig: Rig) -> None:
    """Otherwise its pool would count as one that holds whatever is asked for, and VMs would be launched in vain."""
    lie(rig, capacity=HUGE, free=HUGE)
    rig.run(600)
    launched = len(rig.cloud.launches)
    rig.batch.jobs = (Demand(Shape(10**5), 100),)
    for _ in range(4 * 12):
        rig.run(300)
        rig.cloud.run()
        for id_ in rig.cloud.alive:
            if rig.batch.joined is not None and f"node-{id_}" not in rig.batch.joined:
                rig.batch.join(id_)
    assert sum(rig.cloud.launches[launched:]) <= 3, "the first ones that join tell the truth"


def test_thousands_of_ads_end_nothing_and_fill_no_log(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for number in range(5_000):
        lie(rig, name=f"liar-{number}", instance_id=f"i-{number:08x}9", jobs=0, idle_seconds=1e6, free=Shape(0))
    rig.wait_for_jobs(4)
    rig.run(60)
    assert not rig.cloud.terminations
    assert sum(len(record.getMessage()) for record in caplog.records) < 100_000


def test_a_vm_that_says_it_is_busy_for_ever_is_the_only_one_that_stays(rig: Rig) -> None:
    victim, own = rig.cloud.alive
    rig.batch.join(victim, idle_seconds=1e6)
    lie(rig, jobs=1, idle_seconds=None)
    rig.run(3600)
    assert rig.cloud.alive == [own]
    assert rig.cloud.terminations == [(victim,)]


def test_a_vm_that_says_it_is_closed_gets_no_job_and_keeps_no_other(rig: Rig) -> None:
    victim = rig.cloud.alive[0]
    rig.batch.join(victim, idle_seconds=1e6)
    lie(rig, closed=True, closed_by_other=True, jobs=0, idle_seconds=0.0)
    rig.run(3600)
    assert victim not in rig.cloud.alive


def test_room_on_the_only_worker_holds_others_up_until_the_first_trial(tmp_path: Path) -> None:
    """It looks like jobs that never start. docs/security.md says how an administrator sees it, and ends it."""
    rig = Rig(tmp_path, settings_with(SETTINGS, n_jobs_per_vm=4, idle_for_time_s=3600))
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.join_all(jobs=4)
    rig.wait_for_jobs(0)
    rig.run(60)
    (own,) = rig.cloud.alive
    rig.wait_for_jobs(4)
    for _ in range(3 * 3600 // 60):
        rig.batch.join(own, jobs=0, idle_seconds=0.0)
        rig.run(60)
        if len(rig.cloud.launches) > 1:
            break
    assert 3600 < rig.clock.now() - rig.core.memory.vms[own].launched_at < 3600 + 2 * BOOT_SECONDS


@pytest.mark.parametrize("market", [SPOT, ON_DEMAND])
def test_only_of_spot_vms_it_is_believed_that_the_cloud_takes_them_back(market: str) -> None:
    record = joined(1, market=market, at_work=True, work_from=NOW - 1000)
    lies = replace(worker(1, running=1), interrupted=True, closed=True)
    later, memory = NOW, remember([record])
    for _ in range(4):
        made = plan(see([record], workers=(lies,), now=later), memory, Policy(max_vms=5, cluster="test"))
        later, memory = later + 60, made.memory
    assert bool(of(made, Kind.REQUEUE)) == (market == SPOT)
    calm = Policy(max_vms=5, cluster="test", requeues_interrupted=False)
    assert not of(plan(see([record], workers=(lies,), now=later), memory, calm), Kind.REQUEUE)
