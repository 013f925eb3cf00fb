"""The Grid Engine plugin's conversations with a Grid Engine of a few lines, whose hosts change between questions."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from elastiq.command import Result
from elastiq.config import Settings
from elastiq.errors import BatchError
from elastiq.model import Shape, Worker
from elastiq.plugins import Closing
from elastiq.plugins.gridengine import CONFIGURATION_SECONDS, SWEPT_AT_ONCE, GridEngine
from elastiq.plugins.loading import load
from elastiq.plugins.sections import GridEngineOptions
from tests.unit.fakes import FakeClock

ONE = Worker("node1", "i-1", "10.0.0.1")
COMPLEXES = "".join(
    f"{name} {name} {kind} <= YES {consumable} 0 0\n"
    for name, kind, consumable in (
        ("slots", "INT", "YES"),
        ("h_vmem", "MEMORY", "YES"),
        ("elastiq_instance", "RESTRING", "NO"),
        ("elastiq_address", "RESTRING", "NO"),
        ("elastiq_closed", "RESTRING", "NO"),
    )
)
HOST = """<host name='{name}'><hostvalue name='num_proc'>{processors}</hostvalue>
<resourcevalue name='mem_total' dominance='hl'>8.000G</resourcevalue>{values}{queues}</host>"""
QUEUE = """<queue name='{name}'><queuevalue name='slots_used'>{used}</queuevalue><queuevalue name='slots'>4</queuevalue>
<queuevalue name='slots_resv'>0</queuevalue><queuevalue name='state_string'>{state}</queuevalue></queue>"""


class FakeHost:
    """An execution host; `queues` are its queue instances: used slots and state."""

    def __init__(self, number: int) -> None:
        self.values = {"elastiq_instance": f"i-{number}", "elastiq_address": f"10.0.0.{number}"}
        self.queues: dict[str, list[Any]] = {"all.q": [0, ""]}
        self.processors = "4"
        self.may_be_rerun = True

    def text(self, name: str) -> str:
        values = (
            f"<resourcevalue name='{key}' dominance='hf'>{value}</resourcevalue>" for key, value in self.values.items()
        )
        queues = (QUEUE.format(name=queue, used=used, state=state) for queue, (used, state) in self.queues.items())
        return HOST.format(name=name, processors=self.processors, values="".join(values), queues="".join(queues))


class FakeGridEngine:
    """What the commands would say and do. `before` and `after` are moments for somebody else to act."""

    def __init__(self) -> None:
        self.hosts: dict[str, FakeHost] = {}
        self.group: list[str] = []
        self.groups_of_jobs: list[list[Any]] = []
        self.rules = {"smp": "$pe_slots"}
        self.managers = ["root", pwd.getpwuid(os.geteuid()).pw_name]
        self.complexes = COMPLEXES
        self.resolved = ""
        self.changes: list[str] = []
        self.asked: list[str] = []
        self.answers: dict[str, Result] = {}
        self.after: dict[str, Callable[[], None]] = {}

    def add(self, number: int = 1) -> FakeHost:
        host = self.hosts[f"node{number}"] = FakeHost(number)
        self.group.append(f"node{number}")
        return host

    def run(self, arguments: Sequence[str], timeout_seconds: float, **_: Any) -> str:
        result = self.execute(arguments, timeout_seconds)
        if result.status:
            raise BatchError(f"{arguments[0]} failed with exit status {result.status}: {result.excerpt}")
        return result.output

    def execute(self, arguments: Sequence[str], timeout_seconds: float, **_: Any) -> Result:
        assert 0 < timeout_seconds <= 60
        line = " ".join(arguments)
        self.asked.append(line)
        for beginning, answer in self.answers.items():
            if line.startswith(beginning):
                return answer
        result = self._answer(list(arguments))
        for beginning, act in list(self.after.items()):
            if line.startswith(beginning):
                del self.after[beginning]
                act()
        return result if isinstance(result, Result) else Result(0, result, "")

    def _answer(self, words: list[str]) -> str | Result:
        if words[0] == "elastiq.plugins.gridengine_query":
            return json.dumps({"groups": self.groups_of_jobs})
        if words[0] == "qhost":
            hosts = "".join(host.text(name) for name, host in self.hosts.items())
            return f"<?xml version='1.0'?><qhost><host name='global'></host>{hosts}</qhost>"
        if words[0] == "getent":
            return Result(2, self.resolved, "")
        if words[0] == "stat":
            return Result(1, "", "stat: cannot statx: No such file or directory")
        if words[0] == "qmod":
            return self._switch(words[1], words[2:])
        assert words[0] == "qconf", words
        if words[1] == "-de":
            return self._remove(words[2])
        if words[1] == "-mattr":
            self.changes.append(f"mark {words[-1]} {words[4]}")
            key, _, value = words[4].partition("=")
            self.hosts[words[-1]].values[key] = value
            return ""
        if words[1] == "-dattr":
            self.changes.append(f"ungroup {words[4]} {words[5]}")
            if words[2] == "hostgroup":
                self.group.remove(words[4])
            return ""
        return {
            "-sc": self.complexes,
            "-spl": "\n".join(self.rules),
            "-sp": f"pe_name {words[-1]}\nallocation_rule    {self.rules.get(words[-1])}\n",
            "-sm": "\n".join(self.managers),
            "-shgrpl": "@workers\n@others\n",
            "-shgrp": f"hostlist {' '.join(self.group) if words[-1] == '@workers' else 'node11'}\n",
            "-help": "SGE 8.1.9\nusage: qconf [options]\n",
            "-purge": "",
        }[words[1]]

    def _switch(self, option: str, instances: list[str]) -> str:
        for instance in instances:
            queue, _, name = instance.partition("@")
            self.changes.append(f"{option} {instance}")
            state = self.hosts[name].queues[queue]
            if option == "-rq":
                state[0] = 0 if self.hosts[name].may_be_rerun else state[0]
            else:
                state[1] = state[1].replace("d", "") + ("d" if option == "-d" else "")
        return ""

    def _remove(self, name: str) -> str | Result:
        host = self.hosts.get(name)
        if host and (name in self.group or any(used for used, _ in host.queues.values())):
            return Result(1, "", f'Host object "{name}" is still referenced in cluster queue "all.q".')
        self.hosts.pop(name, None)
        self.changes.append(f"remove {name}")
        return ""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeGridEngine:
    cluster = FakeGridEngine()
    monkeypatch.setattr("elastiq.plugins.gridengine.run", cluster.run)
    monkeypatch.setattr("elastiq.plugins.gridengine.execute", cluster.execute)
    monkeypatch.setattr(
        "elastiq.plugins.gridengine.run_module",
        lambda module, arguments, seconds: cluster.run([module, *arguments], seconds),
    )
    return cluster


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeClock]:
    clock = FakeClock()
    monkeypatch.setattr("elastiq.plugins.gridengine.Clock", lambda: clock)
    yield clock


@pytest.fixture
def plugin(cluster: FakeGridEngine, clock: FakeClock, tmp_path: Path) -> GridEngine:
    return GridEngine(60.0, tmp_path / "accounting")


def test_it_is_loaded_by_name() -> None:
    assert isinstance(load("gridengine", Settings(plugins=(GridEngineOptions(timeout_s=5.0),))), GridEngine)


class TestDemand:
    def test_nothing_waits(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        assert plugin.demand() == ()
        assert len(cluster.asked) == 1

    def test_environments_and_complexes_are_remembered_for_a_while(
        self, plugin: GridEngine, cluster: FakeGridEngine, clock: FakeClock
    ) -> None:
        cluster.groups_of_jobs = [["smp", 3, {"h_vmem": "1G"}, 2, ""]]
        for _ in range(3):
            (demand,) = plugin.demand()
            assert (demand.shape, demand.jobs) == (Shape(3, 3072), 2)
        assert sum(line.startswith("qconf") for line in cluster.asked) == 3
        cluster.rules["smp"] = "$round_robin"
        clock.sleep(CONFIGURATION_SECONDS + 1)
        assert plugin.demand()[0].shape == Shape(1, 1024)

    def test_a_new_environment_is_looked_up_at_once(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.groups_of_jobs = [["smp", 2, {}, 1, ""]]
        plugin.demand()
        cluster.rules["mpi"] = "1"
        cluster.groups_of_jobs = [["mpi", 2, {}, 1, ""]]
        assert plugin.demand()[0].vms_per_job == 2

    @pytest.mark.parametrize(
        ("command", "output"),
        [
            ("elastiq.plugins.gridengine_query", "groups"),
            ("qconf -sc", ""),
            ("qconf -spl", "no such thing\n"),
            ("qconf -sp smp", ""),
        ],
    )
    def test_garbage(self, plugin: GridEngine, cluster: FakeGridEngine, command: str, output: str) -> None:
        cluster.groups_of_jobs = [["smp", 2, {}, 1, ""]]
        cluster.answers[command] = Result(0, output, "")
        with pytest.raises(BatchError):
            plugin.demand()


class TestWorkers:
    def test_hosts_that_are_not_heard_of_are_left_out(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.add(1)
        cluster.add(2).queues["all.q"][1] = "au"
        cluster.add(3).processors = "-"
        cluster.add(4).queues = {}
        assert [worker.name for worker in plugin.workers()] == ["node1"]

    def test_addresses_of_hosts_that_do_not_tell_are_resolved(
        self, plugin: GridEngine, cluster: FakeGridEngine
    ) -> None:
        cluster.add(1).values = {}
        cluster.add(2).values = {}
        cluster.resolved = "10.0.0.7       STREAM node1\n10.0.0.7       DGRAM  \n"
        assert [(worker.instance_id, worker.address) for worker in plugin.workers()] == [
            (None, "10.0.0.7"),
            (None, None),
        ]

    def test_idle_time_begins_when_first_seen_and_after_every_job(
        self, plugin: GridEngine, cluster: FakeGridEngine, clock: FakeClock
    ) -> None:
        host = cluster.add()
        seen = []
        for used in (0, 0, 1, 0, 0):
            host.queues["all.q"][0] = used
            seen.append(plugin.workers()[0].idle_seconds)
            clock.sleep(10.0)
        assert seen == [0.0, 10.0, None, 10.0, 20.0]

    def test_another_vm_under_the_same_name_is_idle_since_it_is_seen(
        self, plugin: GridEngine, cluster: FakeGridEngine, clock: FakeClock
    ) -> None:
        host = cluster.add()
        plugin.workers()
        clock.sleep(100.0)
        host.values["elastiq_instance"] = "i-9"
        assert plugin.workers()[0].idle_seconds == 0.0

    def test_capacity_is_remembered_from_when_no_job_was_there(
        self, plugin: GridEngine, cluster: FakeGridEngine
    ) -> None:
        host = cluster.add()
        left = "<resourcevalue name='h_vmem' dominance='hc'>{}</resourcevalue>"
        text = host.text
        host.text = lambda name: text(name).replace("<queue", left.format("6.000G") + "<queue", 1)  # type: ignore[method-assign]
        assert plugin.workers()[0].capacity == Shape(4, 6144)
        host.queues["all.q"][0] = 1
        host.text = lambda name: text(name).replace("<queue", left.format("1.000G") + "<queue", 1)  # type: ignore[method-assign]
        assert (plugin.workers()[0].capacity, plugin.workers()[0].free) == (Shape(4, 6144), Shape(3, 1024))

    def test_silence_is_an_error(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.answers["qhost"] = Result(0, "", "")
        with pytest.raises(BatchError):
            plugin.workers()


class TestAccounting:
    """With the real commands that read the file."""

    @pytest.fixture(autouse=True)
    def commands(self, monkeypatch: pytest.MonkeyPatch, cluster: FakeGridEngine) -> None:
        from elastiq import command

        def execute(arguments: Sequence[str], timeout_seconds: float) -> Result:
            real = arguments[0] == "stat"
            return command.execute(arguments, timeout_seconds) if real else cluster.execute(arguments, timeout_seconds)

        monkeypatch.setattr("elastiq.plugins.gridengine.execute", execute)
        for number in (1, 2):
            cluster.add(number)

    def idle(self, plugin: GridEngine, clock: FakeClock) -> list[float | None]:
        clock.sleep(10.0)
        return [worker.idle_seconds for worker in plugin.workers()]

    def write(self, path: Path, *hosts: str) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(f"all.q:{host}:alice:alice:sleep:7:sge:0:1:2:3:0:0\n" for host in hosts)

    def test_a_job_between_two_looks_begins_the_idle_time_anew(
        self, plugin: GridEngine, clock: FakeClock, tmp_path: Path
    ) -> None:
        path = tmp_path / "accounting"
        self.write(path, "node1", "node2")
        assert self.idle(plugin, clock) == [0.0, 0.0]
        assert self.idle(plugin, clock) == [10.0, 10.0]
        self.write(path, "other", "NODE2", "node2")
        assert self.idle(plugin, clock) == [20.0, 0.0]
        assert self.idle(plugin, clock) == [30.0, 10.0]

    def test_after_a_rotation_it_may_have_been_any(self, plugin: GridEngine, clock: FakeClock, tmp_path: Path) -> None:
        path = tmp_path / "accounting"
        self.write(path, "node1", "node2")
        self.idle(plugin, clock)
        path.rename(tmp_path / "accounting.1")
        assert self.idle(plugin, clock) == [10.0, 10.0]
        self.write(path, "node1")
        assert self.idle(plugin, clock) == [0.0, 0.0]
        self.write(path, "node1")
        assert self.idle(plugin, clock) == [0.0, 10.0]

    def test_without_the_file_looks_alone_count(self, plugin: GridEngine, clock: FakeClock) -> None:
        assert self.idle(plugin, clock) == [0.0, 0.0]
        assert self.idle(plugin, clock) == [10.0, 10.0]


class TestClose:
    def test_an_idle_one(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.add().queues["short.q"] = [0, ""]
        assert plugin.close(ONE) is Closing.CLOSED
        assert cluster.changes == ["mark node1 elastiq_closed=all.q:short.q", "-d all.q@node1", "-d short.q@node1"]
        (worker,) = plugin.workers()
        assert (worker.closed, worker.closed_by_other) == (True, False)
        assert plugin.close(ONE) is Closing.CLOSED
        assert len(cluster.changes) == 3

    def test_a_busy_one(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.add().queues["all.q"][0] = 1
        assert plugin.close(ONE) is Closing.BUSY
        assert cluster.changes == []

    def test_a_job_that_gets_in_first(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        host = cluster.add()
        host.queues["short.q"] = [0, "d"]
        host.values["elastiq_closed"] = "short.q"
        cluster.after["qmod -d"] = lambda: host.queues["all.q"].__setitem__(0, 1)
        assert plugin.close(ONE) is Closing.BUSY
        assert host.queues == {"all.q": [1, ""], "short.q": [0, "d"]}
        host.queues["all.q"] = [0, "d"]
        host.queues["short.q"] = [0, ""]
        plugin.reopen(ONE)
        assert host.queues["all.q"] == [0, "d"]  # elastiq opened it again, so this was somebody else

    def test_a_queue_that_is_added_meanwhile(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        host = cluster.add()
        cluster.after["qmod -d"] = lambda: host.queues.__setitem__("new.q", [0, ""])
        with pytest.raises(BatchError, match=r"new\.q"):
            plugin.close(ONE)

    def test_one_that_somebody_else_disabled(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.add().queues["all.q"][1] = "d"
        assert plugin.workers()[0].closed_by_other
        with pytest.raises(BatchError, match="somebody else"):
            plugin.close(ONE)
        with pytest.raises(BatchError, match="somebody else"):
            plugin.reopen(ONE)
        assert cluster.changes == []

    def test_an_unlisted_one_and_one_without_a_queue(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        assert plugin.close(Worker("", "i-1", "10.0.0.1")) is Closing.CLOSED
        cluster.add().queues = {}
        assert plugin.close(Worker("", "i-1", "10.0.0.1")) is Closing.CLOSED
        assert cluster.changes == []

    def test_one_listed_after_all(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.add()
        assert plugin.close(Worker("", None, "10.0.0.1")) is Closing.CLOSED
        assert "-d all.q@node1" in cluster.changes

    def test_one_that_may_be_a_host_of_which_nothing_is_known(
        self, plugin: GridEngine, cluster: FakeGridEngine
    ) -> None:
        """Its name is not resolved, and it does not tell its VM: the one that seems not to have joined."""
        host = cluster.add(3)
        host.values = {}
        host.queues["all.q"] = [1, ""]
        never_seen = Worker("", "i-0000000a", "10.0.0.7")
        with pytest.raises(BatchError, match=r"worker i-0000000a may be node3, of which Grid Engine tells neither VM"):
            plugin.close(never_seen)
        host.queues["all.q"] = [0, ""]
        with pytest.raises(BatchError, match="may be node3"):
            plugin.close(never_seen)
        host.processors = "-"
        assert plugin.close(never_seen) is Closing.CLOSED  # as the head node, which is in all.q and runs no job
        host.queues["all.q"] = [1, ""]
        with pytest.raises(BatchError, match="may be node3"):  # the master was restarted, and nothing has reported yet
            plugin.close(never_seen)
        cluster.resolved = "10.0.0.7       STREAM node3\n"
        assert plugin.close(never_seen) is Closing.BUSY
        cluster.resolved = "10.0.0.8       STREAM node3\n"
        assert plugin.close(never_seen) is Closing.CLOSED
        assert cluster.changes == []

    def test_a_lost_one_with_jobs_is_busy_and_without_is_closed(
        self, plugin: GridEngine, cluster: FakeGridEngine
    ) -> None:
        host = cluster.add()
        host.queues["all.q"] = [1, "u"]
        assert plugin.close(ONE) is Closing.BUSY
        host.queues["all.q"] = [0, "u"]
        assert plugin.close(ONE) is Closing.CLOSED
        assert host.queues["all.q"][1] == "ud"

    def test_another_vm_of_the_same_name(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.add().values["elastiq_instance"] = "i-9"
        for act in (plugin.close, plugin.reopen, plugin.forget):
            act(ONE)
        assert cluster.changes == []

    def test_two_that_may_be_it(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        for number in (1, 2):
            cluster.add(number).values = {"elastiq_address": "10.0.0.1"}
        with pytest.raises(BatchError, match="may be each of"):
            plugin.close(ONE)

    @pytest.mark.parametrize("command", ["qhost", "qconf -mattr", "qmod -d"])
    def test_without_an_answer_it_is_not_closed(
        self, plugin: GridEngine, cluster: FakeGridEngine, command: str
    ) -> None:
        cluster.add()
        cluster.answers[command] = Result(1, "", "error: commlib error: got select error (Connection refused)")
        with pytest.raises(BatchError):
            plugin.close(ONE)

    def test_without_a_mark_nothing_is_disabled(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        host = cluster.add()
        cluster.answers["qconf -mattr"] = Result(1, "", 'denied: attribute "elastiq_closed" is not a complex attribute')
        with pytest.raises(BatchError, match="elastiq_closed"):
            plugin.close(ONE)
        assert host.queues["all.q"][1] == ""

    def test_a_qmod_that_says_yes_and_does_nothing(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.add()
        cluster.answers["qmod -d"] = Result(0, "", "")
        with pytest.raises(BatchError, match="still open"):
            plugin.close(ONE)


class TestReopen:
    def test_own_queues_alone(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        host = cluster.add()
        host.queues["short.q"] = [0, "d"]
        assert plugin.close(ONE) is Closing.CLOSED
        plugin.reopen(ONE)
        assert host.queues == {"all.q": [0, ""], "short.q": [0, "d"]}
        plugin.reopen(ONE)

    def test_by_the_next_process(self, cluster: FakeGridEngine, plugin: GridEngine, tmp_path: Path) -> None:
        host = cluster.add()
        plugin.close(ONE)
        GridEngine(60.0, tmp_path / "accounting").reopen(ONE)
        assert host.queues["all.q"][1] == ""

    def test_what_somebody_else_disables_afterwards_is_theirs(
        self, plugin: GridEngine, cluster: FakeGridEngine
    ) -> None:
        host = cluster.add()
        plugin.close(ONE)
        plugin.reopen(ONE)
        host.queues["all.q"][1] = "d"
        assert plugin.workers()[0].closed_by_other
        for call in (plugin.close, plugin.reopen):
            with pytest.raises(BatchError, match="somebody else"):
                call(ONE)
        assert host.queues["all.q"][1] == "d"

    def test_a_mark_that_could_not_be_taken_off_goes_with_the_next_try(
        self, plugin: GridEngine, cluster: FakeGridEngine
    ) -> None:
        host = cluster.add()
        plugin.close(ONE)
        cluster.answers["qconf -mattr"] = Result(1, "", "commlib error")
        with pytest.raises(BatchError, match="commlib"):
            plugin.reopen(ONE)
        cluster.answers.clear()
        plugin.reopen(ONE)
        host.queues["all.q"][1] = "d"
        assert plugin.workers()[0].closed_by_other

    def test_in_vain(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.add()
        plugin.close(ONE)
        cluster.answers["qmod -e"] = Result(0, "", "")
        with pytest.raises(BatchError, match="stays disabled"):
            plugin.reopen(ONE)

    def test_one_that_is_gone(self, plugin: GridEngine) -> None:
        plugin.reopen(ONE)


class TestForget:
    def test_a_closed_one(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.add()
        cluster.add(11)
        plugin.close(ONE)
        plugin.forget(ONE)
        assert list(cluster.hosts) == cluster.group == ["node11"]
        assert "ungroup node1 @workers" in cluster.changes
        assert not any("@others" in change for change in cluster.changes)
        assert not any("-rq" in change for change in cluster.changes)

    def test_one_that_died_with_jobs(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.add().queues["all.q"] = [2, ""]
        plugin.forget(ONE)
        assert cluster.changes[:2] == ["-d all.q@node1", "-rq all.q@node1"]
        assert cluster.hosts == {}

    def test_jobs_that_may_not_be_rerun_stay(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        host = cluster.add()
        host.queues["all.q"] = [2, "u"]
        host.may_be_rerun = False
        with pytest.raises(BatchError, match="may not be rerun"):
            plugin.forget(ONE)
        assert host.queues["all.q"][0] == 2
        assert not any("qdel" in line for line in cluster.asked)

    def test_an_unknown_one(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        plugin.forget(ONE)
        assert cluster.changes == []

    def test_in_vain(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.add()
        cluster.answers["qconf -de"] = Result(1, "", "denied: no")
        with pytest.raises(BatchError, match="denied: no"):
            plugin.forget(ONE)

    def test_a_silent_master(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.answers["qhost"] = Result(1, "", "commlib error")
        with pytest.raises(BatchError):
            plugin.forget(ONE)


class TestSweep:
    """Nobody tells the plugin which VMs were terminated after a close."""

    def gone(self, cluster: FakeGridEngine, number: int) -> FakeHost:
        host = cluster.add(number)
        host.queues["all.q"] = [0, "du"]
        host.values["elastiq_closed"] = "all.q"
        return host

    def test_closed_hosts_that_are_not_heard_of_leave_with_the_next_close(
        self, plugin: GridEngine, cluster: FakeGridEngine
    ) -> None:
        cluster.add()
        self.gone(cluster, 2)
        self.gone(cluster, 3)
        assert plugin.close(ONE) is Closing.CLOSED
        assert list(cluster.hosts) == cluster.group == ["node1"]

    def test_a_few_at_a_time(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.add()
        for number in range(2, 10):
            self.gone(cluster, number)
        plugin.forget(ONE)
        assert len(cluster.hosts) == 8 - SWEPT_AT_ONCE

    def test_not_the_one_that_is_closed(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        self.gone(cluster, 1)
        assert plugin.close(ONE) is Closing.CLOSED
        assert list(cluster.hosts) == ["node1"]

    @pytest.mark.parametrize(
        ("queues", "mark"),
        [
            ({"all.q": [1, "du"]}, "all.q"),
            ({"all.q": [0, "d"]}, "all.q"),
            ({"all.q": [0, "u"]}, "all.q"),
            ({"all.q": [0, "du"]}, ""),
            ({"all.q": [0, "du"], "b.q": [0, "du"]}, "all.q"),
        ],
    )
    def test_no_other(self, plugin: GridEngine, cluster: FakeGridEngine, queues: Any, mark: str) -> None:
        cluster.add()
        host = self.gone(cluster, 2)
        host.queues, host.values["elastiq_closed"] = queues, mark
        plugin.close(ONE)
        assert "node2" in cluster.hosts

    def test_failure_does_not_spoil_the_close(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.add()
        self.gone(cluster, 2)
        cluster.answers["qconf -dattr hostgroup"] = Result(1, "", "denied: no")
        assert plugin.close(ONE) is Closing.CLOSED


class TestCheck:
    def test_what_it_says(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.add()
        said = plugin.check()
        assert said.startswith("Grid Engine SGE 8.1.9, 1 workers, ")
        assert cluster.changes == []

    def test_of_a_user_who_is_no_manager(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.managers = ["sgeadmin"]
        with pytest.raises(BatchError, match="qconf -am"):
            plugin.check()

    def test_of_a_cluster_without_the_complexes(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.complexes = COMPLEXES.replace("elastiq_closed", "other")
        with pytest.raises(BatchError, match="elastiq_closed"):
            plugin.check()

    def test_of_an_accounting_file_that_is_out_of_reach(self, cluster: FakeGridEngine, tmp_path: Path) -> None:
        assert "can NOT be read" in GridEngine(60.0, tmp_path / "no" / "accounting").check()
        assert "are seen in" in GridEngine(60.0, tmp_path / "accounting").check()
