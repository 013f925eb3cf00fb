"""Launches of which the answer was lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.memory import Intent, Memory, VmRecord
from elastiq.model import Instance, InstanceState, Observation, Policy, Pool
from elastiq.planning import patience
from elastiq.planning.intents import settle_seconds, usual_seconds, with_answer
from elastiq.planning.tracking import track

NOW = 1_000_000.0
POLICY = Policy(cluster="test")
LOST = Intent("t1", "default", 3, NOW - 500, unseen_since=NOW - 301)
ALIKE = Instance("i-9", InstanceState.RUNNING, launched_at=NOW - 495, type="m1.small", image_id="ami-1")
BY_LOOKS = Policy(pools=(Pool("default", 0, 5, "m1.small", "ami-1"),), cluster="test")


def listing(*instances: Instance, now: float = NOW, age: float = 0.0) -> Observation:
    return Observation(now, instances=instances, instances_age_seconds=age)


def vms(*records: VmRecord) -> Memory:
    return Memory(vms={record.id: record for record in records})


def lookalikes(*instances: Instance, intents: tuple[Intent, ...] = (LOST,)) -> list[tuple[str, ...]]:
    found = track(listing(*instances), Memory(intents=intents), BY_LOOKS).memory
    assert not found.vms
    return [intent.lookalikes for intent in found.intents]


def test_an_unclear_launch_is_settled_by_its_vms_or_by_time() -> None:
    intent = Intent("open", "default", 2, NOW - 60)
    memory = Memory(intents=(intent,))
    one = Instance("i-1", InstanceState.PENDING, client_token="open")
    two = replace(one, id="i-2")
    found_one = replace(intent, found=("i-1",))
    assert track(listing(one), memory, POLICY).memory.intents == (found_one,)
    both = track(listing(one, two), memory, POLICY).memory
    assert both.intents == ()
    assert {record.token for record in both.vms.values()} == {"open"}
    assert track(listing(one, one), memory, POLICY).memory.intents == (found_one,), "listed twice, but one all the same"
    left_out = track(listing(one, now=NOW + 100), memory, POLICY).memory
    assert left_out.intents == (replace(found_one, unseen_since=NOW + 100),), "one listing may be wrong"
    given_up = track(listing(one, now=NOW + 500), left_out, POLICY).memory
    assert given_up.intents == ()
    assert "i-2" in track(listing(one, two, now=NOW + 600), given_up, POLICY).memory.vms, "ours, whenever it turns up"
    in_hand = replace(intent, in_hand=True)
    shown = track(listing(one, two), Memory(intents=(in_hand,)), POLICY).memory
    assert [one.in_hand for one in shown.intents] == [True], "all VMs are listed, and yet no other is begun before"
    assert [shown.unseen(one) for one in shown.intents] == [0]
    stale = track(listing(now=NOW + 100, age=90.0), memory, POLICY).memory
    assert stale.intents == (intent,), "a listing from before settles nothing"


def test_launches_of_which_nothing_turns_up_make_the_next_ones_pause() -> None:
    """Found by the simulator: no answer came and listings showed nothing, and three VMs were asked for again and again,
    each of which the cloud might have made."""
    memory = Memory()
    one = Instance("i-1", InstanceState.PENDING, client_token="t2")
    for number in range(patience.BOOT_FAILURES_TO_TRIP):
        assert all(breaker.paused_until <= NOW for breaker in memory.breakers.values())
        at = NOW + number * 1000
        memory = replace(memory, intents=(Intent(f"t{number}", "default", 3, at),))
        for seconds in (200, 501):
            listed = listing(*([one] if number == 2 else []), now=at + seconds)
            memory = track(listed, memory, POLICY).memory
    breaker = memory.breakers["default"]
    assert breaker.paused_until > at + 501
    assert breaker.reason == "2 of 3 VMs of a launch without an answer never turned up"


@pytest.mark.parametrize(
    ("made_at", "counted_from"), [(NOW - 20, NOW - 20), (NOW + 900, NOW), (NOW - 9000, NOW - 500), (None, NOW - 500)]
)
def test_a_vm_of_an_unclear_launch_gets_its_time_from_when_it_was_made(
    made_at: float | None, counted_from: float
) -> None:
    """OpenStack makes one every two seconds; so far as its clock can be believed."""
    memory = Memory(intents=(Intent("t1", "default", 300, NOW - 500),))
    late = Instance("i-1", InstanceState.PENDING, client_token="t1", launched_at=made_at)
    assert track(listing(late), memory, POLICY).memory.vms["i-1"].launched_at == counted_from


def test_a_lost_launch_without_any_vm_that_looks_like_it_is_given_up() -> None:
    assert lookalikes() == []


def test_a_vm_that_looks_like_a_lost_launch_keeps_it_open() -> None:
    assert lookalikes(ALIKE) == [("i-9",)]


@pytest.mark.parametrize(
    "values",
    [
        {"image_id": "ami-2"},
        {"image_id": ""},
        {"type": "m1.large"},
        {"launched_at": NOW - 5000},
        {"launched_at": NOW},
        {"launched_at": None},
        {"cluster": "other"},
        {"state": InstanceState.TERMINATED},
    ],
    ids=str,
)
def test_a_vm_of_another_kind_does_not_look_like_it(values: dict[str, object]) -> None:
    other = replace(ALIKE, **values)  # type: ignore[arg-type]
    lost_long_ago = replace(LOST, requested_at=NOW - 2000) if values.get("launched_at") == NOW else LOST
    assert lookalikes(other, intents=(lost_long_ago,)) == []


@pytest.mark.parametrize(("type_", "known"), [("m1.small", True), ("", True), ("m1.large", False)])
def test_a_vm_looks_like_a_launch_as_it_was_asked_for_whatever_is_configured_since(type_: str, known: bool) -> None:
    """Found by the simulator: with another flavour the VMs of a lost launch counted no more, and others were added."""
    lost = replace(LOST, instance_type=type_, image_id="ami-1")
    changed = replace(BY_LOOKS, pools=(Pool("default", 0, 5, "m1.tiny", "ami-7"),))
    found = track(listing(ALIKE), Memory(intents=(lost,)), changed).memory
    assert [intent.lookalikes for intent in found.intents] == ([("i-9",)] if known else [])


def test_a_vm_looks_like_one_launch_only_and_a_launch_has_no_more_of_them_than_it_asked_for() -> None:
    vms_alike = [replace(ALIKE, id=f"i-{number}") for number in range(5)]
    second = replace(LOST, token="t2", count=1)
    assert lookalikes(*vms_alike, intents=(LOST, second)) == [("i-0", "i-1", "i-2"), ("i-3",)]


def test_nothing_is_taken_for_a_lookalike_while_more_may_turn_up() -> None:
    assert lookalikes(ALIKE, intents=(replace(LOST, unseen_since=NOW - 100),)) == [()]
    assert lookalikes(ALIKE, intents=(replace(LOST, unseen_since=None, requested_at=NOW - 100),)) == [()]


def test_a_launch_with_all_its_lookalikes_needs_no_patience() -> None:
    """Found by the simulator: the one listing at the end of the patience was wrong, and the launch given up."""
    assert lookalikes(ALIKE, intents=(replace(LOST, count=1, unseen_since=None),)) == [("i-9",)]


def test_in_a_cloud_that_shows_client_tokens_a_vm_without_one_is_somebody_elses() -> None:
    other = Instance("i-5", InstanceState.RUNNING, client_token="of-somebody")
    memory = track(listing(ALIKE, other), Memory(intents=(LOST,)), BY_LOOKS).memory
    assert memory.intents == ()
    later = track(listing(ALIKE), replace(memory, intents=(LOST,)), BY_LOOKS).memory
    assert later.intents == ()


def test_a_lookalike_that_gets_the_tag_of_the_cluster_is_its_own() -> None:
    tagged = replace(ALIKE, cluster="test")
    memory = track(listing(tagged), Memory(intents=(replace(LOST, lookalikes=("i-9",)),)), BY_LOOKS).memory
    assert set(memory.vms) == {"i-9"}
    assert memory.intents == ()


def test_a_lookalike_that_one_listing_leaves_out_still_counts() -> None:
    """Found by the simulator: the launch was given up at once, and another VM was launched in its place."""
    known = (replace(LOST, count=1, unseen_since=None, lookalikes=("i-9",)),)
    memory = track(listing(), Memory(intents=known), BY_LOOKS).memory
    assert [intent.lookalikes for intent in memory.intents] == [("i-9",)]
    again = track(listing(ALIKE, now=NOW + 60), memory, BY_LOOKS).memory
    assert again.intents == known
    gone = track(listing(now=NOW + 301), memory, BY_LOOKS).memory
    assert gone.intents == ()


def test_a_lookalike_that_has_ended_counts_no_more() -> None:
    ended = replace(ALIKE, state=InstanceState.TERMINATED)
    assert lookalikes(ended, intents=(replace(LOST, unseen_since=None, lookalikes=("i-9",)),)) == []


@pytest.mark.parametrize("shows_the_dead", [True, False])
def test_a_vm_of_an_unclear_launch_that_has_ended_is_not_unseen_again(shows_the_dead: bool) -> None:
    """It counted as one that may still turn up, where listings show no VM that has ended."""
    one = Instance("i-1", InstanceState.RUNNING, client_token="t1")
    memory = track(listing(one), Memory(intents=(Intent("t1", "default", 3, NOW - 60),)), POLICY).memory
    assert memory.unseen(memory.intents[0]) == 2
    ended = replace(one, state=InstanceState.TERMINATED)
    going = replace(memory, vms={"i-1": replace(memory.vms["i-1"], terminated_at=NOW + 10)})
    after = track(listing(*([ended] if shows_the_dead else []), now=NOW + 20), going, POLICY).memory
    assert not after.vms
    assert after.unseen(after.intents[0]) == 2
    more = [replace(one, id=id_) for id_ in ("i-2", "i-3")]
    assert track(listing(*more, now=NOW + 40), after, POLICY).memory.intents == (), "all have turned up"


def test_a_lookalike_that_one_listing_leaves_out_does_not_let_more_vms_count() -> None:
    memory = track(listing(), Memory(intents=(replace(LOST, unseen_since=None, lookalikes=("i-9",)),)), BY_LOOKS).memory
    (intent,) = memory.intents
    assert (intent.needs_people, intent.lookalikes) == (True, ("i-9",))


@pytest.mark.parametrize(
    ("took", "count", "seconds"),
    [
        ((), 4, 140.0),
        (((4, 20.0),), 4, 140.0),
        (((4, 100.0),), 4, 300.0),
        (((4, 100.0),), 2, 300.0),
        (((4, 100.0),), 8, 600.0),
        (((4, 100.0), (1, 60.0), (4, 4.0)), 4, 720.0),
        (((1, 5000.0),), 4, 900.0),
        (((1, 5000.0),), 400, 2120.0),
    ],
)
def test_a_launch_is_unclear_for_longer_where_the_cloud_was_seen_to_be_slow(
    took: tuple[tuple[int, float], ...], count: int, seconds: float
) -> None:
    memory = Memory()
    for vms_, after in took:
        memory = with_answer(memory, vms_, after)
    intent = Intent("t1", "default", count, NOW, usual_seconds=usual_seconds(memory, count))
    assert settle_seconds(intent) == seconds
    memory = replace(memory, intents=(intent,))
    assert track(listing(now=NOW + seconds), memory, POLICY).memory.intents == (intent,)
    after = track(listing(now=NOW + seconds + 1), memory, POLICY).memory.intents
    assert after == (replace(intent, unseen_since=NOW + seconds + 1),)


def test_a_cloud_that_is_fast_again_is_not_taken_for_slow_for_ever() -> None:
    memory = with_answer(Memory(), 1, 300.0)
    for _ in range(patience.LAUNCHES_REMEMBERED):
        assert usual_seconds(memory, 1) == 300.0
        memory = with_answer(memory, 1, 2.0)
    assert usual_seconds(memory, 1) == 2.0
    assert len(memory.launches_took) == patience.LAUNCHES_REMEMBERED
    assert usual_seconds(with_answer(Memory(), 1, -5.0), 1) == 0, "the clock went back"
