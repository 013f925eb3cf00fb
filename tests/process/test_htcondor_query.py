"""The child process that asks by the bindings of HTCondor, with a stand-in for them; tests/e2e has the real ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from elastiq.errors import BatchError
from elastiq.model import Demand, Judgement, Shape
from elastiq.plugins.htcondor import MOST_CRASHES, HTCondor
from tests.unit.plugins.condor import (
    SCHEDDS,
    Pool,
)

TIMEOUT_SECONDS = 120.0

BINDINGS = """
import os
param = {}
class QueryOpt: GroupBy = object()
class AdType: Startd = object()
class DaemonType: Schedd = object()
def version(): return "$CondorVersion: 24.0.1 2026-01-01 $"
class Ad(dict):
    def eval(self, name): return self[name]
    def lookup(self, name): return self[name]
class Collector:
    def locateAll(self, kind): return [Ad(Name=name) for name in os.environ["_CONDOR_TEST_SCHEDDS"].split()]
    def query(self, kind, constraint, projection): return [Ad({"Machine": "node1", "Cpus": 2})] * SLOTS
class Schedd:
    def __init__(self, ad): self.name = ad["Name"]
    def query(self, constraint, projection, opts):
        if self.name == "crash": os.abort()
        if self.name == "hang": import time; time.sleep(1000)
        if self.name == "fail": raise RuntimeError("Failed to fetch ads from schedd")
        assert "owner" in projection or not os.environ.get("_CONDOR_TEST_ASKED")
        return [Ad(JobCount=3, JobStatus=1, RequestCpus=2, Requirements="HasA")]
"""
CLASSADS = """
import enum
class Value(enum.IntEnum): Error = 1; Undefined = 2
class ClassAdException(Exception): pass
class ClassAd(dict):
    def matches(self, job):
        text = job["requirements"].text if "requirements" in job else ""
        if "Crash" in text: import os; os.abort()
        while "Hang" in text: pass
        return text != "(No)"
class ExprTree:
    def __init__(self, text): self.text = text
    def eval(self, row): return row["RequestCpus"] if "Cpus" in self.text else Value.Undefined
