"""The command: `elastiqctl simulate jobs.swf.gz`, what it prints, and what it says of things that cannot be."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from elastiq import cli
from elastiq.memory import Memory, VmRecord
from elastiq.model import Shape
from elastiq.state import State
from tests.unit.config.rig import IMAGE, written

JOBS = "".join(f"{number} {at} -1 600 1 -1 -1 -1\n" for number, at in enumerate((0, 10, 20, 4000)))

DOCUMENTED = """
elastiqctl simulate
elastiqctl simulate idle_for_time_s=60 waiting_jobs_time_s=0
elastiqctl simulate
"""
"""The commands of docs/simulate.md, which are run here."""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.swf.gz"
    path.write_bytes(gzip.compress(f";Note: three and one\n{JOBS}".encode()))
    return path


def simulate(directory: Path, *words: object, text: str = IMAGE) -> int:
    path = written(directory, text)
    return cli.main([f"--config={path}", "--state-dir", str(directory), "simulate", *map(str, words)])


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_lines_for_people(tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(tmp_path, trace) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "jobs.swf.gz: 4 jobs in 66.7 min"
    assert "VMs of 4 cores (assumed) that boot for 180 s (assumed), at most 1 (which hold all jobs" in lines[1]
    assert "VM-hours" in lines[2] and "times the 0.36 that would do" in lines[2]


def test_one_json_object_with_all_figures(tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--json", "--boot", 60, "--max-vms", 2, "--cores", 2, "--set", "idle_for_time_s=60")
    assert simulate(tmp_path, trace, *words, "--set", "elastiq.waiting_jobs_time_s=0") == 0
    found = told(capsys)
    assert (found["jobs"], found["left_out"], found["never_started"], found["cost"]) == (4, 0, 0, None)
    assert (found["boot_seconds"], found["max_vms"], found["cores_per_vm"]) == (60, 2, 2)
    assert found["policy"] == "classic"
    assert found["options"]["idle_for_time_s"] == 60
    assert found["options"]["waiting_jobs_time_s"] == 0
    assert found["trace"] == str(trace)
    assert found["ratio"] == pytest.approx(found["vm_hours"] / found["oracle_vm_hours"])
    assert found["mean_wait_seconds"] <= found["p95_wait_seconds"] <= found["worst_wait_seconds"]
    for name in ("accuracy_under", "accuracy_over", "timeshare_under", "timeshare_over", "jitter_per_hour"):
        assert isinstance(found[name], float)


def test_words_may_come_in_any_order(tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(tmp_path, "--boot", 60, "--json", trace) == 0
    first = told(capsys)
    assert simulate(tmp_path, trace, "--json", "--boot=60") == 0
    assert told(capsys) == first


def test_what_the_daemon_has_learnt_is_taken(tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = State(tmp_path, 0.0)
    records = [
        VmRecord(f"i-{n}", token="t", launched_at=100.0, joined_at=100.0 + s) for n, s in enumerate((60, 80, 90))
    ]
    known = Memory(vms={one.id: one for one in records}, capacities={"default": Shape(8)})
    state.save(known)
    state.close()
    before = sorted((path.name, path.read_bytes()) for path in tmp_path.glob("elastiq.db"))
    assert simulate(tmp_path, trace, "--json") == 0
    found = told(capsys)
    assert (found["boot_seconds"], found["cores_per_vm"]) == (80, 8)
    assert sorted((path.name, path.read_bytes()) for path in tmp_path.glob("elastiq.db")) == before
    assert simulate(tmp_path, trace, "--json", "--boot", "30", "--cores", "2") == 0
    found = told(capsys)
    assert (found["boot_seconds"], found["cores_per_vm"]) == (30, 2)


def test_what_cannot_be_is_said_in_one_line(tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty, text, cut = tmp_path / "empty.swf", tmp_path / "text.swf", tmp_path / "cut.swf.gz"
    empty.write_text(";only a header\n1 0 -1 -1 1 -1 -1 -1\n")
    text.write_text("this is no trace\n")
    cut.write_bytes(trace.read_bytes()[:-20])
    for words, code, said in (
        ((tmp_path / "absent.swf",), 1, "absent.swf: cannot be read: No such file or directory"),
        ((tmp_path,), 1, "cannot be read: Is a directory"),
        ((empty,), 1, "empty.swf: has no job that ran"),
        ((text,), 1, "text.swf:1: not a line of the Standard Workload Format"),
        ((cut,), 1, "cut.swf.gz: is compressed by gzip, and damaged: "),
        ((trace, "--set", "idle_for_tim_s=60"), 2, "idle_for_tim_s: unknown option, did you mean idle_for_time_s?"),
        ((trace, "--set", "idle_for_time_s"), 2, "'idle_for_time_s' sets no option; write option=value"),
        ((trace, "--set", "idle_for_time_s=soon"), 2, "[elastiq] idle_for_time_s: 'soon' is not a time"),
        ((trace, "--set", "min_vms=7"), 2, "min_vms: 7 is more than max_vms 3"),
        ((trace, "--boot", "600"), 2, "VMs that boot for 10m would be terminated after 10m"),
    ):
        assert simulate(tmp_path, *words) == code, words
        printed = capsys.readouterr()
        assert printed.out == ""
        assert said in printed.err
        assert printed.err.count("\n") == 1, printed.err


@pytest.mark.parametrize(
    "words", [(), ("--boot", "-1"), ("--boot", "nan"), ("--cores", "0"), ("--max-vms", "x"), ("-x",)]
)
def test_wrong_usage(words: tuple[str, ...], tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        simulate(tmp_path, *((trace, *words) if words else ()))
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("usage: elastiqctl simulate FILE")


def test_other_commands_take_no_further_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([f"--config={tmp_path / 'absent'}", "status", "jobs.swf"])
    assert ended.value.code == 1
    assert "unrecognized arguments: jobs.swf" in capsys.readouterr().err


@pytest.mark.long
def test_compare_and_advise(tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (trace, "--compare", "--advise", "--set", "idle_for_time_s=90,min_vms=1")
    classic = "[elastiq]\npolicy = classic\n" + IMAGE
    assert simulate(tmp_path, *words, text=classic) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("this file  ") for line in lines)
    assert any(line.startswith("idle_for_time_s=90,min_vms=1  ") for line in lines)
    assert lines[-1].startswith("Set ")
    assert simulate(tmp_path, *words, "--json", text=classic) == 0
    found = told(capsys)
    assert found["compared"][0]["name"] == "this file"
    assert found["compared"][0]["vm_hours"] == found["vm_hours"]
    assert found["compared"][-1]["options"]["min_vms"] == 1
    hours = [one["vm_hours"] for one in found["front"]]
    assert hours == sorted(hours)
    assert found["advice"] == lines[-1]


def test_the_plot_is_written(tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(tmp_path, trace, "--plot", tmp_path / "jobs.svg") == 0
    assert (tmp_path / "jobs.svg").read_text().startswith("<svg ")
    capsys.readouterr()
    assert simulate(tmp_path, trace, "--plot", tmp_path / "absent" / "jobs.svg") == 1
    assert "jobs.svg: cannot be written: No such file or directory" in capsys.readouterr().err


SEVERAL = f"{IMAGE}instance_types = t.1 0.05, t.2 0.1, t.4 0.2\n"


def test_types_may_have_cores_of_their_own(tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(tmp_path, trace, "--json", "--cores", "t.1=1, t.2=2,t.4=4", text=SEVERAL) == 0
    found = told(capsys)
    assert [(one["type"], one["cores"], one["price"]) for one in found["types"]] == [
        ("t.1", 1, 0.05), ("t.2", 2, 0.1), ("t.4", 4, 0.2),
    ]  # fmt: skip
    assert sum(one["vms"] for one in found["types"]) == found["vms"] > 0
    assert found["cores_per_vm"] == 2
    assert found["cost"] == pytest.approx(found["vm_hours"] * 0.1)
    assert found["cost"] == pytest.approx(sum(one["hours"] * one["price"] for one in found["types"]))
    assert simulate(tmp_path, trace, "--cores", "t.1=1,t.2=2,t.4=4", text=SEVERAL) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "on VMs of 1, 2 and 4 cores (as given)" in lines[1]
    assert "of VMs with 2 cores, by price, " in lines[2]
    assert "launched: 3 t.1" in lines[4] or "launched: 4 t.1" in lines[4]
    assert lines[-1].split()[0] == "cost"


def test_cores_of_types_are_taken_as_the_daemon_has_learnt_them(
    tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = State(tmp_path, 0.0)
    state.save(Memory(capacities={"t.1": Shape(1)}, described={"t.2": Shape(2)}))
    state.close()
    assert simulate(tmp_path, trace, "--json", text=SEVERAL) == 0
    assert [one["cores"] for one in told(capsys)["types"]] == [1, 2, 4]
    assert simulate(tmp_path, trace, "--json", "--cores", "8", text=SEVERAL) == 0
    assert [one["cores"] for one in told(capsys)["types"]] == [8, 8, 8]


def test_a_type_that_no_pool_has_is_named(tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(tmp_path, trace, "--cores", "t.3=3", text=SEVERAL) == 2
    assert "--cores: no pool has VMs of type t.3; the types are: t.1, t.2, t.4" in capsys.readouterr().err
    for wrong in ("t.1=", "=4", "t.1=x", "t.1=1,", "t.1=0"):
        with pytest.raises(SystemExit) as end:
            simulate(tmp_path, trace, "--cores", wrong, text=SEVERAL)
        assert end.value.code == 1
        assert "elastiq simulate: argument --cores: " in capsys.readouterr().err
