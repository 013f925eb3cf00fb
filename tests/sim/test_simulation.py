"""A slice of the simulation that `make sim` runs for hundreds of years, and what it once found."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastiq.model import Shape
from elastiq.sim.__main__ import main
from elastiq.sim.engine import DAY, HOUR
from elastiq.sim.proof.book import INVARIANTS, Book, Violation
from elastiq.sim.proof.crowd import NO_ROOM
from elastiq.sim.proof.faults import AT_RESTART, IN_VAIN, ONE_OFF, PROBABILITIES
from elastiq.sim.proof.life import Life, Options, live
from elastiq.sim.proof.reckoning import Reckoning
from elastiq.sim.replay import traces as workload
from elastiq.sim.things import START
from tests.unit.fakes import settings_with

pytestmark = pytest.mark.usefixtures("quiet")


FOUND = (
    0,
    1,
    7,
    11,
    13,
    18,
    20,
    38,
    80,
    86,
    94,
    102,
    119,
    124,
    157,
    168,
    234,
    237,
    246,
    248,
    257,
    280,
    598,
    614,
    685,
    766,
    858,
    1007,
    1590,
    1716,
    1816,
    2120,
    100449,
    101320,
)
"""Seeds that once ended in a violation, of the daemon or of the simulator itself."""


FOUND_IN_VAIN = (196, 258, 279, 507, 545, 993, 1153, 5006, 5014, 5029, 5035, 6001, 6007)
"""Lives in which jobs never start, workers are of no use, or the cloud gives nothing."""


@pytest.mark.parametrize("seed", FOUND)
def test_seeds_that_once_broke_a_promise(seed: int) -> None:
    assert not live(seed, Options(in_vain=0.0)).violation


@pytest.mark.parametrize("seed", FOUND_IN_VAIN)
def test_seeds_that_once_broke_a_promise_where_jobs_never_start(seed: int) -> None:
    assert not live(seed).violation


@pytest.mark.parametrize("seed", range(1, 7))
def test_several_offers_whose_room_comes_and_goes(seed: int) -> None:
    result = live(seed, Options(life_seconds=15 * DAY, adaptive=0.5, wide=0.3, offers=1.0))
    assert not result.violation
    assert result.book.faults[NO_ROOM]


WITH_MONEY = range(1, 6)
OF_MONEY = Options(life_seconds=10 * DAY, adaptive=0.5, wide=0.3, offers=0.3, money=1.0)


@pytest.mark.parametrize("seed", WITH_MONEY)
def test_caps_in_money_and_schedules(seed: int) -> None:
    result = live(seed, OF_MONEY)
    assert not result.violation
    assert result.book.tested["never above max_per_hour"] + result.book.tested["nothing at a cap"]


FOUND_BY_MORE_OF_THEM = (
    (30047, 0.0),
    (30108, 0.0),
    (30155, 0.0),
    (30163, 0.0),
    (31087, 0.0),
    (31137, 0.0),
    (32143, 0.5),
    (48041, 0.5),
    (48042, 0.5),
    (60142, 0.5),
)
"""The same, where all lives are such and some of them adaptive: seeds and the share of the latter."""


@pytest.mark.parametrize(("seed", "adaptive"), FOUND_BY_MORE_OF_THEM)
def test_seeds_that_once_broke_a_promise_where_jobs_never_start_in_every_life(seed: int, adaptive: float) -> None:
    wide = 0.5 if seed > 40_000 else 0.0
    assert not live(seed, Options(in_vain=1.0, adaptive=adaptive, wide=wide)).violation


@pytest.mark.parametrize("seed", [57, 419, 2275, 20275])
def test_seeds_that_once_broke_a_promise_among_all_that_may_be(seed: int) -> None:
    assert not live(seed, Options(adaptive=0.5, wide=0.2)).violation


@pytest.mark.parametrize(
    ("seed", "options"),
    [
        (803, Options(adaptive=0.3, wide=0.2, offers=0.3, money=1.0)),
        (81039, Options(adaptive=0.5, wide=0.3, offers=1.0, money=0.5)),
    ],
)
def test_seeds_that_once_broke_a_promise_where_money_is_short(seed: int, options: Options) -> None:
    assert not live(seed, options).violation


@pytest.mark.parametrize("seed", [41103, 41120, 42002])
def test_seeds_that_once_broke_a_promise_where_jobs_need_several_vms(seed: int) -> None:
    assert not live(seed, Options(in_vain=0.0, adaptive=0.5, wide=1.0)).violation


UNCLEAR_LAUNCHES = (
    "launch: answer lost, nothing made",
    "launch: answer lost, VMs made later",
    "launch: answer lost, VMs made",
    "configuration reload",
    "listing: fresh VMs missing",
    "restart",
    "killed after a call",
    "spot loss",
)


def test_lives_in_which_answers_to_launches_are_lost() -> None:
    asked_again = 0
    for seed in (8, 1019, 1055, *range(30_000, 30_006)):
        result = live(seed, Options(dialect="aws", kinds=UNCLEAR_LAUNCHES, life_seconds=20 * DAY))
        assert not result.violation, f"seed {seed}"
        asked_again += result.book.work["launches asked for again"]
    assert asked_again


def test_lives_in_a_cloud_that_shows_no_client_tokens() -> None:
    known_by_looks = 0
    kinds = ("launch: answer lost, VMs made", "launch: answer lost, some VMs made")
    for seed in range(40_000, 40_020):
        result = live(seed, Options(dialect="openstack", kinds=kinds, life_seconds=10 * DAY))
        assert not result.violation, f"seed {seed}"
        known_by_looks += result.book.work["VMs known by their looks"]
    assert known_by_looks


def test_a_slice_of_many_lives_keeps_every_promise_and_meets_every_fault() -> None:
    book = Book()
    for seed in range(10_000, 10_080):
        result = live(seed, Options(life_seconds=20 * DAY, adaptive=0.5, wide=0.2))
        assert not result.violation, f"seed {seed}"
        book.add(result.book)
    for seed in WITH_MONEY:
        book.add(live(seed, OF_MONEY).book)
    assert [name for name in INVARIANTS if not book.tested[name]] == []
    rare = {kind for kind in (*PROBABILITIES, *ONE_OFF, *IN_VAIN, *AT_RESTART) if not book.faults[kind]}
    assert len(rare) <= 8, f"never injected: {sorted(rare)}"


@pytest.mark.parametrize("seed", range(20_000, 20_006))
def test_nothing_happens_in_the_time_that_is_passed_over(seed: int) -> None:
    result = live(seed, Options(life_seconds=4 * DAY, prove_skips=True, adaptive=0.5, wide=0.5))
    assert not result.violation
    assert result.book.tested["time passed over is quiet"]


def test_a_seed_gives_the_same_history_every_time() -> None:
    histories: list[list[str]] = [[], []]
    for history in histories:
        live(4711, Options(life_seconds=5 * DAY), history.append)
    assert histories[0] == histories[1]
    assert len(histories[0]) > 100


@pytest.mark.parametrize("real_state", [0.0, 1.0], ids=["quick", "database"])
def test_a_process_killed_at_any_call_loses_nothing(real_state: float, tmp_path: Path) -> None:
    """One life a call: before its effect, and after it."""
    calls = 0
    for number in range(1, 45):
        for before in (True, False):
            directory = tmp_path / f"{number}-{before}"
            life = Life(5, Options(real_state=real_state, kinds=("launch: answer lost, VMs made",)), directory)
            life.settings = life.world.settings = settings_with(
                life.settings, max_vms=3, min_vms=0, n_jobs_per_vm=1, idle_for_time_s=300.0, waiting_jobs_threshold=0
            )
            life.core.reconfigure(life.settings, life.batch, life.cloud)
            life.gate.kill_at, life.gate.kill_before = number, before
            for _ in range(4):
                life.world.submit(Shape(1), 300.0)
            life.run_until(START + 3 * HOUR)
            life.run_until(START + 3 * HOUR + life.reckoning.recovery_seconds())
            life.reckoning.reckon()
            life.close()
            assert not life.world.waiting
            calls += life.book.work["starts of the daemon"] == 2
    assert calls >= 60, "the kills must have struck"


def test_a_broken_promise_is_told_with_its_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(self: Life) -> None:
        raise Violation("no job killed: for the test")

    monkeypatch.setattr(Reckoning, "reckon", broken)
    assert main(["--years", "0.1", "--processes", "1", "--seed", "7"]) == 1
    assert "--replay 7" in capsys.readouterr().out


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--years", "0.1", "--processes", "1", "--dialect", "openstack"]) == 0
    out = capsys.readouterr().out
    assert "violations: 0" in out
    assert "no job killed" in out


def test_a_trace_gives_the_jobs(tmp_path: Path) -> None:
    path = tmp_path / "trace.swf"
    path.write_text("; a comment\n1 0 5 600 1 -1 -1 1\n2 30 5 300 2 -1 -1 2\n3 40 5 -1 2 -1 -1 2\n")
    assert workload.read(str(path)) == ((0.0, 600.0, 1), (30.0, 300.0, 2))
    result = live(3, Options(life_seconds=4 * DAY, workload=str(path)))
    assert not result.violation
    assert result.book.work["jobs"]


def test_what_is_no_trace_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "trace.swf"
    path.write_text("1 0 5 600 1\nnonsense\n")
    with pytest.raises(ValueError, match=r"trace\.swf:2: not a line"):
        workload.read(str(path))
