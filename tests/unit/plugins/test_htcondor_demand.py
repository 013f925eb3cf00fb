"""How waiting jobs are counted, from recorded answers; tests/e2e has real ones."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from elastiq.clock import Clock
from elastiq.errors import BatchError
from elastiq.plugins import htcondor_demand
from elastiq.plugins.htcondor_demand import (
    BEYOND,
    CONSTRAINT,
    JOB_ATTRIBUTES,
    MOST_WANTS,
    SHAPE_EXPRESSIONS,
    Bindings,
    Commands,
    Row,
    counted,
)
from elastiq.plugins.kit import Deadline
from tests.unit.plugins.condor import NO_SLOT, NONE_RUNNING, SCHEDDS, Pool

RECORDED = Path(__file__).parent / "recorded" / "htcondor"


LIMITS = ("condor_config_val", [(0, "LIC_LIMIT = 9\n", "")])


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pool:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Pool(tmp_path)


def commands() -> Commands:
    return Commands(Deadline(Clock(), 60.0, "HTCondor"))


class Given:
    """A pool with the given rows: counts, whether they wait, and what is not as usual of the jobs."""

    def __init__(self, *rows: tuple[int, bool, Mapping[str, str]], limits: Mapping[str, str] | None = None) -> None:
        self._rows = [Row(dict(ad), jobs, is_waiting) for jobs, is_waiting, ad in rows]
        self._limits = limits or {}

    def rows(self, attributes: Sequence[str]) -> tuple[list[str], list[Row]]:
        return ["a"], self._rows

    def numbers(self, rows: Sequence[Row]) -> list[tuple[int | None, ...]]:
        return [(int(row.ad.get("requestcpus", "1")), None, None, None, None) for row in rows]

    def limits(self) -> Mapping[str, str]:
        return self._limits


def groups(source: Given, *asked: str) -> list[tuple[int, int, Any, str]]:
    """Return jobs, running, CPUs and wants of each group, most jobs first."""
    answer = json.loads(json.dumps(counted(source, asked)))
    found = [(group[0], group[1], group[2], answer["wants"][group[-1]]) for group in answer["groups"]]
    return sorted(found, key=lambda group: (-group[0], group[3]))


class TestCounted:
    def test_running_jobs_are_counted_beside_waiting_ones(self) -> None:
        rows = [(3, True, {}), (4, False, {}), (1, False, {"requestcpus": "2"}), (2, True, {"requestcpus": "4"})]
        assert groups(Given(*rows)) == [(3, 4, 1, ""), (2, 0, 4, "")]

    def test_what_differs_only_in_what_decides_nothing_is_one_group(self) -> None:
        rows = [(1, True, {"requirements": "TARGET.Disk >= RequestDisk", "requestdisk": str(n)}) for n in range(5)]
        assert groups(Given(*rows)) == [(5, 0, 1, "")]

    def test_requirements_make_groups(self) -> None:
        rows = [(1, True, {"requirements": "HasA"}), (2, True, {"requirements": "(HasA)"}), (4, True, {})]
        assert groups(Given(*rows)) == [(4, 0, 1, ""), (3, 0, 1, '{"requirements":"(HasA)"}')]

    def test_what_workers_ask_for_makes_groups(self) -> None:
        rows = [(1, True, {"owner": '"a"'}), (2, True, {"owner": '"b"'})]
        assert [group[0] for group in groups(Given(*rows))] == [3]
        assert [group[0] for group in groups(Given(*rows), "owner")] == [2, 1]

    def test_jobs_that_take_what_there_is(self) -> None:
        texts = [
            "TARGET.Cpus",
            "TotalSlotCpus",
            "target.TotalCpus",
            "TARGET.DetectedCpus",
            "4",
            "Cpus + 1",
            "TARGET.Foo",
        ]
        found = [
            counted(Given((1, True, {"requestmemory": text})), ())["groups"][0][-2]
            for text in [*texts, "TARGET.Memory", "TotalSlotMemory"]
        ]
        assert found == [True, True, True, True, False, False, False, True, True]

    def test_concurrency_limits_that_are_used_up(self) -> None:
        lic, half = {"concurrencylimits": '"lic:2"'}, {"concurrencylimits": '"LIC"', "requestcpus": "2"}
        rows = [(2, False, lic), (9, True, lic), (5, True, half), (7, True, {"requestcpus": "4"})]
        limits = {"lic_limit": "9"}
        assert groups(Given(*rows, limits=limits)) == [(7, 0, 4, ""), (2, 2, 1, ""), (1, 0, 2, "")]
        assert groups(Given(*rows, limits={"lic_limit": "4"})) == [(7, 0, 4, "")]
        assert [group[0] for group in groups(Given(*rows))] == [9, 7, 5]

    def test_too_many_kinds(self) -> None:
        rows = [(1 + (n < MOST_WANTS - 1), True, {"requirements": f"A == {n}"}) for n in range(MOST_WANTS + 50)]
        found = groups(Given(*rows))
        assert len(found) == MOST_WANTS + 1
        assert found[0][:2] == (50, 0)
        assert found[0][3] == BEYOND

    def test_nothing_waits(self) -> None:
        assert counted(Given((3, False, {})), ()) == {"schedds": ["a"], "wants": [], "groups": []}


class TestCommands:
    EVALUATED = ("condor_q -jobads:new", [(0, recorded("waiting-evaluated.txt"), "")])

    def test_all_schedds_are_asked(self, pool: Pool) -> None:
        row = {"JobCount": 2, "JobStatus": 1, "RequestCpus": 1}
        pool.answers(
            ("condor_status -schedd", [(0, "schedd-a@\nschedd-b@\n", "")]),
            ("condor_q -jobads:new", [(0, "1 1 100 5 undefined 1\n2 1 100 5 undefined 1\n", "")]),
            ("condor_q", [(0, json.dumps([row]), "")]),
        )
        answer = counted(commands(), ["owner"])
        assert answer == {
            "schedds": ["schedd-a@", "schedd-b@"],
            "wants": ['{"owner":"undefined"}'],
            "groups": [[4, 0, 1, 100, 5, None, 1, False, 0]],
        }
        asked = [words for words in pool.asked("condor_q") if "-name" in words]
        assert [words[words.index("-name") + 1] for words in asked] == ["schedd-a@", "schedd-b@"]
        assert all("-allusers" in words and words[words.index("-constraint") + 1] == CONSTRAINT for words in asked)
        assert all(words[words.index("-attributes") + 1] == ",".join([*JOB_ATTRIBUTES, "owner"]) for words in asked)
        (evaluated,) = [words for words in pool.asked("condor_q") if "-name" not in words]
        assert evaluated[-5:] == list(SHAPE_EXPRESSIONS)

    def test_recorded(self, pool: Pool) -> None:
        pool.answers(SCHEDDS, LIMITS, self.EVALUATED, ("condor_q", [(0, recorded("waiting-groups.json"), "")]))
        answer = counted(commands(), [])
        assert [group[:-1] for group in answer["groups"]] == [
            [10, 2, 1, 1, 1, None, 1, False],
            [3, 0, None, 1001, 1, 1, 1, True],
            [2, 0, 2, 3000, 4883, None, 1, False],
        ]

    def test_the_bindings_answer_the_same(self, pool: Pool) -> None:
        classad2 = pytest.importorskip("classad2", reason="HTCondor's Python bindings are not installed")
        rows = []
        for texts in json.loads(recorded("waiting-bindings.json")):
            ad = classad2.ClassAd()
            for name, text in texts.items():
                ad[name] = classad2.ExprTree(text)
            rows.append(ad)
        pool.answers(SCHEDDS, LIMITS, self.EVALUATED, ("condor_q", [(0, recorded("waiting-groups.json"), "")]))
        assert counted(Bindings(_Api(rows), classad2), []) == counted(commands(), [])

    def test_none_is_believed_if_the_schedd_says_so(self, pool: Pool) -> None:
        pool.answers(SCHEDDS, NONE_RUNNING, ("condor_q", [NO_SLOT]))
        assert counted(commands(), [])["groups"] == []

    def test_silence_is_not_none(self, pool: Pool) -> None:
        pool.answers(SCHEDDS, ("condor_q", [NO_SLOT]))
        with pytest.raises(BatchError, match="did not say how many"):
            counted(commands(), [])

    def test_silence_about_jobs_that_are_counted(self, pool: Pool) -> None:
        pool.answers(SCHEDDS, ("-totals", [(0, recorded("totals-some.txt"), "")]), ("condor_q", [NO_SLOT]))
        with pytest.raises(BatchError, match="counts waiting jobs"):
            counted(commands(), [])

    def test_no_schedd_is_not_none(self, pool: Pool) -> None:
        pool.answers(("condor_status", [NO_SLOT]), ("condor_q", [(0, "All queues are empty\n", "")]))
        with pytest.raises(BatchError, match="knows no schedd"):
            counted(commands(), [])

    def test_one_schedd_that_fails_makes_all_unknown(self, pool: Pool) -> None:
        pool.answers(
            ("condor_status -schedd", [(0, "schedd-a@\nschedd-b@\n", "")]),
            ("schedd-a@", [(0, recorded("waiting-groups.json"), "")]),
            ("schedd-b@", [(1, "", recorded("failed-to-fetch.txt"))]),
        )
        with pytest.raises(BatchError, match="Failed to fetch ads from"):
            counted(commands(), [])

    @pytest.mark.parametrize(
        "text",
        [
            "All queues are empty\n",
            recorded("failed-to-fetch.txt"),
            "{}",
            "[1]",
            "[{}]",
            '[{"JobCount": 0, "JobStatus": 1}]',
            '[{"JobCount": -1, "JobStatus": 1}]',
            '[{"JobCount": "x", "JobStatus": 1}]',
            '[{"JobCount": 1}]',
            recorded("waiting-groups.json")[:-4],
        ],
        ids=lambda text: text[:30],
    )
    def test_what_is_no_list_of_jobs(self, pool: Pool, text: str) -> None:
        pool.answers(SCHEDDS, self.EVALUATED, ("condor_q", [(0, text, "")]))
        with pytest.raises(BatchError):
            counted(commands(), [])

    @pytest.mark.parametrize("text", ["", "1 1 1 1 1 1\n", "Error\n1 1\n2 2\n3 3\n4 4\n"])
    def test_groups_that_were_not_evaluated(self, pool: Pool, text: str) -> None:
        evaluated = ("condor_q -jobads", [(0, text, "")])
        pool.answers(SCHEDDS, evaluated, ("condor_q", [(0, recorded("waiting-groups.json"), "")]))
        with pytest.raises(BatchError, match=r"evaluated . of 4 groups"):
            counted(commands(), [])

    def test_limits(self, pool: Pool) -> None:
        text = "# Parameters with names that match LIMIT:\nLIC_LIMIT = 6\nX.LIMIT = $(A) = b\n#\t/etc/x = 3\n"
        pool.answers(("condor_config_val -dump LIMIT", [(0, text, "")]))
        assert commands().limits() == {"lic_limit": "6", "x.limit": "$(A) = b"}


class _Api:
    """As much of htcondor2 as is used: one schedd, which answers with `rows`."""

    class QueryOpt:
        GroupBy = 1

    class DaemonType:
        Schedd = 1

    param: Mapping[str, str] = {"LIC_LIMIT": "9"}

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = rows

    def Collector(self) -> Any:  # noqa: N802
        return self

    def locateAll(self, kind: int) -> list[dict[str, str]]:  # noqa: N802
        return [{"Name": "schedd-a@"}]

    def Schedd(self, location: Any) -> Any:  # noqa: N802
        return self

    def query(self, **options: Any) -> Sequence[Any]:
        return self._rows


@pytest.mark.parametrize("character", "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")
def test_no_limit_is_made_up_of_the_text_of_another(character: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = f"NOTE_LIMIT = x{character}LICENCE_LIMIT = 0\n"
    monkeypatch.setattr(htcondor_demand, "run", lambda *_, **__: answer)
    assert set(Commands(Deadline(Clock(), 9, "HTCondor")).limits()) == {"note_limit"}