"""


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pool:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Pool(tmp_path)


class TestBindings:
    """The child process, with a stand-in for the bindings; tests/e2e has the real ones."""

    @pytest.fixture
    def bound(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., HTCondor]:
        def make(schedds: str, slots: int = 1, timeout_seconds: float = TIMEOUT_SECONDS) -> HTCondor:
            (tmp_path / "htcondor2.py").write_text(BINDINGS.replace("SLOTS", str(slots)))
            (tmp_path / "classad2.py").write_text(CLASSADS)
            monkeypatch.setenv("PYTHONPATH", str(tmp_path))
            monkeypatch.setenv("_CONDOR_TEST_SCHEDDS", schedds)
            return HTCondor("auto", timeout_seconds)

        return make

    def test_demand_of_all_schedds(self, bound: Callable[..., HTCondor]) -> None:
        plugin = bound("a b")
        assert plugin.demand() == (
            Demand(Shape(2), 6, wants=json.dumps({"requirements": "(HasA)"}).replace(": ", ":"), running=0),
        )
        assert plugin._known_schedds == {"a", "b"}

    def test_workers(self, bound: Callable[..., HTCondor]) -> None:
        (worker,) = bound("a").workers()
        assert (worker.name, worker.capacity.cpus) == ("node1", 2)
        assert bound("a", slots=0).workers() == ()

    def test_no_schedd(self, bound: Callable[..., HTCondor]) -> None:
        with pytest.raises(BatchError, match="knows no schedd"):
            bound("").demand()
        with pytest.raises(BatchError, match="knows no schedd"):
            bound("", slots=0).workers()

    def test_one_schedd_fails(self, bound: Callable[..., HTCondor]) -> None:
        with pytest.raises(BatchError, match="RuntimeError: Failed to fetch ads from schedd"):
            bound("a fail").demand()

    def test_library_crashes(self, bound: Callable[..., HTCondor]) -> None:
        with pytest.raises(BatchError, match="killed by SIGABRT"):
            bound("crash").demand()

    def test_library_hangs(self, bound: Callable[..., HTCondor]) -> None:
        plugin = bound("hang", timeout_seconds=2.0)
        with pytest.raises(BatchError, match=r"gave no complete answer"):
            plugin.demand()

    def test_child_ends_by_itself_if_the_daemon_dies(self, bound: Callable[..., HTCondor], tmp_path: Path) -> None:
        bound("hang")
        root = Path(__file__).parents[2]
        result = subprocess.run(
            [sys.executable, "-m", "elastiq.plugins.htcondor_demand", "bindings", "0"],
            input=b'{"asked": []}',
            env={**os.environ, "PYTHONPATH": f"{root}:{tmp_path}"},
            timeout=TIMEOUT_SECONDS,
        )
        assert result.returncode == -14

    def test_jobs_that_crash_or_hang_what_judges_them_are_no_others_trouble(
        self, bound: Callable[..., HTCondor]
    ) -> None:
        texts = ["(A)", "(Crash)", "(No)", "(Hang)", "(A)"]
        found = bound("a").judge([json.dumps({"requirements": text}) for text in texts], "")
        assert [one.answer.value for one in found] == ["yes", "unknown", "unknown", "unknown", "yes"]
        assert [("crashed or hung" in one.reason) for one in found] == [False, True, False, True, False]

    def test_only_so_many_may_crash(self, bound: Callable[..., HTCondor]) -> None:
        wants = [json.dumps({"requirements": "(Crash)"})] * (MOST_CRASHES + 2)
        found = bound("a").judge([*wants, "{}"], "")
        assert [one.answer.value for one in found] == ["unknown"] * (MOST_CRASHES + 3)
        assert "others crashed" in found[-1].reason

    def test_a_judge_that_cannot_start_is_an_error(self, bound: Callable[..., HTCondor], tmp_path: Path) -> None:
        plugin = bound("a")
        assert plugin.judge(["{}"], "") == (Judgement(),)
        (tmp_path / "classad2.py").write_text("raise ImportError('gone')")
        with pytest.raises(BatchError, match=r"jobs could not be judged: .*gone"):
            plugin.judge(["{}"], "")

    def test_what_workers_ask_of_jobs_is_asked_of_the_schedds(
        self, bound: Callable[..., HTCondor], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plugin = bound("a")
        monkeypatch.setenv("_CONDOR_TEST_ASKED", "1")
        with pytest.raises(BatchError, match="AssertionError"):
            plugin.demand()
        plugin.judge([], json.dumps([{"requirements": 'TARGET.Owner == "me"'}]))
        (group,) = plugin.demand()
        assert json.loads(group.wants)["owner"] == "undefined"

    def test_auto_falls_back_to_commands(self, bound: Callable[..., HTCondor], pool: Pool, tmp_path: Path) -> None:
        plugin = bound("a")
        (tmp_path / "htcondor2.py").write_text("raise ImportError('libcondor_utils.so')")
        row = {"JobCount": 4, "JobStatus": 1, "RequestCpus": 1}
        evaluated = ("condor_q -jobads", [(0, "1 1 1 1 0 1\n", "")])
        pool.answers(SCHEDDS, evaluated, ("condor_q", [(0, json.dumps([row]), "")]))
        assert plugin.demand() == (Demand(Shape(1, 1, 1, 0), 4, running=0),)

    def test_bindings_that_were_asked_for_must_be_there(self, bound: Callable[..., HTCondor], tmp_path: Path) -> None:
        bound("a")
        (tmp_path / "htcondor2.py").write_text("raise ImportError('libcondor_utils.so')")
        with pytest.raises(BatchError, match="ImportError: libcondor_utils"):
            HTCondor("bindings", TIMEOUT_SECONDS).demand()
