"""The child process that asks by the bindings of HTCondor, with a stand-in for them; tests/e2e has the real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from elastiq.errors import BatchError
from elastiq.model import Demand, Shape
from elastiq.plugins.htcondor import HTCondor
from tests.unit.plugins.condor import (
    SCHEDDS,
    Pool,
)

TIMEOUT_SECONDS = 120.0

BINDINGS = """
import os
class QueryOpt: GroupBy = object()
class AdType: Startd = object()
class DaemonType: Schedd = object()
def version(): return "$CondorVersion: 24.0.1 2026-01-01 $"
class Ad(dict):
    def eval(self, name): return self[name]
class Collector:
    def locateAll(self, kind): return [Ad(Name=name) for name in os.environ["_CONDOR_TEST_SCHEDDS"].split()]
    def query(self, kind, constraint, projection): return [Ad({"Machine": "node1", "Cpus": 2})] * SLOTS
class Schedd:
    def __init__(self, ad): self.name = ad["Name"]
    def query(self, constraint, projection, opts):
        if self.name == "crash": os.abort()
        if self.name == "hang": import time; time.sleep(1000)
        if self.name == "fail": raise RuntimeError("Failed to fetch ads from schedd")
        return [Ad(JobCount=3, RequestCpus=2)]
"""
CLASSADS = """
import enum
class Value(enum.IntEnum): Error = 1; Undefined = 2
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
        assert plugin.demand() == (Demand(Shape(2), 6),)
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
            [sys.executable, "-m", "elastiq.plugins.htcondor_query", "demand", "0"],
            env={**os.environ, "PYTHONPATH": f"{root}:{tmp_path}"},
            timeout=TIMEOUT_SECONDS,
        )
        assert result.returncode == -14

    def test_auto_falls_back_to_commands(self, bound: Callable[..., HTCondor], pool: Pool, tmp_path: Path) -> None:
        plugin = bound("a")
        (tmp_path / "htcondor2.py").write_text("raise ImportError('libcondor_utils.so')")
        pool.answers(SCHEDDS, ("condor_q", [(0, "1 1 1 0 1\n", "")]))
        assert plugin.demand() == (Demand(Shape(1, 1, 1, 0), 1),)

    def test_bindings_that_were_asked_for_must_be_there(self, bound: Callable[..., HTCondor], tmp_path: Path) -> None:
        bound("a")
        (tmp_path / "htcondor2.py").write_text("raise ImportError('libcondor_utils.so')")
        with pytest.raises(BatchError, match="ImportError: libcondor_utils"):
            HTCondor("bindings", TIMEOUT_SECONDS).demand()
