"""What history and cost find out beside a daemon, or after it; by user from the plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from elastiq import ledger
from elastiq.calendars import Calendar
from elastiq.errors import BatchError, ElastiqError, PluginError
from elastiq.ledger import Asked
from elastiq.model import Cost, Usage
from elastiq.plugins.adapter import Adapter
from elastiq.state.archive import ARCHIVE, Archive
from elastiq.state.kept import Event, Hour, Life
from tests.unit.fakes import FakeBatch

NOW = 1_795_879_800.0
LIFE = Life("i-1", "a", "m5.large", NOW - 7300, NOW - 7200, NOW - 3600, price=1.0, idle_seconds=600.0, worker="w1")
THERE = Life("i-2", "a", "m5.large", NOW - 3600, NOW - 3600, idle_seconds=0.0, worker="w2")
EVENTS = [
    Event(NOW - 7301, "launch", "no-room", "a", "launched i-1"),
    Event(NOW - 3600, "terminate", "idle", "i-1", "x"),
]


class Telling(FakeBatch):
    """Tells who used which worker."""

    answer: Any = ()

    def usage(self, since: float) -> Any:
        return self.answer


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    hour = NOW // 3600 * 3600
    hours = [Hour(hour - number * 3600, "", 3600.0) for number in (0, 1, 3)]
    archive = Archive(tmp_path)
    archive.add(None, [LIFE, THERE], NOW - 60, EVENTS, hours)
    archive.close()
    return tmp_path


def costs(directory: Path, by: str = "", batch: Any = None) -> ledger.Answer:
    return ledger.costs(directory, Asked(NOW - 86400, by=by), NOW, Cost(), batch and Adapter(batch, "x"))


def test_words() -> None:
    assert ledger.asked("history", ["--since", "2d", "--csv"], NOW, Calendar()) == Asked(NOW - 172800, form="csv")
    assert ledger.asked("history", ["--vm", "i-1"], NOW, Calendar()) == Asked(0.0, "i-1")
    assert ledger.asked("cost", ["--by", "user"], NOW, Calendar()) == Asked(NOW - 30 * 86400, by="user")
    for words in (["--by", "moon"], ["--vm", "i-1"], ["7"], ["--json", "--csv"], ["--since"], ["--sin", "2d"]):
        with pytest.raises(ElastiqError, match="usage: elastiqctl cost"):
            ledger.asked("cost", words, NOW, Calendar())


def test_what_was_there_counts_until_the_daemon_wrote_last(directory: Path) -> None:
    answer = costs(directory)
    assert answer.document["total"]["vm_hours"] == pytest.approx((3700 + 3540) / 3600, abs=1e-5)
    assert answer.document["total"]["cost"] == pytest.approx(3700 / 3600, abs=1e-5)
    assert answer.is_whole and any("the daemon does not run" in note for note in answer.notes)


def test_days_are_those_of_the_time_zone_that_the_configuration_names(directory: Path) -> None:
    kiritimati = Cost(calendar=Calendar(ZoneInfo("Pacific/Kiritimati"), "Pacific/Kiritimati"))
    document = ledger.costs(directory, Asked(NOW - 86400, by="day"), NOW, kiritimati).document
    assert [line["day"] for line in document["lines"]] == ["2026-11-29"], "it is 14 hours ahead"
    assert document["total"]["vm_hours"] == pytest.approx((3700 + 3540) / 3600, abs=1e-5)


def test_gaps_are_said(directory: Path) -> None:
    answer = ledger.history(directory, Asked(NOW - 86400), NOW)
    ((begin, end),) = answer.document["gaps"]
    assert end - begin == 3600 and any("nobody looked from" in note for note in answer.notes)


def test_one_vm_with_its_events(directory: Path) -> None:
    answer = ledger.history(directory, Asked(0.0, "i-1"), NOW)
    assert [vm["id"] for vm in answer.document["vms"]] == ["i-1"] and len(answer.document["events"]) == 2
    assert answer.is_known and not ledger.history(directory, Asked(0.0, "i-9"), NOW).is_known


def test_nothing_was_kept(tmp_path: Path) -> None:
    answer = ledger.costs(tmp_path, Asked(0.0), NOW, Cost())
    assert answer.notes and answer.notes[0].startswith("nothing was kept") and answer.document["total"]["vms"] == 0


def test_damage_is_said_and_it_is_not_all(directory: Path) -> None:
    (directory / ARCHIVE).write_bytes(b"no database at all, but long enough to be taken for one" * 20)
    for answer in (costs(directory), ledger.history(directory, Asked(0.0), NOW)):
        assert not answer.is_whole and answer.document["damage"] and answer.notes


def test_by_user(directory: Path) -> None:
    batch = Telling()
    batch.answer = (Usage("ann", "w1", NOW - 7200, NOW - 4200, 2), Usage("bob", "w2", NOW - 3600))
    lines = {line["user"]: line["vm_hours"] for line in costs(directory, "user", batch).document["lines"]}
    assert lines == {
        "(boot)": pytest.approx(100 / 3600, abs=1e-5),
        "(idle)": pytest.approx(600 / 3600, abs=1e-5),
        "ann": pytest.approx(3000 / 3600, abs=1e-5),
        "bob": pytest.approx(3540 / 3600, abs=1e-5),
    }


def test_a_batch_system_that_tells_nothing_says_so(directory: Path) -> None:
    with pytest.raises(BatchError, match="does not tell who used which worker"):
        costs(directory, "user", FakeBatch())


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [Usage("a", "w", 1.0)],
        ("ann",),
        (Usage("", "w", 1.0),),
        (Usage("a\n", "w", 1.0),),
        (Usage("a", "w", 2.0, 1.0),),
        (Usage("a", "w", float("nan")),),
        (Usage("a", "w", 1.0, cpus=-1),),
    ],
)
def test_an_answer_that_breaks_the_contract_is_refused(answer: Any, directory: Path) -> None:
    batch = Telling()
    batch.answer = answer
    with pytest.raises(BatchError, match="answers to usage cannot be used"):
        costs(directory, "user", batch)


def test_a_plugin_that_fails_costs_its_answer_alone(directory: Path) -> None:
    class Failing(FakeBatch):
        def usage(self, since: float) -> Any:
            raise ZeroDivisionError

    with pytest.raises(PluginError, match="failed in usage"):
        costs(directory, "user", Failing())
