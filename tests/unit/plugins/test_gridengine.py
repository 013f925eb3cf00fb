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
from elastiq.model import Demand, Eligibility, Explanation, Shape, Standing, Usage, Worker
from elastiq.plugins import Closing
from elastiq.plugins.gridengine import SWEPT_AT_ONCE, GridEngine
from elastiq.plugins.gridengine_site import CONFIGURATION_SECONDS
from elastiq.plugins.loading import load
from elastiq.plugins.sections import GridEngineOptions
from tests.unit.fakes import FakeClock

ONE = Worker("node1", "i-1", "10.0.0.1")
COMPLEXES = "".join(
    f"{name} {name} {kind} <= YES {consumable} 0 0\n"
    for name, kind, consumable in (
        ("slots", "INT", "YES"),
        ("h_vmem", "MEMORY", "YES"),
        ("lic", "INT", "YES"),
        ("mem_total", "MEMORY", "NO"),
        ("kind", "RESTRING", "NO"),
        ("elastiq_instance", "RESTRING", "NO"),
        ("elastiq_address", "RESTRING", "NO"),
        ("elastiq_closed", "RESTRING", "NO"),
    )
)
HOST = """<host name='{name}'><hostvalue name='num_proc'>{processors}</hostvalue>
<resourcevalue name='mem_total' dominance='hl'>8.000G</resourcevalue>{values}{queues}</host>"""
QUEUE = """<queue name='{name}'><queuevalue name='slots_used'>{used}</queuevalue><queuevalue name='slots'>4</queuevalue>
<queuevalue name='slots_resv'>0</queuevalue><queuevalue name='state_string'>{state}</queuevalue></queue>"""


