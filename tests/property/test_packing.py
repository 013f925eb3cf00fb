"""Jobs into rooms: what is found quickly is what asking every room for every job finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from copy import copy

from hypothesis import given, settings
from hypothesis import strategies as st

from elastiq.decisions import Token
from elastiq.memory import Memory
from elastiq.model import Policy, Pool, Shape
from elastiq.planning import packing
from elastiq.planning.fleet import Fleet
from elastiq.planning.matching import Matches
from elastiq.planning.packing import UNLIMITED, Rest, Room, Rooms, largest_first, least_cpus, place, take_one_each
from elastiq.planning.wanted import vms_for

POOLS = ["", "a", "b"]
ASKED = st.builds(
    Shape, st.integers(0, 5), st.sampled_from([None, 0, 500, 1000]), st.sampled_from([None, 0, 50]),
    st.sampled_from([None, 0, 1]),
)  # fmt: skip
FREE = st.builds(
    Shape, st.integers(0, 8), st.sampled_from([None, -1, 0, 999, 1000, 4000]), st.sampled_from([None, 0, 100]),
    st.sampled_from([None, 0, 2]),
)  # fmt: skip
rests = st.lists(
    st.builds(
        Rest, st.just(0), ASKED, st.integers(1, 30), st.sampled_from([1, 1, 1, 2, 3]), st.booleans(),
        st.frozensets(st.sampled_from(POOLS), max_size=2),
    ),
    max_size=12,
).map(lambda found: [one._replace(number=number) for number, one in enumerate(found)])  # fmt: skip
rooms = st.lists(
    st.builds(
        Room, st.none() | FREE, st.sampled_from([0, 1, 2, UNLIMITED]),
        st.sampled_from([Token.HAS_ROOM, Token.ROOM_BOOTING]), st.sampled_from(POOLS), st.booleans(),
    ),
    max_size=20,
)  # fmt: skip


def place_one_by_one(rests: Sequence[Rest], rooms: Sequence[Room], placed: Counter[tuple[int, Token]]) -> list[Rest]:
    """Put one job after the other into the first room that holds it, or the first rooms that do."""
    left: list[Rest] = []
    for rest in rests:
        jobs = rest.jobs
        while jobs:
            able = [room for room in rooms if room.holds(rest)][: rest.machines]
            for room in able:
                room.take(rest, 1)
            if len(able) < rest.machines:
                partly = [rest._replace(jobs=1, machines=rest.machines - len(able))] if able else []
                others = jobs - len(partly)
                left += [*partly, *([rest._replace(jobs=others)] if others else [])]
                break
            kinds = {room.kind for room in able}
            placed[rest.number, kinds.pop() if len(kinds) == 1 else Token.ROOM_BOOTING] += 1
            jobs -= 1
    return left


@settings(max_examples=1500)
@given(rests, rooms, st.sampled_from([1, 2, 64]))
def test_jobs_go_to_the_first_rooms_that_hold_them(rests: list[Rest], rooms: list[Room], block: int) -> None:
    placed, expected = Counter[tuple[int, Token]](), Counter[tuple[int, Token]]()
    mine, others = [copy(room) for room in rooms], [copy(room) for room in rooms]
    packing.ROOMS_OF_A_BLOCK, before = block, packing.ROOMS_OF_A_BLOCK
    try:
        left = place(rests, Rooms(mine, least_cpus(rests)), placed)
    finally:
        packing.ROOMS_OF_A_BLOCK = before
    assert left == place_one_by_one(rests, others, expected)
    assert list(placed.items()) == list(expected.items()), "in the same order, too"
    assert mine == others


@settings(max_examples=1000)
@given(rests, rests, rooms)
def test_rooms_that_have_been_asked_before_answer_as_if_new(
    first: list[Rest], second: list[Rest], rooms: list[Room]
) -> None:
    mine, others = [copy(room) for room in rooms], [copy(room) for room in rooms]
    held = Rooms(mine, least_cpus([*first, *second]))
    placed, expected = Counter[tuple[int, Token]](), Counter[tuple[int, Token]]()
    for some in (first, second):
        assert place(some, held, placed) == place_one_by_one(some, others, expected)
    assert mine == others


def wanted_one_by_one(
    left: Sequence[Rest], room: int, fresh: Room
) -> tuple[int, list[tuple[int, int, int]], list[Rest]]:
    """Return how many VMs are wanted, which of them takes how many jobs of which group, and what they do not hold."""
    rooms: list[Room] = []
    takers: list[tuple[int, int, int]] = []
    beyond = []
    for rest in largest_first(left):
        jobs, wide = rest.jobs, Counter[int]()
        if rest.machines > 1:
            while jobs and fresh.holds(rest):
                able = [number for number, present in enumerate(rooms) if present.holds(rest)]
                lacking = max(0, rest.machines - len(able))
                if len(rooms) + lacking > room:
                    break
                able += range(len(rooms), len(rooms) + lacking)
                rooms += [copy(fresh) for _ in range(lacking)]
                take_one_each([rooms[number] for number in able[: rest.machines]], rest)
                wide[max(able[: rest.machines])] += 1
                jobs -= 1
            takers += [(number, rest.number, taken) for number, taken in wide.items()]
        else:
            number = 0
            while jobs and (number < len(rooms) or (fresh.holds(rest) and number <= room)):
                if number == len(rooms):
                    rooms.append(copy(fresh))
                taken = rooms[number].take(rest, jobs)
                if taken:
                    takers.append((number, rest.number, taken))
                jobs -= taken
                number += 1
        if jobs:
            beyond.append(rest._replace(jobs=jobs))
    return len(rooms), takers, beyond


@settings(max_examples=1500)
@given(rests, st.integers(0, 8), st.none() | FREE, st.none() | st.integers(1, 4))
def test_as_many_vms_are_wanted_as_jobs_fill_one_after_the_other(
    left: list[Rest], room: int, capacity: Shape | None, jobs_per_vm: int | None
) -> None:
    pool = Pool("a")
    memory = Memory(capacities={"a": capacity} if capacity else {})
    fleet = Fleet(0.0, memory, Policy((pool,), n_jobs_per_vm=jobs_per_vm), Matches(), (), 0.0)
    wanted = vms_for(left, room, pool, fleet)
    takers = [(number, rest.number, rest.jobs) for number, rest in wanted.takers]
    assert (wanted.vms, takers, wanted.beyond) == wanted_one_by_one(left, room, fleet.new_room(pool))
