"""The Slurm plugin's conversations with a Slurm of a few lines, whose nodes change between two questions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from elastiq.command import Result
from elastiq.config import Settings
from elastiq.errors import BatchError
from elastiq.model import Eligibility, Explanation, Standing, Usage, Worker
from elastiq.plugins import Closing
from elastiq.plugins.loading import load
from elastiq.plugins.slurm import Slurm
from elastiq.plugins.slurm_match import Wants
from elastiq.plugins.slurm_queue import FIELD_END, QUEUE_FIELDS, RECORD_END

HEADER = FIELD_END.join(name.upper().replace("-", "_") for name in QUEUE_FIELDS) + RECORD_END
PARTITIONS = "PartitionName=batch Default=YES MaxNodes=UNLIMITED Nodes=ALL State=UP OverSubscribe=NO\n"
NODE = (
    "NodeName={name} CPUAlloc={cpus} CPUTot=4 AvailableFeatures={features} NodeAddr={address} RealMemory=4000 "
    "AllocMem=0 State={state} {busy} Reason={reason} [slurm@2026-11-22T22:00:00]\n"
)
ONE = Worker("i-00000001", "i-00000001", "10.0.0.1")
IDLE, DRAINED = "IDLE+DYNAMIC_NORM", "IDLE+DRAIN+DYNAMIC_NORM"
OWN = "elastiq: idle"


class FakeSlurm:
    """What the commands would say and do. `before_drain` and `after_drain` are moments for somebody else to act."""

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}
        self.jobs_on: dict[str, int] = {}
        self.private = "none"
        self.owner_id = 64030
        self.changes: list[str] = []
        self.asked: list[list[str]] = []
        self.refusal = ""
        self.undeletable = ""
        self.answers: dict[str, str] = {}
        self.resolved: str | BatchError = ""
        self.hanging = ""
        self.after_drain: Callable[[], None] = lambda: None

    def add(self, name: str, state: str = IDLE, reason: str = "", **values: Any) -> None:
        number = int(name[-1])
        fields = {"name": name, "state": state, "reason": reason, "cpus": 0, "address": f"10.0.0.{number}"}
        self.nodes[name] = {**fields, "features": "(null)", "busy": "LastBusyTime=1700000000", **values}

    def run(self, arguments: Sequence[str], timeout_seconds: float, **_: Any) -> str:
        assert 0 < timeout_seconds <= 60
        self.asked.append(list(arguments))
        words = list(arguments)
        if words[0] == "sudo":
            assert words[:4] == ["sudo", "-n", "-u", "slurm"]
            words = words[4:]
        for beginning, answer in self.answers.items():
            if " ".join(words).startswith(beginning):
                return answer
        if words[0] == "sdiag":
            return "sdiag output at Sun Nov 22 22:40:42 2026 (1700000100)\n"
        if words[:2] == ["scontrol", "--version"]:
            return "slurm-wlm 24.11.5\n"
        if words[:3] == ["scontrol", "show", "config"]:
            return f"PrivateData             = {self.private}\nSlurmUser               = slurm({self.owner_id})\n"
        if words[-1] in ("partition", "licenses"):
            return PARTITIONS if words[-1] == "partition" else "LicenseName=fluent Total=2 Used=2\n"
        if words[0] == "scontrol":
            return "".join(NODE.format(**node) for node in self.nodes.values()) or "No nodes in the system\n"
        (name,) = [word.partition("=")[2] for word in words if word.startswith("--nodelist=")]
        return ("" if "--noheader" in words else "JOBID\n") + "77\n" * self.jobs_on.get(name, 0)

    def execute(self, arguments: Sequence[str], timeout_seconds: float, **_: Any) -> Result:
        if arguments[0] == "getent":
            assert timeout_seconds < 10
            self.asked.append(list(arguments))
            if isinstance(self.resolved, BatchError):
                raise self.resolved
            if self.hanging in arguments:
                raise BatchError("getent gave no complete answer within 5 s and was killed")
            return Result(2, self.resolved, "")
        assert arguments[:5] == ["sudo", "-n", "-u", "slurm", "scontrol"]
        if arguments[5] == "requeue":
            self.changes.append(f"requeue {arguments[6]}")
            return Result(1 if self.refusal else 0, "", self.refusal)
        words = dict(word.split("=", 1) for word in arguments[6:])
        if self.refusal:
            return Result(1, "", self.refusal)
        for name in words["nodename"].split(","):
            if name not in self.nodes:
                return Result(1, "", "slurm_update error: Invalid node name specified\n")
        if arguments[5] == "delete" and self.undeletable in words["nodename"].split(","):
            return Result(1, "", "slurm_delete_node error: Requested node(s) in a reservation\n")
        for name in words["nodename"].split(","):
            self._change(name, "delete" if arguments[5] == "delete" else words["state"], words)
        if words.get("state") == "drain":
            self.after_drain()
        return Result(0, "", "")

    def _change(self, name: str, change: str, words: Mapping[str, str]) -> None:
        node = self.nodes[name]
        self.changes.append(f"{change} {name}")
        node["reason"] = words.get("reason", node["reason"])
        if change == "delete":
            del self.nodes[name]
        elif change == "drain":
            node["state"] = node["state"].replace("+DRAIN", "") + "+DRAIN"
        elif change == "undrain":
            node["state"] = node["state"].replace("+DRAIN", "")
        elif change == "down":
            node["state"] = re.sub("^[A-Z]+", "DOWN", node["state"])

    def pipeline(self, commands: Sequence[Sequence[str]], timeout_seconds: float, **_: Any) -> str:
        self.asked += [list(words) for words in commands]
        return self.answers.get("squeue", HEADER)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
    fake = FakeSlurm()
    for name in ("run", "execute", "pipeline"):
        monkeypatch.setattr(f"elastiq.plugins.slurm.{name}", getattr(fake, name))
    monkeypatch.setattr("elastiq.plugins.slurm.os.geteuid", lambda: 1000)
    yield fake


@pytest.fixture
def plugin() -> Slurm:
    return Slurm(60, "slurm")


def test_is_made_of_the_settings() -> None:
    assert isinstance(load("slurm", Settings()), Slurm)


def test_an_idle_worker_is_closed(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("i-00000001")
    assert plugin.close(ONE) is Closing.CLOSED
    (worker,) = plugin.workers()
    assert (worker.closed, worker.closed_by_other) == (True, False)
    assert plugin.close(ONE) is Closing.CLOSED
    plugin.reopen(ONE)
    assert not plugin.workers()[0].closed
    plugin.reopen(ONE)
    assert cluster.changes == ["drain i-00000001", "undrain i-00000001"]


@pytest.mark.parametrize("busy", [{"cpus": 1}, {"state": "MIXED+DYNAMIC_NORM"}, {"state": "IDLE+COMPLETING"}])
def test_a_busy_worker_is_left_alone(cluster: FakeSlurm, plugin: Slurm, busy: dict[str, Any]) -> None:
    cluster.add("i-00000001", **busy)
    assert plugin.close(ONE) is Closing.BUSY
    assert cluster.changes == []


def test_a_reserved_worker_is_left_to_the_jobs_of_the_reservation(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("i-00000001", IDLE + "+RESERVED")
    assert plugin.close(ONE) is Closing.BUSY
    assert cluster.changes == []


def test_a_reservation_of_a_worker_that_is_drained_comes_too_late(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("i-00000001")
    cluster.after_drain = lambda: cluster.nodes["i-00000001"].update(state=DRAINED + "+RESERVED")
    assert plugin.close(ONE) is plugin.close(ONE) is Closing.CLOSED
    assert cluster.changes == ["drain i-00000001"]


def test_a_job_that_got_in_first_stays(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("i-00000001")
    cluster.after_drain = lambda: cluster.nodes["i-00000001"].update(state="MIXED+DRAIN+DYNAMIC_NORM", cpus=1)
    assert plugin.close(ONE) is Closing.BUSY
    assert cluster.nodes["i-00000001"]["state"] == "MIXED+DYNAMIC_NORM"


def test_a_job_that_only_the_list_of_jobs_shows_stays(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("i-00000001")
    cluster.jobs_on["i-00000001"] = 1
    assert plugin.close(ONE) is Closing.BUSY
    assert cluster.changes == ["drain i-00000001", "undrain i-00000001"]


def test_a_close_of_long_ago_that_has_a_job_is_undone(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("i-00000001", "MIXED+DRAIN+DYNAMIC_NORM", OWN, cpus=1)
    assert plugin.close(ONE) is Closing.BUSY
    assert cluster.changes == ["undrain i-00000001"]


def test_what_somebody_else_drained_is_left_alone(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("i-00000001", DRAINED, "new disk")
    for call in (plugin.close, plugin.reopen):
        with pytest.raises(BatchError, match=r"somebody else.*new disk"):
            call(ONE)
    assert cluster.changes == []
    assert plugin.workers()[0].closed_by_other


def test_a_bad_registration_can_be_closed(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("i-00000001", DRAINED + "+INVALID_REG", "Low RealMemory")
    (worker,) = plugin.workers()
    assert (worker.closed, worker.closed_by_other, worker.hurt) == (True, False, True)
    assert plugin.close(ONE) is Closing.CLOSED
    assert cluster.changes == ["drain i-00000001"]


def test_what_slurm_drained_is_closed_once_no_job_is_left(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("i-00000001", DRAINED, "Kill task failed")
    cluster.jobs_on["i-00000001"] = 1
    assert plugin.close(ONE) is Closing.BUSY
    assert cluster.changes == []
    cluster.jobs_on.clear()
    assert plugin.close(ONE) is Closing.CLOSED
    assert plugin.close(ONE) is Closing.CLOSED
    assert cluster.changes == ["drain i-00000001"]


@pytest.mark.parametrize(
    ("flags", "reason", "kept"),
    [
        ("", "Prolog error", "elastiq: idle; Prolog error"),
        ("+INVALID_REG", "Low RealMemory (reported:900)", "elastiq: idle; Low RealMemory (reported:900)"),
        ("+INVALID_REG", "", "elastiq: idle; drained by Slurm"),
    ],
)
def test_what_slurm_drained_stays_drained(
    cluster: FakeSlurm, plugin: Slurm, flags: str, reason: str, kept: str
) -> None:
    """Its VM is broken: the jobs that wait get another one when its termination has failed."""
    cluster.add("i-00000001", DRAINED + flags, reason)
    with pytest.raises(BatchError, match="drained by Slurm"):
        plugin.reopen(ONE)
    assert plugin.close(ONE) is Closing.CLOSED
    assert cluster.nodes["i-00000001"]["reason"] == kept
    cluster.nodes["i-00000001"]["state"] = DRAINED  # whatever it has registered with since
    with pytest.raises(BatchError, match="drained by Slurm"):
        plugin.reopen(ONE)
    cluster.jobs_on["i-00000001"] = 1
    assert plugin.close(ONE) is Closing.BUSY
    assert cluster.changes == ["drain i-00000001"]


def test_a_drain_that_had_no_effect_is_an_error(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("i-00000001")
    cluster.after_drain = lambda: cluster.nodes["i-00000001"].update(state=IDLE)
    with pytest.raises(BatchError, match="is not drained"):
        plugin.close(ONE)


def test_a_drain_that_is_refused_is_an_error(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("i-00000001")
    cluster.refusal = "slurm_update error: Invalid user id\n"
    for call in (plugin.close, plugin.forget):
        with pytest.raises(BatchError, match="Invalid user id"):
            call(ONE)
    with pytest.raises(BatchError, match="sudo_user"):
        plugin.check()


def test_a_node_that_went_meanwhile_is_closed(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("i-00000001")
    cluster.after_drain = lambda: cluster.nodes.clear()
    assert plugin.close(ONE) is Closing.CLOSED


def test_a_vm_that_is_no_node_is_closed(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("i-00000002")
    assert plugin.close(Worker("", "i-00000001", "10.0.0.1")) is Closing.CLOSED
    assert cluster.changes == []


def test_a_node_is_found_by_address_alone(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("node1")
    assert plugin.close(Worker("", "i-0000000a", "10.0.0.1")) is Closing.CLOSED
    assert cluster.changes == ["drain node1"]


class TestNodesThatSlurmCallsByHostName:
    """Of the configuration, without a feature that is the VM's id: NodeAddr is the name of a host, not an address."""

    BUSY = Worker("", "i-0000000a", "10.0.0.7")
    """A VM, as elastiq knows it before it has seen its worker."""

    def test_they_are_found_by_the_address_that_the_name_has(self, cluster: FakeSlurm, plugin: Slurm) -> None:
        cluster.add("worker3", "MIXED", cpus=2, address="worker3")
        cluster.add("i-00000001")
        cluster.resolved = "10.0.0.7        STREAM worker3\n10.0.0.7        DGRAM  \n"
        addresses = {worker.name: worker.address for worker in plugin.workers()}
        assert addresses == {"worker3": "10.0.0.7", "i-00000001": "10.0.0.1"}
        assert cluster.asked[-1] == ["getent", "ahostsv4", "worker3"]
        assert plugin.close(self.BUSY) is Closing.BUSY
        cluster.nodes["worker3"].update(state="IDLE", cpus=0)
        assert plugin.close(self.BUSY) is Closing.CLOSED
        assert cluster.changes == ["drain worker3"]

    @pytest.mark.parametrize("resolved", ["", BatchError("getent was killed")])
    def test_a_vm_that_may_be_one_is_not_closed(
        self, cluster: FakeSlurm, plugin: Slurm, resolved: str | BatchError
    ) -> None:
        cluster.add("worker3", "MIXED", cpus=2, address="worker3")
        cluster.add("i-00000001")
        cluster.resolved = resolved
        assert [(worker.name, worker.address) for worker in plugin.workers()] == [
            ("worker3", None),
            ("i-00000001", "10.0.0.1"),
        ]
        with pytest.raises(BatchError, match=r"worker i-0000000a may be worker3, of which Slurm tells neither VM"):
            plugin.close(self.BUSY)
        assert plugin.close(ONE) is Closing.CLOSED
        assert plugin.close(Worker("worker3", "i-0000000a", "10.0.0.7")) is Closing.BUSY
        assert cluster.changes == ["drain i-00000001"]

    def test_a_host_in_two_networks_may_be_any(self, cluster: FakeSlurm, plugin: Slurm) -> None:
        """Which of its addresses the cloud knows is not to be told."""
        cluster.add("worker3", "MIXED", cpus=2, address="worker3")
        cluster.resolved = "192.168.0.7     STREAM worker3\n192.168.0.7     DGRAM\n10.0.0.7        STREAM\n"
        assert [worker.address for worker in plugin.workers()] == [None]
        with pytest.raises(BatchError, match="may be worker3, of which"):
            plugin.close(self.BUSY)

    def test_a_machine_without_ipv4_that_is_no_vm_says_so_by_any_id(self, cluster: FakeSlurm, plugin: Slurm) -> None:
        cluster.add("storage1", address="fd00::1")
        cluster.add("storage2", address="fd00::2", features="big,i-00000000")
        with pytest.raises(BatchError, match="may be storage1, of which"):
            plugin.close(self.BUSY)
        cluster.nodes["storage1"]["features"] = "i-00000000"
        with pytest.raises(BatchError, match="may be storage1, storage2, of which"):
            plugin.close(self.BUSY)
        cluster.nodes["storage1"]["features"] = "i-00000001"
        assert plugin.close(self.BUSY) is Closing.CLOSED
        assert cluster.changes == []

    def test_a_host_of_another_address_is_another_machine(self, cluster: FakeSlurm, plugin: Slurm) -> None:
        cluster.add("storage1", address="storage1.example")
        cluster.resolved = "192.168.0.1     STREAM storage1.example\n"
        assert plugin.close(self.BUSY) is Closing.CLOSED
        assert cluster.changes == []

    def test_what_is_known_by_its_feature_is_not_asked_for(self, cluster: FakeSlurm, plugin: Slurm) -> None:
        cluster.add("i-00000005", address="worker5")
        cluster.add("worker6", address="--help")
        with pytest.raises(BatchError, match="may be worker6, of which"):
            plugin.close(self.BUSY)
        del cluster.nodes["worker6"]
        assert plugin.close(self.BUSY) is Closing.CLOSED
        assert [words for words in cluster.asked if words[0] == "getent"] == []

    def test_what_is_down_is_asked_for_last_and_hides_no_other(self, cluster: FakeSlurm, plugin: Slurm) -> None:
        """The names of machines that are gone are those that a name service hangs on."""
        cluster.add("worker3", address="worker3")
        cluster.add("worker4", "DOWN*", address="worker4")
        cluster.resolved = "10.0.0.7        STREAM worker3\n"
        cluster.hanging = "worker4"
        assert [worker.address for worker in plugin.workers()] == ["10.0.0.7"]
        assert plugin.close(self.BUSY) is Closing.CLOSED
        names = [words[2:] for words in cluster.asked if words[0] == "getent"]
        assert names == [["worker3"]] * len(names)
        assert plugin.close(ONE) is Closing.CLOSED
        assert cluster.asked[-1] == ["getent", "ahostsv4", "worker4"]
        assert cluster.changes == ["drain worker3"]

    def test_what_is_down_is_found_by_the_address_of_its_host(self, cluster: FakeSlurm, plugin: Slurm) -> None:
        """Drained it starts no job, should it come back before its VM is terminated."""
        cluster.add("worker4", "DOWN*", address="worker4")
        cluster.resolved = "10.0.0.8        STREAM worker4\n"
        assert plugin.close(Worker("worker4", "i-0000000a", "10.0.0.7")) is Closing.CLOSED
        assert cluster.changes == []
        assert plugin.close(Worker("", "i-0000000a", "10.0.0.8")) is Closing.CLOSED
        assert cluster.changes == ["drain worker4"]

    def test_a_name_service_that_hangs_is_named_in_the_log_and_in_the_refusal(
        self, cluster: FakeSlurm, plugin: Slurm, caplog: pytest.LogCaptureFixture
    ) -> None:
        cluster.add("worker3", "MIXED", cpus=2, address="worker3")
        for _ in range(2):
            cluster.hanging = "worker3"
            for _ in range(2):
                with pytest.raises(BatchError, match=r"may be worker3, of which .*: the name service does not answer"):
                    plugin.close(self.BUSY)
            cluster.hanging = ""
            with pytest.raises(BatchError, match=r"may be worker3, of which .* IPv4 address$"):
                plugin.close(self.BUSY)
        said = "addresses of nodes cannot be looked up: the name service does not answer (getent gave no"
        assert [said in message for message in caplog.messages] == [True] * 2


