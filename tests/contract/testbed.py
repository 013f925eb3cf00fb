"""Real batch systems on the testbed: any whose pool is in tests/e2e/systems.py."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import pytest

from elastiq.errors import BatchError
from elastiq.model import Demand, Eligibility, Explanation, Judgement, Shape, Standing, Usage, Worker
from elastiq.plugins import BatchSystem, Closing
from tests.e2e.harness import PluginOnHead
from tests.e2e.systems import SYSTEMS
from tests.testbed.batch import BatchTestbed, end_jobs
from tests.testbed.machines import Network
from tests.testbed.rootfs import JOB_USER, UnavailableError, rootfs

from .harness import Harness


class RemoteBatch:
    """The plugin in a process on the head node, as a plugin that judges no jobs."""

    def __init__(self, plugin: PluginOnHead) -> None:
        self._plugin = plugin

    def _ask(self, method: str, worker: Worker | None = None) -> Any:
        return self._answer(method, asdict(worker) if worker else None)

    def _answer(self, method: str, asked: Any) -> Any:
        said = self._plugin.ask(method, asked)
        if "error" in said:
            raise BatchError(said["error"])
        return said["answer"]

    def demand(self) -> tuple[Demand, ...]:
        return tuple(Demand(**{**group, "shape": Shape(**group["shape"])}) for group in self._ask("demand"))

    def workers(self) -> tuple[Worker, ...]:
        return tuple(_worker(fields) for fields in self._ask("workers"))

    def close(self, worker: Worker) -> Closing:
        return Closing(self._ask("close", worker))

    def reopen(self, worker: Worker) -> None:
        self._ask("reopen", worker)

    def forget(self, worker: Worker) -> None:
        self._ask("forget", worker)

    def check(self) -> str:
        return str(self._ask("check"))


class RemoteMatchmaker(RemoteBatch):
    """The same of one that judges them, and tells of single ones."""

    def template(self, worker: Worker) -> str:
        return str(self._ask("template", worker))

    def judge(self, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        said = self._answer("judge", [list(wants), template])
        return tuple(Judgement(Eligibility(one["answer"]), one["reason"]) for one in said)

    def explain(self, job: str) -> Explanation:
        said = self._answer("explain", [job])
        group = said["group"] and Demand(**{**said["group"], "shape": Shape(**said["group"]["shape"])})
        return Explanation(Standing(said["standing"]), said["text"], group)


class RemoteAccountant(RemoteMatchmaker):
    """The same of one that tells who used which worker, too."""

    def usage(self, since: float) -> tuple[Usage, ...]:
        return tuple(Usage(**stay) for stay in self._answer("usage", [since]))


def _worker(fields: Mapping[str, Any]) -> Worker:
    shapes = {name: Shape(**fields[name]) for name in ("capacity", "free")}
    return Worker(**{**fields, **shapes})


class TestbedHarness(Harness):
    """A head node with the plugin on it, and workers of one CPU."""

    __test__ = False
    address = "10.77.1.1"
    other_address = "10.77.9.99"
    patience_seconds = 240.0
    step_seconds = 0.2
    settle_seconds = 6.0
    rounding_seconds = 1.0
    job_seconds = 30.0
    short_job_seconds = 1.0
    race_rounds = 3  # tests/e2e/test_race.py has the long race
    race_window_seconds = 3.0
    system: str
    """Its name in tests/e2e/systems.py."""
    daemons: tuple[str, ...]
    """Its processes on the head node."""
    cancel_command: tuple[str, ...]
    """What a user removes a job with, given its id."""

    def __init__(self) -> None:
        self._ending = ExitStack()

    def start(self) -> None:
        try:
            rootfs()
        except UnavailableError as reason:
            pytest.skip(str(reason))
        network = Network()
        self._ending.callback(network.stop)
        self.pool: BatchTestbed = SYSTEMS[self.system](network, 1)
        self.batch = self.reconnect()

    def stop(self) -> None:
        self._ending.close()

    def reconnect(self) -> BatchSystem:
        module = importlib.import_module(f"elastiq.plugins.{self.system}")
        kinds = [one for one in vars(module).values() if isinstance(one, type)]
        accounts, judges = (any(hasattr(kind, method) for kind in kinds) for method in ("usage", "judge"))
        plugin = self._ending.enter_context(PluginOnHead(self.pool))
        if accounts:
            return RemoteAccountant(plugin)
        return RemoteMatchmaker(plugin) if judges else RemoteBatch(plugin)

    def join(self, name: str, instance_id: str, address: str) -> None:
        self.pool.start_worker(instance_id, address, self.pool.substituted_user_data())

    def leave(self, instance_id: str) -> None:
        self.pool.network.remove(instance_id)

    def submit(self, seconds: float, *, held: bool = False, after: str = "") -> str:
        return self.pool.submit(1, seconds, held=held, after=after)

    def submit_array(self, tasks: int, at_once: int, seconds: float) -> None:
        self.pool.submit(tasks, seconds, at_once=at_once)

    def let_end(self, job: str) -> None:
        end_jobs(self.pool, job)

    def cancel(self, job: str) -> None:
        self.pool.head.run(*self.cancel_command, job, user=JOB_USER)

    def starts(self, job: str) -> int:
        starts = self.pool.job_starts()
        return sum(times for name, times in starts.items() if re.match(rf"{re.escape(job)}(?!\d)", name))

    def is_done(self, job: str) -> bool:
        return not self.pool.is_unfinished(job)

    def hide(self) -> None:
        # At once, so that no daemon starts another again. Daemons that hang are the end-to-end tests' matter.
        self.pool.head.run("sh", "-c", f"kill -9 $(pidof {' '.join(self.daemons)})")


class HtcondorHarness(TestbedHarness):
    """A startd that is told to exit when it is closed."""

    system = "htcondor"
    daemons = ("condor_master", "condor_shared_port", "condor_collector", "condor_negotiator", "condor_schedd")
    cancel_command = ("condor_rm",)
    leaves_when_closed = True

    def submit_special(self, seconds: float, *, offered: bool) -> str:
        wanted = 'TARGET.OpSys == "LINUX"' if offered else "TARGET.HasCVMFS"
        return self.pool.submit(1, seconds, extra=f"requirements = {wanted}")  # type: ignore[call-arg]

    def submit_whole(self, seconds: float) -> str:
        return self.pool.submit(1, seconds, extra="request_cpus = TARGET.TotalSlotCpus")  # type: ignore[call-arg]

    def submit(self, seconds: float, *, held: bool = False, after: str = "") -> str:
        if after:
            pytest.skip("jobs of HTCondor depend on each other by DAGMan alone, which submits them when they are due")
        return super().submit(seconds, held=held)

    def submit_array(self, tasks: int, at_once: int, seconds: float) -> None:
        pytest.skip("HTCondor's max_materialize keeps the rest of a cluster out of the queue")

    def close_by_hand(self, worker: Worker) -> None:
        self.pool.head.run("condor_drain", "-graceful", "-reason", "a new disk", worker.name)

    def open_by_hand(self, worker: Worker) -> None:
        self.pool.head.run("condor_drain", "-cancel", worker.name)


class SlurmHarness(TestbedHarness):
    """Dynamic nodes."""

    system = "slurm"
    daemons = ("slurmctld",)
    cancel_command = ("scancel",)

    def join(self, name: str, instance_id: str, address: str) -> None:
        self.pool.start_worker(instance_id, address, self.pool.substituted_user_data(), lane="lane0")

    def hide(self) -> None:
        super().hide()
        # Or each command would try for ten seconds. No machine is slow to say that nobody listens.
        self.pool.head.run("sh", "-c", "echo MessageTimeout=2 >>/etc/slurm/slurm.conf")

    def submit_special(self, seconds: float, *, offered: bool) -> str:
        return self.pool.submit(1, seconds, lane="lane0" if offered else "lane1")

    def submit_wide(self, machines: int, seconds: float) -> None:
        self.pool.submit(1, seconds, options=(f"--nodes={machines}",))  # type: ignore[call-arg]

    def submit_whole(self, seconds: float) -> str:
        return self.pool.submit(1, seconds, options=("--exclusive",))  # type: ignore[call-arg]

    def close_by_hand(self, worker: Worker) -> None:
        self._update(worker, "state=drain", "reason=a new disk")

    def open_by_hand(self, worker: Worker) -> None:
        self._update(worker, "state=resume")

    def _update(self, worker: Worker, *changes: str) -> None:
        self.pool.head.run("scontrol", "update", f"nodename={worker.name}", *changes)


_ONE_EACH = """
qconf -sp two | sed -e 's/^pe_name .*/pe_name each/' -e 's/^allocation_rule .*/allocation_rule 1/' >/tmp/each
qconf -Ap /tmp/each && qconf -aattr queue pe_list each all.q
"""


class GridEngineHarness(TestbedHarness):
    """Hosts whose queue instances are disabled."""

    system = "gridengine"
    daemons = ("sge_qmaster",)
    cancel_command = ("qdel",)

    def submit_whole(self, seconds: float) -> str:
        return self.pool.submit(1, seconds, options=("-l", "whole=true"))  # type: ignore[call-arg]

    def submit_wide(self, machines: int, seconds: float) -> None:
        self.pool.head.run("sh", "-c", _ONE_EACH)
        self.pool.submit(1, seconds, options=("-pe", "each", str(machines)))  # type: ignore[call-arg]

    def close_by_hand(self, worker: Worker) -> None:
        self.pool.head.run("qmod", "-d", f"*@{worker.name}")

    def submit_special(self, seconds: float, *, offered: bool) -> str:
        architecture = "lx-*" if offered else "sol-sparc64"
        return self.pool.submit(1, seconds, options=("-l", f"arch={architecture}"))  # type: ignore[call-arg]

    def open_by_hand(self, worker: Worker) -> None:
        self.pool.head.run("qmod", "-e", f"*@{worker.name}")
