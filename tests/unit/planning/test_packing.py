"""Jobs into rooms."""

from __future__ import annotations

from collections import Counter

import pytest

from elastiq.decisions import Token
from elastiq.model import Shape
from elastiq.planning.packing import UNLIMITED, Rest, Room, Rooms, count, largest_first, place, take_one_each


def rest(number: int, jobs: int, cpus: int = 1, machines: int = 1) -> Rest:
    return Rest(number, Shape(cpus), jobs, machines)


def room(cpus: int, kind: Token = Token.HAS_ROOM) -> Room:
    return Room(Shape(cpus), UNLIMITED, kind)


@pytest.mark.parametrize(
    ("free", "jobs", "shape", "taken"),
    [
        pytest.param(Shape(4), UNLIMITED, Shape(1), 4, id="processors"),
        pytest.param(Shape(4, 3000), UNLIMITED, Shape(1, 1000), 3, id="memory"),
        pytest.param(Shape(4, None, 500), UNLIMITED, Shape(1, None, 300), 1, id="disk"),
        pytest.param(Shape(4, gpus=2), UNLIMITED, Shape(1, gpus=1), 2, id="graphics processors"),
        pytest.param(Shape(4), UNLIMITED, Shape(1, 1000, 10), 4, id="what is not known is not checked"),
        pytest.param(Shape(4, gpus=None), UNLIMITED, Shape(1, gpus=1), 4, id="unknown graphics processors"),
        pytest.param(Shape(4), UNLIMITED, Shape(1, gpus=1), 0, id="no graphics processor is none"),
        pytest.param(Shape(4, 0), UNLIMITED, Shape(1, 1000), 0, id="no memory left is none"),
        pytest.param(Shape(4, 0), UNLIMITED, Shape(1), 4, id="no memory left for jobs that ask for none"),
        pytest.param(Shape(4, 1000, 0), UNLIMITED, Shape(1, 1000, 1), 0, id="no disk left is none"),
        pytest.param(Shape(4), UNLIMITED, Shape(8), 0, id="too large"),
        pytest.param(Shape(4), 2, Shape(1), 2, id="no more jobs than it takes"),
        pytest.param(None, 3, Shape(64), 3, id="a room of which only the number of jobs is known"),
    ],
)
def test_a_room_takes_what_it_holds(free: Shape | None, jobs: int, shape: Shape, taken: int) -> None:
    one, some = Room(free, jobs), Rest(0, shape, 10, 1)
    assert one.holds(some) is (taken > 0)
    assert one.take(some, 10) == taken
    assert not one.holds(some)


def test_what_is_used_up_is_not_taken_for_unknown() -> None:
    one = Room(Shape(4, 2000, 100), UNLIMITED)
    assert one.take(Rest(0, Shape(1, 2000, 100), 1, 1), 1) == 1
    assert not one.holds(Rest(1, Shape(1, 500), 1, 1))
    assert not one.holds(Rest(2, Shape(1, None, 50), 1, 1))
    assert one.holds(Rest(3, Shape(1), 1, 1))


def test_a_job_that_has_its_machine_for_itself_takes_an_empty_one_alone() -> None:
    alone = Rest(0, Shape(1), 3, 1, takes_whole=True)
    one = Room(Shape(8), UNLIMITED)
    assert one.take(alone, 3) == 1
    assert not one.holds(alone)
    assert not one.holds(rest(1, 1))
    assert not Room(Shape(8), UNLIMITED, is_empty=False).holds(alone)
    shared = Room(Shape(8), UNLIMITED)
    shared.take(rest(1, 1), 1)
    assert not shared.holds(alone)


def test_jobs_are_not_put_where_they_could_never_run() -> None:
    barred = Rest(0, Shape(1), 2, 1, barred_from=frozenset({"small"}))
    placed: Counter[tuple[int, Token]] = Counter()
    rooms = [Room(Shape(4), UNLIMITED, pool="small"), Room(Shape(1), UNLIMITED, pool="large")]
    assert place([barred], Rooms(rooms), placed) == [barred._replace(jobs=1)]


def test_jobs_go_to_the_first_rooms_that_take_them_and_it_is_told_where() -> None:
    placed: Counter[tuple[int, Token]] = Counter()
    rests = [rest(0, 1, cpus=4), rest(1, 5)]
    left = place(rests, Rooms([room(4), room(2, Token.ROOM_BOOTING)]), placed)
    assert left == [rest(1, 3)]
    assert placed == {(0, Token.HAS_ROOM): 1, (1, Token.ROOM_BOOTING): 2}


def test_a_job_of_several_machines_needs_them_at_the_same_time() -> None:
    placed: Counter[tuple[int, Token]] = Counter()
    assert place([rest(0, 2, cpus=2, machines=2)], Rooms([room(4), room(4)]), placed) == []
    assert placed == {(0, Token.HAS_ROOM): 2}


def test_what_a_job_of_several_machines_still_lacks_is_left_and_it_keeps_what_is_there() -> None:
    placed: Counter[tuple[int, Token]] = Counter()
    rooms = [room(1), room(1)]
    assert place([rest(0, 3, machines=3)], Rooms(rooms), placed) == [rest(0, 1, machines=1), rest(0, 2, machines=3)]
    assert not placed
    assert place([rest(1, 1)], Rooms(rooms), placed) == [rest(1, 1)]


def test_a_job_whose_machines_are_not_all_there_yet_waits_for_those_that_boot() -> None:
    placed: Counter[tuple[int, Token]] = Counter()
    place([rest(0, 1, machines=2)], Rooms([room(1), room(1, Token.ROOM_BOOTING)]), placed)
    assert placed == {(0, Token.ROOM_BOOTING): 1}


def test_one_job_a_room_leaves_those_that_take_another() -> None:
    rooms = [room(2), room(1)]
    assert take_one_each(rooms, rest(0, 2)) == rooms[:1]


def test_the_largest_come_first() -> None:
    rests = [rest(0, 9), rest(1, 1, cpus=8), Rest(2, Shape(1, None, None, 1), 1, 1), rest(3, 1, machines=2)]
    assert [one.number for one in largest_first(rests)] == [3, 2, 1, 0]
    assert count(rests) == 12