def test_the_next_vm_of_the_same_address_is_another(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("i-00000002", address="10.0.0.1")
    assert plugin.close(ONE) is Closing.CLOSED
    plugin.reopen(ONE)
    plugin.forget(ONE)
    assert cluster.changes == []


def test_two_nodes_on_one_machine_are_an_error(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("node1")
    cluster.add("node2", address="10.0.0.1")
    with pytest.raises(BatchError, match="more than one node of Slurm: node1, node2"):
        plugin.close(ONE)


def test_a_dead_node_is_closed_so_that_it_stays_closed(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("i-00000001", "DOWN*+DYNAMIC_NORM", "Not responding")
    assert plugin.workers() == ()
    assert plugin.close(ONE) is Closing.CLOSED
    assert cluster.changes == ["drain i-00000001"]


def test_a_node_that_somebody_has_set_down_is_lost_like_any_other(cluster: FakeSlurm, plugin: Slurm) -> None:
    """Its jobs are queued again or killed by then; only a drain keeps its VM."""
    cluster.add("i-00000001", "DOWN+DYNAMIC_NORM", "new disk")
    assert plugin.workers() == ()
    assert plugin.close(ONE) is Closing.CLOSED
    assert cluster.changes == ["drain i-00000001"]
    cluster.add("i-00000001", "DOWN+DRAIN+DYNAMIC_NORM", "new disk")
    with pytest.raises(BatchError, match=r"somebody else.*new disk"):
        plugin.close(ONE)


def test_forget_gives_the_jobs_of_a_dead_vm_back(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("i-00000001", "MIXED+DYNAMIC_NORM", cpus=2)
    plugin.forget(ONE)
    plugin.forget(ONE)
    assert cluster.changes == ["down i-00000001", "delete i-00000001"]


def test_forget_keeps_nodes_of_the_configuration(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("node1", "IDLE+DRAIN", OWN)
    plugin.forget(Worker("node1", None, "10.0.0.1"))
    assert cluster.changes == ["down node1", "undrain node1"]


def test_dead_nodes_that_elastiq_closed_are_deleted_with_the_next_close(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("i-00000001")
    cluster.add("i-00000002", "DOWN+DRAIN+DYNAMIC_NORM", OWN)
    cluster.add("i-00000003", "DOWN+DRAIN+DYNAMIC_NORM", OWN)
    cluster.add("i-00000004", "DOWN+DRAIN+DYNAMIC_NORM", "new disk")
    cluster.add("i-00000005", "DOWN+DYNAMIC_NORM", "Not responding")
    cluster.add("i-00000006", DRAINED, OWN)
    assert plugin.close(ONE) is Closing.CLOSED
    assert cluster.changes == ["delete i-00000002", "delete i-00000003", "drain i-00000001"]


def test_a_dead_node_that_could_not_be_deleted_is_deleted_later(cluster: FakeSlurm, plugin: Slurm) -> None:
    """As one that a reservation names: forget is asked for a VM only once."""
    cluster.add("i-00000001")
    cluster.add("i-00000002")
    cluster.undeletable = "i-00000002"
    two = Worker("i-00000002", "i-00000002", "10.0.0.2")
    with pytest.raises(BatchError, match="could not delete"):
        plugin.forget(two)
    cluster.undeletable = ""
    assert plugin.close(ONE) is Closing.CLOSED
    assert cluster.changes == ["down i-00000002", "delete i-00000002", "drain i-00000001"]


@pytest.mark.parametrize("private", ["jobs", "accounts,nodes", "Jobs,Nodes"])
def test_what_is_hidden_is_asked_for_with_rights(cluster: FakeSlurm, private: str) -> None:
    cluster.private = private
    cluster.add("i-00000001")
    with pytest.raises(BatchError, match=r"PrivateData.*sudo_user"):
        Slurm(60).workers()
    with pytest.raises(BatchError, match=r"PrivateData.*sudo_user"):
        Slurm(60).demand()
    with pytest.raises(BatchError, match=r"PrivateData.*sudo_user"):
        Slurm(60).close(ONE)
    Slurm(60, "slurm").workers()
    assert cluster.asked[-1][:5] == ["sudo", "-n", "-u", "slurm", "scontrol"]
    Slurm(60, "slurm").demand()
    assert cluster.asked[-2][:5] == ["sudo", "-n", "-u", "slurm", "squeue"]
    cluster.owner_id = 1000
    Slurm(60).workers()
    assert cluster.asked[-1][0] == "scontrol"


@pytest.mark.parametrize(
    ("command", "answer", "calls"),
    [
        ("sdiag", "", ("demand", "workers", "close", "reopen", "forget", "check")),
        ("scontrol show config", "", ("demand", "workers", "close", "reopen", "forget", "check")),
        ("scontrol --oneliner", "", ("workers", "close", "reopen", "forget", "check")),
        ("scontrol --oneliner", "NodeName=i-00000001\n", ("workers", "close", "reopen", "forget", "check")),
        ("squeue", "", ("demand", "close")),
    ],
)
def test_no_answer_is_an_error(cluster: FakeSlurm, command: str, answer: str, calls: tuple[str, ...]) -> None:
    cluster.add("i-00000001")
    cluster.answers[command] = answer
    for call in calls:
        plugin = Slurm(60, "slurm")
        with pytest.raises(BatchError):
            getattr(plugin, call)(*[ONE] if call in ("close", "reopen", "forget") else [])


def test_demand_asks_for_all_that_is_active_with_slurms_time(cluster: FakeSlurm, plugin: Slurm) -> None:
    assert plugin.demand() == ()
    squeue, awk = cluster.asked[-2:]
    assert "--states=PD,R,CF,CG,S,SI,SO,ST" in squeue
    assert "now=1700000100" in awk


def answer(**values: str) -> str:
    """What awk makes of a queue with one waiting job."""
    job = {"nodes": "1", "resources": "cpu=1,mem=1000M,node=1", "named": "", "reservation": "(null)"}
    job.update({"licenses": "(null)", "partition": "batch", "tasks": "1", "cpus": "1", "memory": "1000M", "tmp": "0"})
    job.update(dict.fromkeys(("job", "node", "socket", "task"), "N/A"))
    job.update({"feature": "(null)", "exclusive": "0", **values})
    words = ["W", "1", "1700000000", "", "", *job.values()]
    return HEADER + FIELD_END.join(words) + RECORD_END


def test_no_more_is_asked_than_matters_for_what_waits(cluster: FakeSlurm, plugin: Slurm) -> None:
    plugin.demand()
    assert [words[-1] for words in cluster.asked if words[-1] in ("partition", "licenses")] == []
    cluster.answers["squeue"] = answer()
    assert len(plugin.demand()) == 1
    assert [words[-1] for words in cluster.asked if words[-1] in ("partition", "licenses")] == ["partition"]
    cluster.answers["squeue"] = answer(licenses="fluent:1")
    assert plugin.demand() == ()
    assert cluster.asked[-1] == ["scontrol", "--oneliner", "--all", "show", "licenses"]


def test_a_partition_that_went_between_two_questions_is_said_once(
    cluster: FakeSlurm, plugin: Slurm, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.answers["squeue"] = answer(partition="gone,batch")
    for _ in range(3):
        assert [group.wants for group in plugin.demand()] == [""]
    cluster.answers["squeue"] = answer()
    plugin.demand()
    cluster.answers["squeue"] = answer(partition="gone")
    assert [group.wants for group in plugin.demand()] == [""]
    assert caplog.messages == ["scontrol knows no partition gone, which jobs name"] * 2


def test_jobs_that_cannot_be_read_are_counted_and_said_once(
    cluster: FakeSlurm, plugin: Slurm, caplog: pytest.LogCaptureFixture
) -> None:
    odd = answer(resources="much").removeprefix(HEADER)
    cluster.answers["squeue"] = answer() + odd
    for _ in range(3):
        assert [group.jobs for group in plugin.demand()] == [1]
        cluster.answers["squeue"] += odd
    (said,) = caplog.messages
    assert said == "1 jobs cannot be read and are left out: squeue answered what are no resources: 'much'"


def test_a_node_that_cannot_be_read_is_busy_and_said_once(
    cluster: FakeSlurm, plugin: Slurm, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.add("i-00000001", "DANCING+DRAIN", OWN)
    cluster.add("i-00000002")
    for _ in range(2):
        first, second = plugin.workers()
        assert (first.instance_id, first.jobs, second.jobs) == ("i-00000001", 1, 0)
    assert plugin.close(ONE) is Closing.BUSY
    for call in (plugin.reopen, plugin.template):
        with pytest.raises(BatchError):
            call(ONE)
    assert cluster.changes == []
    (said,) = caplog.messages
    assert said.startswith("node i-00000001 cannot be read: scontrol answered with a node in state 'DANCING+DRAIN'")


def test_a_template_is_what_the_node_offers(cluster: FakeSlurm, plugin: Slurm) -> None:
    offered = "Gres=gpu:a100:2 Partitions=batch,long LastBusyTime=1700000000"
    cluster.add("i-00000001", features="fast,i-00000001", busy=offered)
    template = plugin.template(ONE)
    assert "i-00000001" not in template
    wants = [Wants(constraint="fast").text(), Wants(gres={"gpu:t4": 1}).text(), ""]
    assert [judgement.answer for judgement in plugin.judge(wants, template)] == [
        Eligibility.YES,
        Eligibility.NO,
        Eligibility.YES,
    ]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (DRAINED, OWN),
        (DRAINED, "new disk"),
        (DRAINED + "+INVALID_REG", "Low RealMemory"),
        ("IDLE+FAIL", ""),
        ("DOWN*+DYNAMIC_NORM", "Not responding"),
    ],
)
def test_a_node_that_others_are_not_like_has_no_template(
    cluster: FakeSlurm, plugin: Slurm, state: str, reason: str
) -> None:
    cluster.add("i-00000001", state, reason)
    with pytest.raises(BatchError, match="worker i-00000001 is not there, closed or broken"):
        plugin.template(ONE)
    with pytest.raises(BatchError, match="is not there"):
        plugin.template(Worker("i-00000009", "i-00000009", "10.0.0.9"))


def test_idle_time_is_counted_where_slurm_does_not_tell_it(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("i-00000001", busy="")
    first = plugin.workers()[0].idle_seconds
    second = plugin.workers()[0].idle_seconds
    assert first == 0.0
    assert second is not None and second > 0.0
    cluster.nodes["i-00000001"]["state"] = "MIXED"
    assert plugin.workers()[0].idle_seconds is None
    cluster.nodes["i-00000001"]["state"] = "IDLE"
    assert plugin.workers()[0].idle_seconds == 0.0


def test_check_says_what_there_is_and_changes_nothing(cluster: FakeSlurm, plugin: Slurm) -> None:
    cluster.add("i-00000001")
    cluster.add("i-00000002", "DOWN+DRAIN+DYNAMIC_NORM", OWN)
    assert plugin.check() == "Slurm 24.11.5, 1 workers, may drain them"
    assert cluster.changes == []


def test_advice_is_of_the_configuration_in_force_and_of_the_partitions_used(cluster: FakeSlurm) -> None:
    cluster.answers["scontrol --oneliner --all show partition"] = PARTITIONS.replace("State", "LLN=YES State")
    config = (
        "PrivateData = none\nSlurmUser = slurm(64030)\nSelectType = select/cons_tres\nSelectTypeParameters = CR_CPU\n"
    )
    cluster.answers["scontrol show config"] = config
    (said,) = Slurm(30).advice()
    assert "put LLN=NO into its line" in said
    assert Slurm(30, partitions=["other"]).advice() == ()
    cluster.answers["scontrol show config"] = config.replace("CR_CPU", "CR_CPU,CR_LLN")
    (said,) = Slurm(30).advice()
    assert "put SelectTypeParameters=CR_CPU into slurm.conf" in said
    cluster.answers["scontrol --oneliner --all show partition"] = "no answer"
    with pytest.raises(BatchError, match="no list of partitions"):
        Slurm(30).advice()


def listed(state: str, reason: str) -> str:
    one = FIELD_END.join(("7", state, "0", reason, "batch", ""))
    return f"{FIELD_END.join('ABCDEF')}{RECORD_END}\n{one}{RECORD_END}\n"


def waits(partition: str = "batch") -> str:
    asked = ("1", "2", "0", "0", "", "", "", "", "(null)", "0")
    group = ("", "", "1", "cpu=2,node=1", "", "", "", partition, *asked)
    return HEADER + FIELD_END.join(("W", "1", "1699999990", *group)) + RECORD_END


class Explained(FakeSlurm):
    """Answers to questions for one job."""

    def __init__(self, *answers: Result, queue: str = HEADER) -> None:
        super().__init__()
        self.told = list(answers)
        self.answers["squeue"] = queue

    def execute(self, arguments: Sequence[str], timeout_seconds: float, **_: Any) -> Result:
        assert any(word.startswith("--jobs=") for word in arguments), "one job alone is asked for"
        return self.told.pop(0) if len(self.told) > 1 else self.told[0]


@pytest.fixture
def explain(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Explanation]:
    def ask(job: str, *answers: Result, queue: str = HEADER, partitions: Sequence[str] = ()) -> Explanation:
        fake = Explained(*answers, queue=queue)
        for name in ("run", "execute", "pipeline"):
            monkeypatch.setattr(f"elastiq.plugins.slurm.{name}", getattr(fake, name))
        monkeypatch.setattr("elastiq.plugins.slurm.os.geteuid", lambda: 0)
        return Slurm(60, "", partitions).explain(job)

    return ask


PENDING = Result(0, listed("PD", "Resources"), "")


def test_a_job_that_waits_is_in_the_group_that_it_is_counted_in(explain: Callable[..., Explanation]) -> None:
    told = explain("7", PENDING, queue=waits())
    assert told.standing is Standing.WAITS
    assert told.group is not None
    assert (told.group.shape.cpus, told.group.jobs) == (2, 1)


def test_a_job_of_another_partition_is_not_elastiqs(explain: Callable[..., Explanation]) -> None:
    assert explain("7", PENDING, queue=waits(), partitions=("gpu",)).standing is Standing.ELSEWHERE


def test_a_job_that_waits_and_is_counted_nowhere_is_limited_or_has_started(
    explain: Callable[..., Explanation],
) -> None:
    assert explain("7", PENDING).standing is Standing.LIMITED
    assert explain("7", PENDING, Result(0, listed("R", "None"), "")).standing is Standing.RUNS


@pytest.mark.parametrize("job", ["7", "7_3", "7+1"])
def test_a_job_that_slurm_does_not_know(job: str, explain: Callable[..., Explanation]) -> None:
    unknown = Result(1, "", "slurm_load_jobs error: Invalid job id specified\n")
    assert explain(job, unknown).standing is Standing.UNKNOWN
    assert explain("seven", unknown).standing is Standing.UNKNOWN


def test_a_slurm_that_does_not_answer_for_one_job(explain: Callable[..., Explanation]) -> None:
    with pytest.raises(BatchError, match="Unable to contact"):
        explain("7", Result(1, "", "slurm_load_jobs error: Unable to contact slurm controller\n"))


TAKEN_BACK = "elastiq: spot interruption 2026-11-28T20:17:00Z"


def test_jobs_are_requeued_only_of_a_node_that_says_that_its_vm_is_taken_back(
    cluster: FakeSlurm, plugin: Slurm
) -> None:
    cluster.add("i-00000001", "MIXED+DRAIN+DYNAMIC_NORM", OWN)
    cluster.jobs_on["i-00000001"] = 2
    plugin.requeue(ONE)
    assert not cluster.changes
    cluster.nodes["i-00000001"]["reason"] = TAKEN_BACK
    plugin.requeue(ONE)
    assert cluster.changes == ["requeue 77,77"]
    cluster.jobs_on["i-00000001"] = 0
    plugin.requeue(ONE)
    plugin.requeue(Worker("i-00000009", "i-00000009", "10.0.0.9"))
    assert len(cluster.changes) == 1
    cluster.jobs_on["i-00000001"] = 1
    cluster.refusal = "slurm_requeue error: Requested operation is presently disabled\n"
    with pytest.raises(BatchError, match=r"requeue jobs of .*presently disabled"):
        plugin.requeue(ONE)


def test_a_node_whose_vm_is_taken_back_is_closed_and_never_opened_for_a_job_that_ends(
    cluster: FakeSlurm, plugin: Slurm
) -> None:
    cluster.add("i-00000001", DRAINED, TAKEN_BACK)
    cluster.jobs_on["i-00000001"] = 1
    assert plugin.close(ONE) is Closing.BUSY
    cluster.jobs_on["i-00000001"] = 0
    assert plugin.close(ONE) is Closing.CLOSED
    assert not cluster.changes


class TestUsage:
    CONFIG = (
        "PrivateData = none\nSlurmUser = slurm(64030)\nAccountingStorageType = {}\nJobCompType = {}\n"
        "JobCompLoc = /jobs\n"
    )
    ENDED = (
        "JobId=7 UserId=ann(1000) GroupId=ann(1000) Name=x JobState=COMPLETED Partition=batch TimeLimit=UNLIMITED "
        "StartTime=2026-11-18T11:06:40 EndTime=2026-11-18T11:16:40 NodeList=w1 NodeCnt=1 ProcCnt=2 WorkDir=/ "
        "ReservationName= Cluster=c DerivedExitCode=0:0 ExitCode=0:0 \n"
    )

    def test_with_slurmdbd_it_is_asked_by_sacct(self, cluster: FakeSlurm, plugin: Slurm) -> None:
        cluster.answers["scontrol show config"] = self.CONFIG.format("accounting_storage/slurmdbd", "(null)")
        cluster.answers["sacct"] = "ann|1795000000|Unknown|w1|2|1\n"
        assert plugin.usage(0.0) == (Usage("ann", "w1", 1795000000.0, None, 2),)
        (asked,) = [words for words in cluster.asked if words[0] == "sacct"]
        assert {"--allusers", "--duplicates", "--parsable2", "--starttime=now-316224000"} <= set(asked)

    def test_without_it_the_queue_and_the_file_of_ended_jobs_are_read(self, cluster: FakeSlurm, plugin: Slurm) -> None:
        cluster.answers["scontrol show config"] = self.CONFIG.format("(null)", "jobcomp/filetxt")
        cluster.answers["squeue"] = FIELD_END.join(("bob", "1795000000", "w2", "1", "1")) + RECORD_END
        cluster.answers["tail"] = self.ENDED
        assert [(one.user, one.worker, one.cpus) for one in plugin.usage(0.0)] == [("ann", "w1", 2), ("bob", "w2", 1)]
        assert next(words for words in cluster.asked if words[0] == "tail")[-2:] == ["--", "/jobs"]

    def test_with_neither_it_says_what_to_switch_on(self, cluster: FakeSlurm, plugin: Slurm) -> None:
        cluster.answers["scontrol show config"] = self.CONFIG.format("(null)", "(null)")
        with pytest.raises(BatchError, match=r"let slurm.conf have .*slurmdbd, or JobCompType=jobcomp/filetxt"):
            plugin.usage(0.0)
