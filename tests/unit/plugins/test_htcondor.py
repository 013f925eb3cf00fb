"""The conversations of the HTCondor plugin, with commands whose answers were recorded."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from elastiq import command
from elastiq.config import Settings
from elastiq.errors import BatchError
from elastiq.model import Demand, Shape, Standing, Worker
from elastiq.plugins import Closing
from elastiq.plugins.htcondor import NO_JOB_CHECK, HTCondor
from elastiq.plugins.htcondor_matching import template_of
from elastiq.plugins.htcondor_parse import (
    OWN_DRAIN,
)
from elastiq.plugins.loading import load
from tests.unit.ends import pids_in, wait_until_gone
from tests.unit.plugins.condor import (
    DRAIN_SENT,
    NO_SLOT,
    NONE_RUNNING,
    SCHEDDS,
    Answer,
    Pool,
    partitionable,
    slot,
    slots,
)

RECORDED = Path(__file__).parent / "recorded" / "htcondor"
TIMEOUT_SECONDS = 120.0


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pool:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Pool(tmp_path)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> HTCondor:
    plugin = HTCondor("cli", TIMEOUT_SECONDS)
    # No waiting in tests: every sleep is as long as what the clock then shows.
    passed = [0.0]
    monkeypatch.setattr(plugin._clock, "now", lambda: passed[0])
    monkeypatch.setattr(plugin._clock, "sleep", lambda seconds: passed.__setitem__(0, passed[0] + seconds))
    return plugin


NODE = Worker("node1.pool.test", "i-1", "10.77.0.11")
STARTD = slot()["Name"]
CALM = (SCHEDDS, NONE_RUNNING)


class TestWorkersByCommands:
    def test_no_worker_is_believed_of_a_collector_that_knows_a_schedd(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, ("condor_status", [NO_SLOT]))
        assert plugin.workers() == ()

    def test_no_worker_is_not_believed_of_a_collector_that_knows_nothing(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_status", [NO_SLOT]))
        with pytest.raises(BatchError, match="knows no schedd"):
            plugin.workers()

    def test_recorded(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_status", [(0, recorded("slots-busy.json"), "")]))
        assert len(plugin.workers()) == 3

    @pytest.mark.long
    def test_forty_thousand_slots(self, pool: Pool, plugin: HTCondor) -> None:
        ads = [slot(Name=f"slot1_{number}@node", EC2InstanceId="i-0123456789abcdef0") for number in range(40_000)]
        lines = json.dumps(ads, indent=1)
        pool.answers(("condor_status", [(0, lines, "")]))
        (worker,) = plugin.workers()
        assert worker.capacity.cpus == 40_000 * slot()["Cpus"]

    def test_collector_that_can_not_be_reached(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(TestCheck.VERSION, ("condor_status", [(1, "", "Error: communication error")]))
        for question in (plugin.workers, plugin.check, lambda: plugin.close(NODE), lambda: plugin.template(NODE)):
            with pytest.raises(BatchError, match="communication error"):
                question()

    def test_missing_commands(self, plugin: HTCondor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("elastiq.command._SYSTEM_PATH", (str(tmp_path),))
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(BatchError, match="condor_status was not found"):
            plugin.workers()


class TestTemplate:
    def test_of_the_worker_that_was_asked_for(self, pool: Pool, plugin: HTCondor) -> None:
        other = slot(Machine="node2.pool.test", Name="slot1@node2.pool.test", MyAddress="<10.77.0.12:9618>", HasB=True)
        pool.answers(("condor_status", [slots(partitionable(HasA=True), other)]))
        (ad,) = json.loads(plugin.template(Worker("node1.pool.test", None, "10.77.0.11")))
        assert ad["hasa"] == "true"
        assert "hasb" not in ad

    @pytest.mark.parametrize(
        ("ads", "why"),
        [
            ([], "is not listed"),
            ([slot(Draining=True)], "is closed"),
            ([partitionable(BrokenSlotCpus=1)], "has lost a slot"),
            ([slot(EC2InstanceId="i-2")], "is not listed"),
        ],
    )
    def test_worker_that_is_none_or_that_no_other_is_like(
        self, pool: Pool, plugin: HTCondor, ads: list[dict[str, Any]], why: str
    ) -> None:
        pool.answers(("condor_status", [slots(*ads) if ads else NO_SLOT]))
        with pytest.raises(BatchError, match=why):
            plugin.template(NODE)


class TestClose:
    def test_drain_with_the_startds_own_check(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(*CALM, DRAIN_SENT, ("condor_status", [slots(slot()), slots(slot()), NO_SLOT]))
        assert plugin.close(NODE) is Closing.CLOSED
        (asked,) = pool.asked("condor_drain")
        assert asked[asked.index("-check") + 1] == NO_JOB_CHECK.format(broken="")
        assert {"-graceful", "-exit-on-completion"} < set(asked)
        assert asked[asked.index("-reason") + 1].startswith(OWN_DRAIN)
        assert asked[-1] == STARTD

    def test_drained_ad_is_as_good_as_none(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(*CALM, DRAIN_SENT, ("condor_status", [slots(slot()), slots(slot(State="Drained"))]))
        assert plugin.close(NODE) is Closing.CLOSED

    def test_busy_worker_is_left_alone(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_status", [slots(partitionable(NumDynamicSlots=1))]))
        assert plugin.close(NODE) is Closing.BUSY
        assert not pool.asked("condor_drain")

    def test_job_that_got_in_first(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(
            *CALM,
            ("condor_drain", [(1, "", recorded("drain-refused.txt"))]),
            ("condor_status", [slots(partitionable())]),
        )
        assert plugin.close(NODE) is Closing.BUSY
        assert len(pool.asked("condor_drain")) == 1

    def test_broken_slots_that_were_seen_are_allowed_and_no_more(self, pool: Pool, plugin: HTCondor) -> None:
        lost = slot(Name="slot1_1@node1.pool.test", DynamicSlot=True, SlotBrokenCode=1)
        seen = slots(partitionable(NumDynamicSlots=1), lost)
        pool.answers(*CALM, DRAIN_SENT, ("condor_status", [seen, NO_SLOT]))
        assert plugin.close(NODE) is Closing.CLOSED
        (asked,) = pool.asked("condor_drain")
        allowed = ' || (Name =?= "slot1@node1.pool.test" && NumDynamicSlots =?= 1)'
        assert asked[asked.index("-check") + 1] == NO_JOB_CHECK.format(broken=allowed)

    def test_missing_right(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(
            *CALM, ("condor_drain", [(1, "", recorded("drain-denied.txt"))]), ("condor_status", [slots(slot())])
        )
        with pytest.raises(BatchError, match="Failed to start DRAIN_JOBS command"):
            plugin.close(NODE)

    @pytest.mark.long
    def test_accepted_drain_that_never_shows(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(*CALM, DRAIN_SENT, ("condor_status", [slots(slot())]))
        with pytest.raises(BatchError, match="still shows it open"):
            plugin.close(NODE)

    @pytest.mark.long
    def test_job_on_a_drained_worker_is_not_closed(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(*CALM, DRAIN_SENT, ("condor_status", [slots(slot()), slots(slot(Draining=True, State="Claimed"))]))
        with pytest.raises(BatchError, match="still shows it open"):
            plugin.close(NODE)

    def test_closed_worker_is_closed(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(*CALM, ("condor_status", [slots(slot(State="Drained"))]))
        assert plugin.close(NODE) is Closing.CLOSED
        assert not pool.asked("condor_drain")

    def test_worker_drained_by_somebody_else_is_left_alone(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_status", [slots(slot(Draining=True, State="Drained", DrainReason="kernel update"))]))
        for call in (plugin.close, plugin.reopen):
            with pytest.raises(BatchError, match=r"worker node1\.pool\.test is drained by somebody else"):
                call(NODE)
        assert not pool.asked("condor_drain")

    def test_old_condor_drain_that_takes_no_reason(self, pool: Pool, plugin: HTCondor) -> None:
        refused = ("condor_drain .*-reason", [(2, "", "ERROR: unexpected argument: -reason\n")])
        pool.answers(*CALM, refused, DRAIN_SENT, ("condor_status", [slots(slot()), NO_SLOT, slots(slot()), NO_SLOT]))
        assert [plugin.close(NODE), plugin.close(NODE)] == [Closing.CLOSED] * 2
        asked = pool.asked("condor_drain")
        assert ["-reason" in words for words in asked] == [True, False, False]
        assert all(
            words[words.index("-check") + 1] == NO_JOB_CHECK.format(broken="") and words[-1] == STARTD
            for words in asked
        )

    def test_worker_without_a_name_of_its_startd(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(*CALM, ("condor_status", [slots(slot(Name=None))]))
        with pytest.raises(BatchError, match="advertises 0 startds"):
            plugin.close(NODE)

    def test_other_vm_of_the_same_address_is_not_drained(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, NONE_RUNNING, ("condor_status", [slots(slot(EC2InstanceId="i-2"))]))
        assert plugin.close(NODE) is Closing.CLOSED
        assert not pool.asked("condor_drain")

    def test_worker_that_was_unlisted_but_is_there(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(*CALM, DRAIN_SENT, ("condor_status", [slots(slot()), NO_SLOT]))
        assert plugin.close(Worker("", "i-1", "10.77.0.11")) is Closing.CLOSED
        assert pool.asked("condor_drain")

    def test_machine_with_two_startds(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(*CALM, ("condor_status", [slots(slot(), slot(Name="slot2@node1", MyAddress="<10.77.0.11:9999>"))]))
        with pytest.raises(BatchError, match="advertises 2 startds"):
            plugin.close(NODE)
        assert not pool.asked("condor_drain")

    @pytest.mark.parametrize(
        "ad",
        [
            slot(Machine="liar", MyAddress="<10.77.0.66:9618>"),
            slot(Machine="liar", MyAddress="<10.77.0.66:9618>", EC2PrivateIp="10.77.0.11"),
            slot(MyAddress="<10.77.0.66:9618>"),
            slot(State="Drained"),
        ],
    )
    def test_what_the_schedds_know_to_run_there_counts_for_more_than_any_ad(
        self, pool: Pool, plugin: HTCondor, ad: dict[str, Any]
    ) -> None:
        """Any worker may have the collector forget another's ad, and put one of its own in its place."""
        running: tuple[str, list[Answer]] = ("condor_q .*-totals", [(0, recorded("totals-some.txt"), "")])
        pool.answers(SCHEDDS, running, ("condor_status", [slots({**ad, "EC2InstanceId": "i-1"})]))
        assert plugin.close(NODE) is Closing.BUSY
        assert not pool.asked("condor_drain")
        (asked,) = pool.asked("condor_q")
        assert '"<10.77.0.11:"' in asked[asked.index("-constraint") + 1]

    def test_another_worker_that_says_to_be_it_is_left_alone(self, pool: Pool, plugin: HTCondor) -> None:
        """It stays when the worker itself has gone, and once kept its VM for ever."""
        own = slot(EC2InstanceId="i-1")
        other = slot(
            Machine="liar", Name="slot1@liar", MyAddress="<10.77.0.66:9618>", EC2InstanceId="i-1", State="Claimed"
        )
        pool.answers(*CALM, DRAIN_SENT, ("condor_status", [slots(own, other), slots(other)]))
        assert plugin.close(NODE) is Closing.CLOSED
        ((*_, drained),) = pool.asked("condor_drain")
        assert drained == own["Name"]

    def test_unlisted_worker_with_a_running_job(self, pool: Pool, plugin: HTCondor) -> None:
        running: tuple[str, list[Answer]] = ("condor_q .*-totals", [(0, recorded("totals-some.txt"), "")])
        pool.answers(SCHEDDS, running, ("condor_status", [NO_SLOT]))
        assert plugin.close(NODE) is Closing.BUSY

    def test_unlisted_worker_without_a_job(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, NONE_RUNNING, ("condor_status", [NO_SLOT]))
        assert plugin.close(NODE) is Closing.CLOSED
        (asked,) = pool.asked("condor_q")
        constraint = asked[asked.index("-constraint") + 1]
        assert '"node1.pool.test"' in constraint
        assert '"<10.77.0.11:"' in constraint

    @pytest.mark.parametrize(
        "answer",
        [(0, "", ""), (1, "", "timeout"), (0, "All queues are empty\n", "")],
        ids=["silent", "failed", "empty"],
    )
    def test_unlisted_worker_of_which_the_schedd_says_nothing(
        self, pool: Pool, plugin: HTCondor, answer: Answer
    ) -> None:
        pool.answers(SCHEDDS, ("condor_q", [answer]), ("condor_status", [NO_SLOT]))
        with pytest.raises(BatchError):
            plugin.close(NODE)

    @pytest.mark.long
    def test_unlisted_worker_while_a_schedd_is_missing(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(
            ("condor_status -schedd", [(0, "schedd-a@\nschedd-b@\n", ""), (0, "schedd-a@\n", "")]),
            NONE_RUNNING,
            ("condor_", [NO_SLOT]),
        )
        assert plugin.demand() == ()
        with pytest.raises(BatchError, match="schedd-b@, which may run jobs there, does not answer"):
            plugin.close(NODE)

    def test_vm_that_never_had_an_address(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, ("condor_status", [NO_SLOT]))
        assert plugin.close(Worker("", "i-1")) is Closing.CLOSED

    def test_vm_of_which_nothing_is_known(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, ("condor_status", [NO_SLOT]))
        assert plugin.close(Worker("")) is Closing.CLOSED

    def test_names_are_quoted(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, NONE_RUNNING, ("condor_status", [NO_SLOT]))
        assert plugin.close(Worker('x" || true || "\\')) is Closing.CLOSED
        (asked,) = pool.asked("condor_q")
        assert '== "x\\" || true || \\"\\\\")' in asked[asked.index("-constraint") + 1]

    def test_names_that_no_string_can_carry(self, pool: Pool, plugin: HTCondor) -> None:
        with pytest.raises(BatchError, match="cannot be the name"):
            plugin.close(Worker("a\nb"))


class TestCheckOfTheStartd:
    """What the startd makes of the check on each kind of slot, by HTCondor's own evaluation."""

    ALLOWED = ' || (Name =?= "slot1@node1.pool.test" && NumDynamicSlots =?= 1)'

    @pytest.mark.parametrize(
        ("ad", "is_true"),
        [
            (slot(), True),
            (slot(State="Owner"), True),
            (slot(State="Claimed"), False),
            (slot(State="Preempting"), False),
            (slot(State="Claimed", SlotBrokenCode=1), False),
            (slot(State=None), False),
            (partitionable(), True),
            (partitionable(NumDynamicSlots=None), False),
            (partitionable(NumDynamicSlots=1), True),
            (partitionable(NumDynamicSlots=2), False),
            (partitionable(NumDynamicSlots=1, Name="slot2@node1.pool.test"), False),
            (partitionable(State="Claimed"), False),
            (slot(DynamicSlot=True), False),
            (slot(DynamicSlot=True, SlotBrokenCode=1), True),
            (slot(DynamicSlot=True, SlotBrokenReason="unclean"), True),
            (slot(DynamicSlot=True, SlotBrokenCode=1, State="Claimed"), False),
            (slot(DynamicSlot=True, SlotBrokenCode=1, State="Owner"), False),
        ],
        ids=str,
    )
    def test_each_kind(self, ad: dict[str, Any], is_true: bool) -> None:
        classad2 = pytest.importorskip("classad2", reason="HTCondor's Python bindings are not installed")
        check = classad2.ExprTree(NO_JOB_CHECK.format(broken=self.ALLOWED))
        assert check.eval(classad2.ClassAd(ad)) is is_true


class TestReopen:
    def test_open_worker(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_status", [slots(slot())]))
        plugin.reopen(NODE)
        assert not pool.asked("condor_on")
        assert not pool.asked("condor_drain")

    def test_startd_that_has_ended_is_started(self, pool: Pool, plugin: HTCondor) -> None:
        # The first request is forgotten by a master whose startd has not ended yet.
        pool.answers(SCHEDDS, ("condor_on", [NO_SLOT]), ("condor_status", [NO_SLOT, NO_SLOT, slots(slot())]))
        plugin.reopen(NODE)
        assert pool.asked("condor_on") == [["condor_on", "-daemon", "startd", "node1.pool.test"]] * 2

    def test_drain_is_cancelled(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_drain", [NO_SLOT]), ("condor_status", [slots(slot(State="Drained")), slots(slot())]))
        plugin.reopen(NODE)
        assert pool.asked("condor_drain") == [["condor_drain", "-cancel", STARTD]]

    def test_name_is_found_by_the_master(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(
            SCHEDDS,
            ("condor_status -master", [(0, "node1.pool.test\n", "")]),
            ("condor_on", [NO_SLOT]),
            ("condor_status", [NO_SLOT, slots(slot())]),
        )
        plugin.reopen(Worker("", "i-1", "10.77.0.11"))
        assert pool.asked("condor_on")[0][-1] == "node1.pool.test"

    @pytest.mark.long
    def test_worker_that_stays_closed(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, ("condor_on", [(1, "", "Can't find address for master")]), ("condor_status", [NO_SLOT]))
        with pytest.raises(BatchError, match="cannot be opened again: Can't find address for master"):
            plugin.reopen(NODE)

    def test_worker_that_is_gone(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, ("condor_status", [NO_SLOT]))
        with pytest.raises(BatchError, match="condor_master is not in the collector"):
            plugin.reopen(Worker("", "i-1"))


class TestForget:
    def test_ads_are_invalidated_but_not_those_of_the_next_vm(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_advertise", [NO_SLOT]))
        plugin.forget(NODE)
        asked = pool.asked("condor_advertise")
        assert [words[1] for words in asked] == ["INVALIDATE_STARTD_ADS", "INVALIDATE_MASTER_ADS"]
        for words in asked:
            assert 'EC2InstanceId =?= "i-1" || EC2InstanceId =?= undefined' in words[-1]
            assert '"<10.77.0.11:"' in words[-1]

    def test_failure(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_advertise", [(1, "", "ERROR: can't connect")]))
        with pytest.raises(BatchError, match="can't connect"):
            plugin.forget(NODE)


class TestCheck:
    VERSION = ("condor_version", [(0, "$CondorVersion: 23.9.6 2026-07-12 PackageID: 23.9.6 $\n", "")])

    @pytest.mark.parametrize(
        ("probe", "said"),
        [("drain-refused.txt", "may drain them"), ("drain-denied.txt", "may NOT drain them: Attempt to send DRAIN")],
    )
    def test_one_line(self, pool: Pool, plugin: HTCondor, probe: str, said: str) -> None:
        pool.answers(
            self.VERSION,
            SCHEDDS,
            ("condor_drain -graceful -check false", [(1, "", recorded(probe))]),
            ("condor_status", [slots(slot())]),
        )
        line = plugin.check()
        assert line.startswith("HTCondor 23.9.6, asked by commands, schedds: schedd-a@, 1 workers, ")
        assert said in line
        assert "\n" not in line

    def test_empty_pool(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(self.VERSION, SCHEDDS, ("condor_status", [NO_SLOT]))
        assert "right to drain not known yet" in plugin.check()


def test_the_loader_finds_it() -> None:
    assert isinstance(load("htcondor", Settings()), HTCondor)


class TestAdvice:
    DIVIDED = "condor_status -limit 1 -af Name -constraint PartitionableSlot =[?]= true"
    SEVERAL = "condor_status -limit 1 -af Name -constraint DynamicSlot =!= true && SlotID > 1"
    DEPTH_FIRST = "condor_config_val -negotiator NEGOTIATOR_DEPTH_FIRST"
    RANK = "condor_config_val -negotiator NEGOTIATOR_PRE_JOB_RANK"
    DEFAULT_RANK = "(10000000 * My.Rank) + (1000000 * (RemoteOwner =?= UNDEFINED)) - (100000 * Cpus) - Memory\n"

    def answers(self, pool: Pool, divided: str, several: str, depth_first: Answer) -> None:
        pool.answers(
            (self.DIVIDED, [(0, divided, "")]),
            (self.SEVERAL, [(0, several, "")]),
            (self.DEPTH_FIRST, [depth_first]),
            (self.RANK, [(0, self.DEFAULT_RANK, "")]),
        )

    def test_the_negotiator_itself_is_asked(self, pool: Pool, plugin: HTCondor) -> None:
        self.answers(pool, "slot1@node1\n", "", (0, "false\n", ""))
        (said,) = plugin.advice()
        assert "NEGOTIATOR_DEPTH_FIRST = True" in said
        self.answers(pool, "slot1@node1\n", "", (0, "True\n", ""))
        assert plugin.advice() == ()

    def test_several_slots_have_a_line_of_their_own(self, pool: Pool, plugin: HTCondor) -> None:
        self.answers(pool, "", "slot2@node1\n", (0, "false\n", ""))
        (said,) = plugin.advice()
        assert "NEGOTIATOR_PRE_JOB_RANK = " in said

    def test_nothing_matters_where_no_worker_is_shared(self, pool: Pool, plugin: HTCondor) -> None:
        self.answers(pool, "", "", (0, "false\n", ""))
        assert plugin.advice() == ()
        assert not pool.asked("condor_config_val")

    def test_a_negotiator_that_is_not_there_is_none_that_packs(self, pool: Pool, plugin: HTCondor) -> None:
        error = "Can't find address for this negotiator\nPerhaps you need to query another pool.\n"
        self.answers(pool, "slot1@node1\n", "", (1, "", error))
        with pytest.raises(BatchError, match="Can't find address for this negotiator"):
            plugin.advice()


class TestExplain:
    AD = '[{"ClusterId": 7, "GlobalJobId": "schedd-a#7.3#17", "JobStatus": %d, "JobUniverse": 5, "ProcId": 3}]'
    FULL = (
        '[{"GlobalJobId": "schedd-a#7.3#17", "JobStatus": 1, "RequestCpus": 2, '
        '"Requirements": "/Expr((TARGET.HasA) && (TARGET.Memory >= RequestMemory))/", "Owner": "alice"}]'
    )
    EVALUATED = ("condor_q -jobads", [(0, "1 2 undefined undefined undefined undefined\n", "")])

    def test_a_job_that_waits_is_in_the_group_that_it_is_counted_in(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(
            SCHEDDS,
            self.EVALUATED,
            ("condor_q .*-limit", [(0, self.AD % 1, "")]),
            ("condor_q .*ClusterId == 7 && ProcId == 3 -json$", [(0, self.FULL, "")]),
        )
        told = plugin.explain("7.3")
        assert told.group == Demand(Shape(2), 1, wants='{"requirements":"(TARGET.HasA)"}')
        assert not any("-group-by" in asked for asked in pool.asked("condor_q")), "no list of all jobs"

    @pytest.mark.long
    def test_one_that_has_started_meanwhile(self, pool: Pool, plugin: HTCondor) -> None:
        answers = [(0, self.AD % 1, ""), (0, self.AD % 2, "")]
        pool.answers(SCHEDDS, ("condor_q .*-limit", answers), ("condor_q", [(0, "", "")]))
        assert plugin.explain("7.3").standing is Standing.RUNS

    def test_of_a_cluster_one_that_waits_is_asked_for_first(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, ("condor_q .*&& JobStatus", [(0, "", "")]), ("condor_q", [(0, self.AD % 5, "")]))
        assert plugin.explain("7").standing is Standing.HELD
        assert len(pool.asked("condor_q")) == 3

    def test_no_such_job(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, ("condor_q", [(0, "", "")]))
        assert plugin.explain("7.3").standing is Standing.UNKNOWN
        assert plugin.explain("other#7.3").text == "there is no schedd other"
        assert plugin.explain("7; rm").standing is Standing.UNKNOWN

    def test_two_schedds_have_it(self, pool: Pool, plugin: HTCondor) -> None:
        two = ("condor_status -schedd", [(0, "a@\nb@\n", "")])
        pool.answers(two, ("condor_q", [(0, self.AD % 5, "")]))
        with pytest.raises(BatchError, match="ask for a@#7 and b@#7"):
            plugin.explain("7.3")
        assert plugin.explain("a#7.3").standing is Standing.HELD

    def test_a_schedd_that_does_not_answer(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(SCHEDDS, ("condor_q", [(1, "", "Failed to fetch ads")]))
        with pytest.raises(BatchError, match="Failed to fetch ads"):
            plugin.explain("7.3")


class TestRequeue:
    BUSY = partitionable(NumDynamicSlots=1, ElastiqInterruption="2026-11-28T20:17:00Z")

    def test_gently_and_the_second_time_at_once(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_status", [slots(self.BUSY)]), ("condor_vacate", [(0, "Sent command\n", "")]))
        for _ in range(2):
            plugin.requeue(NODE)
        assert [asked[1:] for asked in pool.asked("condor_vacate")] == [
            ["-graceful", "node1.pool.test"],
            ["-fast", "node1.pool.test"],
        ]

    @pytest.mark.parametrize(
        "ad", [partitionable(NumDynamicSlots=1), {**BUSY, "NumDynamicSlots": 0}], ids=["stays", "has no job"]
    )
    def test_only_of_one_with_jobs_whose_vm_is_taken_back(
        self, pool: Pool, plugin: HTCondor, ad: dict[str, Any]
    ) -> None:
        pool.answers(SCHEDDS, ("condor_status", [slots(ad)]))
        plugin.requeue(NODE)
        assert not pool.asked("condor_vacate")

    def test_a_failure_is_told(self, pool: Pool, plugin: HTCondor) -> None:
        pool.answers(("condor_status", [slots(self.BUSY)]), ("condor_vacate", [(1, "", "Can't find address\n")]))
        with pytest.raises(BatchError, match="condor_vacate failed"):
            plugin.requeue(NODE)

    def test_it_is_drained_like_any_other_once_it_is_empty(self, pool: Pool, plugin: HTCondor) -> None:
        empty = {**self.BUSY, "NumDynamicSlots": 0, "State": "Owner"}
        pool.answers(*CALM, DRAIN_SENT, ("condor_status", [slots(empty), slots(empty), NO_SLOT]))
        assert plugin.close(NODE) is Closing.CLOSED
        assert len(pool.asked("condor_drain")) == 1


HANGS = "#!/bin/sh\nsleep 100000 &\necho $$ $! > {pids}\nwait\n"
"""A site's own script around a command, as many have: it starts what hangs."""

ASKED: dict[str, Callable[[HTCondor], object]] = {
    "demand": HTCondor.demand,
    "judge": lambda plugin: plugin.judge(['{"requirements": "Cpus > 1"}'], template_of([slot()])),
}


@pytest.mark.parametrize("question", ASKED)
class TestWhatAHangingCommandLeaves:
    """The question is asked by a process of its own, which asks HTCondor: none of all these may stay."""

    @pytest.fixture
    def pids(self, pool: Pool, tmp_path: Path) -> Path:
        pool.answers(SCHEDDS)
        (tmp_path / "condor_q").write_text(HANGS.format(pids=tmp_path / "pids"))
        return tmp_path / "pids"

    def test_when_the_daemon_stops(self, pids: Path, question: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(command, "_stopping", threading.Event())
        plugin = HTCondor("cli", TIMEOUT_SECONDS * 10)
        with ThreadPoolExecutor(1) as lane:
            asked = lane.submit(ASKED[question], plugin)
            hanging = pids_in(pids)
            command.end_all()
            assert isinstance(asked.exception(TIMEOUT_SECONDS), BatchError | None)
        assert all(wait_until_gone(pid) for pid in hanging)

    @pytest.mark.long
    def test_when_its_time_is_over(self, pids: Path, question: str) -> None:
        seconds = 4.0
        while not pids.exists():  # a machine may be too slow to get that far
            seconds *= 2
            with contextlib.suppress(BatchError):
                ASKED[question](HTCondor("cli", seconds))
        assert all(wait_until_gone(pid) for pid in pids_in(pids))


@pytest.mark.long
def test_the_command_that_hangs_is_named(pool: Pool) -> None:
    pool.answers(SCHEDDS)
    (pool.directory / "condor_q").write_text("#!/bin/sh\nexec sleep 100000\n")
    with pytest.raises(BatchError, match=r"^(condor_q|HTCondor) gave no complete answer"):
        HTCondor("cli", 20.0).demand()
