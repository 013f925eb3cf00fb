"""What jobs want, and templates of workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from elastiq.errors import BatchError
from elastiq.plugins import TEMPLATE_LIMIT, WANTS_LIMIT
from elastiq.plugins.htcondor_matching import (
    NEW_NAME,
    ads_of,
    asked_of_jobs,
    idle_at,
    is_momentary,
    quoted,
    template_of,
    text_of,
    wants_of,
)

WHOLE = Path(__file__).parent / "recorded" / "htcondor" / "slot-whole.json"
SUBMITTED = (
    '(TARGET.Arch == "X86_64") && (TARGET.OpSys == "LINUX") && (TARGET.Disk >= RequestDisk) && '
    "(TARGET.Memory >= RequestMemory) && (TARGET.Cpus >= RequestCpus) && (TARGET.HasFileTransfer)"
)
"""What condor_submit makes of a job without requirements."""


def slot(**changes: Any) -> dict[str, Any]:
    (ad,) = json.loads(WHOLE.read_text())
    return {name: value for name, value in {**ad, **changes}.items() if value is not ...}


def cleaned(**changes: Any) -> dict[str, str]:
    (ad,) = json.loads(template_of([slot(**changes)]))
    return dict(ad)


class TestWants:
    def test_sizes_alone_are_nothing_else(self) -> None:
        assert wants_of({"requirements": "(TARGET.Memory >= RequestMemory) && (Disk >= MY.RequestDisk)"}, ()) == ""
        assert wants_of({"requirements": "RequestCpus <= TARGET.Cpus && true"}, ()) == ""
        assert wants_of({}, ()) == ""

    def test_what_was_submitted_without_requirements(self) -> None:
        wants = json.loads(wants_of({"requirements": SUBMITTED, "requestmemory": "100"}, ()))
        assert wants == {
            "requirements": '(TARGET.Arch == "X86_64") && (TARGET.OpSys == "LINUX") && (TARGET.HasFileTransfer)'
        }

    def test_a_size_that_is_more_than_asked_for_counts(self) -> None:
        for clause in (
            "TARGET.Memory >= 2 * RequestMemory",
            "TARGET.Disk >= RequestMemory",
            "TARGET.Memory > RequestMemory",
        ):
            assert json.loads(wants_of({"requirements": clause, "requestmemory": "7"}, ())) == {
                "requirements": f"({clause})",
                "requestmemory": "7",
            }

    def test_attributes_that_are_referred_to(self) -> None:
        job = {"requirements": "MY.Colour == x && y", "colour": "tint + 1", "tint": '"red"', "x": "1", "other": "2"}
        assert set(json.loads(wants_of(job, ()))) == {"requirements", "colour", "tint", "x"}

    def test_attributes_that_workers_ask_for(self) -> None:
        job = {"requirements": "true", "owner": '"me"'}
        assert json.loads(wants_of(job, ("owner", "group"))) == {"owner": '"me"', "group": "undefined"}

    @pytest.mark.parametrize("text", ["x(", "a = 1", "(" * 100 + "1" + ")" * 100])
    def test_what_cannot_be_read_is_kept_as_it_is(self, text: str) -> None:
        assert json.loads(wants_of({"requirements": text}, ())) == {"requirements": text}

    def test_what_is_too_long_is_told_apart_by_its_digest(self) -> None:
        texts = ["1 + " * WANTS_LIMIT + "1", "1 + " * WANTS_LIMIT + "2", "1 + " * 300_000 + "1"]
        wants = [wants_of({"requirements": text}, ()) for text in texts]
        wants.append(wants_of({"requirements": "Big == 1", "big": "3" * WANTS_LIMIT}, ()))
        assert len(set(wants)) == 4
        assert all(len(one) < 100 and "too long" in json.loads(one) for one in wants)


class TestTemplate:
    def test_what_a_real_worker_offers(self) -> None:
        ad = cleaned()
        assert ad["arch"] == '"X86_64"'
        assert ad["foo"] == "7"
        assert ad["requirements"] == "START && (WithinResourceLimits)"
        assert ad["machinemaxvacatetime"] == "10 * 60"
        assert ad["withinresourcelimits"] == "true"
        assert len(json.dumps(ad)) < 5000

    def test_nothing_of_this_worker_and_of_this_moment(self) -> None:
        text = template_of([slot()])
        for word in (
            "10.77.1.1",
            "10-77-1-1",
            "i-0000",
            "Unclaimed",
            "Idle",
            "Update",
            "recent",
            "loadavg",
            "02:00:0a",
        ):
            assert word not in text
        assert cleaned()["machine"] == cleaned()["filesystemdomain"] == cleaned()["utsnamenodename"] == NEW_NAME

    def test_it_stays_the_same(self) -> None:
        later = slot(MyCurrentTime=1, LoadAvg=9.5, Cpus=0, Memory=0, Disk=5, State="Claimed", NumDynamicSlots=2)
        other = {"Machine": "w2.pool.example", "Name": "slot1@w2.pool.example", "MyAddress": "<10.77.1.2:9618>"}
        other |= {"EC2InstanceId": "i-0002", "EC2PrivateIp": "10.77.1.2", "AddressV1": "x", "StartdIpAddr": "y"}
        other |= {"FileSystemDomain": "i-0002", "UtsnameNodename": "i-0002"}
        assert template_of([later]) == template_of([slot()]) == template_of([slot(**other)])

    def test_totals_in_place_of_remains(self) -> None:
        ad = cleaned(Cpus=1, Memory=0, TotalSlotMemory=4000, GPUs=0, TotalSlotGPUs=2, Tape=1, TotalSlotTape=3)
        assert (ad["cpus"], ad["memory"], ad["gpus"], ad["tape"]) == ("2", "4000", "2", "3")

    def test_all_gpus_are_available(self) -> None:
        devices = {"GPUs_GPU_a1": {"Capability": 7.5}, "GPUs_GPU_b2": {"Capability": 8.0}}
        ad = cleaned(AvailableGPUs="/Expr({ GPUs_GPU_a1 })/", AssignedGPUs="GPU-a1,GPU-b2", **devices)
        assert ad["availablegpus"] == "{gpus_gpu_a1, gpus_gpu_b2}"
        assert ad["gpus_gpu_b2"] == "[Capability = 8.0]"
        assert "assignedgpus" not in ad

    def test_each_kind_of_slot_once(self) -> None:
        gpu = slot(Name="slot2@x", HasFast=True)
        ads = [slot(), slot(Name="slot3@x"), gpu, slot(DynamicSlot=True, HasNo=1), slot(SlotBrokenCode=1, HasNo=1)]
        text = template_of(ads)
        assert len(json.loads(text)) == 2
        assert "hasno" not in text

    def test_none_that_is_whole(self) -> None:
        with pytest.raises(BatchError, match="no slot that is open and whole"):
            template_of([slot(Draining=True), slot(SlotBrokenReason="x")])

    def test_too_much(self) -> None:
        with pytest.raises(BatchError, match="too much"):
            template_of([slot(Big="x" * TEMPLATE_LIMIT)])

    @pytest.mark.parametrize("text", ["", "x", "{}", "[]", "[1]", '[{"a": "1"}]', '[{"requirements": 1}]', "[" * 9999])
    def test_damaged(self, text: str) -> None:
        assert ads_of(text) is None
        assert asked_of_jobs(text) == frozenset()

    @pytest.mark.parametrize(
        ("start", "asked"),
        [
            ("true", set()),
            ('TARGET.Owner == "me" && foo > 1', {"owner"}),
            ("WantIt && Mine", {"wantit"}),
            ("ifThenElse(Gate, TARGET.JobUniverse == 5, false)", {"jobuniverse", "nightly"}),
            ("LoadAvg < 0.5 && (time() - EnteredCurrentActivity) > 9", set()),
            ("TARGET.ClusterId > 7", set()),
            ("not an expression(", set()),
        ],
    )
    def test_what_it_asks_of_jobs(self, start: str, asked: set[str]) -> None:
        text = template_of([slot(Start=f"/Expr({start})/", Mine=1, Gate="/Expr(TARGET.Nightly)/")])
        assert asked_of_jobs(text) == asked


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (3, "3"),
        (1.5, "1.5"),
        (None, "undefined"),
        ('a"b\\c\n\x01é', '"a\\"b\\\\c\\n\\001\\303\\251"'),
        ("/Expr(a + 1)/", "a + 1"),
        ([1, "x"], '{1, "x"}'),
        ({"a": 1, "b": [2]}, "[a = 1; b = {2}]"),
    ],
)
def test_values_as_expressions(value: Any, text: str) -> None:
    assert text_of(value) == text


def test_quoted_is_read_back_by_htcondor() -> None:
    classad2 = pytest.importorskip("classad2", reason="HTCondor's Python bindings are not installed")
    text = "".join(map(chr, range(1, 256))) + "€\U0001f600"
    assert classad2.ExprTree(quoted(text)).eval() == text


def test_all_that_is_said_of_this_moment_is_left_out_of_templates() -> None:
    assert all(is_momentary(name) for name in idle_at(1_700_000_000.0))


def test_an_idle_worker_knows_the_time() -> None:
    ad = idle_at(1_700_000_000.5)
    assert (ad["mycurrenttime"], ad["enteredcurrentstate"]) == ("1700000000", "1699913600")
    assert 0 <= int(ad["clockmin"]) < 1440
    assert ad["clockday"] in ("2", "3")  # a Tuesday in Greenwich