def group(environment: str = "", slots: int = 1, jobs: int = 1, running: int = 0, **requests: str) -> list[Any]:
    return [environment, slots, requests, [], jobs, running, ""]


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
        self.everywhere = "NONE"
        self.licences = 0
        self.queues: dict[str, dict[str, str]] = {"all.q": {"pe_list": "smp", "hostlist": "@workers"}}
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
        if words[:3] == ["qhost", "-xml", "-F"]:
            value = f"<resourcevalue name='lic' dominance='gc'>{self.licences}.0</resourcevalue>"
            return f"<?xml version='1.0'?><qhost><host name='global'>{value}</host></qhost>"
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
        if words[1] == "-sq" and words[2] != "*" and words[2].partition("@")[0] not in self.queues:
            return Result(1, "", f'No cluster queue or queue instance matches the phrase "{words[2]}"')
        if words[1] == "-sq":
            wanted = self.queues if words[2] == "*" else [words[2].partition("@")[0]]
            return "\n".join(self._queue(name) for name in wanted)
        if words[1] == "-se":
            offered = self.everywhere if words[2] == "global" else "elastiq_instance=i-1,kind=fast,h_vmem=8G,slots=4"
            return f"hostname {words[2]}\ncomplex_values {offered}\nload_values arch=lx-amd64,mem_free=9G\n"
        return {
            "-sc": self.complexes,
            "-spl": "\n".join(self.rules),
            "-sp": f"pe_name {words[-1]}\nallocation_rule    {self.rules.get(words[-1])}\n",
            "-sm": "\n".join(self.managers),
            "-shgrpl": "@workers\n@others\n",
            "-shgrp_resolved": " ".join(self.group) if words[-1] == "@workers" else "node11",
            "-shgrp": f"hostlist {' '.join(self.group) if words[-1] == '@workers' else 'node11'}\n",
            "-help": "SGE 8.1.9\nusage: qconf [options]\n",
            "-purge": "",
        }[words[1]]

    def _queue(self, name: str) -> str:
        values = {"qname": name, "pe_list": "NONE", "qtype": "BATCH INTERACTIVE", "complex_values": "NONE"}
        return "\n".join(f"{key}   {value}" for key, value in {**values, **self.queues[name]}.items())

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
    for module in ("gridengine", "gridengine_site"):
        monkeypatch.setattr(f"elastiq.plugins.{module}.run", cluster.run)
        monkeypatch.setattr(f"elastiq.plugins.{module}.execute", cluster.execute)
    monkeypatch.setattr("elastiq.plugins.gridengine_accounting.execute", cluster.execute)
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
        cluster.groups_of_jobs = [group("smp", 3, 2, h_vmem="1G")]
        for _ in range(3):
            (demand,) = plugin.demand()
            assert (demand.shape, demand.jobs) == (Shape(3, 3072), 2)
        assert sum(line.startswith("qconf") for line in cluster.asked) == 5
        cluster.rules["smp"] = "$round_robin"
        clock.sleep(CONFIGURATION_SECONDS + 1)
        assert plugin.demand()[0].shape == Shape(1, 1024)

    def test_a_new_environment_is_looked_up_at_once(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.groups_of_jobs = [group("smp", 2)]
        plugin.demand()
        cluster.rules["mpi"] = "1"
        cluster.groups_of_jobs = [group("mpi", 2)]
        assert plugin.demand()[0].vms_per_job == 2

    @pytest.mark.parametrize(
        ("command", "output"),
        [
            ("elastiq.plugins.gridengine_query", "groups"),
            ("qconf -sc", ""),
            ("qconf -se global", ""),
            ("qconf -spl", "no such thing\n"),
            ("qconf -sp smp", ""),
        ],
    )
    def test_garbage(self, plugin: GridEngine, cluster: FakeGridEngine, command: str, output: str) -> None:
        cluster.groups_of_jobs = [group("smp", 2)]
        cluster.answers[command] = Result(0, output, "")
        with pytest.raises(BatchError):
            plugin.demand()

    def test_licences_of_the_whole_cluster_are_counted_once(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.everywhere = "lic=5"
        cluster.licences = 3
        cluster.groups_of_jobs = [group(jobs=10, lic="1"), group(jobs=2)]
        assert [(each.jobs, each.wants) for each in plugin.demand()] == [(5, "")]
        cluster.licences = 0
        assert [(each.jobs, each.wants) for each in plugin.demand()] == [(2, "")]
        cluster.groups_of_jobs = cluster.groups_of_jobs[:1]
        assert plugin.demand() == ()

    def test_a_request_that_is_no_amount_costs_its_jobs_and_is_said_once(
        self, plugin: GridEngine, cluster: FakeGridEngine, caplog: pytest.LogCaptureFixture
    ) -> None:
        cluster.groups_of_jobs = [group(h_vmem="lots"), group(jobs=4)]
        for _ in range(2):
            assert [each.jobs for each in plugin.demand()] == [4]
        (record,) = caplog.records
        assert "h_vmem is no amount: 'lots'" in record.getMessage()

    def test_jobs_that_the_child_could_not_read_are_said_once(
        self, plugin: GridEngine, cluster: FakeGridEngine, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = {"groups": [group()], "unreadable": 2, "example": "job 7: what is no XML"}
        cluster.answers["elastiq.plugins.gridengine_query"] = Result(0, json.dumps(answer), "")
        for _ in range(2):
            assert [each.jobs for each in plugin.demand()] == [1]
        (record,) = caplog.records
        assert "job 7: what is no XML" in record.getMessage()

    def test_a_limit_of_queues_that_no_machine_runs_out_of_asks_for_nothing(
        self, plugin: GridEngine, cluster: FakeGridEngine
    ) -> None:
        """h_vmem is a consumable, but no host has a value of it."""
        cluster.groups_of_jobs = [group(h_vmem="64G")]
        assert plugin.demand()[0].shape == Shape(1, 65536)
        cluster.add()
        plugin.workers()
        assert plugin.demand()[0].shape == Shape(1)

    def test_running_jobs(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.groups_of_jobs = [group(jobs=3, running=7)]
        assert plugin.demand() == (Demand(Shape(1), 3, None, running=7),)

    def test_an_environment_that_vanishes_meanwhile(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.groups_of_jobs = [group("smp", 2)]
        cluster.answers["qconf -sp smp"] = Result(1, "", "smp is not a parallel environment\n")
        assert plugin.demand()[0].shape == Shape(2)
        cluster.answers["qconf -sp smp"] = Result(1, "", "error: commlib error")
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

    def test_of_a_host_first_seen_busy_it_is_not_known_what_it_holds(
        self, plugin: GridEngine, cluster: FakeGridEngine
    ) -> None:
        host = cluster.add()
        host.queues["all.q"][0] = 1
        left = "<resourcevalue name='h_vmem' dominance='hc'>0.000</resourcevalue>"
        text = host.text
        host.text = lambda name: text(name).replace("<queue", left + "<queue", 1)  # type: ignore[method-assign]
        assert plugin.workers()[0].capacity == Shape(4, None)
        assert plugin.workers()[0].free == Shape(3, 0)

    def test_one_that_cannot_be_read_is_there_busy_and_left_alone(
        self, plugin: GridEngine, cluster: FakeGridEngine, caplog: pytest.LogCaptureFixture
    ) -> None:
        cluster.add(1).queues["all.q"][0] = "many"
        cluster.add(2)
        for _ in range(2):
            odd, other = plugin.workers()
            assert (odd.name, odd.instance_id, odd.jobs, odd.idle_seconds, odd.hurt) == ("node1", "i-1", 1, None, True)
            assert (other.jobs, other.hurt) == (0, False)
        (record,) = caplog.records
        assert "host node1 cannot be read" in record.getMessage()
        for act in (plugin.close, plugin.reopen, plugin.forget, plugin.template):
            with pytest.raises(BatchError):
                act(ONE)
        assert cluster.changes == []

    def test_one_that_lost_a_queue_is_hurt(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        host = cluster.add()
        host.queues["long.q"] = [0, ""]
        assert not plugin.workers()[0].hurt
        del host.queues["long.q"]
        assert [plugin.workers()[0].hurt for _ in range(2)] == [True, True]
        host.queues["long.q"] = [0, ""]
        assert not plugin.workers()[0].hurt

    def test_what_waiting_jobs_ask_for_decides_what_is_left(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.complexes += "mem_free mf MEMORY <= YES NO 0 0\n"
        host = cluster.add()
        text = host.text
        values = "".join(
            f"<resourcevalue name='{name}' dominance='{level}'>{value}</resourcevalue>"
            for name, level, value in (("h_vmem", "hc", "6G"), ("mem_free", "hl", "1G"))
        )
        host.text = lambda name: text(name).replace("<queue", values + "<queue", 1)  # type: ignore[method-assign]
        for request, left_mb in (("h_vmem", 6144), ("mem_free", 1024)):
            cluster.groups_of_jobs = [group(**{request: "1G"})]
            plugin.demand()
            assert plugin.workers()[0].free.memory_mb == left_mb

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

        monkeypatch.setattr("elastiq.plugins.gridengine_accounting.execute", execute)
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

    def test_a_line_that_is_half_written_is_any_host(
        self, plugin: GridEngine, clock: FakeClock, tmp_path: Path
    ) -> None:
        path = tmp_path / "accounting"
        self.write(path, "node1")
        self.idle(plugin, clock)
        for part, idle in (("all.q:no", [0.0, 0.0]), ("de2:alice:alice:sleep:7:sge:0:1:2:3:0:0\n", [10.0, 10.0])):
            with path.open("a", encoding="utf-8") as file:
                file.write(part)
            assert self.idle(plugin, clock) == idle
        for part, idle in (("all.q:node2:al", [20.0, 0.0]), ("ice:alice:sleep:7:sge:0:1:2:3:0:0\n", [30.0, 10.0])):
            with path.open("a", encoding="utf-8") as file:
                file.write(part)
            assert self.idle(plugin, clock) == idle

    def test_without_the_file_looks_alone_count(self, plugin: GridEngine, clock: FakeClock) -> None:
        assert self.idle(plugin, clock) == [0.0, 0.0]
        assert self.idle(plugin, clock) == [10.0, 10.0]


class TestMatchmaking:
    def wants(self, plugin: GridEngine, cluster: FakeGridEngine, queues: Sequence[str] = (), **requests: str) -> str:
        row = group(**requests)
        row[3] = list(queues)
        cluster.groups_of_jobs = [row]
        return plugin.demand()[0].wants

    def test_a_worker_tells_which_jobs_others_like_it_run(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.add()
        template = plugin.template(ONE)
        assert "node1" not in template
        assert "i-1" not in template
        wants = [
            self.wants(plugin, cluster),
            self.wants(plugin, cluster, ["long.q"]),
            self.wants(plugin, cluster, ["all.q@@workers"]),
            self.wants(plugin, cluster, kind="fa*"),
            self.wants(plugin, cluster, kind="slow"),
        ]
        judged = plugin.judge(wants, template)
        assert [one.answer.value for one in judged] == ["yes", "no", "yes", "yes", "no"]
        assert judged[1].reason == "queue long.q: workers like this are only in all.q"

    def test_what_a_template_denies_is_not_known_once_queues_have_changed(
        self, plugin: GridEngine, cluster: FakeGridEngine, clock: FakeClock
    ) -> None:
        cluster.add()
        template = plugin.template(ONE)
        wants = [self.wants(plugin, cluster, ["long.q"])]
        cluster.queues["all.q"]["hostlist"] = "@workers node2"  # a worker that joins is no change
        clock.sleep(CONFIGURATION_SECONDS + 1)
        self.wants(plugin, cluster)
        assert plugin.judge(wants, template)[0].answer is Eligibility.NO
        cluster.queues["long.q"] = {"hostlist": "@workers"}
        clock.sleep(CONFIGURATION_SECONDS + 1)
        self.wants(plugin, cluster)
        assert plugin.judge(wants, template)[0].answer is Eligibility.UNKNOWN

    def test_judging_asks_nothing(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        assert plugin.judge(["", '{"q":["a.q"]}'], "")[0].answer is Eligibility.YES
        assert cluster.asked == []

    @pytest.mark.parametrize("state", ["d", "o", "E", "u"])
    def test_of_one_that_others_are_not_like_there_is_none(
        self, plugin: GridEngine, cluster: FakeGridEngine, state: str
    ) -> None:
        cluster.add().queues["all.q"][1] = state
        with pytest.raises(BatchError):
            plugin.template(ONE)

    def test_of_one_that_is_not_there_and_of_a_queue_that_disappears_meanwhile(
        self, plugin: GridEngine, cluster: FakeGridEngine
    ) -> None:
        with pytest.raises(BatchError):
            plugin.template(ONE)
        cluster.add().queues["long.q"] = [0, ""]
        with pytest.raises(BatchError, match=r"long\.q"):
            plugin.template(ONE)

    def test_one_that_is_too_long(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.add()
        cluster.queues["all.q"]["pe_list"] = " ".join(f"environment{number}" for number in range(9000))
        with pytest.raises(BatchError, match="too long"):
            plugin.template(ONE)


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
        assert "CANNOT be read" in GridEngine(60.0, tmp_path / "no" / "accounting").check()
        assert "are seen in" in GridEngine(60.0, tmp_path / "accounting").check()


def test_advice_is_of_the_scheduler_as_it_is(cluster: FakeGridEngine, plugin: GridEngine) -> None:
    text = "queue_sort_method                 load\nload_formula                      {}\n"
    cluster.answers["qconf -ssconf"] = Result(0, text.format("np_load_avg"), "")
    (said,) = plugin.advice()
    assert "load_formula slots" in said
    cluster.answers["qconf -ssconf"] = Result(0, text.format("slots"), "")
    assert plugin.advice() == ()
    cluster.answers["qconf -ssconf"] = Result(1, "", "error: commlib error: got select error")
    with pytest.raises(BatchError, match="commlib"):
        plugin.advice()


RECORDED = Path(__file__).parent / "recorded" / "gridengine"
NONE_HELD = "<job_info><queue_info/><job_info/></job_info>"


class TestExplain:
    def ask(self, plugin: GridEngine, cluster: FakeGridEngine, name: str, held: str = NONE_HELD) -> Explanation:
        cluster.answers["qstat -xml -j"] = Result(0, (RECORDED / f"{name}.xml").read_text(), "")
        cluster.answers["qstat -xml -s h -u alice"] = Result(0, held, "")
        return plugin.explain("7")

    def test_a_job_that_waits_is_in_the_group_that_it_is_counted_in(
        self, plugin: GridEngine, cluster: FakeGridEngine
    ) -> None:
        cluster.add()
        told = self.ask(plugin, cluster, "qstat-job-plain")
        cluster.groups_of_jobs = [group("", 1, 9, h_vmem="1G")]
        (demand,) = plugin.demand()
        assert told.group is not None
        assert (told.standing, told.group.key, told.group.jobs) == (Standing.WAITS, demand.key, 1)
        assert not any(line.startswith("qstat -xml -r") for line in cluster.asked), "no list of all jobs"

    def test_one_of_a_parallel_environment(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        told = self.ask(plugin, cluster, "qstat-job-parallel")
        cluster.groups_of_jobs = [group("smp", 2, 1)]
        assert told.group is not None
        assert told.group.key == plugin.demand()[0].key

    def test_a_held_one(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        held = (RECORDED / "qstat-held.xml").read_text().replace(">4<", ">7<")
        assert self.ask(plugin, cluster, "qstat-job-plain", held).standing is Standing.HELD

    def test_a_licence_of_the_whole_cluster_that_is_used_up(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.everywhere = "lic=5"
        text = (RECORDED / "qstat-job-plain.xml").read_text().replace("h_vmem", "lic").replace("1G", "1")
        cluster.answers["qstat -xml -j"] = Result(0, text, "")
        cluster.answers["qstat -xml -s h"] = Result(0, NONE_HELD, "")
        assert plugin.explain("7").standing is Standing.LIMITED
        cluster.licences = 5
        assert plugin.explain("7").standing is Standing.WAITS

    def test_no_such_job(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        assert self.ask(plugin, cluster, "qstat-no-such-job").standing is Standing.UNKNOWN
        assert plugin.explain("job-name").standing is Standing.UNKNOWN

    def test_a_master_that_does_not_answer(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.answers["qstat"] = Result(1, "", "error: commlib error: got select error")
        with pytest.raises(BatchError, match="commlib error"):
            plugin.explain("7")


def test_jobs_are_sent_elsewhere_only_from_a_host_that_says_that_its_vm_is_taken_back(
    cluster: FakeGridEngine, plugin: GridEngine
) -> None:
    host = cluster.add()
    host.queues["all.q"] = [1, "d"]
    plugin.requeue(ONE)
    assert not cluster.changes
    host.values["elastiq_closed"] = "elastiq.interruption"
    plugin.requeue(ONE)
    assert cluster.changes == ["-rq all.q@node1"]
    plugin.requeue(ONE)
    plugin.requeue(Worker("node9", "i-9", "10.0.0.9"))
    assert len(cluster.changes) == 1
    assert plugin.close(ONE) is Closing.CLOSED
    assert len(cluster.changes) == 1, "it was closed"


class TestUsage:
    def test_the_queue_and_the_accounting_file_are_read(
        self, plugin: GridEngine, cluster: FakeGridEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "accounting").write_text("")
        monkeypatch.setattr(
            "elastiq.plugins.gridengine_accounting.run",
            lambda words, seconds: "w1:ann:1795000000:1795000600:2\n" if words[0] == "awk" else "",
        )
        cluster.answers["qstat -xml -s rs -u *"] = Result(0, (RECORDED / "qstat.xml").read_text(), "")
        found = plugin.usage(1795000000.0)
        assert found[0] == Usage("ann", "w1", 1795000000.0, 1795000600.0, 2)
        assert {one.user for one in found[1:]} == {"alice"} and all(one.end_at is None for one in found[1:])

    def test_a_master_that_is_silent_is_no_answer(self, plugin: GridEngine, cluster: FakeGridEngine) -> None:
        cluster.answers["qstat"] = Result(1, "", "error: commlib error: got select error")
        with pytest.raises(BatchError, match="commlib"):
            plugin.usage(0.0)
