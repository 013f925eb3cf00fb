"""The last day and month, out of what was kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.report.charts import Span
from elastiq.report.series import MONTH_DAYS, Lived, Past, period, read_past
from elastiq.state.archive import ARCHIVE, Archive
from elastiq.state.kept import Event, Hour, Life
from tests.conftest import MEMORY_DISK

AT = 1_790_000_000.0
"""2026-09-21 14:13:20 UTC."""
HOUR = 3600.0
NOW = AT // HOUR * HOUR
"""The hour that is not over."""


def hour(ago: int, pool: str = "", seconds: float = HOUR, **sums: float) -> Hour:
    """Return an hour; `sums` are averages of it."""
    names = {"waiting": "waiting_job_seconds", "running": "running_job_seconds"}
    filled = {names.get(name, f"{name}_vm_seconds"): value * seconds for name, value in sums.items()}
    return Hour(NOW - ago * HOUR, pool, seconds, seconds, **filled)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    archive = Archive(tmp_path)
    hours = [hour(0, seconds=800.0, waiting=6.0, running=8.0), hour(0, "a", 800.0, busy=2.0, booting=1.0, running=8.0)]
    hours += [hour(1, waiting=0.0, running=4.0), hour(1, "a", busy=1.0, idle=1.0, running=4.0), hour(1, "b", busy=1.0)]
    hours += [hour(3), hour(3, "a", asked=3.0, leaving=0.5, unknown=0.25)]
    hours += [hour(24 * 20, waiting=3.0), hour(24 * 20, "a", busy=7.0)]
    lives = [
        Life("i-1", "a", "m", AT - 7200, AT - 7000, AT - 1800, price=0.5, token="idle"),
        Life("i-2", "a", "m", AT - 4 * HOUR, None, AT - 3 * HOUR, price=0.25, token="never-joined"),
        Life("i-3", "b", "m", AT - 100 * HOUR),
    ]
    events = [Event(AT - 7000.0 + number, "launch", "no-room", "a", f"number {number}") for number in range(200)]
    archive.add(None, lives, AT, events, hours)
    archive.close()
    return tmp_path


def last(values: object, count: int = 4) -> list[float | None]:
    return list(values)[-count:]  # type: ignore[call-overload, no-any-return]


def test_the_last_day(kept: Path) -> None:
    day = read_past(kept, AT).periods[0]
    assert (day.span.steps, day.span.ends_at) == (24, NOW + HOUR)
    found = {layer.name: last(layer.values) for layer in day.capacity}
    assert found == {
        "at work": [0.0, None, 2.0, 2.0],
        "idle": [0.0, None, 1.0, 0.0],
        "booting": [3.0, None, 0.0, 1.0],
        "leaving": [0.5, None, 0.0, 0.0],
        "not in sight": [0.25, None, 0.0, 0.0],
    }
    assert day.waiting and last(day.waiting.values) == [0.0, None, 0.0, 6.0]
    assert {layer.name: last(layer.values, 2) for layer in day.spent}["at work"] == [2.0, 2 * 800 / HOUR]
    assert [layer.name for layer in day.launches] == ["launched"]
    assert sum(day.launches[0].known) == 2
    assert {layer.name: (sum(layer.known), layer.look) for layer in day.ends} == {
        "idle": (1, "idle"),
        "never-joined": (1, "bad"),
    }
    assert sum(day.money[0].known) == pytest.approx(0.5 * 1.5 + 0.25)


def test_demand_is_in_vms_of_the_jobs_at_work(kept: Path) -> None:
    demand = read_past(kept, AT).periods[0].demand
    assert demand
    # 8 jobs ran on 2 VMs, so 6 more want one and a half.
    assert last(demand.values) == [0.0, None, 2.0, 3.5]
    assert demand.name == "wanted by jobs, at most 3.50"


def test_the_last_month(kept: Path) -> None:
    month = read_past(kept, AT).periods[1]
    assert month.wide and month.wide.steps == MONTH_DAYS
    assert sum(month.launches[0].known) == 3
    work = next(layer for layer in month.spent if layer.name == "at work")
    assert work.values[-21] == 7.0
    assert sum(work.known) == pytest.approx(7 + 2 + 2 * 800 / HOUR)
    assert work.values[3] is None, "of a day without a daemon nothing is known"


def test_the_newest_events_come_first(kept: Path) -> None:
    events = read_past(kept, AT).events
    assert [event.text for event in events[:2]] == ["number 199", "number 198"]
    assert len(events) == 100


def test_nothing_kept_is_nothing(tmp_path: Path) -> None:
    past = read_past(tmp_path, AT)
    assert not past.events and not past.damage
    assert all(not layer.known for one in past.periods for layer in one.capacity)
    assert all(one.demand is None and not one.launches and not one.spent and not one.money for one in past.periods)
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).write_bytes(b"no database" * 100)
    assert "history.db" in read_past(tmp_path, AT).damage


@pytest.fixture
def rome(in_zone: Callable[[str], None]) -> None:
    in_zone("Europe/Rome")


@pytest.mark.usefixtures("rome")
def test_days_are_those_of_the_local_time_also_where_one_has_25_hours(tmp_path: Path) -> None:
    def at(text: str) -> float:
        return datetime.fromisoformat(text).timestamp()

    archive = Archive(tmp_path)
    first, end = at("2026-10-25T00:00:00+02:00"), at("2026-10-26T00:00:00+01:00")
    assert end - first == 25 * HOUR
    moments = [first + number * HOUR for number in range(25)]
    hours = [one for moment in moments for one in (Hour(moment, "", HOUR), Hour(moment, "a", busy_vm_seconds=HOUR))]
    archive.add(None, [Life("i-1", "a", "m", end - 60)], end, (), hours)
    archive.close()
    month = read_past(tmp_path, end + 12 * HOUR).periods[1]
    assert month.spent[0].values[-2:] == [25.0, None]
    assert month.launches[0].values[-2:] == [1.0, 0.0]


times = st.floats(0, 40 * 86400).map(lambda ago: AT - ago)
lives = st.builds(
    lambda number, moments, token, price: Life(
        f"i-{number}", "a", "m", min(moments), None, max(moments), price=price, token=token
    ),
    st.integers(0, 10**9),
    st.tuples(times, times) | times.flatmap(lambda at: st.tuples(st.just(at), st.floats(at, min(AT, at + 7200)))),
    st.sampled_from(["", "idle", "never-joined"]),
    st.none() | st.floats(0, 40),
)


@pytest.mark.long
@given(st.lists(lives, max_size=12, unique_by=lambda life: life.id))
def test_sums_of_lives_draw_what_each_of_them_does(all_lives: list[Life]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None) as directory:
        archive = Archive(Path(directory))
        archive.add(None, all_lives, AT)
        archive.close()
        drawn = read_past(Path(directory), AT).periods
    for one in drawn:
        assert one.wide is not None
        there = [life for life in all_lives if (life.ended_at or AT) >= drawn[1].span.begins_at]
        each = period(one.name, one.key, one.span, one.wide, (), Lived(there), AT)
        for found, expected in ((one.launches, each.launches), (one.ends, each.ends), (one.money, each.money)):
            assert [layer.name for layer in found] == [layer.name for layer in expected]
            for layer, other in zip(found, expected):
                assert layer.values == pytest.approx(other.values)


def test_many_reasons_are_put_together() -> None:
    lives = [
        replace(Life(f"i-{number}", "a", "m", AT - 60, None, AT), token=f"token-{number // 3}") for number in range(30)
    ]
    span = Span(NOW, HOUR, 1)
    ends = period("x", "x", span, span, (), Lived(lives), AT).ends
    assert len(ends) == 6
    assert ends[-1].name == "other reasons" and ends[-1].values == [15.0]
    assert len({layer.look for layer in ends}) == 6
    assert Past() == Past((), (), "")
