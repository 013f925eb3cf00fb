"""Whatever lives there are: their parts add up to them, by whatever they are told."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.calendars import Calendar
from elastiq.model import Usage
from elastiq.report.cost import BOOT, IDLE, UNKNOWN, Line, by_day, by_property, by_user, parts, total
from elastiq.report.periods import days
from elastiq.state.archive import Archive
from elastiq.state.kept import Life
from elastiq.state.past import read_first_launch, read_lives, read_parted
from tests.conftest import MEMORY_DISK

DAY = 86400.0
BEGIN = 1_795_000_000.0

times = st.floats(0, 9 * DAY).map(lambda seconds: BEGIN + seconds)


@st.composite
def lives(draw: st.DrawFn) -> Life:
    launched, joined, ended = sorted(draw(st.tuples(times, times, times)))
    has_joined, is_there = draw(st.booleans()), draw(st.booleans())
    lived = (ended - joined) if has_joined else 0.0
    idle = draw(st.one_of(st.none(), st.floats(0, 1).map(lambda share: share * lived)))
    since = draw(st.one_of(st.none(), st.floats(0, 1).map(lambda share: joined + share * lived)))
    is_idle = has_joined and is_there and since is not None and idle is not None
    return Life(
        f"i-{draw(st.integers(0, 10**9))}",
        draw(st.sampled_from("ab")),
        draw(st.sampled_from(["", "m5.large", "m5.xlarge"])),
        launched,
        joined if has_joined else None,
        None if is_there else ended,
        market=draw(st.sampled_from(["", "spot", "on-demand"])),
        price=draw(st.one_of(st.none(), st.floats(0, 40))),
        idle_seconds=min(idle, since - joined) if is_idle and idle is not None and since is not None else idle,
        idle_since=since if is_idle else None,
        worker=draw(st.sampled_from(["", "w1", "w2"])),
    )


usages = st.builds(
    lambda user, worker, begin, seconds, cpus: Usage(user, worker, begin, begin + seconds, cpus),
    st.sampled_from(["ann", "bob"]),
    st.sampled_from(["w1", "w2", "w3"]),
    times,
    st.floats(0, 2 * DAY),
    st.integers(0, 8),
)


@pytest.mark.long
@given(st.lists(lives(), max_size=12), st.lists(usages, max_size=8), times, times)
def test_sums_agree_with_the_lives_by_whatever_they_are_told(
    all_lives: list[Life], used: list[Usage], one: float, other: float
) -> None:
    since, until = sorted((one, other))
    lived = [
        max(0.0, min(until, math.inf if x.ended_at is None else x.ended_at) - max(since, x.launched_at))
        for x in all_lives
    ]
    money = math.fsum(seconds / 3600 * life.price for seconds, life in zip(lived, all_lives) if life.price is not None)
    unpriced = math.fsum(seconds for seconds, life in zip(lived, all_lives) if life.price is None)
    told = [by_property(way, all_lives, since, until) for way in ("", "pool", "market", "type")]
    told += [by_day(all_lives, days(since, until, Calendar())), by_user(all_lives, used, since, until)]
    for lines in told:
        found = total(lines.values(), len(all_lives))
        assert math.isclose(found.seconds, math.fsum(lived), rel_tol=1e-6, abs_tol=1e-2)
        assert math.isclose(found.money, money, rel_tol=1e-6, abs_tol=1e-4)
        assert math.isclose(found.unpriced_seconds, unpriced, rel_tol=1e-6, abs_tol=1e-2)
        kinds = (found.boot_seconds, found.work_seconds, found.idle_seconds, found.unknown_seconds)
        assert all(kind >= -1e-6 for kind in kinds)


def same(one: dict[str, Line], other: dict[str, Line]) -> bool:
    return one.keys() == other.keys() and all(
        math.isclose(value, vars(other[name])[key], rel_tol=1e-9, abs_tol=1e-4)
        for name, line in one.items()
        for key, value in vars(line).items()
    )


@pytest.mark.long
@given(st.lists(lives(), max_size=12, unique_by=lambda life: life.id), times, times)
def test_sums_of_whole_lives_are_the_sums_of_each(all_lives: list[Life], one: float, other: float) -> None:
    since, until = sorted((one, other))
    of_days = days(since, until, Calendar())
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None) as directory:
        archive = Archive(Path(directory))
        archive.add(None, all_lives, 1.0)
        archive.close()
        every = read_lives(Path(directory), since, until)
        parted = read_parted(Path(directory), [(since, until)] if until > since else [])
        by_days = read_parted(Path(directory), [(begin, end) for _, begin, end in of_days])
        first = read_first_launch(Path(directory), since)
    assert by_days.vms == parted.vms == (len(every.lives) if until > since else 0)
    assert first == min((x.launched_at for x in all_lives if x.ended_at is None or x.ended_at >= since), default=None)
    assert same(by_day(by_days.lives, of_days, by_days.whole), by_day(every.lives, of_days))
    for way in ("", "pool", "market", "type"):
        if until > since:
            assert same(
                by_property(way, parted.lives, since, until, parted.whole), by_property(way, every.lives, since, until)
            )


@pytest.mark.long
@given(lives())
def test_the_parts_of_a_whole_life_are_what_was_kept_of_it(life: Life) -> None:
    until = BEGIN + 10 * DAY
    sums = {"boot_seconds": 0.0, "work_seconds": 0.0, "idle_seconds": 0.0, "unknown_seconds": 0.0}
    for kind, begin, end, share in parts(life, until):
        sums[kind] += (end - begin) * share
    if life.idle_seconds is not None and life.joined_at is not None:
        going_on = 0.0 if life.idle_since is None else until - life.idle_since
        assert math.isclose(sums["idle_seconds"], life.idle_seconds + going_on, rel_tol=1e-6, abs_tol=1e-2)


def test_a_shared_vm_is_parted_by_cpu_seconds_and_nobody_pays_for_boot_and_idle() -> None:
    life = Life("i-1", "p", "t", 0.0, 100.0, 1100.0, price=3.6, idle_seconds=200.0, worker="w1")
    used = [Usage("ann", "w1", 100.0, 900.0, 3), Usage("bob", "w1", 100.0, 900.0, 1), Usage("bob", "w2", 0.0, 999.0)]
    found = by_user([life], used, 0.0, 5000.0)
    assert {name: line.seconds for name, line in found.items()} == {BOOT: 100, IDLE: 200, "ann": 600, "bob": 200}
    assert math.isclose(found["ann"].money, 0.6)


def test_work_of_which_nobody_tells_is_unknown() -> None:
    life = Life("i-1", "p", "t", 0.0, 100.0, 1100.0, idle_seconds=0.0, worker="w1")
    found = by_user([life], [Usage("ann", "w1", 100.0, 400.0), Usage("ann", "w1", 200.0, 500.0)], 0.0, 5000.0)
    assert {name: line.seconds for name, line in found.items()} == {BOOT: 100, "ann": 400, UNKNOWN: 600}
    nameless = Life("i-1", "p", "t", 0.0, 100.0, 1100.0, idle_seconds=0.0)
    assert set(by_user([nameless], [Usage("ann", "", 100.0, 400.0)], 0.0, 5000.0)) == {BOOT, UNKNOWN}
