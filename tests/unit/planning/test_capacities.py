"""What a VM holds is what most workers offer; one that has lost a part teaches nothing, and one alone is doubted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.decisions import End, Kind, Outcome, Token
from elastiq.memory import Intent, Memory
from elastiq.model import Demand, Policy, Pool, Shape, Worker
from elastiq.planning.capacities import capacity_of, expected, learn_capacities
from elastiq.planning.learning import learn
from elastiq.planning.plan import plan
from tests.unit.planning.table import NOW, joined, launched, of, remember, see

WHOLE, HURT = Shape(8, 16000), Shape(7, 14000)
POLICY = Policy(max_vms=10, cluster="test")
TYPED = replace(POLICY, pools=(Pool(instance_type="m"),))


def on(number: int, holds: Shape, **values: object) -> Worker:
    id_ = f"i-{number:08x}"
    return replace(Worker(f"w{number}", id_, None, holds, replace(holds, cpus=0), holds.cpus), **values)


def after(memory: Memory, *workers: Worker, policy: Policy = POLICY, type_: str = "", at: float = NOW) -> Memory:
    """Return the memory after a look at these workers alone, each on a VM of its own."""
    records = [joined(int(worker.name[1:]), type=type_) for worker in workers]
    memory = replace(memory, vms={record.id: record for record in records})
    return learn_capacities(memory, {record.id: worker for record, worker in zip(records, workers)}, policy, at)


@pytest.mark.parametrize(
    ("known", "workers", "learnt"),
    [
        pytest.param(None, [on(1, WHOLE)], WHOLE, id="the first one"),
        pytest.param(None, [on(1, WHOLE), on(2, HURT)], WHOLE, id="the larger of two"),
        pytest.param(None, [on(1, HURT), on(2, HURT), on(3, WHOLE)], HURT, id="what most hold"),
        pytest.param(WHOLE, [on(1, HURT)], WHOLE, id="one alone holds less"),
        pytest.param(WHOLE, [on(1, HURT), on(2, HURT)], HURT, id="two hold less"),
        pytest.param(HURT, [on(1, WHOLE)], WHOLE, id="one holds more"),
        pytest.param(WHOLE, [on(1, Shape(16, 8000))], WHOLE, id="one holds more of one and less of the other"),
        pytest.param(WHOLE, [on(n, HURT, hurt=True) for n in (1, 2)], WHOLE, id="two that are known to be hurt"),
        pytest.param(WHOLE, [on(n, HURT, closed=True) for n in (1, 2)], WHOLE, id="two that are closed"),
        pytest.param(None, [on(1, Shape(8))], Shape(8), id="the memory is not known"),
    ],
)
def test_what_is_learnt(known: Shape | None, workers: list[Worker], learnt: Shape) -> None:
    memory = Memory(capacities={"default": known} if known else {})
    assert after(memory, *workers).capacities == {"default": learnt}


def test_two_in_turn_that_hold_less_are_believed() -> None:
    """A cluster may never have more than one VM, and its image may have changed."""
    memory = after(Memory(capacities={"default": WHOLE}), on(1, HURT))
    assert after(memory, on(1, HURT)).capacities == {"default": WHOLE}
    assert after(memory, on(2, HURT)).capacities == {"default": HURT}


def test_one_between_them_that_is_whole_ends_the_doubt() -> None:
    memory = after(Memory(capacities={"default": WHOLE}), on(1, HURT))
    memory = after(memory, on(2, WHOLE))
    assert after(memory, on(3, HURT)).capacities == {"default": WHOLE}


def test_jobs_fit_again_when_a_hurt_vm_that_taught_alone_is_gone() -> None:
    """Nobody has ever seen another one: a VM is launched to learn from."""
    memory = after(Memory(), on(1, HURT))
    group = Demand(Shape(8, 8000), 20)
    seen = see([joined(1)], demand=(group,), workers=(on(1, HURT),))
    assert [one.reason.token for one in of(plan(seen, memory, POLICY), Kind.HOLD)] == [Token.LARGER_THAN_VM]
    gone = replace(memory, vms={}, waiting_since=NOW - 100)
    (decision,) = of(plan(see([], demand=(group,)), gone, POLICY), Kind.LAUNCH)
    assert (decision.count, decision.reason.token) == (1, Token.TO_LEARN)


def test_a_single_vm_that_holds_less_than_its_type_is_not_believed_at_once() -> None:
    memory = after(Memory(described={"m": WHOLE}), on(1, HURT), policy=TYPED, type_="m")
    group = Demand(Shape(8, 8000), 20)
    seen = see([joined(1, type="m")], demand=(group,), workers=(on(1, HURT),))
    made = plan(seen, replace(memory, waiting_since=NOW - 100), TYPED)
    assert (launched(made), of(made, Kind.LAUNCH)[0].reason.token) == (1, Token.TO_LEARN)
    four = [on(number, HURT) for number in range(1, 5)]
    records = [joined(number, type="m") for number in range(1, 5)]
    memory = after(memory, *four, policy=TYPED, type_="m")
    seen = see(records, demand=(group,), workers=tuple(four))
    assert not launched(plan(seen, replace(memory, waiting_since=NOW - 100), TYPED))


LARGE_JOBS = Demand(Shape(8, 8000), 20)
DAY_SECONDS = 86400.0


def tries(memory: Memory, now: float = NOW, *workers: Worker) -> int:
    """Return how many VMs are launched for jobs that only a whole one holds."""
    records = [joined(int(worker.name[1:])) for worker in workers]
    seen = replace(see(records, demand=(LARGE_JOBS,), workers=workers), now=now)
    made = plan(seen, replace(memory, vms={record.id: record for record in records}, waiting_since=now - 100), POLICY)
    return launched(made)


def test_two_in_turn_that_hold_less_are_doubted_as_long_as_others_held_more() -> None:
    """Both may be hurt: jobs that a whole one holds could never run again."""
    memory = after(after(Memory(capacities={"default": WHOLE}), on(1, HURT)), on(2, HURT))
    assert (memory.capacities, memory.once_held) == ({"default": HURT}, {"default": WHOLE})
    assert tries(memory) == 1
    assert tries(memory, NOW, on(2, HURT)) == 1, "one that is kept, and shows that it is too small, is none to wait for"
    restored = after(memory, on(3, WHOLE))
    assert (restored.capacities, restored.once_held) == ({"default": WHOLE}, {})


def test_four_in_turn_that_hold_less_show_what_vms_hold_by_now() -> None:
    memory = Memory(capacities={"default": WHOLE})
    for number in range(1, 5):
        memory = after(memory, on(number, HURT))
    assert (memory.once_held, tries(memory)) == ({}, 0)


def test_what_no_worker_has_shown_for_a_day_is_tried_again_once() -> None:
    """The first ones may all have been hurt, or the image is another one since."""
    memory = Memory()
    for number in range(1, 5):
        memory = after(memory, on(number, HURT))
    assert tries(memory, NOW + DAY_SECONDS / 2) == 0
    late = NOW + DAY_SECONDS + 1
    assert tries(memory, late) == 1
    group = replace(memory, waiting_since=late - 100)
    tried = plan(replace(see([], demand=(LARGE_JOBS,)), now=late), group, POLICY).memory
    assert tries(tried, late + 1800) == 0, "that one booted in vain"
    assert tries(tried, late + 3601) == 1
    shown = after(tried, on(5, HURT), at=late + 200)
    assert tries(shown, late + 7200) == 0


def test_where_the_cloud_describes_nothing_two_that_say_the_same_are_not_enough() -> None:
    """Found by the simulator: the first two of a type were both hurt, and jobs for a whole one waited for a day."""
    memory = after(after(Memory(), on(1, HURT)), on(2, HURT))
    assert tries(memory, NOW + 1800) == 1
    shown = after(after(memory, on(3, HURT)), on(4, HURT))
    assert tries(shown, NOW + 1800) == 0
    described = replace(memory, described={"default": HURT})
    assert tries(described, NOW + 1800) == 0


def test_a_pool_whose_workers_all_say_that_they_are_hurt_is_tried_ever_less_often() -> None:
    memory, trials = after(after(Memory(capacities={"default": WHOLE}), on(1, HURT)), on(2, HURT)), 0
    for hour in range(48):
        now = NOW + hour * 3600
        made = plan(
            replace(see([], demand=(LARGE_JOBS,)), now=now), replace(memory, vms={}, waiting_since=now - 100), POLICY
        )
        trials += launched(made)
        memory = made.memory
    assert trials <= 7


def test_a_trial_that_the_cloud_refuses_is_none() -> None:
    memory = after(after(Memory(capacities={"default": WHOLE}), on(1, HURT)), on(2, HURT))
    made = plan(see([], demand=(LARGE_JOBS,)), replace(memory, vms={}, waiting_since=NOW - 100), POLICY)
    (decision,) = of(made, Kind.LAUNCH)
    asked = replace(made.memory, intents=(Intent("t", "default", 1, NOW),))
    refused = learn(asked, Outcome(decision, End.FAILED, "quota", token="t"), NOW)
    assert refused.showings["default"].try_at == 0.0


def test_that_workers_still_show_it_is_noted_now_and_then() -> None:
    memory = after(Memory(), on(1, WHOLE))
    assert after(memory, on(1, WHOLE), at=NOW + 60).showings is memory.showings
    assert after(memory, on(1, WHOLE), at=NOW + 7200).showings["default"].at == NOW + 7200


def test_a_type_that_no_worker_has_shown_holds_back_what_others_do() -> None:
    memory = Memory(
        described={"m": Shape(4, 16000), "xl": Shape(16, 64000)},
        capacities={"m": Shape(4, 15200)},
        taught_by={"m": ("i-1", "i-2")},
    )
    assert expected(memory, Pool(instance_type="xl")) == Shape(16, 60800)
    assert capacity_of(memory, Pool(instance_type="m")) == Shape(4, 15200)


def test_a_job_that_fits_a_worker_that_is_there_waits_for_it_and_is_not_said_to_be_hopeless() -> None:
    group = Demand(Shape(16, 8000), 1)
    records = [joined(1)]
    workers = (on(1, WHOLE), Worker("big", None, "10.9.9.9", Shape(32, 64000), Shape(0, 64000), 32))
    memory = remember(records, capacities={"default": WHOLE}, waiting_since=NOW - 100)
    made = plan(see(records, demand=(group,), workers=workers), memory, POLICY)
    assert [one.reason.token for one in of(made, Kind.HOLD)] == [Token.LARGER_THAN_NEW_VM]
    assert not launched(made)


def test_the_free_disk_that_is_given_as_capacity_is_not_written_down_all_the_time() -> None:
    memory = after(Memory(), on(1, replace(WHOLE, disk_mb=10_000)))
    assert after(memory, on(1, replace(WHOLE, disk_mb=9_500))).capacities is memory.capacities
    assert after(memory, on(1, replace(WHOLE, disk_mb=5_000))).capacities["default"].disk_mb == 5_000
